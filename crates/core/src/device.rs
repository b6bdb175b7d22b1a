//! A card of this host, as something that pools ask for room on.
//!
//! Until memory figures are known, one worker's attempts run on a card at a time, over all
//! endpoints; resident processes stay. With figures, what fits runs side by side.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{JobId, WorkerId};
use crate::quarantine::{CardReading, LOSS_MEMORY, LOSSES_MAX, Quarantine};
use crate::time::Timestamp;
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
    /// What its driver said last; `None` where no driver says anything.
    #[serde(default)]
    pub reading: Option<CardReading>,
    /// Since when it says that something is wrong, while that is not believed yet.
    #[serde(default)]
    pub doubted_since: Option<Timestamp>,
    /// Memory errors that count for nothing any more: those of before the first reading, of before a
    /// quarantine that is over.
    #[serde(default)]
    pub memory_errors: Option<u64>,
    /// Its driver says which processes hold memory there.
    #[serde(default)]
    pub lists_processes: bool,
    /// Process groups of workers that are no more and whose memory may not be free yet, each since
    /// when; only where the driver lists processes.
    #[serde(default)]
    pub leaving: BTreeMap<u32, Timestamp>,
    /// It must not be used.
    #[serde(default)]
    pub quarantine: Option<Quarantine>,
    /// Attempts that a worker died with there lately: job, generation, and when.
    #[serde(default)]
    pub losses: Vec<(JobId, u32, Timestamp)>,
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
            reading: None,
            doubted_since: None,
            memory_errors: None,
            lists_processes: false,
            leaving: BTreeMap::new(),
            quarantine: None,
            losses: Vec::new(),
        }
    }

    /// Whether something may start there: it is well as far as is known, and nobody's memory is left
    /// over.
    #[must_use]
    pub fn takes_work(&self) -> bool {
        self.quarantine.is_none() && self.doubted_since.is_none() && self.leaving.is_empty()
    }

    /// Since when it takes no work although it is not quarantined.
    #[must_use]
    pub fn held_since(&self) -> Option<Timestamp> {
        let leaving = self.leaving.values().copied();
        leaving.chain(self.doubted_since).min()
    }

    /// A worker died there with this attempt.
    pub(crate) fn note_loss(&mut self, job: JobId, generation: u32, now: Timestamp) {
        // Without a driver nobody will ever say that it was the card.
        if self.reading.is_none() {
            return;
        }
        self.losses
            .retain(|&(_, _, at)| now.since(at) <= LOSS_MEMORY);
        if self.losses.len() < LOSSES_MAX {
            self.losses.push((job, generation, now));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::DeviceId;

    const ONE: WorkerId = WorkerId::new(1);
    const TWO: WorkerId = WorkerId::new(2);

    #[test]
    fn a_worker_uses_its_card_until_the_last_of_its_attempts_is_over() {
        let mut card = Device::new(DeviceSpec {
            id: DeviceId(0),
            name: "a card".into(),
            uuid: None,
            memory_bytes: 24,
            watts: None,
        });
        card.enter(ONE, Some(10));
        card.enter(ONE, Some(10));
        assert!(card.has_room(ONE, Some(10)), "beside itself");
        assert!(card.has_room(TWO, Some(14)));
        assert!(!card.has_room(TWO, Some(15)));
        assert!(!card.has_room(TWO, None), "nobody knows whether it fits");
        card.leave(ONE);
        assert!(!card.has_room(TWO, Some(15)));
        card.leave(ONE);
        assert!(card.has_room(TWO, None));
    }
}
