//! Every pool with its workers, read from the core in one pass.

use std::collections::BTreeMap;

use overspill_core::attempt::{CloudPhase, Place};
use overspill_core::id::{AttemptId, DeviceId, EndpointId, PoolId};
use overspill_core::machine::Core;
use overspill_core::region::Region;
use overspill_core::time::Timestamp;
use overspill_core::topology::PoolKind;
use overspill_core::worker::{Worker, WorkerState};
use serde::Serialize;

/// Workers by what they do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct WorkerStates {
    /// Starting.
    pub initializing: u32,
    /// Could take a job now.
    pub idle: u32,
    /// At work.
    pub running: u32,
    /// Their host lacks room.
    pub throttled: u32,
    /// Crashed.
    pub unhealthy: u32,
    /// Ending; they take no more jobs.
    pub stopping: u32,
}

impl WorkerStates {
    /// Adds another's.
    pub const fn add(&mut self, other: &Self) {
        self.initializing += other.initializing;
        self.idle += other.idle;
        self.running += other.running;
        self.throttled += other.throttled;
        self.unhealthy += other.unhealthy;
        self.stopping += other.stopping;
    }
}

/// A pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PoolView {
    /// Its number.
    #[serde(skip)]
    pub id: PoolId,
    /// Whose it is.
    #[serde(skip)]
    pub endpoint: EndpointId,
    /// Its name within its endpoint.
    pub name: String,
    /// `local` or `cloud`.
    pub kind: &'static str,
    /// Its workers.
    pub workers: WorkerStates,
    /// Jobs at once on one worker.
    pub slots_per_worker: u32,
    /// Jobs that run there.
    pub running: u32,
    /// Jobs that were handed over and wait there; always 0 for a local pool.
    pub waiting: u32,
    /// What is known of a cloud pool besides.
    pub cloud: Option<CloudView>,
}

/// A cloud pool's side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CloudView {
    /// RunPod's id of the endpoint.
    pub runpod_endpoint: String,
    /// The region that it is near to, where configured.
    pub region: Option<Region>,
    /// The type of its GPUs by RunPod's id, where it has a single one.
    pub gpu: Option<String>,
    /// It got no workers: other pools go before it until then.
    pub passed_over_until_ms: Option<i64>,
    /// Workers wanted now.
    pub wanted: u32,
    /// A ceiling of its own.
    pub max: Option<u32>,
    /// Price of one worker an hour, in billionths of a dollar; unknown means unused.
    pub price_nano_usd_per_hour: Option<i64>,
    /// What its workers cost an hour now.
    pub nano_usd_per_hour: i64,
    /// Money set aside for workers that it may cause.
    pub reserved_nano_usd: i64,
    /// It refused or failed, so many times in a row.
    pub failures: u32,
    /// Nothing is handed over before then.
    pub resumes_at_ms: Option<i64>,
}

/// A local worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LocalWorkerView {
    /// Which.
    pub id: String,
    /// Its pool.
    #[serde(skip)]
    pub pool: PoolId,
    /// Its card.
    pub device: u32,
    /// `initializing`, `idle`, `running` or `stopping`.
    pub state: &'static str,
    /// When it was started.
    pub started_at_ms: i64,
    /// Its process.
    pub pid: Option<u32>,
    /// Jobs that it runs.
    pub jobs: Vec<String>,
    /// Results that it posted since the serving process started.
    pub results: u64,
}

/// A cloud worker that is known by name, because it runs jobs of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CloudWorkerView {
    /// RunPod's id.
    pub id: String,
    /// Its pool.
    #[serde(skip)]
    pub pool: PoolId,
    /// Jobs that it runs.
    pub jobs: Vec<String>,
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub struct Pools {
    /// By number.
    pub pools: Vec<PoolView>,
    /// By id.
    pub local_workers: Vec<LocalWorkerView>,
    /// By pool and id.
    pub cloud_workers: Vec<CloudWorkerView>,
    /// Jobs that run on each card.
    pub jobs_by_device: BTreeMap<DeviceId, u32>,
    /// Local workers on each card.
    pub workers_by_device: BTreeMap<DeviceId, u32>,
}

impl Pools {
    /// What the core holds now.
    #[must_use]
    pub fn read(core: &Core, now: Timestamp) -> Self {
        let mut all = Self::default();
        let mut local: BTreeMap<PoolId, (WorkerStates, u32)> = BTreeMap::new();
        for worker in core.live_workers() {
            let view = local_worker(worker);
            let jobs = u32::try_from(view.jobs.len()).unwrap_or(u32::MAX);
            let (states, running) = local.entry(worker.record.pool).or_default();
            match view.state {
                "initializing" => states.initializing += 1,
                "idle" => states.idle += 1,
                "running" => states.running += 1,
                _ => states.stopping += 1,
            }
            *running += jobs;
            let device = worker.record.device;
            *all.jobs_by_device.entry(device).or_default() += jobs;
            *all.workers_by_device.entry(device).or_default() += 1;
            all.local_workers.push(view);
        }
        for pool in core.pools() {
            let Some(spec) = &pool.spec else { continue };
            let mut view = PoolView {
                id: pool.record.id,
                endpoint: pool.record.endpoint,
                name: pool.record.key.clone(),
                kind: "local",
                workers: WorkerStates::default(),
                slots_per_worker: pool.slots(),
                running: 0,
                waiting: 0,
                cloud: None,
            };
            match &spec.kind {
                PoolKind::RunPod(runpod) => {
                    let seen = pool.cloud.workers.unwrap_or_default();
                    view.kind = "cloud";
                    view.workers = WorkerStates {
                        initializing: seen.initializing,
                        idle: seen.idle,
                        running: seen.running,
                        throttled: seen.throttled,
                        unhealthy: seen.unhealthy,
                        stopping: 0,
                    };
                    all.cloud_jobs(core, &pool.outstanding, &mut view);
                    // RunPod bills a worker from its start, whatever it does.
                    let billed = seen.initializing + seen.idle + seen.running;
                    let price = runpod
                        .price
                        .map(overspill_core::money::RatePerHour::per_hour);
                    let resumes = pool.cloud.not_before;
                    view.cloud = Some(CloudView {
                        runpod_endpoint: runpod.endpoint.clone(),
                        region: runpod.region,
                        gpu: runpod.gpu.clone(),
                        passed_over_until_ms: (pool.cloud.dry_until > now)
                            .then(|| pool.cloud.dry_until.as_millis()),
                        wanted: pool.record.wanted,
                        max: runpod.max,
                        price_nano_usd_per_hour: price.map(|price| price.as_nanos()),
                        nano_usd_per_hour: price.map_or(0, |price| price.times(billed).as_nanos()),
                        reserved_nano_usd: pool
                            .record
                            .reserved_each
                            .times(pool.record.reserved_workers)
                            .as_nanos(),
                        failures: pool.cloud.failures,
                        resumes_at_ms: (resumes > now).then_some(resumes.as_millis()),
                    });
                }
                PoolKind::Command { .. } => {
                    let found = local.get(&pool.record.id).copied().unwrap_or_default();
                    (view.workers, view.running) = found;
                }
            }
            all.pools.push(view);
        }
        all
    }

    /// Counts a cloud pool's jobs, and lists the workers that run them.
    fn cloud_jobs<'a>(
        &mut self,
        core: &Core,
        outstanding: impl IntoIterator<Item = &'a AttemptId>,
        view: &mut PoolView,
    ) {
        let mut by_worker: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let attempts = outstanding.into_iter().filter_map(|&id| core.attempt(id));
        for attempt in attempts.filter(|attempt| attempt.fenced.is_none()) {
            match &attempt.place {
                Place::Cloud(CloudPhase::Running { worker, .. }) => {
                    view.running += 1;
                    if let Some(worker) = worker {
                        let jobs = by_worker.entry(worker).or_default();
                        jobs.push(attempt.id.job.to_string());
                    }
                }
                _ => view.waiting += 1,
            }
        }
        let workers = by_worker.into_iter().map(|(id, jobs)| CloudWorkerView {
            id: id.to_owned(),
            pool: view.id,
            jobs,
        });
        self.cloud_workers.extend(workers);
    }
}

fn local_worker(worker: &Worker) -> LocalWorkerView {
    let record = &worker.record;
    let (state, pid) = match record.state {
        WorkerState::Stopping { pid, .. } => ("stopping", pid),
        WorkerState::Running { pid } if !worker.held.is_empty() => ("running", Some(pid)),
        WorkerState::Running { pid } if worker.ready_at.is_some() => ("idle", Some(pid)),
        WorkerState::Running { pid } => ("initializing", Some(pid)),
        WorkerState::Initializing if !worker.held.is_empty() => ("running", None),
        WorkerState::Initializing => ("initializing", None),
    };
    LocalWorkerView {
        id: record.id.to_string(),
        pool: record.pool,
        device: record.device.0,
        state,
        started_at_ms: record.minted_at.as_millis(),
        pid,
        jobs: worker.held.keys().map(|id| id.job.to_string()).collect(),
        results: worker.results,
    }
}
