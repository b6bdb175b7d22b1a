//! `/cancel`, `/retry` and `/purge-queue`. Their bodies are ignored: clients send none, or `{}`.

use std::sync::Arc;

use http::StatusCode;
use overspill_core::change::FinalState;
use overspill_core::effect::Answer;
use overspill_core::event::Event;
use overspill_wire::job::JobStatus;

use super::status::{short, word_of};
use super::submit::submit_refused;
use crate::engine::api::{JobState, RetryAnswer, Unavailable};
use crate::gateway::Gateway;
use crate::gateway::body::{self, Reply};
use crate::gateway::call::{Call, job_not_found};
use crate::gateway::error::ApiError;
use crate::otel::TraceContext;

/// POST `/cancel/{id}`: the job's state afterwards. A job that had ended keeps its true state.
pub(crate) async fn cancel(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let endpoint = call.endpoint(gateway)?;
    let job = call.job(gateway, &endpoint).await?;
    let id = job.id;
    if job.state.is_final() {
        return Ok(short(&id.to_string(), word_of(job.state), None));
    }
    let ask = move |request| Event::CancelAsked { request, job: id };
    match gateway.engine().ask(Vec::new(), Box::new(ask)).await {
        Answer::Cancelled { job, state } => {
            let status = match state {
                FinalState::Completed => JobStatus::Completed,
                FinalState::Failed => JobStatus::Failed,
                FinalState::Cancelled => JobStatus::Cancelled,
                FinalState::TimedOut => JobStatus::TimedOut,
            };
            Ok(short(&job.to_string(), status, None))
        }
        // It ended in between.
        Answer::NotLive => match gateway.engine().job(id).await {
            Ok(Some(job)) => Ok(short(&id.to_string(), word_of(job.state), None)),
            Ok(None) => Err(job_not_found()),
            Err(Unavailable) => Err(ApiError::unavailable()),
        },
        _ => Err(ApiError::unavailable()),
    }
}

/// POST `/retry/{id}`: queued again under its id, from FAILED or TIMED_OUT only.
pub(crate) async fn retry(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let endpoint = call.endpoint(gateway)?;
    let job = call.job(gateway, &endpoint).await?;
    if !matches!(job.state, JobState::Failed | JobState::TimedOut) {
        return Err(not_retryable(job.state));
    }
    // A caller that is in a trace has the new run in it; else the job stays in its own.
    let trace = TraceContext::of_request(&call.headers).map(|caller| caller.to_stored());
    match gateway.engine().retry(job.id, trace, call.key()).await {
        Ok(RetryAnswer::Queued) => Ok(short(&job.id.to_string(), JobStatus::InQueue, None)),
        Ok(RetryAnswer::Overtaken) => Err(ApiError::new(
            StatusCode::CONFLICT,
            "job_not_retryable",
            "another /retry of the job came first",
        )
        .hint("ask /status how that one goes")),
        Ok(RetryAnswer::NotRetryable(job)) => Err(not_retryable(job.state)),
        Ok(RetryAnswer::NotFound) => Err(job_not_found()),
        Ok(RetryAnswer::Refused(refusal)) => Err(submit_refused(refusal)),
        Err(Unavailable) => Err(ApiError::unavailable()),
    }
}

fn not_retryable(state: JobState) -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        "job_not_retryable",
        format!(
            "the job is {}; only FAILED and TIMED_OUT jobs are retried",
            word_of(state).word()
        ),
    )
    .hint("submit it anew with /run")
}

/// POST `/purge-queue`: removes what is queued, and nothing else.
pub(crate) async fn purge_queue(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let endpoint = call.endpoint(gateway)?;
    let id = endpoint.id;
    let ask = move |request| Event::PurgeAsked {
        request,
        endpoint: id,
    };
    match gateway.engine().ask(Vec::new(), Box::new(ask)).await {
        Answer::Purged { removed } => Ok(body::json(format!(
            "{{\"removed\":{removed},\"status\":\"completed\"}}"
        ))),
        Answer::NotFound => Err(ApiError::not_found(
            "endpoint_not_found",
            "the endpoint was removed",
        )),
        _ => Err(ApiError::unavailable()),
    }
}
