//! The worker protocol: `job-take`, `job-take-batch`, `job-stop`, `job-done`, `job-stream`, `ping`.
//!
//! Takes and stops are held up to 50 seconds of real time and end in 204; no error is given quickly, for a worker
//! asks again at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use overspill_sim::cloud::{EndpointId, JobId, Payload, WorkerId};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::answer::{CallError, ok};
use crate::state::Shared;

/// How long a take or a stop is held.
const HOLD: Duration = Duration::from_secs(50);
/// The least time before a worker is told no.
const NO_PAUSE: Duration = Duration::from_secs(1);
/// Largest body that is read at all.
const BODY_BYTES: usize = 100_000_000;
/// What is taken of a result; above it is answered 400 and the result is lost.
const RESULT_BYTES: usize = 20_000_000;
/// The most jobs of one take.
const BATCH_MAX: usize = 100;

type Answer = Result<Response, CallError>;
type Params = Query<HashMap<String, String>>;

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v2/{endpoint}/job-take/{worker}", get(take))
        .route("/v2/{endpoint}/job-take-batch/{worker}", get(take_batch))
        .route("/v2/{endpoint}/job-stop/{worker}", get(stop))
        .route("/v2/{endpoint}/job-done/{worker}/{job}", post(done))
        .route("/v2/{endpoint}/job-stream/{worker}/{job}", post(chunk))
        .route("/v2/{endpoint}/ping/{worker}", get(ping))
}

async fn take(
    State(shared): State<Arc<Shared>>,
    Path((endpoint, worker)): Path<(String, String)>,
) -> Response {
    let (endpoint, worker) = (EndpointId::from(endpoint), WorkerId::from(worker));
    let mut jobs = wait_for_jobs(&shared, &endpoint, &worker, 1).await;
    match jobs.pop() {
        Some(job) => ok(&job),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

async fn take_batch(
    State(shared): State<Arc<Shared>>,
    Path((endpoint, worker)): Path<(String, String)>,
    Query(params): Params,
) -> Response {
    let room = params
        .get("batch_size")
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    let (endpoint, worker) = (EndpointId::from(endpoint), WorkerId::from(worker));
    let jobs = wait_for_jobs(&shared, &endpoint, &worker, room.clamp(1, BATCH_MAX)).await;
    if jobs.is_empty() {
        StatusCode::NO_CONTENT.into_response()
    } else {
        ok(&jobs)
    }
}

async fn wait_for_jobs(
    shared: &Arc<Shared>,
    endpoint: &EndpointId,
    worker: &WorkerId,
    room: usize,
) -> Vec<overspill_sim::cloud::JobOrder> {
    let deadline = tokio::time::Instant::now() + HOLD;
    let work = shared.work.join(endpoint.clone());
    let orders = shared.workers.join(worker.clone());
    loop {
        let offered = work.signal.notified();
        let ordered = orders.signal.notified();
        let (taken, is_taking) = shared.call(|model, now_ms| {
            let taken = model.take_jobs(now_ms, endpoint, worker, room);
            (taken, model.is_taking(now_ms, endpoint, worker))
        });
        match taken {
            Ok(jobs) if !jobs.is_empty() => return jobs,
            Ok(_) if is_taking => {}
            // Draining, stopped or never known: no job, but not at once.
            Ok(_) | Err(_) => {
                tokio::time::sleep(NO_PAUSE).await;
                return Vec::new();
            }
        }
        tokio::select! {
            () = offered => {}
            () = ordered => {}
            () = tokio::time::sleep_until(deadline) => return Vec::new(),
        }
    }
}

async fn stop(
    State(shared): State<Arc<Shared>>,
    Path((endpoint, worker)): Path<(String, String)>,
) -> Response {
    let (endpoint, worker) = (EndpointId::from(endpoint), WorkerId::from(worker));
    let deadline = tokio::time::Instant::now() + HOLD;
    let orders = shared.workers.join(worker.clone());
    loop {
        let ordered = orders.signal.notified();
        let (jobs, is_taking) = shared.call(|model, now_ms| {
            let jobs = model.jobs_to_stop(now_ms, &endpoint, &worker);
            (jobs, model.is_taking(now_ms, &endpoint, &worker))
        });
        match jobs {
            Ok(jobs) if !jobs.is_empty() => {
                return ok(&serde_json::json!({"jobsToStop": jobs}));
            }
            Ok(_) if is_taking => {}
            Ok(_) | Err(_) => {
                tokio::time::sleep(NO_PAUSE).await;
                return StatusCode::NO_CONTENT.into_response();
            }
        }
        tokio::select! {
            () = ordered => {}
            () = tokio::time::sleep_until(deadline) => return StatusCode::NO_CONTENT.into_response(),
        }
    }
}

#[derive(Deserialize)]
struct Posted {
    output: Option<Box<RawValue>>,
    error: Option<Box<RawValue>>,
    status: Option<String>,
}

async fn read(body: Body) -> Result<Posted, CallError> {
    let bytes = to_bytes(body, BODY_BYTES)
        .await
        .map_err(|_| CallError::bad_request("json is invalid; max size is 20 MB"))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| CallError::bad_request(format!("json is invalid: {error}")))
}

async fn done(
    State(shared): State<Arc<Shared>>,
    Path((endpoint, worker, job)): Path<(String, String, String)>,
    body: Body,
) -> Answer {
    let endpoint = EndpointId::from(endpoint);
    let (worker, job) = (WorkerId::from(worker), JobId::from(job));
    let posted = read(body).await?;
    let is_error = |text: &str| !matches!(text, "null" | "\"\"" | "false" | "0" | "{}" | "[]");
    let error = posted.error.filter(|error| is_error(error.get()));
    let output: Option<Payload> = posted.output.map(Payload::from);
    if let Some(error) = error {
        let result = Err(Payload::from(error));
        shared.call(|model, now_ms| model.post_result(now_ms, &endpoint, &worker, &job, result))?;
    } else if posted.status.as_deref() == Some("IN_PROGRESS") {
        if let Some(output) = output {
            shared.call(|model, now_ms| model.post_progress(now_ms, &endpoint, &job, output))?;
        }
    } else {
        let is_large = output
            .as_ref()
            .is_some_and(|output| output.get().len() > RESULT_BYTES);
        if is_large {
            shared
                .call(|model, now_ms| model.result_too_large(now_ms, &endpoint, &worker, &job))?;
            return Err(CallError::bad_request("json is invalid; max size is 20 MB"));
        }
        let empty = || RawValue::from_string("{}".into()).map(Payload::from);
        let output = match output {
            Some(output) => output,
            None => empty().map_err(|error| CallError::bad_request(error.to_string()))?,
        };
        shared.call(|model, now_ms| {
            model.post_result(now_ms, &endpoint, &worker, &job, Ok(output))
        })?;
    }
    Ok(ok(&serde_json::json!({})))
}

async fn chunk(
    State(shared): State<Arc<Shared>>,
    Path((endpoint, _worker, job)): Path<(String, String, String)>,
    body: Body,
) -> Answer {
    let (endpoint, job) = (EndpointId::from(endpoint), JobId::from(job));
    let posted = read(body).await?;
    if let Some(output) = posted.output.map(Payload::from) {
        shared.call(|model, now_ms| model.post_chunk(now_ms, &endpoint, &job, &output))?;
    }
    Ok(ok(&serde_json::json!({})))
}

async fn ping(
    State(shared): State<Arc<Shared>>,
    Path((endpoint, worker)): Path<(String, String)>,
    Query(params): Params,
) -> Answer {
    let (endpoint, worker) = (EndpointId::from(endpoint), WorkerId::from(worker));
    let jobs: Vec<JobId> = params
        .get("job_id")
        .map(|text| {
            text.split(',')
                .filter(|id| !id.is_empty())
                .map(JobId::from)
                .collect()
        })
        .unwrap_or_default();
    shared.call(|model, now_ms| model.ping(now_ms, &endpoint, &worker, &jobs))?;
    Ok(ok(&serde_json::json!({})))
}
