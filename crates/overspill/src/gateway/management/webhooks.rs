//! `/api/v1/webhooks` and `/api/v1/webhook-secrets`.

use std::sync::Arc;

use http::StatusCode;
use overspill_core::alert::SENDER;
use overspill_core::change::FinalState;
use overspill_core::webhook::{Webhook, WebhookId, WebhookState};
use overspill_store::WebhookFilter;
use serde_json::{Value, json};

use super::limit;
use crate::engine::api::{EndpointDirectory, EndpointEntry, ReplayAnswer, Unavailable};
use crate::gateway::Gateway;
use crate::gateway::body::{self, Reply};
use crate::gateway::call::Call;
use crate::gateway::error::{ApiError, shown};

/// GET: newest job first, `?endpoint=&job=&state=&limit=&after=`.
pub(crate) async fn list(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let directory = gateway.engine().endpoints();
    let endpoint = match call.query.get("endpoint") {
        None => None,
        Some(name) => Some(find(&directory, &call, name)?.id),
    };
    let job = match call.query.get("job") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| {
            ApiError::bad_request("job_invalid", "job is no job's id").field("job")
        })?),
    };
    let after = match call.query.get("after") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| {
            ApiError::bad_request("cursor_invalid", "after is no webhook's id").field("after")
        })?),
    };
    let filter = WebhookFilter {
        job,
        endpoint,
        state: call.query.get("state").map(state_of).transpose()?,
    };
    let limit = limit(&call, 50, 1_000)?;
    let page = read(gateway, filter, after, limit as usize).await?;
    let next = page.last().filter(|_| page.len() == limit as usize);
    let next = next.map(|webhook| webhook.id.to_string());
    let webhooks: Vec<Value> = page
        .iter()
        .filter_map(|webhook| Some(shape(webhook, name_of(&directory, &call, webhook)?)))
        .collect();
    Ok(body::json_of(
        &json!({ "webhooks": webhooks, "next": next }),
    ))
}

/// GET `{webhook}`: by its id, or the last one of a job by the job's.
pub(crate) async fn show(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let (webhook, name) = named(gateway, &call).await?;
    Ok(body::json_of(&shape(&webhook, &name)))
}

/// POST `{webhook}/replay`: due at once, with all attempts ahead.
pub(crate) async fn replay(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let (webhook, _) = named(gateway, &call).await?;
    let id = webhook.id;
    let answer = gateway.engine().replay_webhook(id, call.by()).await;
    let conflict = |code, message: &str| {
        Err(ApiError::new(
            StatusCode::CONFLICT,
            code,
            message.to_owned(),
        ))
    };
    match answer.map_err(|Unavailable| ApiError::unavailable())? {
        ReplayAnswer::Due => Ok(body::json_of(
            &json!({ "id": id.to_string(), "state": "due" }),
        )),
        ReplayAnswer::NotFound => Err(not_found()),
        ReplayAnswer::UnderWay => conflict(
            "webhook_under_way",
            "the webhook is being sent at this moment; look again in some seconds",
        ),
        ReplayAnswer::Replaced => conflict(
            "webhook_replaced",
            "the webhook was delivered, and the job was retried since: its output is no longer kept",
        ),
    }
}

/// The name of the secret that signs alerts of caps; no endpoint can have it.
const ALERTS: &str = ":budget";

/// Whether the secret of alerts is asked for, and who asks may know it.
fn is_of_alerts(call: &Call) -> bool {
    let is_limited = call.caller.as_ref().is_some_and(|c| c.endpoints.is_some());
    call.params[0] == ALERTS && !is_limited
}

fn alerts_shape(gateway: &Gateway) -> Value {
    let secrets = gateway.engine().webhook_secrets(SENDER);
    json!({ "endpoint": ALERTS, "secrets": secrets })
}

/// GET: the secrets that sign an endpoint's webhooks now, the newest first; under `:budget`, those that
/// sign alerts of caps.
pub(crate) async fn secret(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    if is_of_alerts(&call) {
        return Ok(body::json_of(&alerts_shape(gateway)));
    }
    let directory = gateway.engine().endpoints();
    let entry = find(&directory, &call, &call.params[0])?;
    Ok(body::json_of(&secrets_shape(gateway, entry)))
}

/// POST `rotate`: a new secret; the old one signs for a day too.
pub(crate) async fn rotate(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    if is_of_alerts(&call) {
        let rotated = gateway.engine().rotate_webhook_secret(SENDER).await;
        rotated.map_err(|Unavailable| ApiError::unavailable())?;
        return Ok(body::json_of(&alerts_shape(gateway)));
    }
    let directory = gateway.engine().endpoints();
    let entry = find(&directory, &call, &call.params[0])?;
    let rotated = gateway.engine().rotate_webhook_secret(entry.id).await;
    rotated.map_err(|Unavailable| ApiError::unavailable())?;
    Ok(body::json_of(&secrets_shape(gateway, entry)))
}

fn secrets_shape(gateway: &Gateway, entry: &EndpointEntry) -> Value {
    let secrets = gateway.engine().webhook_secrets(entry.id);
    json!({ "endpoint": entry.name, "secrets": secrets })
}

async fn read(
    gateway: &Gateway,
    filter: WebhookFilter,
    after: Option<WebhookId>,
    limit: usize,
) -> Result<Vec<Webhook>, ApiError> {
    let webhooks = gateway.engine().webhooks(filter, after, limit).await;
    webhooks.map_err(|Unavailable| ApiError::unavailable())
}

/// The webhook that the path names, if the caller may see it, and its endpoint's name.
async fn named(gateway: &Gateway, call: &Call) -> Result<(Webhook, String), ApiError> {
    let text = &call.params[0];
    let id: Option<WebhookId> = text.parse().ok();
    let job = match id {
        Some(id) => id.job,
        None => text.parse().map_err(|_| not_found())?,
    };
    let filter = WebhookFilter {
        job: Some(job),
        ..WebhookFilter::default()
    };
    // A job has one webhook per generation, and few generations.
    let all = read(gateway, filter, None, 1_000).await?;
    let mut all = all.into_iter();
    let webhook = all.find(|webhook| id.is_none_or(|id| id == webhook.id));
    let webhook = webhook.ok_or_else(not_found)?;
    let directory = gateway.engine().endpoints();
    let name = name_of(&directory, call, &webhook).ok_or_else(not_found)?;
    let name = name.to_owned();
    Ok((webhook, name))
}

fn not_found() -> ApiError {
    ApiError::not_found(
        "webhook_not_found",
        "there is no such webhook, or it is no longer kept",
    )
    .hint("`overspill webhooks list` shows those that are kept")
}

fn find<'a>(
    directory: &'a EndpointDirectory,
    call: &Call,
    name: &str,
) -> Result<&'a EndpointEntry, ApiError> {
    let sees = |entry: &&EndpointEntry| call.caller.as_ref().is_none_or(|c| c.sees(&entry.name));
    directory.find(name).filter(sees).ok_or_else(|| {
        let message = format!("there is no endpoint `{}`", shown(name));
        ApiError::not_found("endpoint_not_found", message).field("endpoint")
    })
}

fn name_of<'a>(
    directory: &'a EndpointDirectory,
    call: &Call,
    webhook: &Webhook,
) -> Option<&'a str> {
    let name = directory
        .get(webhook.endpoint)
        .map_or("", |entry| entry.name.as_str());
    let sees = call.caller.as_ref().is_none_or(|c| c.sees(name));
    sees.then_some(name)
}

fn state_of(word: &str) -> Result<WebhookState, ApiError> {
    match word {
        "due" => Ok(WebhookState::Due),
        "delivered" => Ok(WebhookState::Delivered),
        "dead" => Ok(WebhookState::Dead),
        _ => Err(ApiError::bad_request(
            "state_invalid",
            format!("`{}` is no state of a webhook", shown(word)),
        )
        .field("state")
        .hint("due, delivered or dead")),
    }
}

fn shape(webhook: &Webhook, endpoint: &str) -> Value {
    let is_due = webhook.state == WebhookState::Due;
    json!({
        "id": webhook.id.to_string(),
        "about": if webhook.alert.is_some() { "budget_alert" } else { "job" },
        "alert": webhook.alert,
        "job": webhook.id.job.to_string(),
        "endpoint": endpoint,
        "url": webhook.url,
        "state": webhook.state,
        "job_status": match webhook.end {
            FinalState::Completed => "completed",
            FinalState::Failed => "failed",
            FinalState::Cancelled => "cancelled",
            FinalState::TimedOut => "timed_out",
        },
        "attempts": webhook.attempts,
        "ended_at_ms": webhook.ended_at.as_millis(),
        "tried_at_ms": webhook.tried_at.map(|at| at.as_millis()),
        "next_at_ms": is_due.then(|| webhook.next_at.as_millis()),
        "status": webhook.status,
        "failure": webhook.failure,
    })
}
