//! A pool: a source of workers of one endpoint. What is durable of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::event::CloudWorkerCounts;
use crate::id::{AttemptId, DeviceId, EndpointId, PoolId, WorkerId};
use crate::money::NanoUsd;
use crate::time::{DurationMs, Timestamp};
use crate::topology::{PoolKind, PoolSpec, RunPodSpec};

/// A pool as the running core holds it.
#[derive(Debug, Clone)]
pub struct Pool {
    /// What is durable.
    pub record: PoolRecord,
    /// What the configuration asks for; `None` once it no longer names the pool.
    pub spec: Option<PoolSpec>,
    /// For a local pool: the state of each of its cards.
    pub seats: BTreeMap<DeviceId, Seat>,
    /// For a cloud pool: attempts that RunPod has or may have, fenced ones included.
    pub outstanding: BTreeSet<AttemptId>,
    /// For a cloud pool: what is known of its workers.
    pub cloud: CloudSide,
}

/// A local pool's place for one worker on one card.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seat {
    /// Who sits there.
    pub worker: Option<WorkerId>,
    /// A worker is being minted for it.
    pub is_minting: bool,
    /// Workers that ended badly in a row.
    pub failures: u32,
    /// No new worker before then.
    pub not_before: Timestamp,
}

/// What is known of a pool's side at RunPod; forgotten at a restart, and asked for again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CloudSide {
    /// Its workers by state, where known.
    pub workers: Option<CloudWorkerCounts>,
    /// Min and max as last asked for.
    pub asked: Option<(u32, u32)>,
    /// Max as last confirmed.
    pub confirmed_max: Option<u32>,
    /// Refusals and failures in a row.
    pub failures: u32,
    /// Nothing is submitted before then.
    pub not_before: Timestamp,
    /// Take-backs and cancels that were asked for and not yet answered.
    pub cancelling: BTreeSet<AttemptId>,
}

impl Pool {
    /// One with nothing configured.
    #[must_use]
    pub fn new(record: PoolRecord) -> Self {
        Self {
            record,
            spec: None,
            seats: BTreeMap::new(),
            outstanding: BTreeSet::new(),
            cloud: CloudSide::default(),
        }
    }

    /// Its configuration as a RunPod pool.
    #[must_use]
    pub const fn runpod(&self) -> Option<&RunPodSpec> {
        match &self.spec {
            Some(PoolSpec {
                kind: PoolKind::RunPod(spec),
                ..
            }) => Some(spec),
            _ => None,
        }
    }

    /// Jobs at once on one worker, at least 1.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.spec.as_ref().map_or(1, |spec| spec.slots.max(1))
    }

    /// Workers that the outstanding submissions can cause.
    #[must_use]
    pub fn workers_caused(&self) -> u32 {
        u32::try_from(self.outstanding.len())
            .unwrap_or(u32::MAX)
            .div_ceil(self.slots())
    }

    /// The pause after so many failures in a row: 1 s, doubling, at most a minute.
    #[must_use]
    pub fn back_off(failures: u32) -> DurationMs {
        DurationMs::from_secs((1_u64 << failures.saturating_sub(1).min(6)).min(60))
    }
}

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
