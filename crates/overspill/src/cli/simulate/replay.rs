//! Runs a policy over the arrivals, seed by seed, and takes the mean.

use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use overspill_sim::simulate::policies::{NAMES, Policy, named};
use overspill_sim::simulate::{Run, Settings, Summary, Trace, simulate_watched};

use crate::cli::Context;
use crate::cli::error::{CommandError, ErrorKind};

/// Constants of policies that differ from the default: policy, key, value.
#[derive(Debug, Default)]
pub(in crate::cli) struct Constants(Vec<(String, String, String)>);

impl Constants {
    /// A constant of a policy that is known to be one.
    pub(super) fn put(&mut self, policy: &str, key: &str, value: &str) {
        let (policy, key) = (policy.to_owned(), key.to_owned());
        self.0.push((policy, key, value.to_owned()));
    }

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
pub(super) fn apply(
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
pub(in crate::cli) fn mean(
    name: &str,
    constants: &Constants,
    trace: &Trace,
    settings: &Settings,
    seeds: u64,
    bar: &ProgressBar,
) -> Result<Summary, CommandError> {
    replay(name, constants, trace, settings, seeds, bar).map(|(summary, _)| summary)
}

/// The same, with the run of the first seed.
pub(super) fn replay(
    name: &str,
    constants: &Constants,
    trace: &Trace,
    settings: &Settings,
    seeds: u64,
    bar: &ProgressBar,
) -> Result<(Summary, Run), CommandError> {
    let (mut runs, mut first) = (Vec::new(), None);
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
        first.get_or_insert(run);
    }
    let count = runs.len() as f64;
    let of = |figure: fn(&Summary) -> f64| runs.iter().map(figure).sum::<f64>() / count;
    let whole = |figure: fn(&Summary) -> f64| of(figure).round() as u64;
    let index = |figure: fn(&Summary) -> f64| of(figure).round() as usize;
    let summary = Summary {
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
        slots: runs.first().map_or(1, |run| run.slots),
        bound_worker_seconds: None,
        cost_usd: of(|run| run.cost_usd),
    };
    Ok((summary, first.unwrap_or_default()))
}

/// A bar on stderr where a person watches, else nothing.
pub(in crate::cli) fn progress(jobs: u64, context: &Context) -> ProgressBar {
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
pub(super) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1_024)
}
