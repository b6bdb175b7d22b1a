//! A short storm, the seeds that once failed, and that the witnesses would notice.

use crate::faults::{Fault, named};
use crate::storms::{Options, regressions, run, run_seed};

const SEEDS: &str = include_str!("../../../scenarios/storms.seeds");

#[test]
fn short_storms_leave_nothing_broken() {
    let report = run(0..24, &Options::default());
    assert!(report.failed.is_empty(), "{report}");
    assert!(report.jobs > 500, "{report}");
}

#[test]
fn seeds_that_once_failed_hold() {
    for (seed, only) in regressions(SEEDS).expect("the committed file is well formed") {
        let outcome = run_seed(
            seed,
            &Options {
                only,
                ..Options::default()
            },
        );
        assert!(outcome.violations.is_empty(), "{outcome}");
    }
}

#[test]
fn a_seed_names_its_run() {
    let options = Options::default();
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
        only: Some(Fault::HandlerFails),
        ..Options::default()
    };
    let report = run(0..6, &options);
    assert!(report.failed.is_empty(), "{report}");
    for (&fault, &fired) in Fault::ALL.iter().zip(&report.fired) {
        assert_eq!(fired > 0, fault == Fault::HandlerFails, "{}", fault.name());
    }
}

#[test]
fn a_bad_line_of_the_seeds_is_named() {
    assert_eq!(
        regressions("# words\n\n12 # why\n13 fault=crash\n"),
        Ok(vec![(12, None), (13, named("crash"))])
    );
    for text in ["x", "1 2", "1 fault=none", "1 fault=crash 3"] {
        let error = regressions(text).expect_err(text);
        assert!(error.contains("line 1") && error.contains(text), "{error}");
    }
}
