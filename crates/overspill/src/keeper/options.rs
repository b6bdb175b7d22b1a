//! What a keeper is told at its start, and the hidden `keep` subcommand that carries it.
//!
//! `overspill serve` reads the configuration and then *becomes* the keeper by replacing itself
//! with `overspill keep …`: the long-lived process starts with an empty memory and holds nothing
//! that it does not need.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::{env, io};

/// What a keeper needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeeperOptions {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The data directory, locked as long as the keeper lives.
    pub data_dir: PathBuf,
    /// Name of this installation: the same at each start on this data directory, and no other
    /// directory's. Processes that carry it and are left from an earlier run are killed.
    pub installation: String,
    /// The Overspill binary: starts every process through its `exec` subcommand.
    pub program: PathBuf,
    /// The serving process: program and arguments.
    pub serving: Vec<OsString>,
}

/// A `keep` command line that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}; `overspill keep` is internal, use `overspill serve`")]
pub(super) struct ArgumentError(String);

impl KeeperOptions {
    /// Options for serving with this very binary: `overspill serving ARGUMENTS`.
    ///
    /// # Errors
    /// When the system does not tell where this binary is.
    pub fn for_this_binary(
        listen: SocketAddr,
        data_dir: PathBuf,
        installation: String,
        arguments: impl IntoIterator<Item = OsString>,
    ) -> io::Result<Self> {
        let program = env::current_exe()?;
        let mut serving = vec![program.clone().into_os_string(), "serving".into()];
        serving.extend(arguments);
        Ok(Self {
            listen,
            data_dir,
            installation,
            program,
            serving,
        })
    }

    /// Replaces this process by the keeper, with these variables beside its own; returns only when that fails.
    #[must_use]
    pub fn become_keeper(&self, variables: &[(&str, &str)]) -> io::Error {
        self.command().envs(variables.iter().copied()).exec()
    }

    /// The command that runs a keeper with these options.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("keep")
            .arg("--listen")
            .arg(self.listen.to_string())
            .arg("--data-dir")
            .arg(&self.data_dir)
            .arg("--installation")
            .arg(&self.installation)
            .arg("--")
            .args(&self.serving);
        command
    }

    /// Reads what [`Self::command`] wrote.
    pub(super) fn parse(
        program: PathBuf,
        mut arguments: impl Iterator<Item = OsString>,
    ) -> Result<Self, ArgumentError> {
        let (mut listen, mut data_dir, mut installation) = (None, None, None);
        while let Some(name) = arguments.next() {
            let name = name.to_string_lossy().into_owned();
            if name == "--" {
                let missing = |name: &str| ArgumentError(format!("{name} is missing"));
                return Ok(Self {
                    listen: listen.ok_or_else(|| missing("--listen"))?,
                    data_dir: data_dir.ok_or_else(|| missing("--data-dir"))?,
                    installation: installation.ok_or_else(|| missing("--installation"))?,
                    program,
                    serving: arguments.collect(),
                });
            }
            let Some(value) = arguments.next() else {
                return Err(ArgumentError(format!("{name} needs a value")));
            };
            let bad = || ArgumentError(format!("{name} cannot be {value:?}"));
            match name.as_str() {
                "--listen" => {
                    listen = Some(
                        value
                            .to_str()
                            .and_then(|v| v.parse().ok())
                            .ok_or_else(bad)?,
                    );
                }
                "--data-dir" => data_dir = Some(PathBuf::from(value)),
                "--installation" => {
                    installation = Some(value.to_str().ok_or_else(bad)?.to_owned());
                }
                _ => return Err(ArgumentError(format!("unknown option {name:?}"))),
            }
        }
        Err(ArgumentError("the serving program is missing".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_survive_their_way_through_a_command_line() {
        let options = KeeperOptions {
            listen: "[::1]:8080".parse().unwrap(),
            data_dir: "/var/lib/over spill".into(),
            installation: "i-1".into(),
            program: "/bin/overspill".into(),
            serving: vec!["/bin/overspill".into(), "serving".into(), "--config".into()],
        };
        let command = options.command();
        let arguments = command.get_args().skip(1).map(ToOwned::to_owned);
        assert_eq!(
            KeeperOptions::parse("/bin/overspill".into(), arguments).unwrap(),
            options
        );
    }

    #[test]
    fn a_wrong_command_line_names_what_is_wrong() {
        let refusal = |line: &str| {
            let words = line.split(' ').map(OsString::from);
            KeeperOptions::parse("o".into(), words)
                .unwrap_err()
                .to_string()
        };
        assert!(refusal("--listen nowhere -- x").contains("--listen cannot be \"nowhere\""));
        assert!(refusal("--listen 127.0.0.1:1 -- x").contains("--data-dir is missing"));
        assert!(refusal("--lisen 127.0.0.1:1").contains("\"--lisen\""));
    }
}
