//! Storms on their own, for `cargo xtask storms` and `cargo xtask planted`: seeds, each run twice.
//!
//! Arguments: `A..B`, then any of a weather's words (`--short`, `--only-faults=A,B`, `--without=A`,
//! `--storms=N`, `--jobs=N`, `--minutes=N`), `--first` (stop at the first seed that fails), `--shrink`
//! (make what fails smaller), `--trace=N` (lines of its trace), `--require-faults=N` (each fault struck
//! so often) and `--require-days=N` (of virtual time). Ends with 1 where something is wrong.
#![expect(
    clippy::print_stdout,
    reason = "a program for people: its report is its output"
)]

use std::ops::Range;
use std::process::ExitCode;

use overspill_sim::report::Report;
use overspill_sim::shrink::shrink;
use overspill_sim::storms::{Options, run};

/// Failing seeds that are made smaller: one bug mostly fails many.
const SHRUNK_MAX: usize = 3;

struct Arguments {
    options: Options,
    seeds: Range<u64>,
    shrinks: bool,
    faults: u64,
    days: u64,
}

fn main() -> Result<ExitCode, String> {
    let arguments = read(std::env::args().skip(1))?;
    let report = run(arguments.seeds.clone(), &arguments.options);
    print!("{report}");
    if arguments.shrinks {
        for failed in report.failed.iter().take(SHRUNK_MAX) {
            let options = &arguments.options;
            let shrunk = shrink(failed, &options.weather, options.keep);
            let (seed, next) = (failed.seed, failed.seed + 1);
            print!("\n{}", shrunk.outcome);
            println!("  smallest of {} runs", shrunk.runs);
            let why = shrunk.outcome.violations.first();
            let why = why.map_or("two runs differ", String::as_str);
            println!(
                "  again: cargo xtask storms --seeds {seed}..{next} {}",
                shrunk.weather
            );
            println!("keep: {seed} {}  # {why}", shrunk.weather);
        }
    }
    let is_enough = report.failed.is_empty() && is_enough(&report, &arguments);
    Ok(if is_enough {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn read(words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        options: Options::default(),
        seeds: 0..200,
        shrinks: false,
        faults: 0,
        days: 0,
    };
    for word in words {
        let wrong = || format!("`{word}` is not an argument of storms");
        let (name, value) = word.split_once('=').unwrap_or((&word, ""));
        match name {
            _ if arguments.options.weather.take(&word)? => {}
            "--trace" => arguments.options.keep = value.parse().map_err(|_| wrong())?,
            "--require-faults" => arguments.faults = value.parse().map_err(|_| wrong())?,
            "--require-days" => arguments.days = value.parse().map_err(|_| wrong())?,
            "--first" => arguments.options.stop_at_first = true,
            "--shrink" => arguments.shrinks = true,
            _ => {
                let range = word.split_once("..");
                let range = range.and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
                arguments.seeds = range.ok_or_else(wrong)?;
            }
        }
    }
    Ok(arguments)
}

/// Whether there was as much weather as was asked for; says what is missing.
fn is_enough(report: &Report, arguments: &Arguments) -> bool {
    let least = arguments.faults;
    let rare = report.rarer_than(least);
    if !rare.is_empty() {
        println!("struck less than {least} times: {}", rare.join(", "));
    }
    let days = report.lasted.as_millis() / 86_400_000;
    if days < arguments.days {
        println!("{days} days were simulated, fewer than {}", arguments.days);
    }
    rare.is_empty() && days >= arguments.days
}
