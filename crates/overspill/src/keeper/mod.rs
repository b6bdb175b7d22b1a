//! The keeper: the small parent process behind `overspill serve`.
//!
//! It holds the listening socket, starts the serving process and starts it again when it dies,
//! and spawns, signals and reaps worker processes on the serving process's order. It knows
//! nothing else: no jobs, no endpoints, no configuration, no database.
//!
//! Who dies with whom: workers outlive the serving process, whose successor asks which of them
//! are alive; whatever the keeper started ends with the keeper. For that, workers ask the kernel
//! to be killed with it (`exec.rs`), the serving process kills the groups it knows when its
//! control socket closes (`client.rs`), and the next keeper removes what may be left
//! (`sweep.rs`).
//!
//! Two sides live here. The parent: [`KeeperOptions`], `run`, and the hidden subcommands in
//! [`dispatch`]. The serving process: [`KeeperClient`], [`inherited_listener`], and
//! [`ProcessHost`], which also works without a keeper. Linux only.

mod client;
mod direct;
mod exec;
mod group;
mod host;
mod inherited;
mod link;
mod listener;
mod lock;
mod log_file;
mod options;
pub mod protocol;
mod restart;
mod run;
mod spawn;
mod sweep;

use std::ffi::OsString;

pub use client::{KeeperClient, KeeperGone};
pub use direct::DirectHost;
pub use host::ProcessHost;
pub use inherited::{CONTROL_FD, InheritError, LISTEN_FD};
pub use listener::{BindError, bind, inherited_listener};
pub use lock::{DataDirLock, Holder, LockError};
pub use options::KeeperOptions;
pub use restart::{EXIT_CONFIGURATION, EXIT_RESTART, EXIT_STORAGE};
pub use run::{KeeperError, run};
pub(crate) use spawn::find_program;
pub use sweep::{INSTALLATION, SweepError};

/// Handles the hidden subcommands `keep` and `exec`; to be called with the whole command line,
/// first thing in `main`, while the process has one thread. `None`: it is another command.
/// With `exec` it does not return unless the program cannot be run.
#[must_use]
pub fn dispatch(arguments: impl IntoIterator<Item = OsString>) -> Option<i32> {
    let mut arguments = arguments.into_iter().skip(1);
    match arguments.next()?.to_str()? {
        "exec" => Some(exec::run(arguments)),
        "keep" => Some(keep(arguments)),
        _ => None,
    }
}

fn keep(arguments: impl Iterator<Item = OsString>) -> i32 {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            eprintln!("overspill: cannot find the path of this program: {error}");
            return 74;
        }
    };
    let options = match KeeperOptions::parse(program, arguments) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("overspill keep: {error}");
            return 2;
        }
    };
    crate::telemetry::start_without_thread("overspill=info");
    run(options).unwrap_or_else(|error| {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            text = format!("{text}: {inner}");
            cause = inner.source();
        }
        eprintln!("overspill: {text}");
        error.exit_code()
    })
}
