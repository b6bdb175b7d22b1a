//! RunPod's default rule as the vendor runs it: jobs that wait longer than the delay add workers.
//!
//! Workers wanted = those that are ready, and the jobs over the delay by slots; those that start
//! are counted. Nothing is taken away but by the idle time-out. Delay 4 s, idle time-out 5 s: the
//! defaults of a serverless endpoint.
//!
//! Source: RunPod's documentation of `scalerType` `QUEUE_DELAY` and `idleTimeout`
//! (<https://docs.runpod.io/serverless/endpoints/endpoint-configurations>). The core's `queue_delay`
//! counts only jobs that the own cards would start too late.

use overspill_core::scaler::{View, Wish};
use overspill_core::time::DurationMs;

use super::super::value::{self, ValueError};
use super::{Counts, Policy, all, small};

/// The rule.
#[derive(Debug, Clone)]
pub struct RunpodQueueDelay {
    /// A job that waits for this long adds a worker.
    pub delay: DurationMs,
    /// A worker is stopped after it was idle for this long.
    pub idle_timeout: DurationMs,
}

impl Default for RunpodQueueDelay {
    fn default() -> Self {
        Self {
            delay: DurationMs::from_secs(4),
            idle_timeout: DurationMs::from_secs(5),
        }
    }
}

impl Policy for RunpodQueueDelay {
    fn name(&self) -> &'static str {
        "runpod_queue_delay"
    }

    fn period(&self) -> DurationMs {
        DurationMs::from_secs(1)
    }

    fn decide(&mut self, view: &View<'_>) -> Wish {
        let counts = Counts::of(view);
        let now = view.picture.now;
        let waiting = view.picture.waiting.iter();
        let over = waiting.filter(|job| now.since(job.submitted_at) >= self.delay);
        let needed = small(over.count()).div_ceil(view.cloud.slots.max(1));
        all(counts.alive.max(counts.ready() + needed))
    }

    fn idle_timeout(&self) -> Option<DurationMs> {
        Some(self.idle_timeout)
    }

    fn takes_starts_back(&self) -> bool {
        false
    }

    fn keys(&self) -> &'static [&'static str] {
        &["delay", "idle_timeout"]
    }

    fn set(&mut self, key: &str, text: &str) -> Result<bool, ValueError> {
        match key {
            "delay" => self.delay = value::duration(text)?,
            "idle_timeout" => self.idle_timeout = value::duration(text)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}
