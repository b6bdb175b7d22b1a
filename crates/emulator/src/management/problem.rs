//! Errors of the management API.

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use overspill_sim::cloud::Refusal;
use overspill_wire::management::problem::{PROBLEM_CONTENT_TYPE, Problem};
use serde::de::DeserializeOwned;

/// A call that failed.
#[derive(Debug)]
pub(super) struct Failure(Problem);

impl Failure {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self(Problem {
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
        })
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn unprocessable(errors: Vec<String>) -> Self {
        let mut failure = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "Request validation failed.",
        );
        failure.0.errors = errors;
        failure
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "resource not found")
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoEndpoint(_) | Refusal::NoJob(_) | Refusal::NoWorker(_) => Self::not_found(),
            other => Self::bad_request(other.to_string()),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.0).expect("a problem is plain JSON");
        (status, [(header::CONTENT_TYPE, PROBLEM_CONTENT_TYPE)], body).into_response()
    }
}

/// Reads a body: 400 when it is no JSON, 422 when it is not what the call takes.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Failure::unprocessable(vec![error.to_string()]),
        _ => Failure::bad_request(format!("the body is not valid JSON: {error}")),
    })
}
