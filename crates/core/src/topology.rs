//! What the configuration asks for, in the core's words: endpoints, their pools, the devices.
//!
//! Comes in whole with [`crate::event::Event::Configured`], at start and at each reload; the core
//! compares it with what it holds. Keys and names identify; ids are the core's own.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::budget::Caps;
use crate::calendar::Calendar;
use crate::guard::GuardSpec;
use crate::id::DeviceId;
use crate::money::{NanoUsd, RatePerHour};
use crate::quarantine::RETURNS_AFTER;
use crate::region::Region;
use crate::scaler::START_MEAN;
use crate::scaler::cost_aware::Constants;
use crate::schedule::Schedule;
use crate::time::DurationMs;

/// How long a RunPod worker may take to become ready: RunPod's own limit (`RUNPOD_INIT_TIMEOUT`).
pub const INIT_TIMEOUT: DurationMs = DurationMs::from_secs(7 * 60);

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
    /// Who ends workers that are kept on when we cannot.
    #[serde(default)]
    pub guard: GuardSpec,
    /// Price of a kilowatt-hour for the cards here, where given.
    #[serde(default)]
    pub electricity: Option<NanoUsd>,
    /// Where alerts of caps are sent.
    #[serde(default)]
    pub alert: Option<String>,
    /// How long the readings of a quarantined card must be good before it takes jobs again.
    #[serde(default = "card_returns_after")]
    pub card_returns_after: DurationMs,
}

/// For journals from before the setting.
const fn card_returns_after() -> DurationMs {
    RETURNS_AFTER
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
    /// Stands in for measured start-ups of cloud workers until there are samples: the mean.
    #[serde(default = "expected_start")]
    pub expected_start: DurationMs,
    /// Limits over all cloud pools.
    pub limits: Limits,
    /// A higher min at certain hours.
    #[serde(default)]
    pub schedule: Vec<Schedule>,
    /// Caps on its cloud spending, beside those for everything.
    pub caps: Caps,
    /// Which rule says how many cloud workers are wanted.
    pub scaler: ScalerSpec,
    /// Jobs of callers in these regions run in cloud pools of their own region only, or on local cards.
    #[serde(default)]
    pub residency: BTreeSet<Region>,
    /// Where its workers come from: local pools first, then cloud pools as they are listed.
    pub pools: Vec<PoolSpec>,
}

/// For journals from before the setting.
const fn expected_start() -> DurationMs {
    START_MEAN
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
    CostAware(Tuning),
}

impl ScalerSpec {
    /// The policy's name, as in the configuration.
    #[must_use]
    pub const fn policy(&self) -> &'static str {
        match self {
            Self::QueueDelay { .. } => "queue_delay",
            Self::RequestCount { .. } => "request_count",
            Self::Ladder => "ladder",
            Self::CostAware(_) => "cost_aware",
        }
    }
}

impl Default for ScalerSpec {
    fn default() -> Self {
        Self::CostAware(Tuning::default())
    }
}

impl fmt::Display for ScalerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.policy())?;
        match self {
            Self::QueueDelay { delay } => write!(f, " (queue_delay {delay})"),
            Self::RequestCount { per_worker } => write!(f, " (request_count {per_worker})"),
            Self::Ladder => Ok(()),
            Self::CostAware(tuning) => write!(f, " ({tuning})"),
        }
    }
}

impl ScalerSpec {
    /// Whether its constants make sense.
    ///
    /// # Errors
    /// Names the constant, its value and its bounds.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::QueueDelay { .. } | Self::Ladder => Ok(()),
            Self::RequestCount { per_worker } => {
                if *per_worker == 0 {
                    return Err("request_count = 0; expected 1 or more".to_owned());
                }
                Ok(())
            }
            Self::CostAware(tuning) => {
                let (share, price) = (tuning.wait_share_milli, tuning.lateness_price_milli);
                if !(500..=1_000).contains(&share) {
                    return Err(format!(
                        "wait_share = {}; expected 0.5 to 1",
                        in_milli(share)
                    ));
                }
                if !(1_000..=100_000).contains(&price) {
                    let price = in_milli(price);
                    return Err(format!("lateness_price = {price}; expected 1 to 100"));
                }
                Ok(())
            }
        }
    }
}

/// Whether a promise (`max_wait`) is one that can be meant: 1 ms to a week.
///
/// # Errors
/// Names the value and the bounds.
pub fn check_max_wait(max_wait: DurationMs) -> Result<(), String> {
    const LONGEST: DurationMs = DurationMs::from_secs(7 * 86_400);
    if (DurationMs::from_millis(1)..=LONGEST).contains(&max_wait) {
        Ok(())
    } else {
        Err(format!("max_wait = {max_wait}; expected 1ms to 7d"))
    }
}

/// Thousandths as a decimal number.
fn in_milli(value: u32) -> String {
    let text = format!("{}.{:03}", value / 1_000, value % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What a user may change of `cost_aware`; whole numbers, so that a record compares and hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tuning {
    /// Thousandths of the promise beyond which a job is late, 500 to 1000.
    pub wait_share_milli: u32,
    /// Thousandths of a start that a late job costs, 1000 to 100,000.
    pub lateness_price_milli: u32,
    /// An idle worker is kept at least this long.
    pub min_idle: DurationMs,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            wait_share_milli: 1_000,
            lateness_price_milli: 2_000,
            min_idle: DurationMs::ZERO,
        }
    }
}

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "wait_share {}, lateness_price {}, min_idle {}",
            in_milli(self.wait_share_milli),
            in_milli(self.lateness_price_milli),
            self.min_idle
        )
    }
}

impl Tuning {
    /// The rule's constants under it.
    #[must_use]
    pub fn constants(self) -> Constants {
        let wait_share = f64::from(self.wait_share_milli) / 1_000.0;
        let default = Constants::default();
        Constants {
            wait_share,
            // A user's share below the strict one is never loosened by it.
            wait_share_strict: default.wait_share_strict.min(wait_share),
            lateness_price: f64::from(self.lateness_price_milli) / 1_000.0,
            min_idle: self.min_idle,
            ..default
        }
    }
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
    /// The region that it is near to, where configured.
    #[serde(default)]
    pub region: Option<Region>,
    /// The type of its GPUs by RunPod's id, where it has a single one.
    #[serde(default)]
    pub gpu: Option<String>,
    /// The same for the ledger, in short; several types that it may get are one text.
    #[serde(default)]
    pub gpu_label: Option<String>,
    /// Pools of the same number come from one list of GPU types: they are filled in the order of the list,
    /// whatever they cost.
    #[serde(default)]
    pub list: u32,
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
    /// Watts that it takes while it runs jobs, for where nobody measures them.
    #[serde(default)]
    pub watts: Option<u32>,
    /// Its driver's lasting id, where it has one: indices move when another card falls off.
    #[serde(default)]
    pub uuid: Option<String>,
}

impl DeviceSpec {
    /// What a card is known by over restarts: its driver's id, else its index.
    #[must_use]
    pub fn key(&self) -> String {
        self.uuid.clone().unwrap_or_else(|| self.id.to_string())
    }
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
