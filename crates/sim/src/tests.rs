//! A short storm, the seeds that once failed, and that the witnesses would notice.

use crate::faults::Fault;
use crate::shrink::shrink;
use crate::storms::{Options, run, run_seed};
use crate::weather::{Weather, kept};

const SEEDS: &str = include_str!("../../../scenarios/storms.seeds");

#[test]
fn short_storms_leave_nothing_broken() {
    let report = run(0..24, &Options::short());
    assert!(report.failed.is_empty(), "{report}");
    assert!(report.jobs > 500, "{report}");
}

#[test]
fn seeds_that_once_failed_hold() {
    for (seed, weather) in kept(SEEDS).expect("the committed file is well formed") {
        let outcome = run_seed(
            seed,
            &Options {
                weather,
                ..Options::default()
            },
        );
        assert!(outcome.violations.is_empty(), "{outcome}");
    }
}

#[test]
fn a_seed_names_its_run() {
    let options = Options::short();
    let (one, again, other) = (
        run_seed(5, &options),
        run_seed(5, &options),
        run_seed(6, &options),
    );
    assert_eq!(one.hash, again.hash);
    assert_ne!(one.hash, other.hash);
}

#[test]
fn one_fault_alone_fires_alone() {
    let options = Options {
        weather: Weather {
            only: Some(vec![Fault::HandlerFails]),
            ..Weather::short()
        },
        ..Options::default()
    };
    let report = run(0..6, &options);
    assert!(report.failed.is_empty(), "{report}");
    for (&fault, &fired) in Fault::ALL.iter().zip(&report.fired) {
        assert_eq!(fired > 0, fault == Fault::HandlerFails, "{}", fault.name());
    }
}

#[test]
fn a_run_of_storms_lasts_hours_and_ends_at_zero() {
    let report = run(0..4, &Options::default());
    assert!(report.failed.is_empty(), "{report}");
    assert!(
        report.lasted.as_secs_f64() > 4.0 * 4.0 * 3_600.0,
        "{report}"
    );
}

#[test]
fn what_does_not_fail_is_not_made_smaller() {
    let options = Options::short();
    let outcome = run_seed(5, &options);
    let shrunk = shrink(&outcome, &options.weather, 0);
    assert!(outcome.violations.is_empty(), "{outcome}");
    assert!(shrunk.outcome.violations.is_empty(), "{}", shrunk.outcome);
}
