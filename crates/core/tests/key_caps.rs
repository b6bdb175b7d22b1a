//! Caps of a key hold on every path: its jobs wait for local cards, those of others go on.

use overspill_core::budget::{CapScope, Caps};
use overspill_core::calendar::Period;
use overspill_core::effect::{Answer, Effect};
use overspill_core::event::{CloudJobState, CloudWorkerCounts, Event, NewJob, Outcome, PayloadRef};
use overspill_core::explain::Reason;
use overspill_core::id::{AttemptId, JobId, KeyId};
use overspill_core::ledger::EntryKind;
use overspill_core::money::NanoUsd;
use overspill_core::time::{DurationMs, Timestamp};
use overspill_core::topology::{PoolKind, Topology};
use overspill_core::why::Cause;

use crate::rig::{Rig, TTS, cloud_pool, new_job};

fn key(text: &str) -> KeyId {
    KeyId::of(text).expect("a key's id")
}

fn usd(text: &str) -> NanoUsd {
    NanoUsd::parse_usd(text).expect("dollars")
}

fn per_day(text: &str) -> Caps {
    Caps {
        per_day: Some(usd(text)),
        ..Caps::default()
    }
}

fn cap(rig: &mut Rig, id: &str, caps: Caps) {
    let request = rig.request();
    rig.event(Event::CapsSet {
        request,
        scope: CapScope::Key(key(id)),
        caps,
        by: "ann".into(),
    });
    assert_eq!(rig.answer(request), Answer::CapsSet { caps });
}

fn submit(rig: &mut Rig, id: &str, change: impl Fn(&mut NewJob)) -> JobId {
    let job = JobId::new(u128::from(rig.number()), false);
    let request = rig.request();
    let mut new = new_job(job);
    new.key = KeyId::of(id);
    change(&mut new);
    rig.event(Event::Submitted { request, job: new });
    assert_eq!(rig.answer(request), Answer::Submitted { job });
    job
}

/// What was submitted to the cloud, in order; each is accepted, and limits are confirmed.
fn submissions(rig: &mut Rig) -> Vec<AttemptId> {
    let mut found = Vec::new();
    while let Some((pool, max)) = rig.find(|effect| match effect {
        Effect::CloudScale { pool, max, .. } => Some((*pool, *max)),
        _ => None,
    }) {
        rig.event(Event::CloudScaled { pool, min: 0, max });
    }
    while let Some(attempt) = rig.cloud_submission() {
        let cloud_job = format!("c{attempt}");
        rig.event(Event::CloudSubmitted { attempt, cloud_job });
        found.push(attempt);
    }
    found
}

fn jobs(rig: &mut Rig) -> Vec<JobId> {
    submissions(rig).into_iter().map(|id| id.job).collect()
}

fn counted(rig: &mut Rig, initializing: u32, idle: u32, running: u32) {
    rig.event(Event::CloudHealth {
        pool: cloud_pool(),
        workers: CloudWorkerCounts {
            initializing,
            idle,
            running,
            ..CloudWorkerCounts::default()
        },
    });
}

fn runs(rig: &mut Rig, attempt: AttemptId) {
    let state = CloudJobState::Running {
        worker: Some("w".into()),
        delay: None,
    };
    rig.event(Event::CloudStatus { attempt, state });
}

fn completes(rig: &mut Rig, attempt: AttemptId, secs: u64) {
    let state = CloudJobState::Ended {
        outcome: Outcome::Completed {
            output: PayloadRef::default(),
        },
        worker: None,
        delay: None,
        execution: Some(DurationMs::from_secs(secs)),
    };
    rig.event(Event::CloudStatus { attempt, state });
}

fn spent(rig: &Rig, id: &str) -> NanoUsd {
    let all = Timestamp::from_millis(i64::MAX / 2);
    let scope = CapScope::Key(key(id));
    rig.store.spent.between(scope, Timestamp::ZERO, all)
}

#[test]
fn jobs_of_a_key_at_its_cap_wait_and_say_so_while_those_of_others_go() {
    let mut rig = Rig::new(0);
    // Each job may cost a worker of its own, which is $0.127.
    cap(&mut rig, "app", per_day("0.30"));
    let first: Vec<JobId> = (0..5).map(|_| submit(&mut rig, "app", |_| ())).collect();
    rig.secs(3);
    assert_eq!(jobs(&mut rig), first[..2]);
    let hit = rig.effects.iter().find_map(|effect| match effect {
        Effect::Decided {
            reason: reason @ Reason::BudgetReached { hit, wanted, .. },
            ..
        } => Some((*hit, *wanted, reason.to_string())),
        _ => None,
    });
    let (hit, wanted, words) = hit.expect("it says so");
    assert_eq!(
        (hit.state.key, hit.state.period),
        (KeyId::of("app"), Period::Day)
    );
    assert_eq!(wanted, 3, "jobs that wait");
    assert!(words.contains("of key app leaves no money"), "{words}");
    let (_, standing) = rig.core.standing(first[2]).expect("it waits");
    let why = rig
        .core
        .situation(TTS)
        .expect("configured")
        .why_job(&standing);
    let is_told = |cause: &Cause| matches!(cause, Cause::BudgetReached { hit, .. } if hit.state.key == KeyId::of("app"));
    assert!(why.iter().any(is_told), "{why:?}");
    let other = submit(&mut rig, "other", |_| ());
    let nobodys = submit(&mut rig, "", |_| ());
    rig.secs(3);
    assert_eq!(jobs(&mut rig), [other, nobodys], "they go past it");
    let state = rig.core.budget();
    assert_eq!((state.len(), state[0].key), (1, KeyId::of("app")));
    assert_eq!(state[0].reserved, usd("0.254222222"));
    // More money, at once.
    cap(&mut rig, "app", per_day("0.40"));
    assert_eq!(jobs(&mut rig), [first[2]]);
    cap(&mut rig, "app", Caps::default());
    rig.secs(1);
    assert_eq!(jobs(&mut rig), first[3..4], "max alone bounds it now");
}

#[test]
fn no_path_leads_around_a_keys_cap() {
    let mut rig = Rig::new(0);
    cap(&mut rig, "app", per_day("0.20"));
    let one = submit(&mut rig, "app", |_| ());
    rig.secs(1);
    let attempt = submissions(&mut rig)[0];
    assert_eq!(attempt.job, one);
    // Low priority uses workers that are there, and they cost.
    let low = submit(&mut rig, "app", |job| job.low_priority = true);
    submit(&mut rig, "other", |_| ());
    rig.secs(1);
    assert_eq!(submissions(&mut rig).len(), 1, "the other key's");
    counted(&mut rig, 0, 2, 0);
    rig.secs(5);
    assert_eq!(jobs(&mut rig), []);
    // A submission that came to nothing goes back, and needs its money anew: there is enough for one.
    rig.event(Event::CloudStatus {
        attempt,
        state: CloudJobState::Cancelled,
    });
    rig.secs(5);
    let again = submissions(&mut rig);
    assert_eq!(again.len(), 1);
    rig.event(Event::CloudStatus {
        attempt: again[0],
        state: CloudJobState::Cancelled,
    });
    let two = submit(&mut rig, "app", |_| ());
    rig.secs(10);
    assert_eq!(jobs(&mut rig).len(), 1);
    // A retry is one more.
    let request = rig.request();
    let mut job = new_job(JobId::new(9_000, false));
    job.key = KeyId::of("app");
    let retried = job.id;
    rig.event(Event::RetryAsked {
        request,
        job,
        generation: 0,
    });
    rig.secs(10);
    assert_eq!(jobs(&mut rig), []);
    for waits in [low, two, retried] {
        let (_, standing) = rig.core.standing(waits).expect("it lives");
        assert!(matches!(
            standing.stand,
            overspill_core::why::Stand::Queued { .. }
        ));
    }
}

#[test]
fn another_pool_and_another_endpoint_are_the_same_money() {
    let mut rig = Rig::new(0);
    let two = |topology: &mut Topology| {
        let endpoint = &mut topology.endpoints[0];
        let mut second = endpoint.pools[1].clone();
        second.key = "def".into();
        if let PoolKind::RunPod(spec) = &mut endpoint.pools[1].kind {
            spec.max = Some(1);
        }
        endpoint.pools.push(second);
        let mut other = endpoint.clone();
        other.name = "sdxl".into();
        topology.endpoints.push(other);
    };
    let mut topology = crate::rig::topology(0);
    two(&mut topology);
    rig.event(Event::Configured {
        topology: Box::new(topology),
    });
    cap(&mut rig, "app", per_day("0.40"));
    for _ in 0..6 {
        submit(&mut rig, "app", |_| ());
        submit(&mut rig, "app", |job| {
            job.endpoint = overspill_core::id::EndpointId(1);
        });
    }
    rig.secs(10);
    assert_eq!(
        submissions(&mut rig).len(),
        3,
        "three times $0.127 over all of them"
    );
}

#[test]
fn a_key_bears_its_jobs_and_no_more_over_their_whole_life() {
    let mut rig = Rig::new(0);
    cap(&mut rig, "app", per_day("5"));
    submit(&mut rig, "app", |_| ());
    submit(&mut rig, "other", |_| ());
    rig.secs(1);
    let attempts = submissions(&mut rig);
    assert_eq!(attempts.len(), 2);
    counted(&mut rig, 0, 0, 0);
    for _ in 0..30 {
        rig.secs(1);
        counted(&mut rig, 1, 0, 0);
    }
    for &attempt in &attempts {
        runs(&mut rig, attempt);
    }
    for _ in 0..60 {
        rig.secs(1);
        counted(&mut rig, 0, 0, 1);
    }
    completes(&mut rig, attempts[0], 60);
    for _ in 0..20 {
        rig.secs(1);
        counted(&mut rig, 0, 0, 1);
    }
    completes(&mut rig, attempts[1], 80);
    for _ in 0..10 {
        rig.secs(1);
        counted(&mut rig, 0, 1, 0);
    }
    counted(&mut rig, 0, 0, 0);
    rig.secs(1);
    counted(&mut rig, 0, 0, 0);
    let secs = |kind: EntryKind, of: Option<&str>| -> u64 {
        let lines = rig.changes.iter().filter_map(|change| match change {
            overspill_core::change::Change::LedgerAdded(entry) => Some(entry),
            _ => None,
        });
        let its = lines.filter(|e| e.kind == kind && e.key == of.and_then(KeyId::of));
        its.map(|entry| entry.worker_time.as_millis() / 100).sum()
    };
    // In tenths of a second: thirty seconds of a start are shared, sixty of the run too.
    let near = |found: u64, wanted: u64| found.abs_diff(wanted) <= 15;
    let app = Some("app");
    assert!(
        near(secs(EntryKind::ColdStart, app), 152),
        "{}",
        secs(EntryKind::ColdStart, app)
    );
    assert!(
        near(secs(EntryKind::Run, app), 300),
        "{}",
        secs(EntryKind::Run, app)
    );
    assert!(near(secs(EntryKind::Run, Some("other")), 500));
    // An idle worker of five seconds: the second one's; the first bore none, the worker ran on.
    let (idle, shares) = (
        secs(EntryKind::Idle, Some("other")),
        secs(EntryKind::IdleShare, Some("other")),
    );
    assert!(near(idle, 50) && near(shares, 50), "{idle} {shares}");
    assert!(near(secs(EntryKind::ColdShare, app), 152));
    let lines: NanoUsd = [app, Some("other")]
        .into_iter()
        .flatten()
        .map(|id| spent(&rig, id))
        .sum();
    let all = rig.store.spent.between(
        CapScope::Everything,
        Timestamp::ZERO,
        Timestamp::from_millis(i64::MAX / 2),
    );
    let nobodys = all - lines;
    assert!(nobodys < usd("0.0003"), "{nobodys} of {all} is nobody's");
    let labels = rig.changes.iter().any(|change| {
        matches!(change, overspill_core::change::Change::LedgerAdded(entry)
            if entry.gpu.as_deref() == Some("RTX 4090") && entry.region.as_deref() == Some("eu"))
    });
    assert!(labels);
}

#[test]
fn what_a_key_spent_and_its_caps_survive_a_restart() {
    let mut rig = Rig::new(0);
    cap(&mut rig, "app", per_day("0.19"));
    submit(&mut rig, "app", |_| ());
    rig.secs(1);
    let attempt = submissions(&mut rig)[0];
    counted(&mut rig, 0, 0, 1);
    runs(&mut rig, attempt);
    for _ in 0..590 {
        rig.secs(1);
        counted(&mut rig, 0, 0, 1);
    }
    completes(&mut rig, attempt, 590);
    rig.secs(10);
    counted(&mut rig, 0, 0, 0);
    let before = spent(&rig, "app");
    assert!(before > usd("0.07") && before < usd("0.08"), "{before}");
    let next = submit(&mut rig, "app", |_| ());
    rig.secs(5);
    assert_eq!(jobs(&mut rig), [], "what is left pays for no worker");
    rig.restart(0, Vec::new());
    counted(&mut rig, 0, 0, 0);
    rig.secs(5);
    assert_eq!(jobs(&mut rig), []);
    let state = rig.core.budget();
    assert_eq!((state[0].key, state[0].spent), (KeyId::of("app"), before));
    rig.pass(Timestamp::from_millis(86_401_000).since(rig.now));
    assert_eq!(jobs(&mut rig), [next], "the next day has its own money");
}

mod over_any_events {
    use proptest::prelude::*;

    use super::*;

    const CAP: &str = "0.30";

    /// One thing that may happen; whatever does, the key's lines stay within its cap.
    fn step(rig: &mut Rig, known: &mut Vec<AttemptId>, what: u8, which: usize, length: u64) {
        known.extend(submissions(rig));
        let attempt = (!known.is_empty()).then(|| known[which % known.len()]);
        match (what, attempt) {
            (0..=3, _) => {
                let id = ["app", "app", "other", ""][which % 4];
                submit(rig, id, |job| job.low_priority = length.is_multiple_of(7));
            }
            (4..=9, _) => {
                let n = |shift: u32| u32::try_from((length >> shift) % 4).unwrap_or(0);
                counted(rig, n(0), n(2), n(4));
            }
            (10..=12, Some(attempt)) => runs(rig, attempt),
            (13..=14, Some(attempt)) => completes(rig, attempt, length / 1_000),
            (15, Some(attempt)) => {
                let error = "job timed out after 1 retries".to_owned();
                let execution = None;
                let state = CloudJobState::TimedOut {
                    worker: None,
                    delay: None,
                    error,
                    execution,
                };
                rig.event(Event::CloudStatus { attempt, state });
            }
            (16, Some(attempt)) => rig.event(Event::CloudGone { attempt }),
            (17, _) => rig.restart(0, Vec::new()),
            (18, Some(attempt)) => {
                let request = rig.request();
                let job = attempt.job;
                rig.event(Event::CancelAsked { request, job });
            }
            _ => rig.pass(DurationMs::from_millis(length)),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

        #[test]
        fn a_key_never_spends_more_than_its_cap(
            steps in prop::collection::vec((0_u8..26, 0_usize..40, 0_u64..60_000), 1..150)
        ) {
            let mut rig = Rig::new(0);
            cap(&mut rig, "app", per_day(CAP));
            let mut known = Vec::new();
            for (what, which, length) in steps {
                step(&mut rig, &mut known, what, which, length);
                let borne = spent(&rig, "app");
                prop_assert!(borne <= usd(CAP), "{borne} of {CAP}");
            }
        }
    }
}
