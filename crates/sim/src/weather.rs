//! What a run of a seed may have, beyond what the seed itself draws: which faults, how many storms and
//! jobs. With the seed and the commit it names a run, in the words that the command line takes.

use std::fmt;

use crate::faults::{Fault, named};

/// What is left of a seed's weather. The default leaves everything: a few storms, each with a calm
/// after it, and hours to days without work between them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Weather {
    /// These faults, whatever the seed draws, and no other.
    pub only: Option<Vec<Fault>>,
    /// These never; all others strike as they would.
    pub without: Vec<Fault>,
    /// One storm and the calm after it: minutes, not hours.
    pub is_short: bool,
    /// So many storms at most.
    pub storms_max: Option<u32>,
    /// So many jobs in each storm at most.
    pub jobs_max: Option<u32>,
    /// A storm calms down after so many minutes at most.
    pub minutes_max: Option<u32>,
}

impl Weather {
    /// One storm, with all that the seed draws.
    #[must_use]
    pub fn short() -> Self {
        Self {
            is_short: true,
            ..Self::default()
        }
    }

    /// Whether a fault is forced on or off; `None` where the seed draws.
    #[must_use]
    pub fn has(&self, fault: Fault) -> Option<bool> {
        if self.without.contains(&fault) {
            return Some(false);
        }
        self.only.as_ref().map(|only| only.contains(&fault))
    }

    /// Takes in one word of the command line, such as `--jobs=3`. Whether it is one of these.
    ///
    /// # Errors
    /// With the word whose value is not possible.
    pub fn take(&mut self, word: &str) -> Result<bool, String> {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let number = || match value.parse() {
            Ok(number) if number > 0 => Ok(Some(number)),
            _ => Err(format!("`{word}`: `{value}` is no number from 1 on")),
        };
        match name {
            "--short" if value.is_empty() => self.is_short = true,
            "--only-faults" => self.only = Some(faults(value)?),
            "--without" => self.without.extend(faults(value)?),
            "--storms" => self.storms_max = number()?,
            "--jobs" => self.jobs_max = number()?,
            "--minutes" => self.minutes_max = number()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl fmt::Display for Weather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |faults: &[Fault]| {
            let names: Vec<_> = faults.iter().map(|fault| fault.name()).collect();
            names.join(",")
        };
        let only = self.only.as_deref().map(list);
        let without = (!self.without.is_empty()).then(|| list(&self.without));
        let number = |number: Option<u32>| number.map(|number| number.to_string());
        let words = [
            ("--short", self.is_short.then(String::new)),
            ("--only-faults", only),
            ("--without", without),
            ("--storms", number(self.storms_max)),
            ("--jobs", number(self.jobs_max)),
            ("--minutes", number(self.minutes_max)),
        ];
        let words = words.into_iter().filter_map(|(name, value)| {
            let value = value?;
            Some(if name == "--short" {
                name.to_owned()
            } else {
                format!("{name}={value}")
            })
        });
        f.write_str(&words.collect::<Vec<_>>().join(" "))
    }
}

/// Faults by their names, with commas between them; none of an empty text.
///
/// # Errors
/// With the name that is none.
pub fn faults(text: &str) -> Result<Vec<Fault>, String> {
    let names = text.split(',').filter(|name| !name.is_empty());
    names
        .map(|name| named(name).ok_or_else(|| format!("`{name}` is no fault")))
        .collect()
}

/// Runs of a file of those that once failed: a seed a line, its weather's words after it, and `#`
/// before words on why.
///
/// # Errors
/// With the line that is none of these.
pub fn kept(text: &str) -> Result<Vec<(u64, Weather)>, String> {
    let mut runs = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let words = line.split('#').next().unwrap_or("");
        let mut words = words.split_whitespace();
        let Some(seed) = words.next() else {
            continue;
        };
        let wrong = |why: String| format!("line {}: `{line}`: {why}", number + 1);
        let seed = seed
            .parse()
            .map_err(|_| wrong(format!("`{seed}` is no seed")))?;
        let mut weather = Weather::default();
        for word in words {
            if !weather.take(word).map_err(wrong)? {
                return Err(wrong(format!("`{word}` is nothing that a run has")));
            }
        }
        runs.push((seed, weather));
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weather_is_read_as_it_is_written() {
        for text in [
            "",
            "--short",
            "--only-faults= --storms=1",
            "--short --only-faults=crash,ping_lost --without=take_lost --storms=2 --jobs=3 --minutes=4",
        ] {
            let runs = kept(&format!("# words\n\n12 {text} # why\n")).expect(text);
            assert_eq!(runs[0].0, 12);
            assert_eq!(runs[0].1.to_string(), text);
        }
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, why) in [
            ("x", "`x` is no seed"),
            ("1 2", "`2` is nothing"),
            ("1 --only-faults=none", "`none` is no fault"),
            ("1 --jobs=0", "`0` is no number from 1 on"),
            ("1 --short=1", "`--short=1` is nothing"),
        ] {
            let error = kept(text).expect_err(text);
            assert!(error.contains("line 1") && error.contains(why), "{error}");
        }
    }
}
