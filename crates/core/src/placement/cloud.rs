//! Hands to the cloud what the local cards cannot start soon enough: draws the picture, asks the
//! scaler, reserves the money, sets RunPod's limits, submits.

use std::borrow::Cow;

use crate::allowance::admits;
use crate::attempt::{CloudPhase, Place};
use crate::budget::CapHit;
use crate::effect::{Effect, Out};
use crate::endpoint::Endpoint;
use crate::explain::Reason;
use crate::id::{EndpointId, PoolId};
use crate::jobs::Slot;
use crate::machine::{Core, SCALE_PERIOD_MAX, SCALE_PERIOD_MIN};
use crate::placement::failover::SCAN_MAX;
use crate::placement::pool_order::{Assignment, Because};
use crate::placement::projection::{Picture, WAITING_MAX, Waiting};
use crate::scaler::{self, Cloud, Decision};
use crate::time::{DurationMs, Timestamp};
use crate::timers::Timer;
use crate::topology::{EndpointSpec, PoolKind, ScalerSpec};

/// A process of ours is thought to be ready this long after its start, until it says so.
const LOCAL_START: DurationMs = DurationMs::from_secs(10);
/// With more waiting jobs than this, `cost_aware` weighs at periods.
const WEIGHED_MAX: usize = 50;
/// How often it then does.
const WEIGH_PERIOD: DurationMs = DurationMs::from_secs(2);
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
        let is_asked = endpoint.scaled_at == Timestamp::from_millis(i64::MIN);
        endpoint.scaled_at = self.now;
        self.follow_schedule(id, out);
        self.tell_held(id, out);
        self.fail_over(id, out);
        self.allow_keys(id);
        let Some(endpoint) = self.endpoints.get(&id) else {
            return;
        };
        let again = endpoint.weighed_at + WEIGH_PERIOD;
        let is_long = endpoint.queue.len() > WEIGHED_MAX
            && matches!(endpoint.scaler(), Some(ScalerSpec::CostAware(_)));
        if is_long && !is_asked && self.now < again {
            // A long queue is weighed at periods, and between them handed out only.
            let spill = endpoint.spill_left;
            let left = self.submit_spill(id, spill, out);
            if let Some(endpoint) = self.endpoints.get_mut(&id) {
                endpoint.spill_left = left;
            }
            return self.look_again(id, again);
        }
        let picture = self.picture(id, &spec);
        let cloud_picture = self.cloud_picture(id, &spec);
        let cloud = cloud_picture.counts;
        let max = self.workers_allowed(id);
        let Some(endpoint) = self.endpoints.get(&id) else {
            return;
        };
        let scaler = endpoint.scaler().unwrap_or(&spec.scaler);
        let history = &endpoint.history;
        let decision = scaler::decide(scaler, &spec, &picture, &cloud_picture, history, max);
        // What more would help is asked when it is news, or the limit was left since.
        let is_told = endpoint.last_reason.as_deref() == Some("max_reached");
        let is_full = decision.weighed.is_some() && decision.wish.workers >= max;
        let beyond = match (is_full && picture.waiting_total > 0, is_told) {
            (true, true) => max.saturating_add(1),
            (true, false) => {
                scaler::wanted_beyond(scaler, &spec, &picture, &cloud_picture, history, max)
            }
            (false, _) => decision.wish.workers,
        };
        self.scale(id, &decision, beyond, &picture, out);
        let left = self.submit_spill(id, decision.wish.spill, out);
        if let Some(endpoint) = self.endpoints.get_mut(&id) {
            endpoint.weighed_at = self.now;
            endpoint.spill_left = left;
        }
        self.submit_low_priority(id, picture.local.is_empty(), out);
        let is_active = picture.waiting_total + picture.capped > 0
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
        let mut local = Vec::new();
        for pool in endpoint.pools.iter().filter_map(|id| self.pools.get(id)) {
            for (device, seat) in &pool.seats {
                if seat.failures >= FAILURES_MAX || self.is_quarantined(*device) {
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
        let (waiting, capped) = self.waiting(id, endpoint, spec, local.is_empty());
        let is_left_out = if local.is_empty() { capped } else { 0 };
        Picture {
            now: self.now,
            max_wait: spec.max_wait,
            waiting,
            waiting_total: endpoint.queue.len() - is_left_out,
            capped,
            local,
        }
    }

    /// The first waiting jobs, and how many there are that nobody pays for in the cloud: on local cards
    /// they have their turn, without them they are left out.
    fn waiting(
        &self,
        id: EndpointId,
        endpoint: &Endpoint,
        spec: &EndpointSpec,
        is_cloud_only: bool,
    ) -> (Vec<Waiting>, usize) {
        let mut left = endpoint.allowances.clone();
        let (mut waiting, mut capped) = (Vec::new(), 0);
        for &slot in endpoint.queue.values().take(SCAN_MAX) {
            if waiting.len() >= WAITING_MAX {
                return (waiting, capped);
            }
            let Some(job) = self.jobs.at(slot) else {
                continue;
            };
            let may_go = !job.local_only && self.has_pool_for(id, job);
            let is_paid = !may_go || admits(&mut left, job.key);
            capped += usize::from(!is_paid);
            if is_cloud_only && !is_paid {
                continue;
            }
            let execution =
                endpoint
                    .history
                    .remaining(job.class, DurationMs::ZERO, spec.expected_execution);
            waiting.push(Waiting {
                submitted_at: job.submitted_at,
                execution,
                is_cloudable: may_go && is_paid,
                is_low_priority: job.low_priority,
            });
        }
        if capped > 0 {
            // Of a queue so long that nobody looks to its end, the rest counts as those before it.
            capped += endpoint.queue.len().saturating_sub(SCAN_MAX);
        }
        (waiting, capped)
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

    /// Cloud workers that an endpoint may have, over all its cloud pools: its own limit, and what
    /// other endpoints leave of the account's.
    pub(crate) fn workers_allowed(&self, id: EndpointId) -> u32 {
        let max = self.endpoints.get(&id).map_or(0, |e| e.limits().max);
        let others: u32 = self
            .pools
            .values()
            .filter(|pool| pool.record.endpoint != id)
            .map(|pool| pool.record.wanted)
            .sum();
        let account = self
            .account_workers_max
            .map_or(u32::MAX, |max| max.saturating_sub(others));
        max.min(account)
    }

    /// Sets what each pool should have: the wish within the limits, in order of preference.
    /// `beyond` is what would be wanted without them.
    fn scale(
        &mut self,
        id: EndpointId,
        decision: &Decision,
        beyond: u32,
        picture: &Picture,
        out: &mut Out,
    ) {
        let (wish, projection) = (&decision.wish, &decision.projection);
        let Some(endpoint) = self.endpoints.get(&id) else {
            return;
        };
        let limits = endpoint.limits_at(self.now);
        let allowed = self.workers_allowed(id);
        let mut rest = wish.workers.max(limits.min).min(allowed);
        let mut min_rest = limits.min.min(allowed);
        let wanted = rest;
        let (mut hit, mut sum) = (None, 0);
        let pools = self.candidates(id);
        let shares = self.shares(id, &pools, rest, wish.spill);
        // What there is no money for in one pool may be had in another; but not across the border of a
        // region that jobs must stay in.
        let is_free_to_move = is_open(self.endpoints.get(&id));
        let mut carried = 0;
        for (pool, planned) in pools.iter().zip(shares) {
            let pool_id = pool.id;
            let asked = (planned + carried).min(pool.most.max(planned)).min(rest);
            let most = decision.weighed.and_then(|_| self.give_up_stuck(pool_id));
            let asked = most.map_or(asked, |most| asked.min(most));
            let from = self
                .pools
                .get(&pool_id)
                .map_or(0, |pool| pool.record.wanted);
            let granted = self.reserve(pool_id, asked, out);
            let to = granted.workers;
            carried = (planned + carried).saturating_sub(to);
            if !is_free_to_move {
                carried = 0;
            }
            hit = hit.or(granted.hit);
            rest = rest.saturating_sub(to);
            let min = min_rest.min(to);
            min_rest -= min;
            if to > 0 {
                self.order_idle(pool_id, wish.keep, out);
            }
            self.order(pool_id, min, to, out);
            let crashes = self.pools.get(&pool_id).map(|pool| &pool.cloud.crash_loop);
            let is_paused = crashes.is_some_and(|crashes| crashes.most(self.now) == Some(0));
            if granted.hit.is_some() || is_paused {
                self.give_back(pool_id, to, out);
            }
            sum += to;
            if to != from {
                let late = u32::try_from(projection.spill).unwrap_or(u32::MAX);
                let weighed = decision
                    .weighed
                    .map(|weighed| self.priced(pool_id, &weighed));
                let reason = if to > from {
                    Reason::ScaledUp {
                        pool: pool_id,
                        from,
                        to,
                        late,
                        weighed,
                    }
                } else {
                    Reason::ScaledDown {
                        pool: pool_id,
                        from,
                        to,
                        weighed,
                    }
                };
                out.effect(Effect::Decided {
                    endpoint: id,
                    reason,
                });
            }
        }
        let hit = hit.filter(|_| sum < wanted);
        let key_hit = self.key_hit(id, picture);
        let reason = if let Some(hit) = hit {
            Some(Reason::BudgetReached {
                hit,
                wanted,
                granted: sum,
            })
        } else if let Some(hit) = key_hit {
            Some(Reason::BudgetReached {
                hit,
                wanted: u32::try_from(picture.capped).unwrap_or(u32::MAX),
                granted: 0,
            })
        } else if beyond > allowed {
            Some(Reason::MaxReached {
                max: allowed,
                wanted: beyond,
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
        for (now, before) in [(hit, endpoint.cap_hit), (key_hit, endpoint.key_hit)] {
            if let Some(at) = now.as_ref().map(frees_at)
                && before.as_ref().map(frees_at) != Some(at)
            {
                self.timers.set(at, Timer::Endpoint(id));
            }
        }
        (endpoint.cap_hit, endpoint.key_hit) = (hit, key_hit);
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

    /// The cap of a key that keeps the first of its waiting jobs from the cloud.
    fn key_hit(&self, id: EndpointId, picture: &Picture) -> Option<CapHit> {
        if picture.capped == 0 {
            return None;
        }
        let endpoint = self.endpoints.get(&id)?;
        let mut left = endpoint.allowances.clone();
        let mut jobs = endpoint
            .queue
            .values()
            .filter_map(|&slot| self.jobs.at(slot));
        let key = jobs
            .find(|job| !job.local_only && !admits(&mut left, job.key))?
            .key?;
        Some(endpoint.allowances.get(&key)?.hit)
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
        let most = most.min(pool.cloud.crash_loop.most(self.now).unwrap_or(u32::MAX));
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
            self.fleet_ordered(id, max);
        }
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        let is_news = match pool.cloud.asked {
            Some(asked) => asked != (min, max),
            // Nothing is known to hold: ask, but leave a pool that fails its pause.
            None if pool.cloud.not_before > self.now => false,
            None => (min, max) != (0, 0) || pool.was_scaled() || pool.has_limits(),
        };
        if manage && is_news {
            let (keeps_more, is_first) = (pool.keep_on(min), pool.note_limits());
            if keeps_more || is_first {
                out.change(crate::change::Change::PoolPut(pool.record.clone()));
            }
            pool.cloud.asked = Some((min, max));
            pool.cloud.confirmed_max = None;
            out.effect(Effect::CloudScale { pool: id, min, max });
        }
    }

    /// Submits the first waiting jobs that may go, as far as wanted workers have slots.
    /// Returns how many more may.
    fn submit_spill(&mut self, id: EndpointId, spill: u32, out: &mut Out) -> u32 {
        let mut left = spill;
        let pools = self.candidates(id);
        let mut assignment = Assignment::with_room(&pools, |pool| self.submission_room(pool));
        for (slot, pool, because) in self.assign(id, &mut assignment, spill, false) {
            self.submit_to_cloud(slot, pool, because, out);
            left = left.saturating_sub(u32::from(left != u32::MAX));
        }
        left
    }

    /// Low-priority jobs cause no worker, but they use those that there are: without local cards any
    /// that is ready, else the ones that are always on and paid for anyway. All others go first.
    fn submit_low_priority(&mut self, id: EndpointId, is_cloud_only: bool, out: &mut Out) {
        let Some(endpoint) = self.endpoints.get(&id) else {
            return;
        };
        let min = endpoint.limits_at(self.now).min;
        if self.has_spill(id) {
            return;
        }
        let pools = self.candidates(id);
        let room = |pool_id: PoolId| {
            let pool = self.pools.get(&pool_id);
            let seen = pool.and_then(|pool| pool.cloud.workers).unwrap_or_default();
            let ready = seen.idle + seen.running;
            let workers = if is_cloud_only { ready } else { ready.min(min) };
            let (slots, outstanding) = pool.map_or((1, 0), |pool| {
                let outstanding = u32::try_from(pool.outstanding.len()).unwrap_or(u32::MAX);
                (pool.slots(), outstanding)
            });
            let free = workers.saturating_mul(slots).saturating_sub(outstanding);
            self.submission_room(pool_id).min(free)
        };
        let mut assignment = Assignment::with_room(&pools, room);
        for (slot, pool, because) in self.assign(id, &mut assignment, u32::MAX, true) {
            self.submit_to_cloud(slot, pool, because, out);
        }
    }

    pub(super) fn submission_room(&self, id: PoolId) -> u32 {
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

    fn submit_to_cloud(&mut self, slot: Slot, pool_id: PoolId, because: Because, out: &mut Out) {
        // The one door to the cloud: what the job may cost is set aside here, against its key's caps too.
        let job = self.jobs.at(slot).map(|job| (job.endpoint, job.key));
        let endpoint = job.and_then(|(endpoint, _)| self.endpoints.get_mut(&endpoint));
        let key = job.and_then(|(_, key)| key);
        if !endpoint.is_some_and(|endpoint| admits(&mut endpoint.allowances, key)) {
            return;
        }
        let place = Place::Cloud(CloudPhase::Submitting);
        let Some(id) = self.begin_attempt(slot, pool_id, place, out) else {
            return;
        };
        let Some(pool) = self.pools.get_mut(&pool_id) else {
            return;
        };
        pool.outstanding.insert(id);
        pool.cloud.chosen.insert(id, because);
        pool.cloud.empty_since = None;
        if pool.cloud.workers.is_some() {
            self.note_capacity(pool_id);
        }
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

/// Whether none of an endpoint's jobs is bound to a region.
fn is_open(endpoint: Option<&Endpoint>) -> bool {
    let spec = endpoint.and_then(|endpoint| endpoint.spec.as_ref());
    spec.is_none_or(|spec| spec.residency.is_empty())
}

/// What is overdue takes about as long again: so a worker that never comes is not waited for.
fn overdue(ready: Timestamp, now: Timestamp) -> Timestamp {
    if ready > now {
        ready
    } else {
        now + OVERDUE.max(now.since(ready))
    }
}
