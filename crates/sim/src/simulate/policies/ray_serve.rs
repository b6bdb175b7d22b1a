//! Ray Serve's autoscaler: a target of ongoing requests for each replica, with long delays.
//!
//! Every second: ongoing jobs (waiting or running in the cloud) averaged over 30 s; workers = that
//! over 2, rounded up. A larger number must be asked for during 30 s without a break before it
//! counts, a smaller one during 600 s. From zero, the first waiting job starts a worker at once.
//!
//! Source: `ray.serve.config.AutoscalingConfig`
//! (<https://docs.ray.io/en/latest/serve/api/doc/ray.serve.config.AutoscalingConfig.html>):
//! `target_ongoing_requests` 2, `look_back_period_s` 30, `upscale_delay_s` 30, `downscale_delay_s` 600,
//! `upscaling_factor` and `downscaling_factor` 1; `min_replicas` is set to 0.

use overspill_core::scaler::{View, Wish};
use overspill_core::time::{DurationMs, Timestamp};

use super::super::value::{self, ValueError};
use super::{Counts, Policy, Window, all, ceil};

/// The rule, and what it has seen.
#[derive(Debug, Clone)]
pub struct RayServe {
    /// Ongoing jobs for each worker.
    pub target: f64,
    /// Over so long ongoing jobs are averaged.
    pub look_back: DurationMs,
    /// So long more workers must be asked for.
    pub upscale_delay: DurationMs,
    /// So long fewer workers must be asked for.
    pub downscale_delay: DurationMs,
    seen: Window,
    /// Since when more (`true`) or fewer workers have been asked for without a break.
    asks: Option<(bool, Timestamp)>,
    workers: u32,
}

impl Default for RayServe {
    fn default() -> Self {
        Self {
            target: 2.0,
            look_back: DurationMs::from_secs(30),
            upscale_delay: DurationMs::from_secs(30),
            downscale_delay: DurationMs::from_secs(600),
            seen: Window::default(),
            asks: None,
            workers: 0,
        }
    }
}

impl Policy for RayServe {
    fn name(&self) -> &'static str {
        "ray_serve"
    }

    fn period(&self) -> DurationMs {
        DurationMs::from_secs(1)
    }

    fn decide(&mut self, view: &View<'_>) -> Wish {
        let now = view.picture.now;
        let counts = Counts::of(view);
        self.seen
            .put(now, self.look_back, f64::from(counts.ongoing()));
        let mean = self.seen.mean(now, self.look_back);
        let asked = ceil(mean / self.target.max(0.01)).min(view.max);
        if self.workers == 0 && counts.waiting > 0 {
            self.workers = asked.max(1);
            self.asks = None;
        }
        if asked == self.workers {
            self.asks = None;
        } else {
            let is_more = asked > self.workers;
            let since = match self.asks {
                Some((was_more, since)) if was_more == is_more => since,
                _ => now,
            };
            self.asks = Some((is_more, since));
            let delay = if is_more {
                self.upscale_delay
            } else {
                self.downscale_delay
            };
            if now.since(since) >= delay {
                self.workers = asked;
                self.asks = None;
            }
        }
        all(self.workers)
    }

    fn keys(&self) -> &'static [&'static str] {
        &["target", "look_back", "upscale_delay", "downscale_delay"]
    }

    fn set(&mut self, key: &str, text: &str) -> Result<bool, ValueError> {
        match key {
            "target" => self.target = value::number(text)?,
            "look_back" => self.look_back = value::duration(text)?,
            "upscale_delay" => self.upscale_delay = value::duration(text)?,
            "downscale_delay" => self.downscale_delay = value::duration(text)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}
