//! The serving process: engine and gateway, started, killed and started again until the run is over.
//!
//! The engine's own loop waits on a thread of its own; here it is a task, which looks into the inbox whenever
//! all others have nothing to do ([`Bell`]). All else is the shipped code. A kill unwinds out of whatever the
//! engine is doing, and takes the gateway and its connections along.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use overspill_core::topology::Topology;
use overspill_store::memory::{MemoryStore, Saboteur};
use overspill_store::sqlite::SqliteStore;
use overspill_store::{KeyRecord, Reader, Store, StoreError};
use rand::RngExt as _;
use rand_chacha::ChaCha12Rng;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::faults::Fault;
use super::host::{self, Hands};
use super::scene::{DAWN, SECRET, Scene, Serving};
use super::wreck::Wreck;
use crate::clock::ServerClock;
use crate::engine::api::Engine as _;
use crate::engine::handle::Handle;
use crate::engine::live::Live;
use crate::engine::run::{Activity, Engine, Parts, Stopped};
use crate::gateway::{Gateway, GatewayOptions};

/// What a kill unwinds with.
pub(super) struct Killed(&'static str);

impl Killed {
    /// The process is no more.
    pub(super) fn now(when: &'static str) -> ! {
        resume_unwind(Box::new(Self(when)))
    }
}

/// Rings once whenever everybody else has nothing more to do.
#[derive(Default)]
pub(super) struct Bell {
    /// Somebody did something since it was last heard.
    is_news: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Bell {
    /// The runtime is about to wait.
    pub(super) fn all_wait(&self) {
        if self.is_news.load(Ordering::Relaxed) {
            let waker = self
                .waker
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// It has waited: something will go on now.
    pub(super) fn goes_on(&self) {
        self.is_news.store(true, Ordering::Relaxed);
    }

    /// There was nothing to do: it rings again only after others did something.
    fn heard(&self) {
        self.is_news.store(false, Ordering::Relaxed);
    }

    /// The next time it rings.
    fn rings(&self) -> Rings<'_> {
        Rings {
            bell: self,
            waits: false,
        }
    }
}

struct Rings<'a> {
    bell: &'a Bell,
    waits: bool,
}

impl Future for Rings<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut waker = self
            .bell
            .waker
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.waits && waker.is_none() {
            return Poll::Ready(());
        }
        *waker = Some(context.waker().clone());
        drop(waker);
        self.waits = true;
        Poll::Pending
    }
}

/// Where what is stored stays while no process serves.
pub(super) enum Disk {
    Memory(Saboteur),
    Folder(tempfile::TempDir),
}

impl Disk {
    pub(super) fn new(is_memory: bool) -> Self {
        if is_memory {
            Self::Memory(MemoryStore::new().saboteur())
        } else {
            Self::Folder(tempfile::tempdir().expect("a temporary folder"))
        }
    }

    fn open(&self) -> Box<dyn Store> {
        match self {
            Self::Memory(saboteur) => Box::new(saboteur.reopen()),
            Self::Folder(folder) => {
                let path = PathBuf::from(folder.path());
                let options = overspill_store::sqlite::Options {
                    reserve_bytes: 0,
                    ..overspill_store::sqlite::Options::default()
                };
                let store = SqliteStore::open_with(&path, options);
                Box::new(store.expect("what a killed process left is whole"))
            }
        }
    }

    /// What is stored.
    pub(super) fn reader(&self) -> Arc<dyn Reader> {
        self.open().reader()
    }
}

/// What every serving process of a run is started with.
pub(super) struct Plan {
    pub(super) disk: Disk,
    pub(super) topology: Topology,
    /// Jobs that one worker runs at once.
    pub(super) slots: usize,
    /// The clients' key.
    pub(super) key: KeyRecord,
    pub(super) bell: Arc<Bell>,
    pub(super) is_over: CancellationToken,
}

/// Serves until the run is over, through all deaths.
pub(super) async fn serve(scene: Arc<Scene>, plan: Plan) -> Plan {
    let mut rng = scene.rng();
    let clock = ServerClock::starting_at(DAWN);
    loop {
        let death = life(&scene, &plan, clock, &mut rng).await;
        // Whoever held a connection to it sees it break.
        if let Some(mut serving) = scene.serving().take() {
            serving.connections.abort_all();
        }
        let Some(death) = death else { return plan };
        scene.note(&format!("the server dies {death}"));
        scene.restarts.fetch_add(1, Ordering::Relaxed);
        if scene.strikes(Fault::KeeperCrash) {
            scene.note("the keeper dies too");
            host::kill_all(&scene);
        }
        host::downtime(&mut rng).await;
    }
}

/// One process, from its start to its death; `None` when the run is over.
async fn life(
    scene: &Arc<Scene>,
    plan: &Plan,
    clock: ServerClock,
    rng: &mut ChaCha12Rng,
) -> Option<String> {
    scene.note("the server starts");
    let mut store = plan.disk.open();
    store.put_key(&plan.key).expect("a key is stored");
    let keys = store.keys().expect("keys are read");
    let reader = store.reader();
    let store = Box::new(Wreck {
        store,
        scene: Arc::clone(scene),
    });
    let live = Arc::new(Live::default());
    live.set_keys(keys);
    let (inbox, messages) = mpsc::channel();
    let hands = Hands::new(
        Arc::clone(scene),
        inbox.clone(),
        Arc::clone(&live),
        plan.slots,
    );
    let activity = Arc::new(Activity::default());
    let parts = Parts {
        store,
        world: Box::new(hands),
        live: Arc::clone(&live),
        clock,
        topology: plan.topology.clone(),
        alive: scene.host().alive(),
        activity: Arc::clone(&activity),
        journal: None,
    };
    let mut engine = match dies(|| Engine::restore(parts, messages)) {
        Ok(Ok(engine)) => engine,
        Ok(Err(StoreError::Injected)) => return Some("at its start".into()),
        Ok(Err(error)) => panic!("what was stored is not restored: {error}"),
        Err(death) => return Some(death),
    };
    let handle = Handle::new(inbox.clone(), reader, live, activity, clock, SECRET);
    let options = GatewayOptions {
        webhooks_allowed: vec!["receiver.example:443".into()],
        ..GatewayOptions::default()
    };
    let gateway = Gateway::new(Arc::new(handle.clone()), options);
    debug_assert_eq!(handle.now(), scene.wall());
    *scene.serving() = Some(Serving {
        gateway,
        handle,
        inbox,
        connections: JoinSet::new(),
    });
    scene.is_up.notify_waiters();
    loop {
        let rings = plan.bell.rings();
        let wait = engine.wait();
        let has_rung = tokio::select! {
            biased;
            () = plan.is_over.cancelled() => return None,
            () = rings => true,
            () = tokio::time::sleep(wait) => false,
        };
        let Some(gathered) = engine.look(!has_rung) else {
            plan.bell.heard();
            continue;
        };
        // While a commit is on its way to the disk, the inbox fills.
        let commit_ms = if scene.strikes(Fault::CommitSlow) {
            rng.random_range(500..4_000)
        } else {
            rng.random_range(0..8)
        };
        if commit_ms > 0 {
            tokio::time::sleep(Duration::from_millis(commit_ms)).await;
        }
        if let Err(death) = dies(|| engine.step(gathered)) {
            return Some(death);
        }
        if scene.strikes(Fault::Crash) {
            return Some("between two batches".into());
        }
        let broken: Vec<String> = engine.violations();
        for violation in broken {
            scene.violated(violation);
        }
    }
}

/// Does something in which the process may die; how it did.
fn dies<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        if let Some(Killed(when)) = payload.downcast_ref() {
            return (*when).to_owned();
        }
        if let Some(Stopped(cause)) = payload.downcast_ref() {
            return format!("by itself: {cause}");
        }
        // A panic is none of ours.
        resume_unwind(payload)
    })
}
