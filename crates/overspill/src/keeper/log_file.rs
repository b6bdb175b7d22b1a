//! A worker's log: what it writes to standard output and standard error.
//!
//! The file is handed to the process itself, in append mode, so that no byte passes through the
//! keeper. The keeper looks at its size at each spawn and every few seconds: above [`BYTES_MAX`]
//! the newest [`BYTES_MAX`] go to `NAME.1`, which replaces the one before, and the file is emptied
//! in place (the process appends, so it goes on at offset 0). On disk: at most twice [`BYTES_MAX`]
//! plus what is written between two looks. Lines that are written during the few milliseconds of
//! the copy are lost.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Size above which a log is moved to `NAME.1`, in bytes.
pub(super) const BYTES_MAX: u64 = 10_000_000;

/// An open log of one worker.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
}

impl LogFile {
    /// Opens or makes the file, readable by its owner only, with its folder.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .mode(0o600)
            .open(path)?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// A handle for the process that writes.
    pub(super) fn writer(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Moves the content away if the file has grown over `bytes_max`.
    pub(super) fn trim(&mut self, bytes_max: u64) -> io::Result<()> {
        let bytes = self.file.metadata()?.len();
        if bytes <= bytes_max {
            return Ok(());
        }
        let mut older = self.path.clone().into_os_string();
        older.push(".1");
        let mut older = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(older)?;
        self.file.seek(SeekFrom::Start(bytes - bytes_max))?;
        io::copy(&mut (&self.file).take(bytes_max), &mut older)?;
        self.file.set_len(0)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    #[test]
    fn a_grown_log_is_cut_and_its_newest_part_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/w.log");
        let mut log = LogFile::open(&path).unwrap();
        let mut writer = log.writer().unwrap();
        writer.write_all(b"0123456789").unwrap();
        log.trim(10).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"0123456789");
        writer.write_all(b"abc").unwrap();
        log.trim(10).unwrap();
        writer.write_all(b"after").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"after");
        assert_eq!(
            fs::read(folder.path().join("logs/w.log.1")).unwrap(),
            b"3456789abc"
        );
    }
}
