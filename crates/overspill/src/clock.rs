//! The server's clock: wall time at start plus monotonic time since, so that it never goes back.
//!
//! The one place where the binary reads a clock for decisions. A wall clock that is set while the server
//! runs changes nothing here: no deadline comes early or late by it. It is noticed, though
//! ([`StepWatch`]), and what speaks to others about the time of day asks [`wall`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use overspill_core::time::Timestamp;
// The monotonic clock; a test may steer it, and a release binary has nothing to steer it with.
use tokio::time::Instant;

/// A wall clock that differs from the server's by more than this was set.
const STEP_MS: i64 = 5_000;

/// The time of day as the system has it; it may go back.
#[must_use]
pub fn wall() -> Timestamp {
    let now = SystemTime::now();
    let passed = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(passed.as_millis()).unwrap_or(i64::MAX))
}

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
        Self {
            wall_at_start: wall(),
            start: Instant::now(),
        }
    }

    /// Starts from a wall clock of the test's own.
    #[cfg(test)]
    pub(crate) fn starting_at(wall_at_start: Timestamp) -> Self {
        Self {
            wall_at_start,
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

/// Notices a wall clock that was set, by hand, by NTP, or by a machine that slept.
#[derive(Debug, Clone, Copy, Default)]
pub struct StepWatch {
    /// By how much the wall clock was ahead of the server's when it was last told of, in ms.
    ahead_ms: i64,
}

/// The wall clock differs from the server's by another amount than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// By how much the wall clock is ahead now, in ms; negative when it is behind.
    pub ahead_ms: i64,
    /// By how much it was set since the last look, in ms.
    pub by_ms: i64,
}

impl Step {
    /// Whether the two agree again.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.ahead_ms.saturating_abs() <= STEP_MS
    }
}

impl StepWatch {
    /// Compares the two clocks; a step is told once.
    pub fn look(&mut self, server: Timestamp, wall: Timestamp) -> Option<Step> {
        let ahead_ms = wall.as_millis().saturating_sub(server.as_millis());
        let by_ms = ahead_ms.saturating_sub(self.ahead_ms);
        if by_ms.saturating_abs() <= STEP_MS {
            return None;
        }
        self.ahead_ms = ahead_ms;
        Some(Step { ahead_ms, by_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f26_a_wall_clock_that_is_set_is_told_of_once_and_until_it_is_back() {
        let at = Timestamp::from_millis;
        let mut watch = StepWatch::default();
        // Drift within five seconds is none.
        assert_eq!(watch.look(at(1_000_000), at(1_004_900)), None);
        let hour = 3_600_000;
        let decade = 10 * 365 * 24 * hour;
        for ahead_ms in [hour, -hour, decade, -decade, 0] {
            let server = at(decade * 2);
            let wall = at(decade * 2 + ahead_ms);
            let step = watch.look(server, wall).expect("a step");
            assert_eq!(step.ahead_ms, ahead_ms);
            assert_eq!(step.is_over(), ahead_ms == 0);
            assert_eq!(watch.look(server, wall), None);
        }
        // A clock of before 1970 is no reason to panic.
        assert!(watch.look(at(i64::MAX), at(0)).is_some());
    }

    #[test]
    fn f26_the_servers_clock_knows_nothing_of_the_wall_clock_after_its_start() {
        let clock = ServerClock::start();
        let (first, second) = (clock.now(), clock.now());
        assert!(first <= second);
        assert_eq!(clock.until(first), Duration::ZERO);
        assert!(clock.until(Timestamp::NEVER) > Duration::from_secs(1 << 40));
    }
}
