//! The JavaScript clients of the end-to-end suite, `e2e/node_modules`.
//!
//! `e2e/package-lock.json` pins every package by version and hash; a copy of it inside the folder,
//! written last, says what is installed.

use anyhow::{Context as _, Result};

use crate::{python, step, workspace};

/// Installs the clients if they are missing or older than `package-lock.json`.
pub(crate) fn install() -> Result<String> {
    let suite = python::suite_dir();
    let lock = suite.join("package-lock.json");
    let wanted =
        std::fs::read_to_string(&lock).with_context(|| format!("reading {}", lock.display()))?;
    let stamp = suite.join("node_modules").join("installed.json");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok("e2e/node_modules is up to date".to_owned());
    }
    let mut npm = workspace::command("npm");
    npm.current_dir(&suite)
        .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
    step::watch(npm, &["added"])
        .context("the JavaScript clients need Node 20 or newer with npm")?;
    std::fs::write(&stamp, wanted).with_context(|| format!("writing {}", stamp.display()))?;
    Ok("e2e/node_modules is new".to_owned())
}
