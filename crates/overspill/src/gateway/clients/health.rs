//! `/health`, `/metrics` and `/requests` of an endpoint.

use std::sync::Arc;

use overspill_wire::health::{EndpointMetrics, Health, HealthJobs, HealthWorkers};
use overspill_wire::job::JobStatus;
use serde_json::json;

use super::status::word_of;
use crate::engine::api::{EndpointView, JobFilter, JobState, Unavailable};
use crate::gateway::Gateway;
use crate::gateway::body::{self, Reply};
use crate::gateway::call::Call;
use crate::gateway::error::{ApiError, shown};

/// Jobs that `/requests` lists at most.
const REQUESTS_MAX: u32 = 100;

/// GET `/health`.
pub(crate) async fn health(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let view = view(gateway, &call).await?;
    Ok(body::json_of(&Health {
        jobs: HealthJobs {
            completed: view.completed,
            failed: view.failed,
            in_progress: view.running,
            in_queue: view.queued,
            retried: view.retried,
        },
        workers: workers(&view),
    }))
}

/// GET `/metrics` of an endpoint.
pub(crate) async fn metrics(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let view = view(gateway, &call).await?;
    Ok(body::json_of(&EndpointMetrics {
        workers: workers(&view),
        ready_workers: view.ready_workers,
    }))
}

/// GET `/requests`: the newest jobs. Its shape at RunPod is not published; no SDK reads it.
pub(crate) async fn requests(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let endpoint = call.endpoint(gateway)?;
    let filter = JobFilter {
        endpoint: Some(endpoint.id),
        state: call.query.get("status").map(state_of).transpose()?,
        limit: REQUESTS_MAX,
        after: None,
    };
    let page = gateway
        .engine()
        .jobs(filter)
        .await
        .map_err(|Unavailable| ApiError::unavailable())?;
    let requests: Vec<serde_json::Value> = page
        .jobs
        .iter()
        .map(|job| {
            json!({
                "id": job.id.to_string(),
                "status": word_of(job.state).word(),
                "delayTime": job.delay_ms,
                "executionTime": job.execution_ms,
                "workerId": job.worker,
            })
        })
        .collect();
    Ok(body::json_of(&json!({ "requests": requests })))
}

/// A state by its word on the wire or by our own: `COMPLETED`, `completed`.
pub(in crate::gateway) fn state_of(word: &str) -> Result<JobState, ApiError> {
    let own = |status: JobStatus| match status {
        JobStatus::InQueue => (JobState::Queued, "queued"),
        JobStatus::InProgress => (JobState::Running, "running"),
        JobStatus::Completed => (JobState::Completed, "completed"),
        JobStatus::Failed => (JobState::Failed, "failed"),
        JobStatus::Cancelled => (JobState::Cancelled, "cancelled"),
        JobStatus::TimedOut => (JobState::TimedOut, "timed_out"),
    };
    JobStatus::ALL
        .into_iter()
        .find(|status| status.word() == word || own(*status).1 == word)
        .map(|status| own(status).0)
        .ok_or_else(|| {
            ApiError::bad_request(
                "status_unknown",
                format!("`{}` is no state of a job", shown(word)),
            )
            .field("status")
            .hint("use queued, running, completed, failed, cancelled or timed_out")
        })
}

async fn view(gateway: &Gateway, call: &Call) -> Result<EndpointView, ApiError> {
    let endpoint = call.endpoint(gateway)?;
    gateway
        .engine()
        .endpoint(endpoint.id)
        .await
        .ok_or_else(|| ApiError::not_found("endpoint_not_found", "the endpoint was removed"))
}

fn workers(view: &EndpointView) -> HealthWorkers {
    let counts = &view.workers;
    HealthWorkers {
        idle: counts.idle.into(),
        initializing: counts.initializing.into(),
        // The same as idle in every sample of the cloud.
        ready: counts.idle.into(),
        running: counts.running.into(),
        throttled: counts.throttled.into(),
        unhealthy: counts.unhealthy.into(),
    }
}
