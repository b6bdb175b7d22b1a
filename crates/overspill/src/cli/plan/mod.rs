//! `overspill plan`: what each profile gives and costs, beside what a load would really cost.

mod advice;

use clap::Args;
use overspill_core::money::NanoUsd;
use overspill_core::time::DurationMs;
use overspill_sim::simulate::Settings;
use overspill_sim::simulate::settings::Offer;
use serde_json::json;

use crate::config::units::{parse_duration, parse_money};

use super::Context;
use super::error::CommandError;
use super::misfortunes::parse_offer;
use super::output::note;
use super::simulate::progress;
use super::world::{LoadArgs, WorldArgs};

use advice::{Ground, Simulated, Wanted, advise};

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
    /// Another GPU type to weigh against --gpu, as "RTX 4090, speed=1.6, price=$0.69/h"; the price may be
    /// left out where the built-in table has one (may be repeated)
    #[arg(long, value_name = "OFFER", value_parser = parse_offer)]
    candidate: Vec<Offer>,
}

/// A profile as `init --profile` writes it.
struct Profile {
    name: &'static str,
    min: u32,
    max: u32,
    promise_s: u64,
}

const fn profile(name: &'static str, min: u32, max: u32, promise_s: u64) -> Profile {
    Profile {
        name,
        min,
        max,
        promise_s,
    }
}

const PROFILES: [Profile; 5] = [
    profile("testing", 0, 3, 90),
    profile("small", 0, 10, 90),
    profile("medium", 1, 30, 30),
    profile("large", 3, 50, 15),
    profile("enterprise", 10, 100, 5),
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
    let ground = trace.as_ref().map(|trace| Ground {
        trace,
        settings: &settings,
        bar: &bar,
    });
    let mut simulated: Vec<Option<Simulated>> = Vec::new();
    for profile in &PROFILES {
        simulated.push(match &ground {
            None => None,
            Some(ground) => Some(ground.simulate(&ground.world(profile))?),
        });
    }
    let wanted = |profile: &Profile| Wanted {
        p95_s: args
            .p95
            .map_or(profile.promise_s as f64, DurationMs::as_secs_f64),
        budget: args.budget.map(|money| money.as_nanos() as f64 / 1e9),
    };
    let advice = match &ground {
        None => None,
        Some(ground) => advise(
            ground,
            &PROFILES,
            &wanted,
            &args.world.gpu,
            &args.candidate,
            args.load.is_recorded(),
        )?,
    };
    bar.finish_and_clear();
    if context.output.is_json() {
        let profiles: Vec<_> = PROFILES
            .iter()
            .zip(&simulated)
            .map(|(profile, found)| {
                let max = profile.max;
                json!({
                    "profile": profile.name, "min": profile.min, "max": max, "workers": max,
                    "jobs_at_once": u64::from(max) * u64::from(settings.slots),
                    "max_wait_s": profile.promise_s,
                    "cost_usd_per_h": hourly.times(max).to_usd(2),
                    "simulated": found.as_ref().map(|found| json!({
                        "run": found.run, "cost_usd_per_month": found.month,
                    })),
                })
            })
            .collect();
        let name = advice.as_ref().map(|advice| advice.profile);
        return context.output.json(&json!({
            "gpu": args.world.gpu, "slots": settings.slots,
            "price_usd_per_h": hourly.to_usd(4), "profiles": profiles, "recommended": name,
            "recommendation": advice.map(|advice| advice.shape()),
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
    match &advice {
        Some(advice) => note(&advice.text()),
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
    &Profile {
        name,
        min,
        max,
        promise_s,
    }: &Profile,
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
        format!("{promise_s} s"),
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
