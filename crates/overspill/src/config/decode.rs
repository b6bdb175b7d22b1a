//! From placed values to types: the trait, and the macros that declare tables, choices and texts
//! with a grammar. Plain types are in `plain.rs`.
//!
//! Not serde's `Deserialize`: that stops at the first fault, and `check` must name every one with
//! its line. The `section!` macro also keeps the documentation and the default of each key beside
//! the key, so that the reference page and `config show` are made from the same declaration.

use std::path::PathBuf;

use serde_json::Value as Json;

use super::node::{Node, Table, Value};
use super::problem::{Place, Problems, did_you_mean, quoted};

/// A type that a configuration value can become.
pub(crate) trait FromNode: Sized {
    /// Reads `node`; on a fault, reports it and returns nothing.
    fn from_node(node: &Node, cx: &mut Decoder<'_, '_>) -> Option<Self>;

    /// The value as `config show` prints it, with secrets redacted.
    fn show(&self) -> Json;

    /// What the reference page calls values of this type.
    fn kind() -> String;

    /// The keys below, when this type is a table or a list of tables.
    fn keys() -> Option<Vec<KeyDoc>> {
        None
    }
}

/// Rules between the keys of one table, run once all its keys were read.
pub(crate) trait Check {
    /// Reports what cannot be, and fills in what depends on other keys.
    fn check(&mut self, _node: &Node, _cx: &mut Decoder<'_, '_>) {}
}

/// One key as the reference page shows it.
#[derive(Debug, Clone)]
pub struct KeyDoc {
    /// The key as written.
    pub key: &'static str,
    /// What it means, as one paragraph.
    pub doc: String,
    /// What its values look like.
    pub kind: String,
    /// The default in TOML form; nothing when the key is optional without one.
    pub default: Option<String>,
    /// Whether leaving it out is an error.
    pub is_required: bool,
    /// The keys of the table below, if the value is one.
    pub keys: Option<Vec<Self>>,
}

/// The state of one pass over the tree.
pub(crate) struct Decoder<'p, 't> {
    pub(crate) problems: &'p mut Problems<'t>,
    /// The folder that relative paths start from.
    pub(crate) folder: PathBuf,
}

impl Decoder<'_, '_> {
    /// Reports that `node` is not what was expected.
    pub(crate) fn mismatch(&mut self, node: &Node, expected: &str) {
        if !matches!(node.value, Value::Unset) {
            let message = format!("{} here; expected {expected}", node.described());
            self.problems.error(&node.place, message);
        }
    }

    /// Shorthand for an error at `place`.
    pub(crate) fn error(&mut self, place: &Place, message: impl Into<String>) {
        self.problems.error(place, message);
    }

    /// The table in `node`, with its unknown keys reported.
    pub(crate) fn table<'n>(
        &mut self,
        node: &'n Node,
        title: &str,
        known: &[&str],
    ) -> Option<&'n Table> {
        let Some(table) = node.as_table() else {
            self.mismatch(node, &format!("a table, {title}"));
            return None;
        };
        for entry in &table.entries {
            if !known.contains(&entry.key.as_str()) {
                let hint = match did_you_mean(&entry.key, known.iter().copied()) {
                    hint if hint.is_empty() => format!("; known here: {}", known.join(", ")),
                    hint => hint,
                };
                let message = format!("unknown key {} in {title}{hint}", quoted(&entry.key));
                self.error(&entry.key_place, message);
            }
        }
        Some(table)
    }

    /// Reads one key of a table; `None` after a fault, and the default when the key is absent.
    pub(crate) fn key<T: FromNode>(
        &mut self,
        table: &Table,
        key: &str,
        default: impl FnOnce() -> T,
    ) -> Option<T> {
        match table.get(key).map(|entry| &entry.node) {
            None
            | Some(Node {
                value: Value::Unset,
                ..
            }) => Some(default()),
            Some(node) => T::from_node(node, self),
        }
    }

    /// Reads one key that must be there.
    pub(crate) fn required<T: FromNode>(
        &mut self,
        table: &Table,
        at: &Place,
        title: &str,
        key: &str,
    ) -> Option<T> {
        match table.get(key).map(|entry| &entry.node) {
            None => {
                self.error(at, format!("{title} lacks `{key}`; expected {}", T::kind()));
                None
            }
            Some(node) => T::from_node(node, self),
        }
    }
}

/// A section with every key at its default.
///
/// # Panics
/// When the section has a required key; only sections without one call this.
pub(crate) fn defaults<T: FromNode>() -> T {
    let mut problems = Problems::new("", "");
    let mut cx = Decoder {
        problems: &mut problems,
        folder: PathBuf::new(),
    };
    T::from_node(&Node::empty_table(), &mut cx).expect("a section without required keys")
}

/// Declares a table: a struct with documented fields, each with its default or required.
macro_rules! section {
    (
        $(#[doc = $doc:literal])+
        pub struct $name:ident in $title:literal {
            $( $(#[doc = $field_doc:literal])+ pub $field:ident : $type:ty $(= $default:expr)? ),+ $(,)?
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone)]
        pub struct $name {
            $( $(#[doc = $field_doc])+ pub $field: $type, )+
        }

        impl $crate::config::decode::FromNode for $name {
            fn from_node(
                node: &$crate::config::node::Node,
                cx: &mut $crate::config::decode::Decoder<'_, '_>,
            ) -> Option<Self> {
                const KEYS: &[&str] =
                    &[$($crate::config::decode::plain_key(stringify!($field))),+];
                let table = cx.table(node, $title, KEYS)?;
                $(
                    let $field: Option<$type> = $crate::config::decode::section!(
                        @read cx, table, node, $title, stringify!($field) $(, $default)?
                    );
                )+
                let mut section = Self { $($field: $field?),+ };
                $crate::config::decode::Check::check(&mut section, node, cx);
                Some(section)
            }

            fn show(&self) -> serde_json::Value {
                let mut map = serde_json::Map::new();
                $(
                    let shown = $crate::config::decode::FromNode::show(&self.$field);
                    if !shown.is_null() {
                        map.insert(
                            $crate::config::decode::plain_key(stringify!($field)).to_owned(),
                            shown,
                        );
                    }
                )+
                serde_json::Value::Object(map)
            }

            fn kind() -> String {
                concat!("table ", $title).to_owned()
            }

            fn keys() -> Option<Vec<$crate::config::decode::KeyDoc>> {
                Some(vec![$(
                    $crate::config::decode::KeyDoc {
                        key: $crate::config::decode::plain_key(stringify!($field)),
                        doc: $crate::config::decode::joined(&[$($field_doc),+]),
                        kind: <$type as $crate::config::decode::FromNode>::kind(),
                        default: $crate::config::decode::section!(@default $type $(, $default)?),
                        is_required: $crate::config::decode::section!(@required $($default)?),
                        keys: <$type as $crate::config::decode::FromNode>::keys(),
                    },
                )+])
            }
        }
    };
    (@read $cx:ident, $table:ident, $node:ident, $title:literal, $key:expr) => {
        $cx.required($table, &$node.place, $title, $crate::config::decode::plain_key($key))
    };
    (@read $cx:ident, $table:ident, $node:ident, $title:literal, $key:expr, $default:expr) => {
        $cx.key($table, $crate::config::decode::plain_key($key), || $default)
    };
    (@default $type:ty) => { None };
    (@default $type:ty, $default:expr) => {{
        let value: $type = $default;
        $crate::config::decode::as_toml(&$crate::config::decode::FromNode::show(&value))
    }};
    (@required) => { true };
    (@required $default:expr) => { false };
}

/// Declares an enumeration whose values are written as strings.
macro_rules! choice {
    (
        $(#[doc = $doc:literal])+
        pub enum $name:ident {
            $( $(#[doc = $value_doc:literal])+ $value:ident = $text:literal ),+ $(,)?
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $( $(#[doc = $value_doc])+ $value, )+
        }

        impl $name {
            /// The value as the configuration writes it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $( Self::$value => $text, )+
                }
            }
        }

        impl $crate::config::decode::FromNode for $name {
            fn from_node(
                node: &$crate::config::node::Node,
                cx: &mut $crate::config::decode::Decoder<'_, '_>,
            ) -> Option<Self> {
                const KNOWN: &[&str] = &[$($text),+];
                match node.as_str() {
                    $( Some($text) => Some(Self::$value), )+
                    Some(other) => {
                        let message = format!(
                            "unknown value {}; expected {}{}",
                            $crate::config::problem::quoted(other),
                            KNOWN.join(" or "),
                            $crate::config::problem::did_you_mean(other, KNOWN.iter().copied()),
                        );
                        cx.error(&node.place, message);
                        None
                    }
                    None => {
                        cx.mismatch(node, &KNOWN.join(" or "));
                        None
                    }
                }
            }

            fn show(&self) -> serde_json::Value {
                self.as_str().into()
            }

            fn kind() -> String {
                [$(concat!("`\"", $text, "\"`")),+].join(" or ")
            }
        }
    };
}

pub(crate) use {choice, section};

/// The key of a field: its name without the mark of a raw identifier.
pub(crate) const fn plain_key(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// Documentation lines as one paragraph.
pub(crate) fn joined(lines: &[&str]) -> String {
    lines
        .iter()
        .map(|line| line.trim())
        .collect::<Vec<_>>()
        .join(" ")
}

/// A shown value in TOML form, on one line; nothing for an absent one.
pub(crate) fn as_toml(shown: &Json) -> Option<String> {
    Some(match shown {
        Json::Null => return None,
        Json::Array(items) => {
            let items: Vec<String> = items.iter().filter_map(as_toml).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(map) => {
            let entries: Vec<String> = map
                .iter()
                .filter_map(|(key, value)| {
                    as_toml(value).map(|value| format!("{} = {value}", toml_key(key)))
                })
                .collect();
            if entries.is_empty() {
                "{}".to_owned()
            } else {
                format!("{{ {} }}", entries.join(", "))
            }
        }
        // JSON's escapes are a subset of TOML's basic strings.
        other => other.to_string(),
    })
}

/// A key as TOML writes it: bare where it may be.
pub(crate) fn toml_key(key: &str) -> String {
    let is_bare = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if is_bare {
        key.to_owned()
    } else {
        Json::from(key).to_string()
    }
}

/// Implements [`FromNode`] for a type written as a string with its own grammar.
macro_rules! from_text {
    ($type:ty, $kind:literal, $parse:expr, $format:expr) => {
        impl $crate::config::decode::FromNode for $type {
            fn from_node(
                node: &$crate::config::node::Node,
                cx: &mut $crate::config::decode::Decoder<'_, '_>,
            ) -> Option<Self> {
                let text = $crate::config::decode::text_with_unit(node, cx, $kind)?;
                let parse: fn(&str) -> Result<Self, String> = $parse;
                match parse(&text) {
                    Ok(value) => Some(value),
                    Err(message) => {
                        cx.error(&node.place, message);
                        None
                    }
                }
            }

            fn show(&self) -> serde_json::Value {
                let format: fn(&Self) -> String = $format;
                serde_json::Value::from(format(self))
            }

            fn kind() -> String {
                $kind.to_owned()
            }
        }
    };
}

pub(crate) use from_text;

/// The text of a value with a unit; a bare number counts as its digits, whose lack of a unit the
/// parser then explains.
pub(crate) fn text_with_unit(
    node: &Node,
    cx: &mut Decoder<'_, '_>,
    expected: &str,
) -> Option<String> {
    match &node.value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        _ => {
            cx.mismatch(node, expected);
            None
        }
    }
}
