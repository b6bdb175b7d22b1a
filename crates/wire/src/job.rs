//! Jobs as clients see them: the body of `/run`, the words for states, the bodies of `/status`.
//!
//! Payloads are never rebuilt: a request is read as ranges of its bytes, an answer is a head and a
//! tail with the output's bytes between them. Source: `runpod-protocol.md` A3, A4, A6.

use std::fmt::Write as _;
use std::ops::Range;

use crate::json::{self, Fault, JsonError, Kind, Member, Rules};

/// The states of the compatible API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobStatus {
    /// Waiting.
    InQueue,
    /// On a worker.
    InProgress,
    /// Done.
    Completed,
    /// The handler failed, or its worker was lost too often.
    Failed,
    /// Someone cancelled it.
    Cancelled,
    /// Its TTL ended in the queue.
    TimedOut,
}

impl JobStatus {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::InQueue,
        Self::InProgress,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::TimedOut,
    ];

    /// The word on the wire. `RUNNING` is never one: Python's client would poll for ever.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::InQueue => "IN_QUEUE",
            Self::InProgress => "IN_PROGRESS",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::TimedOut => "TIMED_OUT",
        }
    }

    /// The state of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.word() == word)
    }

    /// Whether it changes no more (but by `/retry`).
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::InQueue | Self::InProgress)
    }
}

/// `policy.executionTimeout` in milliseconds.
pub const EXECUTION_TIMEOUT_MS: std::ops::RangeInclusive<u64> = 5_000..=604_800_000;
/// `policy.ttl` in milliseconds.
pub const TTL_MS: std::ops::RangeInclusive<u64> = 10_000..=604_800_000;
/// `?wait=` in milliseconds.
pub const WAIT_MS: std::ops::RangeInclusive<u64> = 1_000..=300_000;
/// Hold of `/runsync` without `?wait=`, in milliseconds.
pub const WAIT_DEFAULT_MS: u64 = 90_000;
/// Hold of an empty `/stream` poll without `?wait=`, in milliseconds. RunPod's is 10 s, which is also when
/// its Python client gives up and asks again (`runpod/endpoint/runner.py`, `_request`): an answer that
/// crosses that second request takes its chunks with it, so this one comes before.
pub const STREAM_WAIT_DEFAULT_MS: u64 = 9_000;

/// Why the body of `/run` is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitFault {
    /// It is not JSON, or breaks a rule of [`Rules::CLIENT`].
    #[error("the body is not usable JSON: {0}")]
    Json(#[source] JsonError),
    /// It is JSON, but no object.
    #[error("the body must be a JSON object, this is {0}")]
    NotObject(Kind),
    /// No `input`, or `null`.
    #[error("`input` is missing")]
    InputMissing,
    /// A field has the wrong type.
    #[error("`{field}` must be {expected}, this is {found}")]
    TypeMismatch {
        /// Which: `policy.lowPriority`.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: Kind,
    },
    /// A number lies outside its range, or is no integer.
    #[error(
        "`{field}` must be a whole number of milliseconds from {min} to {max}, this is {found}"
    )]
    OutOfRange {
        /// Which: `policy.ttl`.
        field: &'static str,
        /// Least.
        min: u64,
        /// Most.
        max: u64,
        /// What stands there, cut to 80 characters.
        found: String,
    },
}

/// The body of `/run` and `/runsync`, as ranges of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmitRequest {
    /// The bytes of `input`; never `null`.
    pub input: Range<usize>,
    /// `webhook`, as given; `null` and the empty string count as absent.
    pub webhook: Option<String>,
    /// `policy.executionTimeout` in milliseconds.
    pub execution_timeout_ms: Option<u64>,
    /// `policy.ttl` in milliseconds.
    pub ttl_ms: Option<u64>,
    /// `policy.lowPriority`.
    pub low_priority: bool,
    /// The bytes of `s3Config`, an object.
    pub s3_config: Option<Range<usize>>,
    /// The same for every way of writing the same request: members by key, no white space.
    members: Vec<Member>,
}

impl SubmitRequest {
    /// Reads a request. Top-level keys that are not known are ignored, as the cloud seems to do.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read(body: &[u8]) -> Result<Self, SubmitFault> {
        let outline = json::scan(body, Rules::CLIENT).map_err(SubmitFault::Json)?;
        if outline.kind != Kind::Object {
            return Err(SubmitFault::NotObject(outline.kind));
        }
        let present = |key: &str| outline.member(key).filter(|m| m.kind != Kind::Null);
        let input = present("input").ok_or(SubmitFault::InputMissing)?;
        let webhook = match present("webhook") {
            None => None,
            Some(member) => {
                expect_kind(member, Kind::String, "webhook", "a string")?;
                Some(json::unescape(&body[member.value.clone()])).filter(|url| !url.is_empty())
            }
        };
        let s3_config = match present("s3Config") {
            None => None,
            Some(member) => {
                expect_kind(member, Kind::Object, "s3Config", "an object")?;
                Some(member.value.clone())
            }
        };
        let mut request = Self {
            input: input.value.clone(),
            webhook,
            execution_timeout_ms: None,
            ttl_ms: None,
            low_priority: false,
            s3_config,
            members: Vec::new(),
        };
        if let Some(policy) = present("policy") {
            expect_kind(policy, Kind::Object, "policy", "an object")?;
            request.read_policy(&body[policy.value.clone()])?;
        }
        request.members = outline.members;
        Ok(request)
    }

    fn read_policy(&mut self, policy: &[u8]) -> Result<(), SubmitFault> {
        let outline = json::scan(policy, Rules::CLIENT).map_err(SubmitFault::Json)?;
        let present = |key: &str| outline.member(key).filter(|m| m.kind != Kind::Null);
        if let Some(member) = present("executionTimeout") {
            self.execution_timeout_ms = Some(milliseconds(
                policy,
                member,
                "policy.executionTimeout",
                EXECUTION_TIMEOUT_MS,
            )?);
        }
        if let Some(member) = present("ttl") {
            self.ttl_ms = Some(milliseconds(policy, member, "policy.ttl", TTL_MS)?);
        }
        if let Some(member) = present("lowPriority") {
            expect_kind(member, Kind::Bool, "policy.lowPriority", "a boolean")?;
            self.low_priority = &policy[member.value.clone()] == b"true";
        }
        Ok(())
    }

    /// The request in one way of writing: members by key, no white space between tokens.
    #[must_use]
    pub fn canonical(&self, body: &[u8]) -> Vec<u8> {
        let mut members: Vec<&Member> = self.members.iter().collect();
        members.sort_by(|a, b| a.key.cmp(&b.key));
        let mut out = vec![b'{'];
        for (i, member) in members.into_iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(json::quote(&member.key).as_bytes());
            out.push(b':');
            out.extend_from_slice(&json::squeeze(&body[member.value.clone()]));
        }
        out.push(b'}');
        out
    }
}

fn expect_kind(
    member: &Member,
    kind: Kind,
    field: &'static str,
    expected: &'static str,
) -> Result<(), SubmitFault> {
    if member.kind == kind {
        return Ok(());
    }
    Err(SubmitFault::TypeMismatch {
        field,
        expected,
        found: member.kind,
    })
}

fn milliseconds(
    body: &[u8],
    member: &Member,
    field: &'static str,
    range: std::ops::RangeInclusive<u64>,
) -> Result<u64, SubmitFault> {
    let text = String::from_utf8_lossy(&body[member.value.clone()]);
    // `600000.0` is how some clients write a whole number of milliseconds; it is still a float.
    match text.parse::<u64>() {
        Ok(value) if member.kind == Kind::Number && range.contains(&value) => Ok(value),
        _ => Err(SubmitFault::OutOfRange {
            field,
            min: *range.start(),
            max: *range.end(),
            found: text.chars().take(80).collect(),
        }),
    }
}

impl SubmitFault {
    /// The stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Json(error) => json_code(error.fault),
            Self::NotObject(_) => "json_not_object",
            Self::InputMissing => "input_missing",
            Self::TypeMismatch { .. } => "type_mismatch",
            Self::OutOfRange { .. } => "out_of_range",
        }
    }

    /// The field it is about.
    #[must_use]
    pub fn field(&self) -> Option<String> {
        match self {
            Self::Json(error) if !error.path.is_empty() => Some(error.path.clone()),
            Self::Json(_) | Self::NotObject(_) => None,
            Self::InputMissing => Some("input".into()),
            Self::TypeMismatch { field, .. } | Self::OutOfRange { field, .. } => {
                Some((*field).into())
            }
        }
    }
}

/// The stable word for a fault in a JSON text.
#[must_use]
pub const fn json_code(fault: Fault) -> &'static str {
    match fault {
        Fault::Empty => "body_empty",
        Fault::BadUtf8 => "json_bad_utf8",
        Fault::Syntax => "json_invalid",
        Fault::TooDeep => "json_too_deep",
        Fault::NonFinite => "json_non_finite",
        Fault::NumberOutOfRange => "number_out_of_range",
    }
}

/// A job's state as `/status` and its kin answer it; fields that are `None` are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusBody<'a> {
    /// The job.
    pub id: &'a str,
    /// Its state.
    pub status: JobStatus,
    /// Submit to the start of the last attempt.
    pub delay_ms: Option<u64>,
    /// Inside the last attempt.
    pub execution_ms: Option<u64>,
    /// Who ran it.
    pub worker: Option<&'a str>,
    /// Lost attempts; 0 is left out.
    pub retries: u32,
    /// The error of a failed job.
    pub error: Option<&'a str>,
    /// Whether an output lies between head and tail.
    pub has_output: bool,
}

impl StatusBody<'_> {
    /// Head and tail of the body; the output's bytes go between them. Keys are in alphabetical
    /// order, as in every sample of the cloud.
    #[must_use]
    pub fn parts(&self) -> (String, String) {
        let mut head = String::with_capacity(160);
        head.push('{');
        if let Some(delay) = self.delay_ms {
            let _ = write!(head, "\"delayTime\":{delay},");
        }
        if let Some(error) = self.error {
            let _ = write!(head, "\"error\":{},", json::quote(error));
        }
        if let Some(execution) = self.execution_ms {
            let _ = write!(head, "\"executionTime\":{execution},");
        }
        let _ = write!(head, "\"id\":{}", json::quote(self.id));
        if self.has_output {
            head.push_str(",\"output\":");
        }
        let mut tail = String::with_capacity(96);
        if self.retries > 0 {
            let _ = write!(tail, ",\"retries\":{}", self.retries);
        }
        let _ = write!(tail, ",\"status\":\"{}\"", self.status.word());
        if let Some(worker) = self.worker {
            let _ = write!(tail, ",\"workerId\":{}", json::quote(worker));
        }
        tail.push('}');
        (head, tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_by_its_ranges() {
        let body = br#"{"input":{"a":9007199254740993},"webhook":"https://e.org/h","policy":{"executionTimeout":600000,"lowPriority":true,"ttl":86400000},"s3Config":{"accessId":"x"},"other":1}"#;
        let request = SubmitRequest::read(body).unwrap();
        assert_eq!(&body[request.input.clone()], br#"{"a":9007199254740993}"#);
        assert_eq!(request.webhook.as_deref(), Some("https://e.org/h"));
        assert_eq!(request.execution_timeout_ms, Some(600_000));
        assert_eq!(request.ttl_ms, Some(86_400_000));
        assert!(request.low_priority);
        assert_eq!(&body[request.s3_config.unwrap()], br#"{"accessId":"x"}"#);
    }

    #[test]
    fn one_request_has_one_canonical_form() {
        let one = br#"{"input": {"a": 1}, "webhook": "x"}"#;
        let two = br#"{"webhook":"x","input":{"a":1}}"#;
        let canonical = |body: &[u8]| SubmitRequest::read(body).unwrap().canonical(body);
        assert_eq!(canonical(one), canonical(two));
    }

    #[test]
    fn a_status_is_spliced_in_alphabetical_order() {
        let body = StatusBody {
            id: "x-u1",
            status: JobStatus::Failed,
            delay_ms: Some(101_050),
            execution_ms: Some(42_078),
            worker: Some("w"),
            retries: 1,
            error: Some("a \"b\""),
            has_output: true,
        };
        let (head, tail) = body.parts();
        assert_eq!(
            format!("{head}{{}}{tail}"),
            "{\"delayTime\":101050,\"error\":\"a \\\"b\\\"\",\"executionTime\":42078,\
             \"id\":\"x-u1\",\"output\":{},\"retries\":1,\"status\":\"FAILED\",\"workerId\":\"w\"}"
        );
    }
}
