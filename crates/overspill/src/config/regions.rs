//! `[regions]`: where callers come from, which cloud pools are near them, and what must not leave.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use overspill_core::region::Region;
use serde_json::Value as Json;

use super::decode::{Check, Decoder, FromNode, section};
use super::node::{Node, Value};
use super::problem::{Place, did_you_mean, quoted};
use super::settings::Config;

section! {
    /// Where callers come from, and which cloud pools are near them.
    pub struct Regions in "[regions]" {
        /// Header with the caller's country or region, believed only from `trusted_proxies`. Left
        /// out: the country headers of Cloudflare, CloudFront and Vercel.
        pub header: Option<String> = None,
        /// A GeoIP file in MMDB form, asked for the caller's address when no header says anything.
        pub geoip: Option<PathBuf> = None,
        /// Region of callers that nothing is known about.
        pub default: Option<String> = None,
        /// Country codes of each region.
        pub map: BTreeMap<String, Vec<String>> = BTreeMap::new(),
        /// Regions whose callers' jobs run in cloud pools of that region only, or on own GPUs.
        pub residency: RegionNames = RegionNames(Vec::new()),
    }
}

/// Names of regions, written as one string or a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegionNames(pub Vec<String>);

impl RegionNames {
    /// The regions; names that are none are left out (they were reported).
    #[must_use]
    pub fn regions(&self) -> BTreeSet<Region> {
        self.0.iter().filter_map(|name| name.parse().ok()).collect()
    }
}

impl FromNode for RegionNames {
    fn from_node(node: &Node, cx: &mut Decoder<'_, '_>) -> Option<Self> {
        let names = match &node.value {
            Value::Array(_) => Vec::<String>::from_node(node, cx)?,
            Value::String(name) => vec![name.clone()],
            _ => {
                cx.mismatch(node, "a region such as \"eu\", or a list of them");
                return None;
            }
        };
        Some(Self(names))
    }

    fn show(&self) -> Json {
        match self.0.as_slice() {
            [one] => Json::from(one.as_str()),
            names => names.to_vec().show(),
        }
    }

    fn kind() -> String {
        "a region such as `\"eu\"`, or a list of them".to_owned()
    }
}

impl Check for Regions {
    fn check(&mut self, node: &Node, cx: &mut Decoder<'_, '_>) {
        if let Some(header) = &self.header
            && http::HeaderName::try_from(header.as_str()).is_err()
        {
            let message = format!(
                "{} is no name of a header; expected one such as \"CF-IPCountry\"",
                quoted(header)
            );
            cx.error(node.place_of("header"), message);
        }
        if let Some(path) = &mut self.geoip
            && path.is_relative()
        {
            *path = cx.folder.join(&path);
        }
        for region in self.map.keys() {
            form(region, node.place_of("map"), cx);
        }
        if self.map.is_empty()
            && let Some(default) = &self.default
        {
            form(default, node.place_of("default"), cx);
        }
        if let Some(default) = &self.default
            && !self.map.is_empty()
            && !self.map.contains_key(default)
        {
            let known = self.map.keys().map(String::as_str);
            unknown(default, node.place_of("default"), known, cx);
        }
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for (region, countries) in &self.map {
            for country in countries {
                if country.len() != 2 || !country.bytes().all(|b| b.is_ascii_uppercase()) {
                    let message = format!(
                        "{} is no country code; expected two capital letters such as \"DE\"",
                        quoted(country)
                    );
                    cx.error(node.place_of("map"), message);
                }
                if let Some(other) = seen.insert(country, region) {
                    let message = format!("{country} is in the regions {other} and {region}");
                    cx.error(node.place_of("map"), message);
                }
            }
        }
    }
}

/// Reports a name that no region can have.
fn form(name: &str, place: &Place, cx: &mut Decoder<'_, '_>) {
    if let Err(error) = name.parse::<Region>() {
        let message = format!("{} is no name of a region; {error}", quoted(name));
        cx.error(place, message);
    }
}

fn unknown<'k>(
    name: &str,
    place: &Place,
    known: impl Iterator<Item = &'k str> + Clone,
    cx: &mut Decoder<'_, '_>,
) {
    let listed = known.clone().collect::<Vec<_>>().join(", ");
    let message = format!(
        "unknown region {}; known: {listed}{}",
        quoted(name),
        did_you_mean(name, known)
    );
    cx.error(place, message);
}

/// Rules between `[regions]` and the endpoints: pools and residency in regions that nobody is mapped to,
/// and jobs that could run nowhere.
pub(crate) fn with_endpoints(config: &Config, node: &Node, cx: &mut Decoder<'_, '_>) {
    let pools = config.endpoint.iter().flat_map(|endpoint| &endpoint.cloud);
    let of_pools: BTreeSet<&str> = pools.filter_map(|pool| pool.region.as_deref()).collect();
    let map = config.regions.as_ref().map(|regions| &regions.map);
    let mapped: BTreeSet<&str> = map
        .into_iter()
        .flat_map(|map| map.keys().map(String::as_str))
        .collect();
    // Without a map the header names regions itself: those of the pools are known.
    let known = if mapped.is_empty() {
        &of_pools
    } else {
        &mapped
    };
    let endpoints = node.get("endpoint").map_or(&[][..], Node::items);
    for (endpoint, node) in config.endpoint.iter().zip(endpoints) {
        let pools = node.get("cloud").map_or(&[][..], Node::items);
        for (pool, node) in endpoint.cloud.iter().zip(pools) {
            let Some(region) = &pool.region else { continue };
            let place = node.place_of("region");
            form(region, place, cx);
            if !known.contains(region.as_str()) {
                let listed = known.iter().copied().collect::<Vec<_>>().join(", ");
                let message = format!(
                    "unknown region {}; known from [regions] map: {listed}{}",
                    quoted(region),
                    did_you_mean(region, known.iter().copied())
                );
                cx.error(place, message);
            }
        }
    }
    let Some(regions) = &config.regions else {
        for (endpoint, node) in config.endpoint.iter().zip(endpoints) {
            if endpoint.residency.is_some() {
                cx.error(
                    node.place_of("residency"),
                    "`residency` without [regions]: nobody's region would be known; add [regions] \
                     with a `header` or a `geoip` file",
                );
            }
        }
        return;
    };
    let section = node.get("regions").unwrap_or(node);
    for name in &regions.residency.0 {
        if !known.contains(name.as_str()) {
            unknown(
                name,
                section.place_of("residency"),
                known.iter().copied(),
                cx,
            );
        }
    }
    for (endpoint, node) in config.endpoint.iter().zip(endpoints) {
        let own = endpoint.residency.as_ref();
        let place = match own {
            Some(_) => node.place_of("residency"),
            None => section.place_of("residency"),
        };
        for name in &own.unwrap_or(&regions.residency).0 {
            if !known.contains(name.as_str()) {
                if own.is_some() {
                    unknown(name, place, known.iter().copied(), cx);
                }
                continue;
            }
            let is_there = |pool: &super::CloudPool| pool.region.as_deref() == Some(name);
            let is_served = endpoint.cloud.iter().any(is_there) || !endpoint.local.is_empty();
            if !is_served && !endpoint.cloud.is_empty() {
                let message = format!(
                    "jobs of callers in {} must stay there, and endpoint {} has neither a cloud pool of \
                     that region nor own GPUs: they are refused",
                    quoted(name),
                    quoted(&endpoint.name)
                );
                cx.problems.warning(place, message);
            }
        }
    }
}
