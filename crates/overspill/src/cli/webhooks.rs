//! `overspill webhooks`: what was reported to receivers, what was not, and the secret that signs it.

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;

use super::Context;
use super::client::segment;
use super::error::CommandError;
use super::jobs::field;
use super::output::{human_time, inert, note};

/// Look at webhooks, send them again, and show the secret that signs them
#[derive(Debug, Args)]
pub struct WebhooksArgs {
    #[command(subcommand)]
    command: WebhooksCommand,
}

#[derive(Debug, Subcommand)]
enum WebhooksCommand {
    /// List webhooks, the newest job first
    List(ListArgs),
    /// Show one webhook
    Show {
        /// Id of the webhook, or of its job
        id: String,
    },
    /// Send a webhook again, with all attempts ahead
    Replay {
        /// Id of the webhook, or of its job
        id: String,
    },
    /// Print the secret that signs an endpoint's webhooks
    Secret {
        /// Name of the endpoint; `:budget` for alerts of caps
        endpoint: String,
        /// Make a new secret first; the old one signs for a day too
        #[arg(long)]
        rotate: bool,
    },
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only of this endpoint
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Only in this state
    #[arg(long, value_parser = PossibleValuesParser::new(["due", "delivered", "dead"]))]
    state: Option<String>,
    /// Show at most this many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
}

#[derive(Debug, Deserialize)]
struct WebhookView {
    id: String,
    endpoint: String,
    url: String,
    state: String,
    job_status: String,
    attempts: u32,
    #[serde(default)]
    tried_at_ms: Option<i64>,
    #[serde(default)]
    next_at_ms: Option<i64>,
    #[serde(default)]
    failure: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// When the server is out of reach or refuses, or there is no such webhook.
pub async fn run(args: &WebhooksArgs, context: &Context) -> Result<(), CommandError> {
    let client = context.client()?;
    let output = &context.output;
    match &args.command {
        WebhooksCommand::List(list) => {
            let mut path = format!("/api/v1/webhooks?limit={}", list.limit);
            for (key, value) in [("endpoint", &list.endpoint), ("state", &list.state)] {
                if let Some(value) = value {
                    path.push_str(&format!("&{key}={}", segment(value)));
                }
            }
            let answer = client.get(&path).await?;
            if output.is_json() {
                return output.json(&answer);
            }
            let webhooks: Vec<WebhookView> = field(&answer, "webhooks")?;
            let headings = [
                "ID",
                "ENDPOINT",
                "~STATE",
                ">ATTEMPTS",
                "TRIED",
                "NEXT",
                "URL",
            ];
            output.table(&headings, webhooks.into_iter().map(row).collect())
        }
        WebhooksCommand::Show { id } => {
            let answer = client
                .get(&format!("/api/v1/webhooks/{}", segment(id)))
                .await?;
            if output.is_json() {
                return output.json(&answer);
            }
            let webhook: WebhookView = field(&json!({ "webhook": answer }), "webhook")?;
            let mut text = format!(
                "{}: {} after {} attempts\n  job {}, endpoint {}\n  to {}\n  last tried {}, next {}",
                webhook.id,
                webhook.state,
                webhook.attempts,
                webhook.job_status,
                webhook.endpoint,
                webhook.url,
                human_time(webhook.tried_at_ms),
                human_time(webhook.next_at_ms),
            );
            if let Some(failure) = &webhook.failure {
                text.push_str(&format!("\n  {failure}"));
            }
            let lines: Vec<String> = text.lines().map(inert).collect();
            output.text(&lines.join("\n"))
        }
        WebhooksCommand::Replay { id } => {
            let path = format!("/api/v1/webhooks/{}/replay", segment(id));
            let answer = client.post(&path, &json!({})).await?;
            if output.is_json() {
                return output.json(&answer);
            }
            output.text(&inert(&format!("{id} is sent again")))
        }
        WebhooksCommand::Secret { endpoint, rotate } => {
            let path = format!("/api/v1/webhook-secrets/{}", segment(endpoint));
            let answer = if *rotate {
                client.post(&format!("{path}/rotate"), &json!({})).await?
            } else {
                client.get(&path).await?
            };
            if output.is_json() {
                return output.json(&answer);
            }
            let secrets: Vec<String> = field(&answer, "secrets")?;
            if secrets.len() > 1 {
                note("the secret before it signs for a day after the rotation too");
            }
            output.text(&inert(secrets.first().map_or("", String::as_str)))
        }
    }
}

fn row(webhook: WebhookView) -> Vec<String> {
    vec![
        webhook.id,
        webhook.endpoint,
        webhook.state,
        webhook.attempts.to_string(),
        human_time(webhook.tried_at_ms),
        human_time(webhook.next_at_ms),
        webhook.url,
    ]
}
