//! Bits that rot (F07): one flipped bit in one of the files, one run each.

use std::path::Path;

use super::history::{self, OPTIONS};
use super::power::temporary;
use super::report::{Outcome, Report, Verdict, sweep};
use crate::sqlite::{FILE_NAME, SqliteStore};
use crate::{CommitError, StoreError};

/// Steps of the history; the last ones are in the log alone.
const STEPS: u64 = 16;
/// Steps after which the log is copied back.
const COPIED: u64 = 10;

/// Flips one bit in each of `count` runs.
///
/// # Errors
/// When the files themselves cannot be written.
pub fn bit_rot(count: u64, seed: u64) -> Result<Report, StoreError> {
    let origin = temporary()?;
    make(origin.path())?;
    let mut files = Vec::new();
    for suffix in ["", "-wal", "-ack"] {
        let name = format!("{FILE_NAME}{suffix}");
        let path = origin.path().join(&name);
        let bytes = std::fs::read(&path)
            .map_err(|error| StoreError::io(format!("read {}", path.display()), error))?;
        files.push((name, bytes));
    }
    sweep("bit rot", count, seed, |dice| {
        // Mostly the two large files; the pages at their beginning matter more than others.
        let which = [0, 0, 0, 1, 1, 0, 1, 2][dice.below(8) as usize];
        let length = files[which].1.len() as u64 * 8;
        let bit = if dice.below(4) == 0 {
            dice.below(length.min(4_096 * 8 * 2))
        } else {
            dice.below(length)
        };
        let dir = temporary()?;
        for (i, (name, bytes)) in files.iter().enumerate() {
            let mut bytes = bytes.clone();
            if i == which {
                bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
            }
            let path = dir.path().join(name);
            std::fs::write(&path, bytes)
                .map_err(|error| StoreError::io(format!("write {}", path.display()), error))?;
        }
        let verdict = match history::verify(dir.path()) {
            Verdict::Identical { step } if step != STEPS => {
                Verdict::Wrong(format!("step {step} came back, of {STEPS}"))
            }
            verdict => verdict,
        };
        Ok(Outcome {
            verdict,
            which: format!("bit {} of byte {} of {}", bit % 8, bit / 8, files[which].0),
        })
    })
}

fn make(dir: &Path) -> Result<(), StoreError> {
    let mut store = SqliteStore::open_with(dir, OPTIONS)?;
    for k in 1..=STEPS {
        history::step(k)
            .commit(&mut store)
            .map_err(CommitError::into_cause)?;
        if k == COPIED {
            store.copy_log_back("TRUNCATE")?;
        }
    }
    Ok(())
}
