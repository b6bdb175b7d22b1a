//! `overspill gpus`: the cards of this machine, and the types that can be rented.

use clap::Args;
use serde_json::{Value as Json, json};

use crate::config::known::{GPUS, KnownGpu, PRICES_AS_OF};
use crate::config::units::{format_money, format_rate};
use crate::gpu::{Gpu, detect};

use super::Context;
use super::error::CommandError;
use super::output::note;

/// List local cards, and cloud GPU types with memory and price
///
/// Prices are those of the built-in table; an endpoint's `price` and RunPod's own list go before
/// them.
#[derive(Debug, Args)]
pub struct GpusArgs {
    /// Only the cards of this machine
    #[arg(long, conflicts_with = "cloud")]
    local: bool,
    /// Only what can be rented
    #[arg(long)]
    cloud: bool,
}

/// Runs the command.
///
/// # Errors
/// When stdout cannot be written. A driver that fails is a warning: the cloud types do not need it.
pub fn run(args: &GpusArgs, context: &Context) -> Result<(), CommandError> {
    let (local, fault) = match detect() {
        _ if args.cloud => (Vec::new(), None),
        Ok(gpus) => (gpus, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let cloud: &[KnownGpu] = if args.local { &[] } else { GPUS };
    if context.output.is_json() {
        return context.output.json(&json!({
            "local": local,
            "driver_fault": fault,
            "cloud": cloud.iter().map(cloud_json).collect::<Vec<_>>(),
            "prices_as_of": PRICES_AS_OF,
        }));
    }
    if let Some(fault) = fault {
        note(&format!("warning: {fault}"));
    }
    if !args.cloud {
        if local.is_empty() {
            note("no GPU driver on this machine; devices = 1 in a pool makes one nominal device");
        } else {
            context
                .output
                .table(LOCAL_HEADINGS, local.iter().map(local_row).collect())?;
        }
    }
    if !args.local {
        if !local.is_empty() {
            context.output.text("")?;
        }
        context
            .output
            .table(CLOUD_HEADINGS, cloud.iter().map(cloud_row).collect())?;
        note(&format!(
            "prices: RunPod flex workers, built-in table of {PRICES_AS_OF}"
        ));
    }
    Ok(())
}

const LOCAL_HEADINGS: &[&str] = &[
    ">INDEX",
    "CARD",
    ">MEMORY",
    ">USED",
    ">BUSY",
    ">TEMP",
    ">POWER",
    ">PROCESSES",
    "UUID",
];

fn local_row(gpu: &Gpu) -> Vec<String> {
    let readings = &gpu.readings;
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let gib = |bytes: Option<u64>| or_dash(bytes.map(tenths_of_gib));
    let name = if gpu.mig_of.is_some() {
        format!("{} (MIG)", gpu.name)
    } else {
        gpu.name.clone()
    };
    vec![
        gpu.index.to_string(),
        name,
        gib(readings.memory_bytes),
        gib(readings.memory_used_bytes),
        or_dash(readings.busy_percent.map(|percent| format!("{percent} %"))),
        or_dash(
            readings
                .temperature_c
                .map(|degrees| format!("{degrees} °C")),
        ),
        or_dash(
            readings
                .power_mw
                .map(|power| format!("{} W", power / 1_000)),
        ),
        or_dash(
            readings
                .processes
                .as_ref()
                .map(|processes| processes.len().to_string()),
        ),
        gpu.uuid.clone(),
    ]
}

/// Bytes as `23.6 GiB`.
fn tenths_of_gib(bytes: u64) -> String {
    let tenths = u128::from(bytes) * 10 / (1 << 30);
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

const CLOUD_HEADINGS: &[&str] = &["TYPE", ">MEMORY", ">PRICE", "RUNPOD ID"];

fn cloud_row(gpu: &KnownGpu) -> Vec<String> {
    vec![
        gpu.name.to_owned(),
        format!("{} GB", gpu.memory_gb),
        gpu.price().map_or_else(|| "-".to_owned(), format_rate),
        gpu.id.to_owned(),
    ]
}

fn cloud_json(gpu: &KnownGpu) -> Json {
    let price = gpu
        .price()
        .map(|price| format_money(price.per_hour()).replace('$', ""));
    json!({
        "name": gpu.name, "id": gpu.id, "memory_gb": gpu.memory_gb, "price_usd_per_h": price,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::GpuReadings;

    #[test]
    fn missing_readings_are_dashes() {
        let mut gpu = Gpu {
            index: 0,
            uuid: "GPU-1".to_owned(),
            name: "NVIDIA GeForce RTX 3090".to_owned(),
            mig_of: None,
            readings: GpuReadings::default(),
        };
        assert_eq!(local_row(&gpu)[2..8], ["-"; 6]);
        gpu.readings = GpuReadings {
            memory_bytes: Some(25_769_803_776),
            memory_used_bytes: Some(1_181_116_006),
            busy_percent: Some(7),
            temperature_c: Some(41),
            power_mw: Some(28_400),
            uncorrected_memory_errors: None,
            processes: Some(Vec::new()),
        };
        assert_eq!(
            local_row(&gpu)[2..8],
            ["24.0 GiB", "1.0 GiB", "7 %", "41 °C", "28 W", "0"]
        );
    }
}
