//! A token that reads how one job goes, and nothing else: for the page of the user who waits for it.
//!
//! It may stand in a URL, because a browser's `EventSource` sends no header: so it is short-lived, bound to
//! one job, and can change nothing. It holds its end, the job and the public id of the key that it was made
//! with, under a MAC of the server's secret: nothing is stored, a restart ends none, and revoking the key ends
//! them all.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use overspill_core::id::JobId;
use overspill_core::time::{DurationMs, Timestamp};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// How long a token holds, unless it is asked for otherwise.
pub const LENGTH: DurationMs = DurationMs::from_secs(15 * 60);
/// The longest that a token may hold.
pub const LENGTH_MAX: DurationMs = DurationMs::from_secs(24 * 3_600);
/// What tokens begin with, so that they are known in a log.
const PREFIX: &str = "ovt_";

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobToken {
    /// The one job.
    pub job: JobId,
    /// The public id of the key that it was made with.
    pub key_id: String,
    /// When it ends.
    pub ends_at: Timestamp,
}

/// Why a text is no token that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoToken {
    /// This server never made it.
    #[error("the token is not valid")]
    Invalid,
    /// It held, and is over.
    #[error("the token has expired")]
    Expired,
}

impl JobToken {
    /// The token's text: letters, digits, `-`, `_` and full stops.
    #[must_use]
    pub fn text(&self, server_secret: &[u8; 32]) -> String {
        let body = format!("{}.{}.{}", self.ends_at.as_millis(), self.job, self.key_id);
        let mac = URL_SAFE_NO_PAD.encode(mac(server_secret, &body));
        format!("{PREFIX}{body}.{mac}")
    }

    /// Reads a token's text.
    ///
    /// # Errors
    /// See [`NoToken`].
    pub fn read(text: &str, server_secret: &[u8; 32], now: Timestamp) -> Result<Self, NoToken> {
        let (body, sent) = text
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.rsplit_once('.'))
            .ok_or(NoToken::Invalid)?;
        let expected = URL_SAFE_NO_PAD.encode(mac(server_secret, body));
        if !bool::from(expected.as_bytes().ct_eq(sent.as_bytes())) {
            return Err(NoToken::Invalid);
        }
        let mut parts = body.splitn(3, '.');
        let mut next = || parts.next().ok_or(NoToken::Invalid);
        let ends_at = next()?.parse().map_err(|_| NoToken::Invalid)?;
        let token = Self {
            ends_at: Timestamp::from_millis(ends_at),
            job: next()?.parse().map_err(|_| NoToken::Invalid)?,
            key_id: next()?.to_owned(),
        };
        if now < token.ends_at {
            Ok(token)
        } else {
            Err(NoToken::Expired)
        }
    }
}

fn mac(server_secret: &[u8; 32], body: &str) -> [u8; 32] {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(server_secret).expect("HMAC takes a key of any length");
    mac.update(b"job-token\0");
    mac.update(body.as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_until_it_ends_and_cannot_be_altered() {
        let now = Timestamp::from_millis(1_000);
        let token = JobToken {
            job: JobId::new(7, true),
            key_id: "AbC123".into(),
            ends_at: now + LENGTH,
        };
        let text = token.text(&[7; 32]);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        assert!(text.chars().all(is_plain), "{text}");
        assert_eq!(JobToken::read(&text, &[7; 32], now), Ok(token));
        let late = now + LENGTH;
        assert_eq!(JobToken::read(&text, &[7; 32], late), Err(NoToken::Expired));
        assert_eq!(JobToken::read(&text, &[8; 32], now), Err(NoToken::Invalid));
        for i in 0..text.len() {
            let mut forged = text.clone().into_bytes();
            forged[i] = if forged[i] == b'1' { b'2' } else { b'1' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(
                JobToken::read(&forged, &[7; 32], now),
                Err(NoToken::Invalid)
            );
        }
        for junk in ["", "ovt_", "ovt_.", "ovt_1.2.3.4"] {
            assert_eq!(JobToken::read(junk, &[7; 32], now), Err(NoToken::Invalid));
        }
    }
}
