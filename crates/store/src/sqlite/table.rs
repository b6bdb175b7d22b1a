//! The tables, and how rows get in and out with their checksums.
//!
//! A row's checksum covers its columns in the order of the schema; it is the last column. Both
//! directions go through here: [`Put`] binds and sums, [`checked`] reads and compares. Columns that a
//! migration has added say nothing as NULL, 0 or the empty text, and then add nothing to the checksum:
//! so the rows from before keep theirs.

use std::fmt::Write as _;
use std::sync::LazyLock;

use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, Row, ToSql};

use crate::checksum::Checksum;
use crate::error::StoreError;

/// A table whose rows have checksums. The numbers are stored with the digests: never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Table {
    Meta,
    Keys,
    Endpoints,
    Pools,
    Workers,
    Jobs,
    Attempts,
    Ended,
    Story,
    Payloads,
    Chunks,
    Progress,
    Idempotency,
    Ledger,
    Spent,
    Audit,
    Counts,
    Webhooks,
}

struct Shape {
    name: &'static str,
    /// Columns before the checksum.
    columns: usize,
    /// Of them, those that the table had first.
    first: usize,
    insert: String,
    replace: String,
}

/// In the order of [`Table`]: name, columns before the checksum, and how many of them were there first.
const NAMES: [(&str, usize, usize); Table::COUNT] = [
    ("meta", 2, 2),
    ("keys", 10, 10),
    ("endpoints", 2, 2),
    ("pools", 2, 2),
    ("workers", 2, 2),
    ("jobs", 20, 19),
    ("attempts", 13, 12),
    ("ended", 19, 19),
    ("story", 7, 7),
    ("payloads", 3, 3),
    ("chunks", 3, 3),
    ("progress", 2, 2),
    ("idempotency", 5, 5),
    ("ledger", 11, 8),
    ("spent", 10, 7),
    ("audit", 5, 5),
    ("counts", 6, 6),
    ("webhooks", 8, 8),
];

static SHAPES: LazyLock<Vec<Shape>> = LazyLock::new(|| {
    let shape = |&(name, columns, first): &(&'static str, usize, usize)| {
        let mut values = String::from("?1");
        for n in 2..=columns + 1 {
            write!(values, ", ?{n}").expect("a String takes all text");
        }
        Shape {
            name,
            columns,
            first,
            insert: format!("INSERT INTO {name} VALUES ({values})"),
            replace: format!("REPLACE INTO {name} VALUES ({values})"),
        }
    };
    NAMES.iter().map(shape).collect()
});

impl Table {
    pub(super) const COUNT: usize = 18;

    pub(super) const ALL: [Self; Self::COUNT] = [
        Self::Meta,
        Self::Keys,
        Self::Endpoints,
        Self::Pools,
        Self::Workers,
        Self::Jobs,
        Self::Attempts,
        Self::Ended,
        Self::Story,
        Self::Payloads,
        Self::Chunks,
        Self::Progress,
        Self::Idempotency,
        Self::Ledger,
        Self::Spent,
        Self::Audit,
        Self::Counts,
        Self::Webhooks,
    ];

    fn shape(self) -> &'static Shape {
        &SHAPES[self as usize]
    }

    pub(super) fn name(self) -> &'static str {
        self.shape().name
    }

    /// The column with the checksum.
    pub(super) fn sum_column(self) -> usize {
        self.shape().columns
    }
}

/// A row on its way in.
pub(super) struct Put<'c> {
    statement: CachedStatement<'c>,
    bound: usize,
    /// Columns from this one on add nothing while they say nothing.
    first: usize,
    sum: Checksum,
}

impl<'c> Put<'c> {
    /// A row that must be new.
    pub(super) fn insert(conn: &'c Connection, table: Table) -> Result<Self, StoreError> {
        Self::new(conn, table, &table.shape().insert)
    }

    /// A row that may be there already, under the same key.
    pub(super) fn replace(conn: &'c Connection, table: Table) -> Result<Self, StoreError> {
        Self::new(conn, table, &table.shape().replace)
    }

    fn new(conn: &'c Connection, table: Table, sql: &str) -> Result<Self, StoreError> {
        Ok(Self {
            statement: conn.prepare_cached(sql)?,
            bound: 0,
            first: table.shape().first,
            sum: Checksum::new(table as u64),
        })
    }

    fn bind(&mut self, value: impl ToSql) -> Result<(), StoreError> {
        self.bound += 1;
        Ok(self.statement.raw_bind_parameter(self.bound, value)?)
    }

    /// Whether the next column counts for the checksum, with a value or without.
    const fn counts(&self, says_something: bool) -> bool {
        says_something || self.bound < self.first
    }

    pub(super) fn int(&mut self, value: i64) -> Result<(), StoreError> {
        if self.counts(value != 0) {
            self.sum.int(value);
        }
        self.bind(value)
    }

    /// A number of 64 bits without sign, kept as the signed one of the same bits.
    pub(super) fn word(&mut self, value: u64) -> Result<(), StoreError> {
        self.int(value.cast_signed())
    }

    pub(super) fn opt_int(&mut self, value: Option<i64>) -> Result<(), StoreError> {
        match value {
            Some(value) => self.int(value),
            None => self.null(),
        }
    }

    pub(super) fn text(&mut self, value: &str) -> Result<(), StoreError> {
        if self.counts(!value.is_empty()) {
            self.sum.text(value);
        }
        self.bind(value)
    }

    pub(super) fn opt_text(&mut self, value: Option<&str>) -> Result<(), StoreError> {
        match value {
            Some(value) => self.text(value),
            None => self.null(),
        }
    }

    pub(super) fn blob(&mut self, value: &[u8]) -> Result<(), StoreError> {
        self.sum.blob(value);
        self.bind(value)
    }

    pub(super) fn null(&mut self) -> Result<(), StoreError> {
        if self.counts(false) {
            self.sum.null();
        }
        self.bind(rusqlite::types::Null)
    }

    /// Writes the row; its checksum goes into the table's digest.
    pub(super) fn finish(mut self) -> Result<u64, StoreError> {
        let sum = self.sum.value();
        self.bind(sum.cast_signed())?;
        self.statement.raw_execute()?;
        Ok(sum)
    }
}

/// The most columns that a table has before its checksum.
pub(super) const COLUMNS_MAX: usize = 20;

/// The values of a row.
pub(super) type Values<'r> = [ValueRef<'r>; COLUMNS_MAX];

/// The values and the checksum of a whole row of `table` (`SELECT *`), after comparing them.
pub(super) fn checked<'r>(row: &'r Row<'_>, table: Table) -> Result<(Values<'r>, u64), StoreError> {
    let columns = table.sum_column();
    let mut values = [ValueRef::Null; COLUMNS_MAX];
    let mut sum = Checksum::new(table as u64);
    for (column, kept) in values.iter_mut().enumerate().take(columns) {
        let value = row.get_ref(column)?;
        let is_added = column >= table.shape().first;
        match value {
            ValueRef::Null | ValueRef::Integer(0) | ValueRef::Text(b"") if is_added => {}
            ValueRef::Null => sum.null(),
            ValueRef::Integer(value) => sum.int(value),
            ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => sum.text(text),
                Err(_) => return Err(damaged(row, table)),
            },
            ValueRef::Blob(bytes) => sum.blob(bytes),
            ValueRef::Real(_) => return Err(damaged(row, table)),
        }
        *kept = value;
    }
    match row.get_ref(columns)? {
        ValueRef::Integer(stored) if stored.cast_unsigned() == sum.value() => {
            Ok((values, sum.value()))
        }
        _ => Err(damaged(row, table)),
    }
}

/// Says which row is damaged, by the first column, as far as that can be read.
pub(super) fn damaged(row: &Row<'_>, table: Table) -> StoreError {
    let key = match row.get_ref(0) {
        Ok(ValueRef::Integer(number)) => number.to_string(),
        Ok(ValueRef::Text(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        Ok(ValueRef::Blob(bytes)) => bytes.iter().take(25).fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes all text");
            text
        }),
        _ => "unreadable".to_owned(),
    };
    StoreError::corrupt(format!("row {key} of table {:?} has changed", table.name()))
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full(Box::new(error)),
            // The log's index could not be made longer: nothing was written yet.
            _ if error
                .sqlite_error()
                .is_some_and(|e| e.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE) =>
            {
                Self::Full(Box::new(error))
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Self::Busy(Box::new(error))
            }
            Some(ErrorCode::SystemIoFailure) => {
                Self::io("read or write the database", std::io::Error::other(error))
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::corrupt(error.to_string())
            }
            _ => match error {
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::Utf8Error(..)
                | rusqlite::Error::InvalidColumnType(..) => Self::corrupt(error.to_string()),
                error => Self::Backend {
                    doing: "use the database",
                    source: Box::new(error),
                },
            },
        }
    }
}

/// Whether an insert failed because its key is there already.
pub(super) fn is_conflict(error: &StoreError) -> bool {
    let StoreError::Backend { source, .. } = error else {
        return false;
    };
    let error = source.downcast_ref::<rusqlite::Error>();
    error.and_then(rusqlite::Error::sqlite_error_code)
        == Some(rusqlite::ErrorCode::ConstraintViolation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_their_names_and_widths() {
        let conn = Connection::open_in_memory().unwrap();
        for sql in super::super::migrate::MIGRATIONS {
            conn.execute_batch(sql).unwrap();
        }
        for (i, table) in Table::ALL.into_iter().enumerate() {
            assert_eq!(table as usize, i);
            let sql = format!("SELECT * FROM {}", table.name());
            let statement = conn.prepare(&sql).unwrap();
            let names = statement.column_names();
            assert_eq!(names.len(), table.sum_column() + 1, "{}", table.name());
            assert_eq!(names.last(), Some("sum"), "{}", table.name());
        }
    }
}
