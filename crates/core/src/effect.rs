//! Everything the core can ask the world to do, and every answer it gives.
//!
//! Effects are carried out only after the changes of the same batch are committed. What must not be
//! lost stands in a durable record too (a cloud submission in its attempt, a worker's stop in its
//! record): after a restart [`crate::machine::Core::resume`] asks for it again.

use serde::{Deserialize, Serialize};

use crate::budget::Caps;
use crate::change::FinalState;
use crate::explain::Reason;
use crate::id::{AttemptId, DeviceId, EndpointId, JobId, PollId, PoolId, RequestId, WorkerId};
use crate::region::Region;
use crate::time::DurationMs;
use crate::topology::{Limits, ScalerSpec};

/// One job on its way to a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Which attempt of which job; the input is attached by the driver.
    pub attempt: AttemptId,
    /// What the worker must see beside `input`, as JSON text.
    pub extras: Option<String>,
    /// Where the job's end is reported; workers see it as RunPod's do.
    pub webhook: Option<String>,
    /// Where the job stands in its caller's trace.
    #[serde(default)]
    pub trace: Option<String>,
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// A cap on spending has passed a threshold: tell whoever looks.
    BudgetAlert(Box<crate::alert::BudgetAlert>),
    /// Answer whoever asked.
    Answer {
        /// Who.
        request: RequestId,
        /// What.
        answer: Answer,
    },
    /// Answer a held job-take with jobs.
    Deliver {
        /// The held request.
        poll: PollId,
        /// Whose it is.
        worker: WorkerId,
        /// At least one job.
        jobs: Vec<Delivery>,
    },
    /// Answer a held job-take with nothing.
    TakeEmpty {
        /// The held request.
        poll: PollId,
    },
    /// Tell a worker on its stop channel to stop a job.
    StopJob {
        /// Whom.
        worker: WorkerId,
        /// Which job.
        job: JobId,
    },
    /// Release the worker's held polls: it is about to be stopped.
    ReleasePolls {
        /// Whose.
        worker: WorkerId,
    },
    /// Mint an incarnation and say [`crate::event::Event::WorkerMinted`].
    MintWorker {
        /// For this pool.
        pool: PoolId,
        /// On this card.
        device: DeviceId,
    },
    /// Start the process of a minted incarnation.
    SpawnWorker {
        /// Which.
        worker: WorkerId,
        /// Its pool.
        pool: PoolId,
        /// Its card.
        device: DeviceId,
    },
    /// Ask a worker's process group to end (SIGTERM).
    StopWorker {
        /// Which.
        worker: WorkerId,
    },
    /// End a worker's process group (SIGKILL).
    KillWorker {
        /// Which.
        worker: WorkerId,
    },
    /// Submit to RunPod by `/run`; money is reserved for it.
    CloudSubmit {
        /// The attempt, whose job's input is attached by the driver.
        attempt: AttemptId,
        /// Where.
        pool: PoolId,
        /// `policy.executionTimeout`.
        execution_timeout: DurationMs,
        /// `policy.ttl`.
        ttl: DurationMs,
        /// What the worker must see beside `input`, as JSON text.
        extras: Option<String>,
        /// `policy.lowPriority`: RunPod starts no worker for it.
        low_priority: bool,
        /// Where the job stands in its caller's trace.
        #[serde(default)]
        trace: Option<String>,
    },
    /// Poll a cloud job until it ends.
    CloudWatch {
        /// The attempt.
        attempt: AttemptId,
        /// Where.
        pool: PoolId,
        /// RunPod's job id.
        cloud_job: String,
    },
    /// Cancel a cloud job and say what became of it.
    CloudCancel {
        /// The attempt.
        attempt: AttemptId,
        /// Where.
        pool: PoolId,
        /// RunPod's job id.
        cloud_job: String,
        /// Only if it has not begun to run (a take-back).
        only_if_queued: bool,
    },
    /// Set what is left of a cloud job's time to live.
    CloudTtl {
        /// The attempt.
        attempt: AttemptId,
        /// Where.
        pool: PoolId,
        /// RunPod's job id.
        cloud_job: String,
        /// From now on.
        ttl: DurationMs,
    },
    /// Set a pool's limits at RunPod.
    CloudScale {
        /// Where.
        pool: PoolId,
        /// Workers that are always on.
        min: u32,
        /// Workers at most: as many as are wanted now.
        max: u32,
    },
    /// Set how long RunPod keeps an idle worker of a pool, where that is ours to set.
    CloudIdle {
        /// Where.
        pool: PoolId,
        /// From the end of its last job.
        idle: DurationMs,
    },
    /// A decision with its reason, for the time line and the log.
    Decided {
        /// Whose.
        endpoint: EndpointId,
        /// Why.
        reason: Reason,
    },
}

/// What is answered to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The job is accepted, and on disk.
    Submitted {
        /// Its id.
        job: JobId,
    },
    /// The job was not stored.
    SubmitRefused(SubmitRefusal),
    /// The state of a job that was live when it was asked to be cancelled.
    Cancelled {
        /// Which.
        job: JobId,
        /// How it ended.
        state: FinalState,
    },
    /// The job is not live here: the store knows whether it ever was.
    NotLive,
    /// There is no such endpoint.
    NotFound,
    /// So many queued jobs were removed.
    Purged {
        /// How many.
        removed: u64,
    },
    /// The limits in force now.
    LimitsSet {
        /// Both.
        limits: Limits,
    },
    /// The limits make no sense.
    LimitsRefused {
        /// What was asked.
        limits: Limits,
        /// In words.
        reason: String,
    },
    /// The promise in force now.
    MaxWaitSet {
        /// Submit to start.
        max_wait: DurationMs,
    },
    /// The promise makes no sense.
    MaxWaitRefused {
        /// What was asked.
        max_wait: DurationMs,
        /// In words.
        reason: String,
    },
    /// The scaling rule in force now.
    ScalerSet {
        /// With its constants.
        scaler: ScalerSpec,
    },
    /// The rule's constants make no sense.
    ScalerRefused {
        /// What was asked.
        scaler: ScalerSpec,
        /// In words.
        reason: String,
    },
    /// The card may be used again.
    CardReturned {
        /// Which.
        device: DeviceId,
    },
    /// The card was not quarantined.
    CardNotQuarantined {
        /// Which.
        device: DeviceId,
    },
    /// The caps in force now.
    CapsSet {
        /// All of them.
        caps: Caps,
    },
    /// The caps make no sense.
    CapsRefused {
        /// What was asked.
        caps: Caps,
        /// In words.
        reason: String,
    },
    /// A chunk, a progress update, a new time to live or what became of a webhook was taken.
    Noted,
    /// A guard was heard.
    Guarded {
        /// Silence after which it is to act.
        after: DurationMs,
        /// RunPod endpoints whose limits are ours to set, by their ids, in order.
        endpoints: Vec<String>,
    },
    /// The result was recorded.
    Recorded,
    /// The post came from an attempt that no longer counts.
    Stale(Stale),
    /// The engine could not commit; nothing was stored, or that is unknown.
    Unavailable,
}

/// Why a submission was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubmitRefusal {
    /// No such endpoint.
    UnknownEndpoint,
    /// The id is in use.
    DuplicateId,
    /// The endpoint can run nothing: no local pool, and max workers is 0.
    Paused,
    /// The server is about to stop.
    Draining,
    /// Its caller's region must not be left, and neither a cloud pool is there nor a card of ours.
    Homeless {
        /// The caller's.
        region: Region,
    },
}

/// Why a worker's post does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stale {
    /// The job is live, and this worker never held it.
    NotYours,
    /// The job is live, and this worker's attempt is fenced.
    Fenced,
    /// The job is not live: the store knows whether this is a repeated post.
    NotLive,
    /// No such incarnation.
    UnknownWorker,
}

/// Where commands go: changes of this batch, and effects for after its commit.
#[derive(Debug, Default)]
pub struct Out {
    /// To be written in one transaction, in this order.
    pub changes: Vec<crate::change::Change>,
    /// To be carried out after the commit, in this order.
    pub effects: Vec<Effect>,
}

impl Out {
    /// Asks for a durable change.
    pub fn change(&mut self, change: crate::change::Change) {
        self.changes.push(change);
    }

    /// Asks for an effect.
    pub fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Answers a request.
    pub fn answer(&mut self, request: RequestId, answer: Answer) {
        self.effects.push(Effect::Answer { request, answer });
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.effects.is_empty()
    }
}
