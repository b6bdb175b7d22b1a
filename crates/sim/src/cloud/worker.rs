//! A worker of the cloud: its state, its meter, and the jobs it holds.

use std::collections::BTreeMap;

use overspill_core::money::RatePerHour;
use serde::Serialize;

use super::agenda::TimerKey;
use super::billing::Meter;
use super::id::{JobId, WorkerId};

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum WorkerState {
    /// The host has no room; not billed.
    Throttled,
    /// Starts; billed.
    Initializing,
    /// Ready: works, or idles until its idle time is over; billed.
    Ready,
    /// Crashed; not billed.
    Unhealthy,
}

/// A job on a worker.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) attempt: u32,
    /// Place in the log of executions.
    pub(crate) execution: usize,
    pub(crate) step: Option<TimerKey>,
    /// It never ends by itself.
    pub(crate) hangs: bool,
    /// Nobody wants it any more: it was cancelled or has expired.
    pub(crate) unwanted_since_ms: Option<i64>,
}

/// A worker.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) number: u64,
    pub(crate) state: WorkerState,
    pub(crate) meter: Meter,
    pub(crate) rate: RatePerHour,
    pub(crate) gpu: Option<&'static str>,
    pub(crate) pool: Option<&'static str>,
    pub(crate) data_center: Option<&'static str>,
    pub(crate) version: u64,
    pub(crate) started_ms: Option<i64>,
    pub(crate) ready_ms: Option<i64>,
    pub(crate) idle_since_ms: Option<i64>,
    /// Counts the times it became idle, so that an old idle timer does not count.
    pub(crate) idle_epoch: u64,
    /// Takes no more jobs and stops after its last.
    pub(crate) is_draining: bool,
    pub(crate) jobs: BTreeMap<JobId, Running>,
    pub(crate) timer: Option<TimerKey>,
    pub(crate) crashes: u32,
    /// A real process was asked for.
    pub(crate) has_process: bool,
    /// Jobs a real worker is to stop.
    pub(crate) to_stop: Vec<JobId>,
}

impl Worker {
    /// Ready and without a job.
    pub(crate) fn is_idle(&self) -> bool {
        self.state == WorkerState::Ready && self.jobs.is_empty()
    }

    /// On its way to being ready.
    pub(crate) fn is_coming(&self) -> bool {
        !self.is_draining
            && matches!(
                self.state,
                WorkerState::Initializing | WorkerState::Throttled
            )
    }

    pub(crate) fn free_slots(&self, slots: u32) -> u32 {
        if self.state == WorkerState::Ready && !self.is_draining {
            slots.saturating_sub(u32::try_from(self.jobs.len()).unwrap_or(u32::MAX))
        } else {
            0
        }
    }
}
