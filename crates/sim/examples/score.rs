//! Prints the score of every policy of the core over a folder of traces; `cargo xtask score` runs it.
//!
//! Arguments: the folder, then the seeds (default 11 12 13).
#![expect(
    clippy::print_stdout,
    reason = "a program for people: its report is its output"
)]

use std::path::PathBuf;

use overspill_sim::simulate::policies::{NAMES, Policy, Shipped};
use overspill_sim::simulate::score::{KNOWN, Line, line, score};
use overspill_sim::simulate::trace::Trace;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("which folder has the traces?")?);
    let mut seeds = arguments
        .map(|seed| seed.parse())
        .collect::<Result<Vec<u64>, _>>()?;
    if seeds.is_empty() {
        seeds = vec![11, 12, 13];
    }
    let traces = KNOWN
        .iter()
        .map(|known| Trace::read(&folder.join(format!("{}.csv", known.name))))
        .collect::<Result<Vec<_>, _>>()?;
    for name in NAMES {
        let mut lines = Vec::new();
        println!("{name}");
        println!(
            "  trace       billed/bound  on time    init s    busy s    idle s  starts  wait p50    p95    p99"
        );
        for (known, trace) in KNOWN.into_iter().zip(&traces) {
            let slots = known.cloud.1;
            let policy = || -> Box<dyn Policy> {
                Box::new(Shipped::named(name, slots).expect("a name of the list"))
            };
            let line = line(known, trace, &seeds, &policy)?;
            print(&line);
            lines.push(line);
        }
        let share = |line: &Line| line.mean(|run| run.on_time_share);
        let lowest = lines.iter().map(share).fold(1.0, f64::min);
        let score = score(&lines);
        println!(
            "  S {score:.3}, lowest share on time {:.1} %\n",
            lowest * 100.0
        );
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a count for display")]
fn print(line: &Line) {
    println!(
        "  {:12} {:11.3} {:7.1}% {:9.0} {:9.0} {:9.0} {:7.0} {:9.1} {:6.1} {:6.1}",
        line.trace.name,
        line.ratio(),
        line.mean(|run| run.on_time_share) * 100.0,
        line.mean(|run| run.init_s),
        line.mean(|run| run.busy_s),
        line.mean(|run| run.idle_s),
        line.mean(|run| run.starts as f64),
        line.mean(|run| run.wait_p50_s),
        line.mean(|run| run.wait_p95_s),
        line.mean(|run| run.wait_p99_s),
    );
}
