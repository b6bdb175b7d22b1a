//! `cargo xtask crowd`: ten thousand slow connections beside one client, and as many clients that come back at once.
//!
//! The driver is Python (`e2e/crowd/`). The slow ones send a byte a second or read nothing (F28); then the server is
//! killed with everyone waiting at it, and all ask again in the moment it is back (F40).

use anyhow::{Result, ensure};
use clap::Args;

use crate::{python, workspace};

/// Arguments of `cargo xtask crowd`.
#[derive(Args)]
pub(crate) struct CrowdArgs {
    /// Slow connections
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(3..))]
    sockets: u32,
    /// Clients that come back at once
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// Jobs that these clients wait for
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    jobs: u32,
    /// Seconds that a client beside the slow ones may wait, in the 99th percentile
    #[arg(long, default_value_t = 1.0)]
    late: f64,
}

pub(crate) fn run(args: &CrowdArgs) -> Result<()> {
    python::install()?;
    workspace::built_binary()?;
    let mut crowd = workspace::command(python::interpreter());
    crowd
        .current_dir(python::suite_dir())
        .args(["-m", "crowd", "--sockets", &args.sockets.to_string()])
        .args(["--clients", &args.clients.to_string()])
        .args(["--jobs", &args.jobs.to_string()])
        .args(["--late", &args.late.to_string()])
        .env("OVERSPILL_BIN", workspace::binary()?);
    let status = crowd.status()?;
    ensure!(status.success(), "the crowd run failed: {status}");
    Ok(())
}
