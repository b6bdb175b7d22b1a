//! Logs: to standard error, filtered by `OVERSPILL_LOG` (default `info` for this program).
//!
//! Payloads and keys are never logged.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// The variable that filters logs, in the words of `tracing_subscriber::EnvFilter`.
pub const LOG_VARIABLE: &str = "OVERSPILL_LOG";

/// Starts logging; a second call changes nothing.
pub fn start(default: &str) {
    let filter = std::env::var(LOG_VARIABLE).unwrap_or_else(|_| default.to_owned());
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new(default));
    let is_terminal = std::io::stderr().is_terminal();
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal && std::env::var_os("NO_COLOR").is_none())
        .with_target(false)
        .try_init();
}
