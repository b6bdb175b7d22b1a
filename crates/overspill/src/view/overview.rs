//! Everything at once, as of now: what the dashboard's first page shows, made once a second.

use std::collections::BTreeMap;

use overspill_core::alert::Alerted;
use overspill_core::budget::CapScope;
use overspill_core::endpoint::{LimitsOverride, SetBy};
use overspill_core::id::{DeviceId, EndpointId};
use overspill_core::machine::Core;
use overspill_core::quarantine::Quarantine;
use overspill_core::schedule::Scheduled;
use overspill_core::time::Timestamp;
use overspill_core::topology::{Limits, ScalerSpec};
use overspill_store::Counts;
use serde::Serialize;

use super::after_death::AfterDeath;
use super::pools::{PoolView, Pools, WorkerStates};
use super::series::Sample;
use super::spending::Money;
use super::tally::Recent;
use crate::engine::trouble::Trouble;
use crate::gpu::{Gpu, GpuSnapshot};

/// What the core says of an endpoint.
#[derive(Debug, Clone)]
pub(super) struct EndpointFacts {
    id: EndpointId,
    name: String,
    limits: Limits,
    scheduled: Option<Scheduled>,
    changed: Option<LimitsOverride>,
    scaler_changed: Option<SetLive>,
    max_wait_changed: Option<SetLive>,
    policy: &'static str,
    max_wait_ms: u64,
    queued: u64,
    oldest: Option<Timestamp>,
    inputs: ScalerInputs,
}

/// What the core says of a card.
#[derive(Debug, Clone)]
pub(super) struct DeviceFacts {
    id: DeviceId,
    name: String,
    memory_bytes: u64,
    quarantine: Option<QuarantineLine>,
}

/// One look at the core.
#[derive(Debug, Clone, Default)]
pub(super) struct Look {
    endpoints: Vec<EndpointFacts>,
    devices: Vec<DeviceFacts>,
    alerts: Vec<AlertLine>,
    pub(super) pools: Pools,
    pub(super) after_death: AfterDeath,
}

/// The thresholds that caps have passed, with their names.
fn alerts(core: &Core, now: Timestamp) -> Vec<AlertLine> {
    let name_of = |id| {
        let mut configured = core.configured();
        let endpoint = configured.find(|endpoint| endpoint.record.id == id);
        endpoint.map(|endpoint| endpoint.record.name.clone())
    };
    let open = core.alerted().iter().filter(|it| it.until > now);
    let line = |alerted: &Alerted| {
        let (scope, name) = match alerted.scope {
            CapScope::Everything => ("everything", None),
            CapScope::Endpoint(id) => ("endpoint", name_of(id)),
            CapScope::Key(id) => ("key", Some(id.to_string())),
        };
        AlertLine {
            scope,
            name,
            period: alerted.period.to_string(),
            threshold_percent: alerted.threshold,
            ends_at_ms: alerted.until.as_millis(),
        }
    };
    open.map(line).collect()
}

impl Look {
    pub(super) fn at(core: &Core, now: Timestamp) -> Self {
        let endpoints = core.configured().filter_map(|endpoint| {
            let spec = endpoint.spec.as_ref()?;
            Some(EndpointFacts {
                id: endpoint.record.id,
                name: endpoint.record.name.clone(),
                limits: endpoint.limits(),
                scheduled: endpoint.scheduled(now),
                changed: endpoint.record.limits_override.clone(),
                scaler_changed: endpoint.record.scaler_set().map(SetLive::from),
                max_wait_changed: endpoint.record.max_wait_set().map(SetLive::from),
                policy: endpoint.scaler().map_or("", ScalerSpec::policy),
                max_wait_ms: spec.max_wait.as_millis(),
                queued: endpoint.queue.len() as u64,
                oldest: core.oldest_waiting(endpoint),
                inputs: ScalerInputs {
                    arrivals_per_1000_s: per_1000_s(endpoint.history.rate_per_s(now)),
                    run_ms: endpoint
                        .history
                        .typical(spec.expected_execution)
                        .as_millis(),
                    start_ms: endpoint.history.start_mean().as_millis(),
                },
            })
        });
        let devices = core.cards().map(|card| DeviceFacts {
            id: card.spec.id,
            name: card.spec.name.clone(),
            memory_bytes: card.spec.memory_bytes,
            quarantine: card.quarantine.as_ref().map(QuarantineLine::of),
        });
        Self {
            endpoints: endpoints.collect(),
            devices: devices.collect(),
            alerts: alerts(core, now),
            pools: Pools::read(core, now),
            after_death: AfterDeath::at(core),
        }
    }
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointLine {
    /// Its number.
    #[serde(skip)]
    pub id: EndpointId,
    /// Its name.
    pub name: String,
    /// Fewest cloud workers.
    pub min: u32,
    /// Most cloud workers.
    pub max: u32,
    /// Who changed the two while the server ran, and when; `None` while the file's hold.
    pub limits_changed: Option<Changed>,
    /// What the schedules keep on now, or have ordered ahead; `None` while none does.
    pub schedule: Option<ScheduleView>,
    /// The rule that scales it.
    pub policy: &'static str,
    /// Who set that rule while the server ran, and when; `None` while the file's holds.
    pub scaler_changed: Option<SetLive>,
    /// The promise: submit to first start.
    pub max_wait_ms: u64,
    /// Who set the promise while the server ran, and when; `None` while the file's holds.
    pub max_wait_changed: Option<SetLive>,
    /// Jobs that wait, at RunPod too.
    pub queued: u64,
    /// Jobs that run.
    pub running: u64,
    /// Since the job that waits longest here came in.
    pub oldest_wait_ms: Option<u64>,
    /// Its workers over all pools.
    pub workers: WorkerStates,
    /// Its pools, local ones first.
    pub pools: Vec<PoolView>,
    /// How its jobs ended in the last hour.
    pub recent: Recent,
    /// How its jobs ended since it exists.
    pub ended: Ended,
    /// What its scaler reckons with; `why scale` says it in words.
    #[serde(skip)]
    pub inputs: ScalerInputs,
}

/// What a scaler has learned of its endpoint's load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScalerInputs {
    /// Jobs that come in within 1,000 s, at the rate of about the last minute.
    pub arrivals_per_1000_s: u64,
    /// How long a job of which nothing is known is taken to run.
    pub run_ms: u64,
    /// How long a cloud worker is taken to start, on average.
    pub start_ms: u64,
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is never negative, and far below 2^53"
)]
fn per_1000_s(rate_per_s: f64) -> u64 {
    (rate_per_s * 1_000.0).round() as u64
}

/// A scaling rule or a promise that was set while the server ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SetLive {
    /// Who set it.
    pub by: String,
    /// When.
    pub at_ms: i64,
}

impl From<SetBy> for SetLive {
    fn from(set: SetBy) -> Self {
        Self {
            by: set.by,
            at_ms: set.at.as_millis(),
        }
    }
}

/// What a schedule keeps on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ScheduleView {
    /// Cloud workers.
    pub min: u32,
    /// When its window opens, or opened.
    pub opens_at_ms: i64,
    /// When it closes.
    pub closes_at_ms: i64,
}

/// A live change of limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Who.
    pub by: String,
    /// When.
    pub at_ms: i64,
    /// What the file says.
    pub file_min: u32,
    /// What the file says.
    pub file_max: u32,
}

/// How jobs ended for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// Completed.
    pub completed: u64,
    /// Failed.
    pub failed: u64,
    /// Cancelled.
    pub cancelled: u64,
    /// Timed out in the queue.
    pub timed_out: u64,
}

impl From<&Counts> for Ended {
    fn from(counts: &Counts) -> Self {
        Self {
            completed: counts.completed,
            failed: counts.failed,
            cancelled: counts.cancelled,
            timed_out: counts.timed_out,
        }
    }
}

/// A card of this host. Readings are missing where there is no driver, or it does not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceLine {
    /// Its number here.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Whether it is only a name: this machine has no such card.
    pub is_nominal: bool,
    /// Jobs that run on it.
    pub jobs: u32,
    /// Workers on it.
    pub workers: u32,
    /// Installed memory.
    pub memory_bytes: Option<u64>,
    /// Memory in use by anybody.
    pub memory_used_bytes: Option<u64>,
    /// Share of the last moment in which it computed, in percent.
    pub busy_percent: Option<u32>,
    /// Temperature in degrees Celsius.
    pub temperature_c: Option<u32>,
    /// Power drawn in milliwatts.
    pub power_mw: Option<u32>,
    /// Why it must not be used; `None` for a card that may.
    pub quarantine: Option<QuarantineLine>,
}

/// A card's quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QuarantineLine {
    /// `missing`, `failing`, `hanging`, `memory_errors` or `memory_held`.
    pub fault: &'static str,
    /// In words.
    pub detail: String,
    /// Since when.
    pub since_ms: i64,
    /// Since when it is seen well; it returns a while after.
    pub well_since_ms: Option<i64>,
}

impl QuarantineLine {
    fn of(quarantine: &Quarantine) -> Self {
        Self {
            fault: quarantine.fault.name(),
            detail: quarantine.fault.to_string(),
            since_ms: quarantine.since.as_millis(),
            well_since_ms: quarantine.well_since.map(Timestamp::as_millis),
        }
    }
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// Counts looks at the core, from 1.
    pub number: u64,
    /// When.
    pub at_ms: i64,
    /// The newest point of the charts.
    pub sample: Sample,
    /// Jobs that wait.
    pub queued: u64,
    /// Jobs that run.
    pub running: u64,
    /// Since the longest-waiting job came in.
    pub oldest_wait_ms: Option<u64>,
    /// Workers over all endpoints.
    pub workers: WorkerStates,
    /// How jobs ended in the last hour.
    pub recent: Recent,
    /// How jobs ended since there are endpoints.
    pub ended: Ended,
    /// By name.
    pub endpoints: Vec<EndpointLine>,
    /// By number.
    pub devices: Vec<DeviceLine>,
    /// Spent, and saved.
    pub money: Money,
    /// What RunPod could still bill if every process of ours died.
    pub after_death: AfterDeath,
    /// The number of the newest decision.
    pub last_decision: u64,
    /// What is wrong now with disk, clock or process, by code.
    pub troubles: Vec<Trouble>,
    /// Caps of which 50, 80 or 100 % are spent, in periods that are not over.
    pub budget_alerts: Vec<AlertLine>,
}

/// A threshold that a cap has passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AlertLine {
    /// `everything`, `endpoint` or `key`.
    pub scope: &'static str,
    /// The endpoint's name, or the key's id.
    pub name: Option<String>,
    /// `hour`, `day` or `month`.
    pub period: String,
    /// 50, 80 or 100, which is reached.
    pub threshold_percent: u8,
    /// When the period ends.
    pub ends_at_ms: i64,
}

/// What an overview is made of besides the look at the core.
pub(super) struct Beside<'a> {
    pub(super) now: Timestamp,
    pub(super) number: u64,
    pub(super) recent: (Recent, BTreeMap<EndpointId, Recent>),
    pub(super) ended: &'a BTreeMap<EndpointId, Counts>,
    pub(super) money: Money,
    pub(super) gpus: &'a GpuSnapshot,
    /// The driver's id of each card that is there.
    pub(super) uuids: &'a BTreeMap<DeviceId, String>,
    pub(super) last_decision: u64,
    pub(super) troubles: Vec<Trouble>,
}

impl Overview {
    pub(super) fn new(look: &Look, beside: &Beside<'_>) -> Self {
        let now = beside.now;
        let mut all = Self {
            number: beside.number,
            at_ms: now.as_millis(),
            recent: beside.recent.0,
            money: beside.money,
            after_death: look.after_death,
            last_decision: beside.last_decision,
            troubles: beside.troubles.clone(),
            budget_alerts: look.alerts.clone(),
            ..Self::default()
        };
        for facts in &look.endpoints {
            let recent = beside.recent.1.get(&facts.id).copied().unwrap_or_default();
            let ended = beside.ended.get(&facts.id).map(Ended::from);
            let pools = look
                .pools
                .pools
                .iter()
                .filter(|pool| pool.endpoint == facts.id);
            let line = line(
                facts,
                pools.cloned().collect(),
                recent,
                ended.unwrap_or_default(),
                now,
            );
            all.queued += line.queued;
            all.running += line.running;
            all.oldest_wait_ms = all.oldest_wait_ms.max(line.oldest_wait_ms);
            all.workers.add(&line.workers);
            all.ended.completed += line.ended.completed;
            all.ended.failed += line.ended.failed;
            all.ended.cancelled += line.ended.cancelled;
            all.ended.timed_out += line.ended.timed_out;
            for pool in &line.pools {
                match &pool.cloud {
                    None => all.sample.local += u64::from(pool.running),
                    Some(cloud) => {
                        let w = &pool.workers;
                        all.sample.cloud += u64::from(pool.running);
                        all.sample.cloud_workers += u64::from(w.initializing + w.idle + w.running);
                        all.sample.nano_usd_per_hour += cloud.nano_usd_per_hour;
                        all.money.reserved_nano_usd += cloud.reserved_nano_usd;
                    }
                }
            }
            all.endpoints.push(line);
        }
        all.money.nano_usd_per_hour = all.sample.nano_usd_per_hour;
        all.sample.at_ms = all.at_ms;
        all.sample.queued = all.queued;
        all.sample.oldest_wait_ms = all.oldest_wait_ms.unwrap_or(0);
        all.endpoints.sort_by(|a, b| a.name.cmp(&b.name));
        let devices = look.devices.iter();
        all.devices = devices.map(|facts| device(facts, look, beside)).collect();
        all
    }
}

fn line(
    facts: &EndpointFacts,
    mut pools: Vec<PoolView>,
    recent: Recent,
    ended: Ended,
    now: Timestamp,
) -> EndpointLine {
    // Local ones first, as jobs see them.
    pools.sort_by_key(|pool| pool.cloud.is_some());
    let mut workers = WorkerStates::default();
    for pool in &pools {
        workers.add(&pool.workers);
    }
    EndpointLine {
        id: facts.id,
        name: facts.name.clone(),
        min: facts.limits.min,
        max: facts.limits.max,
        schedule: facts.scheduled.map(|asked| ScheduleView {
            min: asked.min.min(facts.limits.max),
            opens_at_ms: asked.opens.as_millis(),
            closes_at_ms: asked.closes.as_millis(),
        }),
        limits_changed: facts.changed.as_ref().map(|change| Changed {
            by: change.by.clone(),
            at_ms: change.at.as_millis(),
            file_min: change.file.min,
            file_max: change.file.max,
        }),
        policy: facts.policy,
        scaler_changed: facts.scaler_changed.clone(),
        max_wait_changed: facts.max_wait_changed.clone(),
        max_wait_ms: facts.max_wait_ms,
        queued: facts.queued
            + pools
                .iter()
                .map(|pool| u64::from(pool.waiting))
                .sum::<u64>(),
        running: pools.iter().map(|pool| u64::from(pool.running)).sum(),
        oldest_wait_ms: facts.oldest.map(|at| now.since(at).as_millis()),
        workers,
        pools,
        recent,
        ended,
        inputs: facts.inputs,
    }
}

fn device(facts: &DeviceFacts, look: &Look, beside: &Beside<'_>) -> DeviceLine {
    let uuid = beside.uuids.get(&facts.id);
    let is_this = |gpu: &&Gpu| uuid.is_some_and(|uuid| *uuid == gpu.uuid);
    let readings = beside
        .gpus
        .gpus
        .iter()
        .find(is_this)
        .map(|gpu| gpu.readings.clone());
    let readings = readings.unwrap_or_default();
    let configured = (facts.memory_bytes > 0).then_some(facts.memory_bytes);
    DeviceLine {
        id: facts.id.0,
        name: facts.name.clone(),
        is_nominal: uuid.is_none(),
        jobs: look
            .pools
            .jobs_by_device
            .get(&facts.id)
            .copied()
            .unwrap_or(0),
        workers: look
            .pools
            .workers_by_device
            .get(&facts.id)
            .copied()
            .unwrap_or(0),
        memory_bytes: readings.memory_bytes.or(configured),
        memory_used_bytes: readings.memory_used_bytes,
        busy_percent: readings.busy_percent,
        temperature_c: readings.temperature_c,
        power_mw: readings.power_mw,
        quarantine: facts.quarantine.clone(),
    }
}
