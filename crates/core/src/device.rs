//! A card of this host, as something that pools ask for room on.
//!
//! Until memory figures are known, one worker's attempts run on a card at a time, over all
//! endpoints; resident processes stay. With figures, what fits runs side by side.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::WorkerId;
use crate::topology::DeviceSpec;

/// A card as the running core holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Device {
    /// What it is.
    pub spec: DeviceSpec,
    /// Workers with attempts on it, each with their number and the memory it needs, where known.
    pub users: BTreeMap<WorkerId, Use>,
    /// Power that it was measured to take while it ran jobs, lately, in milliwatts.
    pub measured_mw: Option<u32>,
}

/// A worker's use of a card.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// Attempts of it that run now.
    pub attempts: u32,
    /// Memory it needs, in bytes, where known.
    pub vram_bytes: Option<u64>,
}

impl Device {
    /// A card nobody uses.
    #[must_use]
    pub const fn new(spec: DeviceSpec) -> Self {
        Self {
            spec,
            users: BTreeMap::new(),
            measured_mw: None,
        }
    }

    /// Takes in a measurement; the older ones weigh on.
    pub(crate) fn measured(&mut self, milliwatts: u32) {
        let before = self.measured_mw.unwrap_or(milliwatts);
        let sum = u64::from(before) * 3 + u64::from(milliwatts);
        self.measured_mw = u32::try_from(sum / 4).ok();
    }

    /// Power that it takes while it runs jobs, in milliwatts: as measured, else as configured.
    #[must_use]
    pub fn power_mw(&self) -> Option<u32> {
        let configured = self.spec.watts.map(|watts| watts.saturating_mul(1_000));
        self.measured_mw.or(configured)
    }

    /// Whether an attempt of `worker` may start now.
    #[must_use]
    pub fn has_room(&self, worker: WorkerId, vram_bytes: Option<u64>) -> bool {
        let others = || {
            self.users
                .iter()
                .filter(|(id, _)| **id != worker)
                .map(|(_, usage)| usage)
        };
        if others().next().is_none() {
            return true;
        }
        let needed = others().try_fold(vram_bytes, |sum, usage| {
            Some(sum.and_then(|sum| Some(sum + usage.vram_bytes?)))
        });
        matches!(needed.flatten(), Some(needed) if needed <= self.spec.memory_bytes)
    }

    /// An attempt of `worker` starts.
    pub fn enter(&mut self, worker: WorkerId, vram_bytes: Option<u64>) {
        let usage = self.users.entry(worker).or_default();
        usage.attempts += 1;
        usage.vram_bytes = vram_bytes;
    }

    /// An attempt of `worker` is over.
    pub fn leave(&mut self, worker: WorkerId) {
        if let Some(usage) = self.users.get_mut(&worker) {
            usage.attempts = usage.attempts.saturating_sub(1);
            if usage.attempts == 0 {
                self.users.remove(&worker);
            }
        }
    }
}
