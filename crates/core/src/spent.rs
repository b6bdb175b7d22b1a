//! What was spent lately: sums of the ledger that caps are compared with.
//!
//! The ledger itself is the store's. Of its lines of the last month the core keeps sums by quarter of
//! an hour, endpoint and key, which is what a store gives back after a restart: the same lines give the
//! same sums. Periods of the calendar begin on a quarter of an hour in every time zone.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::budget::CapScope;
use crate::calendar::{Calendar, Period};
use crate::id::{EndpointId, KeyId};
use crate::ledger::Entry;
use crate::money::NanoUsd;
use crate::time::Timestamp;

/// Length of a bucket.
pub const BUCKET_MS: i64 = 15 * 60 * 1_000;
/// Buckets that are kept: more than the longest month.
pub const BUCKETS_KEPT: i64 = 32 * 96;

/// By quarter of an hour since the epoch, endpoint, and the key that bears it.
type Place = (i64, EndpointId, Option<KeyId>);

/// Sums of the ledger's lines that are money.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpentBook {
    sums: BTreeMap<Place, NanoUsd>,
}

impl SpentBook {
    /// Takes in a line of the ledger.
    pub fn add(&mut self, entry: &Entry) {
        if entry.kind.is_spent() {
            let bucket = bucket_of(entry.at);
            self.add_sum(bucket, entry.endpoint, entry.key, entry.amount);
        }
    }

    /// Takes in a sum over lines of one bucket. Buckets that are too old for any cap go.
    pub fn add_sum(
        &mut self,
        bucket: i64,
        endpoint: EndpointId,
        key: Option<KeyId>,
        amount: NanoUsd,
    ) {
        *self.sums.entry((bucket, endpoint, key)).or_default() += amount;
        let newest = self
            .sums
            .last_key_value()
            .map_or(bucket, |((at, ..), _)| *at);
        while let Some(oldest) = self.sums.first_entry() {
            if oldest.key().0 > newest - BUCKETS_KEPT {
                break;
            }
            oldest.remove();
        }
    }

    /// Spent from `from` on and before `to`.
    #[must_use]
    pub fn between(&self, scope: CapScope, from: Timestamp, to: Timestamp) -> NanoUsd {
        let first = |bucket| (bucket, EndpointId(0), None);
        let range = first(bucket_of(from))..first(bucket_of(to));
        let sums = self.sums.range(range);
        let of = sums.filter(|((_, endpoint, key), _)| scope.covers(*endpoint, *key));
        of.map(|(_, &amount)| amount).sum()
    }
}

impl Serialize for SpentBook {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.sums)
    }
}

impl<'de> Deserialize<'de> for SpentBook {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let sums = Vec::<(Place, NanoUsd)>::deserialize(deserializer)?;
        Ok(Self {
            sums: sums.into_iter().collect(),
        })
    }
}

/// The quarter of an hour that a moment lies in.
#[must_use]
pub const fn bucket_of(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(BUCKET_MS)
}

/// The book with the sums of current periods beside it, so that a cap is compared in no time.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Spending {
    pub(crate) book: SpentBook,
    #[serde(with = "crate::change::as_list")]
    sums: BTreeMap<(CapScope, Period), Sum>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Sum {
    start: Timestamp,
    end: Timestamp,
    amount: NanoUsd,
}

impl Spending {
    pub(crate) fn new(book: SpentBook) -> Self {
        Self {
            book,
            sums: BTreeMap::new(),
        }
    }

    pub(crate) fn add(&mut self, entry: &Entry) {
        if !entry.kind.is_spent() {
            return;
        }
        self.book.add(entry);
        for ((scope, _), sum) in &mut self.sums {
            let is_its = scope.covers(entry.endpoint, entry.key);
            if is_its && sum.start <= entry.at && entry.at < sum.end {
                sum.amount += entry.amount;
            }
        }
    }

    /// The calendar is another one: sums are made anew when they are asked for.
    pub(crate) fn forget_sums(&mut self) {
        self.sums.clear();
    }

    /// Spent in the period of `now`, and when that ends.
    pub(crate) fn in_period(
        &mut self,
        scope: CapScope,
        period: Period,
        now: Timestamp,
        calendar: &Calendar,
    ) -> (NanoUsd, Timestamp) {
        let known = self.sums.get(&(scope, period));
        if let Some(sum) = known.filter(|sum| sum.start <= now && now < sum.end) {
            return (sum.amount, sum.end);
        }
        let (start, end) = calendar.period(period, now);
        let amount = self.book.between(scope, start, end);
        let sum = Sum { start, end, amount };
        self.sums.insert((scope, period), sum);
        (amount, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PoolId;
    use crate::ledger::EntryKind;
    use crate::time::DurationMs;

    fn entry(minutes: i64, endpoint: u32, kind: EntryKind, nanos: i64) -> Entry {
        Entry {
            at: Timestamp::from_millis(minutes * 60_000),
            endpoint: EndpointId(endpoint),
            pool: PoolId(0),
            job: None,
            kind,
            worker_time: DurationMs::ZERO,
            amount: NanoUsd::from_nanos(nanos),
            gpu: None,
            region: None,
            key: None,
        }
    }

    #[test]
    fn sums_follow_the_ledger_and_begin_anew_with_each_period() {
        let utc = Calendar::default();
        let mut spending = Spending::default();
        let at = |minutes: i64| Timestamp::from_millis(minutes * 60_000);
        let all = CapScope::Everything;
        let one = CapScope::Endpoint(EndpointId(1));
        let sum = |spending: &mut Spending, scope, period, minutes| {
            let (amount, _) = spending.in_period(scope, period, at(minutes), &utc);
            amount.as_nanos()
        };
        assert_eq!(sum(&mut spending, one, Period::Hour, 10), 0);
        spending.add(&entry(10, 1, EntryKind::Run, 5));
        spending.add(&entry(50, 2, EntryKind::Idle, 7));
        spending.add(&entry(55, 1, EntryKind::Saved, 1_000));
        assert_eq!(sum(&mut spending, one, Period::Hour, 59), 5);
        assert_eq!(sum(&mut spending, all, Period::Hour, 59), 12);
        assert_eq!(sum(&mut spending, all, Period::Hour, 60), 0);
        assert_eq!(sum(&mut spending, all, Period::Day, 60), 12);
        let key = KeyId::of("k1").unwrap();
        assert_eq!(sum(&mut spending, CapScope::Key(key), Period::Day, 60), 0);
        spending.add(&Entry {
            key: Some(key),
            ..entry(61, 2, EntryKind::Run, 3)
        });
        assert_eq!(sum(&mut spending, CapScope::Key(key), Period::Day, 62), 3);
        assert_eq!(sum(&mut spending, all, Period::Day, 62), 15);
        let mut again = Spending::new(spending.book.clone());
        assert_eq!(sum(&mut again, one, Period::Month, 61), 5);
    }

    #[test]
    fn only_what_a_cap_may_ask_for_is_kept() {
        let mut book = SpentBook::default();
        book.add(&entry(0, 1, EntryKind::Run, 5));
        book.add(&entry(BUCKETS_KEPT * 15 - 1, 1, EntryKind::Run, 7));
        assert_eq!(book.sums.len(), 2);
        book.add(&entry(BUCKETS_KEPT * 15, 1, EntryKind::Run, 9));
        assert_eq!(book.sums.len(), 2);
        let text = serde_json::to_string(&book).unwrap();
        assert_eq!(serde_json::from_str::<SpentBook>(&text).unwrap(), book);
    }
}
