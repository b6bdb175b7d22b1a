//! Jobs at RunPod.

use overspill_core::change::FinalState;
use overspill_core::effect::Effect;
use overspill_core::event::{
    CloudJobState, CloudRefusal, CloudWorkerCounts, Event, Outcome, PayloadRef,
};
use overspill_core::id::AttemptId;
use overspill_core::time::DurationMs;
use overspill_core::topology::{Limits, PoolKind, Topology};

use crate::rig::{Rig, TTS, cloud_pool};

fn completed() -> CloudJobState {
    CloudJobState::Ended {
        outcome: Outcome::Completed {
            output: PayloadRef::default(),
        },
        worker: Some("w1".into()),
        delay: None,
        execution: Some(DurationMs::from_secs(3)),
    }
}

/// A rig without cards whose only job is queued at RunPod.
fn queued_in_cloud() -> (Rig, AttemptId) {
    let mut rig = Rig::new(0);
    rig.submit();
    let attempt = rig.cloud_submission().expect("a submission");
    rig.event(Event::CloudSubmitted {
        attempt,
        cloud_job: "c1".into(),
    });
    (rig, attempt)
}

#[test]
fn idle_cards_leave_the_cloud_alone() {
    let mut rig = Rig::new(2);
    for worker in rig.start_workers() {
        rig.poll(worker, true);
    }
    for _ in 0..5 {
        rig.submit();
    }
    rig.secs(1);
    let is_cloud = |effect: &Effect| {
        matches!(
            effect,
            Effect::CloudSubmit { .. } | Effect::CloudScale { .. }
        )
    };
    assert!(!rig.effects.iter().any(is_cloud), "{:?}", rig.effects);
}

#[test]
fn a_pool_that_leads_to_another_endpoint_has_its_limits_set_there() {
    let (mut rig, _) = queued_in_cloud();
    let scale = |rig: &mut Rig| {
        rig.find(|effect| match effect {
            Effect::CloudScale { min, max, .. } => Some((*min, *max)),
            _ => None,
        })
    };
    assert_eq!(scale(&mut rig), Some((0, 1)));
    let pool = cloud_pool();
    rig.event(Event::CloudScaled {
        pool,
        min: 0,
        max: 1,
    });
    let mut topology = crate::rig::topology(0);
    let configured = |topology: &Topology| Event::Configured {
        topology: Box::new(topology.clone()),
    };
    rig.event(configured(&topology));
    rig.secs(2);
    assert_eq!(scale(&mut rig), None, "the same one has them already");
    let PoolKind::RunPod(spec) = &mut topology.endpoints[0].pools[1].kind else {
        panic!("a RunPod pool");
    };
    spec.endpoint = "other".into();
    rig.event(configured(&topology));
    assert_eq!(scale(&mut rig), Some((0, 0)), "where it led before");
    rig.submit();
    rig.secs(2);
    assert_eq!(scale(&mut rig), Some((0, 1)));
}

#[test]
fn only_the_overspill_goes_to_the_cloud_within_max() {
    let mut rig = Rig::new(1);
    for worker in rig.start_workers() {
        rig.poll(worker, true);
    }
    for _ in 0..20 {
        rig.submit();
    }
    rig.secs(2);
    let mut submitted = 0;
    while rig.cloud_submission().is_some() {
        submitted += 1;
    }
    assert_eq!(submitted, 6, "max 3 workers with 2 slots each");
    let scale = Effect::CloudScale {
        pool: cloud_pool(),
        min: 0,
        max: 3,
    };
    assert!(rig.effects.contains(&scale), "{:?}", rig.effects);
}

#[test]
fn a_cloud_result_is_recorded_and_the_pool_goes_back_to_zero() {
    let (mut rig, attempt) = queued_in_cloud();
    rig.event(Event::CloudStatus {
        attempt,
        state: completed(),
    });
    rig.event(Event::CloudHealth {
        pool: cloud_pool(),
        workers: CloudWorkerCounts::default(),
    });
    rig.secs(2);
    assert_eq!(rig.ended(attempt.job)[0].state, FinalState::Completed);
    let scale = Effect::CloudScale {
        pool: cloud_pool(),
        min: 0,
        max: 0,
    };
    assert!(rig.effects.contains(&scale), "{:?}", rig.effects);
}

#[test]
fn a_submission_of_unknown_fate_is_not_repeated_before_the_wait_is_over() {
    let mut rig = Rig::new(0);
    let job = rig.submit();
    let first = rig.cloud_submission().expect("a submission");
    rig.event(Event::CloudSubmitUnknown {
        attempt: first,
        detail: "time-out".into(),
    });
    rig.secs(29);
    assert_eq!(rig.cloud_submission(), None);
    rig.secs(2);
    let second = rig.cloud_submission().expect("a second try");
    assert_eq!((second.job, second.number), (job, 2));
    // The twin's late answer is fenced, and cancelled.
    rig.event(Event::CloudSubmitted {
        attempt: first,
        cloud_job: "late".into(),
    });
    let cancel = Effect::CloudCancel {
        attempt: first,
        pool: cloud_pool(),
        cloud_job: "late".into(),
        only_if_queued: false,
    };
    assert!(rig.effects.contains(&cancel));
    rig.event(Event::CloudStatus {
        attempt: first,
        state: completed(),
    });
    assert!(
        rig.ended(job).is_empty(),
        "a fenced attempt records nothing"
    );
}

#[test]
fn a_crash_in_the_middle_of_a_submission_makes_its_fate_unknown() {
    let mut rig = Rig::new(0);
    rig.submit();
    rig.cloud_submission().expect("a submission");
    rig.restart(0, Vec::new());
    assert_eq!(rig.cloud_submission(), None, "never blindly repeated");
    rig.secs(31);
    rig.cloud_submission().expect("after the wait");
}

#[test]
fn a_free_card_takes_back_what_waits_at_runpod() {
    let (mut rig, attempt) = queued_in_cloud();
    rig.restart(1, Vec::new());
    let worker = rig.start_workers()[0];
    rig.poll(worker, true);
    let cancel = Effect::CloudCancel {
        attempt,
        pool: cloud_pool(),
        cloud_job: "c1".into(),
        only_if_queued: true,
    };
    assert!(rig.effects.contains(&cancel), "{:?}", rig.effects);
    assert_eq!(rig.delivered(worker), None, "not before RunPod confirms");
    rig.event(Event::CloudStatus {
        attempt,
        state: CloudJobState::Cancelled,
    });
    assert_eq!(
        rig.delivered(worker).map(|a| (a.job, a.number)),
        Some((attempt.job, 2))
    );
}

#[test]
fn a_take_back_that_came_too_late_is_forgotten() {
    let (mut rig, attempt) = queued_in_cloud();
    rig.restart(1, Vec::new());
    let worker = rig.start_workers()[0];
    rig.poll(worker, true);
    let running = CloudJobState::Running {
        worker: Some("w1".into()),
        delay: None,
    };
    rig.event(Event::CloudStatus {
        attempt,
        state: running,
    });
    // Whoever cancels it at RunPod now, it was not us.
    rig.event(Event::CloudStatus {
        attempt,
        state: CloudJobState::Cancelled,
    });
    assert_eq!(rig.ended(attempt.job).len(), 1);
    assert_eq!(rig.ended(attempt.job)[0].state, FinalState::Cancelled);
    assert_eq!(rig.delivered(worker), None);
}

#[test]
fn a_take_back_that_a_restart_forgot_loses_nothing() {
    let (mut rig, attempt) = queued_in_cloud();
    rig.restart(0, Vec::new());
    let state = CloudJobState::Cancelled;
    rig.event(Event::CloudStatus { attempt, state });
    assert!(rig.ended(attempt.job).is_empty());
    assert!(rig.core.job(attempt.job).is_some());
}

#[test]
fn a_running_cloud_job_stays() {
    let (mut rig, attempt) = queued_in_cloud();
    let running = CloudJobState::Running {
        worker: Some("w1".into()),
        delay: None,
    };
    rig.event(Event::CloudStatus {
        attempt,
        state: running,
    });
    rig.restart(1, Vec::new());
    let worker = rig.start_workers()[0];
    rig.poll(worker, true);
    let is_cancel = |effect: &Effect| matches!(effect, Effect::CloudCancel { .. });
    assert!(!rig.effects.iter().any(is_cancel));
}

#[test]
fn a_refused_submission_waits_here_and_is_tried_again() {
    let mut rig = Rig::new(0);
    rig.submit();
    let attempt = rig.cloud_submission().expect("a submission");
    rig.event(Event::CloudRefused {
        attempt,
        refusal: CloudRefusal::RateLimited,
        retry_after: Some(DurationMs::from_secs(7)),
        detail: String::new(),
    });
    rig.secs(6);
    assert_eq!(rig.cloud_submission(), None);
    rig.secs(2);
    assert!(rig.cloud_submission().is_some());
}

#[test]
fn lowering_max_is_told_at_once_and_loses_nothing() {
    let mut rig = Rig::new(0);
    let jobs: Vec<_> = (0..8).map(|_| rig.submit()).collect();
    rig.secs(1);
    rig.effects.clear();
    let request = rig.request();
    let limits = Limits { min: 0, max: 1 };
    rig.event(Event::LimitsSet {
        request,
        endpoint: TTS,
        limits,
        by: "test".into(),
    });
    let scale = Effect::CloudScale {
        pool: cloud_pool(),
        min: 0,
        max: 1,
    };
    assert!(rig.effects.contains(&scale), "{:?}", rig.effects);
    assert!(jobs.iter().all(|&job| rig.core.job(job).is_some()));
}

#[test]
fn a_result_that_expired_at_runpod_runs_again() {
    let (mut rig, attempt) = queued_in_cloud();
    rig.event(Event::CloudGone { attempt });
    assert!(
        rig.cloud_submission().is_none(),
        "a fresh job may be visible late"
    );
    rig.secs(60);
    rig.event(Event::CloudGone { attempt });
    rig.secs(1);
    assert_eq!(rig.cloud_submission().map(|a| a.number), Some(2));
}

#[test]
fn an_unknown_price_is_refused() {
    let mut rig = Rig::new(0);
    let mut topology = crate::rig::topology(0);
    let overspill_core::topology::PoolKind::RunPod(spec) = &mut topology.endpoints[0].pools[1].kind
    else {
        panic!("the second pool is RunPod's");
    };
    spec.price = None;
    rig.event(Event::Configured {
        topology: Box::new(topology),
    });
    rig.submit();
    rig.secs(5);
    assert_eq!(rig.cloud_submission(), None);
}

#[test]
fn a_cancel_that_was_not_answered_is_given_again_after_a_restart() {
    let (mut rig, attempt) = queued_in_cloud();
    rig.event(Event::CloudStatus {
        attempt,
        state: CloudJobState::Running {
            worker: Some("w1".into()),
            delay: None,
        },
    });
    rig.secs(3 * 3_600);
    rig.event(Event::CloudStatus {
        attempt,
        state: CloudJobState::Running {
            worker: Some("w1".into()),
            delay: None,
        },
    });
    rig.secs(60);
    assert!(
        rig.store.attempts.contains_key(&attempt),
        "not before RunPod says so"
    );
    rig.restart(0, Vec::new());
    let cancels = |effect: &Effect| {
        matches!(effect, Effect::CloudCancel { attempt: of, .. } if *of == attempt).then_some(())
    };
    assert!(rig.find(cancels).is_some());
}
