//! RunPod's billing records: what they say beyond the ledger, or short of it, is booked once, with
//! its cause.

use overspill_core::bill::HourState;
use overspill_core::budget::CapScope;
use overspill_core::change::Change;
use overspill_core::drift::HourRecord;
use overspill_core::effect::Effect;
use overspill_core::event::{
    BillRead, CloudJobState, CloudWorkerCounts, Event, Outcome, PayloadRef,
};
use overspill_core::explain::Reason;
use overspill_core::ledger::{Cause, Entry, EntryKind};
use overspill_core::money::{NanoUsd, RatePerHour};
use overspill_core::time::{DurationMs, Timestamp};

use crate::rig::{Rig, TTS, cloud_pool};

const HOUR_SECS: u64 = 3_600;
/// One second of a worker in the rig, at $0.44/h.
const SECOND: i64 = 122_222;

fn hour(number: i64) -> Timestamp {
    Timestamp::from_millis(number * 3_600_000)
}

fn record(number: i64, nanos: i64) -> HourRecord {
    HourRecord {
        start: hour(number),
        compute: NanoUsd::from_nanos(nanos),
        other: NanoUsd::ZERO,
    }
}

fn read(rig: &mut Rig, records: &[HourRecord]) {
    rig.event(Event::CloudBilled {
        pool: cloud_pool(),
        bill: BillRead {
            records: records.to_vec(),
            list_price: None,
        },
    });
}

/// A rig at the start of an hour that it was there for from the beginning.
fn begun() -> Rig {
    let mut rig = Rig::new(0);
    // Three workers are set aside for.
    for _ in 0..6 {
        rig.submit();
    }
    while let Some(attempt) = rig.cloud_submission() {
        let cloud_job = "c".to_owned();
        rig.event(Event::CloudSubmitted { attempt, cloud_job });
    }
    // Counted all the time: nothing is in doubt.
    count(&mut rig, 0);
    rest_until(&mut rig, hour(1));
    rig
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

/// So many workers run for so long, counted each ten seconds, and then none.
fn work(rig: &mut Rig, running: u32, secs: u64) {
    count(rig, running);
    for _ in 0..secs / 10 {
        rig.secs(10);
        count(rig, running);
    }
    count(rig, 0);
}

/// Nothing runs until then, and that is counted.
fn rest_until(rig: &mut Rig, until: Timestamp) {
    while rig.now < until {
        let rest = until.since(rig.now);
        rig.pass(rest.min(DurationMs::from_secs(30)));
        count(rig, 0);
    }
}

/// The lines of drift so far: the hour they are in, the cause, the amount.
fn drift(rig: &Rig) -> Vec<(i64, Cause, i64)> {
    let line = |entry: &Entry| match entry.kind {
        EntryKind::Drift(cause) => Some((
            entry.at.as_millis() / 3_600_000,
            cause,
            entry.amount.as_nanos(),
        )),
        _ => None,
    };
    let entries = rig.changes.iter().filter_map(|change| match change {
        Change::LedgerAdded(entry) => line(entry),
        _ => None,
    });
    entries.collect()
}

fn booked(rig: &Rig, number: i64) -> i64 {
    rig.store.booked.of(number, cloud_pool()).total().as_nanos()
}

fn state(rig: &Rig, number: i64) -> HourState {
    let hours = rig.core.bill(cloud_pool(), hour(number));
    hours.first().expect("the hour").state
}

#[test]
fn an_hour_that_is_over_becomes_what_its_record_says_and_is_booked_once() {
    let mut rig = begun();
    work(&mut rig, 2, 600);
    let counted = booked(&rig, 1);
    assert!(
        (1_200 * SECOND..1_210 * SECOND).contains(&counted),
        "{counted}"
    );
    let billed = counted + 5 * SECOND + 7;
    let half = rig.now + DurationMs::from_secs(1_800);
    rest_until(&mut rig, half);
    read(&mut rig, &[record(1, billed)]);
    assert_eq!((drift(&rig), state(&rig, 1)), (vec![], HourState::Running));
    rest_until(&mut rig, hour(2));
    read(&mut rig, &[record(1, billed)]);
    assert_eq!(
        drift(&rig),
        [],
        "what was counted last may not be booked yet"
    );
    rig.secs(600);
    for _ in 0..2 {
        read(&mut rig, &[record(1, billed)]);
        assert_eq!(drift(&rig), [(1, Cause::Rounding, 5 * SECOND + 7)]);
        assert_eq!(
            (booked(&rig, 1), state(&rig, 1)),
            (billed, HourState::Agreed)
        );
        rig.restart(0, Vec::new());
        assert_eq!(rig.core.bill(cloud_pool(), hour(1)), [], "not read since");
    }
}

#[test]
fn a_record_that_comes_late_and_grows_is_followed() {
    let mut rig = begun();
    work(&mut rig, 1, 1_000);
    let counted = booked(&rig, 1);
    rest_until(&mut rig, hour(2));
    rig.secs(HOUR_SECS);
    read(&mut rig, &[]);
    assert_eq!(state(&rig, 1), HourState::Awaited);
    // Half of it: it may only not be complete yet.
    read(&mut rig, &[record(1, counted / 2)]);
    rig.secs(30 * 60);
    read(&mut rig, &[record(1, counted / 2)]);
    assert_eq!((drift(&rig), state(&rig, 1)), (vec![], HourState::NotFinal));
    let more = counted + 200 * SECOND;
    read(&mut rig, &[record(1, more)]);
    let hidden = (1, Cause::HiddenIdle, 200 * SECOND);
    assert_eq!(drift(&rig), [hidden]);
    // RunPod takes half of that back, and stays with it.
    let less = counted + 100 * SECOND;
    for (minutes, lines) in [(0, 1), (44, 1), (1, 2)] {
        rig.secs(minutes * 60);
        read(&mut rig, &[record(1, less)]);
        assert_eq!(drift(&rig).len(), lines);
    }
    assert_eq!(drift(&rig)[1], (1, Cause::HiddenIdle, -100 * SECOND));
    assert_eq!(booked(&rig, 1), less);
    let decided = rig.effects.iter().filter(|effect| {
        let reason = |reason: &Reason| matches!(reason, Reason::BillDiffers { .. });
        matches!(effect, Effect::Decided { endpoint: TTS, reason: r } if reason(r))
    });
    assert_eq!(decided.count(), 2);
}

#[test]
fn a_record_that_never_comes_is_missed_and_changes_nothing() {
    let mut rig = begun();
    work(&mut rig, 1, 1_000);
    let counted = booked(&rig, 1);
    rig.pass(hour(2).since(rig.now));
    rig.secs(6 * HOUR_SECS + 60);
    read(&mut rig, &[]);
    assert_eq!(state(&rig, 1), HourState::Missing);
    assert_eq!((drift(&rig), booked(&rig, 1)), (vec![], counted));
}

#[test]
fn what_nobody_could_count_is_settled_by_the_record() {
    let mut rig = begun();
    work(&mut rig, 1, 100);
    rig.event(Event::CloudHealth {
        pool: cloud_pool(),
        workers: CloudWorkerCounts {
            running: 1,
            ..CloudWorkerCounts::default()
        },
    });
    // A server that was away for long charges for the most that may have been.
    rig.secs(1_200);
    rig.restart(0, Vec::new());
    rest_until(&mut rig, hour(2));
    let hour_of = rig.store.booked.of(1, cloud_pool());
    let unsettled = hour_of.amount(EntryKind::Unsettled);
    assert!(unsettled > NanoUsd::ZERO);
    let billed = hour_of.counted().as_nanos() + 3 * SECOND;
    for minutes in [10, 46] {
        rig.secs(minutes * 60);
        read(&mut rig, &[record(1, billed)]);
    }
    let settled = 3 * SECOND - unsettled.as_nanos();
    assert_eq!(drift(&rig), [(1, Cause::UnsettledSettled, settled)]);
    assert_eq!(booked(&rig, 1), billed);
}

#[test]
fn what_a_cap_counts_is_what_runpod_bills() {
    let mut rig = begun();
    work(&mut rig, 1, 1_000);
    let counted = rig
        .store
        .spent
        .between(CapScope::Everything, hour(0), hour(3));
    rest_until(&mut rig, hour(2));
    rig.secs(700);
    let twice = 2 * booked(&rig, 1);
    read(&mut rig, &[record(1, twice)]);
    assert_eq!(drift(&rig)[0].1, Cause::BilledTwice);
    let spent = rig
        .store
        .spent
        .between(CapScope::Everything, hour(0), hour(3));
    assert_eq!(spent, counted + counted);
    let this_hour = rig
        .store
        .spent
        .between(CapScope::Everything, hour(2), hour(3));
    assert_eq!(
        this_hour,
        NanoUsd::ZERO,
        "it belongs to the hour in which it was spent"
    );
}

#[test]
fn hours_before_the_pool_was_configured_are_not_its_own() {
    let mut rig = Rig::new(0);
    rig.pass(hour(2).since(rig.now));
    let mut topology = crate::rig::topology(0);
    let mut other = topology.endpoints[0].pools[1].clone();
    other.key = "late".to_owned();
    topology.endpoints[0].pools.push(other);
    rig.secs(60);
    rig.event(Event::Configured {
        topology: Box::new(topology),
    });
    let late = overspill_core::id::PoolId(2);
    rig.pass(hour(4).since(rig.now));
    rig.event(Event::CloudBilled {
        pool: late,
        bill: BillRead {
            records: vec![
                record(1, 900_000_000),
                record(2, 800_000_000),
                record(3, 700_000_000),
            ],
            list_price: Some(RatePerHour::default()),
        },
    });
    let of = |number| rig.store.booked.of(number, late).total().as_nanos();
    assert_eq!((of(1), of(2)), (0, 0));
    assert_eq!(of(3), 0, "it is not over for long enough");
    rig.secs(600);
    rig.event(Event::CloudBilled {
        pool: late,
        bill: BillRead {
            records: vec![record(3, 700_000_000)],
            list_price: None,
        },
    });
    assert_eq!(drift(&rig), [(3, Cause::ForeignWorkers, 700_000_000)]);
}

#[test]
fn a_pool_of_an_hours_first_minute_has_the_hour() {
    let mut rig = Rig::new(0);
    rig.pass(hour(2).since(rig.now));
    let mut topology = crate::rig::topology(0);
    let mut other = topology.endpoints[0].pools[1].clone();
    other.key = "late".to_owned();
    topology.endpoints[0].pools.push(other);
    rig.secs(59);
    rig.event(Event::Configured {
        topology: Box::new(topology),
    });
    let late = overspill_core::id::PoolId(2);
    rig.pass(hour(3).since(rig.now));
    rig.secs(600);
    rig.event(Event::CloudBilled {
        pool: late,
        bill: BillRead {
            records: vec![record(1, 900_000_000), record(2, 800_000_000)],
            list_price: None,
        },
    });
    let of = |number| rig.store.booked.of(number, late).total().as_nanos();
    assert_eq!((of(1), of(2)), (0, 800_000_000));
}

#[test]
fn an_hour_without_a_record_in_which_next_to_nothing_was_counted_had_nothing() {
    let mut rig = begun();
    work(&mut rig, 1, 20);
    assert!(booked(&rig, 1) > 0);
    rest_until(&mut rig, hour(2));
    rig.secs(2 * HOUR_SECS);
    read(&mut rig, &[]);
    assert!(booked(&rig, 1) > 0, "its record may be late");
    rig.secs(HOUR_SECS + 60);
    read(&mut rig, &[]);
    assert_eq!(booked(&rig, 1), 0);
    // It came after all.
    read(&mut rig, &[record(1, 21 * SECOND)]);
    assert_eq!(booked(&rig, 1), 21 * SECOND);
}

#[test]
fn what_may_have_been_stands_until_a_record_is_missed() {
    let mut rig = begun();
    work(&mut rig, 1, 10);
    rig.event(Event::CloudHealth {
        pool: cloud_pool(),
        workers: CloudWorkerCounts::default(),
    });
    rig.secs(1_200);
    rig.restart(0, Vec::new());
    let hour_of = rig.store.booked.of(1, cloud_pool());
    assert!(hour_of.amount(EntryKind::Unsettled) > NanoUsd::ZERO);
    assert!(
        hour_of.counted() < NanoUsd::from_nanos(60 * SECOND),
        "next to nothing"
    );
    let all = booked(&rig, 1);
    assert!(all > 60 * SECOND);
    rig.pass(hour(2).since(rig.now));
    rig.secs(5 * HOUR_SECS);
    read(&mut rig, &[]);
    assert_eq!(booked(&rig, 1), all, "a late record must loosen no cap");
    rig.secs(HOUR_SECS + 60);
    read(&mut rig, &[]);
    assert_eq!(booked(&rig, 1), 0);
}

#[test]
fn a_standstill_costs_what_the_jobs_tell_of_it() {
    let mut rig = begun();
    work(&mut rig, 1, 10);
    let running = |n| Event::CloudHealth {
        pool: cloud_pool(),
        workers: CloudWorkerCounts {
            running: n,
            ..CloudWorkerCounts::default()
        },
    };
    rig.event(running(1));
    let attempt = rig.store.attempts.keys().next().copied();
    let attempt = attempt.expect("jobs are there");
    let leased_at = rig.store.attempts[&attempt].leased_at;
    let state = CloudJobState::Running {
        worker: Some("w".to_owned()),
        delay: Some(rig.now.since(leased_at)),
    };
    rig.event(Event::CloudStatus { attempt, state });
    let began = rig.now;
    let before = rig.store.booked.of(1, cloud_pool()).counted();
    // The process stands still for ten minutes, across nothing but this hour.
    rig.now += DurationMs::from_secs(600);
    rig.event(running(0));
    let unwritten = rig.store.booked.of(1, cloud_pool()).counted();
    assert_eq!(unwritten, before, "nobody knows yet");
    let ids: Vec<_> = rig.store.attempts.keys().copied().collect();
    for id in ids {
        let state = if id == attempt {
            CloudJobState::Ended {
                outcome: Outcome::Completed {
                    output: PayloadRef::default(),
                },
                worker: Some("w".to_owned()),
                delay: Some(began.since(leased_at)),
                execution: Some(DurationMs::from_secs(100)),
            }
        } else {
            CloudJobState::Queued
        };
        rig.event(Event::CloudStatus { attempt: id, state });
    }
    rig.secs(1);
    rig.event(running(0));
    let counted = rig.store.booked.of(1, cloud_pool()).counted() - before;
    let seconds = counted.as_nanos() / SECOND;
    assert!(
        (104..=107).contains(&seconds),
        "100 s and 5 s idle: {seconds}"
    );
}

/// Money that is not in the ledger yet.
fn pending(rig: &Rig) -> i64 {
    let pool = rig.core.pools().find(|pool| pool.record.id == cloud_pool());
    pool.expect("the pool").pending(rig.now).as_nanos()
}

#[test]
fn an_hour_that_its_record_has_settled_is_not_counted_again() {
    let mut rig = begun();
    work(&mut rig, 1, 1_200);
    count(&mut rig, 1);
    let counted = booked(&rig, 1);
    let billed = counted + 900 * SECOND;
    // From here on nobody counts, and the billing records go on.
    rig.pass(hour(2).since(rig.now));
    rig.secs(600);
    let most = pending(&rig);
    assert!(most > 2_000 * SECOND, "{most}");
    read(&mut rig, &[record(1, billed)]);
    let held = (booked(&rig, 1), pending(&rig));
    assert_eq!(held, (counted, most), "it may only not be complete yet");
    rig.secs(45 * 60);
    let before = pending(&rig);
    read(&mut rig, &[record(1, billed)]);
    assert_eq!(booked(&rig, 1), billed);
    assert_eq!(
        drift(&rig).iter().map(|line| line.1).collect::<Vec<_>>(),
        [Cause::UnsettledSettled]
    );
    let after = pending(&rig);
    assert!(before - after > 2_000 * SECOND, "{before} {after}");
    // A restart goes on from there.
    let charged_until = rig.store.pools[&cloud_pool()].charged_until;
    assert_eq!(charged_until, hour(2));
    // Somebody counts again: of the hour that is settled nothing comes.
    for secs in [HOUR_SECS, 30, 30] {
        rig.secs(secs);
        count(&mut rig, 0);
    }
    assert_eq!(pending(&rig), 0, "all of it is understood");
    assert_eq!(booked(&rig, 1), billed);
    let rest = rig.store.booked.of(2, cloud_pool());
    assert!(rest.amount(EntryKind::Unsettled) > NanoUsd::ZERO);
    // The hours after it are settled by their own records.
    rig.secs(HOUR_SECS);
    for _ in 0..2 {
        read(&mut rig, &[record(1, billed), record(2, 70 * SECOND)]);
        rig.secs(46 * 60);
    }
    assert_eq!((booked(&rig, 1), booked(&rig, 2)), (billed, 70 * SECOND));
}

#[test]
fn what_jobs_told_is_forgotten_where_nobody_counts_for_hours() {
    let mut rig = begun();
    count(&mut rig, 1);
    let told = |rig: &Rig| {
        let pool = rig.core.pools().find(|pool| pool.record.id == cloud_pool());
        pool.expect("the pool").cloud.told.len()
    };
    let mut most = 0;
    // Eight hours of jobs that come and go, and no count.
    for _ in 0..8 * 6 {
        rig.submit();
        while let Some(attempt) = rig.cloud_submission() {
            let cloud_job = "c".to_owned();
            rig.event(Event::CloudSubmitted { attempt, cloud_job });
        }
        let ids: Vec<_> = rig.store.attempts.keys().copied().collect();
        for attempt in ids {
            let state = CloudJobState::Ended {
                outcome: Outcome::Completed {
                    output: PayloadRef::default(),
                },
                worker: Some("w".to_owned()),
                delay: Some(DurationMs::from_secs(1)),
                execution: Some(DurationMs::from_secs(10)),
            };
            rig.event(Event::CloudStatus { attempt, state });
        }
        rig.secs(600);
        most = most.max(told(&rig));
    }
    assert!((30..=6 + 6 * 6 + 1).contains(&most), "{most}");
}
