//! `overspill man`: manual pages.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Context;
use super::error::{CommandError, ErrorKind};

/// Print the manual page, or write all pages into a folder
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder that gets one page per command; it is made when it does not exist
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When the output cannot be written.
pub fn run(args: &ManArgs, context: &Context) -> Result<(), CommandError> {
    let mut root = super::command();
    root.build();
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(root).render(&mut page)?;
        return context.output.text(&String::from_utf8_lossy(&page));
    };
    let unwritable = |path: &Path, error: std::io::Error| {
        let message = format!("cannot write \"{}\"", path.display());
        CommandError::new(ErrorKind::Io, message).because(error)
    };
    std::fs::create_dir_all(dir).map_err(|error| unwritable(dir, error))?;
    clap_mangen::generate_to(super::command(), dir).map_err(|error| unwritable(dir, error))?;
    let mut written = pages(dir).map_err(|error| unwritable(dir, error))?;
    written.sort();
    if context.output.is_json() {
        return context
            .output
            .json(&serde_json::json!({ "pages": written }));
    }
    context.output.text(&written.join("\n"))
}

/// The manual pages in a folder.
fn pages(dir: &Path) -> std::io::Result<Vec<String>> {
    let mut pages = Vec::new();
    for file in std::fs::read_dir(dir)? {
        let path = file?.path();
        let is_ours = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("overspill"));
        if is_ours && path.extension().is_some_and(|extension| extension == "1") {
            pages.push(path.display().to_string());
        }
    }
    Ok(pages)
}
