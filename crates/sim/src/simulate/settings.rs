//! What a simulation is told of the world: cards, limits, promise, start-up times, faults, prices.

use overspill_core::money::{NanoUsd, RatePerHour};
use overspill_core::scaler::START_MEAN;
use overspill_core::time::DurationMs;
use serde::{Deserialize, Serialize};

use super::value::{self, ValueError};

/// The world of a simulation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Workers of one's own, always ready and free of charge.
    pub local_workers: u32,
    /// Jobs at once on each of them.
    pub local_slots: u32,
    /// Cloud workers always on.
    pub min: u32,
    /// Cloud workers at most, over all offers.
    pub max: u32,
    /// Jobs at once on a cloud worker; where they are learned, what it begins with.
    pub slots: u32,
    /// Whether the slots of cloud workers are learned, by the core's own rule.
    pub learns_slots: bool,
    /// From so many jobs at once on, a cloud worker gets no more done: each is slower in proportion. 0: never.
    pub knee: u32,
    /// With more jobs at once, a cloud worker's memory is full and the job fails. 0: it never is.
    pub fits: u32,
    /// The promise: submit to start.
    pub max_wait: DurationMs,
    /// The shortest and the longest start-up, evenly distributed.
    pub cold_start: (DurationMs, DurationMs),
    /// Share of start-ups that take only 1 to 5 s, as RunPod's FlashBoot has it.
    pub flash_share: f64,
    /// Share of start-ups that take [`SLOW_FACTOR`] times as long.
    pub slow_share: f64,
    /// Share of orders that never get ready; they are given up after `start_timeout`.
    pub stuck_share: f64,
    /// Share of orders that the cloud has no GPU for at first, as for a throttled worker. They are
    /// not billed until they begin, [`THROTTLED`] later.
    pub throttled_share: f64,
    /// Share of attempts that fail part of the way; a job is tried three times.
    pub failing_share: f64,
    /// How often a ready worker is lost with its jobs, on average once in so much time; 0 = never.
    pub lost_every: DurationMs,
    /// An order that is not ready after this long has failed.
    pub start_timeout: DurationMs,
    /// Stands in for measured durations until there are samples.
    pub expected_execution: DurationMs,
    /// Stands in for measured start-ups until there are samples: the mean.
    pub expected_start: DurationMs,
    /// Where the cloud's workers come from; one offer at `rate` where empty.
    pub offers: Vec<Offer>,
    /// Price of a cloud worker where no offer says otherwise.
    pub rate: RatePerHour,
    /// Makes start-up times repeatable.
    pub seed: u64,
}

/// A GPU type in a region at a price.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// Its name in reports.
    pub name: String,
    /// Price of one worker.
    pub rate: RatePerHour,
    /// Workers at most.
    pub max: u32,
    /// How much faster than the trace says a job runs there.
    pub speed: f64,
    /// Start-up times there; those of the world where `None`.
    pub cold_start: Option<(DurationMs, DurationMs)>,
    /// Share of orders throttled there; that of the world where `None`.
    pub throttled_share: Option<f64>,
}

/// How much longer a slow start-up takes.
pub const SLOW_FACTOR: u64 = 5;
/// How long a throttled order waits for its GPU, evenly distributed.
pub const THROTTLED: (DurationMs, DurationMs) =
    (DurationMs::from_secs(30), DurationMs::from_secs(600));

impl Default for Settings {
    fn default() -> Self {
        Self {
            local_workers: 0,
            local_slots: 1,
            min: 0,
            max: 3,
            slots: 1,
            learns_slots: false,
            knee: 0,
            fits: 0,
            max_wait: DurationMs::from_secs(90),
            cold_start: (DurationMs::from_secs(30), DurationMs::from_secs(60)),
            flash_share: 0.0,
            slow_share: 0.0,
            stuck_share: 0.0,
            throttled_share: 0.0,
            failing_share: 0.0,
            lost_every: DurationMs::ZERO,
            start_timeout: DurationMs::from_secs(420),
            expected_execution: DurationMs::from_secs(30),
            expected_start: START_MEAN,
            offers: Vec::new(),
            rate: RatePerHour::new(NanoUsd::from_nanos(440_000_000)),
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
    #[error("the share of {what} is between 0 and 1")]
    Share {
        /// Of what.
        what: &'static str,
    },
    /// Every attempt or every start fails, so that no job ever ends.
    #[error("the share of {what} is 1, so that no job would ever end: lower it")]
    Hopeless {
        /// Of what.
        what: &'static str,
    },
    /// No slots that are not learned can be kept within memory.
    #[error(
        "{slots} slots never fit a worker with memory for {fits}: lower the slots, or learn them"
    )]
    NeverFits {
        /// Jobs at once.
        slots: u32,
        /// That there is memory for.
        fits: u32,
    },
    /// A promise of nothing.
    #[error("the promise (max wait) is longer than 0")]
    NoPromise,
    /// An offer with an impossible speed or no workers.
    #[error("the offer {name} has a speed from 0.01 to 100 and at least 1 worker")]
    Offer {
        /// Which.
        name: String,
    },
}

impl Settings {
    /// Checks that a simulation can run.
    ///
    /// # Errors
    /// When the settings contradict each other.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.local_workers == 0 && self.max == 0 {
            return Err(SettingsError::NoWorkers);
        }
        if self.slots == 0 || self.local_slots == 0 {
            return Err(SettingsError::NoSlots);
        }
        if self.fits > 0 && self.slots > self.fits && !self.learns_slots {
            let (slots, fits) = (self.slots, self.fits);
            return Err(SettingsError::NeverFits { slots, fits });
        }
        if self.min > self.max {
            let (min, max) = (self.min, self.max);
            return Err(SettingsError::MinOverMax { min, max });
        }
        let times = self.offers.iter().filter_map(|offer| offer.cold_start);
        for (from, to) in times.chain([self.cold_start]) {
            if from > to {
                return Err(SettingsError::ColdStart { from, to });
            }
        }
        let own = self
            .offers
            .iter()
            .filter_map(|offer| offer.throttled_share)
            .map(|share| ("throttled orders", share));
        let shares = [
            ("flash starts", self.flash_share),
            ("slow starts", self.slow_share),
            ("stuck starts", self.stuck_share),
            ("throttled orders", self.throttled_share),
            ("failing attempts", self.failing_share),
        ];
        for (what, share) in own.chain(shares) {
            if !(0.0..=1.0).contains(&share) {
                return Err(SettingsError::Share { what });
            }
        }
        if self.stuck_share >= 1.0 && self.local_workers == 0 {
            let what = "stuck starts";
            return Err(SettingsError::Hopeless { what });
        }
        if self.max_wait == DurationMs::ZERO {
            return Err(SettingsError::NoPromise);
        }
        for offer in &self.offers {
            if offer.max == 0 || !(0.01..=100.0).contains(&offer.speed) {
                let name = offer.name.clone();
                return Err(SettingsError::Offer { name });
            }
        }
        Ok(())
    }

    /// Slots of one's own, over all local workers.
    #[must_use]
    pub const fn local_slots_total(&self) -> usize {
        self.local_workers as usize * self.local_slots as usize
    }

    /// The offers, at least one.
    #[must_use]
    pub fn offers(&self) -> Vec<Offer> {
        if self.offers.is_empty() {
            return vec![Offer {
                name: "cloud".to_owned(),
                rate: self.rate,
                max: self.max,
                speed: 1.0,
                cold_start: None,
                throttled_share: None,
            }];
        }
        self.offers.clone()
    }

    /// Sets a value by its name, as `--set` does; `false` for a name that is none of the world's.
    ///
    /// # Errors
    /// When the value is no value of that setting.
    pub fn set(&mut self, key: &str, text: &str) -> Result<bool, ValueError> {
        match key {
            "local_workers" => self.local_workers = value::count(text)?,
            "local_slots" => self.local_slots = value::count(text)?,
            "min" => self.min = value::count(text)?,
            "max" => self.max = value::count(text)?,
            "slots" if text.trim() == "learn" => (self.slots, self.learns_slots) = (1, true),
            "slots" => (self.slots, self.learns_slots) = (value::count(text)?, false),
            "knee" => self.knee = value::count(text)?,
            "fits" => self.fits = value::count(text)?,
            "max_wait" => self.max_wait = value::duration(text)?,
            "cold_start" => self.cold_start = value::range(text)?,
            "flash_share" => self.flash_share = value::number(text)?,
            "slow_share" => self.slow_share = value::number(text)?,
            "stuck_share" => self.stuck_share = value::number(text)?,
            "throttled_share" => self.throttled_share = value::number(text)?,
            "failing_share" => self.failing_share = value::number(text)?,
            "lost_every" => self.lost_every = value::duration(text)?,
            "start_timeout" => self.start_timeout = value::duration(text)?,
            "expected_execution" => self.expected_execution = value::duration(text)?,
            "expected_start" => self.expected_start = value::duration(text)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The names that [`Self::set`] knows.
    pub const KEYS: [&'static str; 18] = [
        "local_workers",
        "local_slots",
        "min",
        "max",
        "slots",
        "knee",
        "fits",
        "max_wait",
        "cold_start",
        "flash_share",
        "slow_share",
        "stuck_share",
        "throttled_share",
        "failing_share",
        "lost_every",
        "start_timeout",
        "expected_execution",
        "expected_start",
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_can_be_set() {
        let mut settings = Settings::default();
        for key in Settings::KEYS {
            let text = match key {
                "cold_start" => "1s..2s",
                "max_wait" | "lost_every" | "start_timeout" | "expected_execution"
                | "expected_start" => "7s",
                _ => "1",
            };
            assert_eq!(settings.set(key, text), Ok(true), "{key}");
        }
        assert_eq!(settings.set("colour", "red"), Ok(false));
        assert_eq!(settings.max_wait, DurationMs::from_secs(7));
        assert!(settings.set("max", "-1").is_err());
    }

    #[test]
    fn impossible_worlds_are_refused() {
        let refused = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.check().unwrap_err().to_string()
        };
        assert!(refused(|s| s.max = 0).contains("no cloud worker"));
        assert!(refused(|s| s.slots = 0).contains("at least 1 slot"));
        assert!(refused(|s| s.min = 9).contains("min 9 is over max 3"));
        assert!(refused(|s| s.slow_share = 1.5).contains("slow starts"));
        assert!(refused(|s| s.stuck_share = 1.0).contains("no job would ever end"));
        assert!(refused(|s| s.max_wait = DurationMs::ZERO).contains("promise"));
    }
}
