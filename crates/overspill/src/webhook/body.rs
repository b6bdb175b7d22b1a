//! RunPod's envelope of an end, with the keys in RunPod's order. Input and output pass as they are.

use std::fmt::Write as _;

use bytes::Bytes;
use overspill_core::alert::BudgetAlert;
use overspill_core::change::FinalState;
use overspill_core::time::{DurationMs, Timestamp};
use overspill_core::webhook::Webhook;
use overspill_wire::json::quote;
use serde_json::json;

/// Whose spending an alert is on, in words.
pub(crate) fn whose(alert: &BudgetAlert) -> String {
    match (&alert.endpoint_name, alert.endpoint, alert.key) {
        (Some(name), ..) => format!("endpoint {name}"),
        (None, Some(id), _) => format!("endpoint {id}"),
        (None, None, Some(key)) => format!("key {key}"),
        (None, None, None) => "everything".to_owned(),
    }
}

/// An alert as a webhook says it: a type, a time, and what it is about.
fn of_alert(alert: &BudgetAlert) -> Bytes {
    let time = |at: Timestamp| {
        jiff::Timestamp::from_millisecond(at.as_millis())
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
            .to_string()
    };
    let scope = match (alert.endpoint, alert.key) {
        (Some(_), _) => "endpoint",
        (None, Some(_)) => "key",
        (None, None) => "everything",
    };
    let body = json!({
        "type": "budget.alert",
        "timestamp": time(alert.at),
        "data": {
            "scope": scope,
            "endpoint": alert.endpoint_name,
            "key": alert.key.map(|key| key.to_string()),
            "period": alert.period.to_string(),
            "threshold_percent": alert.threshold,
            "is_reached": alert.threshold >= 100,
            "cap_nano_usd": alert.cap.as_nanos(),
            "spent_nano_usd": alert.spent.as_nanos(),
            "reserved_nano_usd": alert.reserved.as_nanos(),
            "cap_usd": alert.cap.to_usd(9),
            "spent_usd": alert.spent.to_usd(9),
            "period_ends_at": time(alert.ends_at),
        },
    });
    Bytes::from(body.to_string())
}

/// The body of a webhook.
pub(super) fn of(webhook: &Webhook, input: Option<&[u8]>, output: Option<&[u8]>) -> Bytes {
    if let Some(alert) = &webhook.alert {
        return of_alert(alert);
    }
    let length = input.map_or(0, <[u8]>::len) + output.map_or(0, <[u8]>::len);
    let mut body = Vec::with_capacity(length + 512 + webhook.url.len());
    let mut text = String::from("{");
    let millis = |length: Option<DurationMs>| length.map(DurationMs::as_millis);
    if let Some(delay) = millis(webhook.delay) {
        let _ = write!(text, "\"delayTime\":{delay},");
    }
    if let Some(error) = &webhook.error {
        let _ = write!(text, "\"error\":{},", quote(error));
    }
    if let Some(execution) = millis(webhook.execution) {
        let _ = write!(text, "\"executionTime\":{execution},");
    }
    let _ = write!(text, "\"id\":{}", quote(&webhook.id.job.to_string()));
    body.extend_from_slice(text.as_bytes());
    for (key, value) in [("input", input), ("output", output)] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            body.extend_from_slice(format!(",\"{key}\":").as_bytes());
            body.extend_from_slice(value);
        }
    }
    let status = match webhook.end {
        FinalState::Completed => "COMPLETED",
        FinalState::Failed => "FAILED",
        FinalState::Cancelled => "CANCELLED",
        FinalState::TimedOut => "TIMED_OUT",
    };
    let url = quote(&webhook.url);
    body.extend_from_slice(format!(",\"status\":\"{status}\",\"webhook\":{url}}}").as_bytes());
    Bytes::from(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use overspill_core::id::{EndpointId, JobId};
    use overspill_core::webhook::{WebhookId, WebhookState};

    #[test]
    fn the_envelope_is_runpods() {
        let mut webhook = Webhook {
            id: WebhookId {
                job: JobId::new(7, false),
                generation: 0,
            },
            endpoint: EndpointId(1),
            url: "https://e.org/h".into(),
            end: FinalState::Completed,
            ended_at: Timestamp::ZERO,
            delay: Some(DurationMs::from_millis(4_736)),
            execution: Some(DurationMs::from_millis(157)),
            error: None,
            payload_bytes: 0,
            state: WebhookState::Due,
            attempts: 0,
            next_at: Timestamp::ZERO,
            tried_at: None,
            status: None,
            failure: None,
            keep_until: Timestamp::NEVER,
            alert: None,
        };
        let id = webhook.id.job;
        let body = of(&webhook, Some(b"{}"), Some(b"{\"big\":9007199254740993}"));
        let expected = format!(
            "{{\"delayTime\":4736,\"executionTime\":157,\"id\":\"{id}\",\"input\":{{}},\
             \"output\":{{\"big\":9007199254740993}},\"status\":\"COMPLETED\",\
             \"webhook\":\"https://e.org/h\"}}"
        );
        assert_eq!(body, expected);
        webhook.end = FinalState::Failed;
        webhook.error = Some("a \"b\"".into());
        let body: serde_json::Value =
            serde_json::from_slice(&of(&webhook, Some(b"[1]"), None)).unwrap();
        assert_eq!(body["status"], "FAILED");
        assert_eq!(body["error"], "a \"b\"");
        assert!(body.get("output").is_none());
    }
}
