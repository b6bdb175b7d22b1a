//! The tasks of this repository, in Rust instead of shell: `cargo xtask --help`.
//!
//! `cargo xtask test` is the one gate, the same here and in CI. Every other task is one of its
//! steps on its own, or the long form of one. Tasks print what they do and pass on the closing
//! lines of the tools they run; the exit status is 0 only if every step passed.
#![expect(
    clippy::print_stdout,
    reason = "a program for people: its report is its output"
)]

mod agree;
mod browser;
mod crash;
mod crowd;
mod dashboard;
mod deathbill;
mod debian;
mod demo;
mod e2e;
mod faults;
mod gate;
mod javascript;
mod ledger;
mod outage;
mod planted;
mod properties;
mod python;
mod schemathesis;
mod score;
mod seeds;
mod soak;
mod step;
mod storms;
mod syscalls;
mod tidy;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The tasks of the Overspill repository")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what the tests need, then run all of them: the gate of CI
    Test(gate::TestArgs),
    /// Check what no compiler checks: the map, forgotten files, leftovers, links
    Tidy,
    /// Run the end-to-end suite: real RunPod clients and workers against the built binary
    E2e(e2e::E2eArgs),
    /// Kill the server at random moments under load, then count lost and doubled jobs
    Crash(crash::CrashArgs),
    /// Make up requests from RunPod's OpenAPI document, against the emulator and the server
    Schemathesis(schemathesis::SchemathesisArgs),
    /// Fail every write and fsync of a small scenario, one by one, and kill the server at each
    Syscalls(syscalls::SyscallsArgs),
    /// Keep the server away while workers finish, then count results lost and jobs run twice
    Outage(outage::OutageArgs),
    /// Ten thousand slow connections beside one client, then as many clients that come back at once
    Crowd(crowd::CrowdArgs),
    /// Follow hundreds of jobs at once with the official clients, for minutes
    Soak(soak::SoakArgs),
    /// Run the catalogue of faults, or sweep the store's files with power cuts, bad disks, torn writes
    Faults(faults::FaultsArgs),
    /// Run the core in virtual time through faults, by seed, each seed twice
    Storms(storms::StormsArgs),
    /// Meet a cap with more work than it pays for, with crashes, by seed: the bill must hold
    Ledger(ledger::LedgerArgs),
    /// Kill everything, and hold what is billed after against the bound that was stated before
    Deathbill(deathbill::DeathbillArgs),
    /// Plant bugs in a copy of the tree; the tests must find each
    Planted(planted::PlantedArgs),
    /// Draw new inputs for the property tests, many times
    Properties(properties::PropertiesArgs),
    /// Build the dashboard, which the next build of the binary embeds
    Dashboard,
    /// Walk through the dashboard in a real browser, before a live demo
    Browser(browser::BrowserArgs),
    /// Build and run `overspill demo`; what follows is passed on to it
    Demo(demo::DemoArgs),
    /// Replay a trace in the simulator and against the running server: both must bill the same
    Agree(agree::AgreeArgs),
    /// Print what every scaling policy costs against the least possible, over recorded traces
    Score(score::ScoreArgs),
}

fn main() -> ExitCode {
    match run(Args::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Test(args) => gate::run(&args),
        Task::Tidy => tidy::run(),
        Task::E2e(args) => e2e::run(&args),
        Task::Crash(args) => crash::run(&args),
        Task::Schemathesis(args) => schemathesis::run(&args),
        Task::Syscalls(args) => syscalls::run(&args),
        Task::Outage(args) => outage::run(&args),
        Task::Crowd(args) => crowd::run(&args),
        Task::Soak(args) => soak::run(&args),
        Task::Faults(args) => faults::run(&args),
        Task::Storms(args) => storms::run(&args),
        Task::Ledger(args) => ledger::run(&args),
        Task::Deathbill(args) => deathbill::run(&args),
        Task::Planted(args) => planted::run(&args),
        Task::Properties(args) => properties::run(&args),
        Task::Dashboard => dashboard::run(),
        Task::Browser(args) => browser::run(&args),
        Task::Demo(args) => demo::run(&args),
        Task::Agree(args) => agree::run(&args),
        Task::Score(args) => score::run(&args),
    }
}
