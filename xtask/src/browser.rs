//! `cargo xtask browser`: the dashboard in a real browser, before a live demo.
//!
//! Chromium is Debian's; where it is missing it is installed, if this process may do that.

use std::path::Path;

use anyhow::Result;

use crate::{dashboard, debian, step, workspace};

/// Where Debian puts it.
const CHROMIUM: &str = "/usr/bin/chromium";

pub(crate) fn run() -> Result<()> {
    println!("{}", dashboard::build()?);
    workspace::built_binary()?;
    suite().map(|_| ())
}

/// Walks through every page; returns the closing line. The binary must be built.
pub(crate) fn suite() -> Result<String> {
    chromium()?;
    let mut walk = workspace::command("node");
    walk.current_dir(dashboard::folder())
        .arg("tests/main.mjs")
        .arg(workspace::binary()?)
        .env("CHROMIUM", CHROMIUM);
    step::watch(walk, &["browser:"])
}

/// Installs the browser where it is missing.
pub(crate) fn chromium() -> Result<()> {
    if Path::new(CHROMIUM).exists() {
        return Ok(());
    }
    debian::install("chromium")
}
