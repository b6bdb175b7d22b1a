//! The first key of an installation: the user's own, or one that is made and shown once.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::key_text::{self, KeyKind, OwnKeyError};
use super::keys::{self, NewKey};
use super::scope::{Scope, Scopes};
use crate::engine::api::{Engine, Unavailable};

/// The file that a made key is written to, in the data folder.
pub const FILE_NAME: &str = "bootstrap.key";

/// The file that a key for a guard on this machine is written to, in the data folder.
pub const GUARD_KEY_FILE: &str = "guard.key";

/// Where the first key came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstKey {
    /// The user's own is valid.
    Own,
    /// There are keys already; nothing was done.
    Existing,
    /// None was there, so one was made: print it once.
    Made {
        /// Its text; kept nowhere else but in the file.
        key: String,
        /// Where it was written, readable by the owner alone.
        file: PathBuf,
    },
}

/// Why there is no first key.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The user's own is no usable key.
    #[error("OVERSPILL_API_KEY cannot be used as a key")]
    Own(#[source] OwnKeyError),
    /// It could not be written.
    #[error("cannot write a key to \"{}\"", path.display())]
    File {
        /// Where to.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It could not be stored.
    #[error("cannot store a key")]
    Store(#[source] Unavailable),
}

/// Sees to it that there is a key. Called by `serve` once the engine runs.
///
/// `own` is OVERSPILL_API_KEY, any 16 or more printable characters; it is valid from then on with
/// every right, also beside keys that exist.
///
/// # Errors
/// When the user's own key is unusable, or nothing can be written.
pub async fn ensure_first_key(
    engine: &Arc<dyn Engine>,
    own: Option<&str>,
    data_dir: &Path,
) -> Result<FirstKey, BootstrapError> {
    let secret = engine.server_secret();
    let existing = engine.keys();
    let new = |name: &str, kind| NewKey {
        name: name.into(),
        kind,
        scopes: Scopes::ADMIN,
        endpoints: None,
        expires_at: None,
    };
    if let Some(own) = own {
        key_text::check_own(own).map_err(BootstrapError::Own)?;
        let record = keys::adopt(
            secret,
            new("OVERSPILL_API_KEY", KeyKind::User),
            own,
            engine.now(),
        );
        // Whoever revoked it and still sets the variable wants it back.
        let is_valid = existing
            .iter()
            .any(|known| known.digest == record.digest && known.revoked_at.is_none());
        if !is_valid {
            engine
                .put_key(record)
                .await
                .map_err(BootstrapError::Store)?;
        }
        return Ok(FirstKey::Own);
    }
    if existing.iter().any(|known| known.revoked_at.is_none()) {
        return Ok(FirstKey::Existing);
    }
    let (record, key) = keys::mint(secret, new("bootstrap", KeyKind::Bootstrap), engine.now());
    let file = data_dir.join(FILE_NAME);
    write_secret(&file, &key).map_err(|source| BootstrapError::File {
        path: file.clone(),
        source,
    })?;
    engine
        .put_key(record)
        .await
        .map_err(BootstrapError::Store)?;
    Ok(FirstKey::Made { key, file })
}

/// Sees to it that a guard on this machine has a key: one that is good for asking whether the server
/// lives, and for nothing else.
///
/// # Errors
/// When nothing can be written or stored.
pub async fn ensure_guard_key(
    engine: &Arc<dyn Engine>,
    data_dir: &Path,
) -> Result<(), BootstrapError> {
    let secret = engine.server_secret();
    let file = data_dir.join(GUARD_KEY_FILE);
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    let digest = keys::digest(secret, kept.trim());
    let is_valid = |known: &keys::KeyRecord| known.digest == digest && known.revoked_at.is_none();
    if engine.keys().iter().any(is_valid) {
        return Ok(());
    }
    let new = NewKey {
        name: "guard on this machine".into(),
        kind: KeyKind::Guard,
        scopes: [Scope::Guard].into_iter().collect(),
        endpoints: None,
        expires_at: None,
    };
    let (record, key) = keys::mint(secret, new, engine.now());
    engine
        .put_key(record)
        .await
        .map_err(BootstrapError::Store)?;
    write_secret(&file, &key).map_err(|source| BootstrapError::File { path: file, source })
}

/// Writes a file that only its owner can read, from its first byte on.
pub(crate) fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}
