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
    /// How fast it generates, in percent of an RTX 3090: a rough mean over image and language models that
    /// fit both, from published benchmarks. For where nothing was measured; never for money that is booked.
    pub speed_percent: u32,
    /// RunPod's price of a flex worker as of [`PRICES_AS_OF`], in thousandths of a dollar per hour;
    /// 0 where its table had none. Likewise below.
    flex_milli_usd_per_h: u32,
    /// The same of a worker that is always on, as last published (early 2026).
    active_milli_usd_per_h: u32,
    /// The same of a pod in the community cloud, as seen in spring 2026.
    pod_milli_usd_per_h: u32,
}

/// When the built-in prices were published.
pub const PRICES_AS_OF: &str = "2026-08";

impl KnownGpu {
    /// RunPod's price of a flex worker as of [`PRICES_AS_OF`]; for where neither the configuration
    /// nor RunPod's catalog says.
    #[must_use]
    pub fn price(&self) -> Option<RatePerHour> {
        rate(self.flex_milli_usd_per_h)
    }

    /// RunPod's price of a worker that is always on, as last published.
    #[must_use]
    pub fn active_price(&self) -> Option<RatePerHour> {
        rate(self.active_milli_usd_per_h)
    }

    /// RunPod's price of a pod in the community cloud, as last seen.
    #[must_use]
    pub fn pod_price(&self) -> Option<RatePerHour> {
        rate(self.pod_milli_usd_per_h)
    }
}

fn rate(milli_usd_per_h: u32) -> Option<RatePerHour> {
    let nanos = i64::from(milli_usd_per_h) * 1_000_000;
    (nanos > 0).then(|| RatePerHour::new(NanoUsd::from_nanos(nanos)))
}

/// Prices in thousandths of a dollar per hour: flex, active, pod.
type Milli = (u32, u32, u32);

const fn gpu_type(
    name: &'static str,
    id: &'static str,
    memory_gb: u32,
    speed_percent: u32,
    (flex_milli_usd_per_h, active_milli_usd_per_h, pod_milli_usd_per_h): Milli,
) -> KnownGpu {
    KnownGpu {
        name,
        id,
        memory_gb,
        speed_percent,
        flex_milli_usd_per_h,
        active_milli_usd_per_h,
        pod_milli_usd_per_h,
    }
}

/// All types, cheaper ones first.
#[rustfmt::skip]
pub const GPUS: &[KnownGpu] = &[
    gpu_type("RTX 2000 Ada", "NVIDIA RTX 2000 Ada Generation", 16, 45, (576, 396, 230)),
    gpu_type("RTX A4000", "NVIDIA RTX A4000", 16, 55, (576, 396, 170)),
    gpu_type("RTX A4500", "NVIDIA RTX A4500", 20, 68, (576, 396, 190)),
    gpu_type("RTX 4000 Ada", "NVIDIA RTX 4000 Ada Generation", 20, 72, (576, 396, 200)),
    gpu_type("RTX 3090", "NVIDIA GeForce RTX 3090", 24, 100, (684, 468, 220)),
    gpu_type("RTX 3090 Ti", "NVIDIA GeForce RTX 3090 Ti", 24, 110, (0, 0, 0)),
    gpu_type("RTX A5000", "NVIDIA RTX A5000", 24, 85, (684, 468, 220)),
    gpu_type("L4", "NVIDIA L4", 24, 60, (684, 468, 440)),
    gpu_type("A30", "NVIDIA A30", 24, 85, (0, 0, 0)),
    gpu_type("RTX 4090", "NVIDIA GeForce RTX 4090", 24, 185, (1_116, 756, 340)),
    gpu_type("RTX 5000 Ada", "NVIDIA RTX 5000 Ada Generation", 32, 130, (0, 0, 0)),
    gpu_type("RTX 5090", "NVIDIA GeForce RTX 5090", 32, 260, (0, 0, 690)),
    gpu_type("A40", "NVIDIA A40", 48, 95, (1_224, 864, 350)),
    gpu_type("RTX A6000", "NVIDIA RTX A6000", 48, 105, (1_224, 864, 330)),
    gpu_type("L40", "NVIDIA L40", 48, 155, (1_908, 1_332, 690)),
    gpu_type("L40S", "NVIDIA L40S", 48, 180, (1_908, 1_332, 790)),
    gpu_type("RTX 6000 Ada", "NVIDIA RTX 6000 Ada Generation", 48, 175, (1_908, 1_332, 740)),
    gpu_type("A100", "NVIDIA A100 80GB PCIe", 80, 155, (2_736, 2_160, 1_190)),
    gpu_type("A100 SXM", "NVIDIA A100-SXM4-80GB", 80, 165, (2_736, 2_160, 1_390)),
    gpu_type("RTX PRO 6000", "NVIDIA RTX PRO 6000 Blackwell Server Edition", 96, 275, (3_996, 0, 890)),
    gpu_type("H100 PCIe", "NVIDIA H100 PCIe", 80, 230, (4_176, 3_348, 1_990)),
    gpu_type("H100", "NVIDIA H100 80GB HBM3", 80, 290, (4_176, 3_348, 2_690)),
    gpu_type("H100 NVL", "NVIDIA H100 NVL", 94, 260, (0, 0, 0)),
    gpu_type("H200", "NVIDIA H200", 141, 310, (5_580, 4_464, 3_590)),
    gpu_type("B200", "NVIDIA B200", 180, 420, (8_640, 6_840, 5_980)),
    gpu_type("B300", "NVIDIA B300 SXM6 AC", 288, 450, (0, 0, 0)),
    gpu_type("MI300X", "AMD Instinct MI300X OAM", 192, 280, (0, 0, 0)),
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
        let active = gpu("RTX 4090").and_then(KnownGpu::active_price).unwrap();
        assert_eq!(active.per_hour().to_usd(3), "0.756");
    }

    #[test]
    fn every_known_data_center_has_the_form() {
        assert!(DATA_CENTERS.iter().all(|name| is_data_center_form(name)));
        assert!(!is_data_center_form("eu-ro-1"));
    }
}
