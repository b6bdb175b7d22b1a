//! Finds and kills processes of an earlier keeper that nobody killed with it.
//!
//! Workers die with their keeper, but what *they* started does not, and a serving process that
//! hangs may overlook that its keeper is gone. Every process that the keeper starts carries
//! [`INSTALLATION`] in its environment and hands it on, so leftovers can be told from other
//! programs of the same user. Only processes of the same user are looked at.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, getpgid, getpgrp, getppid};

use super::group;

/// Environment variable that says which installation started a process. Not a secret.
pub const INSTALLATION: &str = "OVERSPILL_INSTALLATION";
/// Environment variable that says which worker a process belongs to.
pub(super) const WORKER: &str = "OVERSPILL_WORKER";

/// How long killed processes may take to disappear.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at processes that are not our children, so that no signal tells their end.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Leftovers that cannot be removed.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// Killed, but not gone.
    #[error(
        "processes {pids:?} of an earlier run of this installation do not end although they were \
         killed; they hang in the kernel, most likely in a GPU driver, and may hold a card: \
         see `ps -o pid,stat,wchan,cmd -p PID`, and restart the machine if they stay"
    )]
    Stuck {
        /// Process ids.
        pids: Vec<i32>,
    },
    /// `/proc` is not there.
    #[error("cannot list processes in /proc, which is needed to find leftovers of an earlier run")]
    List(#[source] io::Error),
}

/// Kills whatever an earlier keeper of `installation` left; returns how many processes it found.
///
/// To be called while holding the data directory's lock: with it, no keeper of this installation
/// is alive. Blocks until the processes are gone, at most five seconds.
///
/// # Errors
/// [`SweepError::Stuck`] if some do not end, [`SweepError::List`] without `/proc`.
pub(super) fn kill_leftovers(installation: &str) -> Result<usize, SweepError> {
    let give_up = Instant::now() + PATIENCE;
    let mut found_first = None;
    loop {
        let found = marked(&[(INSTALLATION, installation)]).map_err(SweepError::List)?;
        let count = *found_first.get_or_insert(found.len());
        if found.is_empty() {
            return Ok(count);
        }
        if Instant::now() > give_up {
            let pids = found.into_iter().map(Pid::as_raw).collect();
            return Err(SweepError::Stuck { pids });
        }
        for pid in found {
            match getpgid(Some(pid)) {
                Ok(leader) if leader != getpgrp() => group::kill_group(leader),
                _ => {}
            }
            let _ = kill(pid, Signal::SIGKILL);
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "these processes are not our children: no signal tells their end"
        )]
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Kills the processes that left the group of `worker` (a daemon of its own), and returns them.
pub(super) fn kill_strays(installation: &str, worker: &str) -> Vec<Pid> {
    let strays = marked(&[(INSTALLATION, installation), (WORKER, worker)]).unwrap_or_default();
    for pid in &strays {
        let _ = kill(*pid, Signal::SIGKILL);
    }
    strays
}

/// Living processes of this user, other than this one, whose environment has all these variables.
fn marked(variables: &[(&str, &str)]) -> io::Result<Vec<Pid>> {
    let wanted: Vec<_> = variables
        .iter()
        .map(|(name, value)| format!("{name}={value}").into_bytes())
        .collect();
    let uid = Uid::current().as_raw();
    // Never itself, nor the shell it was started from, whatever that has in its environment.
    let spared = [Pid::this(), getppid()];
    let mut found = Vec::new();
    for process in fs::read_dir("/proc")? {
        // Processes end while they are looked at: whatever cannot be read is skipped.
        let Ok(process) = process else { continue };
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if spared.contains(&Pid::from_raw(pid))
            || process.metadata().map(|facts| facts.uid()).ok() != Some(uid)
        {
            continue;
        }
        // A zombie's environment reads as empty.
        let environment = fs::read(process.path().join("environ")).unwrap_or_default();
        let has = |entry: &Vec<u8>| environment.split(|byte| *byte == 0).any(|own| own == entry);
        if wanted.iter().all(has) {
            found.push(Pid::from_raw(pid));
        }
    }
    Ok(found)
}
