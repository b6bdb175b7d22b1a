//! A pool: a source of workers of one endpoint. What is durable of it.

use serde::{Deserialize, Serialize};

use crate::id::{EndpointId, PoolId};
use crate::money::NanoUsd;

/// What is durable of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRecord {
    /// Its number, for ever.
    pub id: PoolId,
    /// Whose it is.
    pub endpoint: EndpointId,
    /// Its name within the endpoint.
    pub key: String,
    /// Cloud workers wanted at last; what RunPod's `max` is set to.
    pub wanted: u32,
    /// Cloud workers for which money is reserved: never fewer than submissions can cause, and never
    /// fewer than `wanted`.
    pub reserved_workers: u32,
    /// Money set aside for each of them.
    pub reserved_each: NanoUsd,
}
