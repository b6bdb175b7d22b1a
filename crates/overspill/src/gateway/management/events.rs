//! How one job goes, as server-sent events; and the token by which a page follows it.
//!
//! Each event is a whole, not a difference: who missed some misses nothing by it, and after a restart of the
//! server the browser's own reconnect shows the state as it is then.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, header};
use overspill_core::id::JobId;
use overspill_core::time::DurationMs;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::jobs::state_word;
use super::read;
use crate::auth::job_token::{JobToken, LENGTH, LENGTH_MAX, NoToken};
use crate::engine::api::{JobVersion, JobView, Unavailable};
use crate::gateway::Gateway;
use crate::gateway::body::{self, Body, Reply};
use crate::gateway::call::{Call, job_not_found};
use crate::gateway::error::ApiError;

/// A quiet stream says that it is there this often, so that no proxy takes it for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A browser that lost the stream comes back after so long.
const RETRY_MS: u32 = 2_000;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(default)]
    expires_in_seconds: Option<u64>,
}

/// POST `{job}/token`: a token that follows this job until it expires.
pub(crate) async fn token(gateway: &Arc<Gateway>, mut call: Call) -> Result<Reply, ApiError> {
    let job = visible(gateway, &call).await?;
    let has_body = call
        .headers
        .get(header::CONTENT_LENGTH)
        .is_none_or(|length| length != "0");
    let wish: Wish = if has_body {
        read(gateway, &mut call).await?
    } else {
        Wish::default()
    };
    let most = LENGTH_MAX.as_millis() / 1_000;
    let seconds = wish
        .expires_in_seconds
        .unwrap_or(LENGTH.as_millis() / 1_000);
    if !(1..=most).contains(&seconds) {
        let message = format!("expires_in_seconds must be from 1 to {most}, this is {seconds}");
        return Err(ApiError::bad_request("expiry_invalid", message)
            .field("expires_in_seconds")
            .hint("a page that follows a job for longer asks its server for a new token"));
    }
    let engine = gateway.engine();
    let key_id = call.caller.as_ref().map(|caller| caller.key_id.to_string());
    let token = JobToken {
        job: job.id,
        key_id: key_id.unwrap_or_default(),
        ends_at: engine.now() + DurationMs::from_secs(seconds),
    };
    let text = token.text(engine.server_secret());
    Ok(body::json_of(&json!({
        "token": text,
        "expires_at_ms": token.ends_at.as_millis(),
        "events": format!("/api/v1/jobs/{}/events?token={text}", job.id),
    })))
}

/// GET `{job}/events`: server-sent events until the job ends.
pub(crate) async fn events(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let job = visible(gateway, &call).await?;
    let seen = call.headers.get("last-event-id");
    let seen = seen.and_then(|id| id.to_str().ok()).map(str::to_owned);
    if job.state.is_final() && seen.as_deref() == Some(&id_of(job.version)) {
        // It has heard the end, and came back because the stream was over: 204 tells a browser to stay away.
        return Ok(body::no_content());
    }
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(follow(Arc::clone(gateway), call, job, seen, sender));
    let mut reply = Reply::new(Body::stream(receiver));
    let headers = reply.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream; charset=utf-8"),
    );
    // Proxies that buffer would undo the streaming.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(reply)
}

/// The path's job, for a caller who may know of it.
async fn visible(gateway: &Gateway, call: &Call) -> Result<JobView, ApiError> {
    let id = call.job_id(0)?;
    let job = gateway.engine().job(id).await;
    let job = job
        .map_err(|Unavailable| ApiError::unavailable())?
        .ok_or_else(job_not_found)?;
    let directory = gateway.engine().endpoints();
    let name = directory.get(job.endpoint).map_or("", |entry| &entry.name);
    let is_visible = call.caller.as_ref().is_none_or(|caller| caller.sees(name));
    is_visible.then_some(job).ok_or_else(job_not_found)
}

async fn follow(
    gateway: Arc<Gateway>,
    call: Call,
    mut job: JobView,
    seen: Option<String>,
    sender: mpsc::Sender<Bytes>,
) {
    let id = job.id;
    let mut text = format!("retry: {RETRY_MS}\n\n");
    let mut told = Told::default();
    if seen.as_deref() == Some(&id_of(job.version)) {
        told.note(&job);
    }
    loop {
        text.push_str(&told.news(&gateway, &job));
        if job.state.is_final() {
            text.push_str(&event("end", job.version, &end_of(&job)));
        }
        if !text.is_empty() && sender.send(Bytes::from(text)).await.is_err() {
            return;
        }
        if job.state.is_final() {
            return;
        }
        // A token that ends is said to end then, not at the next change.
        let left = gateway.token_left(&call);
        let hold = left.map_or(HEARTBEAT, |left| left.min(HEARTBEAT));
        let next = tokio::select! {
            next = gateway.engine().wait_job(id, job.version, hold) => next,
            () = sender.closed() => return,
            () = gateway.drain.cancelled() => return,
        };
        text = match gateway.may_still_follow(&call, id) {
            Ok(()) => String::new(),
            Err(no) => {
                let word = match no {
                    NoToken::Expired => "token_expired",
                    NoToken::Invalid => "token_invalid",
                };
                let last = event(word, job.version, &json!({ "id": id.to_string() }));
                let _ = sender.send(Bytes::from(last)).await;
                return;
            }
        };
        match next {
            Ok(Some(view)) if view.version == job.version => text = ": still here\n\n".to_owned(),
            Ok(Some(view)) => job = view,
            Ok(None) => {
                let _ = sender.send(Bytes::from(gone(id))).await;
                return;
            }
            // The browser comes back and finds the state as it is then.
            Err(Unavailable) => return,
        }
    }
}

/// What a follower knows.
#[derive(Default)]
struct Told {
    status: Option<(&'static str, u32, Option<String>)>,
    progress: Option<Bytes>,
}

impl Told {
    fn note(&mut self, job: &JobView) {
        self.status = Some((state_word(job.state), job.attempt, job.pool.clone()));
        self.progress.clone_from(&job.progress);
    }

    /// The events that bring a follower up to the job as it is.
    fn news(&mut self, gateway: &Gateway, job: &JobView) -> String {
        let before = (self.status.take(), self.progress.take());
        self.note(job);
        let mut text = String::new();
        if before.0 != self.status {
            text.push_str(&event("status", job.version, &status_of(gateway, job)));
        }
        if let Some(progress) = &job.progress
            && before.1 != self.progress
        {
            text.push_str(&progress_event(job.version, progress));
        }
        text
    }
}

fn id_of(version: JobVersion) -> String {
    format!("{:016x}", version.0)
}

fn event(name: &str, version: JobVersion, data: &Value) -> String {
    format!("id: {}\nevent: {name}\ndata: {data}\n\n", id_of(version))
}

/// The worker's own JSON as it is, on one line: a line break outside of its strings is white space, and inside there is
/// none.
fn progress_event(version: JobVersion, progress: &[u8]) -> String {
    let text = String::from_utf8_lossy(progress).replace(['\n', '\r'], " ");
    let id = id_of(version);
    format!("id: {id}\nevent: progress\ndata: {{\"progress\":{text}}}\n\n")
}

fn status_of(gateway: &Gateway, job: &JobView) -> Value {
    let directory = gateway.engine().endpoints();
    json!({
        "id": job.id.to_string(),
        "endpoint": directory.get(job.endpoint).map(|entry| entry.name.as_str()),
        "status": state_word(job.state),
        "attempt": job.attempt,
        "submitted_at_ms": job.submitted_at.as_millis(),
        "started_at_ms": job.started_at.map(|at| at.as_millis()),
        "delay_ms": job.delay_ms,
    })
}

fn end_of(job: &JobView) -> Value {
    let output = job.output.as_ref().map(|output| {
        json!({
            "url": format!("/api/v1/jobs/{}/output", job.id),
            "bytes": output.len(),
        })
    });
    json!({
        "id": job.id.to_string(),
        "status": state_word(job.state),
        "error": job.error,
        "error_code": job.error_code,
        "delay_ms": job.delay_ms,
        "execution_ms": job.execution_ms,
        "output": output,
    })
}

/// The job is no longer kept.
fn gone(id: JobId) -> String {
    let data = json!({ "id": id.to_string(), "status": null, "error_code": "job_not_found" });
    format!("event: end\ndata: {data}\n\n")
}
