//! Records as rows, and back.

use overspill_core::attempt::{Attempt, CloudPhase, Fence, Place};
use overspill_core::change::{EndedAttempt, EndedJob, FinalState, Site, Terms};
use overspill_core::event::PayloadRef;
use overspill_core::id::{AttemptId, EndpointId, JobId, KeyId, PoolId, WorkerId};
use overspill_core::job::{Job, JobExtras, JobState};
use overspill_core::ledger::{Cause, Entry, EntryKind};
use overspill_core::money::NanoUsd;
use overspill_core::region::Region;
use overspill_core::time::{DurationMs, Timestamp};
use overspill_core::webhook::{Webhook, WebhookState};
use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::table::{Put, Table, Values, checked, damaged};
use crate::error::StoreError;
use crate::record::KeyRecord;

pub(super) type JobKey = [u8; 17];
pub(super) type AttemptKey = [u8; 25];

pub(super) fn job_key(id: JobId) -> JobKey {
    let mut key = [0; 17];
    key[..16].copy_from_slice(&id.uuid().to_be_bytes());
    key[16] = u8::from(id.is_sync());
    key
}

pub(super) fn attempt_key(id: AttemptId) -> AttemptKey {
    let mut key = [0; 25];
    key[..17].copy_from_slice(&job_key(id.job));
    key[17..21].copy_from_slice(&id.generation.to_be_bytes());
    key[21..].copy_from_slice(&id.number.to_be_bytes());
    key
}

/// The keys of all attempts of a job lie between these two.
pub(super) fn attempt_range(job: JobId) -> (AttemptKey, AttemptKey) {
    let key = |n| {
        attempt_key(AttemptId {
            job,
            generation: n,
            number: n,
        })
    };
    (key(0), key(u32::MAX))
}

fn parse_job_key(key: &[u8]) -> Option<JobId> {
    let (uuid, rest) = key.split_first_chunk::<16>()?;
    let [is_sync @ (0 | 1)] = rest else {
        return None;
    };
    Some(JobId::new(u128::from_be_bytes(*uuid), *is_sync == 1))
}

fn parse_attempt_key(key: &[u8]) -> Option<AttemptId> {
    let (job, numbers) = key.split_first_chunk::<17>()?;
    let (generation, number) = numbers.split_first_chunk::<4>()?;
    Some(AttemptId {
        job: parse_job_key(job)?,
        generation: u32::from_be_bytes(*generation),
        number: u32::from_be_bytes(number.try_into().ok()?),
    })
}

/// A row that is known to be what was stored.
pub(super) struct Checked<'r, 's> {
    row: &'r Row<'s>,
    table: Table,
    values: Values<'r>,
    /// Its checksum.
    pub(super) sum: u64,
}

impl<'r, 's> Checked<'r, 's> {
    pub(super) fn new(row: &'r Row<'s>, table: Table) -> Result<Self, StoreError> {
        let (values, sum) = checked(row, table)?;
        Ok(Self {
            row,
            table,
            values,
            sum,
        })
    }

    /// What was stored does not make a record: a defect, or luck against the checksum.
    pub(super) fn damaged(&self) -> StoreError {
        damaged(self.row, self.table)
    }

    pub(super) fn int(&self, column: usize) -> Result<i64, StoreError> {
        match self.values[column] {
            ValueRef::Integer(value) => Ok(value),
            _ => Err(self.damaged()),
        }
    }

    pub(super) fn opt_int(&self, column: usize) -> Result<Option<i64>, StoreError> {
        match self.values[column] {
            ValueRef::Null => Ok(None),
            _ => self.int(column).map(Some),
        }
    }

    pub(super) fn word(&self, column: usize) -> Result<u64, StoreError> {
        Ok(self.int(column)?.cast_unsigned())
    }

    pub(super) fn small<T: TryFrom<i64>>(&self, column: usize) -> Result<T, StoreError> {
        T::try_from(self.int(column)?).map_err(|_| self.damaged())
    }

    pub(super) fn time(&self, column: usize) -> Result<Timestamp, StoreError> {
        Ok(Timestamp::from_millis(self.int(column)?))
    }

    pub(super) fn opt_time(&self, column: usize) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.opt_int(column)?.map(Timestamp::from_millis))
    }

    pub(super) fn length(&self, column: usize) -> Result<DurationMs, StoreError> {
        Ok(DurationMs::from_millis(self.word(column)?))
    }

    fn opt_length(&self, column: usize) -> Result<Option<DurationMs>, StoreError> {
        let millis = self.opt_int(column)?.map(i64::cast_unsigned);
        Ok(millis.map(DurationMs::from_millis))
    }

    pub(super) fn text(&self, column: usize) -> Result<String, StoreError> {
        let text = self.values[column].as_str();
        text.map(str::to_owned).map_err(|_| self.damaged())
    }

    fn opt_text(&self, column: usize) -> Result<Option<String>, StoreError> {
        match self.values[column] {
            ValueRef::Null => Ok(None),
            _ => self.text(column).map(Some),
        }
    }

    pub(super) fn blob(&self, column: usize) -> Result<&'r [u8], StoreError> {
        self.values[column].as_blob().map_err(|_| self.damaged())
    }

    pub(super) fn job_id(&self, column: usize) -> Result<JobId, StoreError> {
        parse_job_key(self.blob(column)?).ok_or_else(|| self.damaged())
    }

    pub(super) fn opt_job_id(&self, column: usize) -> Result<Option<JobId>, StoreError> {
        match self.values[column] {
            ValueRef::Null => Ok(None),
            _ => self.job_id(column).map(Some),
        }
    }

    pub(super) fn attempt_id(&self, column: usize) -> Result<AttemptId, StoreError> {
        parse_attempt_key(self.blob(column)?).ok_or_else(|| self.damaged())
    }

    pub(super) fn endpoint(&self, column: usize) -> Result<EndpointId, StoreError> {
        Ok(EndpointId(self.small(column)?))
    }

    pub(super) fn pool(&self, column: usize) -> Result<PoolId, StoreError> {
        Ok(PoolId(self.small(column)?))
    }

    /// A key; NULL and 0 are none.
    pub(super) fn key(&self, column: usize) -> Result<Option<KeyId>, StoreError> {
        match self.opt_int(column)?.unwrap_or(0) {
            0 => Ok(None),
            bits => KeyId::from_bits(bits.cast_unsigned())
                .map(Some)
                .ok_or_else(|| self.damaged()),
        }
    }

    /// A text; NULL and the empty one are none.
    pub(super) fn label(&self, column: usize) -> Result<Option<Box<str>>, StoreError> {
        let text = self.opt_text(column)?;
        Ok(text.filter(|text| !text.is_empty()).map(Into::into))
    }

    pub(super) fn kind(&self, column: usize) -> Result<EntryKind, StoreError> {
        Ok(match self.int(column)? {
            0 => EntryKind::ColdStart,
            1 => EntryKind::Run,
            2 => EntryKind::Idle,
            3 => EntryKind::Saved,
            4 => EntryKind::Unsettled,
            5 => EntryKind::Share,
            7 => EntryKind::ColdShare,
            8 => EntryKind::IdleShare,
            9 => EntryKind::Electricity,
            number => {
                let cause = Cause::ALL.into_iter().map(EntryKind::Drift);
                let mut known = cause.filter(|&kind| kind_number(kind) == number);
                known.next().ok_or_else(|| self.damaged())?
            }
        })
    }

    /// A record kept as JSON.
    pub(super) fn json<T: serde::de::DeserializeOwned>(
        &self,
        column: usize,
    ) -> Result<T, StoreError> {
        let text = self.values[column].as_str().map_err(|_| self.damaged())?;
        serde_json::from_str(text).map_err(|_| self.damaged())
    }
}

pub(super) const fn kind_number(kind: EntryKind) -> i64 {
    match kind {
        EntryKind::ColdStart => 0,
        EntryKind::Run => 1,
        EntryKind::Idle => 2,
        EntryKind::Saved => 3,
        EntryKind::Unsettled => 4,
        EntryKind::Share => 5,
        EntryKind::Drift(cause) => match cause {
            Cause::Unexplained => 6,
            Cause::Rounding => 16,
            Cause::UnsettledSettled => 17,
            Cause::DisksAndFees => 18,
            Cause::PriceDiffers => 19,
            Cause::StandbyWorker => 20,
            Cause::ForeignWorkers => 21,
            Cause::HiddenIdle => 22,
            Cause::BilledTwice => 23,
            Cause::BilledLess => 24,
        },
        EntryKind::ColdShare => 7,
        EntryKind::IdleShare => 8,
        EntryKind::Electricity => 9,
    }
}

pub(super) const fn state_number(state: FinalState) -> i64 {
    match state {
        FinalState::Completed => 0,
        FinalState::Failed => 1,
        FinalState::Cancelled => 2,
        FinalState::TimedOut => 3,
    }
}

pub(super) fn put_job(put: &mut Put<'_>, job: &Job, input: Option<i64>) -> Result<(), StoreError> {
    put.blob(&job_key(job.id))?;
    put.int(job.endpoint.0.into())?;
    put.word(job.seq)?;
    put.int(job.submitted_at.as_millis())?;
    put.int(job.expires_at.as_millis())?;
    put.word(job.input_bytes)?;
    put.word(job.execution_timeout.as_millis())?;
    put.int(job.class.into())?;
    put.int(job.generation.into())?;
    put.int(job.attempts.into())?;
    put.int(job.lost.into())?;
    put.int(job.no_result.into())?;
    put.int(job.low_priority.into())?;
    put.int(job.local_only.into())?;
    put.opt_int(match job.state {
        JobState::Queued => None,
        JobState::Attempted { number } => Some(number.into()),
    })?;
    let extras = job.extras.as_deref();
    let webhook = extras.and_then(|extras| extras.webhook.as_deref());
    let trace = extras.and_then(|extras| extras.trace.as_deref());
    put_webhook_and(put, webhook, None, trace, job.region)?;
    put.opt_text(extras.and_then(|extras| extras.worker.as_deref()))?;
    put.int(extras.is_some().into())?;
    put.opt_int(input)?;
    put.opt_int(job.key.map(key_number))
}

/// A key's column.
pub(super) const fn key_number(key: KeyId) -> i64 {
    key.bits().cast_signed()
}

/// The column of `jobs` with the row of its input.
pub(super) const JOB_INPUT: usize = 18;

pub(super) fn get_job(row: &Checked<'_, '_>) -> Result<Job, StoreError> {
    let beside = get_webhook_and(row, 15)?;
    Ok(Job {
        id: row.job_id(0)?,
        endpoint: row.endpoint(1)?,
        seq: row.word(2)?,
        submitted_at: row.time(3)?,
        expires_at: row.time(4)?,
        input_bytes: row.word(5)?,
        execution_timeout: row.length(6)?,
        class: row.small(7)?,
        generation: row.small(8)?,
        attempts: row.small(9)?,
        lost: row.small(10)?,
        no_result: row.small(11)?,
        low_priority: row.int(12)? == 1,
        local_only: row.int(13)? == 1,
        region: beside.region,
        state: match row.opt_int(14)? {
            None => JobState::Queued,
            Some(_) => JobState::Attempted {
                number: row.small(14)?,
            },
        },
        extras: if row.int(17)? == 1 {
            Some(Box::new(JobExtras {
                webhook: beside.webhook,
                worker: row.opt_text(16)?,
                trace: beside.trace,
            }))
        } else {
            None
        },
        key: row.key(19)?,
    })
}

pub(super) fn put_attempt(put: &mut Put<'_>, attempt: &Attempt) -> Result<(), StoreError> {
    put.blob(&attempt_key(attempt.id))?;
    put.int(attempt.endpoint.0.into())?;
    put.int(attempt.pool.0.into())?;
    let (phase, worker, since, cloud_job, cloud_worker) = match &attempt.place {
        Place::Local { worker } => (0, Some(worker.bits().to_be_bytes()), None, None, None),
        Place::Cloud(CloudPhase::Submitting) => (1, None, None, None, None),
        Place::Cloud(CloudPhase::Unknown { since }) => (2, None, Some(*since), None, None),
        Place::Cloud(CloudPhase::Queued { cloud_job }) => (3, None, None, Some(cloud_job), None),
        Place::Cloud(CloudPhase::Running { cloud_job, worker }) => {
            (4, None, None, Some(cloud_job), worker.as_deref())
        }
    };
    put.int(phase)?;
    match worker {
        Some(worker) => put.blob(&worker)?,
        None => put.null()?,
    }
    put.opt_int(since.map(Timestamp::as_millis))?;
    put.opt_text(cloud_job.map(String::as_str))?;
    put.opt_text(cloud_worker)?;
    put.int(attempt.leased_at.as_millis())?;
    put.opt_int(attempt.started_at.map(Timestamp::as_millis))?;
    put.int(attempt.deadline.as_millis())?;
    put.opt_int(attempt.fenced.map(|fence| match fence {
        Fence::Cancelled => 0,
        Fence::TimedOut => 1,
        Fence::Expired => 2,
        Fence::Lost => 3,
        Fence::Superseded => 4,
    }))?;
    put.opt_int(attempt.key.map(key_number))
}

pub(super) fn get_attempt(row: &Checked<'_, '_>) -> Result<Attempt, StoreError> {
    let cloud_job = || row.opt_text(6)?.ok_or_else(|| row.damaged());
    Ok(Attempt {
        id: row.attempt_id(0)?,
        endpoint: row.endpoint(1)?,
        pool: row.pool(2)?,
        place: match row.int(3)? {
            0 => {
                let bits = row.blob(4)?.try_into().map_err(|_| row.damaged())?;
                Place::Local {
                    worker: WorkerId::new(u128::from_be_bytes(bits)),
                }
            }
            1 => Place::Cloud(CloudPhase::Submitting),
            2 => Place::Cloud(CloudPhase::Unknown {
                since: row.time(5)?,
            }),
            3 => Place::Cloud(CloudPhase::Queued {
                cloud_job: cloud_job()?,
            }),
            4 => Place::Cloud(CloudPhase::Running {
                cloud_job: cloud_job()?,
                worker: row.opt_text(7)?,
            }),
            _ => return Err(row.damaged()),
        },
        leased_at: row.time(8)?,
        started_at: row.opt_time(9)?,
        deadline: row.time(10)?,
        fenced: match row.opt_int(11)? {
            None => None,
            Some(0) => Some(Fence::Cancelled),
            Some(1) => Some(Fence::TimedOut),
            Some(2) => Some(Fence::Expired),
            Some(3) => Some(Fence::Lost),
            Some(4) => Some(Fence::Superseded),
            Some(_) => return Err(row.damaged()),
        },
        key: row.key(12)?,
    })
}

pub(super) fn put_ended(
    put: &mut Put<'_>,
    job: &EndedJob,
    input: Option<i64>,
    output: Option<i64>,
) -> Result<(), StoreError> {
    let millis = |length: DurationMs| length.as_millis().cast_signed();
    put.blob(&job_key(job.id))?;
    put.int(job.endpoint.0.into())?;
    put.int(job.generation.into())?;
    put.int(state_number(job.state))?;
    put.int(job.submitted_at.as_millis())?;
    put.int(job.ended_at.as_millis())?;
    put.opt_int(job.delay.map(millis))?;
    put.opt_int(job.execution.map(millis))?;
    put.int(job.attempts.into())?;
    put.opt_text(job.worker.as_deref())?;
    put.opt_int(job.pool.map(|pool| pool.0.into()))?;
    put.word(job.output.bytes)?;
    put.opt_text(job.error.as_deref())?;
    put.opt_text(job.error_code.as_deref())?;
    put.opt_text(job.body_sha256.as_deref())?;
    put.int(job.expires_at.as_millis())?;
    put_webhook_and(
        put,
        job.webhook.as_deref(),
        job.terms.as_deref(),
        job.trace.as_deref(),
        job.region,
    )?;
    put.opt_int(input)?;
    put.opt_int(output)
}

/// The column `webhook` of `jobs` and `ended`, where a job has terms, a trace or a region: a JSON object, which no
/// URL can be.
#[derive(Default, serde::Serialize, serde::Deserialize)]
struct WebhookAnd {
    webhook: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    terms: Option<Box<Terms>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
}

fn put_webhook_and(
    put: &mut Put<'_>,
    webhook: Option<&str>,
    terms: Option<&Terms>,
    trace: Option<&str>,
    region: Option<Region>,
) -> Result<(), StoreError> {
    if terms.is_none() && trace.is_none() && region.is_none() {
        return put.opt_text(webhook);
    }
    let all = WebhookAnd {
        webhook: webhook.map(str::to_owned),
        terms: terms.cloned().map(Box::new),
        trace: trace.map(str::to_owned),
        region,
    };
    put.text(&serde_json::to_string(&all).expect("texts and numbers are JSON"))
}

fn get_webhook_and(row: &Checked<'_, '_>, column: usize) -> Result<WebhookAnd, StoreError> {
    match row.opt_text(column)? {
        Some(text) if text.starts_with('{') => row.json(column),
        webhook => Ok(WebhookAnd {
            webhook,
            ..WebhookAnd::default()
        }),
    }
}

/// The column `worker` of `story`, where an attempt has a site: a JSON object, which no worker's id is.
#[derive(serde::Serialize, serde::Deserialize)]
struct WorkerAt {
    worker: Option<String>,
    site: Box<Site>,
}

/// The columns of `ended` with the rows of its payloads.
pub(super) const ENDED_INPUT: usize = 17;
/// See [`ENDED_INPUT`].
pub(super) const ENDED_OUTPUT: usize = 18;

pub(super) fn get_ended(row: &Checked<'_, '_>) -> Result<EndedJob, StoreError> {
    let beside = get_webhook_and(row, 16)?;
    Ok(EndedJob {
        id: row.job_id(0)?,
        endpoint: row.endpoint(1)?,
        generation: row.small(2)?,
        state: match row.int(3)? {
            0 => FinalState::Completed,
            1 => FinalState::Failed,
            2 => FinalState::Cancelled,
            3 => FinalState::TimedOut,
            _ => return Err(row.damaged()),
        },
        submitted_at: row.time(4)?,
        ended_at: row.time(5)?,
        delay: row.opt_length(6)?,
        execution: row.opt_length(7)?,
        attempts: row.small(8)?,
        worker: row.opt_text(9)?,
        pool: match row.opt_int(10)? {
            None => None,
            Some(_) => Some(row.pool(10)?),
        },
        output: PayloadRef {
            handle: 0,
            bytes: row.word(11)?,
        },
        error: row.opt_text(12)?,
        error_code: row.opt_text(13)?,
        body_sha256: row.opt_text(14)?,
        expires_at: row.time(15)?,
        webhook: beside.webhook,
        terms: beside.terms,
        trace: beside.trace,
        region: beside.region,
    })
}

pub(super) fn put_story(put: &mut Put<'_>, attempt: &EndedAttempt) -> Result<(), StoreError> {
    put.blob(&attempt_key(attempt.id))?;
    put.int(attempt.pool.0.into())?;
    match &attempt.site {
        None => put.opt_text(attempt.worker.as_deref())?,
        Some(site) => {
            let at = WorkerAt {
                worker: attempt.worker.clone(),
                site: site.clone(),
            };
            put.text(&serde_json::to_string(&at).expect("texts are JSON"))?;
        }
    }
    put.int(attempt.leased_at.as_millis())?;
    put.opt_int(attempt.started_at.map(Timestamp::as_millis))?;
    put.int(attempt.ended_at.as_millis())?;
    put.text(&attempt.outcome)
}

pub(super) fn get_story(row: &Checked<'_, '_>) -> Result<EndedAttempt, StoreError> {
    let (worker, site) = match row.opt_text(2)? {
        Some(text) if text.starts_with('{') => {
            let at: WorkerAt = row.json(2)?;
            (at.worker, Some(at.site))
        }
        worker => (worker, None),
    };
    Ok(EndedAttempt {
        id: row.attempt_id(0)?,
        pool: row.pool(1)?,
        worker,
        site,
        leased_at: row.time(3)?,
        started_at: row.opt_time(4)?,
        ended_at: row.time(5)?,
        outcome: row.text(6)?,
    })
}

pub(super) fn put_entry(put: &mut Put<'_>, row: i64, entry: &Entry) -> Result<(), StoreError> {
    put.int(row)?;
    put.int(entry.at.as_millis())?;
    put.int(entry.endpoint.0.into())?;
    put.int(entry.pool.0.into())?;
    match entry.job {
        Some(job) => put.blob(&job_key(job))?,
        None => put.null()?,
    }
    put.int(kind_number(entry.kind))?;
    put.word(entry.worker_time.as_millis())?;
    put.int(entry.amount.as_nanos())?;
    put.opt_text(entry.gpu.as_deref())?;
    put.opt_text(entry.region.as_deref())?;
    put.opt_int(entry.key.map(key_number))
}

pub(super) fn get_entry(row: &Checked<'_, '_>) -> Result<Entry, StoreError> {
    Ok(Entry {
        at: row.time(1)?,
        endpoint: row.endpoint(2)?,
        pool: row.pool(3)?,
        job: row.opt_job_id(4)?,
        kind: row.kind(5)?,
        worker_time: row.length(6)?,
        amount: NanoUsd::from_nanos(row.int(7)?),
        gpu: row.label(8)?,
        region: row.label(9)?,
        key: row.key(10)?,
    })
}

pub(super) const fn webhook_state_number(state: WebhookState) -> i64 {
    match state {
        WebhookState::Due => 0,
        WebhookState::Delivered => 1,
        WebhookState::Dead => 2,
    }
}

pub(super) fn put_webhook(
    put: &mut Put<'_>,
    webhook: &Webhook,
    output: Option<i64>,
) -> Result<(), StoreError> {
    put.blob(&job_key(webhook.id.job))?;
    put.int(webhook.id.generation.into())?;
    put.text(&webhook.receiver())?;
    put.int(webhook_state_number(webhook.state))?;
    put.int(webhook.next_at.as_millis())?;
    put.int(webhook.keep_until.as_millis())?;
    put.text(&serde_json::to_string(webhook).expect("a webhook's record is JSON"))?;
    put.opt_int(output)
}

/// The column of `webhooks` with the row of an output of its own.
pub(super) const WEBHOOK_OUTPUT: usize = 7;

pub(super) fn get_webhook(row: &Checked<'_, '_>) -> Result<Webhook, StoreError> {
    let webhook: Webhook = row.json(6)?;
    let is_its_own =
        webhook.id.job == row.job_id(0)? && webhook.id.generation == row.small::<u32>(1)?;
    is_its_own.then_some(webhook).ok_or_else(|| row.damaged())
}

pub(super) fn put_key(put: &mut Put<'_>, key: &KeyRecord) -> Result<(), StoreError> {
    let json = |list: &Vec<String>| serde_json::to_string(list).expect("texts are JSON");
    put.text(&key.id)?;
    put.text(&key.kind)?;
    put.text(&key.name)?;
    put.text(&json(&key.scopes))?;
    put.opt_text(key.endpoints.as_ref().map(json).as_deref())?;
    put.blob(&key.digest)?;
    put.int(key.created_at.as_millis())?;
    put.opt_int(key.expires_at.map(Timestamp::as_millis))?;
    put.opt_int(key.last_used_at.map(Timestamp::as_millis))?;
    put.opt_int(key.revoked_at.map(Timestamp::as_millis))
}

pub(super) fn get_key(row: &Checked<'_, '_>) -> Result<KeyRecord, StoreError> {
    Ok(KeyRecord {
        id: row.text(0)?,
        kind: row.text(1)?,
        name: row.text(2)?,
        scopes: row.json(3)?,
        endpoints: match row.opt_text(4)? {
            None => None,
            Some(_) => Some(row.json(4)?),
        },
        digest: row.blob(5)?.try_into().map_err(|_| row.damaged())?,
        created_at: row.time(6)?,
        expires_at: row.opt_time(7)?,
        last_used_at: row.opt_time(8)?,
        revoked_at: row.opt_time(9)?,
    })
}
