//! Whose jobs bear what a pool's cloud workers cost.
//!
//! RunPod bills workers, people ask about jobs and keys. Between two counts of a pool's workers each job
//! there bears a part of the worker time: of cold starts those that wait there, of runs those that run,
//! of idle time those that ran last, each by the time it waited, ran, or was over meanwhile. No job
//! bears more than one whole worker at a time, and none bears any longer than money is set aside for a
//! worker of its own ([`Terms`]): so what a key's jobs bear is bounded before they are submitted. What
//! is left is borne by nobody: workers that are always on, or that RunPod started of its own accord.
//!
//! **Words.** *Bearer*: a job's attempt, as far as this needs to know it. Worker time is in halves of a
//! worker's millisecond, as the meter has it.

use serde::{Deserialize, Serialize};

use crate::id::KeyId;
use crate::time::{DurationMs, Timestamp};

/// What a worker's time was for: cold start, run, idle, and what nobody could count.
pub const KINDS: usize = 4;
/// Place of cold starts.
pub const COLD: usize = 0;
/// Place of runs.
pub const RUN: usize = 1;
/// Place of idle time.
pub const IDLE: usize = 2;
/// Place of what nobody could count.
pub const UNSETTLED: usize = 3;

/// Worker time by what it was for, in halves of a worker's millisecond.
pub type Halves = [u64; KINDS];

/// The worker time between two counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// The count before.
    pub from: Timestamp,
    /// This one.
    pub to: Timestamp,
    /// How much.
    pub halves: Halves,
}

/// An attempt that RunPod has or had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bearer {
    /// Whose job it is.
    pub key: Option<KeyId>,
    /// When it was submitted.
    pub leased_at: Timestamp,
    /// When it began to run.
    pub started_at: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
}

/// For how long a job bears what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// A start, from its submission on.
    pub init_timeout: DurationMs,
    /// Its run.
    pub execution_timeout: DurationMs,
    /// An idle worker, from its end on.
    pub idle_timeout: DurationMs,
}

impl Bearer {
    /// For how long of a stretch it waits, runs and is over, in halves.
    fn windows(&self, stretch: &Stretch, terms: &Terms) -> [u64; 3] {
        let overlap = |from: Timestamp, to: Timestamp| {
            let (from, to) = (from.max(stretch.from), to.min(stretch.to));
            2 * to.since(from).as_millis()
        };
        let until = |at: Option<Timestamp>| at.unwrap_or(Timestamp::NEVER);
        let start_by = self.leased_at + terms.init_timeout;
        let waits_until = start_by
            .min(until(self.started_at))
            .min(until(self.ended_at));
        let cold = overlap(self.leased_at, waits_until);
        let run = self.started_at.map_or(0, |started_at| {
            let runs_until = (started_at + terms.execution_timeout).min(until(self.ended_at));
            overlap(started_at, runs_until)
        });
        let idle = self
            .ended_at
            .filter(|_| self.started_at.is_some())
            .map_or(0, |at| overlap(at, at + terms.idle_timeout));
        [cold, run, idle]
    }

    /// Whether it bears nothing after `at`.
    #[must_use]
    pub fn is_over(&self, at: Timestamp, terms: &Terms) -> bool {
        self.ended_at
            .is_some_and(|ended_at| at >= ended_at + terms.idle_timeout)
    }
}

/// What each of the bearers bears of a stretch, in their order.
#[must_use]
pub fn split(stretch: &Stretch, bearers: &[Bearer], terms: &Terms) -> Vec<Halves> {
    let windows: Vec<[u64; 3]> = bearers
        .iter()
        .map(|bearer| bearer.windows(stretch, terms))
        .collect();
    let mut parts = vec![[0; KINDS]; bearers.len()];
    let mut left = stretch.halves;
    // First those whom a kind of time is for, then whoever could have caused a worker.
    for kind in [COLD, RUN, IDLE] {
        let room = |at: usize, _: &Halves| windows[at][kind];
        left[kind] -= share(&mut parts, kind, left[kind], room);
    }
    for kind in [COLD, RUN, IDLE, UNSETTLED] {
        let room = |at: usize, part: &Halves| {
            let whole: u64 = windows[at].iter().sum();
            whole.saturating_sub(part.iter().sum())
        };
        left[kind] -= share(&mut parts, kind, left[kind], room);
    }
    parts
}

/// Gives of `amount` to each in proportion to its room, and to none more than that; how much it gave.
fn share(
    parts: &mut [Halves],
    kind: usize,
    amount: u64,
    room: impl Fn(usize, &Halves) -> u64,
) -> u64 {
    let rooms: Vec<u64> = parts
        .iter()
        .enumerate()
        .map(|(at, part)| room(at, part))
        .collect();
    let all: u64 = rooms.iter().sum();
    if all == 0 || amount == 0 {
        return 0;
    }
    let mut given = 0;
    for (part, room) in parts.iter_mut().zip(rooms) {
        let its = if amount >= all {
            room
        } else {
            let exact = u128::from(room) * u128::from(amount) / u128::from(all);
            u64::try_from(exact).unwrap_or(u64::MAX)
        };
        part[kind] += its;
        given += its;
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        init_timeout: DurationMs::from_secs(60),
        execution_timeout: DurationMs::from_secs(100),
        idle_timeout: DurationMs::from_secs(5),
    };

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1_000)
    }

    fn bearer(leased: i64, started: Option<i64>, ended: Option<i64>) -> Bearer {
        Bearer {
            key: None,
            leased_at: at(leased),
            started_at: started.map(at),
            ended_at: ended.map(at),
        }
    }

    /// Whole workers' seconds by kind.
    fn stretch(from: i64, to: i64, secs: [u64; KINDS]) -> Stretch {
        Stretch {
            from: at(from),
            to: at(to),
            halves: secs.map(|secs| secs * 2_000),
        }
    }

    fn secs(stretch: &Stretch, bearers: &[Bearer]) -> Vec<[u64; KINDS]> {
        let parts = split(stretch, bearers, &TERMS);
        parts
            .into_iter()
            .map(|part| part.map(|halves| halves / 2_000))
            .collect()
    }

    #[test]
    fn each_bears_what_the_time_was_for() {
        let waits = bearer(0, None, None);
        let runs = bearer(0, Some(5), None);
        let over = bearer(0, Some(5), Some(10));
        let found = secs(&stretch(10, 14, [4, 4, 4, 0]), &[waits, runs, over]);
        assert_eq!(found, [[4, 0, 0, 0], [0, 4, 0, 0], [0, 0, 4, 0]]);
        // Two on one worker share it, by the time they ran.
        let late = bearer(0, Some(12), None);
        let found = secs(&stretch(10, 14, [0, 3, 0, 0]), &[runs, late]);
        assert_eq!(found, [[0, 2, 0, 0], [0, 1, 0, 0]]);
    }

    #[test]
    fn none_bears_more_than_a_worker_or_longer_than_is_set_aside() {
        let runs = bearer(0, Some(5), None);
        let found = secs(&stretch(10, 14, [0, 12, 8, 4]), &[runs]);
        assert_eq!(found, [[0, 4, 0, 0]], "the others are nobody's");
        let found = secs(&stretch(104, 110, [0, 6, 0, 0]), &[runs]);
        assert_eq!(found, [[0, 1, 0, 0]], "its time-out is at 105");
        let waits = bearer(0, None, None);
        let found = secs(&stretch(58, 70, [12, 0, 0, 0]), &[waits]);
        assert_eq!(found, [[2, 0, 0, 0]], "it started no later");
        let over = bearer(0, Some(5), Some(10));
        let found = secs(&stretch(10, 20, [0, 0, 10, 0]), &[over]);
        assert_eq!(found, [[0, 0, 5, 0]]);
        assert!(!over.is_over(at(14), &TERMS) && over.is_over(at(15), &TERMS));
    }

    #[test]
    fn what_fits_nobody_goes_to_whoever_is_there() {
        // Counted as running before the job's own status says so, and not counted for a while.
        let waits = bearer(0, None, None);
        let found = secs(&stretch(0, 10, [2, 3, 0, 20]), &[waits]);
        assert_eq!(found, [[2, 3, 0, 5]]);
        assert_eq!(secs(&stretch(0, 10, [1, 1, 1, 1]), &[]), [[0; KINDS]; 0]);
    }

    #[test]
    fn over_its_life_a_job_bears_no_more_than_its_reservation() {
        let mut borne = 0;
        for second in 0..400 {
            let ended = (second >= 250).then_some(250);
            let started = (second >= 100).then_some(100);
            let bearer = bearer(0, started, ended);
            let all = stretch(second, second + 1, [3, 3, 3, 3]);
            let parts = split(&all, &[bearer], &TERMS);
            borne += parts[0].iter().sum::<u64>();
        }
        assert_eq!(borne / 2_000, 60 + 100 + 5);
    }
}
