//! `overspill cancel`: end a job, wherever it is.

use clap::Args;
use serde_json::{Value as Json, json};

use super::Context;
use super::client::segment;
use super::error::CommandError;
use super::jobs::find;
use super::output::inert;

/// Cancel a job
///
/// A job that waits ends at once; one that runs is told to stop. A job that has ended stays as it
/// is, and its true state is printed.
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// Id of the job
    job: String,
    /// Endpoint of the job; left out: the server is asked
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// When the server is out of reach or refuses, or there is no such job.
pub async fn run(args: &CancelArgs, context: &Context) -> Result<(), CommandError> {
    let client = context.client()?;
    let endpoint = match &args.endpoint {
        Some(endpoint) => endpoint.clone(),
        None => find(&client, &args.job).await?.1.endpoint,
    };
    let path = format!("/v2/{}/cancel/{}", segment(&endpoint), segment(&args.job));
    let answer = client.post(&path, &json!({})).await?;
    if context.output.is_json() {
        return context.output.json(&answer);
    }
    let status = answer
        .get("status")
        .and_then(Json::as_str)
        .unwrap_or("unknown");
    context
        .output
        .text(&inert(&format!("{}: {status}", args.job)))
}
