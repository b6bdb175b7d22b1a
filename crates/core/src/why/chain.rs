//! The chains: causes in order, from what was asked for to what stands in the way.

use super::cause::Cause;
use super::situation::{CloudFacts, SeatState, Situation, Stand, Standing};
use crate::budget::CapHit;
use crate::scaler::weighed::Priced;
use crate::time::DurationMs;
use crate::topology::ScalerSpec;

impl Situation {
    /// Why a live job is where it is.
    #[must_use]
    pub fn why_job(&self, job: &Standing) -> Vec<Cause> {
        let now = self.picture.now;
        let mut chain = Vec::new();
        match &job.stand {
            Stand::Running {
                pool,
                worker,
                since,
            } => chain.push(Cause::Running {
                pool: pool.clone(),
                worker: worker.clone(),
                since: now.since(*since),
            }),
            Stand::AtCloud { pool, since } => {
                chain.push(Cause::WaitsAtCloud {
                    pool: pool.clone(),
                    since: now.since(*since),
                });
                let pool = self.pools.iter().find(|facts| facts.name == *pool);
                if let Some(pool) = pool {
                    self.cloud_state(pool, &mut chain);
                }
            }
            Stand::Queued { ahead } => {
                chain.push(Cause::Queued {
                    ahead: *ahead,
                    waited: now.since(job.submitted_at),
                    max_wait: self.spec.max_wait,
                });
                self.server(&mut chain);
                if let Some(until) = job.paused_until {
                    let over_in = until.since(now);
                    chain.push(Cause::SameWorkerPause { over_in });
                }
                if job.is_suspect && self.seats.iter().any(|seat| seat.slots > 1) {
                    chain.push(Cause::RunsAlone);
                }
                self.local(&mut chain);
                if job.local_only {
                    chain.push(Cause::LocalOnly {
                        bytes: job.input_bytes,
                    });
                } else if let Some(hit) = self.unpaid(job) {
                    chain.push(self.budget_reached(hit));
                } else if job.low_priority {
                    chain.push(Cause::LowPriority);
                } else {
                    if let Some(region) = job.region.filter(|_| job.is_resident) {
                        let own = self.pools.iter().filter(|pool| pool.region == Some(region));
                        chain.push(Cause::Resident {
                            region,
                            pools: own.map(|pool| pool.name.clone()).collect(),
                        });
                    }
                    self.cloud(&mut chain);
                }
            }
        }
        if !matches!(job.stand, Stand::Queued { .. })
            && let Some(because) = job.because
        {
            chain.push(Cause::PoolChosen {
                because,
                region: job.region,
            });
        }
        if job.lost > 0 {
            chain.push(Cause::AttemptsLost {
                lost: job.lost,
                most: self.spec.max_attempts,
            });
        }
        chain
    }

    /// Why the endpoint has the cloud workers that it has.
    #[must_use]
    pub fn why_scale(&self) -> Vec<Cause> {
        let now = self.picture.now;
        let mut chain = Vec::new();
        let waiting = u32::try_from(self.picture.waiting_total).unwrap_or(u32::MAX);
        if waiting > 0 {
            chain.push(Cause::Demand {
                waiting,
                oldest: self.oldest.map_or(DurationMs::ZERO, |at| now.since(at)),
                max_wait: self.spec.max_wait,
            });
        } else {
            chain.push(Cause::NothingWaits);
        }
        self.server(&mut chain);
        self.local(&mut chain);
        self.cloud(&mut chain);
        if let Some(asked) = self.scheduled.filter(|_| !self.pools.is_empty()) {
            chain.push(Cause::ScheduleHolds {
                min: asked.min,
                opens_in: asked.opens.since(now),
                closes_in: asked.closes.since(now),
            });
        }
        if let Some(hit) = self.key_hit {
            chain.push(self.budget_reached(hit));
        }
        if self.min_held > 0 && !self.pools.is_empty() {
            chain.push(Cause::MinHeld { min: self.min_held });
        } else if self.limits.min > 0 && !self.pools.is_empty() {
            chain.push(Cause::MinHolds {
                min: self.limits.min,
            });
        }
        for pool in &self.pools {
            if let Some((knee, ceiling)) = pool.learned {
                chain.push(Cause::SlotsLearned {
                    pool: pool.name.clone(),
                    slots: pool.slots,
                    knee,
                    ceiling,
                });
            }
        }
        if !self.pools.is_empty() {
            chain.push(Cause::Wanted {
                workers: self.cloud.wanted,
                alive: self.cloud.alive,
            });
        }
        chain
    }

    /// The cap of a waiting job's key that leaves no money for it, where that is so.
    fn unpaid(&self, job: &Standing) -> Option<CapHit> {
        let allowance = self.allowances.get(&job.key?)?;
        (allowance.jobs == 0).then_some(allowance.hit)
    }

    const fn budget_reached(&self, hit: CapHit) -> Cause {
        Cause::BudgetReached {
            hit,
            frees_in: hit.state.frees_at.since(self.picture.now),
        }
    }

    /// Which policy scales it.
    #[must_use]
    pub const fn policy(&self) -> &'static str {
        self.scaler.policy()
    }

    fn server(&self, chain: &mut Vec<Cause>) {
        if self.is_draining {
            chain.push(Cause::Draining);
        }
        if !self.hosts_known {
            chain.push(Cause::StartingUp);
        }
    }

    fn local(&self, chain: &mut Vec<Cause>) {
        let now = self.picture.now;
        if self.seats.is_empty() {
            chain.push(Cause::LocalNone);
            return;
        }
        let (mut slots, mut free, mut starting) = (0, 0, 0);
        for seat in &self.seats {
            match seat.state {
                SeatState::Ready if seat.is_taken => chain.push(Cause::CardTaken {
                    device: seat.device,
                }),
                SeatState::Ready => {
                    slots += seat.slots;
                    free += seat.slots.saturating_sub(seat.busy);
                }
                SeatState::Starting => starting += 1,
                SeatState::Silent(since) => chain.push(Cause::LocalSilent {
                    pool: seat.pool.clone(),
                    silent: now.since(since),
                }),
                SeatState::Quarantined => {
                    let quarantine = seat.quarantine.as_ref();
                    chain.extend(quarantine.map(|(is, returns_at)| Cause::CardQuarantined {
                        device: seat.device,
                        fault: is.fault.name().to_owned(),
                        detail: is.fault.to_string(),
                        since: now.since(is.since),
                        returns_in: returns_at.map(|at| at.since(now)),
                    }));
                }
                SeatState::Held(since) => chain.push(Cause::CardHeld {
                    device: seat.device,
                    since: now.since(since),
                }),
                SeatState::Crashing(failures, next) => chain.push(Cause::LocalCrashing {
                    pool: seat.pool.clone(),
                    failures,
                    next_start_in: next.since(now),
                }),
            }
        }
        if starting > 0 {
            chain.push(Cause::LocalStarting { workers: starting });
        }
        if free > 0 {
            chain.push(Cause::LocalFree { slots: free });
        } else if slots > 0 {
            let first = self.picture.local.iter().min();
            chain.push(Cause::LocalBusy {
                slots,
                free_in: first.map_or(DurationMs::ZERO, |at| at.since(now)),
            });
        }
    }

    fn cloud(&self, chain: &mut Vec<Cause>) {
        if self.pools.is_empty() {
            chain.push(Cause::CloudNone);
            return;
        }
        let base = self.forecast(&self.as_is());
        let waits = self.picture.waiting_total > 0;
        if waits && base.projection.spill == 0 {
            chain.push(Cause::LocalSuffices {
                latest: base.projection.latest.unwrap_or_default(),
                max_wait: self.spec.max_wait,
            });
        }
        let wanted = base.wish.workers;
        if wanted > 0 {
            chain.push(Cause::RuleWants {
                policy: self.policy().to_owned(),
                workers: wanted,
                late: u32::try_from(base.projection.spill).unwrap_or(u32::MAX),
            });
        }
        if let (Some(weighed), ScalerSpec::CostAware(tuning)) = (base.weighed, &self.scaler) {
            let price = self.pools.iter().find_map(|pool| pool.price);
            chain.push(Cause::Weighed {
                priced: Priced::new(weighed, price),
                tuning: *tuning,
            });
        }
        let max = self.limits.max;
        let allowed = self.allowed(max);
        if wanted > max && max == 0 {
            chain.push(Cause::MaxZero { wanted });
        } else if wanted > max {
            chain.push(Cause::MaxReached { max, wanted });
        }
        if wanted > allowed
            && allowed < max
            && let Some(account) = self.account
        {
            chain.push(Cause::AccountLimit {
                account,
                others: self.others,
            });
        }
        if let Some(hit) = self.cap_hit {
            chain.push(self.budget_reached(hit));
        }
        let is_short = wanted.min(allowed) > base.workers;
        for pool in &self.pools {
            if is_short && let Some(max) = pool.max.filter(|&max| pool.most == max) {
                chain.push(Cause::PoolMaxReached {
                    pool: pool.name.clone(),
                    max,
                });
            }
            self.cloud_state(pool, chain);
        }
    }

    /// What stands in the way at one cloud pool.
    fn cloud_state(&self, pool: &CloudFacts, chain: &mut Vec<Cause>) {
        let now = self.picture.now;
        let name = || pool.name.clone();
        if pool.price.is_none() {
            chain.push(Cause::PriceUnknown { pool: name() });
            return;
        }
        if pool.failures > 0 && pool.not_before > now {
            chain.push(Cause::CloudRefuses {
                pool: name(),
                refusal: pool.refusal.map(|(refusal, _)| refusal),
                failures: pool.failures,
                retry_in: pool.not_before.since(now),
            });
        }
        if pool.dry_until > now {
            chain.push(Cause::NoCapacity {
                pool: name(),
                retry_in: pool.dry_until.since(now),
            });
        }
        if let Some(quota) = pool.quota {
            chain.push(Cause::QuotaLearned {
                pool: name(),
                max: quota.max,
                refused: quota.refused,
                retry_in: quota.until.since(now),
            });
        }
        let has = pool.workers.unwrap_or_default();
        if has.throttled > 0 {
            chain.push(Cause::CloudThrottled {
                pool: name(),
                workers: has.throttled,
            });
        }
        if has.unhealthy > 0 {
            chain.push(Cause::CloudUnhealthy {
                pool: name(),
                workers: has.unhealthy,
            });
        }
        if has.initializing > 0 {
            chain.push(Cause::CloudStarting {
                pool: name(),
                workers: has.initializing,
                mean: self.history.start_mean(),
            });
        }
        let there = has.initializing + has.idle + has.running + has.throttled + has.unhealthy;
        if pool.queued > 0 && pool.wanted > 0 && there == 0 {
            chain.push(Cause::CloudAbsent {
                pool: name(),
                wanted: pool.wanted,
            });
        }
        let slots = has.running.saturating_mul(pool.slots);
        let running = u32::try_from(pool.running.len()).unwrap_or(u32::MAX);
        if pool.queued > 0 && has.idle == 0 && slots > 0 && running >= slots {
            chain.push(Cause::CloudBusy {
                pool: name(),
                workers: has.running,
                slots,
            });
        }
    }
}
