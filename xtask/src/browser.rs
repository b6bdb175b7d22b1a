//! `cargo xtask browser`: the dashboard in a real browser, before a live demo.
//!
//! Chromium is Debian's; where it is missing it is installed, if this process may do that.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::{dashboard, step, workspace};

/// Where Debian puts it.
const CHROMIUM: &str = "/usr/bin/chromium";

pub(crate) fn run() -> Result<()> {
    println!("{}", dashboard::build()?);
    workspace::built_binary()?;
    suite().map(|_| ())
}

/// Walks through every page; returns the closing line. The binary must be built.
pub(crate) fn suite() -> Result<String> {
    install()?;
    let mut walk = workspace::command("node");
    walk.current_dir(dashboard::folder())
        .arg("tests/main.mjs")
        .arg(workspace::binary()?)
        .env("CHROMIUM", CHROMIUM);
    step::watch(walk, &["browser:"])
}

fn install() -> Result<()> {
    if Path::new(CHROMIUM).exists() {
        return Ok(());
    }
    let is_root = Command::new("id")
        .arg("-u")
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    if !is_root {
        bail!("{CHROMIUM} is missing; on Debian: sudo apt-get install chromium");
    }
    for arguments in [
        &["update", "-qq"][..],
        &[
            "install",
            "-qq",
            "-y",
            "--no-install-recommends",
            "chromium",
        ],
    ] {
        let mut apt = workspace::command("apt-get");
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        step::watch(apt, &["E:"])?;
    }
    Ok(())
}
