//! How often, and how often at once, a key may ask something of an endpoint: RunPod's table
//! (`runpod-protocol.md` A2).
//!
//! Windows are ten seconds, from their first call on. Beside the table's figure, each running worker
//! is worth [`CALLS_PER_WORKER`] calls of the kinds that jobs make; the larger of the two is in force.
//! What is counted is held in memory: with several replicas each counts for itself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http::StatusCode;
use overspill_core::id::EndpointId;
use overspill_core::time::{DurationMs, Timestamp};

use super::Gateway;
use super::call::Call;
use super::error::ApiError;
use super::options::RateLimits;
use super::route::Operation;

/// Length of a window.
const WINDOW: DurationMs = DurationMs::from_secs(10);
/// Calls in a window that one running worker is worth; RunPod's figure is not published.
const CALLS_PER_WORKER: u64 = 100;
/// A table's figure below this is for control and lists, to which workers add nothing.
const PER_WORKER_FROM: u64 = 1_000;
/// Windows remembered at once; beyond that, those that are over are forgotten.
const WINDOWS_MAX: usize = 10_000;

/// Calls in a window and calls open at once; `None` where there is no limit.
const fn table(operation: Operation) -> Option<(u64, Option<u64>)> {
    match operation {
        Operation::Run => Some((1_000, Some(200))),
        Operation::RunSync | Operation::Status | Operation::Stream | Operation::OpenAi => {
            Some((2_000, Some(400)))
        }
        Operation::Cancel => Some((100, Some(20))),
        Operation::PurgeQueue => Some((2, None)),
        Operation::Requests => Some((10, Some(2))),
        _ => None,
    }
}

/// Whose calls are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Line {
    key: Arc<str>,
    endpoint: EndpointId,
    operation: Operation,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    from: Timestamp,
    calls: u64,
    /// The limit in force, once it was worked out beyond the table's figure.
    most: Option<u64>,
}

/// All that is counted.
#[derive(Debug, Default)]
pub struct Limits {
    windows: Mutex<HashMap<Line, Window>>,
    open: Arc<Mutex<HashMap<Line, u64>>>,
}

/// A call that is open; over when it is dropped.
#[derive(Debug)]
pub struct OpenCall {
    open: Arc<Mutex<HashMap<Line, u64>>>,
    line: Line,
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.line) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.line);
            }
        }
    }
}

/// What a counted call met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    Within,
    /// The table's figure is reached, and what workers add to it is not known yet.
    AskWorkers,
    /// One too many; seconds until the window is over, at least 1.
    Beyond(u64),
}

impl Limits {
    fn count(&self, line: &Line, base: u64, now: Timestamp) -> Counted {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= WINDOWS_MAX && !windows.contains_key(line) {
            windows.retain(|_, window| now.since(window.from) < WINDOW);
        }
        let fresh = Window {
            from: now,
            calls: 0,
            most: None,
        };
        let window = windows.entry(line.clone()).or_insert(fresh);
        if now.since(window.from) >= WINDOW {
            *window = fresh;
        }
        if window.calls < window.most.unwrap_or(base) {
            window.calls += 1;
            return Counted::Within;
        }
        if window.most.is_none() && base >= PER_WORKER_FROM {
            return Counted::AskWorkers;
        }
        let wait = WINDOW.saturating_sub(now.since(window.from));
        Counted::Beyond(wait.as_millis().div_ceil(1_000).max(1))
    }

    /// What is in force for the rest of a window, now that the workers are known.
    fn allow(&self, line: &Line, most: u64) {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(window) = windows.get_mut(line) {
            window.most = Some(most);
        }
    }

    fn enter(&self, line: Line, most: Option<u64>) -> Option<OpenCall> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(line.clone()).or_default();
        if most.is_some_and(|most| *count >= most) {
            return None;
        }
        *count += 1;
        drop(open);
        Some(OpenCall {
            open: Arc::clone(&self.open),
            line,
        })
    }
}

/// Lets a call through, or says when to try again. The guard lasts as long as the answer.
///
/// # Errors
/// 429 with `Retry-After`.
pub(super) async fn admit(
    gateway: &Gateway,
    call: &Call,
    operation: Operation,
) -> Result<Option<OpenCall>, ApiError> {
    let Some((base, at_once)) = table(operation) else {
        return Ok(None);
    };
    // Emptying a queue is limited whatever the configuration: it cannot be undone.
    let applies = operation == Operation::PurgeQueue || applies_to(gateway, call);
    // What names no endpoint gets its 404 further on.
    let (true, Ok(endpoint)) = (applies, call.endpoint(gateway)) else {
        return Ok(None);
    };
    let key = match &call.caller {
        Some(caller) => Arc::clone(&caller.key_id),
        None => Arc::from(""),
    };
    let line = Line {
        key,
        endpoint: endpoint.id,
        operation,
    };
    let now = gateway.engine.now();
    let mut counted = gateway.limits.count(&line, base, now);
    if counted == Counted::AskWorkers {
        let view = gateway.engine.endpoint(endpoint.id).await;
        let running = view.map_or(0, |view| u64::from(view.workers.running));
        gateway
            .limits
            .allow(&line, base.max(running * CALLS_PER_WORKER));
        counted = gateway.limits.count(&line, base, now);
    }
    if let Counted::Beyond(seconds) = counted {
        return Err(too_many(
            seconds,
            format!("more than {base} such requests came within 10 seconds"),
        ));
    }
    match gateway.limits.enter(line, at_once) {
        Some(open) => Ok(Some(open)),
        None => Err(too_many(
            1,
            format!(
                "more than {} such requests are open at once",
                at_once.unwrap_or_default()
            ),
        )),
    }
}

/// Whether this caller is limited, as the configuration has it.
pub(super) fn applies_to(gateway: &Gateway, call: &Call) -> bool {
    match gateway.options.rate_limits {
        RateLimits::Off => false,
        RateLimits::All => true,
        RateLimits::Remote => !is_loopback(call.client_address(gateway)),
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn too_many(seconds: u64, message: String) -> ApiError {
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message)
        .hint(format!(
            "try again in {seconds} s; `rate_limits` of the configuration says who is limited"
        ))
        .retry_after(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(endpoint: u32, operation: Operation) -> Line {
        Line {
            key: Arc::from("k"),
            endpoint: EndpointId(endpoint),
            operation,
        }
    }

    #[test]
    fn the_third_purge_in_ten_seconds_waits() {
        let limits = Limits::default();
        let count = |endpoint, millis| {
            let at = Timestamp::from_millis(millis);
            limits.count(&line(endpoint, Operation::PurgeQueue), 2, at)
        };
        assert_eq!(count(1, 0), Counted::Within);
        assert_eq!(count(1, 4_000), Counted::Within);
        assert_eq!(count(1, 4_500), Counted::Beyond(6));
        assert_eq!(count(2, 4_500), Counted::Within);
        assert_eq!(count(1, 10_000), Counted::Within);
    }

    #[test]
    fn workers_raise_the_limit_of_what_jobs_make() {
        let limits = Limits::default();
        let (line, at) = (line(1, Operation::Run), Timestamp::from_millis(0));
        for _ in 0..1_000 {
            assert_eq!(limits.count(&line, 1_000, at), Counted::Within);
        }
        assert_eq!(limits.count(&line, 1_000, at), Counted::AskWorkers);
        limits.allow(&line, 1_001);
        assert_eq!(limits.count(&line, 1_000, at), Counted::Within);
        assert_eq!(limits.count(&line, 1_000, at), Counted::Beyond(10));
        let later = Timestamp::from_millis(10_000);
        assert_eq!(limits.count(&line, 1_000, later), Counted::Within);
    }

    #[test]
    fn a_call_is_open_until_it_is_dropped() {
        let limits = Limits::default();
        let requests = || line(1, Operation::Requests);
        let first = limits.enter(requests(), Some(2)).unwrap();
        let _second = limits.enter(requests(), Some(2)).unwrap();
        assert!(limits.enter(requests(), Some(2)).is_none());
        drop(first);
        assert!(limits.enter(requests(), Some(2)).is_some());
    }

    #[test]
    fn runpods_table_has_a_line_for_each_operation_that_it_names() {
        let limited: Vec<Operation> = crate::gateway::route::ROUTES
            .iter()
            .map(|route| route.operation)
            .filter(|operation| table(*operation).is_some())
            .collect();
        use Operation as Op;
        let expected = [
            Op::Run,
            Op::RunSync,
            Op::Status,
            Op::Stream,
            Op::Cancel,
            Op::PurgeQueue,
            Op::Requests,
            Op::OpenAi,
        ];
        assert_eq!(limited, expected);
    }
}
