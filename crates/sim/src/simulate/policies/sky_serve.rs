//! SkyServe's autoscaler: requests a second over what one replica is said to serve, with long delays.
//!
//! Every 20 s (5 s while there is no replica; 5 s throughout here): arrivals of the last 60 s over
//! the target of one replica, rounded up. More replicas must be asked for during 300 s without a break
//! before they start, fewer during 1,200 s; from zero the first request starts them at once. The
//! target has no default in SkyServe: one request a second here, one number for every load.
//!
//! Source: <https://docs.skypilot.co/en/stable/serving/autoscaling.html> (`target_qps_per_replica`,
//! `upscale_delay_seconds` 300, `downscale_delay_seconds` 1200; a window of 60 s).

use std::collections::VecDeque;

use overspill_core::scaler::{View, Wish};
use overspill_core::time::{DurationMs, Timestamp};

use super::super::value::{self, ValueError};
use super::{Counts, Policy, all, ceil};

/// Over so long arrivals are counted.
const WINDOW: DurationMs = DurationMs::from_secs(60);

/// The rule, and what it has seen.
#[derive(Debug, Clone)]
pub struct SkyServe {
    /// Requests a second that one replica is said to serve.
    pub target_qps: f64,
    /// So long more workers must be asked for.
    pub upscale_delay: DurationMs,
    /// So long fewer workers must be asked for.
    pub downscale_delay: DurationMs,
    arrivals: VecDeque<Timestamp>,
    /// Since when more (`true`) or fewer workers have been asked for without a break.
    asks: Option<(bool, Timestamp)>,
    workers: u32,
}

impl Default for SkyServe {
    fn default() -> Self {
        Self {
            target_qps: 1.0,
            upscale_delay: DurationMs::from_secs(300),
            downscale_delay: DurationMs::from_secs(1_200),
            arrivals: VecDeque::new(),
            asks: None,
            workers: 0,
        }
    }
}

impl Policy for SkyServe {
    fn name(&self) -> &'static str {
        "sky_serve"
    }

    fn period(&self) -> DurationMs {
        DurationMs::from_secs(5)
    }

    #[expect(clippy::cast_precision_loss, reason = "arrivals of a minute")]
    fn decide(&mut self, view: &View<'_>) -> Wish {
        let now = view.picture.now;
        let counts = Counts::of(view);
        let target = self.target_qps.max(1e-6);
        while self
            .arrivals
            .front()
            .is_some_and(|&at| now.since(at) >= WINDOW)
        {
            self.arrivals.pop_front();
        }
        let rate = self.arrivals.len() as f64 / WINDOW.as_secs_f64();
        let least = u32::from(counts.waiting > 0 && counts.alive == 0);
        let asked = ceil(rate / target).max(least).min(view.max);
        if self.workers == 0 {
            self.workers = asked;
        }
        if asked == self.workers {
            self.asks = None;
            return all(self.workers);
        }
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
        all(self.workers)
    }

    fn arrived(&mut self, at: Timestamp) {
        self.arrivals.push_back(at);
    }

    fn keys(&self) -> &'static [&'static str] {
        &["target_qps", "upscale_delay", "downscale_delay"]
    }

    fn set(&mut self, key: &str, text: &str) -> Result<bool, ValueError> {
        match key {
            "target_qps" => self.target_qps = value::number(text)?,
            "upscale_delay" => self.upscale_delay = value::duration(text)?,
            "downscale_delay" => self.downscale_delay = value::duration(text)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}
