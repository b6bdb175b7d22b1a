//! Room on the disk: how much is free.

use std::path::Path;

use crate::error::StoreError;

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
