//! `overspill db`, `backup` and `restore`: what the store's refusals tell the user to run (F07, F43).

use std::path::Path;

use overspill::keeper::DataDirLock;
use overspill_store::Store as _;
use overspill_store::sqlite::SqliteStore;
use overspill_store::testing::history::{self, OPTIONS};
use overspill_store::testing::report::Verdict;
use serde_json::Value;

use super::support::Machine;

const STEPS: u64 = 12;

/// A machine with a data directory `data` that holds a history.
fn machine() -> Machine {
    let machine = Machine::new();
    let data = machine.path("data");
    std::fs::create_dir(&data).unwrap();
    let mut store = SqliteStore::open_with(&data, OPTIONS).unwrap();
    for k in 1..=STEPS {
        history::step(k).commit(&mut store).unwrap();
    }
    store.close().unwrap();
    machine
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

/// Where a text stands in the file, so that its row is damaged and nothing else.
fn place_of(path: &Path, text: &str) -> usize {
    let bytes = std::fs::read(path).unwrap();
    let mut windows = bytes.windows(text.len());
    windows.position(|part| part == text.as_bytes()).unwrap()
}

#[test]
fn f07_damage_is_listed_what_is_whole_is_saved_and_put_in_place() {
    let machine = machine();
    let data = machine.path("data");
    let file = data.join("overspill.db");
    let whole = machine.run(&["db", "check", "--data-dir", "data"]);
    assert_eq!(whole.code, 0, "{whole}");
    assert!(whole.stderr.contains("all whole"), "{whole}");

    flip(&file, place_of(&file, "chunk of 3"));
    let check = machine.run(&["db", "check", "--data-dir", "data", "--json"]);
    assert_eq!(check.code, 1, "{check}");
    let report: Value = serde_json::from_str(&check.stdout).unwrap();
    assert!(report["damage"][0].is_string(), "{check}");
    assert!(check.stderr.contains("overspill db salvage"), "{check}");

    let salvage = machine.run(&["db", "salvage", "saved.db", "--data-dir", "data"]);
    assert_eq!(salvage.code, 0, "{salvage}");
    assert!(salvage.stderr.contains("left behind"), "{salvage}");
    let again = machine.run(&["db", "salvage", "saved.db", "--data-dir", "data"]);
    assert_eq!(
        again.code, 74,
        "a file that is there is not written over: {again}"
    );
    let saved = machine.run(&["db", "check", "saved.db"]);
    assert_eq!(saved.code, 0, "{saved}");

    let restore = machine.run(&["restore", "saved.db", "--data-dir", "data"]);
    assert_eq!(restore.code, 0, "{restore}");
    let replaced = data.join("overspill.db.replaced-1/overspill.db");
    assert!(replaced.exists(), "{restore}");
    let now = machine.run(&["db", "check", "--data-dir", "data"]);
    assert_eq!(now.code, 0, "{now}");
    // All but what was damaged is there, and a server starts on it.
    let mut store = SqliteStore::open(&data).unwrap();
    assert_eq!(store.restore().unwrap(), history::state(STEPS));
}

#[test]
fn f43_a_backup_of_a_database_in_use_is_the_whole_of_it() {
    let machine = Machine::new();
    let data = machine.path("data");
    std::fs::create_dir(&data).unwrap();
    let mut store = SqliteStore::open_with(&data, OPTIONS).unwrap();
    for k in 1..=STEPS {
        history::step(k).commit(&mut store).unwrap();
    }
    // The server is at work: its log holds what the main file does not.
    let backup = machine.run(&["backup", "copy.db", "--data-dir", "data", "--json"]);
    assert_eq!(backup.code, 0, "{backup}");
    history::step(STEPS + 1).commit(&mut store).unwrap();
    drop(store);
    let restore = machine.run(&["restore", "copy.db", "--data-dir", "fresh"]);
    assert_eq!(restore.code, 0, "{restore}");
    assert_eq!(
        history::verify(&machine.path("fresh")),
        Verdict::Identical { step: STEPS }
    );
    // Over a database that is there, its log and all.
    let restore = machine.run(&["restore", "copy.db", "--data-dir", "data"]);
    assert_eq!(restore.code, 0, "{restore}");
    assert_eq!(history::verify(&data), Verdict::Identical { step: STEPS });
    let replaced = data.join("overspill.db.replaced-1");
    assert_eq!(
        history::verify(&replaced),
        Verdict::Identical { step: STEPS + 1 }
    );
}

#[test]
fn f43_what_is_no_whole_copy_is_refused_and_nothing_changed() {
    let machine = machine();
    let data = machine.path("data");
    let before = std::fs::read(data.join("overspill.db")).unwrap();
    let unchanged = || std::fs::read(data.join("overspill.db")).unwrap() == before;
    // The main file of a server at work, without its log.
    let busy = machine.path("busy");
    std::fs::create_dir(&busy).unwrap();
    let mut store = SqliteStore::open_with(&busy, OPTIONS).unwrap();
    history::step(1).commit(&mut store).unwrap();
    std::fs::copy(busy.join("overspill.db"), machine.path("alone.db")).unwrap();
    drop(store);
    std::fs::copy(data.join("overspill.db"), machine.path("damaged.db")).unwrap();
    let damaged = machine.path("damaged.db");
    flip(&damaged, place_of(&damaged, "chunk of 3"));
    machine.write("foreign.db", "a file of someone else");
    for (file, code, says) in [
        ("alone.db", 1, "without its `-wal` file"),
        ("damaged.db", 1, "is damaged"),
        ("foreign.db", 1, "is not a database of Overspill"),
        ("missing.db", 3, "missing.db"),
    ] {
        let refused = machine.run(&["restore", file, "--data-dir", "data"]);
        assert_eq!(refused.code, code, "{file}: {refused}");
        assert!(refused.stderr.contains(says), "{file}: {refused}");
        assert!(unchanged(), "{file}");
        assert!(!data.join("overspill.db.replaced-1").exists(), "{file}");
    }
    let lock = DataDirLock::take(&data).unwrap();
    let refused = machine.run(&["restore", "damaged.db", "--data-dir", "data"]);
    assert_eq!(refused.code, 69, "{refused}");
    assert!(refused.stderr.contains("is in use by process"), "{refused}");
    drop(lock);
}
