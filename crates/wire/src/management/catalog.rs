//! What RunPod's catalog says of GPUs, CPUs and data centres.

use serde::{Deserialize, Serialize};

/// How much of something there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Availability {
    /// None to be had.
    None,
    /// Little.
    Low,
    /// Some.
    Medium,
    /// Plenty.
    High,
}

/// Prices of one GPU in USD per hour.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GpuPrice {
    /// Pod in the secure cloud.
    pub secure: f64,
    /// Pod in the community cloud.
    pub community: f64,
    /// Serverless, per GPU; absent when the GPU is in no pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serverless: Option<f64>,
}

/// Largest number of GPUs on one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxCount {
    /// Secure cloud.
    pub secure: u32,
    /// Community cloud.
    pub community: u32,
}

/// Availability of a thing under its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedAvailability {
    /// Id of the data centre, or of the GPU or CPU.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How much there is.
    pub availability: Availability,
}

/// Whether hosts with a CUDA version have room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CudaAvailability {
    /// `major.minor`.
    pub version: String,
    /// Room now.
    pub available: bool,
}

/// A GPU type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuType {
    /// Exact id (`NVIDIA GeForce RTX 4090`).
    pub id: String,
    /// Short name.
    pub name: String,
    /// Serverless pool; null when it is in none.
    #[serde(default)]
    pub pool: Option<String>,
    /// `NVIDIA`, `AMD` or `UNKNOWN`.
    pub manufacturer: String,
    /// Memory in GB.
    pub memory: u32,
    /// To be had in the secure cloud.
    pub secure: bool,
    /// To be had in the community cloud.
    pub community: bool,
    /// Prices.
    pub price: GpuPrice,
    /// Largest machine.
    pub max_count: MaxCount,
    /// Overall; only with `include=AVAILABILITY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability: Option<Availability>,
    /// Per data centre; only with `include=AVAILABILITY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_centers: Option<Vec<NamedAvailability>>,
    /// Per CUDA version; only with `include=AVAILABILITY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuda_versions: Option<Vec<CudaAvailability>>,
}

/// Answer of `GET /catalog/gpus`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GpuTypeList {
    /// All GPU types.
    pub gpus: Vec<GpuType>,
}

/// Bounds on virtual CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VcpuRange {
    /// Fewest.
    pub min: u32,
    /// Most.
    pub max: u32,
}

/// Prices of one virtual CPU in USD per hour.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CpuPrice {
    /// Pod.
    pub secure_per_vcpu: f64,
    /// Serverless.
    pub serverless_per_vcpu: f64,
}

/// A CPU flavor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CpuType {
    /// Id (`cpu3c`).
    pub id: String,
    /// Name.
    pub name: String,
    /// Group.
    pub group: String,
    /// How many virtual CPUs may be asked for.
    pub vcpu: VcpuRange,
    /// Memory per virtual CPU in GB.
    pub ram_gb_per_vcpu: f64,
    /// Prices.
    pub price: CpuPrice,
    /// Overall; only with `include=AVAILABILITY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability: Option<Availability>,
    /// Per data centre; only with `include=AVAILABILITY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_centers: Option<Vec<NamedAvailability>>,
}

/// Answer of `GET /catalog/cpus`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CpuTypeList {
    /// All CPU flavors.
    pub cpus: Vec<CpuType>,
}

/// A data centre.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DataCenter {
    /// Id (`EU-RO-1`); an open set.
    pub id: String,
    /// Name.
    pub name: String,
    /// Part of the world (`EUROPE`).
    pub region: String,
    /// Whether pods there may join the global network.
    pub global_network: bool,
    /// Kinds of network volumes (`STANDARD`, `HIGH_PERFORMANCE`).
    pub network_volume_types: Vec<String>,
    /// Certifications.
    pub compliance: Vec<String>,
    /// Per GPU; only with `include=GPU_AVAILABILITY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_availability: Option<Vec<NamedAvailability>>,
    /// Per CPU; only with `include=CPU_AVAILABILITY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_availability: Option<Vec<NamedAvailability>>,
}

/// Answer of `GET /catalog/datacenters`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DataCenterList {
    /// All data centres.
    pub data_centers: Vec<DataCenter>,
}
