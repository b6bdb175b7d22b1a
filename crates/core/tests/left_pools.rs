//! Pools that left the configuration while the server was stopped: what they have at RunPod is seen to.

use overspill_core::change::Change;
use overspill_core::drift::HourRecord;
use overspill_core::effect::Effect;
use overspill_core::event::{
    BillRead, CloudJobState, CloudRefusal, CloudWorkerCounts, Event, Outcome, PayloadRef,
};
use overspill_core::id::{AttemptId, PoolId};
use overspill_core::money::NanoUsd;
use overspill_core::pool::PoolRecord;
use overspill_core::time::{DurationMs, Timestamp};
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

impl Rig {
    /// The cloud pool leads to another endpoint at RunPod, by a reload or by a restart.
    fn leads_to(&mut self, endpoint: &str, is_reload: bool) {
        let topology = with_cloud("abc", endpoint);
        self.effects.clear();
        if is_reload {
            self.reload(topology);
        } else {
            self.restart_as(topology, Vec::new());
        }
    }

    /// Where the pools of a name lead.
    fn named(&self, key: &str) -> Vec<String> {
        let pools = self.store.pools.values();
        let named = pools.filter(|pool| pool.key == key);
        named
            .filter_map(|pool| pool.leads().map(Into::into))
            .collect()
    }
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
    let is_left = |rig: &Rig| rig.core.left_pools().any(|left| left.id == cloud_pool());
    assert!(is_left(&rig), "a job is there");
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
    assert!(!is_left(&rig));
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
fn limits_are_the_users_where_a_configured_pool_that_is_not_managed_leads_to_the_same_endpoint() {
    let by_hand = |topology: &mut Topology| {
        topology.endpoints[0].name = "speech".into();
        let pool = topology.endpoints[0].pools.last_mut();
        if let PoolKind::RunPod(spec) = &mut pool.expect("a pool").kind {
            spec.manage = false;
        }
    };
    for is_reload in [false, true] {
        let (mut rig, _) = with_a_job();
        let mut renamed = topology(0);
        by_hand(&mut renamed);
        rig.effects.clear();
        if is_reload {
            rig.reload(renamed);
        } else {
            rig.restart_as(renamed, Vec::new());
        }
        rig.secs(60);
        assert_eq!(asked(&mut rig, cloud_pool()), None);
        assert!(audited(&rig, "pool_retired").is_empty());
    }
}

#[test]
fn a_local_pool_of_its_name_hides_no_limits() {
    let (mut rig, _) = with_a_job();
    let mut local = without_cloud();
    let mut pool = local.endpoints[0].pools[0].clone();
    pool.key = "abc".into();
    local.endpoints[0].pools.push(pool);
    rig.restart_as(local, Vec::new());
    assert_eq!(asked(&mut rig, cloud_pool()), Some((0, 0)));
    assert_eq!(rig.store.pools[&cloud_pool()].key, "abc (abc)");
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
    for is_reload in [false, true] {
        let (mut rig, attempt) = with_a_job();
        rig.leads_to("def", is_reload);
        assert_eq!(asked(&mut rig, cloud_pool()), Some((0, 0)));
        let old = &rig.store.pools[&cloud_pool()];
        assert_eq!(old.key, "abc (abc)");
        assert!(old.leads_to.as_ref().is_some_and(|to| to.has_limits));
        assert_eq!(old.leads(), Some("abc"));
        let watches = |effect: &Effect| {
            matches!(effect, Effect::CloudWatch { attempt: of, pool, .. }
                if (*of, *pool) == (attempt, cloud_pool()))
            .then_some(())
        };
        // A reload leaves it watched where it is.
        assert_eq!(rig.find(watches).is_none(), is_reload);
        assert_eq!(rig.store.attempts[&attempt].pool, cloud_pool());
        assert_eq!(rig.named("abc"), ["def"]);
        // What is lowered there is lowered until RunPod confirms it, and through a restart.
        rig.leads_to("def", false);
        assert_eq!(asked(&mut rig, cloud_pool()), Some((0, 0)));
        confirmed(&mut rig, cloud_pool(), (0, 0));
        rig.leads_to("def", false);
        assert_eq!(asked(&mut rig, cloud_pool()), None);
    }
}

#[test]
fn what_only_waits_at_a_pool_that_left_comes_back_and_what_runs_ends_there() {
    for is_reload in [false, true] {
        let (mut rig, waiting) = with_a_job();
        let ran = rig.submit();
        rig.secs(2);
        let running = rig.cloud_submission().expect("a submission");
        rig.event(Event::CloudSubmitted {
            attempt: running,
            cloud_job: "c2".into(),
        });
        rig.event(Event::CloudStatus {
            attempt: running,
            state: CloudJobState::Running {
                worker: Some("w1".into()),
                delay: None,
            },
        });
        rig.leads_to("def", is_reload);
        let cancels: Vec<AttemptId> = std::iter::from_fn(|| {
            rig.find(|effect| match effect {
                Effect::CloudCancel { attempt, .. } => Some(*attempt),
                _ => None,
            })
        })
        .collect();
        assert_eq!(cancels, [waiting]);
        rig.event(Event::CloudStatus {
            attempt: waiting,
            state: CloudJobState::Cancelled,
        });
        rig.secs(2);
        let again = rig.cloud_submission().expect("in the other pool");
        assert_eq!((again.job, again.number), (waiting.job, 2));
        assert_ne!(rig.store.attempts[&again].pool, cloud_pool());
        assert_eq!(rig.store.jobs[&ran].attempts, 1);
        assert_eq!(rig.store.attempts[&running].fenced, None);
    }
}

#[test]
fn what_waits_at_runpod_stays_there_where_its_endpoint_left_too() {
    let (mut rig, waiting) = with_a_job();
    let mut topology = topology(0);
    topology.endpoints.clear();
    rig.effects.clear();
    rig.reload(topology);
    rig.secs(60);
    let cancels = |effect: &Effect| matches!(effect, Effect::CloudCancel { .. }).then_some(());
    assert_eq!(rig.find(cancels), None);
    assert_eq!(rig.store.attempts[&waiting].fenced, None);
}

#[test]
fn a_name_that_leads_to_and_fro_is_each_time_the_pool_that_leads_there() {
    for is_reload in [false, true] {
        let (mut rig, attempt) = with_a_job();
        for endpoint in ["def", "abc", "def", "abc", "ghi", "def"] {
            let before = rig.store.pools.values().find(|pool| pool.key == "abc");
            let before = before.map(|pool| (pool.id, pool.leads_to.clone()));
            let (before, leads_to) = before.expect("a pool");
            rig.leads_to(endpoint, is_reload);
            if leads_to.is_some_and(|to| to.has_limits) {
                assert_eq!(asked(&mut rig, before), Some((0, 0)));
            }
            assert_eq!(rig.named("abc"), [endpoint], "one pool has the name");
            rig.submit();
        }
        let mut led: Vec<_> = rig.store.pools.values().map(PoolRecord::leads).collect();
        led.sort();
        assert_eq!(led, [None, Some("abc"), Some("def"), Some("ghi")]);
        assert_eq!(rig.store.attempts[&attempt].pool, cloud_pool());
    }
}

#[test]
fn two_pools_that_change_places_stay_what_they_are() {
    let both = |first: &str, second: &str| {
        let mut topology = with_cloud("one", first);
        let mut other = with_cloud("two", second);
        let pool = other.endpoints[0].pools.pop().expect("a pool");
        topology.endpoints[0].pools.push(pool);
        topology
    };
    let mut rig = Rig::of(both("abc", "def"));
    let of = |rig: &Rig, endpoint: &str| {
        let mut pools = rig.store.pools.values();
        let pool = pools.find(|pool| pool.leads() == Some(endpoint));
        pool.map(|pool| (pool.id, pool.key.clone()))
            .expect("a pool")
    };
    let (abc, def) = (of(&rig, "abc").0, of(&rig, "def").0);
    rig.submit();
    rig.reload(both("def", "abc"));
    assert_eq!(of(&rig, "abc"), (abc, "two".to_owned()));
    assert_eq!(of(&rig, "def"), (def, "one".to_owned()));
    assert!(audited(&rig, "pool_retired").is_empty());
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

#[test]
fn a_lost_attempt_of_an_endpoint_that_left_is_no_end() {
    let (mut rig, attempt) = with_a_job();
    let mut none = topology(0);
    none.endpoints.clear();
    rig.restart_as(none, Vec::new());
    rig.secs(60);
    rig.event(Event::CloudGone { attempt });
    assert!(
        rig.ended(attempt.job).is_empty(),
        "nobody says how often it may be tried"
    );
    rig.restart(0, Vec::new());
    rig.secs(2);
    let again = rig.cloud_submission().expect("once it is back");
    assert_eq!((again.job, again.number), (attempt.job, 2));
}

fn booked(rig: &Rig) -> NanoUsd {
    let lines = rig.changes.iter().filter_map(|change| match change {
        Change::LedgerAdded(entry) if entry.job.is_none() => Some(entry.amount),
        _ => None,
    });
    lines.sum()
}

fn counted(rig: &mut Rig, running: u32, idle: u32) {
    rig.event(Event::CloudHealth {
        pool: cloud_pool(),
        workers: CloudWorkerCounts {
            running,
            idle,
            ..CloudWorkerCounts::default()
        },
    });
}

/// What the ledger says of five minutes of a job and the idle worker after it, where `leave` happens in its midst.
fn cost_of_a_job(leave: impl FnOnce(&mut Rig)) -> (Rig, NanoUsd) {
    let (mut rig, attempt) = with_a_job();
    confirmed(&mut rig, cloud_pool(), (0, 1));
    let running = CloudJobState::Running {
        worker: Some("w1".into()),
        delay: None,
    };
    rig.event(Event::CloudStatus {
        attempt,
        state: running.clone(),
    });
    counted(&mut rig, 1, 0);
    leave(&mut rig);
    rig.event(Event::CloudStatus {
        attempt,
        state: running,
    });
    confirmed(&mut rig, cloud_pool(), (0, 0));
    for _ in 0..60 {
        counted(&mut rig, 1, 0);
        rig.secs(5);
    }
    let output = PayloadRef::default();
    rig.event(Event::CloudStatus {
        attempt,
        state: CloudJobState::Ended {
            outcome: Outcome::Completed { output },
            delay: None,
            execution: Some(DurationMs::from_secs(300)),
            worker: Some("w1".into()),
        },
    });
    for idle in [1, 1, 1, 0] {
        counted(&mut rig, 0, idle);
        rig.secs(1);
    }
    let sum = booked(&rig);
    (rig, sum)
}

#[test]
fn what_workers_of_a_pool_that_left_cost_is_counted_until_they_have_ended() {
    let (_, stays) = cost_of_a_job(|_| ());
    for is_reload in [false, true] {
        let (mut rig, left) = cost_of_a_job(|rig| {
            if is_reload {
                rig.reload(without_cloud());
            } else {
                rig.restart_as(without_cloud(), Vec::new());
            }
        });
        let off = (left.as_nanos() - stays.as_nanos()).abs();
        assert!(off * 50 < stays.as_nanos(), "{left} where {stays} is right");
        // What anybody else has there afterwards is not ours.
        counted(&mut rig, 5, 0);
        rig.secs(600);
        counted(&mut rig, 5, 0);
        assert_eq!(booked(&rig), left);
        assert_eq!(rig.core.bound_now().workers_kept_on, 0);
        assert_eq!(rig.store.pools[&cloud_pool()].reserved_workers, 0);
    }
}

#[test]
fn a_pool_that_left_is_settled_by_the_records_of_hours_in_which_it_was_counted() {
    let (mut rig, counted) = cost_of_a_job(|rig| rig.reload(without_cloud()));
    let began = Timestamp::from_millis(rig.now.as_millis() / 3_600_000 * 3_600_000);
    rig.secs(3 * 3_600);
    assert!(rig.core.left_pools().any(|left| left.id == cloud_pool()));
    let more = NanoUsd::from_nanos(1_000_000);
    let record = |hours: u64, total| HourRecord {
        start: began + DurationMs::from_secs(3_600 * hours),
        compute: total,
        other: NanoUsd::ZERO,
    };
    rig.event(Event::CloudBilled {
        pool: cloud_pool(),
        bill: BillRead {
            records: vec![record(0, counted + more), record(1, counted)],
            list_price: None,
        },
    });
    assert_eq!(
        booked(&rig),
        counted + more,
        "not what others spent an hour later"
    );
    rig.secs(80 * 3_600);
    assert_eq!(rig.core.left_pools().count(), 0, "nothing more is asked");
}

#[test]
fn a_pool_that_another_one_took_over_counts_nothing_more() {
    let (mut rig, _) = with_a_job();
    confirmed(&mut rig, cloud_pool(), (0, 1));
    counted(&mut rig, 1, 0);
    rig.secs(2);
    let mut renamed = topology(0);
    renamed.endpoints[0].name = "speech".into();
    rig.reload(renamed);
    let before = booked(&rig);
    assert!(before > NanoUsd::ZERO, "up to now");
    for _ in 0..10 {
        counted(&mut rig, 1, 0);
        rig.secs(60);
    }
    assert_eq!(booked(&rig), before);
}

#[test]
fn limits_that_cross_a_hand_over_are_asked_for_again() {
    let (mut rig, _) = with_a_job();
    rig.reload(without_cloud());
    assert!(
        rig.find(|effect| matches!(effect, Effect::CloudScale { max: 0, .. }).then_some(()))
            .is_some()
    );
    let mut renamed = topology(0);
    renamed.endpoints[0].name = "speech".into();
    rig.reload(renamed);
    let heir = rig
        .store
        .pools
        .values()
        .find(|pool| pool.endpoint != TTS && pool.leads().is_some());
    let heir = heir.expect("a pool of the new endpoint").id;
    rig.secs(2);
    let before = asked(&mut rig, heir).expect("its own");
    confirmed(&mut rig, heir, before);
    rig.secs(2);
    assert_eq!(asked(&mut rig, heir), None);
    // The order of before comes through only now.
    confirmed(&mut rig, cloud_pool(), (0, 0));
    assert_eq!(asked(&mut rig, heir), Some(before));
}

#[test]
fn a_job_that_nobody_can_ask_about_any_more_is_given_up_when_its_time_there_is_over() {
    for runs in [false, true] {
        let (mut rig, attempt) = with_a_job();
        if runs {
            rig.event(Event::CloudStatus {
                attempt,
                state: CloudJobState::Running {
                    worker: Some("w1".into()),
                    delay: None,
                },
            });
        }
        rig.restart_as(without_cloud(), Vec::new());
        confirmed(&mut rig, cloud_pool(), (0, 0));
        rig.secs(8 * 24 * 3_600);
        assert_eq!(rig.ended(attempt.job).len(), 1);
        assert_eq!(rig.store.attempts.get(&attempt), None);
        assert_eq!(rig.store.pools[&cloud_pool()].reserved_workers, 0);
        assert_eq!(rig.core.left_pools().count(), 0);
    }
}

/// A pool that left while the worker of its only job started: the job is taken back, the worker was counted.
fn left_with_a_worker() -> Rig {
    let (mut rig, attempt) = with_a_job();
    confirmed(&mut rig, cloud_pool(), (0, 1));
    counted(&mut rig, 1, 0);
    rig.reload(without_cloud());
    rig.event(Event::CloudStatus {
        attempt,
        state: CloudJobState::Cancelled,
    });
    confirmed(&mut rig, cloud_pool(), (0, 0));
    rig
}

#[test]
fn money_stays_set_aside_for_the_workers_of_a_pool_that_left_until_they_have_ended() {
    let mut rig = left_with_a_worker();
    let reserved = |rig: &Rig| rig.store.pools[&cloud_pool()].reserved_workers;
    assert_eq!(reserved(&rig), 1);
    rig.secs(2);
    counted(&mut rig, 0, 0);
    assert_eq!(reserved(&rig), 0);
    assert_eq!(
        rig.core.left_pools().filter(|left| left.is_counted).count(),
        0
    );
}

#[test]
fn an_endpoint_that_is_deleted_after_its_pool_left_costs_nothing_more() {
    let mut rig = left_with_a_worker();
    failed(&mut rig, CloudRefusal::EndpointGone);
    rig.secs(86_400);
    let pool = rig.core.pools().find(|pool| pool.record.id == cloud_pool());
    assert_eq!(pool.expect("a pool").pending(rig.now), NanoUsd::ZERO);
    assert_eq!(rig.store.pools[&cloud_pool()].reserved_workers, 0);
}

#[test]
fn workers_that_idle_over_a_restart_are_counted_after_it() {
    let mut rig = left_with_a_worker();
    rig.restart_as(without_cloud(), Vec::new());
    assert_eq!(
        rig.core.left_pools().filter(|left| left.is_counted).count(),
        1
    );
    let before = booked(&rig);
    rig.secs(5);
    counted(&mut rig, 1, 0);
    rig.secs(5);
    counted(&mut rig, 0, 0);
    rig.secs(60);
    assert!(booked(&rig) > before);
    assert_eq!(
        rig.core.left_pools().filter(|left| left.is_counted).count(),
        0
    );
}

#[test]
fn another_endpoint_is_another_pool_even_if_nothing_is_where_it_led() {
    let mut rig = Rig::new(0);
    rig.leads_to("def", true);
    assert_eq!(rig.store.pools[&cloud_pool()].key, "abc (abc)");
    assert_eq!(rig.named("abc"), ["def"]);
    assert_eq!(asked(&mut rig, cloud_pool()), None);
    assert_eq!(rig.core.left_pools().count(), 0);
}
