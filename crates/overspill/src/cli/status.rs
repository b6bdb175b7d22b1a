//! `overspill status`: one job with its attempts, or all endpoints with their queues and workers.

use clap::Args;
use serde::Deserialize;
use serde_json::Value as Json;

use super::Context;
use super::cost::money;
use super::error::CommandError;
use super::jobs::{JobView, field, find};
use super::output::{human_ms, human_time, inert};
use super::paint::Paint;
use crate::view::cost::Sums;

/// Show a job, or all endpoints
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Id of a job; left out: all endpoints
    job: Option<String>,
}

/// One endpoint as the management API gives it.
#[derive(Debug, Deserialize)]
pub(crate) struct EndpointView {
    pub(crate) name: String,
    pub(crate) workers: LimitsView,
    #[serde(default)]
    pub(crate) jobs: JobCounts,
    #[serde(default)]
    pub(crate) cloud: CloudCounts,
    #[serde(default)]
    pub(crate) local: LocalCounts,
}

#[derive(Debug, Deserialize)]
pub(crate) struct LimitsView {
    pub(crate) min: u32,
    pub(crate) max: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct JobCounts {
    queued: u64,
    running: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CloudCounts {
    wanted: u64,
    ready: u64,
    starting: u64,
    running: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LocalCounts {
    workers: u64,
    slots: u64,
    busy: u64,
}

/// Runs the command.
///
/// # Errors
/// When the server is out of reach or refuses, or there is no such job.
pub async fn run(args: &StatusArgs, context: &Context) -> Result<(), CommandError> {
    let client = context.client()?;
    let Some(id) = &args.job else {
        let answer = client.get("/api/v1/endpoints").await?;
        if context.output.is_json() {
            return context.output.json(&answer);
        }
        let endpoints: Vec<EndpointView> = field(&answer, "endpoints")?;
        return context
            .output
            .table(HEADINGS, endpoints.iter().map(row).collect());
    };
    let (answer, job) = find(&client, id).await?;
    if context.output.is_json() {
        return context.output.json(&answer);
    }
    context
        .output
        .text(&described(&job, &answer, context.output.paint()))
}

pub(crate) const HEADINGS: &[&str] = &[
    "ENDPOINT",
    ">QUEUED",
    ">RUNNING",
    ">LOCAL BUSY",
    ">LOCAL WORKERS",
    ">CLOUD READY",
    ">STARTING",
    ">WANTED",
    ">MIN",
    ">MAX",
];

pub(crate) fn row(endpoint: &EndpointView) -> Vec<String> {
    vec![
        endpoint.name.clone(),
        endpoint.jobs.queued.to_string(),
        endpoint.jobs.running.to_string(),
        format!("{}/{}", endpoint.local.busy, endpoint.local.slots),
        endpoint.local.workers.to_string(),
        // Workers that run a job are ready, whichever way the server counts them.
        endpoint.cloud.ready.max(endpoint.cloud.running).to_string(),
        endpoint.cloud.starting.to_string(),
        endpoint.cloud.wanted.to_string(),
        endpoint.workers.min.to_string(),
        endpoint.workers.max.to_string(),
    ]
}

/// A job as lines of `name: value`.
pub(crate) fn described(job: &JobView, answer: &Json, paint: Paint) -> String {
    let mut lines = vec![
        ("job", job.id.clone()),
        ("endpoint", job.endpoint.clone()),
        ("status", job.status.clone()),
        ("submitted", human_time(job.submitted_at_ms)),
        ("started", human_time(job.started_at_ms)),
        ("ended", human_time(job.ended_at_ms)),
    ];
    if let Some(delay) = job.delay_ms {
        lines.push(("waited", human_ms(delay)));
    }
    if let Some(execution) = job.execution_ms {
        lines.push(("ran", human_ms(execution)));
    }
    if let Some(pool) = &job.pool {
        let worker = job
            .worker
            .as_deref()
            .map_or_else(String::new, |worker| format!(", {worker}"));
        lines.push(("on", format!("{pool}{worker}")));
    }
    if let Some(attempt) = job.attempt {
        lines.push(("attempt", attempt.to_string()));
    }
    let sums = answer
        .get("cost")
        .and_then(|cost| Sums::deserialize(cost).ok());
    lines.extend(sums.and_then(cost_line));
    match answer.get("error") {
        None | Some(Json::Null) => {}
        Some(Json::String(error)) => lines.push(("error", error.clone())),
        Some(error) => lines.push(("error", error.to_string())),
    }
    let mut text: Vec<String> = lines
        .iter()
        .map(|(name, value)| {
            let value = inert(value);
            let value = match *name {
                "status" => paint.state(&value),
                _ => value,
            };
            format!("{:<10} {value}", format!("{name}:"))
        })
        .collect();
    for attempt in answer
        .get("attempts")
        .and_then(Json::as_array)
        .map_or(&[][..], Vec::as_slice)
    {
        text.push(format!("  {}", inert(&plain_fields(attempt))));
    }
    text.join("\n")
}

/// What a job cost, and what the card here saved; nothing while the ledger says nothing of it.
fn cost_line(sums: Sums) -> Option<(&'static str, String)> {
    let mut parts = Vec::new();
    if sums.spent_nano_usd != 0 {
        parts.push(format!(
            "{} (start {}, run {}, idle {})",
            money(sums.spent_nano_usd),
            money(sums.cold_start_nano_usd),
            money(sums.run_nano_usd),
            money(sums.idle_nano_usd)
        ));
    }
    if sums.electricity_nano_usd != 0 {
        parts.push(format!("{} electricity", money(sums.electricity_nano_usd)));
    }
    if sums.saved_nano_usd != 0 {
        parts.push(format!("{} saved", money(sums.saved_nano_usd)));
    }
    (!parts.is_empty()).then(|| ("cost", parts.join(", ")))
}

/// The plain fields of an object as `name value, name value`, what matters most first.
fn plain_fields(object: &Json) -> String {
    const FIRST: [&str; 7] = [
        "number",
        "outcome",
        "pool",
        "worker",
        "leased_at_ms",
        "started_at_ms",
        "ended_at_ms",
    ];
    let Some(map) = object.as_object() else {
        return object.to_string();
    };
    let rest = map
        .keys()
        .map(String::as_str)
        .filter(|key| !FIRST.contains(key));
    FIRST
        .into_iter()
        .chain(rest)
        .filter_map(|key| match map.get(key)? {
            Json::Null | Json::Object(_) | Json::Array(_) => None,
            Json::String(text) => Some(format!("{key} {text}")),
            other => match key.strip_suffix("_at_ms") {
                Some(name) => Some(format!("{name} {}", human_time(other.as_i64()))),
                None => Some(format!("{key} {other}")),
            },
        })
        .collect::<Vec<_>>()
        .join(", ")
}
