//! What the ledger says of each pool's hours: what RunPod's billing records are compared with.
//!
//! Sums of the ledger's lines by hour, pool and kind, for the days in which RunPod may still write or
//! correct its records. A store gives them back after a restart: the same lines give the same sums,
//! and lines that a record led to are among them. So a record is never booked twice.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::PoolId;
use crate::ledger::{Entry, EntryKind};
use crate::money::{NanoUsd, RatePerHour};
use crate::time::{DurationMs, Timestamp};

/// Length of an hour of RunPod's records, which begin with those of UTC.
pub const HOUR_MS: i64 = 3_600_000;
/// Hours that are kept: four days.
pub const HOURS_KEPT: i64 = 96;

/// One pool's lines of one hour.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolHour {
    sums: BTreeMap<EntryKind, (DurationMs, NanoUsd)>,
}

impl PoolHour {
    /// How much money the lines of a kind are.
    #[must_use]
    pub fn amount(&self, kind: EntryKind) -> NanoUsd {
        self.sums.get(&kind).map_or(NanoUsd::ZERO, |sum| sum.1)
    }

    /// What was counted: starts, runs and idle workers.
    #[must_use]
    pub fn counted(&self) -> NanoUsd {
        Self::COUNTED.iter().map(|&kind| self.amount(kind)).sum()
    }

    /// The worker time of it.
    #[must_use]
    pub fn counted_time(&self) -> DurationMs {
        let time = |kind| self.sums.get(kind).map_or(DurationMs::ZERO, |sum| sum.0);
        Self::COUNTED
            .iter()
            .map(time)
            .fold(DurationMs::ZERO, DurationMs::saturating_add)
    }

    /// All that counts as spent.
    #[must_use]
    pub fn total(&self) -> NanoUsd {
        self.sums.values().map(|sum| sum.1).sum()
    }

    /// The hour with what was counted and is not in the ledger yet.
    #[must_use]
    pub(crate) fn and_counted(&self, amount: NanoUsd, price: Option<RatePerHour>) -> Self {
        let mut hour = self.clone();
        let sum = hour.sums.entry(EntryKind::Run).or_default();
        sum.0 = sum.0 + price.map_or(DurationMs::ZERO, |price| price.bought_by(amount));
        sum.1 += amount;
        hour
    }

    const COUNTED: [EntryKind; 3] = [EntryKind::ColdStart, EntryKind::Run, EntryKind::Idle];
}

/// Sums by hour since the epoch and pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BookedHours {
    hours: BTreeMap<(i64, PoolId), PoolHour>,
}

impl BookedHours {
    /// Takes in a line of the ledger.
    pub fn add(&mut self, entry: &Entry) {
        let hour = hour_of(entry.at);
        self.add_sum(
            hour,
            entry.pool,
            entry.kind,
            entry.worker_time,
            entry.amount,
        );
    }

    /// Takes in a sum over lines of one hour. Hours that are too old for any record go.
    pub fn add_sum(
        &mut self,
        hour: i64,
        pool: PoolId,
        kind: EntryKind,
        worker_time: DurationMs,
        amount: NanoUsd,
    ) {
        if !kind.is_spent() {
            return;
        }
        let sums = &mut self.hours.entry((hour, pool)).or_default().sums;
        let sum = sums.entry(kind).or_default();
        sum.0 = sum.0 + worker_time;
        sum.1 += amount;
        let newest = self.hours.last_key_value().map_or(hour, |((at, _), _)| *at);
        while let Some(oldest) = self.hours.first_entry() {
            if oldest.key().0 > newest - HOURS_KEPT {
                break;
            }
            oldest.remove();
        }
    }

    /// One pool's lines of one hour.
    #[must_use]
    pub fn of(&self, hour: i64, pool: PoolId) -> PoolHour {
        self.hours.get(&(hour, pool)).cloned().unwrap_or_default()
    }

    /// Hours of a pool with lines, from one on, oldest first.
    pub fn since(&self, hour: i64, pool: PoolId) -> impl Iterator<Item = (i64, &PoolHour)> {
        let all = self.hours.range((hour, PoolId(0))..);
        let its = all.filter(move |((_, of), _)| *of == pool);
        its.map(|((hour, _), sums)| (*hour, sums))
    }
}

/// The hour that a moment lies in.
#[must_use]
pub const fn hour_of(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(HOUR_MS)
}

/// When an hour begins.
#[must_use]
pub const fn start_of(hour: i64) -> Timestamp {
    Timestamp::from_millis(hour.saturating_mul(HOUR_MS))
}

type Flat = ((i64, PoolId), (EntryKind, (DurationMs, NanoUsd)));

impl Serialize for BookedHours {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hours = self.hours.iter();
        let flat = hours.flat_map(|(&key, hour)| hour.sums.iter().map(move |sum| (key, sum)));
        serializer.collect_seq(flat)
    }
}

impl<'de> Deserialize<'de> for BookedHours {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut book = Self::default();
        for (key, (kind, sum)) in Vec::<Flat>::deserialize(deserializer)? {
            book.hours.entry(key).or_default().sums.insert(kind, sum);
        }
        Ok(book)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::EndpointId;
    use crate::ledger::Cause;

    fn entry(hour: i64, kind: EntryKind, nanos: i64) -> Entry {
        Entry {
            at: Timestamp::from_millis(hour * HOUR_MS + 1),
            endpoint: EndpointId(1),
            pool: PoolId(2),
            job: None,
            kind,
            worker_time: DurationMs::from_secs(1),
            amount: NanoUsd::from_nanos(nanos),
            gpu: None,
            region: None,
            key: None,
        }
    }

    #[test]
    fn lines_are_summed_by_hour_pool_and_kind() {
        let mut book = BookedHours::default();
        let drift = EntryKind::Drift(Cause::Rounding);
        for (kind, nanos) in [
            (EntryKind::Run, 5),
            (EntryKind::Run, 6),
            (EntryKind::Idle, 2),
            (EntryKind::Saved, 900),
            (EntryKind::Share, 11),
            (EntryKind::Unsettled, 3),
            (drift, -4),
        ] {
            book.add(&entry(7, kind, nanos));
        }
        let hour = book.of(7, PoolId(2));
        assert_eq!(hour.counted().as_nanos(), 13);
        assert_eq!(hour.counted_time(), DurationMs::from_secs(3));
        assert_eq!(hour.total().as_nanos(), 12);
        assert_eq!(hour.amount(drift).as_nanos(), -4);
        assert_eq!(book.of(8, PoolId(2)), PoolHour::default());
        let text = serde_json::to_string(&book).unwrap();
        assert_eq!(serde_json::from_str::<BookedHours>(&text).unwrap(), book);
    }

    #[test]
    fn hours_that_no_record_is_awaited_for_any_more_go_in_any_order() {
        let mut book = BookedHours::default();
        book.add(&entry(0, EntryKind::Run, 5));
        book.add(&entry(HOURS_KEPT, EntryKind::Run, 7));
        book.add(&entry(0, EntryKind::Run, 9));
        assert_eq!(book.hours.len(), 1);
        let kept: Vec<i64> = book.since(0, PoolId(2)).map(|(hour, _)| hour).collect();
        assert_eq!(kept, [HOURS_KEPT]);
    }
}
