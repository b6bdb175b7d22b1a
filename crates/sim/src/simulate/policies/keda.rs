//! KEDA with Kubernetes' horizontal pod autoscaler (HPA), scaling on the length of the queue.
//!
//! Every 15 s: workers = jobs that wait or run in the cloud, over the target of one worker (its
//! slots), rounded up; a ratio within 10 % of the present changes nothing. Up: at most 4 more or
//! twice as many, whichever is larger, each 15 s. Down: never under the largest reading of the last
//! 300 s. The last worker goes 300 s after the last job; the first one starts at once.
//!
//! Source: <https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/> (sync period
//! 15 s, tolerance 0.1, default `behavior` with `stabilizationWindowSeconds: 300` and scale-up by 4
//! pods or 100 %) and <https://keda.sh/docs/latest/reference/scaledobject-spec/> (`cooldownPeriod`
//! 300 s; its `pollingInterval` of 30 s is rounded down to the period here).

use overspill_core::scaler::{View, Wish};
use overspill_core::time::{DurationMs, Timestamp};

use super::super::value::{self, ValueError};
use super::{Counts, Policy, Window, all, ceil};

/// The rule, and what it has seen.
#[derive(Debug, Clone)]
pub struct Keda {
    /// Jobs for each worker.
    pub per_worker: u32,
    /// A ratio this close to 1 changes nothing.
    pub tolerance: f64,
    /// Workers are not fewer than was ever asked for within this time.
    pub stabilization: DurationMs,
    /// The last worker goes this long after the last job.
    pub cooldown: DurationMs,
    asked: Window,
    active_at: Timestamp,
}

impl Keda {
    /// One worker for each `per_worker` jobs.
    #[must_use]
    pub fn new(per_worker: u32) -> Self {
        Self {
            per_worker,
            tolerance: 0.1,
            stabilization: DurationMs::from_secs(300),
            cooldown: DurationMs::from_secs(300),
            asked: Window::default(),
            active_at: Timestamp::ZERO,
        }
    }
}

impl Policy for Keda {
    fn name(&self) -> &'static str {
        "keda"
    }

    fn period(&self) -> DurationMs {
        DurationMs::from_secs(15)
    }

    fn decide(&mut self, view: &View<'_>) -> Wish {
        let now = view.picture.now;
        let counts = Counts::of(view);
        let jobs = counts.ongoing();
        if jobs > 0 {
            self.active_at = now;
        }
        let is_cooling = now.since(self.active_at) < self.cooldown;
        let least = u32::from(jobs > 0 || (counts.alive > 0 && is_cooling));
        let needed = f64::from(jobs) / f64::from(self.per_worker.max(1));
        let present = f64::from(counts.alive);
        let is_close = counts.alive > 0 && (needed / present - 1.0).abs() <= self.tolerance;
        let asked = if is_close { counts.alive } else { ceil(needed) };
        self.asked.put(now, self.stabilization, f64::from(asked));
        let most = counts.alive.saturating_add(4.max(counts.alive));
        let workers = if asked >= counts.alive {
            asked.min(most)
        } else {
            ceil(self.asked.max()).min(counts.alive)
        };
        all(workers.max(least))
    }

    fn keys(&self) -> &'static [&'static str] {
        &["per_worker", "tolerance", "stabilization", "cooldown"]
    }

    fn set(&mut self, key: &str, text: &str) -> Result<bool, ValueError> {
        match key {
            "per_worker" => self.per_worker = value::positive(text)?,
            "tolerance" => self.tolerance = value::number(text)?,
            "stabilization" => self.stabilization = value::duration(text)?,
            "cooldown" => self.cooldown = value::duration(text)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}
