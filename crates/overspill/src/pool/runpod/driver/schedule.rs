//! Which of the outstanding jobs is asked about next. Pure: takes the time, does nothing.
//!
//! A young job is asked about often, an old one seldom: its wait is then small against its age. When calls are
//! scarce (an outage is over, the rate limit bites), those go first that were longest unheard of, because their
//! results expire first.

use super::super::answer::CloudJobId;
use overspill_core::id::{AttemptId, PoolId};
use std::collections::{BTreeMap, BTreeSet};

/// How long `RunPod` keeps a result, in milliseconds (documented for `/run`).
pub const RETENTION_MS: i64 = 30 * 60_000;

/// However seldom a job is asked about, it is asked about this often: a third of the retention.
pub const POLL_MS_MAX: i64 = RETENTION_MS / 3;

/// A hint that something happened is followed at the earliest so long after the last answer, in milliseconds.
const HINT_MS_MIN: i64 = 1_000;

/// What is wanted of a watched job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Its end.
    Watch,
    /// Its end, and its chunks as they come.
    Stream,
    /// That it stops.
    Cancel {
        /// Only if it has not begun.
        only_if_queued: bool,
    },
}

/// One outstanding job.
#[derive(Debug, Clone)]
pub struct Watch {
    /// Where it is.
    pub pool: PoolId,
    /// `RunPod`'s id of it.
    pub cloud_job: CloudJobId,
    /// Watched since, in milliseconds.
    pub since_ms: i64,
    /// Last heard of, in milliseconds.
    pub heard_ms: i64,
    /// What is wanted.
    pub wish: Wish,
    /// 404s in a row.
    pub misses: u32,
    /// Failed calls in a row.
    pub failures: u32,
    /// What was told last: running or not, and by which worker.
    pub told: Option<(bool, Option<String>)>,
    /// The last progress told.
    pub progress: Option<bytes::Bytes>,
    /// When it was asked about last, in milliseconds.
    asked_ms: i64,
    is_asked: bool,
}

/// Wishes for streams of jobs that are not watched yet, at most.
const EARLY_STREAMS_MAX: usize = 10_000;
/// A 404 that took longer to be read says what was true long ago, in milliseconds.
const STALE_404_MS: i64 = 15_000;

impl Watch {
    /// Takes in a 404; whether it is `RunPod`'s word by now. One can be a proxy's, so there must be two in
    /// a row; and one that was read late, after this process was stopped for a while, may be from when
    /// `RunPod` did not know a new job yet.
    pub fn on_missing(&mut self, now_ms: i64) -> bool {
        if now_ms - self.asked_ms < STALE_404_MS {
            self.misses += 1;
        }
        self.misses >= 2
    }
}

/// The outstanding jobs of all pools.
#[derive(Debug, Default)]
pub struct Schedule {
    watches: BTreeMap<AttemptId, Watch>,
    due: BTreeSet<(i64, AttemptId)>,
    due_of: BTreeMap<AttemptId, i64>,
    ready: BTreeMap<PoolId, BTreeSet<(i64, AttemptId)>>,
    /// Attempts whose stream was asked for before the cloud had named its job.
    early_streams: BTreeSet<AttemptId>,
}

impl Schedule {
    /// Begins to watch a job, due at once; a job that is watched already stays as it is.
    pub fn watch(
        &mut self,
        attempt: AttemptId,
        pool: PoolId,
        cloud_job: CloudJobId,
        wish: Wish,
        now_ms: i64,
    ) {
        if self.watches.contains_key(&attempt) {
            return;
        }
        let was_early = self.early_streams.remove(&attempt);
        let wish = match wish {
            Wish::Watch if was_early => Wish::Stream,
            wish => wish,
        };
        let watch = Watch {
            pool,
            cloud_job,
            since_ms: now_ms,
            heard_ms: now_ms,
            wish,
            misses: 0,
            failures: 0,
            told: None,
            progress: None,
            asked_ms: now_ms,
            is_asked: false,
        };
        self.watches.insert(attempt, watch);
        self.set_due(attempt, now_ms);
    }

    /// Changes what is wanted, due at once. A cancel is not weakened to a watch, an unconditional one not to one
    /// that spares running jobs.
    pub fn wish(&mut self, attempt: AttemptId, wish: Wish, now_ms: i64) {
        let Some(watch) = self.watches.get_mut(&attempt) else {
            if wish == Wish::Stream {
                self.early_streams.insert(attempt);
                if self.early_streams.len() > EARLY_STREAMS_MAX {
                    // The oldest: it was never taken, or has ended long ago.
                    self.early_streams.pop_first();
                }
            }
            return;
        };
        let stronger = matches!(
            (watch.wish, wish),
            (Wish::Watch, _)
                | (Wish::Stream, Wish::Cancel { .. })
                | (
                    Wish::Cancel {
                        only_if_queued: true
                    },
                    Wish::Cancel {
                        only_if_queued: false
                    }
                )
        );
        if stronger {
            watch.wish = wish;
        }
        if !watch.is_asked {
            self.set_due(attempt, now_ms);
        }
    }

    /// Something may have happened to the job: it is asked about at once, but not more than once a second for all the
    /// hints in the world.
    pub fn hint(&mut self, attempt: AttemptId, now_ms: i64) {
        let Some(watch) = self.watches.get(&attempt).filter(|watch| !watch.is_asked) else {
            return;
        };
        let at_ms = now_ms.max(watch.heard_ms + HINT_MS_MIN);
        if self
            .due_of
            .get(&attempt)
            .is_some_and(|&due_ms| at_ms < due_ms)
        {
            self.set_due(attempt, at_ms);
        }
    }

    /// The attempt that has this job, if it is watched.
    #[must_use]
    pub fn owner(&self, cloud_job: &CloudJobId) -> Option<AttemptId> {
        let mut watches = self.watches.iter();
        watches
            .find(|(_, watch)| watch.cloud_job == *cloud_job)
            .map(|(&attempt, _)| attempt)
    }

    /// The job, if it is watched.
    pub fn get_mut(&mut self, attempt: AttemptId) -> Option<&mut Watch> {
        self.watches.get_mut(&attempt)
    }

    /// How many jobs of a pool are watched.
    #[must_use]
    pub fn watched(&self, pool: PoolId) -> usize {
        self.watches
            .values()
            .filter(|watch| watch.pool == pool)
            .count()
    }

    /// The next job of a pool to ask about, the longest unheard of first. It is not given out again before
    /// [`Schedule::ask_again`].
    pub fn take(&mut self, pool: PoolId, now_ms: i64) -> Option<(AttemptId, Watch)> {
        self.collect_due(now_ms);
        let (_, attempt) = self.ready.get_mut(&pool)?.pop_first()?;
        let watch = self.watches.get_mut(&attempt)?;
        watch.is_asked = true;
        watch.asked_ms = now_ms;
        Some((attempt, watch.clone()))
    }

    /// Asks about a job again at `at_ms`.
    pub fn ask_again(&mut self, attempt: AttemptId, at_ms: i64) {
        if let Some(watch) = self.watches.get_mut(&attempt) {
            watch.is_asked = false;
            self.set_due(attempt, at_ms);
        }
    }

    /// Stops watching.
    pub fn forget(&mut self, attempt: AttemptId) {
        self.unset_due(attempt);
        if let Some(watch) = self.watches.remove(&attempt)
            && let Some(ready) = self.ready.get_mut(&watch.pool)
        {
            ready.remove(&(watch.heard_ms, attempt));
        }
    }

    /// When the next job becomes due, in milliseconds.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<i64> {
        self.due.first().map(|(at_ms, _)| *at_ms)
    }

    /// Whether a job of the pool waits to be asked about.
    #[must_use]
    pub fn has_ready(&self, pool: PoolId) -> bool {
        self.ready.get(&pool).is_some_and(|ready| !ready.is_empty())
    }

    fn collect_due(&mut self, now_ms: i64) {
        while let Some((at_ms, attempt)) = self
            .due
            .first()
            .copied()
            .filter(|(at_ms, _)| *at_ms <= now_ms)
        {
            self.due.remove(&(at_ms, attempt));
            self.due_of.remove(&attempt);
            if let Some(watch) = self.watches.get(&attempt) {
                self.ready
                    .entry(watch.pool)
                    .or_default()
                    .insert((watch.heard_ms, attempt));
            }
        }
    }

    fn set_due(&mut self, attempt: AttemptId, at_ms: i64) {
        let Some(watch) = self.watches.get(&attempt) else {
            return;
        };
        let is_ready = self
            .ready
            .get(&watch.pool)
            .is_some_and(|r| r.contains(&(watch.heard_ms, attempt)));
        if !is_ready {
            self.unset_due(attempt);
            self.due.insert((at_ms, attempt));
            self.due_of.insert(attempt, at_ms);
        }
    }

    fn unset_due(&mut self, attempt: AttemptId) {
        if let Some(at_ms) = self.due_of.remove(&attempt) {
            self.due.remove(&(at_ms, attempt));
        }
    }
}

/// The time to the next question about a healthy job of this age: a quarter of a second at first, then a tenth of
/// its age up to two seconds, and five seconds for one that is older than two minutes.
#[must_use]
pub fn poll_interval_ms(age_ms: i64) -> i64 {
    match age_ms {
        ..=120_000 => (age_ms / 10).clamp(250, 2_000),
        _ => 5_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use overspill_core::id::JobId;

    fn attempt(n: u128) -> AttemptId {
        AttemptId {
            job: JobId::new(n, false),
            generation: 0,
            number: 1,
        }
    }

    fn cloud_job(n: u128) -> CloudJobId {
        CloudJobId::parse(&format!("job-{n}")).unwrap()
    }

    const POOL: PoolId = PoolId(1);

    fn schedule(jobs: u128) -> Schedule {
        let mut schedule = Schedule::default();
        for n in 0..jobs {
            schedule.watch(attempt(n), POOL, cloud_job(n), Wish::Watch, 0);
        }
        schedule
    }

    #[test]
    fn a_job_is_given_out_once_until_it_is_to_be_asked_again() {
        let mut schedule = schedule(1);
        schedule.watch(attempt(0), POOL, cloud_job(0), Wish::Watch, 0);
        assert_eq!(schedule.take(POOL, 0).unwrap().0, attempt(0));
        assert!(schedule.take(POOL, 1_000).is_none());
        schedule.ask_again(attempt(0), 2_000);
        assert_eq!(schedule.next_due_ms(), Some(2_000));
        assert!(schedule.take(POOL, 1_999).is_none());
        assert!(schedule.take(POOL, 2_000).is_some());
    }

    #[test]
    fn f20_a_hint_has_its_job_asked_about_at_once_but_not_without_end() {
        let mut schedule = schedule(2);
        for _ in 0..2 {
            let (taken, _) = schedule.take(POOL, 0).unwrap();
            schedule.ask_again(taken, 5_000);
        }
        schedule.hint(attempt(0), 3_000);
        assert_eq!(schedule.take(POOL, 3_000).unwrap().0, attempt(0));
        // While it is asked about, and right after an answer, further hints change nothing.
        schedule.hint(attempt(0), 3_001);
        schedule.get_mut(attempt(0)).unwrap().heard_ms = 3_100;
        schedule.ask_again(attempt(0), 8_100);
        schedule.hint(attempt(0), 3_200);
        assert!(schedule.take(POOL, 4_099).is_none());
        assert_eq!(schedule.take(POOL, 4_100).unwrap().0, attempt(0));
        assert_eq!(schedule.owner(&cloud_job(1)), Some(attempt(1)));
        assert_eq!(schedule.owner(&cloud_job(7)), None);
    }

    #[test]
    fn a_404_that_was_read_long_after_it_was_asked_for_does_not_count() {
        let mut schedule = schedule(1);
        let mut missing = |asked_ms, read_ms| {
            schedule.ask_again(attempt(0), asked_ms);
            schedule.take(POOL, asked_ms).expect("it is due");
            let watch = schedule.get_mut(attempt(0)).expect("it is watched");
            watch.on_missing(read_ms)
        };
        assert!(!missing(1_000, 1_100), "one alone");
        assert!(!missing(2_100, 40_000), "the process was stopped meanwhile");
        assert!(missing(41_000, 41_100), "two in a row");
    }

    #[test]
    fn the_longest_unheard_of_goes_first() {
        let mut schedule = schedule(3);
        for (n, heard_ms) in [(0, 30), (1, 10), (2, 20)] {
            let (taken, _) = schedule.take(POOL, 0).unwrap();
            assert_eq!(taken, attempt(n));
            schedule.get_mut(taken).unwrap().heard_ms = heard_ms;
        }
        for n in 0..3 {
            schedule.ask_again(attempt(n), 100);
        }
        let order: Vec<_> = std::iter::from_fn(|| schedule.take(POOL, 100))
            .map(|(id, _)| id)
            .collect();
        assert_eq!(order, [attempt(1), attempt(2), attempt(0)]);
    }

    #[test]
    fn a_new_wish_is_due_at_once_and_is_never_weakened() {
        let mut schedule = schedule(1);
        let _taken = schedule.take(POOL, 0);
        schedule.ask_again(attempt(0), 5_000);
        schedule.wish(
            attempt(0),
            Wish::Cancel {
                only_if_queued: false,
            },
            1_000,
        );
        schedule.wish(
            attempt(0),
            Wish::Cancel {
                only_if_queued: true,
            },
            1_000,
        );
        schedule.wish(attempt(0), Wish::Stream, 1_000);
        let (_, watch) = schedule.take(POOL, 1_000).unwrap();
        assert_eq!(
            watch.wish,
            Wish::Cancel {
                only_if_queued: false
            }
        );
    }

    #[test]
    fn a_stream_that_was_asked_for_while_its_job_was_submitted_is_read_from_the_start() {
        let mut schedule = Schedule::default();
        schedule.wish(attempt(1), Wish::Stream, 0);
        for n in 1..=2 {
            schedule.watch(attempt(n), PoolId(0), cloud_job(n), Wish::Watch, 0);
        }
        assert_eq!(schedule.get_mut(attempt(1)).unwrap().wish, Wish::Stream);
        assert_eq!(schedule.get_mut(attempt(2)).unwrap().wish, Wish::Watch);
    }

    #[test]
    fn what_is_forgotten_is_not_given_out() {
        let mut schedule = schedule(2);
        schedule.forget(attempt(0));
        assert_eq!(schedule.take(POOL, 0).unwrap().0, attempt(1));
        assert_eq!(schedule.watched(POOL), 1);
        schedule.forget(attempt(1));
        schedule.ask_again(attempt(1), 0);
        assert!(schedule.take(POOL, 0).is_none());
        assert_eq!(schedule.next_due_ms(), None);
    }

    #[test]
    fn intervals_grow_with_age_and_stay_far_below_the_retention() {
        let intervals: Vec<_> = [0, 2_500, 10_000, 60_000, 300_000, 86_400_000]
            .into_iter()
            .map(poll_interval_ms)
            .collect();
        assert_eq!(intervals, [250, 250, 1_000, 2_000, 5_000, 5_000]);
        assert!(intervals.iter().all(|ms| *ms < POLL_MS_MAX));
    }
}
