//! The data plane as clients use it: submit, status, stream, cancel, retry, purge, health.

use super::CloudModel;
use super::agenda::Timer;
use super::call::{Effect, Outcome, Refusal, StreamView};
use super::endpoint::Health;
use super::id::{EndpointId, JobId};
use super::job::{Job, JobStatus, JobView, Submission};
use super::script::Script;

/// How long a job lives when its caller does not say.
const DEFAULT_TTL_MS: u64 = 86_400_000;

impl CloudModel {
    /// Takes a job in.
    ///
    /// # Errors
    /// No such endpoint, a paused one, or one without a queue.
    pub fn submit(
        &mut self,
        now_ms: i64,
        endpoint_id: &EndpointId,
        order: Submission,
    ) -> Result<JobView, Refusal> {
        self.advance(now_ms);
        let now_ms = self.now_ms;
        let endpoint = self.endpoint(endpoint_id)?;
        if endpoint.settings.is_load_balancer {
            return Err(Refusal::Invalid(format!(
                "endpoint {endpoint_id} is of type LOAD_BALANCER and has no queue"
            )));
        }
        if endpoint.settings.workers_max == 0 {
            return Err(Refusal::Paused);
        }
        let id = JobId::from(self.dice.job_id(order.is_sync));
        let number = self.number();
        let script = (!self.options.real_workers).then(|| Script::read(&order.input));
        let ttl_ms = order.policy.ttl_ms.unwrap_or(DEFAULT_TTL_MS);
        let expire = self.agenda.set(
            now_ms.saturating_add_unsigned(ttl_ms),
            Timer::Expire(endpoint_id.clone(), id.clone()),
        );
        let visible_at_ms = now_ms + self.faults.late_id_ms(endpoint_id, now_ms);
        let job = Job {
            id: id.clone(),
            number,
            order,
            script,
            status: JobStatus::InQueue,
            submitted_ms: now_ms,
            visible_at_ms,
            waiting_since_ms: now_ms,
            started_ms: None,
            ended_ms: None,
            worker: None,
            attempt: 0,
            retries: 0,
            output: None,
            error: None,
            chunks: std::collections::VecDeque::new(),
            expire: Some(expire),
            timeout: None,
            lease: None,
            forget: None,
        };
        let endpoint = self.endpoint_mut(endpoint_id)?;
        endpoint.last_request_ms = now_ms;
        let mut view = job.view(now_ms);
        view.status = JobStatus::InQueue;
        endpoint.jobs.insert(id.clone(), job);
        endpoint.enqueue(&id, now_ms);
        self.dispatch(endpoint_id);
        self.rescale(endpoint_id);
        Ok(view)
    }

    /// The job as `/status` shows it.
    ///
    /// # Errors
    /// No such endpoint or job.
    pub fn status(
        &mut self,
        now_ms: i64,
        endpoint: &EndpointId,
        job: &JobId,
    ) -> Result<JobView, Refusal> {
        self.advance(now_ms);
        Ok(self.visible_job(endpoint, job)?.view(self.now_ms))
    }

    /// Sets the remaining time to live of a job (`/status?ttl=`).
    ///
    /// # Errors
    /// No such endpoint or job.
    pub fn set_ttl(
        &mut self,
        now_ms: i64,
        endpoint: &EndpointId,
        job: &JobId,
        ttl_ms: u64,
    ) -> Result<(), Refusal> {
        self.advance(now_ms);
        let old = self.visible_job(endpoint, job)?.expire;
        self.agenda.cancel(old);
        let expire = self.agenda.set(
            self.now_ms.saturating_add_unsigned(ttl_ms),
            Timer::Expire(endpoint.clone(), job.clone()),
        );
        if let Some(job) = self.endpoint_mut(endpoint)?.jobs.get_mut(job) {
            job.expire = Some(expire);
        }
        Ok(())
    }

    /// The chunks since the last call, which are then gone, and the job.
    ///
    /// # Errors
    /// No such endpoint or job.
    pub fn stream(
        &mut self,
        now_ms: i64,
        endpoint: &EndpointId,
        job: &JobId,
    ) -> Result<StreamView, Refusal> {
        self.advance(now_ms);
        let now_ms = self.now_ms;
        self.visible_job(endpoint, job)?;
        let job = self
            .endpoint_mut(endpoint)?
            .jobs
            .get_mut(job)
            .ok_or_else(|| Refusal::NoJob(job.clone()))?;
        Ok(StreamView {
            chunks: job.chunks.drain(..).collect(),
            job: job.view(now_ms),
        })
    }

    /// Ends a job; one that has ended stays as it is.
    ///
    /// # Errors
    /// No such endpoint or job.
    pub fn cancel(
        &mut self,
        now_ms: i64,
        endpoint_id: &EndpointId,
        job_id: &JobId,
    ) -> Result<JobView, Refusal> {
        self.advance(now_ms);
        let status = self.visible_job(endpoint_id, job_id)?.status;
        if !status.is_final() {
            self.release_attempt(endpoint_id, job_id, Outcome::Cancelled);
            self.finish_job(endpoint_id, job_id, JobStatus::Cancelled, None, None);
            self.dispatch(endpoint_id);
            self.rescale(endpoint_id);
        }
        Ok(self.visible_job(endpoint_id, job_id)?.view(self.now_ms))
    }

    /// Puts a failed job back into the queue: same id and input, old output gone.
    ///
    /// # Errors
    /// No such endpoint or job, or the job did not fail.
    pub fn retry(
        &mut self,
        now_ms: i64,
        endpoint_id: &EndpointId,
        job_id: &JobId,
    ) -> Result<JobView, Refusal> {
        self.advance(now_ms);
        let now_ms = self.now_ms;
        let job = self.visible_job(endpoint_id, job_id)?;
        if !matches!(job.status, JobStatus::Failed | JobStatus::TimedOut) {
            let status = serde_json::to_value(job.status).unwrap_or_default();
            return Err(Refusal::NotRetriable {
                id: job_id.clone(),
                status: status.as_str().unwrap_or_default().to_owned(),
            });
        }
        let ttl_ms = job.order.policy.ttl_ms.unwrap_or(DEFAULT_TTL_MS);
        let timers = [job.forget, job.expire];
        if self.endpoint(endpoint_id)?.settings.workers_max == 0 {
            return Err(Refusal::Paused);
        }
        for timer in timers {
            self.agenda.cancel(timer);
        }
        let expire = self.agenda.set(
            now_ms.saturating_add_unsigned(ttl_ms),
            Timer::Expire(endpoint_id.clone(), job_id.clone()),
        );
        let number = self.number();
        let endpoint = self.endpoint_mut(endpoint_id)?;
        endpoint.last_request_ms = now_ms;
        if let Some(job) = endpoint.jobs.get_mut(job_id) {
            job.number = number;
            job.submitted_ms = now_ms;
            job.started_ms = None;
            job.ended_ms = None;
            job.worker = None;
            job.retries = 0;
            job.output = None;
            job.error = None;
            job.chunks.clear();
            job.expire = Some(expire);
            job.forget = None;
        }
        endpoint.enqueue(job_id, now_ms);
        self.dispatch(endpoint_id);
        self.rescale(endpoint_id);
        let mut view = self.visible_job(endpoint_id, job_id)?.view(now_ms);
        view.status = JobStatus::InQueue;
        Ok(view)
    }

    /// Drops what is queued and says how many jobs it was.
    ///
    /// # Errors
    /// No such endpoint.
    pub fn purge_queue(&mut self, now_ms: i64, endpoint_id: &EndpointId) -> Result<u64, Refusal> {
        self.advance(now_ms);
        let queued: Vec<JobId> = self
            .endpoint(endpoint_id)?
            .queue
            .values()
            .cloned()
            .collect();
        for job in &queued {
            self.finish_job(endpoint_id, job, JobStatus::Cancelled, None, None);
        }
        self.rescale(endpoint_id);
        Ok(queued.len() as u64)
    }

    /// The counts of `/health`.
    ///
    /// # Errors
    /// No such endpoint.
    pub fn health(&mut self, now_ms: i64, endpoint: &EndpointId) -> Result<Health, Refusal> {
        self.advance(now_ms);
        let now_ms = self.now_ms;
        let endpoint = self.endpoint_mut(endpoint)?;
        endpoint.prune_parked(now_ms);
        Ok(endpoint.health())
    }

    /// All jobs that are kept, in order of submission.
    ///
    /// # Errors
    /// No such endpoint.
    pub fn requests(
        &mut self,
        now_ms: i64,
        endpoint: &EndpointId,
    ) -> Result<Vec<JobView>, Refusal> {
        self.advance(now_ms);
        let mut jobs: Vec<&Job> = self.endpoint(endpoint)?.jobs.values().collect();
        jobs.sort_by_key(|job| job.number);
        Ok(jobs.into_iter().map(|job| job.view(self.now_ms)).collect())
    }

    fn visible_job(&self, endpoint: &EndpointId, job: &JobId) -> Result<&Job, Refusal> {
        self.endpoint(endpoint)?
            .jobs
            .get(job)
            .filter(|found| found.visible_at_ms <= self.now_ms)
            .ok_or_else(|| Refusal::NoJob(job.clone()))
    }

    pub(super) fn wake(&mut self, job: &JobId) {
        self.effects.push(Effect::JobChanged(job.clone()));
    }
}
