//! `cargo xtask planted`: bugs that the tests must find.
//!
//! `xtask/planted/*.patch` are bugs of our own, each with a header of `name: value` lines before the
//! diff: `room`, `breaks`, `suite` (`rig` or `storms`), and for a bug that shows only under two faults
//! at once `faults: A B`. Each is applied in a copy of the tree that keeps its build folder; the suite
//! must fail there. With `faults`, it must pass again without either of the two.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::workspace;

/// Seeds within which storms must find a bug.
const SEEDS: &str = "0..1000";
/// Suites in order of cost.
const SUITES: [&str; 3] = ["rig", "storms", "tests"];

/// Arguments of `cargo xtask planted`.
#[derive(Args)]
pub(crate) struct PlantedArgs {
    /// This patch instead of ours: suites in order of cost until one finds it
    #[arg(long, value_name = "FILE")]
    patch: Option<PathBuf>,
    /// Patches of ours whose name holds this
    #[arg(long, value_name = "WORD")]
    only: Option<String>,
}

struct Planted {
    name: String,
    text: String,
}

impl Planted {
    fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Self {
            name: name.into_owned(),
            text,
        })
    }

    /// A line of the header; empty where there is none.
    fn header(&self, name: &str) -> &str {
        self.text
            .lines()
            .take_while(|line| !line.starts_with("diff ") && !line.starts_with("--- "))
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map_or("", str::trim)
    }
}

pub(crate) fn run(args: &PlantedArgs) -> Result<()> {
    let copy = copy()?;
    let mut missed = Vec::new();
    let patches = match &args.patch {
        Some(path) => vec![Planted::read(path)?],
        None => ours()?,
    };
    let only = args.only.as_deref().unwrap_or("");
    for planted in patches.iter().filter(|planted| planted.name.contains(only)) {
        let begin = Instant::now();
        restore(&copy)?;
        apply(&copy, planted)?;
        let suites = match planted.header("suite") {
            _ if args.patch.is_some() => SUITES.to_vec(),
            suite => vec![suite],
        };
        let mut by = None;
        for suite in suites {
            if finds(&copy, suite, None)? {
                by = Some(suite);
                break;
            }
        }
        let mut word = by.map_or_else(|| "NOT FOUND".to_owned(), |suite| format!("by {suite}"));
        let mut is_found = by.is_some();
        for fault in planted.header("faults").split_whitespace() {
            if finds(&copy, "storms", Some(fault))? {
                is_found = false;
                let _ = write!(word, ", and without {fault} too");
            } else {
                let _ = write!(word, ", not without {fault}");
            }
        }
        println!(
            "{:<32} {:<12} {:>6.1} s  {word}",
            planted.name,
            planted.header("room"),
            begin.elapsed().as_secs_f64()
        );
        if !is_found {
            missed.push(planted.name.as_str());
        }
    }
    restore(&copy)?;
    ensure!(missed.is_empty(), "not found: {}", missed.join(" "));
    Ok(())
}

/// Patches of ours that no longer apply, as findings of tidy.
pub(crate) fn stale() -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for planted in ours()? {
        let name = &planted.name;
        let path = workspace::root().join(format!("xtask/planted/{name}.patch"));
        let mut check = workspace::command("git");
        check.args(["apply", "--check"]).arg(path);
        if !check.stderr(Stdio::null()).status()?.success() {
            findings.push(format!("xtask/planted/{name}.patch:1: no longer applies"));
        }
        for header in ["room", "breaks", "suite"] {
            if planted.header(header).is_empty() {
                findings.push(format!("xtask/planted/{name}.patch:1: no `{header}:`"));
            }
        }
    }
    Ok(findings)
}

fn ours() -> Result<Vec<Planted>> {
    let folder = workspace::root().join("xtask/planted");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|end| end == "patch"));
    paths.sort();
    paths.iter().map(|path| Planted::read(path)).collect()
}

/// The copy of the tree, as git has it or would; its build folder is kept from run to run.
fn copy() -> Result<PathBuf> {
    let copy = workspace::target_dir()?.join("planted").join("tree");
    std::fs::create_dir_all(&copy)?;
    restore(&copy)?;
    Ok(copy)
}

/// Puts every file that differs back; others keep their times, so that little is compiled again.
fn restore(copy: &Path) -> Result<()> {
    for file in workspace::files()? {
        let bytes = std::fs::read(workspace::root().join(&file))?;
        let target = copy.join(&file);
        if std::fs::read(&target).is_ok_and(|there| there == bytes) {
            continue;
        }
        std::fs::create_dir_all(target.parent().context("a file lies in a folder")?)?;
        std::fs::write(&target, bytes)?;
    }
    Ok(())
}

fn apply(copy: &Path, planted: &Planted) -> Result<()> {
    let path = copy.join("planted.patch");
    std::fs::write(&path, &planted.text)?;
    let mut patch = Command::new("patch");
    patch
        .current_dir(copy)
        .args(["-p1", "--forward", "--no-backup-if-mismatch", "-i"]);
    let output = patch.arg(&path).output().context("running patch")?;
    ensure!(
        output.status.success(),
        "{} does not apply: {}",
        planted.name,
        String::from_utf8_lossy(&output.stdout)
    );
    Ok(())
}

/// Whether a suite fails in the copy. What does not compile finds nothing.
fn finds(copy: &Path, suite: &str, without: Option<&str>) -> Result<bool> {
    let storms = [
        "--release",
        "--package",
        "overspill-sim",
        "--example",
        "storms",
    ];
    let (build, test): (Vec<&str>, Vec<&str>) = match suite {
        "rig" => (
            vec!["test", "--package", "overspill-core", "--no-run"],
            vec!["test", "--package", "overspill-core"],
        ),
        "storms" => (
            [&["build"], &storms[..]].concat(),
            [&["run"], &storms[..], &["--", SEEDS, "--short", "--first"]].concat(),
        ),
        "tests" => (
            vec!["test", "--workspace", "--no-run"],
            vec!["test", "--workspace"],
        ),
        unknown => bail!("no suite is called {unknown:?}"),
    };
    let cargo = |args: &[&str]| {
        let mut cargo = workspace::cargo();
        cargo
            .current_dir(copy)
            .env("CARGO_TARGET_DIR", copy.with_file_name("build"))
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        cargo
    };
    ensure!(cargo(&build).status()?.success(), "it does not compile");
    let mut test = cargo(&test);
    test.args(without.map(|fault| format!("--without={fault}")));
    Ok(!test.status()?.success())
}
