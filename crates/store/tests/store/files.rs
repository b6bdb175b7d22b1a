//! Files that must be refused, and files of older versions.

use std::path::Path;

use overspill_store::sqlite::{FILE_NAME, SCHEMA_VERSION, SqliteStore, backup, check, salvage};
use overspill_store::testing::build::Work;
use overspill_store::testing::history::{self, OPTIONS};
use overspill_store::testing::report::Verdict;
use overspill_store::{Store, StoreError};

use super::migration::first_version;

fn open(dir: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open_with(dir, OPTIONS)
}

/// A store with some steps of the history, not closed.
fn crashed(dir: &Path, steps: u64) -> SqliteStore {
    let mut store = open(dir).unwrap();
    for k in 1..=steps {
        history::step(k).commit(&mut store).unwrap();
    }
    store
}

fn closed(dir: &Path, steps: u64) {
    crashed(dir, steps).close().unwrap();
}

fn identical(dir: &Path, steps: u64) {
    assert_eq!(history::verify(dir), Verdict::Identical { step: steps });
}

fn sql(path: &Path, sql: &str) {
    let conn = rusqlite::Connection::open(path).unwrap();
    conn.execute_batch(sql).unwrap();
}

#[test]
fn only_the_owner_can_read_the_database_its_log_and_a_backup() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = tempfile::tempdir().unwrap();
    let _running = crashed(dir.path(), 3);
    let database = dir.path().join(FILE_NAME);
    let copy = dir.path().join("copy.db");
    backup(&database, &copy).unwrap();
    let log = dir.path().join(format!("{FILE_NAME}-wal"));
    for path in [database, log, copy] {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
}

#[test]
fn a_newer_schema_is_refused_and_untouched() {
    let dir = tempfile::tempdir().unwrap();
    closed(dir.path(), 3);
    let path = dir.path().join(FILE_NAME);
    sql(
        &path,
        "PRAGMA user_version = 9; PRAGMA wal_checkpoint(TRUNCATE);",
    );
    let before = std::fs::read(&path).unwrap();
    let names = || {
        let entries = std::fs::read_dir(dir.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let names_before = names();
    let error = open(dir.path()).unwrap_err();
    assert!(
        matches!(error, StoreError::SchemaNewer { found: 9, known, .. } if known == SCHEMA_VERSION),
        "{error}"
    );
    let text = error.to_string();
    assert!(text.contains("version 9"), "{text}");
    assert!(text.contains(&format!("up to {SCHEMA_VERSION}")), "{text}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(names(), names_before);
}

#[test]
fn a_file_of_someone_else_is_refused_and_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    for bytes in [&b"hello"[..], &[0; 5_000]] {
        std::fs::write(&path, bytes).unwrap();
        let error = open(dir.path()).unwrap_err();
        assert!(matches!(error, StoreError::NotOurs { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
    std::fs::remove_file(&path).unwrap();
    sql(&path, "CREATE TABLE theirs (x)");
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::NotOurs { .. }), "{error}");
}

#[test]
fn the_main_file_alone_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = crashed(dir.path(), 5);
    drop(store);
    let copy = tempfile::tempdir().unwrap();
    let copied = |suffix: &str| {
        let name = format!("{FILE_NAME}{suffix}");
        std::fs::copy(dir.path().join(&name), copy.path().join(&name)).unwrap();
    };
    copied("");
    let error = open(copy.path()).unwrap_err();
    assert!(matches!(error, StoreError::Detached { .. }), "{error}");
    // With the journal it is known how much is missing.
    copied("-ack");
    let error = open(copy.path()).unwrap_err();
    assert!(matches!(error, StoreError::Incomplete { .. }), "{error}");
    // A refusal changes nothing: with its log, it opens.
    copied("-wal");
    identical(copy.path(), 5);
    identical(dir.path(), 5);
}

#[test]
fn a_closed_database_is_one_file() {
    let dir = tempfile::tempdir().unwrap();
    closed(dir.path(), 5);
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(dir.path().join(FILE_NAME), copy.path().join(FILE_NAME)).unwrap();
    identical(copy.path(), 5);
    identical(dir.path(), 5);
}

#[test]
fn a_log_of_another_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(crashed(dir.path(), 5));
    let other = tempfile::tempdir().unwrap();
    closed(other.path(), 3);
    let ours = dir.path().join(FILE_NAME);
    let before = std::fs::read(&ours).unwrap();
    std::fs::copy(other.path().join(FILE_NAME), &ours).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::ForeignLog { .. }), "{error}");
    std::fs::write(&ours, before).unwrap();
    identical(dir.path(), 5);
}

#[test]
fn a_deleted_main_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    closed(dir.path(), 5);
    std::fs::remove_file(dir.path().join(FILE_NAME)).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(
        matches!(error, StoreError::Incomplete { found: 0, .. }),
        "{error}"
    );
}

#[test]
fn a_backup_of_a_busy_store_opens_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = crashed(dir.path(), 5);
    let copy = tempfile::tempdir().unwrap();
    let to = copy.path().join(FILE_NAME);
    backup(&dir.path().join(FILE_NAME), &to).unwrap();
    assert!(
        backup(&dir.path().join(FILE_NAME), &to).is_err(),
        "it exists"
    );
    history::step(6).commit(&mut store).unwrap();
    identical(copy.path(), 5);
    drop(store);
    identical(dir.path(), 6);
    // Put back over the newer one, beside its journal: that is a choice, once the log is gone.
    drop(open(dir.path()).unwrap());
    let again = tempfile::tempdir().unwrap();
    let to = again.path().join(FILE_NAME);
    backup(&copy.path().join(FILE_NAME), &to).unwrap();
    std::fs::copy(&to, dir.path().join(FILE_NAME)).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::ForeignLog { .. }), "{error}");
    for suffix in ["-wal", "-shm"] {
        std::fs::remove_file(dir.path().join(format!("{FILE_NAME}{suffix}"))).unwrap();
    }
    identical(dir.path(), 5);
}

#[test]
fn damage_is_listed_and_the_rest_is_saved() {
    let dir = tempfile::tempdir().unwrap();
    closed(dir.path(), 12);
    let path = dir.path().join(FILE_NAME);
    assert_eq!(check(&path).unwrap().damage, [""; 0]);
    sql(
        &path,
        "UPDATE ended SET error = 'x' WHERE rowid IS NULL OR ended_at = 3004;
         DELETE FROM story WHERE leased_at = 2006;
         UPDATE payloads SET bytes = x'00' WHERE row = 1;
         PRAGMA wal_checkpoint(TRUNCATE);"
            .replace("rowid IS NULL OR ", "")
            .as_str(),
    );
    let damage = check(&path).unwrap().damage.join("\n");
    for table in ["ended", "story", "payloads"] {
        assert!(damage.contains(&format!("table \"{table}\"")), "{damage}");
    }
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    let saved = tempfile::tempdir().unwrap();
    let to = saved.path().join(FILE_NAME);
    let result = salvage(&path, &to).unwrap();
    assert_eq!(result.damage.len(), 2, "{:?}", result.damage);
    let rows = |name: &str| result.rows.iter().find(|row| row.0 == name).unwrap().1;
    assert_eq!(rows("jobs"), 2);
    assert_eq!(rows("ended"), 9);
    assert_eq!(rows("story"), 9);
    // What names a payload that is gone is known as damage still; the rest is as it was.
    let damage = check(&to).unwrap().damage;
    assert_eq!(damage.len(), 1, "{damage:?}");
    let options = overspill_store::sqlite::Options {
        check_bytes_max: 0,
        ..OPTIONS
    };
    let mut store = SqliteStore::open_with(saved.path(), options).unwrap();
    assert_eq!(store.restore().unwrap(), history::state(12));
    history::step(13).commit(&mut store).unwrap();
}

#[test]
fn a_database_of_version_1_opens() {
    // Written by the first version.
    let dir = tempfile::tempdir().unwrap();
    first_version(dir.path());
    identical(dir.path(), 9);
    drop(open(dir.path()).unwrap());
    let mut store = open(dir.path()).unwrap();
    history::step(10).commit(&mut store).unwrap();
    drop(store);
    identical(dir.path(), 10);
}

#[test]
fn an_empty_batch_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    let length = || std::fs::metadata(dir.path().join(format!("{FILE_NAME}-wal"))).map(|m| m.len());
    let before = length().unwrap();
    Work::new().commit(&mut store).unwrap();
    assert_eq!(length().unwrap(), before);
}

#[test]
fn two_hundred_thousand_jobs_are_restored() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    for slice in 0..50 {
        let mut work = Work::new();
        for n in 0..4_000 {
            work.submit(slice * 4_000 + n + 1);
        }
        work.commit(&mut store).unwrap();
        store.checkpoint(true).unwrap();
    }
    drop(store);
    let begin = std::time::Instant::now();
    let options = overspill_store::sqlite::Options {
        check_bytes_max: 32 << 20,
        ..OPTIONS
    };
    let mut store = SqliteStore::open_with(dir.path(), options).unwrap();
    let opened = begin.elapsed();
    assert_eq!(store.restore().unwrap().jobs.len(), 200_000);
    println!(
        "200,000 jobs: open {opened:?}, with restore {:?}",
        begin.elapsed()
    );
}
