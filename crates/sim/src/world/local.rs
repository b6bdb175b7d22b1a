//! This host: the keeper that starts and ends processes, and the workers in them.
//!
//! Workers do what the unmodified SDK does: ask for a job, run it, post the result, say what they
//! hold from a separate process; after a connection error they ask again, and give a result up.
//! Knows nothing of the core but the words of its border.

use std::collections::{BTreeMap, BTreeSet};

use overspill_core::effect::{Answer, Delivery, Effect};
use overspill_core::event::{Event, Outcome, PayloadRef};
use overspill_core::id::{DeviceId, JobId, PollId, RequestId, WorkerId};
use overspill_core::machine::Core;
use overspill_core::time::{DurationMs, Timestamp};
use rand::RngExt;

use crate::faults::Fault;
use crate::oracle::Oracle;
use crate::scene::{Action, Asker, Local, Scene};
use crate::workload::Workload;
use crate::world::cards::Cards;

/// Time between two heartbeats.
const PING: DurationMs = DurationMs::from_secs(10);
/// The worker's own patience with a held job-take.
const ASK_TIMEOUT: DurationMs = DurationMs::from_secs(90);

/// All processes of this host.
#[derive(Default)]
pub(crate) struct Host {
    processes: BTreeMap<WorkerId, Process>,
    /// Ordered, and not yet started: each with its card.
    spawning: BTreeMap<WorkerId, DeviceId>,
    cards: Cards,
}

struct Process {
    pid: u32,
    device: DeviceId,
    slots: usize,
    jobs: BTreeMap<JobId, Run>,
    poll: Option<PollId>,
    is_ready: bool,
    /// Heard SIGTERM, or ends by itself: takes no further jobs.
    is_ending: bool,
    /// Asks for no further jobs, and does not know it.
    is_silent: bool,
    frozen_until: Timestamp,
}

struct Run {
    handle: u64,
    fate: Fate,
    /// The handler is done; the result is on its way.
    is_posting: bool,
    tries: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Completes,
    Fails,
    Unsendable,
    Hangs,
    Exits,
}

impl Host {
    /// Who lives. What is ordered is started first, or lost with the keeper's connection.
    pub(crate) fn alive(&mut self, scene: &mut Scene) -> Vec<WorkerId> {
        for worker in self.spawning.keys().copied().collect::<Vec<_>>() {
            self.spawn(scene, worker);
        }
        self.cards.watch(scene);
        self.processes.keys().copied().collect()
    }

    /// The serving process is gone: connections that it held break.
    pub(crate) fn connections_break(&mut self, scene: &mut Scene) {
        for asker in std::mem::take(&mut scene.askers).into_values() {
            if let Asker::Post {
                worker,
                job,
                handle,
            } = asker
            {
                self.give_up(scene, worker, job, handle);
            }
        }
        for (&worker, process) in &mut self.processes {
            if process.poll.take().is_some() {
                let wait = scene.ms(10, 500);
                scene.after(wait, Action::Local(Local::Ask { worker }));
            }
        }
    }

    /// The keeper is gone, and with it all that it started.
    pub(crate) fn all_die(&mut self) {
        self.processes.clear();
        self.spawning.clear();
    }

    /// Held job-takes that an engine feeds in again after it restored its core.
    pub(crate) fn held(&self, now: Timestamp) -> Vec<Event> {
        let held = self.processes.iter().filter_map(|(&worker, process)| {
            let room = u32::try_from(process.slots - process.jobs.len().min(process.slots)).ok()?;
            Some(Event::TakeWaiting {
                poll: process.poll?,
                worker,
                room: room.max(1),
                deadline: now + DurationMs::from_secs(20),
                is_idle: false,
            })
        });
        held.collect()
    }

    /// Whether nothing runs here: what hangs is found, and ended with its worker.
    pub(crate) fn is_quiet(&self) -> bool {
        self.processes
            .values()
            .all(|process| process.jobs.is_empty())
    }

    /// An order of the core.
    pub(crate) fn carry_out(&mut self, scene: &mut Scene, effect: &Effect) {
        match *effect {
            Effect::MintWorker { pool, device } => {
                let worker = WorkerId::new(scene.rng.random());
                scene.tell(Event::WorkerMinted {
                    worker,
                    pool,
                    device,
                });
            }
            Effect::SpawnWorker { worker, device, .. } => {
                self.spawning.insert(worker, device);
                let wait = scene.ms(1, 60);
                scene.after(wait, Action::Local(Local::Spawn { worker }));
            }
            Effect::StopWorker { worker } => {
                let Some(process) = self.processes.get_mut(&worker) else {
                    return;
                };
                let is_deaf = process.jobs.values().any(|run| run.fate == Fate::Hangs)
                    || process.frozen_until > scene.now;
                if !is_deaf {
                    process.is_ending = true;
                    self.end_if_done(scene, worker);
                }
            }
            Effect::KillWorker { worker } => {
                self.spawning.remove(&worker);
                let process = self.processes.get(&worker);
                let stuck = process.and_then(|p| self.cards.stuck_until(p.device, scene.now));
                let wait =
                    scene.ms(0, 50) + stuck.map_or(DurationMs::ZERO, |at| at.since(scene.now));
                scene.after(wait, Action::Local(Local::Exit { worker, code: None }));
            }
            Effect::StopJob { worker, job } => self.stop_job(scene, worker, job),
            _ => {}
        }
    }

    fn spawn(&mut self, scene: &mut Scene, worker: WorkerId) {
        let Some(device) = self.spawning.remove(&worker) else {
            return;
        };
        if scene.strikes(Fault::SpawnFails) {
            let reason = Some("no such file or directory".to_owned());
            scene.tell(Event::WorkerExited {
                worker,
                code: None,
                reason,
            });
            return;
        }
        let pid = u32::try_from(scene.number()).unwrap_or(u32::MAX);
        let process = Process {
            pid,
            device,
            slots: 1,
            jobs: BTreeMap::new(),
            poll: None,
            is_ready: false,
            is_ending: false,
            is_silent: false,
            frozen_until: Timestamp::ZERO,
        };
        self.processes.insert(worker, process);
        scene.tell(Event::WorkerSpawned { worker, pid });
        let is_lost = self.cards.lost_until(device, scene.now).is_some();
        if is_lost || scene.strikes(Fault::StartCrashes) {
            let wait = scene.ms(50, 900);
            scene.after(
                wait,
                Action::Local(Local::Exit {
                    worker,
                    code: Some(1),
                }),
            );
        } else if !scene.strikes(Fault::WorkerNeverReady) {
            let wait = scene.ms(500, 8_000);
            scene.after(wait, Action::Local(Local::Ready { worker }));
        }
    }

    pub(crate) fn act(
        &mut self,
        scene: &mut Scene,
        what: Local,
        load: &Workload,
        oracle: &mut Oracle,
    ) {
        match what {
            Local::Spawn { worker } => self.spawn(scene, worker),
            Local::Ready { worker } => {
                if let Some(process) = self.processes.get_mut(&worker) {
                    process.slots = load.card_slots();
                    process.is_ready = true;
                    self.ask(scene, worker);
                    scene.after(PING, Action::Local(Local::Ping { worker }));
                }
            }
            Local::Ask { worker } => self.ask(scene, worker),
            Local::AskTimedOut { worker, poll } => {
                if let Some(process) = self.processes.get_mut(&worker)
                    && process.poll == Some(poll)
                {
                    process.poll = None;
                    self.ask(scene, worker);
                }
            }
            Local::RunEnds {
                worker,
                job,
                handle,
            } => self.run_ends(scene, worker, job, handle, oracle),
            Local::Post {
                worker,
                job,
                handle,
            } => self.post(scene, worker, job, handle),
            Local::Ping { worker } => self.ping(scene, worker),
            Local::ZombiePing { worker, jobs, left } => {
                scene.arrive(
                    Event::Pinged {
                        worker,
                        jobs: jobs.clone(),
                    },
                    None,
                );
                if left > 0 {
                    let left = left - 1;
                    scene.after(
                        PING,
                        Action::Local(Local::ZombiePing { worker, jobs, left }),
                    );
                }
            }
            Local::Exit { worker, code } => self.exit(scene, worker, code),
            Local::Misfortune => self.misfortune(scene),
            // Whoever looks has the core too: [`Self::look`].
            Local::Cards => {}
        }
    }

    /// The driver reads the cards.
    pub(crate) fn look(&mut self, scene: &mut Scene, core: &Core) {
        self.cards.look(scene, core);
    }

    /// A job-take, if there is room.
    fn ask(&mut self, scene: &mut Scene, worker: WorkerId) {
        let Some(process) = self.processes.get_mut(&worker) else {
            return;
        };
        if process.frozen_until > scene.now {
            let at = process.frozen_until;
            return scene.agenda.at(at, Action::Local(Local::Ask { worker }));
        }
        let is_full = process.jobs.len() >= process.slots;
        if process.poll.is_some() || process.is_ending || is_full || process.is_silent {
            return;
        }
        if process.jobs.is_empty() && scene.strikes(Fault::WorkerSilent) {
            process.is_silent = true;
            return;
        }
        let poll = PollId(scene.number());
        process.poll = Some(poll);
        let room = u32::try_from(process.slots - process.jobs.len()).unwrap_or(1);
        let is_idle = process.jobs.is_empty();
        scene.after(
            ASK_TIMEOUT,
            Action::Local(Local::AskTimedOut { worker, poll }),
        );
        if scene.strikes(Fault::TakeLost) {
            process.poll = None;
            let wait = scene.ms(100, 3_000);
            return scene.after(wait, Action::Local(Local::Ask { worker }));
        }
        // The deadline is set where the request arrives.
        let event = Event::TakeWaiting {
            poll,
            worker,
            room,
            deadline: Timestamp::ZERO,
            is_idle,
        };
        let wait = scene.ms(0, 5);
        if scene.strikes(Fault::TakeDoubled) {
            let again = scene.ms(0, 50);
            scene.after(again, Action::Arrive(event.clone(), None));
        }
        scene.after(wait, Action::Arrive(event, None));
        if scene.strikes(Fault::TakeGone) {
            process.poll = None;
            let wait = scene.ms(10, 20_000);
            scene.after(wait, Action::Arrive(Event::TakeGone { poll }, None));
            scene.after(
                wait + DurationMs::from_millis(20),
                Action::Local(Local::Ask { worker }),
            );
        }
    }

    /// A held job-take is answered with nothing.
    pub(crate) fn take_empty(&mut self, scene: &mut Scene, poll: PollId) {
        let holder = self
            .processes
            .iter_mut()
            .find(|(_, p)| p.poll == Some(poll));
        if let Some((&worker, process)) = holder {
            process.poll = None;
            let wait = scene.ms(5, 100);
            scene.after(wait, Action::Local(Local::Ask { worker }));
        }
    }

    /// A held job-take is answered with jobs. Whether they could be written.
    pub(crate) fn deliver(
        &mut self,
        scene: &mut Scene,
        worker: WorkerId,
        poll: PollId,
        jobs: &[Delivery],
        load: &Workload,
        oracle: &mut Oracle,
    ) -> bool {
        let Some(process) = self.processes.get_mut(&worker) else {
            return false;
        };
        if process.poll != Some(poll) {
            return false;
        }
        process.poll = None;
        let is_seen = scene.strikes(Fault::DeliverFailed);
        if is_seen || scene.strikes(Fault::DeliverLost) {
            let wait = scene.ms(10, 2_000);
            scene.after(wait, Action::Local(Local::Ask { worker }));
            if !is_seen {
                jobs.iter()
                    .for_each(|delivery| oracle.undelivered(delivery.attempt.job));
            }
            return !is_seen;
        }
        let begin = scene.now.max(process.frozen_until);
        for delivery in jobs {
            let job = delivery.attempt.job;
            let handle = scene.number();
            let is_lost = self.cards.lost_until(process.device, scene.now).is_some();
            let fate = if is_lost || scene.strikes(Fault::HandlerHangs) {
                Fate::Hangs
            } else if scene.strikes(Fault::WorkerExits) {
                Fate::Exits
            } else if scene.strikes(Fault::ResultUnsendable) || load.is_unsendable(job) {
                Fate::Unsendable
            } else if scene.strikes(Fault::HandlerFails) {
                Fate::Fails
            } else {
                Fate::Completes
            };
            oracle.begins(delivery.attempt, handle);
            process.jobs.insert(
                job,
                Run {
                    handle,
                    fate,
                    is_posting: false,
                    tries: 0,
                },
            );
            if fate != Fate::Hangs {
                let ends = begin + load.run_time(job);
                scene.agenda.at(
                    ends,
                    Action::Local(Local::RunEnds {
                        worker,
                        job,
                        handle,
                    }),
                );
            }
        }
        let wait = scene.ms(1, 20);
        scene.after(wait, Action::Local(Local::Ask { worker }));
        true
    }

    fn run(&mut self, worker: WorkerId, job: JobId, handle: u64) -> Option<&mut Run> {
        let run = self.processes.get_mut(&worker)?.jobs.get_mut(&job)?;
        (run.handle == handle).then_some(run)
    }

    fn run_ends(
        &mut self,
        scene: &mut Scene,
        worker: WorkerId,
        job: JobId,
        handle: u64,
        oracle: &mut Oracle,
    ) {
        let Some(process) = self.processes.get(&worker) else {
            return;
        };
        if process.frozen_until > scene.now {
            let at = process.frozen_until;
            return scene.agenda.at(
                at,
                Action::Local(Local::RunEnds {
                    worker,
                    job,
                    handle,
                }),
            );
        }
        let Some(run) = self.run(worker, job, handle) else {
            return;
        };
        match run.fate {
            Fate::Hangs => {}
            Fate::Exits => self.exit(scene, worker, Some(3)),
            Fate::Unsendable => {
                oracle.ends(handle);
                oracle.unsendable(job);
                self.give_up(scene, worker, job, handle);
            }
            Fate::Completes | Fate::Fails => {
                oracle.ends(handle);
                run.is_posting = true;
                self.post(scene, worker, job, handle);
            }
        }
    }

    /// The result goes on its way.
    fn post(&mut self, scene: &mut Scene, worker: WorkerId, job: JobId, handle: u64) {
        let stops = scene.strikes(Fault::WorkerRefreshes);
        let Some(run) = self.run(worker, job, handle) else {
            return;
        };
        let output = PayloadRef { handle, bytes: 64 };
        let outcome = if run.fate == Fate::Fails {
            Outcome::Failed {
                error: "ValueError: bad input".into(),
                output: PayloadRef::default(),
            }
        } else {
            Outcome::Completed { output }
        };
        let event = Event::Finished {
            request: RequestId(0),
            worker,
            job,
            outcome,
            stops,
            body_sha256: format!("{handle:x}"),
        };
        if scene.strikes(Fault::ResultLost) {
            return self.give_up(scene, worker, job, handle);
        }
        if scene.strikes(Fault::ResultZombie) {
            let wait = scene.ms(50, 120_000);
            scene.after(wait, Action::Arrive(event, None));
            return self.give_up(scene, worker, job, handle);
        }
        let wait = if scene.strikes(Fault::ResultLate) {
            scene.ms(1_000, 120_000)
        } else {
            scene.ms(0, 10)
        };
        if scene.strikes(Fault::ResultDoubled) {
            let again = scene.ms(0, 5_000);
            scene.after(wait + again, Action::Arrive(event.clone(), None));
        }
        scene.after(
            wait,
            Action::Arrive(
                event,
                Some(Asker::Post {
                    worker,
                    job,
                    handle,
                }),
            ),
        );
        if stops && let Some(process) = self.processes.get_mut(&worker) {
            process.is_ending = true;
        }
    }

    /// The server's answer to a result.
    pub(crate) fn posted(
        &mut self,
        scene: &mut Scene,
        worker: WorkerId,
        job: JobId,
        handle: u64,
        answer: &Answer,
    ) {
        let Some(run) = self.run(worker, job, handle) else {
            return;
        };
        if *answer == Answer::Unavailable && run.tries < 2 {
            run.tries += 1;
            let wait = DurationMs::from_secs(if run.tries == 1 { 2 } else { 5 });
            return scene.after(
                wait,
                Action::Local(Local::Post {
                    worker,
                    job,
                    handle,
                }),
            );
        }
        self.give_up(scene, worker, job, handle);
    }

    /// The worker is rid of a job, whatever became of the result.
    fn give_up(&mut self, scene: &mut Scene, worker: WorkerId, job: JobId, handle: u64) {
        if self.run(worker, job, handle).is_none() {
            return;
        }
        let process = self
            .processes
            .get_mut(&worker)
            .expect("it has the run that was found above");
        process.jobs.remove(&job);
        scene.given_up.insert(handle, scene.now);
        let wait = scene.ms(1, 50);
        scene.after(wait, Action::Local(Local::Ask { worker }));
        self.end_if_done(scene, worker);
    }

    fn stop_job(&mut self, scene: &mut Scene, worker: WorkerId, job: JobId) {
        if scene.strikes(Fault::StopIgnored) {
            return;
        }
        let run = self
            .processes
            .get(&worker)
            .and_then(|process| process.jobs.get(&job));
        if let Some(run) = run.filter(|run| run.fate != Fate::Hangs && !run.is_posting) {
            let handle = run.handle;
            self.give_up(scene, worker, job, handle);
        }
    }

    fn end_if_done(&mut self, scene: &mut Scene, worker: WorkerId) {
        if let Some(process) = self.processes.get(&worker)
            && process.is_ending
            && process.jobs.is_empty()
        {
            let wait = scene.ms(10, 300);
            scene.after(
                wait,
                Action::Local(Local::Exit {
                    worker,
                    code: Some(0),
                }),
            );
        }
    }

    fn ping(&mut self, scene: &mut Scene, worker: WorkerId) {
        let Some(process) = self.processes.get(&worker) else {
            return;
        };
        scene.after(PING, Action::Local(Local::Ping { worker }));
        if process.frozen_until > scene.now || scene.strikes(Fault::PingLost) {
            return;
        }
        let jobs = process.jobs.keys().copied().collect();
        let wait = scene.ms(0, 5);
        scene.after(wait, Action::Arrive(Event::Pinged { worker, jobs }, None));
    }

    /// A process ends, and its group with it.
    fn exit(&mut self, scene: &mut Scene, worker: WorkerId, code: Option<i32>) {
        let process = self.processes.remove(&worker);
        if let Some(process) = process {
            self.cards.left(scene, process.pid);
            if let Some(poll) = process.poll {
                let wait = scene.ms(0, 20);
                scene.after(wait, Action::Arrive(Event::TakeGone { poll }, None));
            }
            if scene.strikes(Fault::PingZombie) {
                let jobs = process.jobs.into_keys().collect();
                let left = 4;
                scene.after(
                    PING,
                    Action::Local(Local::ZombiePing { worker, jobs, left }),
                );
            }
        }
        let wait = if scene.strikes(Fault::ExitLate) {
            scene.ms(1_000, 10_000)
        } else {
            scene.ms(0, 100)
        };
        let process = scene.process;
        let event = Event::WorkerExited {
            worker,
            code,
            reason: None,
        };
        scene.after(wait, Action::Inner(process, event));
    }

    /// Something happens to some process.
    fn misfortune(&mut self, scene: &mut Scene) {
        for worker in self.processes.keys().copied().collect::<Vec<_>>() {
            if scene.strikes(Fault::WorkerKilled) {
                self.exit(scene, worker, None);
            } else if scene.strikes(Fault::WorkerFrozen) {
                let length = scene.ms(1_000, 300_000);
                let until = scene.now + length;
                if let Some(process) = self.processes.get_mut(&worker) {
                    process.frozen_until = until;
                }
            }
        }
        let used = self.processes.values().map(|process| process.device);
        for device in used.collect::<BTreeSet<_>>() {
            if let Some(until) = self.cards.misfortune(scene, device) {
                self.card_falls_off(scene, device, until);
            }
        }
    }

    /// What runs on a card that falls off dies soon, or hangs.
    fn card_falls_off(&mut self, scene: &mut Scene, device: DeviceId, until: Timestamp) {
        for (&worker, process) in &mut self.processes {
            if process.device != device {
                continue;
            }
            let wait = if scene.chance(0.5) {
                scene.ms(0, 8_000)
            } else {
                process.frozen_until = process.frozen_until.max(until);
                until.since(scene.now)
            };
            let code = Some(1);
            scene.after(wait, Action::Local(Local::Exit { worker, code }));
        }
    }
}
