//! The Python environment of the end-to-end suite, `e2e/.venv`.
//!
//! Every package is pinned by version and hash in `e2e/requirements.txt`, so that the suite meets
//! the same clients and workers everywhere. The environment is made anew when that file changed;
//! a copy of the file inside it, written last, says what is installed.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{step, workspace};

/// The interpreters that are tried, newest first where a name carries its version.
const INTERPRETERS: [&str; 5] = [
    "python3",
    "python3.13",
    "python3.12",
    "python3.11",
    "python3.10",
];

/// Folder of the suite.
pub(crate) fn suite_dir() -> PathBuf {
    workspace::root().join("e2e")
}

/// The environment's own interpreter; it exists after [`install`].
pub(crate) fn interpreter() -> PathBuf {
    suite_dir().join(".venv").join("bin").join("python")
}

/// Makes the environment if it is missing or older than `requirements.txt`.
pub(crate) fn install() -> Result<String> {
    let requirements = suite_dir().join("requirements.txt");
    let wanted = std::fs::read_to_string(&requirements)
        .with_context(|| format!("reading {}", requirements.display()))?;
    let environment = suite_dir().join(".venv");
    let stamp = environment.join("installed.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok("e2e/.venv is up to date".to_owned());
    }
    let mut make = workspace::command(find_interpreter()?);
    make.args(["-m", "venv", "--clear"]).arg(&environment);
    step::watch(make, &[])?;
    let mut pip = workspace::command(interpreter());
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ])
    .args(["--require-hashes", "--requirement"])
    .arg(&requirements);
    step::watch(pip, &[])?;
    std::fs::write(&stamp, wanted).with_context(|| format!("writing {}", stamp.display()))?;
    Ok("e2e/.venv is new".to_owned())
}

/// A Python of at least 3.10 that can make environments.
fn find_interpreter() -> Result<&'static str> {
    let probe = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";
    for name in INTERPRETERS {
        let status = Command::new(name)
            .args(["-c", probe])
            .stderr(std::process::Stdio::null())
            .status();
        if status.is_ok_and(|status| status.success()) {
            return Ok(name);
        }
    }
    bail!(
        "no Python of at least 3.10 with the venv module was found (tried {}); \
         on Debian: apt-get install python3-venv",
        INTERPRETERS.join(", ")
    )
}
