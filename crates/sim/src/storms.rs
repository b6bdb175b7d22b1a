//! Storms: the shipped core in virtual time against modelled worlds, by seed, with faults.
//!
//! A seed fixes everything: the configuration, what clients do, which faults the run has and when
//! they strike. Each seed runs twice, and both runs must have the same trace to the last byte. The
//! core's invariants are checked after every event; what clients were told, what workers did and
//! what the store holds are compared at the end; and when the storm is over, everything must get
//! done and the cloud must go back to zero, and stay there for the hours or days until the next one.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::report::{Outcome, Report};
use crate::storm;
use crate::weather::Weather;

/// How storms are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// What every seed may have.
    pub weather: Weather,
    /// Begin no further seed once one has failed.
    pub stop_at_first: bool,
    /// Lines of the trace that a failing seed prints.
    pub keep: usize,
    /// Seeds at the same time, at least 1.
    pub threads: usize,
}

impl Options {
    /// One storm a seed: what the gate and the tests run.
    #[must_use]
    pub fn short() -> Self {
        Self {
            weather: Weather::short(),
            ..Self::default()
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            weather: Weather::default(),
            stop_at_first: false,
            keep: 30,
            threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        }
    }
}

/// Runs every seed twice.
#[must_use]
pub fn run(seeds: Range<u64>, options: &Options) -> Report {
    let threads = options.threads.max(1) as u64;
    let mut report = Report::default();
    let has_failed = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                let seeds = seeds.clone();
                scope.spawn(move || {
                    let mut report = Report::default();
                    for seed in seeds.filter(|seed| seed % threads == part) {
                        if options.stop_at_first && has_failed.load(Ordering::Relaxed) {
                            break;
                        }
                        let outcome = run_seed(seed, options);
                        if !outcome.violations.is_empty() {
                            has_failed.store(true, Ordering::Relaxed);
                        }
                        report.add(outcome);
                    }
                    report
                })
            })
            .collect();
        for part in parts {
            report.merge(
                part.join()
                    .expect("a storm reports what is wrong, and does not panic"),
            );
        }
    });
    report
}

/// Runs one seed twice, the first time with a journal, which is replayed.
#[must_use]
pub fn run_seed(seed: u64, options: &Options) -> Outcome {
    let first = storm::run(seed, &options.weather, 0, true);
    // The second run keeps the trace: nobody reads that of a seed where all is well.
    let keep = if first.violations.is_empty() {
        0
    } else {
        options.keep
    };
    let mut second = storm::run(seed, &options.weather, keep, false);
    if first.hash != second.hash {
        let (a, b) = (&first.hash, &second.hash);
        second
            .violations
            .push(format!("two runs differ: {a} and {b}"));
    }
    let of_the_journal = first
        .violations
        .iter()
        .filter(|text| text.starts_with("the journal"));
    second.violations.extend(of_the_journal.cloned());
    second
}
