//! `cargo xtask agree`: does a running server do what the simulator says?
//!
//! A trace is replayed twice: in virtual time by the simulator, and in real time against the built
//! `overspill serve` with built-in sample workers and `overspill emulate` as its cloud. Both have the
//! same settings, and every cold start takes equally long in both. It prints the billed worker-seconds
//! of both, every worker's life, and the waits. A live run that bills over ten percent more or less than what is
//! simulated, or starts and keeps other workers than the simulator does with times as inexact as a server's
//! ([`overspill_sim::agree`]), fails it. With `--virtual-time` the core as a whole is replayed in virtual time
//! instead of the processes: seconds, and no noise of a busy machine.

mod http;
mod live;

use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::{Args, ValueEnum};
use overspill_core::time::{DurationMs, Timestamp};
use overspill_core::topology::{ScalerSpec, Tuning};
use overspill_sim::agree::{self, Envelope};
use overspill_sim::simulate::load::Load;
use overspill_sim::simulate::{Run, Settings, Trace, simulate};
use overspill_sim::trial;

use crate::workspace;
use live::Live;

/// A burst of `--arrivals bursts` begins this often, and takes this long to come in.
const BURST_EVERY_MS: i64 = 240_000;
const BURST_MS: i64 = 10_000;

/// How the jobs of a drawn trace come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Arrivals {
    /// One by one, as of many users
    Steady,
    /// Ten seconds full of them every four minutes
    Bursts,
}

/// Arguments of `cargo xtask agree`.
#[derive(Args)]
pub(crate) struct AgreeArgs {
    /// A trace (arrival_s,duration_s,class) to replay instead of a drawn one
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Arrivals of so many minutes; the replay goes on until all jobs are done and no worker lives
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    minutes: u32,
    /// Jobs an hour of the drawn trace
    #[arg(long, default_value_t = 420.0)]
    jobs_per_hour: f64,
    /// How the jobs of the drawn trace come in
    #[arg(long, value_enum, default_value_t = Arrivals::Steady)]
    arrivals: Arrivals,
    /// Replay the core as a whole in virtual time instead of the built server and emulator in real time
    #[arg(long)]
    virtual_time: bool,
    /// A constant of cost_aware for the server alone, such as wait_share=0.5: to see that it is noticed
    #[arg(long, value_name = "KEY=VALUE", value_parser = constant)]
    live_constant: Option<(String, f64)>,
    /// Names the drawn trace
    #[arg(long, default_value_t = 2)]
    seed: u64,
    /// The policy of both: cost_aware, queue_delay, request_count or ladder
    #[arg(long, default_value = "cost_aware")]
    policy: String,
    /// Local workers with one slot each
    #[arg(long, default_value_t = 1)]
    local_workers: u32,
    /// Cloud workers at most
    #[arg(long, default_value_t = 6)]
    max: u32,
    /// Jobs at once on a cloud worker
    #[arg(long, default_value_t = 1)]
    slots: u32,
    /// The promise, in seconds
    #[arg(long, default_value_t = 90)]
    max_wait: u64,
    /// Every cold start, in seconds
    #[arg(long, default_value_t = 40)]
    cold_start: u64,
}

/// One worker's life, in seconds from the start of the trace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    pub(crate) from: f64,
    pub(crate) to: f64,
}

/// What one replay came to.
pub(crate) struct Outcome {
    pub(crate) worker_seconds: f64,
    pub(crate) lives: Vec<Life>,
    pub(crate) waits: Vec<f64>,
    /// Jobs that ran on local workers.
    pub(crate) local: usize,
}

pub(crate) fn run(args: &AgreeArgs) -> Result<()> {
    let trace = trace(args)?;
    let settings = settings(args);
    let simulated = simulated(args, &trace, &settings)?;
    let policy = || agree::served(&args.policy, args.slots).expect("it was found above");
    let envelope = Envelope::of(&trace, &settings, &policy)?;
    let end = trace.jobs.last().map_or(0, |job| job.arrival.as_millis()) / 1_000;
    println!(
        "{} jobs in {end} s, {} local workers, cloud up to {} × {} slots, promise {} s, cold start {} s, {}",
        trace.jobs.len(),
        args.local_workers,
        args.max,
        args.slots,
        args.max_wait,
        args.cold_start,
        args.policy
    );
    let seen = if args.virtual_time {
        let run = trial::run(&trace, &settings, &scaler(args)?, args.seed);
        let run = run.map_err(|broken| anyhow!("the replay broke: {}", broken.join("; ")))?;
        outcome(&run, &trace)
    } else {
        let live = Live::start(&workspace::built_binary()?, args)?;
        live.replay(&trace)?
    };
    report(args, &trace, &simulated, &seen, &envelope)
}

/// `KEY=VALUE` of a number.
fn constant(text: &str) -> Result<(String, f64), String> {
    let (key, value) = text.split_once('=').ok_or("it is KEY=VALUE")?;
    if !["wait_share", "lateness_price"].contains(&key) {
        return Err(format!("`{key}` is none of wait_share and lateness_price"));
    }
    let value = value
        .parse()
        .map_err(|_| format!("`{value}` is no number"))?;
    Ok((key.to_owned(), value))
}

/// The rule of the server, as the core takes it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a small positive constant in thousandths"
)]
fn scaler(args: &AgreeArgs) -> Result<ScalerSpec> {
    let mut tuning = Tuning::default();
    if let Some((key, value)) = &args.live_constant {
        let milli = (value * 1_000.0).round() as u32;
        match key.as_str() {
            "wait_share" => tuning.wait_share_milli = milli,
            _ => tuning.lateness_price_milli = milli,
        }
    }
    Ok(match args.policy.as_str() {
        "cost_aware" => ScalerSpec::CostAware(tuning),
        "ladder" => ScalerSpec::Ladder,
        "request_count" => ScalerSpec::RequestCount {
            per_worker: args.slots,
        },
        "queue_delay" => ScalerSpec::QueueDelay {
            delay: DurationMs::from_secs(4),
        },
        other => bail!("`{other}` is no policy of a server"),
    })
}

fn trace(args: &AgreeArgs) -> Result<Trace> {
    let mut trace = match &args.trace {
        Some(path) => Trace::read(path).context("reading the trace")?,
        None => Load {
            hourly: [args.jobs_per_hour; 24],
            length: (
                overspill_core::time::DurationMs::from_secs(8),
                overspill_core::time::DurationMs::from_secs(40),
            ),
            days: 1,
            seed: args.seed,
        }
        .trace()?,
    };
    let end = i64::from(args.minutes) * 60_000;
    trace.jobs.retain(|job| job.arrival.as_millis() < end);
    if args.arrivals == Arrivals::Bursts {
        for job in &mut trace.jobs {
            let at = job.arrival.as_millis();
            let inside = (at % BURST_EVERY_MS) * BURST_MS / BURST_EVERY_MS;
            job.arrival = Timestamp::from_millis(at - at % BURST_EVERY_MS + inside);
        }
        trace.jobs.sort_by_key(|job| job.arrival);
    }
    ensure!(
        !trace.jobs.is_empty(),
        "the trace has no job in its first {} minutes",
        args.minutes
    );
    Ok(trace)
}

fn settings(args: &AgreeArgs) -> Settings {
    let secs = overspill_core::time::DurationMs::from_secs;
    Settings {
        local_workers: args.local_workers,
        local_slots: 1,
        max: args.max,
        slots: args.slots,
        max_wait: secs(args.max_wait),
        cold_start: (secs(args.cold_start), secs(args.cold_start)),
        ..Settings::default()
    }
}

fn simulated(args: &AgreeArgs, trace: &Trace, settings: &Settings) -> Result<Outcome> {
    let mut policy = agree::served(&args.policy, args.slots)
        .with_context(|| format!("`{}` is no policy", args.policy))?;
    let run = simulate(trace, settings, policy.as_mut())?;
    Ok(outcome(&run, trace))
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of minutes")]
fn outcome(run: &Run, trace: &Trace) -> Outcome {
    let secs = |at: overspill_core::time::Timestamp| at.as_millis() as f64 / 1_000.0;
    Outcome {
        worker_seconds: run.workers.iter().map(|w| w.billed_s() as f64).sum(),
        lives: run
            .workers
            .iter()
            .map(|worker| Life {
                from: secs(worker.ordered_at),
                to: secs(worker.stopped_at),
            })
            .collect(),
        waits: run.waits(trace).map(|wait| wait.as_secs_f64()).collect(),
        local: run.attempts.iter().filter(|a| a.worker.is_none()).count(),
    }
}

fn report(
    args: &AgreeArgs,
    trace: &Trace,
    simulated: &Outcome,
    live: &Outcome,
    envelope: &Envelope,
) -> Result<()> {
    println!("\n{:<28}{:>12}{:>12}", "", "simulated", "live");
    let row = |name: &str, a: String, b: String| println!("{name:<28}{a:>12}{b:>12}");
    let whole = |value: f64| format!("{value:.0}");
    row(
        "billed worker-seconds",
        whole(simulated.worker_seconds),
        whole(live.worker_seconds),
    );
    row(
        "workers started",
        simulated.lives.len().to_string(),
        live.lives.len().to_string(),
    );
    row(
        "workers at once, at most",
        at_once(&simulated.lives).to_string(),
        at_once(&live.lives).to_string(),
    );
    row(
        "jobs on local workers",
        simulated.local.to_string(),
        live.local.to_string(),
    );
    #[expect(clippy::cast_precision_loss, reason = "seconds of a promise")]
    let promise = args.max_wait as f64;
    for (name, share) in [
        ("wait p50, s", 0.5),
        ("wait p95, s", 0.95),
        ("wait p99, s", 0.99),
    ] {
        let at = |outcome: &Outcome| whole(quantile(&outcome.waits, share));
        row(name, at(simulated), at(live));
    }
    let on_time = |outcome: &Outcome| {
        let late = outcome.waits.iter().filter(|wait| **wait > promise + 1.0);
        format!(
            "{} of {}",
            outcome.waits.len() - late.count(),
            trace.jobs.len()
        )
    };
    row("in time", on_time(simulated), on_time(live));
    println!("\nlives of cloud workers, seconds from the first arrival's zero:");
    for at in 0..simulated.lives.len().max(live.lives.len()) {
        let life = |lives: &[Life]| {
            let life = lives.get(at);
            life.map_or_else(String::new, |life| {
                format!("{:.0}–{:.0}", life.from, life.to)
            })
        };
        row(
            &format!("  worker {}", at + 1),
            life(&simulated.lives),
            life(&live.lives),
        );
    }
    let at = |seconds: f64| Timestamp::ZERO + DurationMs::from_secs_f64(seconds.max(0.0));
    let lives: Vec<agree::Life> = live
        .lives
        .iter()
        .map(|life| (at(life.from), at(life.to)))
        .collect();
    let verdict = envelope.judge(live.worker_seconds, &lives);
    println!(
        "\nlive / simulated with exact times: {:.3}; beside those with inexact ones: {:.3} (they bill {:.0} to {:.0} s, with \
         {} to {} starts)\ntime with more or fewer workers than in any of these: {:.1} %",
        live.worker_seconds / simulated.worker_seconds.max(1.0),
        verdict.ratio,
        verdict.billed.0,
        verdict.billed.1,
        verdict.starts.0,
        verdict.starts.1,
        verdict.outside * 100.0
    );
    ensure!(
        live.waits.len() == trace.jobs.len(),
        "{} of {} jobs ran",
        live.waits.len(),
        trace.jobs.len()
    );
    verdict.check().map_err(|apart| anyhow!(apart))?;
    println!(
        "agree: the live system bills what the simulator says, within 10 %, and decides alike"
    );
    Ok(())
}

/// The most lives at one moment.
fn at_once(lives: &[Life]) -> usize {
    let alive = |at: f64| lives.iter().filter(|l| l.from <= at && at < l.to).count();
    lives.iter().map(|life| alive(life.from)).max().unwrap_or(0)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index between the first and the last"
)]
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_overlap_and_quantiles_are_ranks() {
        let life = |from, to| Life { from, to };
        assert_eq!(
            at_once(&[life(0.0, 5.0), life(1.0, 3.0), life(4.0, 9.0)]),
            2
        );
        assert_eq!(at_once(&[]), 0);
        assert!((quantile(&[3.0, 1.0, 2.0], 0.5) - 2.0).abs() < 1e-9);
        assert!(quantile(&[], 0.9).abs() < 1e-9);
    }
}
