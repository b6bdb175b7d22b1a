//! The schema's versions: one `.sql` file each, forward only.
//!
//! All pending migrations run in one transaction, after a backup of the file if it holds data; a crash
//! leaves the old version or the new one. What ran is noted with its checksum.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior, params};

use super::books::Tail;
use super::open::beside;
use crate::checksum;
use crate::error::StoreError;

/// In order, without gaps, never changed once released.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/sqlite/0001_initial.sql"),
    include_str!("../../migrations/sqlite/0002_webhooks.sql"),
    include_str!("../../migrations/sqlite/0003_ledger_kinds.sql"),
    include_str!("../../migrations/sqlite/0004_drift_causes.sql"),
    include_str!("../../migrations/sqlite/0005_who_bears_it.sql"),
];

/// The newest version of the schema known here.
#[expect(clippy::cast_possible_truncation, reason = "a handful of migrations")]
pub const SCHEMA_VERSION: u32 = MIGRATIONS.len() as u32;

/// Brings the database up to date.
pub(super) fn migrate(conn: &mut Connection, path: &Path) -> Result<(), StoreError> {
    run(conn, path, MIGRATIONS)
}

fn run(conn: &mut Connection, path: &Path, migrations: &[&str]) -> Result<(), StoreError> {
    let found: u32 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = u32::try_from(migrations.len()).expect("a handful of migrations");
    if found > known {
        return Err(StoreError::SchemaNewer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    if found > 0 {
        check_history(conn, path, found, migrations)?;
    }
    if found == known {
        return Ok(());
    }
    if found > 0 {
        let backup = beside(path, &format!(".v{found}.backup"));
        tracing::info!(backup = %backup.display(), from = found, to = known, "migrating");
        super::backup::copy(conn, &backup)?;
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute_batch(
        "CREATE TABLE IF NOT EXISTS migrations (
             version  INTEGER PRIMARY KEY,
             checksum INTEGER NOT NULL
         ) STRICT",
    )?;
    for (version, sql) in (1_u32..).zip(migrations).skip(found as usize) {
        tx.execute_batch(sql)?;
        let sum = checksum::of_bytes(sql.as_bytes()).cast_signed();
        tx.execute(
            "INSERT INTO migrations VALUES (?1, ?2)",
            params![version, sum],
        )?;
    }
    if found == 0 {
        Tail::new().save(&tx)?;
    }
    tx.pragma_update(None, "user_version", known)?;
    tx.commit()?;
    // The main file alone must say its version: it is read before SQLite is asked.
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(())
}

fn check_history(
    conn: &Connection,
    path: &Path,
    found: u32,
    migrations: &[&str],
) -> Result<(), StoreError> {
    let mut statement =
        conn.prepare("SELECT version, checksum FROM migrations ORDER BY version")?;
    let ran: Vec<(u32, i64)> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (version, sql) in (1..=found).zip(migrations) {
        let sum = checksum::of_bytes(sql.as_bytes()).cast_signed();
        if ran.get(version as usize - 1) != Some(&(version, sum)) {
            return Err(StoreError::MigrationChanged {
                path: path.to_owned(),
                version,
            });
        }
    }
    Ok(())
}

/// Compares the schema with what the migrations make: a flipped bit in it could change what a
/// statement means.
pub(super) fn check_schema(conn: &Connection) -> Result<(), StoreError> {
    let mut fresh = Connection::open_in_memory()?;
    run(&mut fresh, Path::new(":memory:"), MIGRATIONS)?;
    if schema(conn)? == schema(&fresh)? {
        return Ok(());
    }
    Err(StoreError::corrupt(
        "the schema is not what the migrations make",
    ))
}

/// Type, name, table and text.
type SchemaRow = (String, String, String, Option<String>);

fn schema(conn: &Connection) -> Result<Vec<SchemaRow>, StoreError> {
    let mut statement =
        conn.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name")?;
    let rows = statement.query_map([], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: &str = "CREATE TABLE later (x INTEGER) STRICT; INSERT INTO later VALUES (1);";

    fn version(conn: &Connection) -> u32 {
        conn.pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn a_migration_backs_up_and_moves_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let mut conn = super::super::open::create(&path).unwrap();
        let all = [MIGRATIONS, &[LATER]].concat();
        run(&mut conn, &path, &all).unwrap();
        assert_eq!(version(&conn), SCHEMA_VERSION + 1);
        run(&mut conn, &path, &all).unwrap();
        let backup =
            Connection::open(beside(&path, &format!(".v{SCHEMA_VERSION}.backup"))).unwrap();
        assert_eq!(version(&backup), SCHEMA_VERSION);
        check_schema(&backup).unwrap();
        assert!(Tail::load(&backup).unwrap().unwrap().is_clean);
        let error = migrate(&mut conn, &path).unwrap_err();
        assert!(
            matches!(error, StoreError::SchemaNewer { found, .. } if found == SCHEMA_VERSION + 1),
            "{error}"
        );
    }

    #[test]
    fn a_migration_that_fails_leaves_the_old_version() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let mut conn = super::super::open::create(&path).unwrap();
        let broken = [MIGRATIONS, &[LATER, "CREATE TABLE later (x)"]].concat();
        run(&mut conn, &path, &broken).unwrap_err();
        assert_eq!(version(&conn), SCHEMA_VERSION);
        check_schema(&conn).unwrap();
    }

    #[test]
    fn a_migration_that_changed_is_refused() {
        let mut conn = Connection::open_in_memory().unwrap();
        let path = Path::new(":memory:");
        run(&mut conn, path, &MIGRATIONS[..1]).unwrap();
        let edited = format!("{} -- edited", MIGRATIONS[0]);
        let error = run(&mut conn, path, &[&edited]).unwrap_err();
        assert!(
            matches!(error, StoreError::MigrationChanged { version: 1, .. }),
            "{error}"
        );
    }

    #[test]
    fn a_changed_schema_is_seen() {
        let mut conn = Connection::open_in_memory().unwrap();
        run(&mut conn, Path::new(":memory:"), MIGRATIONS).unwrap();
        check_schema(&conn).unwrap();
        conn.execute_batch("DROP INDEX ended_in_trouble").unwrap();
        assert!(check_schema(&conn).is_err());
    }
}
