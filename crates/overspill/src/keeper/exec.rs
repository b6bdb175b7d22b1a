//! The hidden `exec` subcommand: prepares its own process, then becomes the given program.
//!
//! A worker must die with the keeper, must not gain privileges, and must not start with the
//! keeper's blocked signals. A process can only ask the kernel for that itself, between fork and
//! exec. Doing it here, in a program that replaces itself, needs no unsafe code and runs no code in
//! a forked copy of the keeper.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, getppid};

/// The program was found but could not be run, as shells say it.
const CANNOT_RUN: i32 = 126;
/// The program was not found, as shells say it.
const NOT_FOUND: i32 = 127;

/// A command line that runs through the shim of `program` (an Overspill binary).
///
/// `die_with` names the parent whose death kills the process; the parent's *thread* that spawns
/// must live as long as the parent wants the child to.
pub(super) fn command(program: &Path, die_with: Option<Pid>) -> Command {
    let mut command = Command::new(program);
    command.arg("exec");
    if let Some(parent) = die_with {
        command.arg("--die-with").arg(parent.to_string());
    }
    command.arg("--");
    command
}

/// Runs `exec [--die-with PID] -- PROGRAM [ARGUMENTS]`; returns an exit code only if it fails.
pub(super) fn run(mut arguments: impl Iterator<Item = OsString>) -> i32 {
    let mut next = arguments.next();
    if next.as_deref().is_some_and(|word| word == "--die-with") {
        let parent = arguments
            .next()
            .and_then(|word| word.to_str()?.parse().ok())
            .map(Pid::from_raw);
        let Some(parent) = parent else {
            eprintln!("overspill exec: --die-with wants a process id");
            return 2;
        };
        if let Err(error) = prepare_worker(parent) {
            eprintln!("overspill exec: cannot prepare the process: {error}");
            return CANNOT_RUN;
        }
        next = arguments.next();
    }
    let program = if next.as_deref().is_some_and(|word| word == "--") {
        arguments.next()
    } else {
        None
    };
    let Some(program) = program else {
        eprintln!("overspill exec: internal command, used by the keeper to start processes");
        return 2;
    };
    if let Err(error) = SigSet::empty().thread_set_mask() {
        eprintln!("overspill exec: cannot unblock signals: {error}");
        return CANNOT_RUN;
    }
    let error = Command::new(&program).args(arguments).exec();
    eprintln!("overspill: cannot run {program:?}: {error}");
    if error.kind() == std::io::ErrorKind::NotFound {
        NOT_FOUND
    } else {
        CANNOT_RUN
    }
}

fn prepare_worker(parent: Pid) -> nix::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // The parent may have died before the line above took effect; then nobody would ever send the
    // signal.
    if getppid() != parent {
        return Err(nix::errno::Errno::ESRCH);
    }
    prctl::set_no_new_privs()?;
    // When memory runs out a worker goes before the server and its database. Best effort: a
    // container may refuse.
    let _ = std::fs::write("/proc/self/oom_score_adj", "300");
    Ok(())
}
