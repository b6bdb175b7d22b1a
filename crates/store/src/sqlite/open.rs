//! Opening connections, and refusing files that must not be opened.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::ack::{self, Acked};
use super::backup::remove;
use super::books::Tail;
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
    let header = header(path)?;
    match header {
        Header::Ours { version } if version > migrate::SCHEMA_VERSION => {
            return Err(StoreError::SchemaNewer {
                path: path.to_owned(),
                found: version,
                known: migrate::SCHEMA_VERSION,
            });
        }
        Header::Foreign => {
            return Err(StoreError::NotOurs {
                path: path.to_owned(),
            });
        }
        Header::Ours { .. } | Header::Absent => {}
    }
    let acked = ack::read(path)?;
    check_belongings(path, &header, acked)?;
    if header == Header::Absent {
        make(path)?;
    }
    let mut conn = connect(path, false)?;
    let version: u32 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if (1..=migrate::SCHEMA_VERSION).contains(&version)
        && let Some(tail) = Tail::load(&conn)?
        && let Some(acked) = acked
        && acked.lineage == tail.lineage
        && acked.commits > tail.commits
    {
        return Err(StoreError::Incomplete {
            path: path.to_owned(),
            found: tail.commits,
            acked: acked.commits,
        });
    }
    if (1..migrate::SCHEMA_VERSION).contains(&version)
        && let Some(tail) = Tail::load(&conn)?
    {
        // A migration writes a log beside a file that may say that it is clean. The journal must know the file
        // before, or a start that is killed in the midst of it leaves a log that belongs to nobody.
        ack::Journal::open(path, tail.lineage, tail.commits)?;
    }
    migrate::migrate(&mut conn, path)?;
    migrate::check_schema(&conn)?;
    Ok(conn)
}

/// Makes an empty database beside `path` and gives it the name once it is whole: a start that is killed in
/// between leaves no half of a database, which the next one would take for a stranger's.
fn make(path: &Path) -> Result<(), StoreError> {
    let new = beside(path, ".new");
    for suffix in ["", "-wal", "-shm"] {
        remove(&beside(&new, suffix))?;
    }
    let conn = create(&new)?;
    conn.close().map_err(|(_, error)| StoreError::from(error))?;
    std::fs::rename(&new, path)
        .map_err(|error| StoreError::io(format!("make {}", path.display()), error))?;
    ack::sync_dir(path)
}

/// A new database at `path`, of the newest schema, in the mode in which it is closed as one file.
pub(super) fn create(path: &Path) -> Result<Connection, StoreError> {
    let mut conn = connect(path, true)?;
    migrate::migrate(&mut conn, path)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(conn)
}

/// Makes an empty file that only its owner can read: it will hold inputs, results and the server's
/// secret. SQLite gives its log the rights of the database.
pub(super) fn for_owner_only(path: &Path) -> Result<(), StoreError> {
    File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map(drop)
        .map_err(|error| StoreError::io(format!("make {}", path.display()), error))
}

fn connect(path: &Path, is_new: bool) -> Result<Connection, StoreError> {
    if is_new {
        for_owner_only(path)?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    // A log that is refused must not be copied back by the mere closing of the file.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    if is_new {
        conn.pragma_update(None, "page_size", 4_096)?;
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    // A failure to change the mode is told by the mode alone.
    let mode: String =
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::io(
            format!("begin a log beside {}", path.display()),
            std::io::Error::other(format!("the journal mode stays {mode:?}")),
        ));
    }
    settings(&conn)?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "journal_size_limit", 64 << 20)?;
    conn.pragma_update(None, "cache_size", -8_192)?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

/// Refuses a main file and a log that do not belong together, before SQLite mixes them.
///
/// The main file of a server that runs or crashed says that it is not clean; a backup and a closed
/// database say that they are, and then there is no log, except for a moment at the next start, when
/// the journal already knows the file.
fn check_belongings(path: &Path, header: &Header, acked: Option<Acked>) -> Result<(), StoreError> {
    let wal = beside(path, "-wal");
    // A log's header alone is 32 bytes.
    let has_log = std::fs::metadata(&wal).is_ok_and(|file| file.len() > 32);
    if *header == Header::Absent {
        return match acked {
            Some(acked) if acked.commits > 0 => Err(StoreError::Incomplete {
                path: path.to_owned(),
                found: 0,
                acked: acked.commits,
            }),
            _ if has_log => Err(StoreError::ForeignLog { wal }),
            _ => Ok(()),
        };
    }
    // Unreadable in the middle of a copy back: the log has what is missing.
    let Some(main) = main_tail(path) else {
        return Ok(());
    };
    let is_known = acked.is_some_and(|acked| acked.lineage == main.lineage);
    match (is_known, has_log) {
        (true, _) => Ok(()),
        (false, true) if main.is_clean || acked.is_some() => Err(StoreError::ForeignLog { wal }),
        (false, false) if !main.is_clean => Err(StoreError::Detached {
            path: path.to_owned(),
        }),
        (false, _) => Ok(()),
    }
}

/// The tail's row in the main file alone, without its log.
pub(super) fn main_tail(path: &Path) -> Option<Tail> {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(char::from(*byte));
            }
            _ => write!(uri, "%{byte:02x}").expect("a String takes all text"),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let conn = Connection::open_with_flags(uri, flags).ok()?;
    Tail::load(&conn).ok()?
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
