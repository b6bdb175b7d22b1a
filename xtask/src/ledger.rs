//! `cargo xtask ledger`: caps hold and money adds up, in virtual time against the modelled cloud.
//!
//! A cap of ten cents meets a thousand jobs and random crashes: what the modelled RunPod bills must be
//! within the cap, at least seven cents, for at least a hundred jobs, in every seed.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail};
use clap::Args;
use overspill_sim::spend::{self, Spent};

/// Seeds of the gate.
const GATE: u64 = 20;

#[derive(Args)]
pub(crate) struct LedgerArgs {
    /// Seeds of the capped runs
    #[arg(long, value_name = "N", default_value_t = 200)]
    seeds: u64,
}

pub(crate) fn run(args: &LedgerArgs) -> Result<()> {
    println!("{}", capped(0..args.seeds)?);
    Ok(())
}

/// The short form, for the gate: its closing line.
pub(crate) fn short() -> Result<String> {
    capped(0..GATE)
}

fn capped(seeds: Range<u64>) -> Result<String> {
    let (next, found) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let spent = spend::run(seed);
                    found.lock().expect("no thread panics").push(spent);
                }
            });
        }
    });
    let mut found: Vec<Spent> = found.into_inner().expect("no thread panics");
    found.sort_by_key(|spent| spent.seed);
    let failed: Vec<String> = found
        .iter()
        .filter(|spent| !spent.violations.is_empty())
        .map(|spent| format!("{spent:?}"))
        .collect();
    if !failed.is_empty() {
        bail!(
            "{} of {} seeds failed\n{}",
            failed.len(),
            found.len(),
            failed.join("\n")
        );
    }
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
