//! A worker of ours: one incarnation of a process that takes jobs of one endpoint.

use serde::{Deserialize, Serialize};

use crate::id::{DeviceId, EndpointId, PoolId, WorkerId};
use crate::time::Timestamp;

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
    /// Whether it may be handed jobs.
    #[must_use]
    pub const fn takes_jobs(&self) -> bool {
        !matches!(self.state, WorkerState::Stopping { .. })
    }
}
