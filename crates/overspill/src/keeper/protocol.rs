//! What the serving process and the keeper say to each other.
//!
//! One JSON object a line over a stream socket pair, in both directions. [`Order`] goes to the
//! keeper, [`Notice`] comes from it. The two ends may be of neighbouring versions (the serving
//! process is replaced while the keeper lives on), so each side skips kinds and fields that it does
//! not know.
//!
//! This file must not know jobs, endpoints or devices: a worker is a name, a process group and a
//! log file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Longest line either side accepts, in bytes; a worker's whole environment must fit.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// What the serving process asks of the keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Order {
    /// Start a worker process; answered by [`Notice::Spawned`] or [`Notice::SpawnFailed`].
    Spawn(SpawnOrder),
    /// Signal a worker; no answer of its own, [`Notice::Exited`] follows when it works.
    Signal {
        /// The worker to signal.
        worker: String,
        /// What it gets.
        signal: WorkerSignal,
    },
    /// Ask which workers live; answered by [`Notice::Alive`].
    List,
    /// The serving process answers requests: exits kept for it are forgotten, and a crash from now
    /// on counts anew.
    Ready,
    /// The serving process is stopping on purpose: whatever its exit code, it is not started again.
    Stopping,
    /// A kind from a newer version.
    #[serde(other)]
    Unknown,
}

/// How to start one worker process.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpawnOrder {
    /// Name of the worker, one per process incarnation.
    pub worker: String,
    /// Program and arguments, not read by a shell; the program is looked up in `env`'s `PATH`.
    pub command: Vec<String>,
    /// Working directory.
    pub dir: PathBuf,
    /// The whole environment; nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// File that standard output and standard error are appended to; see `log_file.rs` for its
    /// bound.
    pub log: PathBuf,
}

/// Shows which variables there are and not what they hold: one of them is the worker's key.
impl fmt::Debug for SpawnOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpawnOrder")
            .field("worker", &self.worker)
            .field("command", &self.command)
            .field("dir", &self.dir)
            .field("env", &self.env.keys())
            .field("log", &self.log)
            .finish()
    }
}

/// The two signals a worker can get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerSignal {
    /// SIGTERM to the main process alone, as `docker stop` does it: a worker that drains finishes
    /// its job, and the helpers that the job needs (an image server, an encoder) must not be ended
    /// under it.
    Term,
    /// SIGKILL to the whole process group.
    Kill,
}

/// What the keeper tells the serving process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Notice {
    /// The workers whose main process lives. Sent first on every connection, then for each
    /// [`Order::List`]. Whatever is not named here is dead.
    Alive {
        /// In the order of their names.
        workers: Vec<AliveWorker>,
    },
    /// A worker process was started.
    Spawned {
        /// The worker.
        worker: String,
        /// Its main process, which leads a process group of the same number.
        pid: i32,
    },
    /// A worker process could not be started.
    SpawnFailed {
        /// The worker.
        worker: String,
        /// A sentence for people, with the value that was wrong.
        reason: String,
    },
    /// A worker's main process ended, and so did every process of its group.
    Exited {
        /// The worker.
        worker: String,
        /// Its main process.
        pid: i32,
        /// Exit code, if it exited.
        code: Option<i32>,
        /// Signal number, if a signal ended it.
        signal: Option<i32>,
        /// Processes of the group that SIGKILL did not end within ten seconds: they hang in the
        /// kernel, most likely in a driver, and may still hold the device.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        stuck: Vec<i32>,
    },
    /// Finish and exit 0 (SIGTERM or SIGINT came to the keeper).
    Stop,
    /// Read the configuration again (SIGHUP came to the keeper).
    Reload,
    /// Exit with code 75 as soon as what is held is safe; a new process takes over (SIGUSR2 came to
    /// the keeper).
    Restart,
    /// The keeper is gone, its workers have been killed: exit. Made by the client, never on the
    /// wire.
    #[serde(skip)]
    KeeperDied,
    /// A kind from a newer version.
    #[serde(other)]
    Unknown,
}

/// A worker whose main process lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliveWorker {
    /// The worker.
    pub worker: String,
    /// Its main process, which leads a process group of the same number.
    pub pid: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_one_line_with_its_kind() {
        let notice = Notice::Exited {
            worker: "w".into(),
            pid: 7,
            code: None,
            signal: Some(9),
            stuck: Vec::new(),
        };
        let line = serde_json::to_string(&notice).unwrap();
        assert_eq!(
            line,
            r#"{"kind":"exited","worker":"w","pid":7,"code":null,"signal":9}"#
        );
        assert_eq!(serde_json::from_str::<Notice>(&line).unwrap(), notice);
    }

    #[test]
    fn kinds_and_fields_of_a_newer_version_are_skipped() {
        assert_eq!(
            serde_json::from_str::<Order>(r#"{"kind":"freeze","worker":"w"}"#).unwrap(),
            Order::Unknown
        );
        assert_eq!(
            serde_json::from_str::<Notice>(
                r#"{"kind":"spawned","worker":"w","pid":1,"cgroup":"x"}"#
            )
            .unwrap(),
            Notice::Spawned {
                worker: "w".into(),
                pid: 1
            }
        );
    }
}
