//! One Overspill per data directory.
//!
//! The lock is the kernel's (`flock`), so it ends with its holder however that dies; what stands
//! in the file is for people only. Network file systems are refused: their locks and their fsync
//! do not hold what the embedded database needs.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statfs;
use serde::{Deserialize, Serialize};

/// Name of the lock file in the data directory.
const FILE: &str = "lock";

/// The right to use a data directory; given back on drop.
#[derive(Debug)]
pub struct DataDirLock {
    _file: Flock<File>,
}

/// Who holds a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// The host it runs on.
    pub host: String,
    /// When it took the lock, as RFC 3339 in UTC.
    pub since: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "process {} on host {} (since {})",
            self.pid, self.host, self.since
        )
    }
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another Overspill is at work in it.
    #[error(
        "the data directory {path:?} is in use by {}; stop it, or give this one another \
         `data_dir`",
        holder.as_ref().map_or_else(|| "another process".to_owned(), ToString::to_string)
    )]
    Held {
        /// The data directory.
        path: PathBuf,
        /// Who says to hold it, if the file could be read.
        holder: Option<Holder>,
    },
    /// It lies on a network file system.
    #[error(
        "the data directory {path:?} is on a network file system ({kind}), which does not keep \
         what a database needs; set `data_dir` to a directory on a local disk"
    )]
    Network {
        /// The data directory.
        path: PathBuf,
        /// Which one.
        kind: &'static str,
    },
    /// It cannot be made or opened.
    #[error("cannot {action} {path:?}; check that the directory exists and is writable")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl DataDirLock {
    /// Takes the lock of `data_dir`, which is made if it is missing. Does not wait.
    ///
    /// # Errors
    /// [`LockError::Held`] if somebody has it, [`LockError::Network`] on NFS and SMB, and
    /// [`LockError::Io`] for whatever the file system says.
    pub fn take(data_dir: &Path) -> Result<Self, LockError> {
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| LockError::Io {
                action,
                path,
                source,
            }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data_dir)
            .map_err(failed("make the data directory", data_dir))?;
        let facts = statfs::statfs(data_dir)
            .map_err(|errno| failed("look at the data directory", data_dir)(errno.into()))?;
        #[expect(
            clippy::allow_attributes,
            reason = "the width differs between C libraries"
        )]
        #[allow(clippy::unnecessary_cast, clippy::cast_lossless, reason = "see above")]
        let magic = facts.filesystem_type().0 as i64;
        if let Some(kind) = network_file_system(magic) {
            return Err(LockError::Network {
                path: data_dir.to_owned(),
                kind,
            });
        }
        let path = data_dir.join(FILE);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed("open the lock file", &path))?;
        let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((file, Errno::EWOULDBLOCK)) => {
                return Err(LockError::Held {
                    path: data_dir.to_owned(),
                    holder: read_holder(file),
                });
            }
            Err((_, errno)) => return Err(failed("lock", &path)(errno.into())),
        };
        let holder = Holder {
            pid: std::process::id(),
            host: host_name(),
            since: jiff::Timestamp::now().strftime("%FT%TZ").to_string(),
        };
        let text = serde_json::to_string(&holder).expect("a holder is plain text");
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{text}"))
            .map_err(failed("write the lock file", &path))?;
        Ok(Self { _file: file })
    }
}

/// The name of this machine.
pub(super) fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_else(|_| "unknown".to_owned())
}

fn read_holder(mut file: File) -> Option<Holder> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// The name of a network file system by its number in `statfs(2)`. FUSE is not among them: it
/// may be local, and nothing tells.
fn network_file_system(magic: i64) -> Option<&'static str> {
    // Some C libraries sign-extend the 32-bit numbers.
    match magic & 0xFFFF_FFFF {
        0x6969 => Some("NFS"),
        0x517B | 0xFF53_4D42 | 0xFE53_4D42 => Some("SMB"),
        0x5346_414F => Some("AFS"),
        0x7375_7245 => Some("Coda"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_told_who_holds_it_and_gets_it_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data");
        let first = DataDirLock::take(&data_dir).unwrap();
        let error = DataDirLock::take(&data_dir).unwrap_err().to_string();
        assert!(
            error.contains(&format!("process {}", std::process::id())),
            "{error}"
        );
        assert!(error.contains(&host_name()), "{error}");
        assert!(error.contains(data_dir.to_str().unwrap()), "{error}");
        drop(first);
        DataDirLock::take(&data_dir).unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = DataDirLock::take(file.path()).unwrap_err();
        assert!(matches!(error, LockError::Io { .. }), "{error}");
        assert!(
            error.to_string().contains(file.path().to_str().unwrap()),
            "{error}"
        );
    }

    #[test]
    fn network_file_systems_are_known_by_their_numbers() {
        assert_eq!(network_file_system(0x6969), Some("NFS"));
        // CIFS as a sign-extended 32-bit number.
        assert_eq!(network_file_system(-11_317_950), Some("SMB"));
        assert_eq!(network_file_system(0xEF53), None);
        assert_eq!(network_file_system(0x0102_1994), None);
    }
}
