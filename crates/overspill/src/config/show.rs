//! The configuration as people see it: effective values with secrets redacted, and the keys with
//! their documentation.

use serde_json::Value as Json;

use super::Config;
use super::decode::{FromNode, KeyDoc, as_toml, toml_key};

impl Config {
    /// Every effective value, with secrets redacted; what is absent and has no default is left
    /// out.
    #[must_use]
    pub fn to_json(&self) -> Json {
        self.show()
    }

    /// The same as TOML that loads again, but for the redacted secrets.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        write_table(&mut text, &[], &self.show());
        text
    }
}

/// Every key of the configuration with its documentation, for the reference page.
#[must_use]
pub fn key_docs() -> Vec<KeyDoc> {
    Config::keys().expect("the configuration is a table")
}

/// Writes plain keys first, then tables under their headings.
fn write_table(text: &mut String, path: &[&str], shown: &Json) {
    let Json::Object(map) = shown else { return };
    let is_table_list = |value: &Json| {
        value
            .as_array()
            .is_some_and(|items| !items.is_empty() && items.iter().all(Json::is_object))
    };
    // Tables at the top get headings; deeper ones are short and stay on their line.
    let is_heading = |value: &Json| is_table_list(value) || (path.is_empty() && value.is_object());
    let (named, rest): (Vec<_>, Vec<_>) = map
        .iter()
        .filter(|(_, value)| !is_heading(value))
        .partition(|(key, _)| *key == "name");
    for (key, value) in named.into_iter().chain(rest) {
        if let Some(value) = as_toml(value) {
            text.push_str(&format!("{} = {value}\n", toml_key(key)));
        }
    }
    for (key, value) in map.iter().filter(|(_, value)| is_heading(value)) {
        let mut path = path.to_vec();
        path.push(key);
        let heading = path.join(".");
        match value {
            Json::Array(items) => {
                for item in items {
                    text.push_str(&format!("\n[[{heading}]]\n"));
                    write_table(text, &path, item);
                }
            }
            table => {
                text.push_str(&format!("\n[{heading}]\n"));
                write_table(text, &path, table);
            }
        }
    }
}
