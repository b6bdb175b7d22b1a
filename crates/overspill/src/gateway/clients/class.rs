//! The class of a job: a label by which its duration is learned, from the fields of its `input` that the
//! endpoint's `class_by` names (a model, an image's size, a number of steps).
//!
//! The label says nothing but that two jobs have the same values there: it is a hash of them. Fields that
//! are missing, and values that no class can be (objects, lists, long texts), count as absent; without any field
//! the class is 0, that of all jobs where nothing is named. Input is scanned where it lies; only names of fields are copied.

use std::collections::HashMap;

use serde_json::value::RawValue;

/// A longer value is a prompt or a file, and no class.
const VALUE_MAX: usize = 256;

/// The class of a job with this input, by the fields that `paths` names.
pub(super) fn of(paths: &[String], input: &[u8]) -> u32 {
    if paths.is_empty() {
        return 0;
    }
    let Ok(input) = std::str::from_utf8(input) else {
        return 0;
    };
    // Read once for all paths: what they share is the input itself, which may be large.
    let Some(top) = fields(input) else {
        return 0;
    };
    let mut hash = Fnv::default();
    let mut has_any = false;
    for path in paths {
        if let Some(value) = field(&top, path) {
            has_any = true;
            hash.put(value.as_bytes());
        }
        // No part of any JSON text: what is absent is told from what is empty.
        hash.put(&[0xff]);
    }
    if has_any { hash.label() } else { 0 }
}

/// An object's fields, with the text of each value.
type Fields<'a> = HashMap<String, &'a RawValue>;

fn fields(text: &str) -> Option<Fields<'_>> {
    serde_json::from_str(text).ok()
}

/// The text of a scalar at a path of names (`model`, `settings/size`).
fn field<'a>(top: &Fields<'a>, path: &str) -> Option<&'a str> {
    let mut names = path.split('/');
    let mut at = top.get(names.next()?)?.get();
    for name in names {
        at = fields(at)?.get(name)?.get();
    }
    let is_scalar = !at.starts_with(['{', '[']) && at != "null";
    (is_scalar && at.len() <= VALUE_MAX).then_some(at)
}

/// FNV-1a of 32 bits: the same label after every restart and on every machine.
struct Fnv(u32);

impl Default for Fnv {
    fn default() -> Self {
        Self(0x811c_9dc5)
    }
}

impl Fnv {
    fn put(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    }

    /// Neither 0, the class of jobs without one, nor the last number, that of no job at all.
    const fn label(&self) -> u32 {
        self.0 % (u32::MAX - 1) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(paths: &[&str], input: &str) -> u32 {
        let paths: Vec<String> = paths.iter().map(|&path| path.to_owned()).collect();
        of(&paths, input.as_bytes())
    }

    #[test]
    fn equal_values_are_one_class_whatever_stands_beside_them() {
        let by = ["model", "settings/steps"];
        let one = class(
            &by,
            r#"{"prompt":"a cat","model":"xl","settings":{"steps":30}}"#,
        );
        let two = class(
            &by,
            r#"{ "settings": {"steps": 30, "cfg": 7}, "model": "xl" }"#,
        );
        assert_eq!(one, two);
        let other = class(&by, r#"{"model":"xl","settings":{"steps":50}}"#);
        assert_ne!(one, other);
        // Where a value stands counts.
        let by = ["a", "b"];
        assert_ne!(class(&by, r#"{"a":"x"}"#), class(&by, r#"{"b":"x"}"#));
    }

    #[test]
    fn without_a_field_there_is_no_class() {
        let long = format!(r#"{{"model":"{}"}}"#, "x".repeat(300));
        for input in [
            "{}",
            "[1]",
            "7",
            "\"model\"",
            r#"{"model":null}"#,
            r#"{"model":{"name":"xl"}}"#,
            r#"{"model":[1]}"#,
            r#"{"Model":"xl"}"#,
            &long,
        ] {
            assert_eq!(class(&["model"], input), 0, "{input}");
        }
        assert_eq!(class(&[], r#"{"model":"xl"}"#), 0, "nothing is named");
        assert_eq!(of(&["model".to_owned()], b"{\"model\":\"\xff\"}"), 0);
    }

    #[test]
    fn a_label_stays_what_it_is() {
        // What was learned is stored by it.
        assert_eq!(class(&["model"], r#"{"model":"xl"}"#), 1_549_916_355);
        assert_eq!(Fnv(0).label(), 1);
        assert_eq!(Fnv(u32::MAX - 1).label(), 1);
        assert_eq!(Fnv(u32::MAX).label(), 2);
    }
}
