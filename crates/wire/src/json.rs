//! Looks over a JSON text without building a tree.
//!
//! Inputs and outputs of jobs are checked here and then travel as the bytes they came in. The scan
//! keeps its own stack on the heap, so nesting cannot overflow the thread's, and it remembers only
//! where the members of the top-level object lie. It knows nothing of jobs.

use std::fmt;
use std::ops::Range;

/// Nesting that clients may send (`reliability.md`, bad input 7).
pub const CLIENT_DEPTH_MAX: usize = 128;
/// Nesting that a worker's output may have: deeper than any handler means, shallow enough for Python.
pub const WORKER_DEPTH_MAX: usize = 900;
/// Digits of a number beyond which no reader keeps its value.
const NUMBER_LENGTH_MAX: usize = 1_024;

/// What is let through.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The deepest nesting; 1 is a flat object.
    pub depth_max: usize,
    /// `NaN`, `Infinity` and `-Infinity`, which Python writes, are noted instead of refused.
    pub allows_non_finite: bool,
    /// Numbers beyond a double's range are let through.
    pub allows_any_number: bool,
}

impl Rules {
    /// For what clients send.
    pub const CLIENT: Self = Self {
        depth_max: CLIENT_DEPTH_MAX,
        allows_non_finite: false,
        allows_any_number: false,
    };
    /// For what workers send: a refusal would lose the job's result.
    pub const WORKER: Self = Self {
        depth_max: WORKER_DEPTH_MAX,
        allows_non_finite: true,
        allows_any_number: true,
    };
}

/// The type of a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// `1`, `-2.5e3`, and where allowed `NaN`.
    Number,
    /// `true`, `false`
    Bool,
    /// `null`
    Null,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Object => "an object",
            Self::Array => "an array",
            Self::String => "a string",
            Self::Number => "a number",
            Self::Bool => "a boolean",
            Self::Null => "null",
        })
    }
}

/// A member of the top-level object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its key, with escapes undone.
    pub key: String,
    /// What its value is.
    pub kind: Kind,
    /// Where its value lies in the scanned bytes.
    pub value: Range<usize>,
}

/// A number that JSON does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NonFinite {
    /// Where it lies in the scanned bytes.
    pub at: Range<usize>,
    /// Its place in the document: `output.frames[3].score`.
    pub path: String,
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// What the top-level value is.
    pub kind: Kind,
    /// Where it lies: without a byte order mark and the white space around it.
    pub value: Range<usize>,
    /// In order of appearance, when it is an object. A key that stands twice is here twice.
    pub members: Vec<Member>,
    /// Only where the rules allow them.
    pub non_finite: Vec<NonFinite>,
}

impl Outline {
    /// The member of this key; of several, the last, as Python and JavaScript have it.
    #[must_use]
    pub fn member(&self, key: &str) -> Option<&Member> {
        self.members.iter().rev().find(|member| member.key == key)
    }
}

/// Why a text is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// There is nothing but white space.
    Empty,
    /// The bytes are not UTF-8.
    BadUtf8,
    /// It is not JSON.
    Syntax,
    /// It nests deeper than the rules allow.
    TooDeep,
    /// It has `NaN` or `Infinity`.
    NonFinite,
    /// A number is beyond a double's range.
    NumberOutOfRange,
}

/// Why and where a text is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} column {column}: {what}")]
pub struct JsonError {
    /// Why.
    pub fault: Fault,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// In words: what stands there, or what was expected.
    pub what: String,
    /// Where in the document, for a number: `input.x[0]`.
    pub path: String,
}

enum Frame {
    Object { key: Range<usize> },
    Array { index: usize },
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    rules: Rules,
    stack: Vec<Frame>,
    non_finite: Vec<NonFinite>,
}

/// Looks over one JSON text.
///
/// # Errors
/// The first place where the text is not JSON, or breaks the rules.
pub fn scan(bytes: &[u8], rules: Rules) -> Result<Outline, JsonError> {
    if let Err(error) = std::str::from_utf8(bytes) {
        let (line, column) = position(bytes, error.valid_up_to());
        return Err(JsonError {
            fault: Fault::BadUtf8,
            line,
            column,
            what: "the body is not valid UTF-8".into(),
            path: String::new(),
        });
    }
    let mut scan = Scan {
        bytes,
        at: if bytes.starts_with(b"\xef\xbb\xbf") {
            3
        } else {
            0
        },
        rules,
        stack: Vec::new(),
        non_finite: Vec::new(),
    };
    scan.document()
}

/// The text of a JSON string literal, quotes included; lone surrogates become U+FFFD.
#[must_use]
pub fn unescape(literal: &[u8]) -> String {
    let inner = literal
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .unwrap_or(literal);
    let Ok(text) = std::str::from_utf8(inner) else {
        return String::from_utf8_lossy(inner).into_owned();
    };
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    let mut high: Option<u32> = None;
    while let Some(c) = chars.next() {
        let unit = if c == '\\' {
            match chars.next() {
                Some('b') => 0x8,
                Some('f') => 0xc,
                Some('n') => 0xa,
                Some('r') => 0xd,
                Some('t') => 0x9,
                Some('u') => {
                    let hex: String = chars.by_ref().take(4).collect();
                    u32::from_str_radix(&hex, 16).unwrap_or(0xfffd)
                }
                Some(other) => u32::from(other),
                None => break,
            }
        } else {
            u32::from(c)
        };
        match (high.take(), unit) {
            (Some(first), 0xdc00..=0xdfff) => {
                let joined = 0x1_0000 + ((first - 0xd800) << 10) + (unit - 0xdc00);
                out.push(char::from_u32(joined).unwrap_or('\u{fffd}'));
            }
            (before, _) => {
                if before.is_some() {
                    out.push('\u{fffd}');
                }
                if (0xd800..=0xdbff).contains(&unit) {
                    high = Some(unit);
                } else {
                    out.push(char::from_u32(unit).unwrap_or('\u{fffd}'));
                }
            }
        }
    }
    if high.is_some() {
        out.push('\u{fffd}');
    }
    out
}

/// A text as a JSON string literal, quotes included.
#[must_use]
pub fn quote(text: &str) -> String {
    serde_json::to_string(text).expect("a string always serialises")
}

/// The same JSON text without white space between its tokens; for comparing, not for keeping.
///
/// The bytes must have passed [`scan`].
#[must_use]
pub fn squeeze(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut in_string = false;
    let mut escaped = false;
    for &b in bytes {
        if in_string {
            out.push(b);
            if escaped {
                escaped = false;
            } else if b == b'\\' {
                escaped = true;
            } else if b == b'"' {
                in_string = false;
            }
        } else if !matches!(b, b' ' | b'\t' | b'\n' | b'\r') {
            in_string = b == b'"';
            out.push(b);
        }
    }
    out
}

impl Scan<'_> {
    fn document(&mut self) -> Result<Outline, JsonError> {
        self.white_space();
        if self.at == self.bytes.len() {
            return Err(self.error(Fault::Empty, "the body is empty".into()));
        }
        let start = self.at;
        let mut members = Vec::new();
        let kind = self.value_start(&mut members)?;
        // Containers are walked here, with an own stack in place of recursion.
        while !self.stack.is_empty() {
            self.step(&mut members)?;
        }
        let end = self.at;
        self.white_space();
        if self.at != self.bytes.len() {
            let what = format!("{} after the end of the value", self.here());
            return Err(self.error(Fault::Syntax, what));
        }
        if kind == Kind::Object
            && let Some(last) = members.last_mut()
        {
            debug_assert!(last.value.end <= end);
        }
        Ok(Outline {
            kind,
            value: start..end,
            members,
            non_finite: std::mem::take(&mut self.non_finite),
        })
    }

    /// Takes a scalar whole, or opens a container.
    fn value_start(&mut self, members: &mut [Member]) -> Result<Kind, JsonError> {
        let Some(&b) = self.bytes.get(self.at) else {
            return Err(self.error(
                Fault::Syntax,
                "the text ends where a value should be".into(),
            ));
        };
        let kind = match b {
            b'{' => {
                self.open(Frame::Object { key: 0..0 })?;
                return Ok(Kind::Object);
            }
            b'[' => {
                self.open(Frame::Array { index: 0 })?;
                return Ok(Kind::Array);
            }
            b'"' => {
                self.string()?;
                Kind::String
            }
            b'-' | b'0'..=b'9' | b'N' | b'I' => {
                self.number()?;
                Kind::Number
            }
            b't' => self.word("true", Kind::Bool)?,
            b'f' => self.word("false", Kind::Bool)?,
            b'n' => self.word("null", Kind::Null)?,
            _ => {
                let what = format!("expected a value, found {}", self.here());
                return Err(self.error(Fault::Syntax, what));
            }
        };
        self.value_end(members);
        Ok(kind)
    }

    /// Notes where a member of the top-level object ends.
    fn value_end(&self, members: &mut [Member]) {
        if self.stack.len() == 1
            && let (Some(Frame::Object { .. }), Some(last)) =
                (self.stack.first(), members.last_mut())
        {
            last.value.end = self.at;
        }
    }

    fn open(&mut self, frame: Frame) -> Result<(), JsonError> {
        if self.stack.len() >= self.rules.depth_max {
            let what = format!("nested deeper than {} levels", self.rules.depth_max);
            return Err(self.error(Fault::TooDeep, what));
        }
        self.at += 1;
        self.stack.push(frame);
        Ok(())
    }

    /// One element, member, or end of the innermost open container.
    fn step(&mut self, members: &mut Vec<Member>) -> Result<(), JsonError> {
        self.white_space();
        let depth = self.stack.len();
        let is_first = match self.bytes[..self.at]
            .iter()
            .rev()
            .find(|b| !matches!(b, b' ' | b'\t' | b'\n' | b'\r'))
        {
            // Right behind its bracket: a string's own last byte is always a quote.
            Some(b'{' | b'[') => true,
            _ => false,
        };
        let is_object = matches!(self.stack.last(), Some(Frame::Object { .. }));
        let close = if is_object { b'}' } else { b']' };
        match self.bytes.get(self.at) {
            Some(&b) if b == close => {
                self.at += 1;
                self.stack.pop();
                self.value_end(members);
                return Ok(());
            }
            Some(b',') if !is_first => {
                self.at += 1;
                self.white_space();
                if let Some(Frame::Array { index }) = self.stack.last_mut() {
                    *index += 1;
                }
            }
            Some(_) if is_first => {}
            _ => {
                let what = format!(
                    "expected `,` or `{}`, found {}",
                    char::from(close),
                    self.here()
                );
                return Err(self.error(Fault::Syntax, what));
            }
        }
        if is_object {
            if self.bytes.get(self.at) != Some(&b'"') {
                let what = format!("expected a key in quotes, found {}", self.here());
                return Err(self.error(Fault::Syntax, what));
            }
            let start = self.at;
            self.string()?;
            let key = start..self.at;
            self.white_space();
            if self.bytes.get(self.at) != Some(&b':') {
                let what = format!("expected `:` after a key, found {}", self.here());
                return Err(self.error(Fault::Syntax, what));
            }
            self.at += 1;
            self.white_space();
            if depth == 1 {
                members.push(Member {
                    key: unescape(&self.bytes[key.clone()]),
                    kind: Kind::Null,
                    value: self.at..self.at,
                });
            }
            if let Some(Frame::Object { key: current }) = self.stack.last_mut() {
                *current = key;
            }
        }
        let kind = self.value_start(members)?;
        if depth == 1
            && is_object
            && let Some(last) = members.last_mut()
        {
            last.kind = kind;
        }
        Ok(())
    }

    fn white_space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &str, kind: Kind) -> Result<Kind, JsonError> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(kind)
        } else {
            let what = format!("expected a value, found {}", self.here());
            Err(self.error(Fault::Syntax, what))
        }
    }

    fn string(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    let length = match self.bytes.get(self.at + 1) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                        Some(b'u')
                            if self
                                .bytes
                                .get(self.at + 2..self.at + 6)
                                .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) =>
                        {
                            6
                        }
                        _ => {
                            return Err(self.error(Fault::Syntax, "bad escape in a string".into()));
                        }
                    };
                    self.at += length;
                }
                Some(0..=0x1f) => {
                    let what = "a control character in a string must be escaped".into();
                    return Err(self.error(Fault::Syntax, what));
                }
                Some(_) => self.at += 1,
                None => {
                    return Err(self.error(Fault::Syntax, "the text ends in a string".into()));
                }
            }
        }
    }

    fn number(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        for word in ["NaN", "Infinity", "-Infinity"] {
            if self.bytes[start..].starts_with(word.as_bytes()) {
                if !self.rules.allows_non_finite {
                    return Err(self.error(Fault::NonFinite, format!("{word} is not JSON")));
                }
                self.at += word.len();
                self.non_finite.push(NonFinite {
                    at: start..self.at,
                    path: self.path(),
                });
                return Ok(());
            }
        }
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        let integer = self.digits();
        let leading_zero = integer > 1 && self.bytes[self.at - integer] == b'0';
        let mut is_valid = integer > 0 && !leading_zero;
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            is_valid &= self.digits() > 0;
        }
        let mut has_exponent = false;
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            has_exponent = true;
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            is_valid &= self.digits() > 0;
        }
        if !is_valid {
            self.at = start;
            let what = format!("expected a value, found {}", self.here());
            return Err(self.error(Fault::Syntax, what));
        }
        let length = self.at - start;
        if self.rules.allows_any_number || (!has_exponent && length < 300) {
            return Ok(());
        }
        let value: Option<f64> = std::str::from_utf8(&self.bytes[start..self.at])
            .ok()
            .and_then(|text| text.parse().ok());
        if length > NUMBER_LENGTH_MAX || !value.is_some_and(f64::is_finite) {
            self.at = start;
            let what = "a number beyond the range of a double".into();
            return Err(self.error(Fault::NumberOutOfRange, what));
        }
        Ok(())
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.bytes.get(self.at), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    /// What stands at the cursor, for messages.
    fn here(&self) -> String {
        // The text was checked to be UTF-8, and the cursor stands between characters.
        match std::str::from_utf8(&self.bytes[self.at..])
            .ok()
            .and_then(|rest| rest.chars().next())
        {
            Some(c) => format!("`{}`", c.escape_debug()),
            None => "the end of the text".into(),
        }
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.stack {
            match frame {
                Frame::Object { key } => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    let key = unescape(&self.bytes[key.clone()]);
                    path.extend(key.chars().take(80));
                }
                Frame::Array { index } => {
                    path.push_str(&format!("[{index}]"));
                }
            }
            if path.len() > 400 {
                path.push('…');
                break;
            }
        }
        path
    }

    fn error(&self, fault: Fault, what: String) -> JsonError {
        let (line, column) = position(self.bytes, self.at);
        JsonError {
            fault,
            line,
            column,
            what,
            path: self.path(),
        }
    }
}

/// Line and column (in characters) of a byte, both from 1.
fn position(bytes: &[u8], at: usize) -> (usize, usize) {
    let before = &bytes[..at.min(bytes.len())];
    let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
    let line_start = before
        .iter()
        .rposition(|&b| b == b'\n')
        .map_or(0, |newline| newline + 1);
    let is_lead = |b: &&u8| (**b & 0xc0) != 0x80;
    let column = before[line_start..].iter().filter(is_lead).count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> Result<Outline, JsonError> {
        scan(text.as_bytes(), Rules::CLIENT)
    }

    #[test]
    fn members_are_found_with_their_bytes() {
        let text = " {\"input\" : {\"a\":[1,{\"b\":2}]} , \"webhook\":\"x\",\"n\":-1.5e3 } ";
        let outline = client(text).unwrap();
        let of = |key: &str| {
            let member = outline.member(key).unwrap();
            (member.kind, &text[member.value.clone()])
        };
        assert_eq!(outline.kind, Kind::Object);
        assert_eq!(of("input"), (Kind::Object, "{\"a\":[1,{\"b\":2}]}"));
        assert_eq!(of("webhook"), (Kind::String, "\"x\""));
        assert_eq!(of("n"), (Kind::Number, "-1.5e3"));
        assert_eq!(outline.members.len(), 3);
        assert_eq!(&text[outline.value.clone()], text.trim());
    }

    #[test]
    fn it_agrees_with_serde_json() {
        for text in [
            "{}",
            "[]",
            "null",
            "true",
            "0",
            "-0",
            "1.0",
            "1e5",
            "\"\"",
            "[1,2]",
            "[[],{}]",
            "{\"a\":{}}",
            "[1,]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "01",
            "1.",
            ".5",
            "-",
            "1e",
            "+1",
            "tru",
            "\"\\x\"",
            "\"\\u12\"",
            "\"a",
            "[",
            "{",
            "]",
            "}",
            "1 2",
            "[1 2]",
            "{\"a\":1 \"b\":2}",
            "{1:2}",
            "\"\t\"",
            "[\"[\",\"{\"]",
            "{\"[\":1}",
            "[,1]",
            "[\"a\" ,\"b\"]",
            "nul",
            "[[1],[2],[[3]]]",
            "{\"a\":[{}],\"b\":1}",
        ] {
            let theirs = serde_json::from_str::<serde_json::Value>(text).is_ok();
            assert_eq!(client(text).is_ok(), theirs, "{text}");
        }
    }

    #[test]
    fn depth_is_counted_and_does_not_overflow() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(client(&deep(128)).is_ok());
        assert_eq!(client(&deep(129)).unwrap_err().fault, Fault::TooDeep);
        assert_eq!(
            client(&"[".repeat(1_000_000)).unwrap_err().fault,
            Fault::TooDeep
        );
    }

    #[test]
    fn numbers_beyond_range_are_refused_and_big_integers_kept() {
        assert_eq!(client("1e999").unwrap_err().fault, Fault::NumberOutOfRange);
        assert_eq!(
            client(&"9".repeat(100_000)).unwrap_err().fault,
            Fault::NumberOutOfRange
        );
        assert!(client("9007199254740993").is_ok());
        assert!(scan(b"1e999", Rules::WORKER).is_ok());
    }

    #[test]
    fn non_finite_numbers_are_named_by_their_path() {
        let text = "{\"output\":{\"v\":[1,NaN]},\"x\":-Infinity}";
        let error = client(text).unwrap_err();
        assert_eq!(error.fault, Fault::NonFinite);
        assert_eq!(error.path, "output.v[1]");
        let outline = scan(text.as_bytes(), Rules::WORKER).unwrap();
        let paths: Vec<&str> = outline
            .non_finite
            .iter()
            .map(|found| found.path.as_str())
            .collect();
        assert_eq!(paths, ["output.v[1]", "x"]);
        assert_eq!(&text[outline.non_finite[1].at.clone()], "-Infinity");
    }

    #[test]
    fn errors_name_line_and_column() {
        let error = client("{\n  \"ä\": }").unwrap_err();
        assert_eq!((error.line, error.column), (2, 8));
        assert_eq!(client("").unwrap_err().fault, Fault::Empty);
        assert_eq!(client(" \n").unwrap_err().fault, Fault::Empty);
        assert_eq!(
            scan(b"{\"a\":\"\xff\"}", Rules::CLIENT).unwrap_err().fault,
            Fault::BadUtf8
        );
        assert_eq!(
            scan(b"\xff\xfe{\0}\0", Rules::CLIENT).unwrap_err().fault,
            Fault::BadUtf8
        );
        assert!(scan(b"\xef\xbb\xbf{}", Rules::CLIENT).is_ok());
    }

    #[test]
    fn strings_are_unescaped() {
        assert_eq!(unescape(br#""a\n\u00e4\ud83d\ude00""#), "a\nä😀");
        assert_eq!(unescape(br#""\ud800x""#), "\u{fffd}x");
        assert_eq!(
            squeeze(br#"{ "a b" : [ 1, "\" x" ] }"#),
            br#"{"a b":[1,"\" x"]}"#
        );
    }
}
