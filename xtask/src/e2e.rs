//! `cargo xtask e2e`: pytest with the real RunPod packages against the built binary.

use std::process::Command;

use anyhow::{Result, ensure};
use clap::Args;

use crate::{browser, debian, javascript, python, workspace};

/// Arguments of `cargo xtask e2e`.
#[derive(Args)]
pub(crate) struct E2eArgs {
    /// Run only tests whose name holds this (pytest's `-k`)
    filter: Option<String>,
    /// Passed on to pytest as they are
    #[arg(last = true)]
    pytest: Vec<String>,
}

pub(crate) fn run(args: &E2eArgs) -> Result<()> {
    python::install_all()?;
    javascript::install()?;
    debian::prometheus()?;
    debian::faketime()?;
    browser::chromium()?;
    workspace::built_binary()?;
    let mut extra: Vec<&str> = Vec::new();
    if let Some(filter) = &args.filter {
        extra.extend(["-k", filter]);
    }
    extra.extend(args.pytest.iter().map(String::as_str));
    let status = suite(&extra)?.status()?;
    ensure!(status.success(), "the end-to-end suite failed: {status}");
    Ok(())
}

/// The suite as a command; needs the environment and the binary of the dev profile.
pub(crate) fn suite(extra: &[&str]) -> Result<Command> {
    let mut pytest = workspace::command(python::interpreter());
    pytest
        .current_dir(python::suite_dir())
        .args(["-m", "pytest", "--numprocesses", &processes().to_string()])
        .args(extra)
        .env("OVERSPILL_BIN", workspace::binary()?);
    Ok(pytest)
}

/// Tests at once. They mostly wait for processes and polls, so more than there are cores.
fn processes() -> usize {
    std::thread::available_parallelism()
        .map_or(2, usize::from)
        .clamp(2, 8)
        + 1
}
