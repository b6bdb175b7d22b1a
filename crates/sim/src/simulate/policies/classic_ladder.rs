//! The ladder that people write by hand: workers = the most `n` with running ≥ n and pending > n.
//!
//! `running` counts jobs on own slots and in the cloud, `pending` every job that waits; a first
//! waiting job without own cards gets one worker. It never takes a worker away: the cloud stops
//! one after 5 s without a job (RunPod's default idle time-out). Workers that start are counted.
//!
//! Source: `scaling.md` 1 and 5, and the hand-written queue managers that the design describes. The
//! core's `ladder` differs in two ways: it looks only at jobs that the own cards would start too
//! late, and takes a start back that nothing needs any more.

use overspill_core::scaler::{View, Wish};
use overspill_core::time::DurationMs;

use super::super::value::{self, ValueError};
use super::{Counts, Policy, all};

/// The rule.
#[derive(Debug, Clone)]
pub struct ClassicLadder {
    /// A worker is stopped after it was idle for this long.
    pub idle_timeout: DurationMs,
}

impl Default for ClassicLadder {
    fn default() -> Self {
        Self {
            idle_timeout: DurationMs::from_secs(5),
        }
    }
}

impl Policy for ClassicLadder {
    fn name(&self) -> &'static str {
        "classic_ladder"
    }

    fn period(&self) -> DurationMs {
        DurationMs::from_secs(1)
    }

    fn decide(&mut self, view: &View<'_>) -> Wish {
        let counts = Counts::of(view);
        let has_local = !view.picture.local.is_empty();
        let first = u32::from(!has_local && counts.waiting > 0);
        let running = counts.running.saturating_add(counts.local);
        let steps = running.min(counts.waiting.saturating_sub(1));
        all(counts.alive.max(steps).max(first))
    }

    fn idle_timeout(&self) -> Option<DurationMs> {
        Some(self.idle_timeout)
    }

    fn takes_starts_back(&self) -> bool {
        false
    }

    fn keys(&self) -> &'static [&'static str] {
        &["idle_timeout"]
    }

    fn set(&mut self, key: &str, text: &str) -> Result<bool, ValueError> {
        match key {
            "idle_timeout" => self.idle_timeout = value::duration(text)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}
