//! What the configuration asks for, in the core's words: endpoints, their pools, the devices.
//!
//! Comes in whole with [`crate::event::Event::Configured`], at start and at each reload; the core
//! compares it with what it holds. Keys and names identify; ids are the core's own.

use serde::{Deserialize, Serialize};

use crate::budget::Caps;
use crate::calendar::Calendar;
use crate::id::DeviceId;
use crate::money::{NanoUsd, RatePerHour};
use crate::schedule::Schedule;
use crate::time::DurationMs;

/// Everything that is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// Named places jobs are sent to; names are unique.
    pub endpoints: Vec<EndpointSpec>,
    /// The cards of this host that local pools may ask for room on.
    pub devices: Vec<DeviceSpec>,
    /// The most cloud workers the account may have over all endpoints, where known.
    pub account_workers_max: Option<u32>,
    /// How long a fenced attempt may go on before its worker is stopped.
    pub cancel_grace: DurationMs,
    /// Caps on cloud spending for everything together.
    pub caps: Caps,
    /// Whose hours, days and months the caps hold for.
    pub calendar: Calendar,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSpec {
    /// Its name; unique, and the identity over reloads.
    pub name: String,
    /// Default and upper bound of an attempt's execution time.
    pub execution_timeout: DurationMs,
    /// How long a job may exist unless it says otherwise.
    pub ttl: DurationMs,
    /// How long a finished job and its result stay.
    pub retention: DurationMs,
    /// Attempts that may vanish before a job fails.
    pub max_attempts: u32,
    /// The promise: submit to first start.
    pub max_wait: DurationMs,
    /// Stands in for measured durations until there are samples.
    pub expected_execution: DurationMs,
    /// Limits over all cloud pools.
    pub limits: Limits,
    /// A higher min at certain hours.
    #[serde(default)]
    pub schedule: Vec<Schedule>,
    /// Caps on its cloud spending, beside those for everything.
    pub caps: Caps,
    /// Which rule says how many cloud workers are wanted.
    pub scaler: ScalerSpec,
    /// Where its workers come from: local pools first, cloud pools in order of preference.
    pub pools: Vec<PoolSpec>,
}

/// How many cloud workers an endpoint may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Always on, whatever the queue.
    pub min: u32,
    /// Never more than these.
    pub max: u32,
}

/// The scaling rule with its constants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "policy", rename_all = "snake_case")]
pub enum ScalerSpec {
    /// RunPod's rule: a job waiting longer than `delay` adds a worker.
    QueueDelay {
        /// The wait that adds a worker.
        delay: DurationMs,
    },
    /// RunPod's other rule: jobs over `per_worker`, rounded up.
    RequestCount {
        /// Jobs that one worker is thought to carry.
        per_worker: u32,
    },
    /// The classic: the most `n` with running ≥ n and waiting > n.
    Ladder,
    /// The cheapest way to keep `max_wait` (the default).
    CostAware,
}

/// A source of workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolSpec {
    /// Unique within the endpoint, and the identity over reloads.
    pub key: String,
    /// Jobs at once on one worker; 0: as many as are learned.
    pub slots: u32,
    /// Where the workers run.
    pub kind: PoolKind,
}

/// Where a pool's workers run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PoolKind {
    /// One process a device, started by us; an empty list gives no workers.
    Command {
        /// The devices it may use, one worker each.
        devices: Vec<DeviceId>,
        /// Memory one worker needs on a device, in bytes, where known.
        vram_bytes: Option<u64>,
    },
    /// A RunPod queue endpoint.
    RunPod(RunPodSpec),
}

/// A cloud pool at RunPod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunPodSpec {
    /// RunPod's endpoint id.
    pub endpoint: String,
    /// Price of one worker; `None` means unknown, and unknown is refused.
    pub price: Option<RatePerHour>,
    /// A ceiling of its own, below the endpoint's.
    pub max: Option<u32>,
    /// Whether workers min and max are ours to set.
    pub manage: bool,
    /// Upper bound of a worker's idle time.
    pub idle_timeout: DurationMs,
    /// How long a worker may take to become ready.
    pub init_timeout: DurationMs,
}

/// A card of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSpec {
    /// Its index.
    pub id: DeviceId,
    /// Its name, for people: `NVIDIA GeForce RTX 3090`, or `nominal 0`.
    pub name: String,
    /// Its memory in bytes; zero when nominal.
    pub memory_bytes: u64,
}

/// The largest input that a RunPod queue endpoint takes: 10 MB less the envelope around it.
pub const CLOUD_INPUT_BYTES_MAX: u64 = 10_000_000 - 4_096;

/// The money set aside for one worker that a submission can cause (`docs/concepts/money.md`):
/// price × (init time-out + execution time-out + 15 s + idle time-out).
#[must_use]
pub fn worker_reservation(spec: &RunPodSpec, execution_timeout: DurationMs) -> Option<NanoUsd> {
    let longest =
        spec.init_timeout + execution_timeout + DurationMs::from_secs(15) + spec.idle_timeout;
    spec.price.map(|price| price.over(longest))
}
