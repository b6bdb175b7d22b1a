//! A planted bug: a patch with a header.
//!
//! The header is of lines `name: value` before the diff: `room` (the part of the program that it is
//! in), `breaks` (what no longer holds), `suite` (who must find it: a suite's name, and behind it what
//! a test's name must hold, for the narrowest that does), and for a bug that shows only where two
//! faults of the storms meet, `faults: A B`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result};

use super::suite::Suite;
use crate::workspace;

/// The rooms, each with two bugs at least.
const ROOMS: [&str; 9] = [
    "engine",
    "store",
    "placement",
    "scaler",
    "budget",
    "lease",
    "webhook",
    "cloud client",
    "guard",
];
/// Bugs of one room at least.
const EACH_ROOM: usize = 2;
/// Bugs in all at least, and those of them that only two faults show.
const ALL: usize = 30;
const OF_TWO_FAULTS: usize = 3;

pub(super) struct Planted {
    pub(super) name: String,
    pub(super) text: String,
}

impl Planted {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Self {
            name: name.into_owned(),
            text,
        })
    }

    /// A line of the header; empty where there is none.
    pub(super) fn header(&self, name: &str) -> &str {
        self.text
            .lines()
            .take_while(|line| !line.starts_with("diff ") && !line.starts_with("--- "))
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map_or("", str::trim)
    }

    /// The faults that must meet for it to show.
    pub(super) fn faults(&self) -> Vec<&str> {
        self.header("faults").split_whitespace().collect()
    }

    /// Who looks for it: the narrowest that should find it, then all of that suite.
    pub(super) fn suites(&self) -> Result<Vec<Suite>> {
        let narrow: Suite = self.header("suite").parse()?;
        let whole = narrow.whole();
        Ok(if whole == narrow {
            vec![narrow]
        } else {
            vec![narrow, whole]
        })
    }

    /// The crates that it changes, by their folders.
    pub(super) fn crates(&self) -> BTreeSet<&str> {
        let changed = self.text.lines().filter_map(|line| {
            let path = line.strip_prefix("+++ ")?.split('\t').next()?;
            let (_, inside) = path.split_once("crates/")?;
            inside.split('/').next()
        });
        changed.collect()
    }
}

pub(super) fn ours() -> Result<Vec<Planted>> {
    let folder = workspace::root().join("xtask/planted");
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|end| end == "patch"));
    paths.sort();
    paths.iter().map(|path| Planted::read(path)).collect()
}

/// What is wrong with our patches, as findings of tidy: one that no longer applies, a header that says
/// too little, a room without bugs.
pub(crate) fn stale() -> Result<Vec<String>> {
    let all = ours()?;
    let mut findings = Vec::new();
    for planted in &all {
        let name = &planted.name;
        let mut finding =
            |what: &str| findings.push(format!("xtask/planted/{name}.patch:1: {what}"));
        let path = workspace::root().join(format!("xtask/planted/{name}.patch"));
        let mut check = workspace::command("git");
        check.args(["apply", "--check"]).arg(path);
        if !check.stderr(Stdio::null()).status()?.success() {
            finding("no longer applies");
        }
        for header in ["room", "breaks"] {
            if planted.header(header).is_empty() {
                finding(&format!("no `{header}:`"));
            }
        }
        if let Err(error) = planted.suites() {
            finding(&format!("{error}"));
        }
        for fault in planted.faults() {
            if overspill_sim::faults::named(fault).is_none() {
                finding(&format!("no fault is called {fault:?}"));
            }
        }
    }
    let count = |is: &dyn Fn(&Planted) -> bool| all.iter().filter(|planted| is(planted)).count();
    let mut too_few = |there: usize, least: usize, of: &str| {
        if there < least {
            findings.push(format!("xtask/planted:1: {there} bugs {of}, not {least}"));
        }
    };
    for room in ROOMS {
        let there = count(&|planted| planted.header("room") == room);
        too_few(there, EACH_ROOM, &format!("in the room `{room}`"));
    }
    too_few(all.len(), ALL, "in all");
    let meeting = count(&|planted| planted.faults().len() == 2);
    too_few(meeting, OF_TWO_FAULTS, "that only two faults show");
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planted(text: &str) -> Planted {
        Planted {
            name: "one".into(),
            text: text.into(),
        }
    }

    #[test]
    fn a_header_ends_where_the_diff_begins() {
        let planted = planted(
            "room: lease\nsuite: rig a_name\nfaults: crash take_lost\n\n--- a/x\n+++ b/crates/core/src/x.rs\n breaks: no\n",
        );
        assert_eq!(planted.header("room"), "lease");
        assert_eq!(planted.header("breaks"), "");
        assert_eq!(planted.faults(), ["crash", "take_lost"]);
        assert_eq!(planted.crates(), BTreeSet::from(["core"]));
        let suites = planted.suites().unwrap();
        let words: Vec<String> = suites.iter().map(ToString::to_string).collect();
        assert_eq!(words, ["rig a_name", "rig"]);
    }

    #[test]
    fn a_suite_that_nobody_knows_is_an_error() {
        assert!(planted("suite: rigg\n").suites().is_err());
        assert!(planted("").suites().is_err());
    }
}
