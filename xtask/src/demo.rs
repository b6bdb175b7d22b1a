//! `cargo xtask demo`: builds the dashboard and the binary, and runs `overspill demo` with the arguments it is given.
//!
//! Cargo's messages go to standard error, so that with `--json` standard output holds the demo's
//! one object and nothing else. The exit status is the demo's.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::workspace;

/// Arguments of `cargo xtask demo`: all of them are the demo's.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct DemoArgs {
    /// Passed on to `overspill demo` as they are
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

pub(crate) fn run(args: &DemoArgs) -> Result<()> {
    build_dashboard();
    let binary = workspace::built_binary()?;
    let mut demo = workspace::command(&binary);
    // The demo takes this process's place, so that its signals and exit status are its own.
    let error = demo.arg("demo").args(&args.args).exec();
    Err(error).with_context(|| format!("starting {}", binary.display()))
}

/// Builds the dashboard, with everything it says on standard error. Without Node the demo runs all the
/// same, and shows one plain page instead.
fn build_dashboard() {
    let built = std::env::current_exe().and_then(|this| {
        let mut build = workspace::command(this);
        build.arg("dashboard").stdout(Stdio::from(io::stderr()));
        build.status()
    });
    if !built.is_ok_and(|status| status.success()) {
        eprintln!("the demo runs without its dashboard");
    }
}
