//! Programs that Debian has and a test needs.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::{step, workspace};

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
