//! The configuration as a tree of placed values, before any key has a meaning.
//!
//! Built from TOML text with every syntax error collected, then laid over by environment
//! variables and flags (`overlay.rs`) and decoded into types (`decode.rs`). Each value remembers
//! its [`Place`], so that an error found late still points at its line.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Place, Problems};

/// The longest file that is read, in bytes; a configuration is a few kilobytes.
pub(crate) const FILE_BYTES_MAX: usize = 1 << 20;

/// Deepest nesting of tables and arrays. The real tree has six levels.
const DEPTH_MAX: usize = 32;

/// Most dots on one line, in keys and values together.
const DOTS_MAX: usize = 500;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) place: Place,
}

/// What a [`Node`] holds.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime,
    Array(Vec<Node>),
    Table(Table),
    /// Named an environment variable that is not set; already reported, so it decodes to nothing.
    Unset,
}

/// Keys with their values, in the order of the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) entries: Vec<Entry>,
}

/// One key of a [`Table`].
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_place: Place,
    pub(crate) node: Node,
}

impl Node {
    /// An empty table that stands nowhere in particular.
    pub(crate) fn empty_table() -> Self {
        Self {
            value: Value::Table(Table::default()),
            place: Place::File,
        }
    }

    /// The value under `key`, when this is a table that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.as_table()?.get(key).map(|entry| &entry.node)
    }

    /// The place of the value under `key`, or of this node.
    pub(crate) fn place_of(&self, key: &str) -> &Place {
        self.get(key).map_or(&self.place, |node| &node.place)
    }

    /// The keys and values, when this is a table.
    pub(crate) const fn as_table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The elements; empty when this is no array.
    pub(crate) fn items(&self) -> &[Self] {
        match &self.value {
            Value::Array(items) => items,
            _ => &[],
        }
    }

    /// The text, when this is a string.
    pub(crate) const fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// What this is, for messages: "the string `x`".
    pub(crate) fn described(&self) -> String {
        match &self.value {
            Value::String(text) => format!("the string {}", super::problem::quoted(text)),
            Value::Integer(number) => format!("the number {number}"),
            Value::Float(number) => format!("the number {number}"),
            Value::Boolean(claim) => format!("{claim}"),
            Value::Datetime => "a date".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
            Value::Unset => "nothing".to_owned(),
        }
    }
}

impl Table {
    /// The entry under `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

/// Reads TOML text; every syntax error lands in `problems`, and what could be read comes back.
pub(crate) fn parse(text: &str, problems: &mut Problems<'_>) -> Node {
    if text.len() > FILE_BYTES_MAX {
        problems.error(
            &Place::File,
            format!(
                "the file has {} bytes; a configuration may have {FILE_BYTES_MAX}",
                text.len()
            ),
        );
        return Node::empty_table();
    }
    // The parser bounds brackets but not dotted keys, whose tables are read and dropped recursively.
    if let Some(line) = text
        .lines()
        .find(|line| line.matches('.').count() > DOTS_MAX)
    {
        let at = line.as_ptr().addr() - text.as_ptr().addr();
        let message = format!("a line with more than {DOTS_MAX} dots");
        problems.error(&Place::Span(at..at + 1), message);
        return Node::empty_table();
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let place = error.span().map_or(Place::File, Place::Span);
        problems.error(&place, error.message().replace('\n', "; "));
    }
    let span = document.span();
    let value = Value::Table(table(document.get_ref(), 0, problems));
    Node {
        value,
        place: Place::Span(span),
    }
}

/// Reads the text of a variable: a TOML value where it is one, else the text itself.
pub(crate) fn parse_scalar(text: &str, place: &Place) -> Node {
    let parsed = (text.len() < 4_096)
        .then(|| DeValue::parse(text).ok())
        .flatten();
    let value = match parsed.as_ref().map(Spanned::get_ref) {
        Some(DeValue::Table(_)) | None => Value::String(text.to_owned()),
        Some(value) => {
            let mut ignored = Problems::new("", "");
            let mut value = node(value, place.clone(), 0, &mut ignored);
            relocate(&mut value, place);
            value.value
        }
    };
    Node {
        value,
        place: place.clone(),
    }
}

fn table(source: &DeTable<'_>, depth: usize, problems: &mut Problems<'_>) -> Table {
    let mut entries: Vec<Entry> = source
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_place: Place::Span(key.span()),
            node: node(
                value.get_ref(),
                Place::Span(value.span()),
                depth + 1,
                problems,
            ),
        })
        .collect();
    entries.sort_by_key(|entry| match &entry.key_place {
        Place::Span(span) => span.start,
        _ => usize::MAX,
    });
    Table { entries }
}

fn node(source: &DeValue<'_>, place: Place, depth: usize, problems: &mut Problems<'_>) -> Node {
    if depth > DEPTH_MAX {
        problems.error(&place, format!("nested deeper than {DEPTH_MAX} levels"));
        return Node {
            value: Value::Unset,
            place,
        };
    }
    let value = match source {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            if let Ok(number) = i64::from_str_radix(number.as_str(), number.radix()) {
                Value::Integer(number)
            } else {
                problems.error(&place, "number out of range; at most 9223372036854775807");
                Value::Unset
            }
        }
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .map_or(Value::Float(f64::NAN), Value::Float),
        DeValue::Boolean(claim) => Value::Boolean(*claim),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| {
                    node(
                        item.get_ref(),
                        Place::Span(item.span()),
                        depth + 1,
                        problems,
                    )
                })
                .collect(),
        ),
        DeValue::Table(inner) => Value::Table(table(inner, depth, problems)),
    };
    Node { value, place }
}

/// Gives a tree read from a variable the place of that variable.
fn relocate(node: &mut Node, place: &Place) {
    node.place = place.clone();
    match &mut node.value {
        Value::Array(items) => items.iter_mut().for_each(|item| relocate(item, place)),
        Value::Table(table) => {
            for entry in &mut table.entries {
                entry.key_place = place.clone();
                relocate(&mut entry.node, place);
            }
        }
        _ => {}
    }
}
