//! The store's files damaged in many ways, each opened and compared in full.

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use overspill_store::testing::{power, rot, torn};

/// How the files are damaged.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Sweep {
    /// The power goes: what was not synced is there in part, in any order, or not at all
    Power,
    /// One bit is flipped
    Rot,
    /// The log's last frames are cut off or flipped
    Torn,
}

pub(crate) fn run(kinds: &[Sweep], count: u64, seed: u64) -> Result<()> {
    let mut survived = true;
    for kind in kinds {
        let begin = Instant::now();
        let report = match kind {
            Sweep::Power => power::power_cuts(count, seed)?,
            Sweep::Rot => rot::bit_rot(count, seed)?,
            Sweep::Torn => torn::torn_log(count, seed)?,
        };
        println!("{report} ({:.0?})", begin.elapsed());
        survived &= report.is_survived();
    }
    ensure!(
        survived,
        "the store lost or changed what it had acknowledged"
    );
    Ok(())
}
