//! What all parts of a run share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use overspill_core::event::Event;
use overspill_core::machine::Core;
use overspill_core::time::Timestamp;
use overspill_store::Reader;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::faults::{Dice, Fault, Weather};
use super::host::Host;
use super::oracle::Oracle;
use crate::engine::handle::Handle;
use crate::engine::message::Message;
use crate::gateway::Gateway;

/// When the server's wall clock begins.
pub(super) const DAWN: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// The server's secret, from which workers' keys are made.
pub(super) const SECRET: [u8; 32] = [7; 32];

/// See the module.
pub(super) struct Scene {
    pub(super) seed: u64,
    start: Instant,
    dice: Mutex<Dice>,
    trace: Mutex<Trace>,
    oracle: Mutex<Oracle>,
    host: Mutex<Host>,
    /// The process that serves now.
    serving: Mutex<Option<Serving>>,
    pub(super) is_up: Notify,
    streams: AtomicU64,
    pub(super) restarts: AtomicU64,
}

/// A serving process, as others reach it.
pub(super) struct Serving {
    pub(super) gateway: Arc<Gateway>,
    pub(super) handle: Handle,
    pub(super) inbox: Sender<Message>,
    pub(super) connections: JoinSet<()>,
}

/// What happened, in words and as one hash.
struct Trace {
    hash: Sha256,
    lines: Vec<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A crash unwinds through whoever holds something; what is held is whole at each of those places.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scene {
    pub(super) fn new(seed: u64, weather: &Weather) -> Arc<Self> {
        Arc::new(Self {
            seed,
            start: Instant::now(),
            dice: Mutex::new(Dice::new(seed, weather)),
            trace: Mutex::new(Trace {
                hash: Sha256::new(),
                lines: Vec::new(),
            }),
            oracle: Mutex::new(Oracle::default()),
            host: Mutex::new(Host::default()),
            serving: Mutex::new(None),
            is_up: Notify::new(),
            streams: AtomicU64::new(1_000),
            restarts: AtomicU64::new(0),
        })
    }

    pub(super) fn dice(&self) -> MutexGuard<'_, Dice> {
        lock(&self.dice)
    }

    pub(super) fn oracle(&self) -> MutexGuard<'_, Oracle> {
        lock(&self.oracle)
    }

    pub(super) fn host(&self) -> MutexGuard<'_, Host> {
        lock(&self.host)
    }

    pub(super) fn serving(&self) -> MutexGuard<'_, Option<Serving>> {
        lock(&self.serving)
    }

    pub(super) fn strikes(&self, fault: Fault) -> bool {
        self.dice().strikes(fault)
    }

    /// Dice of one's own, for one who begins now.
    pub(super) fn rng(&self) -> ChaCha12Rng {
        let mut rng = ChaCha12Rng::seed_from_u64(self.seed);
        rng.set_stream(self.streams.fetch_add(1, Ordering::Relaxed));
        rng
    }

    /// Milliseconds since the run began.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The server's wall clock now, which goes on while no process serves.
    pub(super) fn wall(&self) -> Timestamp {
        let passed = i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(DAWN.as_millis() + passed)
    }

    pub(super) fn note(&self, what: &str) {
        let line = format!("{:>9} {what}", self.now_ms());
        let mut trace = lock(&self.trace);
        trace.hash.update(line.as_bytes());
        trace.lines.push(line.chars().take(300).collect());
    }

    pub(super) fn violated(&self, what: String) {
        self.note(&what);
        self.oracle().violations.push(what);
    }

    /// The hash over all that happened, and the lines of it.
    pub(super) fn told(&self) -> (String, Vec<String>) {
        let trace = lock(&self.trace);
        let hash = trace.hash.clone().finalize();
        let hash = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        (hash, trace.lines.clone())
    }

    /// What the process that serves now reads.
    pub(super) fn reader(&self) -> Option<Arc<dyn Reader>> {
        let serving = self.serving();
        let reader = serving.as_ref().map(|serving| serving.handle.reader());
        reader.map(Arc::clone)
    }

    /// In the end the server must know every worker that lives, and no other.
    pub(super) async fn judge_host(&self) {
        let handle = self
            .serving()
            .as_ref()
            .map(|serving| serving.handle.clone());
        let Some(handle) = handle else {
            return self.violated("nobody serves in calm weather".into());
        };
        let read = |core: &Core| core.workers().map(|record| record.id).collect::<Vec<_>>();
        let mut known = handle.query(read).await.unwrap_or_default();
        known.sort_unstable();
        let alive = self.host().alive();
        if known != alive {
            self.violated(format!("{alive:?} live, and the server knows {known:?}"));
        }
    }

    /// A fact for the process that serves now; with none, nobody hears it.
    pub(super) fn tell(&self, event: Event) {
        if let Some(serving) = self.serving().as_ref() {
            let payloads = Vec::new();
            let _ = serving.inbox.send(Message::Tell { event, payloads });
        }
    }
}

/// A pause of so many milliseconds, drawn.
pub(super) async fn pause(rng: &mut ChaCha12Rng, from_ms: u64, to_ms: u64) {
    let length = rng.random_range(from_ms..=to_ms);
    tokio::time::sleep(Duration::from_millis(length)).await;
}
