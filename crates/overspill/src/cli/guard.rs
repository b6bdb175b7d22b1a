//! `overspill guard`: the process that lowers cloud workers when the server is dead.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use overspill_core::guard::{GuardSpec, patience};
use secrecy::SecretString;
use serde_json::json;
use tracing::info;

use super::client::{ServerClient, local_config};
use super::emulate::interrupted;
use super::error::{CommandError, ErrorKind};
use super::{Context, account};
use crate::config::env::OVERSPILL_GUARD_KEY;
use crate::config::{Config, Manage, Runpod};
use crate::guard::beat::{Answered, Question};
use crate::guard::lower::Lower;
use crate::guard::memory::Memory;
use crate::guard::run::Guard;
use crate::kept::record::Record;
use crate::serving::{GUARD_KEY_FILE, process};
use crate::telemetry;

/// Lower cloud workers to zero when the server is dead
///
/// A process of its own, on this machine or another: it asks the server now and then whether it
/// lives, and sets min and max workers of its RunPod endpoints to 0 once it has been silent for
/// `[runpod] guard_after`. It can do nothing else. Only under a guard, or with `unguarded_min =
/// true`, are workers kept on (`min` above 0). On another machine it needs `OVERSPILL_URL`,
/// `OVERSPILL_GUARD_KEY` and `RUNPOD_API_KEY`; a configuration file is not needed.
#[derive(Debug, Args)]
pub struct GuardArgs {
    /// Folder in which it remembers what there is to lower [default: `data_dir` where there is a
    /// configuration, else the current folder]
    #[arg(long, value_name = "FOLDER")]
    state_dir: Option<PathBuf>,
    /// Ask the server once, say what would be lowered, and end
    #[arg(long)]
    check: bool,
}

/// Runs the command until it is asked to stop.
///
/// # Errors
/// When there is no RunPod account, or the state cannot be written; with `--check` also when the
/// server does not answer or refuses.
pub async fn run(args: &GuardArgs, context: &Context) -> Result<(), CommandError> {
    let config = local_config(context);
    let has_config =
        crate::config::locate(context.global.config.as_deref(), &context.environment).is_ok();
    let folder = args.state_dir.clone().unwrap_or_else(|| {
        if has_config {
            config.data_dir.clone()
        } else {
            PathBuf::from(".")
        }
    });
    let account = account::account(&with_account(&config), context, "guard")?;
    let client = ServerClient::find(context)?;
    let key = key(context, &config)?;
    let question = Question::new(client.base(), key).map_err(|error| {
        CommandError::new(ErrorKind::Failed, "cannot set up the HTTP client").because(error)
    })?;
    let memory = Memory::read(&folder).unwrap_or_else(|| first_memory(&config));
    if args.check {
        return check(&question, memory, context).await;
    }
    telemetry::start("overspill=info");
    std::fs::create_dir_all(&folder)
        .and_then(|()| memory.write(&folder))
        .map_err(|error| {
            let message = format!("the folder \"{}\" cannot be written", folder.display());
            CommandError::new(ErrorKind::Io, message)
                .because(error)
                .hint("--state-dir names another one")
        })?;
    telemetry::say(&format!(
        "overspill: guarding {} (acts after {} of silence)",
        client.base(),
        memory.after()
    ));
    let guard = Guard::new(question, Lower::new(account.management), memory, folder);
    tokio::select! {
        () = guard.run() => {}
        () = interrupted() => info!("the guard ends; the server holds min at 0 without one"),
    }
    telemetry::flush();
    Ok(())
}

/// Asks once, and says what there is to lower.
async fn check(
    question: &Question,
    mut memory: Memory,
    context: &Context,
) -> Result<(), CommandError> {
    let patience = Duration::from_millis(patience(memory.after()).as_millis());
    match question.ask(patience).await {
        Answered::Beat(beat) if beat.key_may_more.is_empty() => {
            memory.learn(&beat);
            if context.output.is_json() {
                return context.output.json(&json!({
                    "alive": true, "installation": memory.installation,
                    "guard_after_ms": memory.guard_after_ms, "endpoints": memory.endpoints,
                }));
            }
            let endpoints: Vec<&str> = memory.endpoints.iter().map(String::as_str).collect();
            context.output.text(&format!(
                "the server answers; after {} of silence min and max would be set to 0 at {} RunPod \
                 endpoints ({})",
                memory.after(),
                endpoints.len(),
                endpoints.join(", ")
            ))
        }
        Answered::Beat(beat) => {
            let message = format!(
                "this key may do more than a guard needs: {}",
                beat.key_may_more.join(", ")
            );
            Err(CommandError::new(ErrorKind::Auth, message)
                .hint("make one with `overspill keys create --kind guard --name guard`"))
        }
        Answered::Refused(reason) => Err(CommandError::new(ErrorKind::Auth, reason)),
        Answered::Silent(reason) => Err(CommandError::new(
            ErrorKind::Unavailable,
            format!("the server is silent: {reason}"),
        )),
    }
}

/// The configuration with an account, where the environment alone names one.
fn with_account(config: &Config) -> Config {
    let mut config = config.clone();
    config.runpod.get_or_insert_with(Runpod::default);
    config
}

/// The guard's key: the variable's, else the one that `serve` left in its data folder.
fn key(context: &Context, config: &Config) -> Result<Option<SecretString>, CommandError> {
    match context.environment.secret(OVERSPILL_GUARD_KEY) {
        Ok(Some(key)) => return Ok(Some(key)),
        Ok(None) => {}
        Err(message) => return Err(CommandError::new(ErrorKind::Io, message)),
    }
    let path = config.data_dir.join(GUARD_KEY_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => Ok(Some(SecretString::from(text.trim()))),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let message = format!("cannot read the key file \"{}\"", path.display());
            Err(CommandError::new(ErrorKind::Auth, message)
                .because(error)
                .hint(format!(
                    "run this as the server's user, or set {OVERSPILL_GUARD_KEY}"
                )))
        }
    }
}

/// What the configuration alone says there is to lower: for a guard that starts when all is dead.
fn first_memory(config: &Config) -> Memory {
    let kept = Record::read(&config.data_dir).unwrap_or_default();
    let pools = config.endpoint.iter().flat_map(|endpoint| &endpoint.cloud);
    let managed = pools.filter(|pool| pool.manage() != Manage::Nothing);
    let mut endpoints: std::collections::BTreeSet<String> =
        managed.filter_map(|pool| pool.id.clone()).collect();
    endpoints.extend(kept.ids().map(str::to_owned));
    let after = config.runpod.as_ref().map(|runpod| runpod.guard_after);
    Memory {
        installation: process::known_installation(&config.data_dir),
        endpoints,
        guard_after_ms: after
            .unwrap_or_else(|| GuardSpec::default().after)
            .as_millis(),
    }
}
