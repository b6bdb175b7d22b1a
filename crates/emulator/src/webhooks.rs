//! Webhooks on their way out: one POST per try; the model says when the next one is due.

use std::sync::Arc;
use std::time::Duration;

use http::header;

use crate::state::Shared;

/// How long a receiver has for its answer.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn send(shared: &Arc<Shared>, delivery: u64, url: String, body: String) {
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let answer = shared
            .http
            .post(&url)
            .header(header::CONTENT_TYPE, "application/json")
            .timeout(PATIENCE)
            .body(body)
            .send()
            .await;
        let status = match &answer {
            Ok(answer) => Some(answer.status().as_u16()),
            Err(error) => {
                tracing::debug!(%url, %error, "a webhook was not delivered");
                None
            }
        };
        shared.call(|model, now_ms| model.webhook_answered(now_ms, delivery, status));
    });
}
