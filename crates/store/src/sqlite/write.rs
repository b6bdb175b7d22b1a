//! One batch of changes into one transaction.
//!
//! Changes of the same job or attempt are folded first, so that a job that is leased and ends within
//! a batch costs one row, not three.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use overspill_core::attempt::Attempt;
use overspill_core::change::{Change, EndedAttempt, EndedJob};
use overspill_core::event::{Idempotency, PayloadRef};
use overspill_core::id::{AttemptId, EndpointId, JobId, PoolId, WorkerId};
use overspill_core::job::Job;
use overspill_core::ledger::Entry;
use overspill_core::money::NanoUsd;
use overspill_core::time::DurationMs;
use overspill_core::webhook::{Webhook, WebhookId};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use super::books::{Books, Tail};
use super::codec::{
    attempt_key, job_key, key_number, kind_number, put_attempt, put_ended, put_entry, put_job,
    put_story,
};
use super::table::{Put, Table, is_conflict};
use super::webhooks;
use crate::error::StoreError;
use crate::memory::{IDEMPOTENCY_KEPT, conflict_end, conflict_key};
use crate::record::SPENT_BUCKET_MS;
use crate::{Batch, QUARANTINES};

/// The name in `meta` of what is kept of the caps on everything.
pub(super) const META_BUDGET: &str = "budget";

/// Where a batch leaves one job.
#[derive(Default)]
struct JobPlan<'a> {
    /// It comes into being in this batch.
    is_new: bool,
    /// Its live record, unless it ended.
    live: Option<&'a Job>,
    /// Its input, if it is to be stored.
    input: Option<PayloadRef>,
    /// Its end, unless it was retried after that.
    ended: Option<&'a EndedJob>,
}

/// Where a batch leaves one attempt.
#[derive(Default)]
struct AttemptPlan<'a> {
    live: Option<&'a Attempt>,
    ended: Option<&'a EndedAttempt>,
}

/// Where a batch leaves one webhook.
#[derive(Default)]
struct WebhookPlan<'a> {
    last: Option<&'a Webhook>,
}

/// What a sum of the ledger's entries is over: a quarter of an hour, endpoint, pool, kind, type of GPU,
/// region and key.
type SpentPlace = (i64, EndpointId, PoolId, i64, Box<str>, Box<str>, i64);
/// The sums of a batch's ledger entries.
type SpentPlan = HashMap<SpentPlace, (u64, DurationMs, NanoUsd)>;

/// Items in the order in which they were first named.
struct Plans<K, V> {
    places: HashMap<K, usize>,
    items: Vec<(K, V)>,
}

impl<K: Copy + Eq + std::hash::Hash, V: Default> Plans<K, V> {
    fn new() -> Self {
        Self {
            places: HashMap::new(),
            items: Vec::new(),
        }
    }

    /// The item, and whether it is named for the first time.
    fn of(&mut self, key: K) -> (&mut V, bool) {
        let (place, is_first) = match self.places.entry(key) {
            Slot::Occupied(slot) => (*slot.get(), false),
            Slot::Vacant(slot) => {
                slot.insert(self.items.len());
                self.items.push((key, V::default()));
                (self.items.len() - 1, true)
            }
        };
        (&mut self.items[place].1, is_first)
    }
}

/// Writes all of `batch` through `conn`, which is inside a transaction.
pub(super) fn write(
    conn: &Connection,
    books: &mut Books,
    batch: &Batch<'_>,
) -> Result<(), StoreError> {
    let mut jobs: Plans<JobId, JobPlan<'_>> = Plans::new();
    let mut attempts: Plans<AttemptId, AttemptPlan<'_>> = Plans::new();
    let mut webhooks: Plans<WebhookId, WebhookPlan<'_>> = Plans::new();
    let mut spent = SpentPlan::new();
    let mut ended_endpoints = Vec::new();
    let tail = &mut books.tail;
    for change in batch.changes {
        match change {
            Change::EndpointPut(record) => {
                put_record(conn, tail, Table::Endpoints, record.id.0.into(), record)?;
            }
            Change::PoolPut(record) => {
                put_record(conn, tail, Table::Pools, record.id.0.into(), record)?;
            }
            Change::JobPut {
                job,
                input,
                idempotency,
            } => {
                let input = input.filter(|input| input.handle != 0);
                let (plan, is_first) = jobs.of(job.id);
                plan.is_new |=
                    is_first && input.is_some() && job.generation == 0 && job.attempts == 0;
                plan.live = Some(job);
                plan.ended = None;
                plan.input = input.or(plan.input);
                if let Some(idempotency) = idempotency {
                    put_idempotency(conn, tail, job, idempotency)?;
                }
            }
            Change::JobEnded(job) => {
                let (plan, _) = jobs.of(job.id);
                if plan
                    .ended
                    .is_some_and(|before| before.generation >= job.generation)
                {
                    return Err(conflict_end(job));
                }
                plan.live = None;
                plan.ended = Some(job);
                let (counts, _) = books.counts.entry(job.endpoint).or_default();
                counts.add(job.state, job.generation, job.attempts);
                if !ended_endpoints.contains(&job.endpoint) {
                    ended_endpoints.push(job.endpoint);
                }
            }
            Change::AttemptPut(attempt) => {
                let (plan, _) = attempts.of(attempt.id);
                plan.live = Some(attempt);
            }
            Change::AttemptEnded(attempt) => {
                let (plan, _) = attempts.of(attempt.id);
                plan.live = None;
                plan.ended = Some(attempt);
            }
            Change::ChunkAdded { attempt, chunk } => {
                let bytes = batch.payload(*chunk)?.unwrap_or_default();
                let key = attempt_key(*attempt);
                let number = match books.chunks.entry(*attempt) {
                    Slot::Occupied(slot) => slot.into_mut(),
                    Slot::Vacant(slot) => slot.insert(next_chunk(conn, &key)?),
                };
                let mut put = Put::insert(conn, Table::Chunks)?;
                put.blob(&key)?;
                put.int((*number).into())?;
                put.blob(bytes)?;
                tail.digest(Table::Chunks).add(put.finish()?);
                *number += 1;
            }
            Change::ProgressPut { attempt, progress } => {
                let bytes = batch.payload(*progress)?.unwrap_or_default();
                let key = attempt_key(*attempt);
                if !books.progress.insert(*attempt) {
                    drop_rows(conn, tail, &Drop::Progress, &key)?;
                }
                let mut put = Put::replace(conn, Table::Progress)?;
                put.blob(&key)?;
                put.blob(bytes)?;
                tail.digest(Table::Progress).add(put.finish()?);
            }
            Change::WorkerPut(record) => {
                let key = record.id.bits().to_be_bytes();
                drop_rows(conn, tail, &Drop::Worker, &key)?;
                let mut put = Put::insert(conn, Table::Workers)?;
                put.blob(&key)?;
                put.text(&json(record)?)?;
                tail.digest(Table::Workers).add(put.finish()?);
            }
            Change::WorkerGone { worker } => drop_worker(conn, tail, *worker)?,
            Change::LedgerAdded(entry) => {
                let mut put = Put::insert(conn, Table::Ledger)?;
                put_entry(&mut put, tail.next_row(), entry)?;
                tail.digest(Table::Ledger).add(put.finish()?);
                add_spent(&mut spent, entry);
            }
            Change::BudgetPut(record) => {
                put_meta(conn, tail, META_BUDGET, json(record)?.as_bytes())?;
            }
            Change::QuarantinesPut(all) => {
                put_meta(conn, tail, QUARANTINES, json(all)?.as_bytes())?;
            }
            Change::WebhookPut(webhook) => webhooks.of(webhook.id).0.last = Some(webhook),
            Change::Audited {
                at,
                what,
                object,
                detail,
            } => {
                let mut put = Put::insert(conn, Table::Audit)?;
                put.word(tail.rows(Table::Audit) + 1)?;
                put.int(at.as_millis())?;
                put.text(what)?;
                put.text(object)?;
                put.text(detail)?;
                tail.digest(Table::Audit).add(put.finish()?);
            }
        }
    }
    for (id, plan) in &jobs.items {
        write_job(conn, tail, batch, *id, plan)?;
    }
    for (id, plan) in &attempts.items {
        write_attempt(conn, books, *id, plan)?;
    }
    for (id, plan) in &webhooks.items {
        if let Some(webhook) = plan.last {
            webhooks::write(conn, &mut books.tail, *id, webhook)?;
        }
    }
    write_spent(conn, &mut books.tail, &spent)?;
    for endpoint in ended_endpoints {
        write_counts(conn, books, endpoint)?;
    }
    Ok(())
}

/// Writes a row of `meta`.
pub(super) fn put_meta(
    conn: &Connection,
    tail: &mut Tail,
    name: &str,
    value: &[u8],
) -> Result<(), StoreError> {
    let old = conn
        .prepare_cached("SELECT sum FROM meta WHERE name = ?1")?
        .query_row([name], |row| row.get::<_, i64>(0))
        .optional()?;
    let digest = tail.digest(Table::Meta);
    if let Some(sum) = old {
        digest.remove(sum.cast_unsigned());
    }
    let mut put = Put::replace(conn, Table::Meta)?;
    put.text(name)?;
    put.blob(value)?;
    digest.add(put.finish()?);
    Ok(())
}

fn write_job(
    conn: &Connection,
    tail: &mut Tail,
    batch: &Batch<'_>,
    id: JobId,
    plan: &JobPlan<'_>,
) -> Result<(), StoreError> {
    let key = job_key(id);
    let mut input = None;
    let mut is_stored = false;
    if !plan.is_new {
        let old = conn
            .prepare_cached("SELECT sum, input FROM jobs WHERE id = ?1")?
            .query_row([&key[..]], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?))
            })
            .optional()?;
        if let Some((sum, row)) = old {
            tail.digest(Table::Jobs).remove(sum.cast_unsigned());
            input = row;
            is_stored = true;
        }
        let generation = plan
            .live
            .map(|job| job.generation)
            .or_else(|| plan.ended.map(|job| job.generation));
        if generation.is_some_and(|generation| generation > 0) && !is_stored {
            input = drop_ended(conn, tail, id, generation)?.or(input);
        }
    }
    if let Some(payload) = plan.input
        && let Some(bytes) = batch.payload(payload)?
    {
        if let Some(old) = input {
            drop_payload(conn, tail, old)?;
        }
        input = Some(put_payload(conn, tail, id, bytes)?);
    }
    if let Some(job) = plan.live {
        let mut put = if is_stored {
            Put::replace(conn, Table::Jobs)?
        } else {
            Put::insert(conn, Table::Jobs)?
        };
        put_job(&mut put, job, input)?;
        let sum = put.finish().map_err(|error| {
            if is_conflict(&error) {
                StoreError::Conflict {
                    what: format!("job {id}"),
                }
            } else {
                error
            }
        })?;
        tail.digest(Table::Jobs).add(sum);
    } else if is_stored {
        conn.prepare_cached("DELETE FROM jobs WHERE id = ?1")?
            .execute([&key[..]])?;
    }
    if let Some(job) = plan.ended {
        let output = match batch.payload(job.output)? {
            Some(bytes) => Some(put_payload(conn, tail, id, bytes)?),
            None => None,
        };
        let mut put = Put::insert(conn, Table::Ended)?;
        put_ended(&mut put, job, input, output)?;
        let sum = put.finish().map_err(|error| {
            if is_conflict(&error) {
                conflict_end(job)
            } else {
                error
            }
        })?;
        tail.digest(Table::Ended).add(sum);
    }
    Ok(())
}

/// A job that had ended goes into a later generation: its old end goes, its input stays. Returns the
/// input's row.
fn drop_ended(
    conn: &Connection,
    tail: &mut Tail,
    id: JobId,
    generation: Option<u32>,
) -> Result<Option<i64>, StoreError> {
    let old = conn
        .prepare_cached(
            "DELETE FROM ended WHERE id = ?1 AND generation < ?2
             RETURNING sum, input, output, generation",
        )?
        .query_row(params![&job_key(id)[..], generation], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, Option<i64>>(1)?,
                row.get::<_, Option<i64>>(2)?,
                row.get::<_, u32>(3)?,
            ))
        })
        .optional()?;
    let Some((sum, input, output, generation)) = old else {
        return Ok(None);
    };
    tail.digest(Table::Ended).remove(sum.cast_unsigned());
    if let Some(output) = output {
        let webhook = WebhookId {
            job: id,
            generation,
        };
        // A webhook that is not delivered yet reports this very output.
        if !webhooks::adopt(conn, tail, webhook, output)? {
            drop_payload(conn, tail, output)?;
        }
    }
    Ok(input)
}

fn write_attempt(
    conn: &Connection,
    books: &mut Books,
    id: AttemptId,
    plan: &AttemptPlan<'_>,
) -> Result<(), StoreError> {
    let tail = &mut books.tail;
    if let Some(sum) = books.attempts.remove(&id) {
        tail.digest(Table::Attempts).remove(sum);
        if plan.live.is_none() {
            conn.prepare_cached("DELETE FROM attempts WHERE id = ?1")?
                .execute([&attempt_key(id)[..]])?;
        }
    }
    if let Some(attempt) = plan.live {
        let mut put = Put::replace(conn, Table::Attempts)?;
        put_attempt(&mut put, attempt)?;
        let sum = put.finish()?;
        tail.digest(Table::Attempts).add(sum);
        books.attempts.insert(id, sum);
    }
    if let Some(attempt) = plan.ended {
        books.chunks.remove(&id);
        if plan.live.is_none() && books.progress.remove(&id) {
            drop_rows(conn, tail, &Drop::Progress, &attempt_key(id))?;
        }
        let mut put = Put::insert(conn, Table::Story)?;
        put_story(&mut put, attempt)?;
        let sum = put.finish().map_err(|error| {
            if is_conflict(&error) {
                StoreError::Conflict {
                    what: format!("the end of attempt {id}"),
                }
            } else {
                error
            }
        })?;
        tail.digest(Table::Story).add(sum);
    }
    Ok(())
}

fn next_chunk(conn: &Connection, attempt: &[u8]) -> Result<u32, StoreError> {
    let sql = "SELECT ifnull(max(number) + 1, 0) FROM chunks WHERE attempt = ?1";
    Ok(conn
        .prepare_cached(sql)?
        .query_row([attempt], |row| row.get(0))?)
}

fn put_idempotency(
    conn: &Connection,
    tail: &mut Tail,
    job: &Job,
    idempotency: &Idempotency,
) -> Result<(), StoreError> {
    let until = job.expires_at.max(job.submitted_at + IDEMPOTENCY_KEPT);
    let mut put = Put::insert(conn, Table::Idempotency)?;
    put.int(job.endpoint.0.into())?;
    put.text(&idempotency.key)?;
    put.blob(&job_key(job.id))?;
    put.text(&idempotency.body_sha256)?;
    put.int(until.as_millis())?;
    let sum = put.finish().map_err(|error| {
        if is_conflict(&error) {
            conflict_key(&idempotency.key)
        } else {
            error
        }
    })?;
    tail.digest(Table::Idempotency).add(sum);
    Ok(())
}

fn put_payload(
    conn: &Connection,
    tail: &mut Tail,
    job: JobId,
    bytes: &[u8],
) -> Result<i64, StoreError> {
    let row = tail.next_row();
    let mut put = Put::insert(conn, Table::Payloads)?;
    put.int(row)?;
    put.blob(&job_key(job))?;
    put.blob(bytes)?;
    tail.digest(Table::Payloads).add(put.finish()?);
    Ok(row)
}

pub(super) fn drop_payload(conn: &Connection, tail: &mut Tail, row: i64) -> Result<(), StoreError> {
    let sum = conn
        .prepare_cached("DELETE FROM payloads WHERE row = ?1 RETURNING sum")?
        .query_row([row], |row| row.get::<_, i64>(0))
        .optional()?;
    match sum {
        Some(sum) => {
            tail.digest(Table::Payloads).remove(sum.cast_unsigned());
            Ok(())
        }
        None => Err(StoreError::corrupt(format!(
            "row {row} of table \"payloads\" is missing"
        ))),
    }
}

/// Rows that go by their key.
pub(super) enum Drop {
    Progress,
    Worker,
}

pub(super) fn drop_rows(
    conn: &Connection,
    tail: &mut Tail,
    what: &Drop,
    key: &[u8],
) -> Result<(), StoreError> {
    let (table, sql) = match what {
        Drop::Progress => (
            Table::Progress,
            "DELETE FROM progress WHERE attempt = ?1 RETURNING sum",
        ),
        Drop::Worker => (
            Table::Workers,
            "DELETE FROM workers WHERE id = ?1 RETURNING sum",
        ),
    };
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([key])?;
    while let Some(row) = rows.next()? {
        tail.digest(table)
            .remove(row.get::<_, i64>(0)?.cast_unsigned());
    }
    Ok(())
}

fn drop_worker(conn: &Connection, tail: &mut Tail, worker: WorkerId) -> Result<(), StoreError> {
    drop_rows(conn, tail, &Drop::Worker, &worker.bits().to_be_bytes())
}

/// A record of a small table, as JSON under its number.
fn put_record(
    conn: &Connection,
    tail: &mut Tail,
    table: Table,
    id: i64,
    record: &impl Serialize,
) -> Result<(), StoreError> {
    let sql = match table {
        Table::Endpoints => "SELECT sum FROM endpoints WHERE id = ?1",
        _ => "SELECT sum FROM pools WHERE id = ?1",
    };
    let old = conn
        .prepare_cached(sql)?
        .query_row([id], |row| row.get::<_, i64>(0))
        .optional()?;
    if let Some(sum) = old {
        tail.digest(table).remove(sum.cast_unsigned());
    }
    let mut put = Put::replace(conn, table)?;
    put.int(id)?;
    put.text(&json(record)?)?;
    tail.digest(table).add(put.finish()?);
    Ok(())
}

fn json(record: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(record).map_err(|error| StoreError::Backend {
        doing: "write a record as JSON",
        source: Box::new(error),
    })
}

fn add_spent(spent: &mut SpentPlan, entry: &Entry) {
    let key = (
        entry.at.as_millis().div_euclid(SPENT_BUCKET_MS),
        entry.endpoint,
        entry.pool,
        kind_number(entry.kind),
        entry.gpu.clone().unwrap_or_default(),
        entry.region.clone().unwrap_or_default(),
        entry.key.map_or(0, key_number),
    );
    let sum = spent.entry(key).or_default();
    sum.0 += 1;
    sum.1 = sum.1 + entry.worker_time;
    sum.2 += entry.amount;
}

fn write_spent(conn: &Connection, tail: &mut Tail, spent: &SpentPlan) -> Result<(), StoreError> {
    for ((bucket, endpoint, pool, kind, gpu, region, key), (entries, time, amount)) in spent {
        let old = conn
            .prepare_cached(
                "SELECT entries, worker_time, amount, sum FROM spent
                 WHERE bucket = ?1 AND endpoint = ?2 AND pool = ?3 AND kind = ?4
                   AND gpu = ?5 AND region = ?6 AND key = ?7",
            )?
            .query_row(
                params![bucket, endpoint.0, pool.0, kind, gpu, region, key],
                |row| {
                    Ok((
                        row.get::<_, i64>(0)?.cast_unsigned(),
                        DurationMs::from_millis(row.get::<_, i64>(1)?.cast_unsigned()),
                        NanoUsd::from_nanos(row.get(2)?),
                        row.get::<_, i64>(3)?.cast_unsigned(),
                    ))
                },
            )
            .optional()?;
        let (mut all, mut all_time, mut all_amount) = (*entries, *time, *amount);
        if let Some((entries, time, amount, sum)) = old {
            all += entries;
            all_time = all_time + time;
            all_amount += amount;
            tail.digest(Table::Spent).remove(sum);
        }
        let mut put = Put::replace(conn, Table::Spent)?;
        put.int(*bucket)?;
        put.int(endpoint.0.into())?;
        put.int(pool.0.into())?;
        put.int(*kind)?;
        put.word(all)?;
        put.word(all_time.as_millis())?;
        put.int(all_amount.as_nanos())?;
        put.text(gpu)?;
        put.text(region)?;
        put.int(*key)?;
        tail.digest(Table::Spent).add(put.finish()?);
    }
    Ok(())
}

fn write_counts(
    conn: &Connection,
    books: &mut Books,
    endpoint: EndpointId,
) -> Result<(), StoreError> {
    let (counts, sum) = books.counts.entry(endpoint).or_default();
    // A row of sum 0 is one that is not stored yet: no checksum of a row is 0, but for one in 2^64.
    if *sum != 0 {
        books.tail.digest(Table::Counts).remove(*sum);
    }
    let mut put = Put::replace(conn, Table::Counts)?;
    put.int(endpoint.0.into())?;
    put.word(counts.completed)?;
    put.word(counts.failed)?;
    put.word(counts.cancelled)?;
    put.word(counts.timed_out)?;
    put.word(counts.retried)?;
    *sum = put.finish()?;
    books.tail.digest(Table::Counts).add(*sum);
    Ok(())
}
