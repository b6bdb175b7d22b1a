//! RunPod's quota of workers, which no call tells: learned from what it refuses.

use overspill_core::effect::Effect;
use overspill_core::event::{CloudRefusal, Event};
use overspill_core::topology::Limits;

use crate::rig::{Rig, cloud_pool};

/// What RunPod is asked for, with a quota that it does not tell; ends when nothing more is asked.
fn settle(rig: &mut Rig, quota: u32) -> Vec<u32> {
    let mut asked = Vec::new();
    while let Some(max) = scale(rig) {
        asked.push(max);
        assert!(asked.len() < 20, "it comes to an end: {asked:?}");
        rig.event(if max <= quota {
            Event::CloudScaled {
                pool: cloud_pool(),
                min: 0,
                max,
            }
        } else {
            Event::CloudFailed {
                pool: cloud_pool(),
                refusal: CloudRefusal::Quota,
                detail: String::new(),
            }
        });
        rig.secs(1);
    }
    asked
}

fn scale(rig: &mut Rig) -> Option<u32> {
    rig.find(|effect| match effect {
        Effect::CloudScale { max, .. } => Some(*max),
        _ => None,
    })
}

fn with_limit(max: u32) -> Rig {
    let mut rig = Rig::new(0);
    let mut topology = crate::rig::topology(0);
    topology.endpoints[0].limits = Limits { min: 0, max };
    rig.event(Event::Configured {
        topology: Box::new(topology),
    });
    rig
}

fn learned(rig: &Rig) -> Vec<(u32, u32)> {
    let reasons = rig.effects.iter().filter_map(|effect| match effect {
        Effect::Decided {
            reason: overspill_core::explain::Reason::QuotaLearned { refused, max, .. },
            ..
        } => Some((*refused, *max)),
        _ => None,
    });
    reasons.collect()
}

#[test]
fn fewer_workers_are_asked_for_after_a_refusal_until_the_quota_is_found() {
    let mut rig = with_limit(20);
    for _ in 0..60 {
        rig.submit();
    }
    rig.secs(1);
    let asked = settle(&mut rig, 5);
    assert_eq!(asked, [20, 10, 5, 7, 6, 5]);
    assert_eq!(learned(&rig), [(20, 10), (10, 5), (7, 6), (6, 5)]);
    assert!(rig.cloud_submission().is_some(), "what fits is used");
}

#[test]
fn more_is_asked_for_again_after_a_while() {
    let mut rig = with_limit(20);
    for _ in 0..60 {
        rig.submit();
    }
    rig.secs(1);
    settle(&mut rig, 5);
    rig.secs(890);
    assert_eq!(scale(&mut rig), None);
    rig.secs(10);
    assert_eq!(settle(&mut rig, 20), [20]);
}

#[test]
fn with_no_room_at_all_the_pool_is_left_alone_for_a_while() {
    let mut rig = with_limit(4);
    rig.submit();
    rig.secs(1);
    let max = scale(&mut rig).expect("a worker is wanted");
    rig.event(Event::CloudFailed {
        pool: cloud_pool(),
        refusal: CloudRefusal::Quota,
        detail: String::new(),
    });
    assert_eq!((max, learned(&rig)), (1, vec![]));
    assert_eq!(scale(&mut rig), None, "it has its pause");
}
