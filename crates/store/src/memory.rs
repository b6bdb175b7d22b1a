//! A store in memory, with failures to order: for the simulator and for tests of the engine.
//!
//! It keeps nothing over the end of the process. It treats changes exactly as a durable driver does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use overspill_core::attempt::Place;
use overspill_core::change::{Change, EndedAttempt, EndedJob, Snapshot};
use overspill_core::event::PayloadRef;
use overspill_core::id::{AttemptId, EndpointId, JobId};
use overspill_core::job::{Job, JobState};
use overspill_core::ledger::Entry;
use overspill_core::money::NanoUsd;
use overspill_core::time::{DurationMs, Timestamp};
use overspill_core::webhook::{Webhook, WebhookId, WebhookState};

use crate::error::{CommitError, StoreError};
use crate::record::{
    AuditRow, Chunk, Counts, IdempotentJob, JobFilter, JobRow, KeyRecord, RowState,
    SPENT_BUCKET_MS, Space, Spent, SpentFilter, SpentRow, WebhookFilter,
};
use crate::{Batch, Reader, Store};

/// How long an idempotency key is kept at least.
pub(crate) const IDEMPOTENCY_KEPT: DurationMs = DurationMs::from_secs(24 * 3_600);

/// A job that a webhook needs beyond its retention is looked at again after this long.
pub(crate) const HELD_PUT_OFF: DurationMs = DurationMs::from_secs(3_600);

/// How an ordered failure shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// [`CommitError::NotStored`].
    NotStored,
    /// [`CommitError::NotStored`] with [`StoreError::Full`].
    Full,
    /// [`CommitError::Unknown`], and the batch is stored.
    UnknownStored,
    /// [`CommitError::Unknown`], and the batch is not stored.
    UnknownNotStored,
    /// [`CommitError::Fatal`]; every later commit fails too.
    Fatal,
}

/// The writer.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

/// Gives orders to a [`MemoryStore`] that someone else owns.
#[derive(Debug, Clone)]
pub struct Saboteur {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Clone, Default)]
struct State {
    snapshot: Snapshot,
    inputs: BTreeMap<JobId, Bytes>,
    ended: BTreeMap<JobId, EndedJob>,
    outputs: BTreeMap<(JobId, u32), Bytes>,
    progress: BTreeMap<AttemptId, Bytes>,
    chunks: BTreeMap<(AttemptId, u32), Bytes>,
    story: BTreeMap<AttemptId, EndedAttempt>,
    idempotency: BTreeMap<(EndpointId, String), (IdempotentJob, Timestamp)>,
    ledger: Vec<Entry>,
    audit: Vec<AuditRow>,
    counts: BTreeMap<EndpointId, Counts>,
    webhooks: BTreeMap<WebhookId, Webhook>,
    keys: BTreeMap<String, KeyRecord>,
    meta: BTreeMap<String, Vec<u8>>,
    commits: u64,
    failures: BTreeMap<u64, Failure>,
    is_stopped: bool,
    is_full: bool,
}

impl MemoryStore {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// For ordering failures once the engine owns the store.
    #[must_use]
    pub fn saboteur(&self) -> Saboteur {
        Saboteur {
            state: Arc::clone(&self.state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Saboteur {
    /// Lets the `nth` commit from now fail; 1 is the next one.
    pub fn fail(&self, nth: u64, failure: Failure) {
        let mut state = lock(&self.state);
        let number = state.commits + nth;
        state.failures.insert(number, failure);
    }

    /// Makes the disk look full at the door, or no longer so.
    pub fn set_full(&self, is_full: bool) {
        lock(&self.state).is_full = is_full;
    }

    /// Commits asked for so far, failed ones included.
    #[must_use]
    pub fn commits(&self) -> u64 {
        lock(&self.state).commits
    }

    /// A store over the same state: what a process finds after a restart.
    #[must_use]
    pub fn reopen(&self) -> MemoryStore {
        let mut state = lock(&self.state);
        state.is_stopped = false;
        MemoryStore {
            state: Arc::clone(&self.state),
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no holder of the state panics")
}

impl Store for MemoryStore {
    fn restore(&mut self) -> Result<Snapshot, StoreError> {
        Ok(self.state().snapshot.clone())
    }

    fn commit(&mut self, batch: &Batch<'_>) -> Result<(), CommitError> {
        let mut state = self.state();
        state.commits += 1;
        if state.is_stopped {
            return Err(CommitError::Fatal(StoreError::Stopped));
        }
        let number = state.commits;
        let failure = state.failures.remove(&number);
        match failure {
            Some(Failure::NotStored) => {
                return Err(CommitError::NotStored(StoreError::Injected));
            }
            Some(Failure::Full) => {
                return Err(CommitError::NotStored(StoreError::Full(Box::new(
                    StoreError::Injected,
                ))));
            }
            Some(Failure::UnknownNotStored) => {
                return Err(CommitError::Unknown(StoreError::Injected));
            }
            Some(Failure::Fatal) => {
                state.is_stopped = true;
                return Err(CommitError::Fatal(StoreError::Injected));
            }
            Some(Failure::UnknownStored) | None => {}
        }
        state.check(batch).map_err(CommitError::NotStored)?;
        for change in batch.changes {
            state.apply(change, batch).map_err(CommitError::NotStored)?;
        }
        if failure == Some(Failure::UnknownStored) {
            return Err(CommitError::Unknown(StoreError::Injected));
        }
        Ok(())
    }

    fn idempotent(
        &mut self,
        endpoint: EndpointId,
        key: &str,
    ) -> Result<Option<IdempotentJob>, StoreError> {
        let state = self.state();
        Ok(state
            .idempotency
            .get(&(endpoint, key.to_owned()))
            .map(|(job, _)| job.clone()))
    }

    fn expire(&mut self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let mut state = self.state();
        let mut over: Vec<(Timestamp, JobId)> = state
            .ended
            .values()
            .filter(|job| job.expires_at <= now)
            .map(|job| (job.expires_at, job.id))
            .collect();
        over.sort_unstable();
        over.truncate(limit);
        for (_, id) in &over {
            if state.holds(*id, now) {
                if let Some(ended) = state.ended.get_mut(id) {
                    ended.expires_at = now + HELD_PUT_OFF;
                }
                continue;
            }
            state.webhooks.retain(|webhook, _| webhook.job != *id);
            state.ended.remove(id);
            state.inputs.remove(id);
            state.outputs.retain(|(job, _), _| job != id);
            state.chunks.retain(|(attempt, _), _| attempt.job != *id);
            state.progress.retain(|attempt, _| attempt.job != *id);
            state.story.retain(|attempt, _| attempt.job != *id);
        }
        state.idempotency.retain(|_, (_, until)| *until > now);
        state.webhooks.retain(|_, webhook| {
            let is_over = webhook.state != WebhookState::Due && webhook.keep_until <= now;
            webhook.alert.is_none() || !is_over
        });
        Ok(over.len())
    }

    fn checkpoint(&mut self, _is_idle: bool) -> Result<(), StoreError> {
        Ok(())
    }

    fn put_key(&mut self, key: &KeyRecord) -> Result<(), StoreError> {
        self.state().keys.insert(key.id.clone(), key.clone());
        Ok(())
    }

    fn revoke_key(&mut self, id: &str, at: Timestamp) -> Result<bool, StoreError> {
        let mut state = self.state();
        let Some(key) = state.keys.get_mut(id) else {
            return Ok(false);
        };
        key.revoked_at.get_or_insert(at);
        Ok(true)
    }

    fn keys(&mut self) -> Result<Vec<KeyRecord>, StoreError> {
        Ok(self.state().keys.values().cloned().collect())
    }

    fn meta(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.state().meta.get(name).cloned())
    }

    fn put_meta(&mut self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        self.state().meta.insert(name.to_owned(), value.to_vec());
        Ok(())
    }

    fn space(&self) -> Result<Space, StoreError> {
        Ok(Space {
            free_bytes: None,
            has_reserve: !self.state().is_full,
        })
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.state().is_stopped = true;
        Ok(())
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(MemoryReader {
            state: Arc::clone(&self.state),
        })
    }
}

impl State {
    /// Whether a job must be kept for one of its webhooks.
    fn holds(&self, job: JobId, now: Timestamp) -> bool {
        let mut webhooks = self.webhooks.values();
        webhooks.any(|webhook| webhook.id.job == job && webhook.keep_until > now)
    }

    /// Forgets an output that no end has any more, unless a webhook still reports it.
    fn drop_output(&mut self, id: WebhookId) {
        let webhook = self.webhooks.get(&id);
        let is_reported = webhook.is_some_and(|w| w.state != WebhookState::Delivered);
        let ended = self.ended.get(&id.job);
        let is_current = ended.is_some_and(|ended| ended.generation == id.generation);
        if !is_reported && !is_current {
            self.outputs.remove(&(id.job, id.generation));
        }
    }

    /// Refuses a batch before anything of it is applied, so that a refusal changes nothing.
    fn check(&self, batch: &Batch<'_>) -> Result<(), StoreError> {
        let mut keys = Vec::new();
        // What this batch has ended so far; a retry within it ends it again.
        let mut ended: BTreeMap<JobId, u32> = BTreeMap::new();
        for change in batch.changes {
            match change {
                Change::JobPut {
                    job,
                    input,
                    idempotency,
                } => {
                    if let Some(input) = input {
                        batch.payload(*input)?;
                    }
                    if let Some(idempotency) = idempotency {
                        let key = (job.endpoint, idempotency.key.clone());
                        if self.idempotency.contains_key(&key) || keys.contains(&key) {
                            return Err(conflict_key(&idempotency.key));
                        }
                        keys.push(key);
                    }
                }
                Change::JobEnded(job) => {
                    batch.payload(job.output)?;
                    let before = ended
                        .insert(job.id, job.generation)
                        .or_else(|| self.ended.get(&job.id).map(|old| old.generation));
                    if before.is_some_and(|generation| generation >= job.generation) {
                        return Err(conflict_end(job));
                    }
                }
                Change::ChunkAdded { chunk, .. } => {
                    batch.payload(*chunk)?;
                }
                Change::ProgressPut { progress, .. } => {
                    batch.payload(*progress)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn apply(&mut self, change: &Change, batch: &Batch<'_>) -> Result<(), StoreError> {
        let bytes = |payload: PayloadRef| {
            Ok::<_, StoreError>(batch.payload(payload)?.map(Bytes::copy_from_slice))
        };
        match change {
            Change::JobPut {
                job,
                input,
                idempotency,
            } => {
                if let Some(input) = bytes(input.unwrap_or_default())? {
                    self.inputs.insert(job.id, input);
                }
                if let Some(old) = self.ended.get(&job.id)
                    && old.generation < job.generation
                {
                    let id = WebhookId {
                        job: job.id,
                        generation: old.generation,
                    };
                    self.ended.remove(&job.id);
                    self.drop_output(id);
                }
                if let Some(idempotency) = idempotency {
                    let until = job.expires_at.max(job.submitted_at + IDEMPOTENCY_KEPT);
                    let stands_for = IdempotentJob {
                        job: job.id,
                        body_sha256: idempotency.body_sha256.clone(),
                    };
                    self.idempotency
                        .insert((job.endpoint, idempotency.key.clone()), (stands_for, until));
                }
            }
            Change::JobEnded(job) => {
                if let Some(output) = bytes(job.output)? {
                    self.outputs.insert((job.id, job.generation), output);
                }
                self.counts.entry(job.endpoint).or_default().add(
                    job.state,
                    job.generation,
                    job.attempts,
                );
                let mut job = job.clone();
                job.output.handle = 0;
                self.ended.insert(job.id, job);
            }
            Change::AttemptEnded(attempt) => {
                self.progress.remove(&attempt.id);
                self.story.insert(attempt.id, attempt.clone());
            }
            Change::ChunkAdded { attempt, chunk } => {
                let chunk = bytes(*chunk)?.unwrap_or_default();
                let stored = self.chunks.range((*attempt, 0)..=(*attempt, u32::MAX));
                let number = stored.last().map_or(0, |((_, last), _)| last + 1);
                self.chunks.insert((*attempt, number), chunk);
            }
            Change::ProgressPut { attempt, progress } => {
                let progress = bytes(*progress)?.unwrap_or_default();
                self.progress.insert(*attempt, progress);
            }
            Change::WebhookPut(webhook) => {
                self.webhooks.insert(webhook.id, (**webhook).clone());
                self.drop_output(webhook.id);
            }
            Change::LedgerAdded(entry) => self.ledger.push(entry.clone()),
            Change::Audited {
                at,
                what,
                object,
                detail,
            } => {
                let number = self.audit.len() as u64 + 1;
                self.audit.push(AuditRow {
                    number,
                    at: *at,
                    what: what.clone(),
                    object: object.clone(),
                    detail: detail.clone(),
                });
            }
            Change::EndpointPut(_)
            | Change::BudgetPut(_)
            | Change::QuarantinesPut(_)
            | Change::PoolPut(_)
            | Change::AttemptPut(_)
            | Change::WorkerPut(_)
            | Change::WorkerGone { .. } => {}
        }
        self.snapshot.apply(change);
        Ok(())
    }

    fn live_row(&self, job: &Job) -> JobRow {
        let attempt = match job.state {
            JobState::Queued => None,
            JobState::Attempted { number } => self.snapshot.attempts.get(&AttemptId {
                job: job.id,
                generation: job.generation,
                number,
            }),
        };
        JobRow {
            id: job.id,
            endpoint: job.endpoint,
            generation: job.generation,
            state: match job.state {
                JobState::Queued => RowState::Queued,
                JobState::Attempted { .. } => RowState::Running,
            },
            submitted_at: job.submitted_at,
            leased_at: attempt.map(|a| a.leased_at),
            ended_at: None,
            delay: None,
            execution: None,
            attempts: job.attempts,
            pool: attempt.map(|a| a.pool),
            worker: attempt.and_then(|a| worker_of(&a.place)),
            error: None,
            error_code: None,
            expires_at: job.expires_at,
            region: job.region,
        }
    }
}

/// Who runs an attempt, as it is shown: an incarnation of ours, or RunPod's worker id.
pub(crate) fn worker_of(place: &Place) -> Option<String> {
    use overspill_core::attempt::CloudPhase;
    match place {
        Place::Local { worker } => Some(worker.to_string()),
        Place::Cloud(CloudPhase::Running { worker, .. }) => worker.clone(),
        Place::Cloud(_) => None,
    }
}

/// The line of a job that ended.
pub(crate) fn ended_row(job: EndedJob) -> JobRow {
    JobRow {
        id: job.id,
        endpoint: job.endpoint,
        generation: job.generation,
        state: RowState::Ended(job.state),
        submitted_at: job.submitted_at,
        leased_at: None,
        ended_at: Some(job.ended_at),
        delay: job.delay,
        execution: job.execution,
        attempts: job.attempts,
        pool: job.pool,
        worker: job.worker,
        error: job.error,
        error_code: job.error_code,
        expires_at: job.expires_at,
        region: job.region,
    }
}

pub(crate) fn conflict_key(key: &str) -> StoreError {
    StoreError::Conflict {
        what: format!("the idempotency key {key:?}"),
    }
}

pub(crate) fn conflict_end(job: &EndedJob) -> StoreError {
    StoreError::Conflict {
        what: format!("the end of job {} in generation {}", job.id, job.generation),
    }
}

struct MemoryReader {
    state: Arc<Mutex<State>>,
}

impl MemoryReader {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Reader for MemoryReader {
    fn ended(&self, job: JobId) -> Result<Option<EndedJob>, StoreError> {
        Ok(self.state().ended.get(&job).cloned())
    }

    fn row(&self, job: JobId) -> Result<Option<JobRow>, StoreError> {
        let state = self.state();
        if let Some(live) = state.snapshot.jobs.get(&job) {
            return Ok(Some(state.live_row(live)));
        }
        Ok(state.ended.get(&job).cloned().map(ended_row))
    }

    fn input(&self, job: JobId) -> Result<Option<Bytes>, StoreError> {
        Ok(self.state().inputs.get(&job).cloned())
    }

    fn output(&self, job: JobId, generation: u32) -> Result<Option<Bytes>, StoreError> {
        let state = self.state();
        let ended = state.ended.get(&job);
        let is_current = ended.is_some_and(|ended| ended.generation == generation);
        let output = state.outputs.get(&(job, generation));
        Ok(output.filter(|_| is_current).cloned())
    }

    fn progress(&self, attempt: AttemptId) -> Result<Option<Bytes>, StoreError> {
        Ok(self.state().progress.get(&attempt).cloned())
    }

    fn chunks(
        &self,
        attempt: AttemptId,
        from: u32,
        max_bytes: u64,
    ) -> Result<Vec<Chunk>, StoreError> {
        let state = self.state();
        let mut chunks = Vec::new();
        let mut total = 0;
        for ((_, number), bytes) in state.chunks.range((attempt, from)..=(attempt, u32::MAX)) {
            total += bytes.len() as u64;
            if total > max_bytes && !chunks.is_empty() {
                break;
            }
            chunks.push(Chunk {
                number: *number,
                bytes: bytes.clone(),
            });
        }
        Ok(chunks)
    }

    fn story(&self, job: JobId) -> Result<Vec<EndedAttempt>, StoreError> {
        let state = self.state();
        let of_job = state.story.values().filter(|attempt| attempt.id.job == job);
        Ok(of_job.cloned().collect())
    }

    fn jobs(
        &self,
        filter: &JobFilter,
        after: Option<JobId>,
        limit: usize,
    ) -> Result<Vec<JobRow>, StoreError> {
        let state = self.state();
        let live = state.snapshot.jobs.values().map(|job| state.live_row(job));
        let ended = state
            .ended
            .values()
            .filter(|job| !state.snapshot.jobs.contains_key(&job.id))
            .cloned()
            .map(ended_row);
        let mut rows: Vec<JobRow> = live
            .chain(ended)
            .filter(|row| filter.matches(row.endpoint, row.state))
            .filter(|row| after.is_none_or(|after| row.id < after))
            .collect();
        rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.id));
        rows.truncate(limit);
        Ok(rows)
    }

    fn spent(&self, filter: &SpentFilter) -> Result<Vec<Spent>, StoreError> {
        let mut sums: BTreeMap<_, Spent> = BTreeMap::new();
        self.spent_rows(filter, &mut |row| {
            let row = row.sum;
            sums.entry((row.endpoint, row.pool, row.kind))
                .and_modify(|sum| {
                    sum.entries += row.entries;
                    sum.worker_time = sum.worker_time + row.worker_time;
                    sum.amount += row.amount;
                })
                .or_insert(row);
        })?;
        Ok(sums.into_values().collect())
    }

    fn spent_rows(
        &self,
        filter: &SpentFilter,
        take: &mut dyn FnMut(SpentRow),
    ) -> Result<(), StoreError> {
        let state = self.state();
        let bucket = |at: Timestamp| at.as_millis().div_euclid(SPENT_BUCKET_MS);
        let mut sums: BTreeMap<_, SpentRow> = BTreeMap::new();
        for entry in &state.ledger {
            if is_of_another(filter, entry)
                || filter.since.is_some_and(|at| bucket(entry.at) < bucket(at))
                || filter
                    .until
                    .is_some_and(|at| bucket(entry.at) >= bucket(at))
            {
                continue;
            }
            let place = (
                bucket(entry.at),
                (entry.endpoint, entry.pool, entry.kind),
                (entry.gpu.clone(), entry.region.clone(), entry.key),
            );
            let row = sums.entry(place).or_insert_with(|| SpentRow {
                from: Timestamp::from_millis(bucket(entry.at) * SPENT_BUCKET_MS),
                sum: Spent {
                    endpoint: entry.endpoint,
                    pool: entry.pool,
                    kind: entry.kind,
                    entries: 0,
                    worker_time: DurationMs::ZERO,
                    amount: NanoUsd::ZERO,
                },
                gpu: entry.gpu.clone(),
                region: entry.region.clone(),
                key: entry.key,
            });
            row.sum.entries += 1;
            row.sum.worker_time = row.sum.worker_time + entry.worker_time;
            row.sum.amount += entry.amount;
        }
        sums.into_values().for_each(take);
        Ok(())
    }

    fn entries_of_jobs(
        &self,
        filter: &SpentFilter,
        take: &mut dyn FnMut(Entry),
    ) -> Result<(), StoreError> {
        let state = self.state();
        let its = state.ledger.iter().filter(|entry| {
            entry.job.is_some()
                && !is_of_another(filter, entry)
                && filter.since.is_none_or(|at| entry.at >= at)
                && filter.until.is_none_or(|at| entry.at < at)
        });
        its.cloned().for_each(take);
        Ok(())
    }

    fn entries_of(&self, job: JobId) -> Result<Vec<Entry>, StoreError> {
        let state = self.state();
        let its = state.ledger.iter();
        Ok(its
            .filter(|entry| entry.job == Some(job))
            .cloned()
            .collect())
    }

    fn audit(&self, before: Option<u64>, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        let state = self.state();
        let rows = state.audit.iter().rev();
        Ok(rows
            .filter(|row| before.is_none_or(|before| row.number < before))
            .take(limit)
            .cloned()
            .collect())
    }

    fn counts(&self, endpoint: EndpointId) -> Result<Counts, StoreError> {
        Ok(self
            .state()
            .counts
            .get(&endpoint)
            .copied()
            .unwrap_or_default())
    }

    fn webhook(&self, id: WebhookId) -> Result<Option<Webhook>, StoreError> {
        Ok(self.state().webhooks.get(&id).cloned())
    }

    fn webhooks(
        &self,
        filter: &WebhookFilter,
        after: Option<WebhookId>,
        limit: usize,
    ) -> Result<Vec<Webhook>, StoreError> {
        let state = self.state();
        let newest_first = state.webhooks.values().rev();
        Ok(newest_first
            .filter(|webhook| after.is_none_or(|after| webhook.id < after))
            .filter(|webhook| filter.matches(webhook))
            .take(limit)
            .cloned()
            .collect())
    }

    fn webhook_receivers(&self) -> Result<Vec<(String, Timestamp)>, StoreError> {
        let mut receivers: BTreeMap<String, Timestamp> = BTreeMap::new();
        let state = self.state();
        let due = state.webhooks.values();
        for webhook in due.filter(|webhook| webhook.state == WebhookState::Due) {
            let at = receivers
                .entry(webhook.receiver())
                .or_insert(webhook.next_at);
            *at = (*at).min(webhook.next_at);
        }
        Ok(receivers.into_iter().collect())
    }

    fn webhooks_due(
        &self,
        receiver: &str,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Webhook>, StoreError> {
        let state = self.state();
        let is_due = |webhook: &&Webhook| {
            webhook.state == WebhookState::Due
                && webhook.next_at <= now
                && webhook.receiver() == receiver
        };
        let mut due: Vec<Webhook> = state.webhooks.values().filter(is_due).cloned().collect();
        due.sort_by_key(|webhook| (webhook.next_at, webhook.id));
        due.truncate(limit);
        Ok(due)
    }

    fn webhook_output(&self, id: WebhookId) -> Result<Option<Bytes>, StoreError> {
        Ok(self.state().outputs.get(&(id.job, id.generation)).cloned())
    }
}

/// Whether an entry is of another endpoint or kind than is asked for.
fn is_of_another(filter: &SpentFilter, entry: &Entry) -> bool {
    filter
        .endpoint
        .is_some_and(|wanted| wanted != entry.endpoint)
        || filter.kind.is_some_and(|wanted| wanted != entry.kind)
}
