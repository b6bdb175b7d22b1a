//! `/run` and `/runsync`.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use overspill_core::effect::{Answer, SubmitRefusal};
use overspill_core::event::{Event, Idempotency, NewJob};
use overspill_core::id::{JobId, KeyId};
use overspill_core::region::Region;
use overspill_core::time::DurationMs;
use overspill_wire::job::{JobStatus, SubmitFault, SubmitRequest, WAIT_DEFAULT_MS};
use overspill_wire::json::{self, Fault};

use super::{class, idempotency, status};
use crate::engine::api::{EndpointEntry, JobVersion, Payload, Unavailable};
use crate::gateway::body::Reply;
use crate::gateway::call::{self, Call};
use crate::gateway::error::ApiError;
use crate::gateway::{Gateway, ids, webhook_url};
use crate::otel::TraceContext;
use crate::otel::span::{Kind, OPERATION, Span, Value};

/// What a body may have beside its input before that is copied.
const SLACK_BYTES: usize = 4 << 10;

/// POST `/run`: queued, and on disk, when it is answered.
pub(crate) async fn run(gateway: &Arc<Gateway>, mut call: Call) -> Result<Reply, ApiError> {
    let endpoint = call.endpoint(gateway)?;
    let bytes_max = gateway.options().run_bytes_max;
    let submitted = submit(gateway, &mut call, &endpoint, false, bytes_max, "/run").await?;
    Ok(submitted.finish(status::short(
        &submitted.job.to_string(),
        JobStatus::InQueue,
        submitted.warning.as_deref(),
    )))
}

/// POST `/runsync`: held until the job ends, at most for `?wait=`.
pub(crate) async fn run_sync(gateway: &Arc<Gateway>, mut call: Call) -> Result<Reply, ApiError> {
    let endpoint = call.endpoint(gateway)?;
    let hold = call
        .wait(1_000)?
        .unwrap_or(Duration::from_millis(WAIT_DEFAULT_MS));
    let bytes_max = gateway.options().runsync_bytes_max;
    let submitted = submit(gateway, &mut call, &endpoint, true, bytes_max, "/runsync").await?;
    let ended = status::wait_for_end(gateway, submitted.job, JobVersion::default(), hold).await;
    Ok(submitted.finish(match ended {
        Ok(Some(job)) => status::of_job(&job),
        // It was accepted; whoever holds its id can look again.
        Ok(None) | Err(Unavailable) => {
            status::short(&submitted.job.to_string(), JobStatus::InQueue, None)
        }
    }))
}

/// What became of an accepted submission.
pub(super) struct Submitted {
    pub(super) job: JobId,
    is_replay: bool,
    warning: Option<String>,
}

impl Submitted {
    fn finish(&self, mut reply: Reply) -> Reply {
        if self.is_replay {
            reply
                .headers_mut()
                .insert("idempotent-replayed", HeaderValue::from_static("true"));
        }
        reply
    }
}

async fn submit(
    gateway: &Arc<Gateway>,
    call: &mut Call,
    endpoint: &EndpointEntry,
    is_sync: bool,
    bytes_max: u64,
    route: &str,
) -> Result<Submitted, ApiError> {
    call::refuse_loop(gateway, &call.headers)?;
    let key = idempotency::key_of(call)?;
    let (body, _room) = call.read_body(gateway, bytes_max, route).await?;
    let request = SubmitRequest::read(&body).map_err(|fault| refused(&fault))?;
    if let Some(webhook) = &request.webhook {
        webhook_url::check(webhook, &gateway.options().webhooks_allowed)?;
    }
    let extras = match &request.s3_config {
        None => None,
        Some(range) => {
            let text = std::str::from_utf8(&body[range.clone()]).unwrap_or("{}");
            Some(format!("{{\"s3Config\":{text}}}"))
        }
    };
    let named = key.map(|key| idempotency::named(key, &request.canonical(&body)));
    let new = NewSubmission {
        input: input_of(&body, request.input.clone()),
        execution_timeout: request.execution_timeout_ms.map(DurationMs::from_millis),
        ttl: request.ttl_ms.map(DurationMs::from_millis),
        low_priority: request.low_priority,
        webhook: request.webhook.clone(),
        extras,
        region: call.region(gateway),
        idempotency: named,
        caller: TraceContext::of_request(&call.headers),
        key: call.key(),
    };
    let warning = match (request.ttl_ms, request.execution_timeout_ms) {
        (Some(ttl), Some(execution)) if ttl < execution => Some(format!(
            "policy.ttl ({ttl} ms) is shorter than policy.executionTimeout ({execution} ms): \
             the job is deleted before it can run that long"
        )),
        _ => None,
    };
    let (job, is_replay) = put(gateway, endpoint, new, is_sync).await?;
    Ok(Submitted {
        job,
        is_replay,
        warning,
    })
}

/// The input of a body. What keeps a slice keeps the whole: where that is much more, the input is copied.
fn input_of(body: &Bytes, range: Range<usize>) -> Bytes {
    if body.len() > 2 * range.len() + SLACK_BYTES {
        Bytes::copy_from_slice(&body[range])
    } else {
        body.slice(range)
    }
}

/// A job as the engine is asked to take it.
#[derive(Default)]
pub(super) struct NewSubmission {
    pub(super) input: Bytes,
    pub(super) execution_timeout: Option<DurationMs>,
    pub(super) ttl: Option<DurationMs>,
    pub(super) low_priority: bool,
    pub(super) webhook: Option<String>,
    pub(super) extras: Option<String>,
    pub(super) region: Option<Region>,
    pub(super) idempotency: Option<Idempotency>,
    /// Where its caller stands in a trace.
    pub(super) caller: Option<TraceContext>,
    pub(super) key: Option<KeyId>,
}

/// Puts a job to the engine. Its id, and whether it had been submitted before.
pub(super) async fn put(
    gateway: &Arc<Gateway>,
    endpoint: &EndpointEntry,
    new: NewSubmission,
    is_sync: bool,
) -> Result<(JobId, bool), ApiError> {
    let engine = gateway.engine();
    let came_at = engine.now();
    let _turn = match &new.idempotency {
        None => None,
        Some(named) => {
            let turn = gateway.submissions.turn(endpoint.id, &named.key).await;
            let stored = engine
                .idempotency(endpoint.id, named.key.clone())
                .await
                .map_err(|Unavailable| ApiError::unavailable())?;
            if let Some(stored) = stored {
                if stored.body_sha256 != named.body_sha256 {
                    return Err(idempotency::conflict(&named.key));
                }
                return Ok((stored.job, true));
            }
            Some(turn)
        }
    };
    // After the look for a repetition: that one is stored.
    if !engine.has_room() {
        return Err(storage_full());
    }
    let class = class::of(&endpoint.class_by, &new.input);
    let Payload { reference, bytes } = engine.keep(new.input);
    let id = ids::job_id(engine.now(), is_sync);
    let tracer = engine.tracer();
    let entered = tracer.enter(new.caller, id, 0);
    let sealer = &gateway.options().sealer;
    let job = NewJob {
        id,
        endpoint: endpoint.id,
        input: reference,
        execution_timeout: new.execution_timeout,
        ttl: new.ttl,
        low_priority: new.low_priority,
        webhook: new.webhook,
        class,
        region: new.region,
        extras: new.extras.map(|text| sealer.seal(id, &text)),
        idempotency: new.idempotency,
        trace: entered.as_ref().map(|entered| entered.context.to_stored()),
        key: new.key,
    };
    let answer = engine
        .ask(
            vec![Payload { reference, bytes }],
            Box::new(move |request| Event::Submitted { request, job }),
        )
        .await;
    let result = match answer {
        Answer::Submitted { job } => Ok((job, job != id)),
        Answer::SubmitRefused(refusal) => Err(submit_refused(refusal)),
        _ => Err(ApiError::unavailable()),
    };
    if let Some(entered) = entered.filter(|entered| entered.is_recorded) {
        let job = result.as_ref().map_or(id, |(job, _)| *job);
        let kind = Kind::Producer;
        let mut span = Span::of_job("submit", kind, entered.context, &endpoint.name, job)
            .lasting(came_at, engine.now());
        span.parent = entered.caller;
        span.text(OPERATION, "send");
        match &result {
            Ok((_, is_replay)) => span.attributes.push(("replayed", Value::Bool(*is_replay))),
            Err(error) => span.error = Some(error.sentence()),
        }
        tracer.send(span);
    }
    result
}

/// Why the core did not take a job.
pub(in crate::gateway) fn submit_refused(refusal: SubmitRefusal) -> ApiError {
    match refusal {
        SubmitRefusal::UnknownEndpoint => {
            ApiError::not_found("endpoint_not_found", "the endpoint was removed")
        }
        // The id was minted by us a moment ago, or the job is live already.
        SubmitRefusal::DuplicateId => ApiError::new(
            StatusCode::CONFLICT,
            "job_live",
            "the job is queued or running already",
        ),
        // RunPod's own words: clients know them.
        SubmitRefusal::Paused => ApiError::new(
            StatusCode::CONFLICT,
            "ENDPOINT_PAUSED",
            "Endpoint is paused (max_workers=0). Set max_workers > 0 to accept work.",
        )
        .hint("raise it with `overspill scale ENDPOINT --max N`, or give it a local pool"),
        SubmitRefusal::Draining => ApiError::draining(),
        SubmitRefusal::Homeless { region } => ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "residency_unserved",
            format!(
                "the caller is in region {region}, whose jobs must not leave it, and the endpoint has \
                 neither a cloud pool of that region nor own GPUs"
            ),
        )
        .hint(format!(
            "give the endpoint a [[endpoint.cloud]] with region = \"{region}\" or a local pool, or take \
             {region} out of `residency`"
        )),
    }
}

fn storage_full() -> ApiError {
    ApiError::new(
        StatusCode::INSUFFICIENT_STORAGE,
        "storage_full",
        "the disk of the data folder is full; no new jobs are taken",
    )
    .hint("free some space; jobs that run are still recorded")
    .retry_after(30)
}

/// A body that is no submission.
pub(super) fn refused(fault: &SubmitFault) -> ApiError {
    let error = ApiError::bad_request(fault.code(), fault.to_string());
    let error = match fault {
        SubmitFault::Json(json) => match json.fault {
            Fault::Empty => ApiError::bad_request("body_empty", "the body is empty")
                .hint("send JSON with an `input` field: {\"input\": {…}}"),
            Fault::BadUtf8 => error.hint("send the body as UTF-8"),
            Fault::Syntax => error.hint("send JSON with an `input` field: {\"input\": {…}}"),
            Fault::TooDeep => error.hint("send flatter data, or put it into object storage"),
            Fault::NonFinite => error.hint("send null, or a string, in its place"),
            Fault::NumberOutOfRange => error.hint("send it as a string"),
        },
        SubmitFault::NotObject(_) | SubmitFault::InputMissing => {
            error.hint("send {\"input\": {…}}; an empty object is fine")
        }
        SubmitFault::TypeMismatch { .. } | SubmitFault::OutOfRange { .. } => {
            error.hint("leave it out for the endpoint's default")
        }
    };
    match fault.field() {
        Some(field) => error.field(field),
        None => error,
    }
}

/// A text that must be JSON, checked as the body of a submission is.
pub(in crate::gateway) fn refused_json(error: json::JsonError) -> ApiError {
    refused(&SubmitFault::Json(error))
}
