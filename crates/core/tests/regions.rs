//! Several cloud pools: by the caller's region, its residency, health and price; and what is stuck at one
//! goes to another.

use overspill_core::change::{Change, FinalState};
use overspill_core::effect::{Answer, Effect, SubmitRefusal};
use overspill_core::event::{
    CloudJobState, CloudRefusal, CloudWorkerCounts, Event, NewJob, Outcome, PayloadRef,
};
use overspill_core::explain::Reason;
use overspill_core::id::{AttemptId, JobId, PoolId};
use overspill_core::money::{NanoUsd, RatePerHour};
use overspill_core::placement::pool_order::Because;
use overspill_core::region::Region;
use overspill_core::time::DurationMs;
use overspill_core::topology::{Limits, PoolKind, RunPodSpec, Topology};

use crate::rig::{Rig, TTS, new_job, topology};

const EU: PoolId = PoolId(1);
const US: PoolId = PoolId(2);

fn region(name: &str) -> Region {
    name.parse().expect("a region's name")
}

fn runpod(topology: &mut Topology, pool: PoolId) -> &mut RunPodSpec {
    match &mut topology.endpoints[0].pools[pool.0 as usize].kind {
        PoolKind::RunPod(spec) => spec,
        PoolKind::Command { .. } => panic!("pool {pool} is local"),
    }
}

/// `local` cards and two cloud pools of one slot: `abc` near eu, `def` near us; changed by `change`.
fn with(local: u32, change: impl Fn(&mut Topology)) -> Rig {
    let mut topology = topology(local);
    let endpoint = &mut topology.endpoints[0];
    endpoint.limits = Limits { min: 0, max: 4 };
    let mut second = endpoint.pools[1].clone();
    "def".clone_into(&mut second.key);
    endpoint.pools.push(second);
    for (pool, name, list) in [(EU, "eu", 0), (US, "us", 1)] {
        topology.endpoints[0].pools[pool.0 as usize].slots = 1;
        let spec = runpod(&mut topology, pool);
        spec.region = Some(region(name));
        spec.gpu = Some(format!("a card in {name}"));
        spec.list = list;
    }
    change(&mut topology);
    let mut rig = Rig::new(local);
    rig.event(Event::Configured {
        topology: Box::new(topology),
    });
    rig.secs(1);
    rig
}

fn keep_in_eu(topology: &mut Topology) {
    topology.endpoints[0].residency = [region("eu")].into();
}

fn submit(rig: &mut Rig, from: &str) -> JobId {
    let id = JobId::new(u128::from(rig.number()), false);
    assert_eq!(try_submit(rig, id, from), Answer::Submitted { job: id });
    id
}

fn try_submit(rig: &mut Rig, id: JobId, from: &str) -> Answer {
    let request = rig.request();
    let job = NewJob {
        region: (!from.is_empty()).then(|| region(from)),
        ..new_job(id)
    };
    rig.event(Event::Submitted { request, job });
    rig.answer(request)
}

/// The next submission: which attempt, and where.
fn submission(rig: &mut Rig) -> Option<(AttemptId, PoolId)> {
    rig.find(|effect| match effect {
        Effect::CloudSubmit { attempt, pool, .. } => Some((*attempt, *pool)),
        _ => None,
    })
}

fn accepted(rig: &mut Rig, attempt: AttemptId) {
    rig.event(Event::CloudSubmitted {
        attempt,
        cloud_job: format!("c{}", attempt.number),
    });
}

fn workers(rig: &mut Rig, pool: PoolId, workers: CloudWorkerCounts) {
    rig.event(Event::CloudHealth { pool, workers });
}

fn running(n: u32) -> CloudWorkerCounts {
    CloudWorkerCounts {
        running: n,
        ..CloudWorkerCounts::default()
    }
}

fn throttled(n: u32) -> CloudWorkerCounts {
    CloudWorkerCounts {
        throttled: n,
        ..CloudWorkerCounts::default()
    }
}

/// What is asked to be taken back, confirmed by RunPod.
fn take_backs(rig: &mut Rig) -> Vec<AttemptId> {
    let mut found = Vec::new();
    while let Some(attempt) = rig.find(|effect| match effect {
        Effect::CloudCancel {
            attempt,
            only_if_queued: true,
            ..
        } => Some(*attempt),
        _ => None,
    }) {
        found.push(attempt);
        rig.event(Event::CloudStatus {
            attempt,
            state: CloudJobState::Cancelled,
        });
    }
    found
}

fn refuse(rig: &mut Rig, attempt: AttemptId, refusal: CloudRefusal) {
    rig.event(Event::CloudRefused {
        attempt,
        refusal,
        retry_after: None,
        detail: String::new(),
    });
}

#[test]
fn a_job_goes_to_the_pool_near_its_caller() {
    let mut rig = with(0, |_| {});
    for (from, pool) in [("us", US), ("eu", EU), ("asia", EU), ("", EU)] {
        let job = submit(&mut rig, from);
        rig.secs(1);
        let (attempt, chosen) = submission(&mut rig).expect("a submission");
        assert_eq!((attempt.job, chosen), (job, pool), "from {from:?}");
    }
}

#[test]
fn its_story_says_where_it_ran_and_why_there() {
    let mut rig = with(0, |_| {});
    let job = submit(&mut rig, "us");
    rig.secs(1);
    let (attempt, _) = submission(&mut rig).unwrap();
    assert_eq!(
        rig.core.live_job(job).unwrap().because,
        Some(Because::Nearest)
    );
    accepted(&mut rig, attempt);
    rig.event(Event::CloudStatus {
        attempt,
        state: CloudJobState::Ended {
            outcome: Outcome::Completed {
                output: PayloadRef::default(),
            },
            worker: Some("w1".into()),
            delay: None,
            execution: Some(DurationMs::from_secs(3)),
        },
    });
    let ended = &rig.ended(job)[0];
    assert_eq!(
        (ended.state, ended.region),
        (FinalState::Completed, Some(region("us")))
    );
    let site = rig.changes.iter().find_map(|change| match change {
        Change::AttemptEnded(ended) => ended.site.clone(),
        _ => None,
    });
    let site = site.expect("it ran in the cloud");
    assert_eq!(site.gpu.as_deref(), Some("a card in us"));
    assert_eq!(
        (site.region, site.because),
        (Some(region("us")), Some(Because::Nearest))
    );
}

#[test]
fn among_equals_the_cheaper_pool_comes_first_but_a_list_is_filled_in_its_order() {
    let cheap = NanoUsd::parse_usd("0.20").map(RatePerHour::new);
    let mut rig = with(0, |topology| runpod(topology, US).price = cheap);
    submit(&mut rig, "");
    rig.secs(1);
    assert_eq!(submission(&mut rig).map(|(_, pool)| pool), Some(US));
    let mut rig = with(0, |topology| {
        let spec = runpod(topology, US);
        (spec.price, spec.list) = (cheap, 0);
        runpod(topology, EU).max = Some(1);
    });
    for pool in [EU, US] {
        submit(&mut rig, "");
        rig.secs(1);
        assert_eq!(submission(&mut rig).map(|(_, pool)| pool), Some(pool));
    }
}

#[test]
fn a_resident_job_waits_while_its_region_is_out_and_others_pass_it() {
    let mut rig = with(0, keep_in_eu);
    let stays = submit(&mut rig, "eu");
    rig.secs(1);
    let (attempt, pool) = submission(&mut rig).unwrap();
    assert_eq!((attempt.job, pool), (stays, EU));
    refuse(&mut rig, attempt, CloudRefusal::Unreachable);
    let goes = submit(&mut rig, "us");
    rig.secs(1);
    for _ in 0..600 {
        rig.secs(1);
        while let Some((attempt, pool)) = submission(&mut rig) {
            if attempt.job == goes {
                assert_eq!(pool, US);
                accepted(&mut rig, attempt);
            } else {
                assert_eq!((attempt.job, pool), (stays, EU), "never elsewhere");
                refuse(&mut rig, attempt, CloudRefusal::Unreachable);
            }
        }
    }
    assert!(rig.core.job(stays).is_some(), "it is not lost");
    assert_eq!(rig.core.live_job(goes).unwrap().pool, Some(US));
}

#[test]
fn a_resident_job_runs_on_a_card_of_ours() {
    let mut rig = with(1, |topology| {
        keep_in_eu(topology);
        runpod(topology, EU).region = Some(region("us"));
    });
    let worker = rig.start_workers()[0];
    let job = submit(&mut rig, "eu");
    rig.secs(120);
    assert_eq!(submission(&mut rig), None, "no pool is in eu");
    let (endpoint, standing) = rig.core.standing(job).unwrap();
    let causes = rig.core.situation(endpoint).unwrap().why_job(&standing);
    let resident = causes.iter().find(|cause| cause.code() == "resident");
    let text = resident.expect("the reason").to_string();
    assert!(text.contains("no cloud pool is there"), "{text}");
    rig.poll(worker, true);
    assert_eq!(rig.delivered(worker).map(|attempt| attempt.job), Some(job));
}

#[test]
fn a_job_that_could_never_run_is_refused() {
    let mut rig = with(0, |topology| {
        keep_in_eu(topology);
        runpod(topology, EU).region = None;
    });
    let refusal = SubmitRefusal::Homeless {
        region: region("eu"),
    };
    let answer = try_submit(&mut rig, JobId::new(900, false), "eu");
    assert_eq!(answer, Answer::SubmitRefused(refusal));
    submit(&mut rig, "us");
    submit(&mut rig, "");
}

#[test]
fn jobs_come_back_from_a_pool_that_gets_no_workers_and_run_in_another() {
    let mut rig = with(0, |_| {});
    let job = submit(&mut rig, "eu");
    rig.secs(1);
    let (attempt, pool) = submission(&mut rig).unwrap();
    assert_eq!(pool, EU);
    accepted(&mut rig, attempt);
    workers(&mut rig, EU, throttled(1));
    rig.secs(28);
    assert_eq!(take_backs(&mut rig), []);
    rig.secs(3);
    assert_eq!(take_backs(&mut rig), [attempt]);
    rig.secs(1);
    let (second, pool) = submission(&mut rig).expect("it goes elsewhere");
    assert_eq!((second.job, second.number, pool), (job, 2, US));
    let because = rig.core.live_job(job).unwrap().because;
    assert_eq!(because, Some(Because::OthersFail));
    let told = rig.effects.iter().any(|effect| {
        matches!(
            effect,
            Effect::Decided {
                reason: Reason::NoCapacity {
                    pool: EU,
                    jobs: 1,
                    ..
                },
                ..
            }
        )
    });
    assert!(told, "{:?}", rig.effects);
    // The next ones go there at once, and come back once the pool has workers again.
    submit(&mut rig, "eu");
    rig.secs(1);
    assert_eq!(submission(&mut rig).map(|(_, pool)| pool), Some(US));
    workers(&mut rig, EU, running(1));
    submit(&mut rig, "eu");
    rig.secs(1);
    assert_eq!(submission(&mut rig).map(|(_, pool)| pool), Some(EU));
}

#[test]
fn a_job_that_may_not_leave_stays_where_it_is_stuck() {
    let mut rig = with(0, keep_in_eu);
    submit(&mut rig, "eu");
    rig.secs(1);
    let (attempt, _) = submission(&mut rig).unwrap();
    accepted(&mut rig, attempt);
    workers(&mut rig, EU, throttled(1));
    rig.secs(300);
    assert_eq!(take_backs(&mut rig), []);
}

#[test]
fn a_job_whose_worker_went_down_with_its_region_runs_in_another() {
    let mut rig = with(0, |_| {});
    let job = submit(&mut rig, "eu");
    rig.secs(1);
    let (attempt, _) = submission(&mut rig).unwrap();
    accepted(&mut rig, attempt);
    workers(&mut rig, EU, running(1));
    rig.event(Event::CloudStatus {
        attempt,
        state: CloudJobState::Running {
            worker: Some("w1".into()),
            delay: None,
        },
    });
    rig.secs(5);
    workers(&mut rig, EU, CloudWorkerCounts::default());
    rig.secs(40);
    // RunPod has missed the worker: the job waits there again, for a worker that does not come.
    rig.event(Event::CloudStatus {
        attempt,
        state: CloudJobState::Queued,
    });
    assert_eq!(rig.core.live_job(job).unwrap().started_at, None);
    rig.secs(25);
    assert_eq!(take_backs(&mut rig), [attempt]);
    rig.secs(1);
    let (second, pool) = submission(&mut rig).expect("it goes elsewhere");
    assert_eq!((second.job, pool), (job, US));
}

#[test]
fn a_pool_that_goes_on_refusing_is_passed_over() {
    let mut rig = with(0, |_| {});
    let job = submit(&mut rig, "eu");
    rig.secs(1);
    for _ in 0..3 {
        let (attempt, pool) = submission(&mut rig).expect("tried again after the pause");
        assert_eq!(pool, EU);
        refuse(&mut rig, attempt, CloudRefusal::Unreachable);
        for _ in 0..5 {
            rig.secs(1);
        }
    }
    let (attempt, pool) = submission(&mut rig).expect("the other pool");
    assert_eq!((attempt.job, pool), (job, US));
}

#[test]
fn with_the_whole_cloud_out_jobs_wait_for_cards_of_ours() {
    let mut rig = with(1, |_| {});
    let worker = rig.start_workers()[0];
    rig.poll(worker, true);
    let busy = submit(&mut rig, "eu");
    assert_eq!(rig.delivered(worker).map(|attempt| attempt.job), Some(busy));
    let jobs: Vec<JobId> = (0..6).map(|_| submit(&mut rig, "eu")).collect();
    for _ in 0..300 {
        rig.secs(1);
        while let Some((attempt, _)) = submission(&mut rig) {
            refuse(&mut rig, attempt, CloudRefusal::Unreachable);
        }
    }
    rig.finish(worker, busy);
    for &job in &jobs {
        rig.poll(worker, true);
        let attempt = rig
            .delivered(worker)
            .expect("the card serves them in order");
        assert_eq!(attempt.job, job);
        rig.finish(worker, job);
    }
}

#[test]
fn always_on_workers_stay_in_the_first_pool_wherever_jobs_come_from() {
    let mut rig = with(0, |topology| {
        topology.endpoints[0].limits = Limits { min: 1, max: 3 };
        topology.guard.unguarded_min = true;
    });
    rig.secs(1);
    submit(&mut rig, "us");
    rig.secs(1);
    let scales: Vec<(PoolId, u32, u32)> = rig
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::CloudScale { pool, min, max } => Some((*pool, *min, *max)),
            _ => None,
        })
        .collect();
    assert!(scales.contains(&(EU, 1, 1)), "{scales:?}");
    let lowered = |&(pool, min, _): &(PoolId, u32, u32)| pool == EU && min == 0;
    assert!(!scales.iter().any(lowered), "{scales:?}");
    assert!(rig.core.counts_of(TTS).is_some());
}

#[test]
fn a_pool_that_got_no_workers_is_tried_again_with_one_worker() {
    let mut rig = with(0, |_| {});
    submit(&mut rig, "eu");
    rig.secs(1);
    let (attempt, _) = submission(&mut rig).unwrap();
    accepted(&mut rig, attempt);
    workers(&mut rig, EU, throttled(1));
    rig.secs(31);
    assert_eq!(take_backs(&mut rig), [attempt]);
    workers(&mut rig, EU, CloudWorkerCounts::default());
    rig.secs(62);
    while submission(&mut rig).is_some() {}
    for _ in 0..3 {
        submit(&mut rig, "eu");
    }
    rig.secs(1);
    let mut pools = Vec::new();
    while let Some((_, pool)) = submission(&mut rig) {
        pools.push(pool);
    }
    pools.sort_unstable();
    assert_eq!(pools, [EU, US, US]);
}
