//! `/api/v1/cost`: what was spent on what, and what the cards here saved.

use std::sync::Arc;

use http::{HeaderValue, header};
use overspill_core::id::EndpointId;

use super::limit;
use crate::auth::scope::Scope;
use crate::engine::api::Unavailable;
use crate::gateway::Gateway;
use crate::gateway::body::{self, Body, Reply};
use crate::gateway::call::Call;
use crate::gateway::error::{ApiError, shown};
use crate::view::cost::{self, Ask, By};

/// Lines at most, unless fewer are asked for.
const LINES: u32 = 1_000;
/// Lines at most, whatever is asked for.
const LINES_MAX: u32 = 100_000;

/// GET `?by=&since=&until=&endpoint=&limit=&format=json|csv`.
///
/// A key that is for some endpoints only gets the lines of these; other keys are named to those who may
/// list keys.
pub(crate) async fn show(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let board = gateway.board.as_ref().ok_or_else(ApiError::unavailable)?;
    let caller = call.caller.as_ref();
    let ask = Ask {
        by: by(&call)?,
        since: moment(gateway, &call, "since", "always")?,
        until: moment(gateway, &call, "until", "always")?,
        endpoints: endpoints(gateway, &call)?,
        shows_keys: caller.is_none_or(|caller| caller.may(Scope::Keys)),
        key: call.key(),
        limit: limit(&call, LINES, LINES_MAX)? as usize,
    };
    if let (Some(since), Some(until)) = (ask.since, ask.until)
        && since >= until
    {
        let error = ApiError::bad_request("until_invalid", "until is not after since");
        return Err(error.field("until"));
    }
    let is_csv = is_csv(&call)?;
    let by = ask.by.word();
    let costs = board.cost(ask).await;
    let costs = costs.map_err(|Unavailable| ApiError::unavailable())?;
    if !is_csv {
        return Ok(body::json_of(&costs));
    }
    let mut reply = Reply::new(Body::from(cost::csv(&costs)));
    let headers = reply.headers_mut();
    let media_type = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
    headers.insert(header::CONTENT_TYPE, media_type);
    let disposition = format!("attachment; filename=\"cost-by-{by}.csv\"");
    if let Ok(disposition) = HeaderValue::from_str(&disposition) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    Ok(reply)
}

fn by(call: &Call) -> Result<By, ApiError> {
    let Some(word) = call.query.get("by") else {
        return Ok(By::default());
    };
    By::of(word).ok_or_else(|| {
        let known: Vec<&str> = By::ALL.iter().map(|by| by.word()).collect();
        ApiError::bad_request(
            "by_invalid",
            format!("`{}` is no side of cost", shown(word)),
        )
        .field("by")
        .hint(format!("use one of {}", known.join(", ")))
    })
}

fn moment(
    gateway: &Gateway,
    call: &Call,
    field: &'static str,
    default: &str,
) -> Result<Option<overspill_core::time::Timestamp>, ApiError> {
    let text = call.query.get(field).unwrap_or(default);
    let board = gateway.board.as_ref().ok_or_else(ApiError::unavailable)?;
    let zone = &board.settings().time_zone;
    let code = if field == "since" {
        "since_invalid"
    } else {
        "until_invalid"
    };
    cost::moment(text, gateway.engine().now(), zone)
        .map_err(|said| ApiError::bad_request(code, shown(&said)).field(field))
}

/// The endpoints that are asked for and the caller may see.
fn endpoints(gateway: &Gateway, call: &Call) -> Result<Option<Vec<EndpointId>>, ApiError> {
    let directory = gateway.engine().endpoints();
    let sees = |name: &str| call.caller.as_ref().is_none_or(|caller| caller.sees(name));
    if let Some(name) = call.query.get("endpoint") {
        let entry = directory.find(name).filter(|entry| sees(&entry.name));
        let entry = entry.ok_or_else(|| {
            let message = format!("there is no endpoint `{}`", shown(name));
            ApiError::not_found("endpoint_not_found", message).field("endpoint")
        })?;
        return Ok(Some(vec![entry.id]));
    }
    let is_limited = call
        .caller
        .as_ref()
        .is_some_and(|caller| caller.endpoints.is_some());
    if !is_limited {
        return Ok(None);
    }
    let entries = directory.entries().iter();
    let seen = entries.filter(|entry| sees(&entry.name));
    Ok(Some(seen.map(|entry| entry.id).collect()))
}

fn is_csv(call: &Call) -> Result<bool, ApiError> {
    match call.query.get("format") {
        None | Some("json") => Ok(false),
        Some("csv") => Ok(true),
        Some(other) => {
            let message = format!("`{}` is no format", shown(other));
            let error = ApiError::bad_request("format_invalid", message).field("format");
            Err(error.hint("use json or csv"))
        }
    }
}
