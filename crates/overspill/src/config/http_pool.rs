//! `[endpoint.local.http]`: a service of one's own, declared instead of coded.
//!
//! Either the answer to `submit` is the result (*sync*), or the job is submitted, polled and
//! fetched. Texts may hold placeholders: `{input.KEY}`, `{job.id}`, and `{submit./POINTER}` or
//! `{poll./POINTER}` for a value of that answer by JSON pointer.

use overspill_core::time::DurationMs;
use serde_json::{Map, Value as Json};

use super::decode::{Check, Decoder, FromNode, choice, from_text, section};
use super::node::{Node, Value};
use super::problem::{did_you_mean, nearest, quoted};
use super::settings::Url;

section! {
    /// A service that takes jobs over HTTP.
    pub struct HttpPool in "[endpoint.local.http]" {
        /// Address that every request below starts from.
        pub base_url: Url,
        /// Request that is answered 2xx while the service can take jobs.
        pub health: Option<HttpRequest> = None,
        /// How a job is handed over.
        pub submit: HttpSubmit,
        /// How a job's progress is asked for. Left out: the answer to `submit` is the result.
        pub poll: Option<HttpPoll> = None,
        /// How the result is fetched. Left out: the last answer is the result.
        pub fetch: Option<HttpFetch> = None,
        /// How a job is cancelled. Left out: it runs to its end and is forgotten.
        pub cancel: Option<HttpCancel> = None,
    }
}

section! {
    /// How a job is handed over.
    pub struct HttpSubmit in "submit" {
        /// Method and path.
        pub request: HttpRequest,
        /// JSON body. Left out: the job's input as it is.
        pub body: Option<Template> = None,
        /// Statuses that mean accepted.
        pub accept: Vec<u32> = vec![200, 201, 202],
        /// Statuses that mean "not now": the job goes back to the queue.
        pub busy: Vec<u32> = vec![429, 503],
    }
}

section! {
    /// How a job's progress is asked for.
    pub struct HttpPoll in "poll" {
        /// Method and path.
        pub request: HttpRequest,
        /// Time between two questions.
        pub every: DurationMs = DurationMs::from_secs(1),
        /// Where in the answer the progress stands.
        pub progress: Option<Pointer> = None,
        /// When the job is done.
        pub done: HttpTest,
        /// When the job has failed.
        pub failed: Option<HttpTest> = None,
    }
}

section! {
    /// A test of one value of an answer.
    pub struct HttpTest in "test" {
        /// Where the value stands.
        pub pointer: Pointer,
        /// The value, or any of a list. Left out: the value exists and is neither null nor false.
        pub equals: Option<OneOrMore> = None,
    }
}

section! {
    /// How the result is fetched.
    pub struct HttpFetch in "fetch" {
        /// Method and path.
        pub request: HttpRequest,
        /// What the answer is.
        pub r#as: FetchAs = FetchAs::Json,
    }
}

section! {
    /// How a job is cancelled.
    pub struct HttpCancel in "cancel" {
        /// Method and path.
        pub request: HttpRequest,
    }
}

choice! {
    /// What the answer to `fetch` is.
    pub enum FetchAs {
        /// JSON that becomes the job's output.
        Json = "json",
        /// A file that is kept with the results; the output is its address.
        File = "file",
        /// Text that becomes the job's output.
        Text = "text",
    }
}

/// A method and a path with placeholders, such as `POST /tts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: String,
    /// Path and query below the base address, beginning with `/`.
    pub path: String,
}

/// A JSON pointer (RFC 6901): empty, or beginning with `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer(pub String);

/// A JSON value whose strings may hold placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(pub Json);

/// One plain value or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneOrMore(pub Vec<Json>);

impl Check for HttpPool {
    fn check(&mut self, node: &Node, cx: &mut Decoder<'_, '_>) {
        if self.fetch.is_some() && self.poll.is_none() {
            cx.error(
                node.place_of("fetch"),
                "`fetch` without `poll`: when is the result there? add poll = { request = …, \
                 done = … }",
            );
        }
    }
}

impl Check for HttpSubmit {
    fn check(&mut self, node: &Node, cx: &mut Decoder<'_, '_>) {
        for (key, statuses) in [("accept", &self.accept), ("busy", &self.busy)] {
            for (index, status) in statuses.iter().enumerate() {
                if !(200..=599).contains(status) {
                    let item = node.get(key).and_then(|list| list.items().get(index));
                    let message = format!("{status} is no HTTP status; expected 200 to 599");
                    cx.error(item.map_or(&node.place, |item| &item.place), message);
                }
            }
        }
        if let Some(both) = self.accept.iter().find(|status| self.busy.contains(status)) {
            let message = format!("status {both} is in `accept` and in `busy`");
            cx.error(node.place_of("busy"), message);
        }
    }
}

impl Check for HttpPoll {
    fn check(&mut self, node: &Node, cx: &mut Decoder<'_, '_>) {
        super::endpoint::within(
            cx,
            node.place_of("every"),
            self.every,
            DurationMs::from_millis(50),
            DurationMs::from_secs(600),
        );
    }
}

impl Check for HttpTest {}
impl Check for HttpFetch {}
impl Check for HttpCancel {}

impl HttpRequest {
    /// Reads a method and a path.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
        let Some((method, path)) = text.trim().split_once(char::is_whitespace) else {
            return Err(format!(
                "{} is no request; expected a method and a path such as \"POST /tts\"",
                quoted(text)
            ));
        };
        if !METHODS.contains(&method) {
            return Err(format!(
                "unknown method {}; expected {}{}",
                quoted(method),
                METHODS.join(", "),
                did_you_mean(method, METHODS)
            ));
        }
        let path = path.trim();
        if !path.starts_with('/') || path.contains(char::is_whitespace) {
            return Err(format!(
                "{} is no path; expected it to begin with /",
                quoted(path)
            ));
        }
        check_placeholders(path)?;
        Ok(Self {
            method: method.to_owned(),
            path: path.to_owned(),
        })
    }
}

/// Refuses a placeholder that no job could fill.
fn check_placeholders(text: &str) -> Result<(), String> {
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let after = &rest[at + 1..];
        let Some(end) = after.find('}') else {
            return Err(format!("`{{` without `}}` in {}", quoted(text)));
        };
        let name = &after[..end];
        let is_known = match name.split_once('.') {
            Some(("input", key)) => !key.is_empty(),
            Some(("submit" | "poll", pointer)) => pointer.starts_with('/'),
            Some(("job", field)) => field == "id",
            _ => name == "input",
        };
        if !is_known {
            let head = name.split('.').next().unwrap_or(name);
            let hint = nearest(head, ["input", "job", "submit", "poll"])
                .filter(|near| *near != head)
                .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            return Err(format!(
                "unknown placeholder {}; expected {{input.KEY}}, {{job.id}}, {{submit./POINTER}} \
                 or {{poll./POINTER}}{hint}",
                quoted(name)
            ));
        }
        rest = &after[end + 1..];
    }
    Ok(())
}

fn parse_pointer(text: &str) -> Result<Pointer, String> {
    if text.is_empty() || text.starts_with('/') {
        return Ok(Pointer(text.to_owned()));
    }
    Err(format!(
        "{} is no JSON pointer; expected \"/{text}\"",
        quoted(text)
    ))
}

/// The JSON form of a node, with placeholders checked.
fn to_json(node: &Node, cx: &mut Decoder<'_, '_>) -> Option<Json> {
    Some(match &node.value {
        Value::String(text) => {
            if let Err(message) = check_placeholders(text) {
                cx.error(&node.place, message);
                return None;
            }
            Json::from(text.as_str())
        }
        Value::Integer(number) => Json::from(*number),
        Value::Float(number) if number.is_finite() => Json::from(*number),
        Value::Boolean(claim) => Json::from(*claim),
        Value::Array(items) => {
            let items: Vec<Option<Json>> = items.iter().map(|item| to_json(item, cx)).collect();
            Json::Array(items.into_iter().collect::<Option<_>>()?)
        }
        Value::Table(table) => {
            let mut map = Map::new();
            for entry in &table.entries {
                map.insert(entry.key.clone(), to_json(&entry.node, cx)?);
            }
            Json::Object(map)
        }
        Value::Unset => Json::Null,
        Value::Float(_) | Value::Datetime => {
            cx.mismatch(node, "a value that JSON can hold");
            return None;
        }
    })
}

impl FromNode for Template {
    fn from_node(node: &Node, cx: &mut Decoder<'_, '_>) -> Option<Self> {
        to_json(node, cx).map(Self)
    }

    fn show(&self) -> Json {
        self.0.clone()
    }

    fn kind() -> String {
        "any value, with placeholders in its texts".to_owned()
    }
}

impl FromNode for OneOrMore {
    fn from_node(node: &Node, cx: &mut Decoder<'_, '_>) -> Option<Self> {
        match &node.value {
            Value::Array(items) if !items.is_empty() => items
                .iter()
                .map(|item| to_json(item, cx))
                .collect::<Option<_>>()
                .map(Self),
            Value::String(_) | Value::Integer(_) | Value::Boolean(_) => {
                to_json(node, cx).map(|value| Self(vec![value]))
            }
            _ => {
                cx.mismatch(node, "a value or a list of values");
                None
            }
        }
    }

    fn show(&self) -> Json {
        match self.0.as_slice() {
            [one] => one.clone(),
            several => Json::Array(several.to_vec()),
        }
    }

    fn kind() -> String {
        "a value or a list of values".to_owned()
    }
}

from_text!(
    HttpRequest,
    "a method and a path such as `\"POST /tts\"`",
    HttpRequest::parse,
    |request: &HttpRequest| format!("{} {}", request.method, request.path)
);
from_text!(
    Pointer,
    "a JSON pointer such as `\"/status\"`",
    parse_pointer,
    |pointer: &Pointer| { pointer.0.clone() }
);
