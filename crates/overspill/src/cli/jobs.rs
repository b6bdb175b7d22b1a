//! `overspill jobs`: list jobs, and the form of a job that other commands print too.

use clap::Args;
use serde::Deserialize;
use serde_json::Value as Json;

use super::Context;
use super::client::segment;
use super::error::{CommandError, ErrorKind};
use super::output::{human_ms, human_time, note};

/// List jobs, newest first
#[derive(Debug, Args)]
pub struct JobsArgs {
    /// Only jobs of this endpoint
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Only jobs in this state
    #[arg(
        long,
        value_name = "STATE",
        ignore_case = true,
        value_parser = ["queued", "running", "completed", "failed", "cancelled", "timed_out"],
    )]
    status: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
    /// Continue after this cursor, as the last page named it
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
}

/// One job as the management API gives it; unknown fields are passed over.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct JobView {
    pub(crate) id: String,
    pub(crate) endpoint: String,
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) submitted_at_ms: Option<i64>,
    #[serde(default)]
    pub(crate) started_at_ms: Option<i64>,
    #[serde(default)]
    pub(crate) ended_at_ms: Option<i64>,
    #[serde(default)]
    pub(crate) pool: Option<String>,
    #[serde(default)]
    pub(crate) worker: Option<String>,
    #[serde(default)]
    pub(crate) attempt: Option<u32>,
    #[serde(default)]
    pub(crate) delay_ms: Option<u64>,
    #[serde(default)]
    pub(crate) execution_ms: Option<u64>,
}

/// Runs the command.
///
/// # Errors
/// When the server is out of reach or refuses.
pub async fn run(args: &JobsArgs, context: &Context) -> Result<(), CommandError> {
    let mut path = format!("/api/v1/jobs?limit={}", args.limit);
    let filters = [
        ("endpoint", &args.endpoint),
        ("status", &args.status),
        ("after", &args.after),
    ];
    for (key, value) in filters {
        if let Some(value) = value {
            path.push_str(&format!("&{key}={}", segment(value)));
        }
    }
    let answer = context.client()?.get(&path).await?;
    if context.output.is_json() {
        return context.output.json(&answer);
    }
    let jobs: Vec<JobView> = field(&answer, "jobs")?;
    let rows = jobs.iter().map(row).collect();
    context.output.table(HEADINGS, rows)?;
    if let Some(next) = answer.get("next").and_then(Json::as_str) {
        note(&format!("more: overspill jobs --after {next}"));
    }
    Ok(())
}

/// The job `id`, by the management API, as JSON and as its view.
pub(crate) async fn find(
    client: &super::ServerClient,
    id: &str,
) -> Result<(Json, JobView), CommandError> {
    let answer = client.get(&format!("/api/v1/jobs/{}", segment(id))).await?;
    let view = JobView::deserialize(&answer).map_err(malformed)?;
    Ok((answer, view))
}

/// The field `key` of an answer.
pub(crate) fn field<T: serde::de::DeserializeOwned>(
    answer: &Json,
    key: &str,
) -> Result<T, CommandError> {
    T::deserialize(answer.get(key).unwrap_or(&Json::Null)).map_err(malformed)
}

/// An answer that this version does not understand.
pub(crate) fn malformed(error: serde_json::Error) -> CommandError {
    CommandError::new(
        ErrorKind::Unavailable,
        "the server's answer is not understood",
    )
    .because(error)
    .hint("is the server of another version? compare `overspill version` on both sides")
}

const HEADINGS: &[&str] = &[
    "JOB",
    "ENDPOINT",
    "~STATUS",
    "SUBMITTED",
    ">WAITED",
    ">RAN",
    "POOL",
    "WORKER",
    ">ATTEMPT",
];

fn row(job: &JobView) -> Vec<String> {
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let length = |millis: Option<u64>| millis.map_or_else(|| "-".to_owned(), human_ms);
    vec![
        job.id.clone(),
        job.endpoint.clone(),
        job.status.clone(),
        human_time(job.submitted_at_ms),
        length(job.delay_ms),
        length(job.execution_ms),
        text(&job.pool),
        text(&job.worker),
        job.attempt
            .map_or_else(|| "-".to_owned(), |attempt| attempt.to_string()),
    ]
}
