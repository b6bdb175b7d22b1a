//! Hours, days and months of a time zone, from its offsets alone.
//!
//! The core knows no time zone database: whoever reads the configuration works out the offsets and
//! hands them in. A period begins and ends on the zone's own clock, so a day in which summer time
//! begins has 23 hours.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

const HOUR_MS: i64 = 3_600_000;
/// Milliseconds of a day of 24 hours.
pub(crate) const DAY_MS: i64 = 24 * HOUR_MS;

/// A stretch of the calendar that a cap holds for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// A clock hour.
    Hour,
    /// A calendar day.
    Day,
    /// A calendar month.
    Month,
}

impl Period {
    /// All of them, the shortest first.
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Month];

    /// The configuration's key of a cap for it.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Hour => "per_hour",
            Self::Day => "per_day",
            Self::Month => "per_month",
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        })
    }
}

/// A time zone: from when on its clocks are how many seconds ahead of UTC; in order of time. The
/// first offset also holds for all time before; without any it is UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calendar {
    offsets: Vec<(Timestamp, i32)>,
}

impl Calendar {
    /// The zone of these offsets, in seconds; any order.
    #[must_use]
    pub fn new(mut offsets: Vec<(Timestamp, i32)>) -> Self {
        offsets.sort_unstable();
        Self { offsets }
    }

    /// Start and end of the period that `at` lies in; the end is not part of it.
    #[must_use]
    pub fn period(&self, period: Period, at: Timestamp) -> (Timestamp, Timestamp) {
        let offset = self.offset_ms(at.as_millis());
        let local = at.as_millis().saturating_add(offset);
        let (start, end) = match period {
            Period::Hour => {
                let start = at.as_millis() - local.rem_euclid(HOUR_MS);
                (start, start + HOUR_MS)
            }
            Period::Day => {
                let start = local.div_euclid(DAY_MS) * DAY_MS;
                let day = (start, start + DAY_MS);
                (self.instant(day.0, offset), self.instant(day.1, offset))
            }
            Period::Month => {
                let month = month(local);
                (self.instant(month.0, offset), self.instant(month.1, offset))
            }
        };
        (Timestamp::from_millis(start), Timestamp::from_millis(end))
    }

    /// What the zone's clocks show at a moment, in milliseconds since they showed the epoch.
    pub(crate) fn local(&self, at: Timestamp) -> i64 {
        at.as_millis()
            .saturating_add(self.offset_ms(at.as_millis()))
    }

    /// The moment at which the zone's clocks show `local`. Where they show it twice, it is the first time;
    /// where they skip it, it is as long after the change as it would have been without.
    pub(crate) fn moment(&self, local: i64) -> Timestamp {
        // As seen from the day before, so that it is the same from wherever it is asked.
        let offset = self.offset_ms(local.saturating_sub(DAY_MS));
        Timestamp::from_millis(self.instant(local, offset))
    }

    /// The moment at which the zone's clocks show `local`, seen from a moment with `offset`.
    fn instant(&self, local: i64, offset: i64) -> i64 {
        let guess = local.saturating_sub(offset);
        let there = self.offset_ms(guess);
        let other = local.saturating_sub(there);
        if there == offset || self.offset_ms(other) == there {
            other
        } else {
            // The clocks skip it: it is when they do.
            guess.max(other)
        }
    }

    fn offset_ms(&self, at: i64) -> i64 {
        let known = self
            .offsets
            .partition_point(|(from, _)| from.as_millis() <= at);
        let found = self.offsets.get(known.saturating_sub(1));
        found.map_or(0, |&(_, seconds)| i64::from(seconds) * 1_000)
    }
}

/// Start of a month and of the next one, on the zone's clock.
fn month(local: i64) -> (i64, i64) {
    let (year, month) = year_and_month(local.div_euclid(DAY_MS));
    let (next_year, next_month) = if month == 12 {
        (year + 1, 1)
    } else {
        (year, month + 1)
    };
    let first = |year, month| first_day(year, month) * DAY_MS;
    (first(year, month), first(next_year, next_month))
}

/// The month of a day since the epoch. Years are counted from March, so that leap days come last;
/// 400 years have 146,097 days.
const fn year_and_month(day: i64) -> (i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month)
}

/// Days from the epoch to the first of a month.
const fn first_day(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * from_march + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-03-29 12:00 UTC: in Berlin summer time began at 01:00 UTC.
    const NOON: i64 = 1_774_785_600_000;

    fn berlin() -> Calendar {
        let winter = Timestamp::from_millis(1_761_440_400_000);
        let summer = Timestamp::from_millis(1_774_746_000_000);
        let autumn = Timestamp::from_millis(1_792_890_000_000);
        Calendar::new(vec![(winter, 3_600), (summer, 7_200), (autumn, 3_600)])
    }

    fn hours(calendar: &Calendar, period: Period, at: i64) -> (i64, i64) {
        let (start, end) = calendar.period(period, Timestamp::from_millis(at));
        (
            (at - start.as_millis()) / HOUR_MS,
            (end.as_millis() - at) / HOUR_MS,
        )
    }

    #[test]
    fn periods_of_utc() {
        let utc = Calendar::default();
        assert_eq!(hours(&utc, Period::Hour, NOON), (0, 1));
        assert_eq!(hours(&utc, Period::Day, NOON), (12, 12));
        assert_eq!(
            hours(&utc, Period::Month, NOON),
            (28 * 24 + 12, 2 * 24 + 12)
        );
    }

    #[test]
    fn a_day_in_which_summer_time_begins_has_23_hours() {
        let berlin = berlin();
        let (before, after) = hours(&berlin, Period::Day, NOON);
        assert_eq!((before, after), (13, 10));
        // March has an hour less there.
        let (before, after) = hours(&berlin, Period::Month, NOON);
        assert_eq!(before + after, 31 * 24 - 1);
    }

    #[test]
    fn a_midnight_that_the_clocks_skip_or_show_twice_is_one_moment() {
        let skip = Timestamp::from_millis(NOON - 14 * HOUR_MS);
        let twice = Timestamp::from_millis(NOON + 10 * HOUR_MS);
        let zone = Calendar::new(vec![
            (Timestamp::ZERO, 2 * 3_600),
            (skip, 3 * 3_600),
            (twice, 2 * 3_600),
        ]);
        for minutes in -2_880..2_880 {
            let at = Timestamp::from_millis(NOON + minutes * 60_000);
            let (start, end) = zone.period(Period::Day, at);
            assert!(start <= at && at < end, "{at}");
            assert_eq!(zone.period(Period::Day, end).0, end, "after {at}");
        }
    }

    #[test]
    fn every_moment_lies_in_its_period_and_periods_meet() {
        for calendar in [Calendar::default(), berlin()] {
            for period in Period::ALL {
                for step in 0..3_000 {
                    let at = Timestamp::from_millis(NOON + (step - 1_500) * 7 * HOUR_MS / 3);
                    let (start, end) = calendar.period(period, at);
                    assert!(start <= at && at < end, "{period} at {at}");
                    let (again, _) = calendar.period(period, end);
                    assert_eq!(again, end, "{period} after {at}");
                }
            }
        }
    }

    #[test]
    fn months_are_the_calendars_own() {
        // 1900 is no leap year, 2000 and 2024 are.
        for (year, february) in [(1900, 28), (2000, 29), (2023, 28), (2024, 29)] {
            assert_eq!(first_day(year, 3) - first_day(year, 2), february, "{year}");
            assert_eq!(year_and_month(first_day(year, 3) - 1), (year, 2));
            assert_eq!(year_and_month(first_day(year, 3)), (year, 3));
        }
        assert_eq!(first_day(1970, 1), 0);
    }
}
