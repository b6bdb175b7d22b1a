//! `${VAR}` in string values: the variable's text, `${VAR:-text}` for a default, and `$${` for a
//! literal `${`.
//!
//! A variable that is not set, or set to nothing, is a warning for `check` (which runs where the
//! secrets are not) and an error for `serve`. Its value then counts as left out.

use super::env::Environment;
use super::node::{Node, Value};
use super::problem::{Problems, quoted};

/// What a missing variable means to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// Warn and go on: the values may be set on another machine.
    Check,
    /// Refuse: the server would run without them.
    Serve,
}

/// Replaces every `${VAR}` below `node`.
pub(crate) fn interpolate(
    node: &mut Node,
    environment: &Environment,
    strictness: Strictness,
    problems: &mut Problems<'_>,
) {
    match &mut node.value {
        Value::String(text) if text.contains("${") => match expand(text, environment) {
            Ok(expanded) => *text = expanded,
            Err(faults) => {
                for fault in faults {
                    if strictness == Strictness::Check && fault.is_missing {
                        problems.warning(&node.place, fault.message);
                    } else {
                        problems.error(&node.place, fault.message);
                    }
                }
                node.value = Value::Unset;
            }
        },
        Value::Array(items) => {
            for item in items {
                interpolate(item, environment, strictness, problems);
            }
        }
        Value::Table(table) => {
            for entry in &mut table.entries {
                interpolate(&mut entry.node, environment, strictness, problems);
            }
        }
        _ => {}
    }
}

/// One `${…}` that could not be replaced.
struct Fault {
    message: String,
    /// Whether the variable is absent, rather than the syntax wrong.
    is_missing: bool,
}

fn expand(text: &str, environment: &Environment) -> Result<String, Vec<Fault>> {
    let mut expanded = String::with_capacity(text.len());
    let mut faults = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = rest.split_at(at);
        if let Some(literal) = before.strip_suffix('$') {
            expanded.push_str(literal);
            expanded.push_str("${");
            rest = &after[2..];
            continue;
        }
        expanded.push_str(before);
        let Some(end) = after.find('}') else {
            let message = "`${` without `}`; write `$${` for a literal `${`".to_owned();
            faults.push(Fault {
                message,
                is_missing: false,
            });
            break;
        };
        let inner = &after[2..end];
        rest = &after[end + 1..];
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        if !is_variable_name(name) {
            let message = format!(
                "{} is no variable name; write `$${{` for a literal `${{`",
                quoted(name)
            );
            faults.push(Fault {
                message,
                is_missing: false,
            });
            continue;
        }
        match (environment.get(name), default) {
            (Ok(Some(value)), _) if !value.is_empty() => expanded.push_str(value),
            (Err(message), _) => faults.push(Fault {
                message,
                is_missing: false,
            }),
            (Ok(_), Some(default)) => expanded.push_str(default),
            (Ok(Some(_)), None) => faults.push(Fault {
                message: format!("variable {name} is set but empty"),
                is_missing: true,
            }),
            (Ok(None), None) => {
                faults.push(Fault {
                    message: format!("variable {name} is not set"),
                    is_missing: true,
                });
            }
        }
    }
    expanded.push_str(rest);
    if faults.is_empty() {
        Ok(expanded)
    } else {
        Err(faults)
    }
}

fn is_variable_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        let environment = Environment::from_pairs([("A", "one"), ("EMPTY", "")]);
        expand(text, &environment).map_err(|faults| faults[0].message.clone())
    }

    #[test]
    fn variables_defaults_and_literals() {
        assert_eq!(expanded("x${A}y${A}"), Ok("xoneyone".to_owned()));
        assert_eq!(expanded("$${A} $5"), Ok("${A} $5".to_owned()));
        assert_eq!(expanded("${EMPTY:-d}${NO:-e}"), Ok("de".to_owned()));
    }

    #[test]
    fn faults_name_the_variable() {
        assert_eq!(expanded("${NO}"), Err("variable NO is not set".to_owned()));
        assert_eq!(
            expanded("${EMPTY}"),
            Err("variable EMPTY is set but empty".to_owned())
        );
        assert!(expanded("${A").unwrap_err().contains("without `}`"));
        assert!(expanded("${a b}").unwrap_err().contains("no variable name"));
    }
}
