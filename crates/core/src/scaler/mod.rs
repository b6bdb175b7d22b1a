//! How many cloud workers an endpoint wants, and how many waiting jobs are meant for them.
//!
//! Each policy is a pure function of a [`View`]; it returns its [`Wish`], and the caller applies
//! limits, money and health. Whatever the policy: workers on their way are counted, and work is
//! never killed to scale down.

pub mod cost_aware;
pub mod fleet;
pub mod history;
pub mod ladder;
pub mod queue_delay;
pub mod request_count;
pub mod slots;
pub mod weighed;

pub use fleet::{CloudPicture, CloudWorker, Phase};
pub use history::START_MEAN;
pub use weighed::Weighed;

use crate::placement::projection::{Picture, Projection, Waiting, project};
use crate::time::DurationMs;
use crate::topology::{EndpointSpec, ScalerSpec};

/// So many workers beyond the limit are looked at, to say how many would help.
pub const BEYOND_MAX: u32 = 16;

/// What a policy sees.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The queue and the local slots.
    pub picture: &'a Picture,
    /// What the local slots alone would do.
    pub projection: Projection,
    /// The cloud side, in counts.
    pub cloud: Cloud,
    /// The cloud side, worker by worker, those that start included; `None` where only counts are
    /// known.
    pub fleet: Option<&'a [CloudWorker]>,
    /// Jobs that RunPod has and has not begun, in order: they are the next on its workers.
    pub submitted: &'a [Waiting],
    /// What was learned of durations, arrivals and start-ups.
    pub history: &'a history::History,
    /// Stands in for measured durations until there are samples.
    pub expected: DurationMs,
    /// Cloud workers that there may be.
    pub max: u32,
    /// No idle worker is kept for longer than this.
    pub idle_max: DurationMs,
}

/// The cloud side of an endpoint, over all its cloud pools.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cloud {
    /// Jobs at once on one worker.
    pub slots: u32,
    /// Jobs that the cloud has, running or not.
    pub outstanding: u32,
    /// Of them, those that run.
    pub running: u32,
    /// Workers that live there, those that start included, as last counted.
    pub alive: u32,
    /// Workers wanted until now.
    pub wanted: u32,
}

/// What a policy wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wish {
    /// Cloud workers, before limits.
    pub workers: u32,
    /// So many of the first waiting jobs may go to the cloud.
    pub spill: u32,
    /// How long the policy keeps an idle worker; it tells to stop it after that.
    pub keep: DurationMs,
}

/// What was decided for an endpoint, and from what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Decision {
    /// What the local slots alone would do.
    pub projection: Projection,
    /// What the policy wants.
    pub wish: Wish,
    /// What it weighed, where it weighs.
    pub weighed: Option<Weighed>,
}

/// What the local slots alone would do with an endpoint's queue, and what its policy `scaler` wants
/// for it: the one place where both are asked, for decisions and for what is said about them.
#[must_use]
pub fn decide(
    scaler: &ScalerSpec,
    spec: &EndpointSpec,
    picture: &Picture,
    cloud: &CloudPicture,
    history: &history::History,
    max: u32,
) -> Decision {
    let projection = project(picture);
    let view = View {
        picture,
        projection,
        cloud: cloud.counts,
        fleet: Some(&cloud.workers),
        submitted: &cloud.submitted,
        history,
        expected: spec.expected_execution,
        // A start that hangs holds its place, and another takes over from it.
        max: max.saturating_sub(cloud.stuck),
        idle_max: cloud.idle_max,
    };
    let ScalerSpec::CostAware(tuning) = scaler else {
        return Decision {
            projection,
            wish: wish(scaler, &view),
            weighed: None,
        };
    };
    let (mut wish, weighed) = cost_aware::decide(&tuning.constants(), &view);
    wish.workers = wish.workers.saturating_add(cloud.stuck);
    Decision {
        projection,
        wish,
        weighed,
    }
}

/// How many workers the policy would want if there might be more of them, up to [`BEYOND_MAX`] more:
/// for what is said at the limit, and never done.
#[must_use]
pub fn wanted_beyond(
    scaler: &ScalerSpec,
    spec: &EndpointSpec,
    picture: &Picture,
    cloud: &CloudPicture,
    history: &history::History,
    max: u32,
) -> u32 {
    let jobs = count(picture.waiting_total + cloud.submitted.len());
    let beyond = max.saturating_add(jobs.min(BEYOND_MAX));
    let decision = decide(scaler, spec, picture, cloud, history, beyond);
    decision.wish.workers
}

/// Asks the policy.
#[must_use]
pub fn wish(spec: &ScalerSpec, view: &View<'_>) -> Wish {
    match spec {
        ScalerSpec::QueueDelay { delay } => queue_delay::wish(*delay, view),
        ScalerSpec::RequestCount { per_worker } => request_count::wish(*per_worker, view),
        ScalerSpec::Ladder => ladder::wish(view),
        ScalerSpec::CostAware(tuning) => cost_aware::wish(&tuning.constants(), view),
    }
}

/// Workers for so many jobs.
fn workers_for(jobs: u32, slots: u32) -> u32 {
    jobs.div_ceil(slots.max(1))
}

/// Saturates: queues are counted in 32 bits here.
fn count(jobs: usize) -> u32 {
    u32::try_from(jobs).unwrap_or(u32::MAX)
}
