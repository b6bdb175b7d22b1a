//! The form of keys that Overspill makes: `ovs_<kind>_<id>_<secret>_<check>`.
//!
//! The prefix and the CRC-32 at the end let scanners recognise a leaked key without asking us.
//! Keys of the user's own making have no form but a least length.

use std::fmt;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of a key's public id.
const ID_LENGTH: usize = 8;
/// Base-62 digits of 32 bytes.
const SECRET_LENGTH: usize = 43;
/// Base-62 digits of a CRC-32.
const CHECK_LENGTH: usize = 6;
/// The least a key of the user's own making must have, in characters.
pub const OWN_LENGTH_MIN: usize = 16;
/// The most, in characters: longer is no key.
pub const OWN_LENGTH_MAX: usize = 512;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// An app or a person.
    User,
    /// A worker; one per incarnation, not stored.
    Worker,
    /// May only set workers to zero.
    Guard,
    /// The first key of an installation.
    Bootstrap,
}

impl KeyKind {
    /// Its word in keys, in the API and in the store.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Worker => "worker",
            Self::Guard => "guard",
            Self::Bootstrap => "bootstrap",
        }
    }

    /// The kind of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::User, Self::Worker, Self::Guard, Self::Bootstrap]
            .into_iter()
            .find(|kind| kind.word() == word)
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A key of this kind, from random bits.
#[must_use]
pub fn compose(kind: KeyKind, id: &str, secret: &[u8; 32]) -> String {
    let body = format!("ovs_{kind}_{id}_{}", base62(secret, SECRET_LENGTH));
    let check = base62(&crc32(body.as_bytes()).to_be_bytes(), CHECK_LENGTH);
    format!("{body}_{check}")
}

/// A public id of eight characters, from random bits.
#[must_use]
pub fn id_of(bits: u64) -> String {
    let text = base62(&bits.to_be_bytes(), 11);
    text[text.len() - ID_LENGTH..].to_owned()
}

/// Whether a text has the form of a key of ours, and its checksum is right.
#[must_use]
pub fn is_well_formed(key: &str) -> bool {
    let Some((body, check)) = key.rsplit_once('_') else {
        return false;
    };
    let mut parts = body.split('_');
    let has_form = parts.next() == Some("ovs")
        && parts.next().and_then(KeyKind::from_word).is_some()
        && parts.next().is_some_and(|id| id.len() == ID_LENGTH)
        && parts
            .next()
            .is_some_and(|secret| secret.len() == SECRET_LENGTH)
        && parts.next().is_none();
    has_form && check == base62(&crc32(body.as_bytes()).to_be_bytes(), CHECK_LENGTH)
}

/// Why a text of the user's own making cannot be a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OwnKeyError {
    /// Too short or too long.
    #[error(
        "an API key needs {OWN_LENGTH_MIN} to {OWN_LENGTH_MAX} characters, this one has {length}"
    )]
    Length {
        /// Its length.
        length: usize,
    },
    /// It has white space or other characters that cannot be typed into a header.
    #[error("an API key may only have printable ASCII characters without spaces")]
    NotPrintable,
}

/// Checks a key of the user's own making.
///
/// # Errors
/// When it is too short, too long, or not printable.
pub fn check_own(key: &str) -> Result<(), OwnKeyError> {
    if !key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(OwnKeyError::NotPrintable);
    }
    if !(OWN_LENGTH_MIN..=OWN_LENGTH_MAX).contains(&key.len()) {
        return Err(OwnKeyError::Length { length: key.len() });
    }
    Ok(())
}

/// A big-endian number in base 62, with leading zeros up to `length`.
fn base62(bytes: &[u8], length: usize) -> String {
    let mut number = bytes.to_vec();
    let mut digits = Vec::with_capacity(length);
    while digits.len() < length {
        let mut rest = 0_u32;
        for byte in &mut number {
            let value = (rest << 8) | u32::from(*byte);
            *byte = u8::try_from(value / 62).expect("a quotient of less than 62 * 256 fits");
            rest = value % 62;
        }
        digits.push(ALPHABET[rest as usize]);
    }
    digits.reverse();
    String::from_utf8(digits).expect("the alphabet is ASCII")
}

/// CRC-32 as in zlib and PNG (reflected 0x04C11DB7).
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            let mask = (crc & 1).wrapping_neg();
            crc = (crc >> 1) ^ (0xedb8_8320 & mask);
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_carries_its_own_checksum() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let key = compose(KeyKind::User, &id_of(7), &[0xff; 32]);
        assert!(is_well_formed(&key), "{key}");
        assert_eq!(key.len(), "ovs_user_".len() + 8 + 1 + 43 + 1 + 6);
        let damaged = key.replacen("ovs_user_0", "ovs_user_1", 1);
        assert!(!is_well_formed(&damaged));
        assert!(!is_well_formed("ovs_user"));
        assert!(!is_well_formed(""));
    }

    #[test]
    fn own_keys_need_sixteen_printable_characters() {
        assert_eq!(check_own("rpa_0123456789ABCDEF"), Ok(()));
        assert_eq!(check_own("short"), Err(OwnKeyError::Length { length: 5 }));
        assert_eq!(
            check_own("with a space in it!!"),
            Err(OwnKeyError::NotPrintable)
        );
    }
}
