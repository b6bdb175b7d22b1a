//! Prints the bound of every known trace beside the published one, with the published length of a time
//! slot and with the one that `simulate --bound` chooses; fails where they differ by 1 %.
//!
//! Argument: the folder with the traces.
#![expect(
    clippy::print_stdout,
    reason = "a program for people: its report is its output"
)]

use std::path::PathBuf;

use overspill_core::time::DurationMs;
use overspill_sim::simulate::bound::bound;
use overspill_sim::simulate::score::{KNOWN, PROMISE};
use overspill_sim::simulate::trace::Trace;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args()
        .nth(1)
        .ok_or("which folder has the traces?")?;
    let folder = PathBuf::from(folder);
    let mut is_near = true;
    for known in KNOWN {
        let trace = Trace::read(&folder.join(format!("{}.csv", known.name)))?;
        let slot = DurationMs::from_secs(known.bound_slot_s);
        for (name, slot) in [("published", Some(slot)), ("own", None)] {
            let found = bound(&trace, &known.settings(1, PROMISE), slot).unwrap_or(f64::NAN);
            let off = found / known.bound_s - 1.0;
            is_near &= off.abs() <= 0.01;
            println!(
                "{:12} {found:10.0} worker-seconds with {name} slots, published {:8.0}, {:+.2} %",
                known.name,
                known.bound_s,
                off * 100.0
            );
        }
    }
    if is_near {
        Ok(())
    } else {
        Err("a bound is off by more than 1 %".into())
    }
}
