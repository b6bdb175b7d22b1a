//! One storm: the shipped core between a modelled host, a modelled cloud and clients, first with
//! faults, then in calm weather until everything is done and the cloud is back at zero.

use overspill_core::effect::{Answer, Effect, Stale};
use overspill_core::event::Event;
use overspill_core::time::{DurationMs, Timestamp};

use crate::driver::{Committed, Driver};
use crate::faults::{Fault, Faults};
use crate::oracle::Oracle;
use crate::report::Outcome;
use crate::scene::{Action, Asker, Cloud, Local, Scene};
use crate::storms::Options;
use crate::workload::Workload;
use crate::world::cloud::CloudWorld;
use crate::world::local::Host;

/// The storm calms down after this long at most.
const STORM_MAX: DurationMs = DurationMs::from_secs(1_800);
/// After that everything must be done within this time.
const CALM_MAX: DurationMs = DurationMs::from_secs(4 * 3_600);
/// Idle time after which no cloud worker may be on.
const IDLE: DurationMs = DurationMs::from_secs(300);
/// Idle time over which the bill must not grow any more.
const STILL: DurationMs = DurationMs::from_secs(300);
/// Steps of a run, so that a loop without end is found.
const STEPS_MAX: u64 = 400_000;

pub(crate) struct Storm {
    pub(crate) scene: Scene,
    pub(crate) driver: Driver,
    host: Host,
    pub(crate) cloud: CloudWorld,
    pub(crate) load: Workload,
    pub(crate) oracle: Oracle,
    /// How many times as long as usual it lasts.
    scale: u64,
}

/// Runs one seed and keeps the last `keep` lines of its trace.
pub(crate) fn run(seed: u64, options: &Options, keep: usize) -> Outcome {
    let faults = Faults::new(seed, options.only, &options.without);
    let names = faults.names();
    let mut scene = Scene::new(seed, faults, keep);
    let load = Workload::new(&mut scene, options.scale);
    let cloud = CloudWorld::new(&mut scene, seed, &load);
    let driver = Driver::new(load.topology());
    let mut storm = Storm {
        scene,
        driver,
        host: Host::default(),
        cloud,
        load,
        oracle: Oracle::default(),
        scale: options.scale.max(1).into(),
    };
    storm.weather();
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
            scale: 1,
        }
    }

    fn weather(&mut self) {
        self.scene.agenda.at(Timestamp::ZERO, Action::Boot);
        self.scene.after(DurationMs::from_secs(1), Action::Client);
        let longest = DurationMs::from_millis(STORM_MAX.as_millis() * self.scale);
        self.scene.after(longest, Action::Calm);
        self.scene.after(DurationMs::from_secs(2), Action::Crash);
        let misfortune = DurationMs::from_secs(3);
        self.scene
            .after(misfortune, Action::Local(Local::Misfortune));
        self.scene
            .after(misfortune, Action::Cloud(Cloud::Misfortune));
        let mut steps = 0;
        let mut calm_until = Timestamp::NEVER;
        let mut quiet_since: Option<Timestamp> = None;
        let mut bill: Option<(Timestamp, u64)> = None;
        while let Some((at, action)) = self.scene.agenda.pop() {
            self.scene.now = at;
            self.step(action);
            steps += 1;
            if !self.driver.violations.is_empty() || !self.oracle.violations.is_empty() {
                return;
            }
            if steps > STEPS_MAX * self.scale {
                return self.broken(format!("{at}: no end after {steps} steps"));
            }
            if !self.scene.faults.is_calm() {
                continue;
            }
            if calm_until == Timestamp::NEVER {
                calm_until = at + CALM_MAX;
            }
            let live = self.driver.store.live.jobs.len();
            // A twin that RunPod may still have keeps its place until its time to live there is over.
            let attempts = self.driver.store.live.attempts.len();
            if live + attempts > 0 || !self.host.is_quiet() || !self.scene.is_up {
                quiet_since = None;
                if at > calm_until {
                    let job = self.driver.store.live.jobs.values().next();
                    let attempt = self.driver.store.live.attempts.values().next();
                    return self.broken(format!(
                        "{at}: {live} jobs and {attempts} attempts are not done long after the storm: {job:?} {attempt:?}"
                    ));
                }
                continue;
            }
            let since = *quiet_since.get_or_insert(at);
            if at.since(since) < IDLE {
                continue;
            }
            let (alive, billed) = self.cloud.spent(&self.scene);
            let (from, before) = *bill.get_or_insert((at, billed));
            if alive > 0 || billed > before {
                return self.broken(format!(
                    "{at}: {alive} cloud workers are on with nothing to do, {billed} ms billed after {before}"
                ));
            }
            if at.since(from) >= STILL {
                self.cloud.testify(&self.scene, &mut self.oracle);
                let load = &self.load;
                self.oracle.judge(&self.driver.store, |job, generation| {
                    generation == 0 && load.has_short_ttl(job)
                });
                return;
            }
        }
        self.broken("the agenda is empty".to_owned());
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
                    self.driver.batch(scene);
                }
            }
            Action::Commit(process) => {
                if process == scene.process && scene.is_up {
                    self.commit();
                }
            }
            Action::Boot => self.boot(),
            Action::Crash => {
                scene.after(DurationMs::from_secs(2), Action::Crash);
                if scene.is_up && scene.strikes(Fault::Crash) {
                    self.crash();
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
                // What a process of ours died, the next one hears of from its host.
                if process == scene.process || matches!(event, Event::WorkerExited { .. }) {
                    scene.tell(event);
                }
            }
            Action::Local(Local::Misfortune) => {
                scene.after(DurationMs::from_secs(5), Action::Local(Local::Misfortune));
                self.host
                    .act(scene, Local::Misfortune, &self.load, &mut self.oracle);
            }
            Action::Local(what) => self.host.act(scene, what, &self.load, &mut self.oracle),
            Action::Cloud(Cloud::Misfortune) => {
                scene.after(DurationMs::from_secs(60), Action::Cloud(Cloud::Misfortune));
                let (store, load) = (&self.driver.store, &self.load);
                self.cloud
                    .act(scene, &Cloud::Misfortune, store, load, &mut self.oracle);
            }
            Action::Cloud(what) => {
                let (store, load) = (&self.driver.store, &self.load);
                self.cloud.act(scene, &what, store, load, &mut self.oracle);
            }
            Action::Client => {
                let (store, topology) = (&self.driver.store, &self.driver.topology);
                match self.load.act(scene, store, topology) {
                    Some(wait) => scene.after(wait, Action::Client),
                    None => scene.after(DurationMs::from_secs(60), Action::Calm),
                }
            }
            Action::Calm => {
                if !scene.faults.is_calm() {
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

    fn crash(&mut self) {
        let scene = &mut self.scene;
        self.driver.crash(scene);
        // What RunPod answered may have died with the process.
        for (&id, attempt) in &self.driver.store.live.attempts {
            if attempt.is_cloud() && attempt.cloud_job().is_none() {
                self.oracle.ambiguous(id);
            }
        }
        scene.is_up = false;
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
            | Effect::CloudScale { .. } => {
                let wrong = self.cloud.carry_out(scene, &self.driver.store, effect);
                self.oracle.violations.extend(wrong);
            }
            Effect::ReleasePolls { .. } | Effect::Decided { .. } => {}
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
