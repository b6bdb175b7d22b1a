//! `/status` and `/status-sync`, and how a job is shown.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use overspill_core::effect::Answer;
use overspill_core::event::Event;
use overspill_core::id::JobId;
use overspill_core::time::DurationMs;
use overspill_wire::job::{JobStatus, StatusBody, TTL_MS, WAIT_DEFAULT_MS};
use overspill_wire::json;
use tokio::time::Instant;

use crate::auth::scope::Scope;
use crate::engine::api::{JobState, JobVersion, JobView, Unavailable};
use crate::gateway::Gateway;
use crate::gateway::body::{self, Body, Reply};
use crate::gateway::call::{Call, job_not_found, require};
use crate::gateway::error::ApiError;

/// GET `/status/{id}`; with `?wait=` it is held as `/status-sync` is.
pub(crate) async fn status(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let ttl = ttl_of(&call)?;
    let hold = call.wait(1_000)?;
    if let Some(ttl) = ttl {
        set_ttl(gateway, &call, ttl).await?;
    }
    held(gateway, call, hold.unwrap_or(Duration::ZERO)).await
}

/// Gives a live job this much time from now on; one that has ended is kept for its retention,
/// whatever is asked. It can end a job, so it needs the right to.
async fn set_ttl(gateway: &Arc<Gateway>, call: &Call, ttl: DurationMs) -> Result<(), ApiError> {
    if let Some(caller) = &call.caller {
        require(caller, Scope::JobsCancel)?;
    }
    let endpoint = call.endpoint(gateway)?;
    let job = call.job(gateway, &endpoint).await?;
    if job.state.is_final() {
        return Ok(());
    }
    let ask = move |request| Event::TtlSet {
        request,
        job: job.id,
        ttl,
    };
    match gateway.engine().ask(Vec::new(), Box::new(ask)).await {
        Answer::Noted | Answer::NotLive => Ok(()),
        _ => Err(ApiError::unavailable()),
    }
}

/// GET `/status-sync/{id}`: held until the job ends. The JavaScript SDK asks with what is left of
/// its time, which may be less than a second, and without a pause: so the hold is kept.
pub(crate) async fn status_sync(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let hold = call.wait(0)?;
    held(
        gateway,
        call,
        hold.unwrap_or(Duration::from_millis(WAIT_DEFAULT_MS)),
    )
    .await
}

async fn held(gateway: &Arc<Gateway>, call: Call, hold: Duration) -> Result<Reply, ApiError> {
    let endpoint = call.endpoint(gateway)?;
    let job = call.job(gateway, &endpoint).await?;
    if job.state.is_final() || hold.is_zero() {
        return Ok(of_job(&job));
    }
    match wait_for_end(gateway, job.id, job.version, hold).await {
        Ok(Some(job)) => Ok(of_job(&job)),
        Ok(None) => Err(job_not_found()),
        Err(Unavailable) => Err(ApiError::unavailable()),
    }
}

/// `?ttl=`, in milliseconds.
fn ttl_of(call: &Call) -> Result<Option<DurationMs>, ApiError> {
    let Some(text) = call.query.get("ttl") else {
        return Ok(None);
    };
    match text.parse::<u64>() {
        Ok(ttl) if TTL_MS.contains(&ttl) => Ok(Some(DurationMs::from_millis(ttl))),
        _ => Err(ApiError::bad_request(
            "ttl_invalid",
            format!(
                "ttl is invalid; must be between {} and {}",
                TTL_MS.start(),
                TTL_MS.end()
            ),
        )
        .field("ttl")
        .hint("ttl is in milliseconds")),
    }
}

/// The job once it has ended, or as it is when the hold has passed or the server drains.
pub(super) async fn wait_for_end(
    gateway: &Arc<Gateway>,
    id: JobId,
    mut known: JobVersion,
    hold: Duration,
) -> Result<Option<JobView>, Unavailable> {
    let end = Instant::now() + hold;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let seen = tokio::select! {
            biased;
            seen = gateway.engine().wait_job(id, known, left) => seen,
            () = gateway.drain.cancelled() => return gateway.engine().job(id).await,
        };
        match seen {
            Ok(Some(job)) => {
                if job.state.is_final() || Instant::now() >= end {
                    return Ok(Some(job));
                }
                known = job.version;
            }
            Ok(None) => return Ok(None),
            Err(Unavailable) if Instant::now() >= end => return Err(Unavailable),
            // The store is being read anew, which takes less than a second.
            Err(Unavailable) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// The state's word on the wire.
#[must_use]
pub(in crate::gateway) const fn word_of(state: JobState) -> JobStatus {
    match state {
        JobState::Queued => JobStatus::InQueue,
        JobState::Running => JobStatus::InProgress,
        JobState::Completed => JobStatus::Completed,
        JobState::Failed => JobStatus::Failed,
        JobState::Cancelled => JobStatus::Cancelled,
        JobState::TimedOut => JobStatus::TimedOut,
    }
}

/// A job's whole state; its output's bytes go as they are.
#[must_use]
pub(super) fn of_job(job: &JobView) -> Reply {
    let output: Option<&Bytes> = match job.state {
        JobState::Running => job.progress.as_ref(),
        _ => job.output.as_ref(),
    };
    let output = output.filter(|bytes| !bytes.is_empty());
    let is_queued = job.state == JobState::Queued;
    let is_running = job.state == JobState::Running;
    let body = StatusBody {
        id: &job.id.to_string(),
        status: word_of(job.state),
        delay_ms: job.delay_ms.filter(|_| !is_queued || job.retries > 0),
        execution_ms: job
            .execution_ms
            .filter(|_| !is_queued && (!is_running || output.is_some())),
        worker: job.worker.as_deref().filter(|_| !is_queued),
        retries: job.retries,
        error: job
            .error
            .as_deref()
            .filter(|_| matches!(job.state, JobState::Failed | JobState::TimedOut)),
        has_output: output.is_some(),
    };
    let (head, tail) = body.parts();
    body::json(Body::pieces([
        Bytes::from(head),
        output.cloned().unwrap_or_default(),
        Bytes::from(tail),
    ]))
}

/// Only id and state.
#[must_use]
pub(super) fn short(id: &str, status: JobStatus, warning: Option<&str>) -> Reply {
    let warning = warning.map_or_else(String::new, |text| {
        format!(",\"warning\":{}", json::quote(text))
    });
    body::json(format!(
        "{{\"id\":\"{id}\",\"status\":\"{}\"{warning}}}",
        status.word()
    ))
}
