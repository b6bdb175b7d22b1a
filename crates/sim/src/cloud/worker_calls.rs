//! The calls of real workers: take, ping, progress, chunk, result, and the end of their process.

use super::CloudModel;
use super::agenda::Timer;
use super::call::{Effect, JobOrder, Outcome, Refusal};
use super::id::{EndpointId, JobId, WorkerId};
use super::job::{JobStatus, Payload};
use super::placement::StopReason;
use super::script::Ending;
use super::worker::WorkerState;

/// The largest chunk of a stream in bytes; longer text is cut into several.
const CHUNK_BYTES: usize = 1_000_000;

impl CloudModel {
    /// Up to `room` jobs for this worker. Its first call makes it ready.
    ///
    /// # Errors
    /// No such endpoint, or the worker has been stopped.
    pub fn take_jobs(
        &mut self,
        now_ms: i64,
        endpoint_id: &EndpointId,
        worker_id: &WorkerId,
        room: usize,
    ) -> Result<Vec<JobOrder>, Refusal> {
        self.advance(now_ms);
        let endpoint = self.endpoint(endpoint_id)?;
        let worker = endpoint
            .worker(worker_id)
            .ok_or_else(|| Refusal::NoWorker(worker_id.clone()))?;
        match worker.state {
            WorkerState::Initializing => self.worker_ready(endpoint_id, worker_id),
            WorkerState::Ready => {}
            WorkerState::Throttled | WorkerState::Unhealthy => {
                return Err(Refusal::NoWorker(worker_id.clone()));
            }
        }
        let mut orders = Vec::new();
        while orders.len() < room {
            let endpoint = self.endpoint(endpoint_id)?;
            let can_take = endpoint
                .worker(worker_id)
                .is_some_and(|worker| !worker.is_draining);
            let Some(job_id) = endpoint.queue.values().next().filter(|_| can_take).cloned() else {
                break;
            };
            self.start_attempt(endpoint_id, worker_id, &job_id);
            let order = &self
                .endpoint(endpoint_id)?
                .jobs
                .get(&job_id)
                .map(|job| &job.order);
            let is_held = self
                .endpoint(endpoint_id)?
                .worker(worker_id)
                .is_some_and(|worker| worker.jobs.contains_key(&job_id));
            if let Some(order) = order.filter(|_| is_held) {
                orders.push(JobOrder {
                    id: job_id,
                    input: order.input.clone(),
                    webhook: order.webhook.clone(),
                    s3_config: order.s3_config.clone(),
                });
            }
        }
        self.rescale(endpoint_id);
        Ok(orders)
    }

    /// Gives back jobs that could not be written to the worker.
    pub fn untake(&mut self, now_ms: i64, endpoint_id: &EndpointId, jobs: &[JobId]) {
        self.advance(now_ms);
        let now_ms = self.now_ms;
        for job_id in jobs {
            let Some(endpoint) = self.endpoints.get_mut(endpoint_id) else {
                return;
            };
            let Some(job) = endpoint
                .jobs
                .get_mut(job_id)
                .filter(|job| job.status == JobStatus::InProgress)
            else {
                continue;
            };
            let worker = job.worker.take();
            let timers = [job.timeout.take(), job.lease.take()];
            endpoint.in_progress = endpoint.in_progress.saturating_sub(1);
            endpoint.enqueue(job_id, now_ms);
            for timer in timers {
                self.agenda.cancel(timer);
            }
            if let Some(worker) = worker {
                self.end_run(endpoint_id, &worker, job_id, Outcome::Lost);
            }
        }
        self.dispatch(endpoint_id);
    }

    /// The worker lives and holds these jobs: their leases are renewed. One that is still held long after it was
    /// to stop costs the worker its life, as on the cloud.
    ///
    /// # Errors
    /// No such endpoint, or the worker has been stopped.
    pub fn ping(
        &mut self,
        now_ms: i64,
        endpoint_id: &EndpointId,
        worker_id: &WorkerId,
        jobs: &[JobId],
    ) -> Result<(), Refusal> {
        self.advance(now_ms);
        let now_ms = self.now_ms;
        let lease_ms = self.options.redispatch_after_ms;
        let endpoint = self.endpoint(endpoint_id)?;
        let worker = endpoint
            .worker(worker_id)
            .ok_or_else(|| Refusal::NoWorker(worker_id.clone()))?;
        let is_stuck = jobs
            .iter()
            .filter_map(|job| worker.jobs.get(job)?.unwanted_since_ms)
            .any(|since| now_ms - since > lease_ms);
        if is_stuck {
            self.stop_worker(endpoint_id, worker_id, StopReason::Killed);
            self.rescale(endpoint_id);
            return Ok(());
        }
        for job_id in jobs {
            let Some(job) = self
                .endpoints
                .get_mut(endpoint_id)
                .and_then(|endpoint| endpoint.jobs.get_mut(job_id))
                .filter(|job| {
                    job.status == JobStatus::InProgress && job.worker.as_ref() == Some(worker_id)
                })
            else {
                continue;
            };
            let attempt = job.attempt;
            let old = job.lease.take();
            self.agenda.cancel(old);
            job.lease = Some(self.agenda.set(
                now_ms + lease_ms,
                Timer::Lease(endpoint_id.clone(), job_id.clone(), attempt),
            ));
        }
        // Jobs that were to stop and are gone from the pings have stopped.
        let stopped: Vec<JobId> = self
            .endpoint(endpoint_id)?
            .worker(worker_id)
            .map(|worker| {
                let is_gone = |(id, running): &(&JobId, &super::worker::Running)| {
                    running.unwanted_since_ms.is_some() && !jobs.contains(id)
                };
                worker
                    .jobs
                    .iter()
                    .filter(is_gone)
                    .map(|(id, _)| id.clone())
                    .collect()
            })
            .unwrap_or_default();
        for job in stopped {
            self.end_run(endpoint_id, worker_id, &job, Outcome::Cancelled);
        }
        Ok(())
    }

    /// Jobs that this worker is to stop; each is given out once.
    ///
    /// # Errors
    /// No such endpoint, or the worker has been stopped.
    pub fn jobs_to_stop(
        &mut self,
        now_ms: i64,
        endpoint: &EndpointId,
        worker: &WorkerId,
    ) -> Result<Vec<JobId>, Refusal> {
        self.advance(now_ms);
        self.endpoint(endpoint)?;
        self.with_worker(endpoint, worker, |worker| {
            std::mem::take(&mut worker.to_stop)
        })
        .ok_or_else(|| Refusal::NoWorker(worker.clone()))
    }

    /// Whether the worker exists and takes jobs.
    pub fn is_taking(&mut self, now_ms: i64, endpoint: &EndpointId, worker: &WorkerId) -> bool {
        self.advance(now_ms);
        self.endpoints
            .get(endpoint)
            .and_then(|endpoint| endpoint.worker(worker))
            .is_some_and(|worker| !worker.is_draining)
    }

    /// A progress update; one for a job that has ended counts for nothing.
    ///
    /// # Errors
    /// No such endpoint or job.
    pub fn post_progress(
        &mut self,
        now_ms: i64,
        endpoint: &EndpointId,
        job_id: &JobId,
        output: Payload,
    ) -> Result<(), Refusal> {
        self.advance(now_ms);
        let job = self
            .endpoint_mut(endpoint)?
            .jobs
            .get_mut(job_id)
            .ok_or_else(|| Refusal::NoJob(job_id.clone()))?;
        if job.status == JobStatus::InProgress {
            job.output = Some(output);
            self.wake(job_id);
        }
        Ok(())
    }

    /// A chunk of a stream; one for a job that has ended counts for nothing.
    ///
    /// # Errors
    /// No such endpoint or job.
    pub fn post_chunk(
        &mut self,
        now_ms: i64,
        endpoint: &EndpointId,
        job_id: &JobId,
        chunk: &Payload,
    ) -> Result<(), Refusal> {
        self.advance(now_ms);
        let job = self
            .endpoint_mut(endpoint)?
            .jobs
            .get_mut(job_id)
            .ok_or_else(|| Refusal::NoJob(job_id.clone()))?;
        if job.status == JobStatus::InProgress {
            job.chunks.extend(split(chunk));
            self.wake(job_id);
        }
        Ok(())
    }

    /// The end of an attempt: `Ok` with the output, `Err` with the error.
    ///
    /// # Errors
    /// No such endpoint or job.
    pub fn post_result(
        &mut self,
        now_ms: i64,
        endpoint_id: &EndpointId,
        worker_id: &WorkerId,
        job_id: &JobId,
        result: Result<Payload, Payload>,
    ) -> Result<(), Refusal> {
        self.advance(now_ms);
        let job = self
            .endpoint(endpoint_id)?
            .jobs
            .get(job_id)
            .ok_or_else(|| Refusal::NoJob(job_id.clone()))?;
        // A late result of an earlier worker still counts while nobody else has finished the job.
        let attempt = job.attempt;
        let ending = result.map_or_else(Ending::Error, Ending::Output);
        self.end_with(endpoint_id, worker_id, job_id, attempt, ending);
        Ok(())
    }

    /// The result was larger than the cloud takes: the job is COMPLETED without output.
    ///
    /// # Errors
    /// No such endpoint or job.
    pub fn result_too_large(
        &mut self,
        now_ms: i64,
        endpoint: &EndpointId,
        worker: &WorkerId,
        job: &JobId,
    ) -> Result<(), Refusal> {
        self.post_result(now_ms, endpoint, worker, job, Ok(super::script::raw("{}")))
    }

    /// The worker's process has ended. Status 0 is a worker that wants to be replaced; anything else is a crash.
    pub fn process_exited(
        &mut self,
        now_ms: i64,
        endpoint_id: &EndpointId,
        worker_id: &WorkerId,
        code: Option<i32>,
    ) {
        self.advance(now_ms);
        let known = self.with_worker(endpoint_id, worker_id, |worker| worker.has_process = false);
        if known.is_none() {
            return;
        }
        let is_draining = self
            .endpoints
            .get(endpoint_id)
            .and_then(|e| e.worker(worker_id))
            .is_some_and(|worker| worker.is_draining);
        if code == Some(0) || is_draining {
            self.stop_worker(endpoint_id, worker_id, StopReason::Ordered);
            self.rescale(endpoint_id);
        } else {
            self.crash_worker(endpoint_id, worker_id);
        }
        self.effects.push(Effect::WorkerChanged(worker_id.clone()));
    }
}

/// Cuts a text chunk over the limit into several; other values stay whole.
fn split(chunk: &Payload) -> Vec<Payload> {
    if chunk.get().len() <= CHUNK_BYTES {
        return vec![chunk.clone()];
    }
    let Ok(text) = serde_json::from_str::<String>(chunk.get()) else {
        return vec![chunk.clone()];
    };
    let mut parts = Vec::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let mut end = rest.len().min(CHUNK_BYTES);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (part, tail) = rest.split_at(end);
        parts.push(super::script::payload(&serde_json::json!(part)));
        rest = tail;
    }
    parts
}
