//! The job list that RunPod's SDK 1.7.11 to 1.10.0 keeps as a file in its working folder.
//!
//! A worker of these versions counts the jobs of that file as its own
//! (`runpod/serverless/modules/worker_state.py`, class `JobsProgress`). So a worker that starts after
//! one that was killed with a job waits for ever for that job to end, and workers that share a folder
//! wait for each other's. Nothing but the file can be changed from outside.

use std::io;
use std::path::Path;

/// Name of the file in the working folder.
const FILE: &str = ".runpod_jobs.pkl";

/// What was done about the file before a worker starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// There is none.
    Nothing,
    /// What dead workers left is gone.
    Removed,
    /// Other workers may be using it: it stays.
    Shared,
}

/// Removes the list from `dir`, where no other worker runs (`is_alone`).
///
/// # Errors
/// The file is there and cannot be removed.
pub fn clear(dir: &Path, is_alone: bool) -> io::Result<Found> {
    let file = dir.join(FILE);
    if !is_alone {
        return Ok(if file.exists() {
            Found::Shared
        } else {
            Found::Nothing
        });
    }
    match std::fs::remove_file(&file) {
        Ok(()) => Ok(Found::Removed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_the_dead_is_removed_and_that_of_the_living_stays() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join(FILE);
        assert_eq!(clear(place.path(), true).unwrap(), Found::Nothing);
        assert_eq!(clear(place.path(), false).unwrap(), Found::Nothing);
        std::fs::write(&file, b"jobs").unwrap();
        assert_eq!(clear(place.path(), false).unwrap(), Found::Shared);
        assert!(file.exists());
        assert_eq!(clear(place.path(), true).unwrap(), Found::Removed);
        assert!(!file.exists());
    }
}
