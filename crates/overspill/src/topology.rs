//! What the configuration and this machine's GPUs come to, in the core's words.
//!
//! Pure: the same configuration and the same GPUs give the same topology. The core gets limits,
//! prices and devices; the command lines, folders and variables stay here ([`CommandPool`]), for
//! whoever starts the processes. What is configured but not active yet is left out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use overspill_core::budget::Caps;
use overspill_core::guard::GuardSpec;
use overspill_core::id::DeviceId;
use overspill_core::money::RatePerHour;
use overspill_core::time::DurationMs;
use overspill_core::topology::{
    DeviceSpec, EndpointSpec, INIT_TIMEOUT, Limits, PoolKind, PoolSpec, RunPodSpec, ScalerSpec,
    Topology,
};

use crate::config::{
    CloudPool, Config, Endpoint, Loaded, LocalPool, Manage, Policy, Provider, RegionNames,
    Schedule, known,
};
use crate::gpu::{Card, CardList, SelectedDevice, select};
use crate::kept::desired::{is_kept, pool_key};
use crate::kept::name::purpose;
use crate::kept::record::Record;

/// How long a fenced attempt may go on before its worker is stopped.
const CANCEL_GRACE: DurationMs = DurationMs::from_secs(5);

/// A configuration laid over a machine.
#[derive(Debug, Clone, Default)]
pub struct Installation {
    /// For the core.
    pub topology: Topology,
    /// Every device of the topology, by its id there.
    pub devices: BTreeMap<DeviceId, SelectedDevice>,
    /// Watts of devices that pools name some for; of several, the most.
    pub watts: BTreeMap<DeviceId, u32>,
    /// Every local pool of kind `command`.
    pub commands: Vec<CommandPool>,
    /// Sentences for the log: devices that are not there, prices that nobody knows.
    pub warnings: Vec<String>,
}

/// A local pool whose workers are processes of ours.
#[derive(Debug, Clone)]
pub struct CommandPool {
    /// Name of its endpoint.
    pub endpoint: String,
    /// Its key in the topology.
    pub pool: String,
    /// Program and arguments; not empty.
    pub command: Vec<String>,
    /// Folder to run in.
    pub dir: PathBuf,
    /// Variables beside the user's own and the worker protocol's; values may be secret.
    pub env: BTreeMap<String, String>,
    /// Jobs at once per worker.
    pub slots: u32,
    /// One worker for each.
    pub devices: Vec<DeviceId>,
}

/// Lays a configuration over the cards in force and the endpoints that are kept at RunPod. One
/// that is not made yet is left out, with a warning.
#[must_use]
pub fn install(loaded: &Loaded, cards: &CardList, kept: &Record) -> Installation {
    let config = &loaded.config;
    let cards = cards.cards();
    let mut installation = Installation::default();
    let endpoints = config
        .endpoint
        .iter()
        .map(|e| installation.endpoint(e, loaded, cards, kept))
        .collect();
    installation.topology = Topology {
        endpoints,
        devices: installation
            .devices
            .iter()
            .map(|(id, device)| device_spec(*id, device, installation.watts.get(id).copied()))
            .collect(),
        account_workers_max: account_workers_max(config),
        cancel_grace: CANCEL_GRACE,
        caps: Caps {
            per_hour: config.budget.per_hour,
            per_day: config.budget.per_day,
            per_month: config.budget.per_month,
        },
        calendar: config.budget.time_zone.calendar(),
        guard: guard(config),
        electricity: config.budget.electricity.map(|price| price.0),
        alert: config
            .budget
            .alert
            .as_ref()
            .map(|url| url.as_str().to_owned()),
        card_returns_after: config.devices.returns_after,
    };
    installation
}

impl Installation {
    fn endpoint(
        &mut self,
        endpoint: &Endpoint,
        loaded: &Loaded,
        cards: &[Card],
        kept: &Record,
    ) -> EndpointSpec {
        let mut pools = Vec::new();
        for pool in &endpoint.local {
            pools.extend(self.local(endpoint, pool, loaded, cards));
        }
        for (list, pool) in (0..).zip(&endpoint.cloud) {
            if is_kept(pool) {
                pools.extend(self.kept(endpoint, pool, list, kept));
            } else {
                pools.extend(self.cloud(endpoint, pool, list));
            }
        }
        let residency = endpoint.residency.as_ref();
        let general = loaded
            .config
            .regions
            .as_ref()
            .map(|regions| &regions.residency);
        EndpointSpec {
            name: endpoint.name.clone(),
            execution_timeout: endpoint.execution_timeout,
            ttl: endpoint.ttl,
            retention: endpoint.retention,
            max_attempts: endpoint.max_attempts,
            max_wait: endpoint.max_wait,
            expected_execution: endpoint.expected_execution,
            expected_start: endpoint.expected_start,
            limits: Limits {
                min: endpoint.workers.min,
                max: endpoint.workers.max,
            },
            caps: Caps {
                per_hour: endpoint.budget.per_hour,
                per_day: endpoint.budget.per_day,
                per_month: endpoint.budget.per_month,
            },
            schedule: endpoint
                .schedule
                .iter()
                .map(|s| schedule(s, loaded))
                .collect(),
            scaler: scaler(endpoint),
            residency: residency
                .or(general)
                .map(RegionNames::regions)
                .unwrap_or_default(),
            pools,
        }
    }

    fn local(
        &mut self,
        endpoint: &Endpoint,
        pool: &LocalPool,
        loaded: &Loaded,
        cards: &[Card],
    ) -> Option<PoolSpec> {
        let command = pool.command.clone()?;
        let selected = select(&pool.devices()?, cards);
        if let Some(warning) = selected.warning {
            self.warn(endpoint, &pool.name, &warning);
        }
        let devices: Vec<DeviceId> = selected
            .devices
            .into_iter()
            .map(|device| self.device(device))
            .collect();
        if let Some(watts) = pool.watts {
            for &device in &devices {
                let most = self.watts.entry(device).or_default();
                *most = watts.max(*most);
            }
        }
        self.commands.push(CommandPool {
            endpoint: endpoint.name.clone(),
            pool: pool.name.clone(),
            command,
            dir: pool.dir.clone().unwrap_or_else(|| loaded.folder.clone()),
            env: pool.env.clone(),
            slots: pool.slots,
            devices: devices.clone(),
        });
        let vram_bytes = pool.vram.map(crate::config::MemorySize::as_bytes);
        Some(PoolSpec {
            key: pool.name.clone(),
            slots: pool.slots,
            kind: PoolKind::Command {
                devices,
                vram_bytes,
            },
        })
    }

    fn cloud(&mut self, endpoint: &Endpoint, pool: &CloudPool, list: u32) -> Option<PoolSpec> {
        if pool.provider != Provider::Runpod {
            return None;
        }
        let id = pool.id.clone()?;
        let types = &pool.gpu.0;
        Some(self.runpod(endpoint, pool, list, pool.name.clone(), id, types))
    }

    /// One pool for each type of GPU, in the order of the list: RunPod has an endpoint for each.
    fn kept(
        &mut self,
        endpoint: &Endpoint,
        pool: &CloudPool,
        list: u32,
        kept: &Record,
    ) -> Vec<PoolSpec> {
        let mut pools = Vec::new();
        for gpu in &pool.gpu.0 {
            let key = pool_key(&pool.name, gpu);
            let purpose = purpose(&endpoint.name, &pool.name, gpu);
            let Some(id) = kept.id_of(&purpose) else {
                let warning = "its endpoint is not made at RunPod yet; `serve` makes it, and so does \
                               `overspill apply`";
                self.warn(endpoint, &key, warning);
                continue;
            };
            let types = std::slice::from_ref(gpu);
            pools.push(self.runpod(endpoint, pool, list, key, id.to_owned(), types));
        }
        pools
    }

    fn runpod(
        &mut self,
        endpoint: &Endpoint,
        pool: &CloudPool,
        list: u32,
        key: String,
        id: String,
        types: &[String],
    ) -> PoolSpec {
        let price = price(pool, types);
        if price.is_none() {
            let warning = "its price is not known, so nothing is sent there; give `price` or `gpu`";
            self.warn(endpoint, &key, warning);
        }
        PoolSpec {
            key,
            slots: pool.slots.initial(),
            kind: PoolKind::RunPod(RunPodSpec {
                endpoint: id,
                price,
                max: pool.max,
                manage: pool.manage() != Manage::Nothing,
                idle_timeout: endpoint.workers.idle_timeout,
                init_timeout: INIT_TIMEOUT,
                region: pool.region.as_deref().and_then(|name| name.parse().ok()),
                gpu: single_gpu(types),
                gpu_label: gpu_label(types),
                list,
            }),
        }
    }

    /// The id of a device; pools that share a card share it.
    fn device(&mut self, device: SelectedDevice) -> DeviceId {
        let id = DeviceId(device.id);
        self.devices.insert(id, device);
        id
    }

    fn warn(&mut self, endpoint: &Endpoint, pool: &str, warning: &str) {
        self.warnings.push(format!(
            "endpoint {}, pool {pool}: {warning}",
            endpoint.name
        ));
    }
}

/// The quota, if it is configured; without a RunPod account there is nothing to limit.
fn account_workers_max(config: &Config) -> Option<u32> {
    config.runpod.as_ref()?.max_workers
}

fn guard(config: &Config) -> GuardSpec {
    config
        .runpod
        .as_ref()
        .map_or_else(GuardSpec::default, |runpod| GuardSpec {
            after: runpod.guard_after,
            unguarded_min: runpod.unguarded_min,
        })
}

fn device_spec(id: DeviceId, device: &SelectedDevice, watts: Option<u32>) -> DeviceSpec {
    DeviceSpec {
        id,
        name: device.name.clone(),
        memory_bytes: device.memory_bytes.unwrap_or(0),
        watts,
        uuid: device.uuid.clone(),
    }
}

fn schedule(schedule: &Schedule, loaded: &Loaded) -> overspill_core::schedule::Schedule {
    let zone = schedule.time_zone.as_ref();
    let (from, to) = schedule.minutes();
    overspill_core::schedule::Schedule {
        days: schedule.days(),
        from,
        to,
        min: schedule.min,
        lead: schedule.lead,
        calendar: zone.unwrap_or(&loaded.config.budget.time_zone).calendar(),
    }
}

fn scaler(endpoint: &Endpoint) -> ScalerSpec {
    let scaler = &endpoint.scaler;
    match scaler.policy {
        Policy::CostAware => ScalerSpec::CostAware(scaler.tuning()),
        Policy::QueueDelay => ScalerSpec::QueueDelay {
            delay: scaler.queue_delay(),
        },
        Policy::RequestCount => ScalerSpec::RequestCount {
            per_worker: scaler.request_count(),
        },
        Policy::Ladder => ScalerSpec::Ladder,
    }
}

/// RunPod's id of the only type that a pool's workers may get, or the name given where that is unknown.
fn single_gpu(types: &[String]) -> Option<String> {
    let [name] = types else {
        return None;
    };
    Some(known::gpu(name).map_or_else(|| name.clone(), |known| known.id.to_owned()))
}

/// The types of GPU that a pool's workers may get, by their short names.
fn gpu_label(types: &[String]) -> Option<String> {
    let names: Vec<&str> = types
        .iter()
        .map(|name| known::gpu(name).map_or(name.as_str(), |gpu| gpu.name))
        .collect();
    (!names.is_empty()).then(|| names.join(" or "))
}

/// The price of one worker: as configured, else that of the dearest of the types it may get. One type
/// without a price leaves the whole unknown.
fn price(pool: &CloudPool, types: &[String]) -> Option<RatePerHour> {
    if pool.price.is_some() {
        return pool.price;
    }
    let prices: Option<Vec<RatePerHour>> =
        types.iter().map(|name| known::gpu(name)?.price()).collect();
    let dearest = prices?.into_iter().max()?;
    Some(RatePerHour::new(dearest.per_hour().times(pool.gpu_count())))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Environment, Flags, Strictness, parse};
    use crate::gpu::{Gpu, GpuReadings};

    fn loaded(text: &str) -> Loaded {
        let environment = Environment::default();
        parse(
            text,
            "f",
            Path::new("/base"),
            &environment,
            &Flags::default(),
            Strictness::Check,
        )
        .unwrap()
    }

    fn list(uuids: &[&str]) -> CardList {
        let cards = (0..).zip(uuids).map(|(index, &uuid)| Gpu {
            index,
            uuid: uuid.to_owned(),
            name: "NVIDIA GeForce RTX 3090".to_owned(),
            mig_of: None,
            fault: None,
            readings: GpuReadings {
                memory_bytes: Some(24 << 30),
                ..GpuReadings::default()
            },
        });
        CardList::of(&cards.collect::<Vec<_>>())
    }

    #[test]
    fn the_example_becomes_what_is_active_of_it() {
        let example = loaded(include_str!("../../../overspill.example.toml"));
        let installation = install(&example, &list(&["a", "b"]), &Record::default());
        let topology = &installation.topology;
        let keys: Vec<Vec<&str>> = topology
            .endpoints
            .iter()
            .map(|endpoint| {
                endpoint
                    .pools
                    .iter()
                    .map(|pool| pool.key.as_str())
                    .collect()
            })
            .collect();
        assert_eq!(keys, [&["local-1", "cloud-1", "cloud-2"][..], &[], &[]]);
        let PoolKind::Command {
            devices,
            vram_bytes,
        } = &topology.endpoints[0].pools[0].kind
        else {
            panic!("a command pool");
        };
        assert_eq!((devices.len(), *vram_bytes), (2, Some(10_000_000_000)));
        let PoolKind::RunPod(spec) = &topology.endpoints[0].pools[2].kind else {
            panic!("a RunPod pool");
        };
        assert_eq!(spec.price.unwrap().per_hour().to_usd(3), "1.116");
        assert!(spec.manage);
        assert_eq!(topology.devices.len(), 2);
        assert_eq!(installation.commands[0].dir, Path::new("/base"));
        assert_eq!(installation.warnings.len(), 3, "three are not made yet");
        assert!(
            installation.warnings[0]
                .contains("endpoint sdxl, pool cloud-1-rtx-4090: its endpoint is"),
            "{:?}",
            installation.warnings
        );
    }

    #[test]
    fn kept_endpoints_are_a_pool_for_each_type_in_order_with_its_own_price() {
        let example = loaded(include_str!("../../../overspill.example.toml"));
        let mut kept = Record::default();
        for (gpu, id) in [("A40", "e40"), ("RTX 4090", "e4090")] {
            kept.found(&purpose("sdxl", "cloud-1", gpu), id);
        }
        let installation = install(&example, &list(&[]), &kept);
        let pools = installation.topology.endpoints[1].pools.iter();
        let pools: Vec<(&str, &str, String)> = pools
            .map(|pool| {
                let PoolKind::RunPod(spec) = &pool.kind else {
                    panic!("a RunPod pool");
                };
                let price = spec.price.unwrap().per_hour().to_usd(3);
                assert!(spec.manage);
                (pool.key.as_str(), spec.endpoint.as_str(), price)
            })
            .collect();
        assert_eq!(
            pools,
            [
                ("cloud-1-rtx-4090", "e4090", "1.116".to_owned()),
                ("cloud-1-a40", "e40", "1.224".to_owned())
            ],
            "what is not made yet is left out"
        );
    }

    #[test]
    fn several_gpus_cost_several_times_as_much() {
        let text = "[runpod]\n[[endpoint]]\nname = \"a\"\n[[endpoint.cloud]]\n\
            provider = \"runpod\"\nimage = \"i\"\ngpu = \"A40\"\ngpu_count = 2\n";
        let mut kept = Record::default();
        kept.found(&purpose("a", "cloud-1", "A40"), "e");
        let installation = install(&loaded(text), &list(&[]), &kept);
        let PoolKind::RunPod(spec) = &installation.topology.endpoints[0].pools[0].kind else {
            panic!("a RunPod pool");
        };
        assert_eq!(spec.price.unwrap().per_hour().to_usd(3), "2.448");
    }

    #[test]
    fn pools_share_devices_and_nominal_ones_have_no_memory() {
        let pool = "[[endpoint.local]]\ncommand = [\"w\"]\ndevices = 2\n";
        let text = format!("[[endpoint]]\nname = \"a\"\n{pool}[[endpoint]]\nname = \"b\"\n{pool}");
        let installation = install(&loaded(&text), &list(&[]), &Record::default());
        let devices = &installation.topology.devices;
        assert_eq!(devices.len(), 2);
        assert_eq!((devices[1].id, devices[1].memory_bytes), (DeviceId(1), 0));
        assert_eq!(installation.commands.len(), 2);
        let real = install(&loaded(&text), &list(&["a"]), &Record::default());
        assert_eq!(real.commands[0].devices, [DeviceId(0)]);
        assert_eq!(real.warnings.len(), 2);
        assert_eq!(
            real.warnings[0],
            "endpoint a, pool local-1: devices = 2, but the driver lists 1"
        );
    }

    #[test]
    fn a_price_that_nobody_knows_is_unknown() {
        let pool = |gpu: &str| {
            format!(
                "[runpod]\n[[endpoint]]\nname = \"a\"\n[[endpoint.cloud]]\nprovider = \"runpod\"\n\
                 id = \"x\"\n{gpu}"
            )
        };
        for (gpu, price) in [
            ("", None),
            ("gpu = [\"RTX 3090\", \"A40\"]", Some("1.224")),
            ("gpu = [\"RTX 3090\", \"RTX 5090\"]", None),
            ("gpu = \"RTX 5090\"\nprice = \"$0.9/h\"", Some("0.900")),
        ] {
            let installation = install(&loaded(&pool(gpu)), &list(&[]), &Record::default());
            let PoolKind::RunPod(spec) = &installation.topology.endpoints[0].pools[0].kind else {
                panic!("a RunPod pool");
            };
            let found = spec.price.map(|price| price.per_hour().to_usd(3));
            assert_eq!(found.as_deref(), price, "{gpu}");
            assert_eq!(installation.warnings.len(), usize::from(price.is_none()));
        }
    }
}
