//! `/v2/serverless…`: RunPod's management API over our own endpoints, so that its clients can look
//! at them and change their limits. What is made elsewhere (images, GPUs, releases) cannot be
//! changed here, and the answer says so.

use std::sync::Arc;

use http::StatusCode;
use overspill_core::time::Timestamp;
use overspill_core::topology::Limits;
use overspill_wire::management::endpoint::{
    Endpoint, EndpointList, EndpointType, FlashBoot, QueueUrls, RequestUrls, Scaling,
    UpdateEndpoint, WorkerLimits,
};
use overspill_wire::management::release::{Release, ReleaseList, ReleaseSource, Rollout};
use overspill_wire::management::worker::{Worker, WorkerList, WorkerStatus, WorkerSummary};

use super::endpoints::{set_limits, view};
use super::read;
use crate::engine::api::{EndpointView, LocalWorker};
use crate::gateway::Gateway;
use crate::gateway::body::{self, Reply};
use crate::gateway::call::Call;
use crate::gateway::error::ApiError;

/// GET: every endpoint that the caller may see.
pub(crate) async fn list(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let mut endpoints = Vec::new();
    for entry in gateway.engine().endpoints().entries() {
        let sees = call.caller.as_ref().is_none_or(|c| c.sees(&entry.name));
        if sees && let Some(view) = gateway.engine().endpoint(entry.id).await {
            endpoints.push(shape(gateway, &call, &view));
        }
    }
    Ok(body::json_of(&EndpointList { endpoints }))
}

/// GET `{id}`; the id is the endpoint's name.
pub(crate) async fn show(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let view = view(gateway, &call).await?;
    Ok(body::json_of(&shape(gateway, &call, &view)))
}

/// PATCH `{id}`: min and max; everything else belongs to the configuration.
pub(crate) async fn patch(gateway: &Arc<Gateway>, mut call: Call) -> Result<Reply, ApiError> {
    let before = view(gateway, &call).await?;
    let wish: UpdateEndpoint = read(gateway, &mut call).await.map_err(unprocessable)?;
    let workers = wish.workers.unwrap_or_default();
    let limits_only = UpdateEndpoint {
        workers: Some(WorkerLimits {
            idle_timeout: None,
            ..workers
        }),
        ..UpdateEndpoint::default()
    };
    let is_empty = workers == WorkerLimits::default();
    if is_empty || wish != limits_only {
        return Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "field_not_writable",
            "only workers.min and workers.max can be changed here",
        )
        .hint("the rest is in the configuration of the server"));
    }
    let limits = Limits {
        min: workers.min.unwrap_or(before.limits.min),
        max: workers.max.unwrap_or(before.limits.max),
    };
    let after = set_limits(gateway, &call, before, limits).await?;
    Ok(body::json_of(&shape(gateway, &call, &after)))
}

/// A body of the wrong shape is 422 in this API, as RunPod's document has it.
fn unprocessable(error: ApiError) -> ApiError {
    if error.code() == "body_invalid" {
        return error.with_status(StatusCode::UNPROCESSABLE_ENTITY);
    }
    error
}

/// GET `{id}/workers`: the local ones; RunPod lists its own.
pub(crate) async fn workers(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let view = view(gateway, &call).await?;
    let now = gateway.engine().now();
    let workers: Vec<Worker> = view
        .local_workers
        .iter()
        .map(|worker| worker_shape(worker, now))
        .collect();
    let count = |status: WorkerStatus| {
        let of_status = workers.iter().filter(|worker| worker.status == status);
        u32::try_from(of_status.count()).unwrap_or(u32::MAX)
    };
    let summary = WorkerSummary {
        running: count(WorkerStatus::Running),
        idle: count(WorkerStatus::Idle),
        initializing: count(WorkerStatus::Initializing),
        throttled: 0,
        unhealthy: 0,
        total: u32::try_from(workers.len()).unwrap_or(u32::MAX),
    };
    Ok(body::json_of(&WorkerList {
        workers,
        summary,
        endpoint_version: Some(1),
    }))
}

/// GET `{id}/releases`: the configuration is the only release there is.
pub(crate) async fn releases(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let view = view(gateway, &call).await?;
    Ok(body::json_of(&ReleaseList {
        endpoint_version: Some(1),
        rollout: Rollout {
            in_progress: false,
            workers_on_latest: view.local.workers,
            workers_total: view.local.workers,
            percent_on_latest: 100,
        },
        releases: vec![Release {
            id: format!("{}-1", view.name),
            version: Some(1),
            source: ReleaseSource::Manual,
            build_id: None,
            created_by_user_id: None,
            worker_count: view.local.workers,
            created_at: rfc3339(gateway.started_at),
            diff: Vec::new(),
        }],
    }))
}

fn worker_shape(worker: &LocalWorker, now: Timestamp) -> Worker {
    let status = match (worker.is_ready, worker.jobs) {
        (_, 1..) => WorkerStatus::Running,
        (true, 0) => WorkerStatus::Idle,
        (false, 0) => WorkerStatus::Initializing,
    };
    Worker {
        id: worker.id.to_string(),
        status,
        is_stale: false,
        version: Some(1),
        gpu_count: 1,
        image: None,
        uptime_seconds: Some(now.since(worker.minted_at).as_millis() / 1_000),
        gpu_type_id: None,
        data_center_id: None,
        started_at: Some(rfc3339(worker.minted_at)),
    }
}

fn shape(gateway: &Gateway, call: &Call, view: &EndpointView) -> Endpoint {
    let options = gateway.options();
    let shown = options.shown.get(&view.name).cloned().unwrap_or_default();
    let host = call
        .headers
        .get(http::header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or("localhost");
    let url = |rest: &str| format!("http://{host}/v2/{}/{rest}", view.name);
    // RunPod refuses, and leaves out, an idle time-out where it scales by request count.
    let idle_timeout = match shown.scaling {
        Scaling::QueueDelay { .. } => Some(shown.idle_timeout_s),
        Scaling::RequestCount { .. } => None,
    };
    Endpoint {
        id: view.name.clone(),
        name: view.name.clone(),
        endpoint_type: Some(EndpointType::Queue),
        request_urls: Some(RequestUrls::Queue(QueueUrls {
            run: url("run"),
            run_sync: url("runsync"),
            status: url("status/{job_id}"),
            stream: url("stream/{job_id}"),
            cancel: url("cancel/{job_id}"),
            retry: url("retry/{job_id}"),
            purge_queue: url("purge-queue"),
            health: url("health"),
        })),
        gpu: None,
        cpu: None,
        workers: WorkerLimits {
            min: Some(view.limits.min),
            max: Some(view.limits.max),
            idle_timeout,
        },
        scaling: shown.scaling,
        timeout: shown.timeout_ms,
        flashboot: FlashBoot::Off,
        image: None,
        args: None,
        disk: None,
        env: std::collections::BTreeMap::new(),
        ports: Vec::new(),
        registry: None,
        data_center_ids: Vec::new(),
        network_volumes: Vec::new(),
        created_at: rfc3339(gateway.started_at),
    }
}

fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis())
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string()
}
