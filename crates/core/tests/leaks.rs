//! What RunPod does without being asked, and what goes wrong there at our expense.

use overspill_core::change::Change;
use overspill_core::effect::Effect;
use overspill_core::event::{CloudJobState, CloudWorkerCounts, Event};
use overspill_core::explain::Reason;
use overspill_core::id::AttemptId;
use overspill_core::ledger::EntryKind;
use overspill_core::time::DurationMs;

use crate::rig::{Rig, cloud_pool};

fn count(rig: &mut Rig, workers: CloudWorkerCounts) {
    let pool = cloud_pool();
    rig.event(Event::CloudHealth { pool, workers });
}

fn unhealthy(unhealthy: u32) -> CloudWorkerCounts {
    CloudWorkerCounts {
        unhealthy,
        ..CloudWorkerCounts::default()
    }
}

/// Submissions that RunPod accepts; each limit that is asked for is confirmed.
fn settle(rig: &mut Rig) -> (Vec<AttemptId>, Vec<u32>) {
    let (mut accepted, mut limits) = (Vec::new(), Vec::new());
    while let Some(attempt) = rig.cloud_submission() {
        let cloud_job = format!("c{}", rig.number());
        rig.event(Event::CloudSubmitted { attempt, cloud_job });
        accepted.push(attempt);
    }
    while let Some((min, max)) = rig.find(|effect| match effect {
        Effect::CloudScale { min, max, .. } => Some((*min, *max)),
        _ => None,
    }) {
        let pool = cloud_pool();
        rig.event(Event::CloudScaled { pool, min, max });
        limits.push(max);
    }
    (accepted, limits)
}

fn decided(rig: &Rig, code: &str) -> usize {
    let reasons = rig.effects.iter().filter(|effect| match effect {
        Effect::Decided { reason, .. } => reason.code() == code,
        _ => false,
    });
    reasons.count()
}

#[test]
fn a_crash_loop_gives_its_jobs_back() {
    let mut rig = Rig::new(0);
    for _ in 0..4 {
        rig.submit();
    }
    rig.secs(1);
    let (accepted, limits) = settle(&mut rig);
    assert_eq!((accepted.len(), limits.last()), (4, Some(&2)));
    for _ in 0..3 {
        count(&mut rig, unhealthy(1));
        rig.secs(1);
        count(&mut rig, unhealthy(0));
        rig.secs(1);
    }
    assert_eq!(decided(&rig, "crash_loop"), 1);
    // Each is taken back, and none is submitted again.
    let mut taken = Vec::new();
    while let Some(attempt) = rig.find(|effect| match effect {
        Effect::CloudCancel { attempt, .. } => Some(*attempt),
        _ => None,
    }) {
        taken.push(attempt);
        rig.event(Event::CloudStatus {
            attempt,
            state: CloudJobState::Cancelled,
        });
    }
    taken.sort();
    assert_eq!(taken, accepted);
    rig.secs(2);
    let (again, limits) = settle(&mut rig);
    assert_eq!((again.len(), limits.last()), (0, Some(&0)));
    rig.secs(50);
    assert_eq!(settle(&mut rig).0, []);
    // After the pause one worker tries, and once it is at work others may come.
    rig.secs(10);
    let (probe, limits) = settle(&mut rig);
    assert_eq!((probe.len(), limits), (2, vec![1]));
    count(
        &mut rig,
        CloudWorkerCounts {
            running: 1,
            ..CloudWorkerCounts::default()
        },
    );
    rig.secs(2);
    let (rest, limits) = settle(&mut rig);
    assert_eq!((rest.len(), limits.last()), (2, Some(&2)));
    assert_eq!(decided(&rig, "crash_loop"), 1);
}

#[test]
fn a_standby_worker_is_counted_and_told_with_its_cost() {
    let mut rig = Rig::new(0);
    let pool = cloud_pool();
    let idle = CloudWorkerCounts {
        idle: 1,
        ..CloudWorkerCounts::default()
    };
    let spent = |rig: &Rig| -> i64 {
        let amounts = rig.changes.iter().filter_map(|change| match change {
            Change::LedgerAdded(entry) if entry.kind == EntryKind::Idle => Some(entry.amount),
            _ => None,
        });
        amounts.map(|amount| amount.as_nanos()).sum()
    };
    let pass = |rig: &mut Rig| {
        for _ in 0..12 {
            rig.pass(DurationMs::from_secs(10));
            count(rig, idle);
        }
    };
    pass(&mut rig);
    assert_eq!(
        spent(&rig),
        0,
        "it could only be resumed, as far as is known"
    );
    rig.event(Event::CloudStandby { pool, workers: 1 });
    rig.event(Event::CloudStandby { pool, workers: 1 });
    let told = rig.find(|effect| match effect {
        Effect::Decided {
            reason: Reason::StandbySeen { per_day, .. },
            ..
        } => Some(per_day.to_usd(2)),
        _ => None,
    });
    assert_eq!(told.as_deref(), Some("10.56"));
    assert_eq!(decided(&rig, "standby_seen"), 0, "once");
    pass(&mut rig);
    // Two minutes at $0.44 an hour, less what came before the first count.
    let two_minutes = 120 * 122_222;
    assert!((two_minutes * 8 / 10..=two_minutes).contains(&spent(&rig)));
    rig.event(Event::CloudStandby { pool, workers: 0 });
    count(&mut rig, idle);
    let before = spent(&rig);
    pass(&mut rig);
    assert_eq!(spent(&rig), before);
}

#[test]
fn limits_that_runpod_changed_are_told() {
    let mut rig = Rig::new(0);
    rig.event(Event::CloudLimitsChanged {
        pool: cloud_pool(),
        asked: (0, 3),
        seen: (0, 1),
    });
    let told = rig.find(|effect| match effect {
        Effect::Decided { reason, .. } => Some(reason.to_string()),
        _ => None,
    });
    let text = "RunPod changed max from 3 to 1 by itself: it is set again";
    assert_eq!(told.as_deref(), Some(text));
}
