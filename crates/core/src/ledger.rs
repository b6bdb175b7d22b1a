//! The ledger: an append-only record of what was spent on what.

use serde::{Deserialize, Serialize};

use crate::id::{EndpointId, JobId, KeyId, PoolId};
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
    /// What of its pool's [`Run`](Self::Run) lines was one job's: not money of its own. It is known
    /// from the job's execution time; the two below are, from the counts of workers.
    Share,
    /// What RunPod's records say beyond, or short of, all other lines of an hour; with the cause.
    Drift(Cause),
    /// What of its pool's [`ColdStart`](Self::ColdStart) lines was one job's: not money of its own.
    ColdShare,
    /// What of its pool's [`Idle`](Self::Idle) lines was one job's: not money of its own.
    IdleShare,
    /// What a card of ours took from the socket while it ran a job.
    Electricity,
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
    /// Its word; that of a drift says nothing of its [`Cause`].
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::ColdStart => "cold_start",
            Self::Run => "run",
            Self::Idle => "idle",
            Self::Saved => "saved",
            Self::Unsettled => "unsettled",
            Self::Share => "share",
            Self::Drift(_) => "drift",
            Self::ColdShare => "cold_share",
            Self::IdleShare => "idle_share",
            Self::Electricity => "electricity",
        }
    }

    /// Whether it says what of its pool's lines was one job's.
    #[must_use]
    pub const fn is_share(self) -> bool {
        matches!(self, Self::Share | Self::ColdShare | Self::IdleShare)
    }

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
    /// The type of GPU, where known: RunPod's name of it, or the card's own.
    #[serde(default)]
    pub gpu: Option<Box<str>>,
    /// The region of a cloud pool, where it has one.
    #[serde(default)]
    pub region: Option<Box<str>>,
    /// The API key whose jobs bear it; none for workers that no job caused.
    #[serde(default)]
    pub key: Option<KeyId>,
}
