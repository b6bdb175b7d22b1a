//! How often the client of a run looks at RunPod, and how soon RunPod acts.

use overspill_core::time::DurationMs;

use super::CloudWorld;
use crate::cloud::{EndpointSettings, ScalingRule};

/// Time between two looks at a job.
const POLL: DurationMs = DurationMs::from_secs(2);
/// Time between two looks at a pool's workers while it has work or workers.
const HEALTH: DurationMs = DurationMs::from_secs(5);
/// The same of a quiet pool.
const HEALTH_QUIET: DurationMs = DurationMs::from_secs(30);

/// How often the client looks, and how soon RunPod starts a worker for a job that waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Looks {
    /// Time between two looks at a job, at least.
    pub(crate) poll: DurationMs,
    /// So much more at most.
    pub(crate) jitter: DurationMs,
    /// Time between two looks at a pool's workers while it has work or workers.
    pub(crate) health: DurationMs,
    /// The same of a quiet pool.
    pub(crate) health_quiet: DurationMs,
    /// RunPod's `QUEUE_DELAY`.
    pub(crate) queue_delay: DurationMs,
}

impl Default for Looks {
    fn default() -> Self {
        Self {
            poll: POLL,
            jitter: DurationMs::from_millis(500),
            health: HEALTH,
            health_quiet: HEALTH_QUIET,
            queue_delay: DurationMs::from_secs(1),
        }
    }
}

impl CloudWorld {
    /// The same, looking so often.
    pub(crate) fn looking(mut self, looks: Looks) -> Self {
        for id in &self.endpoints {
            let Ok((settings, _)) = self.model.endpoint_settings(0, id) else {
                continue;
            };
            let delay_ms = looks.queue_delay.as_millis();
            let settings = EndpointSettings {
                scaling: ScalingRule::QueueDelayMs(delay_ms),
                ..settings
            };
            let changed = self.model.update_endpoint(0, id, settings);
            changed.expect("only the rule is another");
        }
        self.looks = looks;
        self
    }
}
