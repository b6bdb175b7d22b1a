//! `/v2/{endpoint}/openai/…`: the call becomes an ordinary job, and what its worker yields becomes the answer.
//!
//! String yields are server-sent events as raw text and pass through unchanged; the first other yield is the answer
//! of a call that does not stream. A failed job is answered with the HTTP status that its error names, else 500.

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::{HeaderMap, Method, StatusCode, header};
use overspill_sim::cloud::{
    EndpointId, JobId, JobPolicy, JobStatus, Operation, Payload, Submission,
};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::answer::CallError;
use crate::data_plane::{admit, submit};
use crate::state::Shared;

/// How long a call may take in all.
const LONGEST_MS: i64 = 300_000;

pub(crate) async fn openai(
    State(shared): State<Arc<Shared>>,
    Path((endpoint, route)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, CallError> {
    let endpoint = EndpointId::from(endpoint);
    let open = admit(
        &shared,
        &headers,
        &endpoint,
        "openai",
        Some(Operation::OpenAi),
    )?;
    let bytes = to_bytes(body, 20_000_000)
        .await
        .map_err(|_| CallError::bad_request("json is invalid; max size is 20 MB"))?;
    let mut input = json!({"openai_route": format!("/{route}")});
    let mut wants_stream = false;
    if method != Method::GET && !bytes.is_empty() {
        let body: Value = serde_json::from_slice(&bytes)
            .map_err(|error| CallError::bad_request(format!("json is invalid: {error}")))?;
        wants_stream = body.get("stream").and_then(Value::as_bool).unwrap_or(false);
        input["openai_input"] = body;
    }
    let input = RawValue::from_string(input.to_string())
        .map_err(|error| CallError::bad_request(format!("json is invalid: {error}")))?;
    let order = Submission {
        input: input.into(),
        is_sync: true,
        policy: JobPolicy::default(),
        webhook: None,
        s3_config: None,
    };
    let job = submit(&shared, &endpoint, order).await?.id;
    let until_ms = shared.clock.now_ms() + LONGEST_MS;
    let first = next(&shared, &endpoint, &job, until_ms).await?;
    if !wants_stream {
        return Ok(whole(first));
    }
    let Yields {
        chunks,
        status,
        error,
    } = first;
    if chunks.is_empty() && status.is_final() {
        return Ok(failed(error.as_ref()));
    }
    let state = Some((chunks, status));
    let events = stream::unfold((state, shared, open), move |(state, shared, open)| {
        let (endpoint, job) = (endpoint.clone(), job.clone());
        async move {
            let (chunks, status) = state?;
            let bytes: Vec<u8> = chunks.iter().flat_map(event).collect();
            let following = if status.is_final() {
                None
            } else {
                let yields = next(&shared, &endpoint, &job, until_ms).await.ok();
                yields.map(|yields| (yields.chunks, yields.status))
            };
            let item = Ok::<_, std::convert::Infallible>(Bytes::from(bytes));
            Some((item, (following, shared, open)))
        }
    });
    Ok((
        [(header::CONTENT_TYPE, "text/event-stream")],
        Body::from_stream(events),
    )
        .into_response())
}

struct Yields {
    chunks: Vec<Payload>,
    status: JobStatus,
    error: Option<Payload>,
}

/// Waits for the next yields, or the end of the job.
async fn next(
    shared: &Arc<Shared>,
    endpoint: &EndpointId,
    job: &JobId,
    until_ms: i64,
) -> Result<Yields, CallError> {
    let waiter = shared.jobs.join(job.clone());
    loop {
        let changed = waiter.signal.notified();
        let view = shared.call(|model, now_ms| model.stream(now_ms, endpoint, job))?;
        if !view.chunks.is_empty() || view.job.status.is_final() {
            return Ok(Yields {
                chunks: view.chunks,
                status: view.job.status,
                error: view.job.error,
            });
        }
        tokio::select! {
            () = changed => {}
            () = shared.sleep_until(until_ms) => {
                return Err(CallError::new(StatusCode::GATEWAY_TIMEOUT, "the worker did not answer in time"));
            }
        }
    }
}

/// The answer of a call that does not stream: the first yield. An OpenAI error inside it is passed on
/// with HTTP 200, as the cloud does.
fn whole(yields: Yields) -> Response {
    match yields.chunks.into_iter().next() {
        Some(chunk) => (
            [(header::CONTENT_TYPE, "application/json")],
            chunk.get().to_owned(),
        )
            .into_response(),
        None => failed(yields.error.as_ref()),
    }
}

fn failed(error: Option<&Payload>) -> Response {
    let text = error.map_or("the worker answered nothing", |error| error.get());
    CallError::new(StatusCode::INTERNAL_SERVER_ERROR, text.trim_matches('"')).into_response()
}

/// A yield as bytes of an event stream.
fn event(chunk: &Payload) -> Vec<u8> {
    match serde_json::from_str::<String>(chunk.get()) {
        Ok(text) => text.into_bytes(),
        Err(_) => format!("data: {}\n\n", chunk.get()).into_bytes(),
    }
}
