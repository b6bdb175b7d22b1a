//! An endpoint's cloud workers one by one, as its scaler sees them.

use super::Cloud;
use crate::placement::projection::Waiting;
use crate::time::{DurationMs, Timestamp};

/// The cloud side of an endpoint at one moment, over all its cloud pools.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CloudPicture {
    /// In counts.
    pub counts: Cloud,
    /// Worker by worker, those that start included; those that hang are left out.
    pub workers: Vec<CloudWorker>,
    /// Starts that take so long that nobody reckons with them any more.
    pub stuck: u32,
    /// Jobs that RunPod has and has not begun, in order of submission.
    pub submitted: Vec<Waiting>,
    /// No idle worker is kept for longer than this.
    pub idle_max: DurationMs,
}

/// One cloud worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudWorker {
    /// How far it is.
    pub phase: Phase,
    /// When each of its busy slots is thought to be free, in no order; its other slots are free.
    pub busy: Vec<Timestamp>,
}

/// How far a cloud worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Ordered at this moment and not ready yet.
    Starting {
        /// When it was ordered.
        since: Timestamp,
    },
    /// Ready; idle since this moment where no slot is busy.
    Ready {
        /// When its last job ended, or when it got ready.
        since: Timestamp,
    },
}

impl CloudWorker {
    /// Whether it is on its way.
    #[must_use]
    pub const fn is_starting(&self) -> bool {
        matches!(self.phase, Phase::Starting { .. })
    }

    /// Whether it is ready and runs nothing.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Ready { .. }) && self.busy.is_empty()
    }
}
