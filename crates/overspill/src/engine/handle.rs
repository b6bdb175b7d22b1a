//! How others reach the engine: a cheap handle that sends into its inbox and reads what is
//! committed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use overspill_core::change::FinalState;
use overspill_core::effect::{Answer, SubmitRefusal};
use overspill_core::event::{Event, NewJob, PayloadRef};
use overspill_core::id::{AttemptId, EndpointId, JobId, KeyId, PollId, PoolId, WorkerId};
use overspill_core::machine::Core;
use overspill_core::time::{DurationMs, Timestamp};
use overspill_core::webhook::{Webhook, WebhookId, WebhookState};
use overspill_store::{Reader, RowState, Store, StoreError, WebhookFilter};
use tokio::sync::oneshot;
use tracing::warn;

use super::api::{
    AttemptView, ChunkCursor, Chunks, EndpointDirectory, EndpointView, Engine, IdempotencyRecord,
    JobFilter, JobPage, JobState, JobStory, JobVersion, JobView, MakeEvent, Payload, ReplayAnswer,
    RetryAnswer, TakenJob, Unavailable, WorkerFacts,
};
use super::live::Live;
use super::message::Message;
use super::run::{Activity, JobActivity};
use super::views::{endpoint_view, last_attempt};
use crate::auth::keys::KeyRecord;
use crate::clock::ServerClock;
use crate::otel::Tracer;
use crate::webhook::sign::{self, Rotations};

/// Jobs on one page of a list at most.
const PAGE_MAX: u32 = 1_000;
/// Bytes of chunks that are read at once at most.
const CHUNK_BYTES_MAX: u64 = 8 << 20;

/// Reaches the engine; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    inbox: Sender<Message>,
    reader: Arc<dyn Reader>,
    live: Arc<Live>,
    activity: Arc<Activity>,
    pub(super) clock: ServerClock,
    secret: [u8; 32],
    next_payload: AtomicU64,
    next_poll: AtomicU64,
    streams: OnceLock<StreamCloud>,
    hints: OnceLock<HintCloud>,
}

/// Asks the cloud's driver to read a job's stream from now on.
type StreamCloud = Box<dyn Fn(AttemptId) + Send + Sync>;
/// Tells the cloud's driver to look after an attempt's job now, which may have this id.
type HintCloud = Box<dyn Fn(AttemptId, PoolId, Option<&str>) + Send + Sync>;

/// Says that a poll is gone, unless it was answered.
struct PollGuard {
    inbox: Sender<Message>,
    poll: PollId,
    worker: WorkerId,
    jobs: oneshot::Receiver<Vec<TakenJob>>,
    is_over: bool,
}

impl Drop for PollGuard {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // Jobs may have been sent in the very moment in which the connection closed.
        self.jobs.close();
        let jobs = self.jobs.try_recv().unwrap_or_default();
        let event = if jobs.is_empty() {
            Event::TakeGone { poll: self.poll }
        } else {
            Event::DeliverFailed {
                worker: self.worker,
                jobs: jobs.iter().map(|job| job.attempt.job).collect(),
            }
        };
        let _ = self.inbox.send(Message::Tell {
            event,
            payloads: Vec::new(),
        });
    }
}

impl Handle {
    /// A handle on the engine behind `inbox`.
    #[must_use]
    pub fn new(
        inbox: Sender<Message>,
        reader: Arc<dyn Reader>,
        live: Arc<Live>,
        activity: Arc<Activity>,
        clock: ServerClock,
        secret: [u8; 32],
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                inbox,
                reader,
                live,
                activity,
                clock,
                secret,
                next_payload: AtomicU64::new(1),
                next_poll: AtomicU64::new(1),
                streams: OnceLock::new(),
                hints: OnceLock::new(),
            }),
        }
    }

    /// What the engine publishes.
    #[must_use]
    pub fn live(&self) -> &Live {
        &self.shared.live
    }

    /// Reads of committed state.
    #[must_use]
    pub fn reader(&self) -> &Arc<dyn Reader> {
        &self.shared.reader
    }

    /// Sets whom to ask when someone reads the stream of a job that the cloud runs.
    pub fn stream_cloud(&self, ask: impl Fn(AttemptId) + Send + Sync + 'static) {
        // Set once, when the server starts; a second call changes nothing.
        let _ = self.shared.streams.set(Box::new(ask));
    }

    /// Sets whom to tell that a cloud attempt should be looked after now.
    pub fn hint_cloud(
        &self,
        tell: impl Fn(AttemptId, PoolId, Option<&str>) + Send + Sync + 'static,
    ) {
        // As above.
        let _ = self.shared.hints.set(Box::new(tell));
    }

    /// Ends the engine: everything before is committed, and the store is closed.
    pub async fn stop(&self) {
        let (done, is_done) = oneshot::channel();
        if self.shared.inbox.send(Message::Stop(done)).is_ok() {
            let _ = is_done.await;
        }
    }

    fn send(&self, message: Message) {
        // A stopped engine takes nothing more; whoever waits sees its reply dropped.
        let _ = self.shared.inbox.send(message);
    }

    /// Reads the core, after the commit of whatever came before.
    pub async fn query<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Core) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Query(Box::new(move |core| {
            let _ = reply.send(read(core));
        })));
        answer.await.map_err(|_| Unavailable)
    }

    /// Uses the store on the engine's thread.
    pub async fn with_store<T: Send + 'static>(
        &self,
        store_use: impl FnOnce(&mut dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Store(Box::new(move |store| {
            let _ = reply.send(store_use(store));
        })));
        answer.await.map_err(|_| Unavailable)?.map_err(unavailable)
    }

    /// Reads from the store, off the async threads.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let reader = Arc::clone(&self.shared.reader);
        let result = off_thread(move || read(reader.as_ref())).await?;
        result.map_err(unavailable)
    }

    fn activity(&self, job: JobId) -> JobActivity {
        let by_job = &self.shared.activity.by_job;
        let by_job = by_job.lock().unwrap_or_else(PoisonError::into_inner);
        by_job.get(&job).copied().unwrap_or_default()
    }

    async fn view(&self, id: JobId) -> Result<Option<JobView>, Unavailable> {
        if let Some(live) = self.query(move |core| core.live_job(id)).await? {
            let activity = self.activity(id);
            let progress = match live.attempt.filter(|_| activity.notes > activity.chunks) {
                Some(attempt) => self.read(move |reader| reader.progress(attempt)).await?,
                None => None,
            };
            return Ok(Some(self.live_view(&live, progress, activity)));
        }
        let ended = self.read(move |reader| {
            let Some(ended) = reader.ended(id)? else {
                return Ok(None);
            };
            let output = reader.output(id, ended.generation)?;
            let last = last_attempt(&ended);
            let is_stream = !reader.chunks(last, 0, 1)?.is_empty();
            Ok(Some((ended, output, is_stream)))
        });
        let ended = ended.await?;
        Ok(ended.map(|(ended, output, is_stream)| self.ended_view(ended, output, is_stream)))
    }

    pub(super) fn pool_key(&self, id: PoolId) -> Option<String> {
        self.shared.live.pool(id)
    }

    async fn watch(
        &self,
        id: JobId,
        known: JobVersion,
        hold: Duration,
    ) -> Result<Option<JobView>, Unavailable> {
        let end = tokio::time::Instant::now() + hold;
        loop {
            let watch = self.shared.live.watch(id);
            let is_over = {
                let changed = watch.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                let view = self.view(id).await;
                let is_news = match &view {
                    Ok(Some(view)) => view.version != known,
                    _ => true,
                };
                let is_over = is_news || tokio::time::timeout_at(end, changed).await.is_err();
                is_over.then_some(view)
            };
            self.shared.live.unwatch(id, watch);
            if let Some(view) = is_over {
                return view;
            }
        }
    }

    async fn read_chunks(&self, id: JobId, cursor: ChunkCursor) -> Result<Chunks, Unavailable> {
        let live = self.query(move |core| core.live_job(id)).await?;
        let attempt = match live {
            Some(live) => {
                if let (true, Some(attempt), Some(ask)) =
                    (live.is_cloud, live.attempt, self.shared.streams.get())
                {
                    ask(attempt);
                }
                live.attempt
            }
            None => {
                let ended = self.read(move |reader| reader.ended(id)).await?;
                ended.as_ref().map(last_attempt)
            }
        };
        let Some(attempt) = attempt else {
            return Ok(Chunks {
                cursor,
                ..Chunks::default()
            });
        };
        let is_same = cursor.generation == attempt.generation && cursor.attempt == attempt.number;
        let from = if is_same { cursor.next } else { 0 };
        let chunks = self
            .read(move |reader| reader.chunks(attempt, from, CHUNK_BYTES_MAX))
            .await?;
        let next = chunks.last().map_or(from, |chunk| chunk.number + 1);
        Ok(Chunks {
            items: chunks.into_iter().map(|chunk| chunk.bytes).collect(),
            cursor: ChunkCursor {
                generation: attempt.generation,
                attempt: attempt.number,
                next,
            },
            attempt: attempt.number,
        })
    }

    async fn page(&self, filter: JobFilter) -> Result<JobPage, Unavailable> {
        let limit = filter.limit.clamp(1, PAGE_MAX) as usize;
        let states = match filter.state {
            None => Vec::new(),
            Some(JobState::Queued) => vec![RowState::Queued],
            Some(JobState::Running) => vec![RowState::Running],
            Some(JobState::Completed) => vec![RowState::Ended(FinalState::Completed)],
            Some(JobState::Failed) => vec![RowState::Ended(FinalState::Failed)],
            Some(JobState::Cancelled) => vec![RowState::Ended(FinalState::Cancelled)],
            Some(JobState::TimedOut) => vec![RowState::Ended(FinalState::TimedOut)],
        };
        let wanted = overspill_store::JobFilter {
            endpoint: filter.endpoint,
            states,
        };
        let rows = self
            .read(move |reader| reader.jobs(&wanted, filter.after, limit))
            .await?;
        let next = (rows.len() == limit).then(|| rows.last().map(|row| row.id));
        Ok(JobPage {
            jobs: rows.into_iter().map(|row| self.row_view(row)).collect(),
            next: next.flatten(),
        })
    }

    async fn tell_story(&self, id: JobId) -> Result<Option<JobStory>, Unavailable> {
        let Some(job) = self.view(id).await? else {
            return Ok(None);
        };
        let read = self.read(move |reader| Ok((reader.story(id)?, reader.entries_of(id)?)));
        let (ended, entries) = read.await?;
        let mut attempts: Vec<AttemptView> = ended
            .into_iter()
            .map(|attempt| AttemptView {
                id: attempt.id,
                pool: self.pool_key(attempt.pool).unwrap_or_default(),
                worker: attempt.worker,
                leased_at: attempt.leased_at,
                started_at: attempt.started_at,
                ended_at: Some(attempt.ended_at),
                outcome: attempt.outcome,
                site: attempt.site.map(|site| *site),
            })
            .collect();
        let live = self.query(move |core| {
            let live = core.live_job(id)?;
            let site = core.site_of(live.attempt?);
            Some((live, site))
        });
        let live = live.await?;
        if let Some((live, site, attempt)) =
            live.and_then(|(live, site)| Some((live.clone(), site, live.attempt?)))
        {
            let is_running = live.started_at.is_some();
            attempts.push(AttemptView {
                id: attempt,
                pool: job.pool.clone().unwrap_or_default(),
                worker: live.worker,
                leased_at: live.started_at.unwrap_or(live.submitted_at),
                started_at: live.started_at,
                ended_at: None,
                outcome: if is_running { "running" } else { "submitted" }.into(),
                site,
            });
        }
        let cost = entries.iter().collect();
        Ok(Some(JobStory {
            job,
            attempts,
            cost,
        }))
    }

    async fn run_again(
        &self,
        id: JobId,
        trace: Option<String>,
        key: Option<KeyId>,
    ) -> Result<RetryAnswer, Unavailable> {
        let Some(view) = self.view(id).await? else {
            return Ok(RetryAnswer::NotFound);
        };
        if !matches!(view.state, JobState::Failed | JobState::TimedOut) {
            return Ok(RetryAnswer::NotRetryable(Box::new(view)));
        }
        let stored = self
            .read(move |reader| Ok((reader.ended(id)?, reader.input(id)?)))
            .await?;
        let (Some(ended), Some(input)) = stored else {
            return Ok(RetryAnswer::NotFound);
        };
        let terms = ended.terms.map(|terms| *terms);
        let job = NewJob {
            id,
            endpoint: ended.endpoint,
            input: PayloadRef {
                handle: 0,
                bytes: input.len() as u64,
            },
            execution_timeout: terms.as_ref().map(|terms| terms.execution_timeout),
            ttl: terms.as_ref().map(|terms| terms.ttl),
            low_priority: terms.as_ref().is_some_and(|terms| terms.low_priority),
            webhook: ended.webhook,
            class: terms.as_ref().map_or(0, |terms| terms.class),
            region: ended.region,
            extras: terms.and_then(|terms| terms.extras),
            idempotency: None,
            trace: trace.or(ended.trace),
            key,
        };
        let generation = ended.generation;
        let make: MakeEvent = Box::new(move |request| Event::RetryAsked {
            request,
            job,
            generation,
        });
        match self.ask(Vec::new(), make).await {
            Answer::Submitted { .. } => Ok(RetryAnswer::Queued),
            Answer::SubmitRefused(SubmitRefusal::DuplicateId) => Ok(RetryAnswer::Overtaken),
            Answer::SubmitRefused(refusal) => Ok(RetryAnswer::Refused(refusal)),
            _ => Err(Unavailable),
        }
    }

    async fn endpoint_view(&self, id: EndpointId) -> Option<EndpointView> {
        let read = move |core: &Core| {
            let ready = core.ready_workers(id);
            let workers = core.workers_of(id);
            core.counts_of(id).map(|counts| (counts, ready, workers))
        };
        let (counts, ready, workers) = self.query(read).await.ok()??;
        let totals = self.read(move |reader| reader.counts(id)).await.ok()?;
        let mut view = endpoint_view(id, counts);
        view.completed = totals.completed;
        view.failed = totals.failed;
        view.retried = totals.retried;
        view.ready_workers = ready.iter().map(ToString::to_string).collect();
        view.local_workers = workers.into_iter().map(Into::into).collect();
        Some(view)
    }
}

impl Engine for Handle {
    fn tracer(&self) -> Tracer {
        self.shared.live.tracer.clone()
    }

    fn note_sdk(&self, worker: WorkerId, version: &str) {
        self.live().note_sdk(worker, version);
    }

    fn keep(&self, bytes: Bytes) -> Payload {
        let handle = self.shared.next_payload.fetch_add(1, Ordering::Relaxed);
        let reference = PayloadRef {
            handle,
            bytes: bytes.len() as u64,
        };
        Payload { reference, bytes }
    }

    fn ask(&self, payloads: Vec<Payload>, make: MakeEvent) -> BoxFuture<'_, Answer> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Ask {
            make,
            payloads,
            reply,
        });
        answer
            .map(|answer| answer.unwrap_or(Answer::Unavailable))
            .boxed()
    }

    fn tell(&self, event: Event, payloads: Vec<Payload>) {
        self.send(Message::Tell { event, payloads });
    }

    fn take(
        &self,
        worker: WorkerId,
        room: u32,
        is_idle: bool,
        hold: Duration,
    ) -> BoxFuture<'_, Vec<TakenJob>> {
        let poll = PollId(self.shared.next_poll.fetch_add(1, Ordering::Relaxed));
        let millis = u64::try_from(hold.as_millis()).unwrap_or(u64::MAX);
        let deadline = self.shared.clock.now() + DurationMs::from_millis(millis);
        let (reply, jobs) = oneshot::channel();
        self.send(Message::Take {
            poll,
            worker,
            room,
            is_idle,
            deadline,
            reply,
        });
        let mut guard = PollGuard {
            inbox: self.shared.inbox.clone(),
            poll,
            worker,
            jobs,
            is_over: false,
        };
        async move {
            // The whole guard, not only its field: dropping it says that the poll is gone.
            let guard = &mut guard;
            let jobs = (&mut guard.jobs).await.unwrap_or_default();
            guard.is_over = true;
            jobs
        }
        .boxed()
    }

    fn delivery_failed(&self, worker: WorkerId, jobs: Vec<JobId>) {
        self.tell(Event::DeliverFailed { worker, jobs }, Vec::new());
    }

    fn stop_signals(&self, worker: WorkerId, hold: Duration) -> BoxFuture<'_, Vec<JobId>> {
        let end = tokio::time::Instant::now() + hold;
        async move {
            loop {
                let notify = match self.shared.live.take_stops(worker) {
                    Ok(jobs) => return jobs,
                    Err(None) => return Vec::new(),
                    Err(Some(notify)) => notify,
                };
                let woken = notify.notified();
                tokio::pin!(woken);
                woken.as_mut().enable();
                match self.shared.live.take_stops(worker) {
                    Ok(jobs) => return jobs,
                    Err(None) => return Vec::new(),
                    Err(Some(_)) => {}
                }
                if tokio::time::timeout_at(end, woken).await.is_err() {
                    return Vec::new();
                }
            }
        }
        .boxed()
    }

    fn job(&self, id: JobId) -> BoxFuture<'_, Result<Option<JobView>, Unavailable>> {
        self.view(id).boxed()
    }

    fn input(&self, id: JobId) -> BoxFuture<'_, Result<Option<Bytes>, Unavailable>> {
        self.read(move |reader| reader.input(id)).boxed()
    }

    fn wait_job(
        &self,
        id: JobId,
        known: JobVersion,
        hold: Duration,
    ) -> BoxFuture<'_, Result<Option<JobView>, Unavailable>> {
        self.watch(id, known, hold).boxed()
    }

    fn chunks(&self, id: JobId, cursor: ChunkCursor) -> BoxFuture<'_, Result<Chunks, Unavailable>> {
        self.read_chunks(id, cursor).boxed()
    }

    fn jobs(&self, filter: JobFilter) -> BoxFuture<'_, Result<JobPage, Unavailable>> {
        self.page(filter).boxed()
    }

    fn story(&self, id: JobId) -> BoxFuture<'_, Result<Option<JobStory>, Unavailable>> {
        self.tell_story(id).boxed()
    }

    fn retry(
        &self,
        id: JobId,
        trace: Option<String>,
        key: Option<KeyId>,
    ) -> BoxFuture<'_, Result<RetryAnswer, Unavailable>> {
        self.run_again(id, trace, key).boxed()
    }

    fn idempotency(
        &self,
        endpoint: EndpointId,
        key: String,
    ) -> BoxFuture<'_, Result<Option<IdempotencyRecord>, Unavailable>> {
        async move {
            let known = self
                .with_store(move |store| store.idempotent(endpoint, &key))
                .await?;
            Ok(known.map(|known| IdempotencyRecord {
                job: known.job,
                body_sha256: known.body_sha256,
            }))
        }
        .boxed()
    }

    fn endpoints(&self) -> Arc<EndpointDirectory> {
        self.shared.live.directory()
    }

    fn endpoint(&self, id: EndpointId) -> BoxFuture<'_, Option<EndpointView>> {
        self.endpoint_view(id).boxed()
    }

    fn worker(&self, id: WorkerId) -> Option<WorkerFacts> {
        self.shared.live.worker(id)
    }

    fn server_secret(&self) -> &[u8; 32] {
        &self.shared.secret
    }

    fn cloud_hint(&self, attempt: AttemptId, pool: PoolId, cloud_job: Option<&str>) {
        if let Some(tell) = self.shared.hints.get() {
            tell(attempt, pool, cloud_job);
        }
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn is_ready(&self) -> Result<(), String> {
        let unready = &self.shared.live.unready;
        let unready = unready.read().unwrap_or_else(PoisonError::into_inner);
        unready.clone().map_or(Ok(()), Err)
    }

    fn has_room(&self) -> bool {
        self.shared.live.has_room()
    }

    fn keys(&self) -> Arc<Vec<KeyRecord>> {
        let keys = &self.shared.live.keys;
        let keys = keys.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&keys)
    }

    fn put_key(&self, key: KeyRecord) -> BoxFuture<'_, Result<(), Unavailable>> {
        async move {
            let keys = self
                .with_store(move |store| {
                    store.put_key(&key)?;
                    store.keys()
                })
                .await?;
            self.live().set_keys(keys);
            Ok(())
        }
        .boxed()
    }

    fn revoke_key(&self, id: String) -> BoxFuture<'_, Result<bool, Unavailable>> {
        let now = self.shared.clock.now();
        async move {
            let (was_there, keys) = self
                .with_store(move |store| {
                    let was_there = store.revoke_key(&id, now)?;
                    Ok((was_there, store.keys()?))
                })
                .await?;
            self.live().set_keys(keys);
            Ok(was_there)
        }
        .boxed()
    }

    fn webhooks(
        &self,
        filter: WebhookFilter,
        after: Option<WebhookId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Webhook>, Unavailable>> {
        self.read(move |reader| reader.webhooks(&filter, after, limit))
            .boxed()
    }

    fn replay_webhook(
        &self,
        id: WebhookId,
        by: String,
    ) -> BoxFuture<'_, Result<ReplayAnswer, Unavailable>> {
        self.replay(id, by).boxed()
    }

    fn webhook_secrets(&self, endpoint: EndpointId) -> Vec<String> {
        let rotations = self.live().rotations();
        rotations.secrets(&self.shared.secret, endpoint, self.now())
    }

    fn rotate_webhook_secret(
        &self,
        endpoint: EndpointId,
    ) -> BoxFuture<'_, Result<(), Unavailable>> {
        let now = self.now();
        async move {
            let rotations = self
                .with_store(move |store| {
                    let mut rotations = Rotations::read(store.meta(sign::META)?.as_deref());
                    rotations.rotate(endpoint, now);
                    store.put_meta(sign::META, &rotations.write())?;
                    Ok(rotations)
                })
                .await?;
            self.live().set_rotations(rotations);
            Ok(())
        }
        .boxed()
    }
}

impl Handle {
    async fn replay(&self, id: WebhookId, by: String) -> Result<ReplayAnswer, Unavailable> {
        if !self.live().sending(id) {
            return Ok(ReplayAnswer::UnderWay);
        }
        let answer = self.replay_claimed(id, by).await;
        self.live().sent(id);
        answer
    }

    async fn replay_claimed(&self, id: WebhookId, by: String) -> Result<ReplayAnswer, Unavailable> {
        let found = self
            .read(move |reader| {
                let Some(webhook) = reader.webhook(id)? else {
                    return Ok(None);
                };
                if webhook.alert.is_some() {
                    return Ok(Some((webhook, true)));
                }
                let ended = reader.ended(id.job)?;
                let is_last = ended.is_some_and(|ended| ended.generation == id.generation);
                Ok(Some((webhook, is_last)))
            })
            .await?;
        let Some((webhook, is_last)) = found else {
            return Ok(ReplayAnswer::NotFound);
        };
        if webhook.state == WebhookState::Delivered && !is_last {
            return Ok(ReplayAnswer::Replaced);
        }
        let webhook = Box::new(webhook);
        let make: MakeEvent = Box::new(move |request| Event::WebhookReplayAsked {
            request,
            webhook,
            by,
        });
        match self.ask(Vec::new(), make).await {
            Answer::Noted => Ok(ReplayAnswer::Due),
            _ => Err(Unavailable),
        }
    }
}

/// Does what blocks where no connection waits for it.
#[cfg(not(test))]
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unavailable> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Unavailable)
}

/// Whole storms are of one thread, so that two runs of a seed are the same.
#[cfg(test)]
async fn off_thread<T>(work: impl FnOnce() -> T) -> Result<T, Unavailable> {
    Ok(work())
}

#[expect(clippy::needless_pass_by_value, reason = "a function for map_err")]
fn unavailable(error: StoreError) -> Unavailable {
    warn!(%error, "the store did not answer");
    Unavailable
}

#[cfg(test)]
mod tests;
