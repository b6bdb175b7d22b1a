//! Cloud workers that crash again and again: each start is billed, and no job comes of it.
//!
//! RunPod tries a crashed worker again for days, and starts more of them for the jobs that wait. So after
//! a few crashes with nothing at work in between, a pool gets no worker for a while, longer each time, and
//! then one alone, to see.

use serde::{Deserialize, Serialize};

use crate::event::CloudWorkerCounts;
use crate::time::{DurationMs, Timestamp};

/// Crashes with no worker at work in between that make a loop.
const CRASHES_MIN: u32 = 3;
/// So do workers that stay crashed for this long while none works.
const STAYS: DurationMs = DurationMs::from_secs(60);
/// The first pause; it doubles.
const PAUSE: DurationMs = DurationMs::from_secs(60);
/// The longest.
const PAUSE_MAX: DurationMs = DurationMs::from_secs(1_800);

/// What is known of a pool's crashes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashLoop {
    unhealthy: u32,
    since: Option<Timestamp>,
    crashes: u32,
    /// Pauses in a row.
    times: u32,
    until: Timestamp,
}

/// No worker is started before then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashPause {
    /// Pauses in a row, this one included.
    pub times: u32,
    /// Its end.
    pub until: Timestamp,
}

impl CrashLoop {
    /// Takes in a count; says when a pause begins: crashes seen since the last one, and its length.
    pub fn on_counts(
        &mut self,
        now: Timestamp,
        workers: CloudWorkerCounts,
    ) -> Option<(u32, DurationMs)> {
        self.crashes += workers.unhealthy.saturating_sub(self.unhealthy);
        self.unhealthy = workers.unhealthy;
        if workers.running > 0 {
            *self = Self {
                unhealthy: self.unhealthy,
                ..Self::default()
            };
            return None;
        }
        self.since = match workers.unhealthy {
            0 => None,
            _ => self.since.or(Some(now)),
        };
        let stays = self.since.is_some_and(|at| now.since(at) >= STAYS);
        if now < self.until || (self.crashes < CRASHES_MIN && !stays) {
            return None;
        }
        let crashes = std::mem::take(&mut self.crashes).max(workers.unhealthy);
        let pause = PAUSE.as_millis() << self.times.min(10);
        let pause = DurationMs::from_millis(pause.min(PAUSE_MAX.as_millis()));
        self.times += 1;
        self.until = now + pause;
        self.since = None;
        Some((crashes, pause))
    }

    /// How many workers there may be now; `None` where crashes say nothing against any.
    #[must_use]
    pub fn most(&self, now: Timestamp) -> Option<u32> {
        (self.times > 0).then_some(u32::from(now >= self.until))
    }

    /// The pause that is on, or the last one, until a worker is seen at work.
    #[must_use]
    pub fn pause(&self) -> Option<CrashPause> {
        (self.times > 0).then_some(CrashPause {
            times: self.times,
            until: self.until,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1_000)
    }

    fn seen(unhealthy: u32, running: u32) -> CloudWorkerCounts {
        CloudWorkerCounts {
            unhealthy,
            running,
            ..CloudWorkerCounts::default()
        }
    }

    #[test]
    fn three_crashes_pause_the_pool_and_then_one_worker_tries() {
        let mut crashes = CrashLoop::default();
        for (secs, unhealthy) in [(0, 1), (5, 0), (10, 1), (15, 0)] {
            assert_eq!(crashes.on_counts(at(secs), seen(unhealthy, 0)), None);
        }
        assert_eq!(crashes.most(at(15)), None);
        let pause = DurationMs::from_secs(60);
        assert_eq!(crashes.on_counts(at(20), seen(1, 0)), Some((3, pause)));
        assert_eq!(
            crashes.on_counts(at(30), seen(4, 0)),
            None,
            "one pause at a time"
        );
        assert_eq!(
            (crashes.most(at(79)), crashes.most(at(80))),
            (Some(0), Some(1))
        );
        let paused = CrashPause {
            times: 1,
            until: at(80),
        };
        assert_eq!(
            crashes.pause(),
            Some(paused),
            "until a worker is seen at work"
        );
        // The three of meanwhile count: the next pause is longer.
        let pause = DurationMs::from_secs(120);
        assert_eq!(crashes.on_counts(at(81), seen(0, 0)), Some((3, pause)));
        assert_eq!(crashes.on_counts(at(300), seen(0, 1)), None);
        assert_eq!((crashes.most(at(300)), crashes.pause()), (None, None));
    }

    #[test]
    fn workers_that_stay_crashed_make_a_loop_unless_others_work() {
        let mut crashes = CrashLoop::default();
        assert_eq!(crashes.on_counts(at(0), seen(1, 0)), None);
        assert_eq!(crashes.on_counts(at(59), seen(1, 0)), None);
        assert!(crashes.on_counts(at(60), seen(1, 0)).is_some());
        let mut crashes = CrashLoop::default();
        for secs in 0..100 {
            assert_eq!(crashes.on_counts(at(secs), seen(2, 1)), None);
        }
    }

    #[test]
    fn the_longest_pause_is_half_an_hour() {
        let mut crashes = CrashLoop::default();
        let mut last = DurationMs::ZERO;
        for secs in 0..20_000 {
            let unhealthy = u32::from(secs % 2 == 0);
            if let Some((_, pause)) = crashes.on_counts(at(secs), seen(unhealthy, 0)) {
                last = pause;
            }
        }
        assert_eq!(last, PAUSE_MAX);
    }
}
