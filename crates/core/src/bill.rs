//! What is known of a pool's bill at RunPod: the records as last read, and clues to what they say.
//!
//! Forgotten at a restart and read again; what the records led to stands in the ledger.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::booked::{HOUR_MS, PoolHour, hour_of, start_of};
use crate::drift::{Clues, HourRecord, explain};
use crate::event::BillRead;
use crate::id::PoolId;
use crate::ledger::{Cause, EntryKind};
use crate::machine::Core;
use crate::money::{NanoUsd, RatePerHour};
use crate::time::{DurationMs, Timestamp};

/// An hour is compared so long after its end: by then all that was counted in it is in the ledger.
pub const CLOSED_AFTER: DurationMs = DurationMs::from_secs(600);
/// Hours before now that are still compared; RunPod may be late, and may correct itself.
pub const HOURS_COMPARED: i64 = 72;
/// A record that says less than the ledger counts once it has said so for this long: it may only not
/// be complete yet, and a cap must not be loosened by that.
const FINAL_AFTER: DurationMs = DurationMs::from_secs(45 * 60);
/// After this long an hour's record is missed, not late.
const MISSED_AFTER: DurationMs = DurationMs::from_secs(6 * 3_600);
/// A stretch between two counts that is longer gives no clue.
const CLUE_MAX: DurationMs = DurationMs::from_secs(60);

/// A pool's bill, as far as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bill {
    /// When the records were read last.
    pub read_at: Option<Timestamp>,
    /// What RunPod lists for a worker, where that was read.
    pub list_price: Option<RatePerHour>,
    records: BTreeMap<i64, Seen>,
    clues: BTreeMap<i64, (DurationMs, DurationMs)>,
    counted_at: Option<Timestamp>,
}

/// A record, and since when it says the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    record: HourRecord,
    since: Timestamp,
}

/// How an hour's bill stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HourState {
    /// It is not over; what RunPod says of it is told, and not booked.
    Running,
    /// Its record is not there yet.
    Awaited,
    /// Its record has been due for hours.
    Missing,
    /// Its record says less than was counted, and may not be complete.
    NotFinal,
    /// It had begun before the pool was configured: what is more may be others'.
    Partial,
    /// The ledger says what the record says.
    Agreed,
}

/// One hour of a pool: what the ledger and RunPod say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HourBill {
    /// When it begins.
    pub start: Timestamp,
    /// How it stands.
    pub state: HourState,
    /// Starts, runs and idle workers that were counted.
    pub counted: NanoUsd,
    /// What may have been beyond while nobody could count.
    pub unsettled: NanoUsd,
    /// What RunPod says; `None` without a record.
    pub billed: Option<NanoUsd>,
    /// The difference by cause: as booked, or of the running hour as it would be.
    pub drift: BTreeMap<Cause, NanoUsd>,
}

impl Bill {
    /// Takes in a reading.
    pub(crate) fn on_read(&mut self, now: Timestamp, read: &BillRead) {
        self.read_at = Some(now);
        self.list_price = read.list_price.or(self.list_price);
        for &record in &read.records {
            let seen = self.records.entry(hour_of(record.start));
            let seen = seen.or_insert(Seen { record, since: now });
            if seen.record != record {
                *seen = Seen { record, since: now };
            }
        }
        let oldest = hour_of(now) - HOURS_COMPARED;
        self.records.retain(|&hour, _| hour > oldest);
        self.clues.retain(|&hour, _| hour > oldest);
    }

    /// Takes in a count: idle workers that should have been gone, and busy ones without a job of ours.
    pub(crate) fn on_count(&mut self, now: Timestamp, lingering: u32, foreign: u32) {
        let since = self.counted_at.replace(now).map(|at| now.since(at));
        let Some(length) = since.filter(|&length| length <= CLUE_MAX) else {
            return;
        };
        if lingering + foreign > 0 {
            let clue = self.clues.entry(hour_of(now)).or_default();
            let times = |n: u32| DurationMs::from_millis(length.as_millis() * u64::from(n));
            clue.0 = clue.0 + times(lingering);
            clue.1 = clue.1 + times(foreign);
        }
    }

    /// An hour's record has said the same for so long that it may lower what was counted.
    pub(crate) fn is_final(&self, hour: i64, now: Timestamp) -> bool {
        let seen = self.records.get(&hour);
        seen.is_some_and(|seen| now.since(seen.since) >= FINAL_AFTER)
    }

    /// Whether RunPod ever had a record of an hour.
    pub(crate) fn has_record(&self, hour: i64) -> bool {
        self.records.contains_key(&hour)
    }

    pub(crate) fn clues(&self, hour: i64, price: Option<RatePerHour>) -> Clues {
        let (lingering, foreign) = self.clues.get(&hour).copied().unwrap_or_default();
        Clues {
            price,
            list_price: self.list_price,
            lingering,
            foreign,
        }
    }

    /// How long idle workers lingered, and workers ran without a job of ours, in an hour.
    #[must_use]
    pub fn seen_in(&self, start: Timestamp) -> (DurationMs, DurationMs) {
        self.clues.get(&hour_of(start)).copied().unwrap_or_default()
    }
}

/// Whether the record of an hour that is not there is missed, and no longer only late.
pub(crate) fn is_missed(hour: i64, now: Timestamp) -> bool {
    now.since(start_of(hour + 1)) > MISSED_AFTER
}

impl Core {
    /// A pool's hours since `from`, as the ledger and RunPod's records say: oldest first, those in
    /// which neither says anything left out. Empty before the records were read for the first time.
    #[must_use]
    pub fn bill(&self, id: PoolId, from: Timestamp) -> Vec<HourBill> {
        let Some(pool) = self.pools.get(&id) else {
            return Vec::new();
        };
        let bill = &pool.cloud.bill;
        if bill.read_at.is_none() {
            return Vec::new();
        }
        let now_hour = hour_of(self.now);
        let first = hour_of(from).max(now_hour - HOURS_COMPARED + 1);
        let price = pool.price();
        let hours = (first..=now_hour).filter_map(|hour| {
            let mut booked = self.booked.of(hour, id);
            let seen = bill.records.get(&hour).map(|seen| seen.record);
            if seen.is_none() && booked == PoolHour::default() {
                return None;
            }
            let is_running = !is_closed(hour, self.now);
            let mut drift: BTreeMap<Cause, NanoUsd> = Cause::ALL
                .into_iter()
                .map(|cause| (cause, booked.amount(EntryKind::Drift(cause))))
                .filter(|(_, amount)| *amount != NanoUsd::ZERO)
                .collect();
            if is_running {
                // What is not in the ledger yet was counted all the same.
                booked = booked.and_counted(pool.pending(self.now), price);
                drift = seen
                    .map(|record| explain(&booked, &record, &bill.clues(hour, price)))
                    .unwrap_or_default();
            }
            let billed = seen.map(|record| record.total());
            let state = match billed {
                _ if is_running => HourState::Running,
                Some(billed) if billed == booked.total() => HourState::Agreed,
                Some(_) if start_of(hour) < pool.record.since => HourState::Partial,
                Some(_) => HourState::NotFinal,
                None if is_missed(hour, self.now) => HourState::Missing,
                None => HourState::Awaited,
            };
            Some(HourBill {
                start: start_of(hour),
                state,
                counted: booked.counted(),
                unsettled: booked.amount(EntryKind::Unsettled),
                billed,
                drift,
            })
        });
        hours.collect()
    }
}

/// Whether an hour is over, and all that was counted in it in the ledger.
pub(crate) fn is_closed(hour: i64, now: Timestamp) -> bool {
    let closed = i64::try_from(CLOSED_AFTER.as_millis()).unwrap_or(i64::MAX);
    now.as_millis() >= hour.saturating_add(1).saturating_mul(HOUR_MS) + closed
}
