//! What workers ask: jobs to do, jobs to stop; and what they post: chunks, progress, results
//! (`runpod-protocol.md` part B).
//!
//! An unmodified worker is fragile: it asks again at once after a quick error, drops a result after
//! any 4xx or a broken connection, and says nothing of it. So polls are held, errors are slow,
//! results are taken whatever they look like, and while the store does not confirm, a result's
//! request is held instead of refused.

pub(super) mod ping;
pub(super) mod post;
pub(super) mod stop;
pub(super) mod take;

use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, StatusCode, header};
use overspill_core::id::WorkerId;
use overspill_core::time::{DurationMs, Timestamp};

use super::Gateway;
use super::call::{Call, Credential};
use super::error::{ApiError, shown};
use crate::auth::worker_key;
use crate::engine::api::WorkerFacts;

/// Whether a request comes from RunPod's SDK, which loses a result on a stale connection: its
/// answers close theirs. Takes and posts come from aiohttp, pings from requests.
pub(super) fn is_runpod_sdk(headers: &HeaderMap) -> bool {
    headers
        .get(header::USER_AGENT)
        .and_then(|agent| agent.to_str().ok())
        .is_some_and(|agent| {
            agent.starts_with("RunPod-Python-SDK") || agent.starts_with("python-requests")
        })
}

/// When a stranger was logged last.
#[derive(Default)]
pub(crate) struct Strangers {
    logged_at: Mutex<Option<Timestamp>>,
}

impl Strangers {
    /// Whether it is time for another line: one a minute.
    fn is_time_to_log(&self, now: Timestamp) -> bool {
        let mut logged_at = self
            .logged_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_time = logged_at.is_none_or(|at| now.since(at) >= DurationMs::from_secs(60));
        if is_time {
            *logged_at = Some(now);
        }
        is_time
    }
}

/// A worker whose key is right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// Its id.
    pub(super) id: WorkerId,
    /// Absent when the incarnation is no more.
    pub(super) facts: Option<WorkerFacts>,
}

/// Which worker calls, by the id in its path and its key, in the path or in the header.
///
/// # Errors
/// 401, after a while, for one that is not ours.
pub(super) async fn known(gateway: &Gateway, call: &Call) -> Result<Known, ApiError> {
    match identify(gateway, call) {
        Some(known) => Ok(known),
        None => Err(stranger(gateway, call).await),
    }
}

/// As [`known`], and the incarnation lives.
pub(super) async fn living(
    gateway: &Gateway,
    call: &Call,
) -> Result<(WorkerId, WorkerFacts), ApiError> {
    if let Some(Known {
        id,
        facts: Some(facts),
    }) = identify(gateway, call)
    {
        return Ok((id, facts));
    }
    Err(stranger(gateway, call).await)
}

fn identify(gateway: &Gateway, call: &Call) -> Option<Known> {
    let id: WorkerId = call.params.get(1)?.parse().ok()?;
    let engine = gateway.engine();
    let secret = engine.server_secret();
    let in_header = match call.credential() {
        Ok(Credential::Text(text)) => worker_key::is_valid(secret, id, text),
        _ => false,
    };
    let in_path = call
        .path_key
        .as_deref()
        .is_some_and(|key| worker_key::is_valid(secret, id, key));
    if !in_header && !in_path && gateway.options().auth_required {
        return None;
    }
    let facts = engine.worker(id);
    let directory = engine.endpoints();
    let endpoint = directory.find(call.params.first()?)?;
    if facts.is_some_and(|facts| facts.endpoint != endpoint.id) {
        return None;
    }
    Some(Known { id, facts })
}

async fn stranger(gateway: &Gateway, call: &Call) -> ApiError {
    let worker = call.params.get(1).map_or("", String::as_str);
    if gateway.strangers.is_time_to_log(gateway.engine().now()) {
        tracing::warn!(
            worker = %shown(worker),
            remote = %call.peer.remote,
            "a worker called that is not known here, or with a wrong key"
        );
    }
    pause(gateway, gateway.options().holds.worker_error).await;
    ApiError::new(
        StatusCode::UNAUTHORIZED,
        "worker_unknown",
        "no living worker has this id and key",
    )
    .hint("workers are started by the server, with RUNPOD_POD_ID and RUNPOD_AI_API_KEY set by it")
    .closing()
}

/// Waits, but not beyond the beginning of a drain.
pub(super) async fn pause(gateway: &Gateway, length: std::time::Duration) {
    tokio::select! {
        biased;
        () = tokio::time::sleep(length) => {}
        () = gateway.drain.cancelled() => {}
    }
}
