//! The yardstick: billed worker-seconds over the least that any schedule could bill, as a geometric
//! mean over known traces.
//!
//! [`KNOWN`] are the recorded traces with their published bounds, [`generated`] our own where those
//! are not at hand, [`report`] every policy over either, beside the published figures.

pub mod generated;
pub mod report;

use overspill_core::time::DurationMs;

use super::engine::simulate;
use super::policies::Policy;
use super::record::{Broken, Summary};
use super::settings::{Settings, SettingsError};
use super::trace::Trace;

/// The promise of the score: submit to start.
pub const PROMISE: DurationMs = DurationMs::from_secs(90);

/// A trace whose bound is known.
#[derive(Debug, Clone, Copy)]
pub struct KnownTrace {
    /// The file's name without `.csv`.
    pub name: &'static str,
    /// Local workers and their slots.
    pub local: (u32, u32),
    /// Cloud workers at most, and their slots.
    pub cloud: (u32, u32),
    /// The least worker-seconds with all jobs on time at a promise of 90 s.
    pub bound_s: f64,
    /// The length of a time slot that this bound was computed with, in seconds.
    pub bound_slot_s: u64,
}

/// The traces of the score.
pub const KNOWN: [KnownTrace; 7] = [
    known("img_low", (0, 1), (8, 1), 11_250.0, 30),
    known("img_busy", (1, 1), (8, 1), 30_998.0, 30),
    known("llm_conv", (2, 6), (12, 6), 11_452.0, 5),
    known("vlm_bursty", (0, 1), (8, 6), 15_474.0, 20),
    known("r1_diurnal", (1, 1), (6, 6), 15_189.0, 20),
    known("sparse_a", (0, 1), (4, 6), 60_595.0, 60),
    known("batch_a", (2, 1), (8, 1), 725_065.0, 400),
];

const fn known(
    name: &'static str,
    local: (u32, u32),
    cloud: (u32, u32),
    bound_s: f64,
    bound_slot_s: u64,
) -> KnownTrace {
    KnownTrace {
        name,
        local,
        cloud,
        bound_s,
        bound_slot_s,
    }
}

impl KnownTrace {
    /// Its world.
    #[must_use]
    pub fn settings(&self, seed: u64, max_wait: DurationMs) -> Settings {
        Settings {
            local_workers: self.local.0,
            local_slots: self.local.1,
            max: self.cloud.0,
            slots: self.cloud.1,
            max_wait,
            seed,
            ..Settings::default()
        }
    }
}

/// Why a score cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// The world is impossible.
    #[error("the settings of {trace} describe no world")]
    Settings {
        /// Which trace.
        trace: &'static str,
        /// Why.
        #[source]
        source: SettingsError,
    },
    /// An identity does not hold.
    #[error("{policy} on {trace}, seed {seed}: the run does not add up")]
    Broken {
        /// Which policy.
        policy: String,
        /// Which trace.
        trace: &'static str,
        /// Which seed.
        seed: u64,
        /// What is broken.
        #[source]
        source: Broken,
    },
}

/// One policy on one trace, over the seeds.
#[derive(Debug, Clone)]
pub struct Line {
    /// Which trace.
    pub trace: KnownTrace,
    /// One a seed.
    pub runs: Vec<Summary>,
}

impl Line {
    /// The mean of a figure over the seeds.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a handful of seeds")]
    pub fn mean(&self, figure: impl Fn(&Summary) -> f64) -> f64 {
        self.runs.iter().map(figure).sum::<f64>() / self.runs.len().max(1) as f64
    }

    /// Billed worker-seconds over the bound.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "worker-seconds for display")]
    pub fn ratio(&self) -> f64 {
        self.mean(|run| run.billed_worker_seconds as f64) / self.trace.bound_s
    }
}

/// Runs a policy on a trace with each seed, and checks that each run adds up.
///
/// # Errors
/// When a run does not add up.
pub fn line(
    known: KnownTrace,
    trace: &Trace,
    seeds: &[u64],
    max_wait: DurationMs,
    policy: &dyn Fn() -> Box<dyn Policy>,
) -> Result<Line, ScoreError> {
    let mut runs = Vec::new();
    for &seed in seeds {
        let settings = known.settings(seed, max_wait);
        let mut policy = policy();
        let run =
            simulate(trace, &settings, policy.as_mut()).map_err(|source| ScoreError::Settings {
                trace: known.name,
                source,
            })?;
        let policy = policy.name();
        run.check(trace, &settings)
            .map_err(|source| ScoreError::Broken {
                policy: policy.to_owned(),
                trace: known.name,
                seed,
                source,
            })?;
        runs.push(run.summary(policy, trace, &settings));
    }
    Ok(Line { trace: known, runs })
}

/// The score: geometric mean of the ratios.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a handful of traces")]
pub fn score<'a>(lines: impl IntoIterator<Item = &'a Line>) -> f64 {
    let (sum, count) = lines
        .into_iter()
        .fold((0.0, 0_usize), |(sum, count), line| {
            (sum + line.ratio().ln(), count + 1)
        });
    (sum / count.max(1) as f64).exp()
}
