//! `cargo xtask storms`: the shipped core in virtual time against modelled worlds, by seed.
//!
//! Every seed runs twice and must leave the same trace. A failing seed is made smaller and kept, with
//! what it needs to fail, in `scenarios/storms.seeds`, whose runs come first from then on. The runs
//! themselves are the example `storms` of the simulator, built with optimizations.

use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::Range;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use overspill_sim::faults::{self, Fault};
use overspill_sim::storms::{self, Options};
use overspill_sim::weather::{self, Weather};

use crate::workspace;

/// Seeds of the gate.
const GATE: Range<u64> = 0..200;
/// From so many seeds on, and with all the weather there is, each fault must strike so often …
const LONG: u64 = 2_000;
const LONG_FAULTS: u64 = 1_000;
/// … and so many days must pass.
const LONG_DAYS: u64 = 365;
/// The runs that once failed.
const KEPT: &str = "scenarios/storms.seeds";
/// Those of whole storms.
const KEPT_WHOLE: &str = "scenarios/whole.seeds";
/// Names the seeds, and the words of the weather, of whole storms: a test of the binary's library.
pub(crate) const WHOLE_SEEDS: &str = "OVERSPILL_WHOLE_STORMS";
/// That test.
pub(crate) const WHOLE_TEST: &str = "storms::whole_storms_lose_nothing";

#[derive(Args)]
pub(crate) struct StormsArgs {
    /// Seeds from A up to, and without, B. From 2000 on, every fault must strike 1000 times and a year
    /// must pass
    #[arg(long, value_name = "A..B", default_value = "0..200", value_parser = range)]
    seeds: Range<u64>,
    /// Engine and gateway too, between clients and workers that speak HTTP over a network that loses,
    /// cuts, delays and doubles
    #[arg(
        long,
        conflicts_with_all = ["short", "storms", "jobs", "minutes", "require_faults", "require_days"]
    )]
    whole: bool,
    /// One storm a seed: minutes of virtual time, as in the gate. Without it storms and calm weather
    /// take turns for hours to days
    #[arg(long)]
    short: bool,
    /// These faults, in every seed, and no others
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 0..)]
    only_faults: Option<Vec<String>>,
    /// Every seed without these faults; all others strike as they would
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    without: Vec<String>,
    /// So many storms a seed at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    storms: Option<u32>,
    /// So many jobs in a storm at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    jobs: Option<u32>,
    /// A storm ends after so many minutes at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    minutes: Option<u32>,
    /// Fail unless every fault struck at least so often over all seeds
    #[arg(long, value_name = "TIMES")]
    require_faults: Option<u64>,
    /// Fail unless at least so many days were simulated
    #[arg(long, value_name = "DAYS")]
    require_days: Option<u64>,
    /// Lines of its trace that a failing seed prints
    #[arg(long, value_name = "LINES", default_value_t = 30)]
    trace: usize,
    /// Leave a failing seed as it is: do not make it smaller, do not keep it
    #[arg(long)]
    no_shrink: bool,
    /// Print the faults that the simulator models, with their numbers, and run nothing
    #[arg(long)]
    list_faults: bool,
}

impl StormsArgs {
    fn weather(&self) -> Result<Weather> {
        let faults = |names: &[String]| {
            let named = |name: &String| fault(name).map_err(anyhow::Error::msg);
            names
                .iter()
                .filter(|name| !name.is_empty())
                .map(named)
                .collect::<Result<Vec<_>>>()
        };
        Ok(Weather {
            only: self.only_faults.as_deref().map(faults).transpose()?,
            without: faults(&self.without)?,
            is_short: self.short,
            storms_max: self.storms,
            jobs_max: self.jobs,
            minutes_max: self.minutes,
        })
    }

    /// Seeds and weather of whole storms, as their test reads them.
    fn whole(&self) -> String {
        let mut words = vec![format!("{}..{}", self.seeds.start, self.seeds.end)];
        words.extend(
            self.only_faults
                .as_ref()
                .map(|only| format!("--only-faults={}", only.join(","))),
        );
        if !self.without.is_empty() {
            words.push(format!("--without={}", self.without.join(",")));
        }
        words.join(" ")
    }
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("`{text}` is not a range of seeds such as 0..200");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let from = from.parse().map_err(|_| wrong())?;
    let to = to.parse().map_err(|_| wrong())?;
    if from < to {
        Ok(from..to)
    } else {
        Err(wrong())
    }
}

fn fault(name: &str) -> Result<Fault, String> {
    faults::named(name).ok_or_else(|| format!("`{name}` is no fault; --list-faults names them"))
}

pub(crate) fn run(args: &StormsArgs) -> Result<()> {
    if args.list_faults {
        for fault in Fault::ALL {
            println!(
                "{:>4} {:<22} {}",
                fault.number(),
                fault.name(),
                fault.what()
            );
        }
        return Ok(());
    }
    if args.whole {
        let mut test = workspace::cargo();
        test.args(["test", "--package", "overspill", "--lib", "--", WHOLE_TEST])
            .args(["--exact", "--nocapture"])
            .env(WHOLE_SEEDS, args.whole());
        return pass_on(test, KEPT_WHOLE);
    }
    let weather = args.weather()?;
    kept()?;
    let is_long = weather == Weather::default() && args.seeds.end - args.seeds.start >= LONG;
    let least = |asked: Option<u64>, long| asked.unwrap_or(if is_long { long } else { 0 });
    let mut storms = workspace::cargo();
    storms
        .args(["run", "--quiet", "--release", "--package", "overspill-sim"])
        .args(["--example", "storms", "--"])
        .arg(format!("{}..{}", args.seeds.start, args.seeds.end))
        .args(weather.to_string().split_whitespace())
        .arg(format!("--trace={}", args.trace))
        .arg(format!(
            "--require-faults={}",
            least(args.require_faults, LONG_FAULTS)
        ))
        .arg(format!(
            "--require-days={}",
            least(args.require_days, LONG_DAYS)
        ))
        .args((!args.no_shrink).then_some("--shrink"));
    pass_on(storms, KEPT)
}

/// Runs storms, passes on what they print, and keeps the runs that they say are to be kept.
fn pass_on(mut storms: Command, kept: &str) -> Result<()> {
    let mut child = storms
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the storms")?;
    let mut lines = Vec::new();
    for line in BufReader::new(child.stdout.take().context("it is piped")?).lines() {
        let line = line?;
        match line.strip_prefix("keep: ") {
            Some(line) => lines.push(line.to_owned()),
            None => println!("{line}"),
        }
    }
    let is_passed = child.wait()?.success();
    if !lines.is_empty() {
        keep(&lines, kept)?;
        println!("kept in {kept}: commit it with what puts it right, and say there what was wrong");
    }
    ensure!(is_passed, "the storms did not pass");
    Ok(())
}

/// The short form, for the gate: its closing line.
pub(crate) fn short() -> Result<String> {
    kept()?;
    let report = storms::run(GATE, &Options::short());
    let text = report.to_string();
    if !report.failed.is_empty() {
        bail!("{text}");
    }
    Ok(text.lines().last().unwrap_or_default().to_owned())
}

/// The runs that once failed.
fn kept() -> Result<()> {
    let text = std::fs::read_to_string(workspace::root().join(KEPT))?;
    let runs = weather::kept(&text).map_err(|error| anyhow::anyhow!("{KEPT}: {error}"))?;
    for (seed, weather) in runs {
        let options = Options {
            weather,
            ..Options::default()
        };
        let outcome = storms::run_seed(seed, &options);
        if !outcome.violations.is_empty() {
            bail!("a kept seed fails again\n{outcome}");
        }
    }
    Ok(())
}

/// Adds runs to those that are kept, unless they are.
fn keep(lines: &[String], kept: &str) -> Result<()> {
    let path = workspace::root().join(kept);
    let there = std::fs::read_to_string(&path)?;
    let run = |line: &str| line.split('#').next().unwrap_or("").trim().to_owned();
    let mut file = std::fs::OpenOptions::new().append(true).open(&path)?;
    for line in lines {
        if !there.lines().any(|kept| run(kept) == run(line)) {
            writeln!(file, "{line}")?;
        }
    }
    Ok(())
}
