//! A trial: a trace replayed against the whole core, in virtual time: what a running server bills, and when it
//! orders and stops workers.
//!
//! [`crate::simulate`] has exact times: it knows a start the moment it is over, and its cloud does what it
//! is told at once. Here the shipped core hands its jobs to the modelled RunPod, which starts workers for what
//! waits there, tells counts and states only when asked, and takes some time for each answer. Both runs
//! come out as a [`Run`], so that they can be laid beside each other.

use std::collections::BTreeMap;

use overspill_core::budget::Caps;
use overspill_core::calendar::Calendar;
use overspill_core::event::{Event, NewJob, PayloadRef};
use overspill_core::guard::GuardSpec;
use overspill_core::id::{DeviceId, EndpointId, JobId, RequestId};
use overspill_core::time::{DurationMs, Timestamp};
use overspill_core::topology::{
    DeviceSpec, EndpointSpec, Limits, PoolKind, PoolSpec, RunPodSpec, ScalerSpec, Topology,
};

use crate::cloud::MsRange;
use crate::faults::Faults;
use crate::scene::{Action, Asker, Scene};
use crate::simulate::record::{AttemptRecord, WorkerRecord};
use crate::simulate::{Run, Settings, Trace};
use crate::storm::Storm;
use crate::workload::Workload;
use crate::world::cloud::{CloudWorld, Looks};

/// Arrivals begin this long after the start, when the local workers are ready.
const WARM: DurationMs = DurationMs::from_secs(60);
/// After the last arrival all is over within this.
const PATIENCE: DurationMs = DurationMs::from_secs(6 * 3_600);
/// Jobs and pools are looked at this often, about as a server with a `public_url` comes to know of ends.
const LOOKS: Looks = Looks {
    poll: DurationMs::from_millis(300),
    jitter: DurationMs::from_millis(200),
    health: DurationMs::from_secs(1),
    health_quiet: DurationMs::from_secs(1),
    queue_delay: DurationMs::from_millis(500),
};
/// RunPod's own patience with an idle worker: ours is shorter.
const IDLE_TIMEOUT: DurationMs = DurationMs::from_secs(60);

/// Replays `trace` against a server with this scaler in the world of `settings`. `seed` draws how long each call takes,
/// and the start-up times.
///
/// # Errors
/// What was not as it must be, in words.
pub fn run(
    trace: &Trace,
    settings: &Settings,
    scaler: &ScalerSpec,
    seed: u64,
) -> Result<Run, Vec<String>> {
    let mut faults = Faults::of_processes(seed);
    faults.calm_down();
    let mut scene = Scene::new(seed, faults, 0);
    let cold_start = settings.cold_start;
    let mut load = Workload::of(
        topology(settings, scaler.clone()),
        settings.slots,
        settings.local_slots,
        MsRange::new(cold_start.0.as_millis(), cold_start.1.as_millis()),
    );
    let mut numbers = BTreeMap::new();
    for (number, job) in trace.jobs.iter().enumerate() {
        let id = JobId::new(number as u128 + 1, false);
        numbers.insert(id, number);
        load.plan(id, job.duration);
    }
    let cloud = CloudWorld::new(&mut scene, seed, &load).looking(LOOKS);
    let mut storm = Storm::still(scene, load, cloud);
    storm.scene.agenda.at(Timestamp::ZERO, Action::Boot);
    for (&id, &number) in &numbers {
        let job = &trace.jobs[number];
        let at = job.arrival + WARM;
        storm.scene.agenda.at(
            at,
            Action::Arrive(
                submitted(id, job.class, job.is_low_priority),
                Some(Asker::Submit(id)),
            ),
        );
    }
    let last = trace.jobs.last().map_or(Timestamp::ZERO, |job| job.arrival) + WARM;
    live(&mut storm, trace.jobs.len(), last);
    let mut violations = std::mem::take(&mut storm.oracle.violations);
    violations.append(&mut storm.driver.violations);
    let run = record(&mut storm, &numbers, settings);
    let ran = run.attempts.iter().filter(|a| a.is_first).count();
    if ran != trace.jobs.len() {
        violations.push(format!("{ran} of {} jobs ran", trace.jobs.len()));
    }
    if violations.is_empty() {
        Ok(run)
    } else {
        Err(violations)
    }
}

/// Until all jobs are done and no worker is on.
fn live(storm: &mut Storm, jobs: usize, last: Timestamp) {
    while let Some((at, action)) = storm.scene.agenda.pop() {
        storm.scene.now = at;
        storm.step(action);
        let is_broken = !storm.driver.violations.is_empty() || !storm.oracle.violations.is_empty();
        let is_over = storm.driver.store.ended.len() == jobs
            && storm.cloud.spent(&storm.scene).0 == 0
            && storm
                .driver
                .core
                .pools()
                .all(|pool| pool.record.wanted == 0);
        if is_broken || is_over || at.since(last) > PATIENCE {
            return;
        }
    }
}

/// What was run where, in order of start.
fn record(storm: &mut Storm, numbers: &BTreeMap<JobId, usize>, settings: &Settings) -> Run {
    let earlier = |at: Timestamp| Timestamp::ZERO + at.since(Timestamp::ZERO + WARM);
    let lives = storm.cloud.lives(&storm.scene);
    let index: BTreeMap<&str, usize> = lives.keys().map(String::as_str).zip(0..).collect();
    let mut attempts = Vec::new();
    for attempt in storm.driver.store.attempts.values() {
        let (Some(&job), Some(started_at)) = (numbers.get(&attempt.id.job), attempt.started_at)
        else {
            continue;
        };
        let worker = attempt.worker.as_deref();
        attempts.push(AttemptRecord {
            job,
            is_first: attempt.outcome == "completed",
            started_at: earlier(started_at),
            ended_at: earlier(attempt.ended_at),
            worker: worker.and_then(|name| index.get(name).copied()),
            is_failed: attempt.outcome != "completed",
            is_lost: false,
            is_full: false,
        });
    }
    attempts.sort_by_key(|attempt| (attempt.started_at, attempt.job));
    let cold = settings.cold_start.0;
    let workers = lives
        .values()
        .map(|&(from, to)| WorkerRecord {
            offer: 0,
            ordered_at: earlier(from),
            billed_from: Some(earlier(from)),
            ready_at: (to.since(from) >= cold).then(|| earlier(from + cold)),
            stopped_at: earlier(to),
        })
        .collect();
    Run {
        attempts,
        workers,
        decisions: 0,
        slots: settings.slots,
        slots_max: settings.slots,
    }
}

fn submitted(id: JobId, class: u32, low_priority: bool) -> Event {
    let job = NewJob {
        id,
        endpoint: EndpointId(0),
        input: PayloadRef {
            handle: 1,
            bytes: 100,
        },
        execution_timeout: None,
        ttl: None,
        low_priority,
        webhook: None,
        class,
        region: None,
        extras: None,
        idempotency: None,
        trace: None,
        key: None,
    };
    Event::Submitted {
        request: RequestId(0),
        job,
    }
}

fn topology(settings: &Settings, scaler: ScalerSpec) -> Topology {
    let devices: Vec<DeviceSpec> = (0..settings.local_workers)
        .map(|index| DeviceSpec {
            id: DeviceId(index),
            name: format!("nominal {index}"),
            memory_bytes: 24 << 30,
            watts: None,
            uuid: None,
        })
        .collect();
    let local = PoolSpec {
        key: "local".into(),
        slots: settings.local_slots,
        kind: PoolKind::Command {
            devices: devices.iter().map(|device| device.id).collect(),
            vram_bytes: None,
        },
    };
    let cloud = PoolSpec {
        key: "cloud00".into(),
        slots: settings.slots,
        kind: PoolKind::RunPod(RunPodSpec {
            endpoint: "cloud00".into(),
            price: Some(settings.rate),
            max: None,
            manage: true,
            idle_timeout: IDLE_TIMEOUT,
            init_timeout: settings.start_timeout,
            region: None,
            gpu: None,
            gpu_label: None,
            list: 0,
        }),
    };
    let pools = if devices.is_empty() {
        vec![cloud]
    } else {
        vec![local, cloud]
    };
    let endpoint = EndpointSpec {
        name: "trial".to_owned(),
        execution_timeout: DurationMs::from_secs(86_400),
        ttl: DurationMs::from_secs(7 * 86_400),
        retention: DurationMs::from_secs(7 * 86_400),
        max_attempts: 3,
        max_wait: settings.max_wait,
        expected_execution: settings.expected_execution,
        expected_start: settings.expected_start,
        caps: Caps::default(),
        limits: Limits {
            min: settings.min,
            max: settings.max,
        },
        schedule: Vec::new(),
        scaler,
        residency: std::collections::BTreeSet::new(),
        pools,
    };
    Topology {
        endpoints: vec![endpoint],
        devices,
        account_workers_max: None,
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
