//! A small world around the rig: cards that ask and run, and a RunPod that starts a worker for each
//! waiting job within max, ends what is too much, and tells of it once a second.

use std::collections::{BTreeMap, VecDeque};

use overspill_core::effect::Effect;
use overspill_core::event::{CloudJobState, CloudWorkerCounts, Event, Outcome, PayloadRef};
use overspill_core::id::{AttemptId, JobId, WorkerId};
use overspill_core::time::{DurationMs, Timestamp};
use overspill_core::topology::{Limits, PoolKind, ScalerSpec, Topology};

use crate::rig::{Rig, cloud_pool, topology};

/// A worker at RunPod.
struct Worker {
    name: String,
    ready_at: Timestamp,
    jobs: Vec<(AttemptId, Timestamp)>,
    idle_since: Timestamp,
    is_draining: bool,
}

impl Worker {
    fn is_ready(&self, now: Timestamp) -> bool {
        self.ready_at <= now
    }
}

/// See the module.
pub struct Town {
    pub rig: Rig,
    /// How long a worker takes to start; one that never does takes for ever.
    pub cold_start: DurationMs,
    /// How long RunPod keeps an idle worker.
    pub idle: DurationMs,
    /// Every change of limits: when, min, max.
    pub scaled: Vec<(Timestamp, u32, u32)>,
    /// Seconds of workers that lived.
    pub worker_seconds: u64,
    /// Waits of the jobs that started.
    pub waits: Vec<DurationMs>,
    limits: (u32, u32),
    workers: Vec<Worker>,
    queue: VecDeque<AttemptId>,
    cards: BTreeMap<WorkerId, Option<(AttemptId, Timestamp)>>,
    lengths: BTreeMap<JobId, DurationMs>,
    submitted: BTreeMap<JobId, Timestamp>,
    number: u64,
}

/// The rig's topology with so many cards, another rule, slots and limits.
pub fn changed(local: u32, scaler: ScalerSpec, slots: u32, limits: Limits) -> Topology {
    let mut topology = topology(local);
    let endpoint = &mut topology.endpoints[0];
    endpoint.scaler = scaler;
    endpoint.limits = limits;
    for pool in &mut endpoint.pools {
        if matches!(pool.kind, PoolKind::RunPod(_)) {
            pool.slots = slots;
        }
    }
    topology
}

impl Town {
    pub fn new(topology: Topology) -> Self {
        Self {
            rig: Rig::of(topology),
            cold_start: DurationMs::from_secs(40),
            idle: DurationMs::from_secs(5),
            scaled: Vec::new(),
            worker_seconds: 0,
            waits: Vec::new(),
            limits: (0, 0),
            workers: Vec::new(),
            queue: VecDeque::new(),
            cards: BTreeMap::new(),
            lengths: BTreeMap::new(),
            submitted: BTreeMap::new(),
            number: 0,
        }
    }

    /// A job that runs for so long.
    pub fn submit(&mut self, length: DurationMs) -> JobId {
        let job = self.rig.submit();
        self.lengths.insert(job, length);
        self.submitted.insert(job, self.rig.now);
        job
    }

    /// Max as RunPod has it.
    pub fn max(&self) -> u32 {
        self.limits.1
    }

    /// Workers at RunPod, those that start included.
    pub fn alive(&self) -> usize {
        self.workers.len()
    }

    /// Jobs that were submitted and have not ended.
    pub fn live(&self) -> usize {
        let is_live = |job: &&JobId| self.rig.core.job(**job).is_some();
        self.submitted.keys().filter(is_live).count()
    }

    pub fn secs(&mut self, secs: u64) {
        for _ in 0..secs {
            self.second();
        }
    }

    /// One second of it all.
    pub fn second(&mut self) {
        self.answer();
        self.cards();
        self.finish();
        self.hand_out();
        self.scale();
        self.count();
        self.worker_seconds += self.workers.len() as u64;
        self.rig.secs(1);
        self.answer();
    }

    fn slots(&self) -> usize {
        let spec = self.rig.core.situation(crate::rig::TTS);
        spec.map_or(1, |situation| situation.cloud.slots.max(1) as usize)
    }

    /// What the core asks for of RunPod.
    fn answer(&mut self) {
        let pool = cloud_pool();
        while let Some((min, max)) = self.rig.find(|effect| match effect {
            Effect::CloudScale { min, max, .. } => Some((*min, *max)),
            _ => None,
        }) {
            self.limits = (min, max);
            self.scaled.push((self.rig.now, min, max));
            // Limits act at once.
            self.scale();
            self.rig.event(Event::CloudScaled { pool, min, max });
        }
        while let Some(idle) = self.rig.find(|effect| match effect {
            Effect::CloudIdle { idle, .. } => Some(*idle),
            _ => None,
        }) {
            self.idle = idle;
        }
        while let Some(attempt) = self.rig.cloud_submission() {
            self.queue.push_back(attempt);
            let cloud_job = format!("c{attempt}");
            self.rig.event(Event::CloudSubmitted { attempt, cloud_job });
        }
        while let Some(attempt) = self.rig.find(|effect| match effect {
            Effect::CloudCancel { attempt, .. } => Some(*attempt),
            _ => None,
        }) {
            let before = self.queue.len();
            self.queue.retain(|queued| *queued != attempt);
            if self.queue.len() < before {
                let state = CloudJobState::Cancelled;
                self.rig.event(Event::CloudStatus { attempt, state });
            }
        }
    }

    fn cards(&mut self) {
        for worker in self.rig.start_workers() {
            self.cards.insert(worker, None);
        }
        let now = self.rig.now;
        let cards: Vec<WorkerId> = self.cards.keys().copied().collect();
        for card in cards {
            if let Some((attempt, _)) = self.cards[&card] {
                let (worker, jobs) = (card, vec![attempt.job]);
                self.rig.event(Event::Pinged { worker, jobs });
            }
            if let Some((attempt, _)) = self.cards[&card].filter(|(_, end)| *end <= now) {
                let _ = self.rig.finish(card, attempt.job);
                self.cards.insert(card, None);
            }
            if self.cards[&card].is_none() {
                self.rig.poll(card, true);
                if let Some(attempt) = self.rig.delivered(card) {
                    self.begins(attempt.job);
                    let end = now + self.lengths[&attempt.job];
                    self.cards.insert(card, Some((attempt, end)));
                }
            }
        }
    }

    fn begins(&mut self, job: JobId) {
        self.waits.push(self.rig.now.since(self.submitted[&job]));
    }

    /// Jobs at RunPod that are over.
    fn finish(&mut self) {
        let now = self.rig.now;
        let mut over = Vec::new();
        for worker in &mut self.workers {
            let name = worker.name.clone();
            worker.jobs.retain(|&(attempt, end)| {
                if end <= now {
                    over.push((attempt, name.clone()));
                }
                end > now
            });
            if !worker.jobs.is_empty() {
                worker.idle_since = now;
            }
        }
        for (attempt, worker) in over {
            let state = CloudJobState::Ended {
                outcome: Outcome::Completed {
                    output: PayloadRef::default(),
                },
                worker: Some(worker),
                delay: None,
                execution: Some(self.lengths[&attempt.job]),
            };
            self.rig.event(Event::CloudStatus { attempt, state });
        }
        self.answer();
    }

    /// Jobs at RunPod to the fullest ready worker.
    fn hand_out(&mut self) {
        let (now, slots) = (self.rig.now, self.slots());
        loop {
            let open = self.workers.iter_mut().filter(|worker| {
                worker.is_ready(now) && !worker.is_draining && worker.jobs.len() < slots
            });
            let Some(worker) = open.max_by_key(|worker| worker.jobs.len()) else {
                break;
            };
            let Some(attempt) = self.queue.pop_front() else {
                break;
            };
            worker
                .jobs
                .push((attempt, now + self.lengths[&attempt.job]));
            let state = CloudJobState::Running {
                worker: Some(worker.name.clone()),
                delay: None,
            };
            self.begins(attempt.job);
            self.rig.event(Event::CloudStatus { attempt, state });
        }
    }

    /// Ends what is too much, and starts a worker for each waiting job that none starts for yet.
    fn scale(&mut self) {
        let now = self.rig.now;
        self.workers
            .retain(|worker| !worker.is_draining || !worker.jobs.is_empty());
        let (min, max) = (self.limits.0 as usize, self.limits.1 as usize);
        let staying = |workers: &[Worker]| workers.iter().filter(|w| !w.is_draining).count();
        let mut spare = staying(&self.workers).saturating_sub(min);
        let idle = self.idle;
        self.workers.retain(|worker| {
            let is_over = worker.is_ready(now)
                && worker.jobs.is_empty()
                && now.since(worker.idle_since) > idle
                && spare > 0;
            spare -= usize::from(is_over);
            !is_over
        });
        while staying(&self.workers) > max {
            let rank = |worker: &&mut Worker| match (worker.is_ready(now), worker.jobs.len()) {
                (false, _) => 0,
                (true, 0) => 1,
                (true, _) => 2,
            };
            let open = self.workers.iter_mut().filter(|w| !w.is_draining);
            if let Some(worker) = open.min_by_key(rank) {
                worker.is_draining = true;
            }
            self.workers
                .retain(|worker| !worker.is_draining || !worker.jobs.is_empty());
        }
        let coming = self.workers.iter().filter(|w| !w.is_ready(now)).count();
        let for_jobs = self.queue.len().saturating_sub(coming);
        let for_min = min.saturating_sub(staying(&self.workers));
        let room = max.saturating_sub(self.workers.len());
        for _ in 0..for_jobs.max(for_min).min(room) {
            self.number += 1;
            self.workers.push(Worker {
                name: format!("w{}", self.number),
                ready_at: now + self.cold_start,
                jobs: Vec::new(),
                idle_since: now + self.cold_start,
                is_draining: false,
            });
        }
    }

    fn count(&mut self) {
        let now = self.rig.now;
        let mut workers = CloudWorkerCounts::default();
        for worker in &self.workers {
            match (worker.is_ready(now), worker.jobs.is_empty()) {
                (false, _) => workers.initializing += 1,
                (true, true) => workers.idle += 1,
                (true, false) => workers.running += 1,
            }
        }
        let pool = cloud_pool();
        self.rig.event(Event::CloudHealth { pool, workers });
    }
}
