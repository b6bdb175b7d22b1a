//! What a pool's workers cost, from their counts over time. Pure.
//!
//! `RunPod` bills from a container's start to its full stop and tells nobody per second; the counts are what there
//! is. Counted as billed: running (idle within the time-out included), initializing, and idle ones up to the minimum
//! that is always on. Between two readings the larger of both counts holds, so that an outage, or a worker that came
//! and went, is charged rather than forgotten; `RunPod`'s hourly records settle the difference.

use overspill_core::event::CloudWorkerCounts;

/// The longest stretch that one reading is charged for, in milliseconds: after it nothing is known.
const STRETCH_MS_MAX: i64 = 3_600_000;

/// Accounts are written at most this often while workers run, in milliseconds.
const WRITE_EVERY_MS: i64 = 10_000;

/// Worker time of one pool.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    last: Option<(i64, u32)>,
    unwritten_ms: i64,
    written_at_ms: i64,
}

impl Meter {
    /// Takes in a reading; returns worker time to account for, in milliseconds, when it is time to write.
    pub fn on_counts(&mut self, now_ms: i64, counts: CloudWorkerCounts, min: u32) -> Option<i64> {
        let billed = counts.running + counts.initializing + counts.idle.min(min);
        if let Some((last_ms, last_billed)) = self.last {
            let stretch_ms = (now_ms - last_ms).clamp(0, STRETCH_MS_MAX);
            self.unwritten_ms += stretch_ms * i64::from(last_billed.max(billed));
        }
        self.last = Some((now_ms, billed));
        let is_time = billed == 0 || now_ms - self.written_at_ms >= WRITE_EVERY_MS;
        if self.unwritten_ms == 0 || !is_time {
            return None;
        }
        self.written_at_ms = now_ms;
        Some(std::mem::take(&mut self.unwritten_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(running: u32) -> CloudWorkerCounts {
        CloudWorkerCounts {
            running,
            ..CloudWorkerCounts::default()
        }
    }

    #[test]
    fn counts_over_time_become_worker_time() {
        let mut meter = Meter::default();
        assert_eq!(meter.on_counts(100_000, running(0), 0), None);
        assert_eq!(
            meter.on_counts(101_000, running(2), 0),
            Some(2_000),
            "it may have begun right after"
        );
        assert_eq!(meter.on_counts(102_000, running(2), 0), None);
        assert_eq!(meter.on_counts(103_000, running(0), 0), Some(4_000));
        assert_eq!(meter.on_counts(200_000, running(0), 0), None);
    }

    #[test]
    fn idle_workers_cost_only_where_they_are_always_on() {
        let counts = CloudWorkerCounts {
            idle: 3,
            throttled: 2,
            ..CloudWorkerCounts::default()
        };
        let mut meter = Meter::default();
        meter.on_counts(0, counts, 0);
        assert_eq!(meter.on_counts(60_000, counts, 0), None);
        let mut meter = Meter::default();
        meter.on_counts(0, counts, 1);
        assert_eq!(meter.on_counts(60_000, counts, 1), Some(60_000));
    }

    #[test]
    fn an_outage_is_charged_at_the_larger_count() {
        let mut meter = Meter::default();
        meter.on_counts(0, running(3), 0);
        assert_eq!(meter.on_counts(600_000, running(1), 0), Some(1_800_000));
    }
}
