//! Relative links of Markdown files lead to a file, and their anchors to a heading.

use std::collections::{BTreeMap, BTreeSet};

use super::File;
use crate::workspace;

pub(crate) fn check(files: &[File]) -> Vec<String> {
    let texts: BTreeMap<&str, &str> = files
        .iter()
        .map(|file| (file.path.as_str(), file.text.as_str()))
        .collect();
    let mut folders = BTreeSet::new();
    for file in files {
        let mut path = file.path.as_str();
        while let Some((folder, _)) = path.rsplit_once('/') {
            folders.insert(folder);
            path = folder;
        }
    }
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        for (line, target) in links(&file.text) {
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let path = if path.is_empty() {
                file.path.clone()
            } else {
                join(&file.path, path)
            };
            let here = &file.path;
            match texts.get(path.as_str()) {
                None if folders.contains(path.as_str()) || path.is_empty() => {}
                // A picture is no text, and so not in the list.
                None if is_picture(&path) && workspace::root().join(&path).is_file() => {}
                None => findings.push(format!("{here}:{line}: the link {target:?} leads nowhere")),
                Some(text) if !anchor.is_empty() && !anchors(text).contains(anchor) => {
                    findings.push(format!("{here}:{line}: {path} has no heading #{anchor}"));
                }
                Some(_) => {}
            }
        }
    }
    findings
}

fn is_picture(path: &str) -> bool {
    [".png", ".jpg", ".webp"]
        .iter()
        .any(|end| path.ends_with(end))
}

/// Lines and targets of the inline links that point into the repository, code left out.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut is_code = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code {
            continue;
        }
        // Every second piece between back-quotes is code.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for piece in prose.split("](").skip(1) {
            let Some((target, _)) = piece.split_once(')') else {
                continue;
            };
            let is_foreign = target.contains("://") || target.starts_with("mailto:");
            if !is_foreign && !target.is_empty() {
                links.push((number + 1, target.to_owned()));
            }
        }
    }
    links
}

/// The anchors of a page's headings, by the rule of the common forges.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

/// `target` as seen from the file `from`, relative to the root.
fn join(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn dead_links_and_dead_anchors_are_found() {
        let page = "see [words](glossary.md#the-words), [gone](gone.md), [up](../README.md),\n\
                    [no](glossary.md#nothing), [web](https://example.com/x), `[code](x.md)`";
        let files = [
            file("README.md", "[docs](docs/), [all](docs/page.md)"),
            file("docs/page.md", page),
            file("docs/glossary.md", "# Glossary\n\n## The words\n"),
        ];
        let found = check(&files);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].contains("gone.md") && found[1].contains("#nothing"),
            "{found:?}"
        );
    }
}
