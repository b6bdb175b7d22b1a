//! What a decision weighed: the numbers that made it, and what the next-best choice would have cost.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::money::{NanoUsd, RatePerHour};
use crate::time::DurationMs;

/// The inputs and the prices of one decision of `cost_aware`.
///
/// Prices are worker time: what the starts cost, and what it costs that jobs start late, at
/// `lateness_price` starts for each. Jobs that would be late anyway are in every price.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weighed {
    /// Workers that are ready.
    pub ready: u32,
    /// Of them, those that run nothing.
    pub idle: u32,
    /// Workers on their way.
    pub starting: u32,
    /// Workers to start now.
    pub starts: u32,
    /// Idle workers that stay.
    pub kept: u32,
    /// The price of what was chosen.
    pub price: DurationMs,
    /// The price with at least one start more; `None` where there is no room for one.
    pub more: Option<DurationMs>,
    /// The price with at least one start fewer; `None` where nothing is started.
    pub fewer: Option<DurationMs>,
    /// How long a start takes in the mean, as learned: the price of one.
    pub start_mean: DurationMs,
    /// How long a start takes at most, as learned: so much before the promise is over it must begin.
    pub start_longest: DurationMs,
    /// How long an idle worker is kept.
    pub keep: DurationMs,
    /// Starts are earlier while few jobs have run or too many were late.
    pub is_cautious: bool,
}

impl Weighed {
    /// The price of the best choice that was not taken, and whether it has more starts.
    #[must_use]
    pub fn next_best(&self) -> Option<(DurationMs, bool)> {
        match (self.more, self.fewer) {
            (Some(more), Some(fewer)) if fewer < more => Some((fewer, false)),
            (Some(more), _) => Some((more, true)),
            (None, Some(fewer)) => Some((fewer, false)),
            (None, None) => None,
        }
    }
}

/// The same in money, at the price of the pool that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Priced {
    /// The numbers.
    #[serde(flatten)]
    pub weighed: Weighed,
    /// What was chosen, in money.
    pub cost: NanoUsd,
    /// The best choice that was not taken; `None` where there was no other.
    pub next_best_cost: Option<NanoUsd>,
    /// Whether that one starts more workers, rather than fewer.
    pub next_best_is_more: bool,
}

impl Priced {
    /// At this price of one worker; an unknown price counts as none.
    #[must_use]
    pub fn new(weighed: Weighed, price: Option<RatePerHour>) -> Self {
        let cost = |time| price.map_or(NanoUsd::ZERO, |price| price.over(time));
        let next = weighed.next_best();
        Self {
            weighed,
            cost: cost(weighed.price),
            next_best_cost: next.map(|(time, _)| cost(time)),
            next_best_is_more: next.is_some_and(|(_, is_more)| is_more),
        }
    }
}

impl fmt::Display for Priced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weighed = &self.weighed;
        write!(
            f,
            "{} ready ({} idle), {} starting, {} to start: {}",
            weighed.ready, weighed.idle, weighed.starting, weighed.starts, self.cost
        )?;
        if let Some(cost) = self.next_best_cost {
            let other = if self.next_best_is_more {
                "more"
            } else {
                "fewer"
            };
            write!(f, ", one {other}: {cost}")?;
        }
        write!(
            f,
            " (starts and lateness; a start takes {}, at most {})",
            weighed.start_mean, weighed.start_longest
        )
    }
}

impl fmt::Display for Weighed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ready ({} idle), {} starting; starting {} weighs {} of worker time",
            self.ready, self.idle, self.starting, self.starts, self.price
        )?;
        match self.next_best() {
            Some((price, true)) => write!(f, ", one more {price}")?,
            Some((price, false)) => write!(f, ", one fewer {price}")?,
            None => {}
        }
        write!(
            f,
            "; a start takes {} ({} at most)",
            self.start_mean, self.start_longest
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_best_is_the_cheaper_neighbour() {
        let secs = DurationMs::from_secs;
        let weighed = Weighed {
            starts: 1,
            price: secs(45),
            more: Some(secs(90)),
            fewer: Some(secs(80)),
            ..Weighed::default()
        };
        assert_eq!(weighed.next_best(), Some((secs(80), false)));
        let alone = Weighed {
            more: Some(secs(45)),
            ..Weighed::default()
        };
        assert_eq!(alone.next_best(), Some((secs(45), true)));
        assert_eq!(Weighed::default().next_best(), None);
        let text = weighed.to_string();
        assert!(text.contains("one fewer 80.000s"), "{text}");
    }
}
