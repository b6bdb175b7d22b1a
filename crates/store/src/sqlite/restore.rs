//! Putting a backup, or what was salvaged, in the place of the database.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::ack::{self, sync_dir};
use super::backup::{self, remove};
use super::open::{self, Header, beside};
use super::{FILE_NAME, SCHEMA_VERSION, check};
use crate::error::StoreError;

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The database now.
    pub path: PathBuf,
    /// The folder with the files that it replaced, if there were any.
    pub replaced: Option<PathBuf>,
    /// Rows that were checked; `None` for a file of an older version, which is checked at its migration.
    pub rows: Option<u64>,
}

/// The version of the schema of the file at `path`, without opening it as a database.
///
/// # Errors
/// When it cannot be read, or is no database of ours.
pub fn version(path: &Path) -> Result<u32, StoreError> {
    match open::header(path)? {
        Header::Ours { version } => Ok(version),
        Header::Foreign => Err(StoreError::NotOurs {
            path: path.to_owned(),
        }),
        Header::Absent => Err(StoreError::io(
            format!("read {}", path.display()),
            std::io::ErrorKind::NotFound.into(),
        )),
    }
}

/// Puts a copy of the database at `from` into the data directory `dir`, which no server may use. What was
/// there is moved into a folder beside it. Nothing is changed before the copy has been checked in full.
///
/// # Errors
/// When `from` is no database of ours, of a newer version, damaged or incomplete, or a file cannot be
/// written.
pub fn restore(from: &Path, dir: &Path) -> Result<Restored, StoreError> {
    let found = version(from)?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::SchemaNewer {
            path: from.to_owned(),
            found,
            known: SCHEMA_VERSION,
        });
    }
    let path = dir.join(FILE_NAME);
    let part = beside(&path, ".restored");
    for suffix in ["", "-wal", "-shm"] {
        remove(&beside(&part, suffix))?;
    }
    copy(from, &part)?;
    let rows = if found == SCHEMA_VERSION {
        let report = check(&part)?;
        if !report.damage.is_empty() {
            remove(&part)?;
            return Err(StoreError::corrupt(report.damage.join("; ")));
        }
        Some(report.rows)
    } else {
        None
    };
    for suffix in ["-wal", "-shm"] {
        remove(&beside(&part, suffix))?;
    }
    let replaced = move_away(&path)?;
    rename(&part, &path)?;
    sync_dir(&path)?;
    Ok(Restored {
        path,
        replaced,
        rows,
    })
}

fn copy(from: &Path, part: &Path) -> Result<(), StoreError> {
    let has_log = std::fs::metadata(beside(from, "-wal")).is_ok_and(|file| file.len() > 32);
    let tail = open::main_tail(from);
    if has_log || tail.is_none() {
        // Files of a server that crashed, or damage: as much as the journal says must be there.
        let conn = open::reader(from)?;
        let acked = ack::read(from)?;
        let held = super::books::Tail::load(&conn)?;
        if let (Some(acked), Some(held)) = (acked, held)
            && acked.lineage == held.lineage
            && acked.commits > held.commits
        {
            return Err(StoreError::Incomplete {
                path: from.to_owned(),
                found: held.commits,
                acked: acked.commits,
            });
        }
        return backup::copy(&conn, part);
    }
    if tail.is_some_and(|tail| !tail.is_clean) {
        return Err(StoreError::Detached {
            path: from.to_owned(),
        });
    }
    open::for_owner_only(part)?;
    let copied = std::fs::File::open(from).and_then(|mut from| {
        let mut to = File::options().write(true).truncate(true).open(part)?;
        std::io::copy(&mut from, &mut to)?;
        to.sync_all()
    });
    copied.map_err(|error| StoreError::io(format!("copy {}", from.display()), error))
}

/// Moves the files of the database at `path` into a folder beside it. The journal is copied and stays: as long
/// as it is there and the database is not, no server starts with an empty one.
fn move_away(path: &Path) -> Result<Option<PathBuf>, StoreError> {
    let is_there = |suffix: &str| beside(path, suffix).exists();
    if !["", "-wal", "-ack"].into_iter().any(is_there) {
        return Ok(None);
    }
    let folder = (1..)
        .map(|n| beside(path, &format!(".replaced-{n}")))
        .find(|folder| !folder.exists())
        .expect("there are more numbers than folders");
    let failed = |error| StoreError::io(format!("make {}", folder.display()), error);
    std::fs::create_dir(&folder).map_err(failed)?;
    let name = path.file_name().unwrap_or_default();
    let target = folder.join(name);
    if is_there("-ack") {
        let copied = std::fs::copy(beside(path, "-ack"), beside(&target, "-ack"));
        copied.map_err(failed)?;
    }
    for suffix in ["-wal", "-shm", ""] {
        if is_there(suffix) {
            rename(&beside(path, suffix), &beside(&target, suffix))?;
        }
    }
    sync_dir(&target)?;
    sync_dir(path)?;
    Ok(Some(folder))
}

fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    std::fs::rename(from, to).map_err(|error| {
        StoreError::io(
            format!("move {} to {}", from.display(), to.display()),
            error,
        )
    })
}
