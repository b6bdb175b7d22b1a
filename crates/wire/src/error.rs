//! The two error bodies: the flat one that RunPod's clients and people both can read, and the
//! problem form (RFC 9457) of `/api/v1/…`.

use serde::Serialize;

/// An error as it goes over the wire, before its form is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorBody {
    /// The HTTP status.
    pub status: u16,
    /// A stable word for programs: `input_missing`.
    pub code: String,
    /// One sentence for people; names the value and the rule.
    pub message: String,
    /// The field of the request it is about.
    pub field: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
    /// Names the request in logs.
    pub request_id: String,
}

#[derive(Serialize)]
struct Flat<'a> {
    error: &'a str,
    code: &'a str,
    status: u16,
    title: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    request_id: &'a str,
}

impl ErrorBody {
    /// The flat body of everything under `/v2/{endpoint}/…`; clients read `error`, `detail`,
    /// `message` or `title`, and `error` is always a string.
    #[must_use]
    pub fn flat(&self) -> Vec<u8> {
        serde_json::to_vec(&Flat {
            error: &self.message,
            code: &self.code,
            status: self.status,
            title: title(self.status),
            detail: &self.message,
            field: self.field.as_deref(),
            hint: self.hint.as_deref(),
            request_id: &self.request_id,
        })
        .expect("strings and numbers always serialise")
    }

    /// The problem form, `application/problem+json`.
    #[must_use]
    pub fn problem(&self) -> Vec<u8> {
        serde_json::to_vec(&Problem {
            kind: "about:blank",
            title: title(self.status),
            status: self.status,
            detail: &self.message,
            code: &self.code,
            field: self.field.as_deref(),
            hint: self.hint.as_deref(),
            request_id: &self.request_id,
        })
        .expect("strings and numbers always serialise")
    }
}

/// The standard phrase of a status.
#[must_use]
pub const fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        421 => "Misdirected Request",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        507 => "Insufficient Storage",
        _ => "Error",
    }
}
