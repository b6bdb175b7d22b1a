//! Starts one worker process as an order asks for it.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{AccessFlags, Pid, access};

use super::log_file::{BYTES_MAX, LogFile};
use super::protocol::SpawnOrder;
use super::{exec, sweep};

/// Where programs are looked for if the worker's environment has no `PATH`.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// A worker process that was started.
#[derive(Debug)]
pub(super) struct Started {
    /// Its main process and the number of its group.
    pub(super) pid: Pid,
    /// Where its output goes.
    pub(super) log: LogFile,
}

/// Why a worker process was not started. The text goes to the user as the reason.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    #[error("the command is empty; give a program and its arguments")]
    EmptyCommand,
    #[error("the working directory {0:?} is not a directory; make it or change `dir`")]
    NoDirectory(PathBuf),
    #[error("there is no program {program:?} that can be run in {path}")]
    NoProgram { program: String, path: String },
    #[error("the log file {path:?} cannot be written: {source}")]
    Log { path: PathBuf, source: io::Error },
    #[error("the process cannot be started: {0}")]
    Start(io::Error),
}

/// Starts the process in a group of its own. With `shim` (an Overspill binary) it dies with the
/// calling thread and cannot gain privileges.
pub(super) fn start(
    order: &SpawnOrder,
    installation: &str,
    shim: Option<&Path>,
) -> Result<Started, SpawnError> {
    let (program, arguments) = order
        .command
        .split_first()
        .ok_or(SpawnError::EmptyCommand)?;
    let path = order.env.get("PATH").map(String::as_str);
    find_program(program, &order.dir, path)?;
    let log_failed = |source| SpawnError::Log {
        path: order.log.clone(),
        source,
    };
    let mut log = LogFile::open(&order.log).map_err(log_failed)?;
    log.trim(BYTES_MAX).map_err(log_failed)?;
    let output = log.writer().map_err(log_failed)?;
    let errors = log.writer().map_err(log_failed)?;
    let mut command = match shim {
        Some(shim) => {
            let mut command = exec::command(shim, Some(Pid::this()));
            command.arg(program);
            command
        }
        None => Command::new(program),
    };
    let child = command
        .args(arguments)
        .env_clear()
        .envs(&order.env)
        .env(sweep::INSTALLATION, installation)
        .env(sweep::WORKER, &order.worker)
        .current_dir(&order.dir)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .map_err(SpawnError::Start)?;
    Ok(Started {
        pid: Pid::from_raw(child.id().cast_signed()),
        log,
    })
}

/// Looks for the program as `execvp` will from `dir`, because a reason before the start is worth more
/// than an exit code after it. `path` is the `PATH` that the process gets.
pub(crate) fn find_program(
    program: &str,
    dir: &Path,
    path: Option<&str>,
) -> Result<(), SpawnError> {
    if !dir.is_dir() {
        return Err(SpawnError::NoDirectory(dir.to_owned()));
    }
    let runs = |path: &Path| path.is_file() && access(path, AccessFlags::X_OK).is_ok();
    if program.contains('/') {
        if runs(&dir.join(program)) {
            return Ok(());
        }
        let path = format!("{dir:?}");
        return Err(SpawnError::NoProgram {
            program: program.to_owned(),
            path,
        });
    }
    let path = path.unwrap_or(PATH_DEFAULT);
    if std::env::split_paths(path).any(|folder| runs(&dir.join(folder).join(program))) {
        return Ok(());
    }
    let path = format!("PATH ({path})");
    Err(SpawnError::NoProgram {
        program: program.to_owned(),
        path,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn refusal(command: &[&str], dir: &Path) -> String {
        let folder = tempfile::tempdir().unwrap();
        let order = SpawnOrder {
            worker: "w".into(),
            command: command.iter().map(ToString::to_string).collect(),
            dir: dir.to_owned(),
            env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
            log: folder.path().join("w.log"),
        };
        start(&order, "test", None).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_started_is_said_before_the_start() {
        let root = Path::new("/");
        assert!(refusal(&[], root).contains("command is empty"));
        let text = refusal(&["sh"], Path::new("/no/such/folder"));
        assert!(text.contains("\"/no/such/folder\""), "{text}");
        let text = refusal(&["no-such-program"], root);
        assert!(
            text.contains("\"no-such-program\"") && text.contains("/usr/bin:/bin"),
            "{text}"
        );
        let text = refusal(&["./no-such-program"], root);
        assert!(text.contains("\"./no-such-program\""), "{text}");
    }
}
