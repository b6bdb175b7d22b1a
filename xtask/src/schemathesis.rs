//! `cargo xtask schemathesis`: requests made up from RunPod's OpenAPI document, against the emulator and the server.
//!
//! `e2e/fuzz/` holds the run itself. The document is no part of the project: where it is missing nothing is run, and the
//! closing line says so.

use std::process::Command;

use anyhow::{Result, ensure};
use clap::Args;

use crate::{python, workspace};

/// Requests per operation of the short form, which is part of `cargo xtask test`.
const SHORT_EXAMPLES: u32 = 20;

/// Arguments of `cargo xtask schemathesis`.
#[derive(Args)]
pub(crate) struct SchemathesisArgs {
    /// Requests made up for each operation
    #[arg(long, default_value_t = 200)]
    max_examples: u32,
    /// Names the run: the same seed makes up the same requests
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(args: &SchemathesisArgs) -> Result<()> {
    python::install()?;
    workspace::built_binary()?;
    let status = command(args)?.status()?;
    ensure!(status.success(), "schemathesis found something: {status}");
    Ok(())
}

/// The short form as a command; needs the environment and the binary of the dev profile.
pub(crate) fn short() -> Result<Command> {
    command(&SchemathesisArgs {
        max_examples: SHORT_EXAMPLES,
        seed: 1,
    })
}

fn command(args: &SchemathesisArgs) -> Result<Command> {
    let mut fuzz = workspace::command(python::interpreter());
    fuzz.current_dir(python::suite_dir())
        .args(["-m", "fuzz"])
        .args(["--max-examples", &args.max_examples.to_string()])
        .args(["--seed", &args.seed.to_string()])
        .env("OVERSPILL_BIN", workspace::binary()?);
    Ok(fuzz)
}
