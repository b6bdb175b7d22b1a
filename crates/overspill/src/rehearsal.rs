//! What `demo` and `drill` share: a real server in this process for as long as the command runs, and the
//! figures of its report.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::net::TcpListener;

use crate::cli::{CommandError, ErrorKind};
use crate::config::{Environment, Flags, Strictness, parse};
use crate::keeper::{DirectHost, ProcessHost};
use crate::serving::{Server, ServerOptions};

/// Why the server of `command` cannot start.
pub(crate) fn start_failed(command: &str, error: &dyn Display) -> CommandError {
    let text = format!("the {command}'s server cannot start: {error}");
    CommandError::new(ErrorKind::Failed, text)
}

/// Starts the server of `command` with the configuration `text`; its data is below `folder`, its local
/// workers are started by `program`.
///
/// # Errors
/// When the configuration is not valid, or the server cannot start.
pub(crate) async fn start_server(
    command: &str,
    text: &str,
    folder: &Path,
    api_key: &str,
    program: PathBuf,
) -> Result<Server, CommandError> {
    let failed = |error: &dyn Display| start_failed(command, error);
    let environment = Environment::from_pairs([("OVERSPILL_API_KEY", api_key)]);
    let (flags, strictness) = (Flags::default(), Strictness::Serve);
    let loaded = parse(text, command, folder, &environment, &flags, strictness)
        .map_err(|error| failed(&error))?;
    std::fs::create_dir_all(folder.join("data")).map_err(|error| failed(&error))?;
    let listener = TcpListener::bind(loaded.config.listen)
        .await
        .map_err(|error| failed(&error))?;
    let installation = format!("{command}-{}", std::process::id());
    let (host, notices) = DirectHost::new(&installation, Some(program));
    Server::start(ServerOptions {
        loaded,
        environment,
        listener,
        host: ProcessHost::Direct(host),
        notices,
        installation,
    })
    .await
    .map_err(|error| {
        let text = format!("the {command}'s server cannot start");
        CommandError::new(ErrorKind::Failed, text).because(error)
    })
}

/// Turns while the command runs.
pub(crate) fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// The wait, in seconds, that so many percent of the waits do not exceed; 0 without any.
pub(crate) fn quantile(sorted_ms: &[u64], percent: usize) -> f64 {
    let Some(last) = sorted_ms.len().checked_sub(1) else {
        return 0.0;
    };
    #[expect(clippy::cast_precision_loss, reason = "waits are short")]
    let seconds = sorted_ms[last * percent / 100] as f64 / 1_000.0;
    round(seconds)
}

/// To three digits after the point.
pub(crate) fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}
