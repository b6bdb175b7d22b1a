//! `cargo xtask soak`: the official JavaScript and Python clients follow hundreds of jobs at once, for minutes.
//!
//! The driver is Python (`e2e/soak/`), with unmodified RunPod workers on the local cards and in the emulated
//! cloud; the last line says how many requests were made and how much later than its hold the latest came.

use std::process::Command;

use anyhow::{Result, ensure};
use clap::Args;

use crate::{javascript, python, workspace};

/// Arguments of `cargo xtask soak`.
#[derive(Args)]
pub(crate) struct SoakArgs {
    /// How long jobs are submitted
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Jobs that the clients follow at once
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(3..))]
    jobs: u32,
    /// Names the run: how long each job takes
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(args: &SoakArgs) -> Result<()> {
    python::install()?;
    javascript::install()?;
    workspace::built_binary()?;
    let status = command(args)?.status()?;
    ensure!(status.success(), "the soak run failed: {status}");
    Ok(())
}

/// The short form as a command; needs both environments and the binary of the dev profile.
pub(crate) fn short() -> Result<Command> {
    command(&SoakArgs {
        minutes: 0.2,
        jobs: 120,
        seed: 1,
    })
}

fn command(args: &SoakArgs) -> Result<Command> {
    let mut soak = workspace::command(python::interpreter());
    soak.current_dir(python::suite_dir())
        .args(["-m", "soak", "--minutes", &args.minutes.to_string()])
        .args(["--jobs", &args.jobs.to_string()])
        .args(["--seed", &args.seed.to_string()])
        .env("OVERSPILL_BIN", workspace::binary()?);
    Ok(soak)
}
