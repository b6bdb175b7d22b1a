//! The cloud side of an endpoint as its scaler sees it, worker by worker, and what keeps it true.

use crate::attempt::{Attempt, CloudPhase, Place};
use crate::change::Change;
use crate::effect::{Effect, Out};
use crate::event::CloudWorkerCounts;
use crate::fleet::{Count, Fleet, Job};
use crate::id::{AttemptId, EndpointId, PoolId};
use crate::machine::Core;
use crate::placement::projection::Waiting;
use crate::pool::Pool;
use crate::scaler::history::History;
use crate::scaler::weighed::Priced;
use crate::scaler::{CloudPicture, Weighed};
use crate::time::{DurationMs, Timestamp};
use crate::timers::Timer;
use crate::topology::EndpointSpec;

/// What was learned is stored this long after something new was.
const KEEP_LEARNED: DurationMs = DurationMs::from_secs(60);
/// Between a job's end and the next submission to its worker there may be as much: RunPod must not end
/// the worker meanwhile.
const IDLE_LAG: DurationMs = DurationMs::from_secs(5);
/// Starts that hang are ordered anew after this long, whether or not RunPod confirmed that they ended.
const GIVE_UP_MAX: DurationMs = DurationMs::from_secs(30);
/// Idle time-outs that RunPod is asked for, in seconds: few values, so that changes are few.
const IDLE_LEVELS_S: [u64; 14] = [
    5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1_800, 3_600,
];

impl Core {
    /// The cloud side of an endpoint, over its cloud pools.
    pub(crate) fn cloud_picture(&self, id: EndpointId, spec: &EndpointSpec) -> CloudPicture {
        let mut picture = CloudPicture {
            counts: self.cloud_side(id),
            ..CloudPicture::default()
        };
        let Some(endpoint) = self.endpoints.get(&id) else {
            return picture;
        };
        let longest = endpoint.history.start_longest();
        let mut submitted: Vec<(Timestamp, AttemptId, Waiting)> = Vec::new();
        for pool_id in self.cloud_pools(id) {
            let Some(pool) = self.pools.get(&pool_id) else {
                continue;
            };
            let jobs = self.fleet_jobs(pool, spec);
            let fleet = &pool.cloud.fleet;
            let (workers, stuck) = fleet.workers(self.now, pool.slots(), longest, &jobs);
            picture.workers.extend(workers);
            picture.stuck = picture.stuck.saturating_add(stuck);
            if let Some(spec) = pool.runpod() {
                picture.idle_max = picture.idle_max.max(spec.idle_timeout);
            }
            submitted.extend(pool.outstanding.iter().filter_map(|id| {
                let attempt = self.attempts.get(id)?;
                Some((attempt.leased_at, *id, self.waits_at_cloud(attempt, spec)?))
            }));
        }
        submitted.sort_by_key(|(at, id, _)| (*at, *id));
        picture.submitted = submitted.into_iter().map(|(_, _, job)| job).collect();
        picture
    }

    /// A job that RunPod has, or may have, and has not begun. Those of low priority take what is left.
    fn waits_at_cloud(&self, attempt: &Attempt, spec: &EndpointSpec) -> Option<Waiting> {
        let is_running = matches!(attempt.place, Place::Cloud(CloudPhase::Running { .. }));
        if is_running || attempt.fenced.is_some() {
            return None;
        }
        let job = self.jobs.get(attempt.id.job)?;
        let history = &self.endpoints.get(&attempt.endpoint)?.history;
        let execution = history.remaining(job.class, DurationMs::ZERO, spec.expected_execution);
        (!job.low_priority).then_some(Waiting {
            submitted_at: job.submitted_at,
            execution,
            is_cloudable: true,
            is_low_priority: false,
        })
    }

    /// What runs on a pool's cloud workers.
    fn fleet_jobs(&self, pool: &Pool, spec: &EndpointSpec) -> Vec<Job<'_>> {
        let Some(endpoint) = self.endpoints.get(&pool.record.endpoint) else {
            return Vec::new();
        };
        let ids = pool.outstanding.iter();
        let jobs = ids.filter_map(|id| {
            let attempt = self.attempts.get(id)?;
            let Place::Cloud(CloudPhase::Running { worker, .. }) = &attempt.place else {
                return None;
            };
            let class = self.jobs.get(id.job).map_or(0, |job| job.class);
            let elapsed = self.now.since(attempt.started_at.unwrap_or(self.now));
            let history = &endpoint.history;
            let rest = history.remaining(class, elapsed, spec.expected_execution);
            Some(Job {
                worker: worker.as_deref(),
                free_at: self.now + rest,
            })
        });
        jobs.collect()
    }

    /// Tells a pool's fleet something, with what runs there; what it teaches of starts is learned.
    fn with_fleet(
        &mut self,
        id: PoolId,
        tell: impl FnOnce(&mut Fleet, &Pool, &[Job<'_>]) -> Vec<DurationMs>,
    ) {
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        let endpoint_id = pool.record.endpoint;
        let mut fleet = std::mem::take(&mut pool.cloud.fleet);
        let mut lengths = Vec::new();
        let endpoint = self.endpoints.get(&endpoint_id);
        let spec = endpoint.and_then(|endpoint| endpoint.spec.as_ref());
        if let (Some(pool), Some(spec)) = (self.pools.get(&id), spec) {
            let jobs = self.fleet_jobs(pool, spec);
            lengths = tell(&mut fleet, pool, &jobs);
        }
        if let Some(pool) = self.pools.get_mut(&id) {
            pool.cloud.fleet = fleet;
        }
        for length in lengths {
            self.learn(endpoint_id, |history| history.started(length));
        }
    }

    /// So many workers of a pool are wanted from now on.
    pub(crate) fn fleet_ordered(&mut self, id: PoolId, wanted: u32) {
        let now = self.now;
        self.with_fleet(id, |fleet, pool, jobs| {
            let is_managed = pool.runpod().is_some_and(|spec| spec.manage);
            fleet.order(now, wanted, is_managed, jobs);
            Vec::new()
        });
    }

    /// RunPod counts a pool's workers.
    pub(crate) fn fleet_counted(&mut self, id: PoolId, workers: CloudWorkerCounts) {
        let now = self.now;
        self.with_fleet(id, |fleet, pool, jobs| {
            let is_managed = pool.runpod().is_some_and(|spec| spec.manage);
            let most = if is_managed {
                pool.record.wanted
            } else {
                // Those that RunPod keeps although nobody asked are none.
                pool.workers_alive(now)
            };
            fleet.count(&Count {
                now,
                workers,
                most,
                jobs,
            })
        });
    }

    /// A job was seen to run on a worker of RunPod's since `began`.
    pub(crate) fn fleet_ran(&mut self, id: PoolId, began: Timestamp, worker: Option<&str>) {
        let Some(worker) = worker else { return };
        self.with_fleet(id, |fleet, _, _| {
            fleet.ran(began, worker).into_iter().collect()
        });
    }

    /// A job that may go anywhere has started for the first time: in time, or late.
    pub(crate) fn note_began(&mut self, id: AttemptId, at: Timestamp) {
        let Some(job) = self.jobs.get(id.job) else {
            return;
        };
        if job.low_priority || job.local_only || job.lost > 0 || job.no_result > 0 {
            return;
        }
        let (endpoint, waited) = (job.endpoint, at.since(job.submitted_at));
        let spec = self.endpoints.get(&endpoint).and_then(|e| e.spec.as_ref());
        let Some(max_wait) = spec.map(|spec| spec.max_wait) else {
            return;
        };
        self.learn(endpoint, |history| history.began(waited > max_wait));
    }

    /// Something new is known of an endpoint, and is stored soon.
    pub(crate) fn learn(&mut self, id: EndpointId, teach: impl FnOnce(&mut History)) {
        let at = self.now + KEEP_LEARNED;
        let Some(endpoint) = self.endpoints.get_mut(&id) else {
            return;
        };
        teach(&mut endpoint.history);
        if endpoint.keep_learned_at.is_none() {
            endpoint.keep_learned_at = Some(at);
            self.timers.set(at, Timer::Endpoint(id));
        }
    }

    /// Stores what was learned, when it is time to.
    pub(crate) fn keep_learned(&mut self, id: EndpointId, out: &mut Out) {
        let Some(endpoint) = self.endpoints.get_mut(&id) else {
            return;
        };
        if endpoint.keep_learned_at.is_none_or(|at| at > self.now) {
            return;
        }
        endpoint.keep_learned_at = None;
        let learned = endpoint.history.learned();
        if learned != endpoint.record.learned {
            endpoint.record.learned = learned;
            out.change(Change::EndpointPut(endpoint.record.clone()));
        }
    }

    /// The most that a pool may have for now because its starts hang. RunPod starts no other worker for a
    /// job that one starts for: what hangs is ended by a lower limit first, and ordered anew once that
    /// is confirmed. Where others start too, those might be ended: then one more is ordered instead.
    pub(crate) fn give_up_stuck(&mut self, id: PoolId) -> Option<u32> {
        let now = self.now;
        let pool = self.pools.get_mut(&id)?;
        if let Some((most, until)) = pool.cloud.giving_up {
            if pool.cloud.confirmed_max.is_none() && now < until {
                return Some(most);
            }
            pool.cloud.giving_up = None;
        }
        let longest = self
            .endpoints
            .get(&pool.record.endpoint)?
            .history
            .start_longest();
        let (stuck, fresh) = pool.cloud.fleet.stuck(now, longest);
        let is_managed = pool.runpod().is_some_and(|spec| spec.manage);
        // Only what is seen to start hangs: of one that waits for a GPU no other would be quicker.
        let seen = pool.cloud.workers.map_or(0, |workers| workers.initializing);
        if stuck == 0 || fresh > 0 || !is_managed || seen == 0 {
            return None;
        }
        let all = u32::try_from(pool.cloud.fleet.len()).unwrap_or(u32::MAX);
        let most = all.saturating_sub(stuck);
        pool.cloud.giving_up = Some((most, now + GIVE_UP_MAX));
        Some(most)
    }

    /// What was weighed, at a pool's price.
    pub(crate) fn priced(&self, id: PoolId, weighed: &Weighed) -> Priced {
        let pool = self.pools.get(&id);
        let price = pool.and_then(|pool| pool.runpod()?.price);
        Priced::new(*weighed, price)
    }

    /// Tells RunPod how long to keep an idle worker, for the case that nobody tells it to stop one:
    /// no longer than the user allows.
    pub(crate) fn order_idle(&mut self, id: PoolId, keep: DurationMs, out: &mut Out) {
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        let Some(spec) = pool.runpod().filter(|spec| spec.manage) else {
            return;
        };
        let least = keep.saturating_add(IDLE_LAG);
        let mut levels = IDLE_LEVELS_S.into_iter().map(DurationMs::from_secs);
        let idle = levels.find(|level| *level >= least);
        let idle = idle.unwrap_or(spec.idle_timeout).min(spec.idle_timeout);
        if pool.cloud.asked_idle != Some(idle) {
            pool.cloud.asked_idle = Some(idle);
            out.effect(Effect::CloudIdle { pool: id, idle });
        }
    }
}
