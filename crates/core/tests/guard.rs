//! Workers that are kept on, the guard, and the bound on what is billed after death.

use overspill_core::bound::{Bound, RUNPOD_LOWERS_AFTER};
use overspill_core::effect::{Answer, Effect};
use overspill_core::event::{CloudWorkerCounts, Event};
use overspill_core::explain::Reason;
use overspill_core::guard::{GuardSpec, acts_within};
use overspill_core::money::{NanoUsd, RatePerHour};
use overspill_core::time::DurationMs;
use overspill_core::topology::{Limits, PoolKind, Topology};

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
    rig.restart_with(with_min(2, false), Vec::new());
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
    NanoUsd::parse_usd("0.44").map(RatePerHour::new).unwrap()
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
