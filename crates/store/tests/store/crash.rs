//! F01 for the store: killed at any moment, it has every commit that was acknowledged.
//!
//! The test program starts itself as the writer. It says each step on its standard output once that
//! is committed, until it is killed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use overspill_store::Store;
use overspill_store::sqlite::SqliteStore;
use overspill_store::testing::history::{self, OPTIONS};
use overspill_store::testing::report::{Dice, Verdict};

const DIR: &str = "OVERSPILL_STORE_TEST_DIR";
const FIRST: &str = "OVERSPILL_STORE_TEST_FIRST";
const KILLS: u64 = 12;

/// The writer; without its variables set it is no test at all, and passes.
#[test]
fn writer() {
    let (Ok(dir), Ok(first)) = (std::env::var(DIR), std::env::var(FIRST)) else {
        return;
    };
    let mut store = SqliteStore::open_with(dir.as_ref(), OPTIONS).unwrap();
    let first: u64 = first.parse().unwrap();
    let mut failed = false;
    // A bound, for the case that nobody ends it.
    for k in first..first + 500 {
        match history::step(k).commit(&mut store) {
            Ok(()) => say(&format!("acked {k}")),
            // It must not acknowledge anything afterwards, however often it is asked.
            Err(error) if error.is_fatal() && !failed => {
                say("fatal");
                failed = true;
                continue;
            }
            Err(error) => {
                assert!(failed && error.is_fatal(), "{error}");
                std::process::exit(74);
            }
        }
        store.checkpoint(true).unwrap();
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

#[test]
fn killed_at_any_moment_it_has_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut dice = Dice::new(7);
    let mut last = 0;
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::writer", "--nocapture"])
            .env(DIR, dir.path())
            .env(FIRST, (last + 1).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let enough = last + 1 + dice.below(12);
        let moment = Duration::from_micros(dice.below(3_000));
        let mut acked = last;
        let mut killed = false;
        // The pipe is read to its end: what was said before the kill counts as acknowledged.
        for line in out.lines() {
            let Some(k) = line.unwrap().strip_prefix("acked ").map(str::to_owned) else {
                continue;
            };
            acked = k.parse().unwrap();
            if acked >= enough && !killed {
                let until = Instant::now() + moment;
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        assert!(killed, "the writer ended by itself in round {round}");
        match history::verify(dir.path()) {
            Verdict::Identical { step } => {
                assert!(
                    step >= acked,
                    "step {acked} was acknowledged, {step} is there"
                );
                // At most the one commit that was under way.
                assert!(step <= acked + 1, "step {step} after {acked}");
                last = step;
            }
            other => panic!("round {round}, acknowledged {acked}: {other:?}"),
        }
    }
}

#[test]
fn a_failed_fsync_stops_all_acknowledgements() {
    let works = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .status();
    if !works.is_ok_and(|status| status.success()) {
        println!("skipped: there is no strace here, or it may not trace");
        return;
    }
    for when in [30, 41, 60] {
        let dir = tempfile::tempdir().unwrap();
        let output = Command::new("strace")
            .args(["-f", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e"])
            .arg(format!("inject=fsync,fdatasync:error=EIO:when={when}"))
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "crash::writer", "--nocapture"])
            .env(DIR, dir.path())
            .env(FIRST, "1")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(74), "fdatasync {when}");
        let text = String::from_utf8(output.stdout).unwrap();
        let said: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("acked ") || *line == "fatal")
            .collect();
        let (last, acked) = said.split_last().unwrap();
        assert_eq!(*last, "fatal", "fdatasync {when}");
        match history::verify(dir.path()) {
            Verdict::Identical { step } => assert!(
                (acked.len() as u64..=acked.len() as u64 + 1).contains(&step),
                "step {step} after {acked:?}"
            ),
            other => panic!("fdatasync {when}: {other:?}"),
        }
    }
}
