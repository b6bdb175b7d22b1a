//! Copies of the database while it is in use.

use std::path::Path;
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use crate::error::StoreError;

/// Copies what is committed into a new file at `to`, page by page; an older file there is replaced.
pub(super) fn copy(conn: &Connection, to: &Path) -> Result<(), StoreError> {
    let part = super::open::beside(to, ".part");
    let remove = |path: &Path| match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io(
            format!("remove the old {}", path.display()),
            error,
        )),
        _ => Ok(()),
    };
    remove(&part)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut target = Connection::open_with_flags(&part, flags)?;
    Backup::new(conn, &mut target)?.run_to_completion(4_096, Duration::ZERO, None)?;
    target
        .close()
        .map_err(|(_, error)| StoreError::from(error))?;
    std::fs::rename(&part, to)
        .map_err(|error| StoreError::io(format!("rename the backup to {}", to.display()), error))
}
