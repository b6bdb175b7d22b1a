//! The contract's finer points: what a late word, a lost word or a bad job may do, and may not.

use overspill_core::attempt::Fence;
use overspill_core::change::{Change, FinalState};
use overspill_core::effect::{Answer, Effect, Stale};
use overspill_core::event::{CloudJobState, CloudRefusal, Event, Outcome, PayloadRef};
use overspill_core::id::{AttemptId, JobId, PollId, PoolId, WorkerId};
use overspill_core::time::DurationMs;
use overspill_core::topology::{PoolKind, Topology};

use crate::rig::{Rig, TTS, cloud_pool, new_job, topology};

/// One card with so many slots, no cloud.
fn with_slots(slots: u32) -> Rig {
    let mut rig = Rig::new(1);
    let mut topology = topology(1);
    topology.endpoints[0].pools[0].slots = slots;
    topology.endpoints[0].limits.max = 0;
    configure(&mut rig, topology);
    rig
}

fn configure(rig: &mut Rig, topology: Topology) {
    rig.event(Event::Configured {
        topology: Box::new(topology),
    });
}

fn poll(rig: &mut Rig, worker: WorkerId, room: u32, is_idle: bool) {
    let poll = PollId(rig.number());
    let deadline = rig.now + DurationMs::from_secs(50);
    rig.event(Event::TakeWaiting {
        poll,
        worker,
        room,
        deadline,
        is_idle,
    });
}

/// What a worker was handed at last.
fn handed(rig: &mut Rig) -> Vec<JobId> {
    let jobs = rig.find(|effect| match effect {
        Effect::Deliver { jobs, .. } => Some(jobs.iter().map(|d| d.attempt.job).collect()),
        _ => None,
    });
    jobs.unwrap_or_default()
}

fn dies(rig: &mut Rig, worker: WorkerId) {
    rig.event(Event::WorkerExited {
        worker,
        code: Some(3),
        reason: None,
    });
}

fn fail(rig: &mut Rig, worker: WorkerId, job: JobId) -> Answer {
    let request = rig.request();
    rig.event(Event::Finished {
        request,
        worker,
        job,
        outcome: Outcome::Failed {
            error: "ValueError".into(),
            output: PayloadRef::default(),
        },
        stops: false,
        body_sha256: "same".into(),
    });
    rig.answer(request)
}

fn retry(rig: &mut Rig, job: JobId, generation: u32) {
    let request = rig.request();
    rig.event(Event::RetryAsked {
        request,
        job: new_job(job),
        generation,
    });
    assert_eq!(rig.answer(request), Answer::Submitted { job });
}

fn audited(rig: &Rig, word: &str) -> Vec<String> {
    let lines = rig.changes.iter().filter_map(|change| match change {
        Change::Audited { what, detail, .. } if what == word => Some(detail.clone()),
        _ => None,
    });
    lines.collect()
}

#[test]
fn a_retried_job_goes_to_the_worker_that_failed_it_only_after_a_pause() {
    let mut rig = Rig::new(1);
    let worker = rig.start_workers()[0];
    rig.poll(worker, true);
    let job = rig.submit();
    rig.delivered(worker).expect("a delivery");
    assert_eq!(fail(&mut rig, worker, job), Answer::Recorded);
    retry(&mut rig, job, 0);
    rig.poll(worker, true);
    assert_eq!(
        rig.delivered(worker),
        None,
        "a repeated post would count for it"
    );
    rig.secs(6);
    // The worker's second post of the first generation, whose answer was lost: the pause begins anew.
    assert_eq!(fail(&mut rig, worker, job), Answer::Stale(Stale::NotYours));
    rig.secs(6);
    assert_eq!(rig.delivered(worker), None);
    rig.secs(5);
    let attempt = rig.delivered(worker).expect("after the pause");
    assert_eq!((attempt.generation, attempt.number), (1, 1));
}

#[test]
fn lost_deliveries_weigh_less_than_outputs_that_cannot_be_sent() {
    let mut rig = Rig::new(1);
    let worker = rig.start_workers()[0];
    rig.poll(worker, true);
    let job = rig.submit();
    for lost in 1..=3 {
        rig.delivered(worker).expect("a delivery");
        rig.secs(1);
        rig.poll(worker, true);
        assert!(
            rig.core.job(job).is_some(),
            "{lost} lost deliveries are no word on the job"
        );
        rig.secs(11);
    }
    rig.delivered(worker).expect("a fourth delivery");
    rig.secs(1);
    rig.poll(worker, true);
    assert_eq!(rig.ended(job)[0].error_code.as_deref(), Some("no_result"));
}

#[test]
fn two_heartbeats_without_a_job_end_its_lease() {
    let mut rig = Rig::new(1);
    let worker = rig.start_workers()[0];
    rig.poll(worker, true);
    let job = rig.submit();
    rig.delivered(worker).expect("a delivery");
    for (jobs, is_held) in [(vec![job], true), (vec![], true), (vec![], false)] {
        rig.event(Event::Pinged { worker, jobs });
        let is_leased = rig.core.durable().attempts.keys().any(|a| a.job == job);
        assert_eq!(is_leased, is_held);
    }
    assert!(rig.core.job(job).is_some(), "it runs again");
}

#[test]
fn a_listed_job_without_a_result_fails_at_the_second_time() {
    let mut rig = Rig::new(1);
    let worker = rig.start_workers()[0];
    rig.poll(worker, true);
    let job = rig.submit();
    for _ in 0..2 {
        rig.delivered(worker).expect("a delivery");
        rig.event(Event::Pinged {
            worker,
            jobs: vec![job],
        });
        rig.secs(1);
        rig.poll(worker, true);
        rig.secs(11);
    }
    assert_eq!(rig.ended(job)[0].error_code.as_deref(), Some("no_result"));
}

#[test]
fn a_job_whose_worker_died_runs_alone_and_its_neighbours_are_saved() {
    let mut rig = with_slots(3);
    let jobs = [rig.submit(), rig.submit(), rig.submit()];
    let poison = jobs[1];
    let worker = rig.start_workers()[0];
    poll(&mut rig, worker, 3, true);
    assert_eq!(handed(&mut rig), jobs);
    dies(&mut rig, worker);
    let late = rig.submit();
    let mut deaths = 1;
    for _ in 0..8 {
        rig.secs(60);
        let Some(&worker) = rig.start_workers().first() else {
            break;
        };
        loop {
            poll(&mut rig, worker, 3, true);
            let got = handed(&mut rig);
            if got.is_empty() {
                break;
            }
            if got.contains(&poison) {
                assert_eq!(got, [poison], "it runs alone");
                dies(&mut rig, worker);
                deaths += 1;
                break;
            }
            for job in got {
                assert_eq!(rig.finish(worker, job), Answer::Recorded);
            }
        }
    }
    assert_eq!(deaths, 3);
    assert_eq!(rig.ended(poison)[0].state, FinalState::Failed);
    for job in [jobs[0], jobs[2], late] {
        let ended = rig.ended(job);
        assert_eq!(
            ended.first().map(|end| end.state),
            Some(FinalState::Completed)
        );
    }
}

#[test]
fn nobody_overtakes_a_suspect_on_a_busy_worker() {
    let mut rig = with_slots(2);
    let suspect = rig.submit();
    let worker = rig.start_workers()[0];
    poll(&mut rig, worker, 1, true);
    assert_eq!(handed(&mut rig), [suspect]);
    dies(&mut rig, worker);
    rig.secs(5);
    let worker = rig.start_workers()[0];
    let (second, third) = (rig.submit(), rig.submit());
    poll(&mut rig, worker, 2, true);
    assert_eq!(
        handed(&mut rig),
        [suspect],
        "alone, although there is room for two"
    );
    poll(&mut rig, worker, 1, false);
    assert_eq!(handed(&mut rig), [], "and nobody beside it");
    assert_eq!(rig.finish(worker, suspect), Answer::Recorded);
    assert_eq!(handed(&mut rig), [second]);
    poll(&mut rig, worker, 1, false);
    assert_eq!(handed(&mut rig), [third]);
}

#[test]
fn a_job_that_ends_its_workers_is_set_aside_with_evidence_and_can_be_replayed() {
    let mut rig = with_slots(1);
    let job = rig.submit();
    for _ in 0..3 {
        rig.secs(60);
        let worker = rig.start_workers()[0];
        rig.poll(worker, true);
        rig.delivered(worker).expect("a delivery");
        dies(&mut rig, worker);
    }
    let ended = rig.ended(job)[0].clone();
    assert_eq!(ended.error_code.as_deref(), Some("worker_lost"));
    let kept = ended.expires_at.since(ended.ended_at);
    assert_eq!(
        kept,
        DurationMs::from_secs(7 * 86_400),
        "half an hour is the endpoint's"
    );
    let evidence = audited(&rig, "worker_died_with_job");
    assert_eq!(evidence.len(), 3);
    for (line, number) in evidence.iter().zip(1..) {
        let start = format!("attempt {number} of generation 0 on worker ");
        assert!(
            line.starts_with(&start) && line.contains("exit code 3"),
            "{line}"
        );
    }
    retry(&mut rig, job, 0);
    rig.secs(60);
    let worker = rig.start_workers()[0];
    rig.poll(worker, true);
    rig.delivered(worker).expect("it runs again");
    assert_eq!(rig.finish(worker, job), Answer::Recorded);
    assert_eq!(rig.ended(job)[1].state, FinalState::Completed);
}

#[test]
fn a_job_that_the_worker_should_not_have_is_stopped_and_then_its_worker_replaced() {
    let mut rig = with_slots(2);
    let worker = rig.start_workers()[0];
    poll(&mut rig, worker, 2, true);
    let job = rig.submit();
    assert_eq!(handed(&mut rig), [job]);
    // The books say that it never got there, and it hangs there.
    rig.event(Event::DeliverFailed {
        worker,
        jobs: vec![job],
    });
    let stop = Effect::StopJob { worker, job };
    let end = Effect::StopWorker { worker };
    for heartbeat in 0..7 {
        rig.event(Event::Pinged {
            worker,
            jobs: vec![job],
        });
        assert_eq!(rig.effects.contains(&stop), heartbeat > 0);
        assert_eq!(rig.effects.contains(&end), heartbeat == 6);
        rig.secs(10);
    }
    rig.secs(60);
    assert!(rig.effects.contains(&Effect::KillWorker { worker }));
    assert_eq!(audited(&rig, "job_unaccounted").len(), 1);
}

#[test]
fn what_cannot_be_written_to_a_worker_says_nothing_of_the_job() {
    let mut rig = with_slots(1);
    let worker = rig.start_workers()[0];
    let job = rig.submit();
    // More often than a job without a result may run.
    for _ in 0..8 {
        poll(&mut rig, worker, 1, true);
        assert_eq!(handed(&mut rig), [job]);
        rig.secs(1);
        rig.event(Event::DeliverFailed {
            worker,
            jobs: vec![job],
        });
        rig.secs(1);
    }
    assert_eq!(rig.ended(job).len(), 0);
    poll(&mut rig, worker, 1, true);
    assert_eq!(handed(&mut rig), [job]);
    assert_eq!(rig.finish(worker, job), Answer::Recorded);
    assert_eq!(rig.ended(job)[0].state, FinalState::Completed);
}

#[test]
fn a_list_that_runs_behind_by_a_heartbeat_replaces_nobody() {
    let mut rig = with_slots(2);
    let worker = rig.start_workers()[0];
    poll(&mut rig, worker, 2, true);
    for _ in 0..10 {
        let job = rig.submit();
        assert_eq!(handed(&mut rig), [job]);
        assert_eq!(rig.finish(worker, job), Answer::Recorded);
        rig.event(Event::Pinged {
            worker,
            jobs: vec![job],
        });
        rig.secs(10);
        poll(&mut rig, worker, 2, true);
    }
    assert!(!rig.effects.contains(&Effect::StopWorker { worker }));
}

/// No cards; a twin that RunPod may have, given up and fenced.
fn with_twin() -> (Rig, AttemptId) {
    let mut rig = Rig::new(0);
    let job = rig.submit();
    let twin = rig.cloud_submission().expect("a submission");
    rig.event(Event::CloudSubmitUnknown {
        attempt: twin,
        detail: String::new(),
    });
    let request = rig.request();
    rig.event(Event::CancelAsked { request, job });
    assert_eq!(rig.store.attempts[&twin].fenced, Some(Fence::Cancelled));
    (rig, twin)
}

fn counted(rig: &mut Rig, live: u32) {
    let pool = cloud_pool();
    rig.event(Event::CloudJobsCounted { pool, live });
}

#[test]
fn a_twin_that_runpod_does_not_count_gives_its_place_back() {
    let (mut rig, twin) = with_twin();
    rig.secs(5);
    counted(&mut rig, 0);
    rig.secs(20);
    counted(&mut rig, 0);
    assert!(
        rig.store.attempts.contains_key(&twin),
        "a fresh job may be counted late"
    );
    rig.secs(11);
    counted(&mut rig, 0);
    assert!(!rig.store.attempts.contains_key(&twin));
}

#[test]
fn a_twin_that_runpod_may_count_keeps_its_place() {
    let (mut rig, twin) = with_twin();
    for live in [0, 0, 1, 0] {
        rig.secs(20);
        counted(&mut rig, live);
    }
    assert!(rig.store.attempts.contains_key(&twin));
}

#[test]
fn a_pool_out_of_the_configuration_is_scaled_to_zero_until_that_is_confirmed() {
    let mut rig = Rig::new(0);
    rig.submit();
    let attempt = rig.cloud_submission().expect("a submission");
    rig.event(Event::CloudSubmitted {
        attempt,
        cloud_job: "c1".into(),
    });
    rig.secs(1);
    rig.effects.clear();
    let mut without = topology(0);
    without.endpoints[0].pools.pop();
    configure(&mut rig, without);
    let pool = cloud_pool();
    let zero = Effect::CloudScale {
        pool,
        min: 0,
        max: 0,
    };
    let take = |rig: &mut Rig| rig.find(|effect| (*effect == zero).then_some(())).is_some();
    assert!(take(&mut rig));
    rig.event(Event::CloudFailed {
        pool,
        refusal: CloudRefusal::Unreachable,
        detail: String::new(),
    });
    assert!(!take(&mut rig));
    rig.secs(2);
    assert!(take(&mut rig), "asked again after the pause");
    rig.event(Event::CloudStatus {
        attempt,
        state: CloudJobState::Cancelled,
    });
    assert_eq!(rig.store.pools[&pool].reserved_workers, 1);
    rig.event(Event::CloudScaled {
        pool,
        min: 0,
        max: 0,
    });
    assert_eq!(rig.store.pools[&pool].reserved_workers, 0);
    rig.secs(120);
    assert!(!take(&mut rig), "confirmed");
}

#[test]
fn a_pool_that_goes_on_refusing_gives_way_to_the_next_in_line() {
    let mut rig = Rig::new(0);
    let mut two = topology(0);
    let mut second = two.endpoints[0].pools[1].clone();
    second.key = "def".into();
    let PoolKind::RunPod(spec) = &mut second.kind else {
        panic!("the second pool is RunPod's");
    };
    spec.endpoint = "def".into();
    two.endpoints[0].pools.push(second);
    two.endpoints[0].limits.max = 1;
    configure(&mut rig, two);
    rig.submit();
    for _ in 0..60 {
        while let Some((attempt, pool)) = rig.find(|effect| match effect {
            Effect::CloudSubmit { attempt, pool, .. } => Some((*attempt, *pool)),
            _ => None,
        }) {
            if pool == PoolId(2) {
                return;
            }
            rig.event(Event::CloudRefused {
                attempt,
                refusal: CloudRefusal::EndpointGone,
                retry_after: None,
                detail: String::new(),
            });
        }
        rig.secs(1);
    }
    panic!("the second pool never got the job");
}

#[test]
fn a_purge_takes_what_waits_at_runpod_and_leaves_what_runs() {
    let mut rig = Rig::new(0);
    let (waits, runs) = (rig.submit(), rig.submit());
    rig.secs(1);
    let mut attempts = Vec::new();
    while let Some(attempt) = rig.cloud_submission() {
        let cloud_job = attempt.job.to_string();
        rig.event(Event::CloudSubmitted { attempt, cloud_job });
        attempts.push(attempt);
    }
    assert_eq!(attempts.len(), 2);
    rig.event(Event::CloudStatus {
        attempt: attempts[1],
        state: CloudJobState::Running {
            worker: None,
            delay: None,
        },
    });
    let request = rig.request();
    rig.event(Event::PurgeAsked {
        request,
        endpoint: TTS,
    });
    assert_eq!(rig.answer(request), Answer::Purged { removed: 1 });
    assert_eq!(rig.ended(waits)[0].error_code.as_deref(), Some("purged"));
    assert!(rig.core.job(runs).is_some());
    let cancel = Effect::CloudCancel {
        attempt: attempts[0],
        pool: cloud_pool(),
        cloud_job: waits.to_string(),
        only_if_queued: false,
    };
    assert!(rig.effects.contains(&cancel));
}
