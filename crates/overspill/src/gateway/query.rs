//! Percent-encoding and query parameters.

/// A query's parameters in their order, decoded.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=1&b=2`. What is not UTF-8 after decoding becomes U+FFFD.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self(
            text.split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decoded_value(key), decoded_value(value))
                })
                .collect(),
        )
    }

    /// The first value of this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

fn decoded_value(text: &str) -> String {
    let bytes: Vec<u8> = decoded_bytes(&text.replace('+', " "));
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// A path segment, decoded; `None` when what comes out is no text that a name could have: not
/// UTF-8, or with a slash or a control character in it.
#[must_use]
pub fn decoded_segment(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let decoded = String::from_utf8(decoded_bytes(text)).ok()?;
    let is_sound = !decoded.chars().any(|c| c == '/' || c.is_control());
    is_sound.then_some(decoded)
}

fn decoded_bytes(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes
            .get(at + 1..at + 3)
            .filter(|_| bytes[at] == b'%')
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse("gpu=NVIDIA+L4&job_id=a%2Cb&flag&x=%zz");
        assert_eq!(query.get("gpu"), Some("NVIDIA L4"));
        assert_eq!(query.get("job_id"), Some("a,b"));
        assert_eq!(query.get("flag"), Some(""));
        assert_eq!(query.get("x"), Some("%zz"));
        assert_eq!(query.get("none"), None);
    }

    #[test]
    fn segments_hide_no_slashes() {
        assert_eq!(decoded_segment("a%20b").as_deref(), Some("a b"));
        for text in ["%2e%2e%2f", "a%00", "%ff"] {
            assert_eq!(decoded_segment(text), None, "{text}");
        }
    }
}
