//! Which cloud pool a job should go to, and how many workers each pool gets of those that are wanted.
//!
//! Pure: a [`Candidate`] is what is known of a pool at one moment, a [`Caller`] what counts of a job. The
//! [`Score`] says it all: its fields stand in the order of their weight, the least score wins, and the last
//! field is the pool's id, so that a tie is always decided the same way. A pool in a region that the job
//! must not leave for is no candidate at all ([`Candidate::may_take`]).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::id::PoolId;
use crate::money::NanoUsd;
use crate::region::Region;
use crate::time::DurationMs;

/// A cloud pool at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub id: PoolId,
    /// Its place among the endpoint's pools, from 0.
    pub place: u32,
    /// Where it stands, where the configuration says.
    pub region: Option<Region>,
    /// It refuses, fails, or gets no workers: the last resort.
    pub is_failing: bool,
    /// What a job costs there: price × typical duration ÷ slots; of the first pool of its list.
    pub price_per_job: NanoUsd,
    /// Jobs at once on one worker, at least 1.
    pub slots: u32,
    /// Jobs that it has, running or not.
    pub outstanding: u32,
    /// Its workers that live.
    pub alive: u32,
    /// Workers that its jobs need.
    pub caused: u32,
    /// The most workers that it may be given.
    pub most: u32,
    /// How long a worker takes to start.
    pub start: DurationMs,
}

/// What counts of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Where it was submitted from, where known.
    pub region: Option<Region>,
    /// It must not leave that region.
    pub is_resident: bool,
    /// How much of the promise is left.
    pub left: DurationMs,
}

/// How near a pool is to a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// In the caller's region.
    Near,
    /// Nobody said where the one or the other is.
    Unknown,
    /// In another region.
    Far,
}

/// How good a pool is for a job: less is better, the first field that differs decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score {
    /// It refuses, fails, or gets no workers.
    pub is_failing: bool,
    /// It would start the job later than promised.
    pub is_late: bool,
    /// From the caller.
    pub distance: Distance,
    /// What the job costs there.
    pub price_per_job: NanoUsd,
    /// Its place in the configuration.
    pub place: u32,
    /// Decides what is left.
    pub id: PoolId,
}

/// Which field of the score made the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// The endpoint has no other cloud pool.
    OnlyPool,
    /// The job must not leave its caller's region.
    Residency,
    /// The others refuse, fail, or get no workers.
    OthersFail,
    /// Better ones have no room: their workers are busy, and no more are wanted there.
    OthersFull,
    /// The others would start it later than promised.
    Sooner,
    /// It is nearest to the caller.
    Nearest,
    /// It costs least there.
    Cheapest,
    /// It is listed first.
    ListedFirst,
}

impl Because {
    /// Its code, as in the serialised form.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::OnlyPool => "only_pool",
            Self::Residency => "residency",
            Self::OthersFail => "others_fail",
            Self::OthersFull => "others_full",
            Self::Sooner => "sooner",
            Self::Nearest => "nearest",
            Self::Cheapest => "cheapest",
            Self::ListedFirst => "listed_first",
        }
    }

    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::OnlyPool => "there is no other cloud pool",
            Self::Residency => "the job must not leave its caller's region",
            Self::OthersFail => "the others refuse, fail, or get no workers",
            Self::OthersFull => "better ones have no room",
            Self::Sooner => "the others would start it later than promised",
            Self::Nearest => "it is nearest to the caller",
            Self::Cheapest => "a job costs least there",
            Self::ListedFirst => "it is listed first",
        }
    }

    /// The choice of this code.
    #[must_use]
    pub fn of_code(code: &str) -> Option<Self> {
        const ALL: [Because; 8] = [
            Because::OnlyPool,
            Because::Residency,
            Because::OthersFail,
            Because::OthersFull,
            Because::Sooner,
            Because::Nearest,
            Because::Cheapest,
            Because::ListedFirst,
        ];
        ALL.into_iter().find(|because| because.code() == code)
    }
}

impl Candidate {
    /// Whether the job may go there.
    #[must_use]
    pub fn may_take(&self, caller: &Caller) -> bool {
        !caller.is_resident || self.region == caller.region
    }

    /// How good it is for a job while so many of its slots are free.
    #[must_use]
    pub fn score(&self, caller: &Caller, free: u32) -> Score {
        let is_warm = free > 0 && self.alive > 0;
        let start = if is_warm {
            DurationMs::ZERO
        } else {
            self.start
        };
        Score {
            is_failing: self.is_failing,
            is_late: start > caller.left,
            distance: distance(caller.region, self.region),
            price_per_job: self.price_per_job,
            place: self.place,
            id: self.id,
        }
    }

    /// Slots of its live workers that no job of ours has.
    #[must_use]
    pub const fn free(&self) -> u32 {
        self.alive
            .saturating_mul(self.slots)
            .saturating_sub(self.outstanding)
    }
}

fn distance(caller: Option<Region>, pool: Option<Region>) -> Distance {
    match (caller, pool) {
        (Some(caller), Some(pool)) if caller == pool => Distance::Near,
        (Some(_), Some(_)) => Distance::Far,
        _ => Distance::Unknown,
    }
}

/// The pools of an endpoint while jobs are put on them one by one.
#[derive(Debug, Clone)]
pub struct Assignment {
    pools: Vec<Slots>,
}

/// A pool with what is left of it.
#[derive(Debug, Clone, Copy)]
struct Slots {
    pool: Candidate,
    /// Workers that it is given.
    workers: u32,
    /// Jobs that it can still take on those.
    room: u32,
    /// Of its live workers' slots, those that are free.
    free: u32,
}

impl Assignment {
    /// Each pool with the room that it has: `room` says how many jobs each may still be handed.
    #[must_use]
    pub fn with_room(pools: &[Candidate], room: impl Fn(PoolId) -> u32) -> Self {
        let slots = pools.iter().map(|pool| Slots {
            pool: *pool,
            workers: 0,
            room: room(pool.id),
            free: pool.free(),
        });
        Self {
            pools: slots.collect(),
        }
    }

    /// Whether any pool has room.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.pools.iter().any(|slots| slots.room > 0)
    }

    /// Puts a job on the best pool with room; which, and why that one.
    pub fn put(&mut self, caller: &Caller) -> Option<(PoolId, Because)> {
        let (index, because) = self.best(caller, |slots| slots.room > 0)?;
        self.take(index);
        Some((self.pools[index].pool.id, because))
    }

    /// The best of the pools that the job may go to and that `can` take it. Why it is the one is seen
    /// beside all pools that the job may go to.
    fn best(&self, caller: &Caller, can: impl Fn(&Slots) -> bool) -> Option<(usize, Because)> {
        let mut chosen: Option<(Score, usize)> = None;
        let (mut first, mut second): (Option<Score>, Option<Score>) = (None, None);
        for (index, slots) in self.pools.iter().enumerate() {
            if !slots.pool.may_take(caller) {
                continue;
            }
            let score = slots.pool.score(caller, slots.free);
            if can(slots) && chosen.is_none_or(|(best, _)| score < best) {
                chosen = Some((score, index));
            }
            if first.is_none_or(|first| score < first) {
                second = first.replace(score);
            } else if second.is_none_or(|second| score < second) {
                second = Some(score);
            }
        }
        let (score, index) = chosen?;
        let because = match (first, second) {
            (Some(first), _) if first < score => Because::OthersFull,
            (_, Some(second)) => because(&score, &second),
            _ if caller.is_resident && self.pools.len() > 1 => Because::Residency,
            _ => Because::OnlyPool,
        };
        Some((index, because))
    }

    fn take(&mut self, index: usize) {
        let slots = &mut self.pools[index];
        slots.room = slots.room.saturating_sub(1);
        slots.free = slots.free.saturating_sub(1);
    }

    fn give(&mut self, index: usize, workers: u32) {
        let slots = &mut self.pools[index];
        slots.workers += workers;
        slots.room += workers.saturating_mul(slots.pool.slots);
    }
}

fn because(first: &Score, second: &Score) -> Because {
    if first.is_failing != second.is_failing {
        Because::OthersFail
    } else if first.is_late != second.is_late {
        Because::Sooner
    } else if first.distance != second.distance {
        Because::Nearest
    } else if first.price_per_job != second.price_per_job {
        Because::Cheapest
    } else {
        Because::ListedFirst
    }
}

/// How many of `workers` each pool gets, in the order of `pools`, for the waiting jobs `callers` in their
/// order; `min` of them are always on.
///
/// First come the workers that are always on, in the first pools listed; then those that jobs at RunPod
/// need; then, job by job, one more for the best pool of the first job that finds no room. What is left
/// stays where workers live, and else goes to the best pool of the last job that waits.
#[must_use]
pub fn share(pools: &[Candidate], callers: &[Caller], workers: u32, min: u32) -> Vec<u32> {
    let mut left = workers;
    let mut assignment = Assignment::with_room(pools, |_| 0);
    let mut always_on = min.min(left);
    for (index, pool) in pools.iter().enumerate() {
        let on = always_on.min(pool.most);
        always_on -= on;
        assignment.give(index, on);
        left -= on;
    }
    for (index, pool) in pools.iter().enumerate() {
        let has = assignment.pools[index].workers;
        let more = pool.caused.min(pool.most).saturating_sub(has).min(left);
        assignment.give(index, more);
        left -= more;
        let slots = &mut assignment.pools[index];
        slots.room = slots.room.saturating_sub(pool.outstanding);
    }
    let mut unserved = Vec::new();
    for caller in callers {
        let can = |slots: &Slots| slots.room > 0 || (left > 0 && slots.workers < slots.pool.most);
        let Some((index, _)) = assignment.best(caller, can) else {
            unserved.push(caller);
            continue;
        };
        if assignment.pools[index].room == 0 {
            assignment.give(index, 1);
            left -= 1;
        }
        assignment.take(index);
    }
    // What lives is kept rather than another started elsewhere.
    let last = callers.last();
    let order = |assignment: &Assignment| {
        let anyone = Caller {
            region: None,
            is_resident: false,
            left: DurationMs::ZERO,
        };
        let caller = Caller {
            is_resident: false,
            ..last.copied().unwrap_or(anyone)
        };
        let mut order: Vec<(Score, usize)> = assignment
            .pools
            .iter()
            .enumerate()
            .map(|(index, slots)| (slots.pool.score(&caller, slots.free), index))
            .collect();
        order.sort_unstable();
        order
    };
    for (_, index) in order(&assignment) {
        let slots = &assignment.pools[index];
        let living = slots.pool.alive.min(slots.pool.most);
        let more = living.saturating_sub(slots.workers).min(left);
        assignment.give(index, more);
        left -= more;
    }
    // A worker that nobody who waits may use would be paid for nothing.
    let is_of_use = |pool: &Candidate| {
        let may = |caller: &&Caller| pool.may_take(caller);
        if unserved.is_empty() {
            last.is_none_or(|caller| may(&caller))
        } else {
            unserved.iter().any(may)
        }
    };
    for (_, index) in order(&assignment) {
        let slots = &assignment.pools[index];
        if !is_of_use(&slots.pool) {
            continue;
        }
        let more = slots.pool.most.saturating_sub(slots.workers).min(left);
        assignment.give(index, more);
        left -= more;
    }
    assignment.pools.iter().map(|slots| slots.workers).collect()
}

/// Whether the jobs of a caller must not leave its region.
#[must_use]
pub fn is_resident(residency: &BTreeSet<Region>, caller: Option<Region>) -> bool {
    caller.is_some_and(|region| residency.contains(&region))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str) -> Region {
        name.parse().unwrap()
    }

    fn pool(id: u32, region_name: &str) -> Candidate {
        Candidate {
            id: PoolId(id),
            place: id,
            region: (!region_name.is_empty()).then(|| region(region_name)),
            is_failing: false,
            price_per_job: NanoUsd::from_nanos(1_000),
            slots: 1,
            outstanding: 0,
            alive: 0,
            caused: 0,
            most: 10,
            start: DurationMs::from_secs(45),
        }
    }

    fn caller(name: &str) -> Caller {
        Caller {
            region: (!name.is_empty()).then(|| region(name)),
            is_resident: false,
            left: DurationMs::from_secs(90),
        }
    }

    fn choice(pools: &[Candidate], caller: &Caller) -> Option<(u32, Because)> {
        let mut assignment = Assignment::with_room(pools, |_| 1);
        let (id, because) = assignment.put(caller)?;
        Some((id.0, because))
    }

    #[test]
    fn each_field_decides_before_those_after_it() {
        let (eu, us) = (pool(0, "eu"), pool(1, "us"));
        assert_eq!(
            choice(&[eu, us], &caller("us")),
            Some((1, Because::Nearest))
        );
        assert_eq!(
            choice(&[eu, us], &caller("eu")),
            Some((0, Because::Nearest))
        );
        assert_eq!(
            choice(&[eu, us], &caller("")),
            Some((0, Because::ListedFirst))
        );
        let cheap = Candidate {
            price_per_job: NanoUsd::from_nanos(900),
            ..us
        };
        assert_eq!(
            choice(&[eu, cheap], &caller("")),
            Some((1, Because::Cheapest))
        );
        assert_eq!(
            choice(&[eu, cheap], &caller("eu")),
            Some((0, Because::Nearest))
        );
        // A start takes 45 s, of which the promise leaves 10: the warm worker far away keeps it.
        let warm = Candidate { alive: 1, ..us };
        let hurried = Caller {
            left: DurationMs::from_secs(10),
            ..caller("eu")
        };
        assert_eq!(choice(&[eu, warm], &hurried), Some((1, Because::Sooner)));
        let failing = Candidate {
            is_failing: true,
            ..warm
        };
        assert_eq!(
            choice(&[eu, failing], &hurried),
            Some((0, Because::OthersFail))
        );
    }

    #[test]
    fn a_resident_job_never_leaves() {
        let pools = [pool(0, "us"), pool(1, "eu"), pool(2, "")];
        let resident = Caller {
            is_resident: true,
            ..caller("eu")
        };
        assert_eq!(choice(&pools, &resident), Some((1, Because::Residency)));
        let away = [pools[0], pools[2]];
        assert_eq!(choice(&away, &resident), None);
        assert_eq!(share(&away, &[resident; 5], 5, 0), [0, 0]);
    }

    #[test]
    fn workers_go_where_the_callers_are() {
        let pools = [pool(0, "eu"), pool(1, "us")];
        let callers = [caller("us"), caller("us"), caller("eu"), caller("us")];
        assert_eq!(share(&pools, &callers, 4, 0), [1, 3]);
        assert_eq!(share(&pools, &callers, 2, 0), [0, 2], "the first first");
        assert_eq!(
            share(&pools, &callers, 6, 0),
            [1, 5],
            "the rest as the last"
        );
        let small = Candidate {
            most: 1,
            ..pools[1]
        };
        assert_eq!(share(&[pools[0], small], &callers, 4, 0), [3, 1]);
    }

    #[test]
    fn without_regions_pools_fill_in_order() {
        let first = Candidate {
            most: 2,
            ..pool(0, "")
        };
        let callers = [caller(""); 5];
        assert_eq!(share(&[first, pool(1, "")], &callers, 5, 0), [2, 3]);
        assert_eq!(share(&[first, pool(1, "")], &[], 1, 1), [1, 0]);
    }

    #[test]
    fn what_works_or_lives_keeps_its_worker() {
        let eu = pool(0, "eu");
        let busy = Candidate {
            alive: 2,
            caused: 2,
            outstanding: 2,
            ..pool(1, "us")
        };
        assert_eq!(share(&[eu, busy], &[caller("eu")], 3, 0), [1, 2]);
        let idle = Candidate {
            alive: 1,
            ..pool(1, "us")
        };
        assert_eq!(share(&[eu, idle], &[], 1, 0), [0, 1]);
        // Those that are always on stay where they are listed first.
        assert_eq!(share(&[eu, idle], &[caller("us")], 2, 1), [1, 1]);
    }

    #[test]
    fn slots_are_filled_before_another_worker_is_wanted() {
        let two = Candidate {
            slots: 2,
            ..pool(0, "")
        };
        let callers = [caller(""); 3];
        assert_eq!(share(&[two], &callers, 2, 0), [2]);
        let mut assignment = Assignment::with_room(&[two], |_| 2);
        assert!(assignment.put(&callers[0]).is_some() && assignment.put(&callers[1]).is_some());
        assert!(!assignment.has_room() && assignment.put(&callers[2]).is_none());
        let both = [two, pool(1, "")];
        let mut assignment = Assignment::with_room(&both, |id| u32::from(id == PoolId(1)));
        let put = assignment.put(&callers[0]);
        assert_eq!(put, Some((PoolId(1), Because::OthersFull)));
    }

    #[test]
    fn codes_lead_back_to_their_choice() {
        for because in [Because::OnlyPool, Because::Residency, Because::Nearest] {
            assert_eq!(Because::of_code(because.code()), Some(because));
            assert_eq!(
                serde_json::to_value(because).unwrap(),
                serde_json::json!(because.code())
            );
        }
    }
}
