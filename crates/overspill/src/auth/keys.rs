//! API keys as they are stored, and how one is made.

use hmac::{Hmac, KeyInit as _, Mac as _};
use overspill_core::time::Timestamp;
use rand::Rng as _;
use sha2::Sha256;

use super::key_text::{self, KeyKind};
use super::scope::Scopes;

pub use overspill_store::KeyRecord;

/// What a new key is to be.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// For people.
    pub name: String,
    /// What it is for.
    pub kind: KeyKind,
    /// What it may do.
    pub scopes: Scopes,
    /// Names of the endpoints it is for; `None`: all.
    pub endpoints: Option<Vec<String>>,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// SHA-256 over a key with the server's pepper (as HMAC). No slow hash: a made key has 256 random
/// bits, and a slow hash would be a lever for denial of service.
#[must_use]
pub fn digest(server_secret: &[u8; 32], key: &str) -> [u8; 32] {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(server_secret).expect("HMAC takes a key of any length");
    mac.update(b"api-key\0");
    mac.update(key.as_bytes());
    mac.finalize().into_bytes().into()
}

/// Makes a key of ours. The text is shown once and not kept.
#[must_use]
pub fn mint(server_secret: &[u8; 32], new: NewKey, now: Timestamp) -> (KeyRecord, String) {
    let mut secret = [0_u8; 32];
    let mut rng = rand::rng();
    rng.fill_bytes(&mut secret);
    let id = key_text::id_of(rng.next_u64());
    let text = key_text::compose(new.kind, &id, &secret);
    (record(server_secret, id, new, &text, now), text)
}

/// The record of a key of the user's own making. Its id follows from its digest, so that the same
/// key gives the same record.
#[must_use]
pub fn adopt(server_secret: &[u8; 32], new: NewKey, text: &str, now: Timestamp) -> KeyRecord {
    let digest = digest(server_secret, text);
    let bits = digest[..8]
        .iter()
        .fold(0, |bits, &b| (bits << 8) | u64::from(b));
    record(server_secret, key_text::id_of(bits), new, text, now)
}

fn record(
    server_secret: &[u8; 32],
    id: String,
    new: NewKey,
    text: &str,
    now: Timestamp,
) -> KeyRecord {
    KeyRecord {
        id,
        kind: new.kind.word().into(),
        name: new.name,
        scopes: new.scopes.words(),
        endpoints: new.endpoints,
        digest: digest(server_secret, text),
        created_at: now,
        expires_at: new.expires_at,
        last_used_at: None,
        revoked_at: None,
    }
}
