//! A schedule: workers are ordered ahead, kept on, and given up at its end, within max and money.

use overspill_core::budget::Caps;
use overspill_core::calendar::Calendar;
use overspill_core::effect::{Answer, Effect};
use overspill_core::event::Event;
use overspill_core::explain::Reason;
use overspill_core::money::NanoUsd;
use overspill_core::schedule::{Days, Schedule};
use overspill_core::time::DurationMs;
use overspill_core::topology::{Limits, Topology};
use overspill_core::why::Cause;

use crate::rig::{Rig, TTS, topology};

/// The rig begins at 0:00:01 of the epoch, a Thursday: the window is 0:10 to 0:30, ordered 60 s ahead.
fn scheduled(min: u32, change: impl FnOnce(&mut Topology)) -> (Rig, Topology) {
    let mut topology = topology(0);
    topology.endpoints[0].schedule = vec![Schedule {
        days: Days::ALL,
        from: 10,
        to: 30,
        min,
        lead: None,
        calendar: Calendar::default(),
    }];
    topology.guard.unguarded_min = true;
    change(&mut topology);
    let mut rig = Rig::new(0);
    configure(&mut rig, &topology);
    (rig, topology)
}

fn configure(rig: &mut Rig, topology: &Topology) {
    rig.event(Event::Configured {
        topology: Box::new(topology.clone()),
    });
}

/// The limits that RunPod was asked for since the last look.
fn asked(rig: &mut Rig) -> Vec<(u32, u32)> {
    let mut asked = Vec::new();
    rig.effects.retain(|effect| match effect {
        Effect::CloudScale { min, max, .. } => {
            asked.push((*min, *max));
            false
        }
        _ => true,
    });
    asked
}

fn at(rig: &mut Rig, secs: u64) {
    let until = DurationMs::from_secs(secs);
    let passed = DurationMs::from_millis(rig.now.as_millis().unsigned_abs());
    rig.pass(until.saturating_sub(passed));
}

#[test]
fn workers_are_ordered_ahead_kept_on_and_given_up() {
    let (mut rig, _) = scheduled(2, |_| {});
    at(&mut rig, 539);
    assert_eq!(asked(&mut rig), []);
    at(&mut rig, 541);
    assert_eq!(asked(&mut rig), [(2, 2)], "a start-up ahead of the window");
    let holds = |effect: &Effect| {
        matches!(
            effect,
            Effect::Decided {
                reason: Reason::ScheduleHolds { min: 2, .. },
                ..
            }
        )
    };
    assert!(rig.effects.iter().any(holds));
    let why = |rig: &Rig| rig.core.situation(TTS).expect("configured").why_scale();
    let ahead = why(&rig);
    assert!(
        ahead.iter().any(|cause| matches!(
            cause,
            Cause::ScheduleHolds { min: 2, opens_in, .. } if *opens_in > DurationMs::ZERO
        )),
        "{ahead:?}"
    );
    at(&mut rig, 1_799);
    assert_eq!(asked(&mut rig), []);
    assert!(why(&rig).contains(&Cause::MinHolds { min: 2 }));
    at(&mut rig, 1_801);
    assert_eq!(asked(&mut rig).last(), Some(&(0, 0)));
    assert!(
        !why(&rig)
            .iter()
            .any(|c| matches!(c, Cause::ScheduleHolds { .. }))
    );
    // And again the next day.
    at(&mut rig, 86_400 + 545);
    assert_eq!(asked(&mut rig), [(2, 2)]);
}

#[test]
fn neither_max_nor_a_cap_is_passed() {
    let (mut rig, _) = scheduled(9, |_| {});
    at(&mut rig, 600);
    assert_eq!(asked(&mut rig).last(), Some(&(3, 3)), "max is 3");
    // A paused endpoint stays paused.
    let request = rig.request();
    let limits = Limits { min: 0, max: 0 };
    rig.event(Event::LimitsSet {
        request,
        endpoint: TTS,
        limits,
        by: "test".into(),
    });
    assert_eq!(rig.answer(request), Answer::LimitsSet { limits });
    assert_eq!(asked(&mut rig).last(), Some(&(0, 0)));

    // Each worker needs 0.1283 dollars set aside.
    let (mut rig, _) = scheduled(3, |topology| {
        topology.caps = Caps {
            per_day: NanoUsd::parse_usd("0.30"),
            ..Caps::default()
        };
    });
    at(&mut rig, 600);
    assert_eq!(asked(&mut rig).last(), Some(&(2, 2)), "money for two");
}

#[test]
fn a_restart_within_the_window_goes_on_and_a_reload_without_it_ends_it() {
    let (mut rig, topology) = scheduled(1, |_| {});
    at(&mut rig, 700);
    assert_eq!(asked(&mut rig), [(1, 1)]);
    rig.restart(0, Vec::new());
    configure(&mut rig, &topology);
    at(&mut rig, 710);
    assert_eq!(asked(&mut rig).last(), Some(&(1, 1)));
    configure(&mut rig, &crate::rig::topology(0));
    at(&mut rig, 720);
    assert_eq!(asked(&mut rig).last(), Some(&(0, 0)));
}
