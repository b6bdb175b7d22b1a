//! Values of `--set`: counts, numbers, and times with a unit.

use overspill_core::time::DurationMs;

/// Why a text is no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no value here; expected {expected}")]
pub struct ValueError {
    /// What was given.
    pub text: String,
    /// What is expected, with an example.
    pub expected: &'static str,
}

fn wrong(text: &str, expected: &'static str) -> ValueError {
    ValueError {
        text: text.chars().take(60).collect(),
        expected,
    }
}

/// A whole number from 0.
///
/// # Errors
/// When it is none.
pub fn count(text: &str) -> Result<u32, ValueError> {
    text.trim()
        .parse()
        .map_err(|_| wrong(text, "a whole number such as 8"))
}

/// A whole number from 1.
///
/// # Errors
/// When it is none.
pub fn positive(text: &str) -> Result<u32, ValueError> {
    count(text)
        .ok()
        .filter(|&n| n > 0)
        .ok_or_else(|| wrong(text, "a whole number from 1 such as 8"))
}

/// A number from 0.
///
/// # Errors
/// When it is none.
pub fn number(text: &str) -> Result<f64, ValueError> {
    text.trim()
        .parse::<f64>()
        .ok()
        .filter(|value| (0.0..=1e12).contains(value))
        .ok_or_else(|| wrong(text, "a number from 0 such as 0.95"))
}

/// A time such as `500ms`, `30s`, `5m` or `2h`.
///
/// # Errors
/// When it is none.
pub fn duration(text: &str) -> Result<DurationMs, ValueError> {
    let expected = "a time with its unit such as 500ms, 30s, 5m or 2h";
    let trimmed = text.trim();
    let digits = trimmed
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(trimmed.len());
    let (amount, unit) = trimmed.split_at(digits);
    let scale = match unit.trim() {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err(wrong(text, expected)),
    };
    let amount = number(amount).map_err(|_| wrong(text, expected))?;
    Ok(DurationMs::from_secs_f64(amount * scale))
}

/// A shortest and a longest time such as `30s..60s`, or one time for both.
///
/// # Errors
/// When it is none.
pub fn range(text: &str) -> Result<(DurationMs, DurationMs), ValueError> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let (from, to) = (duration(from)?, duration(to)?);
    if from > to {
        return Err(wrong(text, "the shorter time first, as in 30s..60s"));
    }
    Ok((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("1.5m", 90_000),
            ("2h", 7_200_000),
        ] {
            assert_eq!(
                duration(text),
                Ok(DurationMs::from_millis(millis)),
                "{text}"
            );
        }
        for text in ["30", "s", "-3s", "3 parsecs", "1e9s", ""] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(
            range("60s..30s")
                .unwrap_err()
                .to_string()
                .contains("shorter")
        );
        assert_eq!(range("5s").unwrap().0, DurationMs::from_secs(5));
    }

    #[test]
    fn numbers_are_finite_and_not_negative() {
        assert_eq!(number("0.95"), Ok(0.95));
        for text in ["nan", "inf", "-1", "x"] {
            assert!(number(text).is_err(), "{text}");
        }
        assert!(count("1.5").is_err());
    }
}
