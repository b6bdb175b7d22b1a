//! `cargo xtask tidy`: what no compiler checks.
//!
//! - [`map`]: every crate and top folder is named in ARCHITECTURE.md.
//! - [`modules`]: every Rust file is reached by a `mod` line; a forgotten test is no test.
//! - [`sources`]: lengths, leftovers, paths of somebody's machine.
//! - [`faults`]: the catalogue of faults is whole, and what it names exists.
//! - [`links`]: links and anchors of the Markdown files lead somewhere.
//! - [`crate::planted`]: every planted bug still applies.
//!
//! Each check takes the list of files and returns its findings as lines `path:line: what`.

mod faults;
mod links;
mod map;
mod modules;
mod sources;

use std::fmt;

use anyhow::{Context as _, Result, bail};

use crate::workspace;

/// A file of the repository with its text.
pub(crate) struct File {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// How much was looked at.
pub(crate) struct Seen {
    files: usize,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} files are tidy", self.files)
    }
}

pub(crate) fn run() -> Result<()> {
    println!("{}", check()?);
    Ok(())
}

/// Runs every check. Errors: at least one finding; all of them are printed first.
pub(crate) fn check() -> Result<Seen> {
    let files = read()?;
    let mut findings = Vec::new();
    findings.extend(map::check(&files));
    findings.extend(modules::check(&files));
    findings.extend(sources::check(&files));
    findings.extend(links::check(&files));
    findings.extend(faults::check(&files));
    findings.extend(crate::planted::stale()?);
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(Seen { files: files.len() }),
        count => bail!("{count} findings; the first: {}", findings[0]),
    }
}

/// Every text file of the repository; what is not UTF-8 (images, databases) is left out.
fn read() -> Result<Vec<File>> {
    let root = workspace::root();
    let mut files = Vec::new();
    for path in workspace::files()? {
        let bytes = std::fs::read(root.join(&path)).with_context(|| format!("reading {path}"))?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File { path, text });
        }
    }
    Ok(files)
}

#[cfg(test)]
pub(crate) fn file(path: &str, text: &str) -> File {
    File {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}
