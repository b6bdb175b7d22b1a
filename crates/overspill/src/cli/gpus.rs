//! `overspill gpus`: the cards of this machine, the types that can be rented, and which of them serves an
//! endpoint's jobs for the least money.

use std::time::Duration;

use clap::Args;
use overspill_core::time::{DurationMs, Timestamp};
use serde::Deserialize;
use serde_json::json;

use crate::catalog::{Catalog, Offer, cache};
use crate::config::units::{format_rate, parse_duration};
use crate::config::{Flags, Strictness};
use crate::gpu::{Gpu, detect};
use crate::pool::runpod::account::Connection;
use crate::pool::runpod::clock::SystemClock;

use super::Context;
use super::client::segment;
use super::error::CommandError;
use super::jobs::malformed;
use super::output::{inert, note};

/// How long RunPod is waited for; what is kept, or the built-in table, serves as well.
const PATIENCE: Duration = Duration::from_secs(10);

/// List local cards, and cloud GPU types with memory, price and availability
///
/// With a RunPod key in the configuration or RUNPOD_API_KEY, prices and availability are RunPod's
/// own, kept in the data folder for six hours; else those of the dated built-in table. An endpoint's
/// `price` goes before both. `--for` compares the types by what a job of an endpoint really cost on
/// each, cold starts and idle workers included, and names the cheapest.
///
/// A card that falls off, at which its driver fails or hangs, whose memory makes errors that cannot be
/// corrected, or that does not give a dead worker's memory back, is quarantined by the running server:
/// its jobs go elsewhere. It returns by itself once it is well; `--return` does it now.
#[derive(Debug, Args)]
pub struct GpusArgs {
    /// Only the cards of this machine
    #[arg(long, conflicts_with = "cloud")]
    local: bool,
    /// Only what can be rented
    #[arg(long)]
    cloud: bool,
    /// Compare the types for this endpoint, by the running server's own history
    #[arg(long = "for", value_name = "ENDPOINT", conflicts_with_all = ["local", "cloud"])]
    endpoint: Option<String>,
    /// How far back its history counts
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = parse_duration, requires = "endpoint")]
    since: DurationMs,
    /// Let the running server use this quarantined card again: its index there, or its UUID
    #[arg(long = "return", value_name = "CARD", conflicts_with_all = ["local", "cloud", "endpoint"])]
    returned: Option<String>,
    /// Do not ask RunPod: what is kept, else the built-in table
    #[arg(long)]
    offline: bool,
}

/// Runs the command.
///
/// # Errors
/// When stdout cannot be written; with `--for` when the server is out of reach or knows no such endpoint. A
/// driver that fails, or RunPod, is a warning.
pub async fn run(args: &GpusArgs, context: &Context) -> Result<(), CommandError> {
    if let Some(endpoint) = &args.endpoint {
        return compare(endpoint, args.since, context).await;
    }
    if let Some(card) = &args.returned {
        return give_back(card, context).await;
    }
    let quarantined = if args.cloud {
        Vec::new()
    } else {
        quarantined(context).await
    };
    let (local, fault) = match detect() {
        _ if args.cloud => (Vec::new(), None),
        Ok(gpus) => (gpus, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let catalog = if args.local {
        Catalog::built_in()
    } else {
        catalog(context, args.offline).await
    };
    let cloud: &[Offer] = if args.local { &[] } else { &catalog.gpus };
    if context.output.is_json() {
        return context.output.json(&json!({
            "local": local,
            "driver_fault": fault,
            "quarantined": quarantined.iter().map(Card::shape).collect::<Vec<_>>(),
            "cloud": cloud,
            "prices_from": catalog.source,
            "prices_as_of": catalog.as_of,
        }));
    }
    if let Some(fault) = &fault {
        note(&format!("warning: {fault}"));
    }
    if !args.cloud {
        if local.is_empty() && fault.is_some() {
            note("which cards this machine has is not known");
        } else if local.is_empty() {
            note("no GPU driver on this machine; devices = 1 in a pool makes one nominal device");
        } else {
            context
                .output
                .table(LOCAL_HEADINGS, local.iter().map(local_row).collect())?;
        }
        for card in &quarantined {
            note(&format!(
                "card {} ({}) is quarantined, no job goes there: {}; `overspill gpus --return {}` puts it \
                 back now",
                card.id,
                inert(&card.name),
                inert(&card.quarantine.detail),
                card.id
            ));
        }
    }
    if !args.local {
        if !local.is_empty() {
            context.output.text("")?;
        }
        context
            .output
            .table(CLOUD_HEADINGS, cloud.iter().map(cloud_row).collect())?;
        note(&match catalog.source {
            "runpod" => format!("prices: RunPod's catalog, as of {}", catalog.as_of),
            _ => format!("prices: built-in table of {}", catalog.as_of),
        });
    }
    Ok(())
}

/// A card that the running server must not use; unknown fields are passed over.
#[derive(Debug, Deserialize)]
struct Card {
    id: u32,
    name: String,
    quarantine: QuarantineView,
}

#[derive(Debug, Deserialize)]
struct QuarantineView {
    fault: String,
    detail: String,
    since_ms: i64,
}

impl Card {
    fn shape(&self) -> serde_json::Value {
        json!({
            "id": self.id,
            "name": self.name,
            "fault": self.quarantine.fault,
            "detail": self.quarantine.detail,
            "since_ms": self.quarantine.since_ms,
        })
    }
}

/// The quarantined cards of the running server; none where there is no server, or it may not be asked.
async fn quarantined(context: &Context) -> Vec<Card> {
    let Ok(client) = context.client() else {
        return Vec::new();
    };
    let Ok(answer) = client.get("/api/v1/overview").await else {
        return Vec::new();
    };
    let devices = answer["devices"].as_array().into_iter().flatten();
    devices
        .filter(|device| !device["quarantine"].is_null())
        .filter_map(|device| Card::deserialize(device).ok())
        .collect()
}

async fn give_back(card: &str, context: &Context) -> Result<(), CommandError> {
    let path = format!("/api/v1/devices/{}/return", segment(card));
    let answer = context.client()?.post(&path, &json!({})).await?;
    if context.output.is_json() {
        return context.output.json(&answer);
    }
    context
        .output
        .text(&format!("card {} takes jobs again", answer["device"]))
}

/// RunPod's list where a key is there and it answers, else what is kept, else the built-in table.
async fn catalog(context: &Context, offline: bool) -> Catalog {
    let Ok((_, loaded)) = context.load_config(&Flags::default(), Strictness::Check) else {
        return Catalog::built_in();
    };
    let runpod = loaded.config.runpod.as_ref();
    let access = runpod.and_then(|runpod| runpod.access(&context.environment).ok());
    let Some((access, key)) = access.and_then(|access| {
        let key = access.api_key.clone()?;
        Some((access, key))
    }) else {
        return Catalog::built_in();
    };
    let url = access.management_url.as_str();
    let data_dir = &loaded.config.data_dir;
    let now = Timestamp::from_millis(jiff::Timestamp::now().as_millisecond());
    let kept = cache::load(data_dir, url);
    if let Some(kept) = kept.as_ref().filter(|kept| offline || !kept.is_stale(now)) {
        return kept.catalog();
    }
    let old = || {
        kept.as_ref()
            .map_or_else(Catalog::built_in, cache::Kept::catalog)
    };
    if offline {
        return old();
    }
    let clock = std::sync::Arc::new(SystemClock::start());
    let connection = Connection::new(&key, None, Some(url), "overspill-gpus", clock);
    let Ok(connection) = connection else {
        return old();
    };
    let asked = tokio::time::timeout(PATIENCE, crate::catalog::fetch(&connection.management));
    match asked.await {
        Ok(Ok(list)) => {
            let kept = cache::Kept {
                at: now,
                management_url: url.to_owned(),
                list,
            };
            if data_dir.is_dir() {
                // Only a cache: without it RunPod is asked again the next time.
                let _ = cache::store(data_dir, &kept);
            }
            kept.catalog()
        }
        Ok(Err(error)) => {
            note(&format!(
                "warning: RunPod's catalog cannot be read: {error}"
            ));
            old()
        }
        Err(_) => {
            note("warning: RunPod's catalog did not come in time");
            old()
        }
    }
}

/// The server's comparison; unknown fields are passed over.
#[derive(Debug, Deserialize)]
struct ComparisonView {
    rows: Vec<RowView>,
    reason: String,
    #[serde(default)]
    worth_trying: Option<String>,
    samples_min: u64,
}

#[derive(Debug, Deserialize)]
struct RowView {
    name: String,
    memory_gb: u32,
    price_usd_per_h: Option<String>,
    jobs: u64,
    seconds_per_job: Option<f64>,
    usd_per_job: Option<String>,
    cold_start_percent: Option<u32>,
    idle_percent: Option<u32>,
    basis: String,
    may_not_fit: bool,
    is_recommended: bool,
}

async fn compare(endpoint: &str, since: DurationMs, context: &Context) -> Result<(), CommandError> {
    let path = format!(
        "/api/v1/gpus?for={}&since={}s",
        segment(endpoint),
        since.as_millis() / 1_000
    );
    let answer = context.client()?.get(&path).await?;
    if context.output.is_json() {
        return context.output.json(&answer);
    }
    let found = ComparisonView::deserialize(&answer).map_err(malformed)?;
    let rows = found.rows.iter().map(compared_row).collect();
    context.output.table(COMPARED_HEADINGS, rows)?;
    note(&found.reason);
    if let Some(name) = found.worth_trying {
        note(&format!(
            "{name} looks clearly cheaper by the relative speeds of the built-in table; nothing was measured on \
             it: try it with a second [[endpoint.cloud]] of max = 1"
        ));
    }
    if found.rows.iter().any(|row| row.basis == "estimate") {
        note(&format!(
            "~: an estimate, for want of {} jobs on that type; *: it may have too little memory",
            found.samples_min
        ));
    }
    Ok(())
}

const COMPARED_HEADINGS: &[&str] = &[
    "TYPE", ">MEMORY", ">PRICE", ">JOBS", ">S/JOB", ">$/JOB", ">STARTS", ">IDLE", "",
];

fn compared_row(row: &RowView) -> Vec<String> {
    let sign = if row.basis == "estimate" { "~" } else { "" };
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let percent = |part: Option<u32>| or_dash(part.map(|part| format!("{part} %")));
    let name = if row.may_not_fit {
        format!("{}*", row.name)
    } else {
        row.name.clone()
    };
    vec![
        name,
        format!("{} GB", row.memory_gb),
        or_dash(
            row.price_usd_per_h
                .as_ref()
                .map(|price| format!("${price}/h")),
        ),
        row.jobs.to_string(),
        or_dash(
            row.seconds_per_job
                .map(|seconds| format!("{sign}{seconds:.1}")),
        ),
        or_dash(
            row.usd_per_job
                .as_ref()
                .map(|cost| format!("{sign}${cost}")),
        ),
        percent(row.cold_start_percent),
        percent(row.idle_percent),
        if row.is_recommended {
            "recommended"
        } else {
            ""
        }
        .to_owned(),
    ]
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
    let name = match (&gpu.fault, &gpu.mig_of) {
        (Some(fault), _) => format!("{} ({fault})", gpu.name),
        (None, Some(_)) => format!("{} (MIG)", gpu.name),
        (None, None) => gpu.name.clone(),
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

const CLOUD_HEADINGS: &[&str] = &[
    "TYPE",
    ">MEMORY",
    ">PRICE",
    ">ACTIVE",
    ">SPEED",
    "THERE IS",
    "RUNPOD ID",
];

fn cloud_row(offer: &Offer) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        offer.name.clone(),
        format!("{} GB", offer.memory_gb),
        or_dash(offer.flex.map(format_rate)),
        or_dash(offer.active.map(format_rate)),
        or_dash(offer.speed_percent.map(|percent| format!("{percent} %"))),
        there_is(offer),
        offer.id.clone(),
    ]
}

/// The data centers that have most of it, as far as a line allows.
fn there_is(offer: &Offer) -> String {
    use overspill_wire::management::catalog::Availability;
    const SHOWN: usize = 3;
    let Some(overall) = offer.availability else {
        return "-".to_owned();
    };
    let word = match overall {
        Availability::None => return "none".to_owned(),
        Availability::Low => "low",
        Availability::Medium => "medium",
        Availability::High => "high",
    };
    let has = |place: &&crate::catalog::Place| place.availability > Availability::None;
    let places = offer.data_centers.iter().filter(has);
    let names: Vec<&str> = places.map(|place| place.id.as_str()).collect();
    let more = names.len().saturating_sub(SHOWN);
    let shown = names[..names.len().min(SHOWN)].join(" ");
    match (names.is_empty(), more) {
        (true, _) => word.to_owned(),
        (_, 0) => format!("{word}: {shown}"),
        _ => format!("{word}: {shown} +{more}"),
    }
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
            fault: None,
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
