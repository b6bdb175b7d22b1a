//! A serverless endpoint as the management API shows, creates and changes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Default of `workers.min` at creation.
pub const DEFAULT_WORKERS_MIN: u32 = 0;
/// Default of `workers.max` at creation.
pub const DEFAULT_WORKERS_MAX: u32 = 3;
/// Default of `workers.idleTimeout` at creation, in seconds.
pub const DEFAULT_IDLE_TIMEOUT_S: u32 = 10;
/// Default of `timeout` (execution time of one job) at creation, in milliseconds.
pub const DEFAULT_EXECUTION_TIMEOUT_MS: u64 = 300_000;

/// How requests reach the workers of an endpoint. It cannot be changed after creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndpointType {
    /// Jobs go through RunPod's queue.
    #[serde(rename = "QUEUE")]
    Queue,
    /// Requests go straight to workers.
    #[serde(rename = "LOAD_BALANCER")]
    LoadBalancer,
}

/// Cold-start acceleration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum FlashBoot {
    /// None.
    #[default]
    #[serde(rename = "OFF")]
    Off,
    /// Stopped workers may be resumed.
    #[serde(rename = "FLASHBOOT")]
    FlashBoot,
    /// The same with priority.
    #[serde(rename = "PRIORITY_FLASHBOOT")]
    PriorityFlashBoot,
}

/// What makes the platform start workers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub enum Scaling {
    /// A job that waited longer than this adds a worker. Queue endpoints only.
    #[serde(rename = "QUEUE_DELAY", rename_all = "camelCase")]
    QueueDelay {
        /// Seconds, at least 0.5.
        queue_delay: f64,
    },
    /// So many jobs, waiting or running, per worker.
    #[serde(rename = "REQUEST_COUNT", rename_all = "camelCase")]
    RequestCount {
        /// Jobs, at least 1.
        request_count: u32,
    },
}

/// The limits on workers. Absent fields are defaults at creation and unchanged in a PATCH.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkerLimits {
    /// Workers that are always on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// Most workers; 0 pauses the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// Seconds a worker may idle, 1 to 3600. Refused, and left out of answers, for a queue endpoint that
    /// scales by request count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<u32>,
}

/// The GPUs of an endpoint: pools, an unordered set, less excluded types.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GpuRequest {
    /// Pool ids such as `ADA_24`; required at creation, at least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pools: Option<Vec<String>>,
    /// GPU type ids taken out of the pools; needs `pools`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded_types: Option<Vec<String>>,
    /// GPUs per worker, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// CUDA versions (`major.minor`) a host may have; not together with `min_cuda_version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_cuda_versions: Option<Vec<String>>,
    /// Lowest CUDA version (`major.minor`); an empty text in a PATCH removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_cuda_version: Option<String>,
}

/// One CPU choice of a CPU endpoint, as asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CpuRequest {
    /// CPU flavor id.
    pub id: String,
    /// Virtual CPUs: a power of two, at least 2.
    pub vcpu_count: u32,
}

/// Body of `POST /serverless`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateEndpoint {
    /// Name, not empty.
    pub name: String,
    /// Kind of endpoint.
    #[serde(rename = "type")]
    pub endpoint_type: EndpointType,
    /// Scaling rule.
    pub scaling: Scaling,
    /// Container image; required unless `template_id` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Template to start from; its `env` is merged key by key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_id: Option<String>,
    /// GPUs; exactly one of `gpu` and `cpu`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuRequest>,
    /// CPUs; exactly one of `gpu` and `cpu`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Vec<CpuRequest>>,
    /// Limits on workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<WorkerLimits>,
    /// Execution time-out of a job, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Cold-start acceleration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flashboot: Option<FlashBoot>,
    /// Container disk in GB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<u32>,
    /// Command line of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<String>,
    /// Environment of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<BTreeMap<String, String>>,
    /// Exposed ports (`8000/http`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<String>>,
    /// Id of the registry credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// Data centres a worker may be placed in; empty means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_center_ids: Option<Vec<String>>,
    /// Network volumes, at most one per data centre.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_volumes: Option<Vec<String>>,
}

/// Body of `PATCH /serverless/{id}`: only what is present changes; `env` replaces all of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdateEndpoint {
    /// New name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// New scaling rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// New limits; absent ones stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<WorkerLimits>,
    /// New execution time-out, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// New cold-start acceleration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flashboot: Option<FlashBoot>,
    /// New image: a rolling release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// New template: a rolling release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_id: Option<String>,
    /// New GPU choice: a rolling release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuRequest>,
    /// New CPU choice: a rolling release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Vec<CpuRequest>>,
    /// New disk size in GB: a rolling release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<u32>,
    /// New command line: a rolling release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<String>,
    /// New environment, whole: a rolling release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<BTreeMap<String, String>>,
    /// New ports: a rolling release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<String>>,
    /// New registry credentials, or `null` for none: a rolling release.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "given"
    )]
    pub registry: Option<Option<String>>,
    /// New data centres: a rolling release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_center_ids: Option<Vec<String>>,
    /// New network volumes: a rolling release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_volumes: Option<Vec<String>>,
}

impl UpdateEndpoint {
    /// A PATCH that changes nothing but limits on workers.
    #[must_use]
    pub fn of_workers(workers: WorkerLimits) -> Self {
        Self {
            workers: Some(workers),
            ..Self::default()
        }
    }
}

/// GPUs of an endpoint as the API shows them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gpus {
    /// Pool ids.
    #[serde(default)]
    pub pools: Vec<String>,
    /// GPU types taken out of the pools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded_types: Vec<String>,
    /// GPUs per worker.
    #[serde(default = "one")]
    pub count: u32,
    /// CUDA versions a host may have; empty means any.
    #[serde(default)]
    pub allowed_cuda_versions: Vec<String>,
    /// Lowest CUDA version.
    #[serde(default)]
    pub min_cuda_version: Option<String>,
}

/// One CPU choice as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cpu {
    /// CPU flavor id.
    pub id: String,
    /// Virtual CPUs.
    pub vcpu_count: u32,
    /// Memory in GB.
    pub memory: u32,
}

/// Where requests of an endpoint go: two shapes, by its type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RequestUrls {
    /// Queue endpoint.
    Queue(QueueUrls),
    /// Load-balancing endpoint.
    LoadBalancer {
        /// Base of the worker's own paths.
        base: String,
        /// Health check.
        health: String,
    },
}

/// URLs of a queue endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueUrls {
    /// POST: submit.
    pub run: String,
    /// POST: submit and wait.
    pub run_sync: String,
    /// GET, with the job id in place of the template.
    pub status: String,
    /// GET, with the job id in place of the template.
    pub stream: String,
    /// POST, with the job id in place of the template.
    pub cancel: String,
    /// POST, with the job id in place of the template.
    pub retry: String,
    /// POST: drop what is queued.
    pub purge_queue: String,
    /// GET: counts.
    pub health: String,
}

/// A serverless endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Id, as in the data plane's URLs.
    pub id: String,
    /// Name.
    pub name: String,
    /// Kind.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub endpoint_type: Option<EndpointType>,
    /// Data-plane URLs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_urls: Option<RequestUrls>,
    /// GPUs; absent or null for a CPU endpoint.
    #[serde(default)]
    pub gpu: Option<Gpus>,
    /// CPUs; absent for a GPU endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Vec<Cpu>>,
    /// Limits on workers; `min` and `max` are always there.
    #[serde(deserialize_with = "shown::workers")]
    pub workers: WorkerLimits,
    /// Scaling rule.
    #[serde(deserialize_with = "shown::scaling")]
    pub scaling: Scaling,
    /// Execution time-out of a job, in milliseconds.
    pub timeout: u64,
    /// Cold-start acceleration.
    #[serde(default)]
    pub flashboot: FlashBoot,
    /// Container image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Command line of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<String>,
    /// Container disk in GB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<u32>,
    /// Environment of the container.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Exposed ports.
    #[serde(default)]
    pub ports: Vec<String>,
    /// Id of the registry credentials.
    #[serde(default)]
    pub registry: Option<String>,
    /// Data centres; empty means all.
    #[serde(default)]
    pub data_center_ids: Vec<String>,
    /// Network volumes.
    #[serde(default)]
    pub network_volumes: Vec<String>,
    /// Creation, RFC 3339.
    pub created_at: String,
}

/// Answer of `GET /serverless`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointList {
    /// All endpoints of the account.
    pub endpoints: Vec<Endpoint>,
}

fn one() -> u32 {
    1
}

/// What is there, `null` too, as opposed to what is absent.
fn given<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// What bodies of requests must not hold, answers may: a field that RunPod adds is no error.
mod shown {
    use serde::{Deserialize, Deserializer};

    use super::{Scaling, WorkerLimits};

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Limits {
        min: Option<u32>,
        max: Option<u32>,
        idle_timeout: Option<u32>,
    }

    pub(super) fn workers<'de, D: Deserializer<'de>>(from: D) -> Result<WorkerLimits, D::Error> {
        let limits = Limits::deserialize(from)?;
        Ok(WorkerLimits {
            min: limits.min,
            max: limits.max,
            idle_timeout: limits.idle_timeout,
        })
    }

    #[derive(Deserialize)]
    #[serde(tag = "type")]
    enum Rule {
        #[serde(rename = "QUEUE_DELAY", rename_all = "camelCase")]
        QueueDelay { queue_delay: f64 },
        #[serde(rename = "REQUEST_COUNT", rename_all = "camelCase")]
        RequestCount { request_count: u32 },
    }

    pub(super) fn scaling<'de, D: Deserializer<'de>>(from: D) -> Result<Scaling, D::Error> {
        Ok(match Rule::deserialize(from)? {
            Rule::QueueDelay { queue_delay } => Scaling::QueueDelay { queue_delay },
            Rule::RequestCount { request_count } => Scaling::RequestCount { request_count },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_of_limits_holds_nothing_else() {
        let patch = UpdateEndpoint::of_workers(WorkerLimits {
            max: Some(0),
            ..WorkerLimits::default()
        });
        let text = serde_json::to_string(&patch).expect("plain data serialises");
        assert_eq!(text, r#"{"workers":{"max":0}}"#);
    }

    #[test]
    fn a_create_body_refuses_an_unknown_field() {
        let body = r#"{"name":"a","type":"QUEUE","scaling":{"type":"QUEUE_DELAY","queueDelay":4},"gpuIds":"x"}"#;
        let error = serde_json::from_str::<CreateEndpoint>(body).expect_err("unknown field");
        assert!(error.to_string().contains("gpuIds"), "{error}");
    }

    #[test]
    fn an_answer_may_hold_fields_that_are_new() {
        let body = r#"{"id":"a","name":"a","timeout":1,"createdAt":"2026-01-01T00:00:00Z","new":1,
            "workers":{"min":0,"max":3,"idleTimeout":5,"burst":2},
            "scaling":{"type":"QUEUE_DELAY","queueDelay":4,"window":9}}"#;
        let endpoint: Endpoint = serde_json::from_str(body).expect("new fields are no error");
        assert_eq!(endpoint.workers.max, Some(3));
        assert_eq!(endpoint.scaling, Scaling::QueueDelay { queue_delay: 4.0 });
        let patch = r#"{"workers":{"max":3,"burst":2}}"#;
        serde_json::from_str::<UpdateEndpoint>(patch).expect_err("a request may not");
    }

    #[test]
    fn a_registry_that_is_taken_away_is_not_one_that_is_left_alone() {
        let read = |body: &str| serde_json::from_str::<UpdateEndpoint>(body).expect("valid");
        assert_eq!(read("{}").registry, None);
        assert_eq!(read(r#"{"registry":null}"#).registry, Some(None));
        let none = UpdateEndpoint {
            registry: Some(None),
            ..UpdateEndpoint::default()
        };
        let text = serde_json::to_string(&none).expect("plain data serialises");
        assert_eq!(text, r#"{"registry":null}"#);
    }

    #[test]
    fn scaling_is_told_apart_by_its_type() {
        let scaling: Scaling =
            serde_json::from_str(r#"{"type":"REQUEST_COUNT","requestCount":2}"#).expect("valid");
        assert_eq!(scaling, Scaling::RequestCount { request_count: 2 });
    }
}
