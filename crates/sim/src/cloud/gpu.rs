//! GPUs, their serverless pools and prices, and the data centres they stand in.
//!
//! Flex prices are those of RunPod's documentation of August 2026, active prices those of early 2026, pod
//! prices of spring 2026 (weak). RTX 5090 is not in the documented table; its figure is interpolated
//! between the pools beside it. A real bill is read from the catalog, never from here.

use overspill_core::money::{NanoUsd, RatePerHour};

/// The day of the flex prices.
pub const PRICES_AS_OF: &str = "2026-08-20";

/// A serverless pool.
#[derive(Debug, Clone, Copy)]
pub struct GpuPool {
    /// Id, as endpoints name it.
    pub id: &'static str,
    /// Flex price in nano-dollars per second and GPU.
    flex_nano_per_s: i64,
    /// Active price in nano-dollars per second and GPU.
    active_nano_per_s: i64,
}

impl GpuPool {
    /// Price of one GPU for workers started by demand.
    #[must_use]
    pub fn flex_rate(&self) -> RatePerHour {
        RatePerHour::new(NanoUsd::from_nanos(self.flex_nano_per_s * 3_600))
    }

    /// Price of one GPU for workers that are always on.
    #[must_use]
    pub fn active_rate(&self) -> RatePerHour {
        RatePerHour::new(NanoUsd::from_nanos(self.active_nano_per_s * 3_600))
    }
}

const fn pool(id: &'static str, flex_nano_per_s: i64, active_nano_per_s: i64) -> GpuPool {
    GpuPool {
        id,
        flex_nano_per_s,
        active_nano_per_s,
    }
}

/// All pools. Where no active price is known it equals the flex price.
pub const POOLS: [GpuPool; 11] = [
    pool("AMPERE_16", 160_000, 110_000),
    pool("AMPERE_24", 190_000, 130_000),
    pool("ADA_24", 310_000, 210_000),
    pool("ADA_32_PRO", 440_000, 440_000),
    pool("AMPERE_48", 340_000, 240_000),
    pool("ADA_48_PRO", 530_000, 370_000),
    pool("AMPERE_80", 760_000, 600_000),
    pool("ADA_80_PRO", 1_160_000, 930_000),
    pool("BLACKWELL_96", 1_110_000, 1_110_000),
    pool("HOPPER_141", 1_550_000, 1_240_000),
    pool("BLACKWELL_180", 2_400_000, 1_900_000),
];

/// The pool of that id.
#[must_use]
pub fn pool_of(id: &str) -> Option<&'static GpuPool> {
    POOLS.iter().find(|pool| pool.id == id)
}

/// A GPU type of the catalog.
#[derive(Debug, Clone, Copy)]
pub struct Gpu {
    /// Exact id.
    pub id: &'static str,
    /// Short name.
    pub name: &'static str,
    /// Serverless pool.
    pub pool: Option<&'static str>,
    /// Memory in GB.
    pub memory_gb: u32,
    /// Pod price in cents per hour.
    pub pod_cents_per_h: u32,
}

const fn gpu(
    id: &'static str,
    name: &'static str,
    pool: &'static str,
    memory_gb: u32,
    pod_cents_per_h: u32,
) -> Gpu {
    Gpu {
        id,
        name,
        pool: Some(pool),
        memory_gb,
        pod_cents_per_h,
    }
}

/// GPU types, the first of a pool being the one its workers get first.
pub const GPUS: [Gpu; 23] = [
    gpu("NVIDIA RTX A4000", "RTX A4000", "AMPERE_16", 16, 17),
    gpu("NVIDIA RTX A4500", "RTX A4500", "AMPERE_16", 20, 19),
    gpu(
        "NVIDIA RTX 4000 Ada Generation",
        "RTX 4000 Ada",
        "AMPERE_16",
        20,
        20,
    ),
    gpu(
        "NVIDIA RTX 2000 Ada Generation",
        "RTX 2000 Ada",
        "AMPERE_16",
        16,
        23,
    ),
    gpu("NVIDIA L4", "L4", "AMPERE_24", 24, 44),
    gpu("NVIDIA RTX A5000", "RTX A5000", "AMPERE_24", 24, 22),
    gpu("NVIDIA GeForce RTX 3090", "RTX 3090", "AMPERE_24", 24, 22),
    gpu("NVIDIA GeForce RTX 4090", "RTX 4090", "ADA_24", 24, 34),
    gpu("NVIDIA GeForce RTX 5090", "RTX 5090", "ADA_32_PRO", 32, 69),
    gpu("NVIDIA RTX A6000", "RTX A6000", "AMPERE_48", 48, 33),
    gpu("NVIDIA A40", "A40", "AMPERE_48", 48, 35),
    gpu("NVIDIA L40", "L40", "ADA_48_PRO", 48, 69),
    gpu("NVIDIA L40S", "L40S", "ADA_48_PRO", 48, 79),
    gpu(
        "NVIDIA RTX 6000 Ada Generation",
        "RTX 6000 Ada",
        "ADA_48_PRO",
        48,
        74,
    ),
    gpu("NVIDIA A100 80GB PCIe", "A100 PCIe", "AMPERE_80", 80, 119),
    gpu("NVIDIA A100-SXM4-80GB", "A100 SXM", "AMPERE_80", 80, 139),
    gpu("NVIDIA H100 80GB HBM3", "H100 SXM", "ADA_80_PRO", 80, 269),
    gpu("NVIDIA H100 PCIe", "H100 PCIe", "ADA_80_PRO", 80, 199),
    gpu("NVIDIA H100 NVL", "H100 NVL", "ADA_80_PRO", 94, 259),
    gpu(
        "NVIDIA RTX PRO 6000 Blackwell Server Edition",
        "RTX PRO 6000",
        "BLACKWELL_96",
        96,
        89,
    ),
    gpu("NVIDIA H200", "H200 SXM", "HOPPER_141", 141, 359),
    gpu("NVIDIA B200", "B200", "BLACKWELL_180", 180, 598),
    Gpu {
        id: "NVIDIA GeForce RTX 3080",
        name: "RTX 3080",
        pool: None,
        memory_gb: 10,
        pod_cents_per_h: 17,
    },
];

/// Price of one hour of one virtual CPU in serverless, in nano-dollars.
pub const VCPU_NANO_PER_H: i64 = 40_000_000;

/// Memory that comes with a virtual CPU, in GB.
pub const RAM_GB_PER_VCPU: u32 = 2;

/// CPU flavors: id and name.
pub const CPU_FLAVORS: [(&str, &str); 4] = [
    ("cpu3c", "CPU3 Compute-Optimized"),
    ("cpu3g", "CPU3 General-Purpose"),
    ("cpu5c", "CPU5 Compute-Optimized"),
    ("cpu5g", "CPU5 General-Purpose"),
];

/// A data centre: id, place, part of the world.
#[derive(Debug, Clone, Copy)]
pub struct DataCenter {
    /// Id.
    pub id: &'static str,
    /// Place.
    pub name: &'static str,
    /// Part of the world, in the management API's words.
    pub region: &'static str,
}

const fn center(id: &'static str, name: &'static str, region: &'static str) -> DataCenter {
    DataCenter { id, name, region }
}

/// Where workers may be placed.
pub const DATA_CENTERS: [DataCenter; 14] = [
    center("EU-RO-1", "Romania", "EUROPE"),
    center("EU-CZ-1", "Czech Republic", "EUROPE"),
    center("EU-FR-1", "France", "EUROPE"),
    center("EU-NL-1", "Netherlands", "EUROPE"),
    center("EU-SE-1", "Sweden", "EUROPE"),
    center("EUR-IS-1", "Iceland", "EUROPE"),
    center("EUR-NO-1", "Norway", "EUROPE"),
    center("CA-MTL-1", "Canada", "NORTH_AMERICA"),
    center("US-CA-2", "California", "NORTH_AMERICA"),
    center("US-GA-1", "Georgia", "NORTH_AMERICA"),
    center("US-KS-2", "Kansas", "NORTH_AMERICA"),
    center("US-TX-3", "Texas", "NORTH_AMERICA"),
    center("OC-AU-1", "Australia", "OCEANIA"),
    center("AP-JP-1", "Japan", "ASIA"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_gpu_names_a_pool_that_exists_and_every_pool_has_a_gpu() {
        for gpu in &GPUS {
            assert!(
                gpu.pool.is_none_or(|id| pool_of(id).is_some()),
                "{}",
                gpu.id
            );
        }
        for pool in &POOLS {
            assert!(
                GPUS.iter().any(|gpu| gpu.pool == Some(pool.id)),
                "{}",
                pool.id
            );
        }
    }

    #[test]
    fn a_4090_costs_what_the_table_says() {
        let rate = pool_of("ADA_24").unwrap().flex_rate();
        assert_eq!(rate.per_hour().to_usd(3), "1.116");
    }
}
