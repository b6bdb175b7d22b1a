//! A core with a store beside it: after every event the store's snapshot must equal what the core
//! calls durable, a core restored from it must agree, and every invariant must hold.

use std::collections::BTreeSet;

use overspill_core::budget::Caps;
use overspill_core::calendar::Calendar;
use overspill_core::change::{Change, Snapshot};
use overspill_core::effect::{Answer, Delivery, Effect, Out};
use overspill_core::event::{Event, NewJob, Outcome, PayloadRef};
use overspill_core::guard::GuardSpec;
use overspill_core::id::{
    AttemptId, DeviceId, EndpointId, JobId, PollId, PoolId, RequestId, WorkerId,
};
use overspill_core::invariants;
use overspill_core::machine::Core;
use overspill_core::money::{NanoUsd, RatePerHour};
use overspill_core::time::{DurationMs, Timestamp};
use overspill_core::topology::{
    DeviceSpec, EndpointSpec, Limits, PoolKind, PoolSpec, RunPodSpec, ScalerSpec, Topology,
};

pub const TTS: EndpointId = EndpointId(0);

pub struct Rig {
    pub core: Core,
    pub store: Snapshot,
    pub now: Timestamp,
    pub effects: Vec<Effect>,
    pub changes: Vec<Change>,
    next: u64,
}

impl Rig {
    /// One endpoint, `local` cards with one slot each, one cloud pool with two slots, max 3.
    pub fn new(local: u32) -> Self {
        Self::of(topology(local))
    }

    /// With this configuration.
    pub fn of(topology: Topology) -> Self {
        let mut rig = Self {
            core: Core::new(),
            store: Snapshot::default(),
            now: Timestamp::from_millis(1_000),
            effects: Vec::new(),
            changes: Vec::new(),
            next: 0,
        };
        rig.event(Event::Configured {
            topology: Box::new(topology),
        });
        rig.event(Event::WorkersAlive {
            workers: Vec::new(),
        });
        rig.secs(1);
        rig
    }

    pub fn event(&mut self, event: Event) {
        let mut out = Out::default();
        self.core.handle(self.now, event, &mut out);
        self.take(out);
    }

    fn take(&mut self, out: Out) {
        for change in &out.changes {
            self.store.apply(change);
        }
        self.changes.extend(out.changes);
        self.effects.extend(out.effects);
        assert_eq!(
            self.core.durable(),
            self.store,
            "the store is behind or ahead"
        );
        let found = invariants::check(&self.core);
        assert!(found.is_empty(), "{found:?}");
        let restored = Core::restore(self.store.clone(), self.now);
        assert_eq!(restored.durable(), self.store, "a restored core differs");
    }

    /// Throws the core away and restores it, as the engine does after a failed commit or a crash.
    pub fn restart(&mut self, local: u32, alive: Vec<WorkerId>) {
        self.restart_as(topology(local), alive);
    }

    /// The same, with this configuration.
    pub fn restart_as(&mut self, topology: Topology, alive: Vec<WorkerId>) {
        self.core = Core::restore(self.store.clone(), self.now);
        self.effects.clear();
        self.reload(topology);
        self.event(Event::WorkersAlive { workers: alive });
        let mut out = Out::default();
        self.core.resume(&mut out);
        self.take(out);
    }

    pub fn reload(&mut self, topology: Topology) {
        self.event(Event::Configured {
            topology: Box::new(topology),
        });
    }

    pub fn pass(&mut self, length: DurationMs) {
        let end = self.now + length;
        while let Some(at) = self.core.next_wakeup().filter(|&at| at <= end) {
            self.now = at.max(self.now);
            self.event(Event::TimePassed);
        }
        self.now = end;
        self.event(Event::TimePassed);
    }

    pub fn secs(&mut self, secs: u64) {
        self.pass(DurationMs::from_secs(secs));
    }

    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn request(&mut self) -> RequestId {
        RequestId(self.number())
    }

    pub fn submit(&mut self) -> JobId {
        let id = JobId::new(u128::from(self.number()), false);
        let request = self.request();
        self.event(Event::Submitted {
            request,
            job: new_job(id),
        });
        assert_eq!(self.answer(request), Answer::Submitted { job: id });
        id
    }

    pub fn answer(&mut self, request: RequestId) -> Answer {
        let at = self.effects.iter().position(
            |effect| matches!(effect, Effect::Answer { request: r, .. } if *r == request),
        );
        match self.effects.remove(at.expect("an answer")) {
            Effect::Answer { answer, .. } => answer,
            _ => unreachable!("found above"),
        }
    }

    /// Mints and starts every worker that is asked for; returns them.
    pub fn start_workers(&mut self) -> Vec<WorkerId> {
        let mut workers = Vec::new();
        while let Some((pool, device)) = self.find(|effect| match effect {
            Effect::MintWorker { pool, device } => Some((*pool, *device)),
            _ => None,
        }) {
            let worker = WorkerId::new(u128::from(self.number()));
            self.event(Event::WorkerMinted {
                worker,
                pool,
                device,
            });
            let spawn = self.find(|effect| match effect {
                Effect::SpawnWorker { worker, .. } => Some(*worker),
                _ => None,
            });
            if spawn.is_none() {
                // Its card has gone bad since it was asked for.
                let card = self.core.cards().find(|card| card.spec.id == device);
                let card = card.expect("it is configured");
                let is_bad = card.quarantine.is_some() || card.doubted_since.is_some();
                assert!(is_bad || !card.leaving.is_empty(), "{card:?}");
                continue;
            }
            assert_eq!(spawn, Some(worker));
            self.event(Event::WorkerSpawned { worker, pid: 7 });
            workers.push(worker);
        }
        workers
    }

    /// Takes out the first effect that fits.
    pub fn find<T>(&mut self, fits: impl Fn(&Effect) -> Option<T>) -> Option<T> {
        let at = self
            .effects
            .iter()
            .position(|effect| fits(effect).is_some())?;
        fits(&self.effects.remove(at))
    }

    pub fn poll(&mut self, worker: WorkerId, is_idle: bool) -> PollId {
        let poll = PollId(self.number());
        let deadline = self.now + DurationMs::from_secs(50);
        self.event(Event::TakeWaiting {
            poll,
            worker,
            room: 1,
            deadline,
            is_idle,
        });
        poll
    }

    pub fn delivered(&mut self, worker: WorkerId) -> Option<AttemptId> {
        let jobs: Vec<Delivery> = self.find(|effect| match effect {
            Effect::Deliver {
                worker: w, jobs, ..
            } if *w == worker => Some(jobs.clone()),
            _ => None,
        })?;
        assert_eq!(jobs.len(), 1);
        Some(jobs[0].attempt)
    }

    pub fn finish(&mut self, worker: WorkerId, job: JobId) -> Answer {
        let request = self.request();
        self.event(Event::Finished {
            request,
            worker,
            job,
            outcome: Outcome::Completed {
                output: PayloadRef {
                    handle: 1,
                    bytes: 2,
                },
            },
            stops: false,
            body_sha256: String::new(),
        });
        self.answer(request)
    }

    pub fn ended(&self, job: JobId) -> Vec<overspill_core::change::EndedJob> {
        let ended = self.changes.iter().filter_map(|change| match change {
            Change::JobEnded(ended) if ended.id == job => Some(ended.clone()),
            _ => None,
        });
        ended.collect()
    }

    pub fn cloud_submission(&mut self) -> Option<AttemptId> {
        self.find(|effect| match effect {
            Effect::CloudSubmit { attempt, .. } => Some(*attempt),
            _ => None,
        })
    }
}

pub fn new_job(id: JobId) -> NewJob {
    NewJob {
        id,
        endpoint: TTS,
        input: PayloadRef {
            handle: 9,
            bytes: 100,
        },
        execution_timeout: None,
        ttl: None,
        low_priority: false,
        webhook: None,
        class: 0,
        region: None,
        extras: None,
        idempotency: None,
        trace: None,
        key: None,
    }
}

pub fn cloud_pool() -> PoolId {
    PoolId(1)
}

pub fn topology(local: u32) -> Topology {
    let devices: Vec<DeviceSpec> = (0..local)
        .map(|index| DeviceSpec {
            id: DeviceId(index),
            name: format!("nominal {index}"),
            memory_bytes: 0,
            watts: None,
            uuid: None,
        })
        .collect();
    let command = PoolSpec {
        key: "local".into(),
        slots: 1,
        kind: PoolKind::Command {
            devices: devices.iter().map(|device| device.id).collect(),
            vram_bytes: None,
        },
    };
    let runpod = PoolSpec {
        key: "abc".into(),
        slots: 2,
        kind: PoolKind::RunPod(RunPodSpec {
            endpoint: "abc".into(),
            price: NanoUsd::parse_usd("0.44").map(RatePerHour::new),
            max: None,
            manage: true,
            idle_timeout: DurationMs::from_secs(5),
            init_timeout: DurationMs::from_secs(420),
            region: Some("eu".parse().expect("a region")),
            gpu: None,
            gpu_label: Some("RTX 4090".into()),
            list: 0,
        }),
    };
    Topology {
        endpoints: vec![EndpointSpec {
            name: "tts".into(),
            execution_timeout: DurationMs::from_secs(600),
            ttl: DurationMs::from_secs(86_400),
            retention: DurationMs::from_secs(1_800),
            max_attempts: 3,
            max_wait: DurationMs::from_secs(60),
            expected_execution: DurationMs::from_secs(30),
            expected_start: overspill_core::scaler::START_MEAN,
            caps: Caps::default(),
            limits: Limits { min: 0, max: 3 },
            schedule: Vec::new(),
            scaler: ScalerSpec::QueueDelay {
                delay: DurationMs::ZERO,
            },
            residency: BTreeSet::new(),
            pools: vec![command, runpod],
        }],
        devices,
        account_workers_max: None,
        cancel_grace: DurationMs::from_secs(5),
        caps: Caps::default(),
        calendar: Calendar::default(),
        guard: GuardSpec::default(),
        electricity: None,
        alert: None,
        card_returns_after: overspill_core::quarantine::RETURNS_AFTER,
    }
}
