//! `overspill completions`: shell completions on stdout.

use clap::Args;
use clap_complete::Shell;

use super::Context;
use super::error::CommandError;

/// Print shell completions
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Runs the command.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(args: &CompletionsArgs, context: &Context) -> Result<(), CommandError> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "overspill", &mut text);
    context.output.text(&String::from_utf8_lossy(&text))
}
