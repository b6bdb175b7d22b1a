//! `overspill scale`: change the limits of an endpoint's cloud workers now.

use clap::Args;
use reqwest::Method;
use serde::Deserialize as _;
use serde_json::{Map, Value as Json, json};

use super::Context;
use super::client::segment;
use super::error::{CommandError, ErrorKind};
use super::jobs::malformed;
use super::status::{EndpointView, HEADINGS, row};

/// Change the limits of cloud workers now
///
/// The change is stored and wins until the configuration file's value changes. Nothing that runs
/// is stopped; jobs above the limit wait.
#[derive(Debug, Args)]
pub struct ScaleArgs {
    /// Name of the endpoint
    endpoint: String,
    /// Workers that are kept on
    #[arg(long, value_name = "N")]
    min: Option<u32>,
    /// Most workers at once
    #[arg(long, value_name = "N")]
    max: Option<u32>,
}

/// Runs the command.
///
/// # Errors
/// When no limit is given or they contradict, or the server is out of reach or refuses.
pub async fn run(args: &ScaleArgs, context: &Context) -> Result<(), CommandError> {
    let mut workers = Map::new();
    for (key, limit) in [("min", args.min), ("max", args.max)] {
        if let Some(limit) = limit {
            workers.insert(key.to_owned(), Json::from(limit));
        }
    }
    if workers.is_empty() {
        return Err(CommandError::new(
            ErrorKind::Usage,
            "no limit given; expected --min or --max",
        ));
    }
    if let (Some(min), Some(max)) = (args.min, args.max)
        && min > max
    {
        let message = format!("--min {min} is above --max {max}");
        return Err(CommandError::new(ErrorKind::Usage, message));
    }
    let path = format!("/api/v1/endpoints/{}", segment(&args.endpoint));
    let body = json!({ "workers": workers });
    let answer = context
        .client()?
        .send(Method::PATCH, &path, Some(&body))
        .await?;
    if context.output.is_json() {
        return context.output.json(&answer);
    }
    let endpoint = EndpointView::deserialize(&answer).map_err(malformed)?;
    context.output.table(HEADINGS, vec![row(&endpoint)])
}
