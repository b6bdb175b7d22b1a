//! `cargo xtask score`: what every scaling policy costs against the least that is possible, over a
//! folder of recorded traces.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;

use crate::step;
use crate::workspace;

#[derive(Args)]
pub(crate) struct ScoreArgs {
    /// Folder with the traces of the score
    #[arg(long, value_name = "DIR", default_value = "../shared/traces")]
    traces: PathBuf,
    /// Seeds of the start-up times
    #[arg(long, value_name = "N", default_values_t = [11, 12, 13])]
    seeds: Vec<u64>,
}

/// Builds the simulator with optimization and prints the table; fails where a run does not add up.
pub(crate) fn run(args: &ScoreArgs) -> Result<()> {
    let traces = &args.traces;
    ensure!(
        traces.is_dir(),
        "there is no folder {}: name it with --traces",
        traces.display()
    );
    let mut command = workspace::cargo();
    command
        .args(["run", "--quiet", "--profile", "sim"])
        .args(["--package", "overspill-sim", "--example", "score", "--"])
        .arg(traces.canonicalize()?)
        .args(args.seeds.iter().map(u64::to_string));
    step::watch(command, &["S "])?;
    Ok(())
}
