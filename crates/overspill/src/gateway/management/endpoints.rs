//! `/api/v1/endpoints`.

use std::sync::Arc;

use overspill_core::effect::Answer;
use overspill_core::event::Event;
use overspill_core::topology::Limits;
use serde::Deserialize;
use serde_json::{Value, json};

use super::read;
use crate::engine::api::EndpointView;
use crate::gateway::Gateway;
use crate::gateway::body::{self, Reply};
use crate::gateway::call::Call;
use crate::gateway::error::ApiError;

/// GET: every endpoint that the caller may see.
pub(crate) async fn list(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let directory = gateway.engine().endpoints();
    let mut endpoints = Vec::new();
    for entry in directory.entries() {
        let sees = call.caller.as_ref().is_none_or(|c| c.sees(&entry.name));
        if sees && let Some(view) = gateway.engine().endpoint(entry.id).await {
            endpoints.push(shape(&view));
        }
    }
    Ok(body::json_of(&json!({ "endpoints": endpoints })))
}

/// GET `{endpoint}`.
pub(crate) async fn show(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    Ok(body::json_of(&shape(&view(gateway, &call).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    workers: WorkersPatch,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkersPatch {
    min: Option<u32>,
    max: Option<u32>,
}

/// PATCH `{endpoint}`: its limits, in force at once.
pub(crate) async fn patch(gateway: &Arc<Gateway>, mut call: Call) -> Result<Reply, ApiError> {
    let before = view(gateway, &call).await?;
    let Patch { workers } = read(gateway, &mut call).await?;
    if workers.min.is_none() && workers.max.is_none() {
        return Err(
            ApiError::bad_request("limits_missing", "neither min nor max is given")
                .field("workers")
                .hint("send {\"workers\":{\"min\":0,\"max\":3}}, or one of the two"),
        );
    }
    let limits = Limits {
        min: workers.min.unwrap_or(before.limits.min),
        max: workers.max.unwrap_or(before.limits.max),
    };
    let after = set_limits(gateway, &call, before, limits).await?;
    Ok(body::json_of(&shape(&after)))
}

/// Puts limits in force; the endpoint with them.
pub(super) async fn set_limits(
    gateway: &Gateway,
    call: &Call,
    before: EndpointView,
    limits: Limits,
) -> Result<EndpointView, ApiError> {
    if limits.min > limits.max {
        return Err(refused(format!(
            "min ({}) is above max ({})",
            limits.min, limits.max
        )));
    }
    let (endpoint, by) = (before.id, call.by());
    let ask = move |request| Event::LimitsSet {
        request,
        endpoint,
        limits,
        by,
    };
    match gateway.engine().ask(Vec::new(), Box::new(ask)).await {
        Answer::LimitsSet { limits } => {
            let after = gateway.engine().endpoint(endpoint).await.unwrap_or(before);
            Ok(EndpointView { limits, ..after })
        }
        Answer::LimitsRefused { reason, .. } => Err(refused(reason)),
        Answer::NotFound => Err(gone()),
        _ => Err(ApiError::unavailable()),
    }
}

fn refused(reason: String) -> ApiError {
    ApiError::bad_request("limits_invalid", reason)
        .field("workers")
        .hint("min is the number of workers that are always on, max the most there may be")
}

fn gone() -> ApiError {
    ApiError::not_found("endpoint_not_found", "the endpoint was removed")
}

pub(super) async fn view(gateway: &Gateway, call: &Call) -> Result<EndpointView, ApiError> {
    let entry = call.endpoint(gateway)?;
    gateway.engine().endpoint(entry.id).await.ok_or_else(gone)
}

fn shape(view: &EndpointView) -> Value {
    json!({
        "name": view.name,
        "workers": { "min": view.limits.min, "max": view.limits.max },
        "jobs": { "queued": view.queued, "running": view.running },
        "cloud": {
            "wanted": view.cloud.wanted,
            "ready": view.cloud.ready,
            "starting": view.cloud.starting,
            "running": view.cloud.running,
        },
        "local": {
            "workers": view.local.workers,
            "slots": view.local.slots,
            "busy": view.local.busy,
        },
    })
}
