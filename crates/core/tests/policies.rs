//! What holds whatever the policy: never above max, never below min, never above the budget; zero when
//! idle with min 0; starts in flight counted; a constant load comes to rest.

use overspill_core::budget::{CapScope, Caps};
use overspill_core::money::NanoUsd;
use overspill_core::time::{DurationMs, Timestamp};
use overspill_core::topology::{Limits, ScalerSpec, Tuning};
use proptest::prelude::*;

use crate::rig::cloud_pool;
use crate::town::{Town, changed};

const fn secs(secs: u64) -> DurationMs {
    DurationMs::from_secs(secs)
}

/// Every policy that a server can run.
fn policies(slots: u32) -> [ScalerSpec; 4] {
    [
        ScalerSpec::CostAware(Tuning::default()),
        ScalerSpec::QueueDelay { delay: secs(4) },
        ScalerSpec::RequestCount { per_worker: slots },
        ScalerSpec::Ladder,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn limits_and_budget_hold_and_an_idle_endpoint_is_at_min(
        policy in 0_usize..4,
        local in 0_u32..3,
        slots in 1_u32..5,
        min in 0_u32..2,
        more in 0_u32..5,
        promise in prop::sample::select(vec![5_u64, 30, 90]),
        cap in prop::option::of(1_i64..20),
        cold_start in 5_u64..70,
        jobs in prop::collection::vec((0_u64..12, 1_u64..60), 1..40),
    ) {
        // Without cards and cloud nothing would be taken in.
        let more = if local + min == 0 { more.max(1) } else { more };
        let limits = Limits { min, max: min + more };
        let scaler = policies(slots)[policy].clone();
        let mut topology = changed(local, scaler, slots, limits);
        topology.endpoints[0].max_wait = secs(promise);
        topology.endpoints[0].execution_timeout = secs(120);
        let cap = cap.map(|cents| NanoUsd::from_nanos(cents * 10_000_000));
        topology.caps = Caps { per_day: cap, ..Caps::default() };
        topology.guard.unguarded_min = true;
        let mut town = Town::new(topology);
        town.cold_start = secs(cold_start);
        for (pause, length) in jobs {
            town.secs(pause);
            town.submit(secs(length));
            holds(&town, limits, cap)?;
        }
        for _ in 0..150 {
            town.secs(20);
            holds(&town, limits, cap)?;
            if town.live() == 0 && town.alive() <= min as usize {
                break;
            }
        }
        town.secs(30);
        if cap.is_none() && (limits.max > 0 || local > 0) {
            prop_assert_eq!(town.live(), 0, "jobs are left");
            prop_assert_eq!(town.alive(), min as usize, "idle, and not at min");
            prop_assert_eq!(town.max(), min);
        }
        if min == 0 {
            prop_assert_eq!(town.alive(), 0, "idle, and not at zero");
        }
    }
}

fn holds(town: &Town, limits: Limits, cap: Option<NanoUsd>) -> Result<(), TestCaseError> {
    for (at, min, max) in &town.scaled {
        prop_assert!(*max <= limits.max, "max {} at {}", max, at);
        prop_assert!(min <= max, "min {} of max {} at {}", min, max, at);
        if cap.is_none() {
            prop_assert_eq!(*min, limits.min);
        }
    }
    let record = &town.rig.store.pools[&cloud_pool()];
    prop_assert!(
        town.alive() <= record.reserved_workers as usize,
        "more than is reserved for"
    );
    if let Some(cap) = cap {
        let spent = town.rig.store.spent.between(
            CapScope::Everything,
            Timestamp::ZERO,
            town.rig.now + secs(3_600),
        );
        let all = spent + record.reserved();
        // What is under way when a cap is met is in both for as long as it runs.
        prop_assert!(
            spent <= cap,
            "{} spent of {}, {} with what is reserved",
            spent,
            cap,
            all
        );
    }
    Ok(())
}

#[test]
fn a_minimum_above_what_the_account_leaves_is_cut_to_it() {
    for scaler in policies(1) {
        let mut topology = changed(0, scaler.clone(), 1, Limits { min: 3, max: 4 });
        topology.guard.unguarded_min = true;
        topology.account_workers_max = Some(2);
        let mut town = Town::new(topology);
        town.secs(120);
        for _ in 0..6 {
            town.submit(secs(30));
        }
        town.secs(300);
        for (at, min, max) in &town.scaled {
            assert!(*max <= 2, "{scaler}: {max} workers at {at}");
            assert!(min <= max, "{scaler}: min {min} of max {max} at {at}");
        }
        assert_eq!(town.alive(), 2, "{scaler}: the account's two are kept on");
        assert_eq!(town.live(), 0, "{scaler}: jobs are left");
    }
}

#[test]
fn starts_in_flight_are_counted_by_every_policy() {
    for scaler in policies(2) {
        let topology = changed(0, scaler.clone(), 2, Limits { min: 0, max: 20 });
        let mut town = Town::new(topology);
        town.cold_start = secs(50);
        for _ in 0..4 {
            town.submit(secs(30));
        }
        town.secs(200);
        let most = town.scaled.iter().map(|(.., max)| *max).max().unwrap_or(0);
        assert!(most <= 2, "{scaler}: {most} workers for 4 jobs of 2 slots");
        assert_eq!(town.live(), 0, "{scaler}");
    }
}

#[test]
fn a_constant_load_comes_to_rest_under_every_policy() {
    for scaler in policies(1) {
        let topology = changed(0, scaler.clone(), 1, Limits { min: 0, max: 4 });
        let mut town = Town::new(topology);
        town.cold_start = secs(30);
        // Five jobs are always there: as one ends, the next comes in.
        for _ in 0..5 {
            town.submit(secs(25));
        }
        let mut minutes = Vec::new();
        for second in 0..1_800 {
            town.second();
            while town.live() < 5 {
                town.submit(secs(25));
            }
            if second == 600 {
                town.scaled.clear();
            }
            if second >= 600 && second % 60 == 0 {
                minutes.push(town.max());
            }
        }
        let changes = town.scaled.len();
        assert!(changes <= 2, "{scaler}: {changes} changes, {minutes:?}");
        assert!(town.max() >= 1, "{scaler}");
    }
}
