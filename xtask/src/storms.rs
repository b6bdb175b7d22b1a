//! `cargo xtask storms`: the shipped core in virtual time against modelled worlds, by seed.
//!
//! Every seed runs twice and must leave the same trace. A failing seed prints its faults and the end
//! of its trace; it belongs, with a word on why, into `scenarios/storms.seeds`, whose seeds run first.

use std::ops::Range;

use anyhow::{Result, bail};
use clap::Args;
use overspill_sim::faults::{self, Fault};
use overspill_sim::report::Report;
use overspill_sim::storms::{self, Options};

use crate::workspace;

/// Seeds of the gate.
const GATE: Range<u64> = 0..200;

#[derive(Args)]
pub(crate) struct StormsArgs {
    /// Seeds from A up to, and without, B
    #[arg(long, value_name = "A..B", default_value = "0..200", value_parser = range)]
    seeds: Range<u64>,
    /// This fault alone, in every seed
    #[arg(long, value_name = "NAME", value_parser = fault)]
    fault: Option<Fault>,
    /// Every seed without this fault (may be repeated); all others strike as they would
    #[arg(long, value_name = "NAME", value_parser = fault)]
    without: Vec<Fault>,
    /// Every storm, its jobs and its weather last so many times as long; 20 gives a simulated year
    /// over 2000 seeds
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    scale: u32,
    /// Fail unless every fault struck at least so often over all seeds
    #[arg(long, value_name = "TIMES")]
    require_faults: Option<u64>,
    /// Fail unless at least so many days were simulated
    #[arg(long, value_name = "DAYS")]
    require_days: Option<u64>,
    /// Lines of its trace that a failing seed prints
    #[arg(long, value_name = "LINES", default_value_t = 30)]
    trace: usize,
    /// Print the faults that the simulator models, and run nothing
    #[arg(long)]
    list_faults: bool,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("`{text}` is not a range of seeds such as 0..200");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let from = from.parse().map_err(|_| wrong())?;
    let to = to.parse().map_err(|_| wrong())?;
    if from < to {
        Ok(from..to)
    } else {
        Err(wrong())
    }
}

fn fault(name: &str) -> Result<Fault, String> {
    faults::named(name).ok_or_else(|| format!("`{name}` is no fault; --list-faults names them"))
}

pub(crate) fn run(args: &StormsArgs) -> Result<()> {
    if args.list_faults {
        for fault in Fault::ALL {
            println!("{:<22} {}", fault.name(), fault.what());
        }
        return Ok(());
    }
    let options = Options {
        only: args.fault,
        without: args.without.clone(),
        scale: args.scale,
        keep: args.trace,
        ..Options::default()
    };
    kept(&options)?;
    let report = storms::run(args.seeds.clone(), &options);
    print!("{report}");
    if report.failed.is_empty() {
        return required(args, &report);
    }
    let seeds: Vec<String> = report.failed.iter().map(|o| o.seed.to_string()).collect();
    bail!("{} seeds failed: {}", seeds.len(), seeds.join(" "))
}

/// Whether there was as much weather as was asked for.
fn required(args: &StormsArgs, report: &Report) -> Result<()> {
    let least = args.require_faults.unwrap_or(0);
    let rare: Vec<String> = Fault::ALL
        .iter()
        .zip(&report.fired)
        .filter(|&(_, &fired)| fired < least)
        .map(|(fault, fired)| format!("{} {fired}", fault.name()))
        .collect();
    if !rare.is_empty() {
        bail!("struck less than {least} times: {}", rare.join(", "));
    }
    let days = report.lasted.as_millis() / 86_400_000;
    if let Some(least) = args.require_days.filter(|&least| days < least) {
        bail!("{days} days were simulated, fewer than {least}");
    }
    Ok(())
}

/// The short form, for the gate: its closing line.
pub(crate) fn short() -> Result<String> {
    let options = Options::default();
    kept(&options)?;
    let report = storms::run(GATE, &options);
    let text = report.to_string();
    if !report.failed.is_empty() {
        bail!("{text}");
    }
    Ok(text.lines().last().unwrap_or_default().to_owned())
}

/// The seeds that once failed.
fn kept(options: &Options) -> Result<()> {
    let file = workspace::root().join("scenarios/storms.seeds");
    let text = std::fs::read_to_string(&file)?;
    let seeds =
        storms::regressions(&text).map_err(|e| anyhow::anyhow!("{}: {e}", file.display()))?;
    for (seed, only) in seeds {
        let options = Options {
            only,
            ..options.clone()
        };
        let outcome = storms::run_seed(seed, &options);
        if !outcome.violations.is_empty() {
            bail!("a kept seed fails again\n{outcome}");
        }
    }
    Ok(())
}
