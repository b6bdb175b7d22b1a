//! Knative's pod autoscaler (KPA): as many workers as keep the mean concurrency at a target.
//!
//! Every 2 s: concurrency (jobs that wait or run in the cloud) averaged over a stable window of 60 s
//! and a panic window of 6 s; workers = mean / (0.7 × slots), rounded up. Where the panic window
//! asks for at least 200 % of the ready workers it panics: the larger of both windows counts, and
//! nothing shrinks until 60 s after the last such reading. It at most halves the workers at once;
//! the last one goes after a whole stable window without a job.
//!
//! Source: <https://knative.dev/docs/serving/autoscaling/kpa-specific>, defaults of
//! `config-autoscaler`: `stable-window` 60 s, `panic-window-percentage` 10,
//! `panic-threshold-percentage` 200, `container-concurrency-target-percentage` 70,
//! `max-scale-up-rate` 1000 (no limit here), `max-scale-down-rate` 2, tick 2 s. The
//! `scale-to-zero-grace-period` (30 s at most, to move the network path) is left out: it only adds cost.

use overspill_core::scaler::{View, Wish};
use overspill_core::time::{DurationMs, Timestamp};

use super::super::value::{self, ValueError};
use super::{Counts, Policy, Window, all, ceil};

/// The rule, and what it has seen.
#[derive(Debug, Clone)]
pub struct Knative {
    /// The share of a worker's slots that is to be used.
    pub target: f64,
    /// Over so long concurrency is averaged.
    pub stable_window: DurationMs,
    /// The same in a panic.
    pub panic_window: DurationMs,
    /// It panics where this many times the ready workers are asked for.
    pub panic_threshold: f64,
    /// Workers are at most divided by this at once.
    pub scale_down_rate: f64,
    seen: Window,
    panics_until: Option<Timestamp>,
    panic_workers: u32,
}

impl Default for Knative {
    fn default() -> Self {
        Self {
            target: 0.7,
            stable_window: DurationMs::from_secs(60),
            panic_window: DurationMs::from_secs(6),
            panic_threshold: 2.0,
            scale_down_rate: 2.0,
            seen: Window::default(),
            panics_until: None,
            panic_workers: 0,
        }
    }
}

impl Policy for Knative {
    fn name(&self) -> &'static str {
        "knative"
    }

    fn period(&self) -> DurationMs {
        DurationMs::from_secs(2)
    }

    fn decide(&mut self, view: &View<'_>) -> Wish {
        let now = view.picture.now;
        let counts = Counts::of(view);
        let ongoing = f64::from(counts.ongoing());
        self.seen.put(now, self.stable_window, ongoing);
        let per_worker = (self.target * f64::from(view.cloud.slots.max(1))).max(0.01);
        let stable = ceil(self.seen.mean(now, self.stable_window) / per_worker);
        let panic = ceil(self.seen.mean(now, self.panic_window) / per_worker);
        let ready = f64::from(counts.ready().max(1));
        if f64::from(panic) >= self.panic_threshold * ready {
            if self.panics_until.is_none() {
                self.panic_workers = 0;
            }
            self.panics_until = Some(now + self.stable_window);
        } else if self.panics_until.is_some_and(|until| now >= until) {
            self.panics_until = None;
        }
        let floor = (ready / self.scale_down_rate.max(1.0)).floor();
        // A whole window without a job ends the last worker; half of one is none.
        let floor = if stable == 0 { 0 } else { ceil(floor) };
        let calm = stable.max(floor);
        if self.panics_until.is_none() {
            return all(calm);
        }
        self.panic_workers = self
            .panic_workers
            .max(panic)
            .max(stable)
            .max(counts.ready());
        all(self.panic_workers)
    }

    fn keys(&self) -> &'static [&'static str] {
        &[
            "target",
            "stable_window",
            "panic_window",
            "panic_threshold",
            "scale_down_rate",
        ]
    }

    fn set(&mut self, key: &str, text: &str) -> Result<bool, ValueError> {
        match key {
            "target" => self.target = value::number(text)?,
            "stable_window" => self.stable_window = value::duration(text)?,
            "panic_window" => self.panic_window = value::duration(text)?,
            "panic_threshold" => self.panic_threshold = value::number(text)?,
            "scale_down_rate" => self.scale_down_rate = value::number(text)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}
