//! The ledger: an append-only record of what was spent on what.

use serde::{Deserialize, Serialize};

use crate::id::{EndpointId, JobId, PoolId};
use crate::money::NanoUsd;
use crate::time::{DurationMs, Timestamp};

/// What a stretch of a worker's life was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A cloud worker started.
    ColdStart,
    /// It ran a job.
    Run,
    /// It waited.
    Idle,
    /// A local worker ran a job; the amount is what the cloud would have cost.
    Saved,
    /// What workers may have cost beyond the lines beside it while nobody could count them. Caps
    /// count it in full until RunPod's own records settle it.
    Unsettled,
    /// What of its pool's [`Run`](Self::Run) lines was one job's: not money of its own.
    Share,
    /// What RunPod's records say beyond, or short of, all other lines of an hour; with the cause.
    Drift(Cause),
}

/// Why RunPod's record of an hour differs from what was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Nothing that was seen explains it.
    Unexplained,
    /// Started seconds that count whole, and where between two counts a worker came or went.
    Rounding,
    /// What may have been while nobody could count, settled: it was less.
    UnsettledSettled,
    /// Container disks and fees, which no count of workers says.
    DisksAndFees,
    /// RunPod bills another price than the configured one.
    PriceDiffers,
    /// A worker was kept warm that nobody asked for.
    StandbyWorker,
    /// Workers ran for jobs that are not ours.
    ForeignWorkers,
    /// Workers were billed for longer than they were seen.
    HiddenIdle,
    /// The same time was billed more than once.
    BilledTwice,
    /// Less was billed than was counted.
    BilledLess,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Unexplained,
        Self::Rounding,
        Self::UnsettledSettled,
        Self::DisksAndFees,
        Self::PriceDiffers,
        Self::StandbyWorker,
        Self::ForeignWorkers,
        Self::HiddenIdle,
        Self::BilledTwice,
        Self::BilledLess,
    ];

    /// Its name, as in the serialised form.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unexplained => "unexplained",
            Self::Rounding => "rounding",
            Self::UnsettledSettled => "unsettled_settled",
            Self::DisksAndFees => "disks_and_fees",
            Self::PriceDiffers => "price_differs",
            Self::StandbyWorker => "standby_worker",
            Self::ForeignWorkers => "foreign_workers",
            Self::HiddenIdle => "hidden_idle",
            Self::BilledTwice => "billed_twice",
            Self::BilledLess => "billed_less",
        }
    }

    /// Whether it is a part of every bill, and no reason to look at anything.
    #[must_use]
    pub const fn is_ordinary(self) -> bool {
        matches!(
            self,
            Self::Rounding | Self::UnsettledSettled | Self::DisksAndFees
        )
    }
}

impl EntryKind {
    /// Whether it is money that the cloud costs.
    #[must_use]
    pub const fn is_spent(self) -> bool {
        matches!(
            self,
            Self::ColdStart | Self::Run | Self::Idle | Self::Unsettled | Self::Drift(_)
        )
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was booked.
    pub at: Timestamp,
    /// For which endpoint.
    pub endpoint: EndpointId,
    /// In which pool.
    pub pool: PoolId,
    /// For which job, where one caused it.
    pub job: Option<JobId>,
    /// For what.
    pub kind: EntryKind,
    /// How much of a worker's time.
    pub worker_time: DurationMs,
    /// How much money.
    pub amount: NanoUsd,
}
