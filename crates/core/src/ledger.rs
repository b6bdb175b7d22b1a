//! The ledger: an append-only record of what was spent on what.

use serde::{Deserialize, Serialize};

use crate::id::{EndpointId, JobId, PoolId};
use crate::money::NanoUsd;
use crate::time::{DurationMs, Timestamp};

/// What a stretch of a worker's life was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A cloud worker started.
    ColdStart,
    /// It ran a job.
    Run,
    /// It waited.
    Idle,
    /// A local worker ran a job; the amount is what the cloud would have cost.
    Saved,
    /// What workers may have cost beyond the lines beside it while nobody could count them. Caps
    /// count it in full until RunPod's own records settle it.
    Unsettled,
    /// What of its pool's [`Run`](Self::Run) lines was one job's: not money of its own.
    Share,
    /// What RunPod's records say beyond, or short of, all other lines of an hour.
    Drift,
}

impl EntryKind {
    /// Whether it is money that the cloud costs.
    #[must_use]
    pub const fn is_spent(self) -> bool {
        matches!(
            self,
            Self::ColdStart | Self::Run | Self::Idle | Self::Unsettled | Self::Drift
        )
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was booked.
    pub at: Timestamp,
    /// For which endpoint.
    pub endpoint: EndpointId,
    /// In which pool.
    pub pool: PoolId,
    /// For which job, where one caused it.
    pub job: Option<JobId>,
    /// For what.
    pub kind: EntryKind,
    /// How much of a worker's time.
    pub worker_time: DurationMs,
    /// How much money.
    pub amount: NanoUsd,
}
