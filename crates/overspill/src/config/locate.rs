//! Where the configuration file is: the flag, the variable, this folder, the user's, the system's.

use std::path::{Path, PathBuf};

use super::env::{self, Environment};

/// File name that is looked for.
const FILE_NAME: &str = "overspill.toml";

/// Why no file was found.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// None of the places has one.
    #[error("no configuration found; looked for {}", listed(.0))]
    NotFound(Vec<PathBuf>),
}

/// The file to read: `flag` when given, else the first that exists.
///
/// # Errors
/// When no file was named and none of the usual places has one.
pub fn locate(flag: Option<&Path>, environment: &Environment) -> Result<PathBuf, LocateError> {
    if let Some(path) = flag {
        return Ok(path.to_owned());
    }
    if let Some(path) = environment.text(env::OVERSPILL_CONFIG) {
        return Ok(PathBuf::from(path));
    }
    let user = environment
        .text("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| {
            environment
                .text("HOME")
                .map(|home| Path::new(home).join(".config"))
        });
    let places: Vec<PathBuf> = [
        Some(PathBuf::from(FILE_NAME)),
        user.map(|folder| folder.join("overspill").join(FILE_NAME)),
        Some(Path::new("/etc/overspill").join(FILE_NAME)),
    ]
    .into_iter()
    .flatten()
    .collect();
    match places.iter().find(|path| path.is_file()) {
        Some(path) => Ok(path.clone()),
        None => Err(LocateError::NotFound(places)),
    }
}

fn listed(places: &[PathBuf]) -> String {
    places
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}
