//! Random facts in any order: whatever the world says, no invariant breaks, the store and the core
//! agree after every event, and every job ends exactly once.

use overspill_core::effect::Effect;
use overspill_core::event::{CloudJobState, CloudRefusal, Event, Outcome, PayloadRef};
use overspill_core::id::{AttemptId, DeviceId, JobId, WorkerId};
use overspill_core::quarantine::CardReading;
use overspill_core::time::DurationMs;
use overspill_core::topology::Limits;
use proptest::prelude::*;

use crate::rig::{Rig, TTS};

fn pick<T: Copy>(items: &[T], index: usize) -> Option<T> {
    (!items.is_empty()).then(|| items[index % items.len()])
}

struct World {
    rig: Rig,
    workers: Vec<WorkerId>,
    jobs: Vec<JobId>,
    cloud: Vec<AttemptId>,
}

impl World {
    fn step(&mut self, what: u8, which: usize, length: u64) {
        self.workers.extend(self.rig.start_workers());
        while let Some(attempt) = self.rig.cloud_submission() {
            self.cloud.push(attempt);
        }
        let worker = pick(&self.workers, which);
        let job = pick(&self.jobs, which);
        let attempt = pick(&self.cloud, which);
        match (what, worker, job, attempt) {
            (0..=2, ..) => self.jobs.push(self.rig.submit()),
            (3..=5, Some(worker), ..) => drop(self.rig.poll(worker, length.is_multiple_of(2))),
            (6..=7, Some(worker), Some(_), _) => {
                if let Some(attempt) = self.rig.delivered(worker) {
                    let _ = self.rig.finish(worker, attempt.job);
                }
            }
            (8, Some(worker), Some(job), _) => drop(self.rig.finish(worker, job)),
            (9, Some(worker), ..) => {
                let code = (length.is_multiple_of(3)).then_some(1);
                self.rig.event(Event::WorkerExited {
                    worker,
                    code,
                    reason: None,
                });
            }
            (10, _, Some(job), _) => {
                let request = self.rig.request();
                self.rig.event(Event::CancelAsked { request, job });
            }
            (11, Some(worker), Some(job), _) => {
                self.rig.event(Event::Pinged {
                    worker,
                    jobs: vec![job],
                });
            }
            (12, Some(worker), Some(job), _) => {
                self.rig.event(Event::DeliverFailed {
                    worker,
                    jobs: vec![job],
                });
            }
            (13..=15, _, _, Some(attempt)) => {
                let cloud_job = format!("c{which}");
                self.rig.event(Event::CloudSubmitted { attempt, cloud_job });
            }
            (16, _, _, Some(attempt)) => {
                let detail = String::new();
                self.rig
                    .event(Event::CloudSubmitUnknown { attempt, detail });
            }
            (17, _, _, Some(attempt)) => {
                let refusal = match length % 4 {
                    0 => CloudRefusal::Paused,
                    1 => CloudRefusal::RateLimited,
                    2 => CloudRefusal::BadJob,
                    _ => CloudRefusal::Unreachable,
                };
                let detail = String::new();
                self.rig.event(Event::CloudRefused {
                    attempt,
                    refusal,
                    retry_after: None,
                    detail,
                });
            }
            (18..=21, _, _, Some(attempt)) => {
                let state = match length % 5 {
                    0 => CloudJobState::Cancelled,
                    1 => CloudJobState::TimedOut {
                        worker: None,
                        delay: None,
                        error: "job timed out after 1 retries".into(),
                        execution: None,
                    },
                    2 => CloudJobState::Running {
                        worker: None,
                        delay: None,
                    },
                    _ => CloudJobState::Ended {
                        outcome: Outcome::Completed {
                            output: PayloadRef::default(),
                        },
                        worker: None,
                        delay: None,
                        execution: None,
                    },
                };
                self.rig.event(Event::CloudStatus { attempt, state });
            }
            (22, _, _, Some(attempt)) => self.rig.event(Event::CloudGone { attempt }),
            (23, ..) => {
                let alive: Vec<WorkerId> = self
                    .workers
                    .iter()
                    .copied()
                    .filter(|_| length.is_multiple_of(2))
                    .collect();
                self.rig.restart(2, alive);
            }
            (24, ..) => {
                let request = self.rig.request();
                let max = u32::try_from(which % 5).unwrap_or(0);
                let limits = Limits {
                    min: max.min(1),
                    max,
                };
                self.rig.event(Event::LimitsSet {
                    request,
                    endpoint: TTS,
                    limits,
                    by: "p".into(),
                });
            }
            (26, _, Some(job), _) => {
                let request = self.rig.request();
                let ttl = DurationMs::from_millis(10_000 + length);
                self.rig.event(Event::TtlSet { request, job, ttl });
            }
            (25, ..) => {
                let request = self.rig.request();
                self.rig.event(Event::PurgeAsked {
                    request,
                    endpoint: TTS,
                });
            }
            (30..=32, ..) => {
                let device = DeviceId(u32::try_from(which % 3).unwrap_or(0));
                let reading = match length % 6 {
                    0 => CardReading::Missing,
                    1 => CardReading::Hanging,
                    2 => CardReading::Failing {
                        error: "GPU is lost".into(),
                    },
                    errors => CardReading::Answers {
                        memory_errors: Some(errors - 3),
                        lists_processes: !length.is_multiple_of(5),
                    },
                };
                self.rig.event(Event::CardRead { device, reading });
            }
            (33, ..) => {
                let device = DeviceId(u32::try_from(which % 3).unwrap_or(0));
                // Every worker of the rig has this process id.
                self.rig.event(Event::CardFreed { device, pid: 7 });
            }
            (34, ..) => {
                let device = DeviceId(u32::try_from(which % 3).unwrap_or(0));
                let request = self.rig.request();
                let by = "p".into();
                self.rig.event(Event::CardReturnAsked {
                    request,
                    device,
                    by,
                });
            }
            _ => self.rig.pass(DurationMs::from_millis(length)),
        }
        // What the process host would do with orders that the test does not look at.
        let killed: Vec<WorkerId> = self
            .rig
            .effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::KillWorker { worker } => Some(*worker),
                _ => None,
            })
            .collect();
        self.rig.effects.retain(|effect| {
            matches!(
                effect,
                Effect::Deliver { .. } | Effect::CloudSubmit { .. } | Effect::MintWorker { .. }
            )
        });
        for worker in killed {
            self.rig.event(Event::WorkerExited {
                worker,
                code: None,
                reason: None,
            });
            self.workers.retain(|&id| id != worker);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_nothing_ends_twice(
        steps in prop::collection::vec((0_u8..37, 0_usize..40, 0_u64..40_000), 1..120)
    ) {
        let mut world = World {
            rig: Rig::new(2), workers: Vec::new(), jobs: Vec::new(), cloud: Vec::new(),
        };
        for (what, which, length) in steps {
            world.step(what, which, length);
        }
        for &job in &world.jobs {
            let ends = world.rig.ended(job).len();
            let lives = usize::from(world.rig.core.job(job).is_some());
            prop_assert_eq!(ends + lives, 1, "{} ended {} times, lives {}", job, ends, lives);
        }
    }
}
