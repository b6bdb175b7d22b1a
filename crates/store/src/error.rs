//! What can go wrong with durable state, by what is to be done about it.

use std::path::PathBuf;

/// The cause beneath an error of a driver.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Something could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full. Jobs can be refused; what runs is still recorded from the reserve.
    #[error("the disk that holds the data directory is full; free some space")]
    Full(#[source] Cause),
    /// Someone else holds the database for longer than the time-out.
    #[error("the database is in use by another program; close it (a shell, a copy in progress)")]
    Busy(#[source] Cause),
    /// The operating system failed to read or write.
    #[error("cannot {doing}")]
    Io {
        /// What was tried.
        doing: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The database failed.
    #[error("cannot {doing}")]
    Backend {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: Cause,
    },
    /// What is stored is not what was written.
    #[error(
        "the database is damaged: {what}; run `overspill db check`, then restore a backup \
         (`overspill restore`) or save what is readable (`overspill db salvage`)"
    )]
    Corrupt {
        /// Where, and how it shows.
        what: String,
    },
    /// Commits that were acknowledged are not in the database.
    #[error(
        "{path:?} lacks commits that were acknowledged: it holds {found}, the journal of \
         acknowledgements says {acked}; was it copied without its `-wal` file, or mixed with \
         another copy? Copy all files of the data directory of a stopped server, or use \
         `overspill backup`"
    )]
    Incomplete {
        /// The database file.
        path: PathBuf,
        /// Commits in it.
        found: u64,
        /// Commits acknowledged.
        acked: u64,
    },
    /// The database file stands alone although it was in use when it was copied.
    #[error(
        "{path:?} was copied from a running or crashed server without its `-wal` file, so commits \
         may be missing; copy all files of the data directory, or use `overspill backup`"
    )]
    Detached {
        /// The database file.
        path: PathBuf,
    },
    /// A log lies beside a database that it does not belong to.
    #[error(
        "{wal:?} does not belong to the database beside it: move it away if the database was put \
         there on purpose"
    )]
    ForeignLog {
        /// The log.
        wal: PathBuf,
    },
    /// A newer version of Overspill wrote the file.
    #[error(
        "{path:?} has schema version {found}, and this version of Overspill knows up to {known}; \
         start the newer version again, or restore the backup that it made before its migration"
    )]
    SchemaNewer {
        /// The database file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest known here.
        known: u32,
    },
    /// A migration that ran once has another text now.
    #[error("migration {version} of {path:?} is not the one that this version of Overspill has")]
    MigrationChanged {
        /// The database file.
        path: PathBuf,
        /// Its number.
        version: u32,
    },
    /// The file is no database of ours.
    #[error("{path:?} is not a database of Overspill; choose another `data_dir`")]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// The linked SQLite is older than the fix of its log corruption bug.
    #[error("SQLite {found} is too old: at least 3.51.3 is needed; use the bundled one")]
    SqliteTooOld {
        /// Its version.
        found: String,
    },
    /// The batch contradicts what is stored.
    #[error("{what} is stored already")]
    Conflict {
        /// What.
        what: String,
    },
    /// The batch names a payload that the driver does not hold.
    #[error("the batch holds no payload under handle {handle}")]
    PayloadMissing {
        /// The handle.
        handle: u64,
    },
    /// An earlier commit ended in an IO error; nothing is written any more.
    #[error("the store stopped after an IO error; restart to recover")]
    Stopped,
    /// A failure that a test ordered.
    #[error("a failure was injected")]
    Injected,
}

/// A commit that did not succeed, by what is known of its outcome.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing of the batch is stored; the store works on.
    #[error("the batch was not stored")]
    NotStored(#[source] StoreError),
    /// The batch may be stored or not; restore to know.
    #[error("it is unknown whether the batch was stored")]
    Unknown(#[source] StoreError),
    /// The disk failed: nothing may be acknowledged any more, the process must end (exit 74).
    #[error("storage failed")]
    Fatal(#[source] StoreError),
}

impl CommitError {
    /// What went wrong beneath.
    #[must_use]
    pub fn into_cause(self) -> StoreError {
        match self {
            Self::NotStored(cause) | Self::Unknown(cause) | Self::Fatal(cause) => cause,
        }
    }

    /// Whether the process must end.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        matches!(self, Self::Fatal(_))
    }
}

impl StoreError {
    /// A stable code for logs and answers.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Full(_) => "storage_full",
            Self::Busy(_) => "storage_busy",
            Self::Io { .. } | Self::Backend { .. } | Self::Stopped => "storage_failed",
            Self::Corrupt { .. } => "storage_corrupt",
            Self::Incomplete { .. } | Self::Detached { .. } | Self::ForeignLog { .. } => {
                "storage_incomplete"
            }
            Self::SchemaNewer { .. } | Self::MigrationChanged { .. } => "storage_schema",
            Self::NotOurs { .. } => "storage_foreign",
            Self::SqliteTooOld { .. } => "storage_engine_old",
            Self::Conflict { .. } | Self::PayloadMissing { .. } => "storage_conflict",
            Self::Injected => "storage_injected",
        }
    }

    /// Whether the disk was full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full(_) => true,
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
            _ => false,
        }
    }

    pub(crate) fn io(doing: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io {
            doing: doing.into(),
            source,
        }
    }

    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into() }
    }
}
