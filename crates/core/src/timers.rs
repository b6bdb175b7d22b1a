//! The one table of timers. The driver asks for the next moment and calls back then.
//!
//! A timer that fires is only a question: whoever it concerns looks whether it is still so. So
//! nothing is ever cancelled, and nothing has to be stored.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::id::{AttemptId, DeviceId, EndpointId, PollId, PoolId, WorkerId};
use crate::jobs::Slot;
use crate::time::Timestamp;

/// What to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Timer {
    /// A held job-take must be answered.
    Poll(PollId),
    /// An attempt has run as long as it may; or a fenced one as long as it is given.
    Attempt(AttemptId),
    /// A stopping worker is killed.
    Worker(WorkerId),
    /// A card of a pool may get its next worker.
    Respawn(PoolId, DeviceId),
    /// An endpoint is placed and scaled again.
    Endpoint(EndpointId),
    /// The guard may have been silent for too long.
    Guard,
    /// A doubt about a card is believed, its memory should be free, or it was well for long enough.
    Card(DeviceId),
}

/// All timers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Timers {
    due: BTreeSet<(Timestamp, Timer)>,
    /// Ends of TTLs by second, in slots: a million jobs have one each, so they are kept small.
    ttl: BTreeMap<i64, Vec<Slot>>,
}

impl Timers {
    /// Looks at `timer` at `at`.
    pub fn set(&mut self, at: Timestamp, timer: Timer) {
        if at != Timestamp::NEVER {
            self.due.insert((at, timer));
        }
    }

    /// Looks at a job's TTL at most a second after `at`.
    pub fn set_ttl(&mut self, at: Timestamp, slot: Slot) {
        self.ttl
            .entry(at.as_millis().div_euclid(1_000) + 1)
            .or_default()
            .push(slot);
    }

    /// The next moment to call back at.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        let due = self.due.first().map(|&(at, _)| at);
        let ttl = self
            .ttl
            .keys()
            .next()
            .map(|&s| Timestamp::from_millis(s.saturating_mul(1_000)));
        due.into_iter().chain(ttl).min()
    }

    /// The next timer that is due, taken out.
    pub fn pop(&mut self, now: Timestamp) -> Option<Timer> {
        let &(at, timer) = self.due.first()?;
        if at > now {
            return None;
        }
        self.due.pop_first();
        Some(timer)
    }

    /// The slots whose second has come, taken out.
    pub fn pop_ttl(&mut self, now: Timestamp) -> Vec<Slot> {
        let mut slots = Vec::new();
        while let Some(entry) = self.ttl.first_entry() {
            if entry.key().saturating_mul(1_000) > now.as_millis() {
                break;
            }
            slots.append(&mut entry.remove());
        }
        slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_is_looked_at_after_its_end_and_within_a_second() {
        for end_ms in [1_000, 1_001, 1_999] {
            let mut timers = Timers::default();
            let slot = Slot::default();
            timers.set_ttl(Timestamp::from_millis(end_ms), slot);
            let next = timers.next().expect("it is set").as_millis();
            assert!(
                (end_ms + 1..=end_ms + 1_000).contains(&next),
                "{next} for {end_ms}"
            );
            assert!(timers.pop_ttl(Timestamp::from_millis(next - 1)).is_empty());
            assert_eq!(timers.pop_ttl(Timestamp::from_millis(next)), [slot]);
            assert_eq!(timers.next(), None);
        }
    }
}
