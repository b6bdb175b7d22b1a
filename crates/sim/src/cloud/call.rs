//! What callers get from the model, and what the model asks of its driver.

use serde::Serialize;

use super::id::{EndpointId, JobId, WorkerId};
use super::job::{JobView, Payload};

/// Why a call was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such endpoint.
    #[error("endpoint {0} not found")]
    NoEndpoint(EndpointId),
    /// No such job, or it is no longer kept.
    #[error("job {0} not found")]
    NoJob(JobId),
    /// No such worker, or it has been stopped.
    #[error("worker {0} not found")]
    NoWorker(WorkerId),
    /// The endpoint's maximum is 0.
    #[error("Endpoint is paused (max_workers=0). Set max_workers > 0 to accept work.")]
    Paused,
    /// More workers than the account may have.
    #[error(
        "Your worker concurrency cannot go beyond the maximum limit of ({quota}); {wanted} were asked for over all \
         endpoints. Lower workers.max or raise the account's balance."
    )]
    OverQuota {
        /// The limit.
        quota: u32,
        /// What was asked for.
        wanted: u32,
    },
    /// `/retry` of a job that did not fail.
    #[error("job {id} is {status}; only FAILED and TIMED_OUT jobs can be retried")]
    NotRetriable {
        /// The job.
        id: JobId,
        /// Its state, in the cloud's word.
        status: String,
    },
    /// A value that is not accepted.
    #[error("{0}")]
    Invalid(String),
}

/// What the driver is to do.
#[derive(Debug, Clone)]
pub enum Effect {
    /// A job changed: whoever waits for it should look.
    JobChanged(JobId),
    /// There is work for real workers of this endpoint.
    WorkOffered(EndpointId),
    /// A real worker has to look at its channels: it is draining, or is to stop jobs.
    WorkerChanged(WorkerId),
    /// Start a process for this worker.
    StartProcess {
        /// Endpoint.
        endpoint: EndpointId,
        /// Worker.
        worker: WorkerId,
        /// GPU type.
        gpu: Option<&'static str>,
        /// Data centre.
        data_center: Option<&'static str>,
    },
    /// End the process of this worker.
    StopProcess {
        /// Worker.
        worker: WorkerId,
        /// At once, without a chance to finish.
        is_hard: bool,
    },
    /// Deliver a webhook; answer by [`super::CloudModel::webhook_answered`].
    Webhook {
        /// Names the try.
        delivery: u64,
        /// Where to.
        url: String,
        /// Body.
        body: String,
    },
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It has not.
    Running,
    /// With a result.
    Completed,
    /// With an error.
    Failed,
    /// By the caller.
    Cancelled,
    /// By the execution time-out.
    TimedOut,
    /// The worker was gone.
    Lost,
    /// The result of a job that nobody knows any more.
    Unwanted,
}

/// One attempt, in the log of executions.
#[derive(Debug, Clone, Serialize)]
pub struct Execution {
    /// Job.
    pub job: JobId,
    /// Worker.
    pub worker: WorkerId,
    /// Endpoint.
    pub endpoint: EndpointId,
    /// From 1.
    pub attempt: u32,
    /// Start.
    pub started_ms: i64,
    /// End; null while it runs.
    pub ended_ms: Option<i64>,
    /// How it ended.
    pub outcome: Outcome,
}

/// Answer of `/stream`.
#[derive(Debug, Clone)]
pub struct StreamView {
    /// Chunks since the last call.
    pub chunks: Vec<Payload>,
    /// The job.
    pub job: JobView,
}

/// A job handed to a real worker.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobOrder {
    /// Id.
    pub id: JobId,
    /// Input.
    pub input: Payload,
    /// As the caller gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// As the caller gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3_config: Option<Payload>,
}

/// What the management API lists of a worker.
#[derive(Debug, Clone)]
pub struct WorkerView {
    /// Id.
    pub id: WorkerId,
    /// RUNNING, IDLE, INITIALIZING, THROTTLED or UNHEALTHY.
    pub status: &'static str,
    /// It runs an older version.
    pub is_stale: bool,
    /// Its version.
    pub version: u64,
    /// GPU type.
    pub gpu: Option<&'static str>,
    /// Data centre.
    pub data_center: Option<&'static str>,
    /// Start.
    pub started_ms: Option<i64>,
    /// Jobs it holds.
    pub jobs: usize,
}
