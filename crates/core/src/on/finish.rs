//! Results, progress and chunks; and how attempts and jobs end.

use crate::attempt::{Attempt, CloudPhase, Place};
use crate::change::{Change, EndedAttempt, EndedJob, FinalState, Site, Terms};
use crate::device::Device;
use crate::effect::{Answer, Out, Stale};
use crate::event::{Outcome, PayloadRef};
use crate::id::{AttemptId, JobId, RequestId, WorkerId};
use crate::job::{Job, JobState};
use crate::ledger::{Entry, EntryKind};
use crate::machine::Core;
use crate::money::NanoUsd;
use crate::time::DurationMs;
use crate::topology::EndpointSpec;
use crate::webhook::Webhook;

/// The error code of a job whose attempts vanished too often: it may be what ends its workers.
const QUARANTINED: &str = "worker_lost";
/// Such a job stays, with its input and the story of its attempts, for at least this long, so that it
/// can be looked at and retried.
const QUARANTINE: DurationMs = DurationMs::from_secs(7 * 24 * 3_600);

/// How a job ends, on its way into its record.
pub(crate) struct Ending {
    pub(crate) state: FinalState,
    pub(crate) outcome: &'static str,
    pub(crate) output: PayloadRef,
    pub(crate) error: Option<String>,
    pub(crate) error_code: Option<&'static str>,
    pub(crate) body_sha256: Option<String>,
    /// What the cloud says of the execution time.
    pub(crate) execution: Option<DurationMs>,
}

impl Ending {
    /// From a worker's own words.
    pub(crate) fn reported(outcome: Outcome, body_sha256: Option<String>) -> Self {
        let (state, word, output, error) = match outcome {
            Outcome::Completed { output } => (FinalState::Completed, "completed", output, None),
            Outcome::Failed { error, output } => {
                (FinalState::Failed, "failed", output, Some(error))
            }
        };
        Self {
            state,
            outcome: word,
            output,
            error,
            error_code: None,
            body_sha256,
            execution: None,
        }
    }

    /// Without a worker's word.
    pub(crate) fn ours(state: FinalState, code: &'static str, error: Option<String>) -> Self {
        Self {
            state,
            outcome: code,
            output: PayloadRef::default(),
            error,
            error_code: Some(code),
            body_sha256: None,
            execution: None,
        }
    }
}

impl Core {
    #[expect(clippy::too_many_arguments, reason = "the fact's own fields")]
    pub(crate) fn on_finished(
        &mut self,
        request: RequestId,
        worker: WorkerId,
        job: JobId,
        outcome: Outcome,
        stops: bool,
        body_sha256: String,
        out: &mut Out,
    ) {
        let held = match self.holder(worker, job) {
            Ok(held) => held,
            Err(stale) => {
                if let Some(worker) = self.workers.get_mut(&worker) {
                    worker.heard_of(job, self.now);
                }
                return self.answer_stale(request, worker, job, stale, out);
            }
        };
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.results += 1;
        }
        if let Some(seat) = self.seat_of(worker) {
            seat.failures = 0;
        }
        if self.counts(held) && self.out_of_memory(held, &outcome, out) {
            out.answer(request, Answer::Recorded);
        } else if self.counts(held) {
            self.end_job(held, Ending::reported(outcome, Some(body_sha256)), out);
            out.answer(request, Answer::Recorded);
        } else {
            self.end_attempt(held, "fenced", out);
            self.answer_stale(request, worker, job, Stale::Fenced, out);
        }
        if stops {
            // SDKs that are told so in the output do not end by themselves.
            self.drain_worker(worker, out);
        }
    }

    pub(crate) fn on_progress_made(
        &mut self,
        request: RequestId,
        worker: WorkerId,
        job: JobId,
        progress: PayloadRef,
        out: &mut Out,
    ) {
        match self.holder(worker, job) {
            Ok(attempt) if self.counts(attempt) => {
                out.change(Change::ProgressPut { attempt, progress });
                out.answer(request, Answer::Noted);
            }
            Ok(_) => out.answer(request, Answer::Stale(Stale::Fenced)),
            Err(stale) => out.answer(request, Answer::Stale(stale)),
        }
    }

    pub(crate) fn on_chunk_made(
        &mut self,
        request: RequestId,
        worker: WorkerId,
        job: JobId,
        chunk: PayloadRef,
        out: &mut Out,
    ) {
        match self.holder(worker, job) {
            Ok(attempt) if self.counts(attempt) => {
                out.change(Change::ChunkAdded { attempt, chunk });
                out.answer(request, Answer::Noted);
            }
            Ok(_) => out.answer(request, Answer::Stale(Stale::Fenced)),
            Err(stale) => out.answer(request, Answer::Stale(stale)),
        }
    }

    /// The attempt of `job` that `worker` holds, or why its posts do not count.
    fn holder(&self, worker: WorkerId, job: JobId) -> Result<AttemptId, Stale> {
        let is_live = self.jobs.get(job).is_some();
        let Some(worker) = self.workers.get(&worker) else {
            return Err(if is_live {
                Stale::UnknownWorker
            } else {
                Stale::NotLive
            });
        };
        worker.attempt_of(job).ok_or(if is_live {
            Stale::NotYours
        } else {
            Stale::NotLive
        })
    }

    /// Whether an attempt's result would be recorded.
    pub(crate) fn counts(&self, id: AttemptId) -> bool {
        let is_open = self
            .attempts
            .get(&id)
            .is_some_and(|attempt| attempt.fenced.is_none());
        is_open
            && self.jobs.get(id.job).is_some_and(|job| {
                job.generation == id.generation
                    && job.state == JobState::Attempted { number: id.number }
            })
    }

    fn answer_stale(
        &self,
        request: RequestId,
        worker: WorkerId,
        job: JobId,
        stale: Stale,
        out: &mut Out,
    ) {
        if stale != Stale::NotLive {
            out.change(Change::Audited {
                at: self.now,
                what: "result_stale".into(),
                object: job.to_string(),
                detail: format!("{stale:?}, from worker {worker}"),
            });
        }
        out.answer(request, Answer::Stale(stale));
    }

    /// The one place where a job with a live attempt that counts gets its final state.
    pub(crate) fn end_job(&mut self, id: AttemptId, ending: Ending, out: &mut Out) {
        let Some(attempt) = self.attempts.get(&id).cloned() else {
            return;
        };
        let ran = attempt.started_at.map(|at| self.now.since(at));
        let execution = ending.execution.or(ran);
        if ending.state == FinalState::Completed
            && let Some(execution) = execution
        {
            let class = self.jobs.get(id.job).map_or(0, |job| job.class);
            self.learn(attempt.endpoint, |history| {
                history.finished(class, execution);
            });
            self.learn_slots(&attempt, class, execution, out);
            self.book_saving(&attempt, execution, out);
        }
        self.end_attempt_after(id, ending.outcome, execution, out);
        self.record_end(id.job, Some((&attempt, execution)), ending, out);
    }

    /// Ends a job that is queued, or whose attempt is dealt with apart.
    pub(crate) fn record_end(
        &mut self,
        id: JobId,
        last: Option<(&Attempt, Option<DurationMs>)>,
        ending: Ending,
        out: &mut Out,
    ) {
        let Some(job) = self.jobs.remove(id) else {
            return;
        };
        let retention = DurationMs::from_secs(24 * 3_600);
        let mut keep = retention;
        let mut terms = None;
        let is_quarantined = ending.error_code == Some(QUARANTINED);
        if let Some(endpoint) = self.endpoints.get_mut(&job.endpoint) {
            endpoint.queue.remove(&job.queue_key());
            keep = endpoint
                .spec
                .as_ref()
                .map_or(retention, |spec| spec.retention);
            if matches!(ending.state, FinalState::Failed | FinalState::TimedOut) {
                terms = terms_of(&job, endpoint.spec.as_ref());
            }
        }
        let (attempt, execution) = last.unzip();
        let started_at = attempt.and_then(|attempt| attempt.started_at);
        let ended = EndedJob {
            id,
            endpoint: job.endpoint,
            generation: job.generation,
            state: ending.state,
            submitted_at: job.submitted_at,
            ended_at: self.now,
            delay: started_at.map(|at| at.since(job.submitted_at)),
            execution: execution.flatten(),
            attempts: job.attempts,
            worker: attempt.and_then(worker_name),
            pool: attempt.map(|attempt| attempt.pool),
            output: ending.output,
            error: ending.error,
            error_code: ending.error_code.map(Into::into),
            body_sha256: ending.body_sha256,
            expires_at: self.now
                + if is_quarantined {
                    keep.max(QUARANTINE)
                } else {
                    keep
                },
            webhook: job.webhook().map(Into::into),
            terms,
            trace: job.trace().map(Into::into),
            region: job.region,
        };
        let webhook = Webhook::of(&ended, job.input_bytes);
        out.change(Change::JobEnded(ended));
        if let Some(webhook) = webhook {
            out.change(Change::WebhookPut(Box::new(webhook)));
        }
        self.dirty.insert(job.endpoint);
    }

    /// Fails a job whose attempt is over already.
    pub(crate) fn fail_job(
        &mut self,
        id: AttemptId,
        error: String,
        code: &'static str,
        out: &mut Out,
    ) {
        self.record_end(
            id.job,
            None,
            Ending::ours(FinalState::Failed, code, Some(error)),
            out,
        );
    }

    /// An attempt is over: its slot, card and cloud place are free again.
    pub(crate) fn end_attempt(&mut self, id: AttemptId, outcome: &str, out: &mut Out) {
        self.end_attempt_after(id, outcome, None, out);
    }

    /// The same, for one that ran for so long; else it ran until now.
    fn end_attempt_after(
        &mut self,
        id: AttemptId,
        outcome: &str,
        execution: Option<DurationMs>,
        out: &mut Out,
    ) {
        let Some(attempt) = self.attempts.remove(&id) else {
            return;
        };
        self.book_share(&attempt, execution, out);
        if outcome != "not_delivered" {
            self.book_electricity(&attempt, execution, out);
        }
        let mut site = None;
        match attempt.place {
            Place::Local { worker } => {
                if let Some(worker) = self.workers.get_mut(&worker) {
                    worker.held.remove(&id);
                    worker.heard_at = self.now;
                    // What was recorded never comes back, and what was not delivered was never there.
                    if outcome != "completed" && outcome != "not_delivered" {
                        worker.drop_job(id.job, self.now);
                    }
                    let (device, worker_id) = (worker.record.device, worker.record.id);
                    if let Some(device) = self.devices.get_mut(&device) {
                        device.leave(worker_id);
                    }
                    self.touch_device(device);
                }
                self.end_if_done(worker, out);
            }
            Place::Cloud(_) => {
                if let Some(pool) = self.pools.get_mut(&attempt.pool) {
                    pool.outstanding.remove(&id);
                    pool.cloud.cancelling.remove(&id);
                    if let Place::Cloud(CloudPhase::Running { worker, .. }) = &attempt.place {
                        pool.cloud.fleet.freed(self.now, worker.as_deref());
                    }
                    let because = pool.cloud.chosen.remove(&id);
                    let length =
                        execution.or_else(|| attempt.started_at.map(|at| self.now.since(at)));
                    if outcome == "completed"
                        && let Some(length) = length
                    {
                        pool.cloud.pace.finished(length);
                    }
                    let spec = pool.metered();
                    site = Some(Site {
                        gpu: spec.and_then(|spec| spec.gpu.clone()),
                        region: spec.and_then(|spec| spec.region),
                        because,
                    });
                }
                self.release(attempt.pool, out);
            }
        }
        self.dirty.insert(attempt.endpoint);
        out.change(Change::AttemptEnded(EndedAttempt {
            id,
            pool: attempt.pool,
            worker: worker_name(&attempt),
            leased_at: attempt.leased_at,
            started_at: attempt.started_at,
            ended_at: self.now,
            outcome: outcome.into(),
            site: site.filter(|site| *site != Site::default()).map(Box::new),
        }));
    }

    /// A job whose attempt is over goes back to its old place in the queue.
    pub(crate) fn requeue(&mut self, id: AttemptId, out: &mut Out) {
        let Some(slot) = self.jobs.slot(id.job) else {
            return;
        };
        let Some(job) = self.jobs.get_mut(id.job) else {
            return;
        };
        if job.generation != id.generation
            || job.state != (JobState::Attempted { number: id.number })
        {
            return;
        }
        job.state = JobState::Queued;
        out.change(Change::JobPut {
            job: job.clone(),
            input: None,
            idempotency: None,
        });
        let (endpoint, key) = (job.endpoint, job.queue_key());
        if let Some(endpoint) = self.endpoints.get_mut(&endpoint) {
            endpoint.queue.insert(key, slot);
        }
        self.dirty.insert(endpoint);
    }

    /// An attempt vanished with its worker: the job is tried again, or fails for good. Where its endpoint is
    /// not configured, nobody says how often, and it waits until it is.
    pub(crate) fn lose(&mut self, id: AttemptId, outcome: &'static str, out: &mut Out) {
        let Some(attempt) = self.attempts.get(&id) else {
            return;
        };
        let max = self
            .endpoints
            .get(&attempt.endpoint)
            .and_then(|endpoint| endpoint.spec.as_ref())
            .map_or(u32::MAX, |spec| spec.max_attempts);
        let counts = self.counts(id);
        self.end_attempt(id, outcome, out);
        if !counts {
            return;
        }
        let lost = self.jobs.get_mut(id.job).map_or(0, |job| {
            job.lost += 1;
            u32::from(job.lost)
        });
        if lost >= max {
            let error = format!(
                "{outcome}: {lost} of at most {max} attempts vanished; the job is set aside with \
                 their story, and runs again only when it is retried by hand"
            );
            self.fail_job(id, error, QUARANTINED, out);
        } else {
            self.requeue(id, out);
        }
    }

    fn book_saving(&mut self, attempt: &Attempt, execution: DurationMs, out: &mut Out) {
        if attempt.is_cloud() {
            return;
        }
        let Some(endpoint) = self.endpoints.get(&attempt.endpoint) else {
            return;
        };
        let prices = endpoint.pools.iter().filter_map(|id| {
            let pool = self.pools.get(id)?;
            let amount = pool.runpod()?.price?.over(execution);
            Some(amount.as_nanos() / i64::from(pool.slots()))
        });
        let Some(nanos) = prices.min() else { return };
        let entry = Entry {
            at: self.now,
            endpoint: attempt.endpoint,
            pool: attempt.pool,
            job: Some(attempt.id.job),
            kind: EntryKind::Saved,
            worker_time: execution,
            amount: NanoUsd::from_nanos(nanos),
            gpu: self
                .card_of(attempt)
                .map(|card| card.spec.name.as_str().into()),
            region: None,
            key: attempt.key,
        };
        self.book(entry, out);
    }

    /// What the card here took for an attempt, whatever came of it: its part of the card's power.
    fn book_electricity(
        &mut self,
        attempt: &Attempt,
        execution: Option<DurationMs>,
        out: &mut Out,
    ) {
        let (Some(price), Some(started_at)) = (self.electricity, attempt.started_at) else {
            return;
        };
        let Some(card) = self.card_of(attempt) else {
            return;
        };
        let Some(milliwatts) = card.power_mw() else {
            return;
        };
        // The others on the card used it too, as far as is known now.
        let together: u32 = card.users.values().map(|usage| usage.attempts).sum();
        let gpu = Some(card.spec.name.as_str().into());
        let execution = execution.unwrap_or_else(|| self.now.since(started_at));
        let amount = price.of_power(milliwatts / together.max(1), execution);
        if amount <= NanoUsd::ZERO {
            return;
        }
        let entry = Entry {
            at: self.now,
            endpoint: attempt.endpoint,
            pool: attempt.pool,
            job: Some(attempt.id.job),
            kind: EntryKind::Electricity,
            worker_time: execution,
            amount,
            gpu,
            region: None,
            key: attempt.key,
        };
        self.book(entry, out);
    }

    /// The card that an attempt of ours runs on.
    fn card_of(&self, attempt: &Attempt) -> Option<&Device> {
        let worker = self.workers.get(&attempt.local_worker()?)?;
        self.devices.get(&worker.record.device)
    }
}

/// What a retry needs to be submitted as this job was; none where the endpoint's defaults say it.
fn terms_of(job: &Job, spec: Option<&EndpointSpec>) -> Option<Box<Terms>> {
    let terms = Terms {
        execution_timeout: job.execution_timeout,
        ttl: job.expires_at.since(job.submitted_at),
        class: job.class,
        low_priority: job.low_priority,
        extras: job.extras.as_ref().and_then(|e| e.worker.clone()),
    };
    let is_default = spec.is_some_and(|spec| {
        let default = Terms {
            execution_timeout: spec.execution_timeout,
            ttl: spec.ttl,
            class: 0,
            low_priority: false,
            extras: None,
        };
        terms == default
    });
    (!is_default).then(|| Box::new(terms))
}

fn worker_name(attempt: &Attempt) -> Option<String> {
    match &attempt.place {
        Place::Local { worker } => Some(worker.to_string()),
        Place::Cloud(CloudPhase::Running { worker, .. }) => worker.clone(),
        Place::Cloud(_) => None,
    }
}
