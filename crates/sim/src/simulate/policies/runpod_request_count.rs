//! RunPod's other rule as the vendor runs it: workers = (waiting + running jobs) over a count.
//!
//! The count is the slots of a worker, so that each job has one. Nothing is taken away but by the
//! idle time-out of 5 s.
//!
//! Source: RunPod's documentation of `scalerType` `REQUEST_COUNT`
//! (<https://docs.runpod.io/serverless/endpoints/endpoint-configurations>). The core's
//! `request_count` counts only jobs that the own cards would start too late, and follows the count
//! down.

use overspill_core::scaler::{View, Wish};
use overspill_core::time::DurationMs;

use super::super::value::{self, ValueError};
use super::{Counts, Policy, all};

/// The rule.
#[derive(Debug, Clone)]
pub struct RunpodRequestCount {
    /// Jobs for each worker.
    pub per_worker: u32,
    /// A worker is stopped after it was idle for this long.
    pub idle_timeout: DurationMs,
}

impl RunpodRequestCount {
    /// One worker for each `per_worker` jobs.
    #[must_use]
    pub const fn new(per_worker: u32) -> Self {
        Self {
            per_worker,
            idle_timeout: DurationMs::from_secs(5),
        }
    }
}

impl Policy for RunpodRequestCount {
    fn name(&self) -> &'static str {
        "runpod_request_count"
    }

    fn period(&self) -> DurationMs {
        DurationMs::from_secs(1)
    }

    fn decide(&mut self, view: &View<'_>) -> Wish {
        let counts = Counts::of(view);
        let needed = counts.ongoing().div_ceil(self.per_worker.max(1));
        all(counts.alive.max(needed))
    }

    fn idle_timeout(&self) -> Option<DurationMs> {
        Some(self.idle_timeout)
    }

    fn takes_starts_back(&self) -> bool {
        false
    }

    fn keys(&self) -> &'static [&'static str] {
        &["per_worker", "idle_timeout"]
    }

    fn set(&mut self, key: &str, text: &str) -> Result<bool, ValueError> {
        match key {
            "per_worker" => self.per_worker = value::positive(text)?,
            "idle_timeout" => self.idle_timeout = value::duration(text)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}
