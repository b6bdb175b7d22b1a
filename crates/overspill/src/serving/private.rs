//! Folders that only their owner may enter: they hold inputs, results, logs and the server's secret.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Makes a folder and those above it. One that is there keeps the rights that it has.
pub(crate) fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn nobody_else_may_enter() {
        let place = tempfile::tempdir().unwrap();
        let made = place.path().join("data/logs");
        folder(&made).unwrap();
        for path in [made.as_path(), made.parent().unwrap()] {
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{}", path.display());
        }
        folder(&made).expect("what is there is no error");
    }
}
