//! `/api/v1/jobs`.

use std::sync::Arc;

use overspill_core::placement::pool_order::Because;
use serde_json::{Map, Value, json};

use super::limit;
use crate::engine::api::{
    AttemptView, EndpointDirectory, JobFilter, JobState, JobView, Unavailable,
};
use crate::gateway::Gateway;
use crate::gateway::body::{self, Reply};
use crate::gateway::call::{Call, job_not_found};
use crate::gateway::clients::health::state_of;
use crate::gateway::error::{ApiError, shown};
use crate::otel::TraceContext;

/// GET: newest first, `?endpoint=&status=&limit=&after=`.
pub(crate) async fn list(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let directory = gateway.engine().endpoints();
    let endpoint = match call.query.get("endpoint") {
        None => None,
        Some(name) => Some(
            directory
                .find(name)
                .filter(|entry| sees(&call, &entry.name))
                .ok_or_else(|| {
                    ApiError::not_found(
                        "endpoint_not_found",
                        format!("there is no endpoint `{}`", shown(name)),
                    )
                    .field("endpoint")
                })?
                .id,
        ),
    };
    let after = call
        .query
        .get("after")
        .map(|text| {
            text.parse().map_err(|_| {
                ApiError::bad_request("cursor_invalid", "after is no job's id").field("after")
            })
        })
        .transpose()?;
    let filter = JobFilter {
        endpoint,
        state: call.query.get("status").map(state_of).transpose()?,
        limit: limit(&call, 50, 1_000)?,
        after,
    };
    let page = gateway
        .engine()
        .jobs(filter)
        .await
        .map_err(|Unavailable| ApiError::unavailable())?;
    let jobs: Vec<Value> = page
        .jobs
        .iter()
        .filter_map(|job| Some((job, name_of(&directory, &call, job)?)))
        .map(|(job, name)| Value::Object(shape(job, name)))
        .collect();
    Ok(body::json_of(&json!({
        "jobs": jobs,
        "next": page.next.map(|id| id.to_string()),
    })))
}

/// GET `{job}`: with its attempts.
pub(crate) async fn show(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let id = call.job_id(0)?;
    let story = gateway
        .engine()
        .story(id)
        .await
        .map_err(|Unavailable| ApiError::unavailable())?
        .ok_or_else(job_not_found)?;
    let directory = gateway.engine().endpoints();
    let name = name_of(&directory, &call, &story.job).ok_or_else(job_not_found)?;
    let mut job = shape(&story.job, name);
    job.insert("error".into(), json!(story.job.error));
    job.insert("error_code".into(), json!(story.job.error_code));
    job.insert("webhook".into(), json!(story.job.webhook));
    let context = story.job.trace.as_deref().and_then(TraceContext::stored);
    let trace_id = context.map(|context| context.trace_id_text());
    job.insert("trace_id".into(), json!(trace_id));
    job.insert("retries".into(), json!(story.job.retries));
    job.insert("cost".into(), json!(story.cost));
    let attempts: Vec<Value> = story.attempts.iter().map(attempt_shape).collect();
    job.insert("attempts".into(), Value::Array(attempts));
    Ok(body::json_of(&job))
}

fn sees(call: &Call, endpoint: &str) -> bool {
    call.caller.as_ref().is_none_or(|c| c.sees(endpoint))
}

/// The name of a job's endpoint, if the caller may know of it; empty for one that was removed.
fn name_of<'a>(directory: &'a EndpointDirectory, call: &Call, job: &JobView) -> Option<&'a str> {
    let name = directory
        .get(job.endpoint)
        .map_or("", |entry| entry.name.as_str());
    sees(call, name).then_some(name)
}

pub(super) const fn state_word(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "queued",
        JobState::Running => "running",
        JobState::Completed => "completed",
        JobState::Failed => "failed",
        JobState::Cancelled => "cancelled",
        JobState::TimedOut => "timed_out",
    }
}

fn shape(job: &JobView, endpoint: &str) -> Map<String, Value> {
    let value = json!({
        "id": job.id.to_string(),
        "endpoint": endpoint,
        "status": state_word(job.state),
        "submitted_at_ms": job.submitted_at.as_millis(),
        "started_at_ms": job.started_at.map(|at| at.as_millis()),
        "ended_at_ms": job.ended_at.map(|at| at.as_millis()),
        "pool": job.pool,
        "worker": job.worker,
        "region": job.region,
        "attempt": job.attempt,
        "delay_ms": job.delay_ms,
        "execution_ms": job.execution_ms,
    });
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

fn attempt_shape(attempt: &AttemptView) -> Value {
    let site = attempt.site.as_ref();
    let because = site.and_then(|site| site.because);
    json!({
        "generation": attempt.id.generation,
        "number": attempt.id.number,
        "pool": attempt.pool,
        "worker": attempt.worker,
        "leased_at_ms": attempt.leased_at.as_millis(),
        "started_at_ms": attempt.started_at.map(|at| at.as_millis()),
        "ended_at_ms": attempt.ended_at.map(|at| at.as_millis()),
        "outcome": attempt.outcome,
        "gpu": site.and_then(|site| site.gpu.as_deref()),
        "region": site.and_then(|site| site.region),
        "because": because.map(Because::code),
        "because_text": because.map(Because::words),
    })
}
