//! GraphQL as official tools use it: found by the name of the operation, answered with every field that they read.
//!
//! It is no GraphQL server: selections are ignored, all known fields are sent.

use std::sync::{Arc, PoisonError};

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use overspill_sim::cloud::EndpointId;
use overspill_sim::cloud::gpu::{GPUS, Gpu};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{endpoint, literal, template};
use crate::answer::ok;
use crate::data_plane::key_of;
use crate::state::Shared;

#[derive(Deserialize)]
struct Body {
    query: String,
    #[serde(default)]
    variables: Value,
}

/// What went wrong, in words; sent with HTTP 200.
type Outcome = Result<Value, String>;

pub(super) async fn answer(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if key_of(&headers).is_err() {
        let body = json!({"errors": [{"message": "Unauthorized"}]});
        return (StatusCode::UNAUTHORIZED, axum::Json(body)).into_response();
    }
    let outcome = serde_json::from_slice::<Body>(&body)
        .map_err(|error| format!("the body is not a GraphQL request: {error}"))
        .and_then(|body| run(&shared, &body));
    match outcome {
        Ok(data) => ok(&json!({"data": data})),
        Err(message) => ok(&json!({"data": null, "errors": [{"message": message}]})),
    }
}

/// The text after `name(`, if the query calls it.
fn arguments<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.match_indices(name).find_map(|(at, _)| {
        let before = query[..at].chars().next_back();
        let is_whole = before.is_none_or(|c| !(c.is_ascii_alphanumeric() || c == '_'));
        let rest = query[at + name.len()..].trim_start();
        rest.strip_prefix('(').filter(|_| is_whole)
    })
}

/// The argument `name` of a call, whose text is `arguments`.
fn argument(arguments: &str, name: &str, variables: &Value) -> Option<Value> {
    let rest = arguments
        .trim_start()
        .strip_prefix(name)?
        .trim_start()
        .strip_prefix(':')?;
    literal::read(rest, variables)
}

fn run(shared: &Arc<Shared>, body: &Body) -> Outcome {
    let query = body.query.as_str();
    let input = |name: &str| {
        arguments(query, name)
            .and_then(|text| argument(text, "input", &body.variables))
            .unwrap_or(Value::Null)
    };
    let text_argument = |name: &str, argument_name: &str| {
        arguments(query, name)
            .and_then(|text| argument(text, argument_name, &body.variables))
            .and_then(|value| value.as_str().map(str::to_owned))
            .ok_or_else(|| format!("{name} needs {argument_name}"))
    };
    if arguments(query, "saveEndpoint").is_some() {
        return save_endpoint(shared, &input("saveEndpoint"));
    }
    if arguments(query, "updateEndpointTemplate").is_some() {
        let input = input("updateEndpointTemplate");
        let id = EndpointId::from(input["endpointId"].as_str().unwrap_or_default());
        let (mut settings, _) = shared
            .call(|model, now_ms| model.endpoint_settings(now_ms, &id))
            .map_err(|refusal| refusal.to_string())?;
        endpoint::apply(
            shared,
            &mut settings,
            &json!({"templateId": input["templateId"]}),
        )
        .map_err(|refusal| refusal.to_string())?;
        shared
            .call(|model, now_ms| model.update_endpoint(now_ms, &id, settings))
            .map_err(|refusal| refusal.to_string())?;
        return Ok(
            json!({"updateEndpointTemplate": {"id": id, "templateId": input["templateId"]}}),
        );
    }
    if arguments(query, "deleteEndpoint").is_some() {
        let id = text_argument("deleteEndpoint", "id")?;
        shared
            .call(|model, now_ms| model.delete_endpoint(now_ms, &id.into()))
            .map_err(|refusal| refusal.to_string())?;
        return Ok(json!({"deleteEndpoint": null}));
    }
    if arguments(query, "saveTemplate").is_some() {
        let input = input("saveTemplate");
        let mut templates = shared
            .templates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let old = input
            .get("id")
            .and_then(Value::as_str)
            .and_then(|id| templates.get(id))
            .cloned();
        let mut new = old.unwrap_or_else(template::defaults);
        template::apply(&mut new, &input);
        if new.name.is_empty() {
            return Err("saveTemplate needs a name".into());
        }
        return Ok(json!({"saveTemplate": template::show(&templates.save(new))}));
    }
    if arguments(query, "deleteTemplate").is_some() {
        let name = text_argument("deleteTemplate", "templateName")
            .or_else(|_| text_argument("deleteTemplate", "templateId"))?;
        let mut templates = shared
            .templates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let found = templates
            .all()
            .find(|t| t.id == name || t.name == name)
            .map(|t| t.id.clone());
        let id = found.ok_or_else(|| format!("template {name} not found"))?;
        templates.remove(&id);
        return Ok(json!({"deleteTemplate": null}));
    }
    if query.contains("gpuTypes") {
        let only = arguments(query, "gpuTypes")
            .and_then(|text| argument(text, "input", &body.variables))
            .and_then(|input| input.get("id")?.as_str().map(str::to_owned));
        let types: Vec<Value> = GPUS
            .iter()
            .filter(|gpu| only.as_deref().is_none_or(|id| id == gpu.id))
            .map(gpu_type)
            .collect();
        return Ok(json!({"gpuTypes": types}));
    }
    if query.contains("myself") {
        let ids = shared.call(|model, now_ms| model.endpoint_ids(now_ms));
        let endpoints: Vec<Value> = ids
            .iter()
            .filter_map(|id| endpoint::show(shared, id).ok())
            .collect();
        let templates = shared
            .templates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let templates: Vec<Value> = templates.all().map(template::show).collect();
        return Ok(json!({"myself": {
            "id": "emulated-user", "pubKey": "", "networkVolumes": [], "pods": [],
            "endpoints": endpoints, "podTemplates": templates,
        }}));
    }
    Err("this operation is not part of the emulated cloud: it has serverless endpoints and their templates, no pods".into())
}

fn save_endpoint(shared: &Arc<Shared>, input: &Value) -> Outcome {
    let mut input: Map<String, Value> = input.as_object().cloned().unwrap_or_default();
    if let Some(inline) = input.remove("template") {
        let mut new = template::defaults();
        template::apply(&mut new, &inline);
        let mut templates = shared
            .templates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        input.insert("templateId".into(), templates.save(new).id.into());
    }
    let input = Value::Object(input);
    if input
        .get("name")
        .and_then(Value::as_str)
        .is_none_or(str::is_empty)
    {
        return Err("saveEndpoint needs a name".into());
    }
    // A full replacement: what the caller leaves out goes back to its default.
    let mut settings = endpoint::defaults();
    endpoint::apply(shared, &mut settings, &input).map_err(|refusal| refusal.to_string())?;
    let known = input
        .get("id")
        .and_then(Value::as_str)
        .filter(|id| !id.is_empty());
    let id = shared
        .call(|model, now_ms| match known {
            Some(id) => {
                let id = EndpointId::from(id);
                model.update_endpoint(now_ms, &id, settings).map(|()| id)
            }
            None => model.create_endpoint(now_ms, settings),
        })
        .map_err(|refusal| refusal.to_string())?;
    let shown = endpoint::show(shared, &id).map_err(|refusal| refusal.to_string())?;
    Ok(json!({"saveEndpoint": shown}))
}

fn gpu_type(gpu: &Gpu) -> Value {
    let price = f64::from(gpu.pod_cents_per_h) / 100.0;
    json!({
        "id": gpu.id, "displayName": gpu.name, "memoryInGb": gpu.memory_gb, "manufacturer": "Nvidia",
        "cudaCores": 0, "secureCloud": true, "communityCloud": true, "maxGpuCount": 8,
        "securePrice": price, "communityPrice": price, "communitySpotPrice": price,
        "secureSpotPrice": price, "oneWeekPrice": price, "oneMonthPrice": price,
        "threeMonthPrice": price,
        "lowestPrice": {"minimumBidPrice": price, "uninterruptablePrice": price},
    })
}
