//! `cargo xtask ledger`: caps hold and money adds up, in virtual time against the modelled cloud.
//!
//! A cap of ten cents meets a thousand jobs and random crashes: what the modelled RunPod bills must be
//! within the cap, at least seven cents, for at least a hundred jobs, in every seed.
//!
//! A hundred thousand jobs with races, retries, twins and outages: before any billing record is read, the
//! ledger is within two percent of the bill in each endpoint-hour; after that it is the bill, with what it
//! lacked as lines of their own.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Result, bail};
use clap::Args;
use overspill_core::ledger::Cause;
use overspill_core::money::NanoUsd;
use overspill_sim::faults::Fault;
use overspill_sim::reckon::{self, Reckoned};
use overspill_sim::spend::{self, Spent};

use crate::seeds;

/// Seeds of the gate.
const GATE: u64 = 20;
/// Jobs of the gate, beside those of the seeds that once failed.
const GATE_JOBS: u64 = 1_000;
/// Jobs of one seed.
const JOBS: u32 = 1_000;

#[derive(Args)]
pub(crate) struct LedgerArgs {
    /// Seeds of the capped runs
    #[arg(long, value_name = "N", default_value_t = 200)]
    seeds: u64,
    /// Accepted jobs whose bill is compared with the ledger, at least; each seed submits a thousand, and those that come
    /// while no server is there to take them do not count
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    jobs: u64,
    /// The first seed of these
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    from: u64,
    /// Print each endpoint-hour
    #[arg(long)]
    hours: bool,
}

pub(crate) fn run(args: &LedgerArgs) -> Result<()> {
    if args.seeds > 0 {
        println!("{}", capped(0..args.seeds)?);
    }
    let found = with_jobs(args.from, args.jobs);
    if args.hours {
        for run in &found {
            print_hours(run);
        }
    }
    println!("{}", reckoned(&found)?);
    Ok(())
}

/// As many seeds from one on as it takes until so many jobs were accepted.
fn with_jobs(from: u64, jobs: u64) -> Vec<Reckoned> {
    let (mut found, mut accepted, mut next) = (Vec::new(), 0, from);
    while accepted < jobs {
        let seeds = (jobs - accepted).div_ceil(u64::from(JOBS));
        let more = seeds::in_parallel(next..next + seeds, |seed| reckon::run(seed, JOBS));
        let came: u64 = more.iter().map(|run| run.jobs as u64).sum();
        found.extend(more);
        if came == 0 {
            break;
        }
        accepted += came;
        next += seeds;
    }
    found
}

/// The short form, for the gate: its closing line.
pub(crate) fn short() -> Result<String> {
    let capped = capped(0..GATE)?;
    let seeds = GATE_JOBS.div_ceil(u64::from(JOBS));
    let mut found = seeds::in_parallel(0..seeds, |seed| reckon::run(seed, JOBS));
    let kept = 0..reckon::KEPT.len() as u64;
    found.extend(seeds::in_parallel(kept, |at| {
        let at = usize::try_from(at).expect("it is one of a few");
        reckon::run(reckon::KEPT[at], reckon::KEPT_JOBS)
    }));
    Ok(format!("{capped}; {}", reckoned(&found)?))
}

fn print_hours(run: &Reckoned) {
    println!(
        "seed {} {:?}, {} jobs, {} crashes",
        run.seed, run.lie, run.jobs, run.crashes
    );
    for line in &run.hours {
        let drift = line.drift.iter().map(|(c, a)| format!("{} {a}", c.code()));
        println!(
            "  {} hour {:>2}: counted {}, unsettled {}, billed {} ({} ‰ off); {}",
            line.endpoint,
            line.hour,
            line.counted,
            line.unsettled,
            line.billed,
            line.off_permille(),
            drift.collect::<Vec<_>>().join(", ")
        );
    }
}

/// What came of the long runs, in a line.
fn reckoned(found: &[Reckoned]) -> Result<String> {
    let failed: Vec<String> = found
        .iter()
        .filter(|run| !run.violations.is_empty())
        .map(|run| format!("seed {}: {}", run.seed, run.violations.join("; ")))
        .collect();
    if !failed.is_empty() {
        let (count, all) = (failed.len(), found.len());
        bail!("{count} of {all} seeds failed\n{}", failed.join("\n"));
    }
    let jobs: usize = found.iter().map(|run| run.jobs).sum();
    let runs: usize = found.iter().map(|run| run.runs).sum();
    let crashes: u64 = found.iter().map(|run| run.crashes).sum();
    let fired = |fault: Fault| -> u64 { found.iter().map(|run| run.fired[fault as usize]).sum() };
    let twins = fired(Fault::SubmitAnswerLost) + fired(Fault::SubmitAnswerLate);
    let faults: u64 = found.iter().flat_map(|run| &run.fired).sum();
    let lines = || found.iter().flat_map(|run| &run.hours);
    let billed: NanoUsd = lines().map(|line| line.billed).sum();
    let honest = found.iter().filter(|run| !is_lie(run));
    let worst = honest
        .flat_map(|run| &run.hours)
        .map(reckon::HourLine::off_permille);
    let worst = worst.max().unwrap_or_default();
    let mut causes: BTreeMap<Cause, NanoUsd> = BTreeMap::new();
    for (&cause, &amount) in lines().flat_map(|line| &line.drift) {
        *causes.entry(cause).or_default() += amount;
    }
    let causes = causes
        .iter()
        .map(|(cause, amount)| format!("{} {amount}", cause.code()));
    let seeds = found.len();
    Ok(format!(
        "{seeds} seeds: {jobs} jobs, {runs} runs, {crashes} crashes, {twins} lost answers, {faults} faults in all: {} \
         endpoint-hours with {billed} billed, the worst count {}.{} % off; after the records equal, with {}",
        lines().count(),
        worst / 10,
        worst % 10,
        causes.collect::<Vec<_>>().join(", ")
    ))
}

fn is_lie(run: &Reckoned) -> bool {
    matches!(run.lie, reckon::Lie::HiddenIdle | reckon::Lie::BilledTwice)
}

fn capped(seeds: Range<u64>) -> Result<String> {
    let found: Vec<Spent> = seeds::in_parallel(seeds, spend::run);
    seeds::sound(&found, |spent| spent.violations.is_empty())?;
    let least = found
        .iter()
        .map(|spent| spent.billed)
        .min()
        .unwrap_or_default();
    let most = found
        .iter()
        .map(|spent| spent.billed)
        .max()
        .unwrap_or_default();
    let fewest = found
        .iter()
        .map(|spent| spent.jobs)
        .min()
        .unwrap_or_default();
    let crashes: u64 = found.iter().map(|spent| spent.crashes).sum();
    Ok(format!(
        "a cap of {}: {} seeds with {crashes} crashes billed {least} to {most}, each with {fewest} or \
         more jobs in the cloud",
        spend::CAP,
        found.len()
    ))
}
