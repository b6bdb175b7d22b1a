//! Cloud time: real time since the start, times a scale, plus what was skipped. It never goes back.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug)]
struct Base {
    cloud_ms: i64,
    real: Instant,
}

/// The clock of an emulator.
#[derive(Debug)]
pub(crate) struct Clock {
    scale: f64,
    base: Mutex<Base>,
}

impl Clock {
    pub(crate) fn new(start_ms: i64, scale: f64) -> Self {
        Self {
            scale: if scale.is_finite() {
                scale.max(0.0)
            } else {
                1.0
            },
            base: Mutex::new(Base {
                cloud_ms: start_ms,
                real: Instant::now(),
            }),
        }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        let base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "milliseconds of a process's life stay far below 2^52"
        )]
        let passed = (base.real.elapsed().as_secs_f64() * 1_000.0 * self.scale) as i64;
        base.cloud_ms + passed
    }

    pub(crate) fn advance(&self, by_ms: u64) -> i64 {
        {
            let mut base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
            base.cloud_ms = base.cloud_ms.saturating_add_unsigned(by_ms);
        }
        self.now_ms()
    }

    /// How long `cloud_ms` is away in real time; `None` when the clock stands still.
    pub(crate) fn real_until(&self, cloud_ms: i64) -> Option<Duration> {
        let left_ms = cloud_ms.saturating_sub(self.now_ms());
        if left_ms <= 0 {
            return Some(Duration::ZERO);
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "a span in milliseconds is far below 2^52"
        )]
        let real_s = left_ms as f64 / 1_000.0 / self.scale;
        // One more millisecond, so that the moment has come when the sleep ends.
        real_s
            .is_finite()
            .then(|| Duration::from_secs_f64(real_s.min(31_536_000.0)) + Duration::from_millis(1))
    }
}
