//! Endpoints in the words of v1 and GraphQL.

use std::sync::{Arc, PoisonError};

use overspill_sim::cloud::gpu::GPUS;
use overspill_sim::cloud::{EndpointId, EndpointSettings, Flash, Hardware, Refusal, ScalingRule};
use serde_json::{Value, json};

use crate::state::Shared;

/// What an endpoint is when its creator says nothing; the Python SDK's and v1's own defaults.
pub(super) fn defaults() -> EndpointSettings {
    EndpointSettings {
        hardware: Hardware::Gpu {
            pools: vec!["AMPERE_16".into()],
            excluded: Vec::new(),
            count: 1,
            allowed_cuda: Vec::new(),
            min_cuda: None,
        },
        idle_timeout_ms: 5_000,
        execution_timeout_ms: 600_000,
        ..EndpointSettings::default()
    }
}

fn number(input: &Value, name: &str) -> Option<u64> {
    let value = input.get(name)?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn limit(input: &Value, name: &str) -> Option<u32> {
    number(input, name).map(|value| u32::try_from(value).unwrap_or(u32::MAX))
}

/// A list, or a text with commas.
fn words(input: &Value, name: &str) -> Option<Vec<String>> {
    match input.get(name)? {
        Value::Array(items) => Some(
            items
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        ),
        Value::String(text) => Some(
            text.split(',')
                .map(str::trim)
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect(),
        ),
        _ => None,
    }
}

/// GPU types as pools with what is not wanted of them taken out.
fn of_types(types: &[String]) -> (Vec<String>, Vec<String>) {
    let mut pools: Vec<String> = Vec::new();
    for gpu in GPUS
        .iter()
        .filter(|gpu| types.iter().any(|id| id == gpu.id))
    {
        let pool = gpu.pool.unwrap_or_default().to_owned();
        if !pool.is_empty() && !pools.contains(&pool) {
            pools.push(pool);
        }
    }
    let excluded = GPUS
        .iter()
        .filter(|gpu| gpu.pool.is_some_and(|pool| pools.iter().any(|p| p == pool)))
        .filter(|gpu| !types.iter().any(|id| id == gpu.id))
        .map(|gpu| gpu.id.to_owned())
        .collect();
    (pools, excluded)
}

/// Changes in `settings` what `input` names.
pub(super) fn apply(
    shared: &Arc<Shared>,
    settings: &mut EndpointSettings,
    input: &Value,
) -> Result<(), Refusal> {
    if let Some(name) = input.get("name").and_then(Value::as_str) {
        name.clone_into(&mut settings.name);
    }
    let id = input
        .get("templateId")
        .and_then(Value::as_str)
        .filter(|id| !id.is_empty());
    if let Some(id) = id {
        let templates = shared
            .templates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let template = templates
            .get(id)
            .ok_or_else(|| Refusal::Invalid(format!("template {id} not found")))?;
        settings.template = Some(template.id.clone());
        settings.image.clone_from(&template.image);
        settings.args.clone_from(&template.args);
        settings.env.clone_from(&template.env);
        settings.ports.clone_from(&template.ports);
        settings.disk_gb = template.disk_gb;
        settings.registry.clone_from(&template.registry);
    }
    settings.workers_min = limit(input, "workersMin").unwrap_or(settings.workers_min);
    settings.workers_max = limit(input, "workersMax").unwrap_or(settings.workers_max);
    settings.idle_timeout_ms =
        number(input, "idleTimeout").map_or(settings.idle_timeout_ms, |s| s * 1_000);
    settings.execution_timeout_ms = number(input, "executionTimeoutMs")
        .filter(|ms| *ms > 0)
        .unwrap_or(settings.execution_timeout_ms);
    let value = limit(input, "scalerValue");
    let old_value = match settings.scaling {
        ScalingRule::QueueDelayMs(ms) => u32::try_from(ms / 1_000).unwrap_or(4),
        ScalingRule::RequestCount(count) => count,
    };
    let kind = input.get("scalerType").and_then(Value::as_str);
    let is_count = kind.map_or(
        matches!(settings.scaling, ScalingRule::RequestCount(_)),
        |kind| kind == "REQUEST_COUNT",
    );
    if kind.is_some() || value.is_some() {
        let value = value.unwrap_or(old_value).max(1);
        settings.scaling = if is_count {
            ScalingRule::RequestCount(value)
        } else {
            ScalingRule::QueueDelayMs(u64::from(value) * 1_000)
        };
    }
    settings.flash = match (input.get("flashboot"), input.get("flashBootType")) {
        (Some(Value::Bool(true)), _) => Flash::On,
        (Some(Value::Bool(false)), _) => Flash::Off,
        (_, Some(Value::String(kind))) if kind == "OFF" => Flash::Off,
        (_, Some(Value::String(kind))) if kind.starts_with("PRIORITY") => Flash::Priority,
        (_, Some(Value::String(_))) => Flash::On,
        _ => settings.flash,
    };
    if let Some(centers) = words(input, "dataCenterIds").or_else(|| words(input, "locations")) {
        settings.data_centers = centers;
    }
    if let Some(kind) = input.get("type").and_then(Value::as_str) {
        settings.is_load_balancer = kind == "LB";
    }
    if let Hardware::Gpu {
        pools,
        excluded,
        count,
        ..
    } = &mut settings.hardware
    {
        if let Some(types) = words(input, "gpuTypeIds").filter(|types| !types.is_empty()) {
            (*pools, *excluded) = of_types(&types);
        }
        if let Some(ids) = words(input, "gpuIds").filter(|ids| !ids.is_empty()) {
            let (out, within): (Vec<_>, Vec<_>) =
                ids.into_iter().partition(|id| id.starts_with('-'));
            *pools = within;
            *excluded = out
                .iter()
                .map(|id| id.trim_start_matches('-').to_owned())
                .collect();
        }
        *count = limit(input, "gpuCount")
            .filter(|count| *count > 0)
            .unwrap_or(*count);
    }
    Ok(())
}

/// An endpoint as both APIs show it: the union of their fields.
pub(super) fn show(shared: &Arc<Shared>, id: &EndpointId) -> Result<Value, Refusal> {
    let (settings, created_ms) =
        shared.call(|model, now_ms| model.endpoint_settings(now_ms, id))?;
    let (workers, version) = shared.call(|model, now_ms| model.workers(now_ms, id))?;
    let (pools, excluded, gpu_count) = match &settings.hardware {
        Hardware::Gpu {
            pools,
            excluded,
            count,
            ..
        } => (pools.clone(), excluded.clone(), *count),
        Hardware::Cpu(_) => (Vec::new(), Vec::new(), 0),
    };
    let types: Vec<&str> = GPUS
        .iter()
        .filter(|gpu| gpu.pool.is_some_and(|pool| pools.iter().any(|p| p == pool)))
        .filter(|gpu| !excluded.iter().any(|id| id == gpu.id))
        .map(|gpu| gpu.id)
        .collect();
    let mut ids = pools;
    ids.extend(excluded.iter().map(|id| format!("-{id}")));
    let (scaler, value) = match settings.scaling {
        ScalingRule::QueueDelayMs(ms) => ("QUEUE_DELAY", ms.div_ceil(1_000)),
        ScalingRule::RequestCount(count) => ("REQUEST_COUNT", u64::from(count)),
    };
    let workers: Vec<Value> = workers
        .iter()
        .map(|worker| {
            json!({"id": worker.id, "desiredStatus": "RUNNING", "status": worker.status,
                "image": settings.image, "endpointId": id, "slsVersion": worker.version})
        })
        .collect();
    let env: Vec<Value> = settings
        .env
        .iter()
        .map(|(key, value)| json!({"key": key, "value": value}))
        .collect();
    Ok(json!({
        "id": id,
        "name": settings.name,
        "aiKey": format!("emulated-{id}"),
        "userId": "emulated-user",
        "version": version,
        "createdAt": crate::management::rfc3339(created_ms),
        "type": if settings.is_load_balancer { "LB" } else { "QB" },
        "computeType": if gpu_count > 0 { "GPU" } else { "CPU" },
        "templateId": settings.template,
        "gpuIds": ids.join(","),
        "gpuTypeIds": types,
        "gpuCount": gpu_count,
        "workersMin": settings.workers_min,
        "workersMax": settings.workers_max,
        "workersStandby": 0,
        "workers": workers,
        "idleTimeout": settings.idle_timeout_ms / 1_000,
        "scalerType": scaler,
        "scalerValue": value,
        "executionTimeoutMs": settings.execution_timeout_ms,
        "flashboot": settings.flash != Flash::Off,
        "flashBootType": match settings.flash {
            Flash::Off => "OFF",
            Flash::On => "FLASHBOOT",
            Flash::Priority => "PRIORITY_FLASHBOOT",
        },
        "locations": settings.data_centers.join(","),
        "dataCenterIds": settings.data_centers,
        "networkVolumeId": settings.volumes.first(),
        "networkVolumeIds": settings.volumes,
        "networkVolume": null,
        "instanceIds": [],
        "allowedCudaVersions": [],
        "minCudaVersion": null,
        "env": env,
        "pods": [],
    }))
}
