//! Jobs and workers brought together: who gets which job, the steps of a modelled run, every way an attempt ends.

use super::CloudModel;
use super::agenda::Timer;
use super::call::{Effect, Execution, Outcome};
use super::id::{EndpointId, JobId, WorkerId};
use super::job::{JobStatus, Payload};
use super::placement::StopReason;
use super::script::{Ending, Step, payload};
use super::worker::Running;

/// The cloud's words for a job whose second worker was lost too.
const LOST_TWICE: &str = "job timed out after 1 retries";
/// The cloud's words for a job that ran for too long.
const RAN_TOO_LONG: &str = "executionTimeout exceeded";

impl CloudModel {
    /// Gives waiting jobs to modelled workers with room, oldest job to oldest worker; real workers are told that
    /// there is work.
    pub(super) fn dispatch(&mut self, endpoint_id: &EndpointId) {
        loop {
            let Ok(endpoint) = self.endpoint(endpoint_id) else {
                return;
            };
            let Some(job) = endpoint.queue.values().next().cloned() else {
                return;
            };
            if self.options.real_workers {
                self.effects.push(Effect::WorkOffered(endpoint_id.clone()));
                return;
            }
            let slots = endpoint.slots();
            let Some(worker) = endpoint.workers.values().find(|w| w.free_slots(slots) > 0) else {
                return;
            };
            let worker = worker.id.clone();
            self.start_attempt(endpoint_id, &worker, &job);
        }
    }

    /// Moves a job from the queue to a worker.
    pub(super) fn start_attempt(
        &mut self,
        endpoint_id: &EndpointId,
        worker_id: &WorkerId,
        job_id: &JobId,
    ) {
        let now_ms = self.now_ms;
        let lateness = self.dice.lateness_ms(self.options.timeout_lateness);
        let lease_ms = now_ms + self.options.redispatch_after_ms;
        let is_real = self.options.real_workers;
        let hangs = !is_real && self.faults.hangs(endpoint_id, now_ms);
        let execution = self.executions.len();
        let Some(endpoint) = self.endpoints.get_mut(endpoint_id) else {
            return;
        };
        let default_timeout = endpoint.settings.execution_timeout_ms;
        let Some(job) = endpoint.jobs.get_mut(job_id) else {
            return;
        };
        endpoint.queue.remove(&job.number);
        job.status = JobStatus::InProgress;
        job.started_ms = Some(now_ms);
        job.worker = Some(worker_id.clone());
        job.attempt += 1;
        job.output = None;
        job.error = None;
        let attempt = job.attempt;
        endpoint.in_progress += 1;
        let timeout_ms = job
            .order
            .policy
            .execution_timeout_ms
            .unwrap_or(default_timeout);
        let timeout_ms = timeout_ms.saturating_add(lateness);
        job.timeout = (!hangs).then(|| {
            self.agenda.set(
                now_ms.saturating_add_unsigned(timeout_ms),
                Timer::ExecutionTimeout(endpoint_id.clone(), job_id.clone(), attempt),
            )
        });
        let is_empty = job.order.input.get().trim() == "{}";
        let first_step = job.script.as_ref().and_then(|script| script.step(0));
        // A dropped `{}` reaches the worker without an input: it refuses the job and tells nobody.
        let is_dropped = is_empty && self.faults.drops_empty_input(endpoint_id, now_ms);
        if is_real || is_dropped {
            job.lease = Some(self.agenda.set(
                lease_ms,
                Timer::Lease(endpoint_id.clone(), job_id.clone(), attempt),
            ));
        }
        self.effects.push(Effect::JobChanged(job_id.clone()));
        if is_dropped {
            return;
        }
        let step = first_step.filter(|_| !hangs).map(|(after_ms, _)| {
            self.agenda.set(
                now_ms.saturating_add_unsigned(after_ms),
                Timer::Step(
                    endpoint_id.clone(),
                    worker_id.clone(),
                    job_id.clone(),
                    attempt,
                    0,
                ),
            )
        });
        self.executions.push(Execution {
            job: job_id.clone(),
            worker: worker_id.clone(),
            endpoint: endpoint_id.clone(),
            attempt,
            started_ms: now_ms,
            ended_ms: None,
            outcome: Outcome::Running,
        });
        if let Some(worker) = endpoint.worker_mut(worker_id) {
            worker.idle_since_ms = None;
            worker.idle_epoch += 1;
            worker.jobs.insert(
                job_id.clone(),
                Running {
                    attempt,
                    execution,
                    step,
                    hangs,
                    unwanted_since_ms: None,
                },
            );
        }
    }

    pub(super) fn on_step(
        &mut self,
        endpoint_id: &EndpointId,
        worker_id: &WorkerId,
        job_id: &JobId,
        attempt: u32,
        index: usize,
    ) {
        let now_ms = self.now_ms;
        let Some(endpoint) = self.endpoints.get_mut(endpoint_id) else {
            return;
        };
        let is_running = endpoint
            .worker(worker_id)
            .and_then(|worker| worker.jobs.get(job_id))
            .is_some_and(|running| running.attempt == attempt);
        if !is_running {
            return;
        }
        let Some(job) = endpoint
            .jobs
            .get_mut(job_id)
            .filter(|job| job.attempt == attempt)
        else {
            // The job has expired; its worker ran on and is free now.
            self.end_run(endpoint_id, worker_id, job_id, Outcome::Unwanted);
            return;
        };
        let Some(script) = job.script.clone() else {
            return;
        };
        let is_wanted = job.status == JobStatus::InProgress;
        match script.step(index) {
            Some((_, Step::Progress(number))) if is_wanted => {
                job.output = Some(script.progress_body(number));
                self.wake(job_id);
            }
            Some((_, Step::Chunk(number))) if is_wanted => {
                job.chunks.push_back(script.chunk_body(number));
                self.wake(job_id);
            }
            Some((_, Step::Finish)) => {
                let ending = script.ending(&job.order.input, worker_id.as_str());
                self.end_with(endpoint_id, worker_id, job_id, attempt, ending);
                return;
            }
            _ => {}
        }
        let Some((after_ms, _)) = script.step(index + 1) else {
            return;
        };
        let Ok(endpoint) = self.endpoint(endpoint_id) else {
            return;
        };
        let started_ms = endpoint.jobs.get(job_id).and_then(|job| job.started_ms);
        let at_ms = started_ms
            .unwrap_or(now_ms)
            .saturating_add_unsigned(after_ms);
        let key = self.agenda.set(
            at_ms.max(now_ms),
            Timer::Step(
                endpoint_id.clone(),
                worker_id.clone(),
                job_id.clone(),
                attempt,
                index + 1,
            ),
        );
        let running = self
            .endpoints
            .get_mut(endpoint_id)
            .and_then(|endpoint| endpoint.worker_mut(worker_id))
            .and_then(|worker| worker.jobs.get_mut(job_id));
        if let Some(running) = running {
            running.step = Some(key);
        }
    }

    /// A worker hands in the end of an attempt. Only the first end of the current attempt counts.
    pub(super) fn end_with(
        &mut self,
        endpoint_id: &EndpointId,
        worker_id: &WorkerId,
        job_id: &JobId,
        attempt: u32,
        ending: Ending,
    ) {
        let cap = |is_sync: bool, options: &super::CloudOptions| {
            if is_sync {
                options.max_runsync_bytes
            } else {
                options.max_run_bytes
            }
        };
        let Ok(endpoint) = self.endpoint(endpoint_id) else {
            return;
        };
        let found = endpoint
            .jobs
            .get(job_id)
            .filter(|job| job.attempt == attempt && job.status == JobStatus::InProgress)
            .map(|job| cap(job.order.is_sync, &self.options));
        let Some(most_bytes) = found else {
            self.end_run(endpoint_id, worker_id, job_id, Outcome::Unwanted);
            return;
        };
        let (status, outcome, output, error) = match ending {
            Ending::Output(output) => {
                let is_lost = output.get().len() > most_bytes
                    || self.faults.loses_result(endpoint_id, self.now_ms);
                // A handler that returned `{}` posts nothing: the client sees no output either.
                let output = Some(output).filter(|o| !is_lost && o.get() != "{}");
                (JobStatus::Completed, Outcome::Completed, output, None)
            }
            Ending::Error(error) => (JobStatus::Failed, Outcome::Failed, None, Some(error)),
        };
        self.finish_job(endpoint_id, job_id, status, output, error);
        self.end_run(endpoint_id, worker_id, job_id, outcome);
    }

    /// Takes a job off its worker, which is then free for the next.
    pub(super) fn end_run(
        &mut self,
        endpoint_id: &EndpointId,
        worker_id: &WorkerId,
        job_id: &JobId,
        outcome: Outcome,
    ) {
        let now_ms = self.now_ms;
        let Some(endpoint) = self.endpoints.get_mut(endpoint_id) else {
            return;
        };
        let Some(worker) = endpoint.worker_mut(worker_id) else {
            return;
        };
        let Some(running) = worker.jobs.remove(job_id) else {
            return;
        };
        worker.to_stop.retain(|id| id != job_id);
        self.agenda.cancel(running.step);
        close(&mut self.executions, running.execution, now_ms, outcome);
        self.after_work(endpoint_id, worker_id);
    }

    /// What a worker does once it has less to do.
    fn after_work(&mut self, endpoint_id: &EndpointId, worker_id: &WorkerId) {
        self.dispatch(endpoint_id);
        let Some(endpoint) = self.endpoints.get_mut(endpoint_id) else {
            return;
        };
        let Some(worker) = endpoint.worker_mut(worker_id) else {
            return;
        };
        if worker.is_idle() {
            if worker.is_draining {
                self.stop_worker(endpoint_id, worker_id, StopReason::Ordered);
            } else {
                self.mark_idle(endpoint_id, worker_id);
            }
        }
        self.rescale(endpoint_id);
    }

    /// Ends the current attempt of a job from outside: a modelled worker is free at once, a real one is told.
    pub(super) fn release_attempt(
        &mut self,
        endpoint_id: &EndpointId,
        job_id: &JobId,
        outcome: Outcome,
    ) {
        let now_ms = self.now_ms;
        let is_real = self.options.real_workers;
        let Some(endpoint) = self.endpoints.get_mut(endpoint_id) else {
            return;
        };
        let Some(worker_id) = endpoint.jobs.get(job_id).and_then(|job| job.worker.clone()) else {
            return;
        };
        let Some(worker) = endpoint.worker_mut(&worker_id) else {
            return;
        };
        let Some(running) = worker.jobs.get_mut(job_id) else {
            return;
        };
        if is_real {
            running.unwanted_since_ms = Some(now_ms);
            close(&mut self.executions, running.execution, now_ms, outcome);
            worker.to_stop.push(job_id.clone());
            self.effects.push(Effect::WorkerChanged(worker_id));
        } else {
            // The job is final before the worker looks for the next, so it is not dispatched again.
            let running = worker.jobs.remove(job_id);
            let is_hung = running.as_ref().is_some_and(|running| running.hangs);
            let (is_idle, is_draining) = (worker.is_idle(), worker.is_draining);
            if let Some(running) = running {
                self.agenda.cancel(running.step);
                close(&mut self.executions, running.execution, now_ms, outcome);
            }
            if is_hung {
                // It does not hear the cancel: the platform ends it.
                self.stop_worker(endpoint_id, &worker_id, StopReason::Killed);
            } else if is_idle {
                if is_draining {
                    self.stop_worker(endpoint_id, &worker_id, StopReason::Ordered);
                } else {
                    self.mark_idle(endpoint_id, &worker_id);
                }
            }
        }
    }

    /// Makes a job final: clocks, counters, webhook, retention.
    pub(super) fn finish_job(
        &mut self,
        endpoint_id: &EndpointId,
        job_id: &JobId,
        status: JobStatus,
        output: Option<Payload>,
        error: Option<Payload>,
    ) {
        let now_ms = self.now_ms;
        let Some(endpoint) = self.endpoints.get_mut(endpoint_id) else {
            return;
        };
        let Some(job) = endpoint.jobs.get_mut(job_id) else {
            return;
        };
        match job.status {
            JobStatus::InQueue => {
                endpoint.queue.remove(&job.number);
            }
            JobStatus::InProgress => endpoint.in_progress = endpoint.in_progress.saturating_sub(1),
            _ => return,
        }
        match status {
            JobStatus::Completed => endpoint.counters.completed += 1,
            JobStatus::Failed => endpoint.counters.failed += 1,
            _ => {}
        }
        job.status = status;
        job.ended_ms = Some(now_ms);
        job.output = output;
        job.error = error;
        self.agenda.cancel(job.timeout.take());
        self.agenda.cancel(job.lease.take());
        let keep_ms = if job.order.is_sync {
            self.options.keep_runsync_ms
        } else {
            self.options.keep_run_ms
        };
        let keep_ms = self
            .faults
            .early_expiry_ms(endpoint_id, now_ms)
            .map_or(keep_ms, |early| early.min(keep_ms));
        job.forget = Some(self.agenda.set(
            now_ms + keep_ms,
            Timer::Forget(endpoint_id.clone(), job_id.clone()),
        ));
        self.queue_webhook(endpoint_id, job_id);
        self.wake(job_id);
    }

    pub(super) fn on_execution_timeout(
        &mut self,
        endpoint_id: &EndpointId,
        job_id: &JobId,
        attempt: u32,
    ) {
        let worker = self.endpoint(endpoint_id).ok().and_then(|endpoint| {
            let job = endpoint.jobs.get(job_id)?;
            let is_current = job.attempt == attempt && job.status == JobStatus::InProgress;
            is_current.then(|| job.worker.clone()).flatten()
        });
        let Some(worker) = worker else {
            return;
        };
        let error = payload(&serde_json::json!(RAN_TOO_LONG));
        self.finish_job(endpoint_id, job_id, JobStatus::Failed, None, Some(error));
        if let Some(worker) = self
            .endpoints
            .get_mut(endpoint_id)
            .and_then(|e| e.worker_mut(&worker))
            && let Some(running) = worker.jobs.remove(job_id)
        {
            self.agenda.cancel(running.step);
            close(
                &mut self.executions,
                running.execution,
                self.now_ms,
                Outcome::TimedOut,
            );
        }
        self.stop_worker(endpoint_id, &worker, StopReason::Killed);
        self.rescale(endpoint_id);
    }

    /// Nobody has heard of the attempt: once it goes to another worker, then the job fails.
    pub(super) fn on_lease(&mut self, endpoint_id: &EndpointId, job_id: &JobId, attempt: u32) {
        let now_ms = self.now_ms;
        let Some(endpoint) = self.endpoints.get_mut(endpoint_id) else {
            return;
        };
        let Some(job) = endpoint
            .jobs
            .get_mut(job_id)
            .filter(|job| job.attempt == attempt && job.status == JobStatus::InProgress)
        else {
            return;
        };
        job.lease = None;
        let worker_id = job.worker.clone();
        if job.retries == 0 {
            job.retries = 1;
            self.agenda.cancel(job.timeout.take());
            endpoint.in_progress = endpoint.in_progress.saturating_sub(1);
            endpoint.counters.retried += 1;
            endpoint.enqueue(job_id, now_ms);
            self.wake(job_id);
        } else {
            let error = payload(&serde_json::json!(LOST_TWICE));
            self.finish_job(endpoint_id, job_id, JobStatus::Failed, None, Some(error));
        }
        if let Some(worker_id) = worker_id {
            self.end_run(endpoint_id, &worker_id, job_id, Outcome::Lost);
        }
        self.dispatch(endpoint_id);
        self.rescale(endpoint_id);
    }

    /// The jobs of a worker that is gone: each is looked for until its lease lapses.
    pub(super) fn lose_jobs(&mut self, endpoint_id: &EndpointId, lost: Vec<(JobId, Running)>) {
        let now_ms = self.now_ms;
        let lapse_ms = now_ms + self.options.redispatch_after_ms;
        for (job_id, running) in lost {
            self.agenda.cancel(running.step);
            close(
                &mut self.executions,
                running.execution,
                now_ms,
                Outcome::Lost,
            );
            let Some(job) = self
                .endpoints
                .get_mut(endpoint_id)
                .and_then(|endpoint| endpoint.jobs.get_mut(&job_id))
                .filter(|job| {
                    job.attempt == running.attempt && job.status == JobStatus::InProgress
                })
            else {
                continue;
            };
            self.agenda.cancel(job.lease.take());
            job.lease = Some(self.agenda.set(
                lapse_ms,
                Timer::Lease(endpoint_id.clone(), job_id.clone(), running.attempt),
            ));
        }
    }
}

/// Writes the end of an attempt into the log, unless it has one.
pub(super) fn close(log: &mut [Execution], index: usize, now_ms: i64, outcome: Outcome) {
    if let Some(execution) = log.get_mut(index).filter(|e| e.outcome == Outcome::Running) {
        execution.ended_ms = Some(now_ms);
        execution.outcome = outcome;
    }
}
