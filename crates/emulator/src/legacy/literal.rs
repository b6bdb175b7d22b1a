//! The values inside a GraphQL query: just enough to read the arguments that official tools inline.

use serde_json::{Map, Number, Value};

/// Reads the value at the start of `text`; names of variables are looked up in `variables`.
pub(super) fn read(text: &str, variables: &Value) -> Option<Value> {
    Reader {
        rest: text,
        variables,
    }
    .value(0)
}

/// The deepest nesting that is read.
const DEPTH_MAX: u32 = 32;

struct Reader<'a> {
    rest: &'a str,
    variables: &'a Value,
}

impl Reader<'_> {
    fn skip(&mut self) {
        let blank = |c: char| c.is_whitespace() || c == ',';
        self.rest = self.rest.trim_start_matches(blank);
    }

    fn eat(&mut self, c: char) -> bool {
        self.skip();
        self.rest.strip_prefix(c).is_some_and(|rest| {
            self.rest = rest;
            true
        })
    }

    fn name(&mut self) -> Option<String> {
        self.skip();
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!name.is_empty()).then(|| name.to_owned())
    }

    fn value(&mut self, depth: u32) -> Option<Value> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.skip();
        match self.rest.chars().next()? {
            '{' => {
                self.eat('{');
                let mut object = Map::new();
                while !self.eat('}') {
                    let name = self.name()?;
                    if !self.eat(':') {
                        return None;
                    }
                    object.insert(name, self.value(depth + 1)?);
                }
                Some(Value::Object(object))
            }
            '[' => {
                self.eat('[');
                let mut list = Vec::new();
                while !self.eat(']') {
                    list.push(self.value(depth + 1)?);
                }
                Some(Value::Array(list))
            }
            '"' => self.string(),
            '$' => {
                self.eat('$');
                let name = self.name()?;
                Some(self.variables.get(&name).cloned().unwrap_or(Value::Null))
            }
            '-' | '0'..='9' => {
                let end = self
                    .rest
                    .find(|c: char| !matches!(c, '-' | '+' | '.' | 'e' | 'E' | '0'..='9'))
                    .unwrap_or(self.rest.len());
                let (number, rest) = self.rest.split_at(end);
                self.rest = rest;
                number
                    .parse::<i64>()
                    .map(Number::from)
                    .ok()
                    .or_else(|| Number::from_f64(number.parse().ok()?))
                    .map(Value::Number)
            }
            _ => match self.name()?.as_str() {
                "true" => Some(Value::Bool(true)),
                "false" => Some(Value::Bool(false)),
                "null" => Some(Value::Null),
                word => Some(Value::String(word.to_owned())),
            },
        }
    }

    fn string(&mut self) -> Option<Value> {
        if let Some(rest) = self.rest.strip_prefix("\"\"\"") {
            let (text, rest) = rest.split_once("\"\"\"")?;
            self.rest = rest;
            return Some(Value::String(text.to_owned()));
        }
        let mut is_escaped = false;
        let end = self.rest.char_indices().skip(1).find(|(_, c)| {
            let ends = *c == '"' && !is_escaped;
            is_escaped = *c == '\\' && !is_escaped;
            ends
        })?;
        let (text, rest) = self.rest.split_at(end.0 + 1);
        self.rest = rest;
        // GraphQL's escapes are JSON's.
        serde_json::from_str(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn inlined_values_are_read() {
        let text = r#"{ name: "a \"b\"", count: 3, f: 0.5, on: true, kind: QUEUE_DELAY,
            env: [{key: "K", value: "V"}], none: null, id: $id } ) { id }"#;
        assert_eq!(
            read(text, &json!({"id": "x"})).unwrap(),
            json!({"name": "a \"b\"", "count": 3, "f": 0.5, "on": true, "kind": "QUEUE_DELAY",
                "env": [{"key": "K", "value": "V"}], "none": null, "id": "x"})
        );
    }

    #[test]
    fn rubbish_is_no_value() {
        for text in ["", "{", "{a}", "[1", "\"open", &"[".repeat(100)] {
            assert!(read(text, &Value::Null).is_none(), "{text}");
        }
    }
}
