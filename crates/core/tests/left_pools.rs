//! Pools that left the configuration while the server was stopped: what they have at RunPod is seen to.

use overspill_core::change::Change;
use overspill_core::effect::Effect;
use overspill_core::event::{CloudJobState, CloudRefusal, Event, Outcome, PayloadRef};
use overspill_core::id::{AttemptId, PoolId};
use overspill_core::pool::LeadsTo;
use overspill_core::topology::{PoolKind, Topology};

use crate::rig::{Rig, TTS, cloud_pool, topology};

fn without_cloud() -> Topology {
    let mut topology = topology(0);
    topology.endpoints[0].pools.pop();
    topology
}

/// The cloud pool with another name, or another endpoint at RunPod.
fn with_cloud(key: &str, endpoint: &str) -> Topology {
    let mut topology = topology(0);
    let pool = topology.endpoints[0].pools.last_mut().expect("a pool");
    key.clone_into(&mut pool.key);
    let PoolKind::RunPod(spec) = &mut pool.kind else {
        panic!("the last pool is the cloud's");
    };
    endpoint.clone_into(&mut spec.endpoint);
    topology
}

/// A server with a job in the cloud.
fn with_a_job() -> (Rig, AttemptId) {
    let mut rig = Rig::new(0);
    rig.submit();
    let attempt = rig.cloud_submission().expect("a submission");
    rig.event(Event::CloudSubmitted {
        attempt,
        cloud_job: "c1".into(),
    });
    (rig, attempt)
}

/// What a pool's limits are asked to be, if anything is.
fn asked(rig: &mut Rig, of: PoolId) -> Option<(u32, u32)> {
    rig.find(|effect| match effect {
        Effect::CloudScale { pool, min, max } if *pool == of => Some((*min, *max)),
        _ => None,
    })
}

fn audited(rig: &Rig, name: &str) -> Vec<String> {
    let changes = rig.changes.iter();
    let rows = changes.filter_map(|change| match change {
        Change::Audited { what, detail, .. } if what == name => Some(detail.clone()),
        _ => None,
    });
    rows.collect()
}

fn failed(rig: &mut Rig, refusal: CloudRefusal) {
    rig.event(Event::CloudFailed {
        pool: cloud_pool(),
        refusal,
        detail: String::new(),
    });
}

fn confirmed(rig: &mut Rig, pool: PoolId, (min, max): (u32, u32)) {
    rig.event(Event::CloudScaled { pool, min, max });
}

#[test]
fn its_limits_are_lowered_at_the_next_start_until_runpod_confirms_that() {
    let (mut rig, attempt) = with_a_job();
    rig.changes.clear();
    rig.restart_as(without_cloud(), Vec::new());
    assert_eq!(asked(&mut rig, cloud_pool()), Some((0, 0)));
    assert_eq!(
        audited(&rig, "pool_retired"),
        [
            "pool abc is no longer configured; RunPod endpoint abc: no worker is to start there any more"
        ]
    );
    failed(&mut rig, CloudRefusal::Unreachable);
    assert_eq!(asked(&mut rig, cloud_pool()), None, "there is a pause");
    rig.secs(2);
    assert_eq!(asked(&mut rig, cloud_pool()), Some((0, 0)));
    // And so it goes on if the server stops before that was answered.
    rig.restart_as(without_cloud(), Vec::new());
    assert_eq!(asked(&mut rig, cloud_pool()), Some((0, 0)));
    rig.event(Event::CloudStatus {
        attempt,
        state: CloudJobState::Cancelled,
    });
    assert_eq!(rig.store.pools[&cloud_pool()].reserved_workers, 1);
    confirmed(&mut rig, cloud_pool(), (0, 0));
    assert_eq!(rig.store.pools[&cloud_pool()].reserved_workers, 0);
    assert_eq!(audited(&rig, "pool_lowered").len(), 1);
    rig.restart_as(without_cloud(), Vec::new());
    rig.secs(120);
    assert_eq!(asked(&mut rig, cloud_pool()), None, "it is done");
}

#[test]
fn the_whole_endpoint_may_have_left() {
    let (mut rig, _) = with_a_job();
    let mut topology = topology(0);
    topology.endpoints.clear();
    rig.restart_as(topology, Vec::new());
    assert_eq!(asked(&mut rig, cloud_pool()), Some((0, 0)));
}

#[test]
fn its_jobs_are_watched_to_their_end() {
    let (mut rig, attempt) = with_a_job();
    rig.restart_as(without_cloud(), Vec::new());
    let watched = rig.find(|effect| match effect {
        Effect::CloudWatch {
            attempt,
            pool,
            cloud_job,
        } => Some((*attempt, *pool, cloud_job.clone())),
        _ => None,
    });
    assert_eq!(watched, Some((attempt, cloud_pool(), "c1".into())));
    confirmed(&mut rig, cloud_pool(), (0, 0));
    let pool = rig.core.pools().find(|p| p.record.id == cloud_pool());
    assert!(pool.expect("a pool").left_at().is_some(), "a job is there");
    let output = PayloadRef::default();
    rig.event(Event::CloudStatus {
        attempt,
        state: CloudJobState::Ended {
            outcome: Outcome::Completed { output },
            delay: None,
            execution: None,
            worker: None,
        },
    });
    assert_eq!(rig.ended(attempt.job).len(), 1);
    let pool = rig.core.pools().find(|p| p.record.id == cloud_pool());
    assert_eq!(pool.expect("a pool").left_at(), None);
    assert_eq!(rig.store.pools[&cloud_pool()].reserved_workers, 0);
}

#[test]
fn limits_that_were_never_ours_are_left_alone() {
    let unmanaged = |topology: &mut Topology| {
        let pool = topology.endpoints[0].pools.last_mut();
        if let PoolKind::RunPod(spec) = &mut pool.expect("a pool").kind {
            spec.manage = false;
        }
    };
    let mut manual = topology(0);
    unmanaged(&mut manual);
    let mut rig = Rig::of(manual);
    rig.submit();
    rig.cloud_submission().expect("a submission");
    rig.restart_as(without_cloud(), Vec::new());
    assert_eq!(asked(&mut rig, cloud_pool()), None);
    // Nor are those where no worker was ever wanted.
    let mut rig = Rig::new(0);
    rig.restart_as(without_cloud(), Vec::new());
    assert_eq!(asked(&mut rig, cloud_pool()), None);
}

#[test]
fn an_endpoint_that_is_gone_needs_no_lowering() {
    let (mut rig, _) = with_a_job();
    rig.restart_as(without_cloud(), Vec::new());
    assert_eq!(asked(&mut rig, cloud_pool()), Some((0, 0)));
    failed(&mut rig, CloudRefusal::EndpointGone);
    rig.secs(300);
    assert_eq!(asked(&mut rig, cloud_pool()), None);
    assert!(audited(&rig, "pool_lowered")[0].ends_with("there is no such endpoint any more"));
}

#[test]
fn a_pool_that_comes_back_is_not_lowered_and_what_holds_is_asked_for() {
    let (mut rig, _) = with_a_job();
    rig.restart_as(without_cloud(), Vec::new());
    rig.restart(0, Vec::new());
    assert_ne!(asked(&mut rig, cloud_pool()), None);
    assert!(
        rig.store.pools[&cloud_pool()]
            .leads_to
            .as_ref()
            .is_some_and(|to| to.has_limits)
    );
}

#[test]
fn another_endpoint_under_the_same_name_leaves_none_behind() {
    let (mut rig, attempt) = with_a_job();
    rig.restart_as(with_cloud("abc", "def"), Vec::new());
    assert_eq!(asked(&mut rig, cloud_pool()), Some((0, 0)));
    let old = &rig.store.pools[&cloud_pool()];
    assert_eq!(old.key, "abc (abc)");
    assert_eq!(
        old.leads_to,
        Some(LeadsTo {
            endpoint: "abc".into(),
            has_limits: true
        })
    );
    let watches = |effect: &Effect| {
        matches!(effect, Effect::CloudWatch { attempt: of, pool, .. }
            if (*of, *pool) == (attempt, cloud_pool()))
        .then_some(())
    };
    assert!(rig.find(watches).is_some(), "where it was submitted");
    let new = rig.store.pools.values().find(|pool| pool.key == "abc");
    let new = new.expect("a pool").clone();
    assert_eq!(new.leads_to.map(|to| to.endpoint), Some("def".into()));
}

#[test]
fn a_pool_with_another_name_is_the_same_pool() {
    let (mut rig, _) = with_a_job();
    rig.changes.clear();
    rig.restart_as(with_cloud("eu", "abc"), Vec::new());
    assert_eq!(rig.store.pools[&cloud_pool()].key, "eu");
    assert_ne!(asked(&mut rig, cloud_pool()), Some((0, 0)));
    assert!(audited(&rig, "pool_retired").is_empty());
}

#[test]
fn an_endpoint_with_another_name_takes_the_limits_over() {
    let (mut rig, _) = with_a_job();
    rig.changes.clear();
    let mut renamed = topology(0);
    renamed.endpoints[0].name = "speech".into();
    rig.restart_as(renamed, Vec::new());
    assert_eq!(asked(&mut rig, cloud_pool()), None, "not ours any more");
    assert!(audited(&rig, "pool_retired").is_empty());
    let heir = rig.store.pools.values().find(|pool| {
        pool.endpoint != TTS && pool.leads_to.as_ref().is_some_and(|to| to.has_limits)
    });
    let heir = heir.expect("a pool of the new endpoint").id;
    assert_eq!(
        asked(&mut rig, heir),
        Some((0, 0)),
        "no job of its own waits"
    );
}

#[test]
fn workers_kept_on_by_an_earlier_version_are_lowered_too() {
    let (mut rig, _) = with_a_job();
    let record = rig.store.pools.get_mut(&cloud_pool()).expect("a pool");
    record.leads_to = None;
    record.kept_on.workers = 2;
    record.kept_on.endpoint = "abc".into();
    rig.restart_as(without_cloud(), Vec::new());
    assert_eq!(asked(&mut rig, cloud_pool()), Some((0, 0)));
    assert_eq!(rig.core.bound_now().workers_kept_on, 2);
    confirmed(&mut rig, cloud_pool(), (0, 0));
    assert_eq!(rig.core.bound_now().workers_kept_on, 0);
}
