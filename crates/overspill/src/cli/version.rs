//! `overspill version`: what is running.

use clap::Args;
use serde_json::json;

use super::Context;
use super::error::CommandError;

/// Print the version
#[derive(Debug, Args)]
pub struct VersionArgs {}

/// Runs the command.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(_args: &VersionArgs, context: &Context) -> Result<(), CommandError> {
    let version = env!("CARGO_PKG_VERSION");
    let (os, architecture) = (std::env::consts::OS, std::env::consts::ARCH);
    if context.output.is_json() {
        return context
            .output
            .json(&json!({ "version": version, "os": os, "architecture": architecture }));
    }
    context
        .output
        .text(&format!("overspill {version} ({os}, {architecture})"))
}
