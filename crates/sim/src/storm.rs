//! One run: the shipped core between a modelled host, a modelled cloud and clients. A storm with
//! faults, then calm weather until everything is done and the cloud is back at zero, then hours or
//! days without work in which it must stay there; and the next storm.

use overspill_core::effect::{Answer, Effect, Stale};
use overspill_core::event::Event;
use overspill_core::time::{DurationMs, Timestamp};
use rand::RngExt;

use crate::driver::{Committed, Driver};
use crate::faults::{Fault, Faults};
use crate::oracle::Oracle;
use crate::report::Outcome;
use crate::scene::{Action, Asker, Cloud, Local, Scene};
use crate::weather::Weather;
use crate::workload::Workload;
use crate::world::cloud::CloudWorld;
use crate::world::local::Host;

/// A storm calms down after this long at most.
const STORM_MAX: DurationMs = DurationMs::from_secs(1_800);
/// After that everything must be done within this time.
const CALM_MAX: DurationMs = DurationMs::from_secs(4 * 3_600);
/// Idle time after which no cloud worker may be on.
const IDLE: DurationMs = DurationMs::from_secs(300);
/// Idle time over which the bill must not grow any more.
const STILL: DurationMs = DurationMs::from_secs(300);
/// Steps of a storm and its calm, so that a loop without end is found.
const STEPS_MAX: u64 = 400_000;
/// Steps of a minute without work, at most: heartbeats, held polls and looks at the pools.
const STEPS_OF_QUIET_MINUTE: u64 = 400;

pub(crate) struct Storm {
    pub(crate) scene: Scene,
    pub(crate) driver: Driver,
    host: Host,
    pub(crate) cloud: CloudWorld,
    pub(crate) load: Workload,
    pub(crate) oracle: Oracle,
    /// Storms still to come after this one.
    left: u32,
    /// The number of this one, from 1 on.
    number: u32,
    longest: DurationMs,
    steps: u64,
    steps_max: u64,
}

/// How far one storm has come.
enum Phase {
    /// Faults strike.
    Raging,
    /// They no longer do, and everything must be done by then.
    Calm {
        until: Timestamp,
        quiet_since: Option<Timestamp>,
        /// When the cloud was first seen at zero, and the bill by then.
        bill: Option<(Timestamp, u64)>,
    },
    /// Nothing is to be done; worker time billed so far, in milliseconds.
    Lull { billed: u64 },
}

/// Runs one seed and keeps the last `keep` lines of its trace. With `journals`, its journal must come out
/// as the run did.
pub(crate) fn run(seed: u64, weather: &Weather, keep: usize, journals: bool) -> Outcome {
    let faults = Faults::new(seed, weather);
    let names = faults.names();
    let mut scene = Scene::new(seed, faults, keep);
    let load = Workload::new(&mut scene, weather);
    let cloud = CloudWorld::new(&mut scene, seed, &load);
    let storms = if weather.is_short {
        1
    } else {
        scene.rng.random_range(2..=4)
    };
    let storms = storms.min(weather.storms_max.unwrap_or(storms)).max(1);
    let drawn = format!("{storms} storms, {}", load.describe());
    let longest = weather
        .minutes_max
        .map_or(STORM_MAX, |m| DurationMs::from_secs(60 * u64::from(m)))
        .min(STORM_MAX);
    let mut storm = Storm {
        left: storms,
        longest,
        ..Storm::still(scene, load, cloud)
    };
    if journals {
        storm.driver.keep_journal();
    }
    storm.weather();
    storm.driver.replay();
    let mut violations = std::mem::take(&mut storm.oracle.violations);
    violations.extend(storm.driver.violations);
    let lasted = storm.scene.now;
    let (fired, events) = (
        storm.scene.faults.fired().to_vec(),
        storm.scene.trace.count(),
    );
    let (jobs, runs) = (storm.oracle.jobs(), storm.oracle.runs());
    let (hash, last) = storm.scene.trace.finish();
    Outcome {
        seed,
        weather: weather.clone(),
        drawn,
        faults: names,
        hash,
        jobs,
        runs,
        events,
        lasted: lasted.since(Timestamp::ZERO),
        fired,
        violations,
        last,
    }
}

impl Storm {
    /// Everything in its place, and nothing planned.
    pub(crate) fn still(scene: Scene, load: Workload, cloud: CloudWorld) -> Self {
        let driver = Driver::new(load.topology());
        Self {
            scene,
            driver,
            host: Host::default(),
            cloud,
            load,
            oracle: Oracle::default(),
            left: 0,
            number: 0,
            longest: STORM_MAX,
            steps: 0,
            steps_max: 0,
        }
    }

    fn weather(&mut self) {
        self.scene.agenda.at(Timestamp::ZERO, Action::Boot);
        self.rage();
        let mut phase = Phase::Raging;
        while let Some((at, action)) = self.scene.agenda.pop() {
            self.scene.now = at;
            let begins = matches!(action, Action::Storm);
            self.step(action);
            self.steps += 1;
            if !self.driver.violations.is_empty() || !self.oracle.violations.is_empty() {
                return;
            }
            if self.steps > self.steps_max {
                let steps = self.steps;
                return self.broken(format!("{at}: no end after {steps} steps"));
            }
            if begins {
                let Phase::Lull { billed } = phase else {
                    return self.broken(format!("{at}: a storm begins before the calm is over"));
                };
                let (alive, now) = self.cloud.spent(&self.scene);
                if alive > 0 || now > billed {
                    return self.broken(format!(
                        "{at}: {alive} cloud workers are on after hours without work, {now} ms billed after {billed}"
                    ));
                }
                phase = Phase::Raging;
            }
            phase = match phase {
                Phase::Raging if self.scene.faults.is_calm() => Phase::Calm {
                    until: at + CALM_MAX,
                    quiet_since: None,
                    bill: None,
                },
                Phase::Calm {
                    until,
                    quiet_since,
                    bill,
                } => match self.calm(until, quiet_since, bill) {
                    Some(phase) => phase,
                    None => return,
                },
                phase => phase,
            };
        }
        self.broken("the agenda is empty".to_owned());
    }

    /// A storm begins.
    fn rage(&mut self) {
        self.left -= 1;
        self.number += 1;
        self.steps_max += STEPS_MAX;
        self.scene.faults.rage();
        self.load.rage(&mut self.scene);
        let scene = &mut self.scene;
        scene.after(DurationMs::from_secs(1), Action::Client);
        scene.after(self.longest, Action::Calm(self.number));
        scene.after(DurationMs::from_secs(2), Action::Crash);
        let misfortune = DurationMs::from_secs(3);
        scene.after(misfortune, Action::Local(Local::Misfortune));
        scene.after(misfortune, Action::Cloud(Cloud::Misfortune));
    }

    /// Looks whether everything gets done after a storm; `None` once this was the last one, or
    /// something is wrong.
    fn calm(
        &mut self,
        until: Timestamp,
        mut quiet_since: Option<Timestamp>,
        mut bill: Option<(Timestamp, u64)>,
    ) -> Option<Phase> {
        let at = self.scene.now;
        let live = self.driver.store.live.jobs.len();
        // A twin that RunPod may still have keeps its place until its time to live there is over.
        let attempts = self.driver.store.live.attempts.len();
        let is_away = !self.scene.is_up || self.scene.is_frozen();
        if live + attempts > 0 || !self.host.is_quiet() || is_away {
            quiet_since = None;
            if at > until {
                let job = self.driver.store.live.jobs.values().next();
                let attempt = self.driver.store.live.attempts.values().next();
                self.broken(format!(
                    "{at}: {live} jobs and {attempts} attempts are not done long after the storm: {job:?} {attempt:?}"
                ));
                return None;
            }
        } else {
            let since = *quiet_since.get_or_insert(at);
            if at.since(since) >= IDLE {
                let (alive, billed) = self.cloud.spent(&self.scene);
                let (from, before) = *bill.get_or_insert((at, billed));
                if alive > 0 || billed > before {
                    self.broken(format!(
                        "{at}: {alive} cloud workers are on with nothing to do, {billed} ms billed after {before}"
                    ));
                    return None;
                }
                if at.since(from) >= STILL {
                    return self.ended(billed);
                }
            }
        }
        Some(Phase::Calm {
            until,
            quiet_since,
            bill,
        })
    }

    /// Everything is done: judges it, and plans the next storm if there is one.
    fn ended(&mut self, billed: u64) -> Option<Phase> {
        self.cloud.testify(&self.scene, &mut self.oracle);
        let load = &self.load;
        let given_up = &self.scene.given_up;
        self.oracle
            .judge(&self.driver.store, given_up, |job, generation| {
                generation == 0 && load.has_short_ttl(job)
            });
        if self.left == 0 || !self.oracle.violations.is_empty() {
            return None;
        }
        // Hours mostly; at times so many days that RunPod takes an unused endpoint's workers away.
        let scene = &mut self.scene;
        let minutes = match scene.rng.random_range(0..100) {
            0..60 => scene.rng.random_range(10..240),
            60..98 => scene.rng.random_range(240..960),
            _ => scene.rng.random_range(1_800..12_000),
        };
        self.steps_max += minutes * STEPS_OF_QUIET_MINUTE;
        scene.after(DurationMs::from_secs(60 * minutes), Action::Storm);
        Some(Phase::Lull { billed })
    }

    fn broken(&mut self, text: String) {
        self.oracle.violations.push(text);
    }

    pub(crate) fn step(&mut self, action: Action) {
        let scene = &mut self.scene;
        match action {
            Action::Batch => {
                if scene.next_batch == Some(scene.now) {
                    scene.next_batch = None;
                    if !scene.is_frozen() {
                        self.driver.batch(scene);
                    }
                }
            }
            Action::Commit(process) => {
                if process == scene.process && scene.is_up {
                    if scene.is_frozen() {
                        let at = scene.frozen_until;
                        scene.agenda.at(at, Action::Commit(process));
                    } else {
                        self.commit();
                    }
                }
            }
            Action::Boot => self.boot(),
            Action::Crash => {
                if scene.faults.is_calm() {
                    return;
                }
                scene.after(DurationMs::from_secs(2), Action::Crash);
                if scene.is_up && scene.strikes(Fault::Crash) {
                    self.crash();
                } else if scene.is_up && !scene.is_frozen() && scene.strikes(Fault::ServerFrozen) {
                    let length = scene.ms(1_000, 600_000);
                    scene.frozen_until = scene.now + length;
                    let process = scene.process;
                    scene.after(length, Action::Thaw(process));
                }
            }
            Action::Arrive(event, asker) => {
                if scene.is_up && scene.strikes(Fault::MessageSlow) {
                    let length = scene.ms(1_000, 60_000);
                    scene.after(length, Action::Arrive(event, asker));
                } else {
                    scene.arrive(event, asker);
                }
            }
            Action::Inner(process, event) => {
                // The client does not believe a 404 that it read long after it asked: it asks again. Nor
                // does the engine take a count of before the standstill for one of after it.
                let is_old_news =
                    matches!(event, Event::CloudGone { .. } | Event::CloudHealth { .. });
                if scene.is_frozen() && is_old_news {
                    return;
                }
                // What a process of ours died, the next one hears of from its host.
                if process == scene.process || matches!(event, Event::WorkerExited { .. }) {
                    scene.tell(event);
                }
            }
            Action::Thaw(process) => {
                if process == scene.process && scene.is_up {
                    for (event, asker) in std::mem::take(&mut scene.backlog) {
                        scene.arrive(event, asker);
                    }
                }
            }
            Action::Storm => return self.rage(),
            Action::Local(Local::Misfortune) | Action::Cloud(Cloud::Misfortune)
                if scene.faults.is_calm() => {}
            Action::Local(Local::Misfortune) => {
                scene.after(DurationMs::from_secs(5), Action::Local(Local::Misfortune));
                self.host
                    .act(scene, Local::Misfortune, &self.load, &mut self.oracle);
            }
            Action::Local(Local::Cards) => self.host.look(scene, &self.driver.core),
            Action::Local(what) => self.host.act(scene, what, &self.load, &mut self.oracle),
            Action::Cloud(Cloud::Misfortune) => {
                scene.after(DurationMs::from_secs(60), Action::Cloud(Cloud::Misfortune));
                let (store, load) = (&self.driver.store, &self.load);
                self.cloud
                    .act(scene, &Cloud::Misfortune, store, load, &mut self.oracle);
            }
            Action::Cloud(what) if scene.is_frozen() => {
                // Answers wait in their sockets, and nothing is asked. A submission that goes out after
                // the standstill may have been given up as unknown by then: its twin is fenced.
                if let Cloud::Submit { attempt, .. } = what {
                    self.oracle.ambiguous(attempt);
                }
                let at = scene.frozen_until;
                scene.agenda.at(at, Action::Cloud(what));
            }
            Action::Cloud(what) => {
                let (store, load) = (&self.driver.store, &self.load);
                self.cloud.act(scene, &what, store, load, &mut self.oracle);
            }
            Action::Client => {
                let (store, topology) = (&self.driver.store, &self.driver.topology);
                match self.load.act(scene, store, topology) {
                    Some(wait) => scene.after(wait, Action::Client),
                    None => scene.after(DurationMs::from_secs(60), Action::Calm(self.number)),
                }
            }
            Action::Calm(number) => {
                if number == self.number && !scene.faults.is_calm() {
                    scene.faults.calm_down();
                    self.cloud.calm_down(scene);
                    self.load.calm_down(scene);
                }
            }
        }
        self.driver.plan(&mut self.scene);
    }

    fn commit(&mut self) {
        let Some(committed) = self.driver.commit(&mut self.scene) else {
            return;
        };
        match committed {
            Committed::Yes(effects) => {
                for effect in effects {
                    if self.scene.strikes(Fault::CrashBetweenEffects) {
                        return self.crash();
                    }
                    self.carry_out(effect);
                }
            }
            Committed::No(events) => self.recover(events),
            Committed::Crash => self.crash(),
        }
    }

    /// As the engine does: those who asked for something new are told that it is unknown, everything
    /// else is fed in again.
    fn recover(&mut self, events: Vec<Event>) {
        let mut again = Vec::new();
        for event in events {
            match &event {
                Event::Submitted { request, .. }
                | Event::RetryAsked { request, .. }
                | Event::ScalerSet { request, .. }
                | Event::MaxWaitSet { request, .. }
                | Event::LimitsSet { request, .. } => {
                    self.scene.askers.remove(request);
                }
                Event::TakeWaiting { .. } | Event::TimePassed => {}
                _ => again.push(event),
            }
        }
        let alive = self.host.alive(&mut self.scene);
        again.extend(self.host.held(self.scene.now));
        self.driver.restore(&mut self.scene, alive, again);
    }

    fn boot(&mut self) {
        self.scene.is_up = true;
        self.scene.process += 1;
        self.scene.inbox.clear();
        let alive = self.host.alive(&mut self.scene);
        self.driver.restore(&mut self.scene, alive, Vec::new());
        for (event, asker) in std::mem::take(&mut self.scene.backlog) {
            self.scene.arrive(event, asker);
        }
        let pools: Vec<_> = self
            .driver
            .core
            .pools()
            .map(|pool| pool.record.id)
            .collect();
        CloudWorld::look(&mut self.scene, pools.into_iter());
    }

    /// Whether all jobs came and are done, here and at RunPod, and no worker is on there.
    pub(crate) fn is_over(&mut self) -> bool {
        let live = &self.driver.store.live;
        self.scene.faults.is_calm()
            && self.scene.is_up
            && !self.scene.is_frozen()
            && live.jobs.is_empty()
            && live.attempts.is_empty()
            && self.host.is_quiet()
            && self.cloud.spent(&self.scene).0 == 0
    }

    pub(crate) fn crash(&mut self) {
        let scene = &mut self.scene;
        self.driver.crash(scene);
        // What RunPod answered may have died with the process.
        for (&id, attempt) in &self.driver.store.live.attempts {
            if attempt.is_cloud() && attempt.cloud_job().is_none() {
                self.oracle.ambiguous(id);
            }
        }
        scene.is_up = false;
        scene.frozen_until = Timestamp::ZERO;
        scene.inbox.clear();
        scene.next_batch = None;
        self.host.connections_break(scene);
        self.cloud.connections_break();
        if scene.strikes(Fault::KeeperCrash) {
            self.host.all_die();
            scene.backlog.clear();
        }
        let wait = scene.ms(200, 20_000);
        scene.after(wait, Action::Boot);
    }

    fn carry_out(&mut self, effect: Effect) {
        let scene = &mut self.scene;
        scene.note_effect(&effect);
        match effect {
            Effect::Answer { request, answer } => {
                if let Some(asker) = scene.askers.remove(&request) {
                    self.answered(&asker, &answer);
                }
            }
            Effect::Deliver { poll, worker, jobs } => {
                for delivery in &jobs {
                    if self.driver.store.is_on_quarantined_card(delivery.attempt) {
                        let text =
                            format!("{} is delivered to a quarantined card", delivery.attempt);
                        self.oracle.violations.push(text);
                    }
                    // It may be over already, by a later event of its own batch.
                    if !self.driver.store.knows(delivery.attempt) {
                        let text = format!(
                            "{} is delivered, and the store does not know it",
                            delivery.attempt
                        );
                        self.oracle.violations.push(text);
                    }
                }
                if !self
                    .host
                    .deliver(scene, worker, poll, &jobs, &self.load, &mut self.oracle)
                {
                    let jobs = jobs.iter().map(|delivery| delivery.attempt.job).collect();
                    scene.tell(Event::DeliverFailed { worker, jobs });
                }
            }
            Effect::TakeEmpty { poll } => self.host.take_empty(scene, poll),
            Effect::StopJob { .. }
            | Effect::MintWorker { .. }
            | Effect::SpawnWorker { .. }
            | Effect::StopWorker { .. }
            | Effect::KillWorker { .. } => self.host.carry_out(scene, &effect),
            Effect::CloudSubmit { .. }
            | Effect::CloudWatch { .. }
            | Effect::CloudCancel { .. }
            | Effect::CloudTtl { .. }
            | Effect::CloudIdle { .. }
            | Effect::CloudScale { .. } => {
                let wrong = self.cloud.carry_out(scene, &self.driver.store, effect);
                self.oracle.violations.extend(wrong);
            }
            Effect::ReleasePolls { .. } | Effect::Decided { .. } | Effect::BudgetAlert(_) => {}
        }
    }

    fn answered(&mut self, asker: &Asker, answer: &Answer) {
        let store = &self.driver.store;
        match (asker, answer) {
            (Asker::Submit(job) | Asker::Retry(job), Answer::Submitted { .. }) => {
                let live = store.live.jobs.get(job).map(|job| job.generation);
                let ended = || {
                    let ended = store.ended.range((*job, 0)..=(*job, u32::MAX));
                    ended.last().map(|((_, generation), _)| *generation)
                };
                let generation = live.or_else(ended).unwrap_or(0);
                self.oracle.acked(*job, generation);
            }
            (
                &Asker::Post {
                    worker,
                    job,
                    handle,
                },
                answer,
            ) => {
                if *answer == Answer::Recorded {
                    self.oracle.recorded(self.scene.now, handle, store);
                }
                // The server knows a repeated post by its hash; an unmodified worker sees 200.
                let is_known = *answer == Answer::Stale(Stale::NotLive);
                let answer = if is_known { &Answer::Recorded } else { answer };
                self.host
                    .posted(&mut self.scene, worker, job, handle, answer);
            }
            _ => {}
        }
    }
}
