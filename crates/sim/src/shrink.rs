//! Makes a failing run smaller: fewer storms, fewer faults, fewer jobs, as long as it fails in the
//! same way. What is left is what a person reads first.

use crate::faults::Fault;
use crate::report::Outcome;
use crate::storm;
use crate::weather::Weather;

/// Runs that may be spent on one seed.
const RUNS_MAX: u32 = 400;

/// What is left of a failing run.
#[derive(Debug)]
pub struct Shrunk {
    /// The smallest weather that was found to fail in the same way.
    pub weather: Weather,
    /// What came of it, with the end of its trace.
    pub outcome: Outcome,
    /// Runs that the search took.
    pub runs: u32,
}

struct Search {
    seed: u64,
    /// The violation in its words alone.
    kind: String,
    best: Weather,
    runs: u32,
}

/// The smallest run that still fails like this one; `keep` is how many lines of its trace are kept.
///
/// A run that differs from its own second run is not made smaller: it does not fail by itself.
#[must_use]
pub fn shrink(failed: &Outcome, weather: &Weather, keep: usize) -> Shrunk {
    let mut search = Search {
        seed: failed.seed,
        kind: kind(failed),
        best: weather.clone(),
        runs: 0,
    };
    let fired = Fault::ALL.iter().zip(&failed.fired);
    let fired = fired.filter(|&(_, &fired)| fired > 0);
    let fired: Vec<Fault> = fired.map(|(&fault, _)| fault).collect();
    search.try_with(|weather| weather.only = Some(fired));
    loop {
        let before = search.best.clone();
        search.fewer_storms();
        search.fewer_faults();
        search.fewer_jobs();
        search.fewer_minutes();
        if search.best == before || search.runs >= RUNS_MAX {
            break;
        }
    }
    Shrunk {
        outcome: storm::run(search.seed, &search.best, keep, true),
        weather: search.best,
        runs: search.runs,
    }
}

impl Search {
    /// Keeps a change with which the run fails as before.
    fn try_with(&mut self, change: impl FnOnce(&mut Weather)) -> bool {
        let mut weather = self.best.clone();
        change(&mut weather);
        if weather == self.best || self.runs >= RUNS_MAX {
            return false;
        }
        self.runs += 1;
        let fails = kind(&storm::run(self.seed, &weather, 0, true)) == self.kind;
        if fails {
            self.best = weather;
        }
        fails
    }

    fn fewer_storms(&mut self) {
        let most = self.best.storms_max.unwrap_or(u32::MAX);
        (1..4).any(|storms| storms < most && self.try_with(|w| w.storms_max = Some(storms)));
    }

    /// Leaves out halves, then quarters, down to single ones.
    fn fewer_faults(&mut self) {
        let Some(mut only) = self.best.only.clone() else {
            return;
        };
        let mut size = only.len().div_ceil(2);
        while size > 0 && !only.is_empty() {
            let mut from = 0;
            while from < only.len() {
                let mut fewer = only.clone();
                fewer.drain(from..(from + size).min(only.len()));
                if self.try_with(|weather| weather.only = Some(fewer.clone())) {
                    only = fewer;
                } else {
                    from += size;
                }
            }
            size /= 2;
        }
    }

    fn fewer_jobs(&mut self) {
        let most = self.best.jobs_max.unwrap_or(u32::MAX);
        for jobs in [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48] {
            if jobs >= most || self.try_with(|weather| weather.jobs_max = Some(jobs)) {
                return;
            }
        }
    }

    fn fewer_minutes(&mut self) {
        let most = self.best.minutes_max.unwrap_or(u32::MAX);
        for minutes in [1, 2, 4, 8, 16] {
            if minutes >= most || self.try_with(|weather| weather.minutes_max = Some(minutes)) {
                return;
            }
        }
    }
}

/// The first violation without its times, numbers and ids; empty when there is none.
fn kind(outcome: &Outcome) -> String {
    let Some(violation) = outcome.violations.first() else {
        return String::new();
    };
    let words = violation.split_whitespace();
    let words = words.filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
    words.take(7).collect::<Vec<_>>().join(" ")
}
