//! Keys of workers: one per incarnation, never stored.
//!
//! The key is an HMAC of the worker's id under the server's secret, so it lives and dies with the
//! incarnation and needs no table. A worker's id is not secret (`/status` shows it), its key is.

use hmac::{Hmac, KeyInit as _, Mac as _};
use overspill_core::id::WorkerId;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// The key of an incarnation: 64 hexadecimal digits, fit for a header and for a path.
///
/// It goes to the worker as `RUNPOD_AI_API_KEY`, and into its URLs by [`base_url`].
#[must_use]
pub fn of(server_secret: &[u8; 32], worker: WorkerId) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(server_secret).expect("HMAC takes a key of any length");
    mac.update(b"worker-key\0");
    mac.update(&worker.bits().to_be_bytes());
    mac.finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Whether a text is the key of this incarnation; takes the same time either way.
#[must_use]
pub fn is_valid(server_secret: &[u8; 32], worker: WorkerId, key: &str) -> bool {
    of(server_secret, worker)
        .as_bytes()
        .ct_eq(key.as_bytes())
        .into()
}

/// The server's address as this worker's URLs should begin: with its key in the path.
///
/// `~/.runpod/config.toml` overrides the key that the SDK sends as a header in takes and results,
/// so that header proves nothing either way; the path cannot be overridden.
#[must_use]
pub fn base_url(server: &str, key: &str) -> String {
    format!("{}/w/{key}", server.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_incarnation_has_its_own_key() {
        let secret = [1; 32];
        let (one, two) = (WorkerId::new(1), WorkerId::new(2));
        let key = of(&secret, one);
        assert_eq!(key.len(), 64);
        assert!(is_valid(&secret, one, &key));
        assert!(!is_valid(&secret, two, &key));
        assert!(!is_valid(&[2; 32], one, &key));
        assert!(!is_valid(&secret, one, ""));
        assert_eq!(base_url("http://h:1/", "k"), "http://h:1/w/k");
    }
}
