//! Programs that Debian has and a test needs.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::{step, workspace};

/// The end-to-end suite's Prometheus, with `promtool`.
pub(crate) fn prometheus() -> Result<()> {
    if Path::new("/usr/bin/promtool").exists() && Path::new("/usr/bin/prometheus").exists() {
        return Ok(());
    }
    install("prometheus")
}

/// What gives a process another wall clock.
pub(crate) fn faketime() -> Result<()> {
    let library = format!(
        "/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1",
        std::env::consts::ARCH
    );
    if Path::new(&library).exists() {
        return Ok(());
    }
    install("faketime")
}

/// Installs a package, if this process may do that. Errors: it may not; the error says the command.
pub(crate) fn install(package: &str) -> Result<()> {
    let is_root = Command::new("id")
        .arg("-u")
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    if !is_root {
        bail!("{package} is missing; on Debian: sudo apt-get install {package}");
    }
    for arguments in [
        &["update", "-qq"][..],
        &["install", "-qq", "-y", "--no-install-recommends", package],
    ] {
        let mut apt = workspace::command("apt-get");
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        step::watch(apt, &["E:"])?;
    }
    Ok(())
}
