//! Durable state: what a core is restored from, and everything it does not keep in memory.
//!
//! The engine's thread owns one [`Store`] and writes the changes of a batch of events through it, in
//! one transaction with one fsync ([`Store::commit`]). Everyone else reads committed state through
//! [`Reader`]s. Payload bytes come in beside the changes ([`Batch::payloads`]): the core never sees them.
//!
//! A driver knows nothing of scheduling; it stores whole records and refuses to give back anything
//! that is not exactly what was stored. Drivers: [`sqlite::SqliteStore`], and [`memory::MemoryStore`]
//! with failures to order, for the simulator and tests. [`conformance`] is the one suite for all.
//!
//! **Words.** *Live* jobs, attempts and workers are the core's; an *ended* job is the store's alone
//! until it expires. The *story* of a job is its attempts that are over.

pub mod checksum;
pub mod conformance;
pub mod error;
pub mod memory;
pub mod record;
pub mod reserve;
pub mod sqlite;
pub mod testing;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use overspill_core::change::{Change, EndedAttempt, EndedJob, Snapshot};
use overspill_core::event::PayloadRef;
use overspill_core::id::{AttemptId, EndpointId, JobId};
use overspill_core::ledger::Entry;
use overspill_core::time::Timestamp;
use overspill_core::webhook::{Webhook, WebhookId};

pub use crate::error::{CommitError, StoreError};
pub use crate::record::{
    AuditRow, Chunk, Counts, IdempotentJob, JobFilter, JobRow, KeyRecord, RowState, Space, Spent,
    SpentFilter, SpentRow, WebhookFilter,
};

/// The name in [`Store::meta`] under which cards that must not be used are: a JSON object of
/// quarantines, by what each card is known by.
pub const QUARANTINES: &str = "quarantines";

/// The writer; owned by the engine's thread alone.
pub trait Store: Send {
    /// All durable state that a core is restored from.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when anything of it is not exactly what was stored.
    fn restore(&mut self) -> Result<Snapshot, StoreError>;

    /// Writes a batch in one transaction with one fsync; when it returns `Ok`, the batch is on disk.
    ///
    /// Changes of the same record are written once, in their last form. A failed commit leaves the
    /// core ahead of the store: throw it away and [`restore`](Self::restore).
    ///
    /// # Errors
    /// See [`CommitError`]; after [`CommitError::Fatal`] the store refuses all further commits.
    fn commit(&mut self, batch: &Batch<'_>) -> Result<(), CommitError>;

    /// The job that a client's own name for a submission stands for.
    ///
    /// A batch with a key that is stored already is refused ([`StoreError::Conflict`]): ask first.
    ///
    /// # Errors
    /// When it cannot be read.
    fn idempotent(
        &mut self,
        endpoint: EndpointId,
        key: &str,
    ) -> Result<Option<IdempotentJob>, StoreError>;

    /// Deletes up to `limit` ended jobs whose retention is over, with payloads, chunks, story and
    /// webhooks, and idempotency keys that are no longer kept. A job is kept while one of its webhooks
    /// says so ([`Webhook::keep_until`]), and looked at again after an hour. Returns the number of jobs
    /// dealt with; call again while it equals `limit`.
    ///
    /// # Errors
    /// When it cannot be written.
    fn expire(&mut self, now: Timestamp, limit: usize) -> Result<usize, StoreError>;

    /// Housekeeping between batches: copies the log back into the main file when it pays
    /// (`is_idle`), or when the log has grown to its hard limit.
    ///
    /// # Errors
    /// When it cannot be written; an IO error is as fatal as in a commit.
    fn checkpoint(&mut self, is_idle: bool) -> Result<(), StoreError>;

    /// Adds or replaces an API key, by its id.
    ///
    /// # Errors
    /// When it cannot be written.
    fn put_key(&mut self, key: &KeyRecord) -> Result<(), StoreError>;

    /// Revokes an API key; `false` when there is none of this id. A revoked key stays so.
    ///
    /// # Errors
    /// When it cannot be written.
    fn revoke_key(&mut self, id: &str, at: Timestamp) -> Result<bool, StoreError>;

    /// All API keys, revoked ones included, by id.
    ///
    /// # Errors
    /// When they cannot be read.
    fn keys(&mut self) -> Result<Vec<KeyRecord>, StoreError>;

    /// A named value of the installation: its id, the server's secret, what the scaler has learned.
    ///
    /// # Errors
    /// When it cannot be read.
    fn meta(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Sets a named value of the installation.
    ///
    /// # Errors
    /// When it cannot be written.
    fn put_meta(&mut self, name: &str, value: &[u8]) -> Result<(), StoreError>;

    /// Room on the disk, for refusing submissions at the door.
    ///
    /// # Errors
    /// When the file system cannot be asked.
    fn space(&self) -> Result<Space, StoreError>;

    /// Ends the writing: everything is in the main file, which is marked as whole. Commits are refused
    /// from then on. A store that is dropped without it recovers at its next start.
    ///
    /// # Errors
    /// When it cannot be written.
    fn close(&mut self) -> Result<(), StoreError>;

    /// A handle for reading committed state from any thread.
    fn reader(&self) -> Arc<dyn Reader>;
}

/// Reads committed state; any thread, while the writer writes.
pub trait Reader: Send + Sync {
    /// The record of a job that ended, in its last generation. Its `output` has handle 0 and the
    /// true length.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was stored; likewise below.
    fn ended(&self, job: JobId) -> Result<Option<EndedJob>, StoreError>;

    /// One line of the job list.
    ///
    /// # Errors
    /// As [`ended`](Self::ended).
    fn row(&self, job: JobId) -> Result<Option<JobRow>, StoreError>;

    /// The input of a job, live or ended.
    ///
    /// # Errors
    /// As [`ended`](Self::ended).
    fn input(&self, job: JobId) -> Result<Option<Bytes>, StoreError>;

    /// The output of a job that ended in this generation.
    ///
    /// # Errors
    /// As [`ended`](Self::ended).
    fn output(&self, job: JobId, generation: u32) -> Result<Option<Bytes>, StoreError>;

    /// The last progress of a live attempt.
    ///
    /// # Errors
    /// As [`ended`](Self::ended).
    fn progress(&self, attempt: AttemptId) -> Result<Option<Bytes>, StoreError>;

    /// Chunks of an attempt's stream from number `from` on, in order, up to `max_bytes` in all, but at
    /// least one where there is one.
    ///
    /// # Errors
    /// As [`ended`](Self::ended).
    fn chunks(
        &self,
        attempt: AttemptId,
        from: u32,
        max_bytes: u64,
    ) -> Result<Vec<Chunk>, StoreError>;

    /// The attempts of a job that are over, oldest first.
    ///
    /// # Errors
    /// As [`ended`](Self::ended).
    fn story(&self, job: JobId) -> Result<Vec<EndedAttempt>, StoreError>;

    /// Jobs, live and ended, newest first by id; a page of at most `limit` that begins after the job
    /// `after`. Pages are stable: a job that ends between two pages is shown once.
    ///
    /// # Errors
    /// As [`ended`](Self::ended).
    fn jobs(
        &self,
        filter: &JobFilter,
        after: Option<JobId>,
        limit: usize,
    ) -> Result<Vec<JobRow>, StoreError>;

    /// Sums over the ledger, one per endpoint, pool and kind, in this order.
    ///
    /// # Errors
    /// As [`ended`](Self::ended).
    fn spent(&self, filter: &SpentFilter) -> Result<Vec<Spent>, StoreError>;

    /// Hands out the sums that [`spent`](Self::spent) is made of, by time.
    ///
    /// # Errors
    /// As [`ended`](Self::ended).
    fn spent_rows(
        &self,
        filter: &SpentFilter,
        take: &mut dyn FnMut(SpentRow),
    ) -> Result<(), StoreError>;

    /// Hands out the ledger's entries that one job caused, in the order in which they were written;
    /// times are exact here.
    ///
    /// # Errors
    /// As [`ended`](Self::ended).
    fn entries_of_jobs(
        &self,
        filter: &SpentFilter,
        take: &mut dyn FnMut(Entry),
    ) -> Result<(), StoreError>;

    /// The ledger's entries of one job, oldest first.
    ///
    /// # Errors
    /// As [`ended`](Self::ended).
    fn entries_of(&self, job: JobId) -> Result<Vec<Entry>, StoreError>;

    /// The audit trail, newest first; `before` is the number of a row seen last.
    ///
    /// # Errors
    /// As [`ended`](Self::ended).
    fn audit(&self, before: Option<u64>, limit: usize) -> Result<Vec<AuditRow>, StoreError>;

    /// How the jobs of an endpoint ended since it exists.
    ///
    /// # Errors
    /// As [`ended`](Self::ended).
    fn counts(&self, endpoint: EndpointId) -> Result<Counts, StoreError>;

    /// A webhook's record.
    ///
    /// # Errors
    /// As [`ended`](Self::ended).
    fn webhook(&self, id: WebhookId) -> Result<Option<Webhook>, StoreError>;

    /// Webhooks, newest job first and of one job the newest generation first; a page of at most
    /// `limit` that begins after the webhook `after`.
    ///
    /// # Errors
    /// As [`ended`](Self::ended).
    fn webhooks(
        &self,
        filter: &WebhookFilter,
        after: Option<WebhookId>,
        limit: usize,
    ) -> Result<Vec<Webhook>, StoreError>;

    /// The receivers that have webhooks due, now or later, each with the earliest time.
    ///
    /// # Errors
    /// As [`ended`](Self::ended).
    fn webhook_receivers(&self) -> Result<Vec<(String, Timestamp)>, StoreError>;

    /// Webhooks of one receiver that are due at `now`, those due longest first.
    ///
    /// # Errors
    /// As [`ended`](Self::ended).
    fn webhooks_due(
        &self,
        receiver: &str,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Webhook>, StoreError>;

    /// The output that a webhook reports; `None` for a job that ended without one, or once the end was
    /// replaced after its delivery.
    ///
    /// # Errors
    /// As [`ended`](Self::ended).
    fn webhook_output(&self, id: WebhookId) -> Result<Option<Bytes>, StoreError>;
}

/// What one commit writes.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    /// In the order in which the core asked for them.
    pub changes: &'a [Change],
    /// The bytes behind their [`PayloadRef`]s.
    pub payloads: &'a dyn Payloads,
}

/// Where the bytes of a batch's payloads are.
pub trait Payloads {
    /// The bytes behind a handle; `None` when the driver does not hold them.
    fn bytes(&self, payload: PayloadRef) -> Option<&[u8]>;
}

impl Payloads for BTreeMap<u64, Bytes> {
    fn bytes(&self, payload: PayloadRef) -> Option<&[u8]> {
        self.get(&payload.handle).map(|bytes| &bytes[..])
    }
}

impl<'a> Batch<'a> {
    /// The bytes to store for `payload`: `None` under handle 0, which means that there is no
    /// payload, or that it is stored already.
    pub(crate) fn payload(&self, payload: PayloadRef) -> Result<Option<&'a [u8]>, StoreError> {
        if payload.handle == 0 {
            return Ok(None);
        }
        self.payloads
            .bytes(payload)
            .map(Some)
            .ok_or(StoreError::PayloadMissing {
                handle: payload.handle,
            })
    }
}
