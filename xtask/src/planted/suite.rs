//! Who looks for planted bugs: the suites, and how each is run in the copy of the tree.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::{Context as _, Result, ensure};

use crate::{storms, workspace};

/// Seeds within which storms must find a bug.
const SEEDS: &str = "0..1000";
/// Seconds. A suite that takes longer hangs, and a bug that makes it hang is found.
const PATIENCE_S: &str = "2700";

/// A kind of tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Rig,
    Store,
    Storms,
    Lib,
    Whole,
    Binary,
    Tests,
}

/// Their names, what of the tree they test, and what a bug has to be in for them to see it; in order of cost.
const KINDS: [(Kind, &str, &[&str]); 7] = [
    (Kind::Rig, "rig", &["core"]),
    (Kind::Store, "store", &["core", "store"]),
    (Kind::Storms, "storms", &["core", "sim", "store"]),
    (Kind::Lib, "lib", &["wire", "store", "core", "overspill"]),
    (Kind::Whole, "whole", &["core", "store", "overspill"]),
    (
        Kind::Binary,
        "binary",
        &["wire", "core", "store", "emulator", "overspill"],
    ),
    (Kind::Tests, "tests", &[]),
];

/// Tests of a kind, all or those whose names hold some text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Suite {
    kind: Kind,
    filter: String,
}

impl FromStr for Suite {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, filter) = text.split_once(' ').unwrap_or((text, ""));
        let known = KINDS.iter().find(|(_, known, _)| *known == name);
        let names: Vec<&str> = KINDS.iter().map(|(_, name, _)| *name).collect();
        let (kind, ..) = known.with_context(|| {
            format!(
                "no suite is called {name:?}; there are {}",
                names.join(", ")
            )
        })?;
        Ok(Self {
            kind: *kind,
            filter: filter.trim().to_owned(),
        })
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = KINDS.iter().find(|(kind, ..)| *kind == self.kind);
        let text = format!("{} {}", name.map_or("", |(_, name, _)| name), self.filter);
        f.write_str(text.trim())
    }
}

impl Suite {
    /// All tests of its kind.
    pub(super) fn whole(&self) -> Self {
        Self {
            kind: self.kind,
            filter: String::new(),
        }
    }

    /// Every suite that can see a bug in these crates, the cheapest first.
    pub(super) fn in_order_of_cost(crates: &BTreeSet<&str>) -> Vec<Self> {
        let sees = |of: &[&str]| of.is_empty() || of.iter().any(|name| crates.contains(name));
        let kinds = KINDS.iter().filter(|(_, _, of)| sees(of));
        let suite = |(kind, ..): &(Kind, &str, &[&str])| Self {
            kind: *kind,
            filter: String::new(),
        };
        kinds.map(suite).collect()
    }
}

/// The copy of the tree, with a build folder of its own beside it.
pub(super) struct Tree {
    copy: PathBuf,
    build: PathBuf,
    output: PathBuf,
}

impl Tree {
    pub(super) fn new(copy: &Path) -> Self {
        Self {
            copy: copy.to_owned(),
            build: copy.with_file_name("build"),
            output: copy.with_file_name("output"),
        }
    }

    /// How a suite fails in the copy, by its own words; `None` when it passes. `more` is for the storms alone.
    /// A tree that does not compile is an error: it finds nothing.
    pub(super) fn fails(&self, suite: &Suite, more: &[String]) -> Result<Option<String>> {
        let example = [
            "--release",
            "--package",
            "overspill-sim",
            "--example",
            "storms",
        ];
        if suite.kind == Kind::Storms {
            let mut build = self.cargo();
            build.arg("build").args(example);
            ensure!(
                self.runs(build)?,
                "it does not compile: {}",
                self.said("error")
            );
            let mut run = self.cargo();
            run.arg("run").args(example);
            run.args(["--", SEEDS, "--short", "--first"]).args(more);
            return self.failure_of(run, "seed");
        }
        let of: &[&str] = match suite.kind {
            Kind::Rig => &["--package", "overspill-core"],
            Kind::Store => &["--package", "overspill-store"],
            Kind::Lib | Kind::Whole => &["--package", "overspill", "--lib"],
            Kind::Binary => &["--package", "overspill"],
            Kind::Tests | Kind::Storms => &["--workspace"],
        };
        let mut build = self.cargo();
        build.arg("test").args(of).arg("--no-run");
        ensure!(
            self.runs(build)?,
            "it does not compile: {}",
            self.said("error")
        );
        let mut test = self.cargo();
        test.arg("test").args(of);
        if suite.kind == Kind::Whole {
            test.env(storms::WHOLE_SEEDS, format!("{SEEDS} --first"));
            test.args(["--", storms::WHOLE_TEST, "--exact", "--nocapture"]);
            return self.failure_of(test, "seed");
        }
        if !suite.filter.is_empty() {
            test.arg(&suite.filter);
        }
        self.failure_of(test, "test ")
    }

    fn cargo(&self) -> Command {
        let cargo_of_ours = workspace::cargo();
        let mut cargo = workspace::command("timeout");
        cargo
            .args(["--kill-after=10", PATIENCE_S])
            .arg(cargo_of_ours.get_program())
            .current_dir(&self.copy)
            .env("CARGO_TARGET_DIR", &self.build)
            .env(crate::gate::SEED, "1");
        cargo
    }

    /// Runs a command with all its output in a file; whether it ended well, and in time.
    fn runs(&self, mut command: Command) -> Result<bool> {
        let output = File::create(&self.output)?;
        command
            .stdout(Stdio::from(output.try_clone()?))
            .stderr(Stdio::from(output));
        Ok(command.status().context("running cargo")?.success())
    }

    fn failure_of(&self, command: Command, needle: &str) -> Result<Option<String>> {
        Ok((!self.runs(command)?).then(|| self.said(needle)))
    }

    /// The first line of the output that begins with `needle` and speaks of a failure, without what it repeats.
    fn said(&self, needle: &str) -> String {
        let text = std::fs::read(&self.output).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let speaks = |line: &&str| match needle {
            "test " => line.starts_with(needle) && line.ends_with("FAILED"),
            _ => line.trim_start().starts_with(needle),
        };
        let line = text.lines().find(speaks).unwrap_or("it does not end");
        let line = line.trim().trim_end_matches("... FAILED").trim_end();
        line.chars().take(150).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_suites_that_can_see_a_bug_look_for_it() {
        let names = |of: &[&str]| {
            let crates = of.iter().copied().collect();
            let suites = Suite::in_order_of_cost(&crates);
            suites.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names(&["store"]).first().unwrap(), "store");
        assert_eq!(names(&["overspill"]), ["lib", "whole", "binary", "tests"]);
        assert_eq!(names(&["core"]).len(), KINDS.len());
        assert_eq!(names(&[]), ["tests"]);
    }
}
