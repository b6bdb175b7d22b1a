//! What GPU types can be rented: memory, prices, availability per data center.
//!
//! From RunPod's catalog where a key is there, kept in a file with its date ([`cache`]); else the dated
//! built-in table. The table also adds what the catalog does not say: prices of workers that are always on,
//! and how fast a type is thought to be. Money that is booked never rests on a speed.

pub mod cache;

use overspill_core::money::{NanoUsd, RatePerHour};
use overspill_core::time::Timestamp;
use overspill_wire::management::catalog::{Availability, GpuType, GpuTypeList};
use serde::Serialize;

use crate::config::known::{self, KnownGpu};
use crate::config::units::format_money;
use crate::pool::runpod::client::CloudError;
use crate::pool::runpod::management::Management;

/// Every type that can be rented.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Catalog {
    /// `runpod`, or `built_in`.
    pub source: &'static str,
    /// Of when it is: a moment, or the month of the built-in table.
    pub as_of: String,
    /// The types, cheaper ones first, those without a price last.
    pub gpus: Vec<Offer>,
}

/// A type of GPU.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Offer {
    /// The short name that people write.
    pub name: String,
    /// RunPod's id.
    pub id: String,
    /// Memory in GB.
    pub memory_gb: u32,
    /// Price of a worker that is started by demand; unknown is refused.
    #[serde(rename = "price_usd_per_h", serialize_with = "as_usd")]
    pub flex: Option<RatePerHour>,
    /// Price of a worker that is always on, as last published.
    #[serde(rename = "active_price_usd_per_h", serialize_with = "as_usd")]
    pub active: Option<RatePerHour>,
    /// Price of a pod in the community cloud.
    #[serde(rename = "pod_price_usd_per_h", serialize_with = "as_usd")]
    pub pod: Option<RatePerHour>,
    /// In percent of an RTX 3090, a rough figure; nothing for a type that the table does not know.
    pub speed_percent: Option<u32>,
    /// How much there is for serverless, where RunPod says.
    pub availability: Option<Availability>,
    /// The same per data center, those with most first.
    pub data_centers: Vec<Place>,
}

/// Availability in a data center.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// RunPod's id of it.
    pub id: String,
    /// How much there is.
    pub availability: Availability,
}

impl Default for Catalog {
    fn default() -> Self {
        Self::built_in()
    }
}

impl Catalog {
    /// The table in this binary.
    #[must_use]
    pub fn built_in() -> Self {
        let offer = |known: &KnownGpu| Offer {
            name: known.name.to_owned(),
            id: known.id.to_owned(),
            memory_gb: known.memory_gb,
            flex: known.price(),
            active: known.active_price(),
            pod: known.pod_price(),
            speed_percent: Some(known.speed_percent),
            availability: None,
            data_centers: Vec::new(),
        };
        Self::new(
            "built_in",
            known::PRICES_AS_OF.to_owned(),
            known::GPUS.iter().map(offer).collect(),
        )
    }

    /// What RunPod said at a moment.
    #[must_use]
    pub fn of_runpod(list: &GpuTypeList, at: Timestamp) -> Self {
        let as_of = jiff::Timestamp::from_millisecond(at.as_millis()).map_or_else(
            |_| String::new(),
            |at| at.round(jiff::Unit::Second).unwrap_or(at).to_string(),
        );
        Self::new("runpod", as_of, list.gpus.iter().map(offer_of).collect())
    }

    fn new(source: &'static str, as_of: String, mut gpus: Vec<Offer>) -> Self {
        gpus.sort_by(|a, b| {
            let key = |offer: &Offer| (offer.flex.is_none(), offer.flex, offer.memory_gb);
            key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
        });
        Self {
            source,
            as_of,
            gpus,
        }
    }

    /// The type that `name` means: a short name or RunPod's id, whatever the case and spacing.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Offer> {
        let id = known::gpu(name).map(|known| known.id);
        let is_it = |offer: &&Offer| {
            Some(offer.id.as_str()) == id
                || offer.id.eq_ignore_ascii_case(name)
                || offer.name.eq_ignore_ascii_case(name)
        };
        self.gpus.iter().find(is_it)
    }

    /// The price of a worker of a type: as the catalog says, else as the built-in table does.
    #[must_use]
    pub fn price_of(&self, name: &str) -> Option<RatePerHour> {
        let listed = self.find(name).and_then(|offer| offer.flex);
        listed.or_else(|| known::gpu(name)?.price())
    }
}

/// Asks RunPod.
///
/// # Errors
/// [`CloudError`].
pub async fn fetch(management: &Management) -> Result<GpuTypeList, CloudError> {
    management.gpus().await
}

fn offer_of(gpu: &GpuType) -> Offer {
    let known = known::GPUS.iter().find(|known| known.id == gpu.id);
    let mut data_centers: Vec<Place> = gpu
        .data_centers
        .iter()
        .flatten()
        .map(|place| Place {
            id: place.id.clone(),
            availability: place.availability,
        })
        .collect();
    data_centers
        .sort_by(|a, b| (b.availability, a.id.as_str()).cmp(&(a.availability, b.id.as_str())));
    Offer {
        name: known.map_or_else(|| gpu.name.clone(), |known| known.name.to_owned()),
        id: gpu.id.clone(),
        memory_gb: gpu.memory,
        flex: gpu.price.serverless.and_then(rate),
        active: known.and_then(KnownGpu::active_price),
        pod: rate(gpu.price.community),
        speed_percent: known.map(|known| known.speed_percent),
        availability: gpu.availability,
        data_centers,
    }
}

/// A price as RunPod writes it; nothing for what is none.
fn rate(usd_per_h: f64) -> Option<RatePerHour> {
    // Far above any price, and far below what an i64 holds.
    let is_price = usd_per_h.is_finite() && usd_per_h > 0.0 && usd_per_h < 1e6;
    #[expect(clippy::cast_possible_truncation, reason = "at most 1e15")]
    is_price.then(|| RatePerHour::new(NanoUsd::from_nanos((usd_per_h * 1e9).round() as i64)))
}

#[expect(clippy::ref_option, reason = "serde hands out references")]
fn as_usd<S: serde::Serializer>(
    price: &Option<RatePerHour>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match price {
        Some(price) => serializer.serialize_some(&usd(price.per_hour())),
        None => serializer.serialize_none(),
    }
}

/// Dollars as text, without their sign.
#[must_use]
pub fn usd(amount: NanoUsd) -> String {
    format_money(amount).replace('$', "")
}

#[cfg(test)]
mod tests {
    use overspill_wire::management::catalog::{GpuPrice, MaxCount, NamedAvailability};

    use super::*;

    pub(super) fn list() -> GpuTypeList {
        let gpu = |id: &str, name: &str, serverless| GpuType {
            id: id.to_owned(),
            name: name.to_owned(),
            pool: None,
            manufacturer: "NVIDIA".to_owned(),
            memory: 24,
            secure: true,
            community: true,
            price: GpuPrice {
                secure: 0.5,
                community: 0.34,
                serverless,
            },
            max_count: MaxCount {
                secure: 8,
                community: 8,
            },
            availability: Some(Availability::Medium),
            data_centers: Some(vec![
                NamedAvailability {
                    id: "EU-CZ-1".to_owned(),
                    name: "Czech Republic".to_owned(),
                    availability: Availability::Low,
                },
                NamedAvailability {
                    id: "EU-RO-1".to_owned(),
                    name: "Romania".to_owned(),
                    availability: Availability::High,
                },
            ]),
            cuda_versions: None,
        };
        GpuTypeList {
            gpus: vec![
                gpu("NVIDIA RTX 9090", "RTX 9090", None),
                gpu("NVIDIA GeForce RTX 4090", "RTX 4090 PRO", Some(0.99)),
            ],
        }
    }

    #[test]
    fn the_usual_cards_have_their_figures_without_a_key() {
        let catalog = Catalog::built_in();
        for (name, memory_gb, price) in [
            ("RTX 3090", 24, "0.684"),
            ("RTX 4090", 24, "1.116"),
            ("A40", 48, "1.224"),
            ("A100", 80, "2.736"),
        ] {
            let offer = catalog.find(name).unwrap();
            assert_eq!(offer.memory_gb, memory_gb, "{name}");
            assert_eq!(usd(offer.flex.unwrap().per_hour()), price, "{name}");
            assert!(offer.active.unwrap() < offer.flex.unwrap(), "{name}");
        }
        assert_eq!(
            (catalog.source, catalog.as_of.as_str()),
            ("built_in", "2026-08")
        );
        assert!(
            catalog
                .gpus
                .is_sorted_by_key(|offer| (offer.flex.is_none(), offer.flex))
        );
    }

    #[test]
    fn runpods_list_goes_before_the_table_and_keeps_its_date() {
        let catalog = Catalog::of_runpod(&list(), Timestamp::from_millis(1_795_000_000_000));
        assert_eq!(catalog.source, "runpod");
        assert!(catalog.as_of.starts_with("2026-11-"), "{}", catalog.as_of);
        let offer = catalog.find("rtx4090").unwrap();
        assert_eq!(
            (offer.name.as_str(), usd(offer.flex.unwrap().per_hour())),
            ("RTX 4090", "0.99".to_owned())
        );
        let places: Vec<&str> = offer.data_centers.iter().map(|p| p.id.as_str()).collect();
        assert_eq!(places, ["EU-RO-1", "EU-CZ-1"]);
        // What it lists without a price stays unknown; what it does not list is in the table.
        assert_eq!(catalog.price_of("RTX 9090"), None);
        assert_eq!(
            catalog.price_of("RTX 3090"),
            known::gpu("RTX 3090").unwrap().price()
        );
        assert_eq!(catalog.price_of("no such card"), None);
    }

    #[test]
    fn prices_that_are_none_are_unknown() {
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(rate(bad), None, "{bad}");
        }
        assert_eq!(usd(rate(1.5).unwrap().per_hour()), "1.50");
    }
}
