//! W3C Trace Context: `traceparent` and `tracestate`, read from a request and written to the next.
//!
//! A header that breaks the rules is treated as missing, as the recommendation asks. What is stored with a
//! job is one text: the `traceparent`, and behind a space the `tracestate`, where there is one.

use std::fmt;

use http::HeaderMap;

/// The longest `tracestate` that is passed on, in bytes; longer ones are left out whole.
const STATE_BYTES_MAX: usize = 512;
/// The flag of a trace that is recorded.
const SAMPLED: u8 = 1;

/// Where something stands in a trace.
#[derive(Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// Names the trace; not all zero.
    pub trace_id: [u8; 16],
    /// Names the span that whatever comes next is a child of; not all zero.
    pub span_id: [u8; 8],
    /// Whether the trace is recorded.
    pub is_sampled: bool,
    /// What other vendors want to be passed on.
    pub state: Option<String>,
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.traceparent())
    }
}

impl TraceContext {
    /// The caller's, from its request's headers.
    #[must_use]
    pub fn of_request(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all("traceparent").iter();
        let (Some(parent), None) = (parents.next(), parents.next()) else {
            return None;
        };
        let mut context = Self::read(parent.to_str().ok()?)?;
        let states = headers.get_all("tracestate").iter();
        let states: Option<Vec<&str>> = states.map(|value| value.to_str().ok()).collect();
        context.state = states
            .map(|states| states.join(","))
            .filter(|state| !state.trim().is_empty() && state.len() <= STATE_BYTES_MAX);
        Some(context)
    }

    /// A `traceparent`: `00-<trace id>-<span id>-<flags>`, lower-case hexadecimal. Of a version yet unknown the
    /// same four parts are read, and what follows them is left.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim_matches([' ', '\t']);
        let mut parts = text.splitn(5, '-');
        let version = hex::<1>(parts.next()?)?;
        let trace_id = hex::<16>(parts.next()?)?;
        let span_id = hex::<8>(parts.next()?)?;
        let [flags] = hex::<1>(parts.next()?)?;
        let has_more = parts.next().is_some();
        let is_valid = version != [0xff]
            && (version != [0] || !has_more)
            && trace_id != [0; 16]
            && span_id != [0; 8];
        is_valid.then_some(Self {
            trace_id,
            span_id,
            is_sampled: flags & SAMPLED != 0,
            state: None,
        })
    }

    /// As it is stored with a job; `None` for a text that nobody here wrote.
    #[must_use]
    pub fn stored(text: &str) -> Option<Self> {
        let (parent, state) = match text.split_once(' ') {
            Some((parent, state)) => (parent, Some(state.to_owned())),
            None => (text, None),
        };
        Some(Self {
            state,
            ..Self::read(parent)?
        })
    }

    /// The text that is stored with a job.
    #[must_use]
    pub fn to_stored(&self) -> String {
        match &self.state {
            None => self.traceparent(),
            Some(state) => format!("{} {state}", self.traceparent()),
        }
    }

    /// The value of the header `traceparent`.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let flags = u8::from(self.is_sampled);
        let (trace, span) = (text_of(&self.trace_id), text_of(&self.span_id));
        format!("00-{trace}-{span}-{flags:02x}")
    }

    /// The trace's id as text.
    #[must_use]
    pub fn trace_id_text(&self) -> String {
        text_of(&self.trace_id)
    }

    /// The same trace, one span further.
    #[must_use]
    pub fn under(&self, span_id: [u8; 8]) -> Self {
        Self {
            span_id,
            ..self.clone()
        }
    }
}

fn text_of(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Exactly so many bytes in lower-case hexadecimal.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != N * 2 || !text.bytes().all(is_hex) {
        return None;
    }
    let mut bytes = [0; N];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_reads_as_it_is_written() {
        let context = TraceContext::read(PARENT).unwrap();
        assert!(context.is_sampled);
        assert_eq!(context.traceparent(), PARENT);
        assert_eq!(context.to_stored(), PARENT);
        let next = context.under([1; 8]);
        assert_eq!(
            next.traceparent(),
            "00-0af7651916cd43dd8448eb211c80319c-0101010101010101-01"
        );
    }

    #[test]
    fn bad_input_what_breaks_the_rules_is_treated_as_missing() {
        for text in [
            "",
            "junk",
            &PARENT.to_uppercase(),
            &PARENT[..54],
            &format!("{PARENT}-00"),
            &format!("{PARENT}x"),
            &PARENT.replacen("00", "ff", 1),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b71692033311-01",
        ] {
            assert_eq!(TraceContext::read(text), None, "{text}");
        }
        let later = format!("cc{}-what-the-future-brings", &PARENT[2..]);
        let later = TraceContext::read(&later).unwrap();
        assert_eq!(later.traceparent(), PARENT, "goes on as version 00");
    }

    #[test]
    fn a_tracestate_passes_with_it() {
        let mut headers = HeaderMap::new();
        assert_eq!(TraceContext::of_request(&headers), None);
        headers.insert("traceparent", PARENT.parse().unwrap());
        headers.append("tracestate", "a=1".parse().unwrap());
        headers.append("tracestate", "b=x y".parse().unwrap());
        let context = TraceContext::of_request(&headers).unwrap();
        assert_eq!(context.state.as_deref(), Some("a=1,b=x y"));
        let stored = context.to_stored();
        assert_eq!(TraceContext::stored(&stored), Some(context));
        headers.append("tracestate", "z".repeat(600).parse().unwrap());
        let context = TraceContext::of_request(&headers).unwrap();
        assert_eq!(context.state, None, "too long to pass on");
        headers.append("traceparent", PARENT.parse().unwrap());
        assert_eq!(TraceContext::of_request(&headers), None, "two of them");
    }
}
