//! `cargo xtask properties`: the property tests over many drawn inputs, where the gate takes one.

use anyhow::{Result, ensure};
use clap::Args;

use crate::{gate, step, workspace};

/// The packages that have property tests, with the filter that finds those.
const SUITES: [(&str, &str); 3] = [
    ("overspill-core", "property"),
    ("overspill", "config::tests"),
    ("overspill", "pool::runpod::answer"),
];

/// Arguments of `cargo xtask properties`.
#[derive(Args)]
pub(crate) struct PropertiesArgs {
    /// How many draws, each with a seed of its own
    #[arg(long, default_value_t = 20)]
    rounds: u64,
    /// The seed of the first
    #[arg(long, default_value_t = 2)]
    seed: u64,
}

pub(crate) fn run(args: &PropertiesArgs) -> Result<()> {
    let mut failed = Vec::new();
    for seed in (args.seed..).zip(0..args.rounds).map(|(seed, _)| seed) {
        for (package, filter) in SUITES {
            let mut cargo = workspace::cargo();
            cargo.args(["test", "--quiet", "--package", package, "--tests", filter]);
            cargo.env(gate::SEED, seed.to_string());
            if step::watch(cargo, &["test result"]).is_err() {
                failed.push(format!("{}={seed} for {package} {filter}", gate::SEED));
            }
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join("; "));
    println!("{} draws of every property held", args.rounds);
    Ok(())
}
