//! REST v1: flat objects, bare arrays, errors as `{"message"}`.

use std::sync::{Arc, PoisonError};

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use overspill_sim::cloud::{EndpointId, Refusal};
use serde_json::{Value, json};

use super::{endpoint, template};
use crate::answer::ok;
use crate::data_plane::key_of;
use crate::state::Shared;

/// An error in v1's form.
#[derive(Debug)]
pub(super) struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, axum::Json(json!({"message": self.1}))).into_response()
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::NoEndpoint(_) => StatusCode::NOT_FOUND,
            _ => StatusCode::BAD_REQUEST,
        };
        Self(status, refusal.to_string())
    }
}

type Answer = Result<Response, Failure>;

fn check_key(headers: &HeaderMap) -> Result<(), Failure> {
    key_of(headers)
        .map(|_| ())
        .map_err(|error| Failure(error.status, error.text))
}

fn read(bytes: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(bytes)
        .ok()
        .filter(Value::is_object)
        .ok_or_else(|| {
            Failure(
                StatusCode::BAD_REQUEST,
                "the body is not a JSON object".into(),
            )
        })
}

pub(super) async fn list_endpoints(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
) -> Answer {
    check_key(&headers)?;
    let ids = shared.call(|model, now_ms| model.endpoint_ids(now_ms));
    let list: Vec<Value> = ids
        .iter()
        .filter_map(|id| endpoint::show(&shared, id).ok())
        .collect();
    Ok(ok(&list))
}

pub(super) async fn create_endpoint(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    check_key(&headers)?;
    let input = read(&body)?;
    if input
        .get("templateId")
        .and_then(Value::as_str)
        .is_none_or(str::is_empty)
    {
        return Err(Failure(
            StatusCode::BAD_REQUEST,
            "templateId is required".into(),
        ));
    }
    let mut settings = endpoint::defaults();
    endpoint::apply(&shared, &mut settings, &input)?;
    let id = shared.call(|model, now_ms| model.create_endpoint(now_ms, settings))?;
    Ok(ok(&endpoint::show(&shared, &id)?))
}

pub(super) async fn get_endpoint(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    check_key(&headers)?;
    Ok(ok(&endpoint::show(&shared, &id.into())?))
}

pub(super) async fn update_endpoint(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    check_key(&headers)?;
    let id = EndpointId::from(id);
    let input = read(&body)?;
    let (mut settings, _) = shared.call(|model, now_ms| model.endpoint_settings(now_ms, &id))?;
    endpoint::apply(&shared, &mut settings, &input)?;
    shared.call(|model, now_ms| model.update_endpoint(now_ms, &id, settings))?;
    Ok(ok(&endpoint::show(&shared, &id)?))
}

pub(super) async fn delete_endpoint(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    check_key(&headers)?;
    shared.call(|model, now_ms| model.delete_endpoint(now_ms, &id.into()))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn no_template(id: &str) -> Failure {
    Failure(StatusCode::NOT_FOUND, format!("template {id} not found"))
}

pub(super) async fn list_templates(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
) -> Answer {
    check_key(&headers)?;
    let templates = shared
        .templates
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let list: Vec<Value> = templates.all().map(template::show).collect();
    Ok(ok(&list))
}

pub(super) async fn create_template(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    check_key(&headers)?;
    let input = read(&body)?;
    let mut new = template::defaults();
    template::apply(&mut new, &input);
    if new.name.is_empty() || new.image.is_empty() {
        return Err(Failure(
            StatusCode::BAD_REQUEST,
            "name and imageName are required".into(),
        ));
    }
    let mut templates = shared
        .templates
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    Ok(ok(&template::show(&templates.save(new))))
}

pub(super) async fn get_template(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    check_key(&headers)?;
    let templates = shared
        .templates
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let found = templates.get(&id).ok_or_else(|| no_template(&id))?;
    Ok(ok(&template::show(found)))
}

pub(super) async fn update_template(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    check_key(&headers)?;
    let input = read(&body)?;
    let mut templates = shared
        .templates
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let mut changed = templates
        .get(&id)
        .cloned()
        .ok_or_else(|| no_template(&id))?;
    template::apply(&mut changed, &input);
    Ok(ok(&template::show(&templates.save(changed))))
}

pub(super) async fn delete_template(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    check_key(&headers)?;
    let mut templates = shared
        .templates
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    templates.remove(&id).ok_or_else(|| no_template(&id))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// What each endpoint has cost so far, as one record.
pub(super) async fn billing(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Answer {
    check_key(&headers)?;
    let bill = shared.call(|model, now_ms| model.bill(now_ms));
    let time = crate::management::rfc3339(shared.clock.now_ms());
    let records: Vec<Value> = bill
        .into_iter()
        .map(|(id, endpoint)| {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let amount = endpoint.usd.as_nanos() as f64 / 1e9;
            json!({"amount": amount, "endpointId": id, "time": time,
                "timeBilledMs": endpoint.worker_ms, "diskSpaceBilledGb": 0})
        })
        .collect();
    Ok(ok(&records))
}

pub(super) async fn nothing(headers: HeaderMap) -> Answer {
    check_key(&headers)?;
    Ok(ok(&[(); 0]))
}
