//! The event model: jobs arrive, wait in order, and run on local or cloud slots, with exact times.
//!
//! The cloud is obedient: it starts what is ordered after a seeded start-up time, stops what is told
//! to stop at once, and bills whole seconds from the order to the stop. What is decided is decided
//! by a [`Policy`], at fixed periods; between them only the queue is handed out, at every event:
//! local slots first, else, within the policy's quota, the fullest warm worker.
//!
//! The core as a whole is not in this loop: it hands jobs to RunPod's queue and learns of starts by
//! polling, so that its times are never exact, while this model is the one that costs are compared
//! in. What decides is the same: [`overspill_core::scaler::wish`] over the same picture.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use overspill_core::placement::projection::{Picture, WAITING_MAX, Waiting, project};
use overspill_core::scaler::history::History;
use overspill_core::scaler::{Cloud, CloudWorker, Phase, View};
use overspill_core::time::{DurationMs, Timestamp};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::policies::Policy;
use super::record::{JobRecord, Run, WorkerRecord};
use super::settings::{Settings, SettingsError};
use super::trace::Trace;

/// Once all jobs have run, workers that a policy keeps are stopped after this long.
const TAIL: DurationMs = DurationMs::from_secs(3_600);

/// Replays `trace` under `policy`.
///
/// # Errors
/// When the settings describe no world.
pub fn simulate(
    trace: &Trace,
    settings: &Settings,
    policy: &mut dyn Policy,
) -> Result<Run, SettingsError> {
    settings.check()?;
    let mut engine = Engine::new(trace, settings);
    engine.run(policy);
    Ok(engine.close())
}

/// What happens at a moment; the order is that in which things of one moment are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    LocalDone { job: usize },
    CloudDone { worker: usize, job: usize },
    Ready { worker: usize },
    GivenUp { worker: usize },
    Arrival { job: usize },
    IdleOut { worker: usize, since: Timestamp },
    Tick,
}

/// A cloud worker that lives.
#[derive(Debug)]
struct Worker {
    ordered_at: Timestamp,
    ready_at: Option<Timestamp>,
    idle_since: Timestamp,
    jobs: Vec<usize>,
}

struct Engine<'a> {
    trace: &'a Trace,
    settings: &'a Settings,
    now: Timestamp,
    agenda: BinaryHeap<Reverse<(Timestamp, Happening)>>,
    rng: ChaCha8Rng,
    history: History,
    queue: VecDeque<usize>,
    /// Jobs that run on local slots.
    local: Vec<usize>,
    /// Workers that live, by number, in order of their start.
    alive: Vec<usize>,
    workers: Vec<Option<Worker>>,
    spill: u32,
    is_ticking: bool,
    left: usize,
    jobs: Vec<Option<JobRecord>>,
    records: Vec<WorkerRecord>,
    decisions: u64,
}

impl<'a> Engine<'a> {
    fn new(trace: &'a Trace, settings: &'a Settings) -> Self {
        let mut agenda = BinaryHeap::new();
        if let Some(first) = trace.jobs.first() {
            agenda.push(Reverse((first.arrival, Happening::Arrival { job: 0 })));
        }
        Self {
            trace,
            settings,
            now: Timestamp::ZERO,
            agenda,
            rng: ChaCha8Rng::seed_from_u64(settings.seed),
            history: History::default(),
            queue: VecDeque::new(),
            local: Vec::new(),
            alive: Vec::new(),
            workers: Vec::new(),
            spill: 0,
            is_ticking: false,
            left: trace.jobs.len(),
            jobs: vec![None; trace.jobs.len()],
            records: Vec::new(),
            decisions: 0,
        }
    }

    fn run(&mut self, policy: &mut dyn Policy) {
        if self.settings.local_workers == 0 {
            self.spill = u32::MAX;
        }
        if self.settings.min > 0 || policy.looks_ahead() {
            self.tick_next(policy.period());
        }
        let mut ended_at = None;
        while let Some(Reverse((at, happening))) = self.agenda.pop() {
            self.now = at;
            self.take(happening, policy);
            // Ticks cost nothing in virtual time, but nothing is decided where there is nothing.
            let is_quiet = self.queue.is_empty() && self.alive.is_empty() && self.local.is_empty();
            if !self.is_ticking && (!is_quiet || (policy.looks_ahead() && self.left > 0)) {
                self.tick_next(policy.period());
            }
            if self.left == 0 && self.queue.is_empty() {
                let end = *ended_at.get_or_insert(self.now);
                if self.alive.is_empty() || self.now.since(end) > TAIL {
                    break;
                }
            }
        }
        for worker in self.alive.clone() {
            self.stop(worker);
        }
    }

    fn take(&mut self, happening: Happening, policy: &mut dyn Policy) {
        match happening {
            Happening::Arrival { job } => {
                self.history.arrived(self.now);
                self.queue.push_back(job);
                if let Some(next) = self.trace.jobs.get(job + 1) {
                    self.put(next.arrival, Happening::Arrival { job: job + 1 });
                }
            }
            Happening::LocalDone { job } => {
                self.local.retain(|&other| other != job);
                self.done(job);
            }
            Happening::CloudDone { worker, job } => {
                self.done(job);
                let now = self.now;
                let state = self.workers[worker].as_mut().expect("a busy worker lives");
                state.jobs.retain(|&other| other != job);
                if state.jobs.is_empty() {
                    state.idle_since = now;
                    self.watch_idle(worker, policy);
                }
            }
            Happening::Ready { worker } => {
                let now = self.now;
                let Some(state) = self.workers[worker].as_mut() else {
                    return;
                };
                state.ready_at = Some(now);
                state.idle_since = now;
                self.history.started(now.since(state.ordered_at));
                self.watch_idle(worker, policy);
            }
            Happening::GivenUp { worker } => {
                if self.workers[worker].is_some() {
                    self.stop(worker);
                }
            }
            Happening::IdleOut { worker, since } => {
                let is_out = self.workers[worker]
                    .as_ref()
                    .is_some_and(|w| w.jobs.is_empty() && w.idle_since == since);
                if is_out && self.alive.len() > self.settings.min as usize {
                    self.stop(worker);
                }
            }
            Happening::Tick => {
                self.is_ticking = false;
                self.decide(policy);
            }
        }
        self.hand_out();
        if matches!(
            happening,
            Happening::CloudDone { .. } | Happening::Ready { .. }
        ) && policy.decides_at_idle()
            && self.alive.iter().any(|&worker| self.is_idle(worker))
        {
            self.decide(policy);
            self.hand_out();
        }
    }

    fn put(&mut self, at: Timestamp, happening: Happening) {
        self.agenda.push(Reverse((at, happening)));
    }

    fn tick_next(&mut self, period: DurationMs) {
        let period = i64::try_from(period.as_millis().max(1)).unwrap_or(i64::MAX);
        let at = (self.now.as_millis() / period + 1).saturating_mul(period);
        self.is_ticking = true;
        self.put(Timestamp::from_millis(at), Happening::Tick);
    }

    fn watch_idle(&mut self, worker: usize, policy: &dyn Policy) {
        if let Some(timeout) = policy.idle_timeout() {
            let since = self.now;
            self.put(self.now + timeout, Happening::IdleOut { worker, since });
        }
    }

    fn done(&mut self, job: usize) {
        let spec = self.trace.jobs[job];
        self.history.finished(spec.class, spec.duration);
        self.left -= 1;
    }

    fn is_idle(&self, worker: usize) -> bool {
        self.workers[worker]
            .as_ref()
            .is_some_and(|w| w.ready_at.is_some() && w.jobs.is_empty())
    }

    /// Hands the first jobs of the queue out, in order.
    fn hand_out(&mut self) {
        let local_slots = (self.settings.local_workers * self.settings.local_slots) as usize;
        while let Some(&job) = self.queue.front() {
            let end = self.now + self.trace.jobs[job].duration;
            if self.local.len() < local_slots {
                self.local.push(job);
                self.put(end, Happening::LocalDone { job });
                self.note_start(job, None);
            } else if let Some(worker) = self.fullest().filter(|_| self.spill > 0) {
                self.spill = self.spill.saturating_sub(u32::from(self.spill != u32::MAX));
                let state = self.workers[worker]
                    .as_mut()
                    .expect("chosen among the living");
                state.jobs.push(job);
                self.put(end, Happening::CloudDone { worker, job });
                self.note_start(job, Some(worker));
            } else {
                break;
            }
            self.queue.pop_front();
        }
    }

    fn note_start(&mut self, job: usize, worker: Option<usize>) {
        let wait = self.now.since(self.trace.jobs[job].arrival);
        self.history.began(wait > self.settings.max_wait);
        self.jobs[job] = Some(JobRecord {
            job,
            started_at: self.now,
            worker,
        });
    }

    /// The warm worker with a free slot that runs the most; the oldest of equals.
    fn fullest(&self) -> Option<usize> {
        let has_room = |&&worker: &&usize| {
            self.workers[worker].as_ref().is_some_and(|w| {
                w.ready_at.is_some() && w.jobs.len() < self.settings.slots as usize
            })
        };
        self.alive
            .iter()
            .filter(has_room)
            .copied()
            .max_by_key(|&worker| {
                let busy = self.workers[worker].as_ref().map_or(0, |w| w.jobs.len());
                (busy, Reverse(worker))
            })
    }

    fn decide(&mut self, policy: &mut dyn Policy) {
        self.decisions += 1;
        let guess = |class, elapsed| {
            self.history
                .remaining(class, elapsed, self.settings.expected_execution)
        };
        let free_at = |job: usize| {
            let started = self.jobs[job].map_or(self.now, |record| record.started_at);
            self.now + guess(self.trace.jobs[job].class, self.now.since(started))
        };
        let mut fresh: Vec<(u32, DurationMs)> = Vec::new();
        let mut waiting = Vec::with_capacity(self.queue.len().min(WAITING_MAX));
        for &job in self.queue.iter().take(WAITING_MAX) {
            let spec = self.trace.jobs[job];
            let known = fresh.iter().find(|(class, _)| *class == spec.class);
            let execution = known.map_or_else(|| guess(spec.class, DurationMs::ZERO), |k| k.1);
            if known.is_none() {
                fresh.push((spec.class, execution));
            }
            waiting.push(Waiting {
                submitted_at: spec.arrival,
                execution,
                is_cloudable: true,
                is_low_priority: false,
            });
        }
        let local_slots = (self.settings.local_workers * self.settings.local_slots) as usize;
        let mut local: Vec<Timestamp> = self.local.iter().map(|&job| free_at(job)).collect();
        local.resize(local_slots, self.now);
        let picture = Picture {
            now: self.now,
            max_wait: self.settings.max_wait,
            waiting,
            waiting_total: self.queue.len(),
            local,
        };
        let fleet: Vec<CloudWorker> = self
            .alive
            .iter()
            .filter_map(|&worker| self.workers[worker].as_ref())
            .map(|worker| CloudWorker {
                phase: match worker.ready_at {
                    None => Phase::Starting {
                        since: worker.ordered_at,
                    },
                    Some(_) => Phase::Ready {
                        since: worker.idle_since,
                    },
                },
                busy: worker.jobs.iter().map(|&job| free_at(job)).collect(),
            })
            .collect();
        let running: usize = fleet.iter().map(|worker| worker.busy.len()).sum();
        let running = u32::try_from(running).unwrap_or(u32::MAX);
        let alive = u32::try_from(fleet.len()).unwrap_or(u32::MAX);
        let view = View {
            picture: &picture,
            projection: if policy.reads_projection() {
                project(&picture)
            } else {
                Default::default()
            },
            cloud: Cloud {
                slots: self.settings.slots,
                outstanding: running,
                running,
                alive,
                wanted: alive,
            },
            fleet: Some(&fleet),
            history: &self.history,
            expected: self.settings.expected_execution,
            max: self.settings.max,
        };
        let wish = policy.decide(&view);
        self.spill = if self.settings.local_workers == 0 {
            u32::MAX
        } else {
            wish.spill
        };
        self.hand_out();
        self.scale(wish.workers.clamp(self.settings.min, self.settings.max));
    }

    /// Starts what is missing; stops idle workers first, then those that start, youngest first.
    fn scale(&mut self, wanted: u32) {
        let wanted = wanted as usize;
        for _ in self.alive.len()..wanted {
            self.start();
        }
        while self.alive.len() > wanted {
            let idle = self
                .alive
                .iter()
                .rev()
                .copied()
                .find(|&worker| self.is_idle(worker));
            let starting = || {
                let is_starting = |&worker: &usize| {
                    self.workers[worker]
                        .as_ref()
                        .is_some_and(|w| w.ready_at.is_none())
                };
                self.alive.iter().rev().copied().find(is_starting)
            };
            let Some(worker) = idle.or_else(starting) else {
                break;
            };
            self.stop(worker);
        }
    }

    fn start(&mut self) {
        let worker = self.workers.len();
        self.workers.push(Some(Worker {
            ordered_at: self.now,
            ready_at: None,
            idle_since: self.now,
            jobs: Vec::new(),
        }));
        self.alive.push(worker);
        self.records.push(WorkerRecord {
            ordered_at: self.now,
            ready_at: None,
            stopped_at: self.now,
        });
        // Both are drawn each time, so that one option does not shift the other's numbers.
        let (flash, stuck): (f64, f64) = (self.rng.random(), self.rng.random());
        let (from, to) = if flash < self.settings.flash_share {
            (DurationMs::from_secs(1), DurationMs::from_secs(5))
        } else {
            self.settings.cold_start
        };
        let length = self.rng.random_range(from.as_millis()..=to.as_millis());
        if stuck < self.settings.stuck_share {
            self.put(
                self.now + self.settings.start_timeout,
                Happening::GivenUp { worker },
            );
        } else {
            let ready_at = self.now + DurationMs::from_millis(length);
            self.put(ready_at, Happening::Ready { worker });
        }
    }

    fn stop(&mut self, worker: usize) {
        self.alive.retain(|&other| other != worker);
        if let Some(state) = self.workers[worker].take() {
            let record = &mut self.records[worker];
            record.ready_at = state.ready_at;
            record.stopped_at = self.now;
        }
    }

    fn close(self) -> Run {
        Run {
            jobs: self.jobs.into_iter().flatten().collect(),
            workers: self.records,
            decisions: self.decisions,
        }
    }
}
