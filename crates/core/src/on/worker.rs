//! Processes of ours come and go; heartbeats say what they hold.

use std::collections::BTreeSet;

use crate::change::Change;
use crate::device::Device;
use crate::effect::{Effect, Out};
use crate::explain::Reason;
use crate::id::{AttemptId, DeviceId, JobId, PoolId, WorkerId};
use crate::machine::Core;
use crate::pool::{Pool, Seat};
use crate::time::DurationMs;
use crate::timers::Timer;
use crate::topology::PoolKind;
use crate::worker::{READY_MAX, SILENT_MAX, Worker, WorkerRecord, WorkerState};

/// Heartbeats in a row that may miss a job before its attempt counts as dropped.
const MISSED_MAX: u8 = 2;
/// A job that heartbeats list although the worker does not hold it by our books is thought to hang
/// after this long: its list runs behind by a heartbeat or two at most.
const GHOST_MAX: DurationMs = DurationMs::from_secs(60);
/// A worker that says it ends after a job, or was asked to end, is killed after this long.
const EXIT_GRACE: DurationMs = DurationMs::from_secs(60);

impl Core {
    /// Lets each free card of a local pool get a worker.
    pub(crate) fn seat_workers(&mut self, id: PoolId, out: &mut Out) {
        if !self.hosts_known || self.is_draining {
            return;
        }
        let now = self.now;
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        let Some(PoolKind::Command { devices, .. }) = pool.spec.as_ref().map(|spec| &spec.kind)
        else {
            return;
        };
        for device in devices {
            let seat = pool.seats.entry(*device).or_default();
            let takes_work = self.devices.get(device).is_none_or(Device::takes_work);
            if takes_work && seat.worker.is_none() && !seat.is_minting && seat.not_before <= now {
                seat.is_minting = true;
                out.effect(Effect::MintWorker {
                    pool: id,
                    device: *device,
                });
            }
        }
    }

    pub(crate) fn on_worker_minted(
        &mut self,
        worker: WorkerId,
        pool_id: PoolId,
        device: DeviceId,
        out: &mut Out,
    ) {
        let Some(pool) = self.pools.get_mut(&pool_id) else {
            return;
        };
        let Some(seat) = pool.seats.get_mut(&device) else {
            return;
        };
        seat.is_minting = false;
        let takes_work = self.devices.get(&device).is_none_or(Device::takes_work);
        if seat.worker.is_some() || pool.spec.is_none() || !takes_work {
            return;
        }
        seat.worker = Some(worker);
        let record = WorkerRecord {
            id: worker,
            endpoint: pool.record.endpoint,
            pool: pool_id,
            device,
            minted_at: self.now,
            state: WorkerState::Initializing,
        };
        out.change(Change::WorkerPut(record.clone()));
        out.effect(Effect::SpawnWorker {
            worker,
            pool: pool_id,
            device,
        });
        self.workers.insert(worker, Worker::new(record));
        self.timers.set(self.now + READY_MAX, Timer::Worker(worker));
    }

    pub(crate) fn on_worker_spawned(&mut self, id: WorkerId, pid: u32, out: &mut Out) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return out.effect(Effect::KillWorker { worker: id });
        };
        if worker.record.state == WorkerState::Initializing {
            worker.record.state = WorkerState::Running { pid };
            out.change(Change::WorkerPut(worker.record.clone()));
        }
    }

    pub(crate) fn on_worker_exited(
        &mut self,
        id: WorkerId,
        code: Option<i32>,
        reason: Option<&str>,
        out: &mut Out,
    ) {
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        let was_told = !worker.record.takes_jobs();
        let lived = self.now.since(worker.record.minted_at);
        let is_bad = !was_told && (code != Some(0) || lived < DurationMs::from_secs(1));
        let (pool_id, device) = (worker.record.pool, worker.record.device);
        let pid = worker.record.pid();
        if !was_told {
            self.keep_evidence(id, code, reason, out);
        }
        self.bury(id, out);
        self.await_memory(device, pid);
        let Some(pool) = self.pools.get_mut(&pool_id) else {
            return;
        };
        let endpoint = pool.record.endpoint;
        if let Some(seat) = pool.seats.get_mut(&device) {
            seat.worker = None;
            seat.failures = if is_bad { seat.failures + 1 } else { 0 };
            if is_bad {
                let retry_in = Pool::back_off(seat.failures);
                seat.not_before = self.now + retry_in;
                self.timers
                    .set(seat.not_before, Timer::Respawn(pool_id, device));
                let failures = seat.failures;
                let reason = Reason::WorkerBackOff {
                    pool: pool_id,
                    failures,
                    retry_in,
                };
                out.effect(Effect::Decided { endpoint, reason });
            }
        }
        self.seat_workers(pool_id, out);
    }

    /// What is known of a worker's end goes on record for each job that it held: if one of them ends
    /// its workers again and again, this is what there is to look at.
    fn keep_evidence(&self, id: WorkerId, code: Option<i32>, reason: Option<&str>, out: &mut Out) {
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        let how = match (reason, code) {
            (Some(reason), _) => reason.to_owned(),
            (None, Some(code)) => format!("exit code {code}"),
            (None, None) => "ended by a signal".to_owned(),
        };
        let others = worker.held.len() - usize::from(!worker.held.is_empty());
        for attempt in worker.held.keys().filter(|&&attempt| self.counts(attempt)) {
            let ran = self
                .attempts
                .get(attempt)
                .map(|a| self.now.since(a.leased_at));
            let ran = ran.unwrap_or_default();
            out.change(Change::Audited {
                at: self.now,
                what: "worker_died_with_job".into(),
                object: attempt.job.to_string(),
                detail: format!(
                    "attempt {} of generation {} on worker {id}: {how}, {ran} after it was handed \
                     out; {others} other jobs ran beside it",
                    attempt.number, attempt.generation
                ),
            });
        }
    }

    /// The process host says who lives, after a restart of ours.
    pub(crate) fn on_workers_alive(&mut self, alive: &[WorkerId], out: &mut Out) {
        self.hosts_known = true;
        for &worker in alive {
            if !self.workers.contains_key(&worker) {
                out.effect(Effect::KillWorker { worker });
            }
        }
        let dead: Vec<WorkerId> = self
            .workers
            .keys()
            .filter(|id| !alive.contains(id))
            .copied()
            .collect();
        for id in dead {
            let worker = &self.workers[&id];
            let (pool, device) = (worker.record.pool, worker.record.device);
            self.bury(id, out);
            if let Some(seat) = self
                .pools
                .get_mut(&pool)
                .and_then(|pool| pool.seats.get_mut(&device))
            {
                seat.worker = None;
            }
        }
        let now = self.now;
        for (&id, worker) in &mut self.workers {
            let due = match worker.record.state {
                WorkerState::Stopping { kill_at, .. } => kill_at.max(now),
                _ => {
                    // It may have been heard while nobody listened.
                    worker.heard_at = now;
                    now + READY_MAX
                }
            };
            self.timers.set(due, Timer::Worker(id));
        }
        let pools: Vec<PoolId> = self.pools.keys().copied().collect();
        for pool in pools {
            self.seat_workers(pool, out);
        }
        self.dirty.extend(self.endpoints.keys().copied());
    }

    /// A worker is no more: what it held is lost, or was fenced before.
    fn bury(&mut self, id: WorkerId, out: &mut Out) {
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        let was_told = !worker.record.takes_jobs();
        let device = worker.record.device;
        let held: Vec<AttemptId> = worker.held.keys().copied().collect();
        if let Some(poll) = worker.poll {
            self.forget_poll(poll);
            out.effect(Effect::TakeEmpty { poll });
        }
        for attempt in held {
            if self.is_fenced_by_card(attempt) {
                self.end_attempt(attempt, "card_quarantined", out);
            } else if was_told && self.counts(attempt) {
                // We stopped it ourselves: that is not the job's fault.
                self.end_attempt(attempt, "worker_stopped", out);
                self.requeue(attempt, out);
            } else if self.is_doubted(device) && self.counts(attempt) {
                // It is the card's, as it seems.
                self.end_attempt(attempt, "worker_lost", out);
                self.requeue(attempt, out);
            } else {
                self.note_loss(device, attempt);
                self.lose(attempt, "worker_lost", out);
            }
        }
        self.workers.remove(&id);
        out.change(Change::WorkerGone { worker: id });
    }

    pub(crate) fn on_pinged(&mut self, id: WorkerId, jobs: &[JobId], out: &mut Out) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        let mut dropped = Vec::new();
        for (attempt, held) in &mut worker.held {
            if jobs.contains(&attempt.job) {
                held.was_listed = true;
                held.missed = 0;
                continue;
            }
            held.missed += 1;
            let is_stopped = self
                .attempts
                .get(attempt)
                .is_some_and(|a| a.fenced.is_some());
            if held.missed >= MISSED_MAX || (is_stopped && held.was_listed) {
                dropped.push(*attempt);
            }
        }
        for attempt in dropped {
            self.on_no_result(attempt, out);
        }
        self.look_for_ghosts(id, jobs, out);
    }

    /// A job that the worker runs and that it does not hold by our books fills a slot for nothing. It
    /// is asked to stop it; if it goes on, the worker finishes what else it has, and ends.
    fn look_for_ghosts(&mut self, id: WorkerId, jobs: &[JobId], out: &mut Out) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        let held: BTreeSet<JobId> = worker.held.keys().map(|attempt| attempt.job).collect();
        worker
            .ghosts
            .retain(|job, _| jobs.contains(job) && !held.contains(job));
        for &job in jobs.iter().filter(|job| !held.contains(job)) {
            let since = *worker.ghosts.entry(job).or_insert(now);
            if since != now && now.since(since) < GHOST_MAX {
                out.effect(Effect::StopJob { worker: id, job });
            }
        }
        let oldest = worker.ghosts.iter().min_by_key(|&(_, &since)| since);
        let Some((&job, &since)) = oldest else { return };
        if now.since(since) < GHOST_MAX || !worker.record.takes_jobs() {
            return;
        }
        out.change(Change::Audited {
            at: now,
            what: "job_unaccounted".into(),
            object: id.to_string(),
            detail: format!(
                "its heartbeats list {job} since {}, which it does not hold: it finishes what else \
                 it has, and is replaced",
                now.since(since)
            ),
        });
        self.drain_worker(id, out);
    }

    /// A stopping worker that holds nothing any more is asked to end, and killed if it does not: what
    /// it still does counts for nothing. It is not asked before: old SDKs (1.6.2) die of SIGTERM at once,
    /// with the job that they run.
    pub(crate) fn end_if_done(&mut self, id: WorkerId, out: &mut Out) {
        let is_done = self
            .workers
            .get(&id)
            .is_some_and(|worker| worker.held.is_empty() && !worker.record.takes_jobs());
        if is_done {
            self.hurry_stop(id, EXIT_GRACE, out);
            out.effect(Effect::StopWorker { worker: id });
        }
    }

    /// A worker finishes what it runs, and ends.
    pub(crate) fn drain_worker(&mut self, id: WorkerId, out: &mut Out) {
        let longest = DurationMs::from_secs(7 * 24 * 3_600);
        if self.begin_stop(id, longest, out) {
            self.end_if_done(id, out);
        }
    }

    /// A worker must end now: its held polls are released first, then it is asked, then killed.
    pub(crate) fn stop_worker(&mut self, id: WorkerId, out: &mut Out) {
        let grace = self.cancel_grace;
        if self.begin_stop(id, grace, out) || self.hurry_stop(id, grace, out) {
            out.effect(Effect::StopWorker { worker: id });
        } else {
            self.on_worker_due(id, out);
        }
    }

    /// A worker is killed, whatever it runs.
    pub(crate) fn kill_worker(&mut self, id: WorkerId, out: &mut Out) {
        // The kill itself is the timer's, which is due.
        if !self.begin_stop(id, DurationMs::ZERO, out) {
            self.hurry_stop(id, DurationMs::ZERO, out);
        }
    }

    /// Whether it was not stopping before.
    fn begin_stop(&mut self, id: WorkerId, grace: DurationMs, out: &mut Out) -> bool {
        let kill_at = self.now + grace;
        let Some(worker) = self.workers.get_mut(&id) else {
            return false;
        };
        let pid = match worker.record.state {
            WorkerState::Initializing => None,
            WorkerState::Running { pid } => Some(pid),
            WorkerState::Stopping { .. } => return false,
        };
        worker.record.state = WorkerState::Stopping { pid, kill_at };
        out.change(Change::WorkerPut(worker.record.clone()));
        if let Some(poll) = worker.poll {
            self.forget_poll(poll);
            out.effect(Effect::TakeEmpty { poll });
        }
        out.effect(Effect::ReleasePolls { worker: id });
        self.timers.set(kill_at, Timer::Worker(id));
        true
    }

    /// Whether it was stopping, and had more time than `grace` left: a draining worker whose job
    /// hangs must not go on for as long as it may drain.
    fn hurry_stop(&mut self, id: WorkerId, grace: DurationMs, out: &mut Out) -> bool {
        let sooner = self.now + grace;
        let Some(worker) = self.workers.get_mut(&id) else {
            return false;
        };
        let WorkerState::Stopping { pid, kill_at } = worker.record.state else {
            return false;
        };
        if kill_at <= sooner {
            return false;
        }
        let kill_at = sooner;
        worker.record.state = WorkerState::Stopping { pid, kill_at };
        out.change(Change::WorkerPut(worker.record.clone()));
        self.timers.set(kill_at, Timer::Worker(id));
        true
    }

    pub(crate) fn on_worker_due(&mut self, id: WorkerId, out: &mut Out) {
        let now = self.now;
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        if let WorkerState::Stopping { kill_at, .. } = worker.record.state {
            if kill_at <= now {
                out.effect(Effect::KillWorker { worker: id });
                // Asked again should the answer get lost.
                self.timers
                    .set(now + DurationMs::from_secs(5), Timer::Worker(id));
            }
            return;
        }
        let due = worker.silent_until().unwrap_or(now + SILENT_MAX);
        if due > now {
            return self.timers.set(due, Timer::Worker(id));
        }
        let silent = now.since(worker.heard_at).as_millis();
        out.change(Change::Audited {
            at: now,
            what: "worker_silent".into(),
            object: id.to_string(),
            detail: format!("it has not asked for a job for {silent} ms, and is stopped"),
        });
        self.stop_worker(id, out);
    }

    /// Endpoints that share a card are placed again when it gets free.
    pub(crate) fn touch_device(&mut self, device: DeviceId) {
        for pool in self.pools.values() {
            if pool.seats.contains_key(&device) {
                self.dirty.insert(pool.record.endpoint);
            }
        }
    }

    /// The seat that a worker sits in.
    pub(crate) fn seat_of(&mut self, id: WorkerId) -> Option<&mut Seat> {
        let record = &self.workers.get(&id)?.record;
        self.pools
            .get_mut(&record.pool)?
            .seats
            .get_mut(&record.device)
    }
}
