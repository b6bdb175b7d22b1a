//! `overspill serve` and what it becomes: first the keeper, then, in a process of its own, the
//! server.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rand::Rng as _;
use tracing::{info, warn};

use super::{End, Server, ServerOptions, private};
use crate::auth::bootstrap::FirstKey;
use crate::cli::serve::ServeArgs;
use crate::cli::{CommandError, Context, ErrorKind};
use crate::config::{Loaded, Strictness};
use crate::keeper::{KeeperClient, KeeperOptions, ProcessHost, inherited_listener};
use crate::telemetry::{self, LOG_FORMAT_VARIABLE};

/// The file that holds the installation's id.
const INSTALLATION: &str = "installation";
/// The exit code that asks the keeper for a new serving process at once.
const EXIT_RESTART: i32 = 75;

/// Checks the configuration and becomes the keeper.
///
/// # Errors
/// When the configuration is refused, or the keeper cannot be started.
pub fn keep(args: &ServeArgs, context: &Context) -> Result<(), CommandError> {
    let (_, loaded) = context.load_config(&args.flags(), Strictness::Serve)?;
    let data_dir = loaded.folder.join(&loaded.config.data_dir);
    private::folder(&data_dir).map_err(|error| {
        let message = format!(
            "the data directory \"{}\" cannot be made",
            data_dir.display()
        );
        CommandError::new(ErrorKind::Io, message).because(error)
    })?;
    let installation = installation(&data_dir).map_err(|error| {
        let message = format!(
            "\"{}\" cannot be written",
            data_dir.join(INSTALLATION).display()
        );
        CommandError::new(ErrorKind::Io, message).because(error)
    })?;
    let arguments = std::env::args_os().skip(1).filter(|arg| arg != "serve");
    let arguments: Vec<OsString> = arguments.collect();
    let keeper =
        KeeperOptions::for_this_binary(loaded.config.listen, data_dir, installation, arguments)
            .map_err(|error| {
                CommandError::new(ErrorKind::Io, "the path of this program is unknown")
                    .because(error)
            })?;
    let format = args
        .log_format
        .map(|format| (LOG_FORMAT_VARIABLE, format.word()));
    let error = keeper.become_keeper(format.as_slice());
    Err(CommandError::new(ErrorKind::Io, "the keeper cannot be started").because(error))
}

/// The serving process: what the keeper starts.
///
/// # Errors
/// When it cannot start; the exit code tells the keeper whether to try again.
pub fn serve(args: &ServeArgs, context: &Context) -> Result<(), CommandError> {
    telemetry::start("overspill=info");
    let (_, loaded) = context.load_config(&args.flags(), Strictness::Serve)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| {
            CommandError::new(ErrorKind::Io, "cannot start the runtime").because(error)
        })?;
    let end = runtime.block_on(serve_to_the_end(args, context, loaded))?;
    match end {
        End::Stopped => Ok(()),
        End::Restart => {
            telemetry::flush();
            std::process::exit(EXIT_RESTART)
        }
        End::KeeperDied => Err(CommandError::new(
            ErrorKind::Unavailable,
            "the keeper is gone",
        )),
    }
}

async fn serve_to_the_end(
    args: &ServeArgs,
    context: &Context,
    loaded: Loaded,
) -> Result<End, CommandError> {
    let inherit = |error: &dyn std::error::Error| {
        CommandError::new(
            ErrorKind::Usage,
            format!("`overspill serving` is internal, use `overspill serve`: {error}"),
        )
    };
    let listener = inherited_listener().map_err(|error| inherit(&error))?;
    let keeper = KeeperClient::from_env().map_err(|error| inherit(&error))?;
    let (Some(listener), Some((keeper, notices))) = (listener, keeper) else {
        return Err(CommandError::new(
            ErrorKind::Usage,
            "`overspill serving` is internal, use `overspill serve`",
        ));
    };
    let data_dir = loaded.folder.join(&loaded.config.data_dir);
    let installation = installation(&data_dir)
        .map_err(|error| CommandError::new(ErrorKind::Io, "the installation id").because(error))?;
    for finding in &loaded.findings {
        warn!("{finding}");
    }
    let options = ServerOptions {
        loaded,
        environment: context.environment.clone(),
        listener,
        host: ProcessHost::Keeper(keeper),
        notices,
        installation,
    };
    let server = Server::start(options).await.map_err(|error| {
        let kind = match error.exit_code() {
            78 => ErrorKind::Config,
            69 => ErrorKind::Unavailable,
            _ => ErrorKind::Io,
        };
        CommandError::new(kind, "the server cannot start").because(error)
    })?;
    for warning in server.warnings() {
        warn!("{warning}");
    }
    if let FirstKey::Made { key, file } = server.first_key() {
        say(&format!(
            "the first API key, shown only once (also in \"{}\"): {key}",
            file.display()
        ));
    }
    say(&format!("listening on http://{}", server.address()));
    if let Some(line) = server.bound_in_words().await {
        say(&line);
    }
    info!(address = %server.address(), "serving");
    let reload = || match context.load_config(&args.flags(), Strictness::Serve) {
        Ok((_, loaded)) => Some(loaded),
        Err(error) => {
            warn!("the changed configuration is refused, the old one stays: {error}");
            None
        }
    };
    Ok(server.run(std::future::pending(), reload).await)
}

/// A line for people, on standard error; a closed one stops nothing.
fn say(line: &str) {
    telemetry::say(&format!("overspill: {line}"));
}

/// The installation's id, where there is one already.
#[must_use]
pub fn known_installation(data_dir: &Path) -> Option<String> {
    let text = std::fs::read_to_string(data_dir.join(INSTALLATION)).ok()?;
    Some(text.trim().to_owned()).filter(|id| !id.is_empty())
}

/// The installation's id: one for each data directory, made at the first start.
///
/// # Errors
/// When the file can neither be read nor written.
pub fn installation(data_dir: &Path) -> std::io::Result<String> {
    let path: PathBuf = data_dir.join(INSTALLATION);
    match std::fs::read_to_string(&path) {
        Ok(id) if !id.trim().is_empty() => return Ok(id.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let id = format!("ovs-{:016x}", rand::rng().next_u64());
    let fresh = data_dir.join("installation.new");
    std::fs::write(&fresh, format!("{id}\n"))?;
    std::fs::rename(&fresh, &path)?;
    Ok(id)
}
