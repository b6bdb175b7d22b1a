//! Deleting what is no longer kept, in slices.

use overspill_core::id::JobId;
use overspill_core::time::Timestamp;
use rusqlite::{Connection, params};

use super::books::Tail;
use super::codec::{Checked, ENDED_INPUT, ENDED_OUTPUT, attempt_range, job_key};
use super::table::Table;
use super::webhooks;
use super::write::drop_payload;
use crate::error::StoreError;
use crate::memory::HELD_PUT_OFF;

/// Pages given back to the file system in one slice.
const VACUUM_PAGES: u32 = 256;

/// Deletes up to `limit` ended jobs that are over, with all that is theirs, and as many idempotency
/// keys. Returns how many jobs it dealt with: those that a webhook needs are put off, not deleted.
pub(super) fn expire(
    conn: &Connection,
    tail: &mut Tail,
    now: Timestamp,
    limit: usize,
) -> Result<usize, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut failure = None;
    let mut over: Vec<(JobId, u64, Option<i64>, Option<i64>)> = Vec::new();
    {
        let mut statement = conn.prepare_cached(
            "SELECT * FROM ended WHERE expires_at <= ?1 ORDER BY expires_at, id LIMIT ?2",
        )?;
        let mut rows = statement.query(params![now.as_millis(), limit])?;
        while let Some(row) = rows.next()? {
            let row = Checked::new(row, Table::Ended)?;
            over.push((
                row.job_id(0)?,
                row.sum,
                row.opt_int(ENDED_INPUT)?,
                row.opt_int(ENDED_OUTPUT)?,
            ));
        }
    }
    let handled = over.len();
    let mut held = Vec::new();
    over.retain(|&(job, ..)| match webhooks::holds(conn, job, now) {
        Ok(is_held) => {
            if is_held {
                held.push(job);
            }
            !is_held
        }
        Err(error) => {
            failure.get_or_insert(error);
            false
        }
    });
    if let Some(error) = failure {
        return Err(error);
    }
    for job in held {
        webhooks::put_off(conn, tail, job, now + HELD_PUT_OFF)?;
    }
    for &(job, sum, input, output) in &over {
        webhooks::drop_all(conn, tail, job)?;
        conn.prepare_cached("DELETE FROM ended WHERE id = ?1")?
            .execute([&job_key(job)[..]])?;
        tail.digest(Table::Ended).remove(sum);
        for row in [input, output].into_iter().flatten() {
            drop_payload(conn, tail, row)?;
        }
        let (first, last) = attempt_range(job);
        for (table, sql) in [
            (
                Table::Story,
                "DELETE FROM story WHERE id BETWEEN ?1 AND ?2 RETURNING sum",
            ),
            (
                Table::Chunks,
                "DELETE FROM chunks WHERE attempt BETWEEN ?1 AND ?2 RETURNING sum",
            ),
        ] {
            delete(conn, tail, table, sql, params![&first[..], &last[..]])?;
        }
    }
    delete(
        conn,
        tail,
        Table::Idempotency,
        "DELETE FROM idempotency WHERE (endpoint, key) IN
             (SELECT endpoint, key FROM idempotency WHERE expires_at <= ?1 LIMIT ?2)
         RETURNING sum",
        params![now.as_millis(), limit],
    )?;
    delete(
        conn,
        tail,
        Table::Webhooks,
        "DELETE FROM webhooks WHERE generation = 4294967295 AND keep_until <= ?1 AND state <> 0
         RETURNING sum",
        params![now.as_millis()],
    )?;
    if !over.is_empty() {
        let mut vacuum =
            conn.prepare_cached(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
        let mut rows = vacuum.query([])?;
        while rows.next()?.is_some() {}
    }
    Ok(handled)
}

fn delete(
    conn: &Connection,
    tail: &mut Tail,
    table: Table,
    sql: &str,
    params: &[&dyn rusqlite::ToSql],
) -> Result<(), StoreError> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    while let Some(row) = rows.next()? {
        tail.digest(table)
            .remove(row.get::<_, i64>(0)?.cast_unsigned());
    }
    Ok(())
}
