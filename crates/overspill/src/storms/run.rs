//! One seed: what it draws, its storm, the calm after it, and what is said of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use overspill_core::budget::Caps;
use overspill_core::calendar::Calendar;
use overspill_core::guard::GuardSpec;
use overspill_core::id::DeviceId;
use overspill_core::money::{NanoUsd, RatePerHour};
use overspill_core::time::DurationMs;
use overspill_core::topology::{
    DeviceSpec, EndpointSpec, Limits, PoolKind, PoolSpec, RunPodSpec, ScalerSpec, Topology,
};
use overspill_store::{JobFilter, RowState};
use rand::RngExt as _;
use rand_chacha::ChaCha12Rng;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::faults::Weather;
use super::host;
use super::scene::{DAWN, SECRET, Scene};
use super::server::{self, Bell, Disk, Plan};
use crate::auth::key_text::KeyKind;
use crate::auth::keys::{self, NewKey};
use crate::auth::scope::Scopes;

/// In calm weather everything must be done by then.
const CALM_MS: u64 = 4 * 3_600_000;
/// Lines of a failing run that are shown.
const SHOWN: usize = 60;

/// What came of a seed.
pub(super) struct Outcome {
    pub(super) seed: u64,
    pub(super) weather: Weather,
    drawn: String,
    faults: Vec<&'static str>,
    pub(super) hash: String,
    pub(super) lines: Vec<String>,
    pub(super) jobs: usize,
    pub(super) runs: usize,
    pub(super) restarts: u64,
    pub(super) lasted_s: u64,
    pub(super) fired: Vec<u64>,
    pub(super) violations: Vec<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seed, next) = (self.seed, self.seed + 1);
        writeln!(
            f,
            "seed {seed} {}: {} jobs, {} runs, {} restarts, {} s",
            self.weather, self.jobs, self.runs, self.restarts, self.lasted_s
        )?;
        writeln!(f, "  drawn {}", self.drawn)?;
        writeln!(f, "  faults {}", self.faults.join(" "))?;
        for line in &self.lines[self.lines.len().saturating_sub(SHOWN)..] {
            writeln!(f, "  | {line}")?;
        }
        for violation in &self.violations {
            writeln!(f, "  violated: {violation}")?;
        }
        writeln!(
            f,
            "  again: cargo xtask storms --whole --seeds {seed}..{next} {}",
            self.weather
        )
    }
}

/// What a seed draws beside its faults.
struct Drawn {
    endpoints: usize,
    devices: u32,
    slots: u32,
    clients: usize,
    jobs: u32,
    storm_ms: u64,
    is_memory: bool,
    shares_keys: bool,
}

impl Drawn {
    fn new(rng: &mut ChaCha12Rng) -> Self {
        Self {
            endpoints: rng.random_range(1..=2),
            devices: rng.random_range(1..=3),
            slots: rng.random_range(1..=3),
            clients: rng.random_range(1..=4),
            jobs: rng.random_range(4..=20),
            storm_ms: rng.random_range(20_000..=150_000),
            is_memory: rng.random::<f64>() < 0.8,
            shares_keys: rng.random::<f64>() < 0.5,
        }
    }

    fn names(&self) -> Vec<String> {
        let names = ["tts", "image"].into_iter().take(self.endpoints);
        names.map(str::to_owned).collect()
    }

    fn topology(&self, rng: &mut ChaCha12Rng) -> Topology {
        let seconds = DurationMs::from_secs;
        let devices: Vec<DeviceId> = (0..self.devices).map(DeviceId).collect();
        let pools = vec![
            PoolSpec {
                key: "local".into(),
                slots: self.slots,
                kind: PoolKind::Command {
                    devices: devices.clone(),
                    vram_bytes: None,
                },
            },
            // Says what a second is worth; no worker of it may ever be started.
            PoolSpec {
                key: "runpod".into(),
                slots: self.slots,
                kind: PoolKind::RunPod(RunPodSpec {
                    endpoint: "ep".into(),
                    price: Some(RatePerHour::new(NanoUsd::from_nanos(440_000_000))),
                    max: Some(0),
                    manage: false,
                    idle_timeout: seconds(5),
                    init_timeout: seconds(60),
                    region: None,
                    gpu: None,
                    gpu_label: None,
                    list: 0,
                }),
            },
        ];
        let endpoint = |name: String, execution: u64| EndpointSpec {
            name,
            execution_timeout: seconds(execution),
            ttl: seconds(24 * 3_600),
            retention: seconds(24 * 3_600),
            max_attempts: 3,
            max_wait: seconds(90),
            expected_execution: seconds(1),
            expected_start: overspill_core::scaler::START_MEAN,
            limits: Limits { min: 0, max: 0 },
            schedule: Vec::new(),
            caps: Caps::default(),
            scaler: ScalerSpec::default(),
            residency: std::collections::BTreeSet::new(),
            pools: pools.clone(),
        };
        let mut endpoints = Vec::new();
        for name in self.names() {
            endpoints.push(endpoint(name, rng.random_range(15..60)));
        }
        let device = |id| DeviceSpec {
            id,
            name: "nominal".into(),
            memory_bytes: 0,
            watts: None,
            uuid: None,
        };
        Topology {
            endpoints,
            devices: devices.into_iter().map(device).collect(),
            account_workers_max: None,
            cancel_grace: seconds(5),
            caps: Caps::default(),
            calendar: Calendar::default(),
            guard: GuardSpec {
                unguarded_min: true,
                ..GuardSpec::default()
            },
            electricity: None,
            alert: None,
            card_returns_after: overspill_core::quarantine::RETURNS_AFTER,
        }
    }
}

/// Runs a seed.
pub(super) fn run(seed: u64, weather: &Weather) -> Outcome {
    let bell = Arc::new(Bell::default());
    let (parks, unparks) = (Arc::clone(&bell), Arc::clone(&bell));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .on_thread_park(move || parks.all_wait())
        .on_thread_unpark(move || unparks.goes_on())
        .build()
        .expect("a runtime of one thread");
    crate::gateway::seed_ids(Some(seed));
    let outcome = runtime.block_on(storm(seed, weather, bell));
    crate::gateway::seed_ids(None);
    outcome
}

async fn storm(seed: u64, weather: &Weather, bell: Arc<Bell>) -> Outcome {
    let scene = Scene::new(seed, weather);
    let mut rng = scene.rng();
    let drawn = Drawn::new(&mut rng);
    let new = NewKey {
        name: "clients".into(),
        kind: KeyKind::User,
        scopes: Scopes::ADMIN,
        endpoints: None,
        expires_at: None,
    };
    // Its id is written down with each job: it must be the same in every run.
    let key_text = "key-of-all-clients-in-a-storm".to_owned();
    let key = keys::adopt(&SECRET, new, &key_text, DAWN);
    let is_over = CancellationToken::new();
    let plan = Plan {
        disk: Disk::new(drawn.is_memory),
        topology: drawn.topology(&mut rng),
        slots: drawn.slots as usize,
        key,
        bell,
        is_over: is_over.clone(),
    };
    let server = tokio::spawn(server::serve(Arc::clone(&scene), plan));
    let misfortune = tokio::spawn(host::misfortune(Arc::clone(&scene)));
    let mut clients = JoinSet::new();
    for number in 0..drawn.clients {
        let client = Client::new(&scene, number, &key_text, drawn.names(), drawn.shares_keys);
        clients.spawn(client.run(drawn.jobs, drawn.storm_ms));
    }
    clients.join_all().await;
    scene.note("calm");
    scene.dice().calm_down();
    let until = scene.now_ms() + CALM_MS;
    let open = JobFilter {
        endpoint: None,
        states: vec![RowState::Queued, RowState::Running],
    };
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let reader = scene.reader();
        let is_done = reader.is_some_and(|reader| {
            let open = reader.jobs(&open, None, 1).expect("the store is read");
            open.is_empty()
        });
        if is_done || scene.now_ms() > until {
            break;
        }
    }
    // What still runs or is on its way may change nothing any more.
    tokio::time::sleep(Duration::from_secs(120)).await;
    scene.judge_host().await;
    is_over.cancel();
    misfortune.abort();
    let plan = server.await.expect("the server ends when it is asked to");
    host::kill_all(&scene);
    let reader = plan.disk.reader();
    let judged = scene.oracle().judge(reader.as_ref());
    if let Err(error) = judged {
        scene.violated(format!("the store cannot be read: {error}"));
    }
    let (hash, lines) = scene.told();
    let (faults, fired) = {
        let dice = scene.dice();
        (dice.names(), dice.fired())
    };
    let oracle = scene.oracle();
    Outcome {
        seed,
        weather: weather.clone(),
        drawn: format!(
            "{} endpoints, {} cards, {} slots, {} clients of {} jobs, {} s, {}",
            drawn.endpoints,
            drawn.devices,
            drawn.slots,
            drawn.clients,
            drawn.jobs,
            drawn.storm_ms / 1_000,
            if drawn.is_memory { "memory" } else { "SQLite" }
        ),
        faults,
        hash,
        lines,
        jobs: oracle.jobs(),
        runs: oracle.runs(),
        restarts: scene.restarts.load(std::sync::atomic::Ordering::Relaxed),
        lasted_s: scene.now_ms() / 1_000,
        fired,
        violations: oracle.violations.clone(),
    }
}
