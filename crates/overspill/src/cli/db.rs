//! `overspill db`: the database's files, looked at and saved; without a server, and beside a running one.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use overspill_store::StoreError;
use overspill_store::sqlite::{self, FILE_NAME, SCHEMA_VERSION};
use serde_json::json;

use super::Context;
use super::error::{CommandError, ErrorKind};
use super::output::note;
use crate::config::{Flags, Strictness};

/// Look at the database's files, and save what is readable of a damaged one
#[derive(Debug, Args)]
pub struct DbArgs {
    #[command(subcommand)]
    command: DbCommand,
}

#[derive(Debug, Subcommand)]
enum DbCommand {
    /// Check every row, tree and digest; the server may run
    Check(CheckArgs),
    /// Write the rows that are whole into a new file, for `overspill restore`
    Salvage(SalvageArgs),
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Database file, such as a backup [default: the data directory's]
    file: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct SalvageArgs {
    /// New file for what is whole
    to: PathBuf,
    /// Database file to read [default: the data directory's]
    file: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

/// Where the database is.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// Folder of the embedded database [default: `data_dir` of the configuration]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
}

impl Place {
    /// The data directory.
    ///
    /// # Errors
    /// When it is not given and no configuration says it.
    pub fn folder(&self, context: &Context) -> Result<PathBuf, CommandError> {
        if let Some(folder) = &self.data_dir {
            return Ok(folder.clone());
        }
        let (_, loaded) = context.load_config(&Flags::default(), Strictness::Check)?;
        Ok(loaded.folder.join(&loaded.config.data_dir))
    }

    fn file(&self, given: Option<&PathBuf>, context: &Context) -> Result<PathBuf, CommandError> {
        match given {
            Some(file) => Ok(file.clone()),
            None => Ok(self.folder(context)?.join(FILE_NAME)),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Exit code 1 where damage was found, 74 where a file cannot be read or written.
pub fn run(args: &DbArgs, context: &Context) -> Result<(), CommandError> {
    match &args.command {
        DbCommand::Check(args) => check(&args.place.file(args.file.as_ref(), context)?, context),
        DbCommand::Salvage(args) => {
            let from = args.place.file(args.file.as_ref(), context)?;
            salvage(&from, &args.to, context)
        }
    }
}

fn check(path: &Path, context: &Context) -> Result<(), CommandError> {
    let version = sqlite::version(path).map_err(failed)?;
    if version != SCHEMA_VERSION {
        let when = if version < SCHEMA_VERSION {
            "`overspill serve` migrates it, after a backup, and checks it then"
        } else {
            "check it with the newer version that wrote it"
        };
        let message = format!(
            "{} has schema version {version}, and this version of Overspill checks {SCHEMA_VERSION}",
            path.display()
        );
        return Err(CommandError::new(ErrorKind::Failed, message).hint(when));
    }
    let report = sqlite::check(path).map_err(failed)?;
    if context.output.is_json() {
        context.output.json(&json!({
            "file": path.display().to_string(),
            "rows": report.rows,
            "damage": report.damage,
        }))?;
    } else {
        for line in &report.damage {
            context.output.text(line)?;
        }
    }
    if report.damage.is_empty() {
        note(&format!(
            "{}: {} rows, all whole",
            path.display(),
            report.rows
        ));
        return Ok(());
    }
    let message = format!(
        "{} is damaged: {} findings, {} rows are whole",
        path.display(),
        report.damage.len(),
        report.rows
    );
    Err(CommandError::new(ErrorKind::Failed, message)
        .hint("stop the server and restore a backup: `overspill restore FILE`")
        .hint("without one: `overspill db salvage NEW`, then `overspill restore NEW`"))
}

fn salvage(from: &Path, to: &Path, context: &Context) -> Result<(), CommandError> {
    sqlite::version(from).map_err(failed)?;
    let saved = sqlite::salvage(from, to).map_err(failed)?;
    let rows: u64 = saved.rows.iter().map(|(_, rows)| rows).sum();
    if context.output.is_json() {
        let tables: serde_json::Map<_, _> = saved
            .rows
            .iter()
            .map(|&(table, rows)| (table.to_owned(), rows.into()))
            .collect();
        context.output.json(&json!({
            "file": to.display().to_string(), "rows": tables, "left_behind": saved.damage,
        }))?;
    } else {
        let lines = saved.rows.iter().filter(|(_, rows)| *rows > 0);
        let lines = lines.map(|(table, rows)| vec![(*table).to_owned(), rows.to_string()]);
        context.output.table(&["table", ">rows"], lines.collect())?;
    }
    for line in &saved.damage {
        note(&format!("left behind: {line}"));
    }
    note(&format!(
        "{rows} rows are in {}; put it in place with the server stopped: overspill restore {}",
        to.display(),
        to.display()
    ));
    Ok(())
}

/// An error of the store, as a command's.
pub(super) fn failed(error: StoreError) -> CommandError {
    let kind = match &error {
        StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            ErrorKind::NotFound
        }
        StoreError::Io { .. } | StoreError::Full(_) | StoreError::Busy(_) => ErrorKind::Io,
        _ => ErrorKind::Failed,
    };
    let message = error.to_string();
    let error = match error {
        StoreError::Io { source, .. } => {
            return CommandError::new(kind, message).because(source);
        }
        other => other,
    };
    match std::error::Error::source(&error) {
        Some(cause) => CommandError::new(kind, message).because(cause.to_string()),
        None => CommandError::new(kind, message),
    }
}
