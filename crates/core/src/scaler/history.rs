//! What an endpoint has learned: durations by class, the rate of arrivals, and how long cloud
//! workers take to start.
//!
//! Facts go in with their time; every answer is a pure function of them. What a restart must not
//! forget is a [`Learned`], stored with the endpoint once a minute; the rate of arrivals is of the
//! last minute only, and begins anew.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::time::{DurationMs, Timestamp};

/// Finished durations that are remembered over all classes.
const ALL_MAX: usize = 96;
/// Finished durations that are remembered of one class.
const CLASS_MAX: usize = 32;
/// Samples below which the configured expectation stands in.
const SAMPLES_MIN: usize = 3;
/// Classes that are told apart; of more, the one that was not seen for longest is forgotten.
const CLASSES_MAX: usize = 64;
/// How far all classes weigh in beside a class's own samples, in samples.
const GENERAL_WEIGHT: u64 = 3;
/// Arrivals are averaged over about so many seconds.
const RATE_WINDOW_S: f64 = 60.0;
/// Jobs over which late starts are counted, about.
const PROMISES_WINDOW: f64 = 2_000.0;
/// Start-up times that are remembered.
const STARTS_MAX: usize = 128;
/// Start-up times below which the expected ones stand in.
const STARTS_MIN: usize = 4;
/// Start-up expected unless told otherwise: the mean.
pub const START_MEAN: DurationMs = DurationMs::from_secs(45);

/// Everything learned of one endpoint.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct History {
    all: VecDeque<DurationMs>,
    by_class: BTreeMap<u32, Class>,
    /// Jobs that have finished, to tell which class was seen last.
    finished: u64,
    starts: VecDeque<DurationMs>,
    /// The mean start-up that is expected until enough were seen; none: [`START_MEAN`].
    #[serde(default)]
    expected_start: Option<DurationMs>,
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

/// The durations of one class.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Class {
    ring: VecDeque<DurationMs>,
    /// The number of the last job of it.
    seen: u64,
}

/// What is stored of a [`History`], in whole numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Learned {
    /// The last durations over all classes, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub all: Vec<DurationMs>,
    /// The last durations by class, each oldest first; the class seen last comes last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by_class: Vec<(u32, Vec<DurationMs>)>,
    /// The last start-up times of cloud workers, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub starts: Vec<DurationMs>,
    /// Thousandths of the jobs that have started, older ones faded.
    pub begun_milli: u64,
    /// Of them, those that started late.
    pub late_milli: u64,
}

impl Learned {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl History {
    /// What was learned before, as it was stored.
    #[must_use]
    pub fn recalled(learned: &Learned) -> Self {
        let ring = |kept: &[DurationMs], max: usize| -> VecDeque<DurationMs> {
            let from = kept.len().saturating_sub(max);
            kept[from..].iter().copied().collect()
        };
        let from = learned.by_class.len().saturating_sub(CLASSES_MAX);
        let classes = learned.by_class[from..].iter().zip(1..);
        Self {
            all: ring(&learned.all, ALL_MAX),
            by_class: classes
                .map(|((class, kept), seen)| {
                    let ring = ring(kept, CLASS_MAX);
                    (*class, Class { ring, seen })
                })
                .collect(),
            finished: CLASSES_MAX as u64,
            starts: ring(&learned.starts, STARTS_MAX),
            begun: from_milli(learned.begun_milli),
            late: from_milli(learned.late_milli),
            ..Self::default()
        }
    }

    /// What is to be stored.
    #[must_use]
    pub fn learned(&self) -> Learned {
        let list = |ring: &VecDeque<DurationMs>| ring.iter().copied().collect();
        let mut classes: Vec<(&u32, &Class)> = self.by_class.iter().collect();
        classes.sort_by_key(|(id, class)| (class.seen, **id));
        Learned {
            all: list(&self.all),
            by_class: classes
                .into_iter()
                .map(|(&id, class)| (id, list(&class.ring)))
                .collect(),
            starts: list(&self.starts),
            begun_milli: to_milli(self.begun),
            late_milli: to_milli(self.late),
        }
    }

    /// A job came in at `at`.
    pub fn arrived(&mut self, at: Timestamp) {
        self.rate = self.rate_per_s(at) + 1.0 / RATE_WINDOW_S;
        self.rate_at = at;
    }

    /// A job of `class` has run for `length`.
    pub fn finished(&mut self, class: u32, length: DurationMs) {
        push(&mut self.all, length, ALL_MAX);
        self.finished += 1;
        if self.by_class.len() >= CLASSES_MAX && !self.by_class.contains_key(&class) {
            let oldest = self.by_class.iter().min_by_key(|(_, class)| class.seen);
            if let Some(oldest) = oldest.map(|(&id, _)| id) {
                self.by_class.remove(&oldest);
            }
        }
        let entry = self.by_class.entry(class).or_default();
        entry.seen = self.finished;
        push(&mut entry.ring, length, CLASS_MAX);
    }

    /// Start-ups are expected to take `mean` until enough were seen.
    pub const fn expect_start(&mut self, mean: DurationMs) {
        self.expected_start = Some(mean);
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
            return self.expected_start.unwrap_or(START_MEAN);
        }
        let sum: u64 = self.starts.iter().map(|length| length.as_millis()).sum();
        DurationMs::from_millis(sum / self.starts.len() as u64)
    }

    /// The longest time from order to first readiness that is reckoned with.
    #[must_use]
    pub fn start_longest(&self) -> DurationMs {
        let longest = self.starts.iter().max().copied().unwrap_or_default();
        if self.starts.len() < STARTS_MIN {
            // A third over the mean: 60 s where 45 s are expected.
            let mean = self.start_mean().as_millis();
            longest.max(DurationMs::from_millis(mean.saturating_add(mean / 3)))
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
            .and_then(|class| beyond(&class.ring, elapsed))
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

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a faded count of jobs: never negative, and at most a few thousand"
)]
fn to_milli(jobs: f64) -> u64 {
    (jobs * 1_000.0).round() as u64
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a faded count of jobs: at most a few thousand"
)]
fn from_milli(milli: u64) -> f64 {
    milli as f64 / 1_000.0
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

    #[test]
    fn start_ups_that_are_expected_to_be_short_stand_in_until_four_were_seen() {
        let mut history = History::default();
        history.expect_start(secs(3));
        assert_eq!(
            (history.start_mean(), history.start_longest()),
            (secs(3), secs(4))
        );
        for _ in 0..4 {
            history.started(secs(30));
        }
        assert_eq!(
            (history.start_mean(), history.start_longest()),
            (secs(30), secs(30))
        );
    }

    #[test]
    fn what_was_learned_comes_back_as_it_was() {
        let mut history = History::default();
        for n in 0..200_u64 {
            let class = u32::try_from(n % 7).unwrap();
            history.finished(class, secs(1 + n % 11));
            history.started(secs(30 + n % 5));
            history.began(n % 10 == 0);
        }
        let learned = history.learned();
        let recalled = History::recalled(&learned);
        assert_eq!(recalled.learned(), learned);
        for class in 0..8 {
            assert_eq!(
                recalled.remaining(class, secs(2), secs(30)),
                history.remaining(class, secs(2), secs(30)),
                "class {class}"
            );
        }
        assert_eq!(recalled.start_mean(), history.start_mean());
        assert!((recalled.credit(0.0) - history.credit(0.0)).abs() < 0.001);
        assert!(History::default().learned().is_empty());
    }

    #[test]
    fn of_too_many_classes_the_one_not_seen_for_longest_is_forgotten() {
        let mut history = History::default();
        for class in 0..1_000 {
            history.finished(class, secs(5));
            history.finished(0, secs(50));
        }
        let learned = history.learned();
        assert_eq!(learned.by_class.len(), CLASSES_MAX);
        assert!(learned.by_class.iter().any(|(class, _)| *class == 0));
        assert!(learned.by_class.iter().any(|(class, _)| *class == 999));
        assert!(!learned.by_class.iter().any(|(class, _)| *class == 1));
    }
}
