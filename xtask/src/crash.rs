//! `cargo xtask crash`: kills under load, and an oracle that counts what was lost or doubled.
//!
//! The driver and its oracle are Python, apart from the server in language and in connection:
//! `e2e/crash/` holds them. What a run has judged stands in the build folder, and the next run of the
//! same seed goes on from there.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::{python, workspace};

/// Kill cycles of the short form, which is part of `cargo xtask test`.
const SHORT_CYCLES: u32 = 6;

/// Arguments of `cargo xtask crash`.
#[derive(Args)]
pub(crate) struct CrashArgs {
    /// How often to kill; keeper and serving process in turn
    #[arg(long, default_value_t = 50)]
    cycles: u32,
    /// Names the run: moments of the kills, sizes and lengths of the jobs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stop after so many minutes, even if cycles are left
    #[arg(long)]
    minutes: Option<f64>,
    /// Begin at the first cycle, whatever an earlier run of this seed has done
    #[arg(long)]
    anew: bool,
}

pub(crate) fn run(args: &CrashArgs) -> Result<()> {
    python::install()?;
    workspace::built_binary()?;
    let state = state_file(args.seed)?;
    if args.anew && state.exists() {
        std::fs::remove_file(&state).with_context(|| format!("removing {}", state.display()))?;
    }
    let mut crash = command(args)?;
    crash.arg("--state").arg(&state);
    let status = crash.status()?;
    ensure!(status.success(), "the crash run failed: {status}");
    Ok(())
}

/// Where a run of this seed goes on from.
fn state_file(seed: u64) -> Result<PathBuf> {
    let folder = workspace::target_dir()?.join("crash");
    Ok(folder.join(format!("seed-{seed}.json")))
}

/// The short form as a command; needs the environment and the binary of the dev profile.
pub(crate) fn short() -> Result<Command> {
    command(&CrashArgs {
        cycles: SHORT_CYCLES,
        seed: 1,
        minutes: None,
        anew: true,
    })
}

fn command(args: &CrashArgs) -> Result<Command> {
    let mut crash = workspace::command(python::interpreter());
    crash
        .current_dir(python::suite_dir())
        .args(["-m", "crash", "--cycles", &args.cycles.to_string()])
        .args(["--seed", &args.seed.to_string()])
        .env("OVERSPILL_BIN", workspace::binary()?);
    if let Some(minutes) = args.minutes {
        crash.args(["--minutes", &minutes.to_string()]);
    }
    Ok(crash)
}
