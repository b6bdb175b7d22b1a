//! What an endpoint has learned of its jobs: durations by class.
//!
//! Rebuilt from nothing after a restart for now; the rings are small and fill within minutes.

use std::collections::{BTreeMap, VecDeque};

use crate::time::DurationMs;

/// Finished durations that are remembered over all classes.
const ALL_MAX: usize = 96;
/// Finished durations that are remembered of one class.
const CLASS_MAX: usize = 32;
/// Samples below which the configured expectation stands in.
const SAMPLES_MIN: usize = 3;

/// Rings of finished durations.
#[derive(Debug, Clone, Default)]
pub struct History {
    all: VecDeque<DurationMs>,
    by_class: BTreeMap<u32, VecDeque<DurationMs>>,
}

impl History {
    /// A job of `class` has run for `length`.
    pub fn finished(&mut self, class: u32, length: DurationMs) {
        push(&mut self.all, length, ALL_MAX);
        push(self.by_class.entry(class).or_default(), length, CLASS_MAX);
    }

    /// The time that a job of `class` still needs after it has run for `elapsed`: the mean of what
    /// longer jobs of its class needed beyond that, leaning on all classes while its own are few.
    #[must_use]
    pub fn remaining(&self, class: u32, elapsed: DurationMs, expected: DurationMs) -> DurationMs {
        if self.all.len() < SAMPLES_MIN {
            let rest = expected.saturating_sub(elapsed);
            return rest.max(DurationMs::from_millis(
                (elapsed.as_millis() / 2).min(1_000),
            ));
        }
        let unknown = DurationMs::from_millis((elapsed.as_millis() / 2).max(1_000));
        let general =
            beyond(&self.all, elapsed).map_or(unknown, |(sum, n)| DurationMs::from_millis(sum / n));
        let (sum, count) = self
            .by_class
            .get(&class)
            .and_then(|ring| beyond(ring, elapsed))
            .unwrap_or_default();
        DurationMs::from_millis((sum + 3 * general.as_millis()) / (count + 3))
    }
}

fn push(ring: &mut VecDeque<DurationMs>, length: DurationMs, max: usize) {
    if ring.len() == max {
        ring.pop_front();
    }
    ring.push_back(length);
}

/// Sum in ms and number of what the durations longer than `elapsed` have beyond it.
fn beyond(ring: &VecDeque<DurationMs>, elapsed: DurationMs) -> Option<(u64, u64)> {
    let longer = ring.iter().filter(|&&length| length > elapsed);
    let (sum, count) = longer.fold((0, 0), |(sum, count), length| {
        (sum + length.saturating_sub(elapsed).as_millis(), count + 1)
    });
    (count > 0).then_some((sum, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(n: u64) -> DurationMs {
        DurationMs::from_secs(n)
    }

    #[test]
    fn expectation_stands_in_until_three_samples() {
        let mut history = History::default();
        assert_eq!(history.remaining(0, secs(0), secs(30)), secs(30));
        for _ in 0..3 {
            history.finished(0, secs(4));
        }
        assert_eq!(history.remaining(0, secs(0), secs(30)), secs(4));
        assert_eq!(history.remaining(0, secs(3), secs(30)), secs(1));
    }

    #[test]
    fn an_unknown_class_leans_on_all() {
        let mut history = History::default();
        for _ in 0..8 {
            history.finished(1, secs(10));
        }
        assert_eq!(history.remaining(2, secs(0), secs(30)), secs(10));
    }
}
