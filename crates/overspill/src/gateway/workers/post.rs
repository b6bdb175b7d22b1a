//! `job-done` and `job-stream`: results, progress and chunks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use overspill_core::effect::{Answer, Stale};
use overspill_core::event::{Event, Outcome, PayloadRef};
use overspill_core::id::{JobId, RequestId, WorkerId};
use overspill_wire::worker::{self, JobPost, PostFault};
use overspill_wire::{json, worker::split_chunk};
use tokio::time::Instant;

use super::known;
use crate::engine::api::Unavailable;
use crate::gateway::Gateway;
use crate::gateway::body::{self, Read, ReadRules, Reply};
use crate::gateway::call::{Call, job_not_found};
use crate::gateway::clients::idempotency::sha256_hex;
use crate::gateway::error::ApiError;
use crate::gateway::memory::Room;

/// From this size on, a body is looked over off the threads that serve connections.
const LARGE_BYTES: usize = 512 * 1024;
/// Room for the envelope around an output of the largest size.
const ENVELOPE_BYTES: u64 = 256 * 1024;

/// What a post comes down to.
struct Posted {
    /// `None`: a progress update.
    outcome: Option<OutcomeBytes>,
    progress: Bytes,
    stops: bool,
    body_sha256: String,
}

enum OutcomeBytes {
    Completed(Bytes),
    Failed(String, Bytes),
}

/// POST `job-done/{worker}/{job}`. Whatever the body is, the job ends with it: a refusal would lose
/// the result for good.
pub(crate) async fn job_done(gateway: &Arc<Gateway>, mut call: Call) -> Result<Reply, ApiError> {
    let worker = known(gateway, &call).await?.id;
    let job = call.job_id(2)?;
    let posted = match read(gateway, &mut call).await? {
        Read::TooLong(seen) => Posted {
            outcome: Some(OutcomeBytes::Failed(
                format!(
                    "output_too_large: the result has {seen} bytes; at most {} are kept",
                    gateway.options().output_bytes_max
                ),
                Bytes::new(),
            )),
            progress: Bytes::new(),
            stops: false,
            body_sha256: sha256_hex(seen.to_string().as_bytes()),
        },
        Read::Whole(bytes, _room) => {
            let nan_as_null = gateway.options().nan_as_null;
            off_thread(bytes, move |bytes| understand(bytes, nan_as_null)).await
        }
    };
    let Some(outcome) = posted.outcome else {
        return progress(gateway, worker, job, posted.progress).await;
    };
    let (error, output) = match outcome {
        OutcomeBytes::Completed(output) => (None, output),
        OutcomeBytes::Failed(error, output) => (Some(error), output),
    };
    let (stops, body_sha256) = (posted.stops, posted.body_sha256);
    let sha256 = body_sha256.clone();
    let answer = insist(gateway, &output, move |request, output| {
        let outcome = match error.clone() {
            None => Outcome::Completed { output },
            Some(error) => Outcome::Failed { error, output },
        };
        Event::Finished {
            request,
            worker,
            job,
            outcome,
            stops,
            body_sha256: sha256.clone(),
        }
    })
    .await;
    match answer {
        Answer::Recorded | Answer::Noted => Ok(taken()),
        Answer::Stale(stale) => stale_result(gateway, job, stale, &body_sha256).await,
        _ => Err(ApiError::unavailable()),
    }
}

/// POST `job-stream/{worker}/{job}`: a chunk; told from a result by its path, not by `isStream`.
pub(crate) async fn job_stream(gateway: &Arc<Gateway>, mut call: Call) -> Result<Reply, ApiError> {
    let worker = known(gateway, &call).await?.id;
    let job = call.job_id(2)?;
    let bytes = match read(gateway, &mut call).await? {
        Read::Whole(bytes, _room) => bytes,
        Read::TooLong(_) => Bytes::from(
            json::quote("output_too_large: a chunk was longer than is kept").into_bytes(),
        ),
    };
    for piece in off_thread(bytes, chunk_pieces).await {
        let piece = Bytes::from(piece);
        let answer = insist(gateway, &piece, move |request, chunk| Event::ChunkMade {
            request,
            worker,
            job,
            chunk,
        })
        .await;
        match answer {
            Answer::Noted | Answer::Recorded => {}
            Answer::Stale(stale) => return stale_result(gateway, job, stale, "").await,
            _ => return Err(ApiError::unavailable()),
        }
    }
    Ok(taken())
}

/// A progress update; one that comes after the end is passed over, or jobs would come back to life.
async fn progress(
    gateway: &Gateway,
    worker: WorkerId,
    job: JobId,
    output: Bytes,
) -> Result<Reply, ApiError> {
    let answer = insist(gateway, &output, move |request, progress| {
        Event::ProgressMade {
            request,
            worker,
            job,
            progress,
        }
    })
    .await;
    match answer {
        Answer::Stale(Stale::NotYours) => Err(not_yours()),
        _ => Ok(taken()),
    }
}

/// What a post to `job-done` means; never an error, whatever it is.
fn understand(bytes: &Bytes, nan_as_null: bool) -> Posted {
    let body_sha256 = sha256_hex(bytes);
    let mut bytes = bytes.clone();
    let read = worker::scan_post(&bytes).and_then(|outline| {
        if !nan_as_null || outline.non_finite.is_empty() {
            return JobPost::read(&bytes, &outline);
        }
        bytes = worker::non_finite_as_null(&bytes, &outline.non_finite).into();
        let outline = worker::scan_post(&bytes)?;
        JobPost::read(&bytes, &outline)
    });
    let piece = |range: Option<std::ops::Range<usize>>| {
        range.map_or_else(Bytes::new, |range| bytes.slice(range))
    };
    let (outcome, progress, stops) = match read {
        Ok(JobPost::Progress { output }) => (None, piece(output), false),
        Ok(JobPost::Completed { output, stops }) => (
            Some(OutcomeBytes::Completed(piece(output))),
            Bytes::new(),
            stops,
        ),
        Ok(JobPost::Failed {
            error,
            output,
            stops,
        }) => (
            Some(OutcomeBytes::Failed(error, piece(output))),
            Bytes::new(),
            stops,
        ),
        Err(fault) => (
            Some(OutcomeBytes::Failed(
                format!("worker_output_invalid: {fault}"),
                Bytes::new(),
            )),
            Bytes::new(),
            false,
        ),
    };
    Posted {
        outcome,
        progress,
        stops,
        body_sha256,
    }
}

/// The chunk or chunks of a post; what is no JSON is kept as text.
fn chunk_pieces(bytes: &Bytes) -> Vec<Vec<u8>> {
    let as_text = || json::quote(&String::from_utf8_lossy(bytes)).into_bytes();
    let output: Result<Vec<u8>, PostFault> = worker::scan_post(bytes).and_then(|outline| {
        worker::chunk_output(bytes, &outline).map(|range| bytes[range].to_vec())
    });
    split_chunk(&output.unwrap_or_else(|_| as_text()))
}

async fn read(gateway: &Gateway, call: &mut Call) -> Result<Read, ApiError> {
    let Some(incoming) = call.body.take() else {
        return Ok(Read::Whole(Bytes::new(), Room::default()));
    };
    let rules = ReadRules {
        memory: None,
        bytes_max: gateway.options().output_bytes_max + ENVELOPE_BYTES,
        idle_max: gateway.options().holds.worker_body,
        drains: true,
    };
    body::read(&call.headers, incoming, rules).await
}

/// Does work on a large body where no connection waits for it.
async fn off_thread<T: Send + 'static>(
    bytes: Bytes,
    work: impl FnOnce(&Bytes) -> T + Send + 'static,
) -> T {
    if bytes.len() < LARGE_BYTES {
        return work(&bytes);
    }
    match tokio::task::spawn_blocking(move || work(&bytes)).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Says a fact until the store has confirmed it: the request is held, because the worker would
/// drop its result after a 503 or two.
async fn insist(
    gateway: &Gateway,
    bytes: &Bytes,
    event: impl Fn(RequestId, PayloadRef) -> Event + Clone + Send + 'static,
) -> Answer {
    let engine = gateway.engine();
    let end = Instant::now() + gateway.options().holds.result;
    let mut wait = Duration::from_millis(50);
    loop {
        let (payloads, reference) = if bytes.is_empty() {
            (Vec::new(), PayloadRef::default())
        } else {
            let payload = engine.keep(bytes.clone());
            let reference = payload.reference;
            (vec![payload], reference)
        };
        let make = event.clone();
        let answer = engine
            .ask(payloads, Box::new(move |request| make(request, reference)))
            .await;
        if answer != Answer::Unavailable || Instant::now() + wait >= end {
            return answer;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(2));
    }
}

/// 200: the SDK reads nothing but the status.
fn taken() -> Reply {
    body::json("{}")
}

fn not_yours() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "job_not_yours",
        "this worker never held the job",
    )
    .hint("post with the id and key of the worker that took it")
}

/// A post that does not count, or was counted before.
async fn stale_result(
    gateway: &Gateway,
    job: JobId,
    stale: Stale,
    body_sha256: &str,
) -> Result<Reply, ApiError> {
    let late = |what: &'static str| {
        ApiError::new(StatusCode::CONFLICT, "attempt_stale", what)
            .hint("the result was not recorded; nothing needs to be done")
    };
    match stale {
        Stale::NotYours => Err(not_yours()),
        Stale::Fenced => Err(late(
            "the attempt was cancelled, timed out, declared lost or replaced by a later one",
        )),
        Stale::NotLive | Stale::UnknownWorker => match gateway.engine().job(job).await {
            Ok(None) => Err(job_not_found()),
            // The same post again: its first answer was lost.
            Ok(Some(view))
                if !body_sha256.is_empty()
                    && view.result_sha256.as_deref() == Some(body_sha256) =>
            {
                Ok(taken())
            }
            Ok(Some(_)) => Err(late("the job has ended already")),
            Err(Unavailable) => Err(ApiError::unavailable()),
        },
    }
}
