//! What is no longer kept: jobs past their time to live, and results past their retention.

use super::CloudModel;
use super::call::{Effect, Outcome};
use super::id::{EndpointId, JobId};
use super::job::JobStatus;

/// How long a job that expired in the queue is still shown as TIMED_OUT.
const SHOW_EXPIRED_MS: i64 = 60_000;

impl CloudModel {
    /// The time to live is over: a waiting job times out, anything else is deleted whatever its state.
    pub(super) fn on_expire(&mut self, endpoint_id: &EndpointId, job_id: &JobId) {
        let Ok(endpoint) = self.endpoint(endpoint_id) else {
            return;
        };
        match endpoint.jobs.get(job_id).map(|job| job.status) {
            Some(JobStatus::InQueue) => {
                self.finish_job(endpoint_id, job_id, JobStatus::TimedOut, None, None);
                let forget = self.agenda.set(
                    self.now_ms + SHOW_EXPIRED_MS,
                    super::agenda::Timer::Forget(endpoint_id.clone(), job_id.clone()),
                );
                let old = self
                    .endpoints
                    .get_mut(endpoint_id)
                    .and_then(|endpoint| endpoint.jobs.get_mut(job_id))
                    .and_then(|job| job.forget.replace(forget));
                self.agenda.cancel(old);
            }
            Some(JobStatus::InProgress) => {
                if self.options.real_workers {
                    self.release_attempt(endpoint_id, job_id, Outcome::Unwanted);
                }
                self.delete_job(endpoint_id, job_id);
            }
            Some(_) => self.delete_job(endpoint_id, job_id),
            None => {}
        }
        self.rescale(endpoint_id);
    }

    pub(super) fn on_forget(&mut self, endpoint_id: &EndpointId, job_id: &JobId) {
        self.delete_job(endpoint_id, job_id);
    }

    /// Deletes a job and its timers. A modelled worker that still runs it runs on to the end.
    fn delete_job(&mut self, endpoint_id: &EndpointId, job_id: &JobId) {
        let Some(endpoint) = self.endpoints.get_mut(endpoint_id) else {
            return;
        };
        let Some(job) = endpoint.jobs.remove(job_id) else {
            return;
        };
        match job.status {
            JobStatus::InQueue => {
                endpoint.queue.remove(&job.number);
            }
            JobStatus::InProgress => {
                endpoint.in_progress = endpoint.in_progress.saturating_sub(1);
                self.run_on(endpoint_id, &job);
            }
            _ => {}
        }
        for timer in [job.expire, job.timeout, job.lease, job.forget] {
            self.agenda.cancel(timer);
        }
        self.effects.push(Effect::JobChanged(job_id.clone()));
    }

    /// Lets the worker of a deleted job be busy until its run would have ended.
    fn run_on(&mut self, endpoint_id: &EndpointId, job: &super::job::Job) {
        let (Some(script), Some(started_ms), Some(worker_id)) =
            (&job.script, job.started_ms, &job.worker)
        else {
            return;
        };
        let end_ms = started_ms
            .saturating_add_unsigned(script.run_ms())
            .max(self.now_ms);
        let timer = self.agenda.set(
            end_ms,
            super::agenda::Timer::Step(
                endpoint_id.clone(),
                worker_id.clone(),
                job.id.clone(),
                job.attempt,
                0,
            ),
        );
        let old = self.with_worker(endpoint_id, worker_id, |worker| {
            let running = worker.jobs.get_mut(&job.id)?;
            running.unwanted_since_ms = Some(end_ms);
            running.step.replace(timer)
        });
        self.agenda.cancel(old.flatten());
    }
}
