//! `cost_aware` in the running core: it sees cloud workers one by one, learns how long they take, and
//! starts and stops them at the last moment.

use overspill_core::change::Change;
use overspill_core::effect::{Answer, Effect};
use overspill_core::event::Event;
use overspill_core::explain::Reason;
use overspill_core::time::{DurationMs, Timestamp};
use overspill_core::topology::{Limits, ScalerSpec, Topology, Tuning};

use crate::rig::{Rig, TTS};
use crate::town::{Town, changed};

const fn secs(secs: u64) -> DurationMs {
    DurationMs::from_secs(secs)
}

/// No cards, one slot a worker, a promise of 90 s.
fn rule(slots: u32, max: u32) -> Topology {
    let scaler = ScalerSpec::CostAware(Tuning::default());
    let mut topology = changed(0, scaler, slots, Limits { min: 0, max });
    topology.endpoints[0].max_wait = secs(90);
    topology
}

/// When max was first set to so many, from the start.
fn ordered_at(town: &Town, max: u32) -> Option<i64> {
    let order = town.scaled.iter().find(|(_, _, to)| *to == max);
    order.map(|(at, ..)| at.as_millis() / 1_000)
}

/// The decisions of the time line, oldest first.
fn decided(rig: &Rig) -> Vec<Reason> {
    let decided = rig.effects.iter().filter_map(|effect| match effect {
        Effect::Decided { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    decided.collect()
}

/// Runs one job at a time until so many have started a worker of their own.
fn teach(town: &mut Town, jobs: usize) {
    for _ in 0..jobs {
        town.submit(secs(5));
        for _ in 0..300 {
            town.second();
            if town.live() == 0 && town.alive() == 0 {
                break;
            }
        }
    }
    assert_eq!((town.live(), town.alive()), (0, 0));
}

#[test]
fn a_start_waits_for_the_last_moment_that_keeps_the_promise() {
    let mut town = Town::new(rule(1, 8));
    let begin = town.rig.now.as_millis() / 1_000;
    town.submit(secs(20));
    town.secs(20);
    assert_eq!(town.max(), 0, "nothing is started yet");
    town.secs(60);
    // Starts are thought to take up to 60 s: at 30 s at the latest, a period before at the soonest.
    let at = ordered_at(&town, 1).expect("a start") - begin;
    assert!((24..=31).contains(&at), "{at}");
    assert!(town.waits[0] <= secs(90), "{:?}", town.waits);
}

#[test]
fn an_idle_worker_stops_at_once_and_the_rest_goes_on() {
    let mut town = Town::new(rule(1, 8));
    town.submit(secs(20));
    town.submit(secs(200));
    town.secs(85);
    assert_eq!((town.max(), town.alive()), (2, 2));
    town.secs(10);
    assert_eq!((town.max(), town.alive()), (1, 1), "the short one is done");
    town.secs(240);
    assert_eq!((town.max(), town.alive(), town.live()), (0, 0, 0));
    // 40 s of start, 20 and 200 s of work, and a few seconds of looking.
    assert!(town.worker_seconds <= 310, "{}", town.worker_seconds);
}

#[test]
fn starts_in_flight_are_counted_and_a_worker_of_many_slots_takes_many_jobs() {
    let mut town = Town::new(rule(6, 8));
    for _ in 0..6 {
        town.submit(secs(20));
    }
    town.secs(120);
    let most = town.scaled.iter().map(|(_, _, max)| *max).max();
    assert_eq!(most, Some(1), "{:?}", town.scaled);
    assert_eq!(town.live(), 0);
}

#[test]
fn start_up_times_are_learned_and_outlive_a_restart() {
    let mut town = Town::new(rule(1, 8));
    town.cold_start = secs(10);
    teach(&mut town, 5);
    let history = |rig: &Rig| rig.core.situation(TTS).expect("it is there").history;
    let learned = history(&town.rig);
    assert!(learned.start_longest() <= secs(14), "{learned:?}");
    town.secs(61);
    assert!(!town.rig.store.endpoints[&TTS].learned.is_empty());
    town.rig.restart_as(rule(1, 8), Vec::new());
    assert_eq!(history(&town.rig).learned(), learned.learned());
    let begin = town.rig.now;
    town.submit(secs(5));
    town.scaled.clear();
    town.secs(120);
    let (at, ..) = town.scaled.iter().find(|(.., max)| *max == 1).expect("one");
    let waited = at.since(begin);
    assert!(
        waited > secs(60),
        "the start was known to be short: {waited}"
    );
    assert!(
        town.waits.iter().all(|wait| *wait <= secs(92)),
        "{:?}",
        town.waits
    );
}

#[test]
fn what_was_learned_is_stored_at_most_once_a_minute() {
    let mut town = Town::new(rule(2, 4));
    for _ in 0..40 {
        town.submit(secs(3));
        town.secs(5);
    }
    let puts = town.rig.changes.iter().filter(
        |change| matches!(change, Change::EndpointPut(record) if !record.learned.is_empty()),
    );
    let puts = puts.count();
    assert!((1..=5).contains(&puts), "{puts} in 200 s");
}

#[test]
fn a_start_that_hangs_is_replaced_by_another() {
    let mut town = Town::new(rule(1, 3));
    town.cold_start = secs(100_000);
    town.submit(secs(5));
    town.secs(140);
    assert_eq!(town.max(), 1);
    town.cold_start = secs(20);
    town.secs(60);
    let maxima: Vec<u32> = town.scaled.iter().map(|(.., max)| *max).collect();
    assert_eq!(maxima, [1, 0, 1, 0], "{:?}", town.scaled);
    assert_eq!(town.live(), 0, "the second one ran it");
}

#[test]
fn work_is_never_killed_for_a_lower_wish() {
    let mut town = Town::new(rule(1, 8));
    for length in [30, 60, 90, 120] {
        town.submit(secs(length));
    }
    town.secs(400);
    assert_eq!(town.live(), 0);
    let ended: usize = town.rig.store.jobs.len();
    assert_eq!(ended, 0);
    let lost = town.rig.changes.iter().filter(
        |change| matches!(change, Change::AttemptEnded(ended) if ended.outcome != "completed"),
    );
    assert_eq!(lost.count(), 0);
}

#[test]
fn a_promise_shorter_than_a_start_keeps_workers_warm_within_the_idle_timeout() {
    let mut topology = rule(1, 4);
    topology.endpoints[0].max_wait = secs(5);
    for pool in &mut topology.endpoints[0].pools {
        if let overspill_core::topology::PoolKind::RunPod(spec) = &mut pool.kind {
            spec.idle_timeout = secs(60);
        }
    }
    let mut town = Town::new(topology);
    town.submit(secs(5));
    town.secs(2);
    assert_eq!(town.max(), 1, "it can only get later");
    // Started, run, and idle for a while.
    town.secs(75);
    assert_eq!((town.live(), town.max(), town.alive()), (0, 1, 1));
    assert!(town.idle <= secs(60), "{:?}", town.idle);
    town.secs(60);
    assert_eq!((town.max(), town.alive()), (0, 0));
}

#[test]
fn a_promise_changes_live_and_why_shows_it() {
    let mut town = Town::new(rule(1, 4));
    let file = rule(1, 4).endpoints[0].max_wait;
    let set = |town: &mut Town, max_wait: Option<DurationMs>| {
        let request = town.rig.request();
        town.rig.event(Event::MaxWaitSet {
            request,
            endpoint: TTS,
            max_wait,
            by: "test".into(),
        });
        town.rig.answer(request)
    };
    let in_force = |town: &Town| {
        let situation = town.rig.core.situation(TTS).expect("it is there");
        let chain = situation.why_scale();
        let lines: Vec<String> = chain.iter().map(ToString::to_string).collect();
        (situation.spec.max_wait, lines.join("\n"))
    };
    let max_wait = secs(600);
    assert_eq!(
        set(&mut town, Some(max_wait)),
        Answer::MaxWaitSet { max_wait }
    );
    // It is durable.
    town.rig.restart_as(rule(1, 4), Vec::new());
    town.submit(secs(5));
    let (now, text) = in_force(&town);
    assert_eq!(now, max_wait);
    assert!(text.contains("promise 600.000s"), "{text}");
    // What cannot be meant changes nothing, and the file's comes back when asked for.
    let Answer::MaxWaitRefused { reason, .. } = set(&mut town, Some(DurationMs::ZERO)) else {
        panic!("refused")
    };
    assert_eq!(reason, "max_wait = 0.000s; expected 1ms to 7d");
    assert_eq!(set(&mut town, None), Answer::MaxWaitSet { max_wait: file });
    assert_eq!(in_force(&town).0, file);
    // A new value in the file wins over what was set.
    set(&mut town, Some(secs(30)));
    assert_eq!(in_force(&town).0, secs(30));
    let mut changed = rule(1, 4);
    changed.endpoints[0].max_wait = secs(45);
    town.rig.restart_as(changed, Vec::new());
    assert_eq!(in_force(&town).0, secs(45));
}

#[test]
fn a_constant_changes_live_and_why_shows_it() {
    let mut town = Town::new(rule(1, 4));
    let set = |town: &mut Town, scaler: Option<ScalerSpec>| {
        let request = town.rig.request();
        town.rig.event(Event::ScalerSet {
            request,
            endpoint: TTS,
            scaler,
            by: "test".into(),
        });
        town.rig.answer(request)
    };
    let tuning = Tuning {
        min_idle: secs(4),
        lateness_price_milli: 3_500,
        ..Tuning::default()
    };
    let scaler = ScalerSpec::CostAware(tuning);
    assert_eq!(
        set(&mut town, Some(scaler.clone())),
        Answer::ScalerSet { scaler }
    );
    let why = |town: &Town| {
        let situation = town.rig.core.situation(TTS).expect("it is there");
        let chain = situation.why_scale();
        let lines: Vec<String> = chain.iter().map(ToString::to_string).collect();
        lines.join("\n")
    };
    let text = why(&town);
    assert!(
        text.contains("lateness_price 3.5, min_idle 4.000s"),
        "{text}"
    );
    // It is durable, and goes back with the file.
    town.rig.restart_as(rule(1, 4), Vec::new());
    assert!(why(&town).contains("lateness_price 3.5"));
    town.submit(secs(5));
    town.secs(90);
    assert_eq!((town.live(), town.alive()), (0, 0));
    let zero = town
        .scaled
        .iter()
        .rfind(|(.., max)| *max == 0)
        .expect("zero");
    let ended = town
        .rig
        .changes
        .iter()
        .rev()
        .find_map(|change| match change {
            Change::JobEnded(ended) => Some(ended.ended_at),
            _ => None,
        });
    let kept = zero.0.since(ended.unwrap_or(Timestamp::ZERO));
    assert!((secs(3)..=secs(6)).contains(&kept), "{kept}");
    let Answer::ScalerSet { scaler } = set(&mut town, None) else {
        panic!("the file's")
    };
    assert_eq!(scaler, ScalerSpec::CostAware(Tuning::default()));
    let bad = ScalerSpec::CostAware(Tuning {
        wait_share_milli: 2_000,
        ..Tuning::default()
    });
    let Answer::ScalerRefused { reason, .. } = set(&mut town, Some(bad)) else {
        panic!("refused")
    };
    assert_eq!(reason, "wait_share = 2; expected 0.5 to 1");
}

#[test]
fn a_decision_names_its_inputs_and_what_the_next_best_would_have_cost() {
    let mut town = Town::new(rule(1, 8));
    town.submit(secs(20));
    town.submit(secs(20));
    town.secs(40);
    let reasons = decided(&town.rig);
    let up = reasons.iter().find_map(|reason| match reason {
        Reason::ScaledUp { weighed, .. } => *weighed,
        _ => None,
    });
    let up = up.expect("it weighs");
    assert!(up.weighed.starts >= 1, "{up:?}");
    assert_eq!(up.weighed.ready, 0);
    let next = up.next_best_cost.expect("there was another choice");
    assert!(next > up.cost, "{up:?}");
    assert!(up.cost > overspill_core::money::NanoUsd::ZERO);
    let text = up.to_string();
    assert!(text.contains("to start") && text.contains('$'), "{text}");
}

#[test]
fn a_card_that_is_soon_free_keeps_the_cloud_off() {
    let scaler = ScalerSpec::CostAware(Tuning::default());
    let mut topology = changed(1, scaler, 1, Limits { min: 0, max: 8 });
    topology.endpoints[0].max_wait = secs(90);
    let mut town = Town::new(topology);
    for _ in 0..4 {
        town.submit(secs(20));
    }
    town.secs(120);
    assert_eq!(
        (town.live(), town.scaled.len()),
        (0, 0),
        "{:?}",
        town.scaled
    );
    for _ in 0..12 {
        town.submit(secs(20));
    }
    town.secs(300);
    assert_eq!((town.live(), town.alive()), (0, 0));
    assert!(!town.scaled.is_empty());
    // One late job is cheaper than a start that is for it alone.
    let late = town.waits.iter().filter(|wait| **wait > secs(92)).count();
    assert!(late <= 1, "{:?}", town.waits);
}

#[test]
fn after_a_restart_workers_that_start_are_not_ordered_twice() {
    let mut town = Town::new(rule(1, 8));
    for _ in 0..3 {
        town.submit(secs(60));
    }
    town.secs(45);
    assert_eq!(town.alive(), 3);
    town.rig.restart_as(rule(1, 8), Vec::new());
    town.secs(20);
    let most = town.scaled.iter().map(|(.., max)| *max).max();
    assert_eq!(most, Some(3), "{:?}", town.scaled);
    assert_eq!(town.max(), 3, "and none is given up: {:?}", town.scaled);
    town.secs(200);
    assert_eq!((town.live(), town.alive()), (0, 0));
}
