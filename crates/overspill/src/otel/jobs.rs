//! The spans and log lines of jobs, made of what was committed, on the engine's thread.
//!
//! A job has a span for each wait in the queue, each attempt and each submission to RunPod. All are children
//! of its submission's span, whose id is stored with the job; an attempt is linked to it too, as the
//! conventions for messaging ask. Nothing of this is durable: a wait or an attempt that spans a restart is
//! made of the records that the restart found.

use std::collections::{BTreeSet, HashMap};

use overspill_core::change::{Change, EndedAttempt, EndedJob, FinalState};
use overspill_core::event::Event;
use overspill_core::id::{AttemptId, EndpointId, JobId, PoolId};
use overspill_core::machine::Core;
use overspill_core::time::Timestamp;
use overspill_store::Reader;
use tracing::{Level, debug, enabled, warn};

use super::context::TraceContext;
use super::export::Tracer;
use super::span::{self, Kind, OPERATION, Span};
use crate::engine::live::Live;

/// The log's target for what becomes of jobs, at the level `debug`.
pub const TARGET: &str = "overspill::jobs";

/// How attempts end that nothing is wrong with.
const SOUND: &[&str] = &[
    "completed",
    "cancelled",
    "taken_back",
    "stopped",
    "not_delivered",
    "fenced",
];

/// See the module.
#[derive(Debug, Default)]
pub struct JobSpans {
    tracer: Tracer,
    /// Live attempts whose wait is told.
    leased: BTreeSet<AttemptId>,
    /// Since when jobs wait again.
    freed: HashMap<JobId, Timestamp>,
    /// Since when submissions are on their way.
    submitting: HashMap<AttemptId, Timestamp>,
}

/// Where facts about jobs are looked up.
pub struct Sources<'a> {
    /// What is live.
    pub core: &'a Core,
    /// Names.
    pub live: &'a Live,
    /// What is over.
    pub reader: &'a dyn Reader,
}

/// What a job's spans have in common.
struct Known {
    /// Where its spans belong, if they are wanted.
    context: Option<TraceContext>,
    /// Its trace, recorded or not.
    trace_id: String,
    endpoint: String,
    submitted_at: Timestamp,
}

impl JobSpans {
    /// Spans for this tracer.
    #[must_use]
    pub fn new(tracer: Tracer) -> Self {
        Self {
            tracer,
            ..Self::default()
        }
    }

    /// Whether anybody wants to know.
    fn is_wanted(&self) -> bool {
        self.tracer.is_on() || enabled!(target: TARGET, Level::DEBUG)
    }

    /// Takes in what was committed.
    pub fn note(&mut self, changes: &[Change], sources: &Sources<'_>) {
        if !self.is_wanted() {
            return;
        }
        let ended: HashMap<JobId, &EndedJob> = changes
            .iter()
            .filter_map(|change| match change {
                Change::JobEnded(ended) => Some((ended.id, ended)),
                _ => None,
            })
            .collect();
        for change in changes {
            match change {
                Change::JobPut {
                    job,
                    input: Some(input),
                    ..
                } => {
                    if let Some(known) = self.known(job.id, job.generation, &ended, sources) {
                        debug!(
                            target: TARGET, job_id = %job.id, endpoint = known.endpoint,
                            trace_id = known.trace_id, input_bytes = input.bytes, "a job came in"
                        );
                    }
                }
                Change::AttemptPut(attempt) => {
                    // One that was begun before this batch is told of already, or was by an earlier process.
                    let is_new = attempt.leased_at == sources.core.now();
                    if is_new && self.leased.insert(attempt.id) {
                        self.begun(attempt.id, attempt.pool, attempt.leased_at, &ended, sources);
                    }
                }
                Change::AttemptEnded(attempt) => self.over(attempt, &ended, sources),
                Change::JobEnded(job) => self.ended(job, &ended, sources),
                _ => {}
            }
        }
    }

    /// A submission to RunPod is on its way.
    pub fn submitting(&mut self, attempt: AttemptId, now: Timestamp) {
        if self.is_wanted() {
            self.submitting.insert(attempt, now);
        }
    }

    /// Takes in a fact that is committed: what became of a submission to RunPod.
    pub fn hear(&mut self, event: &Event, sources: &Sources<'_>) {
        let (attempt, outcome, detail) = match event {
            Event::CloudSubmitted { attempt, cloud_job } => (*attempt, "accepted", cloud_job),
            Event::CloudRefused {
                attempt, detail, ..
            } => (*attempt, "refused", detail),
            Event::CloudSubmitUnknown { attempt, detail } => (*attempt, "unknown", detail),
            _ => return,
        };
        let Some(start) = self.submitting.remove(&attempt) else {
            return;
        };
        let Some(known) = self.known(attempt.job, attempt.generation, &HashMap::new(), sources)
        else {
            return;
        };
        debug!(
            target: TARGET, job_id = %attempt.job, attempt = attempt.number, endpoint = known.endpoint,
            trace_id = known.trace_id, outcome, detail, "RunPod was asked to take a job"
        );
        let Some(context) = &known.context else {
            return;
        };
        let own = context.under(span::of_cloud_submission(attempt));
        let mut span = Span::of_job(
            "cloud submission",
            Kind::Client,
            own,
            &known.endpoint,
            attempt.job,
        )
        .lasting(start, sources.core.now());
        span.parent = Some(span::of_attempt(attempt));
        span.text(OPERATION, "send");
        span.int("attempt", attempt.number.into());
        span.text("outcome", outcome);
        if outcome == "accepted" {
            span.text("cloud_job_id", detail);
        } else {
            span.error = Some(format!("{outcome}: {detail}"));
        }
        self.tracer.send(span);
    }

    /// An attempt began: the wait before it is over.
    fn begun(
        &mut self,
        attempt: AttemptId,
        pool: PoolId,
        at: Timestamp,
        ended: &HashMap<JobId, &EndedJob>,
        sources: &Sources<'_>,
    ) {
        let freed = self.freed.remove(&attempt.job);
        let Some(known) = self.known(attempt.job, attempt.generation, ended, sources) else {
            return;
        };
        let pool = sources.live.pool(pool).unwrap_or_default();
        debug!(
            target: TARGET, job_id = %attempt.job, attempt = attempt.number, endpoint = known.endpoint,
            pool, trace_id = known.trace_id, "an attempt began"
        );
        let Some(context) = &known.context else {
            return;
        };
        let since = match freed {
            _ if attempt.number == 1 => known.submitted_at,
            Some(since) => since,
            None => last_end(attempt, sources).unwrap_or(known.submitted_at),
        };
        let mut span = wait(context, &known, attempt).lasting(since, at);
        span.text("pool", &pool);
        self.tracer.send(span);
    }

    fn over(
        &mut self,
        attempt: &EndedAttempt,
        ended: &HashMap<JobId, &EndedJob>,
        sources: &Sources<'_>,
    ) {
        let id = attempt.id;
        self.leased.remove(&id);
        self.submitting.remove(&id);
        if sources.core.job(id.job).is_some() {
            self.freed.insert(id.job, attempt.ended_at);
        }
        let Some(known) = self.known(id.job, id.generation, ended, sources) else {
            return;
        };
        let pool = sources.live.pool(attempt.pool).unwrap_or_default();
        let worker = attempt.worker.as_deref().unwrap_or_default();
        let outcome = attempt.outcome.as_str();
        debug!(
            target: TARGET, job_id = %id.job, attempt = id.number, endpoint = known.endpoint, pool,
            worker, outcome, trace_id = known.trace_id, "an attempt is over"
        );
        let Some(context) = &known.context else {
            return;
        };
        let own = context.under(span::of_attempt(id));
        let mut span = Span::of_job("attempt", Kind::Consumer, own, &known.endpoint, id.job)
            .lasting(attempt.leased_at, attempt.ended_at);
        span.parent = Some(context.span_id);
        span.link = Some(context.span_id);
        span.text(OPERATION, "process");
        span.int("attempt", id.number.into());
        span.int("generation", id.generation.into());
        span.text("pool", &pool);
        if !worker.is_empty() {
            span.text("worker", worker);
        }
        span.text("outcome", outcome);
        if let Some(at) = attempt.started_at {
            span.events.push((at, "execution started"));
        }
        if !SOUND.contains(&outcome) {
            let words = ended.get(&id.job).and_then(|job| job.error.as_deref());
            span.error = Some(short(words.unwrap_or(outcome)));
        }
        self.tracer.send(span);
    }

    fn ended(&mut self, job: &EndedJob, ended: &HashMap<JobId, &EndedJob>, sources: &Sources<'_>) {
        let freed = self.freed.remove(&job.id);
        let Some(known) = self.known(job.id, job.generation, ended, sources) else {
            return;
        };
        let state = match job.state {
            FinalState::Completed => "completed",
            FinalState::Failed => "failed",
            FinalState::Cancelled => "cancelled",
            FinalState::TimedOut => "timed_out",
        };
        debug!(
            target: TARGET, job_id = %job.id, endpoint = known.endpoint, state,
            attempts = job.attempts, trace_id = known.trace_id, "a job ended"
        );
        // It ended in the queue: nobody took it up.
        let never_begun = (job.attempts == 0).then_some(job.submitted_at);
        let (Some(context), Some(since)) = (&known.context, never_begun.or(freed)) else {
            return;
        };
        let attempt = AttemptId {
            job: job.id,
            generation: job.generation,
            number: job.attempts + 1,
        };
        let mut span = wait(context, &known, attempt).lasting(since, job.ended_at);
        span.text("outcome", state);
        if matches!(job.state, FinalState::Failed | FinalState::TimedOut) {
            span.error = Some(short(job.error.as_deref().unwrap_or(state)));
        }
        self.tracer.send(span);
    }

    /// What is known of a generation of a job, live or over.
    fn known(
        &self,
        job: JobId,
        generation: u32,
        ended: &HashMap<JobId, &EndedJob>,
        sources: &Sources<'_>,
    ) -> Option<Known> {
        let live = sources
            .core
            .job(job)
            .filter(|job| job.generation == generation);
        if let Some(job) = live {
            return Some(self.facts(job.trace(), job.endpoint, job.submitted_at, sources));
        }
        let same = |ended: &&&EndedJob| ended.generation == generation;
        if let Some(job) = ended.get(&job).filter(same) {
            let facts = self.facts(
                job.trace.as_deref(),
                job.endpoint,
                job.submitted_at,
                sources,
            );
            return Some(facts);
        }
        // A fenced attempt outlives its job.
        match sources.reader.ended(job) {
            Ok(found) => {
                let job = found.filter(|job| job.generation == generation)?;
                Some(self.facts(
                    job.trace.as_deref(),
                    job.endpoint,
                    job.submitted_at,
                    sources,
                ))
            }
            Err(error) => {
                warn!(%job, %error, "a job's trace cannot be looked up");
                None
            }
        }
    }

    fn facts(
        &self,
        stored: Option<&str>,
        endpoint: EndpointId,
        submitted_at: Timestamp,
        sources: &Sources<'_>,
    ) -> Known {
        let directory = sources.live.directory();
        let name = directory.get(endpoint).map(|entry| entry.name.clone());
        let any = stored.and_then(TraceContext::stored);
        Known {
            trace_id: any.map(|any| any.trace_id_text()).unwrap_or_default(),
            context: self.tracer.wanted(stored),
            endpoint: name.unwrap_or_default(),
            submitted_at,
        }
    }
}

fn wait(context: &TraceContext, known: &Known, before: AttemptId) -> Span {
    let own = context.under(span::of_wait(before));
    let mut span = Span::of_job(
        "queue wait",
        Kind::Internal,
        own,
        &known.endpoint,
        before.job,
    );
    span.parent = Some(context.span_id);
    span.text(OPERATION, "receive");
    span.int("attempt", before.number.into());
    span
}

/// When the attempt before ended, as the store has it: after a restart nobody remembers.
fn last_end(attempt: AttemptId, sources: &Sources<'_>) -> Option<Timestamp> {
    let story = sources.reader.story(attempt.job).ok()?;
    let before = story
        .iter()
        .filter(|over| over.id.generation == attempt.generation);
    before.map(|over| over.ended_at).max()
}

/// An error's first line, cut: the whole is in the job's record.
fn short(error: &str) -> String {
    error
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(200)
        .collect()
}
