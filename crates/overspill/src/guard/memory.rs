//! What a guard remembers over its own restarts: how long silence may last, and what there is to lower.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use overspill_core::guard::GuardSpec;
use overspill_core::time::DurationMs;
use serde::{Deserialize, Serialize};

use super::beat::Beat;

/// The file's name.
pub const FILE: &str = "guard.json";

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Whose endpoints; found by their names too.
    pub installation: Option<String>,
    /// Silence after which it acts, in milliseconds.
    pub guard_after_ms: u64,
    /// RunPod endpoints to lower, by id.
    pub endpoints: BTreeSet<String>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            installation: None,
            guard_after_ms: GuardSpec::default().after.as_millis(),
            endpoints: BTreeSet::new(),
        }
    }
}

impl Memory {
    /// Reads it from a folder; nothing there, or nothing readable, is nothing remembered.
    #[must_use]
    pub fn read(folder: &Path) -> Option<Self> {
        let bytes = std::fs::read(folder.join(FILE)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Takes in what a server said. Says whether that was new.
    pub fn learn(&mut self, beat: &Beat) -> bool {
        let learned = Self {
            installation: Some(beat.installation.clone()),
            guard_after_ms: beat.guard_after_ms,
            endpoints: beat.endpoints.iter().cloned().collect(),
        };
        let is_new = *self != learned;
        *self = learned;
        is_new
    }

    /// Silence after which it acts.
    #[must_use]
    pub const fn after(&self) -> DurationMs {
        DurationMs::from_millis(self.guard_after_ms)
    }

    /// Writes it into a folder.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let fresh: PathBuf = folder.join("guard.new");
        let json = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        let mut file = File::create(&fresh)?;
        file.write_all(&json)?;
        file.sync_all()?;
        std::fs::rename(&fresh, folder.join(FILE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_survives_a_restart_and_a_damaged_file_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Memory::read(folder.path()), None);
        let beat = Beat {
            installation: "i".into(),
            guard_after_ms: 10_000,
            endpoints: vec!["b".into(), "a".into()],
            key_may_more: Vec::new(),
        };
        let mut memory = Memory::default();
        assert!(memory.learn(&beat));
        assert!(!memory.learn(&beat), "it is known");
        memory.write(folder.path()).unwrap();
        assert_eq!(Memory::read(folder.path()), Some(memory));
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert_eq!(Memory::read(folder.path()), None);
    }
}
