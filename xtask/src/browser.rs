//! `cargo xtask browser`: the dashboard in a real browser, before a live demo.
//!
//! Chromium is Debian's; where it is missing it is installed, if this process may do that.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{dashboard, debian, step, workspace};

/// Where Debian puts it.
const CHROMIUM: &str = "/usr/bin/chromium";

/// Arguments of `cargo xtask browser`.
#[derive(Args)]
pub(crate) struct BrowserArgs {
    /// Run only checks whose name holds this
    filter: Option<String>,
    /// Take the README's picture instead: `docs/images/overview.png`
    #[arg(long, value_name = "FILE", conflicts_with = "filter")]
    picture: Option<PathBuf>,
}

pub(crate) fn run(args: &BrowserArgs) -> Result<()> {
    println!("{}", dashboard::build()?);
    workspace::built_binary()?;
    let Some(picture) = &args.picture else {
        return walk(args.filter.as_deref()).map(|_| ());
    };
    let picture =
        std::path::absolute(picture).with_context(|| format!("finding {}", picture.display()))?;
    chromium()?;
    let mut take = script("tests/picture.mjs")?;
    take.arg(picture);
    step::watch(take, &["picture"]).map(|_| ())
}

/// Walks through every page; returns the closing line. The binary must be built.
pub(crate) fn suite() -> Result<String> {
    walk(None)
}

fn walk(filter: Option<&str>) -> Result<String> {
    chromium()?;
    let mut walk = script("tests/main.mjs")?;
    walk.args(filter);
    step::watch(walk, &["browser:"])
}

/// A script of the dashboard's tests, with the binary and the browser that it needs.
fn script(name: &str) -> Result<Command> {
    let mut node = workspace::command("node");
    node.current_dir(dashboard::folder())
        .arg(name)
        .arg(workspace::binary()?)
        .env("CHROMIUM", CHROMIUM);
    Ok(node)
}

/// Installs the browser where it is missing.
pub(crate) fn chromium() -> Result<()> {
    if Path::new(CHROMIUM).exists() {
        return Ok(());
    }
    debian::install("chromium")
}
