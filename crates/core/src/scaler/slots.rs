//! Learned slots: how many jobs at once a worker carries, found from how long jobs take beside each other.
//!
//! More jobs at once are worth it while the worker as a whole gets more done: the *knee* is where one more
//! slot only makes all jobs slower. The learner doubles while that pays, goes back half-way when it does not,
//! and stays at the knee; after many jobs it tries one step more, for loads change. Only the same
//! classes of jobs are compared, and only jobs that ran beside as many as the level says. A worker that
//! runs out of memory, or answers that it is busy, sets a *ceiling* below what it then had, at once.
//!
//! Everything is a whole number, and a pure function of what it was told.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::{DurationMs, Timestamp};

/// No more than these are tried.
pub const SLOTS_MAX: u32 = 64;
/// Jobs of a level, in classes that both levels have, before two levels are compared.
const SAMPLES_MIN: u64 = 12;
/// Jobs of one class and level that are reckoned with; older ones fade.
const SAMPLES_MAX: u64 = 24;
/// Classes that are told apart on a level.
const CLASSES_MAX: usize = 16;
/// A step is worth it from this share, in thousandths, of what it would bring without any slowdown.
const WORTH_MILLI: u64 = 750;
/// At the knee, one step more is tried after so many jobs.
const AGAIN_AFTER: u32 = 500;
/// A ceiling is doubted after this long.
const CEILING_KEPT: DurationMs = DurationMs::from_secs(3_600);

/// What a worker says when a job finds no memory on its GPU, in the words of PyTorch, of CUDA and of ROCm.
pub const OUT_OF_MEMORY: [&str; 4] = [
    "CUDA out of memory",
    "OutOfMemoryError",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "HIP out of memory",
];

/// Whether an error says that a GPU's memory was full.
#[must_use]
pub fn is_out_of_memory(error: &str) -> bool {
    OUT_OF_MEMORY.iter().any(|words| error.contains(words))
}

/// What is known of one pool's workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Slots {
    /// Jobs at once on one worker, now.
    pub now: u32,
    /// The most that was found worth it.
    pub knee: u32,
    /// The least that was found not worth it, where one was.
    pub too_many: Option<u32>,
    /// The most that memory allows, and since when it is known.
    pub ceiling: Option<(u32, Timestamp)>,
    /// Jobs that ran since it last changed.
    jobs: u32,
    /// How long jobs took by level and class.
    levels: BTreeMap<u32, BTreeMap<u32, Mean>>,
}

/// Times of jobs of one class on one level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mean {
    jobs: u64,
    ms: u64,
}

/// A change of the slots, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Slots before.
    pub from: u32,
    /// Slots from now on.
    pub to: u32,
    /// Why.
    pub why: Why,
}

/// Why slots change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The worker gets more done with them: more are tried.
    Worth,
    /// Jobs only got slower.
    NotWorth,
    /// The GPU's memory was full.
    OutOfMemory,
    /// The worker said that it was busy.
    Busy,
    /// Many jobs later, one step more is tried.
    Again,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Worth => "a worker gets more done, so more are tried",
            Self::NotWorth => "more at once only made each slower",
            Self::OutOfMemory => "the GPU's memory was full",
            Self::Busy => "the worker said that it was busy",
            Self::Again => "one more is tried again after many jobs",
        })
    }
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            now: 1,
            knee: 1,
            too_many: None,
            ceiling: None,
            jobs: 0,
            levels: BTreeMap::new(),
        }
    }
}

impl Slots {
    /// A job of `class` ran for `length` while its worker had `beside` jobs, itself included.
    pub fn finished(
        &mut self,
        class: u32,
        beside: u32,
        length: DurationMs,
        now: Timestamp,
    ) -> Option<Step> {
        self.jobs = self.jobs.saturating_add(1);
        if beside != self.now && beside != self.knee {
            return self.again(now);
        }
        let level = self.levels.entry(beside).or_default();
        let is_known = level.contains_key(&class) || level.len() < CLASSES_MAX;
        let mean = level
            .entry(if is_known { class } else { u32::MAX })
            .or_default();
        if mean.jobs == SAMPLES_MAX {
            mean.ms -= mean.ms / SAMPLES_MAX;
            mean.jobs -= 1;
        }
        mean.jobs += 1;
        mean.ms += length.as_millis();
        if self.now == self.knee {
            // The first step up, and those after it backed off.
            let next = self.next(now);
            return if next > self.knee && self.samples(self.knee) >= SAMPLES_MIN {
                self.go(next, Why::Worth)
            } else {
                self.again(now)
            };
        }
        let gain = self.gain_milli()?;
        let step = u64::from(self.now - self.knee);
        let is_worth = gain.saturating_sub(1_000) * u64::from(self.knee) >= WORTH_MILLI * step;
        if is_worth {
            self.levels.remove(&self.knee);
            self.knee = self.now;
            self.go(self.next(now), Why::Worth)
        } else {
            self.levels.remove(&self.now);
            self.too_many = Some(self.now);
            self.go(self.next(now), Why::NotWorth)
        }
    }

    /// A job failed for want of memory while its worker had `beside` jobs, itself included.
    pub fn out_of_memory(&mut self, beside: u32, now: Timestamp) -> Option<Step> {
        self.limit(beside, now, Why::OutOfMemory)
    }

    /// A worker that had `beside` jobs, the refused one included, said that it was busy.
    pub fn busy(&mut self, beside: u32, now: Timestamp) -> Option<Step> {
        self.limit(beside, now, Why::Busy)
    }

    /// One job alone that does not fit is no matter of slots.
    fn limit(&mut self, beside: u32, now: Timestamp, why: Why) -> Option<Step> {
        let most = beside.saturating_sub(1).max(1);
        let known = self.ceiling.map_or(u32::MAX, |(slots, _)| slots);
        if beside < 2 {
            return None;
        }
        self.ceiling = Some((most.min(known), now));
        let most = most.min(known);
        self.knee = self.knee.min(most);
        self.levels.retain(|&level, _| level <= most);
        self.too_many = Some(self.too_many.unwrap_or(u32::MAX).min(most + 1));
        let to = self.now.min(self.knee);
        self.go(to, why)
    }

    /// What comes after the knee: twice as much until too much was seen, then half-way.
    fn next(&self, now: Timestamp) -> u32 {
        let beyond = match self.too_many {
            None => self.knee.saturating_mul(2),
            Some(too_many) => u32::midpoint(self.knee, too_many),
        };
        beyond.min(self.most(now)).max(self.knee)
    }

    fn most(&self, now: Timestamp) -> u32 {
        let ceiling = self
            .ceiling
            .filter(|(_, since)| now.since(*since) < CEILING_KEPT);
        ceiling.map_or(SLOTS_MAX, |(slots, _)| slots)
    }

    /// At the knee for long: one step more is worth a try.
    fn again(&mut self, now: Timestamp) -> Option<Step> {
        if self.now != self.knee || self.jobs < AGAIN_AFTER {
            return None;
        }
        self.jobs = 0;
        self.too_many = Some(self.knee.saturating_add(2));
        let to = (self.knee + 1).min(self.most(now));
        self.go(to, Why::Again)
    }

    fn go(&mut self, to: u32, why: Why) -> Option<Step> {
        let from = std::mem::replace(&mut self.now, to);
        if from == to {
            return None;
        }
        self.jobs = 0;
        Some(Step { from, to, why })
    }

    fn samples(&self, level: u32) -> u64 {
        let level = self.levels.get(&level);
        level.map_or(0, |classes| classes.values().map(|mean| mean.jobs).sum())
    }

    /// How much more a worker gets done now than at the knee, in thousandths; `None` until enough ran.
    fn gain_milli(&self) -> Option<u64> {
        let (here, knee) = (self.levels.get(&self.now)?, self.levels.get(&self.knee)?);
        let (mut jobs, mut ms_here, mut ms_knee) = (0, 0, 0);
        for (class, mean) in here {
            let Some(other) = knee.get(class) else {
                continue;
            };
            let weight = mean.jobs.min(other.jobs);
            jobs += weight;
            ms_here += weight * mean.ms / mean.jobs;
            ms_knee += weight * other.ms / other.jobs;
        }
        if jobs < SAMPLES_MIN {
            return None;
        }
        let more = u64::from(self.now) * ms_knee.max(1) * 1_000;
        Some(more / (u64::from(self.knee) * ms_here.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that gets slower in proportion from `knee` jobs on, and has memory for `fits`.
    struct Worker {
        knee: u32,
        fits: u32,
        now: Timestamp,
    }

    impl Worker {
        /// Runs so many jobs of two classes with as many at once as are learned; the steps.
        fn run(&mut self, slots: &mut Slots, jobs: u32) -> Vec<Step> {
            let mut steps = Vec::new();
            for n in 0..jobs {
                self.now += DurationMs::from_secs(5);
                let beside = slots.now;
                let step = if beside > self.fits {
                    slots.out_of_memory(beside, self.now)
                } else {
                    let class = n % 2;
                    // Up to a tenth more or less.
                    let base = u64::from(10_000 * (class + 1) + n * 137 % 2_000);
                    let slow = u64::from(beside.max(self.knee));
                    let length = DurationMs::from_millis(base * slow / u64::from(self.knee));
                    slots.finished(class, beside, length, self.now)
                };
                steps.extend(step);
            }
            steps
        }
    }

    fn worker(knee: u32, fits: u32) -> Worker {
        Worker {
            knee,
            fits,
            now: Timestamp::ZERO,
        }
    }

    #[test]
    fn the_knee_is_found_whatever_it_is() {
        for knee in 1..=24 {
            let mut slots = Slots::default();
            worker(knee, 64).run(&mut slots, 400);
            assert!(
                slots.knee.abs_diff(knee) <= (knee / 8).max(1),
                "knee {knee}: {slots:?}"
            );
            assert_eq!(slots.now, slots.knee, "knee {knee}: it settles");
        }
    }

    #[test]
    fn memory_is_a_ceiling_that_is_not_run_into_again_at_once() {
        let mut worker = worker(16, 5);
        let mut slots = Slots::default();
        let steps = worker.run(&mut slots, 400);
        let full = |step: &&Step| step.why == Why::OutOfMemory;
        assert_eq!(slots.now, 5, "{slots:?}");
        let failed = steps.iter().filter(full).count();
        assert!(failed <= 2, "{steps:?}");
        // Within the hour no job fails again; after it, the ceiling is tried once.
        let calm = worker.run(&mut slots, 300);
        assert_eq!(calm.iter().filter(full).count(), 0, "{calm:?}");
        worker.now += CEILING_KEPT;
        let later = worker.run(&mut slots, 1_000);
        assert!(later.iter().filter(full).count() <= 2, "{later:?}");
        assert_eq!(slots.now, 5);
    }

    #[test]
    fn it_backs_off_at_once_and_leaves_a_job_that_never_fits_alone() {
        let now = Timestamp::ZERO;
        let mut slots = Slots {
            now: 8,
            knee: 4,
            ..Slots::default()
        };
        let step = slots.busy(7, now).expect("seven were too many");
        assert_eq!((step.from, step.to, step.why), (8, 4, Why::Busy));
        assert_eq!(slots.ceiling, Some((6, now)));
        let step = slots.out_of_memory(4, now).expect("four were too many");
        assert_eq!((step.to, slots.knee), (3, 3));
        let mut alone = Slots::default();
        assert_eq!(alone.out_of_memory(1, now), None);
        assert_eq!(alone, Slots::default());
    }

    #[test]
    fn another_mix_of_classes_is_not_taken_for_a_slowdown() {
        let mut slots = Slots::default();
        let mut now = Timestamp::ZERO;
        for n in 0..200_u32 {
            now += DurationMs::from_secs(1);
            // Short jobs while it runs one at a time, mostly long ones with two.
            let class = u32::from(slots.now > 1 && !n.is_multiple_of(4));
            let length = DurationMs::from_secs(if class == 0 { 5 } else { 50 });
            let beside = slots.now;
            slots.finished(class, beside, length, now);
            if slots.now > 2 {
                return;
            }
        }
        panic!("the same jobs ran as fast with two at once: {slots:?}");
    }

    #[test]
    fn a_load_that_changes_is_followed() {
        let mut slots = Slots::default();
        let mut before = worker(2, 64);
        before.run(&mut slots, 300);
        assert_eq!(slots.knee, 2);
        let mut after = Worker { knee: 6, ..before };
        after.run(&mut slots, 6_000);
        assert!(slots.knee >= 5, "{slots:?}");
    }
}
