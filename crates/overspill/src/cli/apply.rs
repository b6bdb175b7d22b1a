//! `overspill apply`: makes, changes and removes the RunPod endpoints that the configuration asks for.

use clap::Args;
use serde_json::{Value as Json, json};

use super::Context;
use super::account::{Own, confirm, failed, refused};
use super::error::CommandError;
use super::output::note;
use crate::kept::carry_out::{Applied, Extent, Survey, carry_out, survey};
use crate::kept::plan::{Change, Plan};

/// Make, change and remove the RunPod endpoints that the configuration asks for
///
/// Pools with `image` have one RunPod endpoint for each type in `gpu`. The plan is shown before
/// anything is done. Limits of workers are the server's and no part of it: an endpoint is made
/// paused, and costs nothing until the server wants workers. Only endpoints whose name bears this
/// installation's id are looked at.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Show the plan and do nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do it without asking
    #[arg(long, short)]
    yes: bool,
    /// Remove endpoints although jobs are there; the jobs end
    #[arg(long)]
    force: bool,
}

/// Runs the command.
///
/// # Errors
/// When RunPod refuses or is out of reach, nobody confirms, or a step fails.
pub async fn run(args: &ApplyArgs, context: &Context) -> Result<(), CommandError> {
    let own = Own::find(context)?;
    let mut ledger = own.ledger()?;
    let survey = survey(&own.account, &own.config, &ledger)
        .await
        .map_err(|error| refused("RunPod's endpoints cannot be listed", error))?;
    if !context.output.is_json() {
        show(&survey, context)?;
    }
    let plan = &survey.plan;
    if args.dry_run || plan.is_empty() {
        if context.output.is_json() {
            return context
                .output
                .json(&shown(&survey, None, &own.account.installation));
        }
        return Ok(());
    }
    if !args.yes {
        confirm(&format!("{} at RunPod?", counted(plan)))?;
    }
    let extent = Extent::All { force: args.force };
    let applied = carry_out(&own.account, plan, &mut ledger, extent).await;
    if context.output.is_json() {
        let json = shown(&survey, Some(&applied), &own.account.installation);
        context.output.json(&json)?;
    } else {
        for (desired, id) in &applied.created {
            context
                .output
                .text(&format!("made {id} for {}", desired.label()))?;
        }
        for id in &applied.changed {
            context.output.text(&format!("changed {id}"))?;
        }
        for id in &applied.removed {
            context.output.text(&format!("removed {id}"))?;
        }
        for (id, jobs) in &applied.left {
            note(&format!(
                "left {id}: {jobs} jobs are there; it is paused, apply again when they have ended, or \
                 give --force"
            ));
        }
    }
    if applied.failures.is_empty() {
        Ok(())
    } else {
        Err(failed(&applied.failures))
    }
}

/// The plan as a table, with what differs below each change.
fn show(survey: &Survey, context: &Context) -> Result<(), CommandError> {
    let plan = &survey.plan;
    for missing in &survey.missing {
        note(&format!("warning: {missing}"));
    }
    if !survey.catalog_is_live {
        note("RunPod's catalog cannot be read; GPU pools are those of the built-in table");
    }
    if plan.is_empty() {
        let kept = plan.keep.len();
        return context.output.text(&format!(
            "nothing to do; {kept} {} kept",
            if kept == 1 {
                "endpoint is"
            } else {
                "endpoints are"
            }
        ));
    }
    let mut rows = Vec::new();
    let row = |columns: [&str; 5]| columns.map(str::to_owned).to_vec();
    for wanted in &plan.create {
        let settings = &wanted.settings;
        let detail = format!("{}, {} GB disk", settings.image, settings.disk_gb);
        rows.push(row(["create", &wanted.endpoint, &wanted.gpu, "-", &detail]));
    }
    for change in &plan.change {
        let (endpoint, gpu) = (&change.desired.endpoint, &change.desired.gpu);
        for (index, difference) in change.differences.iter().enumerate() {
            let what = if index == 0 { "change" } else { "" };
            let release = if difference.is_release {
                " (new release)"
            } else {
                ""
            };
            let detail = format!(
                "{}: {} → {}{release}",
                difference.field,
                brief(&difference.from),
                brief(&difference.to)
            );
            rows.push(row([what, endpoint, gpu, &change.id, &detail]));
        }
    }
    for needless in &plan.remove {
        let name = &needless.name;
        rows.push(row([
            "remove",
            name,
            "-",
            &needless.id,
            needless.reason.words(),
        ]));
    }
    context
        .output
        .table(&["", "ENDPOINT", "GPU", "ID", "WHAT"], rows)
}

fn brief(value: &Json) -> String {
    match value {
        Json::Null => "-".into(),
        Json::String(text) if text.is_empty() => "-".into(),
        Json::String(text) => text.clone(),
        Json::Array(items) if items.is_empty() => "-".into(),
        Json::Array(items) => items.iter().map(brief).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn counted(plan: &Plan) -> String {
    let parts = [
        ("create", plan.create.len()),
        ("change", plan.change.len()),
        ("remove", plan.remove.len()),
    ];
    let parts = parts.iter().filter(|(_, count)| *count > 0);
    let parts: Vec<String> = parts
        .map(|(verb, count)| {
            let noun = if *count == 1 { "endpoint" } else { "endpoints" };
            format!("{verb} {count} {noun}")
        })
        .collect();
    parts.join(", ")
}

/// The plan and what came of it as JSON.
fn shown(survey: &Survey, applied: Option<&Applied>, installation: &str) -> Json {
    let plan = &survey.plan;
    let create: Vec<Json> = plan
        .create
        .iter()
        .map(|wanted| {
            json!({
                "endpoint": wanted.endpoint, "pool": wanted.key, "gpu": wanted.gpu,
                "image": wanted.settings.image,
            })
        })
        .collect();
    let change = |change: &Change| {
        json!({
            "id": change.id, "endpoint": change.desired.endpoint, "pool": change.desired.key,
            "gpu": change.desired.gpu, "is_release": change.is_release(),
            "differences": change.differences,
        })
    };
    let change: Vec<Json> = plan.change.iter().map(change).collect();
    let missing = survey.missing.iter();
    let missing: Vec<Json> = missing
        .map(|gpu| json!({"endpoint": gpu.endpoint, "pool": gpu.pool, "gpu": gpu.gpu}))
        .collect();
    let kept: Vec<&String> = plan.keep.values().collect();
    json!({
        "installation": installation, "catalog_is_live": survey.catalog_is_live,
        "create": create, "change": change, "remove": plan.remove, "kept": kept,
        "gpu_missing": missing, "applied": applied.map(outcome),
    })
}

fn outcome(applied: &Applied) -> Json {
    let created: Vec<Json> = applied
        .created
        .iter()
        .map(|(wanted, id)| json!({"id": id, "endpoint": wanted.endpoint, "pool": wanted.key}))
        .collect();
    let left: Vec<Json> = applied
        .left
        .iter()
        .map(|(id, jobs)| json!({"id": id, "jobs": jobs}))
        .collect();
    let failures: Vec<Json> = applied
        .failures
        .iter()
        .map(|failure| {
            json!({
                "step": failure.step, "what": failure.what, "error": failure.cause.to_string(),
            })
        })
        .collect();
    json!({
        "created": created, "changed": applied.changed, "removed": applied.removed,
        "left": left, "failures": failures,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_in_brief() {
        assert_eq!(brief(&json!(["A", "B (new)"])), "A, B (new)");
        assert_eq!(brief(&json!([])), "-");
        assert_eq!(brief(&json!(20)), "20");
        assert_eq!(brief(&json!({"type": "X"})), "{\"type\":\"X\"}");
    }
}
