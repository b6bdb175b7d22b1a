//! The causes, as data: each has a code, its numbers, and a sentence.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::budget::CapHit;
use crate::event::CloudRefusal;
use crate::placement::pool_order::Because;
use crate::region::Region;
use crate::scaler::weighed::Priced;
use crate::time::DurationMs;
use crate::topology::Tuning;

/// One link of the chain. Durations are in milliseconds, `*_in` counts from now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the sentences below say what each number is")]
pub enum Cause {
    /// The job waits in its endpoint's queue; `ahead` jobs are before it.
    Queued {
        ahead: u32,
        waited: DurationMs,
        max_wait: DurationMs,
    },
    /// The endpoint's queue as a whole.
    Demand {
        waiting: u32,
        oldest: DurationMs,
        max_wait: DurationMs,
    },
    /// Nothing waits.
    NothingWaits,
    /// RunPod has the job and no worker there has begun it.
    WaitsAtCloud { pool: String, since: DurationMs },
    /// The job runs.
    Running {
        pool: String,
        worker: Option<String>,
        since: DurationMs,
    },
    /// Attempts vanished with their workers.
    AttemptsLost { lost: u32, most: u32 },
    /// The server ends and hands out nothing more.
    Draining,
    /// The server has just started and does not know yet who lives.
    StartingUp,
    /// The endpoint has no workers of its own.
    LocalNone,
    /// Every slot of the local workers is taken.
    LocalBusy { slots: u32, free_in: DurationMs },
    /// Local workers start.
    LocalStarting { workers: u32 },
    /// A local worker ends again and again; its next start waits.
    LocalCrashing {
        pool: String,
        failures: u32,
        next_start_in: DurationMs,
    },
    /// A local worker is there and does not ask for jobs.
    LocalSilent { pool: String, silent: DurationMs },
    /// A worker of another endpoint has the card.
    CardTaken { device: u32 },
    /// The card must not be used: the fault by its code, and in words.
    CardQuarantined {
        device: u32,
        fault: String,
        detail: String,
        since: DurationMs,
        returns_in: Option<DurationMs>,
    },
    /// The card takes no work for the moment.
    CardHeld { device: u32, since: DurationMs },
    /// A worker that was rid of this job is not given it again so soon.
    SameWorkerPause { over_in: DurationMs },
    /// A worker ended under this job, so that it runs alone from then on.
    RunsAlone,
    /// A local slot is free: the job goes there as soon as its worker asks.
    LocalFree { slots: u32 },
    /// The endpoint has no cloud pool.
    CloudNone,
    /// Jobs of low priority cause no cloud worker.
    LowPriority,
    /// The job's input is larger than RunPod takes, or RunPod called it bad.
    LocalOnly { bytes: u64 },
    /// The local workers start every waiting job within the promise.
    LocalSuffices {
        latest: DurationMs,
        max_wait: DurationMs,
    },
    /// The policy wants this many cloud workers.
    RuleWants {
        policy: String,
        workers: u32,
        late: u32,
    },
    /// What the policy weighs now, in workers and money, and the user's constants that it does so with.
    Weighed { priced: Priced, tuning: Tuning },
    /// The endpoint may have no cloud worker: max is 0.
    MaxZero { wanted: u32 },
    /// The endpoint's limit is reached.
    MaxReached { max: u32, wanted: u32 },
    /// The account's workers are spoken for by other endpoints.
    AccountLimit { account: u32, others: u32 },
    /// A cap on spending leaves no money for more cloud workers.
    BudgetReached { hit: CapHit, frees_in: DurationMs },
    /// A pool's own ceiling is reached.
    PoolMaxReached { pool: String, max: u32 },
    /// A pool without a price is not used.
    PriceUnknown { pool: String },
    /// A pool is left alone after a refusal.
    CloudRefuses {
        pool: String,
        refusal: Option<CloudRefusal>,
        failures: u32,
        retry_in: DurationMs,
    },
    /// The job must not leave its caller's region.
    Resident { region: Region, pools: Vec<String> },
    /// Why the job's cloud pool was chosen.
    PoolChosen {
        because: Because,
        region: Option<Region>,
    },
    /// A pool got no workers while jobs waited there: other pools go before it.
    NoCapacity { pool: String, retry_in: DurationMs },
    /// RunPod's quota refused more workers.
    QuotaLearned {
        pool: String,
        max: u32,
        refused: u32,
        retry_in: DurationMs,
    },
    /// Cloud workers were ordered and RunPod shows none.
    CloudAbsent { pool: String, wanted: u32 },
    /// Cloud workers start.
    CloudStarting {
        pool: String,
        workers: u32,
        mean: DurationMs,
    },
    /// RunPod has no room for workers.
    CloudThrottled { pool: String, workers: u32 },
    /// Cloud workers crash.
    CloudUnhealthy { pool: String, workers: u32 },
    /// Every slot of the cloud workers is taken.
    CloudBusy {
        pool: String,
        workers: u32,
        slots: u32,
    },
    /// The minimum keeps workers on.
    MinHolds { min: u32 },
    /// A schedule keeps workers on, or has them ordered for a window that opens in `opens_in`.
    ScheduleHolds {
        min: u32,
        opens_in: DurationMs,
        closes_in: DurationMs,
    },
    /// How many jobs at once a pool's workers carry, as far as it is learned.
    SlotsLearned {
        pool: String,
        slots: u32,
        /// The most that was worth it.
        knee: u32,
        /// The most that memory allows, where that was met.
        ceiling: Option<u32>,
    },
    /// The minimum is held at 0, for there is no guard.
    MinHeld { min: u32 },
    /// What the endpoint has in the end.
    Wanted { workers: u32, alive: u32 },
}

impl Cause {
    /// The cause's code, as in the serialised form.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Queued { .. } => "queued",
            Self::Demand { .. } => "demand",
            Self::NothingWaits => "nothing_waits",
            Self::WaitsAtCloud { .. } => "waits_at_cloud",
            Self::Running { .. } => "running",
            Self::AttemptsLost { .. } => "attempts_lost",
            Self::Draining => "draining",
            Self::StartingUp => "starting_up",
            Self::LocalNone => "local_none",
            Self::LocalBusy { .. } => "local_busy",
            Self::LocalStarting { .. } => "local_starting",
            Self::LocalCrashing { .. } => "local_crashing",
            Self::LocalSilent { .. } => "local_silent",
            Self::CardTaken { .. } => "card_taken",
            Self::CardQuarantined { .. } => "card_quarantined",
            Self::CardHeld { .. } => "card_held",
            Self::SameWorkerPause { .. } => "same_worker_pause",
            Self::RunsAlone => "runs_alone",
            Self::LocalFree { .. } => "local_free",
            Self::CloudNone => "cloud_none",
            Self::LowPriority => "low_priority",
            Self::LocalOnly { .. } => "local_only",
            Self::LocalSuffices { .. } => "local_suffices",
            Self::RuleWants { .. } => "rule_wants",
            Self::Weighed { .. } => "weighed",
            Self::MaxZero { .. } => "max_zero",
            Self::MaxReached { .. } => "max_reached",
            Self::AccountLimit { .. } => "account_limit",
            Self::BudgetReached { .. } => "budget_reached",
            Self::PoolMaxReached { .. } => "pool_max_reached",
            Self::PriceUnknown { .. } => "price_unknown",
            Self::CloudRefuses { .. } => "cloud_refuses",
            Self::Resident { .. } => "resident",
            Self::PoolChosen { .. } => "pool_chosen",
            Self::NoCapacity { .. } => "no_capacity",
            Self::QuotaLearned { .. } => "quota_learned",
            Self::CloudAbsent { .. } => "cloud_absent",
            Self::CloudStarting { .. } => "cloud_starting",
            Self::CloudThrottled { .. } => "cloud_throttled",
            Self::CloudUnhealthy { .. } => "cloud_unhealthy",
            Self::CloudBusy { .. } => "cloud_busy",
            Self::MinHolds { .. } => "min_holds",
            Self::ScheduleHolds { .. } => "schedule_holds",
            Self::SlotsLearned { .. } => "slots_learned",
            Self::MinHeld { .. } => "min_held",
            Self::Wanted { .. } => "wanted",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queued {
                ahead,
                waited,
                max_wait,
            } => write!(
                f,
                "it has waited {waited} behind {ahead} others (promise {max_wait})"
            ),
            Self::Demand {
                waiting,
                oldest,
                max_wait,
            } => write!(
                f,
                "{waiting} jobs wait, the oldest for {oldest} (promise {max_wait})"
            ),
            Self::NothingWaits => f.write_str("no job waits"),
            Self::WaitsAtCloud { pool, since } => write!(
                f,
                "RunPod has it ({pool}) since {since} ago and no worker there has begun it"
            ),
            Self::Running {
                pool,
                worker,
                since,
            } => {
                write!(f, "it runs since {since} ago on {pool}")?;
                worker.as_ref().map_or(Ok(()), |id| write!(f, ", {id}"))
            }
            Self::AttemptsLost { lost, most } => write!(
                f,
                "{lost} of at most {most} attempts vanished with their workers"
            ),
            Self::Draining => f.write_str("the server is ending and hands out nothing more"),
            Self::StartingUp => {
                f.write_str("the server has just started and does not know yet which workers live")
            }
            Self::LocalNone => f.write_str("no workers of its own: the endpoint is cloud only"),
            Self::LocalBusy { slots, free_in } => {
                write!(
                    f,
                    "all {slots} local slots are taken, the first is free in about {free_in}"
                )
            }
            Self::LocalStarting { workers } => write!(f, "{workers} local workers are starting"),
            Self::LocalCrashing {
                pool,
                failures,
                next_start_in,
            } => write!(
                f,
                "a worker of {pool} ended {failures} times in a row, its next start is in \
                 {next_start_in}"
            ),
            Self::LocalSilent { pool, silent } => write!(
                f,
                "a worker of {pool} is there and has not asked for a job for {silent}"
            ),
            Self::CardTaken { device } => {
                write!(f, "another endpoint's worker has card {device}")
            }
            Self::CardQuarantined {
                device,
                detail,
                since,
                returns_in,
                ..
            } => {
                write!(
                    f,
                    "card {device} has been quarantined for {since}: {detail}"
                )?;
                returns_in.map_or(Ok(()), |length| {
                    write!(f, "; it looks well and returns in {length}")
                })
            }
            Self::CardHeld { device, since } => write!(
                f,
                "nothing has started on card {device} for {since}: the memory of its last worker is \
                 not free yet, or its driver says that something is wrong"
            ),
            Self::SameWorkerPause { over_in } => write!(
                f,
                "the worker that was rid of it is not given it again for {over_in}"
            ),
            Self::RunsAlone => f.write_str(
                "a worker ended under it, so it waits for a worker that runs nothing else",
            ),
            Self::LocalFree { slots } => {
                write!(
                    f,
                    "{slots} local slots are free: it goes there when their worker asks"
                )
            }
            Self::CloudNone => f.write_str("the endpoint has no cloud pool"),
            Self::LowPriority => f.write_str("jobs of low priority cause no cloud worker"),
            Self::LocalOnly { bytes } => write!(
                f,
                "its input of {bytes} bytes is not taken by RunPod: it stays local"
            ),
            Self::LocalSuffices { latest, max_wait } => write!(
                f,
                "local workers start every waiting job within {latest} (promise {max_wait}): no \
                 cloud worker is needed"
            ),
            Self::RuleWants {
                policy,
                workers,
                late,
            } => write!(
                f,
                "the policy {policy} wants {workers} cloud workers: {late} jobs would start too \
                 late locally"
            ),
            Self::Weighed { priced, tuning } => write!(
                f,
                "weighed: {priced}; {tuning}; an idle worker is kept {}",
                priced.weighed.keep
            ),
            Self::MaxZero { wanted } => write!(
                f,
                "max is 0, so no cloud worker may start ({wanted} wanted)"
            ),
            Self::MaxReached { max, wanted } => {
                write!(f, "max is {max}, {wanted} cloud workers would help")
            }
            Self::AccountLimit { account, others } => write!(
                f,
                "the account may have {account} workers, other endpoints want {others} of them"
            ),
            Self::BudgetReached { hit, frees_in } => {
                let state = &hit.state;
                let whose = match (state.key, state.endpoint) {
                    (Some(key), _) => format!("the cap of key {key}"),
                    (None, Some(_)) => "the endpoint's cap".to_owned(),
                    (None, None) => "the cap on everything".to_owned(),
                };
                write!(
                    f,
                    "{whose} of {} per {} leaves no money for another {}, which needs {}: {} \
                     spent, {} reserved; the {} ends in {frees_in}",
                    state.cap,
                    state.period,
                    if state.key.is_some() {
                        "job in the cloud"
                    } else {
                        "cloud worker"
                    },
                    hit.each,
                    state.spent,
                    state.reserved,
                    state.period
                )
            }
            Self::PoolMaxReached { pool, max } => {
                write!(f, "the pool {pool} may have {max} workers of its own")
            }
            Self::PriceUnknown { pool } => {
                write!(f, "the price of {pool} is unknown, so it is not used")
            }
            Self::CloudRefuses {
                pool,
                refusal,
                failures,
                retry_in,
            } => {
                let what = refusal.map_or("it failed", CloudRefusal::words);
                write!(
                    f,
                    "{pool} is left alone for {retry_in}: {what} ({failures} times in a row)"
                )
            }
            Self::Resident { region, pools } if pools.is_empty() => write!(
                f,
                "its caller is in {region} and its jobs must not leave: no cloud pool is there, so it \
                 waits for a card of ours"
            ),
            Self::Resident { region, pools } => write!(
                f,
                "its caller is in {region} and its jobs must not leave: only {} may have it",
                pools.join(", ")
            ),
            Self::PoolChosen { because, region } => {
                write!(f, "that pool because {}", because.words())?;
                region.map_or(Ok(()), |region| write!(f, " (the caller is in {region})"))
            }
            Self::NoCapacity { pool, retry_in } => write!(
                f,
                "{pool} got no workers while jobs waited there: other pools go before it for {retry_in}"
            ),
            Self::QuotaLearned {
                pool,
                max,
                refused,
                retry_in,
            } => write!(
                f,
                "RunPod's quota refused {refused} workers for {pool}: at most {max} are asked for, \
                 more in {retry_in}"
            ),
            Self::CloudAbsent { pool, wanted } => write!(
                f,
                "{wanted} workers are ordered for {pool} and RunPod shows none of them"
            ),
            Self::CloudStarting {
                pool,
                workers,
                mean,
            } => write!(
                f,
                "{workers} workers of {pool} are starting, which takes about {mean}"
            ),
            Self::CloudThrottled { pool, workers } => write!(
                f,
                "{workers} workers of {pool} are throttled: their hosts have no free GPU"
            ),
            Self::CloudUnhealthy { pool, workers } => {
                write!(f, "{workers} workers of {pool} have crashed")
            }
            Self::CloudBusy {
                pool,
                workers,
                slots,
            } => write!(
                f,
                "all {slots} slots of the {workers} workers of {pool} are taken"
            ),
            Self::ScheduleHolds {
                min,
                opens_in: DurationMs::ZERO,
                closes_in,
            } => write!(
                f,
                "a schedule keeps {min} workers on for another {closes_in}"
            ),
            Self::ScheduleHolds { min, opens_in, .. } => write!(
                f,
                "a schedule wants {min} workers ready in {opens_in}: they are ordered ahead"
            ),
            Self::MinHolds { min } => {
                write!(f, "min keeps {min} workers on whether there is work or not")
            }
            Self::SlotsLearned {
                pool,
                slots,
                knee,
                ceiling,
            } => {
                write!(
                    f,
                    "workers of {pool} get {slots} jobs at once: {knee} were found worth it"
                )?;
                ceiling.map_or(Ok(()), |most| write!(f, ", and memory allows {most}"))
            }
            Self::MinHeld { min } => write!(
                f,
                "min = {min} is held at 0: no guard would end these workers if Overspill died"
            ),
            Self::Wanted { workers, alive } => {
                write!(
                    f,
                    "{workers} cloud workers are asked for, {alive} are there"
                )
            }
        }
    }
}

impl CloudRefusal {
    /// What RunPod meant.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Paused => "RunPod has the endpoint paused (its max workers is 0)",
            Self::RateLimited => "RunPod limits the rate of calls",
            Self::Unauthorized => "RunPod refuses the API key",
            Self::EndpointGone => "RunPod has no such endpoint",
            Self::NoBalance => "the RunPod account has no balance left",
            Self::Quota => "the RunPod account may have no more workers",
            Self::BadJob => "RunPod called the job bad",
            Self::Unreachable => "RunPod cannot be reached",
        }
    }
}
