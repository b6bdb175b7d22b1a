//! The table of faults in `docs/reliability.md` has a row for every fault in scope, and what a row
//! names exists: a Rust test, an end-to-end test, a task.

use clap::CommandFactory as _;

use super::File;
use crate::faults::catalogue::{self, Holder, PAGE};
use crate::faults::scope;

pub(crate) fn check(files: &[File]) -> Vec<String> {
    let Some(page) = files.iter().find(|file| file.path == PAGE) else {
        return vec![format!("{PAGE}: missing; it holds the catalogue of faults")];
    };
    let faults = match catalogue::parse(&page.text) {
        Ok(faults) => faults,
        Err(findings) => return findings,
    };
    let mut findings = scope(&faults);
    for fault in &faults {
        for holder in &fault.holders {
            if !exists(holder, files) {
                let (line, name) = (fault.line, fault.name());
                findings.push(format!(
                    "{PAGE}:{line}: {name} names `{holder}`, which is not there"
                ));
            }
        }
    }
    findings
}

fn exists(holder: &Holder, files: &[File]) -> bool {
    match holder {
        Holder::Test(name) => files
            .iter()
            .any(|file| file.path.ends_with(".rs") && has_test(&file.text, name)),
        Holder::EndToEnd(name) => {
            let start = format!("def {name}(");
            files.iter().any(|file| {
                let is_suite = file.path.starts_with("e2e/tests/");
                is_suite
                    && file
                        .text
                        .lines()
                        .any(|line| line.trim_start().starts_with(&start))
            })
        }
        Holder::Task(words) => {
            let name = "cargo-xtask".to_owned();
            let line = std::iter::once(&name).chain(words);
            crate::Args::command().try_get_matches_from(line).is_ok()
        }
    }
}

/// Whether a function of this name follows a `#[test]`, with no more than attributes in between.
fn has_test(text: &str, name: &str) -> bool {
    let start = format!("fn {name}(");
    let mut is_test = false;
    for line in text.lines().map(str::trim_start) {
        if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        } else if line.contains(&start) {
            if is_test {
                return true;
            }
        } else if !line.starts_with(')') && !line.is_empty() && line.contains("fn ") {
            is_test = false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn a_missing_row_a_missing_test_and_a_missing_task_are_found() {
        let rows: String = catalogue::IN_SCOPE
            .into_iter()
            .flatten()
            .filter(|&number| number != 9)
            .map(|number| {
                let held = match number {
                    1 => "`there`, `test_there`, `cargo xtask tidy`",
                    2 => "`gone`",
                    3 => "`test_gone`",
                    4 => "`cargo xtask gone`",
                    5 => "`helper`",
                    _ => "`there`",
                };
                format!("| {} | a | b | {held} | - |\n", catalogue::name(number))
            })
            .collect();
        let rust = "#[test]\nfn there() {}\n\nfn helper() {}\n";
        let files = [
            file(PAGE, &rows),
            file("crates/x/src/lib.rs", rust),
            file("e2e/tests/test_x.py", "def test_there():\n    pass\n"),
        ];
        let found = check(&files);
        assert_eq!(found.len(), 5, "{found:#?}");
        assert!(found[0].contains("F09"), "{found:?}");
        for (finding, name) in found[1..].iter().zip(["F02", "F03", "F04", "F05"]) {
            assert!(finding.contains(name), "{finding}");
        }
    }
}
