//! Alerts of caps come once for each threshold and period; and what cards here take from the socket.

use overspill_core::budget::{CapScope, Caps};
use overspill_core::change::Change;
use overspill_core::effect::Effect;
use overspill_core::event::{CloudWorkerCounts, Event};
use overspill_core::id::DeviceId;
use overspill_core::ledger::EntryKind;
use overspill_core::money::NanoUsd;
use overspill_core::time::{DurationMs, Timestamp};
use overspill_core::topology::Topology;
use overspill_core::webhook::WebhookState;

use crate::rig::{Rig, cloud_pool};

fn usd(text: &str) -> NanoUsd {
    NanoUsd::parse_usd(text).expect("dollars")
}

fn configure(rig: &mut Rig, change: impl Fn(&mut Topology)) {
    let mut topology = crate::rig::topology(0);
    topology.alert = Some("https://app.example/alerts".into());
    change(&mut topology);
    rig.event(Event::Configured {
        topology: Box::new(topology),
    });
}

/// Thresholds that were said, in order, with their scope.
fn said(rig: &mut Rig) -> Vec<(CapScope, u8)> {
    let mut said = Vec::new();
    while let Some(alert) = rig.find(|effect| match effect {
        Effect::BudgetAlert(alert) => Some(alert.clone()),
        _ => None,
    }) {
        let scope = alert
            .key
            .map_or_else(|| alert.endpoint.into(), CapScope::Key);
        said.push((scope, alert.threshold));
    }
    said
}

fn count(rig: &mut Rig, running: u32) {
    rig.event(Event::CloudHealth {
        pool: cloud_pool(),
        workers: CloudWorkerCounts {
            running,
            ..CloudWorkerCounts::default()
        },
    });
}

/// One worker, at work for so long.
fn work(rig: &mut Rig, secs: u64) {
    for _ in 0..secs / 5 {
        rig.secs(5);
        count(rig, 1);
    }
}

/// No worker is on, as RunPod counts them every twenty seconds until then.
fn nothing_works_until(rig: &mut Rig, millis: i64) {
    let end = Timestamp::from_millis(millis);
    count(rig, 0);
    while rig.now < end {
        let left = end.since(rig.now);
        rig.pass(left.min(DurationMs::from_secs(20)));
        count(rig, 0);
    }
}

#[test]
fn each_threshold_is_said_once_in_a_period_over_restarts_too() {
    let mut rig = Rig::new(0);
    // An hour of the worker is $0.44.
    let capped = |topology: &mut Topology| topology.caps.per_day = Some(usd("1"));
    configure(&mut rig, capped);
    work(&mut rig, 3_600);
    assert_eq!(said(&mut rig), []);
    work(&mut rig, 900);
    let everything = CapScope::Everything;
    assert_eq!(said(&mut rig), [(everything, 50)]);
    let reports = rig.changes.iter().filter_map(|change| match change {
        Change::WebhookPut(webhook) => Some(webhook.clone()),
        _ => None,
    });
    let reports: Vec<_> = reports.collect();
    assert_eq!(reports.len(), 1, "in the same transaction");
    assert_eq!(reports[0].url, "https://app.example/alerts");
    assert_eq!(reports[0].state, WebhookState::Due);
    let alert = reports[0].alert.as_ref().expect("an alert");
    assert_eq!((alert.threshold, alert.cap), (50, usd("1")));
    assert!(alert.spent >= usd("0.5") && alert.spent < usd("0.51"));
    rig.restart(0, Vec::new());
    configure(&mut rig, capped);
    work(&mut rig, 60);
    assert_eq!(said(&mut rig), []);
    assert_eq!(rig.core.alerted().len(), 1);
    work(&mut rig, 3_600);
    assert_eq!(said(&mut rig), [(everything, 80)]);
    work(&mut rig, 1_500);
    assert_eq!(said(&mut rig), [(everything, 100)]);
    // The next day has its own; what is over is forgotten with the next one that is said.
    nothing_works_until(&mut rig, 86_401_000);
    assert_eq!(said(&mut rig), []);
    work(&mut rig, 4_200);
    assert_eq!(said(&mut rig), [(everything, 50)]);
    assert!(rig.core.alerted().iter().all(|it| it.until > rig.now));
}

#[test]
fn a_cap_that_jobs_waited_for_is_not_reached_again_by_the_turn_of_the_hour() {
    // Caps are looked at once a second and the endpoint is placed when its time has come: whichever of
    // them is first after the turn, what bound before it says nothing of the new hour.
    for offset in (0..1_000).step_by(20) {
        let mut rig = Rig::new(0);
        configure(&mut rig, |topology| {
            topology.caps.per_hour = Some(usd("0.45"));
        });
        // Forty-five minutes of the worker are $0.33, and another one needs $0.127.
        work(&mut rig, 2_700);
        assert_eq!(said(&mut rig), [(CapScope::Everything, 50)]);
        nothing_works_until(&mut rig, 3_597_000 + offset);
        rig.submit();
        rig.pass(Timestamp::from_millis(3_599_950).since(rig.now));
        assert_eq!(said(&mut rig), [(CapScope::Everything, 100)]);
        rig.submit();
        rig.pass(Timestamp::from_millis(3_605_000).since(rig.now));
        assert!(rig.cloud_submission().is_some(), "the new hour pays for it");
        assert_eq!(said(&mut rig), [], "{offset}");
    }
}

#[test]
fn a_cap_that_jobs_wait_for_is_reached_however_little_is_spent() {
    let mut rig = Rig::new(0);
    configure(&mut rig, |topology| {
        topology.endpoints[0].caps = Caps {
            per_hour: Some(usd("0.10")),
            ..Caps::default()
        };
    });
    rig.submit();
    rig.secs(3);
    assert_eq!(said(&mut rig), [(CapScope::Endpoint(crate::rig::TTS), 100)]);
    rig.secs(600);
    assert_eq!(said(&mut rig), []);
}

#[test]
fn no_receiver_means_no_report_and_the_alert_is_said_all_the_same() {
    let mut rig = Rig::new(0);
    configure(&mut rig, |topology| {
        topology.alert = None;
        topology.caps.per_hour = Some(usd("0.10"));
    });
    rig.submit();
    rig.secs(3);
    assert_eq!(said(&mut rig).len(), 1);
    let is_report = |change: &Change| matches!(change, Change::WebhookPut(_));
    assert!(!rig.changes.iter().any(is_report));
}

#[test]
fn a_job_here_takes_its_part_of_the_cards_power() {
    let mut rig = Rig::new(1);
    let mut topology = crate::rig::topology(1);
    topology.electricity = Some(usd("0.30"));
    topology.devices[0].watts = Some(360);
    rig.event(Event::Configured {
        topology: Box::new(topology),
    });
    let worker = rig.start_workers()[0];
    let taken = |rig: &mut Rig| -> Vec<NanoUsd> {
        rig.submit();
        rig.poll(worker, true);
        let attempt = rig.delivered(worker).expect("a job");
        rig.pass(DurationMs::from_secs(100));
        rig.changes.clear();
        rig.finish(worker, attempt.job);
        let lines = rig.changes.iter().filter_map(|change| match change {
            Change::LedgerAdded(entry) if entry.kind == EntryKind::Electricity => {
                assert_eq!(entry.job, Some(attempt.job));
                Some(entry.amount)
            }
            _ => None,
        });
        lines.collect()
    };
    // 360 W over 100 s are 0.01 kWh.
    assert_eq!(taken(&mut rig), [usd("0.003")]);
    rig.event(Event::CardMeasured {
        device: DeviceId(0),
        milliwatts: 180_000,
    });
    assert_eq!(taken(&mut rig), [usd("0.0015")], "as it was measured");
    let spent = rig.core.durable().spent;
    assert_eq!(
        spent,
        overspill_core::spent::SpentBook::default(),
        "no cap counts it"
    );
}
