//! Jobs on their way to a worker, until their bytes are with the connection.
//!
//! A job whose answer was surely not written goes back to the queue at once, instead of after the
//! pings that do not list it. When it is not sure, nothing is said: the pings decide.

use std::sync::{Arc, Mutex, PoisonError};

use overspill_core::id::{JobId, WorkerId};

use crate::engine::api::Engine;

/// What one connection still owes to workers: handed to it, not yet flushed.
#[derive(Default)]
pub struct Owed {
    jobs: Mutex<Vec<(WorkerId, Vec<JobId>)>>,
}

impl Owed {
    /// The connection ended without having written all it was handed.
    pub fn failed(&self, engine: &dyn Engine) {
        let jobs = std::mem::take(&mut *self.jobs.lock().unwrap_or_else(PoisonError::into_inner));
        for (worker, jobs) in jobs {
            engine.delivery_failed(worker, jobs);
        }
    }

    fn add(&self, worker: WorkerId, jobs: Vec<JobId>) {
        self.jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((worker, jobs));
    }
}

/// Jobs within one answer. Dropped before the answer's body was taken, it says that they were not
/// delivered.
pub struct Delivery {
    engine: Arc<dyn Engine>,
    worker: WorkerId,
    jobs: Vec<JobId>,
    /// Only where the connection closes behind this answer: its end then tells whether the answer
    /// was written. A connection that stays open may break much later, for other reasons.
    owed: Option<Arc<Owed>>,
}

impl Delivery {
    /// These jobs, to this worker.
    #[must_use]
    pub fn new(
        engine: Arc<dyn Engine>,
        worker: WorkerId,
        jobs: Vec<JobId>,
        owed: Option<Arc<Owed>>,
    ) -> Self {
        Self {
            engine,
            worker,
            jobs,
            owed,
        }
    }

    /// The connection has taken the bytes.
    pub(super) fn handed_over(mut self) {
        let jobs = std::mem::take(&mut self.jobs);
        if let Some(owed) = &self.owed {
            owed.add(self.worker, jobs);
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.jobs.is_empty() {
            self.engine
                .delivery_failed(self.worker, std::mem::take(&mut self.jobs));
        }
    }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("worker", &self.worker)
            .field("jobs", &self.jobs)
            .finish_non_exhaustive()
    }
}
