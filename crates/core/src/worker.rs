//! A worker of ours: one incarnation of a process that takes jobs of one endpoint.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{AttemptId, DeviceId, EndpointId, JobId, PollId, PoolId, WorkerId};
use crate::time::{DurationMs, Timestamp};

/// A job whose attempt ended on a worker is not given to it again for this long after its last word
/// on it, in this generation or the next: a late or repeated post could not be told from a post of
/// the new attempt.
pub const SAME_WORKER_PAUSE: DurationMs = DurationMs::from_secs(10);

/// A worker may take this long from its start to its first job-take.
pub const READY_MAX: DurationMs = DurationMs::from_secs(15 * 60);
/// A worker asks for its next job at once, and anew after each answer; one that has been silent for
/// this long hangs.
pub const SILENT_MAX: DurationMs = DurationMs::from_secs(180);

/// An incarnation as the running core holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Worker {
    /// What is durable.
    pub record: WorkerRecord,
    /// Its held job-take.
    pub poll: Option<PollId>,
    /// The attempts it holds, fenced ones included: each fills a slot.
    #[serde(with = "crate::change::as_list")]
    pub held: BTreeMap<AttemptId, Held>,
    /// Jobs it was rid of lately that may come back, each with its last word on them.
    pub dropped: Vec<(JobId, Timestamp)>,
    /// Jobs that its heartbeats list and that it does not hold by our books, each since when.
    pub ghosts: BTreeMap<JobId, Timestamp>,
    /// When it first asked for a job: it is ready since then.
    pub ready_at: Option<Timestamp>,
    /// When it last held a job or a job-take; its start when it never did.
    pub heard_at: Timestamp,
    /// Results it has posted.
    pub results: u64,
}

/// What heartbeats say of an attempt that a worker holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Some heartbeat listed the job.
    pub was_listed: bool,
    /// Heartbeats in a row that did not list it.
    pub missed: u8,
    /// Leased before a restart of ours: whether the worker ever got it is unknown.
    pub is_doubtful: bool,
}

impl Worker {
    /// A fresh one.
    #[must_use]
    pub const fn new(record: WorkerRecord) -> Self {
        Self {
            poll: None,
            held: BTreeMap::new(),
            dropped: Vec::new(),
            ghosts: BTreeMap::new(),
            ready_at: None,
            heard_at: record.minted_at,
            record,
            results: 0,
        }
    }

    /// The attempt of a job that it holds.
    #[must_use]
    pub fn attempt_of(&self, job: JobId) -> Option<AttemptId> {
        self.held.keys().rev().find(|id| id.job == job).copied()
    }

    /// When it is to be given up unless it asks for a job before; `None` while it holds a job or a
    /// job-take.
    #[must_use]
    pub fn silent_until(&self) -> Option<Timestamp> {
        let patience = if self.ready_at.is_some() {
            SILENT_MAX
        } else {
            READY_MAX
        };
        let is_busy = self.poll.is_some() || !self.held.is_empty();
        (!is_busy).then(|| self.heard_at + patience)
    }

    /// It is rid of a job that may come back.
    pub fn drop_job(&mut self, job: JobId, now: Timestamp) {
        self.dropped
            .retain(|&(id, at)| id != job && now.since(at) < SAME_WORKER_PAUSE);
        self.dropped.push((job, now));
    }

    /// It posts something of a job that it was rid of: the pause begins anew.
    pub fn heard_of(&mut self, job: JobId, now: Timestamp) {
        if self.dropped.iter().any(|(id, _)| *id == job) {
            self.drop_job(job, now);
        }
    }

    /// Until when a job must not be given to it again.
    #[must_use]
    pub fn paused_for(&self, job: JobId, now: Timestamp) -> Option<Timestamp> {
        let until = |&(_, at): &(JobId, Timestamp)| at + SAME_WORKER_PAUSE;
        self.dropped
            .iter()
            .filter(|(id, _)| *id == job)
            .map(until)
            .max()
            .filter(|&at| at > now)
    }
}

/// What is durable of an incarnation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRecord {
    /// Unguessable, and never used again.
    pub id: WorkerId,
    /// Whose jobs it takes.
    pub endpoint: EndpointId,
    /// Which pool it belongs to.
    pub pool: PoolId,
    /// Its card.
    pub device: DeviceId,
    /// When it was minted.
    pub minted_at: Timestamp,
    /// How far it has come.
    pub state: WorkerState,
}

/// How far an incarnation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Minted; its process is being started.
    Initializing,
    /// Its process runs; it is idle or running jobs.
    Running {
        /// Process id of its main process, and of its group.
        pid: u32,
    },
    /// It gets no further jobs and ends.
    Stopping {
        /// Process id, where it had one.
        pid: Option<u32>,
        /// Killed by then.
        kill_at: Timestamp,
    },
}

impl WorkerRecord {
    /// The process id of its main process and its group, once it runs.
    #[must_use]
    pub const fn pid(&self) -> Option<u32> {
        match self.state {
            WorkerState::Initializing => None,
            WorkerState::Running { pid } => Some(pid),
            WorkerState::Stopping { pid, .. } => pid,
        }
    }

    /// Whether it may be handed jobs.
    #[must_use]
    pub const fn takes_jobs(&self) -> bool {
        !matches!(self.state, WorkerState::Stopping { .. })
    }
}
