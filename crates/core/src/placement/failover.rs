//! Pools of one endpoint beside each other: which may have a job, which gets the next worker, and what
//! happens to jobs at a pool that gets no workers.

use crate::allowance::{admits, pays};
use crate::attempt::{CloudPhase, Place};
use crate::effect::{Effect, Out};
use crate::explain::Reason;
use crate::id::{AttemptId, EndpointId, PoolId};
use crate::job::Job;
use crate::jobs::Slot;
use crate::machine::Core;
use crate::money::NanoUsd;
use crate::placement::pool_order::{Assignment, Because, Caller, Candidate, is_resident, share};
use crate::placement::projection::WAITING_MAX;
use crate::pool::Pool;
use crate::time::{DurationMs, Timestamp};

/// Jobs wait at a pool whose workers are throttled, crashed or gone for this long, then others take them.
const STUCK_AFTER: DurationMs = DurationMs::from_secs(30);
/// The same for one that shows no worker at all: RunPod may be slow to start the first.
const ABSENT_AFTER: DurationMs = DurationMs::from_secs(60);
/// Others go before a pool that got no workers for so long, and twice as long each further time.
const DRY_FIRST: DurationMs = DurationMs::from_secs(60);
/// At most this long.
const DRY_LONGEST: DurationMs = DurationMs::from_secs(900);
/// Refusals in a row after which a pool counts as failing while it has its pause.
const FAILURES_MAX: u32 = 3;
/// Waiting jobs that are looked at for one that a pool with room may have.
pub(super) const SCAN_MAX: usize = 50_000;

impl Core {
    /// The cloud pools of an endpoint as they stand, in the order of the configuration.
    pub(crate) fn candidates(&self, id: EndpointId) -> Vec<Candidate> {
        let Some(endpoint) = self.endpoints.get(&id) else {
            return Vec::new();
        };
        let expected = endpoint.spec.as_ref().map(|spec| spec.expected_execution);
        let typical = endpoint.history.typical(expected.unwrap_or_default());
        let start = endpoint.history.start_mean();
        let mut candidates = Vec::new();
        let mut lists: Vec<(u32, NanoUsd)> = Vec::new();
        for (place, id) in self.cloud_pools(id).into_iter().enumerate() {
            let Some(pool) = self.pools.get(&id) else {
                continue;
            };
            let Some(spec) = pool.runpod() else { continue };
            let first = lists.iter().find(|(list, _)| *list == spec.list);
            let price_per_job = match first {
                Some((_, price)) => *price,
                None => {
                    let price = price_per_job(pool, typical);
                    lists.push((spec.list, price));
                    price
                }
            };
            candidates.push(Candidate {
                id,
                place: u32::try_from(place).unwrap_or(u32::MAX),
                region: spec.region,
                is_failing: self.is_failing(pool),
                price_per_job,
                slots: pool.slots(),
                outstanding: u32::try_from(pool.outstanding.len()).unwrap_or(u32::MAX),
                alive: pool.workers_alive(self.now),
                caused: pool.workers_caused(),
                most: self.most_of(pool),
                start,
            });
        }
        candidates
    }

    /// The most workers that a pool may be given: one as a probe after it got none, until one lives there.
    fn most_of(&self, pool: &Pool) -> u32 {
        if pool.runpod().is_none_or(|spec| spec.price.is_none()) {
            // Kept, and said so, where the money is set aside.
            return pool.record.wanted.max(1);
        }
        let (most, _) = self.share_of(pool.record.id, u32::MAX, 0);
        if pool.cloud.dry_times > 0 {
            most.min(pool.workers_caused().max(1))
        } else {
            most
        }
    }

    /// Whether a pool is the last resort: it refuses or fails, gets no workers, or has no price.
    fn is_failing(&self, pool: &Pool) -> bool {
        let cloud = &pool.cloud;
        let refuses = cloud.failures >= FAILURES_MAX && cloud.not_before > self.now;
        let has_price = pool.runpod().is_some_and(|spec| spec.price.is_some());
        refuses || cloud.dry_until > self.now || !has_price
    }

    /// What counts of a job when a pool is chosen for it.
    pub(crate) fn caller_of(&self, id: EndpointId, job: &Job) -> Caller {
        let endpoint = self.endpoints.get(&id);
        let spec = endpoint.and_then(|endpoint| endpoint.spec.as_ref());
        let waited = self.now.since(job.submitted_at);
        Caller {
            region: job.region,
            is_resident: spec.is_some_and(|spec| is_resident(&spec.residency, job.region)),
            left: spec.map_or(DurationMs::ZERO, |spec| {
                spec.max_wait.saturating_sub(waited)
            }),
        }
    }

    /// Whether any cloud pool may have a job at all.
    pub(crate) fn has_pool_for(&self, id: EndpointId, job: &Job) -> bool {
        let endpoint = self.endpoints.get(&id);
        let Some(spec) = endpoint.and_then(|endpoint| endpoint.spec.as_ref()) else {
            return false;
        };
        if !is_resident(&spec.residency, job.region) {
            return true;
        }
        let mut pools = self.cloud_pools(id).into_iter();
        pools.any(|id| {
            let spec = self.pools.get(&id).and_then(Pool::runpod);
            spec.is_some_and(|spec| spec.region == job.region)
        })
    }

    /// How many workers each pool gets of `workers`, for the first waiting jobs that may go.
    pub(crate) fn shares(
        &self,
        id: EndpointId,
        pools: &[Candidate],
        workers: u32,
        spill: u32,
    ) -> Vec<u32> {
        let Some(endpoint) = self.endpoints.get(&id) else {
            return vec![0; pools.len()];
        };
        let seen = spill.min(u32::try_from(WAITING_MAX).unwrap_or(u32::MAX));
        let waiting = endpoint
            .queue
            .values()
            .filter_map(|&slot| self.jobs.at(slot));
        let mut paid = endpoint.allowances.clone();
        let callers: Vec<Caller> = waiting
            .take(SCAN_MAX)
            .filter(|job| !job.local_only && !job.low_priority && self.has_pool_for(id, job))
            .filter(|job| admits(&mut paid, job.key))
            .take(seen as usize)
            .map(|job| self.caller_of(id, job))
            .collect();
        share(pools, &callers, workers, endpoint.limits_at(self.now).min)
    }

    /// Whether a job waits that the cloud may have, that is paid for, and that is of no low priority.
    pub(super) fn has_spill(&self, id: EndpointId) -> bool {
        let Some(endpoint) = self.endpoints.get(&id) else {
            return false;
        };
        let waiting = endpoint
            .queue
            .values()
            .filter_map(|&slot| self.jobs.at(slot));
        let mut urgent = waiting.take_while(|job| !job.low_priority).take(SCAN_MAX);
        urgent.any(|job| {
            !job.local_only && self.has_pool_for(id, job) && pays(&endpoint.allowances, job.key)
        })
    }

    /// The first waiting jobs that go to the cloud now, `most` of them at the most, each with its pool.
    pub(super) fn assign(
        &self,
        id: EndpointId,
        assignment: &mut Assignment,
        most: u32,
        low_priority: bool,
    ) -> Vec<(Slot, PoolId, Because)> {
        let mut found = Vec::new();
        let Some(endpoint) = self.endpoints.get(&id) else {
            return found;
        };
        if !assignment.has_room() {
            return found;
        }
        let mut paid = endpoint.allowances.clone();
        for &slot in endpoint.queue.values().take(SCAN_MAX) {
            if found.len() >= most as usize || !assignment.has_room() {
                break;
            }
            let Some(job) = self.jobs.at(slot) else {
                continue;
            };
            if job.local_only || job.low_priority != low_priority || !pays(&paid, job.key) {
                continue;
            }
            if let Some((pool, because)) = assignment.put(&self.caller_of(id, job)) {
                admits(&mut paid, job.key);
                found.push((slot, pool, because));
            }
        }
        found
    }

    /// Jobs that wait at a pool which gets no workers come back, where another pool may have them; and the
    /// others go before it for a while.
    pub(crate) fn fail_over(&mut self, id: EndpointId, out: &mut Out) {
        for pool_id in self.cloud_pools(id) {
            let Some(pool) = self.pools.get(&pool_id) else {
                continue;
            };
            let Some(since) = pool.cloud.starved_since else {
                continue;
            };
            let seen = pool.cloud.workers.unwrap_or_default();
            let patience = if seen.throttled + seen.unhealthy > 0 {
                STUCK_AFTER
            } else {
                ABSENT_AFTER
            };
            let starved = self.now.since(since);
            if starved < patience {
                continue;
            }
            let stuck = self.stuck_at(id, pool_id, patience);
            if stuck.is_empty() {
                continue;
            }
            let Some(pool) = self.pools.get_mut(&pool_id) else {
                continue;
            };
            if pool.cloud.dry_until <= self.now {
                let pause = DRY_FIRST.as_millis() << pool.cloud.dry_times.min(4);
                let pause = DurationMs::from_millis(pause).min(DRY_LONGEST);
                pool.cloud.dry_times += 1;
                pool.cloud.dry_until = self.now + pause;
                out.effect(Effect::Decided {
                    endpoint: id,
                    reason: Reason::NoCapacity {
                        pool: pool_id,
                        jobs: u32::try_from(stuck.len()).unwrap_or(u32::MAX),
                        starved,
                        retry_in: pause,
                    },
                });
            }
            for attempt in stuck {
                self.cancel_in_cloud(attempt, true, out);
            }
        }
    }

    /// What has waited at a pool for `patience` and could go to another.
    fn stuck_at(&self, id: EndpointId, pool_id: PoolId, patience: DurationMs) -> Vec<AttemptId> {
        let others: Vec<Candidate> = self
            .candidates(id)
            .into_iter()
            .filter(|other| other.id != pool_id && !other.is_failing && other.most > 0)
            .collect();
        let Some(pool) = self.pools.get(&pool_id).filter(|_| !others.is_empty()) else {
            return Vec::new();
        };
        let waits = |attempt_id: &&AttemptId| {
            let attempt = self.attempts.get(attempt_id);
            let is_queued = attempt.is_some_and(|attempt| {
                attempt.fenced.is_none()
                    && self.now.since(attempt.leased_at) >= patience
                    && matches!(attempt.place, Place::Cloud(CloudPhase::Queued { .. }))
            });
            let may_go = || {
                let caller = self
                    .jobs
                    .get(attempt_id.job)
                    .map(|job| self.caller_of(id, job));
                caller.is_some_and(|caller| others.iter().any(|other| other.may_take(&caller)))
            };
            is_queued && !pool.cloud.cancelling.contains(attempt_id) && may_go()
        };
        pool.outstanding.iter().filter(waits).copied().collect()
    }

    /// Takes in whether a pool that has jobs of ours has a worker for them.
    pub(crate) fn note_capacity(&mut self, id: PoolId) {
        let now = self.now;
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        let seen = pool.cloud.workers.unwrap_or_default();
        let living = seen.initializing + seen.idle + seen.running;
        if seen.idle + seen.running > 0 {
            pool.cloud.dry_until = Timestamp::ZERO;
            pool.cloud.dry_times = 0;
        }
        pool.cloud.starved_since = if living == 0 && !pool.outstanding.is_empty() {
            pool.cloud.starved_since.or(Some(now))
        } else {
            None
        };
    }
}

/// What a job costs in a pool: at its own pace where that is known, else at the endpoint's.
fn price_per_job(pool: &Pool, typical: DurationMs) -> NanoUsd {
    let length = pool.cloud.pace.mean().unwrap_or(typical);
    let price = pool.runpod().and_then(|spec| spec.price);
    let whole = price.map_or(NanoUsd::ZERO, |price| price.over(length));
    NanoUsd::from_nanos(whole.as_nanos() / i64::from(pool.slots()))
}
