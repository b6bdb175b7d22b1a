//! RunPod's published OpenAPI document, and exchanges held against it.
//!
//! The document is no part of the project. It is looked for in the folder that `OVERSPILL_SHARED` names (default: `shared`
//! beside the workspace). The tests of the server use this file too.

use std::path::PathBuf;

use serde_json::{Value, json};

/// A request and its answer.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) sent: Option<Value>,
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Exchange {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

/// The document; says so where there is none.
pub(crate) fn document() -> Option<Value> {
    let root = std::env::var_os("OVERSPILL_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let path = root.join("runpod-api-v2.openapi.json");
    match std::fs::read(&path) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).unwrap()),
        Err(error) => {
            println!("not validated against OpenAPI: {}: {error}", path.display());
            None
        }
    }
}

/// Whether a path is one of a template such as `/v2/serverless/{id}`.
pub(crate) fn matches(template: &str, path: &str) -> bool {
    let path = path.split('?').next().unwrap();
    let (template, path): (Vec<&str>, Vec<&str>) =
        (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template
            .iter()
            .zip(&path)
            .all(|(t, p)| t.starts_with('{') || t == p)
}

/// The schema with the document's components beside it, so that its references resolve.
fn check(document: &Value, schema: &Value, instance: &Value, what: &str) {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "allOf": [schema],
        "components": document["components"],
    });
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(instance)
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{what}: {errors:#?}\n{instance:#}");
}

/// Fails where an exchange is not what the document says.
pub(crate) fn validate(document: &Value, answer: &Exchange) {
    let what = format!("{} {} -> {}", answer.method, answer.path, answer.status);
    let paths = document["paths"].as_object().unwrap();
    let mut found: Vec<&String> = paths
        .keys()
        .filter(|path| matches(path, &answer.path))
        .collect();
    // The one with the fewest placeholders is meant.
    found.sort_by_key(|path| path.matches('{').count());
    let path = found
        .first()
        .unwrap_or_else(|| panic!("{what}: no such path"));
    let operation = &paths[*path][answer.method.to_lowercase()];
    if !operation.is_object() {
        assert_eq!(answer.status, 405, "{what}: no such method");
        return;
    }
    let responses = &operation["responses"];
    let mut response = responses
        .get(answer.status.to_string())
        .unwrap_or_else(|| &responses["default"]);
    if let Some(reference) = response["$ref"].as_str() {
        response = document.pointer(&reference[1..]).unwrap();
    }
    assert!(response.is_object(), "{what}: status is not documented");
    for name in response["headers"]
        .as_object()
        .into_iter()
        .flat_map(|headers| headers.keys())
    {
        assert!(
            answer.headers.contains_key(name.as_str()) || name == "Connection" || name == "Allow",
            "{what}: header {name} is missing"
        );
    }
    let content = response["content"].as_object();
    let Some(content) = content else {
        assert!(answer.text.is_empty(), "{what}: no body is documented");
        return;
    };
    let kind = answer.header("content-type");
    let schema = &content
        .get(kind)
        .unwrap_or_else(|| panic!("{what}: content type {kind}"))["schema"];
    if kind == "text/event-stream" {
        return;
    }
    check(document, schema, &answer.json(), &what);
    let request = &operation["requestBody"]["content"]["application/json"]["schema"];
    if let Some(sent) = answer.sent.as_ref().filter(|_| answer.status < 300) {
        check(document, request, sent, &format!("request of {what}"));
    }
}
