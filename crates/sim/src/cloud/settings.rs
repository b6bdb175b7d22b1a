//! What an owner says of an endpoint: the part that calls change. What becomes of it is `endpoint.rs`.

use std::collections::BTreeMap;

use overspill_core::money::RatePerHour;

use super::dice::MsRange;

/// The name of the environment entry that says how many jobs a modelled worker runs at once.
pub const SLOTS_VARIABLE: &str = "OVERSPILL_SLOTS";

/// When the platform starts workers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ScalingRule {
    /// A job that waited so many milliseconds adds a worker.
    QueueDelayMs(u64),
    /// So many jobs, waiting or running, per worker.
    RequestCount(u32),
}

/// Whether stopped workers can be resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flash {
    /// No.
    #[default]
    Off,
    /// Yes.
    On,
    /// Yes, with priority.
    Priority,
}

/// The hardware of an endpoint's workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hardware {
    /// GPUs out of pools.
    Gpu {
        /// Pool ids; a worker gets a GPU out of any of them.
        pools: Vec<String>,
        /// GPU types taken out of the pools.
        excluded: Vec<String>,
        /// GPUs per worker.
        count: u32,
        /// CUDA versions a host may have.
        allowed_cuda: Vec<String>,
        /// Lowest CUDA version.
        min_cuda: Option<String>,
    },
    /// CPUs, in order of preference: flavor and number.
    Cpu(Vec<(String, u32)>),
}

/// Settings of an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointSettings {
    /// Name.
    pub name: String,
    /// Requests go straight to workers: no queue.
    pub is_load_balancer: bool,
    /// Hardware.
    pub hardware: Hardware,
    /// Workers that are always on.
    pub workers_min: u32,
    /// Most workers; 0 pauses the endpoint.
    pub workers_max: u32,
    /// How long a worker idles before it stops.
    pub idle_timeout_ms: u64,
    /// Scaling rule.
    pub scaling: ScalingRule,
    /// Execution time-out of a job.
    pub execution_timeout_ms: u64,
    /// Cold-start acceleration.
    pub flash: Flash,
    /// Data centres; empty means all.
    pub data_centers: Vec<String>,
    /// Network volumes.
    pub volumes: Vec<String>,
    /// Template.
    pub template: Option<String>,
    /// Container image.
    pub image: String,
    /// Command line.
    pub args: String,
    /// Container disk in GB.
    pub disk_gb: u32,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Ports.
    pub ports: Vec<String>,
    /// Registry credentials.
    pub registry: Option<String>,
}

impl Default for EndpointSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            is_load_balancer: false,
            hardware: Hardware::Gpu {
                pools: vec!["ADA_24".into()],
                excluded: Vec::new(),
                count: 1,
                allowed_cuda: Vec::new(),
                min_cuda: None,
            },
            workers_min: 0,
            workers_max: 3,
            idle_timeout_ms: 10_000,
            scaling: ScalingRule::QueueDelayMs(4_000),
            execution_timeout_ms: 300_000,
            flash: Flash::Off,
            data_centers: Vec::new(),
            volumes: Vec::new(),
            template: None,
            image: String::new(),
            args: String::new(),
            disk_gb: 20,
            env: BTreeMap::new(),
            ports: Vec::new(),
            registry: None,
        }
    }
}

impl EndpointSettings {
    /// Whether going from `self` to `new` replaces workers (a release) and not only limits.
    #[must_use]
    pub fn needs_release(&self, new: &Self) -> bool {
        self.hardware != new.hardware
            || self.data_centers != new.data_centers
            || self.volumes != new.volumes
            || self.template != new.template
            || self.image != new.image
            || self.args != new.args
            || self.disk_gb != new.disk_gb
            || self.env != new.env
            || self.ports != new.ports
            || self.registry != new.registry
    }
}

/// What only a modelled endpoint has: set by the emulator's own control calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Knobs {
    /// Jobs a worker runs at once; `None` follows the environment entry, else 1.
    pub slots: Option<u32>,
    /// Price of a worker, in place of the table's.
    pub price: Option<RatePerHour>,
    /// Start-up times, in place of the cloud's.
    pub cold_start: Option<MsRange>,
}
