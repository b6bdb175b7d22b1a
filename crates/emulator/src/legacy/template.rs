//! Templates in the words of v1 and GraphQL.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::templates::Template;

/// Environment as an object, or as a list of keys with values.
fn env(value: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    match value {
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| (key.clone(), text(value)))
            .collect(),
        Value::Array(items) => items
            .iter()
            .filter_map(|item| {
                Some((
                    item.get("key")?.as_str()?.to_owned(),
                    text(item.get("value")?),
                ))
            })
            .collect(),
        _ => BTreeMap::new(),
    }
}

fn list(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        Value::String(text) => text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}

/// Changes in a template what `input` names.
pub(super) fn apply(template: &mut Template, input: &Value) {
    let texts: [(&str, &mut String); 5] = [
        ("name", &mut template.name),
        ("imageName", &mut template.image),
        ("dockerArgs", &mut template.args),
        ("volumeMountPath", &mut template.volume_path),
        ("readme", &mut template.readme),
    ];
    for (name, field) in texts {
        if let Some(text) = input.get(name).and_then(Value::as_str) {
            text.clone_into(field);
        }
    }
    if let Some(command) = input.get("dockerStartCmd") {
        template.args = list(command).join(" ");
    }
    for (name, field) in [
        ("containerDiskInGb", &mut template.disk_gb),
        ("volumeInGb", &mut template.volume_gb),
    ] {
        if let Some(size) = input.get(name).and_then(Value::as_u64) {
            *field = u32::try_from(size).unwrap_or(u32::MAX);
        }
    }
    for (name, field) in [
        ("isServerless", &mut template.is_serverless),
        ("isPublic", &mut template.is_public),
    ] {
        if let Some(is_set) = input.get(name).and_then(Value::as_bool) {
            *field = is_set;
        }
    }
    if let Some(value) = input.get("env") {
        template.env = env(value);
    }
    if let Some(value) = input.get("ports") {
        template.ports = list(value);
    }
    if let Some(id) = input.get("containerRegistryAuthId").and_then(Value::as_str) {
        template.registry = Some(id.to_owned()).filter(|id| !id.is_empty());
    }
}

/// A new template with v1's defaults.
pub(super) fn defaults() -> Template {
    Template {
        disk_gb: 50,
        volume_gb: 20,
        volume_path: "/workspace".into(),
        ..Template::default()
    }
}

/// A template as v1 shows it.
pub(super) fn show(template: &Template) -> Value {
    json!({
        "id": template.id,
        "name": template.name,
        "imageName": template.image,
        "dockerArgs": template.args,
        "dockerEntrypoint": [],
        "dockerStartCmd": template.args.split_whitespace().collect::<Vec<_>>(),
        "env": template.env,
        "ports": template.ports,
        "containerDiskInGb": template.disk_gb,
        "volumeInGb": template.volume_gb,
        "volumeMountPath": template.volume_path,
        "containerRegistryAuthId": template.registry,
        "isPublic": template.is_public,
        "isServerless": template.is_serverless,
        "isRunpod": false,
        "readme": template.readme,
        "category": "NVIDIA",
        "earned": 0,
        "runtimeInMin": 0,
    })
}
