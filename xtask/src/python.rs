//! The Python environment of the end-to-end suite, `e2e/.venv`.
//!
//! Every package is pinned by version and hash in `e2e/requirements.txt`, so that the suite meets
//! the same clients and workers everywhere. The environment is made anew when that file changed;
//! a copy of the file inside it, written last, says what is installed.

use std::path::{Path, PathBuf};
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

/// Makes the suite's own environment if it is missing or older than `requirements.txt`.
pub(crate) fn install() -> Result<String> {
    make(".venv", &suite_dir().join("requirements.txt"))
}

/// Makes every environment of the suite: its own, and one for each file of `e2e/environments`,
/// which holds a client or a worker that does not go together with the others.
pub(crate) fn install_all() -> Result<String> {
    install()?;
    let folder = suite_dir().join("environments");
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "txt")
            && let Some(name) = path.file_stem().and_then(|name| name.to_str())
        {
            names.push((format!(".venvs/{name}"), path.clone()));
        }
    }
    names.sort();
    for (name, requirements) in &names {
        make(name, requirements)?;
    }
    Ok(format!("{} environments of Python", names.len() + 1))
}

/// Makes one environment if it is missing or older than its list.
fn make(name: &str, requirements: &Path) -> Result<String> {
    let wanted = std::fs::read_to_string(requirements)
        .with_context(|| format!("reading {}", requirements.display()))?;
    let environment = suite_dir().join(name);
    let stamp = environment.join("installed.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(format!("e2e/{name} is up to date"));
    }
    let mut make = workspace::command(find_interpreter()?);
    make.args(["-m", "venv", "--clear"]).arg(&environment);
    step::watch(make, &[])?;
    let mut pip = workspace::command(environment.join("bin").join("python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ])
    // The list is whole. Left to follow requirements, pip looks at the newest release for one with an
    // extra (`pydantic[email]`) before it looks at the list, and fails on the day one comes out.
    .args(["--no-deps", "--require-hashes", "--requirement"])
    .arg(requirements);
    step::watch(pip, &[])?;
    let mut check = workspace::command(environment.join("bin").join("python"));
    check.args(["-m", "pip", "check"]);
    step::watch(check, &[])?;
    std::fs::write(&stamp, wanted).with_context(|| format!("writing {}", stamp.display()))?;
    Ok(format!("e2e/{name} is new"))
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
