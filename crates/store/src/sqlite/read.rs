//! Readers: a few read-only connections, lent to whoever asks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex};

use bytes::Bytes;
use overspill_core::booked::{BookedHours, hour_of};
use overspill_core::change::{EndedAttempt, EndedJob};
use overspill_core::id::{AttemptId, EndpointId, JobId};
use overspill_core::job::{Job, JobState};
use overspill_core::ledger::Entry;
use overspill_core::money::NanoUsd;
use overspill_core::spent::{BUCKETS_KEPT, SpentBook};
use overspill_core::time::Timestamp;
use overspill_core::webhook::{Webhook, WebhookId, WebhookState};
use rusqlite::{Connection, Params, params};

use super::books::get_counts;
use super::codec::{
    Checked, ENDED_INPUT, ENDED_OUTPUT, JOB_INPUT, WEBHOOK_OUTPUT, attempt_key, attempt_range,
    get_attempt, get_ended, get_entry, get_job, get_story, get_webhook, job_key, kind_number,
};
use super::open;
use super::table::Table;
use crate::Reader;
use crate::error::StoreError;
use crate::memory::{ended_row, worker_of};
use crate::record::{
    AuditRow, Chunk, Counts, JobFilter, JobRow, RowState, SPENT_BUCKET_MS, Spent, SpentFilter,
    SpentRow, WebhookFilter,
};

/// Connections at most; who comes later waits for one.
const CONNECTIONS_MAX: usize = 4;

#[derive(Debug)]
pub(super) struct SqliteReader {
    path: PathBuf,
    pool: Mutex<Pool>,
    returned: Condvar,
}

#[derive(Debug, Default)]
struct Pool {
    idle: Vec<Connection>,
    lent: usize,
}

impl SqliteReader {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            pool: Mutex::default(),
            returned: Condvar::new(),
        }
    }

    /// Runs `work` on a connection, in one read transaction: all it sees is of one moment.
    fn with<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let conn = self.borrow()?;
        let result = conn
            .conn()
            .unchecked_transaction()
            .map_err(StoreError::from)
            .and_then(|tx| work(&tx));
        drop(conn);
        result
    }

    fn borrow(&self) -> Result<Lent<'_>, StoreError> {
        let mut pool = self.pool.lock().expect("no holder of the pool panics");
        loop {
            if let Some(conn) = pool.idle.pop() {
                pool.lent += 1;
                return Ok(Lent {
                    from: self,
                    conn: Some(conn),
                });
            }
            if pool.lent < CONNECTIONS_MAX {
                break;
            }
            pool = self
                .returned
                .wait(pool)
                .expect("no holder of the pool panics");
        }
        pool.lent += 1;
        drop(pool);
        let mut lent = Lent {
            from: self,
            conn: None,
        };
        lent.conn = Some(open::reader(&self.path)?);
        Ok(lent)
    }
}

/// Sums of the ledger's lines that caps and billing records are compared with.
pub(super) fn spent_books(conn: &Connection) -> Result<(SpentBook, BookedHours), StoreError> {
    let (mut spent, mut booked) = (SpentBook::default(), BookedHours::default());
    let newest: Option<i64> = conn
        .prepare_cached("SELECT MAX(bucket) FROM spent WHERE kind NOT IN (3, 5, 7, 8, 9)")?
        .query_row([], |row| row.get(0))?;
    let Some(newest) = newest else {
        return Ok((spent, booked));
    };
    let sums = query(
        conn,
        Table::Spent,
        "SELECT * FROM spent WHERE bucket > ?1 ORDER BY bucket",
        params![newest - BUCKETS_KEPT],
        |row| {
            let is_spent = row.kind(3)?.is_spent();
            Ok(is_spent.then_some((row.int(0)?, get_spent(row)?)))
        },
    )?;
    for (bucket, row) in sums {
        let sum = row.sum;
        spent.add_sum(bucket, sum.endpoint, row.key, sum.amount);
        let hour = hour_of(Timestamp::from_millis(bucket * SPENT_BUCKET_MS));
        booked.add_sum(hour, sum.pool, sum.kind, sum.worker_time, sum.amount);
    }
    Ok((spent, booked))
}

fn get_spent(row: &Checked<'_, '_>) -> Result<SpentRow, StoreError> {
    Ok(SpentRow {
        from: Timestamp::from_millis(row.int(0)?.saturating_mul(SPENT_BUCKET_MS)),
        sum: Spent {
            endpoint: row.endpoint(1)?,
            pool: row.pool(2)?,
            kind: row.kind(3)?,
            entries: row.word(4)?,
            worker_time: row.length(5)?,
            amount: NanoUsd::from_nanos(row.int(6)?),
        },
        gpu: row.label(7)?,
        region: row.label(8)?,
        key: row.key(9)?,
    })
}

/// A connection that goes back to its pool.
struct Lent<'a> {
    from: &'a SqliteReader,
    conn: Option<Connection>,
}

impl Lent<'_> {
    const fn conn(&self) -> &Connection {
        self.conn
            .as_ref()
            .expect("it is there until it is returned")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        // A poisoned pool only loses a connection.
        if let Ok(mut pool) = self.from.pool.lock() {
            pool.lent -= 1;
            pool.idle.extend(self.conn.take());
        }
        self.from.returned.notify_one();
    }
}

/// Runs a query over whole rows of `table`, with their checksums compared.
fn query<T>(
    conn: &Connection,
    table: Table,
    sql: &str,
    params: impl Params,
    mut take: impl FnMut(&Checked<'_, '_>) -> Result<Option<T>, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut taken = Vec::new();
    while let Some(row) = rows.next()? {
        taken.extend(take(&Checked::new(row, table)?)?);
    }
    Ok(taken)
}

fn find<T>(
    conn: &Connection,
    table: Table,
    sql: &str,
    params: impl Params,
    mut take: impl FnMut(&Checked<'_, '_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    Ok(query(conn, table, sql, params, |row| take(row).map(Some))?.pop())
}

fn find_live(conn: &Connection, job: JobId) -> Result<Option<(Job, Option<i64>)>, StoreError> {
    let sql = "SELECT * FROM jobs WHERE id = ?1";
    find(conn, Table::Jobs, sql, [&job_key(job)[..]], |row| {
        Ok((get_job(row)?, row.opt_int(JOB_INPUT)?))
    })
}

type EndedWithRows = (EndedJob, Option<i64>, Option<i64>);

fn find_ended(conn: &Connection, job: JobId) -> Result<Option<EndedWithRows>, StoreError> {
    let sql = "SELECT * FROM ended WHERE id = ?1";
    find(conn, Table::Ended, sql, [&job_key(job)[..]], |row| {
        Ok((
            get_ended(row)?,
            row.opt_int(ENDED_INPUT)?,
            row.opt_int(ENDED_OUTPUT)?,
        ))
    })
}

fn find_webhook(
    conn: &Connection,
    id: WebhookId,
) -> Result<Option<(Webhook, Option<i64>)>, StoreError> {
    find(
        conn,
        Table::Webhooks,
        "SELECT * FROM webhooks WHERE job = ?1 AND generation = ?2",
        params![&job_key(id.job)[..], id.generation],
        |row| Ok((get_webhook(row)?, row.opt_int(WEBHOOK_OUTPUT)?)),
    )
}

/// The payload under `row`, which a row of `job` names.
fn payload(conn: &Connection, job: JobId, row: i64) -> Result<Bytes, StoreError> {
    let sql = "SELECT * FROM payloads WHERE row = ?1";
    find(conn, Table::Payloads, sql, [row], |found| {
        if found.int(0)? != row || found.job_id(1)? != job {
            return Err(found.damaged());
        }
        Ok(Bytes::copy_from_slice(found.blob(2)?))
    })?
    .ok_or_else(|| StoreError::corrupt(format!("payload {row} of job {job} is missing")))
}

fn live_row(conn: &Connection, job: &Job) -> Result<JobRow, StoreError> {
    let attempt = match job.state {
        JobState::Queued => None,
        JobState::Attempted { number } => {
            let id = AttemptId {
                job: job.id,
                generation: job.generation,
                number,
            };
            let sql = "SELECT * FROM attempts WHERE id = ?1";
            find(
                conn,
                Table::Attempts,
                sql,
                [&attempt_key(id)[..]],
                get_attempt,
            )?
        }
    };
    Ok(JobRow {
        id: job.id,
        endpoint: job.endpoint,
        generation: job.generation,
        state: state_of(job),
        submitted_at: job.submitted_at,
        leased_at: attempt.as_ref().map(|attempt| attempt.leased_at),
        ended_at: None,
        delay: None,
        execution: None,
        attempts: job.attempts,
        pool: attempt.as_ref().map(|attempt| attempt.pool),
        worker: attempt.and_then(|attempt| worker_of(&attempt.place)),
        error: None,
        error_code: None,
        expires_at: job.expires_at,
        region: job.region,
    })
}

const fn state_of(job: &Job) -> RowState {
    match job.state {
        JobState::Queued => RowState::Queued,
        JobState::Attempted { .. } => RowState::Running,
    }
}

/// The statement that lists ended jobs: by the index over those in trouble where it serves.
fn list_ended(filter: &JobFilter) -> &'static str {
    let is_trouble = |state: &RowState| {
        state.is_ended() && *state != RowState::Ended(overspill_core::change::FinalState::Completed)
    };
    let only_trouble = !filter.states.is_empty() && filter.states.iter().all(is_trouble);
    match (filter.endpoint, only_trouble) {
        (Some(_), true) => {
            "SELECT * FROM ended WHERE id < ?1 AND state <> 0 AND endpoint = ?2 ORDER BY id DESC"
        }
        (_, true) => {
            "SELECT * FROM ended WHERE id < ?1 AND state <> 0 AND ?2 IS ?2 ORDER BY id DESC"
        }
        _ => "SELECT * FROM ended WHERE id < ?1 AND ?2 IS ?2 ORDER BY id DESC",
    }
}

impl Reader for SqliteReader {
    fn ended(&self, job: JobId) -> Result<Option<EndedJob>, StoreError> {
        self.with(|conn| Ok(find_ended(conn, job)?.map(|(ended, _, _)| ended)))
    }

    fn row(&self, job: JobId) -> Result<Option<JobRow>, StoreError> {
        self.with(|conn| {
            if let Some((live, _)) = find_live(conn, job)? {
                return live_row(conn, &live).map(Some);
            }
            Ok(find_ended(conn, job)?.map(|(ended, _, _)| ended_row(ended)))
        })
    }

    fn input(&self, job: JobId) -> Result<Option<Bytes>, StoreError> {
        self.with(|conn| {
            let row = match find_live(conn, job)? {
                Some((_, row)) => row,
                None => find_ended(conn, job)?.and_then(|(_, row, _)| row),
            };
            row.map(|row| payload(conn, job, row)).transpose()
        })
    }

    fn output(&self, job: JobId, generation: u32) -> Result<Option<Bytes>, StoreError> {
        self.with(|conn| {
            let row = find_ended(conn, job)?
                .filter(|(ended, _, _)| ended.generation == generation)
                .and_then(|(_, _, row)| row);
            row.map(|row| payload(conn, job, row)).transpose()
        })
    }

    fn progress(&self, attempt: AttemptId) -> Result<Option<Bytes>, StoreError> {
        let sql = "SELECT * FROM progress WHERE attempt = ?1";
        self.with(|conn| {
            find(
                conn,
                Table::Progress,
                sql,
                [&attempt_key(attempt)[..]],
                |row| Ok(Bytes::copy_from_slice(row.blob(1)?)),
            )
        })
    }

    fn chunks(
        &self,
        attempt: AttemptId,
        from: u32,
        max_bytes: u64,
    ) -> Result<Vec<Chunk>, StoreError> {
        self.with(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT * FROM chunks WHERE attempt = ?1 AND number >= ?2 ORDER BY number",
            )?;
            let mut rows = statement.query(params![&attempt_key(attempt)[..], from])?;
            let mut chunks = Vec::new();
            let mut total = 0;
            while let Some(row) = rows.next()? {
                let row = Checked::new(row, Table::Chunks)?;
                let bytes = row.blob(2)?;
                total += bytes.len() as u64;
                if total > max_bytes && !chunks.is_empty() {
                    break;
                }
                chunks.push(Chunk {
                    number: row.small(1)?,
                    bytes: Bytes::copy_from_slice(bytes),
                });
            }
            Ok(chunks)
        })
    }

    fn story(&self, job: JobId) -> Result<Vec<EndedAttempt>, StoreError> {
        let (first, last) = attempt_range(job);
        self.with(|conn| {
            query(
                conn,
                Table::Story,
                "SELECT * FROM story WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
                params![&first[..], &last[..]],
                |row| get_story(row).map(Some),
            )
        })
    }

    fn jobs(
        &self,
        filter: &JobFilter,
        after: Option<JobId>,
        limit: usize,
    ) -> Result<Vec<JobRow>, StoreError> {
        // Greater than all keys: they are 17 bytes, of which the last is 0 or 1.
        let before = after.map_or([0xff; 17], job_key);
        self.with(|conn| {
            let mut rows = Vec::new();
            let wants = |ended: bool| {
                filter.states.is_empty()
                    || filter.states.iter().any(|state| state.is_ended() == ended)
            };
            if wants(false) {
                let mut statement =
                    conn.prepare_cached("SELECT * FROM jobs WHERE id < ?1 ORDER BY id DESC")?;
                let mut found = statement.query([&before[..]])?;
                while rows.len() < limit
                    && let Some(row) = found.next()?
                {
                    let job = get_job(&Checked::new(row, Table::Jobs)?)?;
                    if filter.matches(job.endpoint, state_of(&job)) {
                        rows.push(live_row(conn, &job)?);
                    }
                }
            }
            if wants(true) {
                let mut taken = 0;
                let mut statement = conn.prepare_cached(list_ended(filter))?;
                let endpoint = filter.endpoint.map(|endpoint| endpoint.0);
                let mut found = statement.query(params![&before[..], endpoint])?;
                while taken < limit
                    && let Some(row) = found.next()?
                {
                    let row = ended_row(get_ended(&Checked::new(row, Table::Ended)?)?);
                    if filter.matches(row.endpoint, row.state) {
                        rows.push(row);
                        taken += 1;
                    }
                }
            }
            rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.id));
            rows.truncate(limit);
            Ok(rows)
        })
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
        let bucket = |at: Timestamp| at.as_millis().div_euclid(SPENT_BUCKET_MS);
        let since = filter.since.map_or(i64::MIN, bucket);
        let until = filter.until.map_or(i64::MAX, bucket);
        self.with(|conn| {
            query(
                conn,
                Table::Spent,
                "SELECT * FROM spent WHERE bucket >= ?1 AND bucket < ?2
                   AND (?3 IS NULL OR endpoint = ?3) AND (?4 IS NULL OR kind = ?4)
                 ORDER BY bucket, endpoint, pool, kind, gpu, region, key",
                params![
                    since,
                    until,
                    filter.endpoint.map(|endpoint| endpoint.0),
                    filter.kind.map(kind_number)
                ],
                |row| {
                    take(get_spent(row)?);
                    Ok(None::<()>)
                },
            )
        })?;
        Ok(())
    }

    fn entries_of_jobs(
        &self,
        filter: &SpentFilter,
        take: &mut dyn FnMut(Entry),
    ) -> Result<(), StoreError> {
        let millis = |at: Timestamp| at.as_millis();
        self.with(|conn| {
            query(
                conn,
                Table::Ledger,
                "SELECT * FROM ledger WHERE job IS NOT NULL AND at >= ?1 AND at < ?2
                   AND (?3 IS NULL OR endpoint = ?3) AND (?4 IS NULL OR kind = ?4)
                 ORDER BY row",
                params![
                    filter.since.map_or(i64::MIN, millis),
                    filter.until.map_or(i64::MAX, millis),
                    filter.endpoint.map(|endpoint| endpoint.0),
                    filter.kind.map(kind_number)
                ],
                |row| {
                    take(get_entry(row)?);
                    Ok(None::<()>)
                },
            )
        })?;
        Ok(())
    }

    fn entries_of(&self, job: JobId) -> Result<Vec<Entry>, StoreError> {
        self.with(|conn| {
            query(
                conn,
                Table::Ledger,
                "SELECT * FROM ledger WHERE job = ?1 ORDER BY row",
                params![&job_key(job)[..]],
                |row| get_entry(row).map(Some),
            )
        })
    }

    fn audit(&self, before: Option<u64>, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        let before = before.map_or(i64::MAX, |number| i64::try_from(number).unwrap_or(i64::MAX));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.with(|conn| {
            query(
                conn,
                Table::Audit,
                "SELECT * FROM audit WHERE number < ?1 ORDER BY number DESC LIMIT ?2",
                params![before, limit],
                |row| {
                    Ok(Some(AuditRow {
                        number: row.word(0)?,
                        at: row.time(1)?,
                        what: row.text(2)?,
                        object: row.text(3)?,
                        detail: row.text(4)?,
                    }))
                },
            )
        })
    }

    fn webhook(&self, id: WebhookId) -> Result<Option<Webhook>, StoreError> {
        self.with(|conn| Ok(find_webhook(conn, id)?.map(|(webhook, _)| webhook)))
    }

    fn webhooks(
        &self,
        filter: &WebhookFilter,
        after: Option<WebhookId>,
        limit: usize,
    ) -> Result<Vec<Webhook>, StoreError> {
        // The comparisons with `<> 1` let SQLite use the index over those that are not delivered.
        let sql = match (filter.job, filter.state) {
            (Some(_), _) => {
                "SELECT * FROM webhooks WHERE job = ?3 AND (job, generation) < (?1, ?2)
                 ORDER BY job DESC, generation DESC"
            }
            (None, Some(WebhookState::Due)) => {
                "SELECT * FROM webhooks WHERE state = 0 AND state <> 1 AND ?3 IS ?3
                 AND (job, generation) < (?1, ?2) ORDER BY job DESC, generation DESC"
            }
            (None, Some(WebhookState::Dead)) => {
                "SELECT * FROM webhooks WHERE state = 2 AND state <> 1 AND ?3 IS ?3
                 AND (job, generation) < (?1, ?2) ORDER BY job DESC, generation DESC"
            }
            (None, _) => {
                "SELECT * FROM webhooks WHERE (job, generation) < (?1, ?2) AND ?3 IS ?3
                 ORDER BY job DESC, generation DESC"
            }
        };
        // Greater than all keys: they are 17 bytes, of which the last is 0 or 1.
        let (before, generation) =
            after.map_or(([0xff; 17], 0), |id| (job_key(id.job), id.generation));
        let job = filter.job.map(job_key);
        self.with(|conn| {
            let mut statement = conn.prepare_cached(sql)?;
            let mut rows = statement.query(params![
                &before[..],
                generation,
                job.as_ref().map(|key| &key[..])
            ])?;
            let mut found = Vec::new();
            while found.len() < limit
                && let Some(row) = rows.next()?
            {
                let webhook = get_webhook(&Checked::new(row, Table::Webhooks)?)?;
                if filter.matches(&webhook) {
                    found.push(webhook);
                }
            }
            Ok(found)
        })
    }

    fn webhook_receivers(&self) -> Result<Vec<(String, Timestamp)>, StoreError> {
        // One probe of the index per receiver, however many webhooks each has.
        let sql = "WITH RECURSIVE receivers (receiver) AS (
                 SELECT min(receiver) FROM webhooks WHERE state = 0
                 UNION ALL
                 SELECT (SELECT min(receiver) FROM webhooks
                         WHERE state = 0 AND receiver > receivers.receiver)
                 FROM receivers WHERE receiver IS NOT NULL
             )
             SELECT receiver, (SELECT min(next_at) FROM webhooks
                               WHERE state = 0 AND receiver = receivers.receiver)
             FROM receivers WHERE receiver IS NOT NULL";
        self.with(|conn| {
            let mut statement = conn.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| {
                Ok((row.get(0)?, Timestamp::from_millis(row.get(1)?)))
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    fn webhooks_due(
        &self,
        receiver: &str,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Webhook>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.with(|conn| {
            query(
                conn,
                Table::Webhooks,
                "SELECT * FROM webhooks WHERE state = 0 AND receiver = ?1 AND next_at <= ?2
                 ORDER BY next_at, job, generation LIMIT ?3",
                params![receiver, now.as_millis(), limit],
                |row| get_webhook(row).map(Some),
            )
        })
    }

    fn webhook_output(&self, id: WebhookId) -> Result<Option<Bytes>, StoreError> {
        self.with(|conn| {
            let own = find_webhook(conn, id)?.and_then(|(_, output)| output);
            let row = match own {
                Some(row) => Some(row),
                None => find_ended(conn, id.job)?
                    .filter(|(ended, _, _)| ended.generation == id.generation)
                    .and_then(|(_, _, row)| row),
            };
            row.map(|row| payload(conn, id.job, row)).transpose()
        })
    }

    fn counts(&self, endpoint: EndpointId) -> Result<Counts, StoreError> {
        let sql = "SELECT * FROM counts WHERE endpoint = ?1";
        let counts = self.with(|conn| find(conn, Table::Counts, sql, [endpoint.0], get_counts))?;
        Ok(counts.unwrap_or_default())
    }
}
