//! What an endpoint of ours is called at RunPod: `sdxl rtx-4090 ovs-0011223344556677-1a2b3c4d-5e6f7081`.
//!
//! The last word is the mark: the installation's id, a nonce, and a digest of what the endpoint is
//! for. RunPod and people may add words; the mark is found wherever it stands.

use sha2::{Digest as _, Sha256};

/// Hexadecimal digits of nonce and digest.
const DIGITS: usize = 8;
/// Hexadecimal digits of an installation's id, after its prefix.
const INSTALLATION_DIGITS: usize = 16;
/// What an installation's id begins with.
const PREFIX: &str = "ovs-";
/// RunPod's names have up to 191 characters; so much of it is for people.
const LABEL_MAX: usize = 120;

/// What tells an endpoint at RunPod as one of an installation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// Whose: `ovs-` and 16 hexadecimal digits.
    pub installation: String,
    /// Which of several makings of the same thing.
    pub nonce: String,
    /// Digest of what it is for ([`purpose`]).
    pub purpose: String,
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.installation, self.nonce, self.purpose)
    }
}

impl Mark {
    /// The mark in a name; `None` when Overspill did not make it.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        name.split_whitespace().find_map(Self::parse)
    }

    fn parse(word: &str) -> Option<Self> {
        let mut parts = word.strip_prefix(PREFIX)?.split('-');
        let mut hex = |digits: usize| {
            let part = parts.next()?;
            let is_hex = part.len() == digits
                && part
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            is_hex.then(|| part.to_owned())
        };
        let (id, nonce) = (hex(INSTALLATION_DIGITS)?, hex(DIGITS)?);
        let purpose = hex(DIGITS)?;
        parts.next().is_none().then_some(Self {
            installation: format!("{PREFIX}{id}"),
            nonce,
            purpose,
        })
    }

    /// The whole name; `label` is for people.
    #[must_use]
    pub fn name(&self, label: &str) -> String {
        let label: String = label.chars().take(LABEL_MAX).collect();
        format!("{label} {self}")
    }
}

/// Whether a text is an installation's id, as endpoints of ours bear it.
#[must_use]
pub fn is_installation(text: &str) -> bool {
    Mark::parse(&format!("{text}-00000000-00000000")).is_some()
}

/// The digest of what an endpoint is for: an endpoint's and a pool's name and the type of GPU.
#[must_use]
pub fn purpose(endpoint: &str, pool: &str, gpu: &str) -> String {
    let mut digest = Sha256::new();
    for part in [endpoint, pool, gpu] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part.as_bytes());
    }
    hex(&digest.finalize()[..DIGITS / 2])
}

/// A nonce from random bits.
#[must_use]
pub fn nonce(bits: u32) -> String {
    hex(&bits.to_be_bytes())
}

/// A type of GPU in a form that fits names and keys: `RTX 4090` becomes `rtx-4090`.
#[must_use]
pub fn slug(text: &str) -> String {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join("-")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        Mark {
            installation: "ovs-0011223344556677".into(),
            nonce: nonce(0x1a2b_3c4d),
            purpose: purpose("sdxl", "cloud-1", "RTX 4090"),
        }
    }

    #[test]
    fn a_name_says_whose_it_is_whatever_stands_around_it() {
        let name = mark().name("sdxl rtx-4090");
        assert!(
            name.starts_with("sdxl rtx-4090 ovs-0011223344556677-1a2b3c4d-"),
            "{name}"
        );
        assert_eq!(Mark::find(&name), Some(mark()));
        assert_eq!(Mark::find(&format!("copy of {name} -fb")), Some(mark()));
        assert!(mark().name(&"ü".repeat(500)).chars().count() <= 191);
    }

    #[test]
    fn others_names_are_not_ours() {
        for name in [
            "",
            "sdxl",
            "ovs-0011223344556677",
            "ovs-0011223344556677-1a2b3c4d",
            "ovs-0011223344556677-1a2b3c4d-5e6f708",
            "ovs-001122334455667Z-1a2b3c4d-5e6f7081",
            "ovs-0011223344556677-1a2b3c4d-5e6f7081-x",
            "my-ovs-0011223344556677-1a2b3c4d-5e6f7081",
        ] {
            assert_eq!(Mark::find(name), None, "{name}");
        }
        assert!(is_installation("ovs-0011223344556677"));
        assert!(!is_installation("ovs-001122334455667"));
    }

    #[test]
    fn purposes_do_not_run_into_each_other() {
        assert_ne!(purpose("a", "bc", "d"), purpose("ab", "c", "d"));
        assert_eq!(slug("RTX 6000 Ada"), "rtx-6000-ada");
        assert_eq!(slug("NVIDIA  A30"), "nvidia-a30");
    }
}
