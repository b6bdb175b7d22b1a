//! A pool's cloud workers one by one: who was ordered and when, who is ready, who runs what.
//!
//! RunPod tells counts of workers by state, and with each job that runs the worker that has it.
//! Orders are ours. From these three the fleet is kept: an order makes a start, a count that shows
//! one more ready worker, or a job that runs on a worker not seen before, makes the oldest start
//! ready. It is forgotten at a restart and built anew: what is wanted counts as started then, until
//! the first count says what there is.
//!
//! It must not know why workers are wanted. Where counts and orders disagree, counts win, but only
//! after the time that RunPod takes to act on an order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::CloudWorkerCounts;
use crate::scaler::{CloudWorker, Phase};
use crate::time::{DurationMs, Timestamp};

/// A start that RunPod shows no worker for is none after this long: no submission has caused one.
const UNSEEN_MAX: DurationMs = DurationMs::from_secs(10);
/// A start hangs once it takes this many times the longest that is reckoned with, and [`STUCK_MIN`].
const STUCK_FACTOR: u64 = 2;
/// No start hangs before this.
const STUCK_MIN: DurationMs = DurationMs::from_secs(60);

/// All workers of one cloud pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    /// On their way, oldest first.
    starting: Vec<Start>,
    /// Ready, in the order in which they got so.
    ready: Vec<Ready>,
}

/// A worker on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Start {
    since: Timestamp,
    /// Ordered by this process: its length teaches how long starts take.
    is_ordered: bool,
}

/// A worker that takes jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Ready {
    /// RunPod's id, once a job was seen on it.
    name: Option<String>,
    /// When its last job ended, or when it got ready.
    since: Timestamp,
}

/// A job that runs there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job<'a> {
    /// On whom, where told.
    pub worker: Option<&'a str>,
    /// When its slot is thought to be free.
    pub free_at: Timestamp,
}

/// A count of workers, with what it needs to be understood.
#[derive(Debug, Clone, Copy)]
pub struct Count<'a> {
    /// When.
    pub now: Timestamp,
    /// By state.
    pub workers: CloudWorkerCounts,
    /// Workers that there may be: what is more idles on its way out.
    pub most: u32,
    /// What runs there.
    pub jobs: &'a [Job<'a>],
}

impl Fleet {
    /// What is left of a fleet after a restart: as many as were wanted, on their way for all we know.
    #[must_use]
    pub fn assumed(now: Timestamp, wanted: u32) -> Self {
        let start = Start {
            since: now,
            is_ordered: false,
        };
        Self {
            starting: vec![start; wanted as usize],
            ready: Vec::new(),
        }
    }

    /// Workers on their way or ready.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.starting.len() + self.ready.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// So many are wanted now. Of fewer RunPod ends first what is not ready, the youngest first, then
    /// what idles; where its limits are not ours (`is_managed` is false) it ends none for it.
    pub fn order(&mut self, now: Timestamp, wanted: u32, is_managed: bool, jobs: &[Job<'_>]) {
        let wanted = wanted as usize;
        let missing = wanted.saturating_sub(self.len());
        let start = Start {
            since: now,
            is_ordered: true,
        };
        self.starting.extend(std::iter::repeat_n(start, missing));
        let surplus = self.len().saturating_sub(wanted);
        if !is_managed || surplus == 0 {
            return;
        }
        let left_out = surplus.min(self.starting.len());
        self.starting.truncate(self.starting.len() - left_out);
        self.drop_idle(surplus - left_out, jobs);
    }

    /// Takes in a count; returns how long the starts took that it shows as over.
    pub fn count(&mut self, count: &Count<'_>) -> Vec<DurationMs> {
        let workers = count.workers;
        let most = (count.most as usize).max(count.jobs.len().min(workers.running as usize));
        let ready = ((workers.idle + workers.running) as usize).min(most);
        let mut lengths = Vec::new();
        while self.ready.len() < ready {
            lengths.extend(self.get_ready(count.now, None));
        }
        let gone = self.ready.len().saturating_sub(ready);
        self.drop_idle(gone, count.jobs);
        let coming = (workers.initializing + workers.throttled) as usize;
        let room = most.saturating_sub(self.ready.len());
        let unknown = coming.min(room).saturating_sub(self.starting.len());
        let start = Start {
            since: count.now,
            is_ordered: false,
        };
        self.starting.extend(std::iter::repeat_n(start, unknown));
        // RunPod shows the oldest ones; the others it has not begun.
        for _ in coming..self.starting.len() {
            let is_unseen = |start: &&Start| count.now.since(start.since) >= UNSEEN_MAX;
            if self.starting.last().filter(is_unseen).is_none() {
                break;
            }
            self.starting.pop();
        }
        lengths
    }

    /// A job was seen to run on a worker; returns how long its start took, if that shows it.
    pub fn ran(&mut self, now: Timestamp, worker: &str) -> Option<DurationMs> {
        if self.ready.iter().any(|r| r.name.as_deref() == Some(worker)) {
            return None;
        }
        let nameless = self.ready.iter_mut().find(|ready| ready.name.is_none());
        if let Some(ready) = nameless {
            ready.name = Some(worker.to_owned());
            return None;
        }
        self.get_ready(now, Some(worker.to_owned()))
    }

    /// A job is off a worker.
    pub fn freed(&mut self, now: Timestamp, worker: Option<&str>) {
        for ready in &mut self.ready {
            if ready.name.as_deref() == worker {
                ready.since = now;
            }
        }
    }

    /// Starts that hang, and those that do not; see [`Self::workers`].
    #[must_use]
    pub fn stuck(&self, now: Timestamp, longest: DurationMs) -> (u32, u32) {
        let patience = patience(longest);
        let is_stuck = |start: &&Start| now.since(start.since) > patience;
        let stuck = self.starting.iter().filter(is_stuck).count();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        (count(stuck), count(self.starting.len() - stuck))
    }

    /// The workers as their scaler sees them, and how many starts hang; a start is reckoned with at
    /// most for `longest`, times two.
    #[must_use]
    pub fn workers(
        &self,
        now: Timestamp,
        slots: u32,
        longest: DurationMs,
        jobs: &[Job<'_>],
    ) -> (Vec<CloudWorker>, u32) {
        let patience = patience(longest);
        let (stuck, starting): (Vec<&Start>, Vec<&Start>) = self
            .starting
            .iter()
            .partition(|start| now.since(start.since) > patience);
        let mut workers: Vec<CloudWorker> = self
            .ready
            .iter()
            .map(|ready| CloudWorker {
                phase: Phase::Ready { since: ready.since },
                busy: Vec::new(),
            })
            .collect();
        let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
        for (at, ready) in self.ready.iter().enumerate() {
            if let Some(name) = ready.name.as_deref() {
                by_name.insert(name, at);
            }
        }
        for job in jobs {
            let named = job.worker.and_then(|name| by_name.get(name).copied());
            // A worker that nobody has told of runs what no other has.
            let has_room = |at: &usize| workers[*at].busy.len() < slots.max(1) as usize;
            let is_nameless =
                |at: &usize| self.ready.get(*at).is_none_or(|ready| ready.name.is_none());
            let open = |at: &usize| has_room(at) && is_nameless(at);
            let nameless = named.or_else(|| (0..workers.len()).find(open));
            let at = nameless.or_else(|| (0..workers.len()).find(has_room));
            let at = at.unwrap_or_else(|| {
                workers.push(CloudWorker {
                    phase: Phase::Ready { since: now },
                    busy: Vec::new(),
                });
                workers.len() - 1
            });
            workers[at].busy.push(job.free_at);
        }
        workers.extend(starting.into_iter().map(|start| CloudWorker {
            phase: Phase::Starting { since: start.since },
            busy: Vec::new(),
        }));
        (workers, u32::try_from(stuck.len()).unwrap_or(u32::MAX))
    }

    /// The oldest start is over.
    fn get_ready(&mut self, now: Timestamp, name: Option<String>) -> Option<DurationMs> {
        self.ready.push(Ready { name, since: now });
        if self.starting.is_empty() {
            return None;
        }
        let start = self.starting.remove(0);
        start.is_ordered.then(|| now.since(start.since))
    }

    /// Forgets workers that run nothing, those that idle for longest first.
    fn drop_idle(&mut self, most: usize, jobs: &[Job<'_>]) {
        if most == 0 {
            return;
        }
        let nameless = jobs.iter().filter(|job| job.worker.is_none()).count();
        let is_busy = |ready: &Ready| {
            let name = ready.name.as_deref();
            name.is_some() && jobs.iter().any(|job| job.worker == name)
        };
        let mut idle: Vec<(Timestamp, usize)> = self
            .ready
            .iter()
            .enumerate()
            .filter(|(_, ready)| !is_busy(ready))
            .map(|(at, ready)| (ready.since, at))
            .collect();
        idle.sort_unstable();
        // Jobs of workers without a name keep as many of them.
        let most = most.min(idle.len().saturating_sub(nameless));
        let mut gone: Vec<usize> = idle.into_iter().take(most).map(|(_, at)| at).collect();
        gone.sort_unstable();
        for at in gone.into_iter().rev() {
            self.ready.remove(at);
        }
    }
}

/// How long a start is reckoned with.
fn patience(longest: DurationMs) -> DurationMs {
    DurationMs::from_millis(longest.as_millis().saturating_mul(STUCK_FACTOR)).max(STUCK_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: DurationMs = DurationMs::from_secs(60);

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1_000)
    }

    fn counts(initializing: u32, idle: u32, running: u32) -> CloudWorkerCounts {
        CloudWorkerCounts {
            initializing,
            idle,
            running,
            ..CloudWorkerCounts::default()
        }
    }

    fn count(fleet: &mut Fleet, secs: i64, workers: CloudWorkerCounts, most: u32) -> Vec<u64> {
        let lengths = fleet.count(&Count {
            now: at(secs),
            workers,
            most,
            jobs: &[],
        });
        lengths.into_iter().map(DurationMs::as_millis).collect()
    }

    fn phases(fleet: &Fleet, secs: i64, jobs: &[Job<'_>]) -> (usize, usize, usize, u32) {
        let (workers, stuck) = fleet.workers(at(secs), 2, LONGEST, jobs);
        let starting = workers.iter().filter(|w| w.is_starting()).count();
        let idle = workers.iter().filter(|w| w.is_idle()).count();
        (starting, idle, workers.len() - starting - idle, stuck)
    }

    #[test]
    fn an_order_is_a_start_and_a_count_makes_it_ready_and_tells_its_length() {
        let mut fleet = Fleet::default();
        fleet.order(at(0), 2, true, &[]);
        assert_eq!(phases(&fleet, 1, &[]), (2, 0, 0, 0));
        assert!(count(&mut fleet, 5, counts(2, 0, 0), 2).is_empty());
        assert_eq!(count(&mut fleet, 40, counts(1, 1, 0), 2), [40_000]);
        assert_eq!(phases(&fleet, 41, &[]), (1, 1, 0, 0));
        fleet.order(at(41), 3, true, &[]);
        assert_eq!(count(&mut fleet, 50, counts(1, 1, 1), 3), [50_000]);
        assert_eq!(phases(&fleet, 51, &[]), (1, 2, 0, 0));
    }

    #[test]
    fn a_job_that_runs_names_its_worker_and_fills_it() {
        let mut fleet = Fleet::default();
        fleet.order(at(0), 2, true, &[]);
        assert_eq!(fleet.ran(at(30), "a"), Some(DurationMs::from_secs(30)));
        assert_eq!(fleet.ran(at(31), "a"), None);
        let job = |worker| Job {
            worker: Some(worker),
            free_at: at(60),
        };
        let jobs = [job("a"), job("a"), job("b")];
        assert_eq!(phases(&fleet, 31, &jobs), (1, 0, 2, 0), "b is there too");
        assert_eq!(fleet.ran(at(35), "b"), Some(DurationMs::from_secs(35)));
        assert_eq!(phases(&fleet, 35, &jobs), (0, 0, 2, 0));
        fleet.freed(at(50), Some("b"));
        let (workers, _) = fleet.workers(at(51), 2, LONGEST, &jobs[..2]);
        assert_eq!(workers[1].phase, Phase::Ready { since: at(50) });
    }

    #[test]
    fn a_lower_wish_ends_starts_first_and_never_work() {
        let mut fleet = Fleet::default();
        fleet.order(at(0), 3, true, &[]);
        let _ = fleet.ran(at(30), "a");
        let _ = count(&mut fleet, 31, counts(1, 1, 1), 3);
        let jobs = [Job {
            worker: Some("a"),
            free_at: at(90),
        }];
        assert_eq!(phases(&fleet, 31, &jobs), (1, 1, 1, 0));
        fleet.order(at(32), 2, true, &jobs);
        assert_eq!(phases(&fleet, 32, &jobs), (0, 1, 1, 0));
        fleet.order(at(33), 0, true, &jobs);
        assert_eq!(phases(&fleet, 33, &jobs), (0, 0, 1, 0));
        // A count from before does not bring the idle one back.
        let lengths = fleet.count(&Count {
            now: at(34),
            workers: counts(0, 1, 1),
            most: 0,
            jobs: &jobs,
        });
        assert_eq!((lengths, phases(&fleet, 34, &jobs)), (vec![], (0, 0, 1, 0)));
    }

    #[test]
    fn where_limits_are_not_ours_a_lower_wish_ends_nothing() {
        let mut fleet = Fleet::default();
        fleet.order(at(0), 1, false, &[]);
        let _ = count(&mut fleet, 30, counts(0, 1, 0), u32::MAX);
        fleet.order(at(31), 0, false, &[]);
        assert_eq!(phases(&fleet, 32, &[]), (0, 1, 0, 0));
        let _ = count(&mut fleet, 60, counts(0, 0, 0), u32::MAX);
        assert!(fleet.is_empty());
    }

    #[test]
    fn a_start_that_runpod_never_shows_is_none() {
        let mut fleet = Fleet::default();
        fleet.order(at(0), 2, true, &[]);
        let _ = count(&mut fleet, 9, counts(1, 0, 0), 2);
        assert_eq!(phases(&fleet, 9, &[]), (2, 0, 0, 0), "it may be late");
        let _ = count(&mut fleet, 10, counts(1, 0, 0), 2);
        assert_eq!(phases(&fleet, 10, &[]), (1, 0, 0, 0));
    }

    #[test]
    fn a_start_that_hangs_is_no_longer_reckoned_with() {
        let mut fleet = Fleet::default();
        fleet.order(at(0), 1, true, &[]);
        let _ = count(&mut fleet, 119, counts(1, 0, 0), 1);
        assert_eq!(phases(&fleet, 120, &[]), (1, 0, 0, 0));
        assert_eq!(phases(&fleet, 121, &[]), (0, 0, 0, 1));
        assert_eq!(count(&mut fleet, 200, counts(0, 1, 0), 2), [200_000]);
        assert_eq!(phases(&fleet, 200, &[]), (0, 1, 0, 0), "late, but there");
    }

    #[test]
    fn after_a_restart_the_first_count_says_what_there_is() {
        let mut fleet = Fleet::assumed(at(100), 3);
        assert_eq!(phases(&fleet, 100, &[]), (3, 0, 0, 0));
        assert!(count(&mut fleet, 101, counts(1, 1, 1), 3).is_empty());
        assert_eq!(phases(&fleet, 101, &[]), (1, 2, 0, 0), "nothing is taught");
        let mut fleet = Fleet::assumed(at(100), 3);
        let _ = count(&mut fleet, 110, counts(0, 0, 0), 3);
        assert!(fleet.is_empty());
    }

    #[test]
    fn workers_that_end_by_themselves_are_gone_and_busy_ones_stay() {
        let mut fleet = Fleet::default();
        fleet.order(at(0), 3, true, &[]);
        let _ = count(&mut fleet, 30, counts(0, 3, 0), 3);
        let _ = fleet.ran(at(31), "a");
        let jobs = [
            Job {
                worker: Some("a"),
                free_at: at(90),
            },
            Job {
                worker: None,
                free_at: at(91),
            },
        ];
        let _ = fleet.count(&Count {
            now: at(60),
            workers: counts(0, 0, 0),
            most: 3,
            jobs: &jobs,
        });
        assert_eq!(phases(&fleet, 60, &jobs), (0, 0, 2, 0));
    }
}
