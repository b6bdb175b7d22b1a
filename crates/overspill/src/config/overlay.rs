//! Lays variables (`OVERSPILL__SECTION__KEY`) and flags over the tree that the file gave.
//!
//! Order of precedence: flag, variable, file, default. The overlay sets values only; what they
//! may be is checked later together with the file's own.

use super::env::{Environment, OVERRIDE_PREFIX};
use super::node::{Entry, Node, Table, Value, parse_scalar};
use super::problem::{Place, Problems, quoted};

/// Sets every `OVERSPILL__…` variable in `root`.
pub(crate) fn apply_variables(
    root: &mut Node,
    environment: &Environment,
    problems: &mut Problems<'_>,
) {
    for (name, value) in environment.overrides() {
        let place = Place::Variable(name.as_str().into());
        let value = match value {
            Ok(value) => value,
            Err(message) => {
                problems.error(&place, message);
                continue;
            }
        };
        let path: Vec<&str> = name[OVERRIDE_PREFIX.len()..].split("__").collect();
        if path.iter().any(|segment| segment.is_empty()) {
            problems.error(
                &place,
                "an empty part between double underscores; expected OVERSPILL__SECTION__KEY",
            );
            continue;
        }
        set(root, &path, parse_scalar(value, &place), problems);
    }
}

/// Sets one key from a flag; full stops in it stand between tables.
pub(crate) fn apply_flag(
    root: &mut Node,
    flag: &'static str,
    key: &str,
    text: &str,
    problems: &mut Problems<'_>,
) {
    let place = Place::Flag(flag);
    let node = Node {
        value: Value::String(text.to_owned()),
        place,
    };
    let path: Vec<&str> = key.split('.').collect();
    set(root, &path, node, problems);
}

fn set(at: &mut Node, path: &[&str], value: Node, problems: &mut Problems<'_>) {
    let place = value.place.clone();
    let Some((segment, rest)) = path.split_first() else {
        *at = value;
        return;
    };
    match &mut at.value {
        Value::Table(table) => {
            let key = segment.to_ascii_lowercase();
            let existing = table
                .entries
                .iter_mut()
                .find(|entry| same_name(&entry.key, segment));
            match existing {
                Some(entry) => set(&mut entry.node, rest, value, problems),
                None if rest.is_empty() => put(table, &key, &place, value),
                None => {
                    let mut inner = Node {
                        value: Value::Table(Table::default()),
                        place: place.clone(),
                    };
                    set(&mut inner, rest, value, problems);
                    put(table, &key, &place, inner);
                }
            }
        }
        Value::Array(items) => {
            let known: Vec<String> = items
                .iter()
                .filter_map(|item| item.get("name").and_then(Node::as_str).map(str::to_owned))
                .collect();
            let by_name = items.iter().position(|item| {
                item.get("name")
                    .and_then(Node::as_str)
                    .is_some_and(|name| same_name(name, segment))
            });
            let by_index = segment
                .parse::<usize>()
                .ok()
                .filter(|index| *index < items.len());
            if let Some(index) = by_name.or(by_index) {
                set(&mut items[index], rest, value, problems);
                return;
            }
            let known = match (known.is_empty(), items.len()) {
                (false, _) => format!("known: {}", known.join(", ")),
                (true, 0) => "the list is empty".to_owned(),
                (true, count) => format!("expected 0 to {}", count - 1),
            };
            let message = format!("no element {} here; {known}", quoted(segment));
            problems.error(&place, message);
        }
        _ => {
            problems.error(&place, format!("{} has no keys below it", at.described()));
        }
    }
}

fn put(table: &mut Table, key: &str, place: &Place, node: Node) {
    if let Some(entry) = table.entries.iter_mut().find(|entry| entry.key == key) {
        entry.node = node;
    } else {
        let key_place = place.clone();
        table.entries.push(Entry {
            key: key.to_owned(),
            key_place,
            node,
        });
    }
}

/// Whether a segment of a variable's name means `name`: case and punctuation do not count.
fn same_name(name: &str, segment: &str) -> bool {
    let folded = |text: &str| -> String {
        text.chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '_'
                }
            })
            .collect()
    };
    folded(name) == folded(segment)
}
