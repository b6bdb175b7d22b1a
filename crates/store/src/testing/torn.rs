//! A damaged end of the log (F06): cut off or flipped within its last frames.
//!
//! With the note of the last acknowledgement, the store must refuse: something acknowledged is gone.
//! When the last commit was not acknowledged yet, it may be dropped silently, and nothing else.

use super::history::{self, OPTIONS};
use super::power::temporary;
use super::report::{Outcome, Report, Verdict, sweep};
use crate::sqlite::{FILE_NAME, SqliteStore};
use crate::{CommitError, StoreError};

const STEPS: u64 = 6;
/// A page and its header.
const FRAME: u64 = 4_096 + 24;

/// Damages the last three frames of the log in each of `count` runs.
///
/// # Errors
/// When the files themselves cannot be written.
pub fn torn_log(count: u64, seed: u64) -> Result<Report, StoreError> {
    let origin = temporary()?;
    let mut store = SqliteStore::open_with(origin.path(), OPTIONS)?;
    let mut journal_before = Vec::new();
    let read = |suffix: &str| {
        let path = origin.path().join(format!("{FILE_NAME}{suffix}"));
        std::fs::read(&path)
            .map_err(|error| StoreError::io(format!("read {}", path.display()), error))
    };
    for k in 1..=STEPS {
        journal_before = read("-ack")?;
        history::step(k)
            .commit(&mut store)
            .map_err(CommitError::into_cause)?;
    }
    drop(store);
    let (main, log, journal) = (read("")?, read("-wal")?, read("-ack")?);
    sweep("torn log", count, seed, |dice| {
        let at = log.len() as u64 - 1 - dice.below(3 * FRAME);
        let is_acked = dice.flip();
        let mut torn = log.clone();
        let how = if dice.flip() {
            torn.truncate(at as usize);
            "cut off"
        } else {
            torn[at as usize] ^= 1 << dice.below(8);
            "flipped"
        };
        let dir = temporary()?;
        let last = if is_acked { &journal } else { &journal_before };
        for (suffix, bytes) in [("", &main), ("-wal", &torn), ("-ack", last)] {
            let path = dir.path().join(format!("{FILE_NAME}{suffix}"));
            std::fs::write(&path, bytes)
                .map_err(|error| StoreError::io(format!("write {}", path.display()), error))?;
        }
        let verdict = match history::verify(dir.path()) {
            Verdict::Identical { step } if is_acked && step != STEPS => {
                Verdict::Wrong(format!("step {step} came back, of {STEPS}"))
            }
            Verdict::Identical { step } if step < STEPS - 1 => Verdict::Wrong(format!(
                "step {step} came back, and {} was acknowledged",
                STEPS - 1
            )),
            Verdict::Refused(why) if !is_acked => {
                Verdict::Wrong(format!("refused for what was not acknowledged: {why}"))
            }
            verdict => verdict,
        };
        Ok(Outcome {
            verdict,
            which: format!("{how} at {at}"),
        })
    })
}
