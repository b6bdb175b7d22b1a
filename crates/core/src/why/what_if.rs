//! What one changed setting would do: the policy is asked again, and the forecasts are compared.

use std::fmt;

use serde::Serialize;

use super::forecast::{Change, Forecast};
use super::situation::Situation;
use crate::id::JobId;
use crate::money::NanoUsd;
use crate::time::{DurationMs, Timestamp};

/// Differences below this are not told: a forecast is not that exact.
const EARLIER_MIN: DurationMs = DurationMs::from_secs(1);

/// A setting with another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "setting", rename_all = "snake_case")]
pub enum Setting {
    /// Most cloud workers.
    Max {
        /// As it is.
        from: u32,
        /// As it would be.
        to: u32,
    },
    /// Cloud workers that are always on.
    Min {
        /// As it is.
        from: u32,
        /// As it would be.
        to: u32,
    },
    /// The promise.
    MaxWait {
        /// As it is.
        from: DurationMs,
        /// As it would be.
        to: DurationMs,
    },
    /// Local slots.
    LocalSlots {
        /// As it is.
        from: u32,
        /// As it would be.
        to: u32,
    },
}

/// A changed setting and what comes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WhatIf {
    /// The change.
    #[serde(flatten)]
    pub change: Setting,
    /// When the job, or the last waiting one, would start, from now.
    pub start_in: DurationMs,
    /// So much earlier than as it is; `None` where nothing would start it as it is.
    pub earlier: Option<DurationMs>,
    /// What the cloud would cost more until these jobs are done; a saving is negative.
    pub cost_more: NanoUsd,
    /// What the change costs each hour from then on, work or no work.
    pub cost_per_hour: NanoUsd,
}

impl fmt::Display for WhatIf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.change {
            Setting::Max { to, .. } => write!(f, "with max {to} ")?,
            Setting::Min { to, .. } => write!(f, "had min been {to} ")?,
            Setting::MaxWait { to, .. } => write!(f, "with a promise of {to} ")?,
            Setting::LocalSlots { to, .. } => write!(f, "with {to} local slots ")?,
        }
        match self.earlier {
            Some(earlier) => write!(f, "it would start {earlier} earlier")?,
            None => write!(f, "it would start in {}, else never", self.start_in)?,
        }
        let more = self.cost_more.as_nanos();
        match more {
            0 => f.write_str(", for no more money")?,
            1.. => write!(f, ", for {} more", self.cost_more)?,
            _ => write!(f, ", for {} less", NanoUsd::from_nanos(-more))?,
        }
        if self.cost_per_hour == NanoUsd::ZERO {
            return Ok(());
        }
        write!(f, ", and {} each hour from then on", self.cost_per_hour)
    }
}

impl Situation {
    /// When a job of the picture would start as things are.
    #[must_use]
    pub fn start_of(&self, forecast: &Forecast, job: Option<JobId>) -> Option<Timestamp> {
        match job {
            Some(job) => {
                let place = self.jobs.iter().position(|&id| id == job)?;
                *forecast.starts.get(place)?
            }
            // The last one; `None` when any would never start.
            None => forecast
                .starts
                .iter()
                .try_fold(Timestamp::ZERO, |last, start| Some(last.max((*start)?))),
        }
    }

    /// Whether a forecast speaks of a job: those far back in a long queue are not looked at.
    #[must_use]
    pub fn sees(&self, job: JobId) -> bool {
        self.jobs.contains(&job)
    }

    /// What each setting that would help a job, or all that wait, would do; the best value of each.
    #[must_use]
    pub fn what_if(&self, job: Option<JobId>) -> Vec<WhatIf> {
        if self.jobs.is_empty() || job.is_some_and(|job| !self.sees(job)) {
            return Vec::new();
        }
        let base = self.forecast(&self.as_is());
        let mut found = Vec::new();
        found.extend(self.first_that_helps(&base, job, self.higher_max(&base)));
        found.extend(self.first_that_helps(&base, job, self.warm_worker()));
        found.extend(self.first_that_helps(&base, job, self.shorter_promise()));
        found.extend(self.first_that_helps(&base, job, self.more_slots()));
        found
    }

    fn first_that_helps(
        &self,
        base: &Forecast,
        job: Option<JobId>,
        tried: Vec<(Setting, Change)>,
    ) -> Option<WhatIf> {
        let now = self.picture.now;
        let was = self.start_of(base, job);
        tried.into_iter().find_map(|(setting, change)| {
            let forecast = self.forecast(&change);
            let start = self.start_of(&forecast, job)?;
            let earlier = was.map(|was| was.since(start));
            if earlier.is_some_and(|earlier| earlier < EARLIER_MIN) {
                return None;
            }
            let cost_per_hour = match setting {
                Setting::Min { from, to } => self.price_per_hour(to - from),
                _ => NanoUsd::ZERO,
            };
            Some(WhatIf {
                change: setting,
                start_in: start.since(now),
                earlier,
                cost_more: forecast.cost - base.cost,
                cost_per_hour,
            })
        })
    }

    /// One more first, then as many as the rule wants.
    fn higher_max(&self, base: &Forecast) -> Vec<(Setting, Change)> {
        let from = self.limits.max;
        let wanted = base.wish.workers;
        let mut values = vec![from + 1];
        if wanted > from + 1 {
            values.push(wanted);
        }
        let is_limit = wanted > from && self.allowed(from + 1) > from;
        values.retain(|_| is_limit && !self.pools.is_empty());
        let change = |to| {
            (
                Setting::Max { from, to },
                Change {
                    max: to,
                    ..self.as_is()
                },
            )
        };
        values.into_iter().map(change).collect()
    }

    fn warm_worker(&self) -> Vec<(Setting, Change)> {
        let from = self.limits.min;
        // More would be held at 0 too.
        if self.pools.is_empty() || from >= self.limits.max || self.min_held > 0 {
            return Vec::new();
        }
        let to = from + 1;
        let warm = Change {
            warm: 1,
            ..self.as_is()
        };
        vec![(Setting::Min { from, to }, warm)]
    }

    fn shorter_promise(&self) -> Vec<(Setting, Change)> {
        let from = self.spec.max_wait;
        if self.pools.is_empty() {
            return Vec::new();
        }
        let parts = [2, 4, 8].map(|part| DurationMs::from_secs(from.as_millis() / 1_000 / part));
        let shorter = parts
            .into_iter()
            .filter(|to| *to >= DurationMs::from_secs(1));
        let change = |to| {
            let change = Change {
                max_wait: to,
                ..self.as_is()
            };
            (Setting::MaxWait { from, to }, change)
        };
        shorter.map(change).collect()
    }

    fn more_slots(&self) -> Vec<(Setting, Change)> {
        let Some(slots) = self.seats.iter().map(|seat| seat.slots).max() else {
            return Vec::new();
        };
        let from = self.seats.iter().map(|seat| seat.slots).sum();
        let to = from + slots;
        let more = Change {
            local: slots,
            ..self.as_is()
        };
        vec![(Setting::LocalSlots { from, to }, more)]
    }

    fn price_per_hour(&self, workers: u32) -> NanoUsd {
        let price = self.pools.iter().find_map(|pool| pool.price);
        price.map_or(NanoUsd::ZERO, |price| price.per_hour().times(workers))
    }
}
