//! `overspill reap`: lists and removes what Overspill made at RunPod and nobody needs any more.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::json;

use super::Context;
use super::account::{Own, confirm, failed, refused};
use super::error::{CommandError, ErrorKind};
use super::output::note;
use crate::kept::carry_out::purposes;
use crate::kept::name::is_installation;
use crate::kept::orphans::{Fate, Made, reap, sort};

/// List and remove what Overspill made at RunPod and no longer needs
///
/// Endpoints are told by the installation's id in their names; what bears none is never touched.
/// Those of another installation are listed, and removed only if it is named as lost: nobody here
/// can know whether it lives.
#[derive(Debug, Args)]
pub struct ReapArgs {
    /// List and do nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Remove without asking
    #[arg(long, short)]
    yes: bool,
    /// An installation whose data folder is lost, as `ovs-…`; give it several times
    #[arg(long = "lost", value_name = "INSTALLATION", value_parser = installation)]
    lost: Vec<String>,
    /// Remove endpoints although jobs are there; the jobs end
    #[arg(long)]
    force: bool,
}

fn installation(text: &str) -> Result<String, String> {
    if is_installation(text) {
        Ok(text.to_owned())
    } else {
        Err("expected an id such as ovs-0011223344556677, as `overspill reap` lists it".into())
    }
}

/// Runs the command.
///
/// # Errors
/// When RunPod refuses or is out of reach, nobody confirms, or a step fails.
pub async fn run(args: &ReapArgs, context: &Context) -> Result<(), CommandError> {
    let own = Own::find(context)?;
    let ours = &own.account.installation;
    let lost: BTreeSet<String> = args.lost.iter().cloned().collect();
    if lost.contains(ours) {
        let message = format!("{ours} is this installation, and not lost");
        return Err(CommandError::new(ErrorKind::Usage, message)
            .hint("what it no longer needs is removed without --lost"));
    }
    let mut ledger = own.ledger()?;
    let seen = own
        .account
        .management
        .list()
        .await
        .map_err(|error| refused("RunPod's endpoints cannot be listed", error))?;
    let made = sort(ours, &lost, &purposes(&own.config), &seen);
    let orphans = made.iter().filter(|made| made.fate == Fate::Orphan).count();
    if !context.output.is_json() {
        show(&made, orphans, ours, context)?;
    }
    let listed = json!({"installation": ours, "endpoints": made, "orphans": orphans});
    if args.dry_run || orphans == 0 {
        if context.output.is_json() {
            return context.output.json(&listed);
        }
        return Ok(());
    }
    if !args.yes {
        let noun = if orphans == 1 {
            "endpoint"
        } else {
            "endpoints"
        };
        confirm(&format!("remove {orphans} {noun} at RunPod?"))?;
    }
    let reaped = reap(&own.account, &made, &mut ledger, args.force).await;
    if context.output.is_json() {
        let left: Vec<_> = reaped
            .left
            .iter()
            .map(|(id, jobs)| json!({"id": id, "jobs": jobs}))
            .collect();
        let mut json = listed;
        json["removed"] = json!(reaped.removed);
        json["left"] = json!(left);
        context.output.json(&json)?;
    } else {
        for id in &reaped.removed {
            context.output.text(&format!("removed {id}"))?;
        }
        for (id, jobs) in &reaped.left {
            note(&format!(
                "left {id}: {jobs} jobs are there; it is paused, reap again when they have ended, or \
                 give --force"
            ));
        }
    }
    if reaped.failures.is_empty() {
        Ok(())
    } else {
        Err(failed(&reaped.failures))
    }
}

fn show(made: &[Made], orphans: usize, ours: &str, context: &Context) -> Result<(), CommandError> {
    if made.is_empty() {
        return context
            .output
            .text("Overspill has made no endpoint in this account");
    }
    let rows = made.iter().map(|made| {
        vec![
            made.fate.words().to_owned(),
            made.id.clone(),
            format!("{}..{}", made.workers_min, made.workers_max),
            made.created_at.clone(),
            made.name.clone(),
        ]
    });
    context
        .output
        .table(&["", "ID", "WORKERS", "MADE", "NAME"], rows.collect())?;
    if orphans == 0 {
        note("nothing to remove");
    }
    if made.iter().any(|made| made.fate == Fate::Others) {
        note(&format!(
            "this installation is {ours}; one whose data folder is lost is named by --lost INSTALLATION"
        ));
    }
    Ok(())
}
