//! Why RunPod's record of an hour differs from what the ledger counted: the difference, split by cause.
//!
//! Pure arithmetic over one pool's hour. What the causes add up to is always exactly what is missing
//! for the ledger to say what the record says; which cause gets it is read from what was seen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::booked::PoolHour;
use crate::ledger::{Cause, EntryKind};
use crate::money::{NanoUsd, RatePerHour};
use crate::time::{DurationMs, Timestamp};

/// RunPod's billing record of one endpoint and hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourRecord {
    /// When the hour begins.
    pub start: Timestamp,
    /// For GPUs and CPUs.
    pub compute: NanoUsd,
    /// For container disks, fees, and whatever else its total holds.
    pub other: NanoUsd,
}

impl HourRecord {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> NanoUsd {
        self.compute + self.other
    }
}

/// What is known beside the counts and the record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clues {
    /// The price that was counted with.
    pub price: Option<RatePerHour>,
    /// What RunPod lists for a worker of this endpoint.
    pub list_price: Option<RatePerHour>,
    /// How long idle workers were seen that should have been gone, and were not counted as billed.
    pub lingering: DurationMs,
    /// How long workers ran with no job of ours.
    pub foreign: DurationMs,
}

/// Counting is as exact as this, in percent of the money that was counted.
const EXACT_PERCENT: i64 = 2;
/// And no more exact than so much of a worker's time.
const EXACT_TIME: DurationMs = DurationMs::from_secs(60);
/// What was seen explains a difference that is as long within so many percent.
const LIKE_PERCENT: i64 = 20;
/// Two prices differ from so many percent on.
const PRICE_PERCENT: i64 = 1;

/// What is to stand in the ledger for each cause, so that the hour's lines are what the record says.
/// Causes that explain nothing are left out.
#[must_use]
pub fn explain(hour: &PoolHour, record: &HourRecord, clues: &Clues) -> BTreeMap<Cause, NanoUsd> {
    let mut causes = BTreeMap::from([(Cause::DisksAndFees, record.other)]);
    let counted = hour.counted();
    let mut rest = record.compute - counted;
    let unsettled = hour.amount(EntryKind::Unsettled);
    let real = rest.max(NanoUsd::ZERO).min(unsettled);
    causes.insert(Cause::UnsettledSettled, real - unsettled);
    rest = rest - real;
    causes.insert(cause_of(rest, hour, record, clues), rest);
    causes.retain(|_, amount| *amount != NanoUsd::ZERO);
    causes
}

/// Which cause a difference has.
fn cause_of(rest: NanoUsd, hour: &PoolHour, record: &HourRecord, clues: &Clues) -> Cause {
    let counted = hour.counted();
    let slack = slack(counted, clues.price);
    if is_near(rest, NanoUsd::ZERO, slack) {
        return Cause::Rounding;
    }
    if let (Some(price), Some(list)) = (clues.price, clues.list_price) {
        let (price, list) = (price.per_hour(), list.per_hour());
        let differ = !is_near(price, list, percent(price, PRICE_PERCENT));
        let listed = clues
            .list_price
            .unwrap_or_default()
            .over(hour.counted_time());
        if differ
            && is_near(
                record.compute,
                listed,
                slack.max(percent(listed, EXACT_PERCENT)),
            )
        {
            return Cause::PriceDiffers;
        }
    }
    if rest < NanoUsd::ZERO {
        return Cause::BilledLess;
    }
    if counted > NanoUsd::ZERO {
        let is_times = |n: u32| is_near(record.compute, counted.times(n), slack.times(n));
        if is_times(2) || is_times(3) {
            return Cause::BilledTwice;
        }
    }
    let worth = |time: DurationMs| clues.price.unwrap_or_default().over(time);
    let lingered = worth(clues.lingering);
    if lingered > NanoUsd::ZERO
        && is_near(rest, lingered, slack.max(percent(lingered, LIKE_PERCENT)))
    {
        return Cause::StandbyWorker;
    }
    if counted == NanoUsd::ZERO || worth(clues.foreign) > percent(rest, 50) {
        return Cause::ForeignWorkers;
    }
    if rest <= counted {
        Cause::HiddenIdle
    } else {
        Cause::Unexplained
    }
}

/// How far counting may be off.
pub(crate) fn slack(counted: NanoUsd, price: Option<RatePerHour>) -> NanoUsd {
    let time = price.map_or(NanoUsd::ZERO, |price| price.over(EXACT_TIME));
    percent(counted, EXACT_PERCENT).max(time)
}

fn percent(amount: NanoUsd, percent: i64) -> NanoUsd {
    let part = i128::from(amount.as_nanos()) * i128::from(percent) / 100;
    NanoUsd::from_nanos(i64::try_from(part).unwrap_or(i64::MAX))
}

fn is_near(one: NanoUsd, other: NanoUsd, slack: NanoUsd) -> bool {
    (one - other).as_nanos().saturating_abs() <= slack.as_nanos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::booked::BookedHours;
    use crate::id::{EndpointId, PoolId};
    use crate::ledger::Entry;

    /// A thousand nano-dollars a second.
    const PRICE: RatePerHour = RatePerHour::new(NanoUsd::from_nanos(3_600_000));

    /// An hour with so many seconds of runs and of what may have been.
    fn hour(run: u64, unsettled: u64) -> PoolHour {
        let mut book = BookedHours::default();
        for (kind, secs) in [(EntryKind::Run, run), (EntryKind::Unsettled, unsettled)] {
            let worker_time = DurationMs::from_secs(secs);
            book.add(&Entry {
                at: Timestamp::ZERO,
                endpoint: EndpointId(0),
                pool: PoolId(0),
                job: None,
                kind,
                worker_time,
                amount: PRICE.over(worker_time),
                gpu: None,
                region: None,
                key: None,
            });
        }
        book.of(0, PoolId(0))
    }

    fn record(secs: i64) -> HourRecord {
        HourRecord {
            start: Timestamp::ZERO,
            compute: NanoUsd::from_nanos(secs * 1_000),
            other: NanoUsd::ZERO,
        }
    }

    fn clues() -> Clues {
        Clues {
            price: Some(PRICE),
            list_price: Some(PRICE),
            ..Clues::default()
        }
    }

    /// The causes, in seconds of a worker; they add up to the record.
    fn causes(hour: &PoolHour, record: HourRecord, clues: &Clues) -> Vec<(Cause, i64)> {
        let found = explain(hour, &record, clues);
        let sum: NanoUsd = found.values().copied().sum();
        assert_eq!(hour.total() + sum, record.total());
        let seconds = found.iter().map(|(c, a)| (*c, a.as_nanos() / 1_000));
        seconds.collect()
    }

    #[test]
    fn a_small_difference_is_rounding() {
        assert_eq!(causes(&hour(1_000, 0), record(1_000), &clues()), []);
        for secs in [945, 1_060] {
            let expected = [(Cause::Rounding, secs - 1_000)];
            assert_eq!(causes(&hour(1_000, 0), record(secs), &clues()), expected);
        }
        // Two percent of much are more than half a minute.
        let expected = [(Cause::Rounding, 1_990)];
        assert_eq!(
            causes(&hour(100_000, 0), record(101_990), &clues()),
            expected
        );
    }

    #[test]
    fn what_may_have_been_is_settled_and_only_the_rest_is_drift() {
        let settled = |secs, expected: &[(Cause, i64)]| {
            assert_eq!(causes(&hour(1_000, 500), record(secs), &clues()), expected);
        };
        settled(1_000, &[(Cause::UnsettledSettled, -500)]);
        settled(1_200, &[(Cause::UnsettledSettled, -300)]);
        settled(1_500, &[]);
        settled(1_510, &[(Cause::Rounding, 10)]);
        settled(1_600, &[(Cause::HiddenIdle, 100)]);
        settled(
            990,
            &[(Cause::Rounding, -10), (Cause::UnsettledSettled, -500)],
        );
    }

    #[test]
    fn each_cause_is_known_by_what_was_seen() {
        let counted = hour(1_000, 0);
        let is = |secs, clues: &Clues, cause| {
            let found = causes(&counted, record(secs), clues);
            assert_eq!(found, [(cause, secs - 1_000)], "{secs} {clues:?}");
        };
        is(1_100, &clues(), Cause::HiddenIdle);
        is(900, &clues(), Cause::BilledLess);
        is(2_010, &clues(), Cause::BilledTwice);
        is(2_500, &clues(), Cause::Unexplained);
        let listed = |nanos| Clues {
            list_price: Some(RatePerHour::new(NanoUsd::from_nanos(nanos))),
            ..clues()
        };
        is(1_250, &listed(4_500_000), Cause::PriceDiffers);
        is(700, &listed(2_520_000), Cause::PriceDiffers);
        is(1_100, &listed(4_500_000), Cause::HiddenIdle);
        let lingering = DurationMs::from_secs(1_100);
        is(
            2_200,
            &Clues {
                lingering,
                ..clues()
            },
            Cause::StandbyWorker,
        );
        let foreign = DurationMs::from_secs(80);
        is(1_100, &Clues { foreign, ..clues() }, Cause::ForeignWorkers);
        let unseen = causes(&hour(0, 0), record(300), &clues());
        assert_eq!(unseen, [(Cause::ForeignWorkers, 300)]);
    }

    #[test]
    fn disks_and_fees_stand_apart() {
        let record = HourRecord {
            other: NanoUsd::from_nanos(7_000),
            ..record(1_000)
        };
        let expected = [(Cause::DisksAndFees, 7)];
        assert_eq!(causes(&hour(1_000, 0), record, &clues()), expected);
    }
}
