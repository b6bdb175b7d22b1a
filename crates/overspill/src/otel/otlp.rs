//! OTLP's `ExportTraceServiceRequest` in Protocol Buffers, as far as spans of ours need it.
//!
//! Source: opentelemetry-proto 1.x, `trace/v1/trace.proto`, `common/v1/common.proto`,
//! `resource/v1/resource.proto`; the numbers below are its field numbers. The end-to-end suite reads what
//! this writes with the official package.

use overspill_core::time::Timestamp;

use super::span::{Span, Value};

/// One request with all these spans, from a resource with these attributes.
pub(super) fn request(resource: &[(String, String)], spans: &[Span]) -> Vec<u8> {
    let attributes = resource.iter().map(|(name, value)| text_pair(name, value));
    let mut resource = Vec::new();
    for attribute in attributes {
        bytes(&mut resource, 1, &attribute);
    }
    let mut scope = Vec::new();
    bytes(&mut scope, 1, b"overspill");
    bytes(&mut scope, 2, env!("CARGO_PKG_VERSION").as_bytes());
    let mut scope_spans = Vec::new();
    bytes(&mut scope_spans, 1, &scope);
    for span in spans {
        bytes(&mut scope_spans, 2, &encoded(span));
    }
    let mut resource_spans = Vec::new();
    bytes(&mut resource_spans, 1, &resource);
    bytes(&mut resource_spans, 2, &scope_spans);
    let mut request = Vec::new();
    bytes(&mut request, 1, &resource_spans);
    request
}

fn encoded(span: &Span) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    bytes(&mut out, 1, &span.context.trace_id);
    bytes(&mut out, 2, &span.context.span_id);
    if let Some(state) = &span.context.state {
        bytes(&mut out, 3, state.as_bytes());
    }
    if let Some(parent) = &span.parent {
        bytes(&mut out, 4, parent);
    }
    bytes(&mut out, 5, span.name.as_bytes());
    number(&mut out, 6, span.kind as u64);
    fixed64(&mut out, 7, nanos(span.start));
    fixed64(&mut out, 8, nanos(span.end));
    for (name, value) in &span.attributes {
        bytes(&mut out, 9, &pair(name, value));
    }
    for (at, name) in &span.events {
        let mut event = Vec::new();
        fixed64(&mut event, 1, nanos(*at));
        bytes(&mut event, 2, name.as_bytes());
        bytes(&mut out, 11, &event);
    }
    if let Some(linked) = &span.link {
        let mut link = Vec::new();
        bytes(&mut link, 1, &span.context.trace_id);
        bytes(&mut link, 2, linked);
        bytes(&mut out, 13, &link);
    }
    if let Some(error) = &span.error {
        let mut status = Vec::new();
        bytes(&mut status, 2, error.as_bytes());
        number(&mut status, 3, 2);
        bytes(&mut out, 15, &status);
    }
    // The flags of the trace: sampled, or it would not be here.
    out.extend_from_slice(&key(16, 5));
    out.extend_from_slice(&1_u32.to_le_bytes());
    out
}

fn pair(name: &str, value: &Value) -> Vec<u8> {
    let mut any = Vec::new();
    match value {
        Value::Text(text) => return text_pair(name, text),
        Value::Bool(yes) => number(&mut any, 2, u64::from(*yes)),
        Value::Int(int) => number(&mut any, 3, int.cast_unsigned()),
    }
    let mut pair = Vec::new();
    bytes(&mut pair, 1, name.as_bytes());
    bytes(&mut pair, 2, &any);
    pair
}

fn text_pair(name: &str, value: &str) -> Vec<u8> {
    let mut any = Vec::new();
    bytes(&mut any, 1, value.as_bytes());
    let mut pair = Vec::new();
    bytes(&mut pair, 1, name.as_bytes());
    bytes(&mut pair, 2, &any);
    pair
}

fn nanos(at: Timestamp) -> u64 {
    at.as_millis()
        .max(0)
        .cast_unsigned()
        .saturating_mul(1_000_000)
}

/// A length and so many bytes.
fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    out.extend_from_slice(&key(field, 2));
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    out.extend_from_slice(&key(field, 0));
    varint(out, value);
}

fn fixed64(out: &mut Vec<u8>, field: u64, value: u64) {
    out.extend_from_slice(&key(field, 1));
    out.extend_from_slice(&value.to_le_bytes());
}

fn key(field: u64, wire_type: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(2);
    varint(&mut out, (field << 3) | wire_type);
    out
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = (value & 0x7f).to_le_bytes();
        value >>= 7;
        if value == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_groups_of_seven_bits() {
        let written = |value| {
            let mut out = Vec::new();
            varint(&mut out, value);
            out
        };
        assert_eq!(written(0), [0]);
        assert_eq!(written(127), [0x7f]);
        assert_eq!(written(300), [0xac, 0x02]);
        assert_eq!(written(u64::MAX).len(), 10);
        assert_eq!(key(16, 5), [0x85, 0x01]);
    }

    #[test]
    fn a_pair_is_a_message_within_a_message() {
        let pair = pair("n", &Value::Int(300));
        assert_eq!(pair, [0x0a, 1, b'n', 0x12, 3, 0x18, 0xac, 0x02]);
        let text = text_pair("k", "v");
        assert_eq!(text, [0x0a, 1, b'k', 0x12, 3, 0x0a, 1, b'v']);
    }
}
