//! The management API, REST v2: serverless endpoints with workers and releases, the catalog, billing.
//!
//! Every answer states the rate limits; errors are `application/problem+json`.

mod billing;
mod catalog;
mod exchanges;
mod problem;
mod serverless;
mod translate;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, patch, post};
use http::{HeaderValue, StatusCode, header};
use overspill_sim::cloud::{HttpFault, WindowState};
use overspill_wire::management::limits::{
    POLICY_HEADER, Policy, REMAINING_HEADER, Remaining, write_policy, write_remaining,
};

use crate::state::Shared;
pub(crate) use exchanges::Exchanges;
use problem::Failure;
pub(crate) use translate::rfc3339;

/// A served route: method, path, and what answers it.
type Served = (&'static str, &'static str, MethodRouter<Arc<Shared>>);

/// Every route of the management API that is served; the fidelity test asks for an exchange on each.
pub(crate) fn table() -> [Served; 16] {
    [
        ("GET", "/v2/serverless", get(serverless::list)),
        ("POST", "/v2/serverless", post(serverless::create)),
        ("GET", "/v2/serverless/{id}", get(serverless::get)),
        ("PATCH", "/v2/serverless/{id}", patch(serverless::update)),
        ("DELETE", "/v2/serverless/{id}", delete(serverless::delete)),
        (
            "GET",
            "/v2/serverless/{id}/workers",
            get(serverless::workers),
        ),
        (
            "GET",
            "/v2/serverless/{id}/releases",
            get(serverless::releases),
        ),
        (
            "GET",
            "/v2/serverless/{id}/workers/{workerId}/logs",
            get(serverless::logs),
        ),
        ("GET", "/v2/catalog/gpus", get(catalog::gpus)),
        ("GET", "/v2/catalog/gpus/{id}", get(catalog::gpu)),
        ("GET", "/v2/catalog/cpus", get(catalog::cpus)),
        ("GET", "/v2/catalog/cpus/{id}", get(catalog::cpu)),
        ("GET", "/v2/catalog/datacenters", get(catalog::data_centers)),
        (
            "GET",
            "/v2/catalog/datacenters/{id}",
            get(catalog::data_center),
        ),
        ("GET", "/v2/billing", get(billing::account)),
        ("GET", "/v2/billing/serverless", get(billing::serverless)),
    ]
}

pub(crate) fn routes(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    table()
        .into_iter()
        .fold(Router::new(), |router, (_, path, answer)| {
            router.route(path, answer)
        })
        .method_not_allowed_fallback(not_allowed)
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(shared),
            limit,
        ))
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(shared),
            exchanges::keep,
        ))
}

async fn not_allowed() -> Failure {
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "the method is not supported for this path",
    )
}

/// Key, rate and ordered faults, before every call; the limits' headers after it.
async fn limit(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let key = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.strip_prefix("Bearer "))
        .map(str::trim)
        .unwrap_or_default()
        .to_owned();
    let (windows, exceeded) =
        shared.call(|model, now_ms| model.count_management_call(now_ms, &key));
    let fault = shared.call(|model, now_ms| model.http_fault(now_ms, None, "management"));
    let mut response = if key.is_empty() {
        Failure::new(StatusCode::UNAUTHORIZED, "missing bearer token").into_response()
    } else if let Some(exceeded) = exceeded {
        let text = format!("rate limit exceeded for the {} window", exceeded.window);
        too_many(&text, exceeded.retry_after_s)
    } else {
        match fault {
            Some(HttpFault::TooMany(retry_after_s)) => {
                too_many("rate limit exceeded for the minute window", retry_after_s)
            }
            Some(HttpFault::Status(status)) => {
                let status =
                    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                Failure::new(status, "ordered by /emulator/faults").into_response()
            }
            None => next.run(request).await,
        }
    };
    state_limits(&mut response, &windows);
    response
}

fn too_many(text: &str, retry_after_s: u64) -> Response {
    let mut response = Failure::new(StatusCode::TOO_MANY_REQUESTS, text).into_response();
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(retry_after_s));
    response
}

fn state_limits(response: &mut Response, windows: &[WindowState]) {
    let policies: Vec<Policy> = windows
        .iter()
        .map(|window| Policy {
            name: window.name.to_owned(),
            quota: window.quota,
            window_s: window.window_s,
        })
        .collect();
    let remaining: Vec<Remaining> = windows
        .iter()
        .map(|window| Remaining {
            name: window.name.to_owned(),
            remaining: window.remaining,
            reset_s: window.reset_s,
        })
        .collect();
    let texts = [
        (POLICY_HEADER, write_policy(&policies)),
        (REMAINING_HEADER, write_remaining(&remaining)),
    ];
    for (name, text) in texts {
        let name = http::HeaderName::try_from(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(text)) {
            response.headers_mut().insert(name, value);
        }
    }
}
