//! The catalogue of faults: the table of `docs/reliability.md`, read from there and from nowhere else.
//!
//! A row is `| F03 | what goes wrong | what must hold | what holds it | its last figure |`. What holds
//! it are names in back-quotes: a Rust test by its function, an end-to-end test by its function
//! (`test_…`), or a command (`cargo xtask …`). A row that nothing holds must say so: "nothing yet".

use std::fmt;
use std::ops::RangeInclusive;

/// The page that holds the table.
pub(crate) const PAGE: &str = "docs/reliability.md";

/// Faults that one node can have; those between belong to several replicas.
pub(crate) const IN_SCOPE: [RangeInclusive<u8>; 2] = [1..=32, 37..=46];

/// What the fourth cell says of a fault that has no test so far.
const OPEN: &str = "nothing yet";

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// 5 for F05.
    pub(crate) number: u8,
    /// What goes wrong.
    pub(crate) scenario: String,
    /// In the order of the row.
    pub(crate) holders: Vec<Holder>,
    /// Of the row in its page, from 1.
    pub(crate) line: usize,
}

/// What shows that a fault is survived.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holder {
    /// A Rust test, by the name of its function.
    Test(String),
    /// A test of the end-to-end suite, by the name of its function.
    EndToEnd(String),
    /// `cargo xtask` with these words behind it.
    Task(Vec<String>),
}

impl Fault {
    /// `F05`.
    pub(crate) fn name(&self) -> String {
        name(self.number)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Test(name) | Self::EndToEnd(name) => f.write_str(name),
            Self::Task(words) => write!(f, "cargo xtask {}", words.join(" ")),
        }
    }
}

/// `F05` for 5.
pub(crate) fn name(number: u8) -> String {
    format!("F{number:02}")
}

/// The number of `F05`, in any case, with or without its zero.
pub(crate) fn number(name: &str) -> Option<u8> {
    let digits = name.trim().strip_prefix(['F', 'f'])?;
    if digits.is_empty() || digits.len() > 2 {
        return None;
    }
    digits.parse().ok()
}

/// Reads the table. Errors: one line for each row that is not one, with its line.
pub(crate) fn parse(text: &str) -> Result<Vec<Fault>, Vec<String>> {
    let mut faults: Vec<Fault> = Vec::new();
    let mut findings = Vec::new();
    for (line, row) in (1..).zip(text.lines()) {
        let Some(cells) = cells(row) else { continue };
        let Some(number) = number(cells[0]) else {
            continue;
        };
        if cells.len() != 5 {
            let count = cells.len();
            findings.push(format!(
                "{PAGE}:{line}: a row has 5 cells, this one {count}"
            ));
            continue;
        }
        if faults.iter().any(|fault| fault.number == number) {
            let name = name(number);
            findings.push(format!("{PAGE}:{line}: a second row for {name}"));
        }
        let holders: Vec<Holder> = spans(cells[3]).filter_map(holder).collect();
        if holders.is_empty() && cells[3] != OPEN {
            let name = name(number);
            findings.push(format!("{PAGE}:{line}: nothing holds {name}"));
        }
        faults.push(Fault {
            number,
            scenario: cells[1].to_owned(),
            holders,
            line,
        });
    }
    if findings.is_empty() {
        Ok(faults)
    } else {
        Err(findings)
    }
}

/// The cells of a row of a table, trimmed.
fn cells(row: &str) -> Option<Vec<&str>> {
    let row = row.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(row.split('|').map(str::trim).collect())
}

/// What stands in back-quotes.
fn spans(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// What a span names; `None` when it is neither a test nor a task.
fn holder(span: &str) -> Option<Holder> {
    if let Some(words) = span.strip_prefix("cargo xtask ") {
        return Some(Holder::Task(
            words.split_whitespace().map(str::to_owned).collect(),
        ));
    }
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if span.is_empty() || !span.chars().all(is_name) {
        return None;
    }
    Some(if span.starts_with("test_") {
        Holder::EndToEnd(span.to_owned())
    } else {
        Holder::Test(span.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_with_what_holds_them() {
        let page = "| id | a | b | c | d |\n|---|---|---|---|---|\n\
                    | F03 | a cut | kept | `a_cut_loses_nothing`, `cargo xtask faults --sweep power`, `test_all` | 7 |\n";
        let faults = parse(page).unwrap();
        assert_eq!(faults.len(), 1);
        assert_eq!((faults[0].number, faults[0].line), (3, 3));
        assert_eq!(faults[0].scenario, "a cut");
        let words = ["faults", "--sweep", "power"].map(str::to_owned).to_vec();
        assert_eq!(
            faults[0].holders,
            [
                Holder::Test("a_cut_loses_nothing".to_owned()),
                Holder::Task(words),
                Holder::EndToEnd("test_all".to_owned()),
            ]
        );
    }

    #[test]
    fn rows_that_say_nothing_are_named() {
        let found = parse("| F03 | a | b | by hand | d |\n| F04 | a |\n").unwrap_err();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].contains(":1:") && found[0].contains("F03"),
            "{found:?}"
        );
    }

    #[test]
    fn numbers_are_read_in_any_spelling() {
        assert_eq!(number("F05"), Some(5));
        assert_eq!(number("f5"), Some(5));
        assert_eq!(number("5"), None);
        assert_eq!(number("F005"), None);
    }
}
