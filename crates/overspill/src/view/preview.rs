//! What of a payload can be shown to people: a text that is never too long, and the pictures, sounds
//! and films in it.
//!
//! Payloads are hostile: they come from whoever may submit, and from whatever ran. Text is cut and
//! stays text; media are known by their own first bytes, never by what someone says they are, and
//! nothing that can hold a script (SVG, HTML, PDF) is among them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::Serialize;
use serde_json::Value;

/// The longest text of a preview, in characters.
const TEXT_MAX: usize = 16_000;
/// The longest string within it, in characters.
const STRING_MAX: usize = 400;
/// Media and links that are listed at most, each.
const FOUND_MAX: usize = 24;
/// Base-64 text shorter than this is not looked at: no picture is that small.
const MEDIA_LENGTH_MIN: usize = 40;
/// A payload longer than this is not looked into, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 20;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// Its length in bytes.
    pub bytes: usize,
    /// The payload as indented JSON, long strings and the rest cut.
    pub text: String,
    /// Something was cut.
    pub is_cut: bool,
    /// Pictures, sounds and films in it.
    pub media: Vec<Medium>,
    /// Addresses of files in it.
    pub links: Vec<String>,
}

/// A picture, a sound or a film.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Medium {
    /// Where it is in the payload, as a JSON pointer.
    pub pointer: String,
    /// Its media type, by its first bytes.
    pub media_type: &'static str,
    /// Its length in bytes.
    pub bytes: usize,
}

impl Preview {
    /// Looks into a payload.
    #[must_use]
    pub fn of(payload: &[u8]) -> Self {
        let mut preview = Self {
            bytes: payload.len(),
            ..Self::default()
        };
        if payload.len() > PAYLOAD_BYTES_MAX {
            preview.is_cut = true;
            return preview;
        }
        let Ok(mut value) = serde_json::from_slice::<Value>(payload) else {
            let text = String::from_utf8_lossy(payload);
            (preview.text, preview.is_cut) = cut(&text, TEXT_MAX);
            return preview;
        };
        preview.shorten(&mut value, &mut String::new());
        let text = serde_json::to_string_pretty(&value).unwrap_or_default();
        let (text, is_cut) = cut(&text, TEXT_MAX);
        preview.text = text;
        preview.is_cut |= is_cut;
        preview
    }

    fn shorten(&mut self, value: &mut Value, pointer: &mut String) {
        let length = pointer.len();
        match value {
            Value::String(text) => self.shorten_text(text, pointer),
            Value::Array(items) => {
                for (i, item) in items.iter_mut().enumerate() {
                    pointer.push_str(&format!("/{i}"));
                    self.shorten(item, pointer);
                    pointer.truncate(length);
                }
            }
            Value::Object(fields) => {
                for (name, field) in fields.iter_mut() {
                    pointer.push('/');
                    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
                    self.shorten(field, pointer);
                    pointer.truncate(length);
                }
            }
            _ => {}
        }
    }

    fn shorten_text(&mut self, text: &mut String, pointer: &str) {
        if is_link(text) {
            if self.links.len() < FOUND_MAX && !self.links.contains(text) {
                self.links.push(text.clone());
            }
            return;
        }
        if let Some(media_type) = medium_start(text) {
            // Three bytes in four characters; padding is not worth decoding all of it.
            let bytes = encoded(text).len() / 4 * 3;
            if self.media.len() < FOUND_MAX {
                self.media.push(Medium {
                    pointer: pointer.to_owned(),
                    media_type,
                    bytes,
                });
            }
            *text = format!("({media_type}, {bytes} bytes)");
            return;
        }
        let (short, is_cut) = cut(text, STRING_MAX);
        if is_cut {
            self.is_cut = true;
            *text = format!("{short} ({} characters)", text.chars().count());
        }
    }
}

/// A medium within a payload, decoded, with its type; `None` when there is none at this place.
#[must_use]
pub fn medium(payload: &[u8], pointer: &str) -> Option<(&'static str, Vec<u8>)> {
    let value: Value = serde_json::from_slice(payload).ok()?;
    let text = value.pointer(pointer)?.as_str()?;
    medium_start(text)?;
    let text = encoded(text);
    let bytes = STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text));
    let bytes = bytes.ok()?;
    Some((media_type(&bytes)?, bytes))
}

/// The first `most` characters, and whether there were more.
fn cut(text: &str, most: usize) -> (String, bool) {
    match text.char_indices().nth(most) {
        Some((end, _)) => (format!("{}…", &text[..end]), true),
        None => (text.to_owned(), false),
    }
}

fn is_link(text: &str) -> bool {
    let is_web = text.starts_with("https://") || text.starts_with("http://");
    is_web && text.len() <= 2_048 && text.chars().all(|c| c.is_ascii_graphic())
}

/// The base-64 text of a medium, with or without `data:…;base64,` before it.
fn encoded(text: &str) -> &str {
    let text = text.trim();
    match text
        .strip_prefix("data:")
        .and_then(|rest| rest.split_once(";base64,"))
    {
        Some((_, encoded)) => encoded,
        None => text,
    }
}

/// The type of a base-64 text, by the first bytes in it.
fn medium_start(text: &str) -> Option<&'static str> {
    let text = encoded(text);
    let start = text.get(..MEDIA_LENGTH_MIN.min(text.len()))?;
    if start.len() < MEDIA_LENGTH_MIN {
        return None;
    }
    let bytes = STANDARD
        .decode(start)
        .or_else(|_| URL_SAFE.decode(start))
        .ok()?;
    media_type(&bytes)
}

/// The type that the first bytes of a file say.
fn media_type(bytes: &[u8]) -> Option<&'static str> {
    let is_riff = |kind: &[u8]| bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(kind);
    let starts: [(&[u8], &'static str); 9] = [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF8", "image/gif"),
        (b"OggS", "audio/ogg"),
        (b"fLaC", "audio/flac"),
        (b"ID3", "audio/mpeg"),
        (b"\xff\xfb", "audio/mpeg"),
        (b"\xff\xf3", "audio/mpeg"),
        (b"\x1a\x45\xdf\xa3", "video/webm"),
    ];
    if is_riff(b"WEBP") {
        return Some("image/webp");
    }
    if is_riff(b"WAVE") {
        return Some("audio/wav");
    }
    match bytes.get(4..12) {
        Some(b"ftypavif") => return Some("image/avif"),
        Some(b"ftypM4A ") => return Some("audio/mp4"),
        Some(kind) if kind.starts_with(b"ftyp") => return Some("video/mp4"),
        _ => {}
    }
    let found = starts.iter().find(|(start, _)| bytes.starts_with(start));
    found.map(|(_, media_type)| *media_type)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn png() -> String {
        let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
        bytes.resize(100, 0);
        STANDARD.encode(bytes)
    }

    #[test]
    fn media_are_found_by_their_first_bytes() {
        let payload = json!({"images": [{"a/b": png()}], "url": "https://x.example/a.png"});
        let payload = payload.to_string();
        let preview = Preview::of(payload.as_bytes());
        assert_eq!(preview.links, ["https://x.example/a.png"]);
        assert_eq!(preview.media.len(), 1);
        assert_eq!(preview.media[0].pointer, "/images/0/a~1b");
        assert_eq!(preview.media[0].media_type, "image/png");
        assert!(preview.text.contains("(image/png, "), "{}", preview.text);
        let (media_type, bytes) = medium(payload.as_bytes(), "/images/0/a~1b").unwrap();
        assert_eq!((media_type, bytes.len()), ("image/png", 100));
        assert_eq!(medium(payload.as_bytes(), "/url"), None);
        assert_eq!(medium(payload.as_bytes(), "/none"), None);
        let with_prefix = json!(format!("data:text/html;base64,{}", png())).to_string();
        assert_eq!(medium(with_prefix.as_bytes(), "").unwrap().0, "image/png");
    }

    #[test]
    fn what_can_hold_a_script_is_text() {
        for hostile in ["<svg onload=alert(1)>", "<html><script>alert(1)</script>"] {
            let encoded = STANDARD.encode(hostile.repeat(9));
            let payload = json!({ "a": hostile, "b": encoded }).to_string();
            let preview = Preview::of(payload.as_bytes());
            assert!(preview.media.is_empty());
            assert_eq!(medium(payload.as_bytes(), "/b"), None);
        }
        assert!(!is_link("javascript:alert(1)"));
    }

    #[test]
    fn long_payloads_are_cut() {
        let payload = json!({ "line": "é".repeat(10_000_000) }).to_string();
        let preview = Preview::of(payload.as_bytes());
        assert!(preview.is_cut);
        assert!(preview.text.chars().count() < 500);
        assert!(preview.text.contains("(10000000 characters)"));
        let many: Vec<u32> = (0..100_000).collect();
        let preview = Preview::of(json!(many).to_string().as_bytes());
        assert!(preview.is_cut && preview.text.chars().count() <= TEXT_MAX + 1);
        let broken = Preview::of(b"\xff{");
        assert_eq!((broken.bytes, broken.is_cut), (2, false));
    }
}
