//! `overspill config show`: the effective configuration, secrets redacted, and what was changed of it
//! while the server ran.

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::config::{Flags, Strictness};
use crate::view::budget::CapsLine;

use super::Context;
use super::error::CommandError;
use super::jobs::field;
use super::output::{human_time, inert};

/// Show the configuration
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print every effective value, defaults and variables included, secrets redacted
    Show {
        /// Ask the server for limits and caps that were changed while it ran, and by whom
        #[arg(long)]
        live: bool,
    },
}

/// Runs the command.
///
/// # Errors
/// When the configuration is refused or cannot be read; with `--live`, when the server is out of reach.
pub fn run(args: &ConfigArgs, context: &Context) -> Result<(), CommandError> {
    let ConfigCommand::Show { live } = args.command;
    let (path, loaded) = context.load_config(&Flags::default(), Strictness::Check)?;
    for warning in loaded.warnings() {
        super::output::note(&warning.to_string());
    }
    let changes = if live {
        Some(super::block_on_value(changes(context))?)
    } else {
        None
    };
    if context.output.is_json() {
        let file = path.display().to_string();
        let mut answer = json!({ "file": file, "config": loaded.config.to_json() });
        if let Some(changes) = &changes {
            answer["live"] = json!(changes.iter().map(Change::to_json).collect::<Vec<_>>());
        }
        return context.output.json(&answer);
    }
    let mut text = format!("# {}\n{}", path.display(), loaded.config.to_toml());
    if let Some(changes) = &changes {
        text.push_str("\n# Changed while the server ran:\n");
        if changes.is_empty() {
            text.push_str("#   nothing\n");
        }
        for change in changes {
            text.push_str(&format!("#   {}\n", inert(&change.to_string())));
        }
    }
    context.output.text(&text)
}

/// A value that was changed while the server ran.
struct Change {
    /// Where it stands: `[budget]`, `[[endpoint]] tts`, `key a1B2c3D4`.
    place: String,
    key: &'static str,
    file: Option<String>,
    effective: Option<String>,
    by: String,
    at_ms: Option<i64>,
}

impl Change {
    fn to_json(&self) -> Json {
        json!({
            "place": self.place, "key": self.key, "file": self.file, "effective": self.effective,
            "by": self.by, "at_ms": self.at_ms,
        })
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        write!(
            f,
            "{} {} = {} (file: {}), by {} at {}",
            self.place,
            self.key,
            text(&self.effective),
            text(&self.file),
            self.by,
            human_time(self.at_ms)
        )
    }
}

#[derive(Deserialize)]
struct EndpointLimits {
    name: String,
    min: u32,
    max: u32,
    limits_changed: Option<LimitsChange>,
}

#[derive(Deserialize)]
struct LimitsChange {
    by: String,
    at_ms: i64,
    file_min: u32,
    file_max: u32,
}

async fn changes(context: &Context) -> Result<Vec<Change>, CommandError> {
    let client = context.client()?;
    let overview = client.get("/api/v1/overview").await?;
    let budget = client.get("/api/v1/budget").await?;
    let endpoints: Vec<EndpointLimits> = field(&overview, "endpoints")?;
    let sources: Vec<CapsLine> = field(&budget, "sources")?;
    let limits = endpoints.into_iter().filter_map(|endpoint| {
        let change = endpoint.limits_changed?;
        let of = |key, file: u32, effective: u32| Change {
            place: format!("[[endpoint]] {}", endpoint.name),
            key,
            file: Some(file.to_string()),
            effective: Some(effective.to_string()),
            by: change.by.clone(),
            at_ms: Some(change.at_ms),
        };
        Some([
            of("workers.min", change.file_min, endpoint.min),
            of("workers.max", change.file_max, endpoint.max),
        ])
    });
    let mut all: Vec<Change> = limits.flatten().collect();
    for source in sources {
        let Some(by) = source.by else { continue };
        let place = match (&source.whose.endpoint, &source.whose.key) {
            (Some(endpoint), _) => format!("[[endpoint]] {endpoint}, budget"),
            (None, Some(_)) => source.whose.words(),
            (None, None) => "[budget]".to_owned(),
        };
        let (caps, file) = (source.caps, source.file);
        for (key, effective, file) in [
            ("per_hour", caps.per_hour, file.per_hour),
            ("per_day", caps.per_day, file.per_day),
            ("per_month", caps.per_month, file.per_month),
        ] {
            all.push(Change {
                place: place.clone(),
                key,
                file,
                effective,
                by: by.clone(),
                at_ms: source.at_ms,
            });
        }
    }
    all.retain(|change| change.file != change.effective);
    Ok(all)
}
