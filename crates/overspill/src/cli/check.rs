//! `overspill check`: validate the configuration, and say what is not active yet.

use clap::Args;
use serde_json::json;

use crate::config::{ConfigError, Environment, Flags, Problem, Severity, Strictness};
use crate::gpu::CardList;
use crate::keeper;
use crate::kept::record::Record;
use crate::topology::Installation;

use super::Context;
use super::error::{CommandError, ErrorKind};
use super::output::note;

/// Validate the configuration
///
/// Reports every fault at once, each with file, line and column. Variables that are not set are
/// warnings here, and errors for `serve`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Refuse variables that are not set, as `serve` does
    #[arg(long)]
    strict: bool,
}

/// Runs the command.
///
/// # Errors
/// When the configuration is refused or cannot be read.
pub fn run(args: &CheckArgs, context: &Context) -> Result<(), CommandError> {
    let strictness = if args.strict {
        Strictness::Serve
    } else {
        Strictness::Check
    };
    let path = crate::config::locate(context.global.config.as_deref(), &context.environment)?;
    let loaded = crate::config::load(&path, &context.environment, &Flags::default(), strictness);
    let file = path.display().to_string();
    let of = |problems: &[Problem], severity: Severity| -> Vec<Problem> {
        problems
            .iter()
            .filter(|problem| problem.severity == severity)
            .cloned()
            .collect()
    };
    match loaded {
        Ok(loaded) => {
            let warnings = of(&loaded.findings, Severity::Warning);
            let not_active = of(&loaded.findings, Severity::NotActiveYet);
            // What depends on this machine is no fault of the file: it may be meant for another.
            let data_dir = loaded.folder.join(&loaded.config.data_dir);
            let mut here = Vec::new();
            // As the running server would at a reload.
            let known = CardList::read(&data_dir).unwrap_or_else(|error| {
                here.push(error.to_string());
                CardList::default()
            });
            let cards = crate::gpu::detect().map(|found| known.laid_over(&found));
            let cards = cards.unwrap_or_else(|error| {
                here.push(error.to_string());
                known
            });
            let kept = Record::read(&data_dir).unwrap_or_default();
            let installation = crate::topology::install(&loaded, &cards, &kept);
            here.extend(installation.warnings.iter().cloned());
            here.extend(missing_programs(&installation, &context.environment));
            let names: Vec<&str> = loaded
                .config
                .endpoint
                .iter()
                .map(|endpoint| endpoint.name.as_str())
                .collect();
            if context.output.is_json() {
                return context.output.json(&json!({
                    "ok": true, "file": file, "endpoints": names, "errors": [],
                    "warnings": warnings, "not_active_yet": not_active, "on_this_machine": here,
                }));
            }
            for warning in &warnings {
                note(&warning.to_string());
            }
            for warning in &here {
                note(&format!("on this machine: {warning}"));
            }
            let mut text = format!("{file}: ok; {}", counted(names.len(), "endpoint"));
            if !names.is_empty() {
                text.push_str(&format!(" ({})", names.join(", ")));
            }
            if !warnings.is_empty() {
                text.push_str(&format!("; {}", counted(warnings.len(), "warning")));
            }
            if !not_active.is_empty() {
                text.push_str("\nunderstood, but not active yet:");
                for finding in &not_active {
                    text.push_str(&format!("\n  {}: {}", finding.place, finding.message));
                }
            }
            context.output.text(&text)
        }
        Err(ConfigError::Refused(problems)) => {
            let errors = of(&problems, Severity::Error);
            let warnings = of(&problems, Severity::Warning);
            if context.output.is_json() {
                context.output.json(&json!({
                    "ok": false, "file": file, "endpoints": [], "errors": errors,
                    "warnings": warnings, "not_active_yet": of(&problems, Severity::NotActiveYet),
                }))?;
            } else {
                for problem in warnings.iter().chain(&errors) {
                    note(&problem.to_string());
                }
            }
            let message = format!("{file}: refused; {}", counted(errors.len(), "error"));
            Err(CommandError::new(ErrorKind::Config, message))
        }
        Err(unreadable) => Err(unreadable.into()),
    }
}

/// Local pools whose command cannot be started on this machine.
fn missing_programs(installation: &Installation, environment: &Environment) -> Vec<String> {
    let missing = installation.commands.iter().filter_map(|pool| {
        let own = pool.env.get("PATH").map(String::as_str);
        let path = own.or_else(|| environment.text("PATH"));
        let program = pool.command.first()?;
        let error = keeper::find_program(program, &pool.dir, path).err()?;
        let (endpoint, name) = (&pool.endpoint, &pool.pool);
        Some(format!(
            "endpoint {endpoint}, pool {name}: no worker can be started: {error}"
        ))
    });
    missing.collect()
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}
