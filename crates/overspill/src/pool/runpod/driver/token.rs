//! A word that stands for one attempt in a webhook's address, and that nobody can guess.
//!
//! `RunPod` calls the address when the job ends; by the token we know whose attempt it was, though the submission's
//! answer was lost. Form: `<job>.<generation>.<number>.<pool>.<mac>`, the mac being the first 16 bytes of an
//! HMAC-SHA256 over the rest, in base64 for URLs.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use overspill_core::id::{AttemptId, PoolId};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

const MAC_BYTES: usize = 16;

/// The path at which `RunPod` calls, without the token behind it.
pub const PATH: &str = "/hooks/runpod";

/// The token of an attempt in this pool, under the installation's secret.
#[must_use]
pub fn write(secret: &[u8], attempt: AttemptId, pool: PoolId) -> String {
    let plain = format!(
        "{}.{}.{}.{}",
        attempt.job, attempt.generation, attempt.number, pool.0
    );
    let mac = URL_SAFE_NO_PAD.encode(mac(secret, &plain));
    format!("{plain}.{mac}")
}

/// The attempt of a token, with its pool; `None` for one that this installation did not write.
#[must_use]
pub fn read(secret: &[u8], token: &str) -> Option<(AttemptId, PoolId)> {
    let (plain, claimed) = token.rsplit_once('.')?;
    let claimed = URL_SAFE_NO_PAD.decode(claimed).ok()?;
    if !bool::from(claimed.ct_eq(&mac(secret, plain))) {
        return None;
    }
    let mut parts = plain.splitn(4, '.');
    let attempt = AttemptId {
        job: parts.next()?.parse().ok()?,
        generation: parts.next()?.parse().ok()?,
        number: parts.next()?.parse().ok()?,
    };
    Some((attempt, PoolId(parts.next()?.parse().ok()?)))
}

fn mac(secret: &[u8], plain: &str) -> [u8; MAC_BYTES] {
    let mut hmac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    hmac.update(b"overspill cloud attempt\0");
    hmac.update(plain.as_bytes());
    let full = hmac.finalize().into_bytes();
    let mut mac = [0; MAC_BYTES];
    mac.copy_from_slice(&full[..MAC_BYTES]);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;
    use overspill_core::id::JobId;

    #[test]
    fn only_what_was_written_is_read() {
        let attempt = AttemptId {
            job: JobId::new(7, true),
            generation: 2,
            number: 3,
        };
        let token = write(b"secret", attempt, PoolId(4));
        assert_eq!(read(b"secret", &token), Some((attempt, PoolId(4))));
        assert_eq!(read(b"other", &token), None);
        for forged in [".2.4.4.", ".2.3.5."] {
            let forged = token.replacen(".2.3.4.", forged, 1);
            assert_eq!(read(b"secret", &forged), None);
        }
        for junk in ["", ".", "a.b.c.d", &token[..token.len() - 1]] {
            assert_eq!(read(b"secret", junk), None, "{junk}");
        }
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        assert!(
            token.bytes().all(is_plain),
            "{token} goes into a URL as it is"
        );
    }
}
