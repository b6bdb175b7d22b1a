//! Typed ids. They are made at the edge, from the clock and a generator, and travel in events; the
//! simulator mints them from its seed. A `JobId` is no `WorkerId`.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The suffix of every job id we mint: RunPod's ids end in a region letter and a digit.
const JOB_SUFFIX: &str = "-u1";
/// The prefix of ids of jobs that came in by `/runsync`.
const SYNC_PREFIX: &str = "sync-";

/// A job, for ever: `<uuid>-u1`, or `sync-<uuid>-u1` for one submitted by `/runsync`.
///
/// Ordered by time of minting (UUID version 7), so that database trees grow at their right edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId {
    high: u64,
    low: u64,
    sync: bool,
}

impl JobId {
    /// The job named by a UUID's 128 bits.
    #[must_use]
    pub const fn new(uuid: u128, sync: bool) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the halves of 128 bits")]
        Self {
            high: (uuid >> 64) as u64,
            low: uuid as u64,
            sync,
        }
    }

    /// The UUID's 128 bits.
    #[must_use]
    pub const fn uuid(self) -> u128 {
        ((self.high as u128) << 64) | self.low as u128
    }

    /// Whether it came in by `/runsync`.
    #[must_use]
    pub const fn is_sync(self) -> bool {
        self.sync
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let u = self.uuid();
        let prefix = if self.sync { SYNC_PREFIX } else { "" };
        write!(
            f,
            "{prefix}{:08x}-{:04x}-{:04x}-{:04x}-{:012x}{JOB_SUFFIX}",
            u >> 96,
            (u >> 80) & 0xffff,
            (u >> 64) & 0xffff,
            (u >> 48) & 0xffff,
            u & 0xffff_ffff_ffff
        )
    }
}

/// The text is no id of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id of this form")]
pub struct ParseIdError;

impl FromStr for JobId {
    type Err = ParseIdError;

    /// Accepts exactly what [`fmt::Display`] writes: lower-case hexadecimal, dashes in place.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let (sync, rest) = match text.strip_prefix(SYNC_PREFIX) {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let uuid = rest.strip_suffix(JOB_SUFFIX).ok_or(ParseIdError)?;
        if uuid.len() != 36 {
            return Err(ParseIdError);
        }
        let mut bits: u128 = 0;
        for (i, b) in uuid.bytes().enumerate() {
            let digit = match (i, b) {
                (8 | 13 | 18 | 23, b'-') => continue,
                (8 | 13 | 18 | 23, _) => return Err(ParseIdError),
                (_, b'0'..=b'9') => b - b'0',
                (_, b'a'..=b'f') => b - b'a' + 10,
                _ => return Err(ParseIdError),
            };
            bits = (bits << 4) | u128::from(digit);
        }
        Ok(Self::new(bits, sync))
    }
}

impl Serialize for JobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(|_| D::Error::custom("not a job id"))
    }
}

/// One incarnation of a worker: fresh and unguessable for each process, 32 hexadecimal digits.
///
/// With the job it is the fencing token of an attempt: an unmodified worker carries no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(u128);

impl WorkerId {
    /// The incarnation named by 128 random bits.
    #[must_use]
    pub const fn new(bits: u128) -> Self {
        Self(bits)
    }

    /// The 128 bits.
    #[must_use]
    pub const fn bits(self) -> u128 {
        self.0
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for WorkerId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let valid = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 32 || !text.bytes().all(valid) {
            return Err(ParseIdError);
        }
        u128::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| ParseIdError)
    }
}

impl Serialize for WorkerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WorkerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse()
            .map_err(|_| D::Error::custom("not a worker id"))
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number_id! {
    /// An endpoint, numbered by the core in the order in which their names were first seen.
    EndpointId(u32)
}
number_id! {
    /// A pool of an endpoint, numbered by the core in the order in which their keys were first seen.
    PoolId(u32)
}
number_id! {
    /// A physical card of this host, by its index; without a driver, a nominal one.
    DeviceId(u32)
}
number_id! {
    /// Someone waiting for an answer of the core; given by the driver, never durable.
    RequestId(u64)
}
number_id! {
    /// One held job-take; given by the driver, never durable.
    PollId(u64)
}

/// An API key, by its public id: one to eight printable ASCII characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(NonZeroU64);

impl KeyId {
    /// The key of a public id; `None` for a text that cannot be one.
    #[must_use]
    pub fn of(id: &str) -> Option<Self> {
        let fits = (1..=8).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
        let fold = |bits: u64, byte: u8| (bits << 8) | u64::from(byte);
        fits.then(|| id.bytes().fold(0, fold))
            .and_then(NonZeroU64::new)
            .map(Self)
    }

    /// Its characters as a number, the last one in the lowest byte; never zero.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0.get()
    }

    /// The key of such a number; `None` for one that is no key's.
    #[must_use]
    pub fn from_bits(bits: u64) -> Option<Self> {
        let bytes = bits.to_be_bytes();
        let start = bytes.iter().position(|&byte| byte != 0)?;
        Self::of(std::str::from_utf8(&bytes[start..]).ok()?)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.get().to_be_bytes();
        let text = bytes.iter().filter(|&&byte| byte != 0);
        text.map(|&byte| char::from(byte))
            .try_for_each(|char| write!(f, "{char}"))
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::of(&text).ok_or_else(|| D::Error::custom("not a key id"))
    }
}

/// One try to run a job: the job, its generation (raised by `/retry`) and a number from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// The job that is tried.
    pub job: JobId,
    /// How often the job was retried by hand, from 0.
    pub generation: u32,
    /// The try within the generation, from 1.
    pub number: u32,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}.{}", self.job, self.generation, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_ids_print_and_parse() {
        let uuid = 0x0192_8a4b_1111_7222_8333_0123_4567_89ab;
        let id = JobId::new(uuid, false);
        assert_eq!(id.to_string(), "01928a4b-1111-7222-8333-0123456789ab-u1");
        assert_eq!(id.to_string().parse(), Ok(id));
        let sync = JobId::new(uuid, true);
        assert_eq!(
            sync.to_string(),
            "sync-01928a4b-1111-7222-8333-0123456789ab-u1"
        );
        assert_eq!(sync.to_string().parse(), Ok(sync));
        assert_eq!(sync.uuid(), uuid);
    }

    #[test]
    fn key_ids_are_kept_as_numbers() {
        for text in ["k", "a1B2c3D4"] {
            let id = KeyId::of(text).unwrap();
            assert_eq!(id.to_string(), text);
            assert_eq!(KeyId::from_bits(id.bits()), Some(id));
        }
        for text in ["", "123456789", "ä", "a b", "a\0"] {
            assert_eq!(KeyId::of(text), None, "{text}");
        }
        assert_eq!(KeyId::from_bits(0), None);
        assert_eq!(KeyId::from_bits(0x0061_0061), None);
    }

    #[test]
    fn look_alikes_are_no_ids() {
        for text in [
            "",
            "-u1",
            "01928A4B-1111-7222-8333-0123456789ab-u1",
            "01928a4b-1111-7222-8333-0123456789ab",
            "01928a4b011110722208333-0123456789ab-u1",
            "../../etc/passwd",
        ] {
            assert_eq!(text.parse::<JobId>(), Err(ParseIdError), "{text}");
        }
        assert!(
            "+0000000000000000000000000000001"
                .parse::<WorkerId>()
                .is_err()
        );
    }
}
