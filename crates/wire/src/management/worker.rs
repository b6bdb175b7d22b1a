//! Workers of a serverless endpoint as the management API lists them.

use serde::{Deserialize, Serialize};

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum WorkerStatus {
    /// Works on a job.
    Running,
    /// Ready and without a job.
    Idle,
    /// Starting.
    Initializing,
    /// Waits for room on a host.
    Throttled,
    /// Fails its health checks.
    Unhealthy,
    /// A word that this version does not know.
    #[serde(other)]
    Unknown,
}

/// One worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Worker {
    /// Id, as in `workerId` of a job.
    pub id: String,
    /// State.
    pub status: WorkerStatus,
    /// Runs an older version of the endpoint's configuration.
    pub is_stale: bool,
    /// Version of the configuration it runs.
    #[serde(default)]
    pub version: Option<u64>,
    /// GPUs it has.
    pub gpu_count: u32,
    /// Image it runs.
    #[serde(default)]
    pub image: Option<String>,
    /// Seconds since it started; null until it runs.
    #[serde(default)]
    pub uptime_seconds: Option<u64>,
    /// GPU type; null until it is placed.
    #[serde(default)]
    pub gpu_type_id: Option<String>,
    /// Data centre; null until it is placed.
    #[serde(default)]
    pub data_center_id: Option<String>,
    /// Last start, RFC 3339; null if it never started.
    #[serde(default)]
    pub started_at: Option<String>,
}

/// How many of the listed workers are in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WorkerSummary {
    /// Working on a job.
    pub running: u32,
    /// Ready without a job.
    pub idle: u32,
    /// Starting.
    pub initializing: u32,
    /// Waiting for a host.
    pub throttled: u32,
    /// Failing.
    pub unhealthy: u32,
    /// All of them.
    pub total: u32,
}

/// Answer of `GET /serverless/{id}/workers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerList {
    /// The workers.
    pub workers: Vec<Worker>,
    /// Their states, counted.
    pub summary: WorkerSummary,
    /// The endpoint's current configuration version.
    #[serde(default)]
    pub endpoint_version: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_state_is_kept_readable() {
        let status: WorkerStatus = serde_json::from_str(r#""HIBERNATING""#).expect("tolerant");
        assert_eq!(status, WorkerStatus::Unknown);
    }
}
