//! Webhooks out: the whole envelope when a job ends, and up to two more tries ten seconds apart.

use std::collections::BTreeMap;

use super::CloudModel;
use super::agenda::Timer;
use super::call::Effect;
use super::id::{EndpointId, JobId};
use super::job::{JobStatus, JobView, Payload};

/// Tries in all.
const TRIES: u32 = 3;
const PAUSE_MS: i64 = 10_000;

#[derive(Debug, Clone)]
struct Delivery {
    url: String,
    body: String,
    tries: u32,
}

/// Deliveries under way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Webhooks {
    open: BTreeMap<u64, Delivery>,
    made: u64,
}

impl CloudModel {
    pub(super) fn queue_webhook(&mut self, endpoint_id: &EndpointId, job_id: &JobId) {
        let now_ms = self.now_ms;
        let Some(job) = self
            .endpoints
            .get(endpoint_id)
            .and_then(|e| e.jobs.get(job_id))
        else {
            return;
        };
        // Nobody has seen what a cancel sends; the caller who cancels knows already.
        let Some(url) = job
            .order
            .webhook
            .clone()
            .filter(|_| job.status != JobStatus::Cancelled)
        else {
            return;
        };
        let envelope = envelope(&job.view(now_ms), &job.order.input, &url);
        for _ in 0..self.faults.webhook_copies(endpoint_id, now_ms) {
            self.webhooks.made += 1;
            let delivery = self.webhooks.made;
            self.webhooks.open.insert(
                delivery,
                Delivery {
                    url: url.clone(),
                    body: envelope.clone(),
                    tries: 0,
                },
            );
            self.on_webhook(delivery);
        }
    }

    pub(super) fn on_webhook(&mut self, delivery: u64) {
        if let Some(open) = self.webhooks.open.get_mut(&delivery) {
            open.tries += 1;
            self.effects.push(Effect::Webhook {
                delivery,
                url: open.url.clone(),
                body: open.body.clone(),
            });
        }
    }

    /// How a try went: only status 200 is a success.
    pub fn webhook_answered(&mut self, now_ms: i64, delivery: u64, status: Option<u16>) {
        self.advance(now_ms);
        let has_more = self
            .webhooks
            .open
            .get(&delivery)
            .is_some_and(|open| open.tries < TRIES);
        if status == Some(200) || !has_more {
            self.webhooks.open.remove(&delivery);
        } else {
            self.agenda
                .set(self.now_ms + PAUSE_MS, Timer::Webhook(delivery));
        }
    }
}

fn envelope(job: &JobView, input: &Payload, webhook: &str) -> String {
    // Raw payloads do not pass through a flattened struct: the two objects are joined as text.
    let head = serde_json::to_string(job).expect("a job is plain JSON");
    let url = serde_json::to_string(webhook).expect("text is JSON");
    format!(
        r#"{},"input":{},"webhook":{url}}}"#,
        &head[..head.len() - 1],
        input.get()
    )
}
