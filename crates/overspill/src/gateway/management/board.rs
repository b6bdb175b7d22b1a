//! What the dashboard shows: `/api/v1/overview`, `live`, `series`, `pools`, `decisions`, `spending`,
//! `settings`, `doctor`; and `/metrics`.
//!
//! They speak of the whole server, so a key that is for some endpoints only is refused.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use overspill_core::id::PoolId;
use overspill_core::time::DurationMs;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::limit;
use crate::engine::api::Unavailable;
use crate::gateway::Gateway;
use crate::gateway::body::{self, Body, Reply};
use crate::gateway::call::Call;
use crate::gateway::error::{ApiError, shown};
use crate::view::board::Board;
use crate::view::metrics::Format;
use crate::view::overview::Overview;

/// The most points of a chart.
const POINTS: usize = 360;
/// Decisions that a live event carries at most.
const DECISIONS_PER_EVENT: usize = 50;

/// GET: everything at once, as of the last second.
pub(crate) async fn overview(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let board = board(gateway, &call)?;
    let overview = first(board).await?;
    Ok(body::json_of(overview.as_ref()))
}

/// The newest overview; right after the start, the first.
async fn first(board: &Board) -> Result<Arc<Overview>, ApiError> {
    let mut watch = board.watch();
    let looked = watch.wait_for(|overview| overview.number > 0);
    match tokio::time::timeout(Duration::from_secs(10), looked).await {
        Ok(Ok(overview)) => Ok(Arc::clone(&overview)),
        _ => Err(ApiError::unavailable()),
    }
}

/// GET: server-sent events. The first is the overview as it is, then one a second; each brings the
/// decisions since the one before, or since `Last-Event-ID`.
pub(crate) async fn live(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let board = Arc::clone(board(gateway, &call)?);
    let last = call.headers.get("last-event-id");
    let last = last.and_then(|id| id.to_str().ok()?.parse::<u64>().ok());
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(follow(Arc::clone(gateway), call, board, last, sender));
    let mut reply = Reply::new(Body::stream(receiver));
    let headers = reply.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream; charset=utf-8"),
    );
    // Proxies that buffer would undo the streaming.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(reply)
}

async fn follow(
    gateway: Arc<Gateway>,
    call: Call,
    board: Arc<Board>,
    last: Option<u64>,
    sender: mpsc::Sender<Bytes>,
) {
    let mut watch = board.watch();
    let Ok(mut overview) = first(&board).await else {
        return;
    };
    watch.mark_unchanged();
    // The event's id is the newest decision; a number from before a restart may be too high.
    let mut seen = last.filter(|&seen| seen <= overview.last_decision);
    loop {
        let mut news = Vec::new();
        if overview.last_decision > seen.unwrap_or(0) {
            news = board.decisions(None, DECISIONS_PER_EVENT);
            news.retain(|line| line.number > seen.unwrap_or(0));
        }
        seen = Some(overview.last_decision.max(seen.unwrap_or(0)));
        let data = json!({ "overview": overview.as_ref(), "decisions": news });
        let event = format!(
            "id: {}\nevent: overview\ndata: {data}\n\n",
            overview.last_decision
        );
        let sent = sender.send(Bytes::from(event)).await;
        if sent.is_err() {
            return;
        }
        tokio::select! {
            changed = watch.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
            () = gateway.drain.cancelled() => return,
        }
        // A key that was ended, or a session, hears no more from then on.
        if !gateway.may_still_read(&call) {
            return;
        }
        overview = Arc::clone(&watch.borrow_and_update());
    }
}

/// GET `?minutes=`: the samples of the last minutes, an hour at most.
pub(crate) async fn series(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let board = board(gateway, &call)?;
    let minutes = match call.query.get("minutes") {
        None => 60,
        Some(text) => text
            .parse()
            .ok()
            .filter(|minutes| (1..=60).contains(minutes))
            .ok_or_else(|| {
                let message = format!("minutes must be from 1 to 60, this is `{}`", shown(text));
                ApiError::bad_request("minutes_invalid", message).field("minutes")
            })?,
    };
    let samples = board.series(DurationMs::from_secs(minutes * 60), POINTS);
    Ok(body::json_of(
        &json!({ "minutes": minutes, "samples": samples }),
    ))
}

/// GET: every pool with its workers, by endpoint; and the cards of this host.
pub(crate) async fn pools(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let board = board(gateway, &call)?;
    let overview = first(board).await?;
    let pools = board
        .pools()
        .await
        .map_err(|Unavailable| ApiError::unavailable())?;
    let mut workers: HashMap<PoolId, Vec<Value>> = HashMap::new();
    for worker in &pools.local_workers {
        workers.entry(worker.pool).or_default().push(json!(worker));
    }
    for worker in &pools.cloud_workers {
        workers.entry(worker.pool).or_default().push(json!(worker));
    }
    let directory = gateway.engine().endpoints();
    let shaped: Vec<Value> = pools
        .pools
        .iter()
        .filter_map(|pool| {
            let mut shape = json!(pool);
            shape["endpoint"] = json!(directory.get(pool.endpoint)?.name);
            // Named cloud workers are those that run jobs; the others are only counted.
            shape["named_workers"] = json!(workers.remove(&pool.id).unwrap_or_default());
            Some(shape)
        })
        .collect();
    Ok(body::json_of(
        &json!({ "pools": shaped, "devices": overview.devices }),
    ))
}

/// GET `?for=ENDPOINT&since=`: what can be rented, and the cards of this host; with `for`, which type serves
/// an endpoint's jobs for the least money.
pub(crate) async fn gpus(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let board = board(gateway, &call)?;
    let catalog = board.catalog();
    let prices = json!({ "source": catalog.source, "as_of": catalog.as_of });
    let Some(name) = call.query.get("for") else {
        return Ok(body::json_of(&json!({
            "local": board.cards(),
            "cloud": catalog.gpus,
            "prices": prices,
        })));
    };
    let directory = gateway.engine().endpoints();
    let not_found = || {
        let message = format!("there is no endpoint `{}`", shown(name));
        ApiError::not_found("endpoint_not_found", message).field("for")
    };
    let entry = directory.find(name).ok_or_else(not_found)?;
    let window = match call.query.get("since") {
        None => DurationMs::from_secs(30 * 24 * 3_600),
        Some(text) => crate::config::units::parse_duration(text).map_err(|message| {
            ApiError::bad_request("since_invalid", format!("since: {message}")).field("since")
        })?,
    };
    let since = gateway.engine().now() - window;
    let found = board.gpus_for(entry.id, since).await;
    let found = found
        .map_err(|Unavailable| ApiError::unavailable())?
        .ok_or_else(not_found)?;
    let mut shape = json!(found);
    shape["endpoint"] = json!(entry.name);
    shape["since_ms"] = json!(since.as_millis());
    shape["prices"] = prices;
    Ok(body::json_of(&shape))
}

/// GET `?before=&limit=`: decisions with their reasons, newest first.
pub(crate) async fn time_line(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let board = board(gateway, &call)?;
    let before = match call.query.get("before") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| {
            ApiError::bad_request("cursor_invalid", "before is no decision's number")
                .field("before")
        })?),
    };
    let limit = limit(&call, 200, 1_000)? as usize;
    let decisions = board.decisions(before, limit);
    let next = decisions
        .last()
        .filter(|line| decisions.len() == limit && line.number > 1);
    let next = next.map(|line| line.number);
    Ok(body::json_of(
        &json!({ "decisions": decisions, "next": next }),
    ))
}

/// GET: every known fault that is there now, with evidence and fix.
pub(crate) async fn doctor(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let board = board(gateway, &call)?;
    let findings = board.doctor().await;
    let findings = findings.map_err(|Unavailable| ApiError::unavailable())?;
    let checked: usize = crate::doctor::CODES
        .iter()
        .map(|(_, codes)| codes.len())
        .sum();
    Ok(body::json_of(
        &json!({ "findings": findings, "checked": checked }),
    ))
}

/// GET `?since=today|always`: what was spent and saved, by endpoint and pool.
pub(crate) async fn spending(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let board = board(gateway, &call)?;
    let since = match call.query.get("since") {
        None | Some("today") => Some(board.midnight()),
        Some("always") => None,
        Some(other) => {
            let message = format!("`{}` is no time to count from", shown(other));
            let error = ApiError::bad_request("since_invalid", message).field("since");
            return Err(error.hint("today or always"));
        }
    };
    let lines = board.spent(since).await;
    let lines = lines.map_err(|Unavailable| ApiError::unavailable())?;
    Ok(body::json_of(&json!({
        "since_ms": since.map(|since| since.as_millis()),
        "time_zone": board.settings().time_zone,
        "lines": lines,
    })))
}

/// GET `/metrics`: everything as metrics, in the format that is asked for.
pub(crate) async fn metrics(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let board = board(gateway, &call)?;
    let accepted = call.headers.get_all(header::ACCEPT).iter();
    let mut accepted = accepted.filter_map(|value| value.to_str().ok());
    let format = if accepted.any(|value| value.contains("application/openmetrics-text")) {
        Format::OpenMetrics
    } else {
        Format::Prometheus
    };
    let overview = first(board).await?;
    let text = board.metrics(&overview, format).await;
    let text = text.map_err(|Unavailable| ApiError::unavailable())?;
    let mut reply = Reply::new(Body::from(text));
    let media_type = HeaderValue::from_static(format.media_type());
    reply.headers_mut().insert(header::CONTENT_TYPE, media_type);
    Ok(reply)
}

/// GET: the configuration in force, secrets redacted.
pub(crate) async fn settings(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let board = board(gateway, &call)?;
    Ok(body::json_of(board.settings().as_ref()))
}

pub(super) fn board<'a>(gateway: &'a Gateway, call: &Call) -> Result<&'a Arc<Board>, ApiError> {
    let is_limited = call.caller.as_ref().is_some_and(|c| c.endpoints.is_some());
    if is_limited {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "key_limited",
            "this speaks of the whole server, and the key is for some endpoints only",
        )
        .hint("use a key without `endpoints`, or the routes of its endpoints"));
    }
    gateway.board.as_ref().ok_or_else(ApiError::unavailable)
}
