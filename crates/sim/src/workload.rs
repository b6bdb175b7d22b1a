//! What clients do: submit in waves, cancel, retry, purge, change limits and the configuration.

use std::collections::{BTreeMap, BTreeSet};

use overspill_core::budget::Caps;
use overspill_core::calendar::Calendar;
use overspill_core::change::FinalState;
use overspill_core::event::{Event, NewJob, PayloadRef};
use overspill_core::guard::GuardSpec;
use overspill_core::id::{DeviceId, EndpointId, JobId, KeyId, RequestId};
use overspill_core::money::{NanoUsd, RatePerHour};
use overspill_core::region::Region;
use overspill_core::time::DurationMs;
use overspill_core::topology::{
    DeviceSpec, EndpointSpec, Limits, PoolKind, PoolSpec, RunPodSpec, ScalerSpec, Topology, Tuning,
};
use rand::RngExt;

use crate::cloud::MsRange;
use crate::scene::{Asker, Scene};
use crate::store::Store;
use crate::weather::Weather;

/// A job as its clients mean it.
struct Plan {
    run_time: DurationMs,
    is_unsendable: bool,
    has_short_ttl: bool,
}

/// The clients of one run.
pub(crate) struct Workload {
    pub(crate) slots: u32,
    /// Jobs at once on a worker of ours, where that is another number.
    card_slots: Option<u32>,
    plans: BTreeMap<JobId, Plan>,
    /// Jobs in one storm, at most.
    jobs_max: u32,
    /// Jobs still to come in this storm.
    left: u32,
    is_calm: bool,
    /// Time between two waves, in milliseconds, at most.
    pause_ms: u64,
    wave_max: u32,
    longest_ms: u64,
    endpoints: u32,
    cards: u32,
    /// Keys that submit in turn.
    keys: Vec<KeyId>,
    /// Start-up times of cloud workers, where the clients depend on them.
    pub(crate) cold_start: Option<MsRange>,
    base: Topology,
}

/// The region that jobs of some endpoints must not leave; the first cloud pool of each is there.
const HOME: &str = "eu";

fn region(name: &str) -> Region {
    name.parse().expect("a region's name")
}

/// Where a job's caller is: known of two in three.
fn region_of(job: JobId) -> Option<Region> {
    match job.uuid() % 3 {
        0 => Some(region(HOME)),
        1 => Some(region("us")),
        _ => None,
    }
}

/// Every second endpoint keeps the jobs of one region there.
fn residency(endpoint: u32) -> BTreeSet<Region> {
    let stays = endpoint % 2 == 1;
    stays.then(|| region(HOME)).into_iter().collect()
}

/// Whether a job of the endpoint behind `cloud_endpoint` (`cloud`, its number, the pool's number) may be there.
pub(crate) fn may_be_at(job: JobId, cloud_endpoint: &str) -> bool {
    let mut digits = cloud_endpoint.chars().filter_map(|c| c.to_digit(10));
    let (endpoint, pool) = (digits.next().unwrap_or(0), digits.next().unwrap_or(0));
    let stays = region_of(job).is_some_and(|region| residency(endpoint).contains(&region));
    !stays || pool == 0
}

impl Workload {
    /// Draws the clients of a seed, and their first storm.
    pub(crate) fn new(scene: &mut Scene, weather: &Weather) -> Self {
        let rng = &mut scene.rng;
        let mut load = Self {
            slots: if rng.random_bool(0.3) {
                rng.random_range(2..=4)
            } else {
                1
            },
            card_slots: None,
            plans: BTreeMap::new(),
            jobs_max: weather.jobs_max.unwrap_or(u32::MAX),
            left: 0,
            is_calm: false,
            pause_ms: 1,
            wave_max: 1,
            longest_ms: 1,
            endpoints: rng.random_range(1..=2),
            cards: rng.random_range(0..4),
            keys: Vec::new(),
            cold_start: None,
            base: Topology::default(),
        };
        load.base = load.first_topology(scene);
        load
    }

    /// Clients with more work than a cap pays for: a thousand short jobs, almost at once, for one
    /// cloud pool. Nobody changes anything.
    pub(crate) fn capped(scene: &mut Scene, cap: NanoUsd) -> Self {
        let rng = &mut scene.rng;
        let mut load = Self {
            slots: 1,
            card_slots: None,
            plans: BTreeMap::new(),
            jobs_max: u32::MAX,
            left: 1_000,
            is_calm: false,
            pause_ms: 2_000,
            wave_max: 60,
            longest_ms: rng.random_range(1_000..3_000),
            endpoints: 1,
            cards: 0,
            keys: Vec::new(),
            cold_start: Some(MsRange::new(1_000, 20_000)),
            base: Topology::default(),
        };
        load.base = load.first_topology(scene);
        load.base.account_workers_max = None;
        load.base.caps.per_day = Some(cap);
        for endpoint in &mut load.base.endpoints {
            endpoint.execution_timeout = DurationMs::from_secs(30);
            endpoint.limits.max = scene.rng.random_range(2..=4);
            endpoint.pools.truncate(2);
            for pool in &mut endpoint.pools {
                if let PoolKind::RunPod(spec) = &mut pool.kind {
                    spec.init_timeout = DurationMs::from_secs(30);
                }
            }
        }
        load
    }

    /// Clients with work for hours: so many jobs in waves, most of them for the cloud, with all that
    /// clients do beside submitting.
    pub(crate) fn steady(scene: &mut Scene, jobs: u32) -> Self {
        let rng = &mut scene.rng;
        let mut load = Self {
            slots: if rng.random_bool(0.3) { 2 } else { 1 },
            card_slots: None,
            plans: BTreeMap::new(),
            jobs_max: u32::MAX,
            left: jobs,
            is_calm: false,
            pause_ms: rng.random_range(20_000..60_000),
            wave_max: 12,
            longest_ms: rng.random_range(20_000..90_000),
            endpoints: rng.random_range(1..=2),
            cards: rng.random_range(0..=1),
            cold_start: Some(MsRange::new(1_000, 20_000)),
            base: Topology::default(),
            keys: Vec::new(),
        };
        load.base = load.first_topology(scene);
        load.base.account_workers_max = None;
        for endpoint in &mut load.base.endpoints {
            endpoint.limits.max = scene.rng.random_range(8..=16);
        }
        load
    }

    /// Clients of endpoints with workers that are kept on under a guard, which acts after so long.
    pub(crate) fn kept_on(scene: &mut Scene, min: u32, after: DurationMs) -> Self {
        let rng = &mut scene.rng;
        // More than one card can do, so that there is work for the cloud.
        let cards = rng.random_range(0..2);
        let (waves, longest) = if cards == 0 {
            (1..6, 2_000..40_000)
        } else {
            (6..12, 30_000..50_000)
        };
        let mut load = Self {
            slots: rng.random_range(1..=2),
            card_slots: None,
            plans: BTreeMap::new(),
            jobs_max: u32::MAX,
            left: 5_000,
            is_calm: false,
            pause_ms: rng.random_range(2_000..20_000),
            wave_max: rng.random_range(waves),
            longest_ms: rng.random_range(longest),
            endpoints: 1,
            cards,
            keys: Vec::new(),
            cold_start: Some(MsRange::new(1_000, 20_000)),
            base: Topology::default(),
        };
        load.base = load.first_topology(scene);
        load.base.account_workers_max = None;
        load.base.guard = GuardSpec {
            after,
            unguarded_min: false,
        };
        if scene.chance(0.25) {
            load.base.caps.per_day = NanoUsd::parse_usd("2");
        }
        for endpoint in &mut load.base.endpoints {
            endpoint.execution_timeout = DurationMs::from_secs(60);
            endpoint.limits = Limits {
                min,
                max: min + scene.rng.random_range(1..=3),
            };
            for pool in &mut endpoint.pools {
                if let PoolKind::RunPod(spec) = &mut pool.kind {
                    spec.init_timeout = DurationMs::from_secs(60);
                }
            }
        }
        load
    }

    /// Clients of this configuration that submit nothing by themselves: see [`Self::plan`].
    pub(crate) fn of(base: Topology, slots: u32, card_slots: u32, cold_start: MsRange) -> Self {
        Self {
            slots,
            card_slots: Some(card_slots),
            plans: BTreeMap::new(),
            jobs_max: 0,
            left: 0,
            is_calm: true,
            pause_ms: 1,
            wave_max: 1,
            longest_ms: 1,
            endpoints: u32::try_from(base.endpoints.len()).unwrap_or(u32::MAX),
            cards: u32::try_from(base.devices.len()).unwrap_or(u32::MAX),
            keys: Vec::new(),
            cold_start: Some(cold_start),
            base,
        }
    }

    /// A job that somebody else submits runs for `run_time`.
    pub(crate) fn plan(&mut self, id: JobId, run_time: DurationMs) {
        let plan = Plan {
            run_time,
            is_unsendable: false,
            has_short_ttl: false,
        };
        self.plans.insert(id, plan);
    }

    /// Jobs at once on a worker of ours.
    pub(crate) fn card_slots(&self) -> usize {
        self.card_slots.unwrap_or(self.slots) as usize
    }

    /// Lets jobs come in under these keys, and some under none.
    pub(crate) fn with_keys(mut self, keys: &[KeyId]) -> Self {
        self.keys = keys.to_vec();
        self
    }

    /// The key that submits a job.
    fn key_of(&self, id: JobId) -> Option<KeyId> {
        let turns = self.keys.len() as u128 + 1;
        let turn = usize::try_from(id.uuid() % turns).unwrap_or(0);
        self.keys.get(turn).copied()
    }

    /// The next wave, and nothing else; when to call again, unless all came.
    pub(crate) fn submit_wave(&mut self, scene: &mut Scene) -> Option<DurationMs> {
        let wave = scene.rng.random_range(1..=self.wave_max).min(self.left);
        for _ in 0..wave {
            self.submit(scene);
        }
        self.left -= wave;
        (self.left > 0).then(|| scene.ms(1, self.pause_ms))
    }

    /// Draws what the clients do in the storm that begins.
    pub(crate) fn rage(&mut self, scene: &mut Scene) {
        self.is_calm = false;
        let rng = &mut scene.rng;
        self.left = rng.random_range(10..70).min(self.jobs_max);
        self.pause_ms = rng.random_range(500..60_000);
        self.wave_max = rng.random_range(1..12);
        self.longest_ms = rng.random_range(1_000..90_000);
    }

    /// What this seed drew, in words.
    pub(crate) fn describe(&self) -> String {
        let endpoints = self.base.endpoints.iter().map(|endpoint| {
            format!(
                "{} ({:?}, max wait {}, {} cloud pools, max {})",
                endpoint.name,
                endpoint.scaler,
                endpoint.max_wait,
                endpoint.pools.len() - 1,
                endpoint.limits.max
            )
        });
        let endpoints: Vec<String> = endpoints.collect();
        let account = self.base.account_workers_max;
        let account = account.map_or_else(String::new, |max| format!(", account max {max}"));
        format!(
            "{} cards, {} slots{account}, {}",
            self.cards,
            self.slots,
            endpoints.join(", ")
        )
    }

    /// The first configuration.
    pub(crate) fn topology(&self) -> Topology {
        self.base.clone()
    }

    pub(crate) fn run_time(&self, job: JobId) -> DurationMs {
        self.plans
            .get(&job)
            .map_or(DurationMs::from_secs(1), |plan| plan.run_time)
    }

    pub(crate) fn is_unsendable(&self, job: JobId) -> bool {
        self.plans.get(&job).is_some_and(|plan| plan.is_unsendable)
    }

    pub(crate) fn has_short_ttl(&self, job: JobId) -> bool {
        self.plans.get(&job).is_some_and(|plan| plan.has_short_ttl)
    }

    /// A client does the next thing; when to call again, unless all is done.
    pub(crate) fn act(
        &mut self,
        scene: &mut Scene,
        store: &Store,
        topology: &Topology,
    ) -> Option<DurationMs> {
        if self.left == 0 {
            return None;
        }
        let wave = scene.rng.random_range(1..=self.wave_max).min(self.left);
        for _ in 0..wave {
            self.submit(scene);
        }
        self.left -= wave;
        self.meddle(scene, store, topology);
        Some(scene.ms(1, self.pause_ms))
    }

    fn endpoint(&self, scene: &mut Scene) -> EndpointId {
        EndpointId(scene.rng.random_range(0..self.endpoints))
    }

    fn submit(&mut self, scene: &mut Scene) {
        let id = JobId::new(scene.rng.random(), scene.rng.random_bool(0.2));
        let endpoint = self.endpoint(scene);
        let has_short_ttl = scene.chance(0.03);
        let rng = &mut scene.rng;
        let plan = Plan {
            run_time: DurationMs::from_millis(rng.random_range(20..=self.longest_ms)),
            is_unsendable: rng.random_bool(0.01),
            has_short_ttl,
        };
        // Without a card nobody would ever run these.
        let is_big = self.cards > 0 && rng.random_bool(0.03);
        let is_low = self.cards > 0 && rng.random_bool(0.05);
        let job = NewJob {
            id,
            endpoint,
            input: PayloadRef {
                handle: 1,
                bytes: if is_big { 12_000_000 } else { 100 },
            },
            execution_timeout: rng.random_bool(0.05).then(|| DurationMs::from_secs(10)),
            ttl: has_short_ttl.then(|| DurationMs::from_secs(30)),
            low_priority: is_low,
            webhook: webhook(id),
            class: rng.random_range(0..3),
            region: region_of(id),
            extras: None,
            idempotency: None,
            trace: None,
            key: self.key_of(id),
        };
        self.plans.insert(id, plan);
        scene.arrive(
            Event::Submitted {
                request: RequestId(0),
                job,
            },
            Some(Asker::Submit(id)),
        );
    }

    /// Cancels, retries, purges, and new limits.
    fn meddle(&mut self, scene: &mut Scene, store: &Store, topology: &Topology) {
        let request = RequestId(0);
        if scene.chance(0.3)
            && let Some(job) = some(scene, self.plans.keys().copied())
        {
            scene.arrive(Event::CancelAsked { request, job }, Some(Asker::Other));
        }
        if scene.chance(0.2) {
            let failed = store.ended.values().filter(|ended| {
                ended.state != FinalState::Completed
                    && !store.live.jobs.contains_key(&ended.id)
                    && !store.ended.contains_key(&(ended.id, ended.generation + 1))
            });
            let failed: Vec<_> = failed
                .map(|ended| (ended.id, ended.endpoint, ended.generation))
                .collect();
            if let Some((id, endpoint, generation)) = some(scene, failed.into_iter()) {
                let job = NewJob {
                    id,
                    endpoint,
                    input: PayloadRef {
                        handle: 0,
                        bytes: 100,
                    },
                    execution_timeout: None,
                    ttl: None,
                    low_priority: false,
                    webhook: webhook(id),
                    class: 0,
                    region: region_of(id),
                    extras: None,
                    idempotency: None,
                    trace: None,
                    key: self.key_of(id),
                };
                scene.arrive(
                    Event::RetryAsked {
                        request,
                        job,
                        generation,
                    },
                    Some(Asker::Retry(id)),
                );
            }
        }
        // After the storm the limits stay, so that the cloud can be seen to go back to zero.
        if self.is_calm {
            return;
        }
        let endpoint = self.endpoint(scene);
        if scene.chance(0.03) {
            scene.arrive(Event::PurgeAsked { request, endpoint }, Some(Asker::Other));
        }
        if scene.chance(0.1) {
            let max = scene.rng.random_range(0..5);
            let min = scene.rng.random_range(0..=max.min(1));
            self.limit(scene, endpoint, Limits { min, max });
        }
        if scene.chance(0.05) {
            let topology = Box::new(self.changed(scene, topology));
            scene.arrive(Event::Configured { topology }, None);
        }
    }

    fn limit(&self, scene: &mut Scene, endpoint: EndpointId, limits: Limits) {
        let request = RequestId(0);
        let by = "storm".to_owned();
        let event = Event::LimitsSet {
            request,
            endpoint,
            limits,
            by,
        };
        scene.arrive(event, Some(Asker::Other));
    }

    /// After the storm: everything configured, none warm, some allowed.
    pub(crate) fn calm_down(&mut self, scene: &mut Scene) {
        self.is_calm = true;
        let topology = Box::new(self.base.clone());
        scene.arrive(Event::Configured { topology }, None);
        for endpoint in 0..self.endpoints {
            self.limit(scene, EndpointId(endpoint), Limits { min: 0, max: 3 });
        }
    }

    fn first_topology(&self, scene: &mut Scene) -> Topology {
        let devices: Vec<DeviceSpec> = (0..self.cards)
            .map(|index| DeviceSpec {
                id: DeviceId(index),
                name: format!("nominal {index}"),
                memory_bytes: 24 << 30,
                watts: None,
                uuid: None,
            })
            .collect();
        let vram_bytes = scene.chance(0.3).then_some(10 << 30);
        let endpoints = (0..self.endpoints).map(|index| {
            let scaler = match scene.rng.random_range(0..4) {
                0 => ScalerSpec::QueueDelay {
                    delay: scene.ms(0, 8_000),
                },
                1 => ScalerSpec::RequestCount { per_worker: 2 },
                2 => ScalerSpec::Ladder,
                _ => ScalerSpec::CostAware(Tuning::default()),
            };
            let command = PoolSpec {
                key: "local".into(),
                slots: self.slots,
                kind: PoolKind::Command {
                    devices: devices.iter().map(|device| device.id).collect(),
                    vram_bytes,
                },
            };
            let mut pools = vec![command];
            for cloud in 0..scene.rng.random_range(1..=2) {
                let key = format!("cloud{index}{cloud}");
                pools.push(PoolSpec {
                    key: key.clone(),
                    slots: self.slots,
                    kind: PoolKind::RunPod(RunPodSpec {
                        endpoint: key,
                        price: NanoUsd::parse_usd("0.44").map(RatePerHour::new),
                        max: None,
                        manage: true,
                        idle_timeout: DurationMs::from_secs(5),
                        init_timeout: DurationMs::from_secs(420),
                        region: Some(region(if cloud == 0 { HOME } else { "us" })),
                        gpu: None,
                        gpu_label: Some("RTX 4090".into()),
                        list: cloud,
                    }),
                });
            }
            EndpointSpec {
                name: format!("e{index}"),
                execution_timeout: DurationMs::from_secs(120),
                ttl: DurationMs::from_secs(86_400),
                retention: DurationMs::from_secs(1_800),
                max_attempts: 3,
                max_wait: scene.ms(2_000, 90_000),
                expected_execution: DurationMs::from_secs(30),
                expected_start: overspill_core::scaler::START_MEAN,
                caps: Caps::default(),
                limits: Limits {
                    min: 0,
                    max: scene.rng.random_range(1..5),
                },
                schedule: Vec::new(),
                scaler,
                residency: residency(index),
                pools,
            }
        });
        let endpoints = endpoints.collect();
        Topology {
            endpoints,
            devices,
            account_workers_max: scene.chance(0.5).then_some(5),
            cancel_grace: DurationMs::from_secs(5),
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

    /// A reload with a change or two.
    fn changed(&self, scene: &mut Scene, topology: &Topology) -> Topology {
        let mut topology = topology.clone();
        for endpoint in &mut topology.endpoints {
            match scene.rng.random_range(0..4) {
                0 => endpoint.limits.max = scene.rng.random_range(1..5),
                1 => endpoint.max_wait = scene.ms(2_000, 90_000),
                2 => {
                    for pool in &mut endpoint.pools {
                        if let PoolKind::Command { devices, .. } = &mut pool.kind {
                            let all = topology.devices.iter().map(|device| device.id);
                            *devices = all.filter(|_| scene.rng.random_bool(0.8)).collect();
                        }
                    }
                }
                _ => {}
            }
        }
        topology
    }
}

fn some<T>(scene: &mut Scene, items: impl Iterator<Item = T>) -> Option<T> {
    let mut items: Vec<T> = items.collect();
    if items.is_empty() {
        return None;
    }
    let index = scene.rng.random_range(0..items.len());
    Some(items.swap_remove(index))
}

/// Every third job names a receiver, in each of its generations.
fn webhook(id: JobId) -> Option<String> {
    id.uuid()
        .is_multiple_of(3)
        .then(|| "https://app.example/hook".to_owned())
}
