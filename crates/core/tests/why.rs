//! Why a job waits, and what one changed setting would do.

use overspill_core::event::{CloudRefusal, CloudWorkerCounts, Event};
use overspill_core::id::JobId;
use overspill_core::time::DurationMs;
use overspill_core::topology::Limits;
use overspill_core::why::{Cause, Setting, Situation};

use crate::rig::{Rig, TTS, cloud_pool};

fn situation(rig: &Rig) -> Situation {
    rig.core.situation(TTS).expect("the endpoint is configured")
}

fn causes(rig: &Rig, job: JobId) -> Vec<&'static str> {
    let (endpoint, standing) = rig.core.standing(job).expect("the job is live");
    assert_eq!(endpoint, TTS);
    let chain = situation(rig).why_job(&standing);
    chain.iter().map(Cause::code).collect()
}

fn scale(rig: &mut Rig, max: u32) {
    let request = rig.request();
    rig.event(Event::LimitsSet {
        request,
        endpoint: TTS,
        limits: Limits { min: 0, max },
        by: "test".into(),
    });
    let _ = rig.answer(request);
}

/// One card, busy, and twenty jobs that wait behind it.
fn long_queue() -> (Rig, Vec<JobId>) {
    let mut rig = Rig::new(1);
    for worker in rig.start_workers() {
        rig.poll(worker, true);
    }
    let jobs = (0..21).map(|_| rig.submit()).collect();
    rig.secs(2);
    (rig, jobs)
}

#[test]
fn a_waiting_job_names_its_place_and_the_busy_card() {
    let mut rig = Rig::new(1);
    for worker in rig.start_workers() {
        rig.poll(worker, true);
    }
    let (first, second) = (rig.submit(), rig.submit());
    rig.secs(1);
    assert_eq!(causes(&rig, first), ["running"]);
    assert_eq!(
        causes(&rig, second),
        ["queued", "local_busy", "local_suffices"]
    );
    let now = situation(&rig);
    let forecast = now.forecast(&now.as_is());
    let start = now.start_of(&forecast, Some(second)).expect("it starts");
    assert!(start > rig.now, "{start:?}");
}

#[test]
fn the_limit_is_named_and_a_higher_one_is_worked_out_by_the_same_rule() {
    let (mut rig, jobs) = long_queue();
    scale(&mut rig, 0);
    rig.secs(1);
    let last = *jobs.last().expect("there are jobs");
    assert_eq!(
        causes(&rig, last),
        ["queued", "local_busy", "rule_wants", "max_zero"]
    );
    let now = situation(&rig);
    let found = now.what_if(Some(last));
    let higher = found
        .iter()
        .find(|what_if| matches!(what_if.change, Setting::Max { .. }))
        .expect("a higher max helps");
    assert_eq!(higher.change, Setting::Max { from: 0, to: 1 });
    let earlier = higher.earlier.expect("it would start on the card as it is");
    assert!(earlier > DurationMs::from_secs(60), "{higher}");
    assert!(higher.cost_more.as_nanos() > 0, "{higher}");
    // What it says comes about: with that limit the rule orders just that worker.
    scale(&mut rig, 1);
    rig.secs(1);
    let again = situation(&rig);
    assert_eq!(again.cloud.wanted, 1);
    assert!(
        higher.to_string().starts_with("with max 1 it would start "),
        "{higher}"
    );
}

#[test]
fn a_scale_names_what_is_wanted_and_what_is_there() {
    let (mut rig, _) = long_queue();
    rig.event(Event::CloudHealth {
        pool: cloud_pool(),
        workers: CloudWorkerCounts {
            initializing: 2,
            throttled: 1,
            ..CloudWorkerCounts::default()
        },
    });
    let chain = situation(&rig).why_scale();
    let codes: Vec<&str> = chain.iter().map(Cause::code).collect();
    assert_eq!(codes[0], "demand");
    for code in ["max_reached", "cloud_throttled", "cloud_starting"] {
        assert!(codes.contains(&code), "{codes:?}");
    }
    let wanted = Cause::Wanted {
        workers: 3,
        alive: 2,
    };
    assert_eq!(chain.last(), Some(&wanted));
}

#[test]
fn a_refusal_is_remembered_until_the_pool_answers_again() {
    let (mut rig, _) = long_queue();
    rig.event(Event::CloudFailed {
        pool: cloud_pool(),
        refusal: CloudRefusal::NoBalance,
        detail: String::new(),
    });
    let now = situation(&rig);
    assert_eq!(now.pools[0].refusal, Some((CloudRefusal::NoBalance, 1)));
    let chain = now.why_scale();
    let refuses = |cause: &Cause| {
        matches!(
            cause,
            Cause::CloudRefuses {
                refusal: Some(CloudRefusal::NoBalance),
                ..
            }
        )
    };
    assert!(chain.iter().any(refuses), "{chain:?}");
    let attempt = rig.cloud_submission().expect("a submission from before");
    rig.event(Event::CloudSubmitted {
        attempt,
        cloud_job: "c1".into(),
    });
    assert_eq!(situation(&rig).pools[0].refusal, None);
}

#[test]
fn nothing_waits_and_nothing_is_wanted() {
    let mut rig = Rig::new(1);
    for worker in rig.start_workers() {
        rig.poll(worker, true);
    }
    let now = situation(&rig);
    let codes: Vec<&str> = now.why_scale().iter().map(Cause::code).collect();
    assert_eq!(codes, ["nothing_waits", "local_free", "wanted"]);
    assert!(now.what_if(None).is_empty());
}

#[test]
fn a_queue_of_any_length_makes_a_small_copy() {
    let mut rig = Rig::new(1);
    for worker in rig.start_workers() {
        rig.poll(worker, true);
    }
    scale(&mut rig, 0);
    let jobs: Vec<JobId> = (0..800).map(|_| rig.submit()).collect();
    let now = situation(&rig);
    assert_eq!((now.jobs.len(), now.picture.waiting_total), (500, 799));
    assert!(now.what_if(jobs.last().copied()).is_empty());
    assert_eq!(causes(&rig, jobs[799])[0], "queued");
}
