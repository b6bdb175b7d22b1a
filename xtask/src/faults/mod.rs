//! `cargo xtask faults`: every fault of the catalogue, with the tests that hold it.
//!
//! The catalogue is the table of `docs/reliability.md`. Without arguments everything that it names is
//! run: Rust tests, end-to-end tests, and the long forms. In the gate the same tests run with all
//! others, and the long forms in a short one. `--sweep` damages the store's files, one by one: the
//! faults are library functions of the store (`overspill_store::testing`); a count and a seed name a run.

pub(crate) mod catalogue;
mod sweep;

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use self::catalogue::{Fault, Holder, PAGE};
use self::sweep::Sweep;
use crate::{e2e, javascript, python, workspace};

/// Arguments of `cargo xtask faults`.
#[derive(Args)]
pub(crate) struct FaultsArgs {
    /// Print the catalogue, and run nothing
    #[arg(long)]
    list: bool,
    /// These alone, as F05,F20
    #[arg(long, value_name = "F..", value_delimiter = ',', value_parser = known)]
    only: Vec<u8>,
    /// Leave out the long forms: crashes, storms, sweeps, outages
    #[arg(long)]
    short: bool,
    /// Damage the store's files in this way, so many times, and nothing else (may be repeated)
    #[arg(long, value_name = "KIND", value_enum, conflicts_with_all = ["list", "only", "short"])]
    sweep: Vec<Sweep>,
    /// Runs of each sweep
    #[arg(long, default_value_t = 10_000, requires = "sweep")]
    count: u64,
    /// Names the runs of a sweep
    #[arg(long, default_value_t = 1, requires = "sweep")]
    seed: u64,
}

fn known(name: &str) -> Result<u8, String> {
    catalogue::number(name)
        .filter(|number| {
            catalogue::IN_SCOPE
                .iter()
                .any(|range| range.contains(number))
        })
        .ok_or_else(|| format!("`{name}` is no fault of the catalogue; --list names them"))
}

pub(crate) fn run(args: &FaultsArgs) -> Result<()> {
    if !args.sweep.is_empty() {
        return sweep::run(&args.sweep, args.count, args.seed);
    }
    let page = workspace::root().join(PAGE);
    let text =
        std::fs::read_to_string(&page).with_context(|| format!("reading {}", page.display()))?;
    let mut faults = catalogue::parse(&text).map_err(|found| anyhow::anyhow!(found.join("\n")))?;
    if !args.only.is_empty() {
        faults.retain(|fault| args.only.contains(&fault.number));
    }
    if args.list {
        for fault in &faults {
            println!("{}  {}", fault.name(), fault.scenario);
            for holder in &fault.holders {
                println!("       {holder}");
            }
            if fault.holders.is_empty() {
                println!("       nothing yet");
            }
        }
        return Ok(());
    }
    run_all(&faults, args.short)
}

fn run_all(faults: &[Fault], is_short: bool) -> Result<()> {
    let needs =
        |wanted: fn(&Holder) -> bool| faults.iter().flat_map(|fault| &fault.holders).any(wanted);
    if needs(|holder| matches!(holder, Holder::EndToEnd(_))) {
        python::install_all()?;
        javascript::install()?;
        workspace::built_binary()?;
    }
    let mut seen: BTreeMap<Holder, bool> = BTreeMap::new();
    let mut lines = Vec::new();
    let mut failed = Vec::new();
    for fault in faults {
        let name = fault.name();
        println!("\n==> {name}: {}", fault.scenario);
        let begin = Instant::now();
        let mut broken = Vec::new();
        let mut count = 0;
        for holder in &fault.holders {
            if is_short && matches!(holder, Holder::Task(_)) {
                continue;
            }
            // A test may hold several faults; once is enough.
            let is_passed = match seen.get(holder) {
                Some(&is_passed) => is_passed,
                None => is_held(holder)?,
            };
            seen.insert(holder.clone(), is_passed);
            count += 1;
            if !is_passed {
                broken.push(holder.to_string());
            }
        }
        let took = begin.elapsed().as_secs_f64();
        if fault.holders.is_empty() {
            lines.push(format!("{name}  --                 nothing holds it yet"));
        } else if broken.is_empty() {
            lines.push(format!("{name}  ok      {took:>7.1} s  {count} held"));
        } else {
            lines.push(format!(
                "{name}  FAILED  {took:>7.1} s  {}",
                broken.join(", ")
            ));
            failed.push(name);
        }
    }
    println!();
    for line in &lines {
        println!("{line}");
    }
    if !failed.is_empty() {
        bail!("not survived: {}", failed.join(", "));
    }
    let held = faults.iter().filter(|fault| !fault.holders.is_empty());
    println!(
        "{} of {} faults held, by {} tests and tasks",
        held.count(),
        faults.len(),
        seen.len()
    );
    Ok(())
}

/// Runs a test or a task to its end. A name that no test has is a failure.
fn is_held(holder: &Holder) -> Result<bool> {
    let mut command = match holder {
        Holder::Test(name) => {
            let mut nextest = workspace::cargo();
            nextest
                .args(["nextest", "run", "--workspace", "--no-tests", "fail", "-E"])
                .arg(format!("test(/(^|::){name}$/)"));
            nextest
        }
        // The underscore of another test's longer name must not count.
        Holder::EndToEnd(name) => e2e::suite(&["-k", name])?,
        Holder::Task(words) => {
            let mut task = workspace::command(std::env::current_exe()?);
            task.args(words);
            task
        }
    };
    let status = command
        .status()
        .with_context(|| format!("running {holder}"))?;
    Ok(status.success())
}

/// Every fault in scope has its row, and every row's tests exist; as lines for tidy.
pub(crate) fn scope(faults: &[Fault]) -> Vec<String> {
    let has = |number| faults.iter().any(|fault| fault.number == number);
    catalogue::IN_SCOPE
        .into_iter()
        .flatten()
        .filter(|&number| !has(number))
        .map(|number| format!("{PAGE}: no row for {}", catalogue::name(number)))
        .collect()
}
