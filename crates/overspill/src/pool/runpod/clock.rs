//! The time that the cloud driver reads.
//!
//! Limits, breaker and schedules take the time as a number, so tests move it by hand. This is the only file of
//! the folder that reads a real clock.

use std::pin::Pin;

/// A future that ends at a point in time.
pub type Sleep<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A clock in milliseconds that never goes back; its zero is its own (the epoch, or the start of the process).
pub trait Clock: Send + Sync + std::fmt::Debug + 'static {
    /// Now, in milliseconds.
    fn now_ms(&self) -> i64;

    /// Ends once [`Clock::now_ms`] is at least `at_ms`; at once if it already is.
    fn sleep_until(&self, at_ms: i64) -> Sleep<'_>;
}

/// The wall clock at start plus the monotonic time since, so that a step of the wall clock changes nothing.
#[derive(Debug)]
pub struct SystemClock {
    started: tokio::time::Instant,
    started_ms: i64,
}

impl SystemClock {
    /// Starts at the wall clock's time.
    #[must_use]
    pub fn start() -> Self {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            started: tokio::time::Instant::now(),
            started_ms: i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX),
        }
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        self.started_ms
            .saturating_add(i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    fn sleep_until(&self, at_ms: i64) -> Sleep<'_> {
        let after = u64::try_from(at_ms.saturating_sub(self.started_ms)).unwrap_or(0);
        let at = self.started + std::time::Duration::from_millis(after);
        Box::pin(tokio::time::sleep_until(at))
    }
}

/// A clock that only moves when told to, for tests.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct ManualClock {
    now_ms: tokio::sync::watch::Sender<i64>,
}

#[cfg(test)]
impl ManualClock {
    pub(crate) fn at(now_ms: i64) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self {
            now_ms: tokio::sync::watch::Sender::new(now_ms),
        })
    }

    /// Moves the time on and wakes every sleeper whose time has come.
    pub(crate) fn advance(&self, by_ms: i64) {
        self.now_ms.send_modify(|now| *now += by_ms);
    }
}

#[cfg(test)]
impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        *self.now_ms.borrow()
    }

    fn sleep_until(&self, at_ms: i64) -> Sleep<'_> {
        let mut now = self.now_ms.subscribe();
        Box::pin(async move {
            let _the_clock_lives = now.wait_for(|now| *now >= at_ms).await;
        })
    }
}

/// A clock that runs many times as fast, for tests of long stretches over real sockets.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct FastClock {
    inner: SystemClock,
    times: i64,
}

#[cfg(test)]
impl FastClock {
    pub(crate) fn times(times: i64) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self {
            inner: SystemClock::start(),
            times,
        })
    }
}

#[cfg(test)]
impl Clock for FastClock {
    fn now_ms(&self) -> i64 {
        let start_ms = self.inner.started_ms;
        start_ms + (self.inner.now_ms() - start_ms) * self.times
    }

    fn sleep_until(&self, at_ms: i64) -> Sleep<'_> {
        let start_ms = self.inner.started_ms;
        self.inner
            .sleep_until(start_ms + (at_ms - start_ms) / self.times + 1)
    }
}
