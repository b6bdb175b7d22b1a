//! What an endpoint has learned: durations by class, the rate of arrivals, and how long cloud
//! workers take to start.
//!
//! Rebuilt from nothing after a restart for now; the rings are small and fill within minutes. Facts
//! go in with their time; every answer is a pure function of them.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::time::{DurationMs, Timestamp};

/// Finished durations that are remembered over all classes.
const ALL_MAX: usize = 96;
/// Finished durations that are remembered of one class.
const CLASS_MAX: usize = 32;
/// Samples below which the configured expectation stands in.
const SAMPLES_MIN: usize = 3;
/// How far all classes weigh in beside a class's own samples, in samples.
const GENERAL_WEIGHT: u64 = 3;
/// Arrivals are averaged over about so many seconds.
const RATE_WINDOW_S: f64 = 60.0;
/// Jobs over which late starts are counted, about.
const PROMISES_WINDOW: f64 = 2_000.0;
/// Start-up times that are remembered.
const STARTS_MAX: usize = 128;
/// Start-up times below which the assumed ones stand in.
const STARTS_MIN: usize = 4;
/// Start-up thought of before any was seen: the mean.
const START_MEAN: DurationMs = DurationMs::from_secs(45);
/// Start-up thought of before any was seen: the longest.
const START_LONGEST: DurationMs = DurationMs::from_secs(60);

/// Everything learned of one endpoint.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct History {
    all: VecDeque<DurationMs>,
    by_class: BTreeMap<u32, VecDeque<DurationMs>>,
    starts: VecDeque<DurationMs>,
    /// Arrivals a second as of `rate_at`.
    #[serde(with = "bits")]
    rate: f64,
    rate_at: Timestamp,
    /// Jobs started, and those of them that started late; older ones fade.
    #[serde(with = "bits")]
    begun: f64,
    #[serde(with = "bits")]
    late: f64,
}

impl History {
    /// A job came in at `at`.
    pub fn arrived(&mut self, at: Timestamp) {
        self.rate = self.rate_per_s(at) + 1.0 / RATE_WINDOW_S;
        self.rate_at = at;
    }

    /// A job of `class` has run for `length`.
    pub fn finished(&mut self, class: u32, length: DurationMs) {
        push(&mut self.all, length, ALL_MAX);
        push(self.by_class.entry(class).or_default(), length, CLASS_MAX);
    }

    /// A cloud worker was ready `length` after it was ordered.
    pub fn started(&mut self, length: DurationMs) {
        push(&mut self.starts, length, STARTS_MAX);
    }

    /// A job started, within the promise or late.
    pub fn began(&mut self, is_late: bool) {
        let fades = 1.0 - 1.0 / PROMISES_WINDOW;
        self.begun = self.begun * fades + 1.0;
        self.late = self.late * fades + f64::from(u8::from(is_late));
    }

    /// How many more of the last jobs might have been late at a share of `late_share`; negative
    /// where too many were.
    #[must_use]
    pub fn credit(&self, late_share: f64) -> f64 {
        self.begun * late_share - self.late
    }

    /// Arrivals a second, averaged over about a minute, as seen at `now`.
    #[must_use]
    pub fn rate_per_s(&self, now: Timestamp) -> f64 {
        let passed = now.since(self.rate_at).as_secs_f64();
        self.rate * (-passed / RATE_WINDOW_S).exp()
    }

    /// The mean time from order to first readiness of a cloud worker.
    #[must_use]
    pub fn start_mean(&self) -> DurationMs {
        if self.starts.len() < STARTS_MIN {
            return START_MEAN;
        }
        let sum: u64 = self.starts.iter().map(|length| length.as_millis()).sum();
        DurationMs::from_millis(sum / self.starts.len() as u64)
    }

    /// The longest time from order to first readiness that is reckoned with.
    #[must_use]
    pub fn start_longest(&self) -> DurationMs {
        let longest = self.starts.iter().max().copied().unwrap_or_default();
        if self.starts.len() < STARTS_MIN {
            longest.max(START_LONGEST)
        } else {
            longest
        }
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
        let weighted = sum + GENERAL_WEIGHT * general.as_millis();
        DurationMs::from_millis(weighted / (count + GENERAL_WEIGHT))
    }

    /// The duration of a job of which nothing is known.
    #[must_use]
    pub fn typical(&self, expected: DurationMs) -> DurationMs {
        self.remaining(u32::MAX, DurationMs::ZERO, expected)
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

/// Numbers as their bits: a checkpoint must give back the very same ones.
mod bits {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        value.to_bits().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        u64::deserialize(deserializer).map(f64::from_bits)
    }
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

    #[test]
    fn a_steady_stream_is_seen_at_its_rate_and_forgotten_when_it_ends() {
        let mut history = History::default();
        for second in 0..600 {
            history.arrived(Timestamp::ZERO + secs(second));
        }
        let seen = history.rate_per_s(Timestamp::ZERO + secs(600));
        assert!((seen - 1.0).abs() < 0.02, "{seen}");
        assert!(history.rate_per_s(Timestamp::ZERO + secs(1_200)) < 0.001);
    }

    #[test]
    fn start_ups_are_assumed_until_four_were_seen() {
        let mut history = History::default();
        history.started(secs(90));
        assert_eq!(
            (history.start_mean(), history.start_longest()),
            (secs(45), secs(90))
        );
        for _ in 0..3 {
            history.started(secs(10));
        }
        assert_eq!(
            (history.start_mean(), history.start_longest()),
            (secs(30), secs(90))
        );
    }
}
