//! A live attempt: one try to run a job on one worker, from the lease until its worker is known to
//! be rid of it. A fenced attempt lives on after its job has ended or gone elsewhere, because it
//! still fills a slot or costs money.

use serde::{Deserialize, Serialize};

use crate::id::{AttemptId, EndpointId, KeyId, PoolId, WorkerId};
use crate::time::Timestamp;

/// One try that is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The job, its generation, and the number of the try.
    pub id: AttemptId,
    /// The job's endpoint.
    pub endpoint: EndpointId,
    /// Where it runs.
    pub pool: PoolId,
    /// On whom.
    pub place: Place,
    /// When it was handed out.
    pub leased_at: Timestamp,
    /// When it began to run, where known.
    pub started_at: Option<Timestamp>,
    /// Its execution must end by then; counted from `started_at`.
    pub deadline: Timestamp,
    /// Its result no longer counts, for this reason.
    pub fenced: Option<Fence>,
    /// The API key of its job.
    #[serde(default)]
    pub key: Option<KeyId>,
}

/// On whom an attempt runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// A worker of ours holds the lease.
    Local {
        /// The incarnation.
        worker: WorkerId,
    },
    /// RunPod has it, or may have it.
    Cloud(CloudPhase),
}

/// How far a cloud attempt has come, as far as we know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloudPhase {
    /// About to be submitted, or on its way: whether RunPod has it is unknown after a crash.
    Submitting,
    /// The submission's answer was lost: RunPod may have it.
    Unknown {
        /// Since when.
        since: Timestamp,
    },
    /// RunPod accepted it and has not begun.
    Queued {
        /// RunPod's job id.
        cloud_job: String,
    },
    /// A cloud worker runs it.
    Running {
        /// RunPod's job id.
        cloud_job: String,
        /// RunPod's worker id, where told.
        worker: Option<String>,
    },
}

/// Why an attempt's result no longer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fence {
    /// The job was cancelled.
    Cancelled,
    /// It ran longer than it may.
    TimedOut,
    /// The job's TTL ended.
    Expired,
    /// The worker was declared lost.
    Lost,
    /// A later attempt took its place.
    Superseded,
}

impl Attempt {
    /// The incarnation of ours that holds it.
    #[must_use]
    pub const fn local_worker(&self) -> Option<WorkerId> {
        match self.place {
            Place::Local { worker } => Some(worker),
            Place::Cloud(_) => None,
        }
    }

    /// RunPod's id of the job, where known.
    #[must_use]
    pub fn cloud_job(&self) -> Option<&str> {
        match &self.place {
            Place::Cloud(
                CloudPhase::Queued { cloud_job } | CloudPhase::Running { cloud_job, .. },
            ) => Some(cloud_job),
            _ => None,
        }
    }

    /// Whether it is at RunPod.
    #[must_use]
    pub const fn is_cloud(&self) -> bool {
        matches!(self.place, Place::Cloud(_))
    }
}
