//! F08: a migration that is killed at any write leaves the old version or the new one, with all it had.
//!
//! The test program starts itself as the one that opens the old database, under strace.

use std::path::Path;
use std::process::Command;

use overspill_store::sqlite::{FILE_NAME, SqliteStore};
use overspill_store::testing::history::{self, OPTIONS};
use overspill_store::testing::report::Verdict;

const DIR: &str = "OVERSPILL_STORE_TEST_MIGRATES";
/// Steps of the history in the database of the first version.
const STEPS: u64 = 9;
/// Every so many calls are the last one; the first, and those around the end, in any case.
const STRIDE: usize = 5;

/// Opens the database; without its variable set it is no test at all, and passes.
#[test]
fn opener() {
    if let Ok(dir) = std::env::var(DIR) {
        SqliteStore::open_with(dir.as_ref(), OPTIONS).unwrap();
    }
}

/// A database of the first version, as its `.dump` was.
pub(crate) fn first_version(dir: &Path) {
    let golden = include_str!("golden/v1.sql");
    let conn = rusqlite::Connection::open(dir.join(FILE_NAME)).unwrap();
    conn.execute_batch(&format!(
        "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL;
         PRAGMA application_id = 1333162864; PRAGMA journal_mode = WAL; {golden}
         PRAGMA user_version = 1; PRAGMA wal_checkpoint(TRUNCATE);"
    ))
    .unwrap();
}

/// Opens it in a process that is killed at this call of this kind; whether it came so far.
fn killed_at(dir: &Path, call: &str, when: usize) -> bool {
    let status = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e"])
        .arg(format!("trace={call}"))
        .arg("-e")
        .arg(format!("inject={call}:signal=KILL:when={when}"))
        .arg("-P")
        .arg(dir.join(FILE_NAME))
        .arg("-P")
        .arg(dir.join(format!("{FILE_NAME}-wal")))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "migration::opener", "--nocapture"])
        .env(DIR, dir)
        .output()
        .unwrap();
    !status.status.success()
}

#[test]
fn f08_a_migration_that_is_killed_leaves_the_old_version_or_the_new() {
    let works = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .status();
    if !works.is_ok_and(|status| status.success()) {
        println!("skipped: there is no strace here, or it may not trace");
        return;
    }
    let mut kills = 0;
    for call in ["pwrite64", "fdatasync", "ftruncate"] {
        let stride = if call == "pwrite64" { STRIDE } else { 1 };
        for when in (1..).step_by(stride) {
            let dir = tempfile::tempdir().unwrap();
            first_version(dir.path());
            if !killed_at(dir.path(), call, when) {
                break;
            }
            kills += 1;
            let verdict = history::verify(dir.path());
            assert_eq!(
                verdict,
                Verdict::Identical { step: STEPS },
                "killed at {call} {when}"
            );
        }
    }
    assert!(kills > 10, "{kills} kills are too few to be true");
    println!("{kills} kills");
}
