//! `cargo xtask dashboard`: builds `dashboard/dist`, which the next build of the binary embeds.
//!
//! `dashboard/package-lock.json` pins every package by version and hash. The binary itself needs none of
//! this: without a built dashboard it serves one page that says how to build it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};

use crate::{javascript, step, workspace};

/// What the build reads, beside `src`.
const SOURCES: [&str; 5] = [
    "src",
    "index.html",
    "package-lock.json",
    "tsconfig.json",
    "vite.config.js",
];

/// The dashboard's folder.
pub(crate) fn folder() -> PathBuf {
    workspace::root().join("dashboard")
}

pub(crate) fn run() -> Result<()> {
    println!("{}", build()?);
    Ok(())
}

/// Installs what the build needs and builds, unless what is there is newer than every source.
pub(crate) fn build() -> Result<String> {
    let folder = folder();
    javascript::install_in(&folder, "dashboard")?;
    let built = modified(&folder.join("dist").join("index.html"))?;
    let mut newest = None;
    for source in SOURCES {
        newest = newest.max(newest_in(&folder.join(source))?);
    }
    if built.is_some() && built >= newest {
        return Ok("dashboard/dist is up to date".to_owned());
    }
    let node = |script: &str, arguments: &[&str]| {
        let mut node = workspace::command("node");
        node.current_dir(&folder).arg(script).args(arguments);
        node
    };
    let check = node("node_modules/typescript/bin/tsc", &["--noEmit"]);
    step::watch(check, &["error"])?;
    let build = node("node_modules/vite/bin/vite.js", &["build"]);
    step::watch(build, &["compressed"])
}

/// When a file was changed last; `None` when it is not there.
fn modified(path: &Path) -> Result<Option<SystemTime>> {
    if !path.exists() {
        return Ok(None);
    }
    let metadata = path.metadata().and_then(|metadata| metadata.modified());
    let at = metadata.with_context(|| format!("reading {}", path.display()))?;
    Ok(Some(at))
}

/// When a file, or the newest below a folder, was changed last.
fn newest_in(path: &Path) -> Result<Option<SystemTime>> {
    let mut newest = modified(path)?;
    if path.is_dir() {
        let entries = path.read_dir();
        for entry in entries.with_context(|| format!("reading {}", path.display()))? {
            newest = newest.max(newest_in(&entry?.path())?);
        }
    }
    Ok(newest)
}
