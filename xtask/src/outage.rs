//! `cargo xtask outage`: the serving process is gone for a while, and workers finish meanwhile.
//!
//! The driver is Python (`e2e/outage/`), with unmodified RunPod workers among its own; the last line
//! says how many results were posted into the outage and that none of those jobs ran twice.

use std::process::Command;

use anyhow::{Result, ensure};
use clap::Args;

use crate::{python, workspace};

/// Arguments of `cargo xtask outage`.
#[derive(Args)]
pub(crate) struct OutageArgs {
    /// How long the serving process stays away
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// Workers of RunPod's own package
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    sdk: u32,
    /// Workers of the same protocol that start in a blink
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    scripted: u32,
    /// Names the run: which jobs end when
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(args: &OutageArgs) -> Result<()> {
    python::install()?;
    workspace::built_binary()?;
    let status = command(args)?.status()?;
    ensure!(status.success(), "the outage run failed: {status}");
    Ok(())
}

/// The short form as a command; needs the environment and the binary of the dev profile.
pub(crate) fn short() -> Result<Command> {
    command(&OutageArgs {
        seconds: 6.0,
        sdk: 2,
        scripted: 12,
        seed: 1,
    })
}

fn command(args: &OutageArgs) -> Result<Command> {
    let mut outage = workspace::command(python::interpreter());
    outage
        .current_dir(python::suite_dir())
        .args(["-m", "outage", "--seconds", &args.seconds.to_string()])
        .args(["--sdk", &args.sdk.to_string()])
        .args(["--scripted", &args.scripted.to_string()])
        .args(["--seed", &args.seed.to_string()])
        .env("OVERSPILL_BIN", workspace::binary()?);
    Ok(outage)
}
