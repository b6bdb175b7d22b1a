//! What storms found: each a rule that a seed once broke.

use overspill_core::effect::Effect;
use overspill_core::event::{
    CloudJobState, CloudRefusal, CloudWorkerCounts, Event, Outcome, PayloadRef,
};
use overspill_core::id::AttemptId;
use overspill_core::time::DurationMs;
use overspill_core::topology::{Limits, PoolKind};

use crate::rig::{Rig, TTS, cloud_pool};

fn scale(rig: &mut Rig) -> Option<(u32, u32)> {
    rig.find(|effect| match effect {
        Effect::CloudScale { min, max, .. } => Some((*min, *max)),
        _ => None,
    })
}

fn reserved(rig: &Rig) -> u32 {
    rig.store.pools[&cloud_pool()].reserved_workers
}

/// No cards; one job that RunPod took in and its one worker wanted.
fn in_cloud() -> (Rig, AttemptId) {
    let mut rig = Rig::new(0);
    rig.submit();
    assert_eq!(scale(&mut rig), Some((0, 1)));
    let attempt = rig.cloud_submission().expect("a submission");
    (rig, attempt)
}

fn completed() -> CloudJobState {
    CloudJobState::Ended {
        outcome: Outcome::Completed {
            output: PayloadRef::default(),
        },
        worker: None,
        delay: None,
        execution: None,
    }
}

/// The same, done there and scaled back; the order to scale to zero is still in the outbox.
fn done_in_cloud() -> Rig {
    let (mut rig, attempt) = in_cloud();
    let pool = cloud_pool();
    rig.event(Event::CloudScaled {
        pool,
        min: 0,
        max: 1,
    });
    let cloud_job = "c1".to_owned();
    rig.event(Event::CloudSubmitted { attempt, cloud_job });
    let state = completed();
    rig.event(Event::CloudStatus { attempt, state });
    rig.secs(2);
    rig
}

#[test]
fn an_order_to_scale_to_zero_that_a_crash_lost_is_given_again() {
    let mut rig = done_in_cloud();
    rig.restart(0, Vec::new());
    assert_eq!(scale(&mut rig), Some((0, 0)));
}

#[test]
fn a_pool_never_used_is_not_touched_by_a_restart() {
    let mut rig = Rig::new(0);
    rig.restart(0, Vec::new());
    assert_eq!(scale(&mut rig), None);
}

#[test]
fn a_failed_change_of_limits_is_asked_for_again_after_the_pause() {
    let mut rig = done_in_cloud();
    assert_eq!(scale(&mut rig), Some((0, 0)));
    rig.event(Event::CloudFailed {
        pool: cloud_pool(),
        refusal: CloudRefusal::Unreachable,
        detail: String::new(),
    });
    assert_eq!(scale(&mut rig), None);
    rig.secs(2);
    assert_eq!(scale(&mut rig), Some((0, 0)));
}

#[test]
fn money_stays_reserved_until_runpod_confirms_the_lower_limit() {
    let mut rig = done_in_cloud();
    assert_eq!(scale(&mut rig), Some((0, 0)));
    assert_eq!(reserved(&rig), 1);
    let pool = cloud_pool();
    rig.event(Event::CloudScaled {
        pool,
        min: 0,
        max: 0,
    });
    rig.secs(2);
    assert_eq!(reserved(&rig), 0);
}

#[test]
fn a_worker_that_nobody_asked_for_keeps_no_limit_up() {
    let (mut rig, attempt) = in_cloud();
    let pool = cloud_pool();
    rig.event(Event::CloudScaled {
        pool,
        min: 0,
        max: 1,
    });
    let cloud_job = "c1".to_owned();
    rig.event(Event::CloudSubmitted { attempt, cloud_job });
    let workers = CloudWorkerCounts {
        idle: 1,
        ..CloudWorkerCounts::default()
    };
    let state = completed();
    rig.event(Event::CloudHealth { pool, workers });
    rig.event(Event::CloudStatus { attempt, state });
    for _ in 0..20 {
        rig.event(Event::CloudHealth { pool, workers });
        rig.secs(5);
    }
    assert_eq!(scale(&mut rig), Some((0, 0)));
}

#[test]
fn a_cancelled_twin_holds_its_place_no_longer_than_runpod_may_keep_it() {
    let (mut rig, attempt) = in_cloud();
    let detail = String::new();
    rig.event(Event::CloudSubmitUnknown { attempt, detail });
    let request = rig.request();
    rig.event(Event::CancelAsked {
        request,
        job: attempt.job,
    });
    assert!(rig.store.attempts.contains_key(&attempt));
    // Init time-out, execution time-out, and half an hour in RunPod's queue.
    rig.secs(420 + 600 + 1_800 + 1);
    assert!(!rig.store.attempts.contains_key(&attempt));
}

#[test]
fn a_job_that_only_waited_at_runpod_is_tried_again() {
    let (mut rig, attempt) = in_cloud();
    let cloud_job = "c1".to_owned();
    rig.event(Event::CloudSubmitted { attempt, cloud_job });
    let state = CloudJobState::TimedOut {
        worker: None,
        delay: None,
        error: "the job timed out at RunPod".into(),
        execution: None,
    };
    rig.event(Event::CloudStatus { attempt, state });
    rig.secs(1);
    assert_eq!(rig.cloud_submission().map(|again| again.number), Some(2));
}

#[test]
fn limits_of_a_reload_act_at_once() {
    let mut rig = Rig::new(0);
    for _ in 0..8 {
        rig.submit();
    }
    rig.secs(1);
    rig.effects.clear();
    let mut topology = crate::rig::topology(0);
    topology.endpoints[0].limits = Limits { min: 0, max: 1 };
    rig.event(Event::Configured {
        topology: Box::new(topology),
    });
    assert_eq!(scale(&mut rig), Some((0, 1)));
}

#[test]
fn a_worker_that_never_asks_is_replaced_and_not_counted_on() {
    let mut rig = Rig::new(1);
    let workers = rig.start_workers();
    let job = rig.submit();
    // The promise is a minute: by then nobody waits for this worker any more.
    rig.secs(60);
    assert_eq!(rig.cloud_submission().map(|attempt| attempt.job), Some(job));
    rig.secs(15 * 60);
    let stopped = rig.find(|effect| match effect {
        Effect::StopWorker { worker } => Some(*worker),
        _ => None,
    });
    assert_eq!(stopped, Some(workers[0]));
}

#[test]
fn a_worker_that_stops_asking_is_replaced() {
    let mut rig = Rig::new(1);
    let worker = rig.start_workers()[0];
    rig.poll(worker, true);
    let job = rig.submit();
    rig.delivered(worker).expect("a delivery");
    let _ = rig.finish(worker, job);
    rig.secs(15 * 60 + 1);
    let stopped = rig.find(|effect| match effect {
        Effect::StopWorker { worker } => Some(*worker),
        _ => None,
    });
    assert_eq!(stopped, Some(worker));
}

#[test]
fn a_draining_worker_whose_job_hangs_is_killed() {
    let mut rig = Rig::new(1);
    let worker = rig.start_workers()[0];
    rig.poll(worker, true);
    rig.submit();
    rig.delivered(worker).expect("a delivery");
    // A reload takes the card away: the worker drains, and its job never returns.
    let mut topology = crate::rig::topology(1);
    let PoolKind::Command { devices, .. } = &mut topology.endpoints[0].pools[0].kind else {
        panic!("the first pool is of processes");
    };
    devices.clear();
    rig.event(Event::Configured {
        topology: Box::new(topology),
    });
    // Its execution time-out, the job's grace and the process's.
    rig.secs(600 + 5 + 5 + 1);
    assert!(rig.effects.contains(&Effect::KillWorker { worker }));
}

#[test]
fn a_delivery_that_a_restart_forgot_is_no_word_on_the_job() {
    let mut rig = Rig::new(1);
    let worker = rig.start_workers()[0];
    let job = rig.submit();
    rig.poll(worker, true);
    for _ in 0..4 {
        assert!(rig.delivered(worker).is_some());
        rig.restart(1, vec![worker]);
        rig.poll(worker, true);
        rig.secs(11);
    }
    assert!(rig.core.job(job).is_some(), "{:?}", rig.ended(job));
}

#[test]
fn an_active_endpoint_is_looked_at_once_a_second() {
    let (mut rig, _) = in_cloud();
    for _ in 0..50 {
        rig.pass(DurationMs::from_millis(37));
        let request = rig.request();
        rig.event(Event::LimitsSet {
            request,
            endpoint: TTS,
            limits: Limits { min: 0, max: 3 },
            by: "test".into(),
        });
    }
    rig.secs(3);
    let mut wakeups = 0;
    let end = rig.now + DurationMs::from_secs(10);
    while let Some(at) = rig.core.next_wakeup().filter(|&at| at < end) {
        rig.now = at;
        rig.event(Event::TimePassed);
        wakeups += 1;
    }
    assert!(wakeups <= 12, "{wakeups} wakeups in 10 s");
}

/// Found by storms (seeds 890, 1441, 1482): the answer to an order to scale to zero came after the next
/// order was given, released its money, and RunPod could start workers that nobody had paid for.
#[test]
fn an_answer_to_an_older_order_confirms_nothing() {
    let mut rig = done_in_cloud();
    assert_eq!(scale(&mut rig), Some((0, 0)));
    let job = rig.submit();
    rig.secs(2);
    assert_eq!(scale(&mut rig), Some((0, 1)));
    let pool = cloud_pool();
    rig.event(Event::CloudScaled {
        pool,
        min: 0,
        max: 0,
    });
    let attempt = rig.cloud_submission().expect("a submission");
    assert_eq!(attempt.job, job);
    rig.event(Event::CloudRefused {
        attempt,
        refusal: CloudRefusal::Unreachable,
        retry_after: None,
        detail: String::new(),
    });
    let request = rig.request();
    rig.event(Event::CancelAsked { request, job });
    rig.secs(2);
    assert_eq!(reserved(&rig), 1, "the order for one may still take effect");
}
