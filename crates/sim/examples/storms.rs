//! Storms on their own, for `cargo xtask storms` and `cargo xtask planted`: seeds, each run twice.
//!
//! Arguments: `A..B`, then any of `--scale=N` (a storm lasts N times as long), `--without=FAULT`,
//! `--fault=FAULT` (alone) and `--json` (one line a seed, as it ends). Ends with 1 where a seed fails.
#![expect(
    clippy::print_stdout,
    reason = "a program for people: its report is its output"
)]

use std::process::ExitCode;

use overspill_sim::faults::named;
use overspill_sim::storms::{Options, run};

fn main() -> Result<ExitCode, String> {
    let mut options = Options::default();
    let mut seeds = 0..200;
    for argument in std::env::args().skip(1) {
        let fault = |name: &str| named(name).ok_or_else(|| format!("`{name}` is no fault"));
        if let Some(scale) = argument.strip_prefix("--scale=") {
            options.scale = scale.parse().map_err(|_| format!("scale `{scale}`"))?;
        } else if let Some(name) = argument.strip_prefix("--without=") {
            options.without.push(fault(name)?);
        } else if let Some(name) = argument.strip_prefix("--fault=") {
            options.only = Some(fault(name)?);
        } else if argument == "--first" {
            options.stop_at_first = true;
        } else {
            let range = argument
                .split_once("..")
                .and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
            seeds = range.ok_or_else(|| format!("`{argument}` is not a range such as 0..200"))?;
        }
    }
    let report = run(seeds, &options);
    print!("{report}");
    Ok(if report.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
