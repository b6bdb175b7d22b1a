//! The engine's thread.
//!
//! Batch, handle, commit, answer, carry out. While a commit waits for the disk the next batch forms
//! by itself in the inbox: no timer, and at low load a batch is one event and costs one fsync.
//!
//! A commit that fails must not leave the core ahead of the store, and the core cannot be rolled
//! back: it is thrown away and restored from the store. Whoever submitted in that batch is told
//! that it is unknown; everything else of the batch is fed in again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use bytes::Bytes;
use overspill_core::change::{Change, FinalState};
use overspill_core::effect::{Answer, Delivery, Effect, Out, SubmitRefusal};
use overspill_core::event::Event;
use overspill_core::explain::Reason;
use overspill_core::id::{EndpointId, JobId, PollId, RequestId, WorkerId};
use overspill_core::machine::Core;
use overspill_core::time::Timestamp;
use overspill_core::topology::Topology;
use overspill_store::{Batch, CommitError, Reader, Store, StoreError};
use tokio::sync::oneshot;
use tracing::{debug, error, info, warn};

use super::api::{Payload, TakenJob, WorkerFacts};
use super::journal::{Journal, Steps};
use super::live::{CloudPools, Live};
use super::message::{Message, Query, StoreUse};
use super::world::World;
use crate::clock::ServerClock;
use crate::otel::jobs::{JobSpans, Sources};
use house::House;

/// Events in one batch at most: below the size where one transaction gets slow.
const BATCH_MAX: usize = 512;
/// Inputs kept in memory until they are delivered, in bytes; others are read back.
const INPUT_CACHE_BYTES: usize = 64 << 20;
/// The engine looks up after so long without anything to do.
const IDLE: Duration = Duration::from_millis(200);
/// Ended jobs that are deleted between two batches at most.
const EXPIRE_SLICE: usize = 256;
/// The exit code after a failed fsync.
pub const EXIT_STORAGE: i32 = 74;

/// Starts the thread's work.
pub struct Engine {
    core: Core,
    store: Box<dyn Store>,
    reader: Arc<dyn Reader>,
    world: Box<dyn World>,
    live: Arc<Live>,
    clock: ServerClock,
    inbox: Receiver<Message>,
    topology: Topology,
    /// Workers whose start was ordered and whose end was not told.
    alive: std::collections::BTreeSet<WorkerId>,
    /// A configuration is in the batch; it may change what no change of a record tells of.
    is_configured_anew: bool,
    /// Who waits for an answer: the one who asked, and whoever repeated it in the same batch.
    replies: BTreeMap<RequestId, Vec<oneshot::Sender<Answer>>>,
    polls: BTreeMap<PollId, HeldPoll>,
    inputs: HashMap<JobId, Bytes>,
    input_bytes: usize,
    activity: Arc<Activity>,
    next_request: u64,
    house: House,
    spans: JobSpans,
    journal: Option<Journal>,
}

struct HeldPoll {
    worker: WorkerId,
    room: u32,
    deadline: Timestamp,
    reply: oneshot::Sender<Vec<TakenJob>>,
}

/// How often progress or chunks of live jobs were committed: part of a job's version.
#[derive(Debug, Default)]
pub struct Activity {
    pub(super) by_job: std::sync::Mutex<HashMap<JobId, JobActivity>>,
    pub(super) commits: AtomicU64,
}

/// What was committed of a live job beside its state.
#[derive(Debug, Clone, Copy, Default)]
pub struct JobActivity {
    /// Progress updates and chunks.
    pub(super) notes: u64,
    /// Of them, chunks.
    pub(super) chunks: u64,
}

/// One event of a batch, kept until the commit in case it must be fed in again.
struct Fed {
    event: Event,
    request: Option<RequestId>,
}

#[derive(Default)]
struct Pending {
    events: Vec<Fed>,
    payloads: BTreeMap<u64, Bytes>,
    queries: Vec<Query>,
    uses: Vec<StoreUse>,
    stop: Option<oneshot::Sender<()>>,
    /// Clients' own names for the submissions of this batch.
    keys: Vec<(EndpointId, String, RequestId)>,
    /// Ended jobs that this batch brings back.
    retried: Vec<JobId>,
}

/// What the engine is made of.
pub struct Parts {
    /// Durable state.
    pub store: Box<dyn Store>,
    /// Starts processes, talks to the cloud.
    pub world: Box<dyn World>,
    /// Published facts.
    pub live: Arc<Live>,
    /// The server's clock.
    pub clock: ServerClock,
    /// The configuration.
    pub topology: Topology,
    /// Incarnations that live, as the process host says.
    pub alive: Vec<WorkerId>,
    /// Counts of progress and chunks.
    pub activity: Arc<Activity>,
    /// Where facts and decisions are written down, if they are.
    pub journal: Option<Journal>,
}

impl Engine {
    /// Restores the core and publishes it. The thread's work begins with [`Engine::run`].
    ///
    /// # Errors
    /// When the store cannot be read, or is not what was stored.
    pub fn restore(parts: Parts, inbox: Receiver<Message>) -> Result<Self, StoreError> {
        let reader = parts.store.reader();
        let spans = JobSpans::new(parts.live.tracer.clone());
        let mut engine = Self {
            core: Core::new(),
            store: parts.store,
            reader,
            world: parts.world,
            live: parts.live,
            clock: parts.clock,
            inbox,
            topology: parts.topology,
            alive: parts.alive.into_iter().collect(),
            is_configured_anew: false,
            replies: BTreeMap::new(),
            polls: BTreeMap::new(),
            inputs: HashMap::new(),
            input_bytes: 0,
            activity: parts.activity,
            next_request: 0,
            house: House::new(),
            spans,
            journal: parts.journal,
        };
        engine.rebuild(true)?;
        engine.look_at_disk();
        Ok(engine)
    }

    /// Works until it is told to stop, or until nobody can send any more.
    pub fn run(mut self) {
        loop {
            let Some(mut pending) = self.gather() else {
                return;
            };
            let stop = pending.stop.take();
            let is_idle = pending.events.is_empty();
            self.batch(pending);
            self.keep_house(is_idle);
            if let Some(done) = stop {
                if let Err(error) = self.store.close() {
                    error!(%error, "the store could not be closed; it recovers at the next start");
                }
                if let Some(journal) = &self.journal {
                    journal.sync();
                }
                let _ = done.send(());
                return;
            }
        }
    }

    /// Waits for something to do and takes all there is.
    fn gather(&mut self) -> Option<Pending> {
        let mut pending = Pending::default();
        let wait = self.begin_gathering();
        let received = self.inbox.recv_timeout(wait);
        self.has_gathered(wait);
        pending.events.extend(self.kept_back().map(|event| Fed {
            event,
            request: None,
        }));
        match received {
            Ok(message) => self.accept(message, &mut pending),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
        while pending.events.len() < BATCH_MAX && pending.stop.is_none() {
            match self.inbox.try_recv() {
                Ok(message) => self.accept(message, &mut pending),
                Err(_) => break,
            }
        }
        Some(pending)
    }

    fn accept(&mut self, message: Message, pending: &mut Pending) {
        match message {
            Message::Tell { event, payloads } => {
                pending.keep(payloads);
                self.note_alive(&event);
                if let Some(event) = self.now_or_later(event) {
                    pending.events.push(Fed {
                        event,
                        request: None,
                    });
                }
            }
            Message::Ask {
                make,
                payloads,
                reply,
            } => {
                self.next_request += 1;
                let request = RequestId(self.next_request);
                let event = make(request);
                if let Some(first) = pending.same_submission(&event) {
                    // It gets the first one's answer, and like that one not before the commit.
                    self.replies.entry(first).or_default().push(reply);
                    return;
                }
                let answer = self
                    .known_submission(&event, pending)
                    .or_else(|| self.overtaken_retry(&event, pending));
                if let Some(answer) = answer {
                    let _ = reply.send(answer);
                    return;
                }
                pending.keep(payloads);
                self.replies.insert(request, vec![reply]);
                pending.events.push(Fed {
                    event,
                    request: Some(request),
                });
            }
            Message::Take {
                poll,
                worker,
                room,
                is_idle,
                deadline,
                reply,
            } => {
                let held = HeldPoll {
                    worker,
                    room,
                    deadline,
                    reply,
                };
                self.polls.insert(poll, held);
                let event = Event::TakeWaiting {
                    poll,
                    worker,
                    room,
                    deadline,
                    is_idle,
                };
                pending.events.push(Fed {
                    event,
                    request: None,
                });
            }
            Message::Query(query) => pending.queries.push(query),
            Message::Store(store_use) => pending.uses.push(store_use),
            Message::Stop(done) => pending.stop = Some(done),
        }
    }

    /// A client's own name for a submission that is stored already.
    fn known_submission(&mut self, event: &Event, pending: &mut Pending) -> Option<Answer> {
        let Event::Submitted { request, job } = event else {
            return None;
        };
        let key = &job.idempotency.as_ref()?.key;
        match self.store.idempotent(job.endpoint, key) {
            Ok(Some(known)) => Some(Answer::Submitted { job: known.job }),
            Ok(None) => {
                pending.keys.push((job.endpoint, key.clone(), *request));
                None
            }
            Err(error) => {
                warn!(%error, "an idempotency key could not be looked up");
                Some(Answer::Unavailable)
            }
        }
    }

    /// A retry of a generation that is not the job's last any more: someone else was first. The core
    /// does not hold ended jobs, so the store is asked, and what this batch retries is remembered.
    fn overtaken_retry(&self, event: &Event, pending: &mut Pending) -> Option<Answer> {
        let Event::RetryAsked {
            job, generation, ..
        } = event
        else {
            return None;
        };
        // It may live again already, whatever else this batch does to it.
        if pending.retried.contains(&job.id) || self.core.job(job.id).is_some() {
            return Some(Answer::SubmitRefused(SubmitRefusal::DuplicateId));
        }
        match self.reader.ended(job.id) {
            Ok(Some(ended))
                if ended.generation == *generation
                    && matches!(ended.state, FinalState::Failed | FinalState::TimedOut) =>
            {
                pending.retried.push(job.id);
                None
            }
            Ok(_) => Some(Answer::SubmitRefused(SubmitRefusal::DuplicateId)),
            Err(error) => {
                warn!(%error, "a job to be retried could not be looked up");
                Some(Answer::Unavailable)
            }
        }
    }

    fn batch(&mut self, pending: Pending) {
        let now = self.now();
        if let Some(journal) = &mut self.journal {
            journal.offer(&self.core);
        }
        let (out, steps) = self.handle(now, &pending.events);
        match self.commit(&out.changes, &pending.payloads) {
            Ok(()) => self.publish(&out.changes, &pending.payloads),
            Err(cause) => {
                self.recover(pending, &cause);
                return;
            }
        }
        self.tell_spans(&pending.events, &out.changes);
        self.note_and_carry_out(now, steps, out);
        for query in pending.queries {
            query(&self.core);
        }
        for store_use in pending.uses {
            store_use(self.store.as_mut());
        }
    }

    /// Lets the core handle these facts, or that time passed where there are none.
    fn handle(&mut self, now: Timestamp, events: &[Fed]) -> (Out, Steps) {
        let (mut out, mut steps) = (Out::default(), Steps::default());
        let is_journaled = self.journal.is_some();
        for fed in events {
            self.core.handle(now, fed.event.clone(), &mut out);
            if is_journaled {
                steps.note(Some(fed.event.clone()), &out.changes, &out.effects);
            }
        }
        if events.is_empty() {
            // Where nothing is due, nothing comes of it.
            let is_due = self.core.next_wakeup().is_some_and(|at| at <= now);
            self.core.handle(now, Event::TimePassed, &mut out);
            if is_journaled && is_due {
                steps.note(Some(Event::TimePassed), &out.changes, &out.effects);
            }
        }
        (out, steps)
    }

    /// After the commit: writes down what was handled, and does what is to be done.
    fn note_and_carry_out(&mut self, now: Timestamp, steps: Steps, out: Out) {
        if let Some(journal) = &mut self.journal {
            journal.note(now, steps, out.changes, out.effects.clone());
        }
        self.carry_out(out.effects);
    }

    fn commit(
        &mut self,
        changes: &[Change],
        payloads: &BTreeMap<u64, Bytes>,
    ) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let batch = Batch { changes, payloads };
        let result = self.store.commit(&batch);
        result.map_err(|error| {
            if matches!(error, CommitError::Fatal(_)) {
                die(&error.into_cause());
            }
            error.into_cause()
        })
    }

    /// After a failed or unknown commit: restore, tell the submitters, feed the rest in again.
    fn recover(&mut self, pending: Pending, cause: &StoreError) {
        warn!(error = %cause, "a commit failed: the core is restored from the store");
        self.look_at_disk();
        if let Err(error) = self.rebuild(false) {
            die(&error);
        }
        let mut again = Pending {
            payloads: pending.payloads,
            queries: pending.queries,
            uses: pending.uses,
            ..Pending::default()
        };
        for fed in pending.events {
            let is_submission = matches!(
                fed.event,
                Event::Submitted { .. }
                    | Event::RetryAsked { .. }
                    | Event::TtlSet { .. }
                    | Event::LimitsSet { .. }
                    | Event::ScalerSet { .. }
                    | Event::MaxWaitSet { .. }
                    | Event::CapsSet { .. }
                    | Event::CardReturnAsked { .. }
            );
            if is_submission {
                self.answer(fed.request, &Answer::Unavailable);
            } else if !matches!(fed.event, Event::TakeWaiting { .. }) {
                again.events.push(fed);
            }
        }
        let held: Vec<Event> = self
            .polls
            .iter()
            .map(|(&poll, held)| Event::TakeWaiting {
                poll,
                worker: held.worker,
                room: held.room,
                deadline: held.deadline,
                is_idle: false,
            })
            .collect();
        again.events.extend(held.into_iter().map(|event| Fed {
            event,
            request: None,
        }));
        // A second failure in a row answers everyone: the disk is full, or worse.
        let now = self.now();
        let (out, steps) = self.handle(now, &again.events);
        match self.commit(&out.changes, &again.payloads) {
            Ok(()) => {
                self.publish(&out.changes, &again.payloads);
                self.tell_spans(&again.events, &out.changes);
                self.note_and_carry_out(now, steps, out);
            }
            Err(cause) => {
                warn!(error = %cause, "the repeated commit failed too");
                if let Err(error) = self.rebuild(false) {
                    die(&error);
                }
                for fed in &again.events {
                    self.answer(fed.request, &Answer::Unavailable);
                }
                for held in std::mem::take(&mut self.polls).into_values() {
                    let _ = held.reply.send(Vec::new());
                }
            }
        }
        for query in again.queries {
            query(&self.core);
        }
        for store_use in again.uses {
            store_use(self.store.as_mut());
        }
    }

    /// The core as the store has it; the same code at start and after a failed commit.
    fn rebuild(&mut self, is_start: bool) -> Result<(), StoreError> {
        let snapshot = self.store.restore()?;
        let (jobs, attempts) = (snapshot.jobs.len(), snapshot.attempts.len());
        let now = self.now();
        if let Some(journal) = &mut self.journal {
            journal.restored(now, is_start, snapshot.clone());
        }
        self.core = Core::restore(snapshot, now);
        let topology = Box::new(self.topology.clone());
        let workers = self.alive.iter().copied().collect();
        let boot = [
            Event::Configured { topology },
            Event::WorkersAlive { workers },
        ]
        .map(|event| Fed {
            event,
            request: None,
        });
        let (mut out, mut steps) = self.handle(now, &boot);
        self.core.resume(&mut out);
        steps.note(None, &out.changes, &out.effects);
        self.commit(&out.changes, &BTreeMap::new())?;
        self.publish_all();
        self.publish(&out.changes, &BTreeMap::new());
        self.tell_spans(&[], &out.changes);
        self.note_and_carry_out(now, steps, out);
        info!(jobs, attempts, "the core is restored");
        Ok(())
    }

    /// Remembers who lives, for a restore.
    fn note_alive(&mut self, event: &Event) {
        match event {
            Event::WorkerExited { worker, .. } => {
                self.alive.remove(worker);
            }
            Event::Configured { topology } => {
                self.topology = (**topology).clone();
                self.is_configured_anew = true;
            }
            _ => {}
        }
    }

    fn publish_all(&mut self) {
        let workers = self.core.workers().map(|record| {
            let facts = WorkerFacts {
                endpoint: record.endpoint,
                takes_jobs: record.takes_jobs(),
            };
            (record.id, facts)
        });
        self.live.set_workers(workers.collect());
        let pools = self.core.pools().map(|pool| {
            let record = &pool.record;
            (record.id, (record.endpoint, record.key.clone()))
        });
        self.live.set_pools(pools.collect());
        let configured = self.core.pools().filter_map(|pool| {
            let spec = pool.runpod()?;
            Some((pool.record.id, spec.clone()))
        });
        self.live.set_cloud_pools(CloudPools {
            configured: configured.collect(),
            left: self.core.left_pools().collect(),
        });
        self.live.set_endpoints(self.core.endpoint_names(), |id| {
            self.core
                .pools()
                .filter(|pool| pool.record.endpoint == id)
                .filter_map(|pool| pool.runpod().map(|spec| spec.endpoint.clone()))
                .collect()
        });
        self.world.published();
    }

    fn publish(&mut self, changes: &[Change], payloads: &BTreeMap<u64, Bytes>) {
        self.activity.commits.fetch_add(1, Ordering::Relaxed);
        self.live.tally.count(changes);
        let mut changed = Vec::new();
        let mut is_structural = false;
        {
            let mut activity = self
                .activity
                .by_job
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            for change in changes {
                match change {
                    Change::JobPut { job, input, .. } => {
                        changed.push(job.id);
                        if let Some(bytes) = input.and_then(|input| payloads.get(&input.handle))
                            && self.input_bytes + bytes.len() <= INPUT_CACHE_BYTES
                        {
                            self.input_bytes += bytes.len();
                            self.inputs.insert(job.id, bytes.clone());
                        }
                    }
                    Change::JobEnded(ended) => {
                        changed.push(ended.id);
                        activity.remove(&ended.id);
                        if let Some(bytes) = self.inputs.remove(&ended.id) {
                            self.input_bytes -= bytes.len();
                        }
                    }
                    Change::AttemptPut(attempt) => changed.push(attempt.id.job),
                    Change::ChunkAdded { attempt, .. } => {
                        let notes = activity.entry(attempt.job).or_default();
                        notes.notes += 1;
                        notes.chunks += 1;
                        changed.push(attempt.job);
                    }
                    Change::ProgressPut { attempt, .. } => {
                        activity.entry(attempt.job).or_default().notes += 1;
                        changed.push(attempt.job);
                    }
                    Change::WorkerPut(record) => {
                        let facts = WorkerFacts {
                            endpoint: record.endpoint,
                            takes_jobs: record.takes_jobs(),
                        };
                        self.live.put_worker(record.id, facts);
                    }
                    Change::WorkerGone { worker } => {
                        self.live.remove_worker(*worker);
                        self.live.forget_stop(*worker);
                    }
                    Change::EndpointPut(_) | Change::PoolPut(_) => is_structural = true,
                    Change::WebhookPut(_) => self.live.webhook_changed(),
                    _ => {}
                }
            }
        }
        if is_structural || std::mem::take(&mut self.is_configured_anew) {
            self.publish_all();
        }
        self.live.changed(changed.into_iter());
    }

    /// Lets spans and log lines be made of what is committed.
    fn tell_spans(&mut self, events: &[Fed], changes: &[Change]) {
        let sources = Sources {
            core: &self.core,
            live: &self.live,
            reader: self.reader.as_ref(),
        };
        for fed in events {
            self.spans.hear(&fed.event, &sources);
        }
        self.spans.note(changes, &sources);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Answer { request, answer } => {
                    self.answer(Some(request), &answer);
                }
                Effect::Deliver { poll, worker, jobs } => self.deliver(poll, worker, jobs),
                Effect::TakeEmpty { poll } => {
                    if let Some(held) = self.polls.remove(&poll) {
                        let _ = held.reply.send(Vec::new());
                    }
                }
                Effect::StopJob { worker, job } => self.live.stop_job(worker, job),
                Effect::ReleasePolls { worker } => self.live.release_stop(worker),
                Effect::Decided { endpoint, reason } => {
                    if matches!(reason, Reason::WorkerBackOff { .. }) {
                        warn!(%endpoint, %reason, "a worker ends again and again");
                    } else if matches!(
                        reason,
                        Reason::MinHeld { .. } | Reason::CardQuarantined { .. }
                    ) {
                        warn!(%endpoint, "{reason}");
                    } else {
                        debug!(%endpoint, code = reason.code(), %reason, "decided");
                    }
                    let at = self.core.now();
                    self.live.decided(at, endpoint, reason);
                }
                Effect::SpawnWorker { worker, .. } => {
                    // Not before its start is ordered: a worker whose record was committed, and nobody
                    // knows it, is none, and after the restore its card gets another.
                    self.alive.insert(worker);
                    self.world.carry_out(effect, None);
                }
                Effect::BudgetAlert(alert) => {
                    let (threshold, period) = (alert.threshold, alert.period);
                    let whose = crate::webhook::whose(&alert);
                    let (spent, cap) = (alert.spent, alert.cap);
                    warn!(
                        %spent, %cap, "{threshold} % of the cap on {whose} of this {period} is spent"
                    );
                }
                Effect::CloudSubmit { attempt, .. } => {
                    self.spans.submitting(attempt, self.core.now());
                    let input = self.input(attempt.job);
                    self.world.carry_out(effect, input);
                }
                _ => self.world.carry_out(effect, None),
            }
        }
    }

    /// Answers everyone who waits for this request.
    fn answer(&mut self, request: Option<RequestId>, answer: &Answer) {
        let waiting = request.and_then(|request| self.replies.remove(&request));
        for reply in waiting.into_iter().flatten() {
            let _ = reply.send(answer.clone());
        }
    }

    /// Answers a held job-take; what cannot be handed over goes back to the core at once.
    fn deliver(&mut self, poll: PollId, worker: WorkerId, deliveries: Vec<Delivery>) {
        let ids: Vec<JobId> = deliveries.iter().map(|d| d.attempt.job).collect();
        let jobs: Option<Vec<TakenJob>> = deliveries
            .into_iter()
            .map(|delivery| {
                let input = self.input(delivery.attempt.job)?;
                Some(TakenJob {
                    attempt: delivery.attempt,
                    input,
                    extras: delivery.extras,
                    webhook: delivery.webhook,
                    trace: delivery.trace,
                })
            })
            .collect();
        let Some(held) = self.polls.remove(&poll) else {
            return self.not_delivered(worker, ids);
        };
        let Some(jobs) = jobs else {
            let _ = held.reply.send(Vec::new());
            return self.not_delivered(worker, ids);
        };
        if held.reply.send(jobs).is_err() {
            self.not_delivered(worker, ids);
        }
    }

    fn not_delivered(&mut self, worker: WorkerId, jobs: Vec<JobId>) {
        let event = Event::DeliverFailed { worker, jobs };
        let pending = Pending {
            events: vec![Fed {
                event,
                request: None,
            }],
            ..Pending::default()
        };
        self.batch(pending);
    }

    /// A job's input, from memory or read back.
    fn input(&self, job: JobId) -> Option<Bytes> {
        if let Some(bytes) = self.inputs.get(&job) {
            return Some(bytes.clone());
        }
        self.reader.input(job).unwrap_or_else(|error| {
            error!(%job, %error, "a job's input cannot be read");
            None
        })
    }
}

impl Pending {
    /// A submission of this batch that the client gave the same name.
    fn same_submission(&self, event: &Event) -> Option<RequestId> {
        let Event::Submitted { job, .. } = event else {
            return None;
        };
        let key = &job.idempotency.as_ref()?.key;
        let same = |(endpoint, known, _): &&(EndpointId, String, RequestId)| {
            *endpoint == job.endpoint && known == key
        };
        self.keys.iter().find(same).map(|(_, _, first)| *first)
    }

    fn keep(&mut self, payloads: Vec<Payload>) {
        for payload in payloads {
            self.payloads
                .insert(payload.reference.handle, payload.bytes);
        }
    }
}

#[cfg(test)]
fn die(cause: &dyn std::error::Error) -> ! {
    std::panic::resume_unwind(Box::new(Stopped(cause.to_string())))
}

/// A failed fsync may have lost what was written, and the next one may succeed as if nothing had
/// been: nothing may be acknowledged any more.
#[cfg(not(test))]
fn die(cause: &dyn std::error::Error) -> ! {
    error!(
        error = %cause,
        "storage_fsync_failed: the process ends, and recovers at its next start"
    );
    crate::telemetry::flush();
    std::process::exit(EXIT_STORAGE)
}

/// The engine's inbox, for whoever makes handles.
pub type Inbox = Sender<Message>;

mod house;
#[cfg(test)]
mod steps;
#[cfg(test)]
pub(super) mod tests;

#[cfg(test)]
pub(crate) use steps::Stopped;
