//! A region: where callers are and where cloud pools stand, by the names of the configuration.
//!
//! Kept inline, so that a million waiting jobs can each have one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most bytes of a region's name.
pub const REGION_BYTES_MAX: usize = 15;

/// The name of a region: 1 to 15 of `a`–`z`, `A`–`Z`, `0`–`9`, `-` and `_`. Sorts as its text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region([u8; REGION_BYTES_MAX]);

/// A text that is no region's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to 15 letters, digits, `-` or `_`, such as \"eu\" or \"us-east\"")]
pub struct NoRegion;

impl Region {
    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|&byte| byte == 0);
        let name = &self.0[..end.unwrap_or(REGION_BYTES_MAX)];
        std::str::from_utf8(name).expect("a region's name is ASCII")
    }
}

impl FromStr for Region {
    type Err = NoRegion;

    fn from_str(name: &str) -> Result<Self, NoRegion> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || name.len() > REGION_BYTES_MAX || !name.bytes().all(is_plain) {
            return Err(NoRegion);
        }
        let mut bytes = [0; REGION_BYTES_MAX];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Ok(Self(bytes))
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({})", self.as_str())
    }
}

impl Serialize for Region {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Region {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_out_as_they_went_in() {
        for name in ["eu", "us-east_1", "abcdefghijklmno"] {
            let region: Region = name.parse().unwrap();
            assert_eq!(region.as_str(), name);
            let json = serde_json::to_string(&region).unwrap();
            assert_eq!(json, format!("\"{name}\""));
            assert_eq!(serde_json::from_str::<Region>(&json).unwrap(), region);
        }
        for name in ["", "abcdefghijklmnop", "e u", "eu\0", "é"] {
            assert_eq!(name.parse::<Region>(), Err(NoRegion), "{name:?}");
        }
        assert_eq!(size_of::<Region>(), 15);
    }
}
