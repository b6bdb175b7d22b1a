//! `slots = "learn"`: the knee is found from jobs that end, and full memory is backed off from.

use std::collections::VecDeque;

use overspill_core::effect::Effect;
use overspill_core::event::{CloudJobState, CloudWorkerCounts, Event, Outcome, PayloadRef};
use overspill_core::explain::Reason;
use overspill_core::id::AttemptId;
use overspill_core::scaler::slots::Why;
use overspill_core::time::DurationMs;
use overspill_core::why::Cause;

use crate::rig::{Rig, TTS, cloud_pool, topology};

/// One cloud worker that gets slower in proportion from `knee` jobs on, and has memory for `fits`.
struct World {
    rig: Rig,
    knee: usize,
    fits: usize,
    running: VecDeque<AttemptId>,
    steps: Vec<(u32, u32, Why)>,
    failed: usize,
}

impl World {
    fn new(knee: usize, fits: usize) -> Self {
        let mut world = Self {
            rig: Rig::new(0),
            knee,
            fits,
            running: VecDeque::new(),
            steps: Vec::new(),
            failed: 0,
        };
        world.configure();
        world
    }

    fn configure(&mut self) {
        let mut topology = topology(0);
        topology.endpoints[0].pools[1].slots = 0;
        topology.endpoints[0].limits.max = 1;
        self.rig.event(Event::Configured {
            topology: Box::new(topology),
        });
    }

    /// Runs so many jobs to their end, always as many at once as there are slots for.
    fn run(&mut self, jobs: usize) {
        let mut ended = 0;
        for _ in 0..jobs {
            self.rig.submit();
        }
        while ended < jobs {
            self.rig.event(Event::CloudHealth {
                pool: cloud_pool(),
                workers: CloudWorkerCounts {
                    running: 1,
                    ..CloudWorkerCounts::default()
                },
            });
            self.rig.secs(1);
            while let Some(attempt) = self.rig.cloud_submission() {
                let cloud_job = format!("{attempt}");
                self.rig.event(Event::CloudSubmitted { attempt, cloud_job });
                let state = CloudJobState::Running {
                    worker: Some("w1".into()),
                    delay: None,
                };
                self.rig.event(Event::CloudStatus { attempt, state });
                self.running.push_back(attempt);
            }
            let beside = self.running.len();
            let Some(attempt) = self.running.pop_front() else {
                continue;
            };
            let length =
                DurationMs::from_millis(8_000 * beside.max(self.knee) as u64 / self.knee as u64);
            self.rig.secs(2);
            let is_full = beside > self.fits;
            let outcome = if is_full {
                Outcome::Failed {
                    error: "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB".into(),
                    output: PayloadRef::default(),
                }
            } else {
                Outcome::Completed {
                    output: PayloadRef::default(),
                }
            };
            ended += usize::from(!is_full);
            self.failed += usize::from(is_full);
            let state = CloudJobState::Ended {
                outcome,
                worker: Some("w1".into()),
                delay: None,
                execution: Some(length),
            };
            self.rig.event(Event::CloudStatus { attempt, state });
            self.take_steps();
        }
    }

    fn take_steps(&mut self) {
        let steps = self.rig.effects.iter().filter_map(|effect| match effect {
            Effect::Decided {
                reason: Reason::SlotsLearned { from, to, why, .. },
                ..
            } => Some((*from, *to, *why)),
            _ => None,
        });
        self.steps.extend(steps);
        self.rig.effects.retain(|effect| {
            let Effect::Decided { reason, .. } = effect else {
                return true;
            };
            !matches!(reason, Reason::SlotsLearned { .. })
        });
    }

    fn learned(&self) -> (u32, u32, Option<u32>) {
        let situation = self.rig.core.situation(TTS).expect("it is configured");
        let chain = situation.why_scale();
        let found = chain.iter().find_map(|cause| match cause {
            Cause::SlotsLearned {
                slots,
                knee,
                ceiling,
                ..
            } => Some((*slots, *knee, *ceiling)),
            _ => None,
        });
        found.expect("`why scale` says what was learned")
    }
}

#[test]
fn the_knee_is_found_and_told() {
    let mut world = World::new(4, 64);
    world.run(300);
    assert_eq!(world.learned(), (4, 4, None), "{:?}", world.steps);
    assert_eq!(world.steps[0], (1, 2, Why::Worth));
    assert_eq!(world.steps[1], (2, 4, Why::Worth));
    assert!(world.steps.iter().any(|step| step.2 == Why::NotWorth));
    // What was learned bounds what is handed over.
    for _ in 0..20 {
        world.rig.submit();
    }
    world.rig.secs(3);
    let mut submitted = world.running.len();
    while world.rig.cloud_submission().is_some() {
        submitted += 1;
    }
    assert_eq!(submitted, 4);
}

#[test]
fn full_memory_is_backed_off_from_and_no_job_fails_of_it() {
    let mut world = World::new(16, 3);
    world.run(200);
    let (slots, _, ceiling) = world.learned();
    assert_eq!((slots, ceiling), (3, Some(3)), "{:?}", world.steps);
    assert!(world.failed <= 3, "{} attempts failed", world.failed);
    let failed = world.rig.changes.iter().filter(|change| {
        matches!(change, overspill_core::change::Change::JobEnded(ended) if ended.error.is_some())
    });
    assert_eq!(failed.count(), 0, "each was tried again");
    // A restart does not forget it.
    world.rig.restart(0, Vec::new());
    world.configure();
    let (slots, _, ceiling) = world.learned();
    assert_eq!((slots, ceiling), (3, Some(3)));
}
