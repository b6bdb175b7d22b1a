//! `overspill why`: the chain of causes of a job or of an endpoint's cloud workers, and what one
//! changed setting would do.

use clap::Args;
use serde::Deserialize;
use serde_json::Value as Json;

use super::Context;
use super::client::segment;
use super::doctor::FindingView;
use super::error::{CommandError, ErrorKind};
use super::jobs::{field, malformed};
use super::output::{human_ms, inert};
use super::paint::Paint;
use super::status::EndpointView;

/// Say why a job waits, or why an endpoint has the cloud workers that it has
///
/// `overspill why JOB` follows one job; `overspill why scale [ENDPOINT]` speaks of an endpoint's
/// cloud workers, or of every endpoint's. What-ifs are worked out by the scaler itself on a copy of
/// the state; they are forecasts, from the durations that were learned.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// Id of a job, or the word `scale`
    #[arg(value_name = "JOB|scale")]
    what: String,
    /// After `scale`: name of the endpoint; left out: every endpoint
    endpoint: Option<String>,
}

/// The answer; unknown fields are passed over.
#[derive(Debug, Deserialize)]
struct WhyView {
    endpoint: String,
    #[serde(default)]
    job: Option<String>,
    #[serde(default)]
    status: Option<String>,
    causes: Vec<CauseView>,
    #[serde(default)]
    start_in_ms: Option<u64>,
    #[serde(default)]
    what_if: Vec<WhatIfView>,
    #[serde(default)]
    findings: Vec<FindingView>,
}

#[derive(Debug, Deserialize)]
struct CauseView {
    code: String,
    text: String,
}

#[derive(Debug, Deserialize)]
struct WhatIfView {
    text: String,
    how: String,
}

/// Runs the command.
///
/// # Errors
/// When the server is out of reach or refuses, or there is no such job or endpoint.
pub async fn run(args: &WhyArgs, context: &Context) -> Result<(), CommandError> {
    let client = context.client()?;
    if args.what != "scale" {
        if let Some(extra) = &args.endpoint {
            let message = format!("`{extra}` is one word too many after a job's id");
            let hint = "overspill why JOB, or overspill why scale [ENDPOINT]";
            return Err(CommandError::new(ErrorKind::Usage, message).hint(hint));
        }
        let path = format!("/api/v1/why/job/{}", segment(&args.what));
        let answer = client.get(&path).await?;
        return print(context, vec![answer], false);
    }
    let names = match &args.endpoint {
        Some(name) => vec![name.clone()],
        None => {
            let answer = client.get("/api/v1/endpoints").await?;
            let endpoints: Vec<EndpointView> = field(&answer, "endpoints")?;
            endpoints
                .into_iter()
                .map(|endpoint| endpoint.name)
                .collect()
        }
    };
    let mut answers = Vec::new();
    for name in names {
        let path = format!("/api/v1/why/scale/{}", segment(&name));
        answers.push(client.get(&path).await?);
    }
    print(context, answers, args.endpoint.is_none())
}

fn print(context: &Context, answers: Vec<Json>, is_list: bool) -> Result<(), CommandError> {
    if context.output.is_json() {
        if is_list {
            return context
                .output
                .json(&serde_json::json!({ "endpoints": answers }));
        }
        let one = answers.into_iter().next().unwrap_or(Json::Null);
        return context.output.json(&one);
    }
    let paint = context.output.paint();
    let texts = answers.iter().map(|answer| {
        let why = WhyView::deserialize(answer).map_err(malformed)?;
        Ok(described(&why, paint))
    });
    let texts: Result<Vec<String>, CommandError> = texts.collect();
    context.output.text(&texts?.join("\n\n"))
}

fn described(why: &WhyView, paint: Paint) -> String {
    let mut lines = vec![match (&why.job, &why.status) {
        (Some(job), Some(status)) => format!(
            "{} ({}): {}",
            inert(job),
            inert(&why.endpoint),
            paint.state(&inert(status))
        ),
        _ => format!("{}: its cloud workers", inert(&why.endpoint)),
    }];
    let width = why.causes.iter().map(|cause| cause.code.len()).max();
    for cause in &why.causes {
        let width = width.unwrap_or(0);
        let code = format!("{:<width$}", inert(&cause.code));
        lines.push(format!("  {}  {}", paint.strong(&code), inert(&cause.text)));
    }
    if let Some(start_in) = why.start_in_ms {
        let whose = if why.job.is_some() {
            "it"
        } else {
            "the last waiting job"
        };
        lines.push(format!(
            "  {whose} should start in about {}",
            human_ms(start_in)
        ));
    }
    for finding in &why.findings {
        lines.push(finding.described(paint));
    }
    if !why.what_if.is_empty() {
        lines.push("what would change it:".to_owned());
    }
    for what_if in &why.what_if {
        lines.push(format!("  {}", inert(&what_if.text)));
        lines.push(format!("    {}", paint.strong(&inert(&what_if.how))));
    }
    lines.join("\n")
}
