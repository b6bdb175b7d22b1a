//! `[[endpoint.schedule]]`: more cloud workers kept on at certain hours.

use overspill_core::schedule::{DAY_MINUTES, Days};
use overspill_core::time::DurationMs;

use super::decode::{Check, Decoder, from_text, section};
use super::endpoint::within;
use super::node::Node;
use super::problem::{did_you_mean, quoted};
use super::settings::TimeZone;

section! {
    /// More cloud workers kept on at certain hours, such as working hours. Of several that hold at once,
    /// and of `workers.min`, the most counts.
    pub struct Schedule in "[[endpoint.schedule]]" {
        /// Days on which it begins: `"mon"`, or a range such as `"mon-fri"`. Left out: every day.
        pub days: Vec<DayRange> = Vec::new(),
        /// Time of day from which the workers are ready.
        pub from: TimeOfDay,
        /// Time of day until which they are kept on; up to `from`, it is on the next day.
        pub to: TimeOfDay,
        /// Cloud workers that are kept on meanwhile, at most `workers.max`.
        pub min: u32,
        /// Time zone of `from` and `to`, as an IANA name. Left out: that of `[budget]`.
        pub time_zone: Option<TimeZone> = None,
        /// How long ahead of `from` they are ordered. Left out: as long as they take to start, as measured.
        pub lead: Option<DurationMs> = None,
    }
}

/// Days of the week, from one to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayRange(Days);

/// A time of day, in minutes from midnight; `24:00` is its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeOfDay(u16);

impl Schedule {
    /// The days on which it begins.
    #[must_use]
    pub fn days(&self) -> Days {
        if self.days.is_empty() {
            return Days::ALL;
        }
        Days(self.days.iter().fold(0, |days, range| days | range.0.0))
    }

    /// When it opens and closes, in minutes from the midnight before it opens.
    #[must_use]
    pub const fn minutes(&self) -> (u16, u16) {
        let (from, to) = (self.from.0, self.to.0);
        (from, if to > from { to } else { to + DAY_MINUTES })
    }
}

impl Check for Schedule {
    fn check(&mut self, node: &Node, cx: &mut Decoder<'_, '_>) {
        if self.from.0 == DAY_MINUTES {
            let message = "from = \"24:00\" is the end of the day; expected \"00:00\" to \"23:59\"";
            cx.error(node.place_of("from"), message);
        }
        if self.from == self.to {
            let message =
                "from and to are the same; a whole day is from = \"00:00\", to = \"24:00\"";
            cx.error(node.place_of("to"), message);
        }
        if self.min == 0 {
            let message = "min = 0 keeps no worker on; expected 1 or more, or no schedule";
            cx.error(node.place_of("min"), message);
        }
        if let Some(lead) = self.lead {
            let hour = DurationMs::from_secs(3_600);
            within(cx, node.place_of("lead"), lead, DurationMs::ZERO, hour);
        }
    }
}

impl DayRange {
    /// Reads `mon` or `mon-fri`; a range may go over the end of the week.
    ///
    /// # Errors
    /// A sentence that says what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let number = |name: &str| {
            let name = name.trim().to_ascii_lowercase();
            let is_it = |known: &&str| name == **known;
            Days::NAMES.iter().position(is_it).ok_or_else(|| {
                format!(
                    "{} is no day; expected {}, or a range such as \"mon-fri\"{}",
                    quoted(text),
                    Days::NAMES.join(", "),
                    did_you_mean(&name, Days::NAMES.iter().copied())
                )
            })
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (mut day, last) = (number(first)?, number(last)?);
        let mut days = 1 << day;
        while day != last {
            day = (day + 1) % 7;
            days |= 1 << day;
        }
        Ok(Self(Days(days)))
    }
}

impl TimeOfDay {
    /// Reads `08:00`, `8:00`, or `24:00`.
    ///
    /// # Errors
    /// A sentence that says what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text.trim().split_once(':');
        let number = |digits: &str, most: u16| {
            let is_plain = (1..=2).contains(&digits.len());
            let number: u16 = digits.parse().ok()?;
            (is_plain && digits.bytes().all(|b| b.is_ascii_digit()) && number <= most)
                .then_some(number)
        };
        parts
            .filter(|(_, minutes)| minutes.len() == 2)
            .and_then(|(hours, minutes)| Some(number(hours, 24)? * 60 + number(minutes, 59)?))
            .filter(|&minutes| minutes <= DAY_MINUTES)
            .map(Self)
            .ok_or_else(|| {
                format!(
                    "{} is no time of day; expected hours and minutes from \"00:00\" to \"24:00\"",
                    quoted(text)
                )
            })
    }
}

impl std::fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

from_text!(
    DayRange,
    "a day or a range of days such as `\"mon-fri\"`",
    DayRange::parse,
    |range: &DayRange| range.0.to_string()
);
from_text!(
    TimeOfDay,
    "a time of day such as `\"08:00\"`",
    TimeOfDay::parse,
    ToString::to_string
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_times_are_read_as_people_write_them() {
        let days = |text: &str| DayRange::parse(text).map(|range| range.0.0);
        assert_eq!(days("mon"), Ok(0b1));
        assert_eq!(days("Mon-Fri"), Ok(0b1_1111));
        assert_eq!(days("sat-mon"), Ok(0b110_0001));
        let odd = days("mondy").unwrap_err();
        assert!(
            odd.contains("`mondy` is no day") && odd.contains("mon"),
            "{odd}"
        );
        let time = |text: &str| TimeOfDay::parse(text).map(|time| time.to_string());
        assert_eq!(time("8:05").as_deref(), Ok("08:05"));
        assert_eq!(time("24:00").as_deref(), Ok("24:00"));
        for odd in [
            "8", "8:5", "24:01", "25:00", "12:60", "-1:00", "08:00:00", "",
        ] {
            let error = time(odd).unwrap_err();
            assert!(error.contains("is no time of day"), "{error}");
        }
    }
}
