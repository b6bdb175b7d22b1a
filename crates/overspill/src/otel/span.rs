//! A span, with the names that the semantic conventions for messaging give its attributes.
//!
//! The ids of a job's spans follow from the ids of the job and its attempts: whoever makes the span of an
//! attempt after a restart gives it the id that the worker was told before.

use overspill_core::id::{AttemptId, JobId};
use overspill_core::time::Timestamp;
use overspill_core::webhook::WebhookId;
use sha2::{Digest as _, Sha256};

use super::context::TraceContext;

/// Where the job was sent (semantic conventions, messaging; in development there).
pub const DESTINATION: &str = "messaging.destination.name";
/// Which job.
pub const MESSAGE_ID: &str = "messaging.message.id";
/// What is done with it: `send`, `receive`, `process` or `settle`.
pub const OPERATION: &str = "messaging.operation.type";
/// Who does it.
pub const SYSTEM: &str = "messaging.system";

/// Which side of a call a span is; the numbers are OTLP's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Within this server.
    Internal = 1,
    /// A request that this server made.
    Client = 3,
    /// Something for others to take up was made.
    Producer = 4,
    /// What somebody else made was taken up.
    Consumer = 5,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// Yes or no.
    Bool(bool),
}

/// A span that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its trace, and its own id in it.
    pub context: TraceContext,
    /// The span that it is a child of; `None` where a trace begins.
    pub parent: Option<[u8; 8]>,
    /// A span that it follows from without being its child.
    pub link: Option<[u8; 8]>,
    /// What it is.
    pub name: &'static str,
    /// Which side of a call.
    pub kind: Kind,
    /// When it began.
    pub start: Timestamp,
    /// When it was over.
    pub end: Timestamp,
    /// What is known of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// What happened within it.
    pub events: Vec<(Timestamp, &'static str)>,
    /// Why it failed.
    pub error: Option<String>,
}

impl Span {
    /// A span of a job, with the attributes that all of them have.
    #[must_use]
    pub fn of_job(
        name: &'static str,
        kind: Kind,
        context: TraceContext,
        endpoint: &str,
        job: JobId,
    ) -> Self {
        let mut span = Self {
            context,
            parent: None,
            link: None,
            name,
            kind,
            start: Timestamp::ZERO,
            end: Timestamp::ZERO,
            attributes: Vec::with_capacity(10),
            events: Vec::new(),
            error: None,
        };
        let job = job.to_string();
        span.text(SYSTEM, "overspill");
        span.text(DESTINATION, endpoint);
        span.text(MESSAGE_ID, &job);
        span.text("endpoint", endpoint);
        span.text("job_id", &job);
        span
    }

    /// Adds an attribute that is text.
    pub fn text(&mut self, name: &'static str, value: &str) {
        self.attributes.push((name, Value::Text(value.to_owned())));
    }

    /// Adds an attribute that is a number.
    pub fn int(&mut self, name: &'static str, value: i64) {
        self.attributes.push((name, Value::Int(value)));
    }

    /// From when to when it lasted; never less than nothing.
    #[must_use]
    pub fn lasting(mut self, start: Timestamp, end: Timestamp) -> Self {
        self.start = start;
        self.end = end.max(start);
        self
    }
}

/// The trace of a job whose caller brought none.
#[must_use]
pub fn trace_of(job: JobId) -> [u8; 16] {
    let digest = digest("trace", job, 0, 0);
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    id
}

/// The span of a submission.
#[must_use]
pub fn of_submission(job: JobId, generation: u32) -> [u8; 8] {
    id("submit", job, generation, 0)
}

/// The span of the wait before an attempt.
#[must_use]
pub fn of_wait(attempt: AttemptId) -> [u8; 8] {
    id("wait", attempt.job, attempt.generation, attempt.number)
}

/// The span of an attempt.
#[must_use]
pub fn of_attempt(attempt: AttemptId) -> [u8; 8] {
    id("attempt", attempt.job, attempt.generation, attempt.number)
}

/// The span of an attempt's submission to RunPod.
#[must_use]
pub fn of_cloud_submission(attempt: AttemptId) -> [u8; 8] {
    id("cloud", attempt.job, attempt.generation, attempt.number)
}

/// The span of one try to deliver a webhook; `number` is how many were made before.
#[must_use]
pub fn of_delivery(webhook: WebhookId, number: u32, at: Timestamp) -> [u8; 8] {
    // A replay counts its tries from 0 again: the time tells them apart.
    let at = at.as_millis().cast_unsigned().to_be_bytes();
    let kind = format!("webhook {number} {}", u64::from_be_bytes(at));
    id(&kind, webhook.job, webhook.generation, number)
}

fn id(kind: &str, job: JobId, generation: u32, number: u32) -> [u8; 8] {
    let digest = digest(kind, job, generation, number);
    let mut id = [0; 8];
    id.copy_from_slice(&digest[..8]);
    id
}

fn digest(kind: &str, job: JobId, generation: u32, number: u32) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(kind.as_bytes());
    hash.update([0]);
    hash.update(job.to_string().as_bytes());
    hash.update(generation.to_be_bytes());
    hash.update(number.to_be_bytes());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_from_the_job_and_differ_by_what_they_name() {
        let attempt = |number| AttemptId {
            job: JobId::new(7, false),
            generation: 0,
            number,
        };
        assert_eq!(of_attempt(attempt(1)), of_attempt(attempt(1)));
        let all = [
            of_submission(attempt(1).job, 0),
            of_submission(attempt(1).job, 1),
            of_wait(attempt(1)),
            of_attempt(attempt(1)),
            of_attempt(attempt(2)),
            of_cloud_submission(attempt(1)),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
