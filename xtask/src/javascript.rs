//! Packages of npm: the JavaScript clients of the end-to-end suite (`e2e/node_modules`), and what the
//! dashboard is built of and tested with (`dashboard/node_modules`).
//!
//! A folder's `package-lock.json` pins every package by version and hash; a copy of it inside
//! `node_modules`, written last, says what is installed.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::{python, step, workspace};

/// Installs the clients of the end-to-end suite, and what the example app that it walks through is made of.
pub(crate) fn install() -> Result<String> {
    let example = workspace::root().join("examples/nextjs");
    let example = install_in(&example, "examples/nextjs")?;
    Ok(format!(
        "{}; {example}",
        install_in(&python::suite_dir(), "e2e")?
    ))
}

/// Installs a folder's packages if they are missing or older than its `package-lock.json`.
pub(crate) fn install_in(folder: &Path, name: &str) -> Result<String> {
    let lock = folder.join("package-lock.json");
    let wanted =
        std::fs::read_to_string(&lock).with_context(|| format!("reading {}", lock.display()))?;
    let stamp = folder.join("node_modules").join("installed.json");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(format!("{name}/node_modules is up to date"));
    }
    let mut npm = workspace::command("npm");
    npm.current_dir(folder)
        .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
    step::watch(npm, &["added"])
        .with_context(|| format!("{name} needs Node 20 or newer with npm"))?;
    std::fs::write(&stamp, wanted).with_context(|| format!("writing {}", stamp.display()))?;
    Ok(format!("{name}/node_modules is new"))
}
