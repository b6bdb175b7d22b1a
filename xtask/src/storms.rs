//! `cargo xtask storms`: the shipped core in virtual time against modelled worlds, by seed.
//!
//! Every seed runs twice and must leave the same trace. A failing seed prints its faults and the end
//! of its trace; it belongs, with a word on why, into `scenarios/storms.seeds`, whose seeds run first.

use std::ops::Range;

use anyhow::{Result, bail};
use clap::Args;
use overspill_sim::faults::{self, Fault};
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
        keep: args.trace,
        ..Options::default()
    };
    kept(&options)?;
    let report = storms::run(args.seeds.clone(), &options);
    print!("{report}");
    if report.failed.is_empty() {
        return Ok(());
    }
    let seeds: Vec<String> = report.failed.iter().map(|o| o.seed.to_string()).collect();
    bail!("{} seeds failed: {}", seeds.len(), seeds.join(" "))
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
