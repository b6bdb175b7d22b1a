//! What the configuration asks for at RunPod: one endpoint for each type of GPU of a pool with `image`.

use std::collections::BTreeMap;

use overspill_wire::management::endpoint::{
    CreateEndpoint, EndpointType, FlashBoot, GpuRequest, Scaling, WorkerLimits,
};

use super::gpus::{Catalog, Selection};
use super::name::{purpose, slug};
use crate::config::{CloudPool, Config, Endpoint, Flashboot, Provider};

/// The fastest rule there is: how many workers there may be is decided here, by `max`.
pub const QUEUE_DELAY_S: f64 = 0.5;

/// One endpoint at RunPod that there should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// The endpoint it works for.
    pub endpoint: String,
    /// Its pool's name in the configuration.
    pub pool: String,
    /// The type of GPU, as the configuration calls it.
    pub gpu: String,
    /// The pool's key in the topology ([`pool_key`]).
    pub key: String,
    /// The digest in its name.
    pub purpose: String,
    /// How it should be.
    pub settings: Settings,
}

/// How an endpoint at RunPod should be; limits of workers are the server's.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Container image.
    pub image: String,
    /// The one type of GPU.
    pub gpu: Selection,
    /// GPUs per worker.
    pub gpu_count: u32,
    /// Environment of the container; values may be secret.
    pub env: BTreeMap<String, String>,
    /// Command line of the container; empty for the image's own.
    pub args: String,
    /// Container disk in GB.
    pub disk_gb: u32,
    /// Id of registry credentials.
    pub registry: Option<String>,
    /// Data centers; empty means all.
    pub data_centers: Vec<String>,
    /// Network volumes.
    pub volumes: Vec<String>,
    /// Seconds that a worker may idle, 1 to 3600.
    pub idle_timeout_s: u32,
    /// Execution time-out in milliseconds.
    pub timeout_ms: u64,
    /// Cold-start acceleration.
    pub flashboot: FlashBoot,
}

/// A type of GPU that RunPod does not have in any serverless pool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "endpoint {endpoint}, pool {pool}: RunPod has no {gpu} in a serverless pool; remove it from \
     `gpu` (`overspill gpus --cloud` lists what there is)"
)]
pub struct NoSuchGpu {
    /// Whose.
    pub endpoint: String,
    /// Which pool.
    pub pool: String,
    /// The type.
    pub gpu: String,
}

/// The key of a pool of one type of GPU: its name and the type.
#[must_use]
pub fn pool_key(pool: &str, gpu: &str) -> String {
    format!("{pool}-{}", slug(gpu))
}

/// Whether a pool's endpoints are kept by Overspill.
#[must_use]
pub fn is_kept(pool: &CloudPool) -> bool {
    pool.provider == Provider::Runpod && pool.image.is_some()
}

/// Every purpose that the configuration has: endpoint, pool, type of GPU, in order.
pub fn purposes(config: &Config) -> impl Iterator<Item = (&Endpoint, &CloudPool, &str)> {
    config.endpoint.iter().flat_map(|endpoint| {
        let kept = endpoint.cloud.iter().filter(|pool| is_kept(pool));
        kept.flat_map(move |pool| {
            let types = pool.gpu.0.iter();
            types.map(move |gpu| (endpoint, pool, gpu.as_str()))
        })
    })
}

/// All endpoints that there should be, in the order of the configuration, and the types of GPU that
/// RunPod does not have.
#[must_use]
pub fn of(config: &Config, catalog: &Catalog) -> (Vec<Desired>, Vec<NoSuchGpu>) {
    let (mut desired, mut missing) = (Vec::new(), Vec::new());
    for (endpoint, pool, gpu) in purposes(config) {
        let Some(selection) = catalog.select(gpu) else {
            missing.push(NoSuchGpu {
                endpoint: endpoint.name.clone(),
                pool: pool.name.clone(),
                gpu: gpu.to_owned(),
            });
            continue;
        };
        desired.push(Desired {
            endpoint: endpoint.name.clone(),
            pool: pool.name.clone(),
            gpu: gpu.to_owned(),
            key: pool_key(&pool.name, gpu),
            purpose: purpose(&endpoint.name, &pool.name, gpu),
            settings: settings(endpoint, pool, selection),
        });
    }
    (desired, missing)
}

fn settings(endpoint: &Endpoint, pool: &CloudPool, gpu: Selection) -> Settings {
    let idle_s = endpoint.workers.idle_timeout.as_millis().div_ceil(1_000);
    Settings {
        image: pool.image.clone().unwrap_or_default(),
        gpu,
        gpu_count: pool.gpu_count(),
        env: pool.env.clone(),
        args: pool.args.clone().unwrap_or_default(),
        disk_gb: u32::try_from(pool.disk().as_bytes() / 1_000_000_000).unwrap_or(u32::MAX),
        registry: pool.registry.clone(),
        data_centers: sorted(&pool.data_centers),
        volumes: sorted(&pool.network_volumes),
        idle_timeout_s: u32::try_from(idle_s.clamp(1, 3_600)).unwrap_or(3_600),
        timeout_ms: endpoint.execution_timeout.as_millis(),
        flashboot: match pool.flashboot {
            Some(Flashboot::Off) => FlashBoot::Off,
            Some(Flashboot::On) | None => FlashBoot::FlashBoot,
            Some(Flashboot::Priority) => FlashBoot::PriorityFlashBoot,
        },
    }
}

impl Desired {
    /// What people call it.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{} {}", self.endpoint, slug(&self.gpu))
    }
}

impl Settings {
    /// The body that makes it. Everything is said: RunPod's own defaults differ from one API to the
    /// next. It starts paused, and costs nothing until the server wants workers.
    #[must_use]
    pub fn create(&self, name: String) -> CreateEndpoint {
        CreateEndpoint {
            name,
            endpoint_type: EndpointType::Queue,
            scaling: Scaling::QueueDelay {
                queue_delay: QUEUE_DELAY_S,
            },
            image: Some(self.image.clone()),
            template_id: None,
            gpu: Some(self.gpu_request()),
            cpu: None,
            workers: Some(WorkerLimits {
                min: Some(0),
                max: Some(0),
                idle_timeout: Some(self.idle_timeout_s),
            }),
            timeout: Some(self.timeout_ms),
            flashboot: Some(self.flashboot),
            disk: Some(self.disk_gb),
            args: Some(self.args.clone()),
            env: Some(self.env.clone()),
            ports: Some(Vec::new()),
            registry: self.registry.clone(),
            data_center_ids: Some(self.data_centers.clone()),
            network_volumes: Some(self.volumes.clone()),
        }
    }

    /// The choice of GPUs, whole.
    #[must_use]
    pub fn gpu_request(&self) -> GpuRequest {
        GpuRequest {
            pools: Some(vec![self.gpu.pool.clone()]),
            excluded_types: Some(self.gpu.excluded.clone()),
            count: Some(self.gpu_count),
            allowed_cuda_versions: Some(Vec::new()),
            min_cuda_version: None,
        }
    }
}

/// In order: RunPod's lists are sets.
pub(super) fn sorted(names: &[String]) -> Vec<String> {
    let mut names = names.to_vec();
    names.sort();
    names
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Environment, Flags, Strictness, parse};

    /// The configuration of a text, whose variables are set.
    pub(in crate::kept) fn config(text: &str) -> Config {
        let environment = Environment::from_pairs([("RUNPOD_API_KEY", "rpa_0123456789abcdef")]);
        let folder = Path::new("/base");
        let flags = Flags::default();
        let loaded = parse(text, "f", folder, &environment, &flags, Strictness::Check);
        loaded.unwrap().config
    }

    #[test]
    fn the_example_asks_for_one_endpoint_for_each_type_in_order() {
        let config = config(include_str!("../../../../overspill.example.toml"));
        let (desired, missing) = of(&config, &Catalog::built_in());
        assert_eq!(missing, []);
        let keys: Vec<&str> = desired.iter().map(|wanted| wanted.key.as_str()).collect();
        assert_eq!(
            keys,
            ["cloud-1-rtx-4090", "cloud-1-a40", "cloud-1-a100"],
            "in the order of the list"
        );
        let body = serde_json::to_value(desired[1].settings.create("n".into())).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "name": "n", "type": "QUEUE", "image": "registry.example/sdxl-worker:3",
                "scaling": {"type": "QUEUE_DELAY", "queueDelay": 0.5},
                "gpu": {"pools": ["AMPERE_48"], "excludedTypes": ["NVIDIA RTX A6000"], "count": 1,
                        "allowedCudaVersions": []},
                "workers": {"min": 0, "max": 0, "idleTimeout": 10}, "timeout": 600_000,
                "flashboot": "FLASHBOOT", "disk": 20, "args": "", "env": {}, "ports": [],
                "dataCenterIds": ["EU-CZ-1", "EU-RO-1"], "networkVolumes": [],
            })
        );
    }

    #[test]
    fn a_type_that_runpod_lacks_is_named_and_the_others_stay() {
        let config = config(
            "[runpod]\n[[endpoint]]\nname = \"a\"\n[[endpoint.cloud]]\nprovider = \"runpod\"\n\
             image = \"i:1\"\ngpu = [\"A40\", \"MI300X\"]\nprice = \"$2/h\"\n",
        );
        let (desired, missing) = of(&config, &Catalog::built_in());
        assert_eq!(desired.len(), 1);
        let text = missing[0].to_string();
        assert!(text.contains("no MI300X in a serverless pool"), "{text}");
    }
}
