//! Money as integers: nano-dollars, and rates in nano-dollars per hour.
//!
//! Per-second prices such as $0.69/h are no whole micro-dollars, so micro would be too coarse.
//! Products are computed in 128 bits and rounded half to even, once per ledger line.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

use serde::{Deserialize, Serialize};

use crate::time::DurationMs;

/// An amount in billionths of a US dollar; may be negative (a correction).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct NanoUsd(i64);

impl NanoUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// `nanos` billionths of a dollar.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// In billionths of a dollar.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// The sum, clamped to the representable range.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// `self` times `n`, clamped.
    #[must_use]
    pub const fn times(self, n: u32) -> Self {
        Self(self.0.saturating_mul(n as i64))
    }

    /// What so much power costs over a length of time, at this price of a kilowatt-hour; rounded down.
    #[must_use]
    pub fn of_power(self, milliwatts: u32, length: DurationMs) -> Self {
        // A kilowatt-hour is 3.6 × 10¹² milliwatt-milliseconds.
        let work = i128::from(milliwatts) * i128::from(length.as_millis());
        let nanos = i128::from(self.0) * work / 3_600_000_000_000;
        Self(i64::try_from(nanos).unwrap_or(i64::MAX))
    }

    /// Dollars with exactly `digits` decimals (at most 9), rounded half to even.
    #[must_use]
    pub fn to_usd(self, digits: u32) -> String {
        let digits = digits.min(9);
        let unit = 10_i128.pow(9 - digits);
        let rounded = div_half_even(i128::from(self.0), unit);
        let scale = 10_i128.pow(digits);
        let (whole, part) = (rounded.abs() / scale, rounded.abs() % scale);
        let sign = if rounded < 0 { "-" } else { "" };
        if digits == 0 {
            format!("{sign}{whole}")
        } else {
            format!("{sign}{whole}.{part:0width$}", width = digits as usize)
        }
    }

    /// Parses dollars such as `1.32`, with at most nine decimals and no sign.
    #[must_use]
    pub fn parse_usd(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        if whole.is_empty() || part.len() > 9 || text.ends_with('.') {
            return None;
        }
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(part) {
            return None;
        }
        let whole: i64 = whole.parse().ok()?;
        let nanos: i64 = format!("{part:0<9}").parse().ok()?;
        Some(Self(whole.checked_mul(1_000_000_000)?.checked_add(nanos)?))
    }
}

impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}", self.to_usd(4))
    }
}

impl Add for NanoUsd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

impl AddAssign for NanoUsd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for NanoUsd {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for NanoUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::saturating_add)
    }
}

/// A price of one worker, in nano-dollars per hour.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct RatePerHour(NanoUsd);

impl RatePerHour {
    /// `hourly` for each hour.
    #[must_use]
    pub const fn new(hourly: NanoUsd) -> Self {
        Self(hourly)
    }

    /// The price of one hour.
    #[must_use]
    pub const fn per_hour(self) -> NanoUsd {
        self.0
    }

    /// How long `amount` lasts, rounded up to a millisecond; for ever at no price.
    #[must_use]
    pub fn bought_by(self, amount: NanoUsd) -> DurationMs {
        let rate = i128::from(self.0.as_nanos());
        if rate <= 0 || amount.as_nanos() <= 0 {
            let length = if amount.as_nanos() <= 0 { 0 } else { u64::MAX };
            return DurationMs::from_millis(length);
        }
        let product = i128::from(amount.as_nanos()) * 3_600_000;
        let millis = (product + rate - 1) / rate;
        DurationMs::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    /// The price of `length`, rounded half to even to a nano-dollar.
    #[must_use]
    pub fn over(self, length: DurationMs) -> NanoUsd {
        let product = i128::from(self.0.as_nanos()) * i128::from(length.as_millis());
        let nanos = div_half_even(product, 3_600_000);
        NanoUsd(i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX }))
    }
}

/// `n / d` rounded half to even; `d` is positive.
fn div_half_even(n: i128, d: i128) -> i128 {
    let (quotient, rest) = (n.div_euclid(d), n.rem_euclid(d));
    match (rest * 2).cmp(&d) {
        std::cmp::Ordering::Less => quotient,
        std::cmp::Ordering::Greater => quotient + 1,
        std::cmp::Ordering::Equal => quotient + (quotient & 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_round_half_to_even() {
        let rate = RatePerHour::new(NanoUsd::parse_usd("0.44").unwrap());
        assert_eq!(rate.over(DurationMs::from_secs(3_600)), rate.per_hour());
        assert_eq!(rate.over(DurationMs::from_millis(1)).as_nanos(), 122);
        assert_eq!(div_half_even(5, 2), 2);
        assert_eq!(div_half_even(7, 2), 4);
        assert_eq!(div_half_even(-5, 2), -2);
    }

    #[test]
    fn money_lasts_for_as_long_as_it_pays_for() {
        let rate = RatePerHour::new(NanoUsd::parse_usd("0.44").unwrap());
        assert_eq!(
            rate.bought_by(rate.per_hour()),
            DurationMs::from_secs(3_600)
        );
        assert_eq!(rate.bought_by(NanoUsd(1)).as_millis(), 1);
        assert_eq!(rate.bought_by(NanoUsd(-1)), DurationMs::ZERO);
        assert_eq!(
            RatePerHour::default().bought_by(NanoUsd(1)).as_millis(),
            u64::MAX
        );
    }

    #[test]
    fn dollars_parse_and_print() {
        for (text, nanos) in [("1.32", 1_320_000_000), ("0", 0), ("0.000000001", 1)] {
            assert_eq!(NanoUsd::parse_usd(text), Some(NanoUsd(nanos)), "{text}");
        }
        for text in [
            "",
            "-1",
            "1.",
            ".5",
            "1.0000000001",
            "1e3",
            "99999999999999",
        ] {
            assert_eq!(NanoUsd::parse_usd(text), None, "{text}");
        }
        assert_eq!(NanoUsd(1_234_567_890).to_usd(4), "1.2346");
        assert_eq!(NanoUsd(-15_000_000).to_usd(2), "-0.02");
        assert_eq!(NanoUsd(2_500_000_000).to_usd(0), "2");
    }
}
