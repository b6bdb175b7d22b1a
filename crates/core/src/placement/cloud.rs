//! Hands to the cloud what the local cards cannot start soon enough: draws the picture, asks the
//! scaler, reserves the money, sets RunPod's limits, submits.

use std::borrow::Cow;

use crate::attempt::{CloudPhase, Place};
use crate::budget::CapHit;
use crate::effect::{Effect, Out};
use crate::explain::Reason;
use crate::id::{EndpointId, PoolId};
use crate::jobs::Slot;
use crate::machine::{Core, SCALE_PERIOD_MAX, SCALE_PERIOD_MIN};
use crate::placement::projection::{Picture, Projection, WAITING_MAX, Waiting};
use crate::scaler::{self, Cloud, Wish};
use crate::time::{DurationMs, Timestamp};
use crate::timers::Timer;
use crate::topology::{EndpointSpec, PoolKind};

/// A process of ours is thought to be ready this long after its start, until it says so.
const LOCAL_START: DurationMs = DurationMs::from_secs(10);
/// What is overdue is thought to be ready this much later than now, at least.
const OVERDUE: DurationMs = DurationMs::from_secs(5);
/// A card whose workers ended badly this often in a row is not counted on.
const FAILURES_MAX: u32 = 3;

impl Core {
    pub(crate) fn place_cloud(&mut self, id: EndpointId, out: &mut Out) {
        let Some(endpoint) = self.endpoints.get_mut(&id) else {
            return;
        };
        let Some(spec) = endpoint.spec.clone() else {
            return;
        };
        let has_cloud = spec
            .pools
            .iter()
            .any(|p| matches!(p.kind, PoolKind::RunPod(_)));
        if !has_cloud || self.is_draining || !self.hosts_known {
            return;
        }
        let next = endpoint.scaled_at + SCALE_PERIOD_MIN;
        if self.now < next {
            return self.look_again(id, next);
        }
        endpoint.scaled_at = self.now;
        self.follow_schedule(id, out);
        let picture = self.picture(id, &spec);
        let cloud = self.cloud_side(id);
        let Some(endpoint) = self.endpoints.get(&id) else {
            return;
        };
        let max = endpoint.limits().max;
        let (projection, wish) = scaler::decide(&spec, &picture, cloud, &endpoint.history, max);
        self.scale(id, &wish, &projection, &picture, out);
        self.submit_spill(id, wish.spill, out);
        self.submit_low_priority(id, picture.local.is_empty(), out);
        let is_active = picture.waiting_total > 0
            || cloud
                != Cloud {
                    slots: cloud.slots,
                    ..Cloud::default()
                };
        if is_active {
            self.look_again(id, self.now + SCALE_PERIOD_MAX);
        }
    }

    /// Tells when a schedule begins or ends to keep workers on, and looks again when the next does.
    fn follow_schedule(&mut self, id: EndpointId, out: &mut Out) {
        let now = self.now;
        let Some(endpoint) = self.endpoints.get_mut(&id) else {
            return;
        };
        let asked = endpoint.scheduled(now);
        let before = std::mem::replace(&mut endpoint.last_scheduled, asked);
        let reason = match (before, asked) {
            (_, Some(asked)) if before != Some(asked) => Some(Reason::ScheduleHolds {
                min: asked.min,
                opens: asked.opens,
                closes: asked.closes,
            }),
            (Some(before), None) => Some(Reason::ScheduleOver { min: before.min }),
            _ => None,
        };
        let next = endpoint.schedule_changes(now);
        if let Some(reason) = reason {
            out.effect(Effect::Decided {
                endpoint: id,
                reason,
            });
        }
        if let Some(at) = next {
            self.look_again(id, at);
        }
    }

    /// Places and scales an endpoint again at `at`, unless that happens before anyway: a timer for
    /// each look would make one more with each event, for as long as the endpoint is active.
    fn look_again(&mut self, id: EndpointId, at: Timestamp) {
        let Some(endpoint) = self.endpoints.get_mut(&id) else {
            return;
        };
        if endpoint.look_at > self.now && endpoint.look_at <= at {
            return;
        }
        endpoint.look_at = at;
        self.timers.set(at, Timer::Endpoint(id));
    }

    /// The queue and the local slots of an endpoint, now.
    pub(crate) fn picture(&self, id: EndpointId, spec: &EndpointSpec) -> Picture {
        let Some(endpoint) = self.endpoints.get(&id) else {
            return Picture::default();
        };
        let guess = |class, elapsed| {
            endpoint
                .history
                .remaining(class, elapsed, spec.expected_execution)
        };
        let jobs = endpoint
            .queue
            .values()
            .filter_map(|&slot| self.jobs.at(slot));
        let waiting = jobs.take(WAITING_MAX).map(|job| Waiting {
            submitted_at: job.submitted_at,
            execution: guess(job.class, DurationMs::ZERO),
            is_cloudable: !job.local_only,
            is_low_priority: job.low_priority,
        });
        let mut local = Vec::new();
        for pool in endpoint.pools.iter().filter_map(|id| self.pools.get(id)) {
            for seat in pool.seats.values() {
                if seat.failures >= FAILURES_MAX {
                    continue;
                }
                let worker = seat.worker.and_then(|worker| self.workers.get(&worker));
                let ready_at = match worker {
                    None => self.now.max(seat.not_before) + LOCAL_START,
                    Some(worker) if worker.ready_at.is_none() => {
                        overdue(worker.heard_at + LOCAL_START, self.now)
                    }
                    // It asks again at once, unless it hangs.
                    Some(worker)
                        if worker.silent_until().is_some()
                            && self.now.since(worker.heard_at) > OVERDUE =>
                    {
                        overdue(worker.heard_at, self.now)
                    }
                    Some(_) => self.now,
                };
                let held = worker
                    .map(|worker| worker.held.keys())
                    .into_iter()
                    .flatten();
                let mut busy: Vec<Timestamp> = held
                    .filter_map(|attempt| {
                        let class = self.jobs.get(attempt.job).map_or(0, |job| job.class);
                        let started = self.attempts.get(attempt)?.started_at?;
                        Some(self.now + guess(class, self.now.since(started)))
                    })
                    .collect();
                busy.resize((pool.slots() as usize).max(busy.len()), ready_at);
                local.extend(busy);
            }
        }
        Picture {
            now: self.now,
            max_wait: spec.max_wait,
            waiting: waiting.collect(),
            waiting_total: endpoint.queue.len(),
            local,
        }
    }

    /// The cloud side of an endpoint, over its cloud pools.
    pub(crate) fn cloud_side(&self, id: EndpointId) -> Cloud {
        let mut cloud = Cloud {
            slots: u32::MAX,
            ..Cloud::default()
        };
        for pool in self
            .cloud_pools(id)
            .into_iter()
            .filter_map(|id| self.pools.get(&id))
        {
            cloud.slots = cloud.slots.min(pool.slots());
            cloud.outstanding += u32::try_from(pool.outstanding.len()).unwrap_or(u32::MAX);
            let running = pool.outstanding.iter().filter(|id| {
                let place = self.attempts.get(id).map(|attempt| &attempt.place);
                matches!(place, Some(Place::Cloud(CloudPhase::Running { .. })))
            });
            cloud.running += u32::try_from(running.count()).unwrap_or(u32::MAX);
            cloud.alive += pool.workers_alive(self.now);
            cloud.wanted += pool.record.wanted;
        }
        cloud.slots = if cloud.slots == u32::MAX {
            1
        } else {
            cloud.slots
        };
        cloud
    }

    /// The cloud pools of an endpoint, in order of preference.
    pub(crate) fn cloud_pools(&self, id: EndpointId) -> Vec<PoolId> {
        let pools = self
            .endpoints
            .get(&id)
            .map(|e| e.pools.as_slice())
            .unwrap_or_default();
        let is_cloud = |id: &&PoolId| self.pools.get(id).is_some_and(|p| p.runpod().is_some());
        pools.iter().filter(is_cloud).copied().collect()
    }

    /// Sets what each pool should have: the wish within the limits, in order of preference.
    fn scale(
        &mut self,
        id: EndpointId,
        wish: &Wish,
        projection: &Projection,
        picture: &Picture,
        out: &mut Out,
    ) {
        let Some(endpoint) = self.endpoints.get(&id) else {
            return;
        };
        let limits = endpoint.limits_at(self.now);
        let others: u32 = self
            .pools
            .values()
            .filter(|pool| pool.record.endpoint != id)
            .map(|pool| pool.record.wanted)
            .sum();
        let account = self
            .account_workers_max
            .map_or(u32::MAX, |max| max.saturating_sub(others));
        let allowed = limits.max.min(account);
        let mut rest = wish.workers.max(limits.min).min(allowed);
        let mut min_rest = limits.min.min(allowed);
        let wanted = rest;
        let (mut hit, mut sum) = (None, 0);
        for pool_id in self.cloud_pools(id) {
            let (to, min) = self.share_of(pool_id, rest, min_rest);
            let from = self
                .pools
                .get(&pool_id)
                .map_or(0, |pool| pool.record.wanted);
            let granted = self.reserve(pool_id, to, out);
            let to = granted.workers;
            hit = hit.or(granted.hit);
            rest = rest.saturating_sub(to);
            min_rest = min_rest.saturating_sub(min);
            self.order(pool_id, min.min(to), to, out);
            if granted.hit.is_some() {
                self.give_back(pool_id, to, out);
            }
            sum += to;
            if to != from {
                let late = u32::try_from(projection.spill).unwrap_or(u32::MAX);
                let reason = if to > from {
                    Reason::ScaledUp {
                        pool: pool_id,
                        from,
                        to,
                        late,
                    }
                } else {
                    Reason::ScaledDown {
                        pool: pool_id,
                        from,
                        to,
                    }
                };
                out.effect(Effect::Decided {
                    endpoint: id,
                    reason,
                });
            }
        }
        let hit = hit.filter(|_| sum < wanted);
        let reason = if let Some(hit) = hit {
            Some(Reason::BudgetReached {
                hit,
                wanted,
                granted: sum,
            })
        } else if wish.workers > allowed {
            Some(Reason::MaxReached {
                max: allowed,
                wanted: wish.workers,
            })
        } else if picture.waiting_total > 0 && projection.spill == 0 {
            Some(Reason::LocalSuffices {
                waiting: u32::try_from(picture.waiting_total).unwrap_or(u32::MAX),
                latest: projection.latest.unwrap_or_default(),
                max_wait: picture.max_wait,
            })
        } else {
            None
        };
        let Some(endpoint) = self.endpoints.get_mut(&id) else {
            return;
        };
        let frees_at = |hit: &CapHit| hit.state.frees_at;
        if let Some(at) = hit.as_ref().map(frees_at)
            && endpoint.cap_hit.as_ref().map(frees_at) != Some(at)
        {
            self.timers.set(at, Timer::Endpoint(id));
        }
        endpoint.cap_hit = hit;
        let code = reason.as_ref().map(Reason::code);
        if endpoint.last_reason.as_deref() != code {
            endpoint.last_reason = code.map(Cow::Borrowed);
            if let Some(reason) = reason {
                out.effect(Effect::Decided {
                    endpoint: id,
                    reason,
                });
            }
        }
    }

    /// How many workers, and how many of them always on, one pool gets of what is left.
    pub(crate) fn share_of(&self, id: PoolId, rest: u32, min_rest: u32) -> (u32, u32) {
        let Some(pool) = self.pools.get(&id) else {
            return (0, 0);
        };
        let Some(spec) = pool.runpod() else {
            return (0, 0);
        };
        let learned = pool.cloud.quota.filter(|quota| quota.until > self.now);
        let own = spec
            .max
            .unwrap_or(u32::MAX)
            .min(learned.map_or(u32::MAX, |quota| quota.max));
        // A pool that refuses keeps what it has: its workers may still be at work. One that goes on
        // refusing keeps only those that are, and the others in line get the rest.
        let is_out = pool.cloud.not_before > self.now && pool.cloud.failures > 0;
        let has_use = pool.workers_alive(self.now).max(pool.workers_caused());
        let most = match pool.cloud.failures {
            FAILURES_MAX.. if is_out => pool.record.wanted.min(own).min(has_use),
            _ if is_out => pool.record.wanted.min(own),
            _ => own,
        };
        (rest.min(most), min_rest.min(most))
    }

    /// Tells RunPod, where its limits are ours to set and the news is news.
    fn order(&mut self, id: PoolId, min: u32, max: u32, out: &mut Out) {
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        let manage = pool.runpod().is_some_and(|spec| spec.manage);
        if pool.record.wanted != max {
            pool.record.wanted = max;
            out.change(crate::change::Change::PoolPut(pool.record.clone()));
        }
        let is_news = match pool.cloud.asked {
            Some(asked) => asked != (min, max),
            // Nothing is known to hold: ask, but leave a pool that fails its pause.
            None if pool.cloud.not_before > self.now => false,
            None => (min, max) != (0, 0) || pool.was_scaled(),
        };
        if manage && is_news {
            pool.cloud.asked = Some((min, max));
            pool.cloud.confirmed_max = None;
            out.effect(Effect::CloudScale { pool: id, min, max });
        }
    }

    /// Submits the first waiting jobs that may go, as far as wanted workers have slots.
    fn submit_spill(&mut self, id: EndpointId, spill: u32, out: &mut Out) {
        let mut left = spill;
        for pool_id in self.cloud_pools(id) {
            let room = self.submission_room(pool_id).min(left);
            for slot in self.spill_candidates(id, room as usize, false) {
                self.submit_to_cloud(slot, pool_id, out);
                left -= 1;
            }
        }
    }

    /// Low-priority jobs cause no worker, but they use those that there are: without local cards any
    /// that is ready, else the ones that are always on and paid for anyway. All others go first.
    fn submit_low_priority(&mut self, id: EndpointId, is_cloud_only: bool, out: &mut Out) {
        let Some(endpoint) = self.endpoints.get(&id) else {
            return;
        };
        let min = endpoint.limits_at(self.now).min;
        if !self.spill_candidates(id, 1, false).is_empty() {
            return;
        }
        for pool_id in self.cloud_pools(id) {
            let Some(pool) = self.pools.get(&pool_id) else {
                continue;
            };
            let ready = pool
                .cloud
                .workers
                .map_or(0, |workers| workers.idle + workers.running);
            let workers = if is_cloud_only { ready } else { ready.min(min) };
            let outstanding = u32::try_from(pool.outstanding.len()).unwrap_or(u32::MAX);
            let free = workers
                .saturating_mul(pool.slots())
                .saturating_sub(outstanding);
            let room = self.submission_room(pool_id).min(free);
            for slot in self.spill_candidates(id, room as usize, true) {
                self.submit_to_cloud(slot, pool_id, out);
            }
        }
    }

    fn submission_room(&self, id: PoolId) -> u32 {
        let Some(pool) = self.pools.get(&id) else {
            return 0;
        };
        let workers = pool.record.wanted.min(pool.record.reserved_workers);
        if pool.cloud.not_before > self.now || pool.runpod().is_none() {
            return 0;
        }
        let outstanding = u32::try_from(pool.outstanding.len()).unwrap_or(u32::MAX);
        workers
            .saturating_mul(pool.slots())
            .saturating_sub(outstanding)
    }

    /// The first waiting jobs that the cloud may have, of low priority or of all others.
    fn spill_candidates(&self, id: EndpointId, count: usize, low_priority: bool) -> Vec<Slot> {
        let Some(endpoint) = self.endpoints.get(&id) else {
            return Vec::new();
        };
        if count == 0 {
            return Vec::new();
        }
        let may_go = |slot: &Slot| {
            self.jobs
                .at(*slot)
                .is_some_and(|job| !job.local_only && job.low_priority == low_priority)
        };
        endpoint
            .queue
            .values()
            .copied()
            .filter(may_go)
            .take(count)
            .collect()
    }

    fn submit_to_cloud(&mut self, slot: Slot, pool_id: PoolId, out: &mut Out) {
        let place = Place::Cloud(CloudPhase::Submitting);
        let Some(id) = self.begin_attempt(slot, pool_id, place, out) else {
            return;
        };
        let Some(pool) = self.pools.get_mut(&pool_id) else {
            return;
        };
        pool.outstanding.insert(id);
        pool.cloud.empty_since = None;
        let Some(job) = self.jobs.get(id.job) else {
            return;
        };
        let (execution_timeout, extras) = (job.execution_timeout, job.extras.as_deref());
        let low_priority = job.low_priority;
        let trace = extras.and_then(|extras| extras.trace.clone());
        let extras = extras.and_then(|extras| extras.worker.clone());
        out.effect(Effect::CloudSubmit {
            attempt: id,
            pool: pool_id,
            execution_timeout,
            ttl: self.cloud_ttl(id),
            extras,
            low_priority,
            trace,
        });
    }
}

/// What is overdue takes about as long again: so a worker that never comes is not waited for.
fn overdue(ready: Timestamp, now: Timestamp) -> Timestamp {
    if ready > now {
        ready
    } else {
        now + OVERDUE.max(now.since(ready))
    }
}
