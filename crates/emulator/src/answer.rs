//! Answers and errors of the data plane and of the emulator's own calls.
//!
//! RunPod has two error styles side by side; every error here carries both: `error`, and `status`, `title`, `detail`,
//! `code`.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use overspill_sim::cloud::Refusal;
use serde::Serialize;

/// An error on its way out.
#[derive(Debug)]
pub(crate) struct CallError {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    code: Option<&'static str>,
    retry_after_s: Option<u64>,
}

#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    status: u16,
    title: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

impl CallError {
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            code: None,
            retry_after_s: None,
        }
    }

    pub(crate) fn bad_request(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub(crate) fn too_many(retry_after_s: u64) -> Self {
        Self {
            retry_after_s: Some(retry_after_s),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate limit exceeded")
        }
    }
}

impl From<Refusal> for CallError {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::NoEndpoint(_) | Refusal::NoJob(_) | Refusal::NoWorker(_) => {
                StatusCode::NOT_FOUND
            }
            Refusal::Paused => StatusCode::CONFLICT,
            Refusal::OverQuota { .. } | Refusal::NotRetriable { .. } | Refusal::Invalid(_) => {
                StatusCode::BAD_REQUEST
            }
        };
        Self {
            code: (refusal == Refusal::Paused).then_some("ENDPOINT_PAUSED"),
            ..Self::new(status, refusal.to_string())
        }
    }
}

impl IntoResponse for CallError {
    fn into_response(self) -> Response {
        let body = Body {
            error: &self.text,
            status: self.status.as_u16(),
            title: self.status.canonical_reason().unwrap_or("Error"),
            detail: &self.text,
            code: self.code,
        };
        let mut response = (self.status, axum::Json(body)).into_response();
        if let Some(seconds) = self.retry_after_s {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Answers 200 with JSON.
pub(crate) fn ok(body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => ([(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
        Err(error) => {
            CallError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
        }
    }
}
