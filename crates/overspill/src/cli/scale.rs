//! `overspill scale`: change the limits of an endpoint's cloud workers, its promise, and the rule that
//! scales them, now.

use clap::Args;
use overspill_core::time::DurationMs;
use overspill_sim::simulate::policies::SHIPPED;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use crate::config::units::{format_duration, parse_duration};

use super::Context;
use super::client::segment;
use super::error::{CommandError, ErrorKind};
use super::jobs::malformed;
use super::output::{human_time, inert};
use super::status::{EndpointView, HEADINGS, row};

/// Change the limits of cloud workers, the promise, or the rule that scales, now
///
/// The change is stored, with who made it and when, and wins until the configuration file's value
/// changes. Nothing that runs is stopped; jobs above the limit wait. `overspill why scale` shows what
/// comes of it. The answer says what is in force, and who set it.
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
    /// The promise: how long a job may wait for its start, such as 90s
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    max_wait: Option<DurationMs>,
    /// Go back to the configuration file's promise
    #[arg(long, conflicts_with = "max_wait")]
    max_wait_of_file: bool,
    /// What decides: cost_aware, queue_delay, request_count or ladder
    #[arg(long, value_name = "POLICY", value_parser = SHIPPED)]
    policy: Option<String>,
    /// For cost_aware: share of the promise that projections may use
    #[arg(long, value_name = "SHARE")]
    wait_share: Option<f64>,
    /// For cost_aware: price of lateness in cold starts
    #[arg(long, value_name = "PRICE")]
    lateness_price: Option<f64>,
    /// For cost_aware: shortest time that a worker idles before it is stopped
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    min_idle: Option<DurationMs>,
    /// For queue_delay: how long a job waits before one more worker is wanted
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    queue_delay: Option<DurationMs>,
    /// For request_count: requests per worker
    #[arg(long, value_name = "N")]
    request_count: Option<u32>,
    /// Go back to the configuration file's rule
    #[arg(long, conflicts_with_all = ["policy", "wait_share", "lateness_price", "min_idle", "queue_delay", "request_count"])]
    policy_of_file: bool,
}

impl ScaleArgs {
    /// What is asked of the rule, as the API takes it; nothing where nothing is.
    fn scaler(&self) -> Option<Json> {
        if self.policy_of_file {
            return Some(Json::Null);
        }
        let duration = |length: &DurationMs| json!(format_duration(*length));
        let given = [
            ("policy", self.policy.as_ref().map(|name| json!(name))),
            ("wait_share", self.wait_share.map(|share| json!(share))),
            (
                "lateness_price",
                self.lateness_price.map(|price| json!(price)),
            ),
            ("min_idle", self.min_idle.as_ref().map(duration)),
            ("queue_delay", self.queue_delay.as_ref().map(duration)),
            (
                "request_count",
                self.request_count.map(|count| json!(count)),
            ),
        ];
        let given: Map<String, Json> = given
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect();
        (!given.is_empty()).then_some(Json::Object(given))
    }
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
    let scaler = args.scaler();
    let max_wait = match args.max_wait {
        Some(max_wait) => Some(json!(format_duration(max_wait))),
        None => args.max_wait_of_file.then_some(Json::Null),
    };
    if workers.is_empty() && scaler.is_none() && max_wait.is_none() {
        return Err(CommandError::new(
            ErrorKind::Usage,
            "nothing to change; expected --min, --max, --max-wait, --policy or one of its constants",
        ));
    }
    if let (Some(min), Some(max)) = (args.min, args.max)
        && min > max
    {
        let message = format!("--min {min} is above --max {max}");
        return Err(CommandError::new(ErrorKind::Usage, message));
    }
    let path = format!("/api/v1/endpoints/{}", segment(&args.endpoint));
    let mut body = json!({});
    if !workers.is_empty() {
        body["workers"] = json!(workers);
    }
    if let Some(max_wait) = max_wait {
        body["max_wait"] = max_wait;
    }
    if let Some(scaler) = scaler {
        body["scaler"] = scaler;
    }
    let answer = context
        .client()?
        .send(Method::PATCH, &path, Some(&body))
        .await?;
    if context.output.is_json() {
        return context.output.json(&answer);
    }
    let endpoint = EndpointView::deserialize(&answer).map_err(malformed)?;
    let in_force = InForce::deserialize(&answer).map_err(malformed)?;
    context.output.table(HEADINGS, vec![row(&endpoint)])?;
    context.output.text(&in_force.lines(&args.endpoint))
}

/// What is in force beside the limits, and who set it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InForce {
    max_wait: Option<String>,
    scaler: Map<String, Json>,
    min_held: u32,
    limits_changed: Option<SetBy>,
    max_wait_changed: Option<SetBy>,
    scaler_changed: Option<SetBy>,
}

#[derive(Debug, Deserialize)]
struct SetBy {
    by: String,
    at_ms: i64,
}

/// Who set it, and how to go back.
fn whose(set: Option<&SetBy>, back: &str) -> String {
    set.map_or_else(
        || "as the configuration file has it".to_owned(),
        |set| {
            let (by, at) = (inert(&set.by), human_time(Some(set.at_ms)));
            format!("set by {by} at {at}{back}")
        },
    )
}

impl InForce {
    fn lines(&self, endpoint: &str) -> String {
        let endpoint = inert(endpoint);
        let back = |flag: &str| format!("; back: overspill scale {endpoint} {flag}");
        let mut lines = vec![format!(
            "limits: {}",
            whose(self.limits_changed.as_ref(), ", until the file's change")
        )];
        if let Some(max_wait) = &self.max_wait {
            let whose = whose(self.max_wait_changed.as_ref(), &back("--max-wait-of-file"));
            lines.push(format!(
                "promise: starts within {}, {whose}",
                inert(max_wait)
            ));
        }
        if let Some(policy) = self.scaler.get("policy").and_then(Json::as_str) {
            let constants = self.scaler.iter().filter(|(key, _)| *key != "policy");
            let constants = constants.map(|(key, value)| {
                let value = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                format!(", {key} {value}")
            });
            let rule: String = constants.collect();
            let whose = whose(self.scaler_changed.as_ref(), &back("--policy-of-file"));
            lines.push(format!(
                "rule: {}, {whose}",
                inert(&format!("{policy}{rule}"))
            ));
        }
        if self.min_held > 0 {
            lines.push(format!(
                "min {} is held at 0: no guard watches this server. Run `overspill guard`, or set unguarded_min = true \
                 under [runpod]",
                self.min_held
            ));
        }
        lines.join("\n")
    }
}
