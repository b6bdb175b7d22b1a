//! Schedules: more workers kept on at certain hours, such as on working days from 8 to 18.
//!
//! Pure arithmetic over a [`Calendar`]: whoever reads the configuration hands in the zone's offsets. A
//! window opens and closes by the zone's own clocks, so a day in which summer time begins has a
//! shorter night and no window moves. Workers are ordered ahead of its opening, by the time that they
//! take to start, so that they are ready when it opens. What a schedule asks for is a *min*: it is
//! bounded by the endpoint's max, by the account and by every cap, as the fixed min is.
//!
//! **Words.** A *window* is one stretch of time, a *schedule* the rule that makes one of each day; the
//! *lead* is how long ahead of a window its workers are ordered.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::calendar::{Calendar, DAY_MS};
use crate::time::{DurationMs, Timestamp};

/// Minutes of a day.
pub const DAY_MINUTES: u16 = 24 * 60;
/// A window is at most this long, so that one schedule has at most two at a time.
const DAYS_BACK: i64 = 2;
/// How far ahead the next change is looked for, in days: every week has each day.
const DAYS_AHEAD: i64 = 9;

/// One rule: on these days, from and to these hours, at least so many workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// The days on which a window opens.
    pub days: Days,
    /// When it opens, in minutes from midnight, below [`DAY_MINUTES`].
    pub from: u16,
    /// When it closes, in minutes from the midnight before it opens: above `from`, and at most a day after
    /// it.
    pub to: u16,
    /// Cloud workers that are kept on meanwhile.
    pub min: u32,
    /// How long ahead workers are ordered; `None`: as long as they take to start, as learned.
    pub lead: Option<DurationMs>,
    /// Whose clocks.
    pub calendar: Calendar,
}

/// A set of days of the week; bit 0 is Monday.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Days(pub u8);

impl Days {
    /// Every day.
    pub const ALL: Self = Self(0b111_1111);
    /// Their names, Monday first.
    pub const NAMES: [&'static str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

    /// Whether it has the day of this number since the epoch, which was a Thursday.
    #[must_use]
    pub const fn has(self, day: i64) -> bool {
        self.0 >> (day + 3).rem_euclid(7) & 1 == 1
    }
}

/// What the schedules of an endpoint ask for at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    /// Workers to be kept on.
    pub min: u32,
    /// When the window opens, or opened.
    pub opens: Timestamp,
    /// When it closes.
    pub closes: Timestamp,
}

impl Scheduled {
    /// Whether workers are only ordered ahead, for a window that is not open yet.
    #[must_use]
    pub fn is_ahead(&self, now: Timestamp) -> bool {
        now < self.opens
    }
}

impl Schedule {
    /// The windows around `now`: those that may be open, and those of the days ahead, in order.
    fn windows(
        &self,
        now: Timestamp,
        days_ahead: i64,
    ) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let today = self.calendar.local(now).div_euclid(DAY_MS);
        (today - DAYS_BACK..=today + days_ahead)
            .filter(|&day| self.days.has(day))
            .map(move |day| {
                let at = |minutes: u16| {
                    let local = day * DAY_MS + i64::from(minutes) * 60_000;
                    self.calendar.moment(local)
                };
                (at(self.from), at(self.to))
            })
            // A window whose hours the clocks skip is none.
            .filter(|(opens, closes)| opens < closes)
    }

    fn ordered_at(&self, opens: Timestamp, start_up: DurationMs) -> Timestamp {
        let lead = self.lead.unwrap_or(start_up).as_millis();
        Timestamp::from_millis(opens.as_millis().saturating_sub_unsigned(lead))
    }
}

/// What all schedules ask for at `now`: the most of those that are open or ordered ahead for, with a start-up
/// of so long; of equals the one that closes last.
#[must_use]
pub fn asked(schedules: &[Schedule], now: Timestamp, start_up: DurationMs) -> Option<Scheduled> {
    let open = schedules.iter().flat_map(|schedule| {
        schedule
            .windows(now, 1)
            .filter(move |&(opens, closes)| {
                schedule.ordered_at(opens, start_up) <= now && now < closes
            })
            .map(|(opens, closes)| Scheduled {
                min: schedule.min,
                opens,
                closes,
            })
    });
    open.max_by_key(|window| (window.min, window.closes))
}

/// When what is asked for may change next.
#[must_use]
pub fn next_change(
    schedules: &[Schedule],
    now: Timestamp,
    start_up: DurationMs,
) -> Option<Timestamp> {
    let edges = schedules.iter().flat_map(|schedule| {
        schedule
            .windows(now, DAYS_AHEAD)
            .flat_map(move |(opens, closes)| [schedule.ordered_at(opens, start_up), opens, closes])
    });
    edges.filter(|&at| at > now).min()
}

impl fmt::Display for Days {
    /// Runs of three and more as a range: `mon-fri`, `sat, sun`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        let has = |day: usize| self.0 >> day & 1 == 1;
        let mut day = 0;
        while day < 7 {
            if !has(day) {
                day += 1;
                continue;
            }
            let first = day;
            while day + 1 < 7 && has(day + 1) {
                day += 1;
            }
            match day - first {
                0 => parts.push(Self::NAMES[first].to_owned()),
                1 => parts.extend([first, day].map(|day| Self::NAMES[day].to_owned())),
                _ => parts.push(format!("{}-{}", Self::NAMES[first], Self::NAMES[day])),
            }
            day += 1;
        }
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    /// 2026-03-29 00:00 UTC, a Sunday: in Berlin summer time begins at 01:00 UTC.
    const SUNDAY: i64 = 1_774_742_400_000;
    /// 2026-10-25 00:00 UTC, a Sunday: in Berlin summer time ends at 01:00 UTC.
    const AUTUMN: i64 = 1_792_886_400_000;

    fn berlin() -> Calendar {
        let at = Timestamp::from_millis;
        Calendar::new(vec![
            (at(SUNDAY - 150 * 24 * HOUR), 3_600),
            (at(SUNDAY + HOUR), 7_200),
            (at(AUTUMN + HOUR), 3_600),
        ])
    }

    fn schedule(days: u8, from: u16, to: u16, min: u32) -> Schedule {
        Schedule {
            days: Days(days),
            from,
            to,
            min,
            lead: None,
            calendar: berlin(),
        }
    }

    /// What is asked for at a moment, with a start-up of a minute.
    fn min(schedules: &[Schedule], at: i64) -> u32 {
        let start_up = DurationMs::from_secs(60);
        asked(schedules, Timestamp::from_millis(at), start_up).map_or(0, |asked| asked.min)
    }

    #[test]
    fn working_hours_hold_on_working_days_by_the_clocks_of_the_zone() {
        let office = [schedule(0b001_1111, 8 * 60, 18 * 60, 2)];
        // The Friday before: 8:00 in Berlin is 7:00 UTC.
        let friday = SUNDAY - 2 * 24 * HOUR;
        assert_eq!(min(&office, friday + 7 * HOUR - 60_001), 0);
        assert_eq!(min(&office, friday + 7 * HOUR - 60_000), 2, "the lead");
        assert_eq!(min(&office, friday + 17 * HOUR - 1), 2);
        assert_eq!(min(&office, friday + 17 * HOUR), 0);
        assert_eq!(min(&office, SUNDAY + 10 * HOUR), 0, "Sunday");
        // The Monday after: summer time, and 8:00 is 6:00 UTC.
        let monday = SUNDAY + 24 * HOUR;
        assert_eq!(min(&office, monday + 6 * HOUR - 60_001), 0);
        assert_eq!(min(&office, monday + 6 * HOUR), 2);
        assert_eq!(min(&office, monday + 16 * HOUR), 0);
    }

    #[test]
    fn a_night_over_the_change_of_the_clocks_is_an_hour_shorter_or_longer() {
        // Saturday 22:00 to Sunday 6:00.
        let night = [schedule(0b010_0000, 22 * 60, 30 * 60, 1)];
        let length = |sunday: i64| {
            let asked_at = |at: i64| asked(&night, Timestamp::from_millis(at), DurationMs::ZERO);
            let window = asked_at(sunday).expect("midnight in UTC lies in it");
            for minute in -180..420 {
                let at = Timestamp::from_millis(sunday + minute * 60_000);
                let is_in = window.opens <= at && at < window.closes;
                let now = asked_at(at.as_millis());
                assert_eq!(now, is_in.then_some(window), "minute {minute}");
            }
            window.closes.since(window.opens).as_millis() / 3_600_000
        };
        assert_eq!(length(SUNDAY), 7);
        assert_eq!(length(AUTUMN), 9);
        // An ordinary one.
        assert_eq!(length(SUNDAY + 7 * 24 * HOUR), 8);
    }

    #[test]
    fn hours_that_the_clocks_skip_are_an_hour_later_on_the_clocks() {
        // 2:15 to 2:45 does not exist on that Sunday, and is 3:15 to 3:45; 2:30 to 4:00 begins at 3:30.
        let skipped = [schedule(0b100_0000, 135, 165, 1)];
        let shortened = [schedule(0b100_0000, 150, 240, 1)];
        for minute in 0..240 {
            let at = SUNDAY + minute * 60_000;
            let start_up = DurationMs::ZERO;
            let now = Timestamp::from_millis(at);
            let is_open = |window| asked(window, now, start_up).is_some();
            assert_eq!(
                is_open(&skipped),
                (75..105).contains(&minute),
                "minute {minute}"
            );
            assert_eq!(
                is_open(&shortened),
                (90..120).contains(&minute),
                "minute {minute}"
            );
        }
    }

    #[test]
    fn an_hour_that_the_clocks_show_twice_closes_once() {
        // Until 2:30 on the Sunday on which 2:00 to 3:00 comes twice: until the first.
        let until = [schedule(0b100_0000, 60, 150, 1)];
        for minute in -120..240 {
            let now = Timestamp::from_millis(AUTUMN + minute * 60_000);
            let is_open = asked(&until, now, DurationMs::ZERO).is_some();
            assert_eq!(is_open, (-60..30).contains(&minute), "minute {minute}");
        }
    }

    #[test]
    fn of_several_the_most_counts_and_each_change_is_foreseen() {
        let schedules = [
            schedule(0b111_1111, 0, DAY_MINUTES, 1),
            schedule(0b000_0001, 9 * 60, 17 * 60, 4),
            Schedule {
                lead: Some(DurationMs::from_secs(600)),
                ..schedule(0b000_0001, 12 * 60, 13 * 60, 6)
            },
        ];
        let start_up = DurationMs::from_secs(45);
        // Walking from change to change sees every change there is.
        let mut now = Timestamp::from_millis(SUNDAY - 24 * HOUR);
        let mut seen = Vec::new();
        while now.as_millis() < SUNDAY + 3 * 24 * HOUR {
            let min = |at| asked(&schedules, at, start_up).map_or(0, |asked| asked.min);
            let next = next_change(&schedules, now, start_up).expect("there is always one");
            assert!(next > now);
            let mut at = now;
            while at < next {
                assert_eq!(min(at), min(now), "between {now} and {next}");
                at += DurationMs::from_secs(300);
            }
            seen.push(min(now));
            now = next;
        }
        seen.dedup();
        assert_eq!(seen, [1, 4, 6, 4, 1]);
        assert_eq!(next_change(&[], now, start_up), None);
    }

    #[test]
    fn days_are_written_as_people_do() {
        let text = |days: u8| Days(days).to_string();
        assert_eq!(text(0b001_1111), "mon-fri");
        assert_eq!(text(0b110_0000), "sat, sun");
        assert_eq!(text(0b111_1111), "mon-sun");
        assert_eq!(text(0b010_0101), "mon, wed, sat");
    }
}
