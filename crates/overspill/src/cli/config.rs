//! `overspill config show`: the effective configuration, secrets redacted.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::config::{Flags, Strictness};

use super::Context;
use super::error::CommandError;

/// Show the configuration
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print every effective value, defaults and variables included, secrets redacted
    Show,
}

/// Runs the command.
///
/// # Errors
/// When the configuration is refused or cannot be read.
pub fn run(args: &ConfigArgs, context: &Context) -> Result<(), CommandError> {
    match args.command {
        ConfigCommand::Show => {
            let (path, loaded) = context.load_config(&Flags::default(), Strictness::Check)?;
            for warning in loaded.warnings() {
                super::output::note(&warning.to_string());
            }
            if context.output.is_json() {
                let file = path.display().to_string();
                return context
                    .output
                    .json(&json!({ "file": file, "config": loaded.config.to_json() }));
            }
            context.output.text(&format!(
                "# {}\n{}",
                path.display(),
                loaded.config.to_toml()
            ))
        }
    }
}
