//! Standard Webhooks: the secrets and the signature.
//!
//! An endpoint's secret is derived from the server's own, so none is stored; what is stored is how
//! often it was rotated, and when. For a day after a rotation the old secret signs too.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use overspill_core::id::EndpointId;
use overspill_core::time::{DurationMs, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// The store's name for the rotations.
pub const META: &str = "webhook_rotations";
/// The secret before a rotation signs this much longer.
pub const OVERLAP: DurationMs = DurationMs::from_secs(24 * 3_600);

/// How often an endpoint's secret was rotated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// How often.
    pub version: u32,
    /// When the last time was.
    pub at: Option<Timestamp>,
}

/// The rotations of all endpoints; an endpoint that is not here was never rotated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotations(BTreeMap<u32, Rotation>);

impl Rotations {
    /// As they are stored; none from what cannot be read.
    #[must_use]
    pub fn read(stored: Option<&[u8]>) -> Self {
        stored
            .and_then(|bytes| serde_json::from_slice(bytes).ok())
            .unwrap_or_default()
    }

    /// As they are to be stored.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers are JSON")
    }

    /// An endpoint's rotation.
    #[must_use]
    pub fn of(&self, endpoint: EndpointId) -> Rotation {
        self.0.get(&endpoint.0).copied().unwrap_or_default()
    }

    /// Gives an endpoint a new secret.
    pub fn rotate(&mut self, endpoint: EndpointId, now: Timestamp) {
        let rotation = self.0.entry(endpoint.0).or_default();
        rotation.version += 1;
        rotation.at = Some(now);
    }

    /// The secrets that sign at `now`, the newest first, as `whsec_…`.
    #[must_use]
    pub fn secrets(
        &self,
        server_secret: &[u8; 32],
        endpoint: EndpointId,
        now: Timestamp,
    ) -> Vec<String> {
        let rotation = self.of(endpoint);
        let mut secrets = vec![text(&derive(server_secret, endpoint, rotation.version))];
        if rotation.at.is_some_and(|at| now < at + OVERLAP) {
            secrets.push(text(&derive(server_secret, endpoint, rotation.version - 1)));
        }
        secrets
    }

    /// The value of `webhook-signature` for a message of this second of the wall clock; `now` says which
    /// secrets sign.
    #[must_use]
    pub fn signature(
        &self,
        server_secret: &[u8; 32],
        endpoint: EndpointId,
        now: Timestamp,
        seconds: i64,
        id: &str,
        body: &[u8],
    ) -> String {
        let rotation = self.of(endpoint);
        let mut versions = vec![rotation.version];
        if rotation.at.is_some_and(|at| now < at + OVERLAP) {
            versions.push(rotation.version - 1);
        }
        let signed: Vec<String> = versions
            .into_iter()
            .map(|version| {
                let key = derive(server_secret, endpoint, version);
                let mut mac = hmac(&key);
                mac.update(format!("{id}.{seconds}.").as_bytes());
                mac.update(body);
                format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
            })
            .collect();
        signed.join(" ")
    }
}

fn derive(server_secret: &[u8; 32], endpoint: EndpointId, version: u32) -> [u8; 32] {
    let mut mac = hmac(server_secret);
    mac.update(b"webhook secret\0");
    mac.update(&endpoint.0.to_be_bytes());
    mac.update(&version.to_be_bytes());
    mac.finalize().into_bytes().into()
}

fn text(secret: &[u8; 32]) -> String {
    format!("whsec_{}", STANDARD.encode(secret))
}

fn hmac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: EndpointId = EndpointId(1);
    const SERVER: [u8; 32] = [3; 32];

    const fn seconds(now: Timestamp) -> i64 {
        now.as_millis().div_euclid(1_000)
    }

    /// As a receiver checks it, from the secret's text alone.
    fn verifies(secret: &str, header: &str, id: &str, seconds: i64, body: &str) -> bool {
        let key = STANDARD.decode(&secret["whsec_".len()..]).unwrap();
        let mut mac = hmac(&key);
        mac.update(format!("{id}.{seconds}.{body}").as_bytes());
        let wanted = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        header.split(' ').any(|signature| signature == wanted)
    }

    #[test]
    fn a_receiver_can_verify_before_and_after_a_rotation() {
        let mut rotations = Rotations::default();
        let start = Timestamp::from_millis(1_000_000);
        let first = rotations.secrets(&SERVER, ONE, start);
        assert_eq!(first.len(), 1);
        let header = rotations.signature(&SERVER, ONE, start, seconds(start), "msg_1", b"{}");
        assert!(verifies(&first[0], &header, "msg_1", 1_000, "{}"));
        assert!(!verifies(&first[0], &header, "msg_2", 1_000, "{}"));
        assert!(!verifies(&first[0], &header, "msg_1", 1_001, "{}"));
        assert_ne!(first, rotations.secrets(&SERVER, EndpointId(2), start));

        rotations.rotate(ONE, start);
        let rotations = Rotations::read(Some(&rotations.write()));
        let both = rotations.secrets(&SERVER, ONE, start);
        assert_eq!((both.len(), &both[1]), (2, &first[0]));
        let header = rotations.signature(&SERVER, ONE, start, seconds(start), "msg_1", b"{}");
        for secret in &both {
            assert!(verifies(secret, &header, "msg_1", 1_000, "{}"));
        }
        let later = start + OVERLAP;
        assert_eq!(rotations.secrets(&SERVER, ONE, later), both[..1]);
        let header = rotations.signature(&SERVER, ONE, later, seconds(later), "msg_1", b"{}");
        assert!(!header.contains(' '), "{header}");
    }
}
