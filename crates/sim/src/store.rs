//! A store in memory that a storm can look into: live state, ended jobs, and what must never be
//! asked of a store.

use std::collections::BTreeMap;

use overspill_core::change::{Change, EndedAttempt, EndedJob, Snapshot};
use overspill_core::id::{AttemptId, JobId};
use overspill_core::webhook::{Webhook, WebhookId};

/// Durable state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Store {
    pub(crate) live: Snapshot,
    /// By job and generation.
    pub(crate) ended: BTreeMap<(JobId, u32), EndedJob>,
    pub(crate) attempts: BTreeMap<AttemptId, EndedAttempt>,
    pub(crate) webhooks: BTreeMap<WebhookId, Webhook>,
    /// Changes that contradict what is stored, in words.
    pub(crate) contradictions: Vec<String>,
}

impl Store {
    /// One transaction.
    pub(crate) fn commit(&mut self, changes: &[Change]) {
        for change in changes {
            self.check(change);
            self.live.apply(change);
            match change {
                Change::JobEnded(ended) => {
                    self.ended
                        .insert((ended.id, ended.generation), ended.clone());
                }
                Change::AttemptEnded(ended) => {
                    self.attempts.insert(ended.id, ended.clone());
                }
                Change::WebhookPut(webhook) => {
                    self.webhooks.insert(webhook.id, (**webhook).clone());
                }
                _ => {}
            }
        }
        for change in changes {
            if let Change::JobEnded(ended) = change {
                self.check_outbox(ended);
            }
        }
    }

    /// An end with a receiver has its row in the transaction of the end, and any other has none.
    fn check_outbox(&mut self, ended: &EndedJob) {
        let id = WebhookId {
            job: ended.id,
            generation: ended.generation,
        };
        let row = self.webhooks.get(&id);
        if row.map(|row| &row.url) != ended.webhook.as_ref() {
            self.contradictions.push(format!(
                "the end of job {} in generation {} names {:?}, its outbox {:?}",
                ended.id,
                ended.generation,
                ended.webhook,
                row.map(|row| &row.url)
            ));
        }
    }

    /// Whether an attempt is, or ever was, stored.
    pub(crate) fn knows(&self, attempt: AttemptId) -> bool {
        self.live.attempts.contains_key(&attempt) || self.attempts.contains_key(&attempt)
    }

    /// Whether a live attempt that counts is on a card that must not be used.
    pub(crate) fn is_on_quarantined_card(&self, attempt: AttemptId) -> bool {
        let attempt = self.live.attempts.get(&attempt);
        let counting = attempt.filter(|attempt| attempt.fenced.is_none());
        let worker = counting.and_then(|attempt| self.live.workers.get(&attempt.local_worker()?));
        // The cards of a storm have no driver's ids: they are known by their index.
        worker.is_some_and(|worker| {
            self.live
                .quarantines
                .contains_key(&worker.device.to_string())
        })
    }

    fn check(&mut self, change: &Change) {
        let wrong = match change {
            Change::JobPut { job, .. } => {
                self.ended.contains_key(&(job.id, job.generation)).then(|| {
                    format!(
                        "job {} lives again in generation {}",
                        job.id, job.generation
                    )
                })
            }
            Change::JobEnded(ended) => {
                let is_live = self
                    .live
                    .jobs
                    .get(&ended.id)
                    .is_some_and(|job| job.generation == ended.generation);
                (!is_live).then(|| {
                    format!(
                        "job {} ends in generation {}, and does not live",
                        ended.id, ended.generation
                    )
                })
            }
            Change::AttemptPut(attempt) => self
                .attempts
                .contains_key(&attempt.id)
                .then(|| format!("attempt {} lives again", attempt.id)),
            Change::WebhookPut(webhook) => {
                let id = webhook.id;
                let is_new = !self.webhooks.contains_key(&id);
                let is_first = webhook.attempts == 0 && webhook.tried_at.is_none();
                let has_ended = self.ended.contains_key(&(id.job, id.generation));
                let is_wrong = !has_ended || is_new != is_first;
                is_wrong.then(|| format!("webhook {id} is written, and its job did not just end"))
            }
            _ => None,
        };
        self.contradictions.extend(wrong);
    }
}
