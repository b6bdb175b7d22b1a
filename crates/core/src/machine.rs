//! The core itself: one value that owns all live state; it only dispatches.
//!
//! The contract with the driver: events come in with a time that never goes back; after each
//! [`Core::handle`] the driver takes what stands in [`Out`]; it commits the changes of a batch in
//! one transaction and only then carries out its effects. It calls back at [`Core::next_wakeup`]
//! with [`Event::TimePassed`]. If a commit fails, this value is thrown away and restored.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::attempt::{Attempt, Place};
use crate::booked::BookedHours;
use crate::budget::{BudgetRecord, Caps};
use crate::calendar::Calendar;
use crate::change::Snapshot;
use crate::device::Device;
use crate::effect::Out;
use crate::endpoint::Endpoint;
use crate::event::Event;
use crate::fleet::Fleet;
use crate::guard::GuardSpec;
use crate::id::{AttemptId, DeviceId, EndpointId, JobId, PollId, PoolId, WorkerId};
use crate::job::{Job, JobState};
use crate::jobs::Jobs;
use crate::money::NanoUsd;
use crate::pool::Pool;
use crate::quarantine::Quarantine;
use crate::spent::Spending;
use crate::time::{DurationMs, Timestamp};
use crate::timers::{Timer, Timers};
use crate::worker::{Held, Worker};

/// An endpoint is placed and scaled at most this often.
pub(crate) const SCALE_PERIOD_MIN: DurationMs = DurationMs::from_millis(100);
/// An endpoint with waiting jobs or cloud workers is looked at again after this long.
pub(crate) const SCALE_PERIOD_MAX: DurationMs = DurationMs::from_secs(1);

/// A held job-take.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Poll {
    pub(crate) worker: WorkerId,
    pub(crate) room: u32,
    pub(crate) deadline: Timestamp,
}

/// All live state, and every decision over it.
///
/// Its serialised form is a checkpoint for the journal: a core read from it goes on exactly as this one
/// does. It is no store: its shape follows the code, and another version may not read it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Core {
    pub(crate) now: Timestamp,
    pub(crate) endpoints: BTreeMap<EndpointId, Endpoint>,
    pub(crate) pools: BTreeMap<PoolId, Pool>,
    pub(crate) devices: BTreeMap<DeviceId, Device>,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    pub(crate) jobs: Jobs,
    #[serde(with = "crate::change::as_list")]
    pub(crate) attempts: BTreeMap<AttemptId, Attempt>,
    pub(crate) polls: BTreeMap<PollId, Poll>,
    pub(crate) timers: Timers,
    pub(crate) next_seq: u64,
    pub(crate) cancel_grace: DurationMs,
    pub(crate) account_workers_max: Option<u32>,
    pub(crate) budget: BudgetRecord,
    /// Caps on everything, as the configuration has them.
    pub(crate) caps_file: Caps,
    pub(crate) calendar: Calendar,
    /// Price of a kilowatt-hour, where known.
    pub(crate) electricity: Option<NanoUsd>,
    /// Cards that must not be used, as they are durable.
    pub(crate) quarantines: BTreeMap<String, Quarantine>,
    /// How long a quarantined card must be well.
    pub(crate) card_returns_after: DurationMs,
    /// Where alerts of caps are sent.
    pub(crate) alert_url: Option<String>,
    /// When caps were last compared with their alerts' thresholds.
    pub(crate) alerts_at: Timestamp,
    pub(crate) spending: Spending,
    /// What the ledger says of the pools' last hours.
    pub(crate) booked: BookedHours,
    pub(crate) guard: GuardSpec,
    /// When a guard asked last; `None` since the restore.
    pub(crate) guard_seen_at: Option<Timestamp>,
    /// When this value was restored; zero for one that never was.
    pub(crate) restored_at: Timestamp,
    /// Endpoints to be placed and scaled before the event's handling ends.
    pub(crate) dirty: BTreeSet<EndpointId>,
    /// Whether the process host has said who lives; before that no worker is started.
    pub(crate) hosts_known: bool,
    pub(crate) is_draining: bool,
    /// Whether the configuration is in.
    pub(crate) is_configured: bool,
}

impl Core {
    /// A core with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The running core again, from what is durable. The driver then sends the configuration and
    /// who lives, and calls [`Core::resume`].
    #[must_use]
    pub fn restore(snapshot: Snapshot, now: Timestamp) -> Self {
        let mut core = Self {
            now,
            restored_at: now,
            budget: snapshot.budget,
            spending: Spending::new(snapshot.spent),
            booked: snapshot.booked,
            quarantines: snapshot.quarantines,
            ..Self::default()
        };
        for (id, record) in snapshot.endpoints {
            core.endpoints.insert(id, Endpoint::new(record));
        }
        for (id, record) in snapshot.pools {
            if let Some(endpoint) = core.endpoints.get_mut(&record.endpoint) {
                endpoint.pools.push(id);
            }
            let mut pool = Pool::new(record);
            pool.cloud.fleet = Fleet::assumed(now, pool.record.wanted);
            pool.cloud.resumed = pool.record.billed.total();
            pool.cloud.is_uncounted = true;
            core.pools.insert(id, pool);
        }
        for (id, record) in snapshot.workers {
            if let Some(pool) = core.pools.get_mut(&record.pool) {
                pool.seats.entry(record.device).or_default().worker = Some(id);
            }
            core.workers.insert(id, Worker::new(record));
        }
        for job in snapshot.jobs.into_values() {
            core.next_seq = core.next_seq.max(job.seq + 1);
            core.admit(job);
        }
        for (id, attempt) in snapshot.attempts {
            match attempt.place {
                Place::Local { worker } => {
                    if let Some(worker) = core.workers.get_mut(&worker) {
                        let held = Held {
                            is_doubtful: true,
                            ..Held::default()
                        };
                        worker.held.insert(id, held);
                    }
                }
                Place::Cloud(_) => {
                    if let Some(pool) = core.pools.get_mut(&attempt.pool) {
                        pool.outstanding.insert(id);
                    }
                }
            }
            core.timers.set(attempt.deadline, Timer::Attempt(id));
            core.attempts.insert(id, attempt);
        }
        core
    }

    /// Everything durable, as a store holds it after all changes so far.
    #[must_use]
    pub fn durable(&self) -> Snapshot {
        Snapshot {
            endpoints: self
                .endpoints
                .iter()
                .map(|(&id, e)| (id, e.record.clone()))
                .collect(),
            pools: self
                .pools
                .iter()
                .map(|(&id, p)| (id, p.record.clone()))
                .collect(),
            jobs: self.jobs.iter().map(|job| (job.id, job.clone())).collect(),
            attempts: self.attempts.clone(),
            workers: self
                .workers
                .iter()
                .map(|(&id, w)| (id, w.record.clone()))
                .collect(),
            budget: self.budget.clone(),
            spent: self.spending.book.clone(),
            booked: self.booked.clone(),
            quarantines: self.quarantines.clone(),
        }
    }

    /// Takes in one fact. `now` is never before the last one; an earlier time counts as the last.
    pub fn handle(&mut self, now: Timestamp, event: Event, out: &mut Out) {
        self.now = self.now.max(now);
        // A restored core decides nothing before it has its configuration.
        if self.is_configured {
            self.fire_timers(out);
        }
        match event {
            Event::Configured { topology } => self.on_configured(*topology, out),
            Event::LimitsSet {
                request,
                endpoint,
                limits,
                by,
            } => {
                self.on_limits_set(request, endpoint, limits, by, out);
            }
            Event::MaxWaitSet {
                request,
                endpoint,
                max_wait,
                by,
            } => {
                self.on_max_wait_set(request, endpoint, max_wait, by, out);
            }
            Event::ScalerSet {
                request,
                endpoint,
                scaler,
                by,
            } => {
                self.on_scaler_set(request, endpoint, scaler, by, out);
            }
            Event::CardMeasured { device, milliwatts } => {
                if let Some(device) = self.devices.get_mut(&device) {
                    device.measured(milliwatts);
                }
            }
            Event::CardRead { device, reading } => self.on_card_read(device, reading, out),
            Event::CardFreed { device, pid } => self.on_card_freed(device, pid, out),
            Event::CardReturnAsked {
                request,
                device,
                by,
            } => {
                self.on_card_return_asked(request, device, &by, out);
            }
            Event::CapsSet {
                request,
                scope,
                caps,
                by,
            } => {
                self.on_caps_set(request, scope, caps, &by, out);
            }
            Event::Submitted { request, job } => self.on_submitted(request, job, out),
            Event::CancelAsked { request, job } => self.on_cancel_asked(request, job, out),
            Event::TtlSet { request, job, ttl } => self.on_ttl_set(request, job, ttl, out),
            Event::PurgeAsked { request, endpoint } => {
                self.on_purge_asked(request, endpoint, out);
            }
            Event::RetryAsked {
                request,
                job,
                generation,
            } => {
                self.on_retry_asked(request, job, generation, out);
            }
            Event::TakeWaiting {
                poll,
                worker,
                room,
                deadline,
                is_idle,
            } => {
                self.on_take_waiting(poll, worker, room, deadline, is_idle, out);
            }
            Event::TakeGone { poll } => self.forget_poll(poll),
            Event::DeliverFailed { worker, jobs } => self.on_deliver_failed(worker, &jobs, out),
            Event::ProgressMade {
                request,
                worker,
                job,
                progress,
            } => {
                self.on_progress_made(request, worker, job, progress, out);
            }
            Event::ChunkMade {
                request,
                worker,
                job,
                chunk,
            } => {
                self.on_chunk_made(request, worker, job, chunk, out);
            }
            Event::Finished {
                request,
                worker,
                job,
                outcome,
                stops,
                body_sha256,
            } => {
                self.on_finished(request, worker, job, outcome, stops, body_sha256, out);
            }
            Event::Pinged { worker, jobs } => self.on_pinged(worker, &jobs, out),
            Event::WorkerMinted {
                worker,
                pool,
                device,
            } => {
                self.on_worker_minted(worker, pool, device, out);
            }
            Event::WorkerSpawned { worker, pid } => self.on_worker_spawned(worker, pid, out),
            Event::WorkerExited {
                worker,
                code,
                reason,
            } => {
                self.on_worker_exited(worker, code, reason.as_deref(), out);
            }
            Event::WorkersAlive { workers } => self.on_workers_alive(&workers, out),
            Event::CloudSubmitted { attempt, cloud_job } => {
                self.on_cloud_submitted(attempt, cloud_job, out);
            }
            Event::CloudRefused {
                attempt,
                refusal,
                retry_after,
                detail,
            } => {
                self.on_cloud_refused(attempt, refusal, retry_after, &detail, out);
            }
            Event::CloudSubmitUnknown { attempt, detail: _ } => {
                self.on_cloud_submit_unknown(attempt, out);
            }
            Event::CloudStatus { attempt, state } => self.on_cloud_status(attempt, state, out),
            Event::CloudGone { attempt } => self.on_cloud_gone(attempt, out),
            Event::CloudChunk { attempt, chunk } => self.on_cloud_chunk(attempt, chunk, out),
            Event::CloudProgress { attempt, progress } => {
                self.on_cloud_progress(attempt, progress, out);
            }
            Event::CloudHealth { pool, workers } => self.on_cloud_health(pool, workers, out),
            Event::CloudJobsCounted { pool, live } => self.on_cloud_jobs_counted(pool, live, out),
            Event::CloudLimitsChanged { pool, asked, seen } => {
                self.on_cloud_limits_changed(pool, asked, seen, out);
            }
            Event::CloudStandby { pool, workers } => self.on_cloud_standby(pool, workers, out),
            Event::CloudBilled { pool, bill } => self.on_cloud_billed(pool, &bill, out),
            Event::CloudScaled { pool, min, max } => self.on_cloud_scaled(pool, min, max, out),
            Event::CloudFailed {
                pool,
                refusal,
                detail: _,
            } => {
                self.on_cloud_failed(pool, refusal, out);
            }
            Event::WebhookTried {
                request,
                webhook,
                outcome,
            } => {
                self.on_webhook_tried(request, *webhook, outcome, out);
            }
            Event::WebhookReplayAsked {
                request,
                webhook,
                by,
            } => {
                self.on_webhook_replay_asked(request, *webhook, &by, out);
            }
            Event::GuardSeen { request } => self.on_guard_seen(request, out),
            Event::TimePassed => {}
            Event::DrainAsked => self.on_drain_asked(out),
        }
        self.settle(out);
        self.alert(out);
    }

    /// Asks again for what may have been asked for before a restart and never came about.
    /// Called once, after the configuration and who lives are in.
    pub fn resume(&mut self, out: &mut Out) {
        self.resume_cloud(out);
        self.dirty.extend(self.endpoints.keys().copied());
        self.settle(out);
    }

    /// When to call back with [`Event::TimePassed`].
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// The core's time: that of the last event.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    fn fire_timers(&mut self, out: &mut Out) {
        for slot in self.timers.pop_ttl(self.now) {
            self.on_ttl_due(slot, out);
        }
        while let Some(timer) = self.timers.pop(self.now) {
            match timer {
                Timer::Poll(poll) => self.on_poll_due(poll, out),
                Timer::Attempt(attempt) => self.on_attempt_due(attempt, out),
                Timer::Worker(worker) => self.on_worker_due(worker, out),
                Timer::Respawn(pool_id, _) => {
                    if let Some(pool) = self.pools.get(&pool_id) {
                        self.dirty.insert(pool.record.endpoint);
                    }
                    self.seat_workers(pool_id, out);
                }
                Timer::Endpoint(endpoint) => {
                    self.dirty.insert(endpoint);
                }
                Timer::Guard => self.on_guard_due(out),
                Timer::Card(device) => self.on_card_due(device, out),
            }
        }
    }

    /// Hands out what can be handed out, and lets each touched endpoint be scaled.
    fn settle(&mut self, out: &mut Out) {
        while let Some(endpoint) = self.dirty.pop_first() {
            self.keep_learned(endpoint, out);
            self.close_left(endpoint, out);
            self.place_local(endpoint, out);
            self.place_cloud(endpoint, out);
        }
    }

    /// Puts a job in its table and, when it waits, in its queue.
    pub(crate) fn admit(&mut self, job: Job) {
        let (endpoint, key, expires_at) = (job.endpoint, job.queue_key(), job.expires_at);
        let is_queued = job.state == JobState::Queued;
        let slot = self.jobs.insert(job);
        self.timers.set_ttl(expires_at, slot);
        if is_queued && let Some(endpoint) = self.endpoints.get_mut(&endpoint) {
            endpoint.queue.insert(key, slot);
        }
    }

    /// A live job.
    #[must_use]
    pub fn job(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(id)
    }
}
