//! `/openai/…`: a request of the OpenAI kind becomes a job, its output the answer
//! (`runpod-protocol.md` A10).
//!
//! A generator's text chunks are passed on as they are: they are server-sent events already, cut
//! anywhere. Its object chunks are framed. An error that the worker yields gets an HTTP status.
//! When the client goes away, the job is cancelled: nobody else knows its id.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, StatusCode, header};
use overspill_core::event::Event;
use overspill_core::id::JobId;
use overspill_wire::json::{self, Kind, Outline, Rules};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::submit::{self, NewSubmission};
use crate::engine::api::{ChunkCursor, JobState, JobView, Unavailable};
use crate::gateway::Gateway;
use crate::gateway::body::{self, Body, Reply};
use crate::gateway::call::{self, Call};
use crate::gateway::error::ApiError;
use crate::otel::TraceContext;

/// Chunks on their way to a slow reader.
const CHUNKS_WAITING_MAX: usize = 64;

/// Any method under `/openai/`.
pub(crate) async fn openai(gateway: &Arc<Gateway>, mut call: Call) -> Result<Reply, ApiError> {
    call::refuse_loop(gateway, &call.headers)?;
    let endpoint = call.endpoint(gateway)?;
    let route = json::quote(&format!(
        "/{}",
        call.params.get(1).map_or("", String::as_str)
    ));
    let mut is_streamed = false;
    let input = if call.method == Method::POST {
        let bytes_max = gateway.options().run_bytes_max;
        let (body, _room) = call.read_body(gateway, bytes_max, "/openai").await?;
        let outline = json::scan(&body, Rules::CLIENT).map_err(submit::refused_json)?;
        if outline.kind != Kind::Object {
            return Err(submit::refused(
                &overspill_wire::job::SubmitFault::NotObject(outline.kind),
            ));
        }
        is_streamed = is_true(&body, &outline, "stream");
        let mut input = BytesMut::with_capacity(body.len() + 80);
        input.extend_from_slice(format!("{{\"openai_route\":{route},\"openai_input\":").as_bytes());
        input.extend_from_slice(&body[outline.value]);
        input.extend_from_slice(b"}");
        input.freeze()
    } else {
        Bytes::from(format!("{{\"openai_route\":{route}}}"))
    };
    let new = NewSubmission {
        input,
        caller: TraceContext::of_request(&call.headers),
        region: call.region(gateway),
        key: call.key(),
        ..NewSubmission::default()
    };
    let (job, _) = submit::put(gateway, &endpoint, new, true).await?;
    let run = Run {
        job,
        cursor: ChunkCursor::default(),
        unless_finished: CancelUnlessFinished {
            gateway: Arc::clone(gateway),
            job: Some(job),
        },
        end: Instant::now() + gateway.options().holds.openai,
    };
    if is_streamed {
        streamed(gateway, run).await
    } else {
        plain(gateway, run).await
    }
}

/// A job that runs for one client alone.
struct Run {
    job: JobId,
    cursor: ChunkCursor,
    unless_finished: CancelUnlessFinished,
    end: Instant,
}

/// Cancels the job when its client has gone.
struct CancelUnlessFinished {
    gateway: Arc<Gateway>,
    job: Option<JobId>,
}

impl Drop for CancelUnlessFinished {
    fn drop(&mut self) {
        let Some(job) = self.job.take() else {
            return;
        };
        let gateway = Arc::clone(&self.gateway);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let ask = move |request| Event::CancelAsked { request, job };
                gateway.engine().ask(Vec::new(), Box::new(ask)).await;
            });
        }
    }
}

/// What a look at the job found.
struct Look {
    chunks: Vec<Bytes>,
    /// The job, once it has ended.
    ended: Option<JobView>,
}

impl Run {
    /// The next chunks, or the end.
    async fn look(&mut self, gateway: &Gateway) -> Result<Look, ApiError> {
        let engine = gateway.engine();
        let gone = |Unavailable| ApiError::unavailable();
        let lost = || {
            ApiError::new(
                StatusCode::BAD_GATEWAY,
                "job_gone",
                "the job was removed before it ended",
            )
        };
        let mut job = engine.job(self.job).await.map_err(gone)?.ok_or_else(lost)?;
        loop {
            let chunks = engine.chunks(self.job, self.cursor).await.map_err(gone)?;
            self.cursor = chunks.cursor;
            if job.state.is_final() {
                self.unless_finished.job = None;
            }
            if !chunks.items.is_empty() || job.state.is_final() {
                let more = !chunks.items.is_empty();
                return Ok(Look {
                    chunks: chunks.items,
                    // With chunks in hand, there may be more: the end is told by an empty look.
                    ended: (job.state.is_final() && !more).then_some(job),
                });
            }
            let left = self.end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ApiError::new(
                    StatusCode::GATEWAY_TIMEOUT,
                    "openai_timeout",
                    "the job did not answer in time and was cancelled",
                )
                .hint("see why it waits with `overspill why`"));
            }
            job = tokio::select! {
                job = engine.wait_job(self.job, job.version, left) => job,
                () = gateway.drain.cancelled() => return Err(ApiError::draining()),
            }
            .map_err(gone)?
            .ok_or_else(lost)?;
        }
    }
}

/// One JSON answer: the first chunk of a generator, else the output.
async fn plain(gateway: &Arc<Gateway>, mut run: Run) -> Result<Reply, ApiError> {
    let mut chunks: Vec<Bytes> = Vec::new();
    let job = loop {
        let look = run.look(gateway).await?;
        chunks.extend(look.chunks);
        if let Some(job) = look.ended {
            break job;
        }
    };
    if let Some(reply) = failure_of(&job, chunks.first()) {
        return Ok(reply);
    }
    let is_text = |chunk: &Bytes| chunk.first() == Some(&b'"');
    if let Some(first) = chunks.first() {
        if !is_text(first) {
            return Ok(answer(first.clone()));
        }
        let text: String = chunks.iter().map(|chunk| json::unescape(chunk)).collect();
        return Ok(answer(Bytes::from(text)));
    }
    let output = job.output.unwrap_or_default();
    Ok(answer(first_of_list(&output)))
}

/// The only element of an aggregated generator's list, else the bytes themselves; text is taken
/// out of its quotes.
fn first_of_list(output: &Bytes) -> Bytes {
    let value: Value = match serde_json::from_slice(output) {
        Ok(value) => value,
        Err(_) => return output.clone(),
    };
    match value {
        Value::Array(mut items) if items.len() == 1 => match items.remove(0) {
            Value::String(text) => Bytes::from(text),
            item => Bytes::from(item.to_string()),
        },
        Value::String(text) => Bytes::from(text),
        _ => output.clone(),
    }
}

/// Answers with a worker's JSON; an error in it gets its status.
fn answer(bytes: Bytes) -> Reply {
    let status = error_status(&bytes);
    let mut reply = body::json(bytes);
    if let Some(status) = status {
        *reply.status_mut() = status;
    }
    reply
}

/// Server-sent events, from the first chunk on; what goes wrong before it gets a status.
async fn streamed(gateway: &Arc<Gateway>, mut run: Run) -> Result<Reply, ApiError> {
    let first = run.look(gateway).await?;
    if let Some(job) = &first.ended {
        if let Some(reply) = failure_of(job, None) {
            return Ok(reply);
        }
    } else if let Some(chunk) = first.chunks.first()
        && let Some(status) = error_status(chunk)
    {
        let mut reply = body::json(chunk.clone());
        *reply.status_mut() = status;
        return Ok(reply);
    }
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING_MAX);
    let pump = Pump {
        gateway: Arc::clone(gateway),
        sender,
        framed: false,
    };
    tokio::spawn(pump.run(run, first));
    let mut reply = Reply::new(Body::stream(receiver));
    reply.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream; charset=utf-8"),
    );
    // Proxies that buffer would undo the streaming.
    reply
        .headers_mut()
        .insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(reply)
}

/// Carries chunks from the job to the client.
struct Pump {
    gateway: Arc<Gateway>,
    sender: mpsc::Sender<Bytes>,
    /// Chunks are objects, which this side frames; and ends with `[DONE]`.
    framed: bool,
}

impl Pump {
    async fn run(mut self, mut run: Run, mut look: Look) {
        loop {
            for chunk in &look.chunks {
                let frame = self.frame(chunk);
                if self.sender.send(frame).await.is_err() {
                    return;
                }
            }
            if let Some(job) = look.ended {
                self.finish(&job).await;
                return;
            }
            // As long as chunks come, the answer goes on.
            run.end = Instant::now() + self.gateway.options().holds.openai;
            let gateway = Arc::clone(&self.gateway);
            let next = tokio::select! {
                next = run.look(&gateway) => next,
                () = self.sender.closed() => return,
            };
            look = match next {
                Ok(look) => look,
                Err(error) => {
                    let body = json!({"error": {"message": format!("the stream broke off: {}", error.code()), "type": "server_error", "code": error.code()}});
                    let _ = self.sender.send(event(body.to_string().as_bytes())).await;
                    return;
                }
            };
        }
    }

    fn frame(&mut self, chunk: &Bytes) -> Bytes {
        if chunk.first() == Some(&b'"') {
            return Bytes::from(json::unescape(chunk));
        }
        self.framed = true;
        event(chunk)
    }

    async fn finish(&self, job: &JobView) {
        if let Some(error) = failure_value(job) {
            let _ = self.sender.send(event(error.to_string().as_bytes())).await;
            return;
        }
        if self.framed {
            let _ = self.sender.send(event(b"[DONE]")).await;
        }
    }
}

fn event(data: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(data.len() + 8);
    frame.extend_from_slice(b"data: ");
    frame.extend_from_slice(data);
    frame.extend_from_slice(b"\n\n");
    frame.freeze()
}

/// The answer for a job that did not complete; for one that did, nothing. The first chunk's own
/// error goes before the job's text, which Python may have made of it.
fn failure_of(job: &JobView, first: Option<&Bytes>) -> Option<Reply> {
    let error = failure_value(job)?;
    if let Some(first) = first
        && error_status(first).is_some()
    {
        return Some(answer(first.clone()));
    }
    let text = error.to_string();
    let status = error_status(text.as_bytes()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = body::json(text);
    *reply.status_mut() = status;
    Some(reply)
}

/// An OpenAI error for a job that did not complete.
fn failure_value(job: &JobView) -> Option<Value> {
    let (kind, message) = match job.state {
        JobState::Completed | JobState::Queued | JobState::Running => return None,
        JobState::Cancelled => ("cancelled", "the job was cancelled".to_owned()),
        JobState::TimedOut => ("timeout", "the job timed out".to_owned()),
        JobState::Failed => (
            "worker_error",
            job.error.clone().unwrap_or_else(|| "the job failed".into()),
        ),
    };
    // A yielded error object reaches us as JSON, or as the `str()` of a Python dict.
    if let Ok(Value::Object(object)) = serde_json::from_str::<Value>(&message) {
        return Some(match object.get("error") {
            Some(Value::Object(_)) => Value::Object(object),
            _ => json!({ "error": object }),
        });
    }
    let code = status_in(&message).map_or(Value::Null, |status| json!(status.as_u16()));
    Some(json!({"error": {"message": message, "type": kind, "code": code}}))
}

/// The status that a worker's answer asks for, when it is an error.
fn error_status(bytes: &[u8]) -> Option<StatusCode> {
    if bytes.first() != Some(&b'{') {
        return None;
    }
    let outline = json::scan(bytes, Rules::WORKER).ok()?;
    let is_error = outline
        .member("object")
        .is_some_and(|member| &bytes[member.value.clone()] == b"\"error\"");
    let error: Value = match outline.member("error") {
        Some(member) if member.kind != Kind::Null => {
            serde_json::from_slice(&bytes[member.value.clone()]).ok()?
        }
        _ if is_error => serde_json::from_slice(bytes).ok()?,
        _ => return None,
    };
    let code = error.get("code");
    let by_code = code
        .and_then(Value::as_u64)
        .or_else(|| {
            code.and_then(Value::as_str)
                .and_then(|text| text.parse().ok())
        })
        .and_then(|code| u16::try_from(code).ok())
        .filter(|code| (400..600).contains(code))
        .and_then(|code| StatusCode::from_u16(code).ok());
    let kind = error.get("type").and_then(Value::as_str).unwrap_or("");
    Some(by_code.unwrap_or(match kind {
        "invalid_request_error" | "BadRequestError" | "BadRequest" => StatusCode::BAD_REQUEST,
        "NotFoundError" | "not_found_error" => StatusCode::NOT_FOUND,
        "timeout" => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }))
}

/// A status in the `str()` of a Python dict: `'code': 404`.
fn status_in(text: &str) -> Option<StatusCode> {
    let (_, rest) = text.split_once("'code':")?;
    let digits: String = rest
        .trim_start()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    let code: u16 = digits.parse().ok()?;
    (400..600)
        .contains(&code)
        .then(|| StatusCode::from_u16(code).ok())
        .flatten()
}

fn is_true(body: &[u8], outline: &Outline, key: &str) -> bool {
    outline
        .member(key)
        .is_some_and(|member| &body[member.value.clone()] == b"true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_workers_get_their_status() {
        for (text, status) in [
            (
                "{\"error\":{\"message\":\"m\",\"type\":\"worker_error\",\"code\":null}}",
                Some(500),
            ),
            (
                "{\"error\":{\"message\":\"m\",\"type\":\"NotFoundError\",\"code\":404}}",
                Some(404),
            ),
            (
                "{\"object\":\"error\",\"message\":\"m\",\"type\":\"BadRequestError\",\"code\":400}",
                Some(400),
            ),
            (
                "{\"error\":{\"type\":\"invalid_request_error\"}}",
                Some(400),
            ),
            ("{\"id\":\"x\",\"choices\":[],\"error\":null}", None),
            ("\"data: x\"", None),
        ] {
            let found = error_status(text.as_bytes()).map(|status| status.as_u16());
            assert_eq!(found, status, "{text}");
        }
        assert_eq!(
            status_in("{'message': 'no model', 'code': 404}"),
            Some(StatusCode::NOT_FOUND)
        );
    }

    #[test]
    fn a_list_of_one_is_that_one() {
        let of = |text: &'static str| first_of_list(&Bytes::from_static(text.as_bytes()));
        assert_eq!(of("[{\"a\":1}]"), "{\"a\":1}");
        assert_eq!(of("{\"a\": 1}"), "{\"a\": 1}");
        assert_eq!(of("[1,2]"), "[1,2]");
    }
}
