//! The embedded driver: SQLite, one file, one writer, a few readers.
//!
//! Write-ahead log with `synchronous=FULL`: a commit is one fsync of the log, and is on disk when it
//! returns. The log is copied back into the main file from idle moments. An IO error stops the store
//! for good: after a failed fsync the kernel may have dropped the page and report success the next
//! time, so nothing may be acknowledged any more.
//!
//! Every row has a checksum, every table a digest in the row of `tail`, and the schema is compared
//! with what the migrations make: what is read is what was written, or is refused.

mod ack;
mod backup;
mod books;
mod check;
mod codec;
mod expire;
mod migrate;
mod open;
mod read;
mod restore;
mod table;
mod webhooks;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use overspill_core::change::Snapshot;
use overspill_core::endpoint::EndpointRecord;
use overspill_core::id::{EndpointId, WorkerId};
use overspill_core::pool::PoolRecord;
use overspill_core::time::Timestamp;
use overspill_core::worker::WorkerRecord;
use rusqlite::{Connection, OptionalExtension, params};

use self::ack::Journal;
use self::books::{Books, each};
use self::codec::{Checked, get_attempt, get_job, get_key, put_key};
use self::read::SqliteReader;
use self::table::{Put, Table};
use crate::error::{CommitError, StoreError};
use crate::record::{FREE_BYTES_MIN, IdempotentJob, KeyRecord, Space};
use crate::reserve::{self, RESERVE_BYTES, Reserve};
use crate::{Batch, QUARANTINES, Reader, Store};

pub use self::backup::backup;
pub use self::check::{Report, Salvage, check, salvage};
pub use self::migrate::SCHEMA_VERSION;
pub use self::restore::{Restored, restore, version};

/// The database's file name in the data directory.
pub const FILE_NAME: &str = "overspill.db";

/// The log may grow to this size before it is copied back at any price.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// In idle moments it is copied back from this size on.
const LOG_BYTES_IDLE: u64 = 4 << 20;

/// How a store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Size of the reserve for a full disk.
    pub reserve_bytes: u64,
    /// Files up to this size are checked in full when they are opened; of larger ones only what a core
    /// is restored from is, and the rest row by row as it is read.
    pub check_bytes_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            reserve_bytes: RESERVE_BYTES,
            check_bytes_max: 32 << 20,
        }
    }
}

/// The writer.
#[derive(Debug)]
pub struct SqliteStore {
    conn: Connection,
    path: PathBuf,
    /// `None` after a failed transaction: read again before the next.
    books: Option<Books>,
    journal: Journal,
    reserve: Reserve,
    readers: Arc<SqliteReader>,
    is_stopped: bool,
    /// Bytes committed since the log was last copied back, estimated.
    log_bytes: u64,
}

impl SqliteStore {
    /// Opens the database in the data directory `dir`, or makes it; both must not be in use by
    /// another server.
    ///
    /// # Errors
    /// When it is no database of ours, of a newer version, damaged, incomplete, or cannot be read.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(dir, Options::default())
    }

    /// As [`open`](Self::open), with options.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(dir: &Path, options: Options) -> Result<Self, StoreError> {
        let path = dir.join(FILE_NAME);
        let conn = match open::writer(&path) {
            // The log and its index need room to be opened at all.
            Err(error) if error.is_full() && reserve::give_up(dir) => open::writer(&path)?,
            opened => opened?,
        };
        let books = Books::load(&conn)?;
        let length = std::fs::metadata(&path).map_or(0, |file| file.len());
        if length <= options.check_bytes_max {
            let tx = conn.unchecked_transaction()?;
            let report = check::check_all(&tx);
            tx.finish()?;
            if !report.damage.is_empty() {
                return Err(StoreError::corrupt(report.damage.join("; ")));
            }
        }
        let journal = Journal::open(&path, books.tail.lineage, books.tail.commits)?;
        let was_clean = books.tail.is_clean;
        let mut store = Self {
            conn,
            readers: Arc::new(SqliteReader::new(path.clone())),
            path,
            books: Some(books),
            journal,
            reserve: Reserve::new(dir, options.reserve_bytes),
            is_stopped: false,
            log_bytes: 0,
        };
        if was_clean {
            // From now on the main file alone is not all there is; it must say so itself.
            store
                .transact(|_, books| {
                    books.tail.is_clean = false;
                    Ok(())
                })
                .map_err(CommitError::into_cause)?;
            store.copy_log_back("TRUNCATE")?;
        }
        Ok(store)
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` in one transaction, with the tail's row as its last write.
    fn transact<T>(
        &mut self,
        mut work: impl FnMut(&Connection, &mut Books) -> Result<T, StoreError>,
    ) -> Result<T, CommitError> {
        if self.is_stopped {
            return Err(CommitError::Fatal(StoreError::Stopped));
        }
        let result = match self.attempt(&mut work) {
            Err(error @ StoreError::Full(_)) => {
                let failure = self.failed(error);
                if failure.is_fatal() || !self.reserve.release() {
                    return Err(failure);
                }
                self.attempt(&mut work)
            }
            result => result,
        };
        result.map_err(|error| self.failed(error))
    }

    fn attempt<T>(
        &mut self,
        work: &mut impl FnMut(&Connection, &mut Books) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let books = match &mut self.books {
            Some(books) => books,
            none => none.insert(Books::load(&self.conn)?),
        };
        let value = work(&self.conn, books)?;
        books.tail.commits += 1;
        books.tail.save(&self.conn)?;
        let commits = books.tail.commits;
        self.conn.prepare_cached("COMMIT")?.execute([])?;
        self.journal.note(commits)?;
        Ok(value)
    }

    /// Cleans up after a failed transaction, and says what is known of its outcome.
    fn failed(&mut self, error: StoreError) -> CommitError {
        self.books = None;
        let is_rolled_back = self.conn.is_autocommit()
            || self
                .conn
                .prepare_cached("ROLLBACK")
                .and_then(|mut rollback| rollback.execute([]))
                .is_ok();
        if matches!(error, StoreError::Io { .. } | StoreError::Corrupt { .. }) || !is_rolled_back {
            self.is_stopped = true;
            tracing::error!(code = error.code(), %error, "storage failed; no further commits");
            return CommitError::Fatal(error);
        }
        CommitError::NotStored(error)
    }

    pub(crate) fn copy_log_back(&mut self, mode: &str) -> Result<(), StoreError> {
        let result = self
            .conn
            .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
                row.get::<_, i64>(0)
            })
            .map_err(StoreError::from);
        match result {
            Ok(_) => {
                self.log_bytes = 0;
                Ok(())
            }
            // A reader is in the way: the next idle moment will do.
            Err(StoreError::Busy(_)) => Ok(()),
            Err(error @ StoreError::Full(_)) => Err(error),
            Err(error) => {
                self.is_stopped = true;
                Err(error)
            }
        }
    }

    fn free_bytes(&self) -> Result<u64, StoreError> {
        crate::reserve::free_bytes(&self.path)
    }

    /// The pools alone, for who must know them before everything is restored.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn pools(&self) -> Result<Vec<PoolRecord>, StoreError> {
        let mut pools = Vec::new();
        each(&self.conn, Table::Pools, |row| {
            pools.push(row.json(1)?);
            Ok(())
        })?;
        Ok(pools)
    }

    /// The length of the log file; it keeps its length when it is begun anew.
    fn log_length(&self) -> u64 {
        std::fs::metadata(open::beside(&self.path, "-wal")).map_or(0, |file| file.len())
    }
}

impl Store for SqliteStore {
    fn restore(&mut self) -> Result<Snapshot, StoreError> {
        let tx = self.conn.unchecked_transaction()?;
        let books = Books::load(&tx)?;
        let mut snapshot = Snapshot::default();
        let digest = each(&tx, Table::Endpoints, |row| {
            let record: EndpointRecord = row.json(1)?;
            snapshot.endpoints.insert(record.id, record);
            Ok(())
        })?;
        books.tail.expect_digest(Table::Endpoints, digest)?;
        let digest = each(&tx, Table::Pools, |row| {
            let record: PoolRecord = row.json(1)?;
            snapshot.pools.insert(record.id, record);
            Ok(())
        })?;
        books.tail.expect_digest(Table::Pools, digest)?;
        let digest = each(&tx, Table::Workers, |row| {
            let record: WorkerRecord = row.json(1)?;
            if row.blob(0)? != WorkerId::bits(record.id).to_be_bytes() {
                return Err(row.damaged());
            }
            snapshot.workers.insert(record.id, record);
            Ok(())
        })?;
        books.tail.expect_digest(Table::Workers, digest)?;
        let digest = each(&tx, Table::Jobs, |row| {
            let job = get_job(row)?;
            snapshot.jobs.insert(job.id, job);
            Ok(())
        })?;
        books.tail.expect_digest(Table::Jobs, digest)?;
        let digest = each(&tx, Table::Attempts, |row| {
            let attempt = get_attempt(row)?;
            snapshot.attempts.insert(attempt.id, attempt);
            Ok(())
        })?;
        books.tail.expect_digest(Table::Attempts, digest)?;
        (snapshot.spent, snapshot.booked) = read::spent_books(&tx)?;
        let digest = each(&tx, Table::Meta, |row| {
            if row.text(0)? == write::META_BUDGET {
                snapshot.budget =
                    serde_json::from_slice(row.blob(1)?).map_err(|_| row.damaged())?;
            } else if row.text(0)? == QUARANTINES {
                snapshot.quarantines =
                    serde_json::from_slice(row.blob(1)?).map_err(|_| row.damaged())?;
            }
            Ok(())
        })?;
        books.tail.expect_digest(Table::Meta, digest)?;
        tx.finish()?;
        self.books = Some(books);
        Ok(snapshot)
    }

    fn commit(&mut self, batch: &Batch<'_>) -> Result<(), CommitError> {
        if batch.changes.is_empty() && !self.is_stopped {
            return Ok(());
        }
        self.transact(|conn, books| write::write(conn, books, batch))?;
        self.log_bytes += 16_384 + 1_024 * batch.changes.len() as u64;
        Ok(())
    }

    fn idempotent(
        &mut self,
        endpoint: EndpointId,
        key: &str,
    ) -> Result<Option<IdempotentJob>, StoreError> {
        let mut statement = self
            .conn
            .prepare_cached("SELECT * FROM idempotency WHERE endpoint = ?1 AND key = ?2")?;
        let mut rows = statement.query(params![endpoint.0, key])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let row = Checked::new(row, Table::Idempotency)?;
        Ok(Some(IdempotentJob {
            job: row.job_id(2)?,
            body_sha256: row.text(3)?,
        }))
    }

    fn expire(&mut self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.transact(|conn, books| expire::expire(conn, &mut books.tail, now, limit))
            .map_err(CommitError::into_cause)
    }

    fn checkpoint(&mut self, is_idle: bool) -> Result<(), StoreError> {
        if self.is_stopped {
            return Err(StoreError::Stopped);
        }
        if !self.reserve.is_held() && self.free_bytes()? >= 2 * FREE_BYTES_MIN {
            self.reserve.hold();
        }
        if self.log_bytes >= LOG_BYTES_MAX || (is_idle && self.log_bytes >= LOG_BYTES_IDLE) {
            self.copy_log_back("PASSIVE")?;
        }
        if self.log_length() > 2 * LOG_BYTES_MAX {
            // Readers have kept it from being begun anew: wait for them, up to the time-out.
            self.copy_log_back("TRUNCATE")?;
        }
        Ok(())
    }

    fn put_key(&mut self, key: &KeyRecord) -> Result<(), StoreError> {
        self.transact(|conn, books| {
            let old = conn
                .prepare_cached("SELECT sum FROM keys WHERE id = ?1")?
                .query_row([&key.id], |row| row.get::<_, i64>(0))
                .optional()?;
            let digest = books.tail.digest(Table::Keys);
            if let Some(sum) = old {
                digest.remove(sum.cast_unsigned());
            }
            let mut put = Put::replace(conn, Table::Keys)?;
            put_key(&mut put, key)?;
            digest.add(put.finish()?);
            Ok(())
        })
        .map_err(CommitError::into_cause)
    }

    fn revoke_key(&mut self, id: &str, at: Timestamp) -> Result<bool, StoreError> {
        let Some(mut key) = self.keys()?.into_iter().find(|key| key.id == id) else {
            return Ok(false);
        };
        if key.revoked_at.is_none() {
            key.revoked_at = Some(at);
            self.put_key(&key)?;
        }
        Ok(true)
    }

    fn keys(&mut self) -> Result<Vec<KeyRecord>, StoreError> {
        let mut keys = Vec::new();
        let tx = self.conn.unchecked_transaction()?;
        let digest = each(&tx, Table::Keys, |row| {
            keys.push(get_key(row)?);
            Ok(())
        })?;
        Books::load(&tx)?.tail.expect_digest(Table::Keys, digest)?;
        tx.finish()?;
        Ok(keys)
    }

    fn meta(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let mut statement = self
            .conn
            .prepare_cached("SELECT * FROM meta WHERE name = ?1")?;
        let mut rows = statement.query([name])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        Ok(Some(Checked::new(row, Table::Meta)?.blob(1)?.to_vec()))
    }

    fn put_meta(&mut self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        self.transact(|conn, books| write::put_meta(conn, &mut books.tail, name, value))
            .map_err(CommitError::into_cause)
    }

    fn space(&self) -> Result<Space, StoreError> {
        Ok(Space {
            free_bytes: Some(self.free_bytes()?),
            has_reserve: self.reserve.is_held(),
        })
    }

    fn close(&mut self) -> Result<(), StoreError> {
        if self.is_stopped {
            return Err(StoreError::Stopped);
        }
        self.transact(|_, books| {
            books.tail.is_clean = true;
            Ok(())
        })
        .map_err(CommitError::into_cause)?;
        self.copy_log_back("TRUNCATE")?;
        self.journal.sync()?;
        self.is_stopped = true;
        Ok(())
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::clone(&self.readers) as Arc<dyn Reader>
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::build::Work;

    #[test]
    fn a_full_disk_refuses_and_heals() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            reserve_bytes: 1 << 20,
            ..Options::default()
        };
        let mut store = SqliteStore::open_with(dir.path(), options).unwrap();
        let mut first = Work::new();
        first.submit(1);
        first.commit(&mut store).unwrap();
        assert!(store.space().unwrap().has_reserve);
        let pages: i64 = store
            .conn
            .pragma_query_value(None, "page_count", |row| row.get(0))
            .unwrap();
        let bound = |store: &SqliteStore, pages: i64| {
            store
                .conn
                .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
                .unwrap();
        };
        bound(&store, pages);
        let mut large = Work::new();
        for n in 2..200 {
            large.submit(n);
        }
        for _ in 0..2 {
            let error = large.commit(&mut store).unwrap_err();
            assert!(
                matches!(error, CommitError::NotStored(StoreError::Full(_))),
                "{error}"
            );
            // The reserve went first; what it freed was not enough here.
            assert!(!store.space().unwrap().has_reserve);
        }
        assert_eq!(store.restore().unwrap().jobs.len(), 1);
        bound(&store, 1 << 20);
        large.commit(&mut store).unwrap();
        store.checkpoint(true).unwrap();
        assert!(store.space().unwrap().has_reserve);
        assert_eq!(store.restore().unwrap().jobs.len(), 199);
    }

    #[test]
    fn the_log_is_copied_back_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(dir.path()).unwrap();
        let reader = store.reader();
        for n in 0..200 {
            let mut work = Work::new();
            for i in 0..20 {
                work.submit(n * 20 + i).lease(n * 20 + i);
                work.complete(n * 20 + i);
            }
            work.commit(&mut store).unwrap();
            store.checkpoint(true).unwrap();
            reader.counts(crate::testing::build::ENDPOINT).unwrap();
        }
        assert!(store.log_length() < 3 * LOG_BYTES_IDLE);
        assert_eq!(check(store.path()).unwrap().damage, [""; 0]);
        let late = Timestamp::from_millis(i64::MAX / 2);
        while store.expire(late, 300).unwrap() == 300 {}
        assert_eq!(check(store.path()).unwrap().damage, [""; 0]);
    }
}
