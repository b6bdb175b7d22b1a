//! Room on the disk: how much is free, and a reserve for what must still be written when it is full.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::StoreError;

/// The reserve's file name in the data directory.
pub const FILE_NAME: &str = "overspill.reserve";

/// Size of the reserve: enough for the results of what runs when the disk fills up.
pub const RESERVE_BYTES: u64 = 64 << 20;

/// A file that only takes up room. When the disk is full it is given up, so that results of running
/// jobs can still be committed; once there is room again it is made anew.
#[derive(Debug)]
pub struct Reserve {
    path: PathBuf,
    bytes: u64,
    is_held: bool,
    /// The file system takes no such file.
    is_impossible: bool,
}

impl Reserve {
    /// A reserve of `bytes` in the directory `dir`, held if there is room.
    #[must_use]
    pub fn new(dir: &Path, bytes: u64) -> Self {
        let mut reserve = Self {
            path: dir.join(FILE_NAME),
            bytes,
            is_held: false,
            is_impossible: false,
        };
        reserve.hold();
        reserve
    }

    /// Whether it is whole.
    #[must_use]
    pub const fn is_held(&self) -> bool {
        self.is_held
    }

    /// Takes up the room, unless there is too little of it; says whether it is held now.
    pub fn hold(&mut self) -> bool {
        if self.is_held || self.is_impossible {
            return self.is_held;
        }
        let length = i64::try_from(self.bytes).unwrap_or(i64::MAX);
        let taken = if self.bytes == 0 {
            Ok(())
        } else {
            File::options()
                .create(true)
                .write(true)
                .truncate(false)
                .open(&self.path)
                .and_then(|file| Ok(nix::fcntl::posix_fallocate(&file, 0, length)?))
        };
        match taken {
            Ok(()) => self.is_held = true,
            Err(error) => {
                // A full disk may have room later; whatever else it is will stay so.
                self.is_impossible = error.kind() != std::io::ErrorKind::StorageFull;
                tracing::warn!(%error, path = %self.path.display(), "no room for the reserve");
                self.remove();
            }
        }
        self.is_held
    }

    /// Gives up the room; `false` when there is none to give.
    pub fn release(&mut self) -> bool {
        let was_held = std::mem::take(&mut self.is_held);
        if was_held {
            tracing::error!(
                path = %self.path.display(),
                "the disk is full: the reserve is given up, new jobs are refused until there is room"
            );
            self.remove();
        }
        was_held && self.bytes > 0
    }

    fn remove(&self) {
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.path.display(), "the reserve cannot be removed");
        }
    }
}

/// Gives up the reserve that an earlier process left in `dir`; `false` when there is none.
#[must_use]
pub fn give_up(dir: &Path) -> bool {
    let path = dir.join(FILE_NAME);
    let is_gone = std::fs::remove_file(&path).is_ok();
    if is_gone {
        tracing::error!(path = %path.display(), "the disk is full: the reserve is given up to start at all");
    }
    is_gone
}

/// Bytes that this process may still write to the file system that holds `path`.
///
/// # Errors
/// When the file system cannot be asked.
pub fn free_bytes(path: &Path) -> Result<u64, StoreError> {
    let stat = nix::sys::statvfs::statvfs(path).map_err(|errno| {
        StoreError::io(
            format!("ask for the free space at {}", path.display()),
            errno.into(),
        )
    })?;
    Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_takes_and_gives_room() {
        let dir = tempfile::tempdir().unwrap();
        let mut reserve = Reserve::new(dir.path(), 1 << 20);
        let path = dir.path().join(FILE_NAME);
        assert!(reserve.is_held());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 1 << 20);
        assert!(reserve.release());
        assert!(!path.exists());
        assert!(!reserve.release());
        assert!(reserve.hold() && path.exists());
        assert!(free_bytes(dir.path()).unwrap() > 0);
    }

    #[test]
    fn f05_room_is_judged_with_and_without_a_reserve() {
        use crate::record::{FREE_BYTES_MIN as MIN, Space};
        let admits = |free, has_reserve| {
            let free_bytes = Some(free);
            let space = Space {
                free_bytes,
                has_reserve,
            };
            space.admits()
        };
        assert!(admits(MIN, true) && !admits(MIN - 1, true));
        // Given up: what it freed is for results.
        assert!(!admits(2 * MIN - 1, false) && admits(2 * MIN, false));
    }

    #[test]
    fn too_large_a_reserve_is_not_held() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = Reserve::new(dir.path(), 1 << 60);
        assert!(!reserve.is_held());
        assert!(!dir.path().join(FILE_NAME).exists());
    }
}
