//! `overspill cost`: what was spent on what, and what the cards here saved.

use clap::Args;
use clap::builder::PossibleValuesParser;
use overspill_core::money::NanoUsd;
use serde::Deserialize as _;

use super::Context;
use super::client::segment;
use super::error::CommandError;
use super::jobs::malformed;
use super::output::{human_ms, human_time, note};
use crate::config::units::format_money;
use crate::view::cost::{self, By, CostLine, Costs, Sums};

/// Show what was spent on what, and what local cards saved
#[derive(Debug, Args)]
pub struct CostArgs {
    /// What a line is about
    #[arg(long, value_name = "SIDE", default_value = "endpoint", value_parser = PossibleValuesParser::new(By::ALL.map(By::word)))]
    by: String,
    /// From then on: 7d ago, today, always, 2026-11-20, or 2026-11-20T08:00:00Z
    #[arg(long, value_name = "WHEN", default_value = "30d")]
    since: String,
    /// Until then, written likewise
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Only of this endpoint
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Show at most this many lines
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Print comma-separated values
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

/// Runs the command.
///
/// # Errors
/// When the server is out of reach or refuses.
pub async fn run(args: &CostArgs, context: &Context) -> Result<(), CommandError> {
    let mut path = format!(
        "/api/v1/cost?by={}&since={}&limit={}",
        args.by,
        segment(&args.since),
        args.limit
    );
    for (key, value) in [("until", &args.until), ("endpoint", &args.endpoint)] {
        if let Some(value) = value {
            path.push_str(&format!("&{key}={}", segment(value)));
        }
    }
    let answer = context.client()?.get(&path).await?;
    if context.output.is_json() {
        return context.output.json(&answer);
    }
    let costs = Costs::deserialize(&answer).map_err(malformed)?;
    if args.csv {
        return context.output.text(&cost::csv(&costs));
    }
    print(&costs, context)?;
    if costs.left_out > 0 {
        note(&format!(
            "{} more lines: --limit shows them",
            costs.left_out
        ));
    }
    Ok(())
}

/// A column: its heading, and what it shows of a line.
type Column = (&'static str, fn(&Sums) -> String);

/// Columns that are always there.
const ALWAYS: [Column; 4] = [
    (">SPENT", |sums| money(sums.spent_nano_usd)),
    (">COLD START", |sums| money(sums.cold_start_nano_usd)),
    (">RUN", |sums| money(sums.run_nano_usd)),
    (">IDLE", |sums| money(sums.idle_nano_usd)),
];

/// Columns that are shown where any line has something for them.
const SOMETIMES: [Column; 3] = [
    (">UNSETTLED", |sums| money(sums.unsettled_nano_usd)),
    (">DRIFT", |sums| money(sums.drift_nano_usd)),
    (">ELECTRICITY", |sums| money(sums.electricity_nano_usd)),
];

/// The last columns.
const LAST: [Column; 3] = [
    (">SAVED", |sums| money(sums.saved_nano_usd)),
    (">CLOUD TIME", |sums| {
        human_ms(sums.cold_start_ms + sums.run_ms + sums.idle_ms)
    }),
    (">LOCAL TIME", |sums| human_ms(sums.local_ms)),
];

fn print(costs: &Costs, context: &Context) -> Result<(), CommandError> {
    let nothing = money(0);
    let used = SOMETIMES
        .into_iter()
        .filter(|(_, shown)| costs.lines.iter().any(|line| shown(&line.sums) != nothing));
    let columns: Vec<Column> = ALWAYS.into_iter().chain(used).chain(LAST).collect();
    let heading = costs.by.to_uppercase();
    let mut headings = vec![heading.as_str()];
    headings.extend(columns.iter().map(|(heading, _)| *heading));
    let row = |name: String, sums: &Sums| {
        let mut row = vec![name];
        row.extend(columns.iter().map(|(_, shown)| shown(sums)));
        row
    };
    let lines = costs.lines.iter();
    let mut rows: Vec<Vec<String>> = lines.map(|line| row(name(line), &line.sums)).collect();
    rows.push(row("total".to_owned(), &costs.total));
    context.output.table(&headings, rows)?;
    let since = costs.since_ms.map_or_else(
        || "since the first start".to_owned(),
        |since| format!("since {}", human_time(Some(since))),
    );
    note(&format!("{since}; days are those of {}", costs.time_zone));
    Ok(())
}

fn name(line: &CostLine) -> String {
    match (&line.endpoint, &line.id) {
        (Some(endpoint), _) => format!("{endpoint} / {}", line.name),
        (None, Some(id)) if *id != line.name => format!("{} ({id})", line.name),
        _ => line.name.clone(),
    }
}

/// Dollars to a hundredth of a cent; more digits where that would be nothing.
pub(crate) fn money(nanos: i64) -> String {
    let amount = NanoUsd::from_nanos(nanos);
    if nanos == 0 || nanos.abs() >= 100_000 {
        format!("${}", amount.to_usd(4))
    } else {
        format_money(amount)
    }
}
