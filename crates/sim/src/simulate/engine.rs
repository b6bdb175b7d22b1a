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
//!
//! Every set is kept in order by number, so that one event costs the logarithm of what lives: a
//! million waiting jobs and ten thousand workers are no ceiling.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};

use overspill_core::scaler::history::History;
use overspill_core::scaler::slots::{Slots, Step};
use overspill_core::time::{DurationMs, Timestamp};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::policies::Policy;
use super::record::{AttemptRecord, Run, WorkerRecord};
use super::settings::{Offer, SLOW_FACTOR, Settings, SettingsError, THROTTLED};
use super::trace::Trace;

/// Once all jobs have run, workers that a policy keeps are stopped after this long.
const TAIL: DurationMs = DurationMs::from_secs(3_600);
/// How often a job is tried before it is given up.
const ATTEMPTS_MAX: u8 = 3;
/// An offer that throttled an order is passed over for this long, where another has room.
const AVOIDED: DurationMs = DurationMs::from_secs(60);
/// How many jobs end between two calls of the watcher.
const WATCHED_EVERY: usize = 256;
/// A job that finds its worker's memory full fails after this long.
const FULL_AFTER: DurationMs = DurationMs::from_secs(1);

/// Replays `trace` under `policy`.
///
/// # Errors
/// When the settings describe no world.
pub fn simulate(
    trace: &Trace,
    settings: &Settings,
    policy: &mut dyn Policy,
) -> Result<Run, SettingsError> {
    simulate_watched(trace, settings, policy, &mut |_| {})
}

/// The same; `watch` is told now and then how many jobs have ended.
///
/// # Errors
/// When the settings describe no world.
pub fn simulate_watched(
    trace: &Trace,
    settings: &Settings,
    policy: &mut dyn Policy,
    watch: &mut dyn FnMut(usize),
) -> Result<Run, SettingsError> {
    settings.check()?;
    let mut engine = Engine::new(trace, settings);
    engine.run(policy, watch);
    Ok(engine.close())
}

/// What happens at a moment; the order is that in which things of one moment are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    LocalDone {
        attempt: usize,
    },
    CloudDone {
        worker: usize,
        attempt: usize,
    },
    Begun {
        worker: usize,
    },
    Ready {
        worker: usize,
    },
    GivenUp {
        worker: usize,
    },
    Lost {
        worker: usize,
    },
    Arrival {
        job: usize,
    },
    IdleOut {
        worker: usize,
        since: Timestamp,
    },
    Tick,
    /// One that a policy that is asked at events was too lately asked for.
    TickSoon,
}

/// A cloud worker that lives.
#[derive(Debug)]
pub(super) struct Worker {
    offer: usize,
    pub(super) ordered_at: Timestamp,
    pub(super) ready_at: Option<Timestamp>,
    pub(super) idle_since: Timestamp,
    /// Attempts that run on it, in order of start.
    pub(super) running: Vec<usize>,
}

pub(super) struct Engine<'a> {
    pub(super) trace: &'a Trace,
    pub(super) settings: &'a Settings,
    pub(super) offers: Vec<Offer>,
    /// Workers that live, and until when it is passed over, by offer.
    offered: Vec<(u32, Timestamp)>,
    pub(super) now: Timestamp,
    agenda: BinaryHeap<Reverse<(Timestamp, Happening)>>,
    rng: ChaCha8Rng,
    /// For what came later than the start-up times, so that these stay as they were.
    faults: ChaCha8Rng,
    pub(super) history: History,
    pub(super) queue: VecDeque<usize>,
    /// Jobs that wait at the cloud for one of its workers, where such are handed over.
    pub(super) handed: VecDeque<usize>,
    pub(super) hands_over: bool,
    /// Jobs of low priority: behind all others, and nothing is started for them.
    pub(super) low: VecDeque<usize>,
    /// How often each waiting or running job was tried, where that is more than never.
    tried: Vec<u8>,
    /// Attempts that run on local slots.
    pub(super) local: BTreeSet<usize>,
    /// Workers that live, by number, in order of their start.
    pub(super) alive: BTreeSet<usize>,
    idle: BTreeSet<usize>,
    starting: BTreeSet<usize>,
    /// Ready workers with a free slot: the fullest first, the oldest of equals.
    open: BTreeSet<(Reverse<usize>, usize)>,
    pub(super) workers: Vec<Option<Worker>>,
    pub(super) spill: u32,
    /// Jobs at once on a cloud worker, now.
    pub(super) slots: u32,
    learned: Slots,
    slots_max: u32,
    is_ticking: bool,
    is_ticking_soon: bool,
    /// When the policy was asked last.
    pub(super) decided_at: Timestamp,
    pub(super) arrived: usize,
    left: usize,
    pub(super) attempts: Vec<AttemptRecord>,
    records: Vec<WorkerRecord>,
    pub(super) decisions: u64,
}

impl<'a> Engine<'a> {
    fn new(trace: &'a Trace, settings: &'a Settings) -> Self {
        let mut agenda = BinaryHeap::new();
        if let Some(first) = trace.jobs.first() {
            agenda.push(Reverse((first.arrival, Happening::Arrival { job: 0 })));
        }
        let offers = settings.offers();
        let spill = if settings.local_slots_total() == 0 {
            u32::MAX
        } else {
            0
        };
        Self {
            trace,
            settings,
            offered: vec![(0, Timestamp::ZERO); offers.len()],
            offers,
            now: Timestamp::ZERO,
            agenda,
            rng: ChaCha8Rng::seed_from_u64(settings.seed),
            faults: ChaCha8Rng::seed_from_u64(settings.seed ^ 0x0066_6175_6c74),
            history: history(settings),
            queue: VecDeque::new(),
            handed: VecDeque::new(),
            hands_over: false,
            low: VecDeque::new(),
            tried: vec![0; trace.jobs.len()],
            local: BTreeSet::new(),
            alive: BTreeSet::new(),
            idle: BTreeSet::new(),
            starting: BTreeSet::new(),
            open: BTreeSet::new(),
            workers: Vec::new(),
            spill,
            slots: settings.slots,
            learned: Slots::default(),
            slots_max: settings.slots,
            is_ticking: false,
            is_ticking_soon: false,
            decided_at: Timestamp::ZERO,
            arrived: 0,
            left: trace.jobs.len(),
            attempts: Vec::with_capacity(trace.jobs.len()),
            records: Vec::new(),
            decisions: 0,
        }
    }

    fn run(&mut self, policy: &mut dyn Policy, watch: &mut dyn FnMut(usize)) {
        self.hands_over = policy.hands_over();
        if self.settings.min > 0 || policy.looks_ahead() {
            self.tick_next(policy.period());
        }
        let mut ended_at = None;
        let mut told = self.left;
        while let Some(Reverse((at, happening))) = self.agenda.pop() {
            self.now = at;
            self.take(happening, policy);
            // Ticks cost nothing in virtual time, but nothing is decided where there is nothing.
            let is_quiet = self.queue.is_empty() && self.alive.is_empty() && self.local.is_empty();
            if !self.is_ticking && (!is_quiet || (policy.looks_ahead() && self.left > 0)) {
                self.tick_next(policy.period());
            }
            if told - self.left >= WATCHED_EVERY {
                told = self.left;
                watch(self.trace.jobs.len() - self.left);
            }
            // Jobs of low priority that no worker is there for wait without limit.
            if self.left == self.low.len() && self.queue.is_empty() {
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
                self.arrived = job + 1;
                if !self.trace.jobs[job].is_low_priority {
                    if policy.foresight().is_none() {
                        self.history.arrived(self.now);
                    }
                    policy.arrived(self.now);
                }
                self.queue_of(job).push_back(job);
                if let Some(next) = self.trace.jobs.get(job + 1) {
                    self.put(next.arrival, Happening::Arrival { job: job + 1 });
                }
            }
            Happening::LocalDone { attempt } => {
                self.local.remove(&attempt);
                self.done(attempt);
            }
            Happening::CloudDone { worker, attempt } => self.cloud_done(worker, attempt, policy),
            Happening::Begun { worker } => {
                if self.workers[worker].is_some() {
                    self.records[worker].billed_from = Some(self.now);
                    self.begin(worker);
                }
            }
            Happening::Ready { worker } => self.ready(worker, policy),
            Happening::GivenUp { worker } => {
                if self.workers[worker].is_some() {
                    self.stop(worker);
                }
            }
            Happening::Lost { worker } => self.lose(worker),
            Happening::IdleOut { worker, since } => {
                let is_out = self.workers[worker]
                    .as_ref()
                    .is_some_and(|w| w.running.is_empty() && w.idle_since == since);
                if is_out && self.alive.len() > self.settings.min as usize {
                    self.stop(worker);
                }
            }
            Happening::Tick => {
                self.is_ticking = false;
                self.decide(policy);
            }
            Happening::TickSoon => {
                self.is_ticking_soon = false;
                self.decide(policy);
            }
        }
        self.hand_out();
        if matches!(
            happening,
            Happening::CloudDone { .. } | Happening::Ready { .. }
        ) && policy.decides_at_idle()
            && !self.idle.is_empty()
        {
            self.decide(policy);
            self.hand_out();
        } else if let Some(least) = policy.decides_at_events()
            && !matches!(happening, Happening::Tick | Happening::TickSoon)
        {
            let next = self.decided_at + least;
            if self.now >= next {
                self.decide(policy);
                self.hand_out();
            } else if !self.is_ticking_soon {
                self.is_ticking_soon = true;
                self.put(next, Happening::TickSoon);
            }
        }
    }

    fn cloud_done(&mut self, worker: usize, attempt: usize, policy: &dyn Policy) {
        // The attempts of a lost worker ended with it.
        if self.attempts[attempt].is_lost {
            return;
        }
        self.done(attempt);
        self.learn(worker, attempt);
        let now = self.now;
        let slots = self.slots as usize;
        let state = self.workers[worker].as_mut().expect("a busy worker lives");
        let busy = state.running.len();
        state.running.retain(|&other| other != attempt);
        self.open.remove(&(Reverse(busy), worker));
        if busy - 1 < slots {
            self.open.insert((Reverse(busy - 1), worker));
        }
        if state.running.is_empty() {
            state.idle_since = now;
            self.idle.insert(worker);
            self.watch_idle(worker, policy);
        }
    }

    fn ready(&mut self, worker: usize, policy: &dyn Policy) {
        let now = self.now;
        let Some(state) = self.workers[worker].as_mut() else {
            return;
        };
        state.ready_at = Some(now);
        state.idle_since = now;
        self.history.started(now.since(state.ordered_at));
        self.starting.remove(&worker);
        self.idle.insert(worker);
        self.open.insert((Reverse(0), worker));
        self.watch_idle(worker, policy);
        let every = self.settings.lost_every.as_secs_f64();
        if every > 0.0 {
            let luck: f64 = self.faults.random();
            let life = DurationMs::from_secs_f64(-every * (1.0 - luck).ln());
            self.put(now + life, Happening::Lost { worker });
        }
    }

    /// A worker dies with what it runs: its jobs go back to the front of the queue.
    fn lose(&mut self, worker: usize) {
        let Some(state) = self.workers[worker].as_ref() else {
            return;
        };
        let mut back: Vec<usize> = Vec::new();
        for &attempt in &state.running {
            let record = &mut self.attempts[attempt];
            record.ended_at = self.now;
            (record.is_failed, record.is_lost) = (true, true);
            back.push(record.job);
        }
        back.sort_unstable();
        for &job in back.iter().rev() {
            self.queue_of(job).push_front(job);
        }
        self.stop(worker);
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

    fn done(&mut self, attempt: usize) {
        let AttemptRecord {
            job,
            started_at,
            is_failed,
            is_full,
            ..
        } = self.attempts[attempt];
        if is_full {
            // That says nothing against the job.
            self.queue_of(job).push_front(job);
        } else if !is_failed {
            let length = self.now.since(started_at);
            self.history.finished(self.trace.jobs[job].class, length);
            self.left -= 1;
        } else if self.tried[job] >= ATTEMPTS_MAX {
            self.left -= 1;
        } else {
            self.queue_of(job).push_front(job);
        }
    }

    /// Tells the learner of slots how a job on `worker` ended, and follows it.
    fn learn(&mut self, worker: usize, attempt: usize) {
        if !self.settings.learns_slots {
            return;
        }
        let beside = self.workers[worker].as_ref().map_or(1, |w| w.running.len());
        let beside = u32::try_from(beside).unwrap_or(u32::MAX);
        let record = self.attempts[attempt];
        let step: Option<Step> = if record.is_full {
            self.learned.out_of_memory(beside, self.now)
        } else if record.is_failed {
            None
        } else {
            let class = self.trace.jobs[record.job].class;
            let length = self.now.since(record.started_at);
            self.learned.finished(class, beside, length, self.now)
        };
        let Some(step) = step else {
            return;
        };
        self.slots = step.to;
        self.slots_max = self.slots_max.max(step.to);
        let open = self.alive.iter().filter_map(|&worker| {
            let state = self.workers[worker].as_ref()?;
            let busy = state.running.len();
            let is_open = state.ready_at.is_some() && busy < step.to as usize;
            is_open.then_some((Reverse(busy), worker))
        });
        self.open = open.collect();
    }

    fn queue_of(&mut self, job: usize) -> &mut VecDeque<usize> {
        if self.trace.jobs[job].is_low_priority {
            &mut self.low
        } else {
            &mut self.queue
        }
    }

    /// As a server does under RunPod's rules: what is allowed to the cloud goes to RunPod's own queue, as far as the
    /// workers that live or start have slots. There the workers take it in order, and it comes back when a
    /// local slot is free and nothing waits here.
    fn hand_over(&mut self) {
        while let Some(&job) = self.handed.front() {
            if !self.begin_cloud(job) {
                break;
            }
            self.handed.pop_front();
        }
        while let Some(&job) = self.queue.front() {
            if !self.begin_local(job) {
                break;
            }
            self.queue.pop_front();
        }
        let slots = self.alive.len() * self.slots as usize;
        let workers = self.workers.iter().flatten();
        let running: usize = workers.map(|worker| worker.running.len()).sum();
        let mut room = slots.saturating_sub(running + self.handed.len());
        while room > 0
            && self.spill > 0
            && let Some(job) = self.queue.pop_front()
        {
            room -= 1;
            self.spill -= u32::from(self.spill != u32::MAX);
            if !self.handed.is_empty() || !self.begin_cloud(job) {
                self.handed.push_back(job);
            }
        }
        while self.queue.is_empty()
            && let Some(&job) = self.handed.front()
            && self.begin_local(job)
        {
            self.handed.pop_front();
        }
    }

    /// Hands the first jobs of the queue out, in order.
    pub(super) fn hand_out(&mut self) {
        if self.hands_over {
            self.hand_over();
        }
        while !self.hands_over
            && let Some(&job) = self.queue.front()
        {
            if !self.begin_local(job) {
                if self.spill == 0 || !self.begin_cloud(job) {
                    return;
                }
                self.spill = self.spill.saturating_sub(u32::from(self.spill != u32::MAX));
            }
            self.queue.pop_front();
        }
        // As the core has it: without local cards any worker that is there, else those always on.
        let may_go = self.settings.local_slots_total() == 0 || self.settings.min > 0;
        while let Some(&job) = self.low.front() {
            let begins = self.begin_local(job) || (may_go && self.begin_cloud(job));
            if !begins {
                return;
            }
            self.low.pop_front();
        }
    }

    /// On a free local slot, if there is one.
    fn begin_local(&mut self, job: usize) -> bool {
        if self.local.len() >= self.settings.local_slots_total() {
            return false;
        }
        let attempt = self.note_start(job, None, 1.0);
        self.local.insert(attempt);
        let end = self.attempts[attempt].ended_at;
        self.put(end, Happening::LocalDone { attempt });
        true
    }

    /// On the fullest cloud worker with a free slot, if there is one.
    fn begin_cloud(&mut self, job: usize) -> bool {
        let Some(&(Reverse(busy), worker)) = self.open.first() else {
            return false;
        };
        let offer = self.workers[worker].as_ref().map_or(0, |w| w.offer);
        // As slow as beside those that it starts with.
        let beside = f64::from(u32::try_from(busy + 1).unwrap_or(u32::MAX));
        let knee = f64::from(self.settings.knee);
        let shared = if knee > 0.0 {
            (knee / beside).min(1.0)
        } else {
            1.0
        };
        let speed = self.offers[offer].speed * shared;
        let attempt = self.note_start(job, Some(worker), speed);
        let fits = self.settings.fits as usize;
        if fits > 0 && busy + 1 > fits {
            let record = &mut self.attempts[attempt];
            (record.is_failed, record.is_full) = (true, true);
            record.ended_at = self.now + FULL_AFTER;
        }
        let state = self.workers[worker]
            .as_mut()
            .expect("chosen among the living");
        state.running.push(attempt);
        self.idle.remove(&worker);
        self.open.remove(&(Reverse(busy), worker));
        if busy + 1 < self.slots as usize {
            self.open.insert((Reverse(busy + 1), worker));
        }
        let end = self.attempts[attempt].ended_at;
        self.put(end, Happening::CloudDone { worker, attempt });
        true
    }

    /// Writes down that `job` starts now; returns the number of the attempt.
    fn note_start(&mut self, job: usize, worker: Option<usize>, speed: f64) -> usize {
        let spec = self.trace.jobs[job];
        let is_first = self.tried[job] == 0;
        self.tried[job] = self.tried[job].saturating_add(1);
        if is_first && !spec.is_low_priority {
            let wait = self.now.since(spec.arrival);
            self.history.began(wait > self.settings.max_wait);
        }
        let mut length = spec.duration;
        if (speed - 1.0).abs() > f64::EPSILON {
            length = DurationMs::from_secs_f64(length.as_secs_f64() / speed);
        }
        let mut is_failed = false;
        if self.settings.failing_share > 0.0 {
            let (fails, part): (f64, f64) = (self.faults.random(), self.faults.random());
            if fails < self.settings.failing_share {
                is_failed = true;
                length = DurationMs::from_secs_f64(length.as_secs_f64() * part);
            }
        }
        self.attempts.push(AttemptRecord {
            job,
            is_first,
            started_at: self.now,
            ended_at: self.now + length,
            worker,
            is_failed,
            is_lost: false,
            is_full: false,
        });
        self.attempts.len() - 1
    }

    /// Starts what is missing; stops idle workers first, then, where the policy takes starts back,
    /// those that start, youngest first.
    pub(super) fn scale(&mut self, wanted: u32, takes_starts_back: bool) {
        let wanted = wanted as usize;
        for _ in self.alive.len()..wanted {
            if !self.start() {
                break;
            }
        }
        while self.alive.len() > wanted {
            let starting = || self.starting.last().filter(|_| takes_starts_back);
            let Some(&worker) = self.idle.last().or_else(starting) else {
                break;
            };
            self.stop(worker);
        }
    }

    /// The offer for the next worker: the cheapest for the work it does, of those with room; one
    /// that throttled lately only where no other has room.
    fn offer(&self) -> Option<usize> {
        let price = |at: usize| {
            let offer = &self.offers[at];
            #[expect(
                clippy::cast_precision_loss,
                reason = "prices are compared, not summed"
            )]
            let nanos = offer.rate.per_hour().as_nanos() as f64;
            nanos / offer.speed
        };
        (0..self.offers.len())
            .filter(|&at| self.offered[at].0 < self.offers[at].max)
            .min_by(|&a, &b| {
                let key = |at: usize| (self.offered[at].1 > self.now, price(at));
                key(a)
                    .partial_cmp(&key(b))
                    .unwrap_or(std::cmp::Ordering::Equal)
            })
    }

    fn start(&mut self) -> bool {
        let Some(offer) = self.offer() else {
            return false;
        };
        let worker = self.workers.len();
        self.offered[offer].0 += 1;
        self.workers.push(Some(Worker {
            offer,
            ordered_at: self.now,
            ready_at: None,
            idle_since: self.now,
            running: Vec::new(),
        }));
        self.alive.insert(worker);
        self.starting.insert(worker);
        self.records.push(WorkerRecord {
            offer,
            ordered_at: self.now,
            billed_from: Some(self.now),
            ready_at: None,
            stopped_at: self.now,
        });
        let throttled = self.offers[offer]
            .throttled_share
            .unwrap_or(self.settings.throttled_share);
        if throttled > 0.0 && self.faults.random::<f64>() < throttled {
            let (from, to) = THROTTLED;
            let rest = self.faults.random_range(from.as_millis()..=to.as_millis());
            self.records[worker].billed_from = None;
            self.offered[offer].1 = self.now + AVOIDED;
            let at = self.now + DurationMs::from_millis(rest);
            self.put(at, Happening::Begun { worker });
        } else {
            self.begin(worker);
        }
        true
    }

    /// The start-up of a worker begins.
    fn begin(&mut self, worker: usize) {
        let offer = self.workers[worker].as_ref().map_or(0, |w| w.offer);
        // Both are drawn each time, so that one option does not shift the other's numbers.
        let (flash, stuck): (f64, f64) = (self.rng.random(), self.rng.random());
        let (from, to) = if flash < self.settings.flash_share {
            (DurationMs::from_secs(1), DurationMs::from_secs(5))
        } else {
            self.offers[offer]
                .cold_start
                .unwrap_or(self.settings.cold_start)
        };
        let mut length = self.rng.random_range(from.as_millis()..=to.as_millis());
        let slow = self.settings.slow_share;
        if slow > 0.0 && self.faults.random::<f64>() < slow {
            length = length.saturating_mul(SLOW_FACTOR);
        }
        let is_stuck = stuck < self.settings.stuck_share;
        let length = DurationMs::from_millis(length);
        if is_stuck || length > self.settings.start_timeout {
            let at = self.now + self.settings.start_timeout;
            self.put(at, Happening::GivenUp { worker });
        } else {
            self.put(self.now + length, Happening::Ready { worker });
        }
    }

    fn stop(&mut self, worker: usize) {
        let Some(state) = self.workers[worker].take() else {
            return;
        };
        self.alive.remove(&worker);
        self.idle.remove(&worker);
        self.starting.remove(&worker);
        self.open.remove(&(Reverse(state.running.len()), worker));
        self.offered[state.offer].0 -= 1;
        let record = &mut self.records[worker];
        record.ready_at = state.ready_at;
        record.stopped_at = self.now;
    }

    fn close(self) -> Run {
        Run {
            attempts: self.attempts,
            workers: self.records,
            decisions: self.decisions,
            slots: self.slots,
            slots_max: self.slots_max,
        }
    }
}

/// What is known before the first job: nothing but what is expected.
fn history(settings: &Settings) -> History {
    let mut history = History::default();
    history.expect_start(settings.expected_start);
    history
}
