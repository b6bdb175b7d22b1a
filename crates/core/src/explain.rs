//! Reasons as data: what was decided, with the numbers that decided it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::budget::CapHit;
use crate::event::CloudRefusal;
use crate::id::{DeviceId, JobId, PoolId};
use crate::ledger::Cause;
use crate::money::NanoUsd;
use crate::quarantine::CardFault;
use crate::scaler::slots::Why;
use crate::scaler::weighed::Priced;
use crate::time::{DurationMs, Timestamp};

/// Why something was, or was not, done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Reason {
    /// The cards of this host start every waiting job soon enough: nothing goes to the cloud.
    LocalSuffices {
        /// Jobs waiting.
        waiting: u32,
        /// The latest projected start, from submission.
        latest: DurationMs,
        /// The promise.
        max_wait: DurationMs,
    },
    /// More cloud workers are wanted.
    ScaledUp {
        /// Where.
        pool: PoolId,
        /// Wanted before.
        from: u32,
        /// Wanted now.
        to: u32,
        /// Jobs that the local cards would start too late.
        late: u32,
        /// What the policy weighed, where it weighs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        weighed: Option<Priced>,
    },
    /// Fewer cloud workers are wanted.
    ScaledDown {
        /// Where.
        pool: PoolId,
        /// Wanted before.
        from: u32,
        /// Wanted now.
        to: u32,
        /// What the policy weighed, where it weighs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        weighed: Option<Priced>,
    },
    /// A schedule keeps workers on, or has them ordered ahead.
    ScheduleHolds {
        /// How many.
        min: u32,
        /// When its window opens, or opened.
        opens: Timestamp,
        /// When it closes.
        closes: Timestamp,
    },
    /// No schedule keeps workers on any more.
    ScheduleOver {
        /// How many it kept.
        min: u32,
    },
    /// More would be wanted, but the limit is reached: jobs wait.
    MaxReached {
        /// The limit.
        max: u32,
        /// Wanted without it.
        wanted: u32,
    },
    /// `min` is held at 0: nobody could end workers that are kept on if every process of ours died.
    MinHeld {
        /// What is configured.
        min: u32,
    },
    /// A cap on spending leaves no money for more cloud workers: jobs wait for local cards.
    BudgetReached {
        /// Which cap, and what stands against it.
        hit: CapHit,
        /// Workers that would help; for a key's cap, jobs that wait for local cards because of it.
        wanted: u32,
        /// Workers that there is money for.
        granted: u32,
    },
    /// A cloud pool without a known price is not used.
    PriceUnknown {
        /// Which.
        pool: PoolId,
    },
    /// Money was set aside for cloud workers.
    Reserved {
        /// Where.
        pool: PoolId,
        /// For so many workers.
        workers: u32,
        /// For each.
        each: NanoUsd,
    },
    /// The input is larger than RunPod takes: the job stays local.
    InputTooLargeForCloud {
        /// Which job.
        job: JobId,
        /// Bytes of its input.
        bytes: u64,
    },
    /// A pool refused or failed; it is left alone for a while.
    CloudUnavailable {
        /// Which.
        pool: PoolId,
        /// Why.
        refusal: CloudRefusal,
        /// For so long.
        retry_in: DurationMs,
    },
    /// Jobs wait at a pool that gets no workers: they come back, and other pools go before it for a while.
    NoCapacity {
        /// Which pool.
        pool: PoolId,
        /// Jobs that come back.
        jobs: u32,
        /// No worker lived there for so long.
        starved: DurationMs,
        /// The others go first for so long.
        retry_in: DurationMs,
    },
    /// RunPod refused so many workers for the account's quota: fewer are asked for.
    QuotaLearned {
        /// Which pool.
        pool: PoolId,
        /// What was refused.
        refused: u32,
        /// What is asked for at most.
        max: u32,
        /// More is asked for again after so long.
        retry_in: DurationMs,
    },
    /// Cloud workers crash again and again: none is started for a while.
    CrashLoop {
        /// Which pool.
        pool: PoolId,
        /// Crashes with nothing at work in between.
        crashes: u32,
        /// The next start comes after so long, alone.
        retry_in: DurationMs,
    },
    /// RunPod changed a pool's limits by itself; they are set again.
    LimitsChanged {
        /// Which pool.
        pool: PoolId,
        /// The max that it had confirmed.
        asked: u32,
        /// The max that was found.
        seen: u32,
    },
    /// Workers are on at RunPod that nothing asks for.
    StandbySeen {
        /// In which pool.
        pool: PoolId,
        /// How many.
        workers: u32,
        /// What they cost a day.
        per_day: NanoUsd,
    },
    /// RunPod's record of an hour says something else than was counted; the difference is booked.
    BillDiffers {
        /// Which pool.
        pool: PoolId,
        /// When the hour began.
        hour: Timestamp,
        /// What was counted.
        counted: NanoUsd,
        /// What RunPod bills.
        billed: NanoUsd,
        /// Why, as far as is known.
        cause: Cause,
        /// How much of the difference that is.
        amount: NanoUsd,
    },
    /// A pool's workers get more or fewer jobs at once: what was measured says so.
    SlotsLearned {
        /// Which pool.
        pool: PoolId,
        /// Slots before.
        from: u32,
        /// Slots from now on.
        to: u32,
        /// Why.
        why: Why,
    },
    /// A job that still waits at RunPod is taken back: a local card is free first.
    TakenBack {
        /// Which.
        job: JobId,
    },
    /// A card must not be used: its workers are ended, and their jobs go elsewhere.
    CardQuarantined {
        /// Which.
        device: DeviceId,
        /// Why.
        fault: CardFault,
        /// Jobs that ran on it.
        jobs: u32,
    },
    /// A card may be used again.
    CardReturned {
        /// Which.
        device: DeviceId,
        /// How long it was quarantined.
        after: DurationMs,
    },
    /// A worker of ours ended again and again; the next start waits.
    WorkerBackOff {
        /// Which pool.
        pool: PoolId,
        /// Ends in a row.
        failures: u32,
        /// The wait.
        retry_in: DurationMs,
    },
}

impl Reason {
    /// The reason's code, as in the serialised form.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::LocalSuffices { .. } => "local_suffices",
            Self::ScaledUp { .. } => "scaled_up",
            Self::ScaledDown { .. } => "scaled_down",
            Self::ScheduleHolds { .. } => "schedule_holds",
            Self::ScheduleOver { .. } => "schedule_over",
            Self::MaxReached { .. } => "max_reached",
            Self::MinHeld { .. } => "min_held",
            Self::BudgetReached { .. } => "budget_reached",
            Self::PriceUnknown { .. } => "price_unknown",
            Self::Reserved { .. } => "reserved",
            Self::InputTooLargeForCloud { .. } => "input_too_large_for_cloud",
            Self::CloudUnavailable { .. } => "cloud_unavailable",
            Self::NoCapacity { .. } => "no_capacity",
            Self::QuotaLearned { .. } => "quota_learned",
            Self::CrashLoop { .. } => "crash_loop",
            Self::LimitsChanged { .. } => "limits_changed",
            Self::StandbySeen { .. } => "standby_seen",
            Self::BillDiffers { .. } => "bill_differs",
            Self::SlotsLearned { .. } => "slots_learned",
            Self::TakenBack { .. } => "taken_back",
            Self::CardQuarantined { .. } => "card_quarantined",
            Self::CardReturned { .. } => "card_returned",
            Self::WorkerBackOff { .. } => "worker_back_off",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LocalSuffices {
                waiting,
                latest,
                max_wait,
            } => write!(
                f,
                "local cards start all {waiting} waiting jobs within {latest} (promise {max_wait})"
            ),
            Self::ScaledUp {
                from,
                to,
                late,
                weighed,
                ..
            } => {
                write!(
                    f,
                    "cloud workers {from} → {to}: {late} jobs would start too late locally"
                )?;
                weighed.as_ref().map_or(Ok(()), |w| write!(f, "; {w}"))
            }
            Self::ScaledDown {
                from, to, weighed, ..
            } => {
                write!(f, "cloud workers {from} → {to}: fewer are needed")?;
                weighed.as_ref().map_or(Ok(()), |w| write!(f, "; {w}"))
            }
            Self::ScheduleHolds { min, opens, closes } => write!(
                f,
                "a schedule keeps {min} cloud workers on for {}",
                closes.since(*opens)
            ),
            Self::ScheduleOver { min } => {
                write!(f, "no schedule keeps workers on any more: there were {min}")
            }
            Self::MaxReached { max, wanted } => {
                write!(
                    f,
                    "{wanted} cloud workers would help, max is {max}: jobs wait"
                )
            }
            Self::MinHeld { min } => write!(
                f,
                "min = {min} is held at 0: without a guard nobody would end these workers if Overspill \
                 died; run `overspill guard`, or set `unguarded_min = true` under [runpod]"
            ),
            Self::BudgetReached {
                hit,
                wanted,
                granted,
            } => {
                let state = &hit.state;
                if let Some(key) = state.key {
                    return write!(
                        f,
                        "{wanted} jobs wait for local cards: the {} cap of {} of key {key} leaves no \
                         money for another: {} spent and {} reserved, each job needs {}; the {} ends \
                         at {}",
                        state.period,
                        state.cap,
                        state.spent,
                        state.reserved,
                        hit.each,
                        state.period,
                        state.frees_at
                    );
                }
                let whose = if state.endpoint.is_some() {
                    "the endpoint's"
                } else {
                    "the whole"
                };
                write!(
                    f,
                    "{wanted} cloud workers would help, {whose} {} cap of {} leaves money for \
                     {granted}: {} spent and {} reserved, each worker needs {}; the {} ends at {}",
                    state.period,
                    state.cap,
                    state.spent,
                    state.reserved,
                    hit.each,
                    state.period,
                    state.frees_at
                )
            }
            Self::PriceUnknown { .. } => {
                f.write_str("the pool's price is unknown, so it is not used: set `price`")
            }
            Self::Reserved { workers, each, .. } => {
                write!(f, "{each} reserved for each of {workers} cloud workers")
            }
            Self::InputTooLargeForCloud { job, bytes } => {
                write!(
                    f,
                    "{job} stays local: its input of {bytes} bytes is over RunPod's 10 MB"
                )
            }
            Self::NoCapacity {
                jobs,
                starved,
                retry_in,
                ..
            } => write!(
                f,
                "the pool has had no worker for {starved}: {jobs} jobs come back from there, and \
                 other pools go before it for {retry_in}"
            ),
            Self::QuotaLearned {
                refused,
                max,
                retry_in,
                ..
            } => write!(
                f,
                "RunPod's quota refuses {refused} workers: at most {max} are asked for, and more \
                 again in {retry_in}"
            ),
            Self::CloudUnavailable {
                refusal, retry_in, ..
            } => {
                write!(f, "the cloud pool is left alone for {retry_in}: {refusal}")
            }
            Self::CrashLoop {
                crashes, retry_in, ..
            } => write!(
                f,
                "cloud workers crashed {crashes} times with none at work in between: no start for \
                 {retry_in}, and then one alone"
            ),
            Self::LimitsChanged { asked, seen, .. } => {
                write!(
                    f,
                    "RunPod changed max from {asked} to {seen} by itself: it is set again"
                )
            }
            Self::StandbySeen {
                workers, per_day, ..
            } => write!(
                f,
                "{workers} cloud workers are on that nothing asks for ({per_day} a day)"
            ),
            Self::BillDiffers {
                hour,
                counted,
                billed,
                cause,
                amount,
                ..
            } => write!(
                f,
                "RunPod bills {billed} for the hour from {hour}, {counted} were counted: {amount} for {}",
                cause.code()
            ),
            Self::SlotsLearned { from, to, why, .. } => {
                write!(f, "jobs at once on a worker {from} → {to}: {why}")
            }
            Self::TakenBack { job } => write!(f, "{job} is taken back: a local card is free first"),
            Self::CardQuarantined {
                device,
                fault,
                jobs,
            } => write!(
                f,
                "card {device} is quarantined: {fault}; {jobs} jobs that ran there go elsewhere"
            ),
            Self::CardReturned { device, after } => {
                write!(f, "card {device} takes jobs again after {after}")
            }
            Self::WorkerBackOff {
                failures, retry_in, ..
            } => {
                write!(
                    f,
                    "worker ended {failures} times in a row: next start in {retry_in}"
                )
            }
        }
    }
}
