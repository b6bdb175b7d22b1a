//! What others may ask of the engine.
//!
//! Reads see committed state only. An answer comes after the commit of the changes that it speaks
//! of. Nothing here knows HTTP: the gateway translates.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use overspill_core::change::Site;
use overspill_core::effect::{Answer, SubmitRefusal};
use overspill_core::event::{Event, PayloadRef};
use overspill_core::id::{AttemptId, EndpointId, JobId, KeyId, PoolId, RequestId, WorkerId};
use overspill_core::region::Region;
use overspill_core::time::{DurationMs, Timestamp};
use overspill_core::topology::{Limits, ScalerSpec};
use overspill_core::view::LiveSettings;
use overspill_core::webhook::{Webhook, WebhookId};
use overspill_store::WebhookFilter;

use crate::auth::keys::KeyRecord;
use crate::otel::Tracer;
use crate::view::cost::Sums;

/// Bytes of an input, output or chunk, kept by the engine until the change that stores them.
#[derive(Debug, Clone)]
pub struct Payload {
    /// How events name it.
    pub reference: PayloadRef,
    /// The bytes: one JSON value.
    pub bytes: Bytes,
}

/// Makes the event that a request is about, once its [`RequestId`] is known.
pub type MakeEvent = Box<dyn FnOnce(RequestId) -> Event + Send>;

/// The store did not answer, or is being restored: nothing was stored, or that is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store is not available")]
pub struct Unavailable;

/// One job on its way to a worker.
#[derive(Debug, Clone)]
pub struct TakenJob {
    /// Which attempt of which job.
    pub attempt: AttemptId,
    /// The input's bytes.
    pub input: Bytes,
    /// A JSON object whose members the worker sees beside `input`; sealed, as the gateway gave it.
    pub extras: Option<String>,
    /// Where the job's end is reported.
    pub webhook: Option<String>,
    /// Where the job stands in its caller's trace.
    pub trace: Option<String>,
}

/// Where a job is, as far as it is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Waiting; or at RunPod and not begun.
    Queued,
    /// On a worker.
    Running,
    /// Its output is recorded.
    Completed,
    /// The handler failed, or nothing could be made of the job.
    Failed,
    /// Someone cancelled it.
    Cancelled,
    /// Its TTL ended in the queue.
    TimedOut,
}

impl JobState {
    /// Whether it changes no more, but by a retry.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// Grows with every committed change of a job that a client could see: state, progress, chunks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobVersion(pub u64);

/// A job as committed.
#[derive(Debug, Clone)]
pub struct JobView {
    /// Which.
    pub id: JobId,
    /// Where it was sent.
    pub endpoint: EndpointId,
    /// Where it is.
    pub state: JobState,
    /// When it came in.
    pub submitted_at: Timestamp,
    /// When its last attempt began to run.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Submit to the start of the last attempt.
    pub delay_ms: Option<u64>,
    /// Time inside the last attempt; for a running job, until now.
    pub execution_ms: Option<u64>,
    /// Who runs or ran the last attempt.
    pub worker: Option<String>,
    /// The key of the pool of the last attempt.
    pub pool: Option<String>,
    /// Attempts made in this generation.
    pub attempt: u32,
    /// Attempts that vanished and were made again.
    pub retries: u32,
    /// The recorded output; none when the handler returned `{}`.
    pub output: Option<Bytes>,
    /// The last progress update of a running job.
    pub progress: Option<Bytes>,
    /// The error of a failed job.
    pub error: Option<String>,
    /// A code for errors that are ours, not the handler's.
    pub error_code: Option<String>,
    /// Where its end is reported.
    pub webhook: Option<String>,
    /// Where it stands in its caller's trace; not in lists.
    pub trace: Option<String>,
    /// Where its caller is, where known.
    pub region: Option<Region>,
    /// Whether it made chunks.
    pub is_stream: bool,
    /// SHA-256 of the result post that was recorded, hexadecimal.
    pub result_sha256: Option<String>,
    /// To wait for the next change.
    pub version: JobVersion,
}

/// How far a job's stream was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChunkCursor {
    /// The generation of the series that was read.
    pub generation: u32,
    /// The attempt of the series that was read; 0 before anything was.
    pub attempt: u32,
    /// The first chunk that was not read.
    pub next: u32,
}

/// Chunks of a job's newest series from a cursor on.
#[derive(Debug, Clone, Default)]
pub struct Chunks {
    /// In order; each one JSON value.
    pub items: Vec<Bytes>,
    /// Where to read on. A series newer than the cursor's is read from its start.
    pub cursor: ChunkCursor,
    /// The attempt that made them.
    pub attempt: u32,
}

/// Which jobs of a list.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Of this endpoint only.
    pub endpoint: Option<EndpointId>,
    /// In this state only.
    pub state: Option<JobState>,
    /// At most so many; the engine may have a lower bound of its own.
    pub limit: u32,
    /// Older than this one.
    pub after: Option<JobId>,
}

/// One page of jobs, newest first, without outputs.
#[derive(Debug, Clone, Default)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<JobView>,
    /// Give it as `after` for the next page.
    pub next: Option<JobId>,
}

/// One line of a job's story.
#[derive(Debug, Clone)]
pub struct AttemptView {
    /// Which.
    pub id: AttemptId,
    /// The key of its pool.
    pub pool: String,
    /// On whom.
    pub worker: Option<String>,
    /// When it was handed out.
    pub leased_at: Timestamp,
    /// When it began to run, where known.
    pub started_at: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// How: `running`, `completed`, `failed`, `worker_lost`, …
    pub outcome: String,
    /// For one at RunPod: its GPU and region, and why its pool was chosen.
    pub site: Option<Site>,
}

/// A job with everything that happened to it.
#[derive(Debug, Clone)]
pub struct JobStory {
    /// The job.
    pub job: JobView,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptView>,
    /// What it cost and saved, as far as the ledger says yet.
    pub cost: Sums,
}

/// What became of a wish to run a job again.
#[derive(Debug, Clone)]
pub enum RetryAnswer {
    /// It is queued, under its old id.
    Queued,
    /// Another retry of the same end came first.
    Overtaken,
    /// It is in a state from which nothing is retried.
    NotRetryable(Box<JobView>),
    /// Nobody knows it (any more).
    NotFound,
    /// The core did not take it.
    Refused(SubmitRefusal),
}

/// A stored `Idempotency-Key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// What was submitted under it.
    pub job: JobId,
    /// Hash of the canonical body.
    pub body_sha256: String,
}

/// What is public of an endpoint, for finding it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointEntry {
    /// Its number.
    pub id: EndpointId,
    /// Its name.
    pub name: String,
    /// Other names for it: its aliases and the ids of its cloud pools.
    pub aliases: Vec<String>,
    /// Fields of an input by which durations are learned, as paths.
    pub class_by: Vec<String>,
}

/// Endpoints by every name that a path may have for them.
#[derive(Debug, Default)]
pub struct EndpointDirectory {
    entries: Vec<EndpointEntry>,
    by_name: HashMap<String, usize>,
    by_id: HashMap<EndpointId, usize>,
}

impl EndpointDirectory {
    /// A directory of these. A name wins over an alias of another endpoint; of two equal aliases,
    /// the first.
    #[must_use]
    pub fn new(entries: Vec<EndpointEntry>) -> Self {
        let mut by_name = HashMap::new();
        for (i, entry) in entries.iter().enumerate() {
            by_name.insert(entry.name.clone(), i);
        }
        for (i, entry) in entries.iter().enumerate() {
            for alias in &entry.aliases {
                by_name.entry(alias.clone()).or_insert(i);
            }
        }
        let by_id = entries.iter().enumerate().map(|(i, e)| (e.id, i)).collect();
        Self {
            entries,
            by_name,
            by_id,
        }
    }

    /// The endpoint of a name, an alias or a cloud pool's id.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&EndpointEntry> {
        self.by_name.get(name).map(|&i| &self.entries[i])
    }

    /// The endpoint of a number.
    #[must_use]
    pub fn get(&self, id: EndpointId) -> Option<&EndpointEntry> {
        self.by_id.get(&id).map(|&i| &self.entries[i])
    }

    /// All of them, in the order of the configuration.
    #[must_use]
    pub fn entries(&self) -> &[EndpointEntry] {
        &self.entries
    }
}

/// Workers of an endpoint by state, over all pools.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerCounts {
    /// Starting.
    pub initializing: u32,
    /// Could take a job now.
    pub idle: u32,
    /// At work.
    pub running: u32,
    /// Their host lacks room.
    pub throttled: u32,
    /// Crashed.
    pub unhealthy: u32,
}

/// Cloud workers of an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CloudCounts {
    /// As the scaler wants it now.
    pub wanted: u32,
    /// Ready for a job.
    pub ready: u32,
    /// On their way.
    pub starting: u32,
    /// At work.
    pub running: u32,
}

/// Local workers of an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LocalCounts {
    /// Processes that may get jobs.
    pub workers: u32,
    /// Jobs they could run at once.
    pub slots: u32,
    /// Jobs they run.
    pub busy: u32,
}

/// A local incarnation, as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalWorker {
    /// Which.
    pub id: WorkerId,
    /// When it was minted.
    pub minted_at: Timestamp,
    /// It has asked for a job.
    pub is_ready: bool,
    /// Jobs it holds.
    pub jobs: usize,
}

impl From<(overspill_core::worker::WorkerRecord, bool, usize)> for LocalWorker {
    fn from((record, is_ready, jobs): (overspill_core::worker::WorkerRecord, bool, usize)) -> Self {
        Self {
            id: record.id,
            minted_at: record.minted_at,
            is_ready,
            jobs,
        }
    }
}

/// An endpoint as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointView {
    /// Which.
    pub id: EndpointId,
    /// Its name.
    pub name: String,
    /// Limits in force.
    pub limits: Limits,
    /// The promise in force: submit to start.
    pub max_wait: DurationMs,
    /// The scaling rule in force.
    pub scaler: ScalerSpec,
    /// Who set limits, rule and promise while the server ran.
    pub set: LiveSettings,
    /// The min that is asked for and held at 0, for no guard watches.
    pub min_held: u32,
    /// Jobs that wait.
    pub queued: u64,
    /// Jobs that run.
    pub running: u64,
    /// Jobs that were completed; only grows.
    pub completed: u64,
    /// Jobs that failed; only grows.
    pub failed: u64,
    /// Attempts that were made again; only grows.
    pub retried: u64,
    /// Workers by state.
    pub workers: WorkerCounts,
    /// Ids of workers that could take a job now.
    pub ready_workers: Vec<String>,
    /// Local incarnations.
    pub local_workers: Vec<LocalWorker>,
    /// Cloud workers.
    pub cloud: CloudCounts,
    /// Local workers.
    pub local: LocalCounts,
}

/// What the gateway must know of an incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerFacts {
    /// Whose jobs it takes.
    pub endpoint: EndpointId,
    /// Whether it may be handed jobs.
    pub takes_jobs: bool,
}

/// The engine's face. Every future may be dropped at any time.
pub trait Engine: Send + Sync + 'static {
    /// Where spans go; nowhere, where there is no collector.
    fn tracer(&self) -> Tracer {
        Tracer::default()
    }

    /// Notes the version of RunPod's package that a worker reports in its heartbeats.
    fn note_sdk(&self, _worker: WorkerId, _version: &str) {}

    /// Keeps bytes until a change stores them.
    fn keep(&self, bytes: Bytes) -> Payload;

    /// Says a fact and waits for what is answered to it, after the commit.
    /// [`Answer::Unavailable`] when nothing was stored, or that is unknown.
    fn ask(&self, payloads: Vec<Payload>, event: MakeEvent) -> BoxFuture<'_, Answer>;

    /// Says a fact that nobody waits for.
    fn tell(&self, event: Event, payloads: Vec<Payload>);

    /// Holds a worker's job-take until there is a job or `hold` has passed; empty means nothing.
    /// Dropping the future says that the poll is gone.
    fn take(
        &self,
        worker: WorkerId,
        room: u32,
        is_idle: bool,
        hold: Duration,
    ) -> BoxFuture<'_, Vec<TakenJob>>;

    /// An answer with these jobs could not be written to its connection.
    fn delivery_failed(&self, worker: WorkerId, jobs: Vec<JobId>);

    /// Holds a worker's stop channel until a job is to be stopped or `hold` has passed.
    fn stop_signals(&self, worker: WorkerId, hold: Duration) -> BoxFuture<'_, Vec<JobId>>;

    /// A job, live or ended; with its output. `None` when it is unknown or no longer kept.
    fn job(&self, id: JobId) -> BoxFuture<'_, Result<Option<JobView>, Unavailable>>;

    /// A job's input, while it is kept.
    fn input(&self, id: JobId) -> BoxFuture<'_, Result<Option<Bytes>, Unavailable>>;

    /// The job as soon as its version is not `known`, or as it is when `hold` has passed.
    fn wait_job(
        &self,
        id: JobId,
        known: JobVersion,
        hold: Duration,
    ) -> BoxFuture<'_, Result<Option<JobView>, Unavailable>>;

    /// What a job's stream has from a cursor on.
    fn chunks(&self, id: JobId, cursor: ChunkCursor) -> BoxFuture<'_, Result<Chunks, Unavailable>>;

    /// A page of jobs, newest first.
    fn jobs(&self, filter: JobFilter) -> BoxFuture<'_, Result<JobPage, Unavailable>>;

    /// A job with its attempts.
    fn story(&self, id: JobId) -> BoxFuture<'_, Result<Option<JobStory>, Unavailable>>;

    /// Queues a failed or timed-out job again, under its id; in a trace of the caller's, else in its own.
    fn retry(
        &self,
        id: JobId,
        trace: Option<String>,
        key: Option<KeyId>,
    ) -> BoxFuture<'_, Result<RetryAnswer, Unavailable>>;

    /// What was submitted under this key before, while that is kept.
    fn idempotency(
        &self,
        endpoint: EndpointId,
        key: String,
    ) -> BoxFuture<'_, Result<Option<IdempotencyRecord>, Unavailable>>;

    /// All endpoints by name.
    fn endpoints(&self) -> Arc<EndpointDirectory>;

    /// An endpoint as it is now.
    fn endpoint(&self, id: EndpointId) -> BoxFuture<'_, Option<EndpointView>>;

    /// An incarnation that lives.
    fn worker(&self, id: WorkerId) -> Option<WorkerFacts>;

    /// From which the workers' keys and the pepper of API keys are made; the same for ever.
    fn server_secret(&self) -> &[u8; 32];

    /// Somebody who knows the token of a cloud attempt says that something happened to its job, which may have this
    /// id at the cloud. A hint to look there at once, and nothing more.
    fn cloud_hint(&self, attempt: AttemptId, pool: PoolId, cloud_job: Option<&str>);

    /// The server's clock.
    fn now(&self) -> Timestamp;

    /// Whether jobs can be taken now; the reason when not.
    fn is_ready(&self) -> Result<(), String>;

    /// Whether the disk has room for another submission.
    fn has_room(&self) -> bool;

    /// All API keys, revoked ones included.
    fn keys(&self) -> Arc<Vec<KeyRecord>>;

    /// Stores a key, or replaces the one of the same id.
    fn put_key(&self, key: KeyRecord) -> BoxFuture<'_, Result<(), Unavailable>>;

    /// Ends a key's validity now; `false` when there is none of this id.
    fn revoke_key(&self, id: String) -> BoxFuture<'_, Result<bool, Unavailable>>;

    /// Webhooks, newest job first.
    fn webhooks(
        &self,
        filter: WebhookFilter,
        after: Option<WebhookId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Webhook>, Unavailable>>;

    /// Lets a webhook be sent again at once.
    fn replay_webhook(
        &self,
        id: WebhookId,
        by: String,
    ) -> BoxFuture<'_, Result<ReplayAnswer, Unavailable>>;

    /// The secrets that sign an endpoint's webhooks now, the newest first.
    fn webhook_secrets(&self, endpoint: EndpointId) -> Vec<String>;

    /// Gives an endpoint's webhooks a new secret; the old one signs for a day too.
    fn rotate_webhook_secret(&self, endpoint: EndpointId)
    -> BoxFuture<'_, Result<(), Unavailable>>;
}

/// What becomes of a webhook that is to be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayAnswer {
    /// It is due now.
    Due,
    /// There is none of this id, or it is no longer kept.
    NotFound,
    /// It is being sent at this very moment.
    UnderWay,
    /// It was delivered, and the job was retried since: its output is no longer kept.
    Replaced,
}
