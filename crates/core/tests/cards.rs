//! Cards that fall off, make memory errors, or do not give a dead worker's memory back.

use overspill_core::attempt::Fence;
use overspill_core::change::{Change, FinalState};
use overspill_core::effect::{Answer, Effect, Stale};
use overspill_core::event::Event;
use overspill_core::explain::Reason;
use overspill_core::id::{DeviceId, JobId, WorkerId};
use overspill_core::quarantine::{CardFault, CardReading};
use overspill_core::time::DurationMs;
use overspill_core::topology::Limits;
use overspill_core::why::Cause;

use crate::rig::{Rig, TTS, topology};

const FIRST: DeviceId = DeviceId(0);
const SECOND: DeviceId = DeviceId(1);

const WELL: CardReading = CardReading::Answers {
    memory_errors: Some(0),
    lists_processes: true,
};

fn errors(count: u64) -> CardReading {
    CardReading::Answers {
        memory_errors: Some(count),
        lists_processes: true,
    }
}

/// `cards` cards whose driver answers, each with a worker that asks for a job.
fn rig(cards: u32) -> (Rig, Vec<WorkerId>) {
    let mut rig = Rig::new(cards);
    for card in 0..cards {
        rig.read(DeviceId(card), WELL);
    }
    let workers = rig.start_workers();
    for &worker in &workers {
        rig.poll(worker, true);
    }
    (rig, workers)
}

impl Rig {
    fn read(&mut self, device: DeviceId, reading: CardReading) {
        self.event(Event::CardRead { device, reading });
    }

    fn exits(&mut self, worker: WorkerId, code: Option<i32>) {
        self.event(Event::WorkerExited {
            worker,
            code,
            reason: None,
        });
    }

    fn without_cloud(&mut self) {
        let request = self.request();
        self.event(Event::LimitsSet {
            request,
            endpoint: TTS,
            limits: Limits { min: 0, max: 0 },
            by: "test".into(),
        });
    }

    fn fault(&self, device: DeviceId) -> Option<&CardFault> {
        let card = self.core.cards().find(|card| card.spec.id == device)?;
        card.quarantine.as_ref().map(|is| &is.fault)
    }

    fn kills(&mut self, worker: WorkerId) -> bool {
        let kill = self.find(|effect| (*effect == Effect::KillWorker { worker }).then_some(()));
        kill.is_some()
    }

    fn mints(&mut self, device: DeviceId) -> bool {
        let mint = self.find(|effect| match effect {
            Effect::MintWorker { device: of, .. } => (*of == device).then_some(()),
            _ => None,
        });
        mint.is_some()
    }

    fn why(&self, job: JobId) -> Vec<Cause> {
        let situation = self.core.situation(TTS).expect("it is configured");
        let (_, standing) = self.core.standing(job).expect("it is live");
        situation.why_job(&standing)
    }

    fn lost(&self, job: JobId) -> u16 {
        self.store.jobs[&job].lost
    }

    fn attempts_of(&self, job: JobId) -> Vec<String> {
        let ended = self.changes.iter().filter_map(|change| match change {
            Change::AttemptEnded(ended) if ended.id.job == job => Some(ended.outcome.clone()),
            _ => None,
        });
        ended.collect()
    }
}

#[test]
fn a_job_on_a_card_that_falls_off_goes_to_another_card_and_counts_for_nothing() {
    let (mut rig, workers) = rig(2);
    rig.without_cloud();
    let job = rig.submit();
    let first = rig.delivered(workers[0]).expect("on the first card");
    rig.read(FIRST, CardReading::Missing);
    assert_eq!(rig.fault(FIRST), None, "one bad reading may be a slip");
    rig.secs(5);
    assert_eq!(rig.fault(FIRST), Some(&CardFault::Missing));
    assert!(rig.kills(workers[0]));
    // It does not wait for the process, which may not die while its driver hangs.
    let second = rig
        .delivered(workers[1])
        .expect("on the second card at once");
    assert_eq!((second.job, second.number), (job, 2));
    assert_eq!(rig.store.attempts[&first].fenced, Some(Fence::Lost));
    assert_eq!(rig.finish(workers[0], job), Answer::Stale(Stale::Fenced));
    assert_eq!(rig.finish(workers[1], job), Answer::Recorded);
    assert_eq!(rig.ended(job).len(), 1);
    assert_eq!(rig.ended(job)[0].state, FinalState::Completed);
    let reasons = rig.effects.iter().filter_map(|effect| match effect {
        Effect::Decided { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    let reason = Reason::CardQuarantined {
        device: FIRST,
        fault: CardFault::Missing,
        jobs: 1,
    };
    assert!(reasons.collect::<Vec<_>>().contains(&reason));
}

#[test]
fn however_often_cards_fall_off_under_a_job_it_is_not_set_aside() {
    let (mut rig, _) = rig(1);
    rig.without_cloud();
    let job = rig.submit();
    for round in 1..=5 {
        let worker = rig.core.workers().next().expect("a worker").id;
        let attempt = rig.delivered(worker).expect("a delivery");
        assert_eq!((attempt.job, attempt.number), (job, round));
        rig.read(FIRST, CardReading::Hanging);
        rig.secs(5);
        assert!(rig.kills(worker));
        rig.exits(worker, None);
        rig.read(FIRST, WELL);
        rig.event(Event::CardFreed {
            device: FIRST,
            pid: 7,
        });
        rig.secs(60);
        assert_eq!(rig.fault(FIRST), None);
        let next = rig.start_workers()[0];
        rig.poll(next, true);
    }
    assert_eq!(rig.lost(job), 0);
    assert_eq!(rig.attempts_of(job), vec!["card_quarantined"; 5]);
}

#[test]
fn a_worker_that_died_just_before_its_card_was_seen_missing_died_of_it() {
    let (mut rig, workers) = rig(2);
    rig.without_cloud();
    let job = rig.submit();
    rig.delivered(workers[0]).expect("on the first card");
    rig.exits(workers[0], Some(1));
    assert_eq!(rig.lost(job), 1);
    let second = rig.delivered(workers[1]).expect("on the second card");
    assert_eq!(second.job, job);
    rig.secs(3);
    rig.read(FIRST, CardReading::Missing);
    rig.secs(5);
    assert_eq!(rig.lost(job), 0);
    // The other worker's end has another cause.
    rig.exits(workers[1], Some(1));
    assert_eq!(rig.lost(job), 1);
}

#[test]
fn what_dies_while_a_card_is_doubted_is_not_held_against_its_job() {
    let (mut rig, workers) = rig(1);
    rig.without_cloud();
    let job = rig.submit();
    rig.delivered(workers[0]).expect("a delivery");
    let error = "GPU is lost".to_owned();
    rig.read(FIRST, CardReading::Failing { error });
    rig.exits(workers[0], Some(1));
    assert_eq!(rig.lost(job), 0);
    rig.secs(60);
    assert!(!rig.mints(FIRST), "nothing starts there");
}

#[test]
fn jobs_of_the_only_card_go_to_the_cloud_at_once() {
    let (mut rig, workers) = rig(1);
    let job = rig.submit();
    rig.delivered(workers[0]).expect("a delivery");
    assert_eq!(rig.cloud_submission(), None, "one card suffices");
    rig.read(FIRST, CardReading::Hanging);
    rig.secs(5);
    let attempt = rig.cloud_submission().expect("it spills");
    assert_eq!((attempt.job, attempt.number), (job, 2));
}

#[test]
fn a_slip_of_the_driver_is_forgotten() {
    let (mut rig, workers) = rig(1);
    rig.without_cloud();
    rig.read(FIRST, CardReading::Missing);
    let job = rig.submit();
    assert_eq!(rig.delivered(workers[0]), None, "nothing new starts there");
    let held = Cause::CardHeld {
        device: 0,
        since: DurationMs::ZERO,
    };
    assert!(rig.why(job).contains(&held), "{:?}", rig.why(job));
    assert!(!held.to_string().contains("  "), "{held}");
    rig.secs(4);
    rig.read(FIRST, WELL);
    rig.delivered(workers[0]).expect("the same worker has it");
    rig.secs(20);
    assert_eq!(rig.fault(FIRST), None);
}

#[test]
fn a_standstill_of_the_whole_process_is_not_the_cards_fault() {
    let (mut rig, workers) = rig(2);
    rig.without_cloud();
    let job = rig.submit();
    rig.delivered(workers[0]).expect("on the first card");
    // The first look after it comes before the first reading.
    for card in [FIRST, SECOND] {
        rig.read(card, CardReading::Hanging);
    }
    rig.secs(1);
    for card in [FIRST, SECOND] {
        rig.read(card, WELL);
    }
    rig.secs(20);
    assert_eq!((rig.fault(FIRST), rig.fault(SECOND)), (None, None));
    assert_eq!(rig.finish(workers[0], job), Answer::Recorded);
}

#[test]
fn a_quarantined_card_takes_jobs_again_after_a_minute_of_good_readings() {
    let (mut rig, workers) = rig(1);
    rig.without_cloud();
    rig.read(FIRST, CardReading::Missing);
    rig.secs(5);
    rig.exits(workers[0], None);
    rig.event(Event::CardFreed {
        device: FIRST,
        pid: 7,
    });
    let job = rig.submit();
    rig.read(FIRST, WELL);
    rig.secs(50);
    let cause = Cause::CardQuarantined {
        device: 0,
        fault: "missing".into(),
        detail: "the driver no longer lists it".into(),
        since: DurationMs::from_secs(50),
        returns_in: Some(DurationMs::from_secs(10)),
    };
    assert!(rig.why(job).contains(&cause), "{:?}", rig.why(job));
    // It flaps: the minute begins anew.
    rig.read(FIRST, CardReading::Missing);
    rig.read(FIRST, WELL);
    rig.secs(59);
    assert!(!rig.mints(FIRST));
    rig.secs(1);
    let worker = rig.start_workers()[0];
    rig.poll(worker, true);
    assert_eq!(rig.delivered(worker).map(|attempt| attempt.job), Some(job));
}

#[test]
fn a_card_returns_although_a_reload_made_its_wait_longer() {
    let (mut rig, workers) = rig(1);
    rig.read(FIRST, CardReading::Missing);
    rig.secs(5);
    rig.exits(workers[0], None);
    rig.event(Event::CardFreed {
        device: FIRST,
        pid: 7,
    });
    rig.read(FIRST, WELL);
    rig.secs(30);
    let mut longer = topology(1);
    longer.card_returns_after = DurationMs::from_secs(120);
    rig.event(Event::Configured {
        topology: Box::new(longer),
    });
    rig.secs(89);
    assert_eq!(rig.fault(FIRST), Some(&CardFault::Missing));
    rig.secs(1);
    assert_eq!(rig.fault(FIRST), None);
}

#[test]
fn memory_errors_stay_quarantined_until_the_card_is_reset() {
    let mut rig = Rig::new(2);
    // What was there before counts for nothing.
    rig.read(FIRST, errors(3));
    rig.read(SECOND, errors(0));
    rig.read(FIRST, errors(3));
    assert_eq!(rig.fault(FIRST), None);
    rig.read(FIRST, errors(5));
    let fault = CardFault::MemoryErrors { count: 2, total: 5 };
    assert_eq!(rig.fault(FIRST), Some(&fault));
    rig.read(FIRST, CardReading::Missing);
    rig.read(FIRST, errors(5));
    rig.secs(3_600);
    assert_eq!(
        rig.fault(FIRST),
        Some(&fault),
        "good readings do not end it"
    );
    rig.read(FIRST, errors(0));
    rig.secs(60);
    assert_eq!((rig.fault(FIRST), rig.fault(SECOND)), (None, None));
}

#[test]
fn somebody_may_return_a_card_by_hand() {
    let (mut rig, workers) = rig(1);
    rig.read(FIRST, errors(1));
    rig.secs(0);
    assert!(rig.kills(workers[0]));
    rig.exits(workers[0], None);
    let ask = |rig: &mut Rig, device| {
        let request = rig.request();
        rig.event(Event::CardReturnAsked {
            request,
            device,
            by: "key ops".into(),
        });
        rig.answer(request)
    };
    let returned = Answer::CardReturned { device: FIRST };
    assert_eq!(ask(&mut rig, FIRST), returned);
    assert!(rig.mints(FIRST));
    let not = Answer::CardNotQuarantined { device: FIRST };
    assert_eq!(ask(&mut rig, FIRST), not);
    assert_eq!(ask(&mut rig, DeviceId(9)), Answer::NotFound);
    let audited = rig.changes.iter().any(|change| {
        matches!(change, Change::Audited { what, detail, .. }
            if what == "card_returned" && detail.contains("key ops"))
    });
    assert!(audited);
    // The same errors are no news; another one is.
    rig.read(FIRST, errors(1));
    assert_eq!(rig.fault(FIRST), None);
    rig.read(FIRST, errors(2));
    let fault = CardFault::MemoryErrors { count: 1, total: 2 };
    assert_eq!(rig.fault(FIRST), Some(&fault));
}

#[test]
fn nothing_starts_on_a_card_before_the_memory_of_its_dead_worker_is_free() {
    let (mut rig, workers) = rig(1);
    rig.without_cloud();
    let request = rig.request();
    let id = JobId::new(u128::from(rig.number()), false);
    rig.event(Event::Submitted {
        request,
        job: overspill_core::event::NewJob {
            execution_timeout: Some(DurationMs::from_secs(10)),
            ..crate::rig::new_job(id)
        },
    });
    rig.delivered(workers[0]).expect("a delivery");
    let next = rig.submit();
    rig.secs(10);
    assert_eq!(
        rig.ended(id)[0].error_code.as_deref(),
        Some("execution_timeout")
    );
    rig.secs(10);
    assert!(rig.kills(workers[0]));
    rig.exits(workers[0], None);
    rig.secs(20);
    assert!(!rig.mints(FIRST), "its memory is not free");
    let causes = rig.why(next);
    let is_held = |cause: &Cause| matches!(cause, Cause::CardHeld { device: 0, .. });
    assert!(causes.iter().any(is_held), "{causes:?}");
    rig.event(Event::CardFreed {
        device: FIRST,
        pid: 7,
    });
    let worker = rig.start_workers()[0];
    rig.poll(worker, true);
    assert_eq!(rig.delivered(worker).map(|attempt| attempt.job), Some(next));
}

#[test]
fn memory_that_stays_quarantines_its_card_until_it_is_free() {
    let (mut rig, workers) = rig(2);
    rig.without_cloud();
    let job = rig.submit();
    rig.delivered(workers[0]).expect("on the first card");
    rig.exits(workers[0], Some(1));
    rig.secs(29);
    assert_eq!(rig.fault(FIRST), None);
    rig.secs(1);
    assert_eq!(rig.fault(FIRST), Some(&CardFault::MemoryHeld { pid: 7 }));
    // That its worker died is the job's matter: the card was well.
    assert_eq!(rig.lost(job), 1);
    rig.event(Event::CardFreed {
        device: FIRST,
        pid: 7,
    });
    assert_eq!(rig.fault(FIRST), None);
    assert!(rig.mints(FIRST));
}

#[test]
fn held_memory_is_asked_for_again_after_a_restart() {
    for is_told in [true, false] {
        let (mut rig, workers) = rig(1);
        rig.without_cloud();
        rig.exits(workers[0], Some(1));
        rig.secs(30);
        let held = Some(&CardFault::MemoryHeld { pid: 7 });
        assert_eq!(rig.fault(FIRST), held);
        rig.restart(1, vec![]);
        assert_eq!(rig.fault(FIRST), held);
        if is_told {
            rig.read(FIRST, WELL);
            assert_eq!(rig.fault(FIRST), held);
            rig.event(Event::CardFreed {
                device: FIRST,
                pid: 7,
            });
        } else {
            // The new driver does not say who holds memory.
            rig.read(
                FIRST,
                CardReading::Answers {
                    memory_errors: None,
                    lists_processes: false,
                },
            );
        }
        assert_eq!(rig.fault(FIRST), None);
        assert!(rig.mints(FIRST));
    }
}

#[test]
fn where_no_driver_lists_processes_nothing_waits() {
    let mut rig = Rig::new(1);
    rig.without_cloud();
    let worker = rig.start_workers()[0];
    rig.secs(2);
    rig.exits(worker, Some(0));
    assert!(rig.mints(FIRST), "no driver at all");
    let mut rig = Rig::new(1);
    rig.read(
        FIRST,
        CardReading::Answers {
            memory_errors: None,
            lists_processes: false,
        },
    );
    let worker = rig.start_workers()[0];
    rig.secs(2);
    rig.exits(worker, Some(0));
    assert!(rig.mints(FIRST), "a driver that does not say");
}

#[test]
fn a_quarantine_outlives_a_restart_and_follows_its_card() {
    let named = |uuids: [&str; 2]| {
        let mut topology = topology(2);
        for (device, uuid) in topology.devices.iter_mut().zip(uuids) {
            device.uuid = Some(uuid.into());
        }
        topology
    };
    let mut rig = Rig::of(named(["GPU-a", "GPU-b"]));
    let workers = rig.start_workers();
    rig.read(FIRST, errors(0));
    rig.read(FIRST, errors(1));
    rig.exits(workers[0], None);
    rig.restart_as(named(["GPU-a", "GPU-b"]), vec![workers[1]]);
    let fault = CardFault::MemoryErrors { count: 1, total: 1 };
    assert_eq!(rig.fault(FIRST), Some(&fault));
    assert!(!rig.mints(FIRST));
    // The driver counts cards anew, without the one before.
    rig.restart_as(named(["GPU-b", "GPU-a"]), vec![]);
    assert_eq!((rig.fault(FIRST), rig.fault(SECOND)), (None, Some(&fault)));
    assert!(rig.mints(FIRST) && !rig.mints(SECOND));
}
