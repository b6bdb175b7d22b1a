//! The journal of acknowledgements: a small file beside the database that says which commit was the
//! last to be acknowledged.
//!
//! It is written after each commit, without an fsync of its own, so it survives a crash of the process
//! and may lag after a power cut; it is never ahead of what is on disk. A database that holds fewer
//! commits lost some: its log was cut off, damaged, or left behind when it was copied.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::open::beside;
use crate::checksum;
use crate::error::StoreError;

/// The file's suffix beside the database.
const SUFFIX: &str = "-ack";
const MAGIC: [u8; 8] = *b"OVSPACK1";
const RECORD: usize = 40;
/// Two records in turn, each within a sector of its own: a torn write leaves the other.
const SLOT: usize = 512;

/// What the journal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Acked {
    /// Of which database file.
    pub(super) lineage: [u8; 16],
    /// The last commit acknowledged.
    pub(super) commits: u64,
}

/// The journal, open for writing.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    lineage: [u8; 16],
}

/// Reads the journal beside the database at `path`; `None` when there is none.
pub(super) fn read(path: &Path) -> Result<Option<Acked>, StoreError> {
    let path = beside(path, SUFFIX);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io(format!("read {}", path.display()), error)),
    };
    let slots = [0, SLOT].map(|at| bytes.get(at..at + RECORD).and_then(decode));
    let last = slots.into_iter().flatten().max_by_key(|ack| ack.commits);
    last.map(Some).ok_or_else(|| {
        StoreError::corrupt(format!("neither record of {} is whole", path.display()))
    })
}

impl Journal {
    /// Opens the journal, or makes it anew for this lineage.
    pub(super) fn open(path: &Path, lineage: [u8; 16], commits: u64) -> Result<Self, StoreError> {
        let known = read(path)?;
        let path = beside(path, SUFFIX);
        let io = |source| StoreError::io(format!("write {}", path.display()), source);
        if known.is_none_or(|known| known.lineage != lineage) {
            let part = beside(&path, ".part");
            let mut bytes = vec![0; 2 * SLOT];
            for at in [0, SLOT] {
                bytes[at..at + RECORD].copy_from_slice(&encode(Acked { lineage, commits }));
            }
            let mut file = File::create(&part).map_err(io)?;
            file.write_all(&bytes).map_err(io)?;
            file.sync_all().map_err(io)?;
            std::fs::rename(&part, &path).map_err(io)?;
            sync_dir(&path)?;
        }
        let file = OpenOptions::new().write(true).open(&path).map_err(io)?;
        Ok(Self {
            file,
            path,
            lineage,
        })
    }

    /// Notes that a commit is on disk, before anyone is told so.
    pub(super) fn note(&self, commits: u64) -> Result<(), StoreError> {
        let record = encode(Acked {
            lineage: self.lineage,
            commits,
        });
        self.file
            .write_all_at(&record, (commits % 2) * SLOT as u64)
            .map_err(|source| StoreError::io(format!("write {}", self.path.display()), source))
    }

    /// Brings the notes to the disk.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file
            .sync_data()
            .map_err(|source| StoreError::io(format!("sync {}", self.path.display()), source))
    }
}

/// Brings a new name in the directory of `path` to the disk.
pub(super) fn sync_dir(path: &Path) -> Result<(), StoreError> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| StoreError::io(format!("sync {}", dir.display()), source))
}

fn encode(ack: Acked) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..8].copy_from_slice(&MAGIC);
    record[8..24].copy_from_slice(&ack.lineage);
    record[24..32].copy_from_slice(&ack.commits.to_le_bytes());
    let sum = checksum::of_bytes(&record[..32]);
    record[32..].copy_from_slice(&sum.to_le_bytes());
    record
}

fn decode(record: &[u8]) -> Option<Acked> {
    let (body, sum) = record.split_at_checked(32)?;
    let is_whole = body.starts_with(&MAGIC) && checksum::of_bytes(body).to_le_bytes() == *sum;
    is_whole.then_some(Acked {
        lineage: body[8..24].try_into().ok()?,
        commits: u64::from_le_bytes(body[24..].try_into().ok()?),
    })
}
