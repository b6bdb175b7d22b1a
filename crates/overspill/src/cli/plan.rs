//! `overspill plan`: what each profile gives and costs, beside what a load would really cost.

use clap::Args;
use overspill_core::money::NanoUsd;
use overspill_core::time::DurationMs;
use overspill_sim::simulate::{Settings, Summary};
use serde_json::json;

use crate::config::units::{parse_duration, parse_money};

use super::Context;
use super::error::CommandError;
use super::output::note;
use super::simulate::{Constants, mean, progress};
use super::world::{LoadArgs, WorldArgs};

/// Show workers, capacity and cost of each profile, for a described or recorded load
///
/// Without a load it prints what the workers of each profile can do and cost; with one, also what
/// the load would cost and wait with each, from simulation, and which one to take.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    world: WorldArgs,
    /// The longest wait that 95 % of the jobs may have [default: the profile's promise]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    p95: Option<DurationMs>,
    /// The most that a month may cost, such as $200
    #[arg(long, value_name = "MONEY", value_parser = parse_money)]
    budget: Option<NanoUsd>,
}

/// A profile as `init --profile` writes it: name, min, max, promise.
const PROFILES: [(&str, u32, u32, u64); 5] = [
    ("testing", 0, 3, 90),
    ("small", 0, 10, 90),
    ("medium", 1, 30, 30),
    ("large", 3, 50, 15),
    ("enterprise", 10, 100, 5),
];

/// Hours of a month, for prices.
const HOURS_OF_MONTH: f64 = 730.0;

/// Runs the command.
///
/// # Errors
/// When the arrivals cannot be read or the world is impossible.
pub fn run(args: &PlanArgs, context: &Context) -> Result<(), CommandError> {
    let settings = args.world.settings()?;
    let hourly = settings.rate.per_hour();
    let trace = if args.load.is_given() {
        Some(args.load.arrivals(args.world.seed, context)?)
    } else {
        None
    };
    let jobs = trace.as_ref().map_or(0, |trace| trace.jobs.len()) as u64;
    let bar = progress(jobs * PROFILES.len() as u64, context);
    let mut simulated: Vec<Option<Simulated>> = Vec::new();
    for (_, min, max, promise) in PROFILES {
        let Some(trace) = &trace else {
            simulated.push(None);
            continue;
        };
        let settings = Settings {
            min,
            max,
            max_wait: DurationMs::from_secs(promise),
            ..settings.clone()
        };
        let run = mean(
            "cost_aware",
            &Constants::default(),
            trace,
            &settings,
            1,
            &bar,
        )?;
        let first = trace.jobs.first().map_or(0, |job| job.arrival.as_millis());
        let last = trace.jobs.last().map_or(0, |job| job.arrival.as_millis());
        // Whole days, so that a load of one evening is not taken for one of every hour.
        let days = ((last - first) as f64 / 86_400_000.0).ceil().max(1.0);
        let month = run.cost_usd / days * HOURS_OF_MONTH / 24.0;
        simulated.push(Some(Simulated { run, month }));
    }
    bar.finish_and_clear();
    let budget = args.budget.map(|money| money.as_nanos() as f64 / 1e9);
    let recommended = PROFILES
        .iter()
        .zip(&simulated)
        .position(|(profile, found)| {
            let limit = args.p95.map_or(profile.3 as f64, DurationMs::as_secs_f64);
            found.as_ref().is_some_and(|found| {
                found.run.wait_p95_s <= limit && budget.is_none_or(|most| found.month <= most)
            })
        });
    if context.output.is_json() {
        let profiles: Vec<_> = PROFILES
            .iter()
            .zip(&simulated)
            .map(|(&(name, min, max, promise), found)| {
                json!({
                    "profile": name, "min": min, "max": max, "workers": max,
                    "jobs_at_once": u64::from(max) * u64::from(settings.slots),
                    "max_wait_s": promise,
                    "cost_usd_per_h": hourly.times(max).to_usd(2),
                    "simulated": found.as_ref().map(|found| json!({
                        "run": found.run, "cost_usd_per_month": found.month,
                    })),
                })
            })
            .collect();
        let name = recommended.map(|at| PROFILES[at].0);
        return context.output.json(&json!({
            "gpu": args.world.gpu, "slots": settings.slots,
            "price_usd_per_h": hourly.to_usd(4), "profiles": profiles, "recommended": name,
        }));
    }
    let rows = PROFILES
        .iter()
        .zip(&simulated)
        .map(|(profile, found)| row(profile, found.as_ref(), &settings))
        .collect();
    let columns = if trace.is_some() {
        HEADINGS.len()
    } else {
        CAPACITY
    };
    context.output.table(&HEADINGS[..columns], rows)?;
    match recommended {
        Some(at) => note(&format!(
            "recommended: {0}; `overspill init --profile {0}` writes it",
            PROFILES[at].0
        )),
        None if trace.is_some() => note(
            "no profile keeps the wait within the budget: allow a longer --p95, a higher --budget, \
             or more local workers",
        ),
        None => note(
            "describe a load to see its real cost: --users 500, --jobs-per-hour 120, --trace FILE or --history 7d",
        ),
    }
    Ok(())
}

struct Simulated {
    run: Summary,
    /// Dollars.
    month: f64,
}

/// Columns that say what the workers can do.
const CAPACITY: usize = 7;

const HEADINGS: &[&str] = &[
    "PROFILE",
    ">MIN",
    ">WORKERS",
    ">JOBS AT ONCE",
    ">PROMISE",
    ">PER HOUR",
    ">PER MONTH",
    ">LOAD: PER MONTH",
    ">STARTS",
    ">ON TIME",
    ">P50",
    ">P95",
    ">P99",
    ">LOCAL",
    ">MOST WORKERS",
];

fn row(
    &(name, min, max, promise): &(&str, u32, u32, u64),
    found: Option<&Simulated>,
    settings: &Settings,
) -> Vec<String> {
    let hourly = settings.rate.per_hour().times(max);
    let month = hourly.as_nanos() as f64 / 1e9 * HOURS_OF_MONTH;
    let mut row = vec![
        name.to_owned(),
        min.to_string(),
        max.to_string(),
        (u64::from(max) * u64::from(settings.slots)).to_string(),
        format!("{promise} s"),
        format!("${}", hourly.to_usd(2)),
        format!("${month:.0}"),
    ];
    if let Some(Simulated { run, month }) = found {
        row.extend([
            format!("${month:.2}"),
            run.starts.to_string(),
            format!("{:.1} %", run.on_time_share * 100.0),
            format!("{:.1} s", run.wait_p50_s),
            format!("{:.1} s", run.wait_p95_s),
            format!("{:.1} s", run.wait_p99_s),
            format!("{:.1} %", run.local_share * 100.0),
            run.workers_max.to_string(),
        ]);
    }
    row
}
