//! Traces of our own for the score, where the recorded ones are not at hand: five ways in which
//! people send jobs, drawn from a seed. Nothing in them is copied from a recording.

use overspill_core::time::{DurationMs, Timestamp};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::super::bound::bound;
use super::super::trace::{Trace, TraceJob};
use super::KnownTrace;

/// Names and worlds; the bounds are computed, with time slots of this many seconds.
const WORLDS: [KnownTrace; 5] = [
    super::known("sessions", (0, 1), (6, 1), 0.0, 30),
    super::known("office", (1, 1), (8, 1), 0.0, 30),
    super::known("chat", (1, 6), (8, 6), 0.0, 10),
    super::known("bursts", (0, 1), (8, 6), 0.0, 30),
    super::known("batch", (1, 1), (6, 1), 0.0, 400),
];

/// The traces with their worlds and bounds, as `seed` has them.
#[must_use]
pub fn traces(seed: u64, max_wait: DurationMs) -> Vec<(KnownTrace, Trace)> {
    WORLDS
        .into_iter()
        .map(|mut known| {
            let mut draw = Draw::new(seed, known.name);
            let jobs = match known.name {
                "sessions" => sessions(&mut draw),
                "office" => office(&mut draw),
                "chat" => chat(&mut draw),
                "bursts" => bursts(&mut draw),
                _ => batch(&mut draw),
            };
            let trace = sorted(jobs);
            let slot = DurationMs::from_secs(known.bound_slot_s);
            let least = bound(&trace, &known.settings(seed, max_wait), Some(slot));
            known.bound_s = least.unwrap_or(f64::NAN);
            (known, trace)
        })
        .collect()
}

/// A job: arrival and duration in seconds, class.
type Job = (f64, f64, u32);

const HOUR: f64 = 3_600.0;

struct Draw {
    rng: ChaCha8Rng,
}

impl Draw {
    fn new(seed: u64, name: &str) -> Self {
        let salt = name.bytes().fold(seed, |hash, byte| {
            hash.wrapping_mul(1_099_511_628_211) ^ u64::from(byte)
        });
        Self {
            rng: ChaCha8Rng::seed_from_u64(salt),
        }
    }

    fn even(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.rng.random::<f64>()
    }

    /// Exponentially distributed.
    fn gap(&mut self, mean: f64) -> f64 {
        -(1.0 - self.rng.random::<f64>()).ln() * mean
    }

    /// Around `middle`, with a long tail upwards: its logarithm is nearly normal.
    fn length(&mut self, middle: f64, spread: f64) -> f64 {
        let normal: f64 = (0..12).map(|_| self.rng.random::<f64>()).sum::<f64>() - 6.0;
        (middle * (normal * spread).exp()).clamp(middle / 20.0, middle * 20.0)
    }

    fn class(&mut self, classes: u32) -> u32 {
        self.rng.random_range(0..classes)
    }
}

/// One person at a time makes a few images, half an hour apart: 12 hours.
fn sessions(draw: &mut Draw) -> Vec<Job> {
    let (mut jobs, mut at) = (Vec::new(), 0.0);
    while at < 12.0 * HOUR {
        at += draw.gap(1_500.0);
        let (count, class) = (1 + draw.class(6), draw.class(4));
        for _ in 0..count {
            jobs.push((at, draw.length(20.0, 0.5), class));
            at += draw.gap(50.0);
        }
    }
    jobs
}

/// A working day of image jobs: hardly any at night, a peak before noon.
fn office(draw: &mut Draw) -> Vec<Job> {
    let (mut jobs, mut at) = (Vec::new(), 0.0);
    while at < 24.0 * HOUR {
        let hour = at / HOUR;
        let day = (1.0 - ((hour - 12.0) / 6.0).powi(2)).max(0.02);
        at += draw.gap(22.0 / day);
        let class = draw.class(3);
        jobs.push((at, draw.length(12.0 + 6.0 * f64::from(class), 0.6), class));
    }
    jobs
}

/// Chat, an hour, more than the own card carries.
fn chat(draw: &mut Draw) -> Vec<Job> {
    let (mut jobs, mut at) = (Vec::new(), 0.0);
    while at < HOUR {
        at += draw.gap(0.8);
        jobs.push((at, draw.length(9.0, 0.7), 0));
    }
    jobs
}

/// Quiet, then many at once: 8 hours.
fn bursts(draw: &mut Draw) -> Vec<Job> {
    let (mut jobs, mut at) = (Vec::new(), 0.0);
    while at < 8.0 * HOUR {
        at += draw.gap(400.0);
        for _ in 0..5 + draw.class(60) {
            jobs.push((at + draw.even(0.0, 20.0), draw.length(4.0, 0.6), 0));
        }
    }
    jobs
}

/// Long jobs of many lengths: three days.
fn batch(draw: &mut Draw) -> Vec<Job> {
    let (mut jobs, mut at) = (Vec::new(), 0.0);
    while at < 72.0 * HOUR {
        at += draw.gap(500.0);
        let class = draw.class(4);
        let middle = [60.0, 240.0, 600.0, 1_500.0][class as usize];
        jobs.push((at, draw.length(middle, 0.6).min(7_200.0), class));
    }
    jobs
}

fn sorted(mut jobs: Vec<Job>) -> Trace {
    jobs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let jobs: Vec<TraceJob> = jobs
        .into_iter()
        .map(|(at, length, class)| TraceJob {
            arrival: Timestamp::ZERO + DurationMs::from_secs_f64(at),
            duration: DurationMs::from_secs_f64(length),
            class,
            is_low_priority: false,
        })
        .collect();
    let classes = jobs.iter().map(|job| job.class + 1).max().unwrap_or(0);
    Trace {
        jobs,
        classes: (0..classes).map(|n| format!("class {n}")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_traces_and_each_has_a_bound() {
        let promise = DurationMs::from_secs(90);
        let once = traces(7, promise);
        for (known, trace) in &once {
            assert!(known.bound_s > 0.0, "{}", known.name);
            assert!(trace.jobs.len() > 50, "{}", known.name);
            assert!(trace.jobs.is_sorted_by_key(|job| job.arrival));
        }
        let again = traces(7, promise);
        assert!(once.iter().zip(&again).all(|(a, b)| a.1 == b.1));
        assert!(
            once.iter()
                .zip(&traces(8, promise))
                .all(|(a, b)| a.1 != b.1)
        );
    }
}
