//! The copy: one endpoint as placement and scaler see it, and where one job stands.

use crate::allowance::Allowances;
use crate::attempt::{CloudPhase, Place};
use crate::budget::CapHit;
use crate::crash_loop::CrashPause;
use crate::device::Device;
use crate::event::{CloudRefusal, CloudWorkerCounts};
use crate::id::{EndpointId, JobId, KeyId};
use crate::job::JobState;
use crate::machine::Core;
use crate::money::RatePerHour;
use crate::placement::pool_order::Because;
use crate::placement::projection::{Picture, WAITING_MAX};
use crate::pool::{LearnedQuota, LimitsChanged, Pool};
use crate::quarantine::Quarantine;
use crate::region::Region;
use crate::scaler::history::History;
use crate::scaler::{Cloud, CloudPicture};
use crate::schedule::Scheduled;
use crate::time::{DurationMs, Timestamp};
use crate::topology::{EndpointSpec, Limits, ScalerSpec};

/// A worker that neither holds a job nor asks for one is silent after this long.
const SILENT: DurationMs = DurationMs::from_secs(15);

/// One endpoint at one moment.
#[derive(Debug, Clone)]
pub struct Situation {
    /// What the configuration asks for.
    pub spec: EndpointSpec,
    /// The limits in force, the min of the schedules included.
    pub limits: Limits,
    /// What the schedules ask for.
    pub scheduled: Option<Scheduled>,
    /// The min that is asked for and held at 0, for there is no guard; 0 where none is.
    pub min_held: u32,
    /// The most cloud workers of the account, where known.
    pub account: Option<u32>,
    /// The cap on spending that kept cloud workers away when it was last looked at.
    pub cap_hit: Option<CapHit>,
    /// The cap of a key that kept waiting jobs from the cloud then.
    pub key_hit: Option<CapHit>,
    /// What the caps of keys left for their jobs.
    pub allowances: Allowances,
    /// Cloud workers that other endpoints want.
    pub others: u32,
    /// The queue and the local slots.
    pub picture: Picture,
    /// The jobs of the picture, in its order.
    pub jobs: Vec<JobId>,
    /// Since when the job that waits longest does.
    pub oldest: Option<Timestamp>,
    /// The scaling rule in force.
    pub scaler: ScalerSpec,
    /// The cloud side in counts.
    pub cloud: Cloud,
    /// The same, worker by worker.
    pub fleet: CloudPicture,
    /// What was learned.
    pub history: History,
    /// Local places for workers.
    pub seats: Vec<SeatFacts>,
    /// Cloud pools in order of preference.
    pub pools: Vec<CloudFacts>,
    /// The server is ending.
    pub is_draining: bool,
    /// It is known which workers live.
    pub hosts_known: bool,
}

/// A local pool's place on one card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatFacts {
    /// The pool's name.
    pub pool: String,
    /// The card.
    pub device: u32,
    /// Jobs at once.
    pub slots: u32,
    /// Of them, taken.
    pub busy: u32,
    /// Another endpoint's worker has the card, and both do not fit.
    pub is_taken: bool,
    /// How its worker is.
    pub state: SeatState,
    /// Why its card must not be used, and until when at the soonest, where that is known.
    pub quarantine: Option<(Quarantine, Option<Timestamp>)>,
}

/// How the worker of a seat is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeatState {
    /// It starts.
    Starting,
    /// It asked for a job, or has one.
    Ready,
    /// It is there, and has neither a job nor asked for one since.
    Silent(Timestamp),
    /// It ended so often in a row; the next start is not before then.
    Crashing(u32, Timestamp),
    /// Its card must not be used: [`SeatFacts::quarantine`].
    Quarantined,
    /// Its card does not take work since then: the last worker's memory is not free there yet, or
    /// its driver says that something is wrong.
    Held(Timestamp),
}

/// A cloud pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudFacts {
    /// Its name.
    pub name: String,
    /// Its price, where known.
    pub price: Option<RatePerHour>,
    /// Jobs at once on one worker.
    pub slots: u32,
    /// What was learned of that, where it is learned: the knee, and what memory allows.
    pub learned: Option<(u32, Option<u32>)>,
    /// A ceiling of its own.
    pub max: Option<u32>,
    /// Upper bound of a worker's idle time.
    pub idle_timeout: DurationMs,
    /// Workers wanted now.
    pub wanted: u32,
    /// The most that it would be given now, whatever the endpoint's limits.
    pub most: u32,
    /// Its workers, where counted.
    pub workers: Option<CloudWorkerCounts>,
    /// When each of its jobs is thought to be over, counted from its start; jobs that run.
    pub running: Vec<Timestamp>,
    /// How long each of them has run.
    pub running_for: Vec<DurationMs>,
    /// Jobs that RunPod has and has not begun.
    pub queued: u32,
    /// Refusals in a row, the last one, and until when it is left alone.
    pub failures: u32,
    /// What RunPod refused last, and how often in a row.
    pub refusal: Option<(CloudRefusal, u32)>,
    /// Until when it is left alone.
    pub not_before: Timestamp,
    /// What RunPod's quota leaves, while that counts.
    pub quota: Option<LearnedQuota>,
    /// Since when workers run there while none of our jobs is with RunPod.
    pub astray_since: Option<Timestamp>,
    /// The pause that crashes led to, until a worker is seen at work.
    pub crash_pause: Option<CrashPause>,
    /// Workers that are on though nothing asks for them, and since when.
    pub standby: Option<(u32, Timestamp)>,
    /// RunPod changed the limits by itself.
    pub changed: Option<LimitsChanged>,
    /// Overspill may change the limits there.
    pub manage: bool,
    /// Since when the first of its jobs that were not begun waits there.
    pub first_queued: Option<Timestamp>,
    /// Where it stands, where configured.
    pub region: Option<Region>,
    /// It got no workers: other pools go before it until then.
    pub dry_until: Timestamp,
}

/// A live job and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub job: JobId,
    /// When it came in.
    pub submitted_at: Timestamp,
    /// Bytes of its input.
    pub input_bytes: u64,
    /// Never causes a scale-up.
    pub low_priority: bool,
    /// The cloud will not take it.
    pub local_only: bool,
    /// Where its caller is, where known.
    pub region: Option<Region>,
    /// It must not leave that region.
    pub is_resident: bool,
    /// Why its cloud pool was chosen, for one that is there.
    pub because: Option<Because>,
    /// Whose it is.
    pub key: Option<KeyId>,
    /// A worker ended under it.
    pub is_suspect: bool,
    /// Attempts that vanished.
    pub lost: u32,
    /// A worker is not given it again before then.
    pub paused_until: Option<Timestamp>,
    /// Where it is.
    pub stand: Stand,
}

/// Where a live job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stand {
    /// In its endpoint's queue, behind so many others.
    Queued {
        /// Jobs before it.
        ahead: u32,
    },
    /// RunPod has it, or may have it, since then, and has not begun it.
    AtCloud {
        /// The pool's name.
        pool: String,
        /// Since when.
        since: Timestamp,
    },
    /// It runs.
    Running {
        /// The pool's name.
        pool: String,
        /// On whom.
        worker: Option<String>,
        /// Since when.
        since: Timestamp,
    },
}

impl Core {
    /// A copy of what decides over an endpoint; `None` for one that is not configured.
    #[must_use]
    pub fn situation(&self, id: EndpointId) -> Option<Situation> {
        let endpoint = self.endpoints.get(&id)?;
        let spec = endpoint.spec.clone()?;
        let waiting = endpoint
            .queue
            .values()
            .filter_map(|&slot| self.jobs.at(slot));
        let others = self
            .pools
            .values()
            .filter(|pool| pool.record.endpoint != id);
        let cloud_pools = self.cloud_pools(id).into_iter();
        let fleet = self.cloud_picture(id, &spec);
        Some(Situation {
            scaler: endpoint.scaler().unwrap_or(&spec.scaler).clone(),
            limits: endpoint.limits_at(self.now),
            scheduled: endpoint.scheduled(self.now),
            min_held: endpoint.held(self.now),
            account: self.account_workers_max,
            cap_hit: self.cap_hit(id),
            key_hit: endpoint.key_hit,
            allowances: endpoint.allowances.clone(),
            others: others.map(|pool| pool.record.wanted).sum(),
            picture: self.picture(id, &spec),
            jobs: waiting.take(WAITING_MAX).map(|job| job.id).collect(),
            oldest: self.oldest_waiting(endpoint),
            cloud: fleet.counts,
            fleet,
            history: endpoint.history.clone(),
            seats: self.seats_of(id),
            pools: cloud_pools
                .filter_map(|pool| self.cloud_facts(self.pools.get(&pool)?, &spec))
                .collect(),
            is_draining: self.is_draining,
            hosts_known: self.hosts_known,
            spec,
        })
    }

    /// Where a live job stands, and its endpoint; `None` for one that is not live.
    #[must_use]
    pub fn standing(&self, id: JobId) -> Option<(EndpointId, Standing)> {
        let job = self.jobs.get(id)?;
        let live = self.live_job(id)?;
        let endpoint = self.endpoints.get(&job.endpoint)?;
        let pool_name = || {
            let pool = live.pool.and_then(|pool| self.pools.get(&pool));
            pool.map_or_else(String::new, |pool| pool.record.key.clone())
        };
        let stand = match job.state {
            JobState::Queued => Stand::Queued {
                ahead: u32::try_from(endpoint.queue.range(..job.queue_key()).count())
                    .unwrap_or(u32::MAX),
            },
            JobState::Attempted { .. } => match live.started_at {
                Some(since) => Stand::Running {
                    pool: pool_name(),
                    worker: live.worker.clone(),
                    since,
                },
                None => Stand::AtCloud {
                    pool: pool_name(),
                    since: live
                        .attempt
                        .and_then(|attempt| self.attempts.get(&attempt))
                        .map_or(job.submitted_at, |attempt| attempt.leased_at),
                },
            },
        };
        let workers = self.workers.values();
        let paused = workers
            .filter(|worker| worker.record.endpoint == job.endpoint)
            .map(|worker| worker.paused_for(id, self.now));
        // It waits for the pause only where every worker has one.
        let paused_until = paused
            .reduce(|first, second| Some(first?.min(second?)))
            .flatten();
        let standing = Standing {
            job: id,
            submitted_at: job.submitted_at,
            input_bytes: job.input_bytes,
            low_priority: job.low_priority,
            local_only: job.local_only,
            region: job.region,
            is_resident: self.caller_of(job.endpoint, job).is_resident,
            because: live.because,
            key: job.key,
            is_suspect: job.is_suspect(),
            lost: u32::from(job.lost),
            paused_until,
            stand,
        };
        Some((job.endpoint, standing))
    }

    fn seats_of(&self, id: EndpointId) -> Vec<SeatFacts> {
        let mut seats = Vec::new();
        let endpoint = self.endpoints.get(&id);
        let pools = endpoint.map(|e| e.pools.as_slice()).unwrap_or_default();
        for pool in pools.iter().filter_map(|id| self.pools.get(id)) {
            for (device, seat) in &pool.seats {
                let worker = seat.worker.and_then(|worker| self.workers.get(&worker));
                let card = self.devices.get(device);
                let quarantine = card.and_then(|card| card.quarantine.clone());
                let held_since = card.and_then(Device::held_since);
                let state = match worker {
                    _ if quarantine.is_some() => SeatState::Quarantined,
                    _ if let Some(since) = held_since => SeatState::Held(since),
                    Some(worker) if worker.ready_at.is_some() => {
                        let is_silent = worker.silent_until().is_some()
                            && self.now.since(worker.heard_at) > SILENT;
                        if is_silent {
                            SeatState::Silent(worker.heard_at)
                        } else {
                            SeatState::Ready
                        }
                    }
                    _ if seat.failures > 0 => SeatState::Crashing(seat.failures, seat.not_before),
                    _ => SeatState::Starting,
                };
                let is_taken = worker.is_some_and(|worker| {
                    card.is_some_and(|device| {
                        !device.has_room(worker.record.id, self.vram_of(worker.record.id))
                    })
                });
                seats.push(SeatFacts {
                    pool: pool.record.key.clone(),
                    device: device.0,
                    slots: pool.slots(),
                    busy: worker.map_or(0, |w| u32::try_from(w.held.len()).unwrap_or(u32::MAX)),
                    is_taken,
                    state,
                    quarantine: quarantine.map(|is| {
                        let returns_at = is.well_since.map(|at| at + self.card_returns_after);
                        (is, returns_at)
                    }),
                });
            }
        }
        seats
    }

    fn cloud_facts(&self, pool: &Pool, spec: &EndpointSpec) -> Option<CloudFacts> {
        let runpod = pool.runpod()?;
        let endpoint = self.endpoints.get(&pool.record.endpoint)?;
        let mut facts = CloudFacts {
            name: pool.record.key.clone(),
            price: runpod.price,
            slots: pool.slots(),
            learned: pool.learns_slots().then(|| {
                let ceiling = pool.learned.ceiling.map(|(slots, _)| slots);
                (pool.learned.knee, ceiling)
            }),
            max: runpod.max,
            idle_timeout: runpod.idle_timeout,
            wanted: pool.record.wanted,
            most: match runpod.price {
                Some(_) => self.share_of(pool.record.id, u32::MAX, 0).0,
                None => 0,
            },
            workers: pool.cloud.workers,
            running: Vec::new(),
            running_for: Vec::new(),
            queued: 0,
            failures: pool.cloud.failures,
            refusal: pool.cloud.refusal,
            not_before: pool.cloud.not_before,
            quota: pool.cloud.quota.filter(|quota| quota.until > self.now),
            astray_since: pool.cloud.astray_since,
            crash_pause: pool.cloud.crash_loop.pause(),
            standby: pool.cloud.standby,
            changed: pool.cloud.changed,
            manage: runpod.manage,
            first_queued: None,
            region: runpod.region,
            dry_until: pool.cloud.dry_until,
        };
        let attempts = pool.outstanding.iter();
        for attempt in attempts.filter_map(|id| self.attempts.get(id)) {
            match (&attempt.place, attempt.started_at) {
                (Place::Cloud(CloudPhase::Running { .. }), Some(started)) => {
                    let class = self.jobs.get(attempt.id.job).map_or(0, |job| job.class);
                    let elapsed = self.now.since(started);
                    let expected = spec.expected_execution;
                    let rest = endpoint.history.remaining(class, elapsed, expected);
                    facts.running.push(self.now + rest);
                    facts.running_for.push(elapsed);
                }
                _ => {
                    facts.queued += 1;
                    let since = facts.first_queued.unwrap_or(Timestamp::NEVER);
                    facts.first_queued = Some(since.min(attempt.leased_at));
                }
            }
        }
        Some(facts)
    }
}
