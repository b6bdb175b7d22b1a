//! The emulator's own calls, below `/emulator/`; no part of RunPod's API, and they need no key.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use overspill_core::money::{NanoUsd, RatePerHour};
use overspill_sim::cloud::{EndpointId, FaultSpec, Knobs, MsRange};
use serde::{Deserialize, Serialize};

use crate::answer::{CallError, ok};
use crate::state::Shared;

type Answer = Result<Response, CallError>;

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/emulator/bill", get(bill))
        .route("/emulator/executions", get(executions))
        .route("/emulator/requests", get(requests))
        .route("/emulator/exchanges", get(exchanges))
        .route("/emulator/endpoints/{id}", post(endpoint))
        .route("/emulator/faults", get(faults).post(inject).delete(clear))
        .route("/emulator/faults/{id}", axum::routing::delete(clear_one))
        .route("/emulator/clock", get(clock).post(advance))
}

/// What an invoice would say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bill {
    /// Sum in USD, six decimals.
    pub total_usd: String,
    /// By endpoint; deleted ones too.
    pub endpoints: BTreeMap<String, EndpointBill>,
}

/// What one endpoint costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointBill {
    /// Sum in USD, six decimals.
    pub usd: String,
    /// Billed seconds of workers.
    pub worker_seconds: f64,
}

pub(crate) fn read_bill(shared: &Arc<Shared>) -> Bill {
    let bill = shared.call(|model, now_ms| model.bill(now_ms));
    let total: NanoUsd = bill.values().map(|endpoint| endpoint.usd).sum();
    Bill {
        total_usd: total.to_usd(6),
        endpoints: bill
            .into_iter()
            .map(|(id, endpoint)| {
                #[expect(clippy::cast_precision_loss, reason = "milliseconds far below 2^52")]
                let worker_seconds = endpoint.worker_ms as f64 / 1_000.0;
                let usd = endpoint.usd.to_usd(6);
                (
                    id.to_string(),
                    EndpointBill {
                        usd,
                        worker_seconds,
                    },
                )
            })
            .collect(),
    }
}

async fn bill(State(shared): State<Arc<Shared>>) -> Response {
    ok(&read_bill(&shared))
}

async fn executions(State(shared): State<Arc<Shared>>) -> Response {
    ok(&shared.call(|model, now_ms| model.executions(now_ms).to_vec()))
}

async fn exchanges(State(shared): State<Arc<Shared>>) -> Response {
    ok(&shared.exchanges.all())
}

async fn requests(State(shared): State<Arc<Shared>>) -> Response {
    ok(&shared.requests())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KnobsBody {
    slots: Option<u32>,
    price_usd_per_h: Option<String>,
    cold_start_ms: Option<[u64; 2]>,
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, CallError> {
    serde_json::from_slice(bytes)
        .map_err(|error| CallError::bad_request(format!("json is invalid: {error}")))
}

async fn endpoint(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer {
    let body: KnobsBody = parse(&body)?;
    if body.slots == Some(0) {
        return Err(CallError::bad_request(
            "slots is 0; a worker needs at least 1",
        ));
    }
    let price =
        match &body.price_usd_per_h {
            None => None,
            Some(text) => Some(NanoUsd::parse_usd(text).map(RatePerHour::new).ok_or_else(
                || {
                    CallError::bad_request(format!(
                        "price_usd_per_h {text:?} is not a price such as \"0.44\""
                    ))
                },
            )?),
        };
    let knobs = Knobs {
        slots: body.slots,
        price,
        cold_start: body.cold_start_ms.map(|[from, to]| MsRange::new(from, to)),
    };
    let id = EndpointId::from(id);
    let now = shared.call(|model, now_ms| model.set_knobs(now_ms, &id, knobs))?;
    Ok(ok(&serde_json::json!({
        "slots": now.slots,
        "price_usd_per_h": now.price.map(|price| price.per_hour().to_usd(6)),
        "cold_start_ms": now.cold_start.map(|range| [range.from, range.to]),
    })))
}

async fn faults(State(shared): State<Arc<Shared>>) -> Response {
    ok(&shared.call(|model, now_ms| model.faults(now_ms)))
}

/// A fault as people write it: `"for": "10m"` beside the model's own fields.
async fn inject(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    let mut value: serde_json::Value = parse(&body)?;
    if let Some(length) = value
        .as_object_mut()
        .and_then(|object| object.remove("for"))
    {
        let text = length.as_str().unwrap_or_default();
        value["for_ms"] = parse_span(text)?.into();
    }
    let spec: FaultSpec = serde_json::from_value(value)
        .map_err(|error| CallError::bad_request(format!("fault is invalid: {error}")))?;
    let id = shared.call(|model, now_ms| model.inject(now_ms, spec))?;
    Ok(ok(&serde_json::json!({"id": id})))
}

async fn clear(State(shared): State<Arc<Shared>>) -> Response {
    let removed = shared.call(|model, now_ms| model.clear_faults(now_ms, None));
    ok(&serde_json::json!({"removed": removed}))
}

async fn clear_one(State(shared): State<Arc<Shared>>, Path(id): Path<u64>) -> Response {
    let removed = shared.call(|model, now_ms| model.clear_faults(now_ms, Some(id)));
    ok(&serde_json::json!({"removed": removed}))
}

async fn clock(State(shared): State<Arc<Shared>>) -> Response {
    ok(&serde_json::json!({"now_ms": shared.clock.now_ms()}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockBody {
    advance: String,
}

async fn advance(
    State(shared): State<Arc<Shared>>,
    Query(_): Query<BTreeMap<String, String>>,
    body: Bytes,
) -> Answer {
    let body: ClockBody = parse(&body)?;
    let now_ms = shared.skip(parse_span(&body.advance)?);
    Ok(ok(&serde_json::json!({"now_ms": now_ms})))
}

/// Reads `500ms`, `90s`, `10m`, `1h`, `3d`.
fn parse_span(text: &str) -> Result<u64, CallError> {
    const UNITS: [(&str, u64); 5] = [
        ("ms", 1),
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ];
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = UNITS.iter().find(|(name, _)| *name == unit);
    match (number.parse::<u64>(), unit) {
        (Ok(number), Some((_, ms))) => Ok(number.saturating_mul(*ms)),
        _ => Err(CallError::bad_request(format!(
            "{text:?} is not a length of time such as \"90s\", \"10m\" or \"1h\""
        ))),
    }
}
