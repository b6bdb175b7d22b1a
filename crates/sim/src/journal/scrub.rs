//! JSON without what users wrote: no secret and no payload gets into a journal.
//!
//! A formatter for `serde_json` that looks at each text as it is written. Ids, names, states and numbers
//! stay; a text under a key that holds users' words, or one that does not look like a name, becomes `~`. So
//! a text that nobody thought of is left out rather than written. What decisions look for in a text
//! ([`overspill_core::event::TELLING`]) is kept behind the `~`. Scrubbing twice changes nothing: a replay of
//! scrubbed facts has the digests of the run.

use std::io;

use overspill_core::event::TELLING;
use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};
use sha2::{Digest as _, Sha256};

use crate::trace::Into;

/// What stands for a text that is left out.
pub const LEFT_OUT: &str = "~";
/// Keys of texts that are left out whatever they look like.
const PRIVATE: [&str; 10] = [
    "webhook",
    "url",
    "alert",
    "error",
    "detail",
    "failure",
    "reason",
    "body_sha256",
    "receiver",
    "trace",
];
/// Keys under which every text is left out, however deep.
const PRIVATE_BELOW: [&str; 2] = ["extras", "idempotency"];
/// Keys of names that the configuration gives; they identify, and are kept as they are.
const NAMES: [&str; 3] = ["name", "key", "endpoint"];
/// A text that is longer is no name.
const NAME_BYTES_MAX: usize = 80;

/// Writes `value` as JSON without users' texts.
///
/// # Errors
/// When `writer` fails, or `value` is no JSON.
pub fn write(writer: impl io::Write, value: &(impl Serialize + ?Sized)) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(writer, Scrub::default()))
}

/// The same as text.
#[must_use]
pub fn text(value: &(impl Serialize + ?Sized)) -> String {
    let mut bytes = Vec::new();
    write(&mut bytes, value).expect("the core's words are JSON, and memory takes every byte");
    String::from_utf8(bytes).expect("JSON is written as UTF-8")
}

/// A digest of what [`write`] writes for each of several values.
pub(super) struct Digest(Sha256);

impl Digest {
    pub(super) fn new() -> Self {
        Self(Sha256::new())
    }

    pub(super) fn add(&mut self, value: &(impl Serialize + ?Sized)) {
        write(Into(&mut self.0), value)
            .expect("the core's words are JSON, and a hash takes every byte");
    }

    /// 16 hexadecimal digits.
    pub(super) fn finish(self) -> String {
        let hash = self.0.finalize();
        let bytes: [u8; 8] = std::array::from_fn(|at| hash[at]);
        format!("{:016x}", u64::from_be_bytes(bytes))
    }
}

/// What the texts under a key are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Plain,
    Name,
    Private,
    PrivateBelow,
}

#[derive(Debug, Default)]
struct Scrub {
    /// The key that is being read in each object around, outermost first.
    keys: Vec<Kind>,
    /// How many of them make everything below private.
    private: usize,
    text: Vec<u8>,
    is_key: bool,
}

impl Scrub {
    fn left_out(&self) -> Option<String> {
        let kind = self.keys.last().copied().unwrap_or_default();
        let is_private = self.private > 0 || kind == Kind::Private;
        if !is_private && (kind == Kind::Name || looks_like_a_name(&self.text)) {
            return None;
        }
        let mut left = LEFT_OUT.to_owned();
        let text = String::from_utf8_lossy(&self.text);
        for telling in TELLING {
            if text.contains(telling) {
                left.push(' ');
                left.push_str(telling);
            }
        }
        Some(left)
    }

    fn set_key(&mut self, kind: Kind) {
        let Some(key) = self.keys.last_mut() else {
            return;
        };
        self.private -= usize::from(*key == Kind::PrivateBelow);
        self.private += usize::from(kind == Kind::PrivateBelow);
        *key = kind;
    }
}

impl Formatter for Scrub {
    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.keys.push(Kind::Plain);
        writer.write_all(b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.set_key(Kind::Plain);
        self.keys.pop();
        writer.write_all(b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.is_key = true;
        if first {
            Ok(())
        } else {
            writer.write_all(b",")
        }
    }

    fn end_object_key<W: ?Sized + io::Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.is_key = false;
        Ok(())
    }

    fn begin_string<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.text.clear();
        // A key that is a number is written between the two quotes, not as a fragment.
        if self.is_key {
            writer.write_all(b"\"")?;
        }
        Ok(())
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        self.text.extend_from_slice(fragment.as_bytes());
        if self.is_key {
            writer.write_all(fragment.as_bytes())?;
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        // As JSON has it: a name with such a character in it is written as it came.
        let mut escaped = Vec::new();
        serde_json::ser::CompactFormatter.write_char_escape(&mut escaped, escape)?;
        self.text.extend_from_slice(&escaped);
        if self.is_key {
            writer.write_all(&escaped)?;
        }
        Ok(())
    }

    fn end_string<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.is_key {
            let kind = match std::str::from_utf8(&self.text) {
                Ok(key) if PRIVATE_BELOW.contains(&key) => Kind::PrivateBelow,
                Ok(key) if PRIVATE.contains(&key) => Kind::Private,
                Ok(key) if NAMES.contains(&key) => Kind::Name,
                _ => Kind::Plain,
            };
            self.set_key(kind);
        } else {
            writer.write_all(b"\"")?;
            match self.left_out() {
                None => writer.write_all(&self.text)?,
                Some(left) => writer.write_all(left.as_bytes())?,
            }
        }
        writer.write_all(b"\"")
    }
}

/// Ids, states and codes are short and of few characters.
fn looks_like_a_name(text: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(byte);
    text.len() <= NAME_BYTES_MAX && text.iter().all(is_plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_stay_and_words_of_users_go() {
        let value = json!({
            "name": "NVIDIA GeForce RTX 3090", "state": "Queued", "n": 3,
            "job": "01928a4b-1111-7222-8333-0123456789ab-u1",
            "error": "boom", "webhook": "https://a.example/t0ken", "by": "key \"of\" a user",
            "extras": {"worker": "sealed", "webhook": null}, "after": "plain",
            "idempotency": {"key": "order-7"}, "list": ["ok", "two words"],
        });
        let left: serde_json::Value = serde_json::from_str(&text(&value)).unwrap();
        assert_eq!(
            left,
            json!({
                "name": "NVIDIA GeForce RTX 3090", "state": "Queued", "n": 3,
                "job": "01928a4b-1111-7222-8333-0123456789ab-u1",
                "error": "~", "webhook": "~", "by": "~",
                "extras": {"worker": "~", "webhook": null}, "after": "plain",
                "idempotency": {"key": "~"}, "list": ["ok", "~"],
            })
        );
        assert_eq!(text(&left), text(&value), "scrubbing twice changes nothing");
    }

    #[test]
    fn what_decisions_look_for_is_kept() {
        for telling in TELLING {
            let value = json!({"error": format!("the job {telling} 600 s\n")});
            let once: serde_json::Value = serde_json::from_str(&text(&value)).unwrap();
            assert_eq!(once, json!({"error": format!("~ {telling}")}));
            assert_eq!(text(&once), text(&value));
        }
    }

    #[test]
    fn keys_may_be_numbers() {
        let map = std::collections::BTreeMap::from([(7_u32, "a"), (u32::MAX, "b")]);
        assert_eq!(text(&map), serde_json::to_string(&map).unwrap());
    }

    #[test]
    fn names_with_odd_characters_come_back_whole() {
        let value = json!({"name": "a \"b\"\n\u{1}ü"});
        let left: serde_json::Value = serde_json::from_str(&text(&value)).unwrap();
        assert_eq!(left, value);
    }
}
