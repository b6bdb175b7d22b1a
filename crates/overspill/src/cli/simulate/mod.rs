//! `overspill simulate`: arrivals replayed in virtual time, under one policy or several.

mod compare;
mod journal;
mod replay;
mod report;

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use overspill_core::time::DurationMs;
use overspill_sim::simulate::Summary;
use overspill_sim::simulate::bound::bound;
use overspill_sim::simulate::policies::NAMES;
use serde_json::json;

use crate::config::units::parse_duration;

use super::Context;
use super::error::CommandError;
use super::misfortunes::MisfortuneArgs;
use super::output::note;
use super::world::{LoadArgs, WorldArgs};

use compare::{cheapest, verdict};
pub(super) use replay::{Constants, mean, progress};
use replay::{apply, peak_memory, replay};

/// Replay a trace, your own history or a described load in virtual time
///
/// Says what the cloud would bill and how long jobs would wait. Policies are the server's own.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    world: WorldArgs,
    #[command(flatten)]
    misfortunes: MisfortuneArgs,
    /// Cloud workers always on
    #[arg(long, value_name = "N", default_value_t = 0)]
    min: u32,
    /// Cloud workers at most
    #[arg(long, value_name = "N", default_value_t = 8)]
    max: u32,
    /// The promise: from submit to start
    #[arg(long, value_name = "DURATION", default_value = "90s", value_parser = parse_duration)]
    max_wait: DurationMs,
    /// What decides; those from classic_ladder on are for comparison only
    #[arg(long, default_value = "cost_aware", value_parser = NAMES)]
    policy: String,
    /// Run every policy, and say which is the cheapest of those that keep the promise
    #[arg(long, conflicts_with = "policy")]
    compare: bool,
    /// Change one setting of the world, such as stuck_share=0.1, or one constant of a policy, such as
    /// cost_aware.lateness_price=3 (may be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Mean over so many seeds, counted up from --seed
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    seeds: u64,
    /// The journal that a server wrote (`serve --journal`): its very decisions again, and its work under
    /// other settings (`--set`, `policy` among them) beside what really happened
    #[arg(long, value_name = "FILE", group = "recorded", conflicts_with_all = [
        "trace", "history", "jobs_per_hour", "users", "min", "max", "max_wait", "policy", "compare", "local_workers",
        "local_slots", "slots", "cold_start", "gpu", "price", "report",
    ])]
    journal: Option<PathBuf>,
    /// Only replay the journal's decisions, and name the first that comes out otherwise
    #[arg(long, requires = "journal", conflicts_with_all = ["set", "bound"])]
    verify: bool,
    /// Also compute the least that any schedule with all jobs on time would bill
    #[arg(long)]
    bound: bool,
    /// Also write one HTML file with charts: queue, workers, waits and money over time, and cost
    /// against wait over all policies and several promises
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When the arrivals cannot be read, the world is impossible, or a run does not add up.
pub fn run(args: &SimulateArgs, context: &Context) -> Result<(), CommandError> {
    if let Some(path) = &args.journal {
        return journal::run(path, args, context);
    }
    let mut settings = args.world.settings()?;
    settings.min = args.min;
    settings.max = args.max;
    settings.max_wait = args.max_wait;
    args.misfortunes.apply(&mut settings);
    let mut constants = Constants::default();
    for text in &args.set {
        apply(&mut settings, &mut constants, text)?;
    }
    let trace = args.load.arrivals(args.world.seed, context)?;
    let names: &[&str] = if args.compare {
        &NAMES
    } else {
        &[args.policy.as_str()]
    };
    let began = Instant::now();
    let jobs = trace.jobs.len() as u64 * args.seeds * names.len() as u64;
    let bar = progress(jobs, context);
    let mut results = Vec::new();
    let mut runs = Vec::new();
    for name in names {
        let (summary, run) = replay(name, &constants, &trace, &settings, args.seeds, &bar)?;
        results.push(summary);
        if args.report.is_some() {
            runs.push(run);
        }
    }
    bar.finish_and_clear();
    if args.bound {
        let least = bound(&trace, &settings, None);
        if least.is_none() {
            note("bound: no schedule starts every job in time with this max");
        }
        for result in &mut results {
            result.bound_worker_seconds = least;
        }
    }
    if let Some(path) = &args.report {
        let subject = report::Subject {
            title: args.load.title(),
            trace: &trace,
            settings: &settings,
            constants: &constants,
            seeds: args.seeds,
            results: &results,
            runs: &runs,
        };
        report::write(path, &subject, context)?;
        note(&format!("report: {}", path.display()));
    }
    let took = began.elapsed();
    let peak = peak_memory();
    if context.output.is_json() {
        let mut shapes: Vec<serde_json::Value> = results.iter().map(|r| json!(r)).collect();
        for shape in &mut shapes {
            shape["seeds"] = json!(args.seeds);
            shape["peak_memory_bytes"] = json!(peak);
            shape["took_ms"] = json!(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        }
        return context.output.json(&match shapes.pop() {
            Some(only) if !args.compare => only,
            last => {
                shapes.extend(last);
                let cheapest = cheapest(&results).map(|at| &results[at].policy);
                json!({ "runs": shapes, "cheapest_on_time": cheapest })
            }
        });
    }
    let rows = results.iter().map(row).collect();
    context.output.table(HEADINGS, rows)?;
    if args.compare {
        note(&verdict(&results));
    }
    let memory = peak.map_or_else(String::new, |bytes| {
        format!(", {} MB at most", bytes / 1_000_000)
    });
    note(&format!(
        "{} jobs, {} seed(s), {:.2} s{memory}",
        trace.jobs.len(),
        args.seeds,
        took.as_secs_f64()
    ));
    Ok(())
}

const HEADINGS: &[&str] = &[
    "POLICY",
    ">BILLED",
    ">OF BOUND",
    ">COST",
    ">STARTS",
    ">INIT",
    ">BUSY",
    ">IDLE",
    ">ON TIME",
    ">P50",
    ">P95",
    ">P99",
    ">LOCAL",
];

fn row(run: &Summary) -> Vec<String> {
    let seconds = |secs: f64| format!("{secs:.0} s");
    let wait = |secs: f64| format!("{secs:.1} s");
    let share = |share: f64| format!("{:.1} %", share * 100.0);
    let billed = run.billed_worker_seconds;
    let of_bound = run.bound_worker_seconds.filter(|&least| least > 0.0);
    vec![
        run.policy.clone(),
        format!("{billed} s"),
        of_bound.map_or_else(
            || "-".to_owned(),
            |least| format!("{:.2}", billed as f64 / least),
        ),
        format!("${:.2}", run.cost_usd),
        run.starts.to_string(),
        seconds(run.init_s),
        seconds(run.busy_s),
        seconds(run.idle_s),
        share(run.on_time_share),
        wait(run.wait_p50_s),
        wait(run.wait_p95_s),
        wait(run.wait_p99_s),
        share(run.local_share),
    ]
}
