//! What is wrong with a configuration, and where: collected, never thrown, so that one run of
//! `check` names every fault. Rendered as `file:line:col: what; expected; did you mean`.
//!
//! Knows text and positions only, nothing of what the keys mean.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

/// How much a [`Problem`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// Accepted, but probably not what was meant.
    Warning,
    /// Understood and kept, but the part of Overspill that it sets is not active yet.
    NotActiveYet,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Bytes of the configuration file.
    Span(Range<usize>),
    /// An environment variable, by name.
    Variable(Arc<str>),
    /// A command line flag, by name.
    Flag(&'static str),
    /// The file as a whole.
    File,
}

/// One finding, placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How much it matters.
    pub severity: Severity,
    /// `file:line:col`, or the variable or flag that the value came from.
    pub place: String,
    /// What is wrong, what was expected, and the nearest right thing, as one line.
    pub message: String,
    /// The source line with the place marked; empty when there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub excerpt: String,
    /// Sort key: the byte in the file; what has no place in it comes last.
    #[serde(skip)]
    order: usize,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = match self.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
            Severity::NotActiveYet => "not active yet: ",
        };
        write!(f, "{}: {label}{}", self.place, self.message)?;
        if !self.excerpt.is_empty() && self.severity != Severity::NotActiveYet {
            write!(f, "\n{}", self.excerpt)?;
        }
        Ok(())
    }
}

/// The findings of one load, in the order of the file once finished.
#[derive(Debug)]
pub(crate) struct Problems<'a> {
    file: &'a str,
    text: &'a str,
    found: Vec<Problem>,
}

impl<'a> Problems<'a> {
    /// No findings yet in `text`, called `file` in messages.
    pub(crate) const fn new(file: &'a str, text: &'a str) -> Self {
        Self {
            file,
            text,
            found: Vec::new(),
        }
    }

    /// Adds a fault that refuses the configuration.
    pub(crate) fn error(&mut self, place: &Place, message: impl Into<String>) {
        self.push(Severity::Error, place, message.into());
    }

    /// Adds a finding that does not refuse the configuration.
    pub(crate) fn warning(&mut self, place: &Place, message: impl Into<String>) {
        self.push(Severity::Warning, place, message.into());
    }

    /// Says that a key is understood but does nothing yet.
    pub(crate) fn not_active(&mut self, place: &Place, message: impl Into<String>) {
        self.push(Severity::NotActiveYet, place, message.into());
    }

    /// Number of errors so far.
    pub(crate) fn errors(&self) -> usize {
        self.found
            .iter()
            .filter(|p| p.severity == Severity::Error)
            .count()
    }

    /// The line number of a place, for messages that name two places.
    pub(crate) fn line_of(&self, place: &Place) -> String {
        match place {
            Place::Span(span) => format!("line {}", self.position(span.start).0),
            Place::Variable(name) => format!("variable {name}"),
            Place::Flag(flag) => format!("flag {flag}"),
            Place::File => "the file".to_owned(),
        }
    }

    /// All findings, in the order of the file.
    pub(crate) fn finish(mut self) -> Vec<Problem> {
        self.found.sort_by(|a, b| {
            (a.order, &a.place, a.severity, &a.message)
                .cmp(&(b.order, &b.place, b.severity, &b.message))
        });
        self.found.dedup();
        self.found
    }

    fn push(&mut self, severity: Severity, place: &Place, message: String) {
        let (label, excerpt, order) = match place {
            Place::Span(span) => {
                let (line, column) = self.position(span.start);
                (
                    format!("{}:{line}:{column}", self.file),
                    self.excerpt(span),
                    span.start,
                )
            }
            Place::Variable(name) => (name.to_string(), String::new(), usize::MAX),
            Place::Flag(flag) => ((*flag).to_owned(), String::new(), usize::MAX),
            Place::File => (self.file.to_owned(), String::new(), usize::MAX),
        };
        self.found.push(Problem {
            severity,
            place: label,
            message,
            excerpt,
            order,
        });
    }

    /// Line and column of byte `at`, both from 1; the column counts characters.
    fn position(&self, at: usize) -> (usize, usize) {
        let before = self
            .text
            .get(..at.min(self.text.len()))
            .unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (
            before.matches('\n').count() + 1,
            before[line_start..].chars().count() + 1,
        )
    }

    /// The line that `span` begins on, with carets below; values of secret keys are blotted out.
    fn excerpt(&self, span: &Range<usize>) -> String {
        let (number, column) = self.position(span.start);
        let Some(line) = self.text.lines().nth(number - 1) else {
            return String::new();
        };
        let shown = blot_secrets(line);
        let width = span
            .len()
            .min(line.chars().count().saturating_sub(column - 1))
            .max(1);
        // A blotted line no longer has the columns of the source, so it gets no carets.
        if shown != line || line.chars().count() > 160 {
            let short: String = shown.chars().take(160).collect();
            return format!("{number:>5} | {short}");
        }
        // Tabs are kept in the margin so that the carets stand under their characters.
        let margin: String = line
            .chars()
            .take(column - 1)
            .map(|c| if c == '\t' { c } else { ' ' })
            .collect();
        format!(
            "{number:>5} | {line}\n      | {margin}{}",
            "^".repeat(width)
        )
    }
}

/// Replaces everything behind the `=` of a key that holds a secret.
fn blot_secrets(line: &str) -> String {
    let Some((key, value)) = line.split_once('=') else {
        return line.to_owned();
    };
    if is_secret_name(key) && !value.contains("${") {
        return format!("{key}= [redacted]");
    }
    line.to_owned()
}

/// Whether a key or variable of this name usually holds a secret.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [
        "key",
        "token",
        "secret",
        "password",
        "passwd",
        "database",
        "credential",
    ]
    .iter()
    .any(|word| name.contains(word))
}

/// A value as messages show it: in backticks, at most 80 characters, control characters escaped.
pub(crate) fn quoted(value: &str) -> String {
    let mut shown: String = value.chars().take(80).flat_map(printable).collect();
    if value.chars().count() > 80 {
        shown.push('…');
    }
    format!("`{shown}`")
}

fn printable(c: char) -> Vec<char> {
    // Bidirectional marks would let a name disguise itself in a terminal.
    let hidden =
        matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if c.is_control() || hidden {
        c.escape_default().collect()
    } else {
        vec![c]
    }
}

/// The known name that `given` most resembles, if any does.
pub(crate) fn nearest<'k>(
    given: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
    let given = given.to_lowercase();
    known
        .into_iter()
        .map(|name| {
            (
                strsim::normalized_damerau_levenshtein(&given, &name.to_lowercase()),
                name,
            )
        })
        .filter(|(likeness, _)| *likeness >= 0.55)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// `; did you mean …?`, or nothing when no known name is near.
pub(crate) fn did_you_mean<'k>(given: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    nearest(given, known).map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_and_mark_the_value() {
        let text = "a = 1\nüü = \"x\"\n";
        let mut problems = Problems::new("f.toml", text);
        let start = text.find("\"x\"").expect("in the text");
        problems.error(&Place::Span(start..start + 3), "no");
        let found = problems.finish();
        assert_eq!(
            found[0].to_string(),
            "f.toml:2:6: no\n    2 | üü = \"x\"\n      |      ^^^"
        );
    }

    #[test]
    fn secrets_do_not_reach_the_excerpt() {
        let text = "api_key = \"rpa_CANARY";
        let mut problems = Problems::new("f.toml", text);
        problems.error(&Place::Span(10..12), "no");
        assert!(!problems.finish()[0].to_string().contains("CANARY"));
    }

    #[test]
    fn long_and_odd_values_are_cut_and_escaped() {
        assert_eq!(quoted("a\u{1b}[1m"), "`a\\u{1b}[1m`");
        assert_eq!(quoted(&"x".repeat(100)).chars().count(), 83);
    }

    #[test]
    fn nearest_finds_typos_only() {
        assert_eq!(
            nearest("max_atempts", ["ttl", "max_attempts"]),
            Some("max_attempts")
        );
        assert_eq!(nearest("zzz", ["ttl", "max_attempts"]), None);
    }
}
