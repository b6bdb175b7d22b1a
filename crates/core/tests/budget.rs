//! Caps hold on every path: what they leave says how many cloud workers there may be.

use overspill_core::budget::{CapHit, Caps};
use overspill_core::calendar::Period;
use overspill_core::effect::{Answer, Effect};
use overspill_core::event::{CloudWorkerCounts, Event, NewJob};
use overspill_core::explain::Reason;
use overspill_core::id::{EndpointId, JobId};
use overspill_core::ledger::EntryKind;
use overspill_core::money::NanoUsd;
use overspill_core::time::{DurationMs, Timestamp};
use overspill_core::topology::{Limits, Topology};

use crate::rig::{Rig, TTS, cloud_pool, new_job};

/// A worker's whole reservation in the rig: 1,040 s at $0.44/h.
const EACH: &str = "0.127111111";

fn usd(text: &str) -> NanoUsd {
    NanoUsd::parse_usd(text).expect("dollars")
}

fn per_day(text: &str) -> Caps {
    Caps {
        per_day: Some(usd(text)),
        ..Caps::default()
    }
}

fn with(change: impl Fn(&mut Topology)) -> Rig {
    let mut rig = Rig::new(0);
    configure(&mut rig, change);
    rig.secs(1);
    rig
}

fn configure(rig: &mut Rig, change: impl Fn(&mut Topology)) {
    let mut topology = crate::rig::topology(0);
    change(&mut topology);
    rig.event(Event::Configured {
        topology: Box::new(topology),
    });
}

fn capped(caps: Caps) -> Rig {
    with(|topology| topology.caps = caps)
}

/// Limits asked for at RunPod, in order; each is confirmed.
fn scaled(rig: &mut Rig) -> Vec<(u32, u32)> {
    let mut asked = Vec::new();
    while let Some((min, max)) = rig.find(|effect| match effect {
        Effect::CloudScale { min, max, .. } => Some((*min, *max)),
        _ => None,
    }) {
        asked.push((min, max));
        let pool = cloud_pool();
        rig.event(Event::CloudScaled { pool, min, max });
    }
    asked
}

fn submissions(rig: &mut Rig) -> usize {
    let mut count = 0;
    while let Some(attempt) = rig.cloud_submission() {
        count += 1;
        let cloud_job = format!("c{count}");
        rig.event(Event::CloudSubmitted { attempt, cloud_job });
    }
    count
}

fn hits(rig: &Rig) -> Vec<(CapHit, u32, u32)> {
    let reasons = rig.effects.iter().filter_map(|effect| match effect {
        Effect::Decided {
            reason:
                Reason::BudgetReached {
                    hit,
                    wanted,
                    granted,
                },
            ..
        } => Some((*hit, *wanted, *granted)),
        _ => None,
    });
    reasons.collect()
}

fn counted(rig: &mut Rig, initializing: u32, running: u32) {
    rig.event(Event::CloudHealth {
        pool: cloud_pool(),
        workers: CloudWorkerCounts {
            initializing,
            running,
            ..CloudWorkerCounts::default()
        },
    });
}

/// Lets time pass with so many workers at work, counted every five seconds.
fn work(rig: &mut Rig, running: u32, secs: u64) {
    for _ in 0..secs / 5 {
        rig.secs(5);
        counted(rig, 0, running);
    }
}

fn spent(rig: &Rig) -> NanoUsd {
    let state = rig.core.budget();
    state.first().expect("a cap").spent
}

#[test]
fn as_many_workers_are_wanted_as_the_cap_pays_for() {
    let mut rig = capped(per_day("0.30"));
    for _ in 0..10 {
        rig.submit();
    }
    rig.secs(3);
    assert_eq!(scaled(&mut rig).last(), Some(&(0, 2)));
    assert_eq!(submissions(&mut rig), 4, "two workers with two slots each");
    let (hit, wanted, granted) = *hits(&rig).last().expect("it says so");
    assert_eq!((wanted, granted), (3, 2));
    assert_eq!(hit.each, usd(EACH));
    assert_eq!((hit.state.endpoint, hit.state.period), (None, Period::Day));
    assert_eq!(hit.state.cap, usd("0.30"));
    assert_eq!(hit.state.frees_at, Timestamp::from_millis(86_400_000));
    assert_eq!(rig.core.cap_hit(TTS), Some(hit));
    let situation = rig.core.situation(TTS).expect("it is configured");
    assert_eq!(situation.cap_hit, Some(hit), "`why` tells it");
}

#[test]
fn a_cap_below_one_worker_leaves_all_jobs_to_local_cards() {
    for caps in [per_day("0.12"), per_day("0")] {
        let mut rig = capped(caps);
        let mut low = new_job(JobId::new(77, false));
        low.low_priority = true;
        let request = rig.request();
        rig.event(Event::Submitted { request, job: low });
        rig.submit();
        rig.secs(600);
        assert_eq!((scaled(&mut rig), submissions(&mut rig)), (vec![], 0));
        assert_eq!(hits(&rig).len(), 1, "said once");
    }
}

#[test]
fn the_tightest_of_all_caps_counts() {
    let mut rig = with(|topology| {
        topology.caps = per_day("100");
        topology.endpoints[0].caps = Caps {
            per_hour: Some(usd("0.13")),
            per_month: Some(usd("50")),
            ..Caps::default()
        };
    });
    for _ in 0..10 {
        rig.submit();
    }
    rig.secs(3);
    assert_eq!(scaled(&mut rig).last(), Some(&(0, 1)));
    let (hit, ..) = *hits(&rig).last().unwrap();
    assert_eq!(
        (hit.state.endpoint, hit.state.period),
        (Some(TTS), Period::Hour)
    );
    let states = rig.core.budget();
    let shown: Vec<_> = states.iter().map(|s| (s.endpoint, s.period)).collect();
    let expected = [
        (None, Period::Day),
        (Some(TTS), Period::Hour),
        (Some(TTS), Period::Month),
    ];
    assert_eq!(shown, expected);
    assert!(states.iter().all(|state| state.reserved == usd(EACH)));
}

#[test]
fn another_endpoints_reservations_count_against_the_cap_on_everything() {
    let mut rig = with(|topology| {
        topology.caps = per_day("0.20");
        let mut other = topology.endpoints[0].clone();
        other.name = "other".into();
        topology.endpoints.push(other);
    });
    rig.submit();
    assert_eq!(scaled(&mut rig), [(0, 1)]);
    let request = rig.request();
    let job = NewJob {
        endpoint: EndpointId(1),
        ..new_job(JobId::new(5_000, false))
    };
    rig.event(Event::Submitted { request, job });
    rig.secs(5);
    assert_eq!(scaled(&mut rig), []);
    assert_eq!(
        rig.core.cap_hit(EndpointId(1)).unwrap().state.reserved,
        usd(EACH)
    );
}

#[test]
fn workers_that_are_always_on_stop_at_the_cap() {
    let mut rig = with(|topology| {
        topology.caps = per_day("0.20");
        topology.endpoints[0].limits = Limits { min: 2, max: 3 };
        topology.guard.unguarded_min = true;
    });
    rig.secs(1);
    assert_eq!(scaled(&mut rig), [(1, 1)], "management calls spend too");
    work(&mut rig, 1, 595);
    assert_eq!(scaled(&mut rig), []);
    // $0.0729 is what the cap leaves beyond one worker: 596 s of it.
    work(&mut rig, 1, 10);
    assert_eq!(scaled(&mut rig), [(0, 0)]);
    counted(&mut rig, 0, 0);
    rig.secs(3_600);
    assert_eq!(scaled(&mut rig), []);
    assert!(spent(&rig) < usd("0.08"), "{}", spent(&rig));
    rig.pass(Timestamp::from_millis(86_401_000).since(rig.now));
    assert_eq!(scaled(&mut rig), [(1, 1)], "the next day has its own money");
}

#[test]
fn what_waits_at_runpod_comes_back_when_the_cap_is_reached() {
    let mut rig = capped(per_day("0.30"));
    for _ in 0..10 {
        rig.submit();
    }
    rig.secs(3);
    assert_eq!(scaled(&mut rig).last(), Some(&(0, 2)));
    assert_eq!(submissions(&mut rig), 4);
    // Nobody works there, and the workers cost.
    for _ in 0..800 {
        rig.secs(1);
        counted(&mut rig, 2, 0);
    }
    assert_eq!(scaled(&mut rig), [(0, 1), (0, 0)]);
    let mut cancels = 0;
    while rig
        .find(|effect| {
            matches!(
                effect,
                Effect::CloudCancel {
                    only_if_queued: true,
                    ..
                }
            )
            .then_some(())
        })
        .is_some()
    {
        cancels += 1;
    }
    assert_eq!(cancels, 4);
}

#[test]
fn caps_change_live_survive_a_restart_and_yield_to_a_change_of_the_file() {
    let mut rig = capped(per_day("0.12"));
    for _ in 0..10 {
        rig.submit();
    }
    rig.secs(3);
    assert_eq!(scaled(&mut rig), []);
    let set = |rig: &mut Rig, endpoint: Option<EndpointId>, caps| {
        let request = rig.request();
        let by = "ann".to_owned();
        rig.event(Event::CapsSet {
            request,
            scope: endpoint.into(),
            caps,
            by,
        });
        rig.answer(request)
    };
    let caps = per_day("0.26");
    assert_eq!(set(&mut rig, None, caps), Answer::CapsSet { caps });
    assert_eq!(scaled(&mut rig).last(), Some(&(0, 2)));
    let tight = per_day("0.13");
    assert_eq!(
        set(&mut rig, Some(TTS), tight),
        Answer::CapsSet { caps: tight }
    );
    assert_eq!(scaled(&mut rig), [(0, 1)], "within the event");
    let unknown = set(&mut rig, Some(EndpointId(9)), caps);
    assert_eq!(unknown, Answer::NotFound);
    let above = Caps {
        per_hour: Some(usd("2")),
        ..per_day("1")
    };
    assert!(matches!(
        set(&mut rig, None, above),
        Answer::CapsRefused { .. }
    ));

    rig.core = overspill_core::machine::Core::restore(rig.store.clone(), rig.now);
    configure(&mut rig, |topology| topology.caps = per_day("0.12"));
    assert_eq!(
        (rig.core.caps(None), rig.core.caps(Some(TTS))),
        (caps, tight)
    );
    configure(&mut rig, |topology| topology.caps = per_day("9"));
    assert_eq!(
        (rig.core.caps(None), rig.core.caps(Some(TTS))),
        (per_day("9"), tight)
    );
}

#[test]
fn what_was_spent_survives_a_restart_and_so_does_what_ran_on_meanwhile() {
    let mut rig = capped(per_day("5"));
    rig.submit();
    scaled(&mut rig);
    submissions(&mut rig);
    work(&mut rig, 1, 300);
    let before = spent(&rig);
    assert_eq!(before.to_usd(3), "0.036");
    // Nobody is there for two minutes; the worker goes on.
    rig.now += DurationMs::from_secs(120);
    rig.restart(0, Vec::new());
    configure(&mut rig, |topology| topology.caps = per_day("5"));
    let after = spent(&rig) - before;
    assert_eq!(after.to_usd(3), "0.015", "120 s of one worker");
    // A day later: it cannot have run for longer than it is reserved for.
    counted(&mut rig, 0, 1);
    rig.secs(20);
    counted(&mut rig, 0, 1);
    let before = spent(&rig);
    rig.now += DurationMs::from_secs(80_000);
    rig.restart(0, Vec::new());
    configure(&mut rig, |topology| topology.caps = per_day("5"));
    let after = spent(&rig) - before;
    assert!(after <= usd("0.128") && after > usd("0.12"), "{after}");
}

#[test]
fn what_nobody_counted_is_charged_as_unsettled() {
    let mut rig = capped(per_day("5"));
    for _ in 0..6 {
        rig.submit();
    }
    rig.secs(3);
    assert_eq!(scaled(&mut rig).last(), Some(&(0, 3)));
    submissions(&mut rig);
    counted(&mut rig, 0, 1);
    rig.secs(100);
    counted(&mut rig, 0, 1);
    // RunPod says nothing of the jobs for a while.
    rig.secs(20);
    counted(&mut rig, 0, 1);
    let unsettled: Vec<_> = rig
        .changes
        .iter()
        .filter_map(|change| match change {
            overspill_core::change::Change::LedgerAdded(entry) => Some(entry),
            _ => None,
        })
        .filter(|entry| entry.kind == EntryKind::Unsettled)
        .map(|entry| entry.worker_time)
        .collect();
    assert_eq!(
        unsettled,
        [DurationMs::from_secs(200)],
        "two more may have lived"
    );
}
