//! What RunPod could still bill if every process of Overspill died: a bound that holds whatever was under way.
//!
//! Three things go on when nobody is there any more. *Jobs*: what was submitted runs, each at most for its
//! execution time-out, on workers that were reserved for before they could start; RunPod ends them
//! after their idle time-out. So nothing of it costs more than the reservations. *Queued jobs* cost nothing
//! while they wait, and none starts after its time to live. *Workers that are kept on* (`min`) stay until
//! a guard lowers ([`crate::guard::acts_within`]); without one, until RunPod itself lowers the limits
//! of an endpoint that had no request for [`RUNPOD_LOWERS_AFTER`].
//!
//! There is a bound for now, from the reservations that there are, and one for any moment from now on, from the
//! limits and the caps. Both are pure functions of the core's state.

use serde::{Deserialize, Serialize};

use crate::guard::acts_within;
use crate::id::{EndpointId, PoolId};
use crate::machine::Core;
use crate::money::{NanoUsd, RatePerHour};
use crate::time::DurationMs;
use crate::topology::worker_reservation;

/// RunPod sets max, and with it min, of an endpoint to 0 after so long without a request (documented, and
/// not promised).
pub const RUNPOD_LOWERS_AFTER: DurationMs = DurationMs::from_secs(7 * 24 * 3_600);

/// The most that may be billed after the death of every process of ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// For workers with jobs: money that is, or may come to be, set aside.
    pub jobs: NanoUsd,
    /// For workers that are kept on, until a guard lowers.
    pub kept_on: NanoUsd,
    /// The same if no guard lives either.
    pub kept_on_alone: NanoUsd,
    /// Workers that are kept on.
    pub workers_kept_on: u32,
    /// At most so long after, no worker is on any more, a guard being there.
    pub over_in: DurationMs,
    /// Whether a guard watches, so that the first figure counts.
    pub is_guarded: bool,
}

impl Bound {
    /// With what lives now: a guard, or none.
    #[must_use]
    pub fn total(&self) -> NanoUsd {
        if self.is_guarded {
            self.jobs + self.kept_on
        } else {
            self.alone()
        }
    }

    /// If a guard lives on.
    #[must_use]
    pub fn guarded(&self) -> NanoUsd {
        self.jobs + self.kept_on
    }

    /// If everything dies, the guard included.
    #[must_use]
    pub fn alone(&self) -> NanoUsd {
        self.jobs + self.kept_on_alone
    }
}

/// What one pool adds to a bound.
struct Share {
    jobs: NanoUsd,
    /// Workers that a guard ends.
    kept_on: u32,
    /// Workers that are on and that it cannot end: the limits of their endpoint are not ours.
    beyond: u32,
    price: RatePerHour,
    idle: DurationMs,
    life: DurationMs,
}

impl Core {
    /// The bound if everything died now.
    #[must_use]
    pub fn bound_now(&self) -> Bound {
        let mut bound = self.no_bound();
        for pool in self.pools.values() {
            let (record, kept) = (&pool.record, &pool.record.kept_on);
            let reserved = record.reserved();
            let standby = pool.cloud.standby.map_or(0, |(workers, _)| workers);
            let share = match self.share_in_bound(record.id, record.reserved_workers, 0) {
                // Its price may have been another when money was set aside, and when workers were asked for.
                Some(share) => Share {
                    jobs: reserved.max(share.jobs),
                    price: share.price.max(kept.price.unwrap_or_default()),
                    idle: share.idle.max(kept.idle),
                    ..share
                },
                // What is set aside stays so for a pool that is no longer configured.
                None => Share {
                    jobs: reserved,
                    kept_on: 0,
                    beyond: 0,
                    price: kept.price.unwrap_or_default(),
                    idle: kept.idle,
                    life: DurationMs::ZERO,
                },
            };
            let manages = pool.runpod().is_none_or(|spec| spec.manage);
            let (kept_on, beyond) = match manages {
                true => (kept.workers + standby, 0),
                false => (kept.workers, standby),
            };
            self.add(
                &mut bound,
                &Share {
                    kept_on,
                    beyond,
                    ..share
                },
            );
        }
        bound
    }

    /// The bound if everything died at any moment from now on, as long as limits, schedules, caps and the
    /// configuration stay as they are.
    #[must_use]
    pub fn bound_most(&self) -> Bound {
        let mut bound = self.no_bound();
        for (&id, endpoint) in &self.endpoints {
            let (max, min) = (endpoint.limits().max, endpoint.min_most());
            let mut jobs = NanoUsd::ZERO;
            for pool_id in self.cloud_pools(id) {
                let own = self.pools.get(&pool_id).and_then(|pool| pool.runpod());
                let most = max.min(own.and_then(|spec| spec.max).unwrap_or(u32::MAX));
                // What is kept on moves from pool to pool, and nothing says that the one has ended
                // its workers before the other has them: each may have them all.
                let Some(share) = self.share_in_bound(pool_id, most, min.min(most)) else {
                    continue;
                };
                jobs += share.jobs;
                let none = NanoUsd::ZERO;
                self.add(
                    &mut bound,
                    &Share {
                        jobs: none,
                        ..share
                    },
                );
            }
            if let Some(cap) = self.tightest(Some(id)) {
                jobs = jobs.min(cap);
            }
            bound.jobs += jobs;
        }
        if let Some(cap) = self.tightest(None) {
            bound.jobs = bound.jobs.min(cap);
        }
        let now = self.bound_now();
        Bound {
            jobs: bound.jobs.max(now.jobs),
            kept_on: bound.kept_on.max(now.kept_on),
            kept_on_alone: bound.kept_on_alone.max(now.kept_on_alone),
            workers_kept_on: bound.workers_kept_on.max(now.workers_kept_on),
            over_in: bound.over_in.max(now.over_in),
            is_guarded: bound.is_guarded,
        }
    }

    fn no_bound(&self) -> Bound {
        Bound {
            is_guarded: self.is_guarded(),
            ..Bound::default()
        }
    }

    fn share_in_bound(&self, id: PoolId, workers: u32, kept_on: u32) -> Option<Share> {
        let pool = self.pools.get(&id)?;
        let spec = pool.runpod()?;
        let price = spec.price?;
        let endpoint = self.endpoints.get(&pool.record.endpoint)?;
        let execution = endpoint.spec.as_ref()?.execution_timeout;
        let each = worker_reservation(spec, execution)?;
        Some(Share {
            jobs: each.times(workers),
            kept_on: if spec.manage { kept_on } else { 0 },
            beyond: 0,
            price,
            idle: spec.idle_timeout,
            life: spec.init_timeout + execution + DurationMs::from_secs(15) + spec.idle_timeout,
        })
    }

    fn add(&self, bound: &mut Bound, share: &Share) {
        let guarded = acts_within(self.guard().after) + share.idle;
        let alone = RUNPOD_LOWERS_AFTER + share.idle;
        let ended = share.price.over(guarded).times(share.kept_on);
        let left = share.price.over(alone);
        bound.jobs += share.jobs;
        bound.kept_on += ended + left.times(share.beyond);
        bound.kept_on_alone += left.times(share.kept_on + share.beyond);
        bound.workers_kept_on += share.kept_on + share.beyond;
        let stays = match (share.kept_on, share.beyond) {
            (_, 1..) => alone,
            (1.., 0) => guarded,
            (0, 0) => DurationMs::ZERO,
        };
        // A queued job may begin as late as its time to live allows.
        let last = crate::on::cloud::CLOUD_QUEUE_MAX + share.life;
        let last = if share.life > DurationMs::ZERO {
            last
        } else {
            DurationMs::ZERO
        };
        bound.over_in = bound.over_in.max(stays).max(last);
    }

    /// The lowest cap of a scope: no more than that is ever set aside.
    fn tightest(&self, scope: Option<EndpointId>) -> Option<NanoUsd> {
        self.caps(scope).set().map(|(_, cap)| cap).min()
    }
}
