//! `cargo xtask test`: everything that must hold before a change lands, in one command.
//!
//! Steps run one after the other and a failed one does not stop the rest: a gate that says
//! everything that is wrong saves a second run. All of them use the dev profile, so that the
//! workspace is compiled once.

use std::process::Stdio;

use anyhow::{Result, bail};
use clap::Args;

use crate::step::{self, Outcome};
use crate::{browser, dashboard, deathbill, ledger, score, storms};
use crate::{
    crash, debian, e2e, javascript, outage, python, schemathesis, soak, syscalls, tidy, workspace,
};

/// Arguments of `cargo xtask test`.
#[derive(Args)]
pub(crate) struct TestArgs {
    /// Run only this step (may be repeated)
    #[arg(long, value_name = "STEP", value_parser = STEPS)]
    only: Vec<String>,
}

/// Names the inputs of the property tests. The gate draws the same ones each time, so that it refuses
/// a change for what the change does; `cargo xtask properties` looks further.
pub(crate) const SEED: &str = "PROPTEST_RNG_SEED";

/// Names of the steps, in the order in which they run.
const STEPS: [&str; 19] = [
    "format",
    "tidy",
    "dashboard",
    "clippy",
    "build",
    "tests",
    "doctests",
    "storms",
    "ledger",
    "deathbill",
    "score",
    "setup",
    "e2e",
    "schemathesis",
    "crash",
    "syscalls",
    "outage",
    "soak",
    "browser",
];

pub(crate) fn run(args: &TestArgs) -> Result<()> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    for name in STEPS {
        if args.only.is_empty() || args.only.iter().any(|only| only == name) {
            outcomes.push(step::run(name, || run_step(name)));
        }
    }
    println!("\nsteps:");
    for Outcome {
        name,
        took,
        closing,
        is_passed,
    } in &outcomes
    {
        let word = step::word(*is_passed);
        println!(
            "  {name:<12} {word:<6} {:>7.1} s  {closing}",
            took.as_secs_f64()
        );
    }
    let failed: Vec<&str> = outcomes
        .iter()
        .filter(|o| !o.is_passed)
        .map(|o| o.name)
        .collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    println!("all {} steps passed", outcomes.len());
    Ok(())
}

fn run_step(name: &str) -> Result<String> {
    match name {
        "format" => cargo(&["fmt", "--all", "--check"], &[]).map(|_| "formatted".to_owned()),
        "tidy" => tidy::check().map(|seen| seen.to_string()),
        // Before anything is compiled: the binary embeds it.
        "dashboard" => dashboard::build(),
        "clippy" => {
            let lints = [
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ];
            cargo(&lints, &["Finished"])
        }
        "build" => step::watch(workspace::build_binary(), &["Finished"]),
        "tests" if has_nextest() => cargo(
            &["nextest", "run", "--workspace", "--no-fail-fast"],
            &["Summary"],
        ),
        "tests" => cargo(
            &["test", "--workspace", "--all-targets", "--no-fail-fast"],
            &["result"],
        ),
        "doctests" => cargo(&["test", "--workspace", "--doc"], &["test result"]),
        "storms" => storms::short(),
        "ledger" => ledger::short(),
        "deathbill" => deathbill::short(),
        "score" => score::short(),
        "setup" => {
            let packages = javascript::install()?;
            debian::prometheus()?;
            debian::faketime()?;
            browser::chromium()?;
            Ok(format!("{}; {packages}", python::install_all()?))
        }
        "e2e" => {
            let whole = e2e::suite(&["--compatibility", "check"])?;
            step::watch(whole, &["passed", "failed", "error"])
        }
        "schemathesis" => step::watch(schemathesis::short()?, &["schemathesis"]),
        "crash" => step::watch(crash::short()?, &["lost"]),
        "syscalls" => step::watch(syscalls::short()?, &["syscalls:"]),
        "outage" => step::watch(outage::short()?, &["ran twice"]),
        "soak" => step::watch(soak::short()?, &["soak:"]),
        "browser" => browser::suite(),
        unknown => bail!("no step is called {unknown:?}"),
    }
}

fn cargo(args: &[&str], needles: &[&str]) -> Result<String> {
    let mut command = workspace::cargo();
    command.args(args);
    if std::env::var_os(SEED).is_none() {
        command.env(SEED, "1");
    }
    step::watch(command, needles)
}

/// Whether `cargo nextest` is installed; without it `cargo test` runs the same tests, slower.
fn has_nextest() -> bool {
    let mut probe = workspace::cargo();
    probe
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}
