//! Copies of the database while it is in use.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use super::ack::sync_dir;
use super::books::{Tail, random_lineage};
use super::open::{self, beside};
use crate::error::StoreError;

/// Copies what is committed in the database at `path` into a file of its own at `to`, at any time, from
/// any thread. The copy is whole in itself: put into an empty data directory as `overspill.db`, it
/// opens.
///
/// # Errors
/// When `to` exists, or either cannot be read or written.
pub fn backup(path: &Path, to: &Path) -> Result<(), StoreError> {
    if to.exists() {
        return Err(StoreError::io(
            format!("write the backup {}", to.display()),
            std::io::ErrorKind::AlreadyExists.into(),
        ));
    }
    copy(&open::reader(path)?, to)
}

/// As [`backup`], from an open connection; an older file at `to` is replaced.
pub(super) fn copy(conn: &Connection, to: &Path) -> Result<(), StoreError> {
    let part = beside(to, ".part");
    remove(&part)?;
    open::for_owner_only(&part)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut target = Connection::open_with_flags(&part, flags)?;
    // In one step, so that it is of one moment and need not begin again when the writer commits.
    Backup::new(conn, &mut target)?.run_to_completion(i32::MAX, Duration::ZERO, None)?;
    let tx = target.transaction()?;
    if let Some(mut tail) = Tail::load(&tx)? {
        tail.lineage = random_lineage();
        tail.is_clean = true;
        tail.save(&tx)?;
    }
    tx.commit()?;
    target
        .close()
        .map_err(|(_, error)| StoreError::from(error))?;
    File::open(&part)
        .and_then(|file| file.sync_all())
        .and_then(|()| std::fs::rename(&part, to))
        .map_err(|error| StoreError::io(format!("write the backup {}", to.display()), error))?;
    sync_dir(to)
}

pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io(
            format!("remove the old {}", path.display()),
            error,
        )),
        _ => Ok(()),
    }
}
