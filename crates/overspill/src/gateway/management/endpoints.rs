//! `/api/v1/endpoints`.

use std::sync::Arc;

use overspill_core::effect::Answer;
use overspill_core::endpoint::SetBy;
use overspill_core::event::Event;
use overspill_core::time::DurationMs;
use overspill_core::topology::{Limits, ScalerSpec, Tuning, check_max_wait};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{misshapen, read};
use crate::config::units::{format_duration, parse_duration};
use crate::config::{Scaler, milli};
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
    workers: Option<WorkersPatch>,
    /// `null` goes back to the configuration file's.
    #[serde(default, deserialize_with = "given")]
    scaler: Option<Option<ScalerPatch>>,
    /// Likewise.
    #[serde(default, deserialize_with = "given")]
    max_wait: Option<Option<String>>,
}

/// Tells a field that is `null` from one that is not there.
fn given<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

/// As `scaler` in the configuration: what is left out of the policy in force stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScalerPatch {
    policy: Option<String>,
    queue_delay: Option<String>,
    request_count: Option<u32>,
    wait_share: Option<f64>,
    lateness_price: Option<f64>,
    min_idle: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkersPatch {
    min: Option<u32>,
    max: Option<u32>,
}

/// PATCH `{endpoint}`: its limits, its promise and its scaling rule, in force at once.
pub(crate) async fn patch(gateway: &Arc<Gateway>, mut call: Call) -> Result<Reply, ApiError> {
    let before = view(gateway, &call).await?;
    let body: Value = read(gateway, &mut call).await?;
    refuse_nulls(&body)?;
    let Patch {
        workers,
        scaler,
        max_wait,
    } = serde_json::from_value(body).map_err(|error| misshapen(&error))?;
    let limits = workers.map(|workers| (workers.min, workers.max));
    let is_empty = limits.is_some() || (scaler.is_none() && max_wait.is_none());
    if matches!(limits, None | Some((None, None))) && is_empty {
        return Err(
            ApiError::bad_request("limits_missing", "neither min nor max is given")
                .field("workers")
                .hint("send {\"workers\":{\"min\":0,\"max\":3}}, or one of the two"),
        );
    }
    // All are looked at before any is set.
    let max_wait = match max_wait {
        Some(Some(text)) => Some(Some(promise(&text)?)),
        Some(None) => Some(None),
        None => None,
    };
    let scaler = match scaler {
        Some(Some(scaler)) => Some(Some(scaler.over(&before.scaler)?)),
        Some(None) => Some(None),
        None => None,
    };
    let mut after = before;
    if let Some((min, max)) = limits {
        let limits = Limits {
            min: min.unwrap_or(after.limits.min),
            max: max.unwrap_or(after.limits.max),
        };
        after = set_limits(gateway, &call, after, limits).await?;
    }
    if let Some(max_wait) = max_wait {
        after = set_max_wait(gateway, &call, after, max_wait).await?;
    }
    if let Some(scaler) = scaler {
        after = set_scaler(gateway, &call, after, scaler).await?;
    }
    Ok(body::json_of(&shape(&after)))
}

/// `null` goes back to the file's rule or promise as a whole. Elsewhere it would change nothing, which is
/// hardly what is meant.
fn refuse_nulls(body: &Value) -> Result<(), ApiError> {
    let within = |part: &'static str| {
        let its = body.get(part).and_then(Value::as_object);
        its.into_iter()
            .flatten()
            .map(move |(key, value)| (format!("{part}.{key}"), value))
    };
    let whole = body
        .get("workers")
        .map(|value| ("workers".to_owned(), value));
    let mut all = whole
        .into_iter()
        .chain(within("workers"))
        .chain(within("scaler"));
    match all.find(|(_, value)| value.is_null()) {
        None => Ok(()),
        Some((field, _)) => Err(ApiError::bad_request(
            "null_refused",
            format!("`{field}` is null, which says nothing"),
        )
        .field(field)
        .hint(
            "leave it out to keep what is in force; {\"scaler\":null} and {\"max_wait\":null} go back to the \
             configuration file's",
        )),
    }
}

impl ScalerPatch {
    /// The rule in force with what is given here.
    fn over(self, before: &ScalerSpec) -> Result<ScalerSpec, ApiError> {
        let policy = self.policy.as_deref().unwrap_or_else(|| before.policy());
        let foreign = [
            ("queue_delay", self.queue_delay.is_some(), "queue_delay"),
            (
                "request_count",
                self.request_count.is_some(),
                "request_count",
            ),
            ("wait_share", self.wait_share.is_some(), "cost_aware"),
            (
                "lateness_price",
                self.lateness_price.is_some(),
                "cost_aware",
            ),
            ("min_idle", self.min_idle.is_some(), "cost_aware"),
        ];
        let foreign = foreign
            .iter()
            .find(|(_, is_given, of)| *is_given && *of != policy);
        if let Some((key, _, of)) = foreign {
            return Err(scaler_refused(format!(
                "`{key}` belongs to the policy {of}, but the policy here is {policy}"
            )));
        }
        let duration = |key: &str, text: &str| {
            let parsed = parse_duration(text);
            parsed.map_err(|cause| scaler_refused(format!("{key}: {cause}")))
        };
        let scaler = match (policy, before) {
            ("queue_delay", before) => ScalerSpec::QueueDelay {
                delay: match (&self.queue_delay, before) {
                    (Some(text), _) => duration("queue_delay", text)?,
                    (None, ScalerSpec::QueueDelay { delay }) => *delay,
                    (None, _) => Scaler::QUEUE_DELAY,
                },
            },
            ("request_count", before) => ScalerSpec::RequestCount {
                per_worker: match (self.request_count, before) {
                    (Some(count), _) => count,
                    (None, ScalerSpec::RequestCount { per_worker }) => *per_worker,
                    (None, _) => Scaler::REQUEST_COUNT,
                },
            },
            ("ladder", _) => ScalerSpec::Ladder,
            ("cost_aware", before) => {
                let mut tuning = match before {
                    ScalerSpec::CostAware(tuning) => *tuning,
                    _ => Tuning::default(),
                };
                if let Some(share) = self.wait_share {
                    tuning.wait_share_milli = milli(share);
                }
                if let Some(price) = self.lateness_price {
                    tuning.lateness_price_milli = milli(price);
                }
                if let Some(text) = &self.min_idle {
                    tuning.min_idle = duration("min_idle", text)?;
                }
                ScalerSpec::CostAware(tuning)
            }
            (other, _) => {
                return Err(scaler_refused(format!(
                    "`{other}` is no policy; policies are cost_aware, queue_delay, request_count \
                     and ladder"
                )));
            }
        };
        scaler.check().map_err(scaler_refused)?;
        Ok(scaler)
    }
}

/// A promise as text.
fn promise(text: &str) -> Result<DurationMs, ApiError> {
    let max_wait =
        parse_duration(text).map_err(|cause| max_wait_refused(format!("max_wait: {cause}")))?;
    check_max_wait(max_wait).map_err(max_wait_refused)?;
    Ok(max_wait)
}

fn max_wait_refused(reason: String) -> ApiError {
    ApiError::bad_request("max_wait_invalid", reason)
        .field("max_wait")
        .hint("send {\"max_wait\":\"90s\"}, from submit to start, or null for the file's")
}

/// Puts a promise in force; the endpoint with it.
async fn set_max_wait(
    gateway: &Gateway,
    call: &Call,
    before: EndpointView,
    max_wait: Option<DurationMs>,
) -> Result<EndpointView, ApiError> {
    let (endpoint, by) = (before.id, call.by());
    let ask = move |request| Event::MaxWaitSet {
        request,
        endpoint,
        max_wait,
        by,
    };
    match gateway.engine().ask(Vec::new(), Box::new(ask)).await {
        Answer::MaxWaitSet { max_wait } => {
            let after = gateway.engine().endpoint(endpoint).await.unwrap_or(before);
            Ok(EndpointView { max_wait, ..after })
        }
        Answer::MaxWaitRefused { reason, .. } => Err(max_wait_refused(reason)),
        Answer::NotFound => Err(gone()),
        _ => Err(ApiError::unavailable()),
    }
}

/// Puts a scaling rule in force; the endpoint with it.
async fn set_scaler(
    gateway: &Gateway,
    call: &Call,
    before: EndpointView,
    scaler: Option<ScalerSpec>,
) -> Result<EndpointView, ApiError> {
    let (endpoint, by) = (before.id, call.by());
    let ask = move |request| Event::ScalerSet {
        request,
        endpoint,
        scaler,
        by,
    };
    match gateway.engine().ask(Vec::new(), Box::new(ask)).await {
        Answer::ScalerSet { scaler } => {
            let after = gateway.engine().endpoint(endpoint).await.unwrap_or(before);
            Ok(EndpointView { scaler, ..after })
        }
        Answer::ScalerRefused { reason, .. } => Err(scaler_refused(reason)),
        Answer::NotFound => Err(gone()),
        _ => Err(ApiError::unavailable()),
    }
}

fn scaler_refused(reason: String) -> ApiError {
    ApiError::bad_request("scaler_invalid", reason)
        .field("scaler")
        .hint("send {\"scaler\":{\"policy\":\"cost_aware\",\"lateness_price\":3}}, or null for the file's")
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
        "min_held": view.min_held,
        "max_wait": format_duration(view.max_wait),
        "scaler": scaler_shape(&view.scaler),
        "limits_changed": changed(view.set.limits.as_ref()),
        "max_wait_changed": changed(view.set.max_wait.as_ref()),
        "scaler_changed": changed(view.set.scaler.as_ref()),
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

/// Who set something while the server runs, and when; `null` while the file's holds.
fn changed(set: Option<&SetBy>) -> Value {
    set.map_or(
        Value::Null,
        |set| json!({ "by": set.by, "at_ms": set.at.as_millis() }),
    )
}

/// In the words of the configuration.
fn scaler_shape(scaler: &ScalerSpec) -> Value {
    let number = |milli: u32| f64::from(milli) / 1_000.0;
    match scaler {
        ScalerSpec::QueueDelay { delay } => {
            json!({ "policy": scaler.policy(), "queue_delay": format_duration(*delay) })
        }
        ScalerSpec::RequestCount { per_worker } => {
            json!({ "policy": scaler.policy(), "request_count": per_worker })
        }
        ScalerSpec::Ladder => json!({ "policy": scaler.policy() }),
        ScalerSpec::CostAware(tuning) => json!({
            "policy": scaler.policy(),
            "wait_share": number(tuning.wait_share_milli),
            "lateness_price": number(tuning.lateness_price_milli),
            "min_idle": format_duration(tuning.min_idle),
        }),
    }
}
