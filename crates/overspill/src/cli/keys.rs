//! `overspill keys`: make, list and revoke API keys.

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::Context;
use super::budget::BudgetCapArgs;
use crate::auth::scope::Scope;

use super::client::segment;
use super::error::{CommandError, ErrorKind};
use super::jobs::field;
use super::output::{human_time, note};

/// Make, list and revoke API keys
#[derive(Debug, Args)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make a key; it is printed once and cannot be shown again
    Create(CreateArgs),
    /// List keys, without their secrets
    List,
    /// Revoke a key at once
    Revoke {
        /// Id of the key
        id: String,
    },
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// What the key is for
    #[arg(long)]
    name: String,
    /// What the key is: an app's or a person's, or a guard's, which may only ask whether the server
    /// lives
    #[arg(long, value_name = "KIND", value_parser = ["user", "guard"], default_value = "user")]
    kind: String,
    /// What the key may do; give it several times
    #[arg(long = "scope", value_name = "SCOPE", value_parser = scopes(), default_values = ["jobs:submit", "jobs:read", "jobs:cancel"])]
    scopes: Vec<String>,
    /// Endpoint that the key may reach; give it several times; left out: all
    #[arg(long = "endpoint", value_name = "NAME")]
    endpoints: Vec<String>,
    #[command(flatten)]
    budget: BudgetCapArgs,
}

#[derive(Debug, Deserialize)]
struct KeyView {
    id: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    endpoints: Option<Vec<String>>,
    #[serde(default)]
    created_at_ms: Option<i64>,
    #[serde(default)]
    last_used_at_ms: Option<i64>,
}

/// Every scope by its word.
fn scopes() -> PossibleValuesParser {
    PossibleValuesParser::new(Scope::ALL.map(Scope::word))
}

/// Runs the command.
///
/// # Errors
/// When the server is out of reach or refuses.
pub async fn run(args: &KeysArgs, context: &Context) -> Result<(), CommandError> {
    let client = context.client()?;
    match &args.command {
        KeysCommand::Create(create) => {
            let endpoints = (!create.endpoints.is_empty()).then_some(&create.endpoints);
            let scopes: &[String] = if create.kind == "guard" {
                &[]
            } else {
                &create.scopes
            };
            let mut body = json!({
                "name": create.name, "kind": create.kind, "scopes": scopes,
                "endpoints": endpoints,
            });
            let caps = create.budget.body();
            if !caps.is_empty() {
                body["budget"] = Json::Object(caps);
            }
            let answer = client.post("/api/v1/keys", &body).await?;
            if context.output.is_json() {
                return context.output.json(&answer);
            }
            let text = |key: &str| {
                let missing = || {
                    let message = format!("the server's answer lacks `{key}`");
                    CommandError::new(ErrorKind::Unavailable, message)
                };
                answer.get(key).and_then(Json::as_str).ok_or_else(missing)
            };
            note(&format!(
                "key {} was made; it is shown this once:",
                text("id")?
            ));
            context.output.text(text("key")?)
        }
        KeysCommand::List => {
            let answer = client.get("/api/v1/keys").await?;
            if context.output.is_json() {
                return context.output.json(&answer);
            }
            let keys: Vec<KeyView> = field(&answer, "keys")?;
            let rows = keys.into_iter().map(row).collect();
            let headings = [
                "ID",
                "NAME",
                "KIND",
                "ENDPOINTS",
                "SCOPES",
                "CREATED",
                "LAST USED",
            ];
            context.output.table(&headings, rows)
        }
        KeysCommand::Revoke { id } => {
            let path = format!("/api/v1/keys/{}", segment(id));
            let answer = client.send(Method::DELETE, &path, None).await?;
            if context.output.is_json() {
                let answer = if answer.is_null() {
                    json!({ "id": id, "revoked": true })
                } else {
                    answer
                };
                return context.output.json(&answer);
            }
            context.output.text(&format!("key {id} is revoked"))
        }
    }
}

fn row(key: KeyView) -> Vec<String> {
    let text = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        key.id,
        text(key.name),
        text(key.kind),
        key.endpoints
            .map_or_else(|| "all".to_owned(), |endpoints| endpoints.join(" ")),
        key.scopes.join(" "),
        human_time(key.created_at_ms),
        human_time(key.last_used_at_ms),
    ]
}
