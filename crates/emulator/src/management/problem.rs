//! Errors of the management API.

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use overspill_sim::cloud::Refusal;
use overspill_wire::management::problem::{PROBLEM_CONTENT_TYPE, Problem};
use serde::de::DeserializeOwned;
use serde_json::Value;

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
    let mut value: Value = serde_json::from_slice(bytes)
        .map_err(|error| Failure::bad_request(format!("the body is not valid JSON: {error}")))?;
    let mut nulls = Vec::new();
    settle(&mut value, "", &mut nulls);
    if !nulls.is_empty() {
        return Err(Failure::unprocessable(nulls));
    }
    serde_json::from_value(value).map_err(|error| Failure::unprocessable(vec![error.to_string()]))
}

/// The one field that may be null.
const NULLABLE: &str = "registry";

/// Finds nulls, which no field but one takes, and writes whole numbers as such: to JSON Schema `4.0` is an integer.
fn settle(value: &mut Value, path: &str, nulls: &mut Vec<String>) {
    match value {
        Value::Null if path != NULLABLE => nulls.push(format!("{path}: must not be null")),
        Value::Number(number) => {
            if let Some(float) = number
                .as_f64()
                .filter(|f| number.is_f64() && f.fract() == 0.0)
                && (0.0..1e15).contains(&float)
            {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "whole, not negative and below 2^52"
                )]
                let whole = float as u64;
                *value = whole.into();
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                settle(item, &format!("{path}[{index}]"), nulls);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let inner = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                settle(field, &inner, nulls);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use overspill_wire::management::endpoint::UpdateEndpoint;

    use super::*;

    #[test]
    fn nulls_are_refused_but_for_the_registry_and_whole_floats_are_integers() {
        let refused = read::<UpdateEndpoint>(br#"{"ports":null,"workers":{"max":null}}"#);
        assert_eq!(
            refused.unwrap_err().0.errors,
            ["ports: must not be null", "workers.max: must not be null"]
        );
        let body: UpdateEndpoint = read(br#"{"registry":null,"workers":{"max":4.0}}"#).unwrap();
        assert_eq!(body.workers.unwrap().max, Some(4));
        assert_eq!(read::<UpdateEndpoint>(b"{").unwrap_err().0.status, 400);
    }
}
