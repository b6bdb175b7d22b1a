//! `cargo xtask syscalls`: every write and fsync of a small scenario fails once, with EIO and with ENOSPC,
//! and is the last of its process once (F02, F04).
//!
//! The driver is Python (`e2e/syscalls/`); strace spoils the calls. After each, a clean start must have all
//! that was acknowledged, recorded once.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use clap::Args;

use crate::{debian, python, workspace};

/// Points of the short form, which is part of `cargo xtask test`.
const SHORT_POINTS: u32 = 12;

/// Arguments of `cargo xtask syscalls`.
#[derive(Args)]
pub(crate) struct SyscallsArgs {
    /// So many of the calls, chosen by the seed; left out: all of them
    #[arg(long)]
    points: Option<u32>,
    /// Names the choice
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stop after so many minutes, even if calls are left
    #[arg(long)]
    minutes: Option<f64>,
    /// This one, as "running:fdatasync:3:error=EIO"
    #[arg(long, value_name = "POINT")]
    only: Option<String>,
}

pub(crate) fn run(args: &SyscallsArgs) -> Result<()> {
    python::install()?;
    tracer();
    workspace::built_binary()?;
    let status = command(args)?.status()?;
    ensure!(
        status.success(),
        "the sweep of system calls failed: {status}"
    );
    Ok(())
}

/// The short form as a command; needs the environment and the binary of the dev profile.
pub(crate) fn short() -> Result<Command> {
    tracer();
    command(&SyscallsArgs {
        points: Some(SHORT_POINTS),
        seed: 1,
        minutes: None,
        only: None,
    })
}

/// Sees to it that there is strace. Where it cannot be had, the run says so and spoils nothing.
fn tracer() {
    let mut probe = workspace::command("strace");
    probe
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success())
        && let Err(error) = debian::install("strace")
    {
        println!("{error:#}");
    }
}

fn command(args: &SyscallsArgs) -> Result<Command> {
    let mut sweep = workspace::command(python::interpreter());
    sweep
        .current_dir(python::suite_dir())
        .args(["-m", "syscalls", "--seed", &args.seed.to_string()])
        .env("OVERSPILL_BIN", workspace::binary()?);
    if let Some(points) = args.points {
        sweep.args(["--points", &points.to_string()]);
    }
    if let Some(minutes) = args.minutes {
        sweep.args(["--minutes", &minutes.to_string()]);
    }
    if let Some(only) = &args.only {
        sweep.args(["--only", only]);
    }
    Ok(sweep)
}
