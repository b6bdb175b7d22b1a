//! What goes between the server and RunPod's workers: job objects, results, stop lists.
//!
//! A worker's post is read with tolerance: a refusal would lose the job's result, because the SDK
//! posts a result again only after a 5xx. Source: `runpod-protocol.md` B3–B6.

use std::ops::Range;

use crate::json::{self, Fault, Kind, NonFinite, Outline, Rules};

/// The most of an error's text that is kept, in bytes.
pub const ERROR_BYTES_MAX: usize = 64 * 1024;
/// The largest piece of a stream that a client gets at once, in bytes.
pub const CHUNK_BYTES_MAX: usize = 1_000_000;

/// Keys of a job object that no extra may double, and `self`.
const OWN_KEYS: [&str; 6] = [
    "self",
    "id",
    "input",
    "webhook",
    "traceparent",
    "tracestate",
];

/// Where a job stands in its caller's trace (W3C Trace Context), as its handler sees it: not RunPod's, and ignored by
/// its package, which hands the job on with all its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// `traceparent`.
    pub parent: String,
    /// `tracestate`.
    pub state: Option<String>,
}

/// A job object in three parts around the input's bytes: before it, and behind it.
///
/// `extras` is the text of a JSON object whose members the handler sees beside `input`. A member
/// `self` is left out: it would break the SDK's job class, whose constructor takes the keys.
#[must_use]
pub fn job_object(
    id: &str,
    extras: Option<&str>,
    webhook: Option<&str>,
    trace: Option<&Trace>,
) -> (String, String) {
    let head = format!("{{\"id\":{},\"input\":", json::quote(id));
    let mut tail = String::new();
    if let Some(webhook) = webhook {
        tail.push_str(",\"webhook\":");
        tail.push_str(&json::quote(webhook));
    }
    if let Some(extras) = extras
        && let Ok(outline) = json::scan(extras.as_bytes(), Rules::WORKER)
    {
        for member in &outline.members {
            if OWN_KEYS.contains(&member.key.as_str()) {
                continue;
            }
            tail.push(',');
            tail.push_str(&json::quote(&member.key));
            tail.push(':');
            tail.push_str(&extras[member.value.clone()]);
        }
    }
    if let Some(trace) = trace {
        tail.push_str(",\"traceparent\":");
        tail.push_str(&json::quote(&trace.parent));
        if let Some(state) = &trace.state {
            tail.push_str(",\"tracestate\":");
            tail.push_str(&json::quote(state));
        }
    }
    tail.push('}');
    (head, tail)
}

/// The answer of the stop channel.
#[must_use]
pub fn stop_list(ids: &[String]) -> String {
    let quoted: Vec<String> = ids.iter().map(|id| json::quote(id)).collect();
    format!("{{\"jobsToStop\":[{}]}}", quoted.join(","))
}

/// A post to `job-done`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobPost {
    /// `status: IN_PROGRESS`: a progress update.
    Progress {
        /// Its `output`.
        output: Option<Range<usize>>,
    },
    /// The handler's result.
    Completed {
        /// Its `output`; absent for a handler that returned `{}`.
        output: Option<Range<usize>>,
        /// `stopPod`: the worker ends by itself.
        stops: bool,
    },
    /// The handler failed.
    Failed {
        /// As text, at most [`ERROR_BYTES_MAX`] bytes.
        error: String,
        /// What the handler returned beside `error`.
        output: Option<Range<usize>>,
        /// `stopPod`.
        stops: bool,
    },
}

/// Why a worker's post says nothing usable. The job fails with it; the post is answered with 200.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostFault {
    /// It is not JSON.
    #[error("the worker's result is not JSON ({reason}); it begins: {beginning}")]
    NotJson {
        /// Where and why.
        reason: String,
        /// Its first 200 bytes, as text.
        beginning: String,
    },
    /// It is JSON, but no object.
    #[error("the worker's result is {found}, not an object; it begins: {beginning}")]
    NotObject {
        /// What it is.
        found: Kind,
        /// Its first 200 bytes, as text.
        beginning: String,
    },
    /// It has `NaN` or `Infinity`, which JSON does not have.
    #[error("the worker's result has {word} at `{path}`, which JSON does not have")]
    NonFinite {
        /// `NaN`, `Infinity` or `-Infinity`.
        word: String,
        /// Where.
        path: String,
    },
}

/// A JSON text without its `NaN` and `Infinity`, each replaced by `null`.
#[must_use]
pub fn non_finite_as_null(body: &[u8], found: &[NonFinite]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut at = 0;
    for number in found {
        out.extend_from_slice(&body[at..number.at.start]);
        out.extend_from_slice(b"null");
        at = number.at.end;
    }
    out.extend_from_slice(&body[at..]);
    out
}

/// Looks over a worker's post as far as JSON goes.
///
/// # Errors
/// When it is no JSON object.
pub fn scan_post(body: &[u8]) -> Result<Outline, PostFault> {
    let outline = json::scan(body, Rules::WORKER).map_err(|error| PostFault::NotJson {
        reason: match error.fault {
            Fault::Empty => "it is empty".into(),
            _ => error.to_string(),
        },
        beginning: beginning(body),
    })?;
    if outline.kind == Kind::Object {
        return Ok(outline);
    }
    Err(PostFault::NotObject {
        found: outline.kind,
        beginning: beginning(body),
    })
}

impl JobPost {
    /// What a scanned post to `job-done` means.
    ///
    /// # Errors
    /// When it has a number that JSON does not have.
    pub fn read(body: &[u8], outline: &Outline) -> Result<Self, PostFault> {
        refuse_non_finite(body, outline)?;
        let output = outline.member("output").map(|member| member.value.clone());
        let stops = outline
            .member("stopPod")
            .is_some_and(|member| &body[member.value.clone()] == b"true");
        if let Some(member) = outline.member("error")
            && member.kind != Kind::Null
        {
            return Ok(Self::Failed {
                error: error_text(&body[member.value.clone()], member.kind),
                output,
                stops,
            });
        }
        let is_progress = outline.member("status").is_some_and(|member| {
            member.kind == Kind::String
                && json::unescape(&body[member.value.clone()]) == "IN_PROGRESS"
        });
        Ok(if is_progress {
            Self::Progress { output }
        } else {
            Self::Completed { output, stops }
        })
    }
}

/// The `output` of a stream chunk; a body without one is the chunk itself.
///
/// # Errors
/// When it has a number that JSON does not have.
pub fn chunk_output(body: &[u8], outline: &Outline) -> Result<Range<usize>, PostFault> {
    refuse_non_finite(body, outline)?;
    Ok(outline
        .member("output")
        .map_or_else(|| outline.value.clone(), |member| member.value.clone()))
}

fn refuse_non_finite(body: &[u8], outline: &Outline) -> Result<(), PostFault> {
    match outline.non_finite.first() {
        None => Ok(()),
        Some(number) => Err(PostFault::NonFinite {
            word: String::from_utf8_lossy(&body[number.at.clone()]).into_owned(),
            path: number.path.clone(),
        }),
    }
}

/// An error as text: a string as it is, anything else as its JSON; cut and marked where too long.
fn error_text(value: &[u8], kind: Kind) -> String {
    let text = if kind == Kind::String {
        json::unescape(value)
    } else {
        String::from_utf8_lossy(value).into_owned()
    };
    if text.is_empty() {
        return "the handler failed with an empty error".into();
    }
    cut(text, ERROR_BYTES_MAX)
}

/// At most so many bytes of a text, with a mark where something was cut.
fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text;
    }
    const MARK: &str = " … [truncated by Overspill]";
    let mut end = bytes_max - MARK.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str(MARK);
    text
}

fn beginning(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned()
}

/// A stream chunk in pieces of at most [`CHUNK_BYTES_MAX`]: only text can be split.
#[must_use]
pub fn split_chunk(value: &[u8]) -> Vec<Vec<u8>> {
    if value.len() <= CHUNK_BYTES_MAX || value.first() != Some(&b'"') {
        return vec![value.to_vec()];
    }
    let text = json::unescape(value);
    let mut pieces = Vec::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        // Escapes make a piece longer than its text; half the bound leaves room for most.
        let mut end = rest.len().min(CHUNK_BYTES_MAX / 2);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        pieces.push(json::quote(&rest[..end]).into_bytes());
        rest = &rest[end..];
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<JobPost, PostFault> {
        let outline = scan_post(body.as_bytes())?;
        JobPost::read(body.as_bytes(), &outline)
    }

    fn text(body: &str, range: Option<Range<usize>>) -> Option<&str> {
        range.map(|range| &body[range])
    }

    #[test]
    fn results_of_every_handler_are_told_apart() {
        let body = "{\"output\": {\"x\": 1}, \"error\": \"e\", \"stopPod\": true}";
        let Ok(JobPost::Failed {
            error,
            output,
            stops,
        }) = read(body)
        else {
            panic!("a body with `error` is a failure");
        };
        assert_eq!((error.as_str(), stops), ("e", true));
        assert_eq!(text(body, output), Some("{\"x\": 1}"));
        assert_eq!(
            read("{}"),
            Ok(JobPost::Completed {
                output: None,
                stops: false
            })
        );
        assert!(matches!(
            read("{\"status\":\"IN_PROGRESS\",\"output\":1}"),
            Ok(JobPost::Progress { output: Some(_) })
        ));
        assert!(matches!(
            read("{\"error\":{\"message\":\"m\"}}"),
            Ok(JobPost::Failed { error, .. }) if error == "{\"message\":\"m\"}"
        ));
        assert!(matches!(
            read("{\"error\":null}"),
            Ok(JobPost::Completed { .. })
        ));
        assert!(matches!(
            read("{\"error\":\"\"}"),
            Ok(JobPost::Failed { error, .. }) if error.contains("empty")
        ));
    }

    #[test]
    fn unusable_posts_say_why() {
        assert!(
            matches!(read("hello"), Err(PostFault::NotJson { beginning, .. }) if beginning == "hello")
        );
        assert!(matches!(read("[1]"), Err(PostFault::NotObject { .. })));
        let nan = "{\"output\": {\"v\": NaN}}";
        let error = read(nan).unwrap_err();
        assert!(error.to_string().contains("NaN at `output.v`"), "{error}");
        let outline = scan_post(nan.as_bytes()).unwrap();
        assert_eq!(
            non_finite_as_null(nan.as_bytes(), &outline.non_finite),
            b"{\"output\": {\"v\": null}}"
        );
    }

    #[test]
    fn long_errors_are_cut_and_marked() {
        let body = format!("{{\"error\":\"{}\"}}", "ä".repeat(5_000_000));
        let Ok(JobPost::Failed { error, .. }) = read(&body) else {
            panic!("a failure");
        };
        assert!(error.len() <= ERROR_BYTES_MAX);
        assert!(error.ends_with("[truncated by Overspill]"));
    }

    #[test]
    fn a_job_object_is_spliced() {
        let (head, tail) = job_object(
            "a-u1",
            Some("{\"s3Config\":{\"k\":1},\"self\":2}"),
            Some("https://e.org"),
            None,
        );
        assert_eq!(
            format!("{head}{{}}{tail}"),
            "{\"id\":\"a-u1\",\"input\":{},\"webhook\":\"https://e.org\",\"s3Config\":{\"k\":1}}"
        );
        let trace = Trace {
            parent: "00-a-b-01".into(),
            state: Some("a=1".into()),
        };
        let (_, tail) = job_object("a-u1", Some("{\"traceparent\":1}"), None, Some(&trace));
        assert_eq!(
            tail,
            ",\"traceparent\":\"00-a-b-01\",\"tracestate\":\"a=1\"}"
        );
    }

    #[test]
    fn long_text_chunks_are_split_and_lose_nothing() {
        let long = json::quote(&"é".repeat(1_500_000));
        let pieces = split_chunk(long.as_bytes());
        assert!(pieces.iter().all(|piece| piece.len() <= CHUNK_BYTES_MAX));
        let joined: String = pieces.iter().map(|piece| json::unescape(piece)).collect();
        assert_eq!(joined, "é".repeat(1_500_000));
    }
}
