//! Workers that are kept on, the guard, and the bound on what is billed after death.

use overspill_core::bound::{Bound, RUNPOD_LOWERS_AFTER};
use overspill_core::calendar::Calendar;
use overspill_core::effect::{Answer, Effect};
use overspill_core::event::{CloudWorkerCounts, Event};
use overspill_core::explain::Reason;
use overspill_core::guard::{GuardSpec, acts_within};
use overspill_core::money::{NanoUsd, RatePerHour};
use overspill_core::schedule::{Days, Schedule};
use overspill_core::time::DurationMs;
use overspill_core::topology::{Limits, PoolKind, Topology};
use overspill_core::why::Cause;

use crate::rig::{Rig, TTS, cloud_pool, topology};

const AFTER: DurationMs = DurationMs::from_secs(60);

fn with_min(min: u32, unguarded_min: bool) -> Topology {
    let mut topology = topology(0);
    topology.endpoints[0].limits = Limits { min, max: 3 };
    topology.guard = GuardSpec {
        after: AFTER,
        unguarded_min,
    };
    topology
}

fn rig(min: u32, unguarded_min: bool) -> Rig {
    let mut rig = Rig::new(0);
    configure(&mut rig, min, unguarded_min);
    rig
}

fn configure(rig: &mut Rig, min: u32, unguarded_min: bool) {
    let topology = Box::new(with_min(min, unguarded_min));
    rig.event(Event::Configured { topology });
    rig.secs(1);
}

/// The last limits that were ordered.
fn ordered(rig: &mut Rig) -> Option<(u32, u32)> {
    let mut last = None;
    while let Some(limits) = rig.find(|effect| match effect {
        Effect::CloudScale { min, max, .. } => Some((*min, *max)),
        _ => None,
    }) {
        last = Some(limits);
        let (pool, (min, max)) = (cloud_pool(), limits);
        rig.event(Event::CloudScaled { pool, min, max });
    }
    last
}

fn guard_asks(rig: &mut Rig) -> Answer {
    let request = rig.request();
    rig.event(Event::GuardSeen { request });
    rig.answer(request)
}

fn held(rig: &Rig) -> usize {
    let effects = rig.effects.iter();
    let is_held = |effect: &&Effect| {
        matches!(
            effect,
            Effect::Decided {
                reason: Reason::MinHeld { min: 2 },
                ..
            }
        )
    };
    effects.filter(is_held).count()
}

#[test]
fn without_a_guard_min_is_held_and_with_one_it_is_kept() {
    let mut rig = rig(2, false);
    assert_eq!(ordered(&mut rig), None, "nothing is kept on");
    assert_eq!(held(&rig), 1, "it says so");
    configure(&mut rig, 2, false);
    assert_eq!(held(&rig), 1, "once");
    let endpoints = vec!["abc".to_owned()];
    let after = AFTER;
    assert_eq!(guard_asks(&mut rig), Answer::Guarded { after, endpoints });
    rig.secs(1);
    assert_eq!(ordered(&mut rig), Some((2, 2)));
    // It goes on asking.
    for _ in 0..20 {
        rig.secs(10);
        guard_asks(&mut rig);
    }
    assert_eq!(ordered(&mut rig), None, "min stays");
    // It is gone.
    rig.secs(59);
    assert_eq!(ordered(&mut rig), None);
    rig.secs(3);
    assert_eq!(ordered(&mut rig), Some((0, 0)));
    assert_eq!(held(&rig), 2, "it says so again");
}

#[test]
fn the_users_word_stands_for_a_guard() {
    let mut rig = rig(2, true);
    assert_eq!(ordered(&mut rig), Some((2, 2)));
    assert_eq!(held(&rig), 0);
    configure(&mut rig, 2, false);
    assert_eq!(ordered(&mut rig), Some((0, 0)), "taken back");
}

#[test]
fn a_restart_under_a_guard_lowers_nothing_and_waits_for_it_as_long_as_it_may_be_silent() {
    let mut rig = rig(2, false);
    guard_asks(&mut rig);
    rig.secs(1);
    assert_eq!(ordered(&mut rig), Some((2, 2)));
    rig.restart_as(with_min(2, false), Vec::new());
    rig.secs(1);
    assert_eq!(ordered(&mut rig), Some((2, 2)), "as it was");
    rig.secs(50);
    assert_eq!(ordered(&mut rig), None);
    rig.secs(12);
    assert_eq!(ordered(&mut rig), Some((0, 0)), "it never asked");
}

#[test]
fn a_live_change_of_min_is_held_too() {
    let mut rig = rig(0, false);
    let request = rig.request();
    rig.event(Event::LimitsSet {
        request,
        endpoint: TTS,
        limits: Limits { min: 2, max: 3 },
        by: "ann".into(),
    });
    let limits = Limits { min: 2, max: 3 };
    assert_eq!(rig.answer(request), Answer::LimitsSet { limits });
    rig.secs(1);
    assert_eq!((ordered(&mut rig), held(&rig)), (None, 1));
}

fn price() -> RatePerHour {
    RatePerHour::new(NanoUsd::from_nanos(440_000_000))
}

/// One worker's reservation in the rig.
fn each() -> NanoUsd {
    price().over(DurationMs::from_secs(420 + 600 + 15 + 5))
}

#[test]
fn the_bound_is_the_reservations_and_what_is_kept_on() {
    let mut rig = rig(2, false);
    let bound = rig.core.bound_now();
    assert_eq!(
        (bound.total(), bound.alone()),
        (NanoUsd::ZERO, NanoUsd::ZERO)
    );
    let idle = DurationMs::from_secs(5);
    let most = Bound {
        jobs: each().times(3),
        kept_on: price().over(acts_within(AFTER) + idle).times(2),
        kept_on_alone: price().over(RUNPOD_LOWERS_AFTER + idle).times(2),
        workers_kept_on: 2,
        over_in: most_over_in(),
        is_guarded: false,
    };
    assert_eq!(rig.core.bound_most(), most);
    assert_eq!(most.total(), most.alone(), "no guard lives");
    guard_asks(&mut rig);
    rig.secs(1);
    ordered(&mut rig);
    let now = rig.core.bound_now();
    assert!(now.is_guarded);
    assert_eq!(now.jobs, each().times(2));
    assert_eq!(now.kept_on, most.kept_on);
    assert_eq!(now.total(), now.guarded());
    assert!(now.alone() > now.guarded());
}

fn most_over_in() -> DurationMs {
    DurationMs::from_secs(1_800 + 420 + 600 + 15 + 5)
}

#[test]
fn workers_count_as_kept_on_until_runpod_confirmed_that_they_are_not() {
    let mut rig = rig(2, true);
    assert_eq!(ordered(&mut rig), Some((2, 2)));
    let workers = CloudWorkerCounts {
        idle: 2,
        ..CloudWorkerCounts::default()
    };
    let pool = cloud_pool();
    rig.event(Event::CloudHealth { pool, workers });
    let topology = Box::new(with_min(0, true));
    rig.event(Event::Configured { topology });
    rig.secs(1);
    assert_eq!(rig.core.bound_now().workers_kept_on, 2, "on its way");
    assert!(ordered(&mut rig).is_some_and(|(min, _)| min == 0));
    assert_eq!(rig.core.bound_now().workers_kept_on, 0);
}

#[test]
fn no_bound_is_above_the_lowest_cap_and_pools_add_up() {
    let mut topology = with_min(0, false);
    let mut dearer = topology.endpoints[0].pools[1].clone();
    dearer.key = "dear".into();
    if let PoolKind::RunPod(spec) = &mut dearer.kind {
        spec.price = NanoUsd::parse_usd("0.88").map(RatePerHour::new);
        spec.max = Some(1);
    }
    topology.endpoints[0].pools.push(dearer);
    let mut rig = Rig::new(0);
    let configured = |topology: &Topology| Event::Configured {
        topology: Box::new(topology.clone()),
    };
    rig.event(configured(&topology));
    let dear = each().times(2);
    assert_eq!(rig.core.bound_most().jobs, each().times(3) + dear);
    topology.caps.per_day = NanoUsd::parse_usd("0.2");
    topology.caps.per_month = NanoUsd::parse_usd("5");
    rig.event(configured(&topology));
    assert_eq!(
        rig.core.bound_most().jobs,
        NanoUsd::parse_usd("0.2").unwrap()
    );
}

/// The rig begins at 0:00:01 of the epoch: the window is 0:10 to 0:30, ordered 60 s ahead.
fn with_schedule(min: u32) -> Topology {
    let mut topology = with_min(0, false);
    topology.endpoints[0].schedule = vec![Schedule {
        days: Days::ALL,
        from: 10,
        to: 30,
        min,
        lead: None,
        calendar: Calendar::default(),
    }];
    topology
}

#[test]
fn a_schedule_is_held_too() {
    let mut rig = Rig::new(0);
    let topology = Box::new(with_schedule(2));
    rig.event(Event::Configured { topology });
    rig.secs(500);
    assert_eq!(held(&rig), 0, "nothing is asked for yet");
    rig.secs(100);
    assert_eq!(ordered(&mut rig), None, "not even ahead of the window");
    assert_eq!(held(&rig), 1, "it says so");
    let why = |rig: &Rig| rig.core.situation(TTS).expect("configured").why_scale();
    assert!(why(&rig).contains(&Cause::MinHeld { min: 2 }));
    guard_asks(&mut rig);
    rig.secs(1);
    assert_eq!(ordered(&mut rig), Some((2, 2)));
    assert!(why(&rig).contains(&Cause::MinHolds { min: 2 }));
    rig.secs(62);
    assert_eq!(ordered(&mut rig), Some((0, 0)), "the guard is gone");
}

#[test]
fn the_bound_knows_what_a_schedule_will_ask_for() {
    let mut rig = Rig::new(0);
    let topology = Box::new(with_schedule(2));
    rig.event(Event::Configured { topology });
    let bound = rig.core.bound_most();
    assert_eq!(bound.workers_kept_on, 2, "long before the window");
    assert_eq!(rig.core.bound_now().workers_kept_on, 0);
}

#[test]
fn each_pool_may_have_all_that_is_kept_on() {
    let mut topology = with_min(2, true);
    let mut other = topology.endpoints[0].pools.last().unwrap().clone();
    other.key = "eu".into();
    topology.endpoints[0].pools.push(other);
    let mut rig = Rig::new(0);
    let topology = Box::new(topology);
    rig.event(Event::Configured { topology });
    assert_eq!(
        rig.core.bound_most().workers_kept_on,
        4,
        "they move from the one to the other, and are then on at both for a while"
    );
}

#[test]
fn a_worker_that_runpod_keeps_by_itself_counts_until_a_guard_lowers() {
    let mut rig = rig(0, false);
    let pool = cloud_pool();
    rig.event(Event::CloudStandby { pool, workers: 1 });
    let bound = rig.core.bound_now();
    let idle = DurationMs::from_secs(5);
    assert_eq!(bound.kept_on, price().over(acts_within(AFTER) + idle));
    assert_eq!(bound.alone(), price().over(RUNPOD_LOWERS_AFTER + idle));
    // Where the limits are not ours, no guard ends it.
    let mut topology = with_min(0, false);
    if let PoolKind::RunPod(spec) = &mut topology.endpoints[0].pools[1].kind {
        spec.manage = false;
    }
    let topology = Box::new(topology);
    rig.event(Event::Configured { topology });
    let bound = rig.core.bound_now();
    assert_eq!(bound.guarded(), bound.alone());
}

#[test]
fn a_pool_that_is_no_longer_configured_stays_in_the_bound_and_with_the_guard_until_it_is_off() {
    let mut rig = rig(2, true);
    assert_eq!(ordered(&mut rig), Some((2, 2)));
    let mut topology = with_min(0, true);
    topology.endpoints[0].pools.clear();
    rig.event(Event::Configured {
        topology: Box::new(topology.clone()),
    });
    let kept_on = |rig: &Rig| rig.core.bound_now().workers_kept_on;
    assert_eq!(kept_on(&rig), 2);
    assert!(rig.core.bound_now().kept_on > NanoUsd::ZERO);
    let endpoints = vec!["abc".to_owned()];
    let after = AFTER;
    let told = Answer::Guarded { after, endpoints };
    assert_eq!(guard_asks(&mut rig), told);
    rig.restart_as(topology, Vec::new());
    assert_eq!((kept_on(&rig), guard_asks(&mut rig)), (2, told));
}

#[test]
fn what_runpod_confirmed_as_off_is_no_longer_the_guards() {
    let mut rig = rig(2, true);
    assert_eq!(ordered(&mut rig), Some((2, 2)));
    let mut topology = with_min(0, true);
    topology.endpoints[0].pools.clear();
    let topology = Box::new(topology);
    rig.event(Event::Configured { topology });
    let pool = cloud_pool();
    rig.event(Event::CloudScaled {
        pool,
        min: 0,
        max: 0,
    });
    assert_eq!(rig.core.bound_now().workers_kept_on, 0);
    let (after, endpoints) = (AFTER, Vec::new());
    assert_eq!(guard_asks(&mut rig), Answer::Guarded { after, endpoints });
}
