//! Jobs on workers of ours.

use overspill_core::change::FinalState;
use overspill_core::effect::{Answer, Effect, Stale};
use overspill_core::event::Event;
use overspill_core::time::DurationMs;
use overspill_core::topology::Limits;

use crate::rig::{Rig, TTS};

#[test]
fn a_waiting_worker_gets_the_job_at_once_and_its_result_is_recorded_once() {
    let mut rig = Rig::new(1);
    let worker = rig.start_workers()[0];
    rig.poll(worker, true);
    let job = rig.submit();
    let attempt = rig.delivered(worker).expect("a delivery");
    assert_eq!((attempt.job, attempt.number), (job, 1));
    assert_eq!(rig.finish(worker, job), Answer::Recorded);
    assert_eq!(rig.finish(worker, job), Answer::Stale(Stale::NotLive));
    assert_eq!(rig.ended(job).len(), 1);
    assert_eq!(rig.ended(job)[0].state, FinalState::Completed);
}

#[test]
fn an_empty_poll_is_answered_at_its_deadline() {
    let mut rig = Rig::new(1);
    let worker = rig.start_workers()[0];
    let poll = rig.poll(worker, true);
    rig.secs(49);
    assert!(!rig.effects.contains(&Effect::TakeEmpty { poll }));
    rig.secs(1);
    assert!(rig.effects.contains(&Effect::TakeEmpty { poll }));
}

#[test]
fn a_job_of_a_dead_worker_runs_again_and_a_late_post_is_stale() {
    let mut rig = Rig::new(1);
    let worker = rig.start_workers()[0];
    rig.poll(worker, true);
    let job = rig.submit();
    rig.delivered(worker).expect("a delivery");
    rig.event(Event::WorkerExited {
        worker,
        code: None,
        reason: None,
    });
    assert_eq!(rig.finish(worker, job), Answer::Stale(Stale::UnknownWorker));
    rig.secs(1);
    let second = rig.start_workers()[0];
    rig.poll(second, true);
    let attempt = rig.delivered(second).expect("delivered again");
    assert_eq!((attempt.job, attempt.number), (job, 2));
    assert_eq!(rig.finish(second, job), Answer::Recorded);
    assert_eq!(rig.ended(job).len(), 1);
}

#[test]
fn a_job_that_kills_three_workers_fails_with_the_reason() {
    let mut rig = Rig::new(1);
    let request = rig.request();
    let limits = Limits { min: 0, max: 0 };
    rig.event(Event::LimitsSet {
        request,
        endpoint: TTS,
        limits,
        by: "test".into(),
    });
    let job = rig.submit();
    for _ in 0..3 {
        rig.secs(60);
        let worker = rig.start_workers()[0];
        rig.poll(worker, true);
        rig.delivered(worker).expect("a delivery");
        rig.event(Event::WorkerExited {
            worker,
            code: Some(3),
            reason: None,
        });
    }
    let ended = rig.ended(job);
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].state, FinalState::Failed);
    assert_eq!(ended[0].error_code.as_deref(), Some("worker_lost"));
}

#[test]
fn a_result_that_never_comes_is_tried_once_more_and_then_named() {
    let mut rig = Rig::new(1);
    let worker = rig.start_workers()[0];
    rig.poll(worker, true);
    let job = rig.submit();
    rig.delivered(worker).expect("a delivery");
    let listed = Event::Pinged {
        worker,
        jobs: vec![job],
    };
    rig.event(listed.clone());
    // The handler returned bytes: the worker asks again and says that it holds nothing.
    rig.secs(1);
    rig.poll(worker, true);
    assert_eq!(
        rig.delivered(worker),
        None,
        "not to the same worker within 10 s"
    );
    rig.secs(10);
    rig.delivered(worker).expect("tried once more");
    rig.event(listed);
    rig.secs(1);
    rig.poll(worker, true);
    let ended = rig.ended(job);
    assert_eq!(ended.len(), 1);
    assert!(
        ended[0]
            .error
            .as_ref()
            .is_some_and(|error| error.contains("bytes?"))
    );
}

#[test]
fn cancel_fences_first_then_signals_then_stops_the_worker() {
    let mut rig = Rig::new(1);
    let worker = rig.start_workers()[0];
    rig.poll(worker, true);
    let job = rig.submit();
    rig.delivered(worker).expect("a delivery");
    let request = rig.request();
    rig.event(Event::CancelAsked { request, job });
    let cancelled = Answer::Cancelled {
        job,
        state: FinalState::Cancelled,
    };
    assert_eq!(rig.answer(request), cancelled);
    assert!(rig.effects.contains(&Effect::StopJob { worker, job }));
    rig.secs(5);
    assert!(rig.effects.contains(&Effect::StopWorker { worker }));
    rig.secs(5);
    assert!(rig.effects.contains(&Effect::KillWorker { worker }));
    assert_eq!(rig.finish(worker, job), Answer::Stale(Stale::Fenced));
    assert_eq!(rig.ended(job)[0].state, FinalState::Cancelled);
}

#[test]
fn an_execution_timeout_fails_the_job_in_runpods_words() {
    let mut rig = Rig::new(1);
    let worker = rig.start_workers()[0];
    rig.poll(worker, true);
    let job = rig.submit();
    rig.delivered(worker).expect("a delivery");
    rig.event(Event::Pinged {
        worker,
        jobs: vec![job],
    });
    rig.secs(600);
    let ended = rig.ended(job);
    assert_eq!(ended[0].state, FinalState::Failed);
    assert_eq!(ended[0].error.as_deref(), Some("executionTimeout exceeded"));
}

#[test]
fn a_restart_leaves_living_workers_their_jobs() {
    let mut rig = Rig::new(2);
    let workers = rig.start_workers();
    for &worker in &workers {
        rig.poll(worker, true);
    }
    let jobs = [rig.submit(), rig.submit()];
    for &worker in &workers {
        rig.delivered(worker).expect("a delivery");
    }
    rig.restart(2, vec![workers[0]]);
    assert_eq!(rig.finish(workers[0], jobs[0]), Answer::Recorded);
    assert!(rig.ended(jobs[1]).is_empty(), "it waits for another worker");
    rig.poll(workers[0], true);
    let attempt = rig.delivered(workers[0]).expect("the dead worker's job");
    assert_eq!((attempt.job, attempt.number), (jobs[1], 2));
}

#[test]
fn a_ttl_that_ends_in_the_queue_ends_the_job() {
    let mut rig = Rig::new(0);
    rig.event(Event::DrainAsked);
    rig.core = overspill_core::machine::Core::restore(rig.store.clone(), rig.now);
    rig.restart(0, Vec::new());
    let job = rig.submit();
    rig.pass(DurationMs::from_secs(86_402));
    assert_eq!(rig.ended(job)[0].state, FinalState::TimedOut);
}
