//! How plain types are read from a placed value: texts, numbers, paths, secrets, amounts with
//! units, and lists and tables of what can be read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use overspill_core::money::{NanoUsd, RatePerHour};
use overspill_core::time::DurationMs;
use secrecy::SecretString;
use serde_json::{Map, Value as Json};

use super::decode::{Decoder, FromNode, KeyDoc, from_text};
use super::node::{Node, Value};
use super::problem::{Place, is_secret_name};
use super::units::{self, EnergyPrice, MemorySize};

impl<T: FromNode> FromNode for Option<T> {
    fn from_node(node: &Node, cx: &mut Decoder<'_, '_>) -> Option<Self> {
        T::from_node(node, cx).map(Some)
    }

    fn show(&self) -> Json {
        self.as_ref().map_or(Json::Null, T::show)
    }

    fn kind() -> String {
        T::kind()
    }

    fn keys() -> Option<Vec<KeyDoc>> {
        T::keys()
    }
}

impl<T: FromNode> FromNode for Vec<T> {
    fn from_node(node: &Node, cx: &mut Decoder<'_, '_>) -> Option<Self> {
        let Value::Array(items) = &node.value else {
            cx.mismatch(node, &Self::kind());
            return None;
        };
        // Every element is read, so that each fault is reported.
        let read: Vec<Option<T>> = items.iter().map(|item| T::from_node(item, cx)).collect();
        read.into_iter().collect()
    }

    fn show(&self) -> Json {
        self.iter().map(T::show).collect()
    }

    fn kind() -> String {
        format!("list of {}", T::kind())
    }

    fn keys() -> Option<Vec<KeyDoc>> {
        T::keys()
    }
}

impl<T: FromNode> FromNode for BTreeMap<String, T> {
    fn from_node(node: &Node, cx: &mut Decoder<'_, '_>) -> Option<Self> {
        let Some(table) = node.as_table() else {
            cx.mismatch(node, &Self::kind());
            return None;
        };
        let read: Vec<Option<(String, T)>> = table
            .entries
            .iter()
            .map(|entry| T::from_node(&entry.node, cx).map(|value| (entry.key.clone(), value)))
            .collect();
        read.into_iter().collect()
    }

    fn show(&self) -> Json {
        let redacted = |key: &str, value: &T| match value.show() {
            Json::String(_) if is_secret_name(key) => Json::from("[redacted]"),
            shown => shown,
        };
        let map: Map<String, Json> = self
            .iter()
            .map(|(key, value)| (key.clone(), redacted(key, value)))
            .collect();
        Json::Object(map)
    }

    fn kind() -> String {
        format!("table of {}", T::kind())
    }
}

impl FromNode for String {
    fn from_node(node: &Node, cx: &mut Decoder<'_, '_>) -> Option<Self> {
        match (&node.value, &node.place) {
            (Value::String(text), _) if text.contains('\0') => {
                cx.error(&node.place, "a NUL character; expected text without one");
                None
            }
            (Value::String(text), _) => Some(text.clone()),
            // A variable has no quotes by which to say that its digits are text.
            (Value::Integer(number), Place::Variable(_)) => Some(number.to_string()),
            (Value::Boolean(claim), Place::Variable(_)) => Some(claim.to_string()),
            _ => {
                cx.mismatch(node, "text in quotes");
                None
            }
        }
    }

    fn show(&self) -> Json {
        Json::from(self.as_str())
    }

    fn kind() -> String {
        "text".to_owned()
    }
}

impl FromNode for bool {
    fn from_node(node: &Node, cx: &mut Decoder<'_, '_>) -> Option<Self> {
        if let Value::Boolean(claim) = node.value {
            return Some(claim);
        }
        cx.mismatch(node, "true or false, without quotes");
        None
    }

    fn show(&self) -> Json {
        Json::from(*self)
    }

    fn kind() -> String {
        "true or false".to_owned()
    }
}

impl FromNode for u32 {
    fn from_node(node: &Node, cx: &mut Decoder<'_, '_>) -> Option<Self> {
        if let Value::Integer(number) = node.value {
            if let Ok(number) = Self::try_from(number) {
                return Some(number);
            }
            let message = format!("{number} is out of range; expected 0 to {}", Self::MAX);
            cx.error(&node.place, message);
            return None;
        }
        cx.mismatch(node, "a whole number, without quotes");
        None
    }

    fn show(&self) -> Json {
        Json::from(*self)
    }

    fn kind() -> String {
        "whole number".to_owned()
    }
}

impl FromNode for f64 {
    fn from_node(node: &Node, cx: &mut Decoder<'_, '_>) -> Option<Self> {
        match node.value {
            Value::Float(number) if number.is_finite() => Some(number),
            #[expect(
                clippy::cast_precision_loss,
                reason = "a factor; large ones are refused"
            )]
            Value::Integer(number) => Some(number as Self),
            _ => {
                cx.mismatch(node, "a number");
                None
            }
        }
    }

    fn show(&self) -> Json {
        Json::from(*self)
    }

    fn kind() -> String {
        "number".to_owned()
    }
}

impl FromNode for PathBuf {
    fn from_node(node: &Node, cx: &mut Decoder<'_, '_>) -> Option<Self> {
        let text = String::from_node(node, cx)?;
        if text.is_empty() {
            cx.error(&node.place, "an empty path");
            return None;
        }
        let path = Path::new(&text);
        // A flag or variable speaks from the caller's folder, the file from its own.
        Some(match node.place {
            Place::Span(_) | Place::File => cx.folder.join(path),
            Place::Variable(_) | Place::Flag(_) => {
                std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
            }
        })
    }

    fn show(&self) -> Json {
        Json::from(self.to_string_lossy())
    }

    fn kind() -> String {
        "path, from the configuration file's folder".to_owned()
    }
}

impl FromNode for SecretString {
    fn from_node(node: &Node, cx: &mut Decoder<'_, '_>) -> Option<Self> {
        // The value itself must not reach a message.
        match &node.value {
            Value::String(text) => Some(Self::from(text.as_str())),
            Value::Unset => None,
            _ => {
                cx.error(&node.place, "expected text in quotes");
                None
            }
        }
    }

    fn show(&self) -> Json {
        Json::from("[redacted]")
    }

    fn kind() -> String {
        "text, kept secret".to_owned()
    }
}

from_text!(
    DurationMs,
    "a duration such as `\"90s\"`",
    units::parse_duration,
    |length: &DurationMs| units::format_duration(*length)
);
from_text!(
    NanoUsd,
    "dollars such as `\"$1.32\"`",
    units::parse_money,
    |amount: &NanoUsd| units::format_money(*amount)
);
from_text!(
    RatePerHour,
    "a price such as `\"$0.44/h\"`",
    units::parse_rate,
    |rate: &RatePerHour| units::format_rate(*rate)
);
from_text!(
    EnergyPrice,
    "a price of electricity such as `\"$0.30/kWh\"`",
    units::parse_energy_price,
    |price: &EnergyPrice| units::format_energy_price(*price)
);
from_text!(
    MemorySize,
    "a size such as `\"12GB\"`",
    units::parse_size,
    |size: &MemorySize| units::format_size(*size)
);
