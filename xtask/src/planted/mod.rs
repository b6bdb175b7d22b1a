//! `cargo xtask planted`: bugs that the tests must find.
//!
//! `xtask/planted/*.patch` are bugs of our own ([`patch`]). Each is applied in a copy of the tree that
//! keeps its build folder, and the suite that its header names must fail there, or a wider one
//! ([`suite`]). Before that the same suite must pass without the bug: one that fails anyhow finds
//! nothing. A bug that shows only where two faults meet must be found with the two, and with neither
//! of them alone.

mod patch;
mod suite;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::workspace;

pub(crate) use patch::stale;
use patch::{Planted, ours};
use suite::{Suite, Tree, Verdict};

/// Arguments of `cargo xtask planted`.
#[derive(Args)]
pub(crate) struct PlantedArgs {
    /// This patch instead of ours (may be repeated): suites in order of cost until one finds it
    #[arg(long, value_name = "FILE")]
    patch: Vec<PathBuf>,
    /// Patches of ours whose name holds this (may be repeated)
    #[arg(long, value_name = "WORD", conflicts_with = "patch")]
    only: Vec<String>,
    /// Print our patches with what they break, and run nothing
    #[arg(long)]
    list: bool,
    /// Do not run the suites without any bug first
    #[arg(long)]
    trust: bool,
}

pub(crate) fn run(args: &PlantedArgs) -> Result<()> {
    let patches = if args.patch.is_empty() {
        let is_asked =
            |p: &Planted| args.only.is_empty() || args.only.iter().any(|w| p.name.contains(w));
        ours()?.into_iter().filter(is_asked).collect()
    } else {
        let read = |path: &PathBuf| Planted::read(path);
        args.patch.iter().map(read).collect::<Result<Vec<_>>>()?
    };
    if args.list {
        for planted in &patches {
            let (room, breaks) = (planted.header("room"), planted.header("breaks"));
            println!("{:<34} {room:<12} {breaks}", planted.name);
        }
        return Ok(());
    }
    ensure!(!patches.is_empty(), "no patch of ours has such a name");
    let copy = copy()?;
    let tree = Tree::new(&copy);
    let mut sound = BTreeMap::new();
    let mut missed = Vec::new();
    for planted in &patches {
        let begin = Instant::now();
        let suites = if args.patch.is_empty() {
            planted.suites()?
        } else {
            Suite::in_order_of_cost(&planted.crates())
        };
        let found = found(&tree, &copy, planted, &suites, &mut sound, args.trust)?;
        let word = found.as_deref().unwrap_or("NOT FOUND");
        println!(
            "{:<34} {:<12} {:>6.1} s  {word}",
            planted.name,
            planted.header("room"),
            begin.elapsed().as_secs_f64()
        );
        if found.is_none() {
            missed.push(planted.name.as_str());
        }
    }
    restore(&copy)?;
    let count = patches.len();
    ensure!(
        missed.is_empty(),
        "{} of {count} not found: {}",
        missed.len(),
        missed.join(" ")
    );
    println!("{count} planted, {count} found");
    Ok(())
}

/// Who finds a bug, in words; `None` when nobody does.
fn found(
    tree: &Tree,
    copy: &Path,
    planted: &Planted,
    suites: &[Suite],
    sound: &mut BTreeMap<Suite, Duration>,
    trusts: bool,
) -> Result<Option<String>> {
    for suite in suites {
        if !trusts && !sound.contains_key(suite) {
            restore(copy)?;
            let length = match tree.judge(suite, &[])? {
                Verdict::Passes(length) => length,
                Verdict::Fails(failure) => {
                    bail!("{suite} fails without any bug, so it finds none: {failure}")
                }
                Verdict::Hangs => bail!("{suite} does not end without any bug, so it finds none"),
            };
            sound.insert(suite.clone(), length);
        }
        let usually = sound.get(suite).copied();
        restore(copy)?;
        apply(copy, planted)?;
        let faults = planted.faults();
        if faults.is_empty() {
            if let Some(failure) = tree.judge(suite, &[])?.failure(usually)? {
                return Ok(Some(format!("by {suite}: {failure}")));
            }
            continue;
        }
        // Two faults: both together, and neither alone.
        let both = format!("--only-faults={}", faults.join(","));
        let Some(failure) = tree.judge(suite, &[both])?.failure(usually)? else {
            continue;
        };
        for fault in &faults {
            let alone = tree.judge(suite, &[format!("--only-faults={fault}")])?;
            if let Some(alone) = alone.failure(usually)? {
                println!("{}: {fault} alone shows it too: {alone}", planted.name);
                return Ok(None);
            }
        }
        let both = faults.join(" with ");
        return Ok(Some(format!(
            "by {suite}: {failure}; {both}, neither alone"
        )));
    }
    Ok(None)
}

/// The copy of the tree, as git has it or would; its build folder is kept from run to run.
fn copy() -> Result<PathBuf> {
    let copy = workspace::target_dir()?.join("planted").join("tree");
    std::fs::create_dir_all(&copy)?;
    restore(&copy)?;
    Ok(copy)
}

/// Puts every file that differs back, and takes away what is ours no more; others keep their times, so
/// that little is compiled again.
fn restore(copy: &Path) -> Result<()> {
    let files = workspace::files()?;
    let list = copy.with_file_name("files");
    let before = std::fs::read_to_string(&list).unwrap_or_default();
    let now: BTreeSet<&str> = files.iter().map(String::as_str).collect();
    for gone in before.lines().filter(|file| !now.contains(file)) {
        match std::fs::remove_file(copy.join(gone)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    for file in &files {
        let bytes = std::fs::read(workspace::root().join(file))?;
        let target = copy.join(file);
        if std::fs::read(&target).is_ok_and(|there| there == bytes) {
            continue;
        }
        std::fs::create_dir_all(target.parent().context("a file lies in a folder")?)?;
        std::fs::write(&target, bytes)?;
    }
    // What is not in git and the build needs all the same: the dashboard's files.
    let built = workspace::root().join("dashboard/dist");
    if built.is_dir() && !copy.join("dashboard/dist").exists() {
        copy_folder(&built, &copy.join("dashboard/dist"))?;
    }
    std::fs::write(&list, files.join("\n"))?;
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn apply(copy: &Path, planted: &Planted) -> Result<()> {
    let path = copy.with_file_name("planted.patch");
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
