//! Opening connections, and refusing files that must not be opened.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::migrate;
use crate::error::StoreError;

/// "Ovsp": marks a database as ours.
pub(super) const APPLICATION_ID: i32 = 0x4f76_7370;
/// The first version without the log corruption bug.
const SQLITE_MIN: i32 = 3_051_003;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The writer's connection, migrated, with its schema checked.
pub(super) fn writer(path: &Path) -> Result<Connection, StoreError> {
    check_sqlite(rusqlite::version_number())?;
    let is_new = match header(path)? {
        Header::Absent => true,
        Header::Ours { version } if version > migrate::SCHEMA_VERSION => {
            return Err(StoreError::SchemaNewer {
                path: path.to_owned(),
                found: version,
                known: migrate::SCHEMA_VERSION,
            });
        }
        Header::Ours { .. } => false,
        Header::Foreign => {
            return Err(StoreError::NotOurs {
                path: path.to_owned(),
            });
        }
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    // A log that is refused below must not be copied back by the mere closing of the file.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    if is_new {
        conn.pragma_update(None, "page_size", 4_096)?;
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    conn.pragma_update(None, "journal_mode", "WAL")?;
    settings(&conn)?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "journal_size_limit", 64 << 20)?;
    conn.pragma_update(None, "cache_size", -8_192)?;
    conn.set_prepared_statement_cache_capacity(64);
    migrate::migrate(&mut conn, path)?;
    migrate::check_schema(&conn)?;
    Ok(conn)
}

/// A connection that reads committed state.
pub(super) fn reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    settings(&conn)?;
    conn.pragma_update(None, "cache_size", -2_048)?;
    conn.set_prepared_statement_cache_capacity(32);
    Ok(conn)
}

fn settings(conn: &Connection) -> Result<(), StoreError> {
    conn.pragma_update(None, "mmap_size", 0)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "foreign_keys", false)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    Ok(())
}

fn check_sqlite(version: i32) -> Result<(), StoreError> {
    if version >= SQLITE_MIN {
        return Ok(());
    }
    let (major, minor, patch) = (
        version / 1_000_000,
        version / 1_000 % 1_000,
        version % 1_000,
    );
    Err(StoreError::SqliteTooOld {
        found: format!("{major}.{minor}.{patch}"),
    })
}

/// What the first bytes of a database file say, read without SQLite so that nothing is touched.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// No file, or an empty one.
    Absent,
    /// A database of ours; schema version 0 before its first migration.
    Ours { version: u32 },
    /// Something else.
    Foreign,
}

pub(super) fn header(path: &Path) -> Result<Header, StoreError> {
    let io = |source| StoreError::io(format!("read {}", path.display()), source);
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Header::Absent),
        Err(error) => return Err(io(error)),
    };
    let mut bytes = Vec::with_capacity(100);
    Read::take(&mut file, 100)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.is_empty() {
        return Ok(Header::Absent);
    }
    let number = |at: usize| {
        let word = bytes.get(at..at + 4)?;
        Some(u32::from_be_bytes(word.try_into().ok()?))
    };
    let is_ours = bytes.starts_with(b"SQLite format 3\0")
        && number(68) == Some(APPLICATION_ID.cast_unsigned());
    Ok(match number(60) {
        Some(version) if is_ours => Header::Ours { version },
        _ => Header::Foreign,
    })
}

/// The file of this suffix beside the database.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_sqlite_is_refused() {
        assert!(check_sqlite(3_051_003).is_ok());
        let error = check_sqlite(3_045_003).unwrap_err().to_string();
        assert!(error.contains("3.45.3"), "{error}");
        assert!(check_sqlite(rusqlite::version_number()).is_ok());
    }
}
