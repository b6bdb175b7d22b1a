//! Workers that are to end: polls first, then their jobs, then the signal.

use overspill_core::change::FinalState;
use overspill_core::effect::{Answer, Effect};
use overspill_core::event::{Event, Outcome, PayloadRef};
use overspill_core::topology::PoolKind;

use crate::rig::Rig;

/// The same topology without the card that the worker sits on.
fn without_cards() -> Event {
    let mut topology = crate::rig::topology(1);
    let PoolKind::Command { devices, .. } = &mut topology.endpoints[0].pools[0].kind else {
        panic!("the first pool is of processes");
    };
    devices.clear();
    Event::Configured {
        topology: Box::new(topology),
    }
}

#[test]
fn a_draining_worker_is_signalled_only_when_its_job_is_done() {
    let mut rig = Rig::new(1);
    let worker = rig.start_workers()[0];
    rig.poll(worker, true);
    let job = rig.submit();
    rig.delivered(worker).expect("a delivery");
    rig.effects.clear();
    rig.event(without_cards());
    assert!(rig.effects.contains(&Effect::ReleasePolls { worker }));
    // Old SDKs die of it at once, with the job that they run.
    assert!(!rig.effects.contains(&Effect::StopWorker { worker }));
    rig.secs(300);
    assert!(!rig.effects.contains(&Effect::StopWorker { worker }));
    assert_eq!(rig.finish(worker, job), Answer::Recorded);
    assert!(rig.effects.contains(&Effect::StopWorker { worker }));
    assert!(!rig.effects.contains(&Effect::KillWorker { worker }));
    assert_eq!(rig.ended(job)[0].state, FinalState::Completed);
}

#[test]
fn an_idle_worker_that_drains_has_its_polls_released_before_the_signal() {
    let mut rig = Rig::new(1);
    let worker = rig.start_workers()[0];
    rig.poll(worker, true);
    rig.effects.clear();
    rig.event(without_cards());
    let order: Vec<&str> = rig
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::TakeEmpty { .. } => Some("take"),
            Effect::ReleasePolls { .. } => Some("stop channel"),
            Effect::StopWorker { .. } => Some("signal"),
            _ => None,
        })
        .collect();
    assert_eq!(order, ["take", "stop channel", "signal"]);
}

#[test]
fn a_worker_whose_result_says_that_it_stops_is_ended_at_once() {
    let mut rig = Rig::new(1);
    let worker = rig.start_workers()[0];
    rig.poll(worker, true);
    let job = rig.submit();
    rig.delivered(worker).expect("a delivery");
    rig.effects.clear();
    let request = rig.request();
    rig.event(Event::Finished {
        request,
        worker,
        job,
        outcome: Outcome::Completed {
            output: PayloadRef::default(),
        },
        stops: true,
        body_sha256: String::new(),
    });
    assert_eq!(rig.answer(request), Answer::Recorded);
    assert!(rig.effects.contains(&Effect::StopWorker { worker }));
}
