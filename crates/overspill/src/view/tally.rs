//! What became of jobs lately, counted from committed changes.
//!
//! The engine's thread counts, others read. Nothing here survives a restart: sums for ever are the
//! store's.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use overspill_core::change::{Change, FinalState};
use overspill_core::id::EndpointId;
use overspill_core::time::{DurationMs, Timestamp};
use serde::Serialize;

/// How far back ends of jobs are looked at.
pub const WINDOW: DurationMs = DurationMs::from_secs(3_600);
/// Ends that are remembered at most, over all endpoints; the oldest are forgotten first.
const ENDS_MAX: usize = 20_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Tally {
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    sums: Sums,
    ends: VecDeque<End>,
    /// Waits and runs.
    histograms: BTreeMap<EndpointId, (Histogram, Histogram)>,
    failures: BTreeMap<(EndpointId, String), u64>,
}

/// The kind of a failure that was the handler's own.
const HANDLER: &str = "handler";
/// The kind of a job whose time to live ended.
const EXPIRED: &str = "ttl";

/// Upper bounds of a histogram's buckets in milliseconds: 5 ms to an hour; one more is open.
pub const BOUNDS_MS: [u64; 18] = [
    5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000,
    600_000, 1_800_000, 3_600_000,
];

/// Lengths of time since the start of the serving process; each number only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How many fell in each bucket; the last is the open one.
    pub counts: [u64; BOUNDS_MS.len() + 1],
    /// Their sum in milliseconds.
    pub sum_ms: u64,
}

impl Histogram {
    /// Counts one, of so many milliseconds.
    pub fn add(&mut self, millis: u64) {
        let place = BOUNDS_MS.partition_point(|&bound| bound < millis);
        self.counts[place] += 1;
        self.sum_ms = self.sum_ms.saturating_add(millis);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Jobs since the start of the serving process; each only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Jobs that came in, retries by hand included.
    pub submitted: u64,
    /// Jobs that were completed.
    pub completed: u64,
    /// Jobs that failed or timed out.
    pub failed: u64,
}

#[derive(Debug, Clone, Copy)]
struct End {
    at: Timestamp,
    endpoint: EndpointId,
    is_failure: bool,
    delay: Option<DurationMs>,
    execution: Option<DurationMs>,
}

/// Three points of a distribution, in milliseconds; a rank is rounded up, so each is a time that
/// some job really had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// Half of the jobs took no longer.
    pub p50_ms: u64,
    /// 95 of 100 took no longer.
    pub p95_ms: u64,
    /// 99 of 100 took no longer.
    pub p99_ms: u64,
}

/// How jobs ended within [`WINDOW`], of an endpoint or of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Recent {
    /// Jobs that were completed.
    pub completed: u64,
    /// Jobs that failed or timed out.
    pub failed: u64,
    /// Submit to the start of the last attempt; `None` when nothing started.
    pub wait: Option<Percentiles>,
    /// Time inside the last attempt of completed jobs.
    pub run: Option<Percentiles>,
}

impl Tally {
    /// Counts what was committed.
    pub fn count(&self, changes: &[Change]) {
        let is_of_jobs = |change: &Change| {
            matches!(
                change,
                Change::JobEnded(_) | Change::JobPut { input: Some(_), .. }
            )
        };
        if !changes.iter().any(is_of_jobs) {
            return;
        }
        let mut counted = self.lock();
        for change in changes {
            match change {
                Change::JobPut { input: Some(_), .. } => counted.sums.submitted += 1,
                Change::JobEnded(ended) => {
                    let is_failure =
                        matches!(ended.state, FinalState::Failed | FinalState::TimedOut);
                    match ended.state {
                        FinalState::Completed => counted.sums.completed += 1,
                        FinalState::Failed | FinalState::TimedOut => counted.sums.failed += 1,
                        // Neither a success nor a failure of ours: someone wanted it so.
                        FinalState::Cancelled => continue,
                    }
                    if is_failure {
                        let kind = match (&ended.error_code, ended.state) {
                            (Some(code), _) => code,
                            (None, FinalState::TimedOut) => EXPIRED,
                            (None, _) => HANDLER,
                        };
                        let kind = (ended.endpoint, kind.to_owned());
                        *counted.failures.entry(kind).or_default() += 1;
                    }
                    let (wait, run) = counted.histograms.entry(ended.endpoint).or_default();
                    if let Some(delay) = ended.delay {
                        wait.add(delay.as_millis());
                    }
                    if let Some(execution) = ended.execution.filter(|_| !is_failure) {
                        run.add(execution.as_millis());
                    }
                    if counted.ends.len() == ENDS_MAX {
                        counted.ends.pop_front();
                    }
                    counted.ends.push_back(End {
                        at: ended.ended_at,
                        endpoint: ended.endpoint,
                        is_failure,
                        delay: ended.delay,
                        execution: ended.execution,
                    });
                }
                _ => {}
            }
        }
    }

    /// The sums now.
    #[must_use]
    pub fn sums(&self) -> Sums {
        self.lock().sums
    }

    /// Waits and runs of each endpoint that had jobs.
    #[must_use]
    pub fn histograms(&self) -> BTreeMap<EndpointId, (Histogram, Histogram)> {
        self.lock().histograms.clone()
    }

    /// Jobs that failed, by their endpoint and the error's code; `handler` where the error was the handler's own.
    #[must_use]
    pub fn failures(&self) -> BTreeMap<(EndpointId, String), u64> {
        self.lock().failures.clone()
    }

    /// How jobs ended lately: of all endpoints, and of each that had any.
    #[must_use]
    pub fn recent(&self, now: Timestamp) -> (Recent, BTreeMap<EndpointId, Recent>) {
        let ends: Vec<End> = {
            let mut counted = self.lock();
            while let Some(first) = counted.ends.front()
                && now.since(first.at) > WINDOW
            {
                counted.ends.pop_front();
            }
            counted.ends.iter().copied().collect()
        };
        let mut by_endpoint: BTreeMap<EndpointId, Gathered> = BTreeMap::new();
        let mut all = Gathered::default();
        for end in &ends {
            all.add(end);
            by_endpoint.entry(end.endpoint).or_default().add(end);
        }
        let each = by_endpoint.into_iter().map(|(id, g)| (id, g.finish()));
        (all.finish(), each.collect())
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Gathered {
    completed: u64,
    failed: u64,
    waits: Vec<u64>,
    runs: Vec<u64>,
}

impl Gathered {
    fn add(&mut self, end: &End) {
        self.waits.extend(end.delay.map(DurationMs::as_millis));
        if end.is_failure {
            self.failed += 1;
        } else {
            self.completed += 1;
            self.runs.extend(end.execution.map(DurationMs::as_millis));
        }
    }

    fn finish(mut self) -> Recent {
        Recent {
            completed: self.completed,
            failed: self.failed,
            wait: percentiles(&mut self.waits),
            run: percentiles(&mut self.runs),
        }
    }
}

fn percentiles(values: &mut [u64]) -> Option<Percentiles> {
    values.sort_unstable();
    let rank = |percent: usize| {
        let place = (values.len() * percent).div_ceil(100);
        values.get(place.saturating_sub(1)).copied()
    };
    Some(Percentiles {
        p50_ms: rank(50)?,
        p95_ms: rank(95)?,
        p99_ms: rank(99)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_some_job_had() {
        let mut hundred: Vec<u64> = (1..=100).rev().collect();
        let found = percentiles(&mut hundred).unwrap();
        assert_eq!((found.p50_ms, found.p95_ms, found.p99_ms), (50, 95, 99));
        let one = percentiles(&mut [7]).unwrap();
        assert_eq!((one.p50_ms, one.p95_ms, one.p99_ms), (7, 7, 7));
        assert_eq!(percentiles(&mut []), None);
    }

    #[test]
    fn ends_older_than_the_window_are_forgotten() {
        let tally = Tally::default();
        let end = |secs: i64, is_failure| End {
            at: Timestamp::from_millis(secs * 1_000),
            endpoint: EndpointId(1),
            is_failure,
            delay: Some(DurationMs::from_secs(1)),
            execution: Some(DurationMs::from_secs(2)),
        };
        tally.lock().ends.extend([end(0, true), end(100, false)]);
        let (all, _) = tally.recent(Timestamp::from_millis(3_600_000));
        assert_eq!((all.completed, all.failed), (1, 1));
        let (all, each) = tally.recent(Timestamp::from_millis(3_600_001));
        assert_eq!((all.completed, all.failed), (1, 0));
        assert_eq!(all.run.unwrap().p50_ms, 2_000);
        assert_eq!(each[&EndpointId(1)], all);
    }
}
