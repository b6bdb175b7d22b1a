//! Lengths of files, leftovers of work in progress, and paths of somebody's machine.

use super::File;

/// The length above which a file needs a reason in [`LONG_FILES`].
const LINES_MAX: usize = 800;

/// Files that may be longer, each with the reason.
const LONG_FILES: &[(&str, &str)] = &[(
    "crates/store/src/conformance.rs",
    "one suite that every driver passes, a function a case",
)];

/// Text that must not land, split so that this file does not find itself.
const LEFTOVERS: &[(&str, &str)] = &[
    (concat!("to", "do!("), "write it, or leave the door out"),
    (
        concat!("unimple", "mented!("),
        "write it, or leave the door out",
    ),
    (concat!("db", "g!("), "use tracing"),
    (concat!("FIX", "ME"), "fix it, or open an issue"),
    (concat!("TO", "DO"), "do it, or open an issue"),
    (concat!("XX", "X:"), "do it, or open an issue"),
    (
        concat!("#[ign", "ore"),
        "assert today's behaviour and say why it is wrong",
    ),
    (
        concat!("pytest.mark.", "skip("),
        "assert today's behaviour and say why it is wrong",
    ),
    (concat!("<<<<", "<<< "), "resolve the conflict"),
    (concat!(">>>>", ">>> "), "resolve the conflict"),
];

/// Folders of a machine, as they would stand at the beginning of a path.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
];

pub(crate) fn check(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files {
        if is_source(&file.path) {
            findings.extend(length(file));
        }
        if is_source(&file.path) || file.path.ends_with(".md") || file.path.ends_with(".toml") {
            findings.extend(leftovers(file));
        }
        findings.extend(machine_paths(file));
    }
    findings
}

fn is_source(path: &str) -> bool {
    [
        ".rs", ".py", ".ts", ".tsx", ".js", ".mjs", ".css", ".sql", ".sh",
    ]
    .iter()
    .any(|extension| path.ends_with(extension))
}

fn length(file: &File) -> Option<String> {
    let lines = file.text.lines().count();
    let is_excused = LONG_FILES.iter().any(|(path, _)| *path == file.path);
    (lines > LINES_MAX && !is_excused).then(|| {
        let path = &file.path;
        format!("{path}:{lines}: longer than {LINES_MAX} lines; split it by noun, or list a reason")
    })
}

fn leftovers(file: &File) -> Vec<String> {
    let path = &file.path;
    let mut findings = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for (needle, advice) in LEFTOVERS {
            if line.contains(needle) {
                findings.push(format!(
                    "{path}:{}: leftover `{needle}`; {advice}",
                    number + 1
                ));
            }
        }
    }
    findings
}

fn machine_paths(file: &File) -> Vec<String> {
    let path = &file.path;
    let mut findings = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for needle in MACHINE_PATHS {
            // Only at the beginning of a path: `frame/work/…` is somebody's honest folder.
            let is_found = line.match_indices(needle).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                before.is_none_or(|c| !c.is_alphanumeric() && !"._-}~*".contains(c))
            });
            if is_found {
                findings.push(format!(
                    "{path}:{}: a path of one machine, `{needle}`",
                    number + 1
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn a_long_file_is_found() {
        let text = "line\n".repeat(LINES_MAX + 1);
        assert_eq!(check(&[file("a.rs", &text)]).len(), 1);
        assert_eq!(check(&[file("a.lock", &text)]).len(), 0);
    }

    #[test]
    fn leftovers_are_found_with_their_line() {
        let text = format!("fine\n{}x)\n", concat!("db", "g!("));
        let found = check(&[file("a.rs", &text)]);
        assert!(found[0].starts_with("a.rs:2: leftover"), "{found:?}");
    }

    #[test]
    fn a_machine_path_is_found_at_the_beginning_of_a_path_only() {
        let path = concat!("/wo", "rk/");
        let text = format!("cd {path}x\nframe{path}y\n\"{path}z\"\n");
        let found = check(&[file("notes.txt", &text)]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[1].starts_with("notes.txt:3:"), "{found:?}");
    }
}
