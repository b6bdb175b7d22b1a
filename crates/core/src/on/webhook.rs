//! Webhooks that were tried, or are to be sent again.

use crate::change::Change;
use crate::effect::{Answer, Out};
use crate::id::RequestId;
use crate::machine::Core;
use crate::webhook::{Webhook, WebhookOutcome};

impl Core {
    pub(crate) fn on_webhook_tried(
        &mut self,
        request: RequestId,
        webhook: Webhook,
        outcome: WebhookOutcome,
        out: &mut Out,
    ) {
        let next = webhook.after(outcome, self.now);
        out.change(Change::WebhookPut(Box::new(next)));
        out.answer(request, Answer::Noted);
    }

    pub(crate) fn on_webhook_replay_asked(
        &mut self,
        request: RequestId,
        webhook: Webhook,
        by: &str,
        out: &mut Out,
    ) {
        out.change(Change::Audited {
            at: self.now,
            what: "webhook_replayed".into(),
            object: webhook.id.to_string(),
            detail: format!("by {by}, after {} attempts", webhook.attempts),
        });
        let next = webhook.again(self.now);
        out.change(Change::WebhookPut(Box::new(next)));
        out.answer(request, Answer::Noted);
    }
}
