//! Whole storms: the engine and the gateway as they are shipped, between scripted clients and workers
//! that speak HTTP over a network which loses, cuts, delays and doubles, with a store whose commits fail
//! and a process that is killed at any moment. By seed, in virtual time.
//!
//! Beside the storms of the simulator, which drive the core alone through much more weather, these drive
//! what stands around it: batches, commits and their recovery, held requests, answers that nobody reads.
//! The rule of who may know whom forbids the simulator to do that, so they are a test of this crate.
//!
//! **Map.** [`run`]: one seed, its storm, its calm. [`server`]: the serving process, its deaths and
//! restarts. [`network`]: requests on their way. [`client`], [`worker`], [`host`]: who asks, who works, and
//! the keeper of the workers' processes. [`wreck`]: the store that fails. [`oracle`]: what must be true.
//! [`faults`]: what goes wrong, and the dice.
//!
//! **What is the same each time.** One thread, tokio's paused clock, dice and ids from the seed, reads in
//! the place where they are asked for: two runs of a seed hear, commit and answer the same in the same
//! order, which each run checks by a hash over all of it. What a seed does not fix: the numbers by which
//! answers name requests; nothing is decided by them.

mod client;
mod faults;
mod host;
mod network;
mod oracle;
mod run;
mod scene;
mod server;
mod worker;
mod wreck;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use self::faults::{Fault, Weather};
use self::run::Outcome;

/// Seeds of the gate.
const GATE: Range<u64> = 0..32;
/// Failing seeds that are made smaller: one bug mostly fails many.
const SHRUNK_MAX: usize = 3;
/// Names the seeds to run, `A..B`, with the words of a weather behind them: how `cargo xtask storms --whole`
/// asks for more than the gate's.
const SEEDS: &str = "OVERSPILL_WHOLE_STORMS";
/// Behind the words of the weather: begin no further seed once one has failed.
const FIRST: &str = "--first";
/// Runs that once failed: a seed a line, what was left of its weather behind it, `#` before words on why.
const KEPT: &str = include_str!("../../../../scenarios/whole.seeds");

/// What is asked for: seeds, weather, and whether the first seed that fails is enough.
fn asked() -> (Range<u64>, Weather, bool) {
    let Ok(text) = std::env::var(SEEDS) else {
        return (GATE, Weather::default(), false);
    };
    let is_first = text.ends_with(FIRST);
    let mut words = text.trim_end_matches(FIRST).split_whitespace();
    let seeds = words.next().and_then(|range| range.split_once(".."));
    let seeds = seeds.and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    let seeds = seeds.unwrap_or_else(|| panic!("{SEEDS}: {text:?} is not like 0..100"));
    let weather = Weather::read(words).unwrap_or_else(|wrong| panic!("{SEEDS}: {wrong}"));
    (seeds, weather, is_first)
}

/// Runs a seed twice; both must be equal to the last byte.
fn twice(seed: u64, weather: &Weather) -> Outcome {
    let first = run::run(seed, weather);
    let mut second = run::run(seed, weather);
    if first.hash != second.hash {
        let mut lines = first.lines.iter().zip(&second.lines).enumerate();
        let differ = lines.find(|(_, (a, b))| a != b);
        second
            .violations
            .push(format!("two runs differ: {differ:?}"));
    }
    second
}

fn judge(outcomes: &[Outcome]) {
    let mut fired = vec![0; Fault::ALL.len()];
    let (mut jobs, mut runs, mut restarts, mut lasted) = (0, 0, 0, 0);
    for outcome in outcomes {
        for (sum, fired) in fired.iter_mut().zip(&outcome.fired) {
            *sum += fired;
        }
        jobs += outcome.jobs;
        runs += outcome.runs;
        restarts += outcome.restarts;
        lasted += outcome.lasted_s;
    }
    for (fault, fired) in Fault::ALL.iter().zip(&fired) {
        println!("{fired:>8} {}", fault.name());
    }
    let failed: Vec<&Outcome> = outcomes
        .iter()
        .filter(|outcome| !outcome.violations.is_empty())
        .collect();
    for outcome in &failed {
        println!("{outcome}");
    }
    for outcome in failed.iter().take(SHRUNK_MAX) {
        let small = shrink(outcome);
        let why = small.violations.first().map_or("", String::as_str);
        println!("smallest: {small}");
        println!("keep: {} {}  # {why}", small.seed, small.weather);
    }
    println!(
        "whole storms: {} seeds, each twice: {jobs} jobs, {runs} runs, {restarts} restarts, {:.1} simulated hours, {} failed",
        outcomes.len(),
        lasted as f64 / 3_600.0,
        failed.len()
    );
    assert!(failed.is_empty(), "{} seeds failed", failed.len());
}

/// Leaves faults out of a run that fails, one by one, for as long as it fails in the same words.
fn shrink(failed: &Outcome) -> Outcome {
    let words = |outcome: &Outcome| {
        let first = outcome.violations.first();
        let plain = |c: char| c.is_alphabetic() || c == ' ';
        first.map(|text| {
            text.chars()
                .filter(|&c| plain(c))
                .take(40)
                .collect::<String>()
        })
    };
    let wanted = words(failed);
    let with = |faults: &[Fault]| twice(failed.seed, &Weather::only(faults));
    let fired = Fault::ALL.iter().zip(&failed.fired);
    let mut faults: Vec<Fault> = fired.filter(|(_, n)| **n > 0).map(|(f, _)| *f).collect();
    let mut smallest = with(&faults);
    if words(&smallest) != wanted {
        return twice(failed.seed, &failed.weather);
    }
    for fault in faults.clone() {
        let fewer: Vec<Fault> = faults.iter().copied().filter(|f| *f != fault).collect();
        let outcome = with(&fewer);
        if words(&outcome) == wanted {
            (faults, smallest) = (fewer, outcome);
        }
    }
    smallest
}

/// Runs seeds on as many threads as there are processors.
fn all(runs: &[(u64, Weather)], is_first: bool) -> Vec<Outcome> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (next, has_failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let outcomes = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.min(runs.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some((seed, weather)) = runs.get(index) else {
                        return;
                    };
                    if is_first && has_failed.load(Ordering::Relaxed) {
                        return;
                    }
                    let outcome = twice(*seed, weather);
                    has_failed.fetch_or(!outcome.violations.is_empty(), Ordering::Relaxed);
                    outcomes.lock().expect("no run panics").push(outcome);
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().expect("no run panics");
    outcomes.sort_by_key(|outcome| outcome.seed);
    outcomes
}

#[test]
fn whole_storms_lose_nothing() {
    let (seeds, weather, is_first) = asked();
    let runs: Vec<_> = seeds.map(|seed| (seed, weather.clone())).collect();
    judge(&all(&runs, is_first));
}

#[test]
fn whole_storms_that_once_failed_pass() {
    let mut runs = Vec::new();
    for line in KEPT.lines() {
        let mut words = line.split('#').next().unwrap_or("").split_whitespace();
        let Some(seed) = words.next() else { continue };
        let seed = seed.parse().unwrap_or_else(|_| panic!("{line}: no seed"));
        let weather = Weather::read(words).unwrap_or_else(|wrong| panic!("{line}: {wrong}"));
        runs.push((seed, weather));
    }
    judge(&all(&runs, false));
}
