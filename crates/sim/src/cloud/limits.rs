//! How often a caller may call: per endpoint and operation in ten seconds on the data plane, per minute, hour and day on
//! the management API. Windows are fixed and aligned to their first call.

use std::collections::BTreeMap;

use super::CloudModel;
use super::id::EndpointId;

/// An operation of the data plane that has a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// POST `/run`.
    Run,
    /// POST `/runsync`.
    RunSync,
    /// GET `/status`.
    Status,
    /// GET `/stream`.
    Stream,
    /// POST `/cancel`.
    Cancel,
    /// POST `/purge-queue`.
    PurgeQueue,
    /// GET `/requests`.
    Requests,
    /// Anything below `/openai`.
    OpenAi,
}

impl Operation {
    /// Calls in ten seconds, and calls open at once (`None`: no limit).
    #[must_use]
    pub fn limits(self) -> (u64, Option<u64>) {
        match self {
            Self::Run => (1_000, Some(200)),
            Self::RunSync | Self::Status | Self::Stream | Self::OpenAi => (2_000, Some(400)),
            Self::Cancel => (100, Some(20)),
            Self::PurgeQueue => (2, None),
            Self::Requests => (10, Some(2)),
        }
    }
}

/// Length of a window of the data plane.
const WINDOW_MS: i64 = 10_000;
/// Windows of the management API: name, calls, length in seconds.
const MANAGEMENT: [(&str, u64, u64); 3] = [
    ("minute", 60, 60),
    ("hour", 3_000, 3_600),
    ("day", 50_000, 86_400),
];

/// A call too many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exceeded {
    /// Seconds until the next call may be made.
    pub retry_after_s: u64,
    /// The window of the management API that is empty.
    pub window: &'static str,
}

/// A window of the management API after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowState {
    /// Name.
    pub name: &'static str,
    /// Calls allowed.
    pub quota: u64,
    /// Length in seconds.
    pub window_s: u64,
    /// Calls left.
    pub remaining: u64,
    /// Seconds until it is full again.
    pub reset_s: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Window {
    from_ms: i64,
    calls: u64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Limits {
    data: BTreeMap<(String, EndpointId, Operation), Window>,
    management: BTreeMap<String, [Window; 3]>,
}

impl CloudModel {
    /// Counts a call of the data plane.
    ///
    /// # Errors
    /// It is one too many.
    pub fn count_data_call(
        &mut self,
        now_ms: i64,
        key: &str,
        endpoint: &EndpointId,
        operation: Operation,
    ) -> Result<(), Exceeded> {
        self.advance(now_ms);
        if !self.options.has_rate_limits {
            return Ok(());
        }
        let now_ms = self.now_ms;
        let workers = self
            .endpoints
            .get(endpoint)
            .map_or(0, |e| e.workers.len() as u64);
        let base = operation.limits().0;
        // The per-worker figure is meant for traffic of jobs, not for purging and listing.
        let most = if base < 1_000 {
            base
        } else {
            base.max(workers * self.options.calls_per_worker)
        };
        let window = self
            .limits
            .data
            .entry((key.to_owned(), endpoint.clone(), operation))
            .or_default();
        if now_ms - window.from_ms >= WINDOW_MS {
            *window = Window {
                from_ms: now_ms,
                calls: 0,
            };
        }
        if window.calls >= most {
            let left_ms = WINDOW_MS - (now_ms - window.from_ms);
            return Err(Exceeded {
                retry_after_s: u64::try_from(left_ms).unwrap_or(0).div_ceil(1_000).max(1),
                window: "10 s",
            });
        }
        window.calls += 1;
        Ok(())
    }

    /// Counts a call of the management API; what remains of each window, and whether the call is one too many.
    pub fn count_management_call(
        &mut self,
        now_ms: i64,
        key: &str,
    ) -> (Vec<WindowState>, Option<Exceeded>) {
        self.advance(now_ms);
        let now_ms = self.now_ms;
        let is_limited = self.options.has_rate_limits;
        let windows = self.limits.management.entry(key.to_owned()).or_default();
        let mut states = Vec::with_capacity(MANAGEMENT.len());
        let mut exceeded: Option<Exceeded> = None;
        for (window, (name, quota, window_s)) in windows.iter_mut().zip(MANAGEMENT) {
            let length_ms = i64::try_from(window_s * 1_000).unwrap_or(i64::MAX);
            if window.calls == 0 || now_ms - window.from_ms >= length_ms {
                *window = Window {
                    from_ms: now_ms,
                    calls: 0,
                };
            }
            let left_ms = u64::try_from(window.from_ms + length_ms - now_ms).unwrap_or(0);
            let reset_s = left_ms.div_ceil(1_000);
            if !is_limited {
                // What is not limited does not run low either: a client spares nothing.
            } else if window.calls >= quota {
                // Several can be empty: the caller waits for the longest.
                exceeded = Some(Exceeded {
                    retry_after_s: reset_s.max(1),
                    window: name,
                });
            } else {
                window.calls += 1;
            }
            states.push(WindowState {
                name,
                quota,
                window_s,
                remaining: quota.saturating_sub(window.calls),
                reset_s,
            });
        }
        (states, exceeded)
    }
}
