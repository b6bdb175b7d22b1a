//! Keeps calls under `RunPod`'s documented rates, so that a storm of 429 never starts from us.
//!
//! Each (endpoint, operation) has a [`Lane`]: an exact sliding window of recent sends, a cap on calls in flight and
//! a pause that the cloud asked for. The management API has one window for the whole account, part of which is kept
//! free for changes of workers, so that reading lists can never delay a scale-down.
//!
//! Sliding windows rather than token buckets: a bucket of the documented size lets up to twice its rate through
//! within one window of the cloud's. Sources: the documentation page "send requests" (data plane) and the `OpenAPI`
//! document's `RateLimit-Policy` (management); the worker-based factor that can raise the limits is not published,
//! so it is not used.

use super::clock::Clock;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// An operation of the data plane that has a rate of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// `POST /run`.
    Submit,
    /// `GET /status/{id}`.
    Status,
    /// `GET /stream/{id}`.
    Stream,
    /// `POST /cancel/{id}`.
    Cancel,
    /// `POST /purge-queue`.
    Purge,
    /// `GET /health`: no documented rate; ours is one that nobody would call a storm.
    Health,
    /// A read of the management API.
    ManagementRead,
    /// A change through the management API.
    ManagementWrite,
}

impl Operation {
    /// The documented limits of this operation.
    #[must_use]
    pub fn rate(self) -> Rate {
        let (sends, window_ms, in_flight) = match self {
            Self::Submit => (1_000, 10_000, 200),
            Self::Status | Self::Stream => (2_000, 10_000, 400),
            Self::Cancel => (100, 10_000, 20),
            Self::Purge => (2, 10_000, 1),
            Self::Health => (100, 10_000, 10),
            // One lane for both; reads stop earlier (`MANAGEMENT_KEPT_FOR_WRITES`).
            Self::ManagementRead | Self::ManagementWrite => (60, 60_000, 8),
        };
        Rate {
            sends,
            window_ms,
            in_flight,
        }
    }

    fn lane(self) -> Self {
        if self == Self::ManagementRead {
            Self::ManagementWrite
        } else {
            self
        }
    }

    fn kept_free(self) -> usize {
        if self == Self::ManagementRead {
            MANAGEMENT_KEPT_FOR_WRITES
        } else {
            0
        }
    }
}

/// A limit: so many sends in any window, so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Sends in any window.
    pub sends: usize,
    /// The window in milliseconds.
    pub window_ms: i64,
    /// Calls in flight at once.
    pub in_flight: usize,
}

/// How many of the 60 management calls a minute reads must leave to changes.
const MANAGEMENT_KEPT_FOR_WRITES: usize = 25;

/// The longest pause that is believed when the cloud asks for one, in milliseconds.
const PAUSE_MS_MAX: i64 = 3_600_000;

/// The pause after a 429 without `Retry-After`, in milliseconds.
const PAUSE_MS_DEFAULT: i64 = 1_000;

/// Sends of the last window, oldest first; never more than the limit in any window.
#[derive(Debug, Clone, Default)]
pub struct Window {
    sent_ms: VecDeque<i64>,
}

impl Window {
    /// Takes one send if the window has room beside `kept_free`, else says when to ask again.
    ///
    /// # Errors
    /// The time, in milliseconds, at which the next send fits.
    pub fn take(&mut self, now_ms: i64, rate: Rate, kept_free: usize) -> Result<(), i64> {
        while self
            .sent_ms
            .front()
            .is_some_and(|sent| now_ms - sent >= rate.window_ms)
        {
            self.sent_ms.pop_front();
        }
        let room = rate.sends.saturating_sub(kept_free).max(1);
        if self.sent_ms.len() < room {
            self.sent_ms.push_back(now_ms);
            return Ok(());
        }
        // Once all but `room - 1` of the present sends have left the window, one more fits.
        let must_leave = self.sent_ms.len() - room;
        Err(self.sent_ms[must_leave] + rate.window_ms)
    }
}

#[derive(Debug)]
struct Lane {
    window: Window,
    in_flight: Arc<Semaphore>,
    paused_until_ms: i64,
}

/// The right to make one call; the slot in flight is free again when it is dropped.
#[derive(Debug)]
pub struct Permit {
    _in_flight: OwnedSemaphorePermit,
}

/// No room for a call within the time its caller wanted to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rate limit for this call has no room for another {retry_after_ms} ms")]
pub struct NoRoom {
    /// When to try again, in milliseconds from now.
    pub retry_after_ms: i64,
}

/// All lanes of one account.
#[derive(Debug)]
pub struct Limiter {
    clock: Arc<dyn Clock>,
    lanes: Mutex<BTreeMap<(String, Operation), Lane>>,
}

impl Limiter {
    /// No calls made yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            lanes: Mutex::new(BTreeMap::new()),
        }
    }

    /// The clock that the windows are measured by.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Waits for the right to make one call, at most `patience_ms`. `endpoint` is empty for the management API.
    ///
    /// # Errors
    /// [`NoRoom`] if the call cannot go within `patience_ms`; nothing was taken then.
    pub async fn permit(
        &self,
        endpoint: &str,
        operation: Operation,
        patience_ms: i64,
    ) -> Result<Permit, NoRoom> {
        let give_up_ms = self.clock.now_ms() + patience_ms;
        let in_flight = self.with_lane(endpoint, operation, |lane| Arc::clone(&lane.in_flight));
        let slot = tokio::select! {
            biased;
            slot = in_flight.acquire_owned() => slot.expect("the semaphore of a lane is never closed"),
            () = self.clock.sleep_until(give_up_ms) => return Err(NoRoom { retry_after_ms: 250 }),
        };
        loop {
            let now_ms = self.clock.now_ms();
            let Err(at_ms) = self.take(endpoint, operation, now_ms) else {
                return Ok(Permit { _in_flight: slot });
            };
            if at_ms > give_up_ms {
                return Err(NoRoom {
                    retry_after_ms: at_ms - now_ms,
                });
            }
            self.clock.sleep_until(at_ms).await;
        }
    }

    /// Takes the right to make one call if there is room this instant.
    ///
    /// # Errors
    /// [`NoRoom`] with the time until there may be room.
    pub fn try_permit(&self, endpoint: &str, operation: Operation) -> Result<Permit, NoRoom> {
        let in_flight = self.with_lane(endpoint, operation, |lane| Arc::clone(&lane.in_flight));
        let slot = in_flight
            .try_acquire_owned()
            .map_err(|_full| NoRoom { retry_after_ms: 50 })?;
        let now_ms = self.clock.now_ms();
        match self.take(endpoint, operation, now_ms) {
            Ok(()) => Ok(Permit { _in_flight: slot }),
            Err(at_ms) => Err(NoRoom {
                retry_after_ms: at_ms - now_ms,
            }),
        }
    }

    /// Stops a lane for as long as the cloud asked (429 with or without `Retry-After`); a pause is never shortened.
    pub fn pause(&self, endpoint: &str, operation: Operation, retry_after_ms: Option<i64>) {
        let pause_ms = retry_after_ms
            .unwrap_or(PAUSE_MS_DEFAULT)
            .clamp(0, PAUSE_MS_MAX);
        let until_ms = self.clock.now_ms() + pause_ms;
        self.with_lane(endpoint, operation, |lane| {
            lane.paused_until_ms = lane.paused_until_ms.max(until_ms);
        });
    }

    fn take(&self, endpoint: &str, operation: Operation, now_ms: i64) -> Result<(), i64> {
        self.with_lane(endpoint, operation, |lane| {
            if lane.paused_until_ms > now_ms {
                return Err(lane.paused_until_ms);
            }
            lane.window
                .take(now_ms, operation.rate(), operation.kept_free())
        })
    }

    fn with_lane<T>(
        &self,
        endpoint: &str,
        operation: Operation,
        act: impl FnOnce(&mut Lane) -> T,
    ) -> T {
        let mut lanes = self.lanes();
        let lane = lanes
            .entry((endpoint.to_owned(), operation.lane()))
            .or_insert_with(|| Lane {
                window: Window::default(),
                in_flight: Arc::new(Semaphore::new(operation.rate().in_flight)),
                paused_until_ms: i64::MIN,
            });
        act(lane)
    }

    fn lanes(&self) -> MutexGuard<'_, BTreeMap<(String, Operation), Lane>> {
        // A panic while the map was held cannot leave it half changed: each change is one assignment.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Retries are at most a tenth of first tries, so that an ailing cloud is not finished off by retries.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    tenths: u32,
}

impl RetryBudget {
    const TENTHS_MAX: u32 = 1_000;

    /// Starts with room for one retry.
    #[must_use]
    pub fn new() -> Self {
        Self { tenths: 10 }
    }

    /// A first try was made: a tenth of a retry more.
    pub fn on_first_try(&mut self) {
        self.tenths = (self.tenths + 1).min(Self::TENTHS_MAX);
    }

    /// Takes one retry if the budget has it.
    pub fn take(&mut self) -> bool {
        let has_one = self.tenths >= 10;
        if has_one {
            self.tenths -= 10;
        }
        has_one
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new()
    }
}

/// The wait before retry number `tries` (from 0): full jitter over a doubling span, in milliseconds.
///
/// `random` in 0.0..1.0 is drawn by the caller. A wait that the cloud asked for is the floor, never shortened.
#[must_use]
pub fn backoff_ms(
    tries: u32,
    first_ms: i64,
    max_ms: i64,
    retry_after_ms: Option<i64>,
    random: f64,
) -> i64 {
    let span = first_ms.saturating_mul(1 << tries.min(20)).min(max_ms);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a span of milliseconds is far below 2^52"
    )]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a span of milliseconds is far below 2^52"
    )]
    let jittered = (span as f64 * random.clamp(0.0, 1.0)) as i64;
    match retry_after_ms {
        Some(asked) => asked.clamp(0, PAUSE_MS_MAX) + jittered / 4,
        None => jittered.max(1),
    }
}

/// How long a `RateLimit` header says to stay away, in milliseconds: several windows can be empty at once,
/// and the longest counts.
#[must_use]
pub fn longest_empty_ms(header: &str) -> Option<i64> {
    let windows = overspill_wire::management::limits::read_remaining(header);
    let empty = windows.iter().filter(|window| window.remaining == 0);
    let seconds = empty.map(|window| window.reset_s).max()?;
    Some(i64::try_from(seconds.saturating_mul(1000)).unwrap_or(PAUSE_MS_MAX))
}

#[cfg(test)]
mod tests {
    use super::super::clock::ManualClock;
    use super::*;

    const RATE: Rate = Rate {
        sends: 3,
        window_ms: 100,
        in_flight: 2,
    };

    #[test]
    fn no_window_ever_holds_more_than_the_limit() {
        let mut window = Window::default();
        let mut sent = Vec::new();
        for now in 0..1_000 {
            if window.take(now, RATE, 0).is_ok() {
                sent.push(now);
            }
        }
        assert_eq!(sent.len(), 30);
        for start in 0..900 {
            let within = sent
                .iter()
                .filter(|at| (start..start + 100).contains(*at))
                .count();
            assert!(within <= 3, "{within} sends from {start}");
        }
    }

    #[test]
    fn the_time_named_is_the_time_it_fits() {
        let mut window = Window::default();
        for now in [0, 10, 20] {
            assert_eq!(window.take(now, RATE, 0), Ok(()));
        }
        assert_eq!(window.take(30, RATE, 0), Err(100));
        assert_eq!(window.take(99, RATE, 0), Err(100));
        assert_eq!(window.take(100, RATE, 0), Ok(()));
        assert_eq!(window.take(100, RATE, 0), Err(110));
    }

    #[tokio::test]
    async fn reads_of_the_management_api_leave_room_for_changes() {
        let limiter = Limiter::new(ManualClock::at(0));
        let mut reads = 0;
        while limiter.try_permit("", Operation::ManagementRead).is_ok() {
            reads += 1;
        }
        assert_eq!(reads, 60 - MANAGEMENT_KEPT_FOR_WRITES);
        let mut writes = 0;
        while limiter.try_permit("", Operation::ManagementWrite).is_ok() {
            writes += 1;
        }
        assert_eq!(reads + writes, 60);
    }

    #[tokio::test]
    async fn a_pause_stops_one_lane_and_only_that() {
        let clock = ManualClock::at(0);
        let limiter = Limiter::new(Arc::<ManualClock>::clone(&clock));
        limiter.pause("ep", Operation::Status, Some(7_000));
        limiter.pause("ep", Operation::Status, Some(1_000));
        let refused = limiter.try_permit("ep", Operation::Status).unwrap_err();
        assert_eq!(refused.retry_after_ms, 7_000);
        assert!(limiter.try_permit("ep", Operation::Submit).is_ok());
        assert!(limiter.try_permit("other", Operation::Status).is_ok());
        clock.advance(7_000);
        assert!(limiter.try_permit("ep", Operation::Status).is_ok());
    }

    #[tokio::test]
    async fn calls_in_flight_are_capped() {
        let limiter = Limiter::new(ManualClock::at(0));
        let held: Vec<_> = (0..20)
            .map(|_| limiter.try_permit("ep", Operation::Cancel).unwrap())
            .collect();
        assert!(limiter.try_permit("ep", Operation::Cancel).is_err());
        drop(held);
        assert!(limiter.try_permit("ep", Operation::Cancel).is_ok());
    }

    #[tokio::test]
    async fn a_patient_caller_is_let_through_when_the_window_moves_on() {
        let clock = ManualClock::at(0);
        let limiter = Arc::new(Limiter::new(Arc::<ManualClock>::clone(&clock)));
        for _ in 0..2 {
            limiter.permit("ep", Operation::Purge, 0).await.unwrap();
        }
        assert_eq!(
            limiter
                .permit("ep", Operation::Purge, 500)
                .await
                .unwrap_err()
                .retry_after_ms,
            10_000
        );
        let waiting = tokio::spawn({
            let limiter = Arc::clone(&limiter);
            async move {
                limiter
                    .permit("ep", Operation::Purge, 20_000)
                    .await
                    .map(drop)
            }
        });
        tokio::task::yield_now().await;
        clock.advance(10_000);
        assert_eq!(waiting.await.unwrap(), Ok(()));
    }

    #[test]
    fn retries_are_a_tenth_of_first_tries() {
        let mut budget = RetryBudget::new();
        let mut retries = 0;
        for _ in 0..1_000 {
            budget.on_first_try();
            while budget.take() {
                retries += 1;
            }
        }
        assert!((100..=101).contains(&retries), "{retries}");
    }

    #[test]
    fn backoff_is_bounded_and_never_below_what_was_asked() {
        assert_eq!(backoff_ms(0, 250, 5_000, None, 0.999_999), 249);
        assert_eq!(backoff_ms(30, 250, 5_000, None, 1.0), 5_000);
        assert_eq!(backoff_ms(0, 250, 5_000, None, 0.0), 1);
        assert_eq!(backoff_ms(3, 250, 5_000, Some(12_000), 0.0), 12_000);
        assert!(backoff_ms(3, 250, 5_000, Some(i64::MAX), 1.0) <= 3_600_000 + 2_000);
    }

    #[test]
    fn the_longest_empty_window_counts() {
        let header = r#""minute";r=0;t=12, "hour";r=0;t=1812, "day";r=40000;t=86000, junk;r=x"#;
        assert_eq!(longest_empty_ms(header), Some(1_812_000));
        assert_eq!(longest_empty_ms(r#""minute";r=59;t=60"#), None);
        assert_eq!(longest_empty_ms("nonsense"), None);
    }
}
