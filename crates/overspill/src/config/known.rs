//! Names that the configuration may hold: GPU types and data centers, as RunPod published them in
//! August 2026. For suggestions, for the spelling that RunPod's API wants, and for prices where
//! neither the configuration nor RunPod's catalog gives one.

use overspill_core::money::{NanoUsd, RatePerHour};

use super::problem::nearest;

/// One type of GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownGpu {
    /// The short name that people write.
    pub name: &'static str,
    /// The id that RunPod's API uses.
    pub id: &'static str,
    /// Device memory in GB, as marketed.
    pub memory_gb: u32,
    /// RunPod's price of a flex worker as of [`PRICES_AS_OF`], in thousandths of a dollar per hour;
    /// 0 where its table had none.
    flex_milli_usd_per_h: u32,
}

/// When the built-in prices were published.
pub const PRICES_AS_OF: &str = "2026-08";

impl KnownGpu {
    /// RunPod's price of a flex worker as of [`PRICES_AS_OF`]; for where neither the configuration
    /// nor RunPod's catalog says.
    #[must_use]
    pub fn price(&self) -> Option<RatePerHour> {
        let nanos = i64::from(self.flex_milli_usd_per_h) * 1_000_000;
        (nanos > 0).then(|| RatePerHour::new(NanoUsd::from_nanos(nanos)))
    }
}

const fn gpu_type(
    name: &'static str,
    id: &'static str,
    memory_gb: u32,
    flex_milli_usd_per_h: u32,
) -> KnownGpu {
    KnownGpu {
        name,
        id,
        memory_gb,
        flex_milli_usd_per_h,
    }
}

/// All types, cheaper ones first.
pub const GPUS: &[KnownGpu] = &[
    gpu_type("RTX 2000 Ada", "NVIDIA RTX 2000 Ada Generation", 16, 576),
    gpu_type("RTX A4000", "NVIDIA RTX A4000", 16, 576),
    gpu_type("RTX A4500", "NVIDIA RTX A4500", 20, 576),
    gpu_type("RTX 4000 Ada", "NVIDIA RTX 4000 Ada Generation", 20, 576),
    gpu_type("RTX 3090", "NVIDIA GeForce RTX 3090", 24, 684),
    gpu_type("RTX 3090 Ti", "NVIDIA GeForce RTX 3090 Ti", 24, 0),
    gpu_type("RTX A5000", "NVIDIA RTX A5000", 24, 684),
    gpu_type("L4", "NVIDIA L4", 24, 684),
    gpu_type("A30", "NVIDIA A30", 24, 0),
    gpu_type("RTX 4090", "NVIDIA GeForce RTX 4090", 24, 1116),
    gpu_type("RTX 5000 Ada", "NVIDIA RTX 5000 Ada Generation", 32, 0),
    gpu_type("RTX 5090", "NVIDIA GeForce RTX 5090", 32, 0),
    gpu_type("A40", "NVIDIA A40", 48, 1224),
    gpu_type("RTX A6000", "NVIDIA RTX A6000", 48, 1224),
    gpu_type("L40", "NVIDIA L40", 48, 1908),
    gpu_type("L40S", "NVIDIA L40S", 48, 1908),
    gpu_type("RTX 6000 Ada", "NVIDIA RTX 6000 Ada Generation", 48, 1908),
    gpu_type("A100", "NVIDIA A100 80GB PCIe", 80, 2736),
    gpu_type("A100 SXM", "NVIDIA A100-SXM4-80GB", 80, 2736),
    gpu_type(
        "RTX PRO 6000",
        "NVIDIA RTX PRO 6000 Blackwell Server Edition",
        96,
        3996,
    ),
    gpu_type("H100 PCIe", "NVIDIA H100 PCIe", 80, 4176),
    gpu_type("H100", "NVIDIA H100 80GB HBM3", 80, 4176),
    gpu_type("H100 NVL", "NVIDIA H100 NVL", 94, 0),
    gpu_type("H200", "NVIDIA H200", 141, 5580),
    gpu_type("B200", "NVIDIA B200", 180, 8640),
    gpu_type("B300", "NVIDIA B300 SXM6 AC", 288, 0),
    gpu_type("MI300X", "AMD Instinct MI300X OAM", 192, 0),
];

/// Ids of data centers.
pub const DATA_CENTERS: &[&str] = &[
    "AP-JP-1", "CA-MTL-1", "CA-MTL-2", "CA-MTL-3", "EU-CZ-1", "EU-FR-1", "EU-NL-1", "EU-RO-1",
    "EU-SE-1", "EUR-IS-1", "EUR-IS-2", "EUR-IS-3", "EUR-NO-1", "OC-AU-1", "US-CA-2", "US-DE-1",
    "US-GA-1", "US-GA-2", "US-IL-1", "US-KS-2", "US-KS-3", "US-MD-1", "US-MO-1", "US-MO-2",
    "US-NC-1", "US-NC-2", "US-NE-1", "US-TX-1", "US-TX-3", "US-TX-4", "US-WA-1",
];

/// The type that `name` means: a short name or RunPod's id, whatever the case and spacing.
#[must_use]
pub fn gpu(name: &str) -> Option<&'static KnownGpu> {
    let wanted = folded(name);
    GPUS.iter()
        .find(|known| folded(known.name) == wanted || folded(known.id) == wanted)
}

/// The eight names nearest to `name`, joined.
pub(crate) fn gpus_near(name: &str) -> String {
    near(name, GPUS.iter().map(|known| known.name))
}

/// The eight data centers nearest to `name`, joined.
pub(crate) fn data_centers_near(name: &str) -> String {
    near(name, DATA_CENTERS.iter().copied())
}

/// Whether `name` has the form `EU-RO-1`.
pub(crate) fn is_data_center_form(name: &str) -> bool {
    let parts: Vec<&str> = name.split('-').collect();
    let letters = |part: &str| part.len() >= 2 && part.bytes().all(|b| b.is_ascii_uppercase());
    matches!(parts.as_slice(), [area, place, number]
        if letters(area) && letters(place) && !number.is_empty()
            && number.bytes().all(|b| b.is_ascii_digit()))
}

fn near<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> String {
    let mut left: Vec<&str> = known.collect();
    let likeness =
        |known: &str| strsim::normalized_damerau_levenshtein(&folded(name), &folded(known));
    left.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)));
    debug_assert!(
        nearest(left[0], left.iter().copied()).is_some(),
        "a name resembles itself"
    );
    left.truncate(8);
    left.join(", ")
}

fn folded(name: &str) -> String {
    let plain: String = name
        .to_lowercase()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    plain
        .replace("nvidia", "")
        .replace("geforce", "")
        .replace("generation", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_found_by_any_spelling() {
        for name in ["RTX 3090", "rtx3090", "NVIDIA GeForce RTX 3090"] {
            assert_eq!(gpu(name).map(|gpu| gpu.name), Some("RTX 3090"), "{name}");
        }
        assert_eq!(gpu("RTX 3091"), None);
        assert!(gpus_near("RTX 3091").starts_with("RTX 3090"));
    }

    #[test]
    fn built_in_prices_are_exact() {
        let price = gpu("RTX 4090").and_then(KnownGpu::price).unwrap();
        assert_eq!(price.per_hour().to_usd(3), "1.116");
        assert_eq!(gpu("A30").and_then(KnownGpu::price), None);
    }

    #[test]
    fn every_known_data_center_has_the_form() {
        assert!(DATA_CENTERS.iter().all(|name| is_data_center_form(name)));
        assert!(!is_data_center_form("eu-ro-1"));
    }
}
