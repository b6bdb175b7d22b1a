//! Every durable change the core can ask for, as whole records.
//!
//! Applying a stream of changes to an empty [`Snapshot`] gives what [`crate::machine::Core::restore`]
//! needs; a restored core equals the running one in everything durable. Changes of one batch of
//! events are written in one transaction.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::attempt::Attempt;
use crate::booked::BookedHours;
use crate::budget::BudgetRecord;
use crate::endpoint::EndpointRecord;
use crate::event::{Idempotency, PayloadRef};
use crate::id::{AttemptId, EndpointId, JobId, PoolId, WorkerId};
use crate::job::Job;
use crate::ledger::Entry;
use crate::placement::pool_order::Because;
use crate::pool::PoolRecord;
use crate::quarantine::Quarantine;
use crate::region::Region;
use crate::spent::SpentBook;
use crate::time::{DurationMs, Timestamp};
use crate::webhook::Webhook;
use crate::worker::WorkerRecord;

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalState {
    /// The handler's output was recorded.
    Completed,
    /// The handler failed, or nothing could be made of the job.
    Failed,
    /// Someone cancelled it.
    Cancelled,
    /// Its TTL ended in the queue.
    TimedOut,
}

/// The record of a job that ended; write-once within a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedJob {
    /// Which.
    pub id: JobId,
    /// Where it was sent.
    pub endpoint: EndpointId,
    /// How often it was retried by hand.
    pub generation: u32,
    /// How it ended.
    pub state: FinalState,
    /// When it came in.
    pub submitted_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Submit to the start of the last attempt, where one started.
    pub delay: Option<DurationMs>,
    /// Time inside the last attempt.
    pub execution: Option<DurationMs>,
    /// Attempts made, those that vanished included.
    pub attempts: u32,
    /// Who ran the last attempt: an incarnation of ours, or RunPod's worker id.
    pub worker: Option<String>,
    /// Where the last attempt ran.
    pub pool: Option<PoolId>,
    /// The output; zero bytes under handle 0 when there is none.
    pub output: PayloadRef,
    /// The error, for a failed job.
    pub error: Option<String>,
    /// A code for errors that are ours, not the handler's: `worker_lost`, `execution_timeout`, …
    pub error_code: Option<String>,
    /// Knows a repeated result post.
    pub body_sha256: Option<String>,
    /// Keep it until then.
    pub expires_at: Timestamp,
    /// Where to report the end.
    pub webhook: Option<String>,
    /// What a retry of it is submitted with, where that is not the endpoint's default.
    pub terms: Option<Box<Terms>>,
    /// Where it stands in its caller's trace; a retry goes on there.
    #[serde(default)]
    pub trace: Option<String>,
    /// Where its caller was, where known.
    #[serde(default)]
    pub region: Option<Region>,
}

/// What a job was submitted with beside its input: a retry has the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// How long an attempt may run.
    pub execution_timeout: DurationMs,
    /// How long the job may exist, from its submission or its retry on.
    pub ttl: DurationMs,
    /// Label by which durations are learned.
    pub class: u32,
    /// It never causes a scale-up.
    pub low_priority: bool,
    /// What the worker must see beside `input`, as the gateway gave it.
    pub extras: Option<String>,
}

/// One line of a job's story: an attempt that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedAttempt {
    /// Which.
    pub id: AttemptId,
    /// Where it ran.
    pub pool: PoolId,
    /// On whom.
    pub worker: Option<String>,
    /// When it was handed out.
    pub leased_at: Timestamp,
    /// When it began to run, where known.
    pub started_at: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Timestamp,
    /// How: `completed`, `failed`, `worker_lost`, `no_result`, `taken_back`, …
    pub outcome: String,
    /// For one at RunPod: what its pool was then.
    #[serde(default)]
    pub site: Option<Box<Site>>,
}

/// Where an attempt at RunPod ran, and why there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// The type of GPU, where it is known.
    pub gpu: Option<String>,
    /// The region of its pool, where configured.
    pub region: Option<Region>,
    /// Why its pool was chosen; forgotten by a restart before its end.
    pub because: Option<Because>,
}

/// A durable change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// An endpoint is new or changed.
    EndpointPut(EndpointRecord),
    /// A pool is new or changed.
    PoolPut(PoolRecord),
    /// A live job is new or changed. With `input`, its input's bytes are to be stored too.
    JobPut {
        /// The job.
        job: Job,
        /// Its input, when it is new.
        input: Option<PayloadRef>,
        /// Its idempotency key, when it is new and has one.
        idempotency: Option<Idempotency>,
    },
    /// A job ended: its record replaces the live one.
    JobEnded(EndedJob),
    /// A live attempt is new or changed.
    AttemptPut(Attempt),
    /// An attempt is over.
    AttemptEnded(EndedAttempt),
    /// A chunk of a job's stream; the store numbers them from 0 within their attempt.
    ChunkAdded {
        /// Whose.
        attempt: AttemptId,
        /// The bytes.
        chunk: PayloadRef,
    },
    /// The last progress of a running job.
    ProgressPut {
        /// Whose.
        attempt: AttemptId,
        /// The bytes.
        progress: PayloadRef,
    },
    /// A worker incarnation is new or changed.
    WorkerPut(WorkerRecord),
    /// A worker incarnation is no more.
    WorkerGone {
        /// Which.
        worker: WorkerId,
    },
    /// A line of the ledger.
    LedgerAdded(Entry),
    /// What is kept of the caps on everything changed.
    BudgetPut(BudgetRecord),
    /// Cards that must not be used, all of them.
    QuarantinesPut(BTreeMap<String, Quarantine>),
    /// The report of an end is new or changed; a new one comes in the same batch as the end.
    WebhookPut(Box<Webhook>),
    /// Something that someone did, for the audit trail.
    Audited {
        /// When.
        at: Timestamp,
        /// What happened: `result_stale`, `limits_set`, …
        what: String,
        /// To which thing.
        object: String,
        /// In words.
        detail: String,
    },
}

/// All durable state that a core is restored from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// By id.
    pub endpoints: BTreeMap<EndpointId, EndpointRecord>,
    /// By id.
    pub pools: BTreeMap<PoolId, PoolRecord>,
    /// Live jobs.
    #[serde(with = "as_list")]
    pub jobs: BTreeMap<JobId, Job>,
    /// Live attempts.
    #[serde(with = "as_list")]
    pub attempts: BTreeMap<AttemptId, Attempt>,
    /// Live incarnations.
    #[serde(with = "as_list")]
    pub workers: BTreeMap<WorkerId, WorkerRecord>,
    /// What is kept of the caps on everything.
    #[serde(default)]
    pub budget: BudgetRecord,
    /// Sums of the ledger's lines of the last month.
    #[serde(default)]
    pub spent: SpentBook,
    /// Sums of the ledger's lines of the last days, by hour and pool.
    #[serde(default)]
    pub booked: BookedHours,
    /// Cards that must not be used, by what each is known by over restarts.
    #[serde(default)]
    pub quarantines: BTreeMap<String, Quarantine>,
}

impl Snapshot {
    /// Applies one change, as a store does.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::EndpointPut(record) => {
                self.endpoints.insert(record.id, record.clone());
            }
            Change::PoolPut(record) => {
                self.pools.insert(record.id, record.clone());
            }
            Change::JobPut { job, .. } => {
                self.jobs.insert(job.id, job.clone());
            }
            Change::JobEnded(ended) => {
                self.jobs.remove(&ended.id);
            }
            Change::AttemptPut(attempt) => {
                self.attempts.insert(attempt.id, attempt.clone());
            }
            Change::AttemptEnded(ended) => {
                self.attempts.remove(&ended.id);
            }
            Change::WorkerPut(record) => {
                self.workers.insert(record.id, record.clone());
            }
            Change::WorkerGone { worker } => {
                self.workers.remove(worker);
            }
            Change::LedgerAdded(entry) => {
                self.spent.add(entry);
                self.booked.add(entry);
            }
            Change::BudgetPut(record) => self.budget = record.clone(),
            Change::QuarantinesPut(all) => self.quarantines.clone_from(all),
            Change::ChunkAdded { .. }
            | Change::ProgressPut { .. }
            | Change::WebhookPut(_)
            | Change::Audited { .. } => {}
        }
    }
}

/// Maps with structured keys, as lists of pairs: JSON objects take only text as keys.
pub(crate) mod as_list {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(crate) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?
            .into_iter()
            .collect())
    }
}
