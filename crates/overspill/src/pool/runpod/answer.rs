//! Reads what the cloud answers, as if it were hostile.
//!
//! Every answer is checked for what it must hold; whatever is wrong becomes a [`ProtocolFault`] with the reason and
//! never a panic or a guess. Outputs are not parsed: they are slices of the answer's own bytes.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The cloud's id of a job; opaque, `[A-Za-z0-9_-]`, 1 to 128 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloudJobId(Box<str>);

impl CloudJobId {
    /// Accepts an id as the cloud gave it; `None` for one that could not travel in a URL.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_sound = (1..=128).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        is_sound.then(|| Self(text.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CloudJobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A job's state as the cloud names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloudState {
    /// `IN_QUEUE`.
    Queued,
    /// `IN_PROGRESS`, and `RUNNING` of the documentation's list, which no answer was seen to carry.
    Running,
    /// `COMPLETED`.
    Completed,
    /// `FAILED`.
    Failed,
    /// `CANCELLED`.
    Cancelled,
    /// `TIMED_OUT`.
    TimedOut,
    /// A word that is not known: treated as still running until the deadline.
    Unknown(String),
}

impl CloudState {
    /// Whether the job will not change any more.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Completed | Self::Failed | Self::Cancelled | Self::TimedOut
        )
    }

    fn parse(word: &str) -> Self {
        match word {
            "IN_QUEUE" => Self::Queued,
            "IN_PROGRESS" | "RUNNING" => Self::Running,
            "COMPLETED" => Self::Completed,
            "FAILED" => Self::Failed,
            "CANCELLED" => Self::Cancelled,
            "TIMED_OUT" => Self::TimedOut,
            other => Self::Unknown(cut(other, 80)),
        }
    }
}

/// What the cloud says of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudStatus {
    /// The state.
    pub state: CloudState,
    /// Submission to start of the last attempt, in milliseconds; absent when not said or nonsense.
    pub delay_ms: Option<i64>,
    /// Time inside the last attempt, in milliseconds; absent when not said or nonsense.
    pub execution_ms: Option<i64>,
    /// Whether a time was negative or no number, so that the caller's own clock must count.
    pub has_bad_times: bool,
    /// The worker of the last attempt.
    pub worker_id: Option<String>,
    /// The result, or the last progress of a running job, as JSON text.
    pub output: Option<Bytes>,
    /// Why it failed: at most [`ERROR_BYTES_MAX`] bytes.
    pub error: Option<String>,
    /// How often the cloud gave it to another worker.
    pub retries: u32,
    /// Whether the answer held `NaN` or `Infinity`, which are no JSON; they stand as `null` in `output`.
    pub has_non_finite: bool,
}

impl CloudStatus {
    /// Whether a worker has ever had this job, as far as the answer says.
    #[must_use]
    pub fn has_started(&self) -> bool {
        self.state == CloudState::Running
            || self.worker_id.is_some()
            || self.execution_ms.is_some_and(|ms| ms > 0)
    }
}

/// What a poll of a stream gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamPart {
    /// The job's state; a final one comes with or after the last chunk.
    pub state: CloudState,
    /// The outputs of the chunks in order, each as JSON text.
    pub chunks: Vec<Bytes>,
}

/// Gauges of an endpoint; the cloud's own counts, which may lag.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CloudHealth {
    /// Jobs waiting.
    pub jobs_queued: u32,
    /// Jobs running.
    pub jobs_running: u32,
    /// Jobs completed (a counter).
    pub jobs_completed: u64,
    /// Jobs failed (a counter).
    pub jobs_failed: u64,
    /// Jobs given to another worker (a counter).
    pub jobs_retried: u64,
    /// Workers that could take a job now.
    pub workers_idle: u32,
    /// Workers starting.
    pub workers_initializing: u32,
    /// Workers ready (equal to idle in every live sample).
    pub workers_ready: u32,
    /// Workers at a job.
    pub workers_running: u32,
    /// Workers waiting for room on a host.
    pub workers_throttled: u32,
    /// Workers that crashed.
    pub workers_unhealthy: u32,
}

impl CloudHealth {
    /// Workers that exist in whatever state.
    #[must_use]
    pub fn workers(&self) -> u32 {
        self.workers_idle.max(self.workers_ready)
            + self.workers_initializing
            + self.workers_running
            + self.workers_throttled
            + self.workers_unhealthy
    }
}

/// The longest error text that is kept, in bytes.
pub const ERROR_BYTES_MAX: usize = 65_536;

/// An answer that breaks the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolFault {
    /// No JSON where JSON belongs: a captive portal, a proxy's page.
    #[error(
        "the cloud answered {status} with something that is no sound JSON ({cause}); it begins `{start}`"
    )]
    NotJson {
        /// The HTTP status.
        status: u16,
        /// What the parser said.
        cause: String,
        /// The first 80 characters.
        start: String,
    },
    /// The answer is about another job.
    #[error("the cloud was asked about job {asked} and answered about `{got}`")]
    WrongJob {
        /// The job asked about.
        asked: CloudJobId,
        /// The id in the answer, cut to 80 characters.
        got: String,
    },
    /// A field without which the answer means nothing.
    #[error("the cloud's answer has no usable `{field}`; it begins `{start}`")]
    MissingField {
        /// The field.
        field: &'static str,
        /// The first 80 characters.
        start: String,
    },
    /// 200 with errors inside.
    #[error("the cloud answered 200 with errors: {detail}")]
    ErrorsInside {
        /// What they say.
        detail: String,
    },
    /// A status that the protocol does not have here.
    #[error("the cloud answered {status}: {detail}")]
    UnexpectedStatus {
        /// The HTTP status.
        status: u16,
        /// What the body says.
        detail: String,
    },
    /// Too long, or a redirect.
    #[error(transparent)]
    Refused(super::http::TransportError),
}

/// What an error body says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorBody {
    /// A code such as `ENDPOINT_PAUSED`.
    pub code: Option<String>,
    /// The sentence, at most 200 characters; a word for "empty" if the body says nothing.
    pub detail: String,
}

/// Reads an error body of either style: `error`, `detail`, `message`, `title`, in that order.
#[must_use]
pub fn read_error(body: &[u8]) -> ErrorBody {
    #[derive(Deserialize)]
    struct Body {
        error: Option<serde_json::Value>,
        detail: Option<serde_json::Value>,
        message: Option<serde_json::Value>,
        title: Option<serde_json::Value>,
        code: Option<serde_json::Value>,
        errors: Option<serde_json::Value>,
    }
    let plain = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    let Ok(read) = serde_json::from_slice::<Body>(body) else {
        let start = start_of(body);
        let detail = if start.is_empty() {
            "an empty body".to_owned()
        } else {
            start
        };
        return ErrorBody { code: None, detail };
    };
    let said = read.error.or(read.detail).or(read.message).or(read.title);
    let mut detail = said.map_or_else(|| start_of(body), plain);
    if let Some(errors) = read.errors {
        detail = format!("{detail}: {errors}");
    }
    ErrorBody {
        code: read.code.map(plain).map(|code| cut(&code, 80)),
        detail: cut(&detail, 200),
    }
}

/// Reads `Retry-After`: whole seconds, or a date beside the answer's own `Date`. In milliseconds, at most an hour.
#[must_use]
pub fn retry_after_ms(value: &str, date: Option<&str>) -> Option<i64> {
    const HOUR_MS: i64 = 3_600_000;
    if let Ok(seconds) = value.trim().parse::<f64>() {
        if !seconds.is_finite() || seconds < 0.0 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the value is capped below")]
        return Some(((seconds * 1000.0).ceil() as i64).min(HOUR_MS));
    }
    let until = jiff::fmt::rfc2822::parse(value.trim()).ok()?.timestamp();
    let now = jiff::fmt::rfc2822::parse(date?.trim()).ok()?.timestamp();
    Some(
        until
            .as_millisecond()
            .saturating_sub(now.as_millisecond())
            .clamp(0, HOUR_MS),
    )
}

#[derive(Deserialize)]
struct RawStatus<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "delayTime")]
    delay_time: Option<&'a RawValue>,
    #[serde(borrow, rename = "executionTime")]
    execution_time: Option<&'a RawValue>,
    #[serde(borrow, rename = "workerId")]
    worker_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    retries: Option<&'a RawValue>,
    #[serde(borrow)]
    errors: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<Vec<RawChunk<'a>>>,
}

#[derive(Deserialize)]
struct RawChunk<'a> {
    #[serde(borrow)]
    output: Option<&'a RawValue>,
}

/// Reads the answer to a submission: the job's id.
///
/// # Errors
/// [`ProtocolFault`] when there is no id that could be asked about later.
pub fn read_submitted(body: &Bytes) -> Result<CloudJobId, ProtocolFault> {
    let (body, _has_non_finite) = sound_json(200, body)?;
    let raw: RawStatus<'_> = parse(200, &body)?;
    refuse_errors_inside(&raw)?;
    raw.id
        .as_deref()
        .and_then(CloudJobId::parse)
        .ok_or_else(|| missing("id", &body))
}

/// Reads what is said of job `asked`: a status, or the answer to a cancel.
///
/// # Errors
/// [`ProtocolFault`] for another job's id, a missing status, or no JSON.
pub fn read_status(asked: &CloudJobId, body: &Bytes) -> Result<CloudStatus, ProtocolFault> {
    let (body, has_non_finite) = sound_json(200, body)?;
    let raw: RawStatus<'_> = parse(200, &body)?;
    refuse_errors_inside(&raw)?;
    match raw.id.as_deref() {
        Some(id) if id == asked.as_str() => {}
        Some(id) => {
            return Err(ProtocolFault::WrongJob {
                asked: asked.clone(),
                got: cut(id, 80),
            });
        }
        None => return Err(missing("id", &body)),
    }
    let state = raw
        .status
        .as_deref()
        .map(CloudState::parse)
        .ok_or_else(|| missing("status", &body))?;
    let delay = raw.delay_time.map(millis);
    let execution = raw.execution_time.map(millis);
    Ok(CloudStatus {
        state,
        delay_ms: delay.flatten(),
        execution_ms: execution.flatten(),
        has_bad_times: delay == Some(None) || execution == Some(None),
        worker_id: raw.worker_id.map(|id| cut(&id, 128)),
        output: raw.output.map(|output| slice(&body, output)),
        error: raw.error.map(error_text),
        retries: raw
            .retries
            .and_then(millis)
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(0),
        has_non_finite,
    })
}

/// Reads a poll of a stream.
///
/// # Errors
/// [`ProtocolFault`] for another job's id (the id may be absent here), a missing status, or no JSON.
pub fn read_stream(asked: &CloudJobId, body: &Bytes) -> Result<StreamPart, ProtocolFault> {
    let (body, _has_non_finite) = sound_json(200, body)?;
    let raw: RawStatus<'_> = parse(200, &body)?;
    refuse_errors_inside(&raw)?;
    if let Some(id) = raw.id.as_deref().filter(|id| *id != asked.as_str()) {
        return Err(ProtocolFault::WrongJob {
            asked: asked.clone(),
            got: cut(id, 80),
        });
    }
    let state = raw
        .status
        .as_deref()
        .map(CloudState::parse)
        .ok_or_else(|| missing("status", &body))?;
    let chunk = |chunk: RawChunk<'_>| chunk.output.map(|output| slice(&body, output));
    let chunks = raw
        .stream
        .unwrap_or_default()
        .into_iter()
        .filter_map(chunk)
        .collect();
    Ok(StreamPart { state, chunks })
}

/// Reads the gauges of an endpoint.
///
/// # Errors
/// [`ProtocolFault`] when it is no such thing.
pub fn read_health(body: &Bytes) -> Result<CloudHealth, ProtocolFault> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Jobs {
        completed: u64,
        failed: u64,
        in_progress: u32,
        in_queue: u32,
        retried: u64,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Workers {
        idle: u32,
        initializing: u32,
        ready: u32,
        running: u32,
        throttled: u32,
        unhealthy: u32,
    }
    #[derive(Deserialize)]
    struct Body {
        jobs: Option<Jobs>,
        workers: Option<Workers>,
    }
    let read: Body = parse(200, body)?;
    let jobs = read.jobs.ok_or_else(|| missing("jobs", body))?;
    let workers = read.workers.ok_or_else(|| missing("workers", body))?;
    Ok(CloudHealth {
        jobs_queued: jobs.in_queue,
        jobs_running: jobs.in_progress,
        jobs_completed: jobs.completed,
        jobs_failed: jobs.failed,
        jobs_retried: jobs.retried,
        workers_idle: workers.idle,
        workers_initializing: workers.initializing,
        workers_ready: workers.ready,
        workers_running: workers.running,
        workers_throttled: workers.throttled,
        workers_unhealthy: workers.unhealthy,
    })
}

/// Reads the answer to a purge: how many queued jobs were removed.
///
/// # Errors
/// [`ProtocolFault`] when it does not say.
pub fn read_purged(body: &Bytes) -> Result<u64, ProtocolFault> {
    #[derive(Deserialize)]
    struct Body {
        removed: Option<u64>,
    }
    let read: Body = parse(200, body)?;
    read.removed.ok_or_else(|| missing("removed", body))
}

/// Parses any JSON answer.
///
/// # Errors
/// [`ProtocolFault::NotJson`] with the start of what came.
pub fn parse<'a, T: Deserialize<'a>>(status: u16, body: &'a [u8]) -> Result<T, ProtocolFault> {
    serde_json::from_slice(body).map_err(|error| ProtocolFault::NotJson {
        status,
        cause: cut(&error.to_string(), 120),
        start: start_of(body),
    })
}

/// The body itself if it is JSON, or with `NaN` and infinities as `null` if that makes it JSON: a worker's output can
/// hold them (Python writes them bare), and one such number must not hide that the job ended.
fn sound_json(status: u16, body: &Bytes) -> Result<(Bytes, bool), ProtocolFault> {
    let fault = match parse::<&RawValue>(status, body) {
        Ok(_sound) => return Ok((body.clone(), false)),
        Err(fault) => fault,
    };
    match without_non_finite(body) {
        Some(patched) if parse::<&RawValue>(status, &patched).is_ok() => {
            Ok((Bytes::from(patched), true))
        }
        _ => Err(fault),
    }
}

/// Replaces bare `NaN`, `Infinity` and `-Infinity` outside strings by `null`; `None` if there are none.
fn without_non_finite(body: &[u8]) -> Option<Vec<u8>> {
    const WORDS: [&[u8]; 3] = [b"NaN", b"-Infinity", b"Infinity"];
    let mut patched = Vec::with_capacity(body.len());
    let mut is_in_string = false;
    let mut has_any = false;
    let mut at = 0;
    while let Some(&byte) = body.get(at) {
        if is_in_string {
            let length = if byte == b'\\' { 2 } else { 1 };
            is_in_string = byte != b'"';
            patched.extend_from_slice(&body[at..(at + length).min(body.len())]);
            at += length;
            continue;
        }
        if let Some(word) = WORDS.into_iter().find(|word| body[at..].starts_with(word)) {
            patched.extend_from_slice(b"null");
            has_any = true;
            at += word.len();
            continue;
        }
        is_in_string = byte == b'"';
        patched.push(byte);
        at += 1;
    }
    has_any.then_some(patched)
}

fn refuse_errors_inside(raw: &RawStatus<'_>) -> Result<(), ProtocolFault> {
    match raw.errors {
        Some(errors) if raw.id.is_none() => Err(ProtocolFault::ErrorsInside {
            detail: cut(errors.get(), 200),
        }),
        _ => Ok(()),
    }
}

fn missing(field: &'static str, body: &[u8]) -> ProtocolFault {
    ProtocolFault::MissingField {
        field,
        start: start_of(body),
    }
}

fn slice(body: &Bytes, part: &RawValue) -> Bytes {
    body.slice_ref(part.get().as_bytes())
}

/// A count or a time: any JSON number that is not negative.
fn millis(raw: &RawValue) -> Option<i64> {
    let value: f64 = serde_json::from_str(raw.get()).ok()?;
    let is_sound = (0.0..9e15).contains(&value);
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    is_sound.then_some(value as i64)
}

/// The error as text: a string as it is, anything else as its JSON.
fn error_text(raw: &RawValue) -> String {
    let text = serde_json::from_str::<String>(raw.get())
        .unwrap_or_else(|_not_a_string| raw.get().to_owned());
    if text.len() <= ERROR_BYTES_MAX {
        return text;
    }
    let end = text.floor_char_boundary(ERROR_BYTES_MAX);
    format!("{} [cut]", &text[..end])
}

fn start_of(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(400)]);
    let printable: String = text
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect();
    cut(printable.trim(), 80)
}

fn cut(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> CloudJobId {
        CloudJobId::parse("a1-u1").unwrap()
    }

    fn status(body: &'static str) -> Result<CloudStatus, ProtocolFault> {
        read_status(&job(), &Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn reads_a_finished_job_and_leaves_its_output_alone() {
        let read = status(
            r#"{"delayTime":824,"executionTime":3391.6,"id":"a1-u1","output":{ "n": 9007199254740993, "s":"\ud800" },"status":"COMPLETED","workerId":"w1"}"#,
        )
        .unwrap();
        assert_eq!(read.state, CloudState::Completed);
        assert_eq!((read.delay_ms, read.execution_ms), (Some(824), Some(3391)));
        assert_eq!(
            read.output.as_deref(),
            Some(br#"{ "n": 9007199254740993, "s":"\ud800" }"#.as_slice())
        );
        assert!(!read.has_bad_times && !read.has_non_finite);
    }

    #[test]
    fn an_unknown_word_is_not_an_end() {
        let read = status(r#"{"id":"a1-u1","status":"PAUSED"}"#).unwrap();
        assert_eq!(read.state, CloudState::Unknown("PAUSED".to_owned()));
        assert!(!read.state.is_final());
    }

    #[test]
    fn nonsense_times_are_flagged_and_left_out() {
        let read = status(
            r#"{"id":"a1-u1","status":"FAILED","delayTime":-4,"executionTime":"x","error":{"a":1},"retries":1}"#,
        )
        .unwrap();
        assert_eq!(
            (read.delay_ms, read.execution_ms, read.has_bad_times),
            (None, None, true)
        );
        assert_eq!(read.error.as_deref(), Some(r#"{"a":1}"#));
        assert_eq!(read.retries, 1);
    }

    #[test]
    fn nan_does_not_hide_that_the_job_ended() {
        let read =
            status(r#"{"id":"a1-u1","status":"COMPLETED","output":{"v":NaN,"s":"NaN \" Infinity","w":[-Infinity]}}"#)
                .unwrap();
        assert!(read.has_non_finite);
        let output = read.output.unwrap();
        assert_eq!(
            output.as_ref(),
            br#"{"v":null,"s":"NaN \" Infinity","w":[null]}"#
        );
    }

    #[test]
    fn answers_that_cannot_be_believed_are_refused() {
        assert!(matches!(
            status(r#"{"id":"b2-u1","status":"COMPLETED","output":1}"#),
            Err(ProtocolFault::WrongJob { got, .. }) if got == "b2-u1"
        ));
        assert!(matches!(
            status("<html>log in</html>"),
            Err(ProtocolFault::NotJson { .. })
        ));
        assert!(matches!(status("[1]"), Err(ProtocolFault::NotJson { .. })));
        assert!(matches!(
            status(r#"{"id":"a1-u1"}"#),
            Err(ProtocolFault::MissingField {
                field: "status",
                ..
            })
        ));
        assert!(matches!(
            status(r#"{"errors":[{"message":"no"}]}"#),
            Err(ProtocolFault::ErrorsInside { .. })
        ));
    }

    #[test]
    fn an_id_that_cannot_travel_is_no_id() {
        for bad in ["", "a/b", "a?b", "../x", "é", &"x".repeat(129)] {
            assert_eq!(CloudJobId::parse(bad), None, "{bad}");
        }
        let answer = Bytes::from_static(br#"{"id":"a/../b","status":"IN_QUEUE"}"#);
        assert!(matches!(
            read_submitted(&answer),
            Err(ProtocolFault::MissingField { field: "id", .. })
        ));
    }

    #[test]
    fn stream_chunks_come_in_order() {
        let body = Bytes::from_static(
            br#"{"status":"COMPLETED","stream":[{"output":"tok"},{"metrics":{},"output":{"k":1}},{"metrics":{}}]}"#,
        );
        let part = read_stream(&job(), &body).unwrap();
        assert_eq!(part.state, CloudState::Completed);
        assert_eq!(
            part.chunks,
            [
                Bytes::from_static(b"\"tok\""),
                Bytes::from_static(b"{\"k\":1}")
            ]
        );
    }

    #[test]
    fn error_bodies_of_both_styles_are_read() {
        let paused = br#"{"status":409,"title":"Conflict","detail":"Endpoint is paused","code":"ENDPOINT_PAUSED"}"#;
        let read = read_error(paused);
        assert_eq!(
            (read.code.as_deref(), read.detail.as_str()),
            (Some("ENDPOINT_PAUSED"), "Endpoint is paused")
        );
        assert_eq!(
            read_error(br#"{"error":"wait is invalid"}"#).detail,
            "wait is invalid"
        );
        assert_eq!(read_error(b"").detail, "an empty body");
        assert_eq!(read_error(b"<html>\n<body>").detail, "<html> <body>");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let date = "Mon, 23 Nov 2026 21:00:00 GMT";
        assert_eq!(retry_after_ms("12", None), Some(12_000));
        assert_eq!(retry_after_ms("1e30", None), Some(3_600_000));
        assert_eq!(retry_after_ms("-1", None), None);
        assert_eq!(
            retry_after_ms("Mon, 23 Nov 2026 21:00:30 GMT", Some(date)),
            Some(30_000)
        );
        assert_eq!(
            retry_after_ms("Mon, 23 Nov 2026 20:00:00 GMT", Some(date)),
            Some(0)
        );
        assert_eq!(retry_after_ms("soon", Some(date)), None);
    }

    #[test]
    fn health_needs_both_halves() {
        let body = Bytes::from_static(
            br#"{"jobs":{"completed":31,"failed":1,"inProgress":0,"inQueue":2,"retried":1},"workers":{"idle":1,"initializing":0,"ready":1,"running":1,"throttled":0,"unhealthy":0}}"#,
        );
        let health = read_health(&body).unwrap();
        assert_eq!(
            (health.jobs_queued, health.jobs_retried, health.workers()),
            (2, 1, 2)
        );
        assert!(read_health(&Bytes::from_static(b"{}")).is_err());
    }

    proptest::proptest! {
        /// Whatever comes, reading it ends in a value or a fault, and an output is a slice of what came.
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), cut in 0..90_usize, at in 0..90_usize) {
            let sound = br#"{"id":"a1-u1","status":"COMPLETED","output":{"v":NaN,"s":"\"\u00e9"},"delayTime":-1e400}"#;
            let mut bent = sound.to_vec();
            bent.truncate(sound.len() - cut.min(sound.len()));
            let spot = at.min(bent.len());
            bent.splice(spot..spot, bytes.iter().copied().take(8));
            for body in [Bytes::from(bytes), Bytes::from(bent)] {
                let _read = (read_status(&job(), &body), read_stream(&job(), &body), read_health(&body));
                let _read = (read_submitted(&body), read_purged(&body), read_error(&body));
            }
        }
    }
}
