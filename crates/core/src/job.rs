//! A live job: queued, or attempted right now. Ended jobs are the store's.

use serde::{Deserialize, Serialize};

use crate::id::{EndpointId, JobId, KeyId};
use crate::region::Region;
use crate::time::{DurationMs, Timestamp};

/// A job from its submission to its final state.
///
/// Kept small: a million of them wait in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Its place in the queue of its endpoint; kept over lost attempts.
    pub seq: u64,
    /// When it came in.
    pub submitted_at: Timestamp,
    /// When its TTL ends.
    pub expires_at: Timestamp,
    /// Bytes of its input.
    pub input_bytes: u64,
    /// How long an attempt may run.
    pub execution_timeout: DurationMs,
    /// What few jobs have.
    pub extras: Option<Box<JobExtras>>,
    /// Where it was sent.
    pub endpoint: EndpointId,
    /// Label by which durations are learned.
    pub class: u32,
    /// How often it was retried by hand.
    pub generation: u32,
    /// Attempts made in this generation.
    pub attempts: u32,
    /// Attempts that vanished with their worker; at the endpoint's `max_attempts` the job fails.
    pub lost: u16,
    /// Weight of the attempts whose worker dropped the job without a result: 2 where a heartbeat
    /// had listed it, else 1.
    pub no_result: u16,
    /// Never causes a scale-up.
    pub low_priority: bool,
    /// The cloud will not take it: its input is too large, or RunPod called it bad.
    pub local_only: bool,
    /// Where its caller is, where known.
    #[serde(default)]
    pub region: Option<Region>,
    /// The API key that submitted or retried it.
    #[serde(default)]
    pub key: Option<KeyId>,
    /// Where it is.
    pub state: JobState,
}

/// Texts that few jobs carry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobExtras {
    /// Where to report the end.
    pub webhook: Option<String>,
    /// What the worker must see beside `input`, as JSON text.
    pub worker: Option<String>,
    /// Where it stands in its caller's trace, as the gateway wrote it.
    #[serde(default)]
    pub trace: Option<String>,
}

/// Where a live job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waiting in its endpoint's queue.
    Queued,
    /// The attempt of this number has it: on a worker of ours, or at RunPod (queued or running).
    Attempted {
        /// The attempt's number within the generation.
        number: u32,
    },
}

impl Job {
    /// Its place in its endpoint's queue: low priority behind all others, then by arrival.
    #[must_use]
    pub const fn queue_key(&self) -> u64 {
        ((self.low_priority as u64) << 63) | self.seq
    }

    /// Whether a worker ended under it: on workers of ours it runs alone from then on, so that jobs
    /// beside it are not taken along again and again.
    #[must_use]
    pub const fn is_suspect(&self) -> bool {
        self.lost > 0
    }

    /// Where its end is reported.
    #[must_use]
    pub fn webhook(&self) -> Option<&str> {
        self.extras.as_ref()?.webhook.as_deref()
    }

    /// Where it stands in its caller's trace.
    #[must_use]
    pub fn trace(&self) -> Option<&str> {
        self.extras.as_ref()?.trace.as_deref()
    }
}
