//! `/v2/catalog…`: GPUs with prices and availability per data centre, CPUs, data centres.
//!
//! Availability is made up but steady: it follows from the names, so that two calls agree; a data centre in an
//! ordered outage has nothing.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use overspill_core::money::RatePerHour;
use overspill_sim::cloud::gpu::{
    self, CPU_FLAVORS, DATA_CENTERS, DataCenter as Center, GPUS, Gpu, RAM_GB_PER_VCPU,
    VCPU_NANO_PER_H,
};
use overspill_wire::management::catalog::{
    Availability, CpuPrice, CpuType, CpuTypeList, CudaAvailability, DataCenter, DataCenterList,
    GpuPrice, GpuType, GpuTypeList, MaxCount, NamedAvailability, VcpuRange,
};

use super::problem::Failure;
use crate::answer::ok;
use crate::state::Shared;

type Answer = Result<Response, Failure>;
type Params = HashMap<String, String>;

fn dollars(rate: RatePerHour) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "prices are far below 2^52 nano-dollars"
    )]
    let nanos = rate.per_hour().as_nanos() as f64;
    nanos / 1e9
}

/// Steady but uneven: a small hash of the two names.
fn availability(shared: &Arc<Shared>, thing: &str, center: &str) -> Availability {
    if shared.call(|model, now_ms| model.has_outage(now_ms, center)) {
        return Availability::None;
    }
    let hash = thing
        .bytes()
        .chain(center.bytes())
        .fold(17_u32, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(u32::from(byte))
        });
    match hash % 5 {
        0 => Availability::None,
        1 => Availability::Low,
        2 => Availability::Medium,
        _ => Availability::High,
    }
}

fn per_center(shared: &Arc<Shared>, thing: &str) -> Vec<NamedAvailability> {
    DATA_CENTERS
        .iter()
        .map(|center| NamedAvailability {
            id: center.id.to_owned(),
            name: center.name.to_owned(),
            availability: availability(shared, thing, center.id),
        })
        .filter(|center| center.availability != Availability::None)
        .collect()
}

fn best(centers: &[NamedAvailability]) -> Availability {
    centers
        .iter()
        .map(|center| center.availability)
        .max()
        .unwrap_or(Availability::None)
}

fn invalid(name: &str, text: &str, rule: &str) -> Failure {
    Failure::unprocessable(vec![format!("{name}: {text:?} is not {rule}")])
}

/// The words of a list parameter; an empty list has none.
fn words_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|word| !word.is_empty())
}

/// Refuses a parameter with a word that is not in `known`, without any, or (`include`) with one too many.
fn check_words(params: &Params, name: &str, known: &[&str]) -> Result<(), Failure> {
    let Some(text) = params.get(name) else {
        return Ok(());
    };
    let rule = format!("one of {}", known.join(", "));
    let mut words = text.split(',');
    if let Some(word) = words.find(|word| !known.contains(word)) {
        return Err(invalid(name, word, &rule));
    }
    if name == "include" && text.split(',').count() > known.len() {
        return Err(invalid(
            name,
            text,
            &format!("at most {} values", known.len()),
        ));
    }
    Ok(())
}

/// Refuses a number below `least`.
fn check_number(params: &Params, name: &str, least: u32) -> Result<(), Failure> {
    match params.get(name) {
        Some(text) if text.parse::<u32>().ok().is_none_or(|number| number < least) => Err(invalid(
            name,
            text,
            &format!("a whole number of at least {least}"),
        )),
        _ => Ok(()),
    }
}

/// Refuses what the calls for data centres do not know.
fn check_center_params(params: &Params) -> Result<(), Failure> {
    check_words(params, "include", &["GPU_AVAILABILITY", "CPU_AVAILABILITY"])?;
    check_words(params, "regions", &REGIONS)?;
    check_words(
        params,
        "networkVolumeTypes",
        &["STANDARD", "HIGH_PERFORMANCE"],
    )?;
    check_words(params, "compliance", &COMPLIANCE)?;
    check_words(params, "globalNetwork", &["true", "false"])
}

const REGIONS: [&str; 9] = [
    "NORTH_AMERICA",
    "SOUTH_AMERICA",
    "EUROPE",
    "ASIA",
    "MIDDLE_EAST",
    "AFRICA",
    "OCEANIA",
    "ANTARCTICA",
    "UNKNOWN",
];
const COMPLIANCE: [&str; 12] = [
    "GDPR",
    "ISO_IEC_27001",
    "ISO_14001",
    "PCI_DSS",
    "HITRUST",
    "SOC_1_TYPE_2",
    "SOC_2_TYPE_2",
    "SOC_3_TYPE_2",
    "ITAR",
    "FISMA_HIGH",
    "HIPAA",
    "RENEWABLE",
];

/// Whether availability is asked for; it needs the product it is for.
fn wants_availability(params: &Params, products: &[&str]) -> Result<bool, Failure> {
    check_words(params, "include", &["AVAILABILITY"])?;
    check_words(params, "product", products)?;
    check_words(params, "cloud", &["SECURE", "COMMUNITY"])?;
    check_number(params, "count", 1)?;
    check_number(params, "vcpuCount", 2)?;
    let wants = params.contains_key("include");
    let product = params.get("product");
    let filters = [
        "product",
        "count",
        "cloud",
        "countryCodes",
        "cudaVersions",
        "minCudaVersion",
    ];
    if !wants && let Some(name) = filters.iter().find(|name| params.contains_key(**name)) {
        return Err(Failure::bad_request(format!(
            "{name} is valid only with include=AVAILABILITY"
        )));
    }
    if wants && product.is_none() {
        return Err(Failure::bad_request(
            "include=AVAILABILITY requires product",
        ));
    }
    if params.contains_key("cudaVersions") && params.contains_key("minCudaVersion") {
        return Err(Failure::bad_request(
            "cudaVersions and minCudaVersion cannot be given together",
        ));
    }
    Ok(wants)
}

fn show_gpu(shared: &Arc<Shared>, found: &Gpu, wants_availability: bool) -> GpuType {
    let pod = f64::from(found.pod_cents_per_h) / 100.0;
    let centers = wants_availability.then(|| per_center(shared, found.id));
    GpuType {
        id: found.id.to_owned(),
        name: found.name.to_owned(),
        pool: found.pool.map(str::to_owned),
        manufacturer: "NVIDIA".into(),
        memory: found.memory_gb,
        secure: true,
        community: true,
        price: GpuPrice {
            secure: pod,
            community: pod,
            serverless: found
                .pool
                .and_then(gpu::pool_of)
                .map(|pool| dollars(pool.flex_rate())),
        },
        max_count: MaxCount {
            secure: 8,
            community: 4,
        },
        availability: centers.as_deref().map(best),
        data_centers: centers.filter(|centers| !centers.is_empty()),
        cuda_versions: wants_availability.then(|| {
            ["12.6", "12.8"]
                .map(|version| CudaAvailability {
                    version: version.into(),
                    available: true,
                })
                .to_vec()
        }),
    }
}

const GPU_PRODUCTS: [&str; 3] = ["POD", "CLUSTER", "SERVERLESS"];
const CPU_PRODUCTS: [&str; 2] = ["POD", "SERVERLESS"];

pub(super) async fn gpus(
    State(shared): State<Arc<Shared>>,
    Query(params): Query<Params>,
) -> Answer {
    let wants = wants_availability(&params, &GPU_PRODUCTS)?;
    let gpus = GPUS
        .iter()
        .map(|found| show_gpu(&shared, found, wants))
        .collect();
    Ok(ok(&GpuTypeList { gpus }))
}

pub(super) async fn gpu(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(params): Query<Params>,
) -> Answer {
    let wants = wants_availability(&params, &GPU_PRODUCTS)?;
    let found = GPUS
        .iter()
        .find(|gpu| gpu.id == id)
        .ok_or_else(Failure::not_found)?;
    Ok(ok(&show_gpu(&shared, found, wants)))
}

fn show_cpu(shared: &Arc<Shared>, id: &str, name: &str, wants_availability: bool) -> CpuType {
    let centers = wants_availability.then(|| per_center(shared, id));
    let price = dollars(RatePerHour::new(
        overspill_core::money::NanoUsd::from_nanos(VCPU_NANO_PER_H),
    ));
    CpuType {
        id: id.to_owned(),
        name: name.to_owned(),
        group: name.split(' ').next().unwrap_or(name).to_owned(),
        vcpu: VcpuRange { min: 2, max: 32 },
        ram_gb_per_vcpu: f64::from(RAM_GB_PER_VCPU),
        price: CpuPrice {
            secure_per_vcpu: price,
            serverless_per_vcpu: price,
        },
        availability: centers.as_deref().map(best),
        data_centers: centers.filter(|centers| !centers.is_empty()),
    }
}

pub(super) async fn cpus(
    State(shared): State<Arc<Shared>>,
    Query(params): Query<Params>,
) -> Answer {
    let wants = wants_availability(&params, &CPU_PRODUCTS)?;
    let cpus = CPU_FLAVORS
        .iter()
        .map(|(id, name)| show_cpu(&shared, id, name, wants))
        .collect();
    Ok(ok(&CpuTypeList { cpus }))
}

pub(super) async fn cpu(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(params): Query<Params>,
) -> Answer {
    let wants = wants_availability(&params, &CPU_PRODUCTS)?;
    let (id, name) = CPU_FLAVORS
        .iter()
        .find(|(known, _)| *known == id)
        .ok_or_else(Failure::not_found)?;
    Ok(ok(&show_cpu(&shared, id, name, wants)))
}

fn show_center(shared: &Arc<Shared>, center: &Center, params: &Params) -> DataCenter {
    let includes = params.get("include").map_or("", String::as_str);
    let named = |id: &str, name: &str| NamedAvailability {
        id: id.to_owned(),
        name: name.to_owned(),
        availability: availability(shared, id, center.id),
    };
    DataCenter {
        id: center.id.to_owned(),
        name: center.name.to_owned(),
        region: center.region.to_owned(),
        global_network: center.region != "OCEANIA",
        network_volume_types: vec!["STANDARD".into()],
        compliance: if center.region == "EUROPE" {
            vec!["GDPR".into()]
        } else {
            Vec::new()
        },
        gpu_availability: includes
            .contains("GPU_AVAILABILITY")
            .then(|| GPUS.iter().map(|gpu| named(gpu.id, gpu.name)).collect()),
        cpu_availability: includes.contains("CPU_AVAILABILITY").then(|| {
            CPU_FLAVORS
                .iter()
                .map(|(id, name)| named(id, name))
                .collect()
        }),
    }
}

fn is_in(params: &Params, name: &str, value: &str) -> bool {
    params
        .get(name)
        .is_none_or(|text| text.is_empty() || words_of(text).any(|word| word == value))
}

pub(super) async fn data_centers(
    State(shared): State<Arc<Shared>>,
    Query(params): Query<Params>,
) -> Answer {
    check_center_params(&params)?;
    let has_all = |name: &str, has: &[String]| {
        params
            .get(name)
            .is_none_or(|text| words_of(text).all(|word| has.iter().any(|h| h == word)))
    };
    let data_centers = DATA_CENTERS
        .iter()
        .filter(|center| is_in(&params, "regions", center.region))
        .map(|center| show_center(&shared, center, &params))
        .filter(|center| {
            has_all("networkVolumeTypes", &center.network_volume_types)
                && has_all("compliance", &center.compliance)
                && is_in(&params, "globalNetwork", &center.global_network.to_string())
        })
        .collect();
    Ok(ok(&DataCenterList { data_centers }))
}

pub(super) async fn data_center(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(params): Query<Params>,
) -> Answer {
    check_center_params(&params)?;
    let center = DATA_CENTERS
        .iter()
        .find(|center| center.id == id)
        .ok_or_else(Failure::not_found)?;
    Ok(ok(&show_center(&shared, center, &params)))
}
