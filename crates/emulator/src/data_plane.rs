//! The data plane for clients: `/v2/{endpoint}/run`, `/runsync`, `/status`, `/stream`, `/cancel`, `/retry`, `/purge-queue`,
//! `/health`, `/requests`, `/metrics`.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::{any, get, post};
use http::{HeaderMap, StatusCode, header};
use overspill_sim::cloud::{
    EndpointId, HttpFault, JobId, JobPolicy, JobView, Operation, Payload, Submission,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::answer::{CallError, ok};
use crate::state::{OpenCall, Shared};

/// Largest body of `/run`.
const RUN_BYTES: usize = 10_000_000;
/// Largest body of `/runsync`.
const RUNSYNC_BYTES: usize = 20_000_000;
/// How long `/runsync` and `/status-sync` hold when the caller does not say.
const HOLD_MS: i64 = 90_000;
/// How long an empty `/stream` poll is held when the caller does not say.
const STREAM_HOLD_MS: i64 = 10_000;

type Answer = Result<Response, CallError>;
type Params = Query<HashMap<String, String>>;

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v2/{endpoint}/run", post(run))
        .route("/v2/{endpoint}/runsync", post(runsync))
        .route("/v2/{endpoint}/status/{job}", get(status).post(status))
        .route(
            "/v2/{endpoint}/status-sync/{job}",
            get(status_sync).post(status_sync),
        )
        .route("/v2/{endpoint}/stream/{job}", get(stream).post(stream))
        .route("/v2/{endpoint}/cancel/{job}", post(cancel))
        .route("/v2/{endpoint}/retry/{job}", post(retry))
        .route("/v2/{endpoint}/purge-queue", post(purge_queue))
        .route("/v2/{endpoint}/health", get(health))
        .route("/v2/{endpoint}/requests", get(requests))
        .route("/v2/{endpoint}/metrics", get(metrics))
        .route("/v2/{endpoint}/openai/{*route}", any(crate::openai::openai))
}

/// The key of a caller: any, but there must be one.
pub(crate) fn key_of(headers: &HeaderMap) -> Result<&str, CallError> {
    let text = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .map(str::trim)
        .unwrap_or_default();
    let key = text.strip_prefix("Bearer ").unwrap_or(text).trim();
    if key.is_empty() || key == "Bearer" {
        return Err(CallError::new(StatusCode::UNAUTHORIZED, "missing API key"));
    }
    Ok(key)
}

/// What every call of a client goes through: key, ordered faults, rate.
pub(crate) fn admit(
    shared: &Arc<Shared>,
    headers: &HeaderMap,
    endpoint: &EndpointId,
    word: &str,
    operation: Option<Operation>,
) -> Result<Option<OpenCall>, CallError> {
    let key = key_of(headers)?;
    match shared.call(|model, now_ms| model.http_fault(now_ms, Some(endpoint), word)) {
        Some(HttpFault::TooMany(retry_after_s)) => return Err(CallError::too_many(retry_after_s)),
        Some(HttpFault::Status(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return Err(CallError::new(status, "ordered by /emulator/faults"));
        }
        None => {}
    }
    let Some(operation) = operation else {
        return Ok(None);
    };
    shared
        .call(|model, now_ms| model.count_data_call(now_ms, key, endpoint, operation))
        .map_err(|exceeded| CallError::too_many(exceeded.retry_after_s))?;
    match shared.enter(endpoint, operation) {
        Some(open) => Ok(Some(open)),
        None => Err(CallError::too_many(1)),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RunBody {
    input: Option<Box<RawValue>>,
    webhook: Option<String>,
    policy: Option<PolicyBody>,
    s3_config: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PolicyBody {
    execution_timeout: Option<u64>,
    ttl: Option<u64>,
    #[serde(default)]
    low_priority: bool,
}

const SEVEN_DAYS_MS: u64 = 604_800_000;

fn check_span(name: &str, value: Option<u64>, least_ms: u64) -> Result<Option<u64>, CallError> {
    match value {
        Some(ms) if !(least_ms..=SEVEN_DAYS_MS).contains(&ms) => Err(CallError::bad_request(
            format!("policy.{name} is {ms} ms; it must be between {least_ms} and {SEVEN_DAYS_MS}"),
        )),
        value => Ok(value),
    }
}

async fn read_submission(body: Body, most: usize, is_sync: bool) -> Result<Submission, CallError> {
    let too_large = || {
        let megabytes = most / 1_000_000;
        CallError::bad_request(format!("json is invalid; max size is {megabytes} MB"))
    };
    let bytes = to_bytes(body, most).await.map_err(|_| too_large())?;
    let body: RunBody = serde_json::from_slice(&bytes)
        .map_err(|error| CallError::bad_request(format!("json is invalid: {error}")))?;
    let input = body.input.ok_or_else(|| {
        CallError::bad_request("input is missing: the body must be {\"input\": …}")
    })?;
    let policy = match body.policy {
        None => JobPolicy::default(),
        Some(policy) => JobPolicy {
            execution_timeout_ms: check_span("executionTimeout", policy.execution_timeout, 5_000)?,
            ttl_ms: check_span("ttl", policy.ttl, 10_000)?,
            is_low_priority: policy.low_priority,
        },
    };
    Ok(Submission {
        input: input.into(),
        is_sync,
        policy,
        webhook: body.webhook.filter(|url| !url.is_empty()),
        s3_config: body.s3_config.map(Payload::from),
    })
}

/// What a new job is answered with: never more than id and state.
#[derive(Serialize)]
struct Accepted<'a> {
    id: &'a JobId,
    status: &'a str,
}

async fn run(
    State(shared): State<Arc<Shared>>,
    Path(endpoint): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let endpoint = EndpointId::from(endpoint);
    let _open = admit(&shared, &headers, &endpoint, "run", Some(Operation::Run))?;
    let order = read_submission(body, RUN_BYTES, false).await?;
    let job = submit(&shared, &endpoint, order).await?;
    Ok(ok(&Accepted {
        id: &job.id,
        status: "IN_QUEUE",
    }))
}

pub(crate) async fn submit(
    shared: &Arc<Shared>,
    endpoint: &EndpointId,
    order: Submission,
) -> Result<JobView, CallError> {
    let (job, hangs) = shared.call(|model, now_ms| {
        let job = model.submit(now_ms, endpoint, order)?;
        Ok::<_, CallError>((job, model.hangs_after_accept(now_ms, endpoint)))
    })?;
    if hangs {
        // The caller never learns the id: that is the fault.
        std::future::pending::<()>().await;
    }
    Ok(job)
}

/// Reads `?wait=`; the words of the refusal are the cloud's.
fn wait_of(params: &HashMap<String, String>, default_ms: i64) -> Result<i64, CallError> {
    let Some(text) = params.get("wait") else {
        return Ok(default_ms);
    };
    text.parse()
        .ok()
        .filter(|wait| (1_000..=300_000).contains(wait))
        .ok_or_else(|| CallError::bad_request("wait is invalid; must be between 1000 and 300000"))
}

/// Holds until the job has ended or `hold_ms` of cloud time are over, and shows it.
pub(crate) async fn hold(
    shared: &Arc<Shared>,
    endpoint: &EndpointId,
    job: &JobId,
    hold_ms: i64,
) -> Result<JobView, CallError> {
    let until_ms = shared.clock.now_ms() + hold_ms;
    let waiter = shared.jobs.join(job.clone());
    let mut is_over = false;
    loop {
        let changed = waiter.signal.notified();
        let view = shared.call(|model, now_ms| model.status(now_ms, endpoint, job))?;
        if view.status.is_final() || is_over {
            return Ok(view);
        }
        tokio::select! {
            () = changed => {}
            () = shared.sleep_until(until_ms) => is_over = true,
        }
    }
}

async fn runsync(
    State(shared): State<Arc<Shared>>,
    Path(endpoint): Path<String>,
    Query(params): Params,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let endpoint = EndpointId::from(endpoint);
    let _open = admit(
        &shared,
        &headers,
        &endpoint,
        "runsync",
        Some(Operation::RunSync),
    )?;
    let hold_ms = wait_of(&params, HOLD_MS)?;
    let order = read_submission(body, RUNSYNC_BYTES, true).await?;
    let job = submit(&shared, &endpoint, order).await?;
    Ok(ok(&hold(&shared, &endpoint, &job.id, hold_ms).await?))
}

async fn status(
    State(shared): State<Arc<Shared>>,
    Path((endpoint, job)): Path<(String, String)>,
    Query(params): Params,
    headers: HeaderMap,
) -> Answer {
    let (endpoint, job) = (EndpointId::from(endpoint), JobId::from(job));
    let _open = admit(
        &shared,
        &headers,
        &endpoint,
        "status",
        Some(Operation::Status),
    )?;
    if let Some(text) = params.get("ttl") {
        let ttl_ms: u64 = text.parse().map_err(|_| {
            CallError::bad_request(format!("ttl {text:?} is not a number of milliseconds"))
        })?;
        shared.call(|model, now_ms| model.set_ttl(now_ms, &endpoint, &job, ttl_ms))?;
    }
    let view = shared.call(|model, now_ms| model.status(now_ms, &endpoint, &job))?;
    Ok(ok(&view))
}

async fn status_sync(
    State(shared): State<Arc<Shared>>,
    Path((endpoint, job)): Path<(String, String)>,
    Query(params): Params,
    headers: HeaderMap,
) -> Answer {
    let (endpoint, job) = (EndpointId::from(endpoint), JobId::from(job));
    let _open = admit(&shared, &headers, &endpoint, "status-sync", None)?;
    let hold_ms = wait_of(&params, HOLD_MS)?;
    Ok(ok(&hold(&shared, &endpoint, &job, hold_ms).await?))
}

#[derive(Serialize)]
struct Chunk {
    output: Payload,
}

#[derive(Serialize)]
struct Streamed<'a> {
    id: &'a JobId,
    status: overspill_sim::cloud::JobStatus,
    stream: Vec<Chunk>,
}

async fn stream(
    State(shared): State<Arc<Shared>>,
    Path((endpoint, job)): Path<(String, String)>,
    Query(params): Params,
    headers: HeaderMap,
) -> Answer {
    let (endpoint, job) = (EndpointId::from(endpoint), JobId::from(job));
    let _open = admit(
        &shared,
        &headers,
        &endpoint,
        "stream",
        Some(Operation::Stream),
    )?;
    let until_ms = shared.clock.now_ms() + wait_of(&params, STREAM_HOLD_MS)?;
    let waiter = shared.jobs.join(job.clone());
    let mut is_over = false;
    loop {
        let changed = waiter.signal.notified();
        // One call: a final state comes with all that is left of the stream.
        let view = shared.call(|model, now_ms| model.stream(now_ms, &endpoint, &job))?;
        if !view.chunks.is_empty() || view.job.status.is_final() || is_over {
            return Ok(ok(&Streamed {
                id: &job,
                status: view.job.status,
                stream: view
                    .chunks
                    .into_iter()
                    .map(|output| Chunk { output })
                    .collect(),
            }));
        }
        tokio::select! {
            () = changed => {}
            () = shared.sleep_until(until_ms) => is_over = true,
        }
    }
}

async fn cancel(
    State(shared): State<Arc<Shared>>,
    Path((endpoint, job)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    let (endpoint, job) = (EndpointId::from(endpoint), JobId::from(job));
    let _open = admit(
        &shared,
        &headers,
        &endpoint,
        "cancel",
        Some(Operation::Cancel),
    )?;
    let view = shared.call(|model, now_ms| model.cancel(now_ms, &endpoint, &job))?;
    Ok(ok(&view))
}

async fn retry(
    State(shared): State<Arc<Shared>>,
    Path((endpoint, job)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    let (endpoint, job) = (EndpointId::from(endpoint), JobId::from(job));
    admit(&shared, &headers, &endpoint, "retry", None)?;
    let view = shared.call(|model, now_ms| model.retry(now_ms, &endpoint, &job))?;
    Ok(ok(&Accepted {
        id: &view.id,
        status: "IN_QUEUE",
    }))
}

async fn purge_queue(
    State(shared): State<Arc<Shared>>,
    Path(endpoint): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let endpoint = EndpointId::from(endpoint);
    let _open = admit(
        &shared,
        &headers,
        &endpoint,
        "purge-queue",
        Some(Operation::PurgeQueue),
    )?;
    let removed = shared.call(|model, now_ms| model.purge_queue(now_ms, &endpoint))?;
    Ok(ok(
        &serde_json::json!({"removed": removed, "status": "completed"}),
    ))
}

async fn health(
    State(shared): State<Arc<Shared>>,
    Path(endpoint): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let endpoint = EndpointId::from(endpoint);
    admit(&shared, &headers, &endpoint, "health", None)?;
    let health = shared.call(|model, now_ms| model.health(now_ms, &endpoint))?;
    Ok(ok(&health))
}

async fn requests(
    State(shared): State<Arc<Shared>>,
    Path(endpoint): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let endpoint = EndpointId::from(endpoint);
    let _open = admit(
        &shared,
        &headers,
        &endpoint,
        "requests",
        Some(Operation::Requests),
    )?;
    let jobs = shared.call(|model, now_ms| model.requests(now_ms, &endpoint))?;
    Ok(ok(&serde_json::json!({"requests": jobs})))
}

async fn metrics(
    State(shared): State<Arc<Shared>>,
    Path(endpoint): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let endpoint = EndpointId::from(endpoint);
    admit(&shared, &headers, &endpoint, "metrics", None)?;
    let (workers, _) = shared.call(|model, now_ms| model.workers(now_ms, &endpoint))?;
    let ready: Vec<_> = workers
        .iter()
        .filter(|worker| matches!(worker.status, "IDLE" | "RUNNING"))
        .map(|worker| &worker.id)
        .collect();
    let states: HashMap<&str, &str> = workers
        .iter()
        .map(|worker| (worker.id.as_str(), worker.status))
        .collect();
    Ok(ok(
        &serde_json::json!({"readyWorkers": ready, "workers": states}),
    ))
}
