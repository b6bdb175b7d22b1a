//! `cargo xtask faults`: the store's files damaged in many ways, each opened and compared in full.
//!
//! The faults are library functions of the store (`overspill_store::testing`), where their short form
//! is a test; a count and a seed name a run.

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;
use overspill_store::testing::{power, rot, torn};

/// Arguments of `cargo xtask faults`.
#[derive(Args)]
pub(crate) struct FaultsArgs {
    /// Runs of each kind of fault
    #[arg(long, default_value_t = 10_000)]
    count: u64,
    /// Names the runs
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(args: &FaultsArgs) -> Result<()> {
    let mut survived = true;
    for fault in [power::power_cuts, rot::bit_rot, torn::torn_log] {
        let begin = Instant::now();
        let report = fault(args.count, args.seed)?;
        println!("{report} ({:.0?})", begin.elapsed());
        survived &= report.is_survived();
    }
    ensure!(
        survived,
        "the store lost or changed what it had acknowledged"
    );
    Ok(())
}
