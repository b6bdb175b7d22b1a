//! What goes wrong at the edge, before its form on the wire is chosen.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, StatusCode, header};
use overspill_wire::error::ErrorBody;

use super::body::{Body, Reply};

/// An error with its status, its stable code and what to do next.
#[derive(Debug, Clone)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    field: Option<String>,
    hint: Option<Cow<'static, str>>,
    headers: Vec<(HeaderName, HeaderValue)>,
    closes: bool,
}

/// Which of the two error bodies a path has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorForm {
    /// Flat, as RunPod's clients read it.
    Flat,
    /// RFC 9457, under `/api/v1/`.
    Problem,
}

impl ApiError {
    /// An error of this status, code and sentence.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            field: None,
            hint: None,
            headers: Vec::new(),
            closes: false,
        }
    }

    /// 400.
    pub fn bad_request(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 404.
    pub fn not_found(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// The store cannot be reached: nothing was stored, or that is unknown.
    #[must_use]
    pub fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "the store did not confirm in time; whether anything was stored is unknown",
        )
        .hint(
            "try again in a second; with an Idempotency-Key header a submission is safe to repeat",
        )
        .retry_after(1)
    }

    /// The server is about to stop.
    #[must_use]
    pub fn draining() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "draining",
            "the server is about to stop and takes no new jobs",
        )
        .hint("try again in a few seconds")
        .retry_after(2)
    }

    /// Names the field it is about.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says when to try again, in seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Closes the connection behind the answer: the rest of the request is not read.
    #[must_use]
    pub const fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    /// The status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The same error with another status.
    #[must_use]
    pub const fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// What went wrong and what to do, in one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{}; {hint}", self.message),
            None => self.message.to_string(),
        }
    }

    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code
    }

    /// The answer in its form.
    #[must_use]
    pub fn reply(self, form: ErrorForm, request_id: &str) -> Reply {
        let body = ErrorBody {
            status: self.status.as_u16(),
            code: self.code.into(),
            message: self.message.into_owned(),
            field: self.field,
            hint: self.hint.map(Cow::into_owned),
            request_id: request_id.into(),
        };
        let (bytes, content_type) = match form {
            ErrorForm::Flat => (body.flat(), "application/json"),
            ErrorForm::Problem => (body.problem(), "application/problem+json"),
        };
        let mut reply = Reply::new(Body::from(bytes));
        *reply.status_mut() = self.status;
        let headers = reply.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        if self.closes {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        reply
    }
}

/// A value of the caller's for a message: printable, and at most 80 characters.
#[must_use]
pub fn shown(value: &str) -> String {
    let mut text: String = value
        .chars()
        .take(80)
        .flat_map(|c| c.escape_debug())
        .collect();
    if value.chars().nth(80).is_some() {
        text.push('…');
    }
    text
}
