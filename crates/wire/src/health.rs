//! The bodies of `/health`, `/metrics` and `/requests` of an endpoint (`runpod-protocol.md` A8, A2).

use serde::{Deserialize, Serialize};

/// `/health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Counts of jobs.
    pub jobs: HealthJobs,
    /// Counts of workers.
    pub workers: HealthWorkers,
}

/// Jobs by state; `completed`, `failed` and `retried` only ever grow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names say it")]
pub struct HealthJobs {
    pub completed: u64,
    pub failed: u64,
    pub in_progress: u64,
    pub in_queue: u64,
    pub retried: u64,
}

/// Workers by state; `ready` could take a job now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct HealthWorkers {
    pub idle: u64,
    pub initializing: u64,
    pub ready: u64,
    pub running: u64,
    pub throttled: u64,
    pub unhealthy: u64,
}

/// `/metrics` of an endpoint: undocumented, read by `flash`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointMetrics {
    /// Ids of workers that could take a job now.
    pub ready_workers: Vec<String>,
    /// Counts of workers.
    pub workers: HealthWorkers,
}
