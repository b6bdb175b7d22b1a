//! A store in memory that a storm can look into: live state, ended jobs, and what must never be
//! asked of a store.

use std::collections::BTreeMap;

use overspill_core::change::{Change, EndedAttempt, EndedJob, Snapshot};
use overspill_core::id::{AttemptId, JobId};

/// Durable state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Store {
    pub(crate) live: Snapshot,
    /// By job and generation.
    pub(crate) ended: BTreeMap<(JobId, u32), EndedJob>,
    pub(crate) attempts: BTreeMap<AttemptId, EndedAttempt>,
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
                _ => {}
            }
        }
    }

    /// Whether an attempt is, or ever was, stored.
    pub(crate) fn knows(&self, attempt: AttemptId) -> bool {
        self.live.attempts.contains_key(&attempt) || self.attempts.contains_key(&attempt)
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
            _ => None,
        };
        self.contradictions.extend(wrong);
    }
}
