//! Counts of cloud workers become lines of the ledger.
//!
//! The sums are what the counts say; a job's share of them is a line beside, written when its attempt
//! ends, that adds nothing.

use crate::attempt::{Attempt, CloudPhase, Place};
use crate::change::Change;
use crate::effect::Out;
use crate::event::CloudWorkerCounts;
use crate::id::PoolId;
use crate::ledger::{Entry, EntryKind};
use crate::machine::Core;
use crate::meter::{Count, Meter, Reading};
use crate::money::NanoUsd;
use crate::pool::Pool;
use crate::time::DurationMs;

/// Until when is paid is written down at least this often while workers may cost.
const FRESH: DurationMs = DurationMs::from_secs(15);
/// After a shorter absence the first count says what there was, and RunPod still tells of the jobs
/// that ran meanwhile.
const SHORT: DurationMs = DurationMs::from_secs(900);

impl Core {
    /// Takes in a count of a pool's workers.
    pub(crate) fn meter_count(&mut self, id: PoolId, workers: CloudWorkerCounts, out: &mut Out) {
        let now = self.now;
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        let Some(spec) = pool.runpod() else {
            return;
        };
        let idle_timeout = spec.idle_timeout;
        let runs =
            |attempt: &Attempt| matches!(attempt.place, Place::Cloud(CloudPhase::Running { .. }));
        let ids = pool.outstanding.iter();
        let running = ids
            .filter(|id| self.attempts.get(id).is_some_and(runs))
            .count();
        let busy = u32::try_from(running).unwrap_or(u32::MAX);
        let outstanding = u32::try_from(pool.outstanding.len()).unwrap_or(u32::MAX);
        let there = workers.running + workers.initializing + workers.idle;
        let rounds = outstanding.div_ceil(there.max(1).saturating_mul(pool.slots()));
        let endpoint = self.endpoints.get(&pool.record.endpoint);
        let typical = endpoint.map_or(DurationMs::ZERO, |endpoint| {
            let expected = endpoint.spec.as_ref().map(|spec| spec.expected_execution);
            let history = &endpoint.history;
            history.remaining(0, DurationMs::ZERO, expected.unwrap_or_default())
        });
        let count = Count {
            now,
            workers,
            busy: busy.div_ceil(pool.slots()),
            has_jobs: !pool.outstanding.is_empty(),
            work: DurationMs::from_millis(typical.as_millis() * u64::from(rounds)),
            min: pool.cloud.asked.map_or(0, |(min, _)| min),
            standby: pool.cloud.standby.map_or(0, |(workers, _)| workers),
            idle_timeout,
            allowed: pool.record.reserved_workers,
        };
        let was_uncounted = std::mem::take(&mut pool.cloud.is_uncounted);
        if was_uncounted {
            self.dirty.insert(pool.record.endpoint);
        }
        pool.cloud.meter.on_count(&count);
        let billed = pool.cloud.meter.billed();
        let astray = if count.has_jobs { 0 } else { workers.running };
        let warm = billed.idle.saturating_sub(workers.running - billed.run);
        let lingering = workers.idle.saturating_sub(warm);
        pool.cloud.bill.on_count(now, lingering, astray);
        if was_uncounted {
            let there = pool.cloud.meter.billed().total();
            pool.cloud.resumed = pool.cloud.resumed.max(there);
        }
        let readings = pool.cloud.meter.take(now);
        let is_stale =
            pool.record.reserved_workers > 0 && now.since(pool.record.charged_until) >= FRESH;
        if readings.is_empty() && is_stale {
            // A restart must not charge for the time before.
            pool.record.charged_until = now;
            pool.record.billed = pool.cloud.meter.billed();
            out.change(Change::PoolPut(pool.record.clone()));
        }
        self.write_readings(id, &readings, out);
    }

    fn write_readings(&mut self, id: PoolId, readings: &[Reading], out: &mut Out) {
        let now = self.now;
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        let Some(price) = pool.runpod().and_then(|spec| spec.price) else {
            return;
        };
        if readings.is_empty() {
            return;
        }
        pool.record.charged_until = now;
        pool.record.billed = pool.cloud.meter.billed();
        out.change(Change::PoolPut(pool.record.clone()));
        let endpoint = pool.record.endpoint;
        for reading in readings {
            let entry = Entry {
                at: now,
                endpoint,
                pool: id,
                job: None,
                kind: reading.kind,
                worker_time: reading.worker_time,
                amount: price.over(reading.worker_time),
            };
            self.book(entry, out);
        }
    }

    /// After a restart: what the workers cost since the ledger was last written. After a short time
    /// the first count says it, and jobs that ran meanwhile ([`Self::charge_unseen`]). After a long
    /// one the likely is that those that were there stayed, and the most, that all did that money is
    /// set aside for, each for as long as it is set aside for.
    pub(crate) fn charge_for_absence(&mut self, out: &mut Out) {
        let ids: Vec<PoolId> = self.pools.keys().copied().collect();
        for id in ids {
            let Some(pool) = self.pools.get_mut(&id) else {
                continue;
            };
            let Some(price) = pool.runpod().and_then(|spec| spec.price) else {
                continue;
            };
            pool.cloud.away = self.now.since(pool.record.charged_until);
            let (record, away) = (&pool.record, pool.cloud.away);
            let billed = record.billed;
            if record.reserved_workers == 0 && billed.total() == 0 {
                continue;
            }
            if away <= SHORT {
                pool.cloud.meter = Meter::resumed(record.charged_until, billed);
                continue;
            }
            let endpoint = self.endpoints.get(&record.endpoint);
            let min = endpoint.map_or(0, |endpoint| endpoint.limits_at(self.now).min);
            let min = min.max(record.kept_on.workers);
            let on = min.min(record.wanted).min(record.reserved_workers);
            let (longest, most) = longest_absence(pool, away, on, price.over(away));
            let stays = longest.max(if on > 0 { away } else { DurationMs::ZERO });
            let likely =
                |workers: u32| DurationMs::from_millis(stays.as_millis() * u64::from(workers));
            let mut readings: Vec<Reading> = [
                (EntryKind::ColdStart, billed.cold),
                (EntryKind::Run, billed.run),
                (EntryKind::Idle, billed.idle),
            ]
            .into_iter()
            .filter(|&(_, workers)| workers > 0)
            .map(|(kind, workers)| Reading {
                kind,
                worker_time: likely(workers),
            })
            .collect();
            let sum: NanoUsd = readings.iter().map(|r| price.over(r.worker_time)).sum();
            let rest = most - sum;
            if rest > NanoUsd::ZERO {
                readings.push(Reading {
                    kind: EntryKind::Unsettled,
                    worker_time: price.bought_by(rest),
                });
            }
            pool.cloud.meter = Meter::resumed(self.now, billed);
            self.write_readings(id, &readings, out);
        }
    }

    /// A job ended whose start nobody saw, because no process of ours ran: its worker may have come
    /// and gone meanwhile.
    pub(crate) fn charge_unseen(
        &mut self,
        attempt: &Attempt,
        execution: DurationMs,
        out: &mut Out,
    ) {
        if attempt.started_at.is_some() || attempt.leased_at >= self.restored_at {
            return;
        }
        let Some(pool) = self.pools.get_mut(&attempt.pool) else {
            return;
        };
        pool.cloud.unseen += 1;
        if pool.cloud.unseen <= pool.cloud.resumed.saturating_mul(pool.slots()) {
            // The workers that were counted can have run it.
            return;
        }
        let slots = u64::from(pool.slots());
        let Some(spec) = pool.runpod() else {
            return;
        };
        let Some(price) = spec.price else { return };
        let longest = spec.init_timeout + execution + spec.idle_timeout;
        // It came after the last count before the restart, and went before the first one after it.
        let life = longest.min(pool.cloud.away);
        let worker_time = DurationMs::from_millis(life.as_millis() / slots);
        let entry = Entry {
            at: self.now,
            endpoint: attempt.endpoint,
            pool: attempt.pool,
            job: Some(attempt.id.job),
            kind: EntryKind::Unsettled,
            worker_time,
            amount: price.over(worker_time),
        };
        self.book(entry, out);
    }

    /// The share of a job that has ended in what its pool's workers cost.
    pub(crate) fn book_share(
        &mut self,
        attempt: &Attempt,
        execution: Option<DurationMs>,
        out: &mut Out,
    ) {
        let (Place::Cloud(_), Some(started_at)) = (&attempt.place, attempt.started_at) else {
            return;
        };
        let Some(pool) = self.pools.get(&attempt.pool) else {
            return;
        };
        let Some(price) = pool.runpod().and_then(|spec| spec.price) else {
            return;
        };
        let execution = execution.unwrap_or_else(|| self.now.since(started_at));
        // The slots beside it were in use too, as far as is known now.
        let together = u32::try_from(pool.outstanding.len()).unwrap_or(u32::MAX);
        let beside = together.clamp(1, pool.slots());
        let worker_time = DurationMs::from_millis(execution.as_millis() / u64::from(beside));
        let amount = price.over(worker_time);
        if amount == NanoUsd::ZERO {
            return;
        }
        let entry = Entry {
            at: self.now,
            endpoint: attempt.endpoint,
            pool: attempt.pool,
            job: Some(attempt.id.job),
            kind: EntryKind::Share,
            worker_time,
            amount,
        };
        self.book(entry, out);
    }
}

/// How long a worker that is not always on can have lived on unseen, and the most that all workers
/// of a pool can have cost.
fn longest_absence(pool: &Pool, away: DurationMs, on: u32, each: NanoUsd) -> (DurationMs, NanoUsd) {
    let record = &pool.record;
    let price = pool
        .runpod()
        .and_then(|spec| spec.price)
        .unwrap_or_default();
    let longest = price.bought_by(record.reserved_each).min(away);
    let flex = record.reserved_workers.max(record.billed.total()) - on;
    let most = each.times(on) + price.over(longest).times(flex);
    (longest, most)
}
