//! An endpoint of the cloud: settings, queue, jobs, workers and counters.

use std::collections::{BTreeMap, VecDeque};

use overspill_core::money::{NanoUsd, RatePerHour};
use serde::Serialize;
use serde_json::Value;

use super::agenda::TimerKey;
use super::gpu;
use super::id::{EndpointId, JobId, WorkerId};
use super::job::{Job, JobStatus};
use super::settings::{EndpointSettings, Flash, Hardware, Knobs, SLOTS_VARIABLE};
use super::worker::{Worker, WorkerState};

/// A version of an endpoint's configuration.
#[derive(Debug, Clone)]
pub struct Release {
    /// Version, from 1.
    pub version: u64,
    /// When it was made.
    pub created_ms: i64,
    /// Changed fields: name, before, after.
    pub diff: Vec<(&'static str, Value, Value)>,
}

/// A stopped worker that FlashBoot can resume.
#[derive(Debug, Clone)]
pub(crate) struct Parked {
    pub(crate) until_ms: i64,
    pub(crate) version: u64,
}

/// Counts since the endpoint exists.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) retried: u64,
    pub(crate) cold_starts: u64,
}

/// An endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) id: EndpointId,
    pub(crate) number: u64,
    pub(crate) settings: EndpointSettings,
    pub(crate) knobs: Knobs,
    pub(crate) created_ms: i64,
    pub(crate) releases: Vec<Release>,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    /// Waiting jobs in order of submission.
    pub(crate) queue: BTreeMap<u64, JobId>,
    pub(crate) workers: BTreeMap<u64, Worker>,
    pub(crate) worker_numbers: BTreeMap<WorkerId, u64>,
    pub(crate) parked: VecDeque<Parked>,
    pub(crate) counters: Counters,
    /// Workers kept warm although nobody asked.
    pub(crate) standby: u32,
    /// Beyond the maximum too.
    pub(crate) standby_beyond_max: bool,
    /// Crashed starts since the last good one.
    pub(crate) crashes: u32,
    pub(crate) price_override: Option<RatePerHour>,
    pub(crate) last_request_ms: i64,
    pub(crate) scale_timer: Option<TimerKey>,
    pub(crate) in_progress: u64,
}

/// Counts of `/health`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Health {
    /// Jobs.
    pub jobs: JobCounts,
    /// Workers.
    pub workers: WorkerCounts,
}

/// Jobs by state; keys in the cloud's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobCounts {
    /// Ended well, ever.
    pub completed: u64,
    /// Ended badly, ever.
    pub failed: u64,
    /// With a worker.
    pub in_progress: u64,
    /// Waiting.
    pub in_queue: u64,
    /// Given to a second worker, ever.
    pub retried: u64,
}

/// Workers by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct WorkerCounts {
    /// Ready without a job; stopped ones that FlashBoot can resume too.
    pub idle: u32,
    /// Starting.
    pub initializing: u32,
    /// As `idle`.
    pub ready: u32,
    /// Working.
    pub running: u32,
    /// Waiting for a host.
    pub throttled: u32,
    /// Crashed.
    pub unhealthy: u32,
}

impl Endpoint {
    /// Jobs that a modelled worker runs at once.
    pub(crate) fn slots(&self) -> u32 {
        let by_variable = || {
            let text = self.settings.env.get(SLOTS_VARIABLE)?;
            text.parse().ok().filter(|slots| *slots > 0)
        };
        self.knobs.slots.or_else(by_variable).unwrap_or(1)
    }

    pub(crate) fn version(&self) -> u64 {
        self.releases.last().map_or(1, |release| release.version)
    }

    pub(crate) fn worker(&self, id: &WorkerId) -> Option<&Worker> {
        self.workers.get(self.worker_numbers.get(id)?)
    }

    pub(crate) fn worker_mut(&mut self, id: &WorkerId) -> Option<&mut Worker> {
        self.workers.get_mut(self.worker_numbers.get(id)?)
    }

    /// Workers that exist, whatever they do.
    pub(crate) fn alive(&self) -> u32 {
        u32::try_from(self.workers.len()).unwrap_or(u32::MAX)
    }

    /// Workers that exist and will go on.
    pub(crate) fn staying(&self) -> u32 {
        let staying = self.workers.values().filter(|w| !w.is_draining).count();
        u32::try_from(staying).unwrap_or(u32::MAX)
    }

    /// Workers that are to be on without a job.
    pub(crate) fn least(&self) -> u32 {
        let least = self.settings.workers_min.max(self.standby);
        least.min(self.most())
    }

    /// Workers that there may be.
    pub(crate) fn most(&self) -> u32 {
        let max = self.settings.workers_max;
        if self.standby_beyond_max {
            max.max(self.standby)
        } else {
            max
        }
    }

    pub(crate) fn prune_parked(&mut self, now_ms: i64) {
        let version = self.version();
        self.parked
            .retain(|parked| parked.until_ms > now_ms && parked.version == version);
    }

    pub(crate) fn has_flash(&self) -> bool {
        self.settings.flash != Flash::Off
    }

    /// What an hour of one worker on `pool` costs.
    pub(crate) fn rate(&self, pool: Option<&str>, is_active: bool) -> RatePerHour {
        if let Some(rate) = self.price_override.or(self.knobs.price) {
            return rate;
        }
        match &self.settings.hardware {
            Hardware::Gpu { count, .. } => {
                let one = pool
                    .and_then(gpu::pool_of)
                    .map_or_else(RatePerHour::default, |pool| {
                        if is_active {
                            pool.active_rate()
                        } else {
                            pool.flex_rate()
                        }
                    });
                RatePerHour::new(one.per_hour().times(*count))
            }
            Hardware::Cpu(choices) => {
                let vcpus = choices.first().map_or(2, |(_, vcpus)| *vcpus);
                RatePerHour::new(NanoUsd::from_nanos(gpu::VCPU_NANO_PER_H).times(vcpus))
            }
        }
    }

    pub(crate) fn health(&self) -> Health {
        let mut workers = WorkerCounts::default();
        for worker in self.workers.values() {
            match worker.state {
                WorkerState::Throttled => workers.throttled += 1,
                WorkerState::Initializing => workers.initializing += 1,
                WorkerState::Unhealthy => workers.unhealthy += 1,
                WorkerState::Ready if worker.jobs.is_empty() => workers.idle += 1,
                WorkerState::Ready => workers.running += 1,
            }
        }
        workers.idle += u32::try_from(self.parked.len()).unwrap_or(0);
        workers.ready = workers.idle;
        Health {
            jobs: JobCounts {
                completed: self.counters.completed,
                failed: self.counters.failed,
                in_progress: self.in_progress,
                in_queue: self.queue.len() as u64,
                retried: self.counters.retried,
            },
            workers,
        }
    }

    /// Puts the job at its place in the queue.
    pub(crate) fn enqueue(&mut self, id: &JobId, now_ms: i64) {
        if let Some(job) = self.jobs.get_mut(id) {
            job.status = JobStatus::InQueue;
            job.waiting_since_ms = now_ms;
            self.queue.insert(job.number, id.clone());
        }
    }
}
