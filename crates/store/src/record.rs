//! Records that the store alone knows: job lists, keys, sums, the audit trail.

use bytes::Bytes;
use overspill_core::change::FinalState;
use overspill_core::id::{EndpointId, JobId, KeyId, PoolId};
use overspill_core::ledger::EntryKind;
use overspill_core::money::NanoUsd;
use overspill_core::region::Region;
use overspill_core::time::{DurationMs, Timestamp};
use overspill_core::webhook::{Webhook, WebhookState};
use serde::{Deserialize, Serialize};

/// The job that an idempotency key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotentJob {
    /// The job.
    pub job: JobId,
    /// SHA-256 of the canonical body it was submitted with, hexadecimal.
    pub body_sha256: String,
}

/// An API key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Public part, by which it is looked up.
    pub id: String,
    /// `user`, `worker`, `guard`, `bootstrap`.
    pub kind: String,
    /// For people.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Names of the endpoints it is for; `None`: all.
    pub endpoints: Option<Vec<String>>,
    /// SHA-256 of the secret with the server's pepper.
    pub digest: [u8; 32],
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was last seen, as far as that was stored.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A chunk of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// From 0 within the attempt.
    pub number: u32,
    /// What the worker posted.
    pub bytes: Bytes,
}

/// Where a listed job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowState {
    /// Waiting.
    Queued,
    /// Attempted right now.
    Running,
    /// Over.
    Ended(FinalState),
}

impl RowState {
    /// Whether it is over.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Ended(_))
    }
}

/// Which jobs are listed; the default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Only of this endpoint.
    pub endpoint: Option<EndpointId>,
    /// Only in these states; empty: in any.
    pub states: Vec<RowState>,
}

impl JobFilter {
    /// Whether a job of this endpoint in this state is listed.
    #[must_use]
    pub fn matches(&self, endpoint: EndpointId, state: RowState) -> bool {
        self.endpoint.is_none_or(|wanted| wanted == endpoint)
            && (self.states.is_empty() || self.states.contains(&state))
    }
}

/// Which webhooks are listed; the default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebhookFilter {
    /// Only of this job.
    pub job: Option<JobId>,
    /// Only of jobs of this endpoint.
    pub endpoint: Option<EndpointId>,
    /// Only in this state.
    pub state: Option<WebhookState>,
}

impl WebhookFilter {
    /// Whether a webhook is listed.
    #[must_use]
    pub fn matches(&self, webhook: &Webhook) -> bool {
        self.job.is_none_or(|job| job == webhook.id.job)
            && self
                .endpoint
                .is_none_or(|wanted| wanted == webhook.endpoint)
            && self.state.is_none_or(|state| state == webhook.state)
    }
}

/// One line of the job list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRow {
    /// Which.
    pub id: JobId,
    /// Where it was sent.
    pub endpoint: EndpointId,
    /// How often it was retried by hand.
    pub generation: u32,
    /// Where it is.
    pub state: RowState,
    /// When it came in.
    pub submitted_at: Timestamp,
    /// When its running attempt was handed out.
    pub leased_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Submit to the start of the last attempt, of an ended job.
    pub delay: Option<DurationMs>,
    /// Time inside the last attempt, of an ended job.
    pub execution: Option<DurationMs>,
    /// Attempts made in this generation.
    pub attempts: u32,
    /// Where the last attempt runs or ran.
    pub pool: Option<PoolId>,
    /// Who runs or ran it.
    pub worker: Option<String>,
    /// The error of a failed job.
    pub error: Option<String>,
    /// Its code, where the error is ours.
    pub error_code: Option<String>,
    /// Live: when its TTL ends. Ended: how long it is kept.
    pub expires_at: Timestamp,
    /// Where its caller is, where known.
    pub region: Option<Region>,
}

/// Which entries of the ledger are summed; the default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpentFilter {
    /// Only of this endpoint.
    pub endpoint: Option<EndpointId>,
    /// Only of this kind.
    pub kind: Option<EntryKind>,
    /// Only booked from then on, rounded down to a quarter of an hour.
    pub since: Option<Timestamp>,
    /// Only booked before then, rounded down to a quarter of an hour.
    pub until: Option<Timestamp>,
}

/// The sum of some entries of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// For which endpoint.
    pub endpoint: EndpointId,
    /// In which pool.
    pub pool: PoolId,
    /// For what.
    pub kind: EntryKind,
    /// How many entries.
    pub entries: u64,
    /// How much of workers' time.
    pub worker_time: DurationMs,
    /// How much money.
    pub amount: NanoUsd,
}

/// The sum of the entries of a quarter of an hour that are alike in all that is said of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpentRow {
    /// When the quarter of an hour began.
    pub from: Timestamp,
    /// What it comes to.
    pub sum: Spent,
    /// The type of GPU, where known.
    pub gpu: Option<Box<str>>,
    /// The region, where there is one.
    pub region: Option<Box<str>>,
    /// The API key that bears it.
    pub key: Option<KeyId>,
}

/// Sums are kept per quarter of an hour: boundaries of days fall on one in every time zone.
pub const SPENT_BUCKET_MS: i64 = 15 * 60 * 1_000;

/// A line of the audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// From 1, without gaps.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub what: String,
    /// To which thing.
    pub object: String,
    /// In words.
    pub detail: String,
}

/// How the jobs of an endpoint ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Completed.
    pub completed: u64,
    /// Failed.
    pub failed: u64,
    /// Cancelled.
    pub cancelled: u64,
    /// Timed out in the queue.
    pub timed_out: u64,
    /// Further attempts and further generations of jobs that ended.
    pub retried: u64,
}

impl Counts {
    /// Counts one job that ended.
    pub fn add(&mut self, state: FinalState, generation: u32, attempts: u32) {
        match state {
            FinalState::Completed => self.completed += 1,
            FinalState::Failed => self.failed += 1,
            FinalState::Cancelled => self.cancelled += 1,
            FinalState::TimedOut => self.timed_out += 1,
        }
        self.retried += u64::from(attempts.saturating_sub(1)) + u64::from(generation > 0);
    }
}

/// Room on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that can still be written, the reserve not counted; `None` when nothing is bounded.
    pub free_bytes: Option<u64>,
    /// Whether the reserve is whole.
    pub has_reserve: bool,
}

/// Below this much free space submissions are refused with `storage_full`.
pub const FREE_BYTES_MIN: u64 = 64 << 20;

impl Space {
    /// Whether new jobs may be accepted. Where there is no reserve, its size must be free as well: given up, it is
    /// what the results of running jobs need; some file systems cannot hold one at all.
    #[must_use]
    pub fn admits(&self) -> bool {
        match self.free_bytes {
            None => self.has_reserve,
            Some(free) if self.has_reserve => free >= FREE_BYTES_MIN,
            Some(free) => free >= 2 * FREE_BYTES_MIN,
        }
    }
}
