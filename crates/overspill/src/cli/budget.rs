//! `overspill budget`: caps on spending, with what is spent, set aside and left; and their change.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize as _;
use serde_json::{Map, Value as Json};

use super::Context;
use super::cost::money;
use super::error::{CommandError, ErrorKind};
use super::jobs::malformed;
use super::output::{human_time, note};
use crate::config::units::{format_money, parse_money};
use crate::view::budget::Budget;

/// Show caps on spending with what is left of them, or change them now
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BudgetArgs {
    #[command(subcommand)]
    command: Option<BudgetCommand>,
}

#[derive(Debug, Subcommand)]
enum BudgetCommand {
    /// Show every cap in force (what `overspill budget` alone does, too)
    Show,
    /// Set caps now; what is not named stays
    ///
    /// The change is stored with who made it and wins until the configuration file's value changes.
    /// Nothing that runs is stopped; jobs beyond a cap wait for local cards.
    Set(SetArgs),
    /// Go back to the caps of the configuration file; a key then has none
    Reset(WhoseArgs),
}

/// Whose caps.
#[derive(Debug, Args)]
struct WhoseArgs {
    /// Caps on this endpoint; without it and --key, on everything
    #[arg(long, value_name = "NAME", conflicts_with = "key")]
    endpoint: Option<String>,
    /// Caps on what the jobs of this key may spend, by its id
    #[arg(long, value_name = "ID")]
    key: Option<String>,
}

#[derive(Debug, Args)]
struct SetArgs {
    #[command(flatten)]
    whose: WhoseArgs,
    #[command(flatten)]
    caps: CapArgs,
}

/// Caps: dollars such as `$5`, or `none` for no cap.
#[derive(Debug, Default, Args)]
pub struct CapArgs {
    /// Most that may be spent in a clock hour, such as '$0.50'; none takes the cap away
    #[arg(long, value_name = "MONEY", value_parser = cap)]
    per_hour: Option<Cap>,
    /// Most that may be spent in a calendar day
    #[arg(long, value_name = "MONEY", value_parser = cap)]
    per_day: Option<Cap>,
    /// Most that may be spent in a calendar month
    #[arg(long, value_name = "MONEY", value_parser = cap)]
    per_month: Option<Cap>,
}

/// The same for a new key.
#[derive(Debug, Default, Args)]
pub(super) struct BudgetCapArgs {
    /// Most that its jobs may spend in the cloud in a clock hour, such as '$0.50'
    #[arg(long, value_name = "MONEY", value_parser = cap)]
    budget_per_hour: Option<Cap>,
    /// Most that its jobs may spend in the cloud in a calendar day
    #[arg(long, value_name = "MONEY", value_parser = cap)]
    budget_per_day: Option<Cap>,
    /// Most that its jobs may spend in the cloud in a calendar month
    #[arg(long, value_name = "MONEY", value_parser = cap)]
    budget_per_month: Option<Cap>,
}

impl BudgetCapArgs {
    /// As a body has them.
    pub(super) fn body(&self) -> Map<String, Json> {
        let caps = CapArgs {
            per_hour: self.budget_per_hour.clone(),
            per_day: self.budget_per_day.clone(),
            per_month: self.budget_per_month.clone(),
        };
        caps.body()
    }
}

/// A cap as a body has it.
#[derive(Debug, Clone)]
struct Cap(Json);

fn cap(text: &str) -> Result<Cap, String> {
    if text == "none" {
        return Ok(Cap(Json::Null));
    }
    parse_money(text)
        .map(|amount| Cap(Json::from(format_money(amount))))
        .map_err(|said| format!("{said}; none takes the cap away"))
}

impl CapArgs {
    /// As a body has them; empty when none is given.
    fn body(&self) -> Map<String, Json> {
        let caps = [
            ("per_hour", &self.per_hour),
            ("per_day", &self.per_day),
            ("per_month", &self.per_month),
        ];
        caps.into_iter()
            .filter_map(|(key, cap)| Some((key.to_owned(), cap.as_ref()?.0.clone())))
            .collect()
    }
}

/// Runs the command.
///
/// # Errors
/// When no cap is given or it makes no sense, or the server is out of reach or refuses.
pub async fn run(args: &BudgetArgs, context: &Context) -> Result<(), CommandError> {
    let answer = match &args.command {
        None | Some(BudgetCommand::Show) => context.client()?.get("/api/v1/budget").await?,
        Some(BudgetCommand::Set(set)) => {
            let body = set.caps.body();
            if body.is_empty() {
                let message = "no cap given; expected --per-hour, --per-day or --per-month";
                return Err(CommandError::new(ErrorKind::Usage, message));
            }
            change(&set.whose, body, context).await?
        }
        Some(BudgetCommand::Reset(whose)) => {
            let body = Map::from_iter([("reset".to_owned(), Json::from(true))]);
            change(whose, body, context).await?
        }
    };
    if context.output.is_json() {
        return context.output.json(&answer);
    }
    let budget = Budget::deserialize(&answer).map_err(malformed)?;
    print(&budget, context)
}

async fn change(
    whose: &WhoseArgs,
    mut body: Map<String, Json>,
    context: &Context,
) -> Result<Json, CommandError> {
    for (key, name) in [("endpoint", &whose.endpoint), ("key", &whose.key)] {
        if let Some(name) = name {
            body.insert(key.to_owned(), Json::from(name.clone()));
        }
    }
    let body = Json::Object(body);
    context
        .client()?
        .send(Method::PATCH, "/api/v1/budget", Some(&body))
        .await
}

fn print(budget: &Budget, context: &Context) -> Result<(), CommandError> {
    if budget.caps.is_empty() {
        context
            .output
            .text("no cap is set: cloud spending is bounded by `workers.max` alone")?;
        note("set one with `overspill budget set --per-day '$10'`");
        return Ok(());
    }
    let headings = [
        "ON",
        "PER",
        ">CAP",
        ">SPENT",
        ">RESERVED",
        ">LEFT",
        "ENDS",
        "",
    ];
    let rows = budget.caps.iter().map(|cap| {
        vec![
            cap.whose.words(),
            cap.period.clone(),
            money(cap.cap_nano_usd),
            money(cap.spent_nano_usd),
            money(cap.reserved_nano_usd),
            money(cap.left_nano_usd),
            human_time(Some(cap.ends_at_ms)),
            if cap.is_reached { "jobs wait" } else { "" }.to_owned(),
        ]
    });
    context.output.table(&headings, rows.collect())?;
    for source in &budget.sources {
        if let Some(by) = &source.by {
            let at = human_time(source.at_ms);
            note(&format!("{}: set by {by} at {at}", source.whose.words()));
        }
    }
    note(&format!("periods are those of {}", budget.time_zone));
    Ok(())
}
