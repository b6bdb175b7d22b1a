//! Counts of cloud workers become lines of the ledger.
//!
//! The sums are what the counts say, each borne by the keys whose jobs caused it. A job's shares of them
//! are lines beside that add nothing: of its start and its run written when its attempt ends, of an idle
//! worker when that is over.

use crate::attempt::{Attempt, CloudPhase, Place};
use crate::attribution::{self, Bearer, Halves, Stretch, Terms, split};
use crate::blind::Told;
use crate::change::Change;
use crate::effect::Out;
use crate::event::CloudWorkerCounts;
use crate::id::{AttemptId, KeyId, PoolId};
use crate::ledger::{Entry, EntryKind};
use crate::machine::Core;
use crate::meter::{Billed, Count, Meter, Reading};
use crate::money::NanoUsd;
use crate::pool::Pool;
use crate::time::{DurationMs, Timestamp};

/// Until when is paid is written down at least this often while workers may cost.
const FRESH: DurationMs = DurationMs::from_secs(15);
/// RunPod tells of all jobs within this long after a blind stretch, or it is reckoned without.
const TOLD_WITHIN: DurationMs = DurationMs::from_secs(20);
/// What RunPod said of a job that is over is kept for so long before the last count.
const TOLD_KEPT: DurationMs = DurationMs::from_secs(120);
/// And for no longer than this, where nobody has counted since.
const TOLD_LONGEST: DurationMs = DurationMs::from_secs(6 * 3_600);
/// After a shorter absence the first count says what there was, and RunPod still tells of the jobs
/// that ran meanwhile.
const SHORT: DurationMs = DurationMs::from_secs(900);

impl Core {
    /// Whether a pool's workers are counted as its own. Those of one that is no longer configured are as long as
    /// it is used, and then until they have ended, unless another pool counts them.
    pub(crate) fn is_metered(&self, pool: &Pool) -> bool {
        // After a restart the record knows what was there.
        let billed = pool
            .cloud
            .meter
            .billed()
            .total()
            .max(pool.record.billed.total());
        pool.spec.is_some() || ((pool.is_used() || billed > 0) && !self.is_led_to(pool))
    }

    /// From now on another pool counts the workers of one that is no longer configured.
    pub(super) fn stop_meter(&mut self, id: PoolId, out: &mut Out) {
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        let readings = std::mem::take(&mut pool.cloud.meter).end(self.now);
        if pool.record.billed != Billed::default() {
            pool.record.billed = Billed::default();
            out.change(Change::PoolPut(pool.record.clone()));
        }
        self.write_readings(id, &readings, out);
    }

    /// Takes in a count of a pool's workers.
    pub(crate) fn meter_count(&mut self, id: PoolId, workers: CloudWorkerCounts, out: &mut Out) {
        let now = self.now;
        if !self
            .pools
            .get(&id)
            .is_some_and(|pool| self.is_metered(pool))
        {
            return;
        }
        self.settle_blind(id, out);
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        let Some(spec) = pool.metered() else {
            return;
        };
        let idle_timeout = pool.cloud.asked_idle.unwrap_or(spec.idle_timeout);
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
        let start = endpoint.map_or(DurationMs::ZERO, |endpoint| endpoint.history.start_mean());
        // Those that were there when the pool left may idle for a while.
        let stayed = match pool.spec {
            Some(_) => 0,
            None => pool.cloud.meter.billed().total(),
        };
        let count = Count {
            now,
            workers,
            busy: busy.div_ceil(pool.slots()),
            has_jobs: !pool.outstanding.is_empty(),
            work: DurationMs::from_millis(typical.as_millis() * u64::from(rounds)),
            min: pool.cloud.asked.map_or(0, |(min, _)| min),
            standby: pool.cloud.standby.map_or(0, |(workers, _)| workers),
            idle_timeout,
            allowed: pool.record.reserved_workers.max(stayed),
            start,
        };
        let was_uncounted = std::mem::take(&mut pool.cloud.is_uncounted);
        if was_uncounted {
            self.dirty.insert(pool.record.endpoint);
        }
        let stretch = pool.cloud.meter.on_count(&count);
        let billed = pool.cloud.meter.billed();
        let astray = if count.has_jobs { 0 } else { workers.running };
        let warm = billed.idle.saturating_sub(workers.running - billed.run);
        let lingering = workers.idle.saturating_sub(warm);
        pool.cloud.bill.on_count(now, lingering, astray);
        if was_uncounted {
            let there = pool.cloud.meter.billed().total();
            pool.cloud.resumed = pool.cloud.resumed.max(there);
        }
        self.bear(id, &stretch, out);
        self.settle_blind(id, out);
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        pool.forget_told(now);
        let readings = pool.cloud.meter.take(now);
        let is_stale = pool.record.reserved_workers > 0
            && pool.cloud.meter.blind().is_none()
            && now.since(pool.record.charged_until) >= FRESH;
        if readings.is_empty() && is_stale {
            // A restart must not charge for the time before.
            pool.record.charged_until = now;
            pool.record.billed = pool.cloud.meter.billed();
            out.change(Change::PoolPut(pool.record.clone()));
        }
        self.write_readings(id, &readings, out);
    }

    /// RunPod said something of a job: its run, if it has begun, from when to when as far as that is told.
    pub(crate) fn note_told(
        &mut self,
        id: AttemptId,
        worker: Option<&str>,
        began: Option<Timestamp>,
        ended: Option<Timestamp>,
    ) {
        let now = self.now;
        let Some(attempt) = self.attempts.get(&id) else {
            return;
        };
        let Some(pool) = self.pools.get_mut(&attempt.pool) else {
            return;
        };
        let before = pool.cloud.told.remove(&id);
        let known = before.as_ref().and_then(|told| told.worker.clone());
        let told = Told {
            at: now,
            leased_at: attempt.leased_at,
            worker: worker.map(str::to_owned).or(known),
            // One that waits there again has not begun.
            began: began.or_else(|| before?.began.filter(|_| ended.is_some())),
            ended,
        };
        pool.cloud.told.insert(id, told);
        // Where nobody counts for hours, nothing else does it.
        if now.since(pool.cloud.told_looked_at) >= TOLD_KEPT {
            pool.forget_told(now);
        }
    }

    /// After a blind stretch: once RunPod has said what became of the jobs that were there, or after a
    /// while, what its workers cost meanwhile is worked out.
    fn settle_blind(&mut self, id: PoolId, out: &mut Out) {
        let now = self.now;
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        let outstanding = &pool.outstanding;
        let Some(&blind) = pool.cloud.meter.blind() else {
            return;
        };
        let mut is_told = true;
        let mut all = Vec::new();
        for (id, told) in &pool.cloud.told {
            let mut told = told.clone();
            if told.ended.is_none() && !outstanding.contains(id) {
                // It was lost sight of: it did what jobs do.
                told.ended = told.began.map(|began| told.at.max(began + blind.work));
            }
            all.push(told);
        }
        for id in outstanding {
            let told = pool.cloud.told.get(id);
            let Some(attempt) = self.attempts.get(id) else {
                continue;
            };
            if attempt.cloud_job().is_none() || attempt.leased_at >= blind.to {
                continue;
            }
            is_told &= told.is_some_and(|told| told.at >= blind.to);
            if told.is_none()
                && let Place::Cloud(CloudPhase::Running { worker, .. }) = &attempt.place
            {
                all.push(Told {
                    at: now,
                    leased_at: attempt.leased_at,
                    worker: worker.clone(),
                    began: attempt.started_at,
                    ended: None,
                });
            }
        }
        if !is_told && now.since(blind.to) < TOLD_WITHIN {
            return;
        }
        if let Some(stretch) = pool.cloud.meter.settle(&all) {
            self.bear(id, &stretch, out);
        }
    }

    /// An hour that is over and was not wholly counted is settled by its record: what may have been is written
    /// down for it, and what its workers cost is not worked out any more.
    pub(crate) fn close_hour(&mut self, id: PoolId, hour: i64, out: &mut Out) {
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        let allowed = pool.record.reserved_workers;
        let readings = pool.cloud.meter.close(hour, allowed);
        pool.forget_told(self.now);
        self.write_readings(id, &readings, out);
    }

    fn write_readings(&mut self, id: PoolId, readings: &[Reading], out: &mut Out) {
        let now = self.now;
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        let Some(price) = pool.price() else {
            return;
        };
        if readings.is_empty() {
            return;
        }
        // What is not counted yet is not paid either, wherever a record has not settled it.
        let known = pool.cloud.meter.known_until().unwrap_or(now);
        pool.record.charged_until = known.min(now).max(pool.record.charged_until);
        pool.record.billed = pool.cloud.meter.billed();
        out.change(Change::PoolPut(pool.record.clone()));
        let endpoint = pool.record.endpoint;
        let (gpu, region) = pool.labels();
        let mut lines = Vec::new();
        for reading in readings {
            lines.extend(by_key(pool, *reading));
        }
        for (reading, key) in lines {
            let Reading {
                at,
                kind,
                worker_time,
            } = reading;
            let entry = Entry {
                at: at.unwrap_or(now),
                endpoint,
                pool: id,
                job: None,
                kind,
                worker_time,
                amount: price.over(worker_time),
                gpu: gpu.clone(),
                region: region.clone(),
                key,
            };
            self.book(entry, out);
        }
    }

    /// For how long a pool's jobs bear what.
    pub(crate) fn terms_of(&self, pool: &Pool) -> Option<Terms> {
        let spec = pool.metered()?;
        let endpoint = self.endpoints.get(&pool.record.endpoint)?;
        Some(Terms {
            init_timeout: spec.init_timeout,
            execution_timeout: endpoint.spec.as_ref()?.execution_timeout,
            idle_timeout: spec.idle_timeout,
        })
    }

    /// Lets the jobs of a pool bear what its workers cost in a stretch; those that bear nothing more
    /// get their line.
    fn bear(&mut self, id: PoolId, stretch: &Stretch, out: &mut Out) {
        let Some(pool) = self.pools.get(&id) else {
            return;
        };
        let Some(terms) = self.terms_of(pool) else {
            return;
        };
        let tails = &pool.cloud.bearing.tails;
        let live = pool.outstanding.iter().filter_map(|id| {
            let attempt = self.attempts.get(id)?;
            Some((*id, bearer(attempt)))
        });
        let mut bearers: Vec<(AttemptId, Bearer)> = live.collect();
        bearers.extend(tails.iter().map(|(&id, &bearer)| (id, bearer)));
        let only: Vec<Bearer> = bearers.iter().map(|&(_, bearer)| bearer).collect();
        let parts = split(stretch, &only, &terms);
        // What a blind stretch cost is known only later: until then nobody is done with it.
        let is_known = pool.cloud.meter.blind().is_none();
        let over: Vec<AttemptId> = bearers
            .iter()
            .filter(|(_, bearer)| is_known && bearer.is_over(stretch.to, &terms))
            .map(|&(id, _)| id)
            .collect();
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        let bearing = &mut pool.cloud.bearing;
        for ((id, bearer), part) in bearers.into_iter().zip(parts) {
            if part == Halves::default() {
                continue;
            }
            add(bearing.borne.entry(id).or_default(), part);
            if let Some(key) = bearer.key {
                add(bearing.owed.entry(key).or_default(), part);
            }
        }
        for attempt in over {
            self.end_bearing(id, attempt, out);
        }
    }

    /// An attempt bears nothing more: what it bore of idle workers is written down.
    fn end_bearing(&mut self, id: PoolId, attempt: AttemptId, out: &mut Out) {
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        let bearing = &mut pool.cloud.bearing;
        let bearer = bearing.tails.remove(&attempt);
        let Some(borne) = bearing.borne.remove(&attempt) else {
            return;
        };
        let key = bearer.and_then(|bearer| bearer.key);
        self.book_part(
            id,
            attempt,
            key,
            EntryKind::IdleShare,
            borne[attribution::IDLE],
            out,
        );
    }

    /// A job's part of the lines of its pool, from halves of a worker's millisecond.
    fn book_part(
        &mut self,
        id: PoolId,
        attempt: AttemptId,
        key: Option<KeyId>,
        kind: EntryKind,
        halves: u64,
        out: &mut Out,
    ) {
        let Some(pool) = self.pools.get(&id) else {
            return;
        };
        let Some(price) = pool.price() else {
            return;
        };
        let worker_time = DurationMs::from_millis(halves / 2);
        let amount = price.over(worker_time);
        if amount == NanoUsd::ZERO {
            return;
        }
        let (gpu, region) = pool.labels();
        let entry = Entry {
            at: self.now,
            endpoint: pool.record.endpoint,
            pool: id,
            job: Some(attempt.job),
            kind,
            worker_time,
            amount,
            gpu,
            region,
            key,
        };
        self.book(entry, out);
    }

    /// After a restart: what the workers cost since the ledger was last written. After a short time
    /// the first count says it, and jobs that ran meanwhile ([`Self::charge_unseen`]). After a long
    /// one the likely is that those that were there stayed, and the most, that all did that money is
    /// set aside for, each for as long as it is set aside for.
    pub(crate) fn charge_for_absence(&mut self, out: &mut Out) {
        let ids: Vec<PoolId> = self.pools.keys().copied().collect();
        for id in ids {
            if !self
                .pools
                .get(&id)
                .is_some_and(|pool| self.is_metered(pool))
            {
                continue;
            }
            let Some(pool) = self.pools.get_mut(&id) else {
                continue;
            };
            let Some(price) = pool.price() else {
                continue;
            };
            pool.cloud.away = self.now.since(pool.record.charged_until);
            let (record, away) = (&pool.record, pool.cloud.away);
            let billed = record.billed;
            if record.reserved_workers == 0 && billed.total() == 0 {
                continue;
            }
            if away <= SHORT {
                pool.cloud.meter =
                    Meter::resumed(record.charged_until, billed, record.kept_on.workers);
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
                at: None,
                kind,
                worker_time: likely(workers),
            })
            .collect();
            let sum: NanoUsd = readings.iter().map(|r| price.over(r.worker_time)).sum();
            let rest = most - sum;
            if rest > NanoUsd::ZERO {
                readings.push(Reading {
                    at: None,
                    kind: EntryKind::Unsettled,
                    worker_time: price.bought_by(rest),
                });
            }
            pool.cloud.meter = Meter::resumed(self.now, billed, record.kept_on.workers);
            let mut stretch = Stretch {
                from: self.now - away,
                to: self.now,
                halves: Halves::default(),
            };
            for reading in &readings {
                if let Some(kind) = place_of(reading.kind) {
                    stretch.halves[kind] += 2 * reading.worker_time.as_millis();
                }
            }
            self.bear(id, &stretch, out);
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
        let Some(spec) = pool.metered() else {
            return;
        };
        let Some(price) = spec.price else { return };
        let longest = spec.init_timeout + execution + spec.idle_timeout;
        // It came after the last count before the restart, and went before the first one after it.
        let life = longest.min(pool.cloud.away);
        let worker_time = DurationMs::from_millis(life.as_millis() / slots);
        // Its key bears no more of that than its run and an idle worker: of the wait it bears its part
        // of what was counted.
        let most = (execution + spec.idle_timeout).as_millis() / slots;
        let (gpu, region) = pool.labels();
        let borne = attempt.key.map_or(DurationMs::ZERO, |_| {
            worker_time.min(DurationMs::from_millis(most))
        });
        let lines = [
            (attempt.key, borne),
            (None, worker_time.saturating_sub(borne)),
        ];
        for (key, worker_time) in lines {
            if worker_time == DurationMs::ZERO {
                continue;
            }
            let entry = Entry {
                at: self.now,
                endpoint: attempt.endpoint,
                pool: attempt.pool,
                job: Some(attempt.id.job),
                kind: EntryKind::Unsettled,
                worker_time,
                amount: price.over(worker_time),
                gpu: gpu.clone(),
                region: region.clone(),
                key,
            };
            self.book(entry, out);
        }
    }

    /// The share of a job that has ended in what its pool's workers cost: of its start and its run now,
    /// of an idle worker once that is over.
    pub(crate) fn book_share(
        &mut self,
        attempt: &Attempt,
        execution: Option<DurationMs>,
        out: &mut Out,
    ) {
        let Place::Cloud(_) = &attempt.place else {
            return;
        };
        let (id, key) = (attempt.id, attempt.key);
        let now = self.now;
        let Some(pool) = self.pools.get_mut(&attempt.pool) else {
            return;
        };
        // The slots beside it were in use too, as far as is known now.
        let together = u32::try_from(pool.outstanding.len()).unwrap_or(u32::MAX);
        let beside = together.clamp(1, pool.slots());
        let bearing = &mut pool.cloud.bearing;
        let borne = bearing.borne.get_mut(&id);
        let cold = borne.map_or(0, |borne| std::mem::take(&mut borne[attribution::COLD]));
        let Some(started_at) = attempt.started_at else {
            bearing.borne.remove(&id);
            return self.book_part(attempt.pool, id, key, EntryKind::ColdShare, cold, out);
        };
        let tail = Bearer {
            ended_at: Some(now),
            ..bearer(attempt)
        };
        bearing.tails.insert(id, tail);
        self.book_part(attempt.pool, id, key, EntryKind::ColdShare, cold, out);
        let execution = execution.unwrap_or_else(|| now.since(started_at));
        let halves = 2 * (execution.as_millis() / u64::from(beside));
        self.book_part(attempt.pool, id, key, EntryKind::Share, halves, out);
    }
}

impl Pool {
    /// What RunPod said of jobs that are long over is needed no more: they were over before what is not
    /// counted yet, or so long ago that the records of their hours are there, or missed.
    fn forget_told(&mut self, now: Timestamp) {
        let from = self.cloud.meter.known_until().unwrap_or(now).min(now);
        let from = (from - TOLD_KEPT).max(now - TOLD_LONGEST);
        let outstanding = &self.outstanding;
        self.cloud
            .told
            .retain(|id, told| outstanding.contains(id) || told.ended.unwrap_or(told.at) > from);
        self.cloud.told_looked_at = now;
    }
}

/// An attempt, as far as it bears what workers cost.
const fn bearer(attempt: &Attempt) -> Bearer {
    Bearer {
        key: attempt.key,
        leased_at: attempt.leased_at,
        started_at: attempt.started_at,
        ended_at: None,
    }
}

fn add(sum: &mut Halves, part: Halves) {
    for (sum, part) in sum.iter_mut().zip(part) {
        *sum += part;
    }
}

/// The place of a kind of line among the kinds of worker time.
const fn place_of(kind: EntryKind) -> Option<usize> {
    match kind {
        EntryKind::ColdStart => Some(attribution::COLD),
        EntryKind::Run => Some(attribution::RUN),
        EntryKind::Idle => Some(attribution::IDLE),
        EntryKind::Unsettled => Some(attribution::UNSETTLED),
        _ => None,
    }
}

/// One line for each key that owes of a reading, and one for the rest.
fn by_key(pool: &mut Pool, reading: Reading) -> Vec<(Reading, Option<KeyId>)> {
    let mut lines = Vec::new();
    let mut rest = reading.worker_time.as_millis();
    if let Some(kind) = place_of(reading.kind) {
        let owed = &mut pool.cloud.bearing.owed;
        for (&key, halves) in owed.iter_mut() {
            let ms = (halves[kind] / 2).min(rest);
            if ms > 0 {
                halves[kind] -= 2 * ms;
                rest -= ms;
                let worker_time = DurationMs::from_millis(ms);
                let its = Reading {
                    worker_time,
                    ..reading
                };
                lines.push((its, Some(key)));
            }
        }
        owed.retain(|_, halves| *halves != Halves::default());
    }
    if rest > 0 {
        let worker_time = DurationMs::from_millis(rest);
        let nobodys = Reading {
            worker_time,
            ..reading
        };
        lines.push((nobodys, None));
    }
    lines
}

/// How long a worker that is not always on can have lived on unseen, and the most that all workers
/// of a pool can have cost.
fn longest_absence(pool: &Pool, away: DurationMs, on: u32, each: NanoUsd) -> (DurationMs, NanoUsd) {
    let record = &pool.record;
    let price = pool.price().unwrap_or_default();
    let longest = price.bought_by(record.reserved_each).min(away);
    let flex = record.reserved_workers.max(record.billed.total()) - on;
    let most = each.times(on) + price.over(longest).times(flex);
    (longest, most)
}
