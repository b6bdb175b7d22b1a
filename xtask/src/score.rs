//! `cargo xtask score`: what every scaling policy costs against the least that is possible, over a
//! folder of recorded traces, or over generated ones where there is no such folder.
//!
//! The gate runs the generated traces with one seed; it fails where a run does not add up (billed =
//! init + busy + idle, every job once and in order, never above max, slots kept) and where the
//! default policy is not the cheapest of those that keep the promise.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use overspill_sim::simulate::score::report::{ENTRIES, ON_TIME, Row, Scores, run as rows};
use overspill_sim::simulate::score::{PROMISE, generated};

use crate::step;
use crate::workspace;

/// Where the traces of the score lie beside a checkout.
const BESIDE: &str = "../shared/traces";

#[derive(Args)]
pub(crate) struct ScoreArgs {
    /// Folder with the traces of the score [default: ../shared/traces, or generated ones where that
    /// is missing]
    #[arg(long, value_name = "DIR", conflicts_with = "generated")]
    traces: Option<PathBuf>,
    /// The generated traces
    #[arg(long)]
    generated: bool,
    /// Seeds of the start-up times: tuning (to choose constants with), judging (never to be looked at
    /// while choosing), or numbers with commas between; may be repeated [default: both]
    #[arg(long, value_name = "SEEDS")]
    seeds: Vec<String>,
    /// Only this policy (may be repeated)
    #[arg(long, value_name = "NAME")]
    policy: Vec<String>,
    /// Change a constant of that policy, such as lateness_price=3 (may be repeated)
    #[arg(long, value_name = "KEY=VALUE", requires = "policy")]
    set: Vec<String>,
    /// Every policy trace by trace, not the default one alone
    #[arg(long)]
    detail: bool,
}

/// Builds the simulator with optimization and prints the table; fails where a run does not add up.
pub(crate) fn run(args: &ScoreArgs) -> Result<()> {
    let mut command = workspace::cargo();
    command.args(["run", "--quiet", "--profile", "sim"]).args([
        "--package",
        "overspill-sim",
        "--example",
        "score",
        "--",
    ]);
    let beside = workspace::root().join(BESIDE);
    let folder = match &args.traces {
        Some(folder) => Some(folder.clone()),
        None if args.generated => None,
        None if beside.is_dir() => Some(beside),
        None => {
            println!("there is no folder {BESIDE}: the traces are generated");
            None
        }
    };
    if let Some(folder) = folder {
        let named = || {
            format!(
                "there is no folder {}: name it with --traces",
                folder.display()
            )
        };
        let folder = folder.canonicalize().with_context(named)?;
        command.arg("--traces").arg(folder);
    }
    for (flag, values) in [
        ("--seeds", &args.seeds),
        ("--policy", &args.policy),
        ("--set", &args.set),
    ] {
        for value in values {
            command.arg(flag).arg(value);
        }
    }
    if args.detail {
        command.arg("--detail");
    }
    step::watch(command, &["S "])?;
    Ok(())
}

/// The generated traces with one seed, as a step of the gate.
pub(crate) fn short() -> Result<String> {
    let traces = generated::traces(1, PROMISE);
    let mut table = rows(&ENTRIES, &traces, &[1], PROMISE)?;
    for row in &mut table {
        row.entry.published = None;
    }
    println!("{}", Scores(&table));
    let own = &table[0];
    let keeps = |row: &&Row| row.entry.policy != "clairvoyant" && row.lowest().0 >= ON_TIME;
    let cheapest = table.iter().filter(keeps);
    let cheapest = cheapest.map(Row::score).fold(f64::INFINITY, f64::min);
    ensure!(
        own.entry.policy == "cost_aware" && own.score() <= cheapest,
        "the default policy costs {:.3} times the least, another one on time {cheapest:.3}",
        own.score()
    );
    let (share, on) = own.lowest();
    Ok(format!(
        "S {:.3} of cost_aware, {:.1} % on time on {on}; {} policies add up",
        own.score(),
        share * 100.0,
        table.len()
    ))
}
