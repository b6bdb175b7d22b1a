//! What clients may ask for beside a run: a paused endpoint, a time to live, low priority.

use overspill_core::change::FinalState;
use overspill_core::effect::{Answer, Effect, SubmitRefusal};
use overspill_core::event::{CloudJobState, CloudWorkerCounts, Event};
use overspill_core::id::JobId;
use overspill_core::time::DurationMs;
use overspill_core::topology::Limits;

use crate::rig::{Rig, TTS, cloud_pool, new_job};

fn limit(rig: &mut Rig, min: u32, max: u32) {
    let request = rig.request();
    let limits = Limits { min, max };
    rig.event(Event::LimitsSet {
        request,
        endpoint: TTS,
        limits,
        by: "test".into(),
    });
    assert_eq!(rig.answer(request), Answer::LimitsSet { limits });
}

fn try_submit(rig: &mut Rig, low_priority: bool) -> (JobId, Answer) {
    let id = JobId::new(u128::from(rig.number()), false);
    let request = rig.request();
    let mut job = new_job(id);
    job.low_priority = low_priority;
    rig.event(Event::Submitted { request, job });
    (id, rig.answer(request))
}

fn set_ttl(rig: &mut Rig, job: JobId, secs: u64) -> Answer {
    let request = rig.request();
    let ttl = DurationMs::from_secs(secs);
    rig.event(Event::TtlSet { request, job, ttl });
    rig.answer(request)
}

#[test]
fn a_paused_endpoint_takes_nothing_and_keeps_what_waits() {
    let mut rig = Rig::new(0);
    let waits = rig.submit();
    let attempt = rig.cloud_submission().expect("a submission");
    rig.event(Event::CloudRefused {
        attempt,
        refusal: overspill_core::event::CloudRefusal::RateLimited,
        retry_after: Some(DurationMs::from_secs(1)),
        detail: String::new(),
    });
    limit(&mut rig, 0, 0);
    let (_, answer) = try_submit(&mut rig, false);
    assert_eq!(answer, Answer::SubmitRefused(SubmitRefusal::Paused));
    rig.secs(60);
    assert!(rig.ended(waits).is_empty(), "what waits stays");
    assert_eq!(rig.cloud_submission(), None, "and goes nowhere");
    limit(&mut rig, 0, 1);
    rig.secs(2);
    let again = rig.cloud_submission().expect("it goes on");
    assert_eq!(again.job, waits);
}

#[test]
fn with_a_card_of_ours_max_0_only_closes_the_cloud() {
    let mut rig = Rig::new(1);
    limit(&mut rig, 0, 0);
    let (id, answer) = try_submit(&mut rig, false);
    assert_eq!(answer, Answer::Submitted { job: id });
}

#[test]
fn a_time_to_live_counts_from_when_it_is_set() {
    let mut rig = Rig::new(1);
    let job = rig.submit();
    rig.secs(100);
    assert_eq!(set_ttl(&mut rig, job, 30), Answer::Noted);
    rig.secs(29);
    assert!(rig.ended(job).is_empty());
    assert_eq!(set_ttl(&mut rig, job, 60), Answer::Noted);
    rig.secs(59);
    assert!(rig.ended(job).is_empty(), "the last word counts");
    rig.secs(2);
    assert_eq!(rig.ended(job)[0].state, FinalState::TimedOut);
    assert_eq!(set_ttl(&mut rig, job, 60), Answer::NotLive);
}

#[test]
fn the_cloud_is_told_of_a_time_to_live() {
    let mut rig = Rig::new(0);
    let job = rig.submit();
    let attempt = rig.cloud_submission().expect("a submission");
    set_ttl(&mut rig, job, 50);
    let told = |effect: &Effect| match effect {
        Effect::CloudTtl { cloud_job, ttl, .. } => Some((cloud_job.clone(), *ttl)),
        _ => None,
    };
    assert_eq!(rig.find(told), None, "it has no name there yet");
    rig.event(Event::CloudSubmitted {
        attempt,
        cloud_job: "c1".into(),
    });
    set_ttl(&mut rig, job, 3_600 * 24);
    let (cloud_job, ttl) = rig.find(told).expect("a word to the cloud");
    assert_eq!(cloud_job, "c1");
    // Start-up, run and wait at RunPod bound what a lost twin can cost.
    assert_eq!(ttl, DurationMs::from_secs(420 + 600 + 1_800));
    set_ttl(&mut rig, job, 20);
    let (_, ttl) = rig.find(told).expect("a word to the cloud");
    // Our cancel comes first: RunPod would let it run on when it forgets it.
    assert_eq!(ttl, DurationMs::from_secs(20 + 30));
}

#[test]
fn low_priority_starts_no_worker_and_uses_one_that_is_ready() {
    let mut rig = Rig::new(0);
    let (low, answer) = try_submit(&mut rig, true);
    assert_eq!(answer, Answer::Submitted { job: low });
    rig.secs(120);
    assert_eq!(rig.cloud_submission(), None, "no worker is started for it");
    let scaled = |effect: &Effect| matches!(effect, Effect::CloudScale { max: 1.., .. });
    assert!(!rig.effects.iter().any(scaled), "{:?}", rig.effects);
    let job = rig.submit();
    rig.secs(2);
    let first = rig.cloud_submission().expect("the other one goes");
    assert_eq!(first.job, job);
    rig.event(Event::CloudSubmitted {
        attempt: first,
        cloud_job: "c1".into(),
    });
    rig.event(Event::CloudStatus {
        attempt: first,
        state: CloudJobState::Running {
            worker: Some("w".into()),
            delay: None,
        },
    });
    rig.secs(2);
    assert_eq!(rig.cloud_submission(), None, "no worker is ready yet");
    rig.event(Event::CloudHealth {
        pool: cloud_pool(),
        workers: CloudWorkerCounts {
            running: 1,
            ..CloudWorkerCounts::default()
        },
    });
    rig.secs(2);
    let submitted = rig.find(|effect| match effect {
        Effect::CloudSubmit {
            attempt,
            low_priority,
            ..
        } => Some((attempt.job, *low_priority)),
        _ => None,
    });
    assert_eq!(submitted, Some((low, true)), "its second slot is free");
}

#[test]
fn with_cards_of_ours_low_priority_uses_only_workers_that_are_always_on() {
    let mut rig = Rig::new(1);
    let request = rig.request();
    rig.event(Event::GuardSeen { request });
    rig.answer(request);
    let (low, _) = try_submit(&mut rig, true);
    let ready = CloudWorkerCounts {
        idle: 1,
        ..CloudWorkerCounts::default()
    };
    rig.event(Event::CloudHealth {
        pool: cloud_pool(),
        workers: ready,
    });
    rig.secs(2);
    assert_eq!(rig.cloud_submission(), None);
    limit(&mut rig, 1, 3);
    rig.secs(2);
    assert_eq!(rig.cloud_submission().map(|attempt| attempt.job), Some(low));
}
