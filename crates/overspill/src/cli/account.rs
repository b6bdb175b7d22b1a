//! The RunPod account as `apply`, `reap` and `guard` use it, and the data folder beside it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Context;
use super::error::{CommandError, ErrorKind};
use crate::config::{Config, Flags, Strictness};
use crate::kept::carry_out::{Account, Failure};
use crate::kept::record::{Ledger, RecordError};
use crate::pool::runpod::account::Connection;
use crate::pool::runpod::client::CloudError;
use crate::pool::runpod::clock::SystemClock;
use crate::pool::runpod::guard::refuses_self;
use crate::serving::{private_folder, process};

/// The account, the configuration that names it, and the data folder.
pub(super) struct Own {
    pub(super) config: Config,
    pub(super) account: Account,
    pub(super) data_dir: PathBuf,
}

impl Own {
    /// Reads the configuration, and makes the data folder where there is none: it holds the id by which
    /// endpoints are known as ours.
    ///
    /// # Errors
    /// When the configuration is refused or names no account, or the folder cannot be made.
    pub(super) fn find(context: &Context) -> Result<Self, CommandError> {
        let (_, loaded) = context.load_config(&Flags::default(), Strictness::Serve)?;
        let config = loaded.config;
        let data_dir = loaded.folder.join(&config.data_dir);
        let io = |what: &str| CommandError::new(ErrorKind::Io, format!("{what} cannot be made"));
        private_folder(&data_dir).map_err(|error| {
            io(&format!("the data directory \"{}\"", data_dir.display())).because(error)
        })?;
        let installation = process::installation(&data_dir)
            .map_err(|error| io("the installation's id").because(error))?;
        let account = account(&config, context, &installation)?;
        Ok(Self {
            config,
            account,
            data_dir,
        })
    }

    /// Waits for its turn to change kept endpoints.
    ///
    /// # Errors
    /// When the data folder's record cannot be used.
    pub(super) fn ledger(&self) -> Result<Ledger, CommandError> {
        ledger(&self.data_dir)
    }
}

/// Connects to the account of a configuration.
///
/// # Errors
/// When there is none, or its key or address cannot be used.
pub(super) fn account(
    config: &Config,
    context: &Context,
    installation: &str,
) -> Result<Account, CommandError> {
    let refused = |message: String| CommandError::new(ErrorKind::Config, message);
    let runpod = config.runpod.as_ref().ok_or_else(|| {
        refused("the configuration has no [runpod]".into())
            .hint("add [runpod] with api_key = \"${RUNPOD_API_KEY}\"")
    })?;
    let access = runpod.access(&context.environment).map_err(refused)?;
    for url in [&access.base_url, &access.management_url] {
        refuses_self(url.as_str(), &[config.listen])
            .map_err(|error| CommandError::new(ErrorKind::Config, error.to_string()))?;
    }
    let key = access.api_key.ok_or_else(|| {
        CommandError::new(ErrorKind::Config, "there is no RunPod API key")
            .hint("set RUNPOD_API_KEY, or `[runpod] api_key`")
    })?;
    let connection = Connection::new(
        &key,
        Some(access.base_url.as_str()),
        Some(access.management_url.as_str()),
        installation,
        Arc::new(SystemClock::start()),
    )
    .map_err(|error| {
        CommandError::new(ErrorKind::Config, "the RunPod account cannot be used").because(error)
    })?;
    Ok(Account {
        management: connection.management,
        data_plane: connection.data_plane,
        installation: installation.to_owned(),
    })
}

fn ledger(data_dir: &Path) -> Result<Ledger, CommandError> {
    Ledger::open(data_dir).map_err(|error| {
        let kind = match error {
            RecordError::Io { .. } => ErrorKind::Io,
            RecordError::Damaged { .. } => ErrorKind::Config,
        };
        CommandError::new(kind, "kept endpoints cannot be looked up").because(error)
    })
}

/// A refusal of RunPod as this command's end.
pub(super) fn refused(what: &str, error: CloudError) -> CommandError {
    let kind = match &error {
        CloudError::Unauthorized { .. } => ErrorKind::Auth,
        CloudError::Rejected { .. } | CloudError::Conflict { .. } => ErrorKind::Failed,
        CloudError::Gone { .. } => ErrorKind::NotFound,
        _ => ErrorKind::Unavailable,
    };
    CommandError::new(kind, what).because(error)
}

/// The failures of several steps as one end, the worst exit code first: a key, then RunPod out of reach.
pub(super) fn failed(failures: &[Failure]) -> CommandError {
    let count = failures.len();
    let mut lines = Vec::new();
    for failure in failures {
        let mut line = failure.to_string();
        let mut cause = std::error::Error::source(failure);
        while let Some(error) = cause {
            line.push_str(&format!(": {error}"));
            cause = error.source();
        }
        lines.push(line);
    }
    let steps = if count == 1 { "step" } else { "steps" };
    CommandError::new(
        ErrorKind::Failed,
        format!("{count} {steps} failed\n  {}", lines.join("\n  ")),
    )
    .hint("what was done stays; run the command again for the rest")
}

/// Asks a person, who answers `y` or `yes`; without a terminal nobody can, and the flag is named.
///
/// # Errors
/// When there is no terminal, or the answer is no.
pub(super) fn confirm(question: &str) -> Result<(), CommandError> {
    use std::io::{IsTerminal as _, Write as _};
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(
            CommandError::new(ErrorKind::Usage, "nobody is there to confirm this")
                .hint("--yes goes ahead, --dry-run only shows"),
        );
    }
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "{question} [y/N] ");
    let _ = stderr.flush();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(CommandError::new(
            ErrorKind::Interrupted,
            "nothing was done",
        )),
    }
}
