//! Prints the score of every policy over a folder of traces, or over generated ones where none is
//! named; `cargo xtask score` runs it.
//!
//! Arguments: `--traces DIR`, `--seeds tuning|judging|1,2,3` (may be repeated; default both sets),
//! `--policy NAME` (may be repeated), `--set KEY=VALUE` of that policy, `--detail`, `--no-tight`.
#![expect(
    clippy::print_stdout,
    reason = "a program for people: its report is its output"
)]

use std::path::PathBuf;
use std::time::Instant;

use overspill_sim::simulate::score::report::{
    Detail, ENTRIES, Entry, JUDGING, Scores, TIGHT, TUNING, Tight, run, tight,
};
use overspill_sim::simulate::score::{KNOWN, KnownTrace, PROMISE, generated};
use overspill_sim::simulate::trace::Trace;

#[derive(Default)]
struct Arguments {
    traces: Option<PathBuf>,
    seeds: Vec<(String, Vec<u64>)>,
    policies: Vec<String>,
    set: Vec<(&'static str, &'static str)>,
    has_detail: bool,
    skips_tight: bool,
}

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let began = Instant::now();
    let arguments = arguments()?;
    let traces: Vec<(KnownTrace, Trace)> = match &arguments.traces {
        Some(folder) => KNOWN
            .into_iter()
            .map(|known| {
                let file = folder.join(format!("{}.csv", known.name));
                Trace::read(&file).map(|trace| (known, trace))
            })
            .collect::<Result<_, _>>()?,
        None => generated::traces(1, PROMISE),
    };
    let set: &'static [(&str, &str)] = arguments.set.leak();
    let is_asked = |entry: &Entry| {
        arguments.policies.is_empty() || arguments.policies.iter().any(|p| p == entry.policy)
    };
    let mut entries: Vec<Entry> = ENTRIES.into_iter().filter(is_asked).collect();
    if !set.is_empty() {
        entries.dedup_by_key(|entry| entry.policy);
        entries.iter_mut().for_each(|entry| entry.set = set);
    }
    for (name, seeds) in &arguments.seeds {
        let mut rows = run(&entries, &traces, seeds, PROMISE)?;
        if arguments.traces.is_none() {
            rows.iter_mut().for_each(|row| row.entry.published = None);
        }
        println!("seeds {name}: {seeds:?}, promise 90 s");
        println!("{}", Scores(&rows));
        for row in rows
            .iter()
            .filter(|row| arguments.has_detail || row.entry.policy == "cost_aware")
        {
            println!("{}", Detail(row));
        }
        let narrow = tight(&traces);
        if !arguments.skips_tight && !narrow.is_empty() {
            let own = entries.iter().filter(|entry| entry.policy == "cost_aware");
            for entry in own {
                let rows = run(&[*entry], &narrow, seeds, TIGHT.0)?;
                println!("{}, tight promise of 20 s", entry.title());
                println!("{}", Tight(&rows[0]));
            }
        }
        if let Some(own) = rows.iter().find(|row| row.entry.policy == "cost_aware") {
            let (share, on) = own.lowest();
            println!(
                "S {:.3} of cost_aware with seeds {name}, lowest share on time {:.1} % ({on}), {:.0} s so far",
                own.score(),
                share * 100.0,
                began.elapsed().as_secs_f64(),
            );
        }
    }
    Ok(())
}

fn arguments() -> Result<Arguments, Failure> {
    let mut found = Arguments::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--traces" => found.traces = Some(value()?.into()),
            "--policy" => found.policies.push(value()?),
            "--set" => {
                let text: &'static str = value()?.leak();
                found
                    .set
                    .push(text.split_once('=').ok_or("--set KEY=VALUE")?);
            }
            "--seeds" => found.seeds.push(seeds(&value()?)?),
            "--detail" => found.has_detail = true,
            "--no-tight" => found.skips_tight = true,
            other => return Err(format!("{other} is no argument here").into()),
        }
    }
    if found.seeds.is_empty() {
        found.seeds = vec![seeds("tuning")?, seeds("judging")?];
    }
    Ok(found)
}

fn seeds(text: &str) -> Result<(String, Vec<u64>), Failure> {
    let seeds = match text {
        "tuning" => TUNING.to_vec(),
        "judging" => JUDGING.to_vec(),
        list => list
            .split(',')
            .map(|seed| seed.parse().map_err(|_| format!("{seed} is no seed")))
            .collect::<Result<_, _>>()?,
    };
    Ok((text.to_owned(), seeds))
}
