//! `overspill simulate`: arrivals replayed in virtual time, under one policy or several.

use std::path::Path;
use std::time::Instant;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use overspill_core::time::DurationMs;
use overspill_sim::simulate::bound::bound;
use overspill_sim::simulate::policies::{NAMES, Policy, named};
use overspill_sim::simulate::{Settings, Summary, Trace, simulate_watched};
use serde_json::json;

use crate::config::units::parse_duration;

use super::Context;
use super::error::{CommandError, ErrorKind};
use super::output::note;
use super::world::{LoadArgs, WorldArgs};

/// Replay a trace, your own history or a described load in virtual time
///
/// Says what the cloud would bill and how long jobs would wait. Policies are the server's own.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    world: WorldArgs,
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
    /// Also compute the least that any schedule with all jobs on time would bill
    #[arg(long)]
    bound: bool,
}

/// Runs the command.
///
/// # Errors
/// When the arrivals cannot be read, the world is impossible, or a run does not add up.
pub fn run(args: &SimulateArgs, context: &Context) -> Result<(), CommandError> {
    let mut settings = args.world.settings()?;
    settings.min = args.min;
    settings.max = args.max;
    settings.max_wait = args.max_wait;
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
    let runs = trace.jobs.len() as u64 * args.seeds * names.len() as u64;
    let bar = progress(runs, context);
    let mut results = Vec::new();
    for name in names {
        results.push(mean(name, &constants, &trace, &settings, args.seeds, &bar)?);
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

/// The least share of jobs on time with which a policy counts as one that keeps the promise.
const ON_TIME: f64 = 0.97;

/// The cheapest of those that keep the promise; what knows the future does not count.
fn cheapest(results: &[Summary]) -> Option<usize> {
    let is_real = |name: &str| name != "clairvoyant";
    let on_time = (0..results.len())
        .filter(|&at| results[at].on_time_share >= ON_TIME && is_real(&results[at].policy));
    on_time.min_by(|&a, &b| results[a].cost_usd.total_cmp(&results[b].cost_usd))
}

/// The comparison in one sentence.
fn verdict(results: &[Summary]) -> String {
    let Some(at) = cheapest(results) else {
        return format!(
            "no policy starts {:.0} % of the jobs on time: raise --max, or allow a longer --max-wait",
            ON_TIME * 100.0
        );
    };
    let best = &results[at];
    let rest: Vec<Summary> = results
        .iter()
        .enumerate()
        .filter(|&(other, _)| other != at)
        .map(|(_, run)| run.clone())
        .collect();
    let next = cheapest(&rest).map_or_else(
        || ": no other is on time".to_owned(),
        |next| {
            let more = rest[next].cost_usd - best.cost_usd;
            let share = more / best.cost_usd.max(1e-9) * 100.0;
            format!(
                "; the next is {} at ${:.2} ({share:+.0} %)",
                rest[next].policy, rest[next].cost_usd
            )
        },
    );
    format!(
        "cheapest with {:.0} % of the jobs on time: {} at ${:.2}, {:.1} % on time, p95 {:.1} s{next}",
        ON_TIME * 100.0,
        best.policy,
        best.cost_usd,
        best.on_time_share * 100.0,
        best.wait_p95_s,
    )
}

/// Constants of policies that differ from the default: policy, key, value.
#[derive(Debug, Default)]
pub(super) struct Constants(Vec<(String, String, String)>);

impl Constants {
    /// The policy of that name with its constants.
    pub(super) fn policy(&self, name: &str, slots: u32) -> Result<Box<dyn Policy>, CommandError> {
        let mut policy = named(name, slots).ok_or_else(|| {
            CommandError::new(ErrorKind::Usage, format!("there is no policy {name}"))
        })?;
        for (_, key, text) in self.0.iter().filter(|(policy, ..)| policy == name) {
            let refused = |message: String| {
                let keys = named(name, slots).map_or(&[][..], |policy| policy.keys());
                CommandError::new(ErrorKind::Usage, message)
                    .hint(format!("{name} has {}", keys.join(", ")))
            };
            match policy.set(key, text) {
                Ok(true) => {}
                Ok(false) => {
                    return Err(refused(format!(
                        "--set {name}.{key}={text}: there is no constant `{key}`"
                    )));
                }
                Err(error) => {
                    return Err(refused(format!("--set {name}.{key}={text}")).because(error));
                }
            }
        }
        Ok(policy)
    }
}

/// `key=value` of the world, or `policy.key=value`.
fn apply(
    settings: &mut Settings,
    constants: &mut Constants,
    text: &str,
) -> Result<(), CommandError> {
    let refused = |message: String| {
        CommandError::new(ErrorKind::Usage, message).hint(format!(
            "--set knows {}; and constants of policies, such as cost_aware.lateness_price=3",
            Settings::KEYS.join(", ")
        ))
    };
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| refused(format!("--set {text}: expected key=value")))?;
    if let Some((policy, key)) = key.trim().split_once('.') {
        if !NAMES.contains(&policy) {
            return Err(refused(format!(
                "--set {text}: there is no policy `{policy}`"
            )));
        }
        let owned = |text: &str| text.trim().to_owned();
        constants.0.push((owned(policy), owned(key), owned(value)));
        // A mistake is named even where the policy does not run.
        return constants.policy(policy, settings.slots).map(|_| ());
    }
    match settings.set(key.trim(), value) {
        Ok(true) => Ok(()),
        Ok(false) => Err(refused(format!(
            "--set {text}: there is no setting `{key}`"
        ))),
        Err(error) => Err(refused(format!("--set {text}")).because(error)),
    }
}

/// The mean over the seeds; each run must add up.
pub(super) fn mean(
    name: &str,
    constants: &Constants,
    trace: &Trace,
    settings: &Settings,
    seeds: u64,
    bar: &ProgressBar,
) -> Result<Summary, CommandError> {
    let mut runs = Vec::new();
    for seed in settings.seed..settings.seed.saturating_add(seeds) {
        let settings = Settings {
            seed,
            ..settings.clone()
        };
        let mut policy = constants.policy(name, settings.slots)?;
        let from = bar.position();
        let mut watch = |done: usize| bar.set_position(from + done as u64);
        let run =
            simulate_watched(trace, &settings, policy.as_mut(), &mut watch).map_err(|error| {
                CommandError::new(ErrorKind::Usage, "this world cannot be simulated").because(error)
            })?;
        bar.set_position(from + trace.jobs.len() as u64);
        run.check(trace, &settings).map_err(|error| {
            CommandError::new(
                ErrorKind::Failed,
                "the run does not add up; please report it",
            )
            .because(error)
        })?;
        runs.push(run.summary(name, trace, &settings));
    }
    let count = runs.len() as f64;
    let of = |figure: fn(&Summary) -> f64| runs.iter().map(figure).sum::<f64>() / count;
    let whole = |figure: fn(&Summary) -> f64| of(figure).round() as u64;
    let index = |figure: fn(&Summary) -> f64| of(figure).round() as usize;
    Ok(Summary {
        policy: name.to_owned(),
        jobs: index(|run| run.jobs as f64),
        billed_worker_seconds: whole(|run| run.billed_worker_seconds as f64),
        init_s: of(|run| run.init_s),
        busy_s: of(|run| run.busy_s),
        idle_s: of(|run| run.idle_s),
        starts: index(|run| run.starts as f64),
        on_time_share: of(|run| run.on_time_share),
        wait_p50_s: of(|run| run.wait_p50_s),
        wait_p95_s: of(|run| run.wait_p95_s),
        wait_p99_s: of(|run| run.wait_p99_s),
        local_share: of(|run| run.local_share),
        workers_max: index(|run| run.workers_max as f64),
        failed_attempts: index(|run| run.failed_attempts as f64),
        bound_worker_seconds: None,
        cost_usd: of(|run| run.cost_usd),
    })
}

/// A bar on stderr where a person watches, else nothing.
pub(super) fn progress(jobs: u64, context: &Context) -> ProgressBar {
    if !context.output.is_live() || context.output.is_json() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(jobs);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} jobs, {eta}")
    {
        bar.set_style(style);
    }
    bar
}

/// The most memory that this process has held, in bytes; `None` where the system does not say.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1_024)
}
