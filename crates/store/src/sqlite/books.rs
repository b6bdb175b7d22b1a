//! The row that is rewritten in each transaction, and what the writer remembers of the tables.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};

use overspill_core::id::{AttemptId, EndpointId};
use rusqlite::{Connection, OptionalExtension};

use super::codec::Checked;
use super::table::Table;
use crate::checksum::{Checksum, Digest};
use crate::error::StoreError;
use crate::record::Counts;

/// The row of `tail`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tail {
    /// Of this file; a backup gets its own.
    pub(super) lineage: [u8; 16],
    /// Transactions so far.
    pub(super) commits: u64,
    /// Closed or backed up, with nothing in the log.
    pub(super) is_clean: bool,
    /// The next row of payloads and ledger.
    pub(super) rows_next: i64,
    digests: [Digest; Table::COUNT],
}

impl Tail {
    pub(super) fn new() -> Self {
        Self {
            lineage: random_lineage(),
            commits: 0,
            is_clean: true,
            rows_next: 1,
            digests: [Digest::default(); Table::COUNT],
        }
    }

    /// `None` in a database without its first transaction.
    pub(super) fn load(conn: &Connection) -> Result<Option<Self>, StoreError> {
        let row = conn
            .prepare_cached("SELECT lineage, commits, is_clean, rows_next, digests, sum FROM tail")?
            .query_row([], |row| {
                Ok((
                    row.get::<_, [u8; 16]>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, i64>(2)?,
                    row.get::<_, i64>(3)?,
                    row.get::<_, Vec<u8>>(4)?,
                    row.get::<_, i64>(5)?,
                ))
            })
            .optional()?;
        let Some((lineage, commits, is_clean, rows_next, digests, sum)) = row else {
            return Ok(None);
        };
        let damaged = || StoreError::corrupt("the row of table \"tail\" has changed");
        let (words, rest) = digests.as_chunks::<16>();
        // Older versions know fewer tables.
        if !rest.is_empty() || words.len() > Table::COUNT {
            return Err(damaged());
        }
        let mut tail = Self {
            lineage,
            commits: commits.cast_unsigned(),
            is_clean: is_clean == 1,
            rows_next,
            digests: [Digest::default(); Table::COUNT],
        };
        for (digest, word) in tail.digests.iter_mut().zip(words) {
            let value = u128::from_le_bytes(*word);
            #[expect(clippy::cast_possible_truncation, reason = "the halves of 128 bits")]
            let halves = (value as u64, (value >> 64) as u64);
            (digest.rows, digest.sum) = halves;
        }
        if tail.checksum(&digests) != sum.cast_unsigned() {
            return Err(damaged());
        }
        Ok(Some(tail))
    }

    pub(super) fn save(&self, conn: &Connection) -> Result<(), StoreError> {
        let digests = self.digest_bytes();
        conn.prepare_cached("REPLACE INTO tail VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(rusqlite::params![
                self.lineage,
                self.commits.cast_signed(),
                i64::from(self.is_clean),
                self.rows_next,
                digests,
                self.checksum(&digests).cast_signed(),
            ])?;
        Ok(())
    }

    fn digest_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Table::COUNT * 16);
        for digest in &self.digests {
            bytes.extend_from_slice(&digest.rows.to_le_bytes());
            bytes.extend_from_slice(&digest.sum.to_le_bytes());
        }
        bytes
    }

    fn checksum(&self, digests: &[u8]) -> u64 {
        let mut sum = Checksum::new(u64::MAX);
        sum.blob(&self.lineage);
        sum.int(self.commits.cast_signed());
        sum.int(self.is_clean.into());
        sum.int(self.rows_next);
        sum.blob(digests);
        sum.value()
    }

    pub(super) const fn digest(&mut self, table: Table) -> &mut Digest {
        &mut self.digests[table as usize]
    }

    pub(super) const fn rows(&self, table: Table) -> u64 {
        self.digests[table as usize].rows
    }

    /// Compares what was found in a whole table.
    pub(super) fn expect_digest(&self, table: Table, found: Digest) -> Result<(), StoreError> {
        let stored = self.digests[table as usize];
        if stored == found {
            return Ok(());
        }
        Err(StoreError::corrupt(format!(
            "table {:?} should have {} rows and has {}{}",
            table.name(),
            stored.rows,
            found.rows,
            if stored.rows == found.rows {
                ", of which some are not the last written"
            } else {
                ""
            }
        )))
    }

    /// A new row of payloads or ledger.
    pub(super) const fn next_row(&mut self) -> i64 {
        let row = self.rows_next;
        self.rows_next += 1;
        row
    }
}

/// What the writer knows without asking the database.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) tail: Tail,
    /// Live attempts with the checksums of their rows: as many as there are slots.
    pub(super) attempts: HashMap<AttemptId, u64>,
    /// Which of them have progress.
    pub(super) progress: HashSet<AttemptId>,
    /// The next chunk's number of attempts that stream.
    pub(super) chunks: HashMap<AttemptId, u32>,
    pub(super) counts: BTreeMap<EndpointId, (Counts, u64)>,
}

impl Books {
    pub(super) fn load(conn: &Connection) -> Result<Self, StoreError> {
        let tail = Tail::load(conn)?
            .ok_or_else(|| StoreError::corrupt("the row of table \"tail\" is missing"))?;
        let mut books = Self {
            tail,
            attempts: HashMap::new(),
            progress: HashSet::new(),
            chunks: HashMap::new(),
            counts: BTreeMap::new(),
        };
        each(conn, Table::Attempts, |row| {
            books.attempts.insert(row.attempt_id(0)?, row.sum);
            Ok(())
        })?;
        each(conn, Table::Progress, |row| {
            books.progress.insert(row.attempt_id(0)?);
            Ok(())
        })?;
        each(conn, Table::Counts, |row| {
            let counts = get_counts(row)?;
            books.counts.insert(row.endpoint(0)?, (counts, row.sum));
            Ok(())
        })?;
        Ok(books)
    }
}

pub(super) fn get_counts(row: &Checked<'_, '_>) -> Result<Counts, StoreError> {
    Ok(Counts {
        completed: row.word(1)?,
        failed: row.word(2)?,
        cancelled: row.word(3)?,
        timed_out: row.word(4)?,
        retried: row.word(5)?,
    })
}

/// Reads a whole table with its checksums; returns its digest.
pub(super) fn each(
    conn: &Connection,
    table: Table,
    mut take: impl FnMut(&Checked<'_, '_>) -> Result<(), StoreError>,
) -> Result<Digest, StoreError> {
    let mut statement = conn.prepare(&format!("SELECT * FROM {}", table.name()))?;
    let mut rows = statement.raw_query();
    let mut digest = Digest::default();
    while let Some(row) = rows.next()? {
        let row = Checked::new(row, table)?;
        digest.add(row.sum);
        take(&row)?;
    }
    Ok(digest)
}

pub(super) fn random_lineage() -> [u8; 16] {
    // The standard library's own seeds come from the operating system.
    let half = || RandomState::new().build_hasher().finish().to_le_bytes();
    let mut lineage = [0; 16];
    lineage[..8].copy_from_slice(&half());
    lineage[8..].copy_from_slice(&half());
    lineage
}
