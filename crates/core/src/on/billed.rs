//! RunPod's billing records are compared with the ledger, hour by hour.

use crate::bill::{HOURS_COMPARED, is_closed, is_missed};
use crate::booked::{HOUR_MS, hour_of, start_of};
use crate::drift::{HourRecord, explain, slack};
use crate::effect::{Effect, Out};
use crate::event::BillRead;
use crate::explain::Reason;
use crate::id::PoolId;
use crate::ledger::{Cause, Entry, EntryKind};
use crate::machine::Core;
use crate::money::NanoUsd;
use crate::time::{DurationMs, Timestamp};

/// An hour that is younger than this when a pool is configured is the pool's: others cannot have spent much in it.
const YOUNG: DurationMs = DurationMs::from_secs(60);
/// RunPod writes no record for an hour in which nothing ran; a late one is there within this.
const ABSENT_AFTER: i64 = 3;
/// A difference below this is booked without a word: a cent.
const WORTH: NanoUsd = NanoUsd::from_nanos(10_000_000);

impl Core {
    /// Books what the records of hours that are over say beyond the ledger, or short of it. The lines
    /// belong to the hour, so that the ledger's hour is the record's to the nano-dollar, and a record
    /// that is read again, before or after a restart, has nothing left to book.
    pub(crate) fn on_cloud_billed(&mut self, id: PoolId, read: &BillRead, out: &mut Out) {
        let now = self.now;
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        pool.cloud.bill.on_read(now, read);
        let oldest = hour_of(now) - HOURS_COMPARED;
        for record in &read.records {
            let hour = hour_of(record.start);
            if hour > oldest && is_closed(hour, now) {
                self.settle_hour(id, hour, record, out);
            }
        }
        self.settle_absent(id, oldest, out);
    }

    /// An hour that RunPod has no record of, and in which no more was counted than where between two counts
    /// a worker came or went, is one in which nothing ran. Where more may have been that nobody counted, it
    /// counts against the caps until the record is missed, and not only late.
    fn settle_absent(&mut self, id: PoolId, oldest: i64, out: &mut Out) {
        let Some(pool) = self.pools.get(&id) else {
            return;
        };
        let price = pool.price();
        let now = self.now;
        let latest = hour_of(now) - ABSENT_AFTER;
        let hours = self.booked.since(oldest + 1, id);
        let absent: Vec<i64> = hours
            .filter(|&(hour, booked)| {
                let slack = slack(booked.counted(), price);
                hour < latest
                    && booked.total() > NanoUsd::ZERO
                    && booked.counted() <= slack
                    && (booked.total() + pool.lacking(hour) <= slack || is_missed(hour, now))
                    && !pool.cloud.bill.has_record(hour)
            })
            .map(|(hour, _)| hour)
            .collect();
        for hour in absent {
            let nothing = HourRecord {
                start: start_of(hour),
                compute: NanoUsd::ZERO,
                other: NanoUsd::ZERO,
            };
            self.settle_hour(id, hour, &nothing, out);
        }
    }

    fn settle_hour(&mut self, id: PoolId, hour: i64, record: &HourRecord, out: &mut Out) {
        let Some(pool) = self.pools.get(&id) else {
            return;
        };
        let since = pool.record.since;
        if start_of(hour + 1) <= since {
            return;
        }
        let is_counted = self.booked.of(hour, id).total() > NanoUsd::ZERO;
        if pool.spec.is_none() && !is_counted && pool.lacking(hour) == NanoUsd::ZERO {
            // What its endpoint at RunPod costs since is not ours.
            return;
        }
        let bill = &pool.cloud.bill;
        let is_final = !bill.has_record(hour) || bill.is_final(hour, self.now);
        let lacking = pool.lacking(hour);
        let rest = record.total() - self.booked.of(hour, id).total() - lacking;
        if rest < NanoUsd::ZERO && !is_final {
            return;
        }
        if lacking > NanoUsd::ZERO {
            self.close_hour(id, hour, out);
        }
        let Some(pool) = self.pools.get(&id) else {
            return;
        };
        let booked = self.booked.of(hour, id);
        if record.total() == booked.total() {
            return;
        }
        let price = pool.price();
        let causes = explain(&booked, record, &pool.cloud.bill.clues(hour, price));
        let endpoint = pool.record.endpoint;
        let (gpu, region) = pool.labels();
        let is_first = record.start + YOUNG <= since;
        if is_first && causes.iter().any(|(cause, _)| !cause.is_ordinary()) {
            // It had begun before the pool was ours: what others spent there by then is not.
            return;
        }
        let at = Timestamp::from_millis(record.start.as_millis() + HOUR_MS - 1);
        for cause in Cause::ALL {
            let kind = EntryKind::Drift(cause);
            let wanted = causes.get(&cause).copied().unwrap_or_default();
            let amount = wanted - booked.amount(kind);
            if amount == NanoUsd::ZERO {
                continue;
            }
            let entry = Entry {
                at,
                endpoint,
                pool: id,
                job: None,
                kind,
                worker_time: DurationMs::ZERO,
                amount,
                gpu: gpu.clone(),
                region: region.clone(),
                key: None,
            };
            self.book(entry, out);
            if !cause.is_ordinary() && amount.as_nanos().abs() >= WORTH.as_nanos() {
                let reason = Reason::BillDiffers {
                    pool: id,
                    hour: record.start,
                    counted: booked.counted(),
                    billed: record.total(),
                    cause,
                    amount: wanted,
                };
                out.effect(Effect::Decided { endpoint, reason });
            }
        }
        // Caps leave more, or less.
        self.dirty.insert(endpoint);
    }
}
