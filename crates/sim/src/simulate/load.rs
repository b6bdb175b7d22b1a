//! A described load: so many jobs an hour, by hour of the day, of so many seconds each.

use overspill_core::time::{DurationMs, Timestamp};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::trace::{Trace, TraceJob};

/// Arrivals as people describe them.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Jobs an hour, by hour of the day.
    pub hourly: [f64; 24],
    /// The shortest and the longest job, evenly distributed.
    pub length: (DurationMs, DurationMs),
    /// For so many days.
    pub days: u32,
    /// Makes the arrivals repeatable.
    pub seed: u64,
}

/// How a day's jobs are spread over its hours where nothing better is known: a working day with an
/// evening. The parts add up to 1.
pub const DAY: [f64; 24] = [
    0.015, 0.010, 0.008, 0.006, 0.006, 0.008, 0.015, 0.028, 0.045, 0.058, 0.064, 0.065, 0.060,
    0.062, 0.065, 0.064, 0.060, 0.056, 0.058, 0.062, 0.062, 0.055, 0.042, 0.026,
];

/// Jobs of one trace at most; what is more is a mistake in the unit.
pub const JOBS_MAX: f64 = 20_000_000.0;

/// Why a load is none.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LoadError {
    /// Nothing comes in.
    #[error("the load has no jobs: raise the jobs an hour or the days")]
    Empty,
    /// More than can be meant.
    #[error("the load has {jobs:.0} jobs; at most {JOBS_MAX:.0} can be simulated at once")]
    TooMany {
        /// How many.
        jobs: f64,
    },
}

impl Load {
    /// Draws the arrivals: evenly at random within each hour, as of many independent users.
    ///
    /// # Errors
    /// When there would be none, or more than [`JOBS_MAX`].
    pub fn trace(&self) -> Result<Trace, LoadError> {
        let jobs = self.hourly.iter().sum::<f64>() * f64::from(self.days);
        if !(0.0..=JOBS_MAX).contains(&jobs) {
            return Err(LoadError::TooMany { jobs });
        }
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut trace = Trace {
            jobs: Vec::new(),
            classes: vec!["job".to_owned()],
        };
        for hour in 0..24 * i64::from(self.days) {
            let rate = self.hourly[usize::try_from(hour % 24).unwrap_or(0)];
            if rate <= 0.0 {
                continue;
            }
            let mut at = 0.0_f64;
            loop {
                at -= (1.0 - rng.random::<f64>()).ln() * 3_600.0 / rate;
                if at >= 3_600.0 {
                    break;
                }
                let begins = Timestamp::from_millis(hour * 3_600_000);
                let (from, to) = self.length;
                let length =
                    rng.random_range(from.as_millis()..=to.as_millis().max(from.as_millis()));
                trace.jobs.push(TraceJob {
                    arrival: begins + DurationMs::from_secs_f64(at),
                    duration: DurationMs::from_millis(length),
                    class: 0,
                    is_low_priority: false,
                });
            }
        }
        if trace.jobs.is_empty() {
            return Err(LoadError::Empty);
        }
        Ok(trace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_about_its_jobs_in_order() {
        assert!((DAY.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        let load = Load {
            hourly: DAY.map(|part| part * 20_000.0),
            length: (DurationMs::from_secs(5), DurationMs::from_secs(15)),
            days: 1,
            seed: 3,
        };
        let trace = load.trace().unwrap();
        assert!((19_500..20_500).contains(&trace.jobs.len()));
        assert!(trace.jobs.is_sorted_by_key(|job| job.arrival));
        assert_eq!(load.trace().unwrap(), trace, "the seed repeats it");
        let none = Load {
            hourly: [0.0; 24],
            ..load
        };
        assert_eq!(none.trace(), Err(LoadError::Empty));
    }
}
