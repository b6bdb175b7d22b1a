//! What RunPod says of jobs, workers and limits.

use crate::attempt::{Attempt, CloudPhase, Place};
use crate::change::{Change, FinalState};
use crate::effect::{Effect, Out};
use crate::event::{
    CloudJobState, CloudRefusal, CloudWorkerCounts, PLATFORM_TIMED_OUT, PayloadRef,
};
use crate::explain::Reason;
use crate::id::{AttemptId, PoolId};
use crate::machine::Core;
use crate::on::finish::Ending;
use crate::pool::{LearnedQuota, Pool};
use crate::time::{DurationMs, Timestamp};
use crate::timers::Timer;
use crate::topology::INIT_TIMEOUT;

/// A submission of unknown fate is given up after this long.
const AMBIGUOUS_WAIT: DurationMs = DurationMs::from_secs(30);
/// RunPod may not know a job that it accepted a moment ago.
const VISIBLE_LATE: DurationMs = DurationMs::from_secs(30);
/// RunPod enforces the execution time-out late; beyond this we do it.
const TIMEOUT_SLACK: DurationMs = DurationMs::from_secs(30);
/// The longest execution time-out there is.
const EXECUTION_MAX: DurationMs = DurationMs::from_secs(7 * 24 * 3_600);
/// How long a submission may wait at RunPod before its worker runs it.
pub(crate) const CLOUD_QUEUE_MAX: DurationMs = DurationMs::from_secs(1_800);
/// RunPod keeps a job for so much longer than we do: it lets a job run on, and bills it, when its time
/// to live ends there, so our cancel has to come before.
pub(crate) const CANCEL_MARGIN: DurationMs = DurationMs::from_secs(30);
/// What was learned of RunPod's quota is forgotten after so long, and more is asked for again.
const QUOTA_RETRY: DurationMs = DurationMs::from_secs(900);
/// The longest time to live that RunPod takes.
const TTL_MAX: DurationMs = DurationMs::from_secs(7 * 24 * 3_600);

impl Core {
    pub(crate) fn on_cloud_submitted(&mut self, id: AttemptId, cloud_job: String, out: &mut Out) {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        if !matches!(
            attempt.place,
            Place::Cloud(CloudPhase::Submitting | CloudPhase::Unknown { .. })
        ) {
            return;
        }
        let pool = attempt.pool;
        attempt.place = Place::Cloud(CloudPhase::Queued {
            cloud_job: cloud_job.clone(),
        });
        let is_fenced = attempt.fenced.is_some();
        attempt.deadline = Timestamp::NEVER;
        out.change(Change::AttemptPut(attempt.clone()));
        if let Some(pool) = self.pools.get_mut(&pool) {
            pool.cloud.failures = 0;
            pool.cloud.refusal = None;
            if pool.spec.is_none() {
                // It left meanwhile: what waits there comes back.
                self.dirty.insert(pool.record.endpoint);
            }
        }
        out.effect(Effect::CloudWatch {
            attempt: id,
            pool,
            cloud_job,
        });
        if is_fenced {
            self.cancel_in_cloud(id, false, out);
        }
    }

    pub(crate) fn on_cloud_refused(
        &mut self,
        id: AttemptId,
        refusal: CloudRefusal,
        retry_after: Option<DurationMs>,
        _detail: &str,
        out: &mut Out,
    ) {
        let Some(attempt) = self.attempts.get(&id) else {
            return;
        };
        let pool = attempt.pool;
        let counts = self.counts(id);
        self.end_attempt(id, "refused", out);
        if refusal == CloudRefusal::BadJob {
            if let Some(job) = self.jobs.get_mut(id.job).filter(|_| counts) {
                job.local_only = true;
            }
        } else {
            if refusal == CloudRefusal::Paused {
                self.doubt_limits(pool);
            }
            self.back_off(pool, refusal, retry_after, out);
        }
        self.requeue(id, out);
    }

    pub(crate) fn on_cloud_submit_unknown(&mut self, id: AttemptId, out: &mut Out) {
        let now = self.now;
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        if attempt.place != Place::Cloud(CloudPhase::Submitting) {
            return;
        }
        attempt.place = Place::Cloud(CloudPhase::Unknown { since: now });
        if attempt.fenced.is_none() {
            attempt.deadline = now + AMBIGUOUS_WAIT;
            self.timers.set(attempt.deadline, Timer::Attempt(id));
        }
        out.change(Change::AttemptPut(attempt.clone()));
    }

    pub(crate) fn on_cloud_status(&mut self, id: AttemptId, state: CloudJobState, out: &mut Out) {
        let Some(attempt) = self.attempts.get(&id) else {
            return;
        };
        let leased_at = attempt.leased_at;
        self.hear(id, leased_at, &state);
        match state {
            CloudJobState::Queued => self.on_cloud_queued_again(id, out),
            CloudJobState::Running { worker, delay } => {
                self.on_cloud_running(id, worker, delay, out);
            }
            CloudJobState::Ended {
                outcome,
                worker,
                delay: _,
                execution,
            } => {
                if let Some(attempt) = self.attempts.get(&id).cloned() {
                    self.charge_unseen(&attempt, execution.unwrap_or_default(), out);
                }
                self.note_worker(id, worker, execution);
                if self.counts(id) && self.out_of_memory(id, &outcome, out) {
                    // It waits again.
                } else if self.counts(id) {
                    let mut ending = Ending::reported(outcome, None);
                    ending.execution = execution;
                    self.end_job(id, ending, out);
                } else {
                    self.end_attempt(id, "fenced", out);
                }
            }
            CloudJobState::Cancelled => self.on_cloud_cancelled(id, out),
            CloudJobState::TimedOut {
                error, execution, ..
            } => {
                let is_platforms = error.contains(PLATFORM_TIMED_OUT);
                if is_platforms {
                    self.lose(id, "cloud_worker_lost", out);
                } else if execution.is_none() && !self.was_seen_running(id) {
                    // It only waited, for as long as we let it wait there.
                    self.lose(id, "cloud_queue_expired", out);
                } else if self.counts(id) {
                    let mut ending =
                        Ending::ours(FinalState::Failed, "execution_timeout", Some(error));
                    ending.execution = execution;
                    self.end_job(id, ending, out);
                } else {
                    self.end_attempt(id, "fenced", out);
                }
            }
        }
    }

    /// When a job ran, and where, as far as RunPod tells: that says what its worker cost, whoever looked.
    fn hear(&mut self, id: AttemptId, leased_at: Timestamp, state: &CloudJobState) {
        let now = self.now;
        let began_after = |delay: Option<DurationMs>, execution: DurationMs| {
            let latest = now - execution;
            delay.map_or(latest, |delay| (leased_at + delay).min(latest))
        };
        match state {
            CloudJobState::Queued => self.note_told(id, None, None, None),
            CloudJobState::Running { worker, delay } => {
                let began = began_after(*delay, DurationMs::ZERO);
                self.note_told(id, worker.as_deref(), Some(began), None);
            }
            CloudJobState::Ended {
                worker,
                delay,
                execution,
                ..
            }
            | CloudJobState::TimedOut {
                worker,
                delay,
                execution: execution @ Some(_),
                ..
            } => {
                let execution = execution.unwrap_or_default();
                let began = began_after(*delay, execution);
                self.note_told(id, worker.as_deref(), Some(began), Some(began + execution));
            }
            CloudJobState::Cancelled | CloudJobState::TimedOut { .. } => {
                self.note_told(id, None, None, Some(now));
            }
        }
    }

    fn on_cloud_running(
        &mut self,
        id: AttemptId,
        worker: Option<String>,
        delay: Option<DurationMs>,
        out: &mut Out,
    ) {
        let now = self.now;
        let timeout = self.jobs.get(id.job).map(|job| job.execution_timeout);
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        if let Some(pool) = self.pools.get_mut(&attempt.pool) {
            pool.cloud.cancelling.remove(&id);
        }
        let Place::Cloud(CloudPhase::Queued { cloud_job }) = &attempt.place else {
            return;
        };
        let cloud_job = cloud_job.clone();
        // RunPod says how long it waited there; what we see is a look later.
        let began = delay.map_or(now, |delay| (attempt.leased_at + delay).min(now));
        let name = worker.clone();
        attempt.place = Place::Cloud(CloudPhase::Running { cloud_job, worker });
        attempt.started_at = Some(began);
        if attempt.fenced.is_none()
            && let Some(timeout) = timeout
        {
            attempt.deadline = now + timeout + TIMEOUT_SLACK;
            self.timers.set(attempt.deadline, Timer::Attempt(id));
        }
        out.change(Change::AttemptPut(attempt.clone()));
        let (endpoint, pool) = (attempt.endpoint, attempt.pool);
        self.dirty.insert(endpoint);
        self.fleet_ran(pool, began, name.as_deref());
        self.note_began(id, began);
    }

    /// A job that ran waits there again: RunPod has missed its worker.
    fn on_cloud_queued_again(&mut self, id: AttemptId, out: &mut Out) {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        let Place::Cloud(CloudPhase::Running { cloud_job, .. }) = &attempt.place else {
            return;
        };
        let cloud_job = cloud_job.clone();
        attempt.place = Place::Cloud(CloudPhase::Queued { cloud_job });
        attempt.started_at = None;
        if attempt.fenced.is_none() {
            attempt.deadline = Timestamp::NEVER;
        }
        out.change(Change::AttemptPut(attempt.clone()));
        self.dirty.insert(attempt.endpoint);
    }

    fn was_seen_running(&self, id: AttemptId) -> bool {
        self.attempts.get(&id).is_some_and(|attempt| {
            matches!(attempt.place, Place::Cloud(CloudPhase::Running { .. }))
        })
    }

    /// A job that ended between two polls was never seen running.
    fn note_worker(
        &mut self,
        id: AttemptId,
        worker: Option<String>,
        execution: Option<DurationMs>,
    ) {
        let now = self.now;
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        let Some(cloud_job) = attempt.cloud_job().map(str::to_owned) else {
            return;
        };
        let name = worker.clone();
        attempt.place = Place::Cloud(CloudPhase::Running { cloud_job, worker });
        let began = (now - execution.unwrap_or_default()).max(attempt.leased_at);
        let is_new = attempt.started_at.is_none();
        attempt.started_at.get_or_insert(began);
        let pool = attempt.pool;
        self.fleet_ran(pool, began, name.as_deref());
        if is_new {
            self.note_began(id, began);
        }
    }

    fn on_cloud_cancelled(&mut self, id: AttemptId, out: &mut Out) {
        let Some(attempt) = self.attempts.get(&id) else {
            return;
        };
        let pool = self.pools.get(&attempt.pool);
        let was_asked = pool.is_some_and(|pool| pool.cloud.cancelling.contains(&id));
        let has_not_begun = attempt.started_at.is_none();
        if !self.counts(id) {
            self.end_attempt(id, "cancelled", out);
        } else if was_asked || has_not_begun {
            // A take-back; or, after a restart, one that is forgotten: what never began is not
            // cancelled behind our back, it waits here again.
            self.end_attempt(id, "taken_back", out);
            self.requeue(id, out);
        } else {
            let error = Some("the job was cancelled at RunPod".to_owned());
            let ending = Ending::ours(FinalState::Cancelled, "cancelled_at_runpod", error);
            self.end_job(id, ending, out);
        }
    }

    /// A 404 is never «still queued»: the result expired, or the job was deleted there.
    pub(crate) fn on_cloud_gone(&mut self, id: AttemptId, out: &mut Out) {
        let Some(attempt) = self.attempts.get(&id) else {
            return;
        };
        if attempt.fenced.is_none() && self.now.since(attempt.leased_at) < VISIBLE_LATE {
            return;
        }
        self.lose(id, "result_expired", out);
    }

    pub(crate) fn on_cloud_chunk(&mut self, id: AttemptId, chunk: PayloadRef, out: &mut Out) {
        if self.counts(id) {
            out.change(Change::ChunkAdded { attempt: id, chunk });
        }
    }

    pub(crate) fn on_cloud_progress(&mut self, id: AttemptId, progress: PayloadRef, out: &mut Out) {
        if self.counts(id) {
            out.change(Change::ProgressPut {
                attempt: id,
                progress,
            });
        }
    }

    pub(crate) fn on_cloud_health(
        &mut self,
        id: PoolId,
        workers: CloudWorkerCounts,
        out: &mut Out,
    ) {
        if self.pools.get(&id).is_some_and(|pool| pool.spec.is_none()) {
            return self.count_left(id, workers, out);
        }
        self.meter_count(id, workers, out);
        self.note_crashes(id, workers, out);
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        let is_idle = workers.initializing + workers.running == 0
            && workers.idle > 0
            && pool.outstanding.is_empty();
        pool.cloud.idle_since = if is_idle {
            pool.cloud.idle_since.or(Some(self.now))
        } else {
            None
        };
        let min = pool.cloud.asked.map_or(0, |(min, _)| min);
        let is_astray = workers.running > min && pool.outstanding.is_empty();
        pool.cloud.astray_since = if is_astray {
            pool.cloud.astray_since.or(Some(self.now))
        } else {
            None
        };
        if pool.cloud.workers != Some(workers) {
            pool.cloud.workers = Some(workers);
            self.dirty.insert(pool.record.endpoint);
        }
        self.fleet_counted(id, workers);
        self.note_capacity(id);
    }

    pub(crate) fn on_cloud_scaled(&mut self, id: PoolId, min: u32, max: u32, out: &mut Out) {
        self.doubt_heir(id);
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        // An order that was given meanwhile may take effect at any moment: until its own answer comes,
        // the money for it stays set aside.
        if pool.cloud.asked.is_some_and(|(_, asked)| asked == max) {
            pool.cloud.confirmed_max = Some(max);
        }
        if pool.cloud.asked == Some((min, max)) && pool.record.kept_on.workers != min {
            pool.record.kept_on.workers = min;
            out.change(Change::PoolPut(pool.record.clone()));
        }
        pool.cloud.accepted_max = max;
        pool.cloud.failures = 0;
        // That limits can be set says nothing about submissions.
        pool.cloud.refusal = pool.cloud.refusal.filter(|(refusal, _)| {
            matches!(
                refusal,
                CloudRefusal::RateLimited | CloudRefusal::NoBalance | CloudRefusal::Paused
            )
        });
        if let Some(quota) = &mut pool.cloud.quota
            && max >= quota.max
            && max < quota.refused
        {
            // There is room between what is accepted and what was refused.
            quota.max = max + (quota.refused - max) / 2;
        }
        self.dirty.insert(pool.record.endpoint);
        if pool.cloud.is_closing && (min, max) == (0, 0) {
            self.closed(id, "RunPod confirmed 0 workers", out);
        }
    }

    /// RunPod cannot be asked for a job by anything but its own id; but it counts them. Once it has
    /// counted none for a while, a submission whose answer was lost is not there, or not any more,
    /// and its place is free before its time to live is over.
    pub(crate) fn on_cloud_jobs_counted(&mut self, id: PoolId, live: u32, out: &mut Out) {
        let now = self.now;
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        if live > 0 {
            pool.cloud.empty_since = None;
            return;
        }
        let since = *pool.cloud.empty_since.get_or_insert(now);
        if now.since(since) < VISIBLE_LATE {
            return;
        }
        let is_absent = |attempt: &Attempt| {
            let place = &attempt.place;
            let unknown =
                matches!(place, Place::Cloud(CloudPhase::Unknown { since: at }) if *at <= since);
            unknown && attempt.fenced.is_some()
        };
        let absent: Vec<AttemptId> = pool
            .outstanding
            .iter()
            .filter(|id| self.attempts.get(id).is_some_and(is_absent))
            .copied()
            .collect();
        for attempt in absent {
            self.end_attempt(attempt, "not_there", out);
        }
        self.release(id, out);
    }

    /// A scaling call failed, or nothing works there.
    pub(crate) fn on_cloud_failed(&mut self, id: PoolId, refusal: CloudRefusal, out: &mut Out) {
        self.doubt_limits(id);
        let is_left = self.pools.get(&id).is_some_and(|pool| pool.spec.is_none());
        if is_left && refusal == CloudRefusal::EndpointGone {
            self.count_left(id, CloudWorkerCounts::default(), out);
            let is_closing = self.pools.get(&id).is_some_and(|p| p.cloud.is_closing);
            if is_closing {
                return self.closed(id, "there is no such endpoint any more", out);
            }
        }
        if refusal == CloudRefusal::Quota && self.learn_quota(id, out) {
            return;
        }
        self.back_off(id, refusal, None, out);
    }

    /// Asks for fewer workers after a refusal, half-way down to what was accepted; false where there
    /// is nothing less to ask for.
    fn learn_quota(&mut self, id: PoolId, out: &mut Out) -> bool {
        let Some(pool) = self.pools.get_mut(&id) else {
            return false;
        };
        let refused = pool.record.wanted;
        let accepted = pool.cloud.accepted_max.min(refused);
        let max = accepted + (refused - accepted) / 2;
        if max == 0 || max == refused {
            pool.cloud.quota = None;
            return false;
        }
        let until = self.now + QUOTA_RETRY;
        pool.cloud.quota = Some(LearnedQuota {
            max,
            refused,
            until,
        });
        let endpoint = pool.record.endpoint;
        self.timers.set(until, Timer::Endpoint(endpoint));
        let reason = Reason::QuotaLearned {
            pool: id,
            refused,
            max,
            retry_in: QUOTA_RETRY,
        };
        out.effect(Effect::Decided { endpoint, reason });
        self.dirty.insert(endpoint);
        true
    }

    /// The limits that were asked for may not hold: they are asked for again after the pause.
    fn doubt_limits(&mut self, id: PoolId) {
        if let Some(pool) = self.pools.get_mut(&id) {
            pool.cloud.asked = None;
        }
    }

    /// A pool refuses or fails: it is left alone for a while, longer each time.
    fn back_off(
        &mut self,
        id: PoolId,
        refusal: CloudRefusal,
        retry_after: Option<DurationMs>,
        out: &mut Out,
    ) {
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        if pool.cloud.not_before > self.now {
            return;
        }
        pool.cloud.failures += 1;
        let before = pool.cloud.refusal.filter(|(last, _)| *last == refusal);
        pool.cloud.refusal = Some((refusal, before.map_or(0, |(_, times)| times) + 1));
        let retry_in = retry_after.unwrap_or_else(|| Pool::back_off(pool.cloud.failures));
        pool.cloud.not_before = self.now + retry_in;
        let endpoint = pool.record.endpoint;
        self.timers
            .set(pool.cloud.not_before, Timer::Endpoint(endpoint));
        let reason = Reason::CloudUnavailable {
            pool: id,
            refusal,
            retry_in,
        };
        out.effect(Effect::Decided { endpoint, reason });
        self.dirty.insert(endpoint);
    }

    /// Asks RunPod to give a job up.
    pub(crate) fn cancel_in_cloud(&mut self, id: AttemptId, only_if_queued: bool, out: &mut Out) {
        let ttl = self.cloud_ttl(id);
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        let cloud_job = attempt.cloud_job().map(str::to_owned);
        // An answer settles it. Where nothing can be named yet, its time to live there does too; else it is cancelled
        // again, after restarts too, for as long as RunPod keeps any job.
        let patience = if cloud_job.is_none() { ttl } else { TTL_MAX };
        if attempt.fenced.is_some() || cloud_job.is_none() {
            let deadline = attempt.leased_at + patience;
            if attempt.deadline != deadline {
                attempt.deadline = deadline;
                out.change(Change::AttemptPut(attempt.clone()));
            }
            self.timers.set(deadline.max(self.now), Timer::Attempt(id));
        }
        let Some(cloud_job) = cloud_job else { return };
        let pool = attempt.pool;
        if let Some(pool) = self.pools.get_mut(&pool)
            && (pool.cloud.cancelling.insert(id) || !only_if_queued)
        {
            let pool = pool.record.id;
            out.effect(Effect::CloudCancel {
                attempt: id,
                pool,
                cloud_job,
                only_if_queued,
            });
        }
    }

    /// How long RunPod may keep an attempt's job from its submission on: what bounds the cost of a
    /// twin. A job that is over counts as one that might have run for as long as any may.
    pub(crate) fn cloud_ttl(&self, id: AttemptId) -> DurationMs {
        let Some(attempt) = self.attempts.get(&id) else {
            return DurationMs::ZERO;
        };
        let spec = self.pools.get(&attempt.pool).and_then(Pool::metered);
        let init = spec.map_or(INIT_TIMEOUT, |spec| spec.init_timeout);
        let longest = |execution| init + execution + CLOUD_QUEUE_MAX;
        let Some(job) = self.jobs.get(id.job) else {
            let endpoint = self.endpoints.get(&attempt.endpoint);
            let spec = endpoint.and_then(|endpoint| endpoint.spec.as_ref());
            return longest(spec.map_or(EXECUTION_MAX, |spec| spec.execution_timeout));
        };
        let rest = job.expires_at.since(attempt.leased_at);
        longest(job.execution_timeout)
            .min(rest + CANCEL_MARGIN)
            .clamp(DurationMs::from_secs(10), TTL_MAX)
    }

    /// After a restart: watch what RunPod has, cancel what no longer counts, and treat submissions
    /// that were on their way as of unknown fate.
    pub(crate) fn resume_cloud(&mut self, out: &mut Out) {
        let ids: Vec<AttemptId> = self.attempts.keys().copied().collect();
        for id in ids {
            let Some(attempt) = self.attempts.get(&id) else {
                continue;
            };
            let (pool, is_fenced) = (attempt.pool, attempt.fenced.is_some());
            match &attempt.place {
                Place::Local { .. } if is_fenced => self.clear_away(id, out),
                Place::Local { .. } => {}
                Place::Cloud(CloudPhase::Submitting) => self.on_cloud_submit_unknown(id, out),
                Place::Cloud(CloudPhase::Unknown { .. }) => {}
                Place::Cloud(
                    CloudPhase::Queued { cloud_job } | CloudPhase::Running { cloud_job, .. },
                ) => {
                    let cloud_job = cloud_job.clone();
                    out.effect(Effect::CloudWatch {
                        attempt: id,
                        pool,
                        cloud_job,
                    });
                    if is_fenced {
                        self.cancel_in_cloud(id, false, out);
                    }
                }
            }
        }
        self.charge_for_absence(out);
        // Also where none is wanted any more: that may be what got lost.
        let wanted: Vec<_> = self
            .pools
            .values()
            .filter(|pool| pool.was_scaled() || pool.has_limits())
            .filter(|pool| pool.runpod().is_some_and(|spec| spec.manage))
            .map(|pool| (pool.record.id, pool.record.wanted))
            .collect();
        for (id, max) in wanted {
            let min = self.pools.get(&id).and_then(|pool| {
                let endpoint = self.endpoints.get(&pool.record.endpoint)?;
                Some(endpoint.limits_at(self.now).min.min(max))
            });
            if let Some(pool) = self.pools.get_mut(&id) {
                if pool.keep_on(min.unwrap_or(0)) {
                    out.change(Change::PoolPut(pool.record.clone()));
                }
                pool.cloud.asked = Some((min.unwrap_or(0), max));
            }
            out.effect(Effect::CloudScale {
                pool: id,
                min: min.unwrap_or(0),
                max,
            });
        }
    }
}
