//! What the data folder remembers of kept endpoints: `kept-endpoints.json`.
//!
//! Before an endpoint is made, its nonce is written down; after, its id. So a making that was cut off
//! is found again by its name, and never begun twice: the file is locked while somebody applies, and
//! the list of RunPod is read under the lock. The file may be lost: then names alone say what is ours.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

/// The file's name in the data folder.
pub const FILE: &str = "kept-endpoints.json";
/// The lock's.
const LOCK: &str = "kept-endpoints.lock";

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// By purpose.
    #[serde(default)]
    endpoints: BTreeMap<String, Entry>,
}

/// What is remembered of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// In its name; absent where its name alone told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    /// RunPod's id; absent while it is being made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The system.
    #[error("\"{}\" cannot be read or written", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not what was written.
    #[error(
        "\"{}\" is damaged; remove it: what is ours is found by its name",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where.
        #[source]
        source: serde_json::Error,
    },
}

/// The right to change kept endpoints, held by one process at a time.
#[derive(Debug)]
pub struct Ledger {
    folder: PathBuf,
    record: Record,
    _lock: Flock<File>,
}

impl Record {
    /// Reads it; an absent file is an empty record.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn read(folder: &Path) -> Result<Self, RecordError> {
        let path = folder.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| RecordError::Damaged { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(RecordError::Io { path, source }),
        }
    }

    /// RunPod's id of the endpoint for a purpose.
    #[must_use]
    pub fn id_of(&self, purpose: &str) -> Option<&str> {
        self.endpoints.get(purpose)?.id.as_deref()
    }

    /// RunPod's ids of all that are made.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.endpoints
            .values()
            .filter_map(|entry| entry.id.as_deref())
    }

    /// The nonce of a making that is not known to have ended.
    #[must_use]
    pub fn begun(&self, purpose: &str) -> Option<&str> {
        let entry = self.endpoints.get(purpose)?;
        entry.nonce.as_deref().filter(|_| entry.id.is_none())
    }

    /// The endpoint for a purpose was found, or made.
    pub fn found(&mut self, purpose: &str, id: &str) {
        let entry = self.endpoints.entry(purpose.to_owned());
        let entry = entry.or_insert(Entry {
            nonce: None,
            id: None,
        });
        entry.id = Some(id.to_owned());
    }

    fn begin(&mut self, purpose: &str, nonce: &str) {
        let entry = Entry {
            nonce: Some(nonce.to_owned()),
            id: None,
        };
        self.endpoints.insert(purpose.to_owned(), entry);
    }

    fn forget(&mut self, id: &str) {
        self.endpoints
            .retain(|_, entry| entry.id.as_deref() != Some(id));
    }
}

impl Ledger {
    /// Waits for its turn and reads the record; to be called where waiting is no harm.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn open(folder: &Path) -> Result<Self, RecordError> {
        let path = folder.join(LOCK);
        let io = |source| RecordError::Io {
            path: path.clone(),
            source,
        };
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io)?;
        let lock = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| io(io::Error::from(errno)))?;
        Ok(Self {
            folder: folder.to_owned(),
            record: Record::read(folder)?,
            _lock: lock,
        })
    }

    /// What is remembered.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Writes down that an endpoint is about to be made. An earlier making that was cut off gives its
    /// nonce again: its request may still be on the way, and the name tells.
    ///
    /// # Errors
    /// [`RecordError`]; then nothing must be made.
    pub fn begin(&mut self, purpose: &str, nonce: &str) -> Result<String, RecordError> {
        if let Some(begun) = self.record.begun(purpose) {
            return Ok(begun.to_owned());
        }
        self.record.begin(purpose, nonce);
        self.write()?;
        Ok(nonce.to_owned())
    }

    /// Writes down ids that were found, or made.
    ///
    /// # Errors
    /// [`RecordError`]; the names at RunPod still tell.
    pub fn found<'i>(
        &mut self,
        ids: impl IntoIterator<Item = (&'i str, &'i str)>,
    ) -> Result<(), RecordError> {
        let before = self.record.clone();
        for (purpose, id) in ids {
            self.record.found(purpose, id);
        }
        if self.record == before {
            return Ok(());
        }
        self.write()
    }

    /// Forgets an endpoint that is gone.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn forget(&mut self, id: &str) -> Result<(), RecordError> {
        self.record.forget(id);
        self.write()
    }

    fn write(&self) -> Result<(), RecordError> {
        let path = self.folder.join(FILE);
        let fresh = self.folder.join("kept-endpoints.new");
        let json = serde_json::to_vec_pretty(&self.record)
            .expect("a record of plain texts is always JSON");
        let written = File::create(&fresh).and_then(|mut file| {
            file.write_all(&json)?;
            file.sync_all()
        });
        written
            .and_then(|()| std::fs::rename(&fresh, &path))
            .and_then(|()| File::open(&self.folder)?.sync_all())
            .map_err(|source| RecordError::Io { path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_making_that_was_cut_off_goes_on_under_the_same_name() {
        let folder = tempfile::tempdir().unwrap();
        let begin = |nonce: &str| {
            let mut ledger = Ledger::open(folder.path()).unwrap();
            ledger.begin("p", nonce).unwrap()
        };
        assert_eq!(begin("one"), "one");
        assert_eq!(begin("two"), "one");
        let mut ledger = Ledger::open(folder.path()).unwrap();
        ledger.found([("p", "abc")]).unwrap();
        drop(ledger);
        assert_eq!(Record::read(folder.path()).unwrap().id_of("p"), Some("abc"));
        let mut ledger = Ledger::open(folder.path()).unwrap();
        assert_eq!(ledger.record().begun("p"), None, "it has ended");
        ledger.forget("abc").unwrap();
        assert_eq!(Record::read(folder.path()).unwrap(), Record::default());
    }

    #[test]
    fn a_damaged_file_is_named_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        let error = Record::read(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("kept-endpoints.json\" is damaged; remove it"),
            "{error}"
        );
    }
}
