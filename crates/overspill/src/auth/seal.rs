//! Seals what must not be readable in the store: secrets that a job carries to its worker
//! (`s3Config`).
//!
//! A sealed text is bound to its job: in another job's place it does not open. The key is no part of
//! the database: it stands in a file of its own in the data folder, or comes from the environment,
//! so that a copy or a backup of the database alone says nothing.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use overspill_core::id::JobId;
use rand::Rng as _;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use secrecy::{ExposeSecret as _, SecretString};

use super::bootstrap::write_secret;

/// The file of the key in the data folder.
pub const FILE_NAME: &str = "seal.key";
/// What a sealed text begins with; no JSON object does.
const PREFIX: &str = "seal1:";
const KEY_BYTES: usize = 32;

/// Seals and opens; cheap to clone.
#[derive(Clone)]
pub struct Sealer {
    key: Arc<LessSafeKey>,
}

/// Why there is no key to seal with.
#[derive(Debug, thiserror::Error)]
pub enum SealKeyError {
    /// It is no key.
    #[error("{place} does not hold a key: it must be the base64 of {KEY_BYTES} random bytes")]
    Malformed {
        /// Where it came from.
        place: String,
    },
    /// The file.
    #[error("cannot read or make the key file \"{}\"", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A sealed text that does not open: it was sealed with another key, or has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the job's secrets were sealed with another key, or have changed")]
pub struct DoesNotOpen;

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    /// The installation's: from the environment where it says one, else from its file, which is made at
    /// the first start.
    ///
    /// # Errors
    /// See [`SealKeyError`].
    pub fn load(own: Option<&SecretString>, data_dir: &Path) -> Result<Self, SealKeyError> {
        if let Some(own) = own {
            return Self::read(own.expose_secret(), "OVERSPILL_SEAL_KEY");
        }
        let path = data_dir.join(FILE_NAME);
        let file_error = |source| SealKeyError::File {
            path: path.clone(),
            source,
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::read(&text, &format!("\"{}\"", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key = random_key();
                write_secret(&path, &BASE64.encode(key)).map_err(file_error)?;
                Ok(Self::new(&key))
            }
            Err(error) => Err(file_error(error)),
        }
    }

    /// One with a fresh key, for a server whose store does not outlive it.
    #[must_use]
    pub fn fresh() -> Self {
        Self::new(&random_key())
    }

    fn new(key: &[u8; KEY_BYTES]) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has its length");
        Self {
            key: Arc::new(LessSafeKey::new(key)),
        }
    }

    fn read(text: &str, place: &str) -> Result<Self, SealKeyError> {
        let bytes = BASE64.decode(text.trim()).ok();
        let key = bytes.and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok());
        key.map(|key| Self::new(&key))
            .ok_or_else(|| SealKeyError::Malformed {
                place: place.to_owned(),
            })
    }

    /// Seals a text for a job.
    #[must_use]
    pub fn seal(&self, job: JobId, text: &str) -> String {
        let mut nonce = [0; NONCE_LEN];
        rand::rng().fill_bytes(&mut nonce);
        let mut sealed = nonce.to_vec();
        let mut body = text.as_bytes().to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(job.to_string()),
                &mut body,
            )
            .expect("a request's body is far below the cipher's limit");
        sealed.extend_from_slice(&body);
        format!("{PREFIX}{}", BASE64.encode(sealed))
    }

    /// Opens what [`Self::seal`] made for the same job; what was never sealed is given back as it is.
    ///
    /// # Errors
    /// [`DoesNotOpen`].
    pub fn open(&self, job: JobId, text: &str) -> Result<String, DoesNotOpen> {
        let Some(sealed) = text.strip_prefix(PREFIX) else {
            return Ok(text.to_owned());
        };
        let sealed = BASE64.decode(sealed).map_err(|_| DoesNotOpen)?;
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(DoesNotOpen)?;
        let mut body = body.to_vec();
        let opened = self
            .key
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(job.to_string()),
                &mut body,
            )
            .map_err(|_| DoesNotOpen)?;
        String::from_utf8(opened.to_vec()).map_err(|_| DoesNotOpen)
    }

    /// Opens what a job brings for its worker. Where it does not open, the job runs without: that is
    /// said in the log, and its worker answers for itself.
    #[must_use]
    pub fn open_for_worker(&self, job: JobId, extras: Option<&str>) -> Option<String> {
        match self.open(job, extras?) {
            Ok(text) => Some(text),
            Err(error) => {
                tracing::error!(%job, %error, "a job goes to its worker without its s3Config");
                None
            }
        }
    }
}

fn random_key() -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    rand::rng().fill_bytes(&mut key);
    key
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const SECRET: &str = r#"{"s3Config":{"accessSecret":"hush"}}"#;

    #[test]
    fn only_its_job_and_its_key_open_it() {
        let (sealer, job) = (Sealer::fresh(), JobId::new(7, false));
        let sealed = sealer.seal(job, SECRET);
        assert!(!sealed.contains("hush") && !sealed.contains("s3Config"));
        assert_ne!(sealed, sealer.seal(job, SECRET), "each has its own nonce");
        assert_eq!(sealer.open(job, &sealed).as_deref(), Ok(SECRET));
        assert_eq!(sealer.open(JobId::new(8, false), &sealed), Err(DoesNotOpen));
        assert_eq!(Sealer::fresh().open(job, &sealed), Err(DoesNotOpen));
        let cut = &sealed[..sealed.len() - 4];
        assert_eq!(sealer.open(job, cut), Err(DoesNotOpen));
        assert_eq!(sealer.open(job, "seal1:"), Err(DoesNotOpen));
        assert_eq!(sealer.open(job, SECRET).as_deref(), Ok(SECRET));
        assert_eq!(sealer.open_for_worker(job, Some("seal1:?")), None);
    }

    #[test]
    fn the_key_is_made_once_and_is_the_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let job = JobId::new(1, false);
        let sealed = Sealer::load(None, dir.path()).unwrap().seal(job, SECRET);
        let again = Sealer::load(None, dir.path()).unwrap();
        assert_eq!(again.open(job, &sealed).as_deref(), Ok(SECRET));
        let path = dir.path().join(FILE_NAME);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, "x").unwrap();
        let error = Sealer::load(None, dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("seal.key") && error.contains("32"),
            "{error}"
        );
        let own = SecretString::from(BASE64.encode([3; 32]));
        assert!(Sealer::load(Some(&own), dir.path()).is_ok());
        let short = SecretString::from("c2hvcnQ=".to_owned());
        let error = Sealer::load(Some(&short), dir.path()).unwrap_err();
        assert!(error.to_string().contains("OVERSPILL_SEAL_KEY"), "{error}");
    }
}
