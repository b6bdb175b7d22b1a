//! How often a key may call `/v2/serverless…`: RunPod's windows of a minute, an hour and a day
//! (`runpod-protocol.md` E1), which every answer states in its headers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use overspill_core::time::{DurationMs, Timestamp};
use overspill_wire::management::limits::{
    POLICY_HEADER, Policy, REMAINING_HEADER, RUNPOD_WINDOWS, Remaining, write_policy,
    write_remaining,
};

use crate::gateway::error::ApiError;

/// Keys whose windows are remembered at once; beyond that, those that are over are forgotten.
const KEYS_MAX: usize = 10_000;

#[derive(Debug, Clone, Copy)]
struct Window {
    from: Timestamp,
    calls: u64,
}

/// The windows of all keys.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Windows {
    by_key: Mutex<HashMap<Arc<str>, [Option<Window>; RUNPOD_WINDOWS.len()]>>,
}

/// What remains of a key's windows.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct State {
    remaining: Vec<Remaining>,
    /// The window that has no room, with the seconds until it has; the longest, if there are several.
    exceeded: Option<(&'static str, u64)>,
}

impl Default for State {
    /// All windows are full.
    fn default() -> Self {
        let full = |&(name, quota, _): &(&str, u64, u64)| Remaining {
            name: name.to_owned(),
            remaining: quota,
            reset_s: 0,
        };
        Self {
            remaining: RUNPOD_WINDOWS.iter().map(full).collect(),
            exceeded: None,
        }
    }
}

impl Windows {
    /// Counts a call; one that has no room counts in no window.
    pub(in crate::gateway) fn count(&self, key: &Arc<str>, now: Timestamp) -> State {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        if by_key.len() >= KEYS_MAX && !by_key.contains_key(key) {
            by_key.retain(|_, windows| {
                let mut windows = windows.iter().zip(RUNPOD_WINDOWS);
                windows.any(|(window, (_, _, length_s))| lives(*window, length_s, now))
            });
        }
        let windows = by_key.entry(Arc::clone(key)).or_default();
        let mut exceeded = None;
        for (window, (name, quota, length_s)) in windows.iter_mut().zip(RUNPOD_WINDOWS) {
            if !lives(*window, length_s, now) {
                *window = None;
            }
            if let Some(window) = window
                && window.calls >= quota
            {
                exceeded = Some((name, reset_s(*window, length_s, now).max(1)));
            }
        }
        let mut remaining = Vec::with_capacity(windows.len());
        for (window, (name, quota, length_s)) in windows.iter_mut().zip(RUNPOD_WINDOWS) {
            let window = window.get_or_insert(Window {
                from: now,
                calls: 0,
            });
            window.calls += u64::from(exceeded.is_none());
            remaining.push(Remaining {
                name: name.to_owned(),
                remaining: quota.saturating_sub(window.calls),
                reset_s: reset_s(*window, length_s, now),
            });
        }
        State {
            remaining,
            exceeded,
        }
    }
}

fn lives(window: Option<Window>, length_s: u64, now: Timestamp) -> bool {
    window.is_some_and(|window| now.since(window.from) < DurationMs::from_secs(length_s))
}

fn reset_s(window: Window, length_s: u64, now: Timestamp) -> u64 {
    DurationMs::from_secs(length_s)
        .saturating_sub(now.since(window.from))
        .as_millis()
        .div_ceil(1_000)
}

impl State {
    /// Refuses a call that has no room.
    ///
    /// # Errors
    /// 429 with `Retry-After`, in RunPod's words.
    pub(in crate::gateway) fn check(&self) -> Result<(), ApiError> {
        let Some((name, seconds)) = self.exceeded else {
            return Ok(());
        };
        let message = format!("rate limit exceeded for the {name} window");
        Err(
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message)
                .hint(format!("try again in {seconds} s"))
                .retry_after(seconds),
        )
    }

    /// States the windows in an answer.
    pub(in crate::gateway) fn state_in(&self, headers: &mut HeaderMap) {
        let policy = |&(name, quota, window_s): &(&str, u64, u64)| Policy {
            name: name.to_owned(),
            quota,
            window_s,
        };
        let policies: Vec<Policy> = RUNPOD_WINDOWS.iter().map(policy).collect();
        for (name, text) in [
            (POLICY_HEADER, write_policy(&policies)),
            (REMAINING_HEADER, write_remaining(&self.remaining)),
        ] {
            let name = HeaderName::try_from(name).expect("the headers' names are sound");
            let value = HeaderValue::try_from(text).expect("names and numbers make a header");
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixty_first_call_of_a_minute_waits_for_the_window() {
        let windows = Windows::default();
        let (key, other) = (Arc::from("a"), Arc::from("b"));
        let at = |secs: i64| Timestamp::from_millis(secs * 1_000);
        for n in 0..60 {
            assert!(windows.count(&key, at(n / 2)).check().is_ok());
        }
        let state = windows.count(&key, at(48));
        assert_eq!(state.exceeded, Some(("minute", 12)));
        let error = state.check().unwrap_err();
        assert_eq!(error.status(), StatusCode::TOO_MANY_REQUESTS);
        let mut headers = HeaderMap::new();
        state.state_in(&mut headers);
        assert_eq!(
            headers["ratelimit"],
            "\"minute\";r=0;t=12, \"hour\";r=2940;t=3552, \"day\";r=49940;t=86352"
        );
        assert_eq!(
            headers["ratelimit-policy"],
            "\"minute\";q=60;w=60, \"hour\";q=3000;w=3600, \"day\";q=50000;w=86400"
        );
        assert!(windows.count(&other, at(48)).check().is_ok());
        assert!(windows.count(&key, at(60)).check().is_ok());
    }
}
