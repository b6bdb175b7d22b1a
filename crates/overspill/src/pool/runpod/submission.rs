//! The body of a submission (`POST /run`).
//!
//! The input's bytes are copied into place as they came, never parsed: they were checked when the job was accepted,
//! and must reach the worker exactly. The one exception is the empty object: `RunPod` drops `"input": {}` on the way
//! to the worker, which then rejects the job until it fails after a minute (seen live, 2026-08); such an input gets
//! the one key [`EMPTY_INPUT_KEY`].

use bytes::Bytes;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;

/// The key that an empty input gets, because the cloud drops `{}`.
pub const EMPTY_INPUT_KEY: &str = "overspill_empty_input";

/// The largest body that the cloud takes, in bytes ("10 MB", documented; read as decimal to be safe).
pub const BODY_BYTES_MAX: usize = 10_000_000;

/// What a submission says beside its input. Times in milliseconds.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Submission {
    /// The input as JSON text.
    pub input: Bytes,
    /// Longest run of the job; bounds what a lost twin can cost. Documented range 5 s to 7 d; clamped.
    pub execution_timeout_ms: Option<i64>,
    /// Longest life of the job in the cloud, queue included. Documented range 10 s to 7 d; clamped.
    pub ttl_ms: Option<i64>,
    /// True for a job that must not start a worker by itself.
    pub is_low_priority: bool,
    /// Where the cloud says that the job ended; holds the attempt's token.
    pub webhook: Option<String>,
    /// Further keys that the worker must see (`s3Config`), as the text of a JSON object. Keys that a submission has
    /// itself are left out.
    pub extras: Option<String>,
    /// Where the submission stands in a trace, for its header `traceparent`: whether the cloud takes further keys in
    /// the body is not known, and no job is to be refused for it.
    pub traceparent: Option<String>,
}

impl fmt::Debug for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The extras hold keys of object stores, an input whatever people send.
        f.debug_struct("Submission")
            .field("input_bytes", &self.input.len())
            .field("has_extras", &self.extras.is_some())
            .finish_non_exhaustive()
    }
}

/// Keys of a submission that no extra may double.
const OWN_KEYS: [&str; 4] = ["id", "input", "policy", "webhook"];

const SEVEN_DAYS_MS: i64 = 604_800_000;

impl Submission {
    /// The body as JSON.
    #[must_use]
    pub fn body(&self) -> Bytes {
        let mut body = Vec::with_capacity(self.input.len() + 256);
        body.extend_from_slice(b"{\"input\":");
        if is_empty_object(&self.input) {
            body.extend_from_slice(format!("{{\"{EMPTY_INPUT_KEY}\":true}}").as_bytes());
        } else {
            body.extend_from_slice(&self.input);
        }
        let mut policy = vec![format!("\"lowPriority\":{}", self.is_low_priority)];
        if let Some(timeout) = self.execution_timeout_ms {
            policy.push(format!(
                "\"executionTimeout\":{}",
                timeout.clamp(5_000, SEVEN_DAYS_MS)
            ));
        }
        if let Some(ttl) = self.ttl_ms {
            policy.push(format!("\"ttl\":{}", ttl.clamp(10_000, SEVEN_DAYS_MS)));
        }
        body.extend_from_slice(format!(",\"policy\":{{{}}}", policy.join(",")).as_bytes());
        if let Some(webhook) = &self.webhook {
            let quoted = serde_json::Value::from(webhook.as_str()).to_string();
            body.extend_from_slice(format!(",\"webhook\":{quoted}").as_bytes());
        }
        let extras = self.extras.as_deref().map(members).unwrap_or_default();
        for (key, value) in extras
            .iter()
            .filter(|(key, _)| !OWN_KEYS.contains(&key.as_str()))
        {
            let key = serde_json::Value::from(key.as_str()).to_string();
            body.extend_from_slice(format!(",{key}:{}", value.get()).as_bytes());
        }
        body.push(b'}');
        Bytes::from(body)
    }
}

/// The members of a JSON object, their values as they stand; none for anything else.
fn members(extras: &str) -> BTreeMap<String, Box<RawValue>> {
    serde_json::from_str(extras).unwrap_or_default()
}

fn is_empty_object(input: &[u8]) -> bool {
    let inner = input
        .trim_ascii()
        .strip_prefix(b"{")
        .and_then(|rest| rest.strip_suffix(b"}"));
    inner.is_some_and(|inner| inner.trim_ascii().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(submission: &Submission) -> String {
        String::from_utf8(submission.body().to_vec()).unwrap()
    }

    #[test]
    fn the_input_passes_byte_for_byte() {
        let input = br#"{ "big": 9007199254740993, "e":1E+5,"s":"\ud800" }"#;
        let submission = Submission {
            input: Bytes::from_static(input),
            ..Submission::default()
        };
        let expected = r#"{"input":{ "big": 9007199254740993, "e":1E+5,"s":"\ud800" },"policy":{"lowPriority":false}}"#;
        assert_eq!(text(&submission), expected);
    }

    #[test]
    fn an_empty_input_gets_a_key() {
        for input in ["{}", " { \n} "] {
            let submission = Submission {
                input: Bytes::from_static(input.as_bytes()),
                ..Submission::default()
            };
            assert!(text(&submission).starts_with(r#"{"input":{"overspill_empty_input":true},"#));
        }
    }

    #[test]
    fn limits_are_held_within_the_documented_range() {
        let submission = Submission {
            input: Bytes::from_static(b"[1]"),
            execution_timeout_ms: Some(1),
            ttl_ms: Some(i64::MAX),
            is_low_priority: true,
            webhook: Some("https://gpu.example.com/hook/\"x".to_owned()),
            extras: Some(
                r#"{"s3Config":{"bucketName":"b"},"policy":{"ttl":1},"input":2}"#.to_owned(),
            ),
            traceparent: None,
        };
        let body: serde_json::Value = serde_json::from_slice(&submission.body()).unwrap();
        assert_eq!(body["policy"]["executionTimeout"], 5_000);
        assert_eq!(body["policy"]["ttl"], SEVEN_DAYS_MS);
        assert_eq!(body["policy"]["lowPriority"], true);
        assert_eq!(body["webhook"], "https://gpu.example.com/hook/\"x");
        assert_eq!(body["s3Config"]["bucketName"], "b");
    }
}
