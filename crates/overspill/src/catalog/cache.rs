//! RunPod's list in a file of the data directory, with the moment it was asked for.

use std::io;
use std::path::{Path, PathBuf};

use overspill_core::time::{DurationMs, Timestamp};
use overspill_wire::management::catalog::GpuTypeList;
use serde::{Deserialize, Serialize};

use super::Catalog;

/// After so long RunPod is asked again.
pub const FRESH: DurationMs = DurationMs::from_secs(6 * 3_600);

/// The file's name in the data directory.
const FILE: &str = "gpu-catalog.json";

/// The list as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// When RunPod was asked.
    pub at: Timestamp,
    /// Of which account's API: another one may have other prices.
    pub management_url: String,
    /// What it said.
    pub list: GpuTypeList,
}

impl Kept {
    /// Whether it is too old to be used without asking again.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        now < self.at || now.since(self.at) > FRESH
    }

    /// As a catalog.
    #[must_use]
    pub fn catalog(&self) -> Catalog {
        Catalog::of_runpod(&self.list, self.at)
    }
}

/// What is kept of this account's API; `None` where nothing is, or it cannot be read: it is only a cache.
#[must_use]
pub fn load(data_dir: &Path, management_url: &str) -> Option<Kept> {
    let bytes = std::fs::read(file(data_dir)).ok()?;
    let kept: Kept = serde_json::from_slice(&bytes).ok()?;
    (kept.management_url == management_url).then_some(kept)
}

/// Keeps a list; whoever reads meanwhile sees the old one or the new one.
///
/// # Errors
/// When the file cannot be written.
pub fn store(data_dir: &Path, kept: &Kept) -> io::Result<()> {
    let text = serde_json::to_vec(kept).map_err(io::Error::other)?;
    let mut new = tempfile::NamedTempFile::new_in(data_dir)?;
    io::Write::write_all(&mut new, &text)?;
    new.persist(file(data_dir)).map_err(|error| error.error)?;
    Ok(())
}

fn file(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_kept_for_its_account_and_grows_old() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(folder.path(), "https://a"), None);
        let kept = Kept {
            at: Timestamp::from_millis(1_000),
            management_url: "https://a".to_owned(),
            list: super::super::tests::list(),
        };
        store(folder.path(), &kept).unwrap();
        assert_eq!(load(folder.path(), "https://a").as_ref(), Some(&kept));
        assert_eq!(load(folder.path(), "https://b"), None);
        assert!(!kept.is_stale(kept.at + FRESH));
        assert!(kept.is_stale(kept.at + FRESH + DurationMs::from_millis(1)));
        assert!(kept.is_stale(Timestamp::ZERO), "a clock that was set back");
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert_eq!(load(folder.path(), "https://a"), None);
    }
}
