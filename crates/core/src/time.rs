//! Time as the core sees it: integers of milliseconds, handed in with each event.
//!
//! The core reads no clock. A [`Timestamp`] counts from the Unix epoch in the server and from zero
//! in the simulator; the driver sees to it that it never goes back.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

use serde::{Deserialize, Serialize};

/// A moment, in milliseconds since the driver's epoch.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The driver's epoch.
    pub const ZERO: Self = Self(0);
    /// Later than every moment that occurs.
    pub const NEVER: Self = Self(i64::MAX);

    /// A moment `millis` milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Time passed since `earlier`; zero when `earlier` lies in the future.
    #[must_use]
    pub const fn since(self, earlier: Self) -> DurationMs {
        let millis = self.0.saturating_sub(earlier.0);
        DurationMs(if millis > 0 {
            millis.cast_unsigned()
        } else {
            0
        })
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

/// A length of time in milliseconds; never negative.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct DurationMs(u64);

impl DurationMs {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// `millis` milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// `secs` seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000))
    }

    /// In milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// In seconds, for display and for the scaler's estimates; never stored.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "2^53 ms are 285,000 years")]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1_000.0
    }

    /// From a length in seconds; negative and non-finite lengths become zero.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "float casts saturate, and negative lengths become zero by contract"
    )]
    pub fn from_secs_f64(secs: f64) -> Self {
        Self((secs * 1_000.0).round() as u64)
    }

    /// The sum, at most the longest length.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, at least zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for DurationMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}s", self.0 / 1_000, self.0 % 1_000)
    }
}

impl Add<DurationMs> for Timestamp {
    type Output = Self;

    fn add(self, length: DurationMs) -> Self {
        Self(self.0.saturating_add_unsigned(length.0))
    }
}

impl AddAssign<DurationMs> for Timestamp {
    fn add_assign(&mut self, length: DurationMs) {
        *self = *self + length;
    }
}

impl Sub<DurationMs> for Timestamp {
    type Output = Self;

    fn sub(self, length: DurationMs) -> Self {
        Self(self.0.saturating_sub_unsigned(length.0))
    }
}

impl Add for DurationMs {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_never_negative() {
        let (a, b) = (Timestamp::from_millis(5), Timestamp::from_millis(9));
        assert_eq!(b.since(a), DurationMs::from_millis(4));
        assert_eq!(a.since(b), DurationMs::ZERO);
    }

    #[test]
    fn never_absorbs_additions() {
        assert_eq!(
            Timestamp::NEVER + DurationMs::from_secs(1),
            Timestamp::NEVER
        );
    }
}
