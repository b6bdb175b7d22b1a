//! ARCHITECTURE.md names every crate and every top folder, each as code: `` `crates/core` ``.

use std::collections::BTreeSet;

use super::File;

pub(crate) fn check(files: &[File]) -> Vec<String> {
    let Some(map) = files.iter().find(|file| file.path == "ARCHITECTURE.md") else {
        return vec!["ARCHITECTURE.md: missing; it is the map of the tree".to_owned()];
    };
    let mut rooms = BTreeSet::new();
    for file in files {
        let mut parts = file.path.split('/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("crates"), Some(name), Some(_)) => rooms.insert(format!("crates/{name}")),
            (Some(folder), Some(_), _) => rooms.insert(folder.to_owned()),
            _ => false,
        };
    }
    let missing = |room: &String| {
        !map.text.contains(&format!("`{room}`")) && !map.text.contains(&format!("`{room}/`"))
    };
    let line = |room: String| format!("ARCHITECTURE.md: does not name `{room}`");
    rooms.into_iter().filter(missing).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn a_crate_or_folder_that_the_map_does_not_name_is_found() {
        let files = [
            file("ARCHITECTURE.md", "`crates/core` decides; `e2e/` tests"),
            file("crates/core/src/lib.rs", ""),
            file("crates/store/src/lib.rs", ""),
            file("e2e/conftest.py", ""),
            file("docs/glossary.md", ""),
            file("README.md", ""),
        ];
        let found = check(&files);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].contains("`crates/store`") && found[1].contains("`docs`"),
            "{found:?}"
        );
    }
}
