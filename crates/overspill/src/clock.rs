//! The server's clock: wall time at start plus monotonic time since, so that it never goes back.
//!
//! The one place where the binary reads a clock for decisions.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use overspill_core::time::Timestamp;

/// Time that never goes back.
#[derive(Debug, Clone, Copy)]
pub struct ServerClock {
    wall_at_start: Timestamp,
    start: Instant,
}

impl ServerClock {
    /// Starts from the wall clock as it is now.
    #[must_use]
    pub fn start() -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let millis = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
        Self {
            wall_at_start: Timestamp::from_millis(millis),
            start: Instant::now(),
        }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.wall_at_start.as_millis().saturating_add(passed))
    }

    /// How long until `at`; zero when it has passed.
    #[must_use]
    pub fn until(&self, at: Timestamp) -> Duration {
        Duration::from_millis(at.since(self.now()).as_millis())
    }
}
