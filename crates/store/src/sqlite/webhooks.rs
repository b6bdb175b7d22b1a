//! The outbox: rows that are written, that take an output over, and that go with their job.

use overspill_core::id::JobId;
use overspill_core::time::Timestamp;
use overspill_core::webhook::{Webhook, WebhookId, WebhookState};
use rusqlite::{Connection, params};

use super::books::Tail;
use super::codec::{
    Checked, ENDED_INPUT, ENDED_OUTPUT, WEBHOOK_OUTPUT, get_ended, get_webhook, job_key, put_ended,
    put_webhook,
};
use super::table::{Put, Table};
use super::write::drop_payload;
use crate::error::StoreError;

/// The record of a webhook, the row of an output of its own, and the row's checksum.
type Stored = (Webhook, Option<i64>, u64);

fn find(conn: &Connection, id: WebhookId) -> Result<Option<Stored>, StoreError> {
    let mut statement =
        conn.prepare_cached("SELECT * FROM webhooks WHERE job = ?1 AND generation = ?2")?;
    let mut rows = statement.query(params![&job_key(id.job)[..], id.generation])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let row = Checked::new(row, Table::Webhooks)?;
    Ok(Some((
        get_webhook(&row)?,
        row.opt_int(WEBHOOK_OUTPUT)?,
        row.sum,
    )))
}

/// Writes a webhook's record; an output of its own stays until it is delivered.
pub(super) fn write(
    conn: &Connection,
    tail: &mut Tail,
    id: WebhookId,
    webhook: &Webhook,
) -> Result<(), StoreError> {
    let mut output = None;
    if let Some((_, own, sum)) = find(conn, id)? {
        tail.digest(Table::Webhooks).remove(sum);
        output = own;
    }
    if webhook.state == WebhookState::Delivered
        && let Some(row) = output.take()
    {
        drop_payload(conn, tail, row)?;
    }
    put(conn, tail, webhook, output)
}

/// Hands the output of an end that is about to be replaced to its webhook; `false` when there is none
/// that still reports it.
pub(super) fn adopt(
    conn: &Connection,
    tail: &mut Tail,
    id: WebhookId,
    output: i64,
) -> Result<bool, StoreError> {
    let Some((webhook, None, sum)) = find(conn, id)? else {
        return Ok(false);
    };
    if webhook.state == WebhookState::Delivered {
        return Ok(false);
    }
    tail.digest(Table::Webhooks).remove(sum);
    put(conn, tail, &webhook, Some(output))?;
    Ok(true)
}

fn put(
    conn: &Connection,
    tail: &mut Tail,
    webhook: &Webhook,
    output: Option<i64>,
) -> Result<(), StoreError> {
    let mut put = Put::replace(conn, Table::Webhooks)?;
    put_webhook(&mut put, webhook, output)?;
    tail.digest(Table::Webhooks).add(put.finish()?);
    Ok(())
}

/// Whether a job must be kept for one of its webhooks.
pub(super) fn holds(conn: &Connection, job: JobId, now: Timestamp) -> Result<bool, StoreError> {
    Ok(conn
        .prepare_cached("SELECT 1 FROM webhooks WHERE job = ?1 AND keep_until > ?2")?
        .exists(params![&job_key(job)[..], now.as_millis()])?)
}

/// Keeps an ended job until `until`.
pub(super) fn put_off(
    conn: &Connection,
    tail: &mut Tail,
    job: JobId,
    until: Timestamp,
) -> Result<(), StoreError> {
    let (mut ended, input, output, sum) = {
        let mut statement = conn.prepare_cached("SELECT * FROM ended WHERE id = ?1")?;
        let mut rows = statement.query([&job_key(job)[..]])?;
        let Some(row) = rows.next()? else {
            return Ok(());
        };
        let row = Checked::new(row, Table::Ended)?;
        (
            get_ended(&row)?,
            row.opt_int(ENDED_INPUT)?,
            row.opt_int(ENDED_OUTPUT)?,
            row.sum,
        )
    };
    ended.expires_at = until;
    tail.digest(Table::Ended).remove(sum);
    let mut put = Put::replace(conn, Table::Ended)?;
    put_ended(&mut put, &ended, input, output)?;
    tail.digest(Table::Ended).add(put.finish()?);
    Ok(())
}

/// Deletes all webhooks of a job that goes.
pub(super) fn drop_all(conn: &Connection, tail: &mut Tail, job: JobId) -> Result<(), StoreError> {
    let gone: Vec<(i64, Option<i64>)> = conn
        .prepare_cached("DELETE FROM webhooks WHERE job = ?1 RETURNING sum, output")?
        .query_map([&job_key(job)[..]], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (sum, output) in gone {
        tail.digest(Table::Webhooks).remove(sum.cast_unsigned());
        if let Some(output) = output {
            drop_payload(conn, tail, output)?;
        }
    }
    Ok(())
}
