//! `cargo xtask deathbill`: what RunPod bills after every process of Overspill is dead is within the bound that
//! was stated before.
//!
//! The seeds run in virtual time: the shipped core, the guard's own rule and the modelled cloud, with workers
//! kept on and crashes before. A few more run with real processes (`e2e/deathbill/`): `overspill serve`,
//! `overspill guard` and `overspill emulate`, killed for good with work in flight. In half of all seeds the
//! guard dies too.

use std::ops::Range;
use std::process::Command;

use anyhow::{Result, ensure};
use clap::Args;
use overspill_core::money::NanoUsd;
use overspill_sim::death::{self, Died};

use crate::{python, seeds, workspace};

/// Seeds of the gate.
const GATE: u64 = 40;

/// Arguments of `cargo xtask deathbill`.
#[derive(Args)]
pub(crate) struct DeathbillArgs {
    /// Seeds in virtual time
    #[arg(long, value_name = "N", default_value_t = 200)]
    seeds: u64,
    /// Seeds with real processes
    #[arg(long, value_name = "N", default_value_t = 6)]
    processes: u64,
}

pub(crate) fn run(args: &DeathbillArgs) -> Result<()> {
    println!("{}", modelled(0..args.seeds)?);
    if args.processes > 0 {
        python::install()?;
        workspace::built_binary()?;
        let status = command(args.processes)?.status()?;
        ensure!(
            status.success(),
            "a death with real processes failed: {status}"
        );
    }
    Ok(())
}

/// The short form, for the gate: its closing line.
pub(crate) fn short() -> Result<String> {
    modelled(0..GATE)
}

fn command(seeds: u64) -> Result<Command> {
    let mut deathbill = workspace::command(python::interpreter());
    deathbill
        .current_dir(python::suite_dir())
        .args(["-m", "deathbill", "--seeds", &seeds.to_string()])
        .env("OVERSPILL_BIN", workspace::binary()?);
    Ok(deathbill)
}

fn modelled(range: Range<u64>) -> Result<String> {
    let found: Vec<Died> = seeds::in_parallel(range, death::run);
    seeds::sound(&found, |died| died.violations.is_empty())?;
    let side = |guard_lives: bool| {
        let its = found.iter().filter(|died| died.guard_lives == guard_lives);
        let pairs: Vec<(NanoUsd, NanoUsd)> = its.map(|died| (died.billed, died.bound())).collect();
        let billed = pairs.iter().map(|(billed, _)| *billed).max();
        let bound = pairs.iter().map(|(_, bound)| *bound).max();
        (
            pairs.len(),
            billed.unwrap_or_default(),
            bound.unwrap_or_default(),
        )
    };
    let (with, with_billed, with_bound) = side(true);
    let (alone, alone_billed, alone_bound) = side(false);
    let in_flight = found.iter().filter(|died| died.in_flight > 0).count();
    let kept_on = found
        .iter()
        .filter(|died| died.then.workers_kept_on >= death::MIN)
        .count();
    Ok(format!(
        "{} deaths in virtual time, {in_flight} with work in flight, {kept_on} with {} workers kept on: {with} with a \
         guard billed {with_billed} at most (bounds up to {with_bound}), {alone} whose guard died too {alone_billed} \
         (bounds up to {alone_bound}); none more than its bound",
        found.len(),
        death::MIN
    ))
}
