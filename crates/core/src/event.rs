//! Every fact the world can tell the core.
//!
//! Events are serialisable, so that a run can be journaled and replayed. Ids are minted by whoever
//! sends the event. Payload bytes stay outside: an event carries a [`PayloadRef`].

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::budget::{CapScope, Caps};
use crate::drift::HourRecord;
use crate::id::{DeviceId, EndpointId, JobId, KeyId, PollId, PoolId, RequestId, WorkerId};
use crate::money::RatePerHour;
use crate::quarantine::CardReading;
use crate::region::Region;
use crate::scaler::slots::OUT_OF_MEMORY;
use crate::time::{DurationMs, Timestamp};
use crate::topology::{Limits, ScalerSpec, Topology};
use crate::webhook::{Webhook, WebhookOutcome};

/// Words that decisions look for in texts of others. Whoever leaves such a text out of a journal keeps
/// them, or the replay would decide otherwise.
pub const TELLING: [&str; 5] = [
    // A platform's own time-out, not the handler's.
    PLATFORM_TIMED_OUT,
    OUT_OF_MEMORY[0],
    OUT_OF_MEMORY[1],
    OUT_OF_MEMORY[2],
    OUT_OF_MEMORY[3],
];
/// RunPod says so of an attempt that it gave up on.
pub const PLATFORM_TIMED_OUT: &str = "timed out after";

/// Where the driver keeps the bytes of an input, output or chunk until the change that stores them.
///
/// Zero bytes under handle 0 mean "no payload".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PayloadRef {
    /// The driver's handle of the bytes; meaningless after the commit.
    pub handle: u64,
    /// How many bytes there are.
    pub bytes: u64,
}

/// A job as submitted; checked by the gateway before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewJob {
    /// Minted at the edge.
    pub id: JobId,
    /// Where it is sent.
    pub endpoint: EndpointId,
    /// The request body's `input`.
    pub input: PayloadRef,
    /// `policy.executionTimeout`, where given.
    pub execution_timeout: Option<DurationMs>,
    /// `policy.ttl`, where given.
    pub ttl: Option<DurationMs>,
    /// `policy.lowPriority`: never causes a scale-up.
    pub low_priority: bool,
    /// Where to report the end.
    pub webhook: Option<String>,
    /// Label by which durations are learned (image size, model); 0 when the app gives none.
    pub class: u32,
    /// Where the caller is, where known.
    #[serde(default)]
    pub region: Option<Region>,
    /// Everything else of the request that the worker must see (`s3Config`, …); sealed at the edge, a
    /// text without meaning here.
    pub extras: Option<String>,
    /// `Idempotency-Key`, with the hash of the canonical body.
    pub idempotency: Option<Idempotency>,
    /// Where it stands in its caller's trace; a text without meaning here.
    #[serde(default)]
    pub trace: Option<String>,
    /// The API key that asks for it.
    #[serde(default)]
    pub key: Option<KeyId>,
}

/// A client's own name for a submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// 1 to 255 printable ASCII characters, unique per (tenant, endpoint).
    pub key: String,
    /// SHA-256 of the canonical body, hexadecimal.
    pub body_sha256: String,
}

/// How a worker says that a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// With its output (`handle` 0: none, as for a handler that returned `{}`).
    Completed {
        /// The `output`.
        output: PayloadRef,
    },
    /// The handler raised or returned `error`.
    Failed {
        /// The error as text, at most 64 KB.
        error: String,
        /// Keys that the handler returned beside `error`.
        output: PayloadRef,
    },
}

/// What RunPod says of a job of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloudJobState {
    /// `IN_QUEUE`.
    Queued,
    /// `IN_PROGRESS`, on this worker where told.
    Running {
        /// RunPod's worker id.
        worker: Option<String>,
        /// `delayTime`.
        delay: Option<DurationMs>,
    },
    /// Over: completed, or failed by the handler.
    Ended {
        /// What came of it.
        outcome: Outcome,
        /// RunPod's worker id.
        worker: Option<String>,
        /// `delayTime`.
        delay: Option<DurationMs>,
        /// `executionTime`.
        execution: Option<DurationMs>,
    },
    /// Cancelled there, by us or by someone else.
    Cancelled,
    /// RunPod gave up: time-out, or the worker was lost twice.
    TimedOut {
        /// In RunPod's words.
        error: String,
        /// Its worker's id, where told.
        #[serde(default)]
        worker: Option<String>,
        /// `delayTime`, where told.
        #[serde(default)]
        delay: Option<DurationMs>,
        /// `executionTime`, where told.
        execution: Option<DurationMs>,
    },
}

/// Why RunPod did surely not accept a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloudRefusal {
    /// 409: the endpoint's max workers is 0.
    Paused,
    /// 429.
    RateLimited,
    /// 401, 403.
    Unauthorized,
    /// 404: no such endpoint.
    EndpointGone,
    /// 402, or a body that speaks of balance.
    NoBalance,
    /// More workers than the account may have over all its endpoints.
    Quota,
    /// 400, 413, 422: this job will never be accepted there.
    BadJob,
    /// Nothing was sent: DNS, connection refused, breaker open.
    Unreachable,
}

impl fmt::Display for CloudRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Paused => "the RunPod endpoint is paused: its max workers is 0",
            Self::RateLimited => "RunPod answers 429: too many calls",
            Self::Unauthorized => "RunPod refuses the API key; check `[runpod] api_key`",
            Self::EndpointGone => "RunPod knows no endpoint of this id; check `id`",
            Self::NoBalance => "the RunPod account has no balance left; top it up",
            Self::Quota => "the RunPod account may not have so many workers",
            Self::BadJob => "RunPod does not take this job",
            Self::Unreachable => "RunPod cannot be reached",
        })
    }
}

/// Workers of one cloud pool by state, as RunPod counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudWorkerCounts {
    /// Pulling, starting, loading.
    pub initializing: u32,
    /// Waiting for a job, scaled down but resumable ones included.
    pub idle: u32,
    /// At work, or within the idle time-out.
    pub running: u32,
    /// The host lacks room; nothing is billed.
    pub throttled: u32,
    /// Crashed.
    pub unhealthy: u32,
}

/// One reading of RunPod's billing records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BillRead {
    /// Those that there are, of one hour each; an hour without one has none (yet).
    pub records: Vec<HourRecord>,
    /// What RunPod lists as the hourly price of one worker of the endpoint, where that was read.
    pub list_price: Option<RatePerHour>,
}

/// A fact with its consequences to be worked out by [`crate::machine::Core::handle`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The configuration, at start and after a reload.
    Configured {
        /// All of it.
        topology: Box<Topology>,
    },
    /// Someone changed an endpoint's limits.
    LimitsSet {
        /// Gets [`crate::effect::Answer::LimitsSet`] or `NotFound`.
        request: RequestId,
        /// Whose.
        endpoint: EndpointId,
        /// The new ones.
        limits: Limits,
        /// Who did it, for the audit trail.
        by: String,
    },
    /// Someone changed an endpoint's promise.
    MaxWaitSet {
        /// Gets [`crate::effect::Answer::MaxWaitSet`], `MaxWaitRefused` or `NotFound`.
        request: RequestId,
        /// Whose.
        endpoint: EndpointId,
        /// The new one; `None` goes back to the file's.
        max_wait: Option<DurationMs>,
        /// Who did it, for the audit trail.
        by: String,
    },
    /// Someone changed an endpoint's scaling rule or its constants.
    ScalerSet {
        /// Gets [`crate::effect::Answer::ScalerSet`], `ScalerRefused` or `NotFound`.
        request: RequestId,
        /// Whose.
        endpoint: EndpointId,
        /// The new rule; `None` goes back to the file's.
        scaler: Option<ScalerSpec>,
        /// Who did it, for the audit trail.
        by: String,
    },
    /// What a card took from the socket while it ran jobs.
    CardMeasured {
        /// Which.
        device: DeviceId,
        /// Just now.
        milliwatts: u32,
    },
    /// What a card's driver says of it; told where that is new.
    CardRead {
        /// Which.
        device: DeviceId,
        /// What it says.
        reading: CardReading,
    },
    /// A reading of a card that began after the worker's end lists no process of its group there.
    CardFreed {
        /// Which.
        device: DeviceId,
        /// The group's number: the process id that the worker had.
        pid: u32,
    },
    /// Someone returns a quarantined card.
    CardReturnAsked {
        /// Gets [`crate::effect::Answer::CardReturned`], `CardNotQuarantined` or `NotFound`.
        request: RequestId,
        /// Which.
        device: DeviceId,
        /// Who did it, for the audit trail.
        by: String,
    },
    /// Someone changed the caps on spending.
    CapsSet {
        /// Gets [`crate::effect::Answer::CapsSet`], `CapsRefused` or `NotFound`.
        request: RequestId,
        /// On whose spending.
        scope: CapScope,
        /// The new ones, all of them.
        caps: Caps,
        /// Who did it, for the audit trail.
        by: String,
    },
    /// `/run` or `/runsync`.
    Submitted {
        /// Gets `Submitted`, or `SubmitRefused`.
        request: RequestId,
        /// The job.
        job: NewJob,
    },
    /// `/cancel`.
    CancelAsked {
        /// Gets `Cancelled` or `NotLive`.
        request: RequestId,
        /// Which job.
        job: JobId,
    },
    /// `/status?ttl=`: the job may exist for so long from now on.
    TtlSet {
        /// Gets `Noted` or `NotLive`.
        request: RequestId,
        /// Which job.
        job: JobId,
        /// What is left of its time to live.
        ttl: DurationMs,
    },
    /// `/purge-queue`.
    PurgeAsked {
        /// Gets `Purged`.
        request: RequestId,
        /// Whose queue.
        endpoint: EndpointId,
    },
    /// `/retry`: the store knew the job as failed or timed out, and gives it back.
    RetryAsked {
        /// Gets `Submitted`, or `SubmitRefused` when it is live already.
        request: RequestId,
        /// The job again, with its stored input's size under `input` (handle 0).
        job: NewJob,
        /// The generation that ended.
        generation: u32,
    },
    /// A worker's job-take is held open.
    TakeWaiting {
        /// Names the held request.
        poll: PollId,
        /// Whose it is.
        worker: WorkerId,
        /// Jobs it would take, at least 1.
        room: u32,
        /// When it must be answered with nothing.
        deadline: Timestamp,
        /// The worker says that it holds no job (`job_in_progress=0`).
        is_idle: bool,
    },
    /// The connection of a held job-take closed.
    TakeGone {
        /// Which.
        poll: PollId,
    },
    /// A [`crate::effect::Effect::Deliver`] could not be written to its connection.
    DeliverFailed {
        /// Whose it was.
        worker: WorkerId,
        /// What it should have got.
        jobs: Vec<JobId>,
    },
    /// A worker posted a progress update.
    ProgressMade {
        /// Gets `Noted` or `Stale`.
        request: RequestId,
        /// Who posts.
        worker: WorkerId,
        /// For which job.
        job: JobId,
        /// The update's `output`.
        progress: PayloadRef,
    },
    /// A worker posted a stream chunk.
    ChunkMade {
        /// Gets `Noted` or `Stale`.
        request: RequestId,
        /// Who posts.
        worker: WorkerId,
        /// For which job.
        job: JobId,
        /// The chunk's `output`.
        chunk: PayloadRef,
    },
    /// A worker posted a result.
    Finished {
        /// Gets `Recorded` or `Stale`.
        request: RequestId,
        /// Who posts.
        worker: WorkerId,
        /// For which job.
        job: JobId,
        /// What came of it.
        outcome: Outcome,
        /// The worker stops by itself after this (`stopPod`).
        stops: bool,
        /// SHA-256 of the raw body, hexadecimal, to know a repeated post by.
        body_sha256: String,
    },
    /// A worker's heartbeat.
    Pinged {
        /// Whose.
        worker: WorkerId,
        /// The jobs it says it holds.
        jobs: Vec<JobId>,
    },
    /// The driver minted an incarnation for [`crate::effect::Effect::MintWorker`].
    WorkerMinted {
        /// The fresh id.
        worker: WorkerId,
        /// Its pool.
        pool: PoolId,
        /// Its card.
        device: crate::id::DeviceId,
    },
    /// Its process runs.
    WorkerSpawned {
        /// Which.
        worker: WorkerId,
        /// The process id of its main process and its group.
        pid: u32,
    },
    /// Its process ended, and with it its group; or it could not be started.
    WorkerExited {
        /// Which.
        worker: WorkerId,
        /// The exit code; `None` after a signal.
        code: Option<i32>,
        /// In words, when it could not be started.
        reason: Option<String>,
    },
    /// Which incarnations live, as the process host says after a restart of ours.
    WorkersAlive {
        /// All of them.
        workers: Vec<WorkerId>,
    },
    /// RunPod accepted a submission.
    CloudSubmitted {
        /// Which attempt.
        attempt: crate::id::AttemptId,
        /// RunPod's job id.
        cloud_job: String,
    },
    /// RunPod surely did not accept it.
    CloudRefused {
        /// Which attempt.
        attempt: crate::id::AttemptId,
        /// Why.
        refusal: CloudRefusal,
        /// When to try again, where told.
        retry_after: Option<DurationMs>,
        /// In RunPod's words.
        detail: String,
    },
    /// The submission's outcome is unknown: it may have been accepted.
    CloudSubmitUnknown {
        /// Which attempt.
        attempt: crate::id::AttemptId,
        /// What went wrong.
        detail: String,
    },
    /// RunPod says where a job of ours is.
    CloudStatus {
        /// Which attempt.
        attempt: crate::id::AttemptId,
        /// Its state there.
        state: CloudJobState,
    },
    /// RunPod does not know the job (any more).
    CloudGone {
        /// Which attempt.
        attempt: crate::id::AttemptId,
    },
    /// A cloud job's stream grew.
    CloudChunk {
        /// Which attempt.
        attempt: crate::id::AttemptId,
        /// The chunk's `output`.
        chunk: PayloadRef,
    },
    /// A running cloud job reported progress.
    CloudProgress {
        /// Which attempt.
        attempt: crate::id::AttemptId,
        /// The progress `output`.
        progress: PayloadRef,
    },
    /// RunPod's counts of a pool's workers.
    CloudHealth {
        /// Which pool.
        pool: PoolId,
        /// The workers.
        workers: CloudWorkerCounts,
    },
    /// How many jobs RunPod has at a pool's endpoint, queued and running, ours or not.
    CloudJobsCounted {
        /// Which pool.
        pool: PoolId,
        /// All of them.
        live: u32,
    },
    /// RunPod's limits of a pool were read, and are not those that it confirmed.
    CloudLimitsChanged {
        /// Which pool.
        pool: PoolId,
        /// Min and max as confirmed.
        asked: (u32, u32),
        /// Min and max as read.
        seen: (u32, u32),
    },
    /// RunPod's list of a pool's workers was read while nothing asks for any: so many are on.
    CloudStandby {
        /// Which pool.
        pool: PoolId,
        /// Workers that are billed.
        workers: u32,
    },
    /// RunPod's billing records of a pool's endpoint were read.
    CloudBilled {
        /// Which pool.
        pool: PoolId,
        /// What they say.
        bill: BillRead,
    },
    /// RunPod confirmed the limits we asked for.
    CloudScaled {
        /// Which pool.
        pool: PoolId,
        /// Its workers that are kept on now.
        min: u32,
        /// Its max workers now.
        max: u32,
    },
    /// A scaling call failed, or the pool cannot be used at all.
    CloudFailed {
        /// Which pool.
        pool: PoolId,
        /// Why.
        refusal: CloudRefusal,
        /// In words.
        detail: String,
    },
    /// A webhook was tried.
    WebhookTried {
        /// Gets `Noted`.
        request: RequestId,
        /// Its record, as it was read before the attempt.
        webhook: Box<Webhook>,
        /// What became of it.
        outcome: WebhookOutcome,
    },
    /// Someone asked for a webhook to be sent again.
    WebhookReplayAsked {
        /// Gets `Noted`.
        request: RequestId,
        /// Its record, as it was read.
        webhook: Box<Webhook>,
        /// Who did it, for the audit trail.
        by: String,
    },
    /// A guard asks whether the server lives.
    GuardSeen {
        /// Who waits for the answer.
        request: RequestId,
    },
    /// Time passed; nothing else happened.
    TimePassed,
    /// No further jobs are handed out: the server is about to stop.
    DrainAsked,
}
