//! When each waiting job would start, and what the cloud would cost for it, with the policy asked
//! again under changed settings.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::situation::{CloudFacts, Situation};
use crate::money::NanoUsd;
use crate::placement::projection::Projection;
use crate::scaler::{self, CloudWorker, Decision, Phase, Weighed, Wish};
use crate::time::{DurationMs, Timestamp};

/// What is different from how things are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Most cloud workers.
    pub max: u32,
    /// Cloud workers that would be on already, beyond those that are.
    pub warm: u32,
    /// Local slots more than there are.
    pub local: u32,
    /// The promise.
    pub max_wait: DurationMs,
}

/// What would come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// When each job of the picture would start; `None` for one that nothing would start.
    pub starts: Vec<Option<Timestamp>>,
    /// What the policy wants, before limits.
    pub wish: Wish,
    /// What the policy weighed, where it weighs.
    pub weighed: Option<Weighed>,
    /// What the local slots alone would do.
    pub projection: Projection,
    /// Cloud workers that there would be.
    pub workers: u32,
    /// What the cloud would cost until the last of these jobs is done, idle time-outs included.
    pub cost: NanoUsd,
}

impl Situation {
    /// How things are: no change.
    #[must_use]
    pub const fn as_is(&self) -> Change {
        Change {
            max: self.limits.max,
            warm: 0,
            local: 0,
            max_wait: self.spec.max_wait,
        }
    }

    /// The most cloud workers under a limit, as the account leaves them.
    #[must_use]
    pub fn allowed(&self, max: u32) -> u32 {
        let account = self.account.map(|most| most.saturating_sub(self.others));
        max.min(account.unwrap_or(u32::MAX))
    }

    /// See the module.
    #[must_use]
    pub fn forecast(&self, change: &Change) -> Forecast {
        let mut picture = self.picture.clone();
        picture.max_wait = change.max_wait;
        let added = std::iter::repeat_n(picture.now, change.local as usize);
        picture.local.extend(added);
        let mut cloud = self.fleet.clone();
        let warm = CloudWorker {
            phase: Phase::Ready { since: picture.now },
            busy: Vec::new(),
        };
        let added = std::iter::repeat_n(warm, change.warm as usize);
        cloud.workers.extend(added);
        let max = self.allowed(change.max);
        let (rule, spec, history) = (&self.scaler, &self.spec, &self.history);
        let Decision {
            projection,
            mut wish,
            weighed,
        } = scaler::decide(rule, spec, &picture, &cloud, history, max);
        if weighed.is_some() && wish.workers >= max {
            let beyond = scaler::wanted_beyond(rule, spec, &picture, &cloud, history, max);
            wish.workers = wish.workers.max(beyond);
        }
        let mut fleet = self.fleet(&wish, change);
        let workers = fleet.workers;
        let mut local: BinaryHeap<Reverse<Timestamp>> =
            picture.local.iter().map(|&at| Reverse(at)).collect();
        let mut spill = wish.spill as usize;
        let starts = picture.waiting.iter().map(|job| {
            let may_go = job.is_cloudable && !job.is_low_priority && spill > 0;
            let here = local.peek().map(|slot| slot.0);
            let there = fleet.first().filter(|_| may_go);
            match (here, there) {
                (Some(here), there) if there.is_none_or(|there| here <= there) => {
                    local.pop();
                    local.push(Reverse(here + job.execution));
                    Some(here)
                }
                (_, Some(_)) => {
                    // One that a local card takes first leaves its place to a later one.
                    spill -= 1;
                    fleet.take(job.execution)
                }
                _ => None,
            }
        });
        let starts = starts.collect();
        Forecast {
            starts,
            wish,
            weighed,
            projection,
            workers,
            cost: fleet.cost(self.picture.now),
        }
    }

    /// The cloud workers that there would be, with what RunPod has already put on them.
    fn fleet(&self, wish: &Wish, change: &Change) -> Fleet<'_> {
        let now = self.picture.now;
        let mean = self.history.start_mean();
        let allowed = self.allowed(change.max);
        let mut rest = wish.workers.max(self.limits.min).min(allowed);
        let mut warm = change.warm;
        let mut fleet = Fleet::default();
        let typical = self.history.typical(self.spec.expected_execution);
        for pool in &self.pools {
            let has = pool.workers.unwrap_or_default();
            let ready = has.idle + has.running;
            let workers = rest.min(pool.most);
            rest -= workers;
            fleet.workers += workers;
            let mut running = pool.running.iter();
            for number in 0..workers {
                let is_there = number < ready;
                let is_warm = !is_there && warm > 0;
                warm -= u32::from(is_warm);
                let begin = if is_there || is_warm { now } else { now + mean };
                let worker = fleet.add(pool, now);
                for _ in 0..pool.slots {
                    // What runs there has its slot until it is over.
                    let taken = if is_there {
                        running.next().copied()
                    } else {
                        None
                    };
                    fleet.free.push(Reverse((taken.unwrap_or(begin), worker)));
                }
            }
            // Jobs that RunPod has already are before those that wait here.
            for _ in 0..pool.queued {
                if fleet.take(typical).is_none() {
                    break;
                }
            }
        }
        fleet
    }
}

/// Cloud workers with their slots.
#[derive(Default)]
struct Fleet<'a> {
    workers: u32,
    pools: Vec<(&'a CloudFacts, Timestamp, bool)>,
    free: BinaryHeap<Reverse<(Timestamp, usize)>>,
}

impl<'a> Fleet<'a> {
    /// A worker, with nothing to do yet.
    fn add(&mut self, pool: &'a CloudFacts, now: Timestamp) -> usize {
        self.pools.push((pool, now, false));
        self.pools.len() - 1
    }

    /// When the first slot is free.
    fn first(&self) -> Option<Timestamp> {
        self.free.peek().map(|slot| slot.0.0)
    }

    /// Gives a job of this length to the slot that is free first.
    fn take(&mut self, execution: DurationMs) -> Option<Timestamp> {
        let Reverse((at, worker)) = self.free.pop()?;
        let end = at + execution;
        self.free.push(Reverse((end, worker)));
        let (_, until, is_used) = &mut self.pools[worker];
        *until = end.max(*until);
        *is_used = true;
        Some(at)
    }

    /// Each used worker from now to its last job's end and its idle time-out.
    fn cost(&self, now: Timestamp) -> NanoUsd {
        let used = self.pools.iter().filter(|(_, _, is_used)| *is_used);
        let costs = used.map(|(pool, until, _)| {
            let billed = until.since(now) + pool.idle_timeout;
            pool.price.map_or(NanoUsd::ZERO, |price| price.over(billed))
        });
        costs.sum()
    }
}
