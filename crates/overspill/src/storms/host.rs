//! The keeper of the workers' processes: it outlives the serving process, and says who lives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use bytes::Bytes;
use overspill_core::effect::Effect;
use overspill_core::event::Event;
use overspill_core::id::{DeviceId, PoolId, WorkerId};
use rand::RngExt as _;
use rand_chacha::ChaCha12Rng;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::faults::Fault;
use super::scene::{Scene, pause};
use super::server::Killed;
use super::worker;
use crate::engine::live::Live;
use crate::engine::message::Message;
use crate::engine::world::World;

/// The processes that live.
#[derive(Default)]
pub(super) struct Host {
    processes: BTreeMap<WorkerId, Process>,
    next_pid: u32,
}

struct Process {
    task: AbortHandle,
    /// SIGTERM.
    term: Arc<Notify>,
}

impl Host {
    pub(super) fn alive(&self) -> Vec<WorkerId> {
        self.processes.keys().copied().collect()
    }
}

/// Starts a worker's process; it is told of in a moment.
fn spawn(scene: &Arc<Scene>, worker: WorkerId, endpoint: String, slots: usize) {
    if scene.strikes(Fault::SpawnFails) {
        scene.note(&format!("{worker} cannot be started"));
        return exited(scene, worker, Some(-1));
    }
    let term = Arc::new(Notify::new());
    let process = tokio::spawn({
        let (scene, term) = (Arc::clone(scene), Arc::clone(&term));
        async move {
            let code = worker::run(&scene, worker, &endpoint, slots, &term).await;
            scene.note(&format!("{worker} ends with {code}"));
            buried(&scene, worker, Some(code));
        }
    });
    let mut host = scene.host();
    host.next_pid += 1;
    let pid = host.next_pid;
    let process = Process {
        task: process.abort_handle(),
        term,
    };
    host.processes.insert(worker, process);
    drop(host);
    scene.note(&format!("{worker} starts"));
    scene.tell(Event::WorkerSpawned { worker, pid });
}

/// Kills a worker's process with all that is its.
pub(super) fn kill(scene: &Arc<Scene>, worker: WorkerId) {
    let process = scene
        .host()
        .processes
        .get(&worker)
        .map(|process| process.task.clone());
    if let Some(task) = process {
        scene.note(&format!("{worker} is killed"));
        task.abort();
        buried(scene, worker, None);
    }
}

/// The keeper dies, and with it all it started.
pub(super) fn kill_all(scene: &Arc<Scene>) {
    let all = std::mem::take(&mut scene.host().processes);
    for process in all.into_values() {
        process.task.abort();
    }
}

fn term(scene: &Arc<Scene>, worker: WorkerId) {
    if let Some(process) = scene.host().processes.get(&worker) {
        process.term.notify_one();
    }
}

fn buried(scene: &Arc<Scene>, worker: WorkerId, code: Option<i32>) {
    if scene.host().processes.remove(&worker).is_some() {
        exited(scene, worker, code);
    }
}

/// The keeper tells whoever serves, in a moment.
fn exited(scene: &Arc<Scene>, worker: WorkerId, code: Option<i32>) {
    let scene = Arc::clone(scene);
    tokio::spawn(async move {
        pause(&mut scene.rng(), 0, 300).await;
        let reason = None;
        scene.tell(Event::WorkerExited {
            worker,
            code,
            reason,
        });
    });
}

/// Something kills workers now and then, until the weather is calm.
pub(super) async fn misfortune(scene: Arc<Scene>) {
    let mut rng = scene.rng();
    loop {
        pause(&mut rng, 500, 1_500).await;
        if scene.strikes(Fault::WorkerKilled) {
            let alive = scene.host().alive();
            if !alive.is_empty() {
                let index = rng.random_range(0..alive.len());
                kill(&scene, alive[index]);
            }
        }
    }
}

/// What the engine of one serving process orders of the world.
pub(super) struct Hands {
    scene: Arc<Scene>,
    inbox: Sender<Message>,
    live: Arc<Live>,
    rng: ChaCha12Rng,
    slots: usize,
}

impl Hands {
    pub(super) fn new(
        scene: Arc<Scene>,
        inbox: Sender<Message>,
        live: Arc<Live>,
        slots: usize,
    ) -> Self {
        let rng = scene.rng();
        Self {
            scene,
            inbox,
            live,
            rng,
            slots,
        }
    }

    fn mint(&mut self, pool: PoolId, device: DeviceId) {
        let worker = WorkerId::new(self.rng.random());
        let event = Event::WorkerMinted {
            worker,
            pool,
            device,
        };
        let payloads = Vec::new();
        let _ = self.inbox.send(Message::Tell { event, payloads });
    }
}

impl World for Hands {
    fn carry_out(&mut self, effect: Effect, _input: Option<Bytes>) {
        self.scene.note(&format!("effect {effect:?}"));
        if self.scene.strikes(Fault::CrashBetweenEffects) {
            Killed::now("between two effects");
        }
        match effect {
            Effect::MintWorker { pool, device } => self.mint(pool, device),
            Effect::SpawnWorker { worker, pool, .. } => {
                let pools = self.live.pools();
                let endpoint = pools.into_iter().find(|(id, ..)| *id == pool);
                let endpoint = endpoint.map_or_else(String::new, |(_, endpoint, _)| endpoint);
                spawn(&self.scene, worker, endpoint, self.slots);
            }
            Effect::StopWorker { worker } => term(&self.scene, worker),
            Effect::KillWorker { worker } => kill(&self.scene, worker),
            _ => {}
        }
    }
}

/// How long the keeper takes to start a serving process anew.
pub(super) async fn downtime(rng: &mut ChaCha12Rng) {
    let length = if rng.random::<f64>() < 0.2 {
        rng.random_range(5_000..60_000)
    } else {
        rng.random_range(100..3_000)
    };
    tokio::time::sleep(Duration::from_millis(length)).await;
}
