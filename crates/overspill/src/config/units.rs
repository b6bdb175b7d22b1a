//! Values with units as the configuration writes them: `"90s"`, `"$1.32"`, `"$0.44/h"`, `"12GB"`.
//!
//! Everything becomes an integer. A number without a unit is refused, because `timeout = 5` has
//! meant seconds, milliseconds and minutes in three tools that people come from.

use overspill_core::money::{NanoUsd, RatePerHour};
use overspill_core::time::DurationMs;

use super::problem::quoted;

/// An amount of memory in bytes; `GB` is 10^9 and `GiB` 2^30.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemorySize(u64);

impl MemorySize {
    /// `bytes` bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// In bytes.
    #[must_use]
    pub const fn as_bytes(self) -> u64 {
        self.0
    }
}

const DURATION_UNITS: [(&[&str], u64); 6] = [
    (&["ms", "msec", "millis"], 1),
    (&["s", "sec", "secs", "second", "seconds"], 1_000),
    (&["m", "min", "mins", "minute", "minutes"], 60_000),
    (&["h", "hr", "hrs", "hour", "hours"], 3_600_000),
    (&["d", "day", "days"], 86_400_000),
    (&["w", "week", "weeks"], 604_800_000),
];

const SIZE_UNITS: [(&str, u64); 9] = [
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

/// A length of time such as `90s`, `10m`, `1h30m` or `0.5s`.
///
/// # Errors
/// A sentence that says what is wrong and what is expected.
pub fn parse_duration(text: &str) -> Result<DurationMs, String> {
    let expected = "expected a number with a unit such as 90s, 10m, 24h or 7d";
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(format!("an empty duration; {expected}"));
    }
    if rest.starts_with('-') {
        return Err(format!("{} is below zero; {expected}", quoted(text)));
    }
    if rest.parse::<f64>().is_ok_and(f64::is_finite) {
        return Err(format!("{rest} what? use {rest}s, {rest}m"));
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(letters);
        let scale = DURATION_UNITS
            .iter()
            .find(|(names, _)| names.contains(&unit.to_ascii_lowercase().as_str()))
            .map(|(_, scale)| *scale);
        let part = scale.and_then(|scale| scaled(number, scale));
        let (Some(part), false) = (part, number.is_empty()) else {
            return Err(format!("{} is no duration; {expected}", quoted(text)));
        };
        total = total
            .checked_add(part)
            .filter(|total| i64::try_from(*total).is_ok())
            .ok_or_else(|| format!("{} is too long", quoted(text)))?;
        rest = next.trim_start();
    }
    Ok(DurationMs::from_millis(total))
}

/// The shortest form that [`parse_duration`] reads back.
#[must_use]
pub fn format_duration(length: DurationMs) -> String {
    let millis = length.as_millis();
    match millis {
        0 => "0s".to_owned(),
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1_000) => format!("{}s", millis / 1_000),
        _ => format!("{millis}ms"),
    }
}

/// An amount such as `$1.32`.
///
/// # Errors
/// A sentence that says what is wrong and what is expected.
pub fn parse_money(text: &str) -> Result<NanoUsd, String> {
    let expected = "expected US dollars such as \"$1.32\"";
    let text = text.trim();
    let Some(number) = text.strip_prefix('$') else {
        if text.parse::<f64>().is_ok_and(f64::is_finite) {
            return Err(format!("{text} what? use \"${text}\""));
        }
        if text.contains(['€', '£', '¥']) {
            return Err(format!("{} is not in US dollars; {expected}", quoted(text)));
        }
        return Err(format!(
            "{} is no amount of money; {expected}",
            quoted(text)
        ));
    };
    let number = number.trim();
    if let Some((amount, _)) = number.split_once('/') {
        return Err(format!(
            "{} is a price per time; expected an amount such as \"${}\"",
            quoted(text),
            amount.trim()
        ));
    }
    if number.contains(',') {
        let plain = number.replace(',', "");
        return Err(format!("{} has a comma; write \"${plain}\"", quoted(text)));
    }
    NanoUsd::parse_usd(number)
        .ok_or_else(|| format!("{} is no amount of money; {expected}", quoted(text)))
}

/// A price such as `$0.44/h` or `$0.00031/s`.
///
/// # Errors
/// A sentence that says what is wrong and what is expected.
pub fn parse_rate(text: &str) -> Result<RatePerHour, String> {
    let expected = "expected dollars per time such as \"$0.44/h\" or \"$0.00031/s\"";
    let Some((amount, unit)) = text.split_once('/') else {
        let bare = text.trim().trim_start_matches('$');
        if bare.parse::<f64>().is_ok_and(f64::is_finite) {
            return Err(format!(
                "{} per what? use \"${bare}/h\"",
                quoted(text.trim())
            ));
        }
        return Err(format!("{} is no price; {expected}", quoted(text)));
    };
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "h" | "hr" | "hour" => 1,
        "min" | "m" | "minute" => 60,
        "s" | "sec" | "second" => 3_600,
        _ => return Err(format!("{} is no price; {expected}", quoted(text))),
    };
    let amount = parse_money(amount)?;
    amount
        .as_nanos()
        .checked_mul(factor)
        .map(|nanos| RatePerHour::new(NanoUsd::from_nanos(nanos)))
        .ok_or_else(|| format!("{} is too much", quoted(text)))
}

/// A price of energy: of a kilowatt-hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnergyPrice(pub NanoUsd);

/// A price of energy such as `$0.30/kWh`.
///
/// # Errors
/// A sentence that says what is wrong and what is expected.
pub fn parse_energy_price(text: &str) -> Result<EnergyPrice, String> {
    let expected = "expected dollars per kilowatt-hour such as \"$0.30/kWh\"";
    let Some((amount, unit)) = text.split_once('/') else {
        let bare = text.trim().trim_start_matches('$');
        if bare.parse::<f64>().is_ok_and(f64::is_finite) {
            let text = quoted(text.trim());
            return Err(format!("{text} per what? use \"${bare}/kWh\""));
        }
        return Err(format!(
            "{} is no price of energy; {expected}",
            quoted(text)
        ));
    };
    if !unit.trim().eq_ignore_ascii_case("kwh") {
        return Err(format!(
            "{} is no price of energy; {expected}",
            quoted(text)
        ));
    }
    parse_money(amount).map(EnergyPrice)
}

/// The form that [`parse_energy_price`] reads back.
#[must_use]
pub fn format_energy_price(price: EnergyPrice) -> String {
    format!("{}/kWh", format_money(price.0))
}

/// The form that [`parse_money`] reads back: at least two decimals, no trailing zeros beyond.
#[must_use]
pub fn format_money(amount: NanoUsd) -> String {
    let full = amount.to_usd(9);
    let (whole, part) = full.split_once('.').unwrap_or((&full, ""));
    let kept = part.trim_end_matches('0').len().max(2);
    format!("${whole}.{}", &part[..kept])
}

/// The form that [`parse_rate`] reads back.
#[must_use]
pub fn format_rate(rate: RatePerHour) -> String {
    format!("{}/h", format_money(rate.per_hour()))
}

/// A size such as `12GB` or `512MiB`.
///
/// # Errors
/// A sentence that says what is wrong and what is expected.
pub fn parse_size(text: &str) -> Result<MemorySize, String> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if unit.is_empty() && !number.is_empty() {
        return Err(format!("{number} what? use {number}GB"));
    }
    let unit = unit.trim().to_ascii_lowercase();
    SIZE_UNITS
        .iter()
        .find(|(name, _)| *name == unit || (unit.len() == 1 && name.starts_with(&unit)))
        .and_then(|(_, scale)| scaled(number, *scale))
        .map(MemorySize)
        .ok_or_else(|| {
            format!(
                "{} is no size; expected a number with MB, GB or GiB",
                quoted(text)
            )
        })
}

/// The form that [`parse_size`] reads back.
#[must_use]
pub fn format_size(size: MemorySize) -> String {
    const UNITS: [(&str, u64); 6] = [
        ("GB", 1_000_000_000),
        ("GiB", 1 << 30),
        ("MB", 1_000_000),
        ("MiB", 1 << 20),
        ("KB", 1_000),
        ("KiB", 1 << 10),
    ];
    UNITS
        .iter()
        .find(|(_, scale)| size.0 >= *scale && size.0.is_multiple_of(*scale))
        .map_or_else(
            || format!("{}B", size.0),
            |(unit, scale)| format!("{}{unit}", size.0 / scale),
        )
}

/// `number` (decimals allowed) times `scale`, exact or truncated to a whole; `None` on nonsense.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || part.len() > 9 || part.contains('.') || number.ends_with('.') {
        return None;
    }
    let whole: u128 = whole.parse().ok()?;
    let part: u128 = format!("{part:0<9}").parse().ok()?;
    let scale = u128::from(scale);
    let total = whole
        .checked_mul(scale)?
        .checked_add(part * scale / 1_000_000_000)?;
    u64::try_from(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_parse_and_print() {
        for (text, millis, shown) in [
            ("90s", 90_000, "90s"),
            ("10m", 600_000, "10m"),
            ("24h", 86_400_000, "24h"),
            ("1h30m", 5_400_000, "90m"),
            ("0.5s", 500, "500ms"),
            ("7 days", 604_800_000, "168h"),
        ] {
            let length = parse_duration(text).unwrap();
            assert_eq!(length.as_millis(), millis, "{text}");
            assert_eq!(format_duration(length), shown);
            assert_eq!(parse_duration(shown).unwrap(), length);
        }
        assert_eq!(parse_duration("5").unwrap_err(), "5 what? use 5s, 5m");
        for negative in ["-1", "-5s"] {
            let said = parse_duration(negative).unwrap_err();
            assert!(said.contains("is below zero"), "{said}");
        }
        for text in [
            "",
            "s",
            "5x",
            "5s5",
            "-5s",
            "1..5s",
            "99999999999999999999h",
            "5.s",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn money_parses_and_prints() {
        assert_eq!(parse_money("$1.32").unwrap().as_nanos(), 1_320_000_000);
        assert_eq!(format_money(parse_money("$20").unwrap()), "$20.00");
        assert_eq!(format_money(parse_money("$0.00031").unwrap()), "$0.00031");
        assert_eq!(parse_money("20").unwrap_err(), "20 what? use \"$20\"");
        for text in [
            "", "$", "$-1", "$1,000", "€5", "$5/h", "five", "$1e9", "$inf",
        ] {
            assert!(parse_money(text).is_err(), "{text}");
        }
    }

    #[test]
    fn prices_parse_and_print() {
        assert_eq!(
            parse_rate("$0.44/h").unwrap().per_hour().as_nanos(),
            440_000_000
        );
        assert_eq!(format_rate(parse_rate("$0.00031/s").unwrap()), "$1.116/h");
        assert!(
            parse_rate("$0.44")
                .unwrap_err()
                .contains("per what? use \"$0.44/h\"")
        );
        assert!(parse_rate("$0.44/year").is_err());
    }

    #[test]
    fn prices_of_energy_parse_and_print() {
        let price = parse_energy_price("$0.30/kWh").unwrap();
        assert_eq!(price.0.as_nanos(), 300_000_000);
        assert_eq!(format_energy_price(price), "$0.30/kWh");
        assert_eq!(
            parse_energy_price("0.3").unwrap_err(),
            "`0.3` per what? use \"$0.3/kWh\""
        );
        for text in ["$0.30/h", "dear", "0.30/kWh"] {
            assert!(parse_energy_price(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_parse_and_print() {
        assert_eq!(parse_size("12GB").unwrap().as_bytes(), 12_000_000_000);
        assert_eq!(parse_size("24 GiB").unwrap().as_bytes(), 24 << 30);
        assert_eq!(format_size(parse_size("24GiB").unwrap()), "24GiB");
        assert_eq!(parse_size("12").unwrap_err(), "12 what? use 12GB");
        assert!(parse_size("12 apples").is_err());
    }
}
