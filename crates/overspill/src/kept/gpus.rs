//! One type of GPU in the words of RunPod's API: the pool it is in, less all other types of that pool.

use overspill_wire::management::catalog::GpuTypeList;

use crate::config::known;

/// RunPod's serverless pools and the types in them as of [`known::PRICES_AS_OF`]; for where the
/// catalog cannot be read.
const POOLS: &[(&str, &[&str])] = &[
    (
        "AMPERE_16",
        &[
            "NVIDIA RTX A4000",
            "NVIDIA RTX A4500",
            "NVIDIA RTX 4000 Ada Generation",
            "NVIDIA RTX 2000 Ada Generation",
        ],
    ),
    (
        "AMPERE_24",
        &["NVIDIA L4", "NVIDIA RTX A5000", "NVIDIA GeForce RTX 3090"],
    ),
    ("ADA_24", &["NVIDIA GeForce RTX 4090"]),
    ("ADA_32_PRO", &["NVIDIA GeForce RTX 5090"]),
    ("AMPERE_48", &["NVIDIA RTX A6000", "NVIDIA A40"]),
    (
        "ADA_48_PRO",
        &[
            "NVIDIA L40",
            "NVIDIA L40S",
            "NVIDIA RTX 6000 Ada Generation",
        ],
    ),
    (
        "AMPERE_80",
        &["NVIDIA A100 80GB PCIe", "NVIDIA A100-SXM4-80GB"],
    ),
    (
        "ADA_80_PRO",
        &[
            "NVIDIA H100 80GB HBM3",
            "NVIDIA H100 PCIe",
            "NVIDIA H100 NVL",
        ],
    ),
    (
        "BLACKWELL_96",
        &["NVIDIA RTX PRO 6000 Blackwell Server Edition"],
    ),
    ("HOPPER_141", &["NVIDIA H200"]),
    ("BLACKWELL_180", &["NVIDIA B200"]),
];

/// Types of GPU by pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    /// Exact id and pool; types that are in no serverless pool are left out.
    types: Vec<(String, String)>,
    /// Whether RunPod said so, rather than the built-in table.
    pub is_live: bool,
}

/// How RunPod is asked for one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The pool it is in.
    pub pool: String,
    /// All other types of that pool, by exact id, in order.
    pub excluded: Vec<String>,
}

impl Catalog {
    /// The built-in table.
    #[must_use]
    pub fn built_in() -> Self {
        let pairs = |(pool, ids): &(&str, &[&str])| {
            let pool = (*pool).to_owned();
            ids.iter()
                .map(move |id| ((*id).to_owned(), pool.clone()))
                .collect::<Vec<_>>()
        };
        Self {
            types: POOLS.iter().flat_map(pairs).collect(),
            is_live: false,
        }
    }

    /// What RunPod's catalog says.
    #[must_use]
    pub fn of(list: &GpuTypeList) -> Self {
        let types = list.gpus.iter();
        let pairs = types.filter_map(|gpu| Some((gpu.id.clone(), gpu.pool.clone()?)));
        Self {
            types: pairs.collect(),
            is_live: true,
        }
    }

    /// How to ask for the type that a person calls `name`; `None` when it is in no pool.
    #[must_use]
    pub fn select(&self, name: &str) -> Option<Selection> {
        let id = known::gpu(name).map_or(name, |gpu| gpu.id);
        let (id, pool) = self.types.iter().find(|(known, _)| known == id)?;
        let others = self
            .types
            .iter()
            .filter(|(other, in_pool)| in_pool == pool && other != id);
        let mut excluded: Vec<String> = others.map(|(other, _)| other.clone()).collect();
        excluded.sort();
        Some(Selection {
            pool: pool.clone(),
            excluded,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_its_pool_less_the_others() {
        let catalog = Catalog::built_in();
        let a40 = catalog.select("A40").unwrap();
        assert_eq!(a40.pool, "AMPERE_48");
        assert_eq!(a40.excluded, ["NVIDIA RTX A6000"]);
        assert_eq!(catalog.select("rtx4090").unwrap().excluded, [""; 0]);
        assert_eq!(catalog.select("MI300X"), None);
    }

    #[test]
    fn every_priced_type_of_the_built_in_list_is_in_a_pool() {
        let catalog = Catalog::built_in();
        for gpu in known::GPUS.iter().filter(|gpu| gpu.price().is_some()) {
            assert!(catalog.select(gpu.name).is_some(), "{}", gpu.name);
        }
    }

    #[test]
    fn the_emulated_catalog_and_the_built_in_table_agree() {
        let built_in = Catalog::built_in();
        for gpu in overspill_sim::cloud::gpu::GPUS {
            let pool = built_in.select(gpu.id).map(|found| found.pool);
            assert_eq!(pool.as_deref(), gpu.pool, "{}", gpu.id);
        }
    }
}
