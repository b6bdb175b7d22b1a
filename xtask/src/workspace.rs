//! Where things lie: the repository's root, the build folder, the built binary.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// The repository's root. Fixed when xtask was compiled, which happens in the same checkout.
pub(crate) fn root() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest
        .parent()
        .expect("xtask/ lies in the repository's root")
        .to_path_buf()
}

/// A command that runs in the repository's root without standard input.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// The cargo that runs this task.
pub(crate) fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Where cargo puts what it builds, wherever the user's settings say that is.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let output = cargo()
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .stderr(Stdio::inherit())
        .output()
        .context("running cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata failed: {}",
        output.status
    );
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("reading the answer of cargo metadata")?;
    let folder = metadata["target_directory"].as_str();
    Ok(PathBuf::from(
        folder.context("cargo metadata names no target_directory")?,
    ))
}

/// The `overspill` binary of the dev profile, where [`build_binary`] leaves it.
pub(crate) fn binary() -> Result<PathBuf> {
    Ok(target_dir()?.join("debug").join("overspill"))
}

/// How the binary is built; one profile for every test, so that nothing is compiled twice.
pub(crate) fn build_binary() -> Command {
    let mut build = cargo();
    build.args(["build", "--package", "overspill", "--bins"]);
    build
}

/// Builds the binary, with cargo's own messages on standard error, and returns where it is.
pub(crate) fn built_binary() -> Result<PathBuf> {
    let status = build_binary().status().context("running cargo build")?;
    ensure!(status.success(), "cargo build failed: {status}");
    binary()
}

/// Files that git tracks, or would (not ignored), as paths relative to the root, sorted.
pub(crate) fn files() -> Result<Vec<String>> {
    let output = command("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "-z",
        ])
        .stderr(Stdio::inherit())
        .output()
        .context("running git ls-files (tidy needs a git checkout)")?;
    ensure!(
        output.status.success(),
        "git ls-files failed: {}",
        output.status
    );
    let text = String::from_utf8(output.stdout).context("a file name that is not UTF-8")?;
    let mut files: Vec<String> = text
        .split('\0')
        .filter(|path| !path.is_empty() && root().join(path).is_file())
        .map(str::to_owned)
        .collect();
    files.sort();
    files.dedup();
    Ok(files)
}
