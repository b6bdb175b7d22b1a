//! Who looks for planted bugs: the suites, and how each is run in the copy of the tree.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{storms, workspace};

/// Seeds within which storms must find a bug.
const SEEDS: &str = "0..1000";
/// A suite that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(2700);
/// How `timeout` ends when it had to end a command, by the first signal and by the second.
const TIMED_OUT: [i32; 2] = [124, 137];

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
    E2e,
}

/// Their names, what of the tree they test, and what a bug has to be in for them to see it; in order of cost.
const KINDS: [(Kind, &str, &[&str]); 8] = [
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
    (Kind::E2e, "e2e", &[]),
];

/// What a suite says of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It passes, after so long.
    Passes(Duration),
    /// It fails, in its own words.
    Fails(String),
    /// It does not end within [`PATIENCE`].
    Hangs,
}

impl Verdict {
    /// The failure, in words. That a suite hangs is one where it usually ends soon: on a machine that is
    /// busy a slow one may just be slower.
    pub(super) fn failure(self, usually: Option<Duration>) -> Result<Option<String>> {
        match (self, usually) {
            (Self::Passes(_), _) => Ok(None),
            (Self::Fails(failure), _) => Ok(Some(failure)),
            (Self::Hangs, Some(usually)) if usually < PATIENCE / 3 => Ok(Some(format!(
                "it does not end within {} s, and ends in {} s without the bug",
                PATIENCE.as_secs(),
                usually.as_secs()
            ))),
            (Self::Hangs, usually) => bail!(
                "it does not end within {} s, which shows nothing: without the bug it {}",
                PATIENCE.as_secs(),
                usually.map_or_else(
                    || "was not run (--trust)".to_owned(),
                    |usually| format!("took {} s", usually.as_secs())
                )
            ),
        }
    }
}

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

    /// Runs a suite in the copy. `more` is for the storms alone. A tree that does not compile is an error: it
    /// finds nothing.
    pub(super) fn judge(&self, suite: &Suite, more: &[String]) -> Result<Verdict> {
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
            return self.verdict(run, "seed");
        }
        let of: &[&str] = match suite.kind {
            Kind::Rig => &["--package", "overspill-core"],
            Kind::Store => &["--package", "overspill-store"],
            Kind::Lib | Kind::Whole => &["--package", "overspill", "--lib"],
            Kind::Binary => &["--package", "overspill"],
            Kind::Tests | Kind::Storms | Kind::E2e => &["--workspace"],
        };
        let mut build = self.cargo();
        build.arg("test").args(of).arg("--no-run");
        ensure!(
            self.runs(build)?,
            "it does not compile: {}",
            self.said("error")
        );
        if suite.kind == Kind::E2e {
            // In the copy it makes environments of its own, and keeps them.
            let mut e2e = self.cargo();
            e2e.args(["xtask", "e2e"]);
            if !suite.filter.is_empty() {
                e2e.arg(&suite.filter);
            }
            return self.verdict(e2e, "FAILED ");
        }
        let mut test = self.cargo();
        test.arg("test").args(of);
        if suite.kind == Kind::Whole {
            test.env(storms::WHOLE_SEEDS, format!("{SEEDS} --first"));
            test.args(["--", storms::WHOLE_TEST, "--exact", "--nocapture"]);
            return self.verdict(test, "seed");
        }
        if !suite.filter.is_empty() {
            test.arg(&suite.filter);
        }
        self.verdict(test, "test ")
    }

    fn cargo(&self) -> Command {
        let cargo_of_ours = workspace::cargo();
        let mut cargo = workspace::command("timeout");
        cargo
            .args(["--kill-after=10", &PATIENCE.as_secs().to_string()])
            .arg(cargo_of_ours.get_program())
            .current_dir(&self.copy)
            .env("CARGO_TARGET_DIR", &self.build)
            .env(crate::gate::SEED, "1");
        cargo
    }

    /// Whether a command ends well.
    fn runs(&self, command: Command) -> Result<bool> {
        Ok(self.ends(command)?.success())
    }

    /// Runs a command with all its output in a file.
    fn ends(&self, mut command: Command) -> Result<ExitStatus> {
        let output = File::create(&self.output)?;
        command
            .stdout(Stdio::from(output.try_clone()?))
            .stderr(Stdio::from(output));
        command.status().context("running cargo")
    }

    fn verdict(&self, command: Command, needle: &str) -> Result<Verdict> {
        let begin = Instant::now();
        let status = self.ends(command)?;
        Ok(match status.code() {
            Some(0) => Verdict::Passes(begin.elapsed()),
            Some(code) if TIMED_OUT.contains(&code) => Verdict::Hangs,
            _ => Verdict::Fails(self.said(needle)),
        })
    }

    /// The first line of the output that begins with `needle` and speaks of a failure, without what it repeats.
    fn said(&self, needle: &str) -> String {
        let text = std::fs::read(&self.output).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let speaks = |line: &&str| match needle {
            "test " => line.starts_with(needle) && line.ends_with("FAILED"),
            _ => line.trim_start().starts_with(needle),
        };
        let line = text.lines().find(speaks).unwrap_or("without a word");
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
        assert_eq!(
            names(&["overspill"]),
            ["lib", "whole", "binary", "tests", "e2e"]
        );
        assert_eq!(names(&["core"]).len(), KINDS.len());
        assert_eq!(names(&[]), ["tests", "e2e"]);
    }

    #[test]
    fn a_suite_that_hangs_finds_a_bug_only_where_it_usually_ends_soon() {
        let minute = Duration::from_secs(60);
        let found = |verdict: Verdict, usually| verdict.failure(usually);
        assert_eq!(found(Verdict::Passes(minute), None).unwrap(), None);
        let failure = found(Verdict::Fails("test a".into()), None).unwrap();
        assert_eq!(failure.as_deref(), Some("test a"));
        let hangs = found(Verdict::Hangs, Some(minute)).unwrap().unwrap();
        assert!(hangs.contains("in 60 s without the bug"), "{hangs}");
        for usually in [None, Some(PATIENCE / 2)] {
            let error = found(Verdict::Hangs, usually).unwrap_err().to_string();
            assert!(error.contains("shows nothing"), "{error}");
        }
    }
}
