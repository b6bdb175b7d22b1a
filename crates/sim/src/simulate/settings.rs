//! What a simulation is told of the world: cards, limits, promise, start-up times.

use overspill_core::time::DurationMs;
use serde::{Deserialize, Serialize};

/// The world of a simulation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Workers of one's own, always ready and free of charge.
    pub local_workers: u32,
    /// Jobs at once on each of them.
    pub local_slots: u32,
    /// Cloud workers always on.
    pub min: u32,
    /// Cloud workers at most.
    pub max: u32,
    /// Jobs at once on a cloud worker.
    pub slots: u32,
    /// The promise: submit to start.
    pub max_wait: DurationMs,
    /// The shortest and the longest start-up, evenly distributed.
    pub cold_start: (DurationMs, DurationMs),
    /// Share of start-ups that take only 1 to 5 s.
    pub flash_share: f64,
    /// Share of orders that never get ready; they are given up after `start_timeout`.
    pub stuck_share: f64,
    /// An order that is not ready after this long has failed.
    pub start_timeout: DurationMs,
    /// Stands in for measured durations until there are samples.
    pub expected_execution: DurationMs,
    /// Makes start-up times repeatable.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            local_workers: 0,
            local_slots: 1,
            min: 0,
            max: 3,
            slots: 1,
            max_wait: DurationMs::from_secs(90),
            cold_start: (DurationMs::from_secs(30), DurationMs::from_secs(60)),
            flash_share: 0.0,
            stuck_share: 0.0,
            start_timeout: DurationMs::from_secs(420),
            expected_execution: DurationMs::from_secs(30),
            seed: 1,
        }
    }
}

/// Why settings describe no world.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Nothing could ever run a job.
    #[error("no local worker and no cloud worker: give local workers, or a max over 0")]
    NoWorkers,
    /// A worker without slots.
    #[error("a worker has at least 1 slot: raise the slots from 0")]
    NoSlots,
    /// More always on than allowed.
    #[error("min {min} is over max {max}: lower min or raise max")]
    MinOverMax {
        /// Always on.
        min: u32,
        /// At most.
        max: u32,
    },
    /// The shortest start-up is longer than the longest.
    #[error("the cold start {from}..{to} ends before it begins: write the shorter time first")]
    ColdStart {
        /// The shortest.
        from: DurationMs,
        /// The longest.
        to: DurationMs,
    },
    /// A share that is none.
    #[error("a share is between 0 and 1")]
    Share,
    /// A promise of nothing.
    #[error("the promise (max wait) is longer than 0")]
    NoPromise,
}

impl Settings {
    /// Checks that a simulation can run.
    ///
    /// # Errors
    /// When the settings contradict each other.
    pub fn check(&self) -> Result<(), SettingsError> {
        let is_share = |share: f64| (0.0..=1.0).contains(&share);
        if self.local_workers == 0 && self.max == 0 {
            Err(SettingsError::NoWorkers)
        } else if self.slots == 0 || self.local_slots == 0 {
            Err(SettingsError::NoSlots)
        } else if self.min > self.max {
            let (min, max) = (self.min, self.max);
            Err(SettingsError::MinOverMax { min, max })
        } else if self.cold_start.0 > self.cold_start.1 {
            let (from, to) = self.cold_start;
            Err(SettingsError::ColdStart { from, to })
        } else if !is_share(self.flash_share) || !is_share(self.stuck_share) {
            Err(SettingsError::Share)
        } else if self.max_wait == DurationMs::ZERO {
            Err(SettingsError::NoPromise)
        } else {
            Ok(())
        }
    }
}
