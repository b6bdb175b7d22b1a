//! `overspill purge`: remove every waiting job of an endpoint.

use std::io::{self, IsTerminal as _, Write as _};

use clap::Args;
use serde_json::{Value as Json, json};

use super::Context;
use super::client::segment;
use super::error::{CommandError, ErrorKind};

/// Remove every waiting job of an endpoint
///
/// Jobs that run are left alone.
#[derive(Debug, Args)]
pub struct PurgeArgs {
    /// Name of the endpoint
    endpoint: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Runs the command.
///
/// # Errors
/// When it was not confirmed, or the server is out of reach or refuses.
pub async fn run(args: &PurgeArgs, context: &Context) -> Result<(), CommandError> {
    if !args.yes {
        confirm(&format!("Remove every waiting job of {}?", args.endpoint))?;
    }
    let path = format!("/v2/{}/purge-queue", segment(&args.endpoint));
    let answer = context.client()?.post(&path, &json!({})).await?;
    if context.output.is_json() {
        return context.output.json(&answer);
    }
    let removed = answer.get("removed").and_then(Json::as_u64).unwrap_or(0);
    context.output.text(&format!(
        "{}: {removed} waiting jobs removed",
        args.endpoint
    ))
}

/// Asks a person; where there is none, `--yes` is needed.
pub(crate) fn confirm(question: &str) -> Result<(), CommandError> {
    if !io::stdin().is_terminal() {
        return Err(CommandError::new(
            ErrorKind::Usage,
            "this removes things and nobody can be asked",
        )
        .hint("give --yes"));
    }
    let mut stderr = io::stderr().lock();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(CommandError::new(
        ErrorKind::Interrupted,
        "not confirmed; nothing was changed",
    ))
}
