//! A job of the cloud: its state machine, its clocks, and how it is shown.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::agenda::TimerKey;
use super::id::{JobId, WorkerId};
use super::script::Script;

/// JSON as it came, never parsed again.
pub type Payload = Arc<RawValue>;

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobStatus {
    /// Waits for a worker.
    InQueue,
    /// Is with a worker.
    InProgress,
    /// Ended well.
    Completed,
    /// Ended badly.
    Failed,
    /// Was cancelled.
    Cancelled,
    /// Was too old before it started.
    TimedOut,
}

impl JobStatus {
    /// Whether this is an end.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::InQueue | Self::InProgress)
    }
}

/// What a caller may ask for a job, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JobPolicy {
    /// Time it may run, in place of the endpoint's.
    pub execution_timeout_ms: Option<u64>,
    /// Time it may exist.
    pub ttl_ms: Option<u64>,
    /// It does not make the platform start workers.
    pub is_low_priority: bool,
}

/// A job that is handed in.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Its input.
    pub input: Payload,
    /// The caller holds the line (`/runsync`): another id and a shorter retention.
    pub is_sync: bool,
    /// Clocks and priority.
    pub policy: JobPolicy,
    /// Where to report its end.
    pub webhook: Option<String>,
    /// Passed on to the worker.
    pub s3_config: Option<Payload>,
}

impl Submission {
    /// A `/run` job with this input and nothing else.
    #[must_use]
    pub fn of(input: Payload) -> Self {
        Self {
            input,
            is_sync: false,
            policy: JobPolicy::default(),
            webhook: None,
            s3_config: None,
        }
    }

    /// A `/run` job of a modelled worker that takes `run_ms` milliseconds.
    #[must_use]
    pub fn running_for(run_ms: u64) -> Self {
        let text = format!(r#"{{"seconds":{}.{:03}}}"#, run_ms / 1_000, run_ms % 1_000);
        Self::of(super::script::raw(&text))
    }
}

/// A job.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) number: u64,
    pub(crate) order: Submission,
    pub(crate) script: Option<Script>,
    pub(crate) status: JobStatus,
    pub(crate) submitted_ms: i64,
    pub(crate) visible_at_ms: i64,
    /// Since when it waits; later than the submission after a re-dispatch.
    pub(crate) waiting_since_ms: i64,
    /// Start of the last attempt.
    pub(crate) started_ms: Option<i64>,
    pub(crate) ended_ms: Option<i64>,
    pub(crate) worker: Option<WorkerId>,
    /// Attempts so far over its whole life, retries by the caller included.
    pub(crate) attempt: u32,
    /// Re-dispatches since the last submit or retry.
    pub(crate) retries: u32,
    pub(crate) output: Option<Payload>,
    pub(crate) error: Option<Payload>,
    pub(crate) chunks: VecDeque<Payload>,
    pub(crate) expire: Option<TimerKey>,
    pub(crate) timeout: Option<TimerKey>,
    pub(crate) lease: Option<TimerKey>,
    pub(crate) forget: Option<TimerKey>,
}

/// How a job is shown by `/status` and `/runsync`; keys in the cloud's (alphabetical) order.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobView {
    /// Milliseconds from submission to the start of the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_time: Option<u64>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Payload>,
    /// Milliseconds inside the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_time: Option<u64>,
    /// Id.
    pub id: JobId,
    /// Result, or the last progress update.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Payload>,
    /// Re-dispatches; only when there were some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// State.
    pub status: JobStatus,
    /// Worker of the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<WorkerId>,
}

impl Job {
    pub(crate) fn view(&self, now_ms: i64) -> JobView {
        let since_start = |until: i64| self.started_ms.map(|started| span_ms(started, until));
        let shows_execution = self.status.is_final() || self.output.is_some();
        JobView {
            delay_time: self
                .started_ms
                .map(|started| span_ms(self.submitted_ms, started)),
            error: self.error.clone(),
            execution_time: since_start(self.ended_ms.unwrap_or(now_ms))
                .filter(|_| shows_execution && self.status != JobStatus::InQueue),
            id: self.id.clone(),
            output: self.output.clone(),
            retries: (self.retries > 0).then_some(self.retries),
            status: self.status,
            worker_id: self
                .worker
                .clone()
                .filter(|_| self.status != JobStatus::InQueue),
        }
    }
}

/// Milliseconds from `from` to `to`, never negative.
pub(crate) fn span_ms(from: i64, to: i64) -> u64 {
    u64::try_from(to - from).unwrap_or(0)
}
