//! Looking at every row: what is damaged, and saving what is not.

use std::collections::HashSet;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::backup::remove;
use super::books::Tail;
use super::codec::{Checked, ENDED_INPUT, ENDED_OUTPUT, JOB_INPUT, WEBHOOK_OUTPUT};
use super::table::{Put, Table};
use super::{migrate, open};
use crate::checksum::Digest;
use crate::error::StoreError;

/// Findings are listed up to this number.
const FINDINGS_MAX: usize = 100;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Rows looked at.
    pub rows: u64,
    /// What is wrong, in words; empty: nothing.
    pub damage: Vec<String>,
}

/// What a salvage brought over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Salvage {
    /// Rows that are whole, per table.
    pub rows: Vec<(&'static str, u64)>,
    /// What was left behind, in words.
    pub damage: Vec<String>,
}

/// Checks the database at `path` in full: its trees, its schema, every row's checksum, every table's
/// digest, every payload that is named. It may be in use.
///
/// # Errors
/// When it cannot be opened at all.
pub fn check(path: &Path) -> Result<Report, StoreError> {
    let conn = open::reader(path)?;
    let tx = conn.unchecked_transaction()?;
    Ok(check_all(&tx))
}

/// As [`check`]; all is read on `conn`, in the transaction it is in.
pub(super) fn check_all(conn: &Connection) -> Report {
    let mut report = Report::default();
    if let Err(error) = check_trees(conn, &mut report.damage) {
        report.damage.push(describe(error));
    }
    if let Err(error) = migrate::check_schema(conn) {
        report.damage.push(describe(error));
    }
    let tail = match Tail::load(conn) {
        Ok(Some(tail)) => Some(tail),
        Ok(None) => {
            report.damage.push("table \"tail\" is empty".to_owned());
            None
        }
        Err(error) => {
            report.damage.push(describe(error));
            None
        }
    };
    let mut named = Vec::new();
    let mut payloads = HashSet::new();
    for table in Table::ALL {
        let mut digest = Digest::default();
        let damage_before = report.damage.len();
        let scanned = scan(conn, table, false, |row| match Checked::new(row, table) {
            Ok(row) => {
                digest.add(row.sum);
                report.rows += 1;
                note_payloads(&row, table, &mut named, &mut payloads);
            }
            Err(error) => report.damage.push(describe(error)),
        });
        if let Err(error) = scanned {
            report
                .damage
                .push(format!("table {:?}: {}", table.name(), describe(error)));
        }
        if report.damage.len() == damage_before
            && let Some(tail) = &tail
            && let Err(error) = tail.expect_digest(table, digest)
        {
            report.damage.push(describe(error));
        }
    }
    for (job, row) in named {
        if !payloads.contains(&(job, row)) {
            report
                .damage
                .push(format!("a payload (row {row}) of a job is missing"));
        }
    }
    report.damage.truncate(FINDINGS_MAX);
    report
}

/// Collects which payloads are named, and which are there.
fn note_payloads(
    row: &Checked<'_, '_>,
    table: Table,
    named: &mut Vec<(Vec<u8>, i64)>,
    payloads: &mut HashSet<(Vec<u8>, i64)>,
) {
    let columns: &[usize] = match table {
        Table::Jobs => &[JOB_INPUT],
        Table::Ended => &[ENDED_INPUT, ENDED_OUTPUT],
        Table::Webhooks => &[WEBHOOK_OUTPUT],
        Table::Payloads => {
            if let (Ok(job), Ok(number)) = (row.blob(1), row.int(0)) {
                payloads.insert((job.to_vec(), number));
            }
            return;
        }
        _ => return,
    };
    for column in columns {
        if let (Ok(job), Ok(Some(number))) = (row.blob(0), row.opt_int(*column)) {
            named.push((job.to_vec(), number));
        }
    }
}

fn check_trees(conn: &Connection, damage: &mut Vec<String>) -> Result<(), StoreError> {
    let mut statement = conn.prepare(&format!("PRAGMA integrity_check({FINDINGS_MAX})"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let line: String = row.get(0)?;
        if line != "ok" {
            damage.push(line);
        }
    }
    Ok(())
}

fn describe(error: StoreError) -> String {
    match error {
        StoreError::Corrupt { what } => what,
        other => other.to_string(),
    }
}

/// Visits the rows of a table in the order of its key, or against it, as far as they can be reached.
fn scan(
    conn: &Connection,
    table: Table,
    is_backwards: bool,
    mut visit: impl FnMut(&Row<'_>),
) -> Result<(), StoreError> {
    let order = if is_backwards { "DESC" } else { "ASC" };
    let keys = match table {
        Table::Idempotency => format!("endpoint {order}, key {order}"),
        Table::Webhooks => format!("job {order}, generation {order}"),
        Table::Spent => format!(
            "bucket {order}, endpoint {order}, pool {order}, kind {order}, gpu {order},
             region {order}, key {order}"
        ),
        // These two have an index for their key, which may be damaged by itself.
        Table::Chunks | Table::Progress => format!("rowid {order}"),
        _ => format!("1 {order}"),
    };
    let mut statement = conn.prepare(&format!("SELECT * FROM {} ORDER BY {keys}", table.name()))?;
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        visit(row);
    }
    Ok(())
}

/// Writes the rows of the database at `path` that are whole into a new database at `to`.
///
/// # Errors
/// When `to` exists or cannot be written, or nothing of `path` can be read.
pub fn salvage(path: &Path, to: &Path) -> Result<Salvage, StoreError> {
    if to.exists() {
        return Err(StoreError::io(
            format!("write the salvaged database {}", to.display()),
            std::io::ErrorKind::AlreadyExists.into(),
        ));
    }
    let source = open::reader(path)?;
    let from = source.unchecked_transaction()?;
    let mut target = open::create(to)?;
    let tx = target.transaction()?;
    let mut tail = Tail::new();
    // Numbers of payloads stay, so that the rows that name them stay true.
    tail.rows_next = i64::MAX / 2;
    if let Ok(Some(old)) = Tail::load(&from) {
        (tail.commits, tail.rows_next) = (old.commits, old.rows_next);
    }
    let mut result = Salvage::default();
    for table in Table::ALL {
        let mut failure = None;
        for is_backwards in [false, true] {
            let scanned = scan(&from, table, is_backwards, |row| {
                let copied = Checked::new(row, table)
                    .and_then(|checked| copy_row(row, table, &checked, &tx));
                match copied {
                    Ok(Some(sum)) => tail.digest(table).add(sum),
                    Ok(None) => {}
                    Err(StoreError::Corrupt { what }) if !is_backwards => result.damage.push(what),
                    Err(StoreError::Corrupt { .. }) => {}
                    Err(error) => failure = Some(error),
                }
            });
            if let Some(error) = failure.take() {
                return Err(error);
            }
            // Only what cannot be reached from the front is worth a look from the back.
            match scanned {
                Ok(()) => break,
                Err(error) if !is_backwards => {
                    let what = describe(error);
                    result
                        .damage
                        .push(format!("table {:?}: {what}", table.name()));
                }
                Err(_) => {}
            }
        }
        result.rows.push((table.name(), tail.rows(table)));
    }
    tail.save(&tx)?;
    tx.commit()?;
    target
        .close()
        .map_err(|(_, error)| StoreError::from(error))?;
    remove(&open::beside(to, "-wal"))?;
    remove(&open::beside(to, "-shm"))?;
    Ok(result)
}

/// Copies a row unless its key is there already; returns its checksum if it was new.
fn copy_row(
    row: &Row<'_>,
    table: Table,
    checked: &Checked<'_, '_>,
    to: &Connection,
) -> Result<Option<u64>, StoreError> {
    let mut put = Put::insert(to, table)?;
    for column in 0..table.sum_column() {
        match row.get_ref(column)? {
            ValueRef::Integer(value) => put.int(value)?,
            ValueRef::Text(bytes) => {
                let text = std::str::from_utf8(bytes).map_err(|_| checked.damaged())?;
                put.text(text)?;
            }
            ValueRef::Blob(bytes) => put.blob(bytes)?,
            ValueRef::Null | ValueRef::Real(_) => put.null()?,
        }
    }
    match put.finish() {
        Ok(sum) => Ok(Some(sum)),
        Err(error) if super::table::is_conflict(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
