//! `/v2/serverless…`: endpoints, their workers and releases.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use overspill_sim::cloud::EndpointId;
use overspill_wire::management::endpoint::{CreateEndpoint, EndpointList, UpdateEndpoint};
use overspill_wire::management::release::{
    Release, ReleaseDiff, ReleaseList, ReleaseSource, Rollout,
};
use overspill_wire::management::worker::{Worker, WorkerList, WorkerStatus, WorkerSummary};

use super::problem::{Failure, read};
use super::translate;
use crate::answer::ok;
use crate::state::Shared;
use crate::templates::Template;

type Answer = Result<Response, Failure>;

fn template(shared: &Arc<Shared>, id: Option<&String>) -> Result<Option<Template>, Failure> {
    let Some(id) = id else {
        return Ok(None);
    };
    let templates = shared
        .templates
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    templates
        .get(id)
        .cloned()
        .map(Some)
        .ok_or_else(Failure::not_found)
}

fn show(
    shared: &Arc<Shared>,
    id: &EndpointId,
) -> Result<overspill_wire::management::endpoint::Endpoint, Failure> {
    let (settings, created_ms) =
        shared.call(|model, now_ms| model.endpoint_settings(now_ms, id))?;
    Ok(translate::show(
        shared.base_url(),
        id.as_str(),
        &settings,
        created_ms,
    ))
}

pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Answer {
    let ids = shared.call(|model, now_ms| model.endpoint_ids(now_ms));
    let endpoints = ids.iter().filter_map(|id| show(&shared, id).ok()).collect();
    Ok(ok(&EndpointList { endpoints }))
}

pub(super) async fn create(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    let body: CreateEndpoint = read(&body)?;
    let template = template(&shared, body.template_id.as_ref())?;
    let settings = translate::create(body, template.as_ref(), shared.options.idle_timeout_s)?;
    let id = shared.call(|model, now_ms| model.create_endpoint(now_ms, settings))?;
    let shown = show(&shared, &id)?;
    Ok((StatusCode::CREATED, axum::Json(shown)).into_response())
}

pub(super) async fn get(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    Ok(ok(&show(&shared, &id.into())?))
}

pub(super) async fn update(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer {
    let id = EndpointId::from(id);
    let body: UpdateEndpoint = read(&body)?;
    let template = template(&shared, body.template_id.as_ref())?;
    // Read and written under one lock: two PATCHes at once must not undo each other.
    shared.call(|model, now_ms| {
        let (old, _) = model.endpoint_settings(now_ms, &id)?;
        let new = translate::update(&old, body, template.as_ref())?;
        model.update_endpoint(now_ms, &id, new)?;
        Ok::<_, Failure>(())
    })?;
    Ok(ok(&show(&shared, &id)?))
}

pub(super) async fn delete(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    shared.call(|model, now_ms| model.delete_endpoint(now_ms, &id.into()))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn workers(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    let id = EndpointId::from(id);
    let (workers, version) = shared.call(|model, now_ms| model.workers(now_ms, &id))?;
    let (settings, _) = shared.call(|model, now_ms| model.endpoint_settings(now_ms, &id))?;
    let now_ms = shared.clock.now_ms();
    let gpu_count = match &settings.hardware {
        overspill_sim::cloud::Hardware::Gpu { count, .. } => *count,
        overspill_sim::cloud::Hardware::Cpu(_) => 0,
    };
    let mut summary = WorkerSummary::default();
    let workers = workers
        .into_iter()
        .map(|worker| {
            let (status, count) = match worker.status {
                "RUNNING" => (WorkerStatus::Running, &mut summary.running),
                "IDLE" => (WorkerStatus::Idle, &mut summary.idle),
                "INITIALIZING" => (WorkerStatus::Initializing, &mut summary.initializing),
                "THROTTLED" => (WorkerStatus::Throttled, &mut summary.throttled),
                _ => (WorkerStatus::Unhealthy, &mut summary.unhealthy),
            };
            *count += 1;
            summary.total += 1;
            Worker {
                id: worker.id.to_string(),
                status,
                is_stale: worker.is_stale,
                version: Some(worker.version),
                gpu_count,
                image: Some(settings.image.clone()),
                uptime_seconds: worker
                    .started_ms
                    .map(|started| u64::try_from(now_ms - started).unwrap_or(0) / 1_000),
                gpu_type_id: worker.gpu.map(str::to_owned),
                data_center_id: worker.data_center.map(str::to_owned),
                started_at: worker.started_ms.map(translate::rfc3339),
            }
        })
        .collect();
    Ok(ok(&WorkerList {
        workers,
        summary,
        endpoint_version: Some(version),
    }))
}

pub(super) async fn releases(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    let id = EndpointId::from(id);
    let releases = shared.call(|model, now_ms| model.releases(now_ms, &id))?;
    let total: u32 = releases.iter().map(|(_, workers)| workers).sum();
    let latest = releases.first().map_or(0, |(_, workers)| *workers);
    let version = releases.first().map(|(release, _)| release.version);
    let rollout = Rollout {
        in_progress: latest < total,
        workers_on_latest: latest,
        workers_total: total,
        percent_on_latest: (latest * 100).checked_div(total).unwrap_or(100),
    };
    let releases = releases
        .into_iter()
        .map(|(release, worker_count)| Release {
            id: format!("{id}-{}", release.version),
            version: Some(release.version),
            source: ReleaseSource::Manual,
            build_id: None,
            created_by_user_id: None,
            worker_count,
            created_at: translate::rfc3339(release.created_ms),
            diff: release
                .diff
                .into_iter()
                .map(|(field, old, new)| ReleaseDiff {
                    field: field.to_owned(),
                    old,
                    new,
                })
                .collect(),
        })
        .collect();
    Ok(ok(&ReleaseList {
        endpoint_version: version,
        rollout,
        releases,
    }))
}

/// A worker's log as server-sent events: its starts, and what it ran. The stream ends with the last line.
pub(super) async fn logs(
    State(shared): State<Arc<Shared>>,
    Path((id, worker)): Path<(String, String)>,
    Query(params): Query<HashMap<String, String>>,
) -> Answer {
    let id = EndpointId::from(id);
    let tail: usize = match params.get("tail").map(|text| text.parse()) {
        None => 100,
        Some(Ok(tail)) if tail <= 5_000 => tail,
        Some(_) => {
            return Err(Failure::unprocessable(vec![
                "tail: must be between 0 and 5000".into(),
            ]));
        }
    };
    let source = params.get("source").map_or("container", String::as_str);
    let (workers, _) = shared.call(|model, now_ms| model.workers(now_ms, &id))?;
    let found = workers
        .iter()
        .find(|found| found.id.as_str() == worker)
        .ok_or_else(Failure::not_found)?;
    let mut lines: Vec<(i64, String)> = Vec::new();
    if source == "system" {
        lines.extend(
            found
                .started_ms
                .map(|at| (at, "start container".to_owned())),
        );
    } else {
        let executions = shared.call(|model, now_ms| model.executions(now_ms).to_vec());
        for execution in executions.iter().filter(|e| e.worker == found.id) {
            lines.push((
                execution.started_ms,
                format!("{} | Started.", execution.job),
            ));
            lines.extend(
                execution
                    .ended_ms
                    .map(|at| (at, format!("{} | Finished.", execution.job))),
            );
        }
    }
    lines.sort();
    let skipped = lines.len().saturating_sub(tail);
    let events: String = lines
        .iter()
        .enumerate()
        .skip(skipped)
        .map(|(index, (at_ms, line))| {
            let data = serde_json::json!({
                "source": source, "line": line, "ts": translate::rfc3339(*at_ms),
            });
            format!("id: {index}\ndata: {data}\n\n")
        })
        .collect();
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        (http::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, events).into_response())
}
