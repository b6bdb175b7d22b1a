//! A browser's session: made from an API key once, kept in a cookie instead of the key.
//!
//! The cookie holds the key's public id, an end and a random number, under a MAC of the server's
//! secret: nothing is stored, and a restart ends no session. What the session may do is looked up at
//! each request, so that a revoked key ends its sessions at once. A session that was ended by hand is
//! remembered as ended until it would have ended by itself; a restart forgets that.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use overspill_core::time::{DurationMs, Timestamp};
use rand::Rng as _;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// How long a session lasts.
pub const LENGTH: DurationMs = DurationMs::from_secs(12 * 3_600);
/// Ended sessions that are remembered at most.
const ENDED_MAX: usize = 10_000;

/// A session, as its cookie says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The public id of the key that it was made from.
    pub key_id: String,
    /// When it ends by itself.
    pub ends_at: Timestamp,
    nonce: String,
}

impl Session {
    /// A new one.
    #[must_use]
    pub fn new(key_id: &str, now: Timestamp) -> Self {
        let mut nonce = [0_u8; 16];
        rand::rng().fill_bytes(&mut nonce);
        Self {
            key_id: key_id.to_owned(),
            ends_at: now + LENGTH,
            nonce: URL_SAFE_NO_PAD.encode(nonce),
        }
    }

    /// The cookie's value.
    #[must_use]
    pub fn cookie(&self, server_secret: &[u8; 32]) -> String {
        let body = self.body();
        let mac = URL_SAFE_NO_PAD.encode(mac(server_secret, b"session\0", &body));
        format!("{body}.{mac}")
    }

    /// What a page must send with everything that changes something, beside the cookie.
    #[must_use]
    pub fn csrf(&self, server_secret: &[u8; 32]) -> String {
        URL_SAFE_NO_PAD.encode(mac(server_secret, b"session-csrf\0", &self.body()))
    }

    /// Whether a page sent what [`Session::csrf`] says.
    #[must_use]
    pub fn has_sent(&self, server_secret: &[u8; 32], sent: &[u8]) -> bool {
        bool::from(self.csrf(server_secret).as_bytes().ct_eq(sent))
    }

    /// Reads a cookie; `None` when it is not ours, or over.
    #[must_use]
    pub fn read(cookie: &str, server_secret: &[u8; 32], now: Timestamp) -> Option<Self> {
        let (body, sent) = cookie.rsplit_once('.')?;
        let expected = URL_SAFE_NO_PAD.encode(mac(server_secret, b"session\0", body));
        if !bool::from(expected.as_bytes().ct_eq(sent.as_bytes())) {
            return None;
        }
        let mut parts = body.splitn(3, '.');
        let ends_at = Timestamp::from_millis(parts.next()?.parse().ok()?);
        let nonce = parts.next()?.to_owned();
        let key_id = parts.next()?.to_owned();
        (now < ends_at).then_some(Self {
            key_id,
            ends_at,
            nonce,
        })
    }

    fn body(&self) -> String {
        format!(
            "{}.{}.{}",
            self.ends_at.as_millis(),
            self.nonce,
            self.key_id
        )
    }
}

fn mac(server_secret: &[u8; 32], purpose: &[u8], body: &str) -> [u8; 32] {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(server_secret).expect("HMAC takes a key of any length");
    mac.update(purpose);
    mac.update(body.as_bytes());
    mac.finalize().into_bytes().into()
}

/// Sessions that were ended by hand.
#[derive(Debug, Default)]
pub struct Ended {
    by_nonce: Mutex<HashMap<String, Timestamp>>,
}

impl Ended {
    /// Ends a session.
    pub fn end(&self, session: Session, now: Timestamp) {
        let mut ended = self.by_nonce.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.len() >= ENDED_MAX {
            ended.retain(|_, ends_at| now < *ends_at);
        }
        ended.insert(session.nonce, session.ends_at);
    }

    /// Whether a session was ended.
    #[must_use]
    pub fn has(&self, session: &Session) -> bool {
        let ended = self.by_nonce.lock().unwrap_or_else(PoisonError::into_inner);
        ended.contains_key(&session.nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_read_back_until_it_ends() {
        let now = Timestamp::from_millis(1_000);
        let session = Session::new("AbC123", now);
        let cookie = session.cookie(&[7; 32]);
        let is_header_value = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        assert!(cookie.chars().all(is_header_value), "{cookie}");
        assert_eq!(Session::read(&cookie, &[7; 32], now), Some(session));
        let late = now + LENGTH;
        assert_eq!(Session::read(&cookie, &[7; 32], late), None);
        assert_eq!(Session::read(&cookie, &[8; 32], now), None);
        for i in 0..cookie.len() {
            let mut forged = cookie.clone().into_bytes();
            forged[i] = if forged[i] == b'1' { b'2' } else { b'1' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(Session::read(&forged, &[7; 32], now), None, "{forged}");
        }
        assert_eq!(Session::read("", &[7; 32], now), None);
    }

    #[test]
    fn each_session_has_its_own_csrf_word_and_end() {
        let now = Timestamp::from_millis(1_000);
        let (one, other) = (Session::new("key", now), Session::new("key", now));
        assert!(one.has_sent(&[7; 32], one.csrf(&[7; 32]).as_bytes()));
        assert!(!one.has_sent(&[7; 32], other.csrf(&[7; 32]).as_bytes()));
        assert!(!one.has_sent(&[7; 32], b""));
        let ended = Ended::default();
        ended.end(one.clone(), now);
        assert!(ended.has(&one) && !ended.has(&other));
    }
}
