//! Every Rust file is part of a crate: some file above it says `mod name`, or one beside it names
//! it with `#[path]`.
//!
//! A test file that nobody lists is never compiled and so never fails; cargo does not tell.

use std::collections::BTreeMap;

use super::File;

pub(crate) fn check(files: &[File]) -> Vec<String> {
    let texts: BTreeMap<&str, &str> = files
        .iter()
        .map(|file| (file.path.as_str(), file.text.as_str()))
        .collect();
    let mut findings = Vec::new();
    for file in files {
        let Some(stem) = file.path.strip_suffix(".rs") else {
            continue;
        };
        let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
        // The module's own name and the folder whose module file must list it.
        let (above, name) = match name {
            "mod" => match folder.rsplit_once('/') {
                Some(split) => split,
                None => continue,
            },
            _ => (folder, name),
        };
        let is_root = matches!(name, "lib" | "main" | "build")
            || above.ends_with("/examples")
            || above.ends_with("/benches")
            || above.ends_with("/src/bin");
        if is_root || !(stem.contains("/src/") || stem.contains("/tests/")) {
            continue;
        }
        let parents = [
            format!("{above}.rs"),
            format!("{above}/mod.rs"),
            format!("{above}/lib.rs"),
            format!("{above}/main.rs"),
        ];
        let is_listed = parents
            .iter()
            .filter_map(|path| texts.get(path.as_str()))
            .any(|text| text.lines().any(|line| declares(line.trim(), name)));
        let folder = format!("{above}/");
        let pathed = format!("#[path = \"{name}.rs\"]");
        let is_pathed = files.iter().any(|other| {
            let sibling = other.path.strip_prefix(&folder);
            sibling.is_some_and(|name| !name.contains('/')) && other.text.contains(&pathed)
        });
        if !is_listed && !is_pathed {
            let path = &file.path;
            findings.push(format!(
                "{path}:1: no `mod {name};` above it, so nothing compiles it"
            ));
        }
    }
    findings
}

/// Whether a trimmed line is `mod name;`, with any visibility before it.
fn declares(line: &str, name: &str) -> bool {
    let Some(rest) = line.strip_suffix(';') else {
        return false;
    };
    rest.rsplit_once("mod ").is_some_and(|(before, declared)| {
        declared.trim() == name && (before.is_empty() || before.starts_with("pub"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn a_file_without_a_mod_line_is_found() {
        let files = [
            file("crates/a/src/lib.rs", "mod one;\npub mod two;\n"),
            file("crates/a/src/one.rs", ""),
            file("crates/a/src/two/mod.rs", "pub(crate) mod inner;"),
            file("crates/a/src/two/inner.rs", ""),
            file("crates/a/src/two/lost.rs", ""),
            file("crates/a/tests/main.rs", "mod submit;"),
            file("crates/a/tests/submit.rs", ""),
            file("crates/a/tests/forgotten.rs", ""),
        ];
        let found = check(&files);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].starts_with("crates/a/src/two/lost.rs:1:"),
            "{found:?}"
        );
        assert!(
            found[1].starts_with("crates/a/tests/forgotten.rs:1:"),
            "{found:?}"
        );
    }
}
