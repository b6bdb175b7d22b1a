//! Records with few words. Everything about job `n` follows from `n`.

use std::collections::BTreeMap;

use bytes::Bytes;
use overspill_core::attempt::{Attempt, Place};
use overspill_core::change::{Change, EndedAttempt, EndedJob, FinalState};
use overspill_core::event::{Idempotency, PayloadRef};
use overspill_core::id::{AttemptId, DeviceId, EndpointId, JobId, KeyId, PoolId, WorkerId};
use overspill_core::job::{Job, JobExtras, JobState};
use overspill_core::ledger::{Entry, EntryKind};
use overspill_core::money::NanoUsd;
use overspill_core::time::{DurationMs, Timestamp};
use overspill_core::worker::{WorkerRecord, WorkerState};

use crate::{Batch, CommitError, Store};

/// The endpoint that all jobs here are of.
pub const ENDPOINT: EndpointId = EndpointId(1);
/// The pool that all attempts here run in.
pub const POOL: PoolId = PoolId(3);

/// The id of job `n`; ids sort by `n`.
#[must_use]
pub fn job_id(n: u64) -> JobId {
    JobId::new((u128::from(n) << 64) | 0x8000_0000_0000_0000, false)
}

/// A moment.
#[must_use]
pub const fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// Attempt `number` of job `n`.
#[must_use]
pub fn attempt_id(n: u64, number: u32) -> AttemptId {
    AttemptId {
        job: job_id(n),
        generation: 0,
        number,
    }
}

/// The key of every other job.
#[must_use]
pub fn key() -> Option<KeyId> {
    KeyId::of("a1B2c3D4")
}

/// Job `n`, queued.
#[must_use]
pub fn job(n: u64) -> Job {
    Job {
        id: job_id(n),
        seq: n,
        submitted_at: at(1_000 + n.cast_signed()),
        expires_at: at(86_400_000),
        input_bytes: input(n).len() as u64,
        execution_timeout: DurationMs::from_secs(600),
        extras: n.is_multiple_of(7).then(|| {
            Box::new(JobExtras {
                webhook: Some(format!("https://app.example/hook/{n}")),
                worker: None,
                trace: n.is_multiple_of(14).then(|| format!("trace {n}")),
            })
        }),
        endpoint: ENDPOINT,
        class: (n % 3) as u32,
        generation: 0,
        attempts: 0,
        lost: 0,
        no_result: 0,
        low_priority: n.is_multiple_of(5),
        local_only: n.is_multiple_of(11),
        region: None,
        key: if n.is_multiple_of(2) { key() } else { None },
        state: JobState::Queued,
    }
}

/// Job `n`, with its attempt `number` under way.
#[must_use]
pub fn attempted(n: u64, number: u32) -> Job {
    Job {
        attempts: number,
        state: JobState::Attempted { number },
        ..job(n)
    }
}

/// The input of job `n`.
#[must_use]
pub fn input(n: u64) -> Vec<u8> {
    format!(
        "{{\"prompt\":\"input of {n}\",\"fill\":\"{}\"}}",
        filling(n)
    )
    .into_bytes()
}

/// The output of job `n`.
#[must_use]
pub fn output(n: u64) -> Vec<u8> {
    format!("{{\"output\":{n},\"fill\":\"{}\"}}", filling(n + 1)).into_bytes()
}

/// Between 0 and some thousand characters, so that some rows need overflow pages.
fn filling(n: u64) -> String {
    let length = if n % 16 == 3 { 6_000 } else { n * 37 % 400 };
    (0..length)
        .map(|i| char::from(b'a' + ((i * 7 + n) % 26) as u8))
        .collect()
}

/// The incarnation of this number.
#[must_use]
pub fn worker(n: u64) -> WorkerRecord {
    WorkerRecord {
        id: WorkerId::new(u128::from(n) << 70 | 5),
        endpoint: ENDPOINT,
        pool: POOL,
        device: DeviceId(0),
        minted_at: at(n.cast_signed()),
        state: WorkerState::Running { pid: 4_711 },
    }
}

/// Attempt `number` of job `n`, on a local worker.
#[must_use]
pub fn attempt(n: u64, number: u32) -> Attempt {
    Attempt {
        id: attempt_id(n, number),
        endpoint: ENDPOINT,
        pool: POOL,
        place: Place::Local {
            worker: worker(1).id,
        },
        leased_at: at(2_000 + n.cast_signed()),
        started_at: Some(at(2_000 + n.cast_signed())),
        deadline: at(602_000 + n.cast_signed()),
        fenced: None,
        key: job(n).key,
    }
}

/// Attempt `number` of job `n`, over.
#[must_use]
pub fn attempt_ended(n: u64, number: u32, outcome: &str) -> EndedAttempt {
    EndedAttempt {
        id: attempt_id(n, number),
        pool: POOL,
        worker: Some(worker(1).id.to_string()),
        leased_at: at(2_000 + n.cast_signed()),
        started_at: Some(at(2_000 + n.cast_signed())),
        ended_at: at(3_000 + n.cast_signed()),
        outcome: outcome.to_owned(),
        site: None,
    }
}

/// Job `n`, completed in its first attempt; kept until 1,000,000 ms + `n`.
#[must_use]
pub fn ended(n: u64) -> EndedJob {
    EndedJob {
        id: job_id(n),
        endpoint: ENDPOINT,
        generation: 0,
        state: FinalState::Completed,
        submitted_at: at(1_000 + n.cast_signed()),
        ended_at: at(3_000 + n.cast_signed()),
        delay: Some(DurationMs::from_millis(1_000)),
        execution: Some(DurationMs::from_millis(1_000)),
        attempts: 1,
        worker: Some(worker(1).id.to_string()),
        pool: Some(POOL),
        output: PayloadRef::default(),
        error: None,
        error_code: None,
        body_sha256: None,
        expires_at: at(1_000_000 + n.cast_signed()),
        webhook: None,
        terms: None,
        trace: None,
        region: None,
    }
}

/// An entry of a run of job `n` at `millis`.
#[must_use]
pub fn entry(n: u64, millis: i64) -> Entry {
    Entry {
        at: at(millis),
        endpoint: ENDPOINT,
        pool: POOL,
        job: Some(job_id(n)),
        kind: EntryKind::Run,
        worker_time: DurationMs::from_millis(1_000),
        amount: NanoUsd::from_nanos(122_222),
        gpu: n.is_multiple_of(3).then(|| "NVIDIA A40".into()),
        region: None,
        key: job(n).key,
    }
}

/// Changes of a batch that is being put together, with their payloads.
#[derive(Debug, Default)]
pub struct Work {
    /// In order.
    pub changes: Vec<Change>,
    /// By handle.
    pub payloads: BTreeMap<u64, Bytes>,
}

impl Work {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a payload.
    pub fn payload(&mut self, bytes: impl Into<Bytes>) -> PayloadRef {
        let bytes = bytes.into();
        let handle = self.payloads.len() as u64 + 1;
        let payload = PayloadRef {
            handle,
            bytes: bytes.len() as u64,
        };
        self.payloads.insert(handle, bytes);
        payload
    }

    /// Adds a change.
    pub fn change(&mut self, change: Change) -> &mut Self {
        self.changes.push(change);
        self
    }

    /// Job `n` is submitted.
    pub fn submit(&mut self, n: u64) -> &mut Self {
        self.submit_as(n, None)
    }

    /// Job `n` is submitted under a name of the client's.
    pub fn submit_as(&mut self, n: u64, key: Option<&str>) -> &mut Self {
        let input = self.payload(input(n));
        self.change(Change::JobPut {
            job: job(n),
            input: Some(input),
            idempotency: key.map(|key| Idempotency {
                key: key.to_owned(),
                body_sha256: format!("{n:064x}"),
            }),
        })
    }

    /// Job `n` is handed out for the first time.
    pub fn lease(&mut self, n: u64) -> &mut Self {
        self.change(Change::JobPut {
            job: attempted(n, 1),
            input: None,
            idempotency: None,
        });
        self.change(Change::AttemptPut(attempt(n, 1)))
    }

    /// Job `n` completes.
    pub fn complete(&mut self, n: u64) -> &mut Self {
        let output = self.payload(output(n));
        self.change(Change::AttemptEnded(attempt_ended(n, 1, "completed")));
        self.change(Change::JobEnded(EndedJob { output, ..ended(n) }));
        self.change(Change::LedgerAdded(entry(n, 3_000 + n.cast_signed())))
    }

    /// Commits it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn commit(&self, store: &mut dyn Store) -> Result<(), CommitError> {
        store.commit(&Batch {
            changes: &self.changes,
            payloads: &self.payloads,
        })
    }
}
