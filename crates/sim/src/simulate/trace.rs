//! A trace: the arrivals that a simulation replays. Read from CSV, `arrival_s,duration_s,class`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use overspill_core::time::{DurationMs, Timestamp};

/// The columns, in order.
const HEADER: &str = "arrival_s,duration_s,class";
/// The longest time that is believed, in seconds: about 300 years.
const SECONDS_MAX: f64 = 1e10;

/// Arrivals in order of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// Its jobs, sorted by arrival.
    pub jobs: Vec<TraceJob>,
    /// The names of the classes, by number.
    pub classes: Vec<String>,
}

/// One arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceJob {
    /// When it comes in, from the start of the trace.
    pub arrival: Timestamp,
    /// How long it fills one slot.
    pub duration: DurationMs,
    /// Its class, as an index of [`Trace::classes`].
    pub class: u32,
    /// It waits behind all others, without limit, and never causes a start.
    pub is_low_priority: bool,
}

/// Why a trace cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be opened.
    #[error("cannot read the trace {path}: check that the file exists and may be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The first line is not the header.
    #[error("the first line is `{found}`; a trace begins with the header `{HEADER}`")]
    Header {
        /// What stands there.
        found: String,
    },
    /// A line has another number of fields.
    #[error("line {line}: {found} fields; each line has three: {HEADER}")]
    Fields {
        /// Which line, from 1.
        line: usize,
        /// How many fields it has.
        found: usize,
    },
    /// A number is none, or is impossible.
    #[error("line {line}: {column} is `{found}`; it is a number of seconds from 0 to 1e10")]
    Seconds {
        /// Which line, from 1.
        line: usize,
        /// Which column.
        column: &'static str,
        /// What stands there.
        found: String,
    },
    /// The lines are not in order of time.
    #[error("line {line}: arrives before the line above it; sort the trace by arrival_s")]
    Order {
        /// Which line, from 1.
        line: usize,
    },
    /// There is no job in it.
    #[error("the trace has no jobs")]
    Empty,
}

impl Trace {
    /// Reads a trace from a file.
    ///
    /// # Errors
    /// When the file cannot be read or is not a trace.
    pub fn read(path: &Path) -> Result<Self, TraceError> {
        let text = std::fs::read_to_string(path).map_err(|source| TraceError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text)
    }

    /// Reads a trace from its text.
    ///
    /// # Errors
    /// When it is not a trace; the error names the line.
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        let mut lines = text.lines().enumerate();
        let header = lines.next().map_or("", |(_, line)| line.trim());
        if header != HEADER {
            let found = header.chars().take(60).collect();
            return Err(TraceError::Header { found });
        }
        let mut trace = Self::default();
        let mut numbers = BTreeMap::new();
        for (index, text) in lines {
            let line = index + 1;
            if text.trim().is_empty() {
                continue;
            }
            let fields: Vec<&str> = text.split(',').map(str::trim).collect();
            let [arrival, duration, class] = fields[..] else {
                let found = fields.len();
                return Err(TraceError::Fields { line, found });
            };
            let arrival = Timestamp::ZERO + seconds(line, "arrival_s", arrival)?;
            let duration = seconds(line, "duration_s", duration)?;
            if trace.jobs.last().is_some_and(|job| job.arrival > arrival) {
                return Err(TraceError::Order { line });
            }
            let next = numbers.len();
            let class = *numbers.entry(class.to_owned()).or_insert_with(|| {
                trace.classes.push(class.to_owned());
                u32::try_from(next).unwrap_or(u32::MAX)
            });
            trace.jobs.push(TraceJob {
                arrival,
                duration,
                class,
                is_low_priority: false,
            });
        }
        if trace.jobs.is_empty() {
            return Err(TraceError::Empty);
        }
        Ok(trace)
    }
}

fn seconds(line: usize, column: &'static str, text: &str) -> Result<DurationMs, TraceError> {
    text.parse::<f64>()
        .ok()
        .filter(|value| (0.0..=SECONDS_MAX).contains(value))
        .map(DurationMs::from_secs_f64)
        .ok_or_else(|| TraceError::Seconds {
            line,
            column,
            found: text.chars().take(60).collect(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_read_to_the_millisecond_with_their_class() {
        let text = "arrival_s,duration_s,class\n0.5,2,a\n1.001,3.25,b\n\n4,1,a\n";
        let trace = Trace::parse(text).unwrap();
        assert_eq!(trace.classes, ["a", "b"]);
        assert_eq!(
            trace.jobs[1],
            TraceJob {
                arrival: Timestamp::from_millis(1_001),
                duration: DurationMs::from_millis(3_250),
                class: 1,
                is_low_priority: false,
            }
        );
        assert_eq!(trace.jobs[2].class, 0);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let error = |rest: &str| {
            let text = format!("arrival_s,duration_s,class\n{rest}");
            Trace::parse(&text).unwrap_err().to_string()
        };
        assert!(error("1,2").starts_with("line 2: 2 fields"));
        assert!(error("1,2,a\n1,-3,a").starts_with("line 3: duration_s is `-3`"));
        assert!(error("1,nan,a").contains("`nan`"));
        assert!(error("5,1,a\n4,1,a").contains("line 3: arrives before"));
        assert_eq!(error(""), "the trace has no jobs");
        let header = Trace::parse("a,b\n").unwrap_err().to_string();
        assert!(header.contains("`a,b`"), "{header}");
    }
}
