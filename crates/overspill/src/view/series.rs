//! The last hour, one sample a second, in memory.

use std::collections::VecDeque;

use overspill_core::time::{DurationMs, Timestamp};
use serde::Serialize;

/// Samples kept: an hour of them.
const SAMPLES_MAX: usize = 3_600;

/// What was so at one moment. Jobs and money are over all endpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// When.
    pub at_ms: i64,
    /// Jobs that waited.
    pub queued: u64,
    /// Jobs that ran on cards of this host.
    pub local: u64,
    /// Jobs that ran in the cloud.
    pub cloud: u64,
    /// Cloud workers that existed, in whatever state costs money.
    pub cloud_workers: u64,
    /// Since the longest-waiting job came in.
    pub oldest_wait_ms: u64,
    /// What the cloud workers cost an hour, in billionths of a dollar.
    pub nano_usd_per_hour: i64,
    /// Jobs that came in since the sample before.
    pub submitted: u64,
    /// Jobs that were completed since the sample before.
    pub completed: u64,
    /// Jobs that failed since the sample before.
    pub failed: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Series {
    samples: VecDeque<Sample>,
}

impl Series {
    /// Adds the newest.
    pub fn push(&mut self, sample: Sample) {
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// The samples of the last `length`, drawn together so that there are at most `points`: jobs
    /// that came or ended are summed, what is a height keeps its highest value.
    #[must_use]
    pub fn last(&self, now: Timestamp, length: DurationMs, points: usize) -> Vec<Sample> {
        let is_wanted = |sample: &&Sample| {
            now.since(Timestamp::from_millis(sample.at_ms)) <= length
                && sample.at_ms <= now.as_millis()
        };
        let step = length.as_millis().div_ceil(points.max(1) as u64).max(1);
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        let mut drawn: Vec<Sample> = Vec::new();
        let mut bucket = None;
        for sample in self.samples.iter().filter(is_wanted) {
            // Buckets lie on the clock, not on the request: a chart that is read again is the same.
            let place = sample.at_ms.div_euclid(step);
            match drawn.last_mut() {
                Some(last) if bucket == Some(place) => last.absorb(sample),
                _ => drawn.push(*sample),
            }
            bucket = Some(place);
        }
        // A bucket may be cut at both ends.
        let extra = drawn.len().saturating_sub(points);
        drawn.split_off(extra)
    }
}

impl Sample {
    fn absorb(&mut self, later: &Self) {
        self.at_ms = later.at_ms;
        self.queued = self.queued.max(later.queued);
        self.local = self.local.max(later.local);
        self.cloud = self.cloud.max(later.cloud);
        self.cloud_workers = self.cloud_workers.max(later.cloud_workers);
        self.oldest_wait_ms = self.oldest_wait_ms.max(later.oldest_wait_ms);
        self.nano_usd_per_hour = self.nano_usd_per_hour.max(later.nano_usd_per_hour);
        self.submitted += later.submitted;
        self.completed += later.completed;
        self.failed += later.failed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_kept_and_drawn_together_without_losing_a_job_or_a_peak() {
        let mut series = Series::default();
        for second in 0..5_000 {
            series.push(Sample {
                at_ms: second * 1_000,
                queued: u64::from(second == 4_321) * 99,
                submitted: 1,
                ..Sample::default()
            });
        }
        let now = Timestamp::from_millis(4_999_000);
        let all = series.last(now, DurationMs::from_secs(3_600), 360);
        assert_eq!(all.len(), 360);
        assert!(all.windows(2).all(|pair| pair[0].at_ms < pair[1].at_ms));
        assert_eq!(all.iter().map(|sample| sample.queued).max(), Some(99));
        let five = series.last(now, DurationMs::from_secs(300), 300);
        assert_eq!(five.len(), 300);
        assert_eq!(five.iter().map(|sample| sample.submitted).sum::<u64>(), 300);
        assert!(
            Series::default()
                .last(now, DurationMs::from_secs(60), 60)
                .is_empty()
        );
    }
}
