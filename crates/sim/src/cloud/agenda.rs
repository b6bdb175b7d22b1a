//! What will happen without being asked: one table of timers, ordered by time and then by when they were set.

use std::collections::BTreeMap;

use super::id::{EndpointId, JobId, WorkerId};

/// A thing that will happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Timer {
    /// Look whether the endpoint needs more or fewer workers.
    Scale(EndpointId),
    /// The worker's start-up ends, or its container starts where a real process does the rest.
    Started(EndpointId, WorkerId),
    /// A real worker had its time to ask for its first job.
    InitTimeout(EndpointId, WorkerId),
    /// The worker's idle time is over, unless it worked since (`epoch`).
    Idle(EndpointId, WorkerId, u64),
    /// A crashed worker is tried again.
    Recover(EndpointId, WorkerId),
    /// A throttled worker looks for room again.
    Place(EndpointId, WorkerId),
    /// The next step of a modelled run.
    Step(EndpointId, WorkerId, JobId, u32, usize),
    /// The job ran for too long.
    ExecutionTimeout(EndpointId, JobId, u32),
    /// Nobody has heard of the attempt for too long.
    Lease(EndpointId, JobId, u32),
    /// The job's time to live is over.
    Expire(EndpointId, JobId),
    /// The result is no longer kept.
    Forget(EndpointId, JobId),
    /// The platform looks whether the endpoint was used in the last days.
    Unused(EndpointId),
    /// A webhook is due.
    Webhook(u64),
}

/// Names a set timer, so that it can be taken back.
pub(crate) type TimerKey = (i64, u64);

/// The table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Agenda {
    timers: BTreeMap<TimerKey, Timer>,
    set: u64,
}

impl Agenda {
    pub(crate) fn set(&mut self, at_ms: i64, timer: Timer) -> TimerKey {
        self.set += 1;
        let key = (at_ms, self.set);
        self.timers.insert(key, timer);
        key
    }

    pub(crate) fn cancel(&mut self, key: Option<TimerKey>) {
        if let Some(key) = key {
            self.timers.remove(&key);
        }
    }

    pub(crate) fn next_at(&self) -> Option<i64> {
        self.timers.keys().next().map(|(at_ms, _)| *at_ms)
    }

    /// The earliest timer that is due at `now_ms`, with its time.
    pub(crate) fn pop_due(&mut self, now_ms: i64) -> Option<(i64, Timer)> {
        let key = *self
            .timers
            .keys()
            .next()
            .filter(|(at_ms, _)| *at_ms <= now_ms)?;
        let timer = self.timers.remove(&key)?;
        Some((key.0, timer))
    }
}
