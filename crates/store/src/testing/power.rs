//! Power cuts (F03): what was not synced is on the disk in part, in any order, or not at all.
//!
//! A history is played once, with the files kept before and after each commit and each copy back of
//! the log. A run picks such a step, takes the files from before it, applies a random subset of the
//! sectors it wrote, and opens the store. The order that syncs enforce within a step is kept: a log
//! that is begun anew has its header on disk before its frames, and is cut off only once the main file
//! is on disk.

use std::path::Path;

use tempfile::TempDir;

use super::history::{self, OPTIONS};
use super::report::{Dice, Outcome, Report, Verdict, sweep};
use crate::StoreError;
use crate::sqlite::{FILE_NAME, SqliteStore};

/// What a disk writes at once.
const SECTOR: usize = 512;
/// The header of the log.
const LOG_HEADER: usize = 32;
/// Steps of the history.
const STEPS: u64 = 24;

/// The files of a store at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Files {
    main: Vec<u8>,
    log: Vec<u8>,
    journal: Vec<u8>,
}

impl Files {
    fn read(dir: &Path) -> Result<Self, StoreError> {
        let read = |suffix: &str| {
            let path = dir.join(format!("{FILE_NAME}{suffix}"));
            match std::fs::read(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(StoreError::io(format!("read {}", path.display()), error))
                }
                result => Ok(result.unwrap_or_default()),
            }
        };
        Ok(Self {
            main: read("")?,
            log: read("-wal")?,
            journal: read("-ack")?,
        })
    }

    fn write(&self, dir: &Path) -> Result<(), StoreError> {
        for (suffix, bytes) in [
            ("", &self.main),
            ("-wal", &self.log),
            ("-ack", &self.journal),
        ] {
            let path = dir.join(format!("{FILE_NAME}{suffix}"));
            std::fs::write(&path, bytes)
                .map_err(|error| StoreError::io(format!("write {}", path.display()), error))?;
        }
        Ok(())
    }
}

/// Something that wrote to the files.
struct Step {
    name: String,
    before: Files,
    after: Files,
    /// Steps of the history that were acknowledged before it.
    acked: u64,
    /// The history's step that it commits, if it is a commit.
    commits: bool,
}

/// Cuts the power `count` times.
///
/// # Errors
/// When the files themselves cannot be written.
pub fn power_cuts(count: u64, seed: u64) -> Result<Report, StoreError> {
    let steps = record()?;
    sweep("power cut", count, seed, |dice| {
        let step = &steps[dice.below(steps.len() as u64) as usize];
        let (files, is_whole) = cut(step, dice);
        let dir = temporary()?;
        files.write(dir.path())?;
        Ok(Outcome {
            verdict: judge(step, is_whole, history::verify(dir.path())),
            which: step.name.clone(),
        })
    })
}

/// A power cut loses nothing that was acknowledged, and never keeps the store from opening.
fn judge(step: &Step, is_whole: bool, verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Identical { step: last } => {
            let at_least = step.acked + u64::from(step.commits && is_whole);
            let at_most = step.acked + u64::from(step.commits);
            if (at_least..=at_most).contains(&last) {
                Verdict::Identical { step: last }
            } else {
                Verdict::Wrong(format!("step {last} came back, of {at_least} to {at_most}"))
            }
        }
        Verdict::Refused(why) => Verdict::Wrong(format!("refused: {why}")),
        wrong @ Verdict::Wrong(_) => wrong,
    }
}

/// Plays the history, with small copies back of the log in between.
fn record() -> Result<Vec<Step>, StoreError> {
    let dir = temporary()?;
    let mut store = SqliteStore::open_with(dir.path(), OPTIONS)?;
    let mut steps = Vec::new();
    let mut before = Files::read(dir.path())?;
    for k in 1..=STEPS {
        history::step(k)
            .commit(&mut store)
            .map_err(crate::CommitError::into_cause)?;
        let after = Files::read(dir.path())?;
        steps.push(Step {
            name: format!("commit {k}"),
            before,
            after: after.clone(),
            acked: k - 1,
            commits: true,
        });
        before = after;
        if k % 5 == 0 {
            // In turn, the log stays to be begun anew, or is cut off.
            let mode = if k % 2 == 0 { "PASSIVE" } else { "TRUNCATE" };
            store.copy_log_back(mode)?;
            let after = Files::read(dir.path())?;
            steps.push(Step {
                name: format!("{mode} copy back after {k}"),
                before,
                after: after.clone(),
                acked: k,
                commits: false,
            });
            before = after;
        }
    }
    Ok(steps)
}

/// The files as they are after the power went during `step`; and whether all of it was on disk.
fn cut(step: &Step, dice: &mut Dice) -> (Files, bool) {
    let Step { before, after, .. } = step;
    let mut files = before.clone();
    let mut is_whole = false;
    if step.commits {
        let is_new_header = before.log.get(..LOG_HEADER) != after.log.get(..LOG_HEADER);
        if is_new_header && dice.below(4) == 0 {
            // Nothing but the header has been written, perhaps.
            if dice.flip() {
                overlay(&mut files.log, &after.log[..LOG_HEADER]);
            }
        } else {
            overlay(&mut files.log, &after.log[..LOG_HEADER]);
            is_whole = tear(&mut files.log, &after.log, dice);
        }
        // The note of the acknowledgement comes after the commit, and may be lost.
        if is_whole && dice.flip() {
            files.journal.clone_from(&after.journal);
        }
    } else if tear(&mut files.main, &after.main, dice) && dice.flip() {
        files.log.clone_from(&after.log);
    }
    (files, is_whole)
}

fn overlay(file: &mut Vec<u8>, bytes: &[u8]) {
    if file.len() < bytes.len() {
        file.resize(bytes.len(), 0);
    }
    file[..bytes.len()].copy_from_slice(bytes);
}

/// Applies some of the sectors in which `new` differs; says whether it applied all.
fn tear(file: &mut Vec<u8>, new: &[u8], dice: &mut Dice) -> bool {
    // All, most, half, few, none of them; a prefix now and then.
    let (chance, prefix) = match dice.below(8) {
        0 => (64, u64::MAX),
        1 => (63, u64::MAX),
        2 => (60, u64::MAX),
        3 => (32, u64::MAX),
        4 => (4, u64::MAX),
        5 => (0, u64::MAX),
        _ => (64, dice.below(new.len() as u64 / SECTOR as u64 + 1)),
    };
    let mut is_whole = true;
    let mut result = file.clone();
    let keeps_length = file.len() > new.len() || dice.below(8) == 0;
    result.resize(result.len().max(new.len()), 0);
    let mut end = file.len();
    for (i, sector) in new.chunks(SECTOR).enumerate() {
        let at = i * SECTOR;
        let old = file.get(at..at + sector.len());
        if old == Some(sector) {
            continue;
        }
        if i as u64 >= prefix || dice.below(64) >= chance {
            is_whole = false;
            continue;
        }
        result[at..at + sector.len()].copy_from_slice(sector);
        end = end.max(at + sector.len());
    }
    // What was not written at the end may be missing, or be there as zeros.
    if keeps_length && !is_whole {
        result.truncate(end);
    }
    *file = result;
    is_whole
}

pub(super) fn temporary() -> Result<TempDir, StoreError> {
    TempDir::new().map_err(|error| StoreError::io("make a temporary directory", error))
}
