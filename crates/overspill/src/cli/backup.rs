//! `overspill backup` and `overspill restore`: a copy of the database, and back.

use std::path::PathBuf;

use clap::Args;
use overspill_store::sqlite::{self, FILE_NAME};
use serde_json::json;

use super::Context;
use super::db::{Place, failed};
use super::error::{CommandError, ErrorKind};
use super::output::note;
use crate::keeper::{DataDirLock, LockError};

/// Copy the database into one file, while the server runs or not
///
/// The copy is whole in itself. The key that seals what jobs bring for their workers (`seal.key` of the data
/// directory) is no part of it: keep a copy of that apart.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// New file for the copy
    to: PathBuf,
    #[command(flatten)]
    place: Place,
}

/// Put a backup, or what was salvaged, in the place of the database; the server must be stopped
///
/// The file is checked in full before anything is changed. What it replaces stays in a folder beside it.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// What `overspill backup` or `overspill db salvage` wrote
    from: PathBuf,
    #[command(flatten)]
    place: Place,
}

/// Runs `overspill backup`.
///
/// # Errors
/// When there is no database, the copy exists already, or a file cannot be read or written.
pub fn backup(args: &BackupArgs, context: &Context) -> Result<(), CommandError> {
    let path = args.place.folder(context)?.join(FILE_NAME);
    sqlite::version(&path).map_err(failed)?;
    sqlite::backup(&path, &args.to).map_err(failed)?;
    let bytes = std::fs::metadata(&args.to)?.len();
    let to = args.to.display().to_string();
    if context.output.is_json() {
        return context.output.json(&json!({"file": to, "bytes": bytes}));
    }
    note(&format!(
        "{to}: {bytes} bytes; check it with `overspill db check {to}`"
    ));
    Ok(())
}

/// Runs `overspill restore`.
///
/// # Errors
/// When a server uses the data directory, the file is refused, or one cannot be written.
pub fn restore(args: &RestoreArgs, context: &Context) -> Result<(), CommandError> {
    let folder = args.place.folder(context)?;
    sqlite::version(&args.from).map_err(failed)?;
    crate::serving::private_folder(&folder)?;
    let _lock = DataDirLock::take(&folder).map_err(|error| {
        let kind = match error {
            LockError::Held { .. } => ErrorKind::Unavailable,
            _ => ErrorKind::Io,
        };
        CommandError::new(kind, error.to_string())
    })?;
    let restored = sqlite::restore(&args.from, &folder).map_err(failed)?;
    let replaced = restored.replaced.map(|folder| folder.display().to_string());
    if context.output.is_json() {
        return context.output.json(&json!({
            "file": restored.path.display().to_string(),
            "rows": restored.rows,
            "replaced": replaced,
        }));
    }
    match restored.rows {
        Some(rows) => note(&format!(
            "{}: {rows} rows, all whole",
            restored.path.display()
        )),
        None => note(&format!(
            "{}: of an older version; `overspill serve` migrates it",
            restored.path.display()
        )),
    }
    if let Some(replaced) = replaced {
        note(&format!("what it replaced is in {replaced}"));
    }
    Ok(())
}
