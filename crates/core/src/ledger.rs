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
