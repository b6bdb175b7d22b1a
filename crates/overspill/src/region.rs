//! Where a caller is: by a header of the app or its CDN, else by a GeoIP file, else by default.
//!
//! A header counts only on a connection from one of `trusted_proxies`: anyone else could write what they like
//! there. It holds a region of the configuration, or a country that `[regions] map` puts into one. The file is
//! given by the operator and asked for the address that the trusted proxies name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use http::{HeaderMap, HeaderName};
use maxminddb::{PathElement, Reader};
use overspill_core::region::Region;

use crate::config::Config;

/// Headers with a country that CDNs set by themselves: Cloudflare, Amazon CloudFront, Vercel.
const CDN_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("cf-ipcountry"),
    HeaderName::from_static("cloudfront-viewer-country"),
    HeaderName::from_static("x-vercel-ip-country"),
];

/// A GeoIP file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("[regions] geoip: the file \"{}\" cannot be used", path.display())]
pub struct GeoIpError {
    path: PathBuf,
    #[source]
    source: maxminddb::MaxMindDbError,
}

/// Says where callers are.
#[derive(Default)]
pub struct Locator {
    headers: Vec<HeaderName>,
    geoip: Option<Reader<Vec<u8>>>,
    default: Option<Region>,
    countries: BTreeMap<String, Region>,
    regions: BTreeSet<Region>,
}

impl Locator {
    /// One as configured; reads the GeoIP file.
    ///
    /// # Errors
    /// When the file is missing or no MMDB file.
    pub fn new(config: &Config) -> Result<Self, GeoIpError> {
        let Some(regions) = &config.regions else {
            return Ok(Self::default());
        };
        let header = regions.header.as_deref();
        let geoip = regions.geoip.as_ref().map(|path| {
            Reader::open_readfile(path).map_err(|source| GeoIpError {
                path: path.clone(),
                source,
            })
        });
        let mut countries = BTreeMap::new();
        let mut known = BTreeSet::new();
        for (name, codes) in &regions.map {
            let Ok(region) = name.parse() else { continue };
            known.insert(region);
            countries.extend(codes.iter().map(|code| (code.clone(), region)));
        }
        let pools = config.endpoint.iter().flat_map(|endpoint| &endpoint.cloud);
        let names = pools.filter_map(|pool| pool.region.as_deref());
        known.extend(names.filter_map(|name| name.parse::<Region>().ok()));
        Ok(Self {
            headers: match header.and_then(|name| HeaderName::try_from(name).ok()) {
                Some(name) => vec![name],
                None => CDN_HEADERS.to_vec(),
            },
            geoip: geoip.transpose()?,
            default: regions
                .default
                .as_deref()
                .and_then(|name| name.parse().ok()),
            countries,
            regions: known,
        })
    }

    /// The region of a caller: `headers` as it came in from a connection that `is_trusted` or not, `address` as the
    /// trusted proxies name it.
    #[must_use]
    pub fn locate(&self, headers: &HeaderMap, is_trusted: bool, address: IpAddr) -> Option<Region> {
        let by_header = || {
            let mut values = self.headers.iter().filter_map(|name| headers.get(name));
            values.find_map(|value| self.region_of(value.to_str().ok()?.trim()))
        };
        let told = if is_trusted { by_header() } else { None };
        told.or_else(|| self.by_address(address)).or(self.default)
    }

    /// The region that a header's value means: a region, or a country of one.
    fn region_of(&self, value: &str) -> Option<Region> {
        let named = self
            .regions
            .iter()
            .find(|region| region.as_str().eq_ignore_ascii_case(value));
        let country = || self.countries.get(&value.to_ascii_uppercase());
        named.or_else(country).copied()
    }

    fn by_address(&self, address: IpAddr) -> Option<Region> {
        let found = self.geoip.as_ref()?.lookup(address.to_canonical()).ok()?;
        // GeoLite2 and DB-IP have `country.iso_code`, IPinfo has `country_code`.
        let nested = [PathElement::Key("country"), PathElement::Key("iso_code")];
        let flat = [PathElement::Key("country_code")];
        let text = |path: &[PathElement<'_>]| found.decode_path::<&str>(path).ok().flatten();
        let country = text(&nested).or_else(|| text(&flat))?;
        self.countries.get(&country.to_ascii_uppercase()).copied()
    }
}

/// The locator in force: a reload of the configuration puts another in its place.
#[derive(Clone, Default)]
pub struct SharedLocator(Arc<RwLock<Arc<Locator>>>);

impl SharedLocator {
    /// One that begins with `locator`.
    #[must_use]
    pub fn new(locator: Locator) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(locator))))
    }

    /// The one in force.
    #[must_use]
    pub fn get(&self) -> Arc<Locator> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another in force.
    pub fn set(&self, locator: Locator) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(locator);
    }
}

impl fmt::Debug for SharedLocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedLocator")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Environment, Flags, Strictness, parse};

    fn config(regions: &str, folder: &Path) -> Config {
        let text = format!(
            "[regions]\ndefault = \"us\"\nmap = {{ eu = [\"DE\", \"FR\"], us = [\"US\"], asia = [\"VN\"] }}\n{regions}"
        );
        let environment = Environment::default();
        let flags = Flags::default();
        let loaded = parse(&text, "f", folder, &environment, &flags, Strictness::Check);
        loaded.unwrap().config
    }

    fn located(locator: &Locator, header: &str, value: &str, is_trusted: bool) -> String {
        let mut headers = HeaderMap::new();
        if !header.is_empty() {
            let name = HeaderName::try_from(header).unwrap();
            headers.insert(name, value.parse().unwrap());
        }
        let found = locator.locate(&headers, is_trusted, "192.0.2.1".parse().unwrap());
        found.map_or_else(String::new, |region| region.to_string())
    }

    #[test]
    fn a_header_counts_from_a_trusted_proxy_only() {
        let locator = Locator::new(&config("", Path::new("/"))).unwrap();
        for (header, value, is_trusted, region) in [
            ("CF-IPCountry", "DE", true, "eu"),
            ("CF-IPCountry", "DE", false, "us"),
            ("CloudFront-Viewer-Country", "vn", true, "asia"),
            ("X-Vercel-IP-Country", "FR", true, "eu"),
            ("CF-IPCountry", "XX", true, "us"),
            ("CF-IPCountry", "asia", true, "asia"),
            ("X-My-Region", "eu", true, "us"),
            ("", "", true, "us"),
        ] {
            let found = located(&locator, header, value, is_trusted);
            assert_eq!(found, region, "{header}: {value}");
        }
    }

    #[test]
    fn a_header_of_ones_own_takes_the_place_of_the_cdns() {
        let config = config("header = \"X-My-Region\"\n", Path::new("/"));
        let locator = Locator::new(&config).unwrap();
        assert_eq!(located(&locator, "X-My-Region", " EU ", true), "eu");
        assert_eq!(located(&locator, "CF-IPCountry", "DE", true), "us");
        assert_eq!(located(&Locator::default(), "CF-IPCountry", "DE", true), "");
    }

    /// An MMDB file of 4-byte addresses: one bit decides, 0… has `low`, 1… has `high`.
    fn mmdb(low: &[u8], high: &[u8]) -> Vec<u8> {
        // One node of two 24-bit records: beyond the nodes and 16 bytes of nothing come the data.
        let (nodes, separator) = (1_u32, 16);
        let pointer = |offset: usize| nodes + separator + u32::try_from(offset).unwrap();
        let mut file = Vec::new();
        for record in [pointer(0), pointer(low.len())] {
            file.extend_from_slice(&record.to_be_bytes()[1..]);
        }
        file.extend_from_slice(&[0; 16]);
        file.extend_from_slice(low);
        file.extend_from_slice(high);
        file.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
        file.push(0xe9); // a map of nine
        let number = |file: &mut Vec<u8>, key: &str, kind: u8, value: u32| {
            file.extend(text(key));
            let bytes = value.to_be_bytes();
            match kind {
                5 => file.push(0xa2),
                6 => file.push(0xc4),
                _ => file.extend([4, 2]), // 64 bits are of an extended type
            }
            file.extend_from_slice(if kind == 5 { &bytes[2..] } else { &bytes });
        };
        number(&mut file, "node_count", 6, nodes);
        number(&mut file, "record_size", 5, 24);
        number(&mut file, "ip_version", 5, 4);
        number(&mut file, "binary_format_major_version", 5, 2);
        number(&mut file, "binary_format_minor_version", 5, 0);
        number(&mut file, "build_epoch", 9, 1_700_000_000);
        file.extend(text("database_type"));
        file.extend(text("Test"));
        file.extend(text("languages"));
        file.extend([0, 4]); // an empty list
        file.extend(text("description"));
        file.push(0xe0); // an empty map
        file
    }

    fn text(value: &str) -> Vec<u8> {
        assert!(value.len() < 29);
        let mut bytes = vec![0x40 | u8::try_from(value.len()).unwrap()];
        bytes.extend_from_slice(value.as_bytes());
        bytes
    }

    fn map(key: &str, value: &[u8]) -> Vec<u8> {
        [&[0xe1], text(key).as_slice(), value].concat()
    }

    #[test]
    fn a_geoip_file_knows_addresses_of_either_form() {
        let folder = tempfile::tempdir().unwrap();
        let geolite = map("country", &map("iso_code", &text("DE")));
        let ipinfo = map("country_code", &text("VN"));
        std::fs::write(folder.path().join("geo.mmdb"), mmdb(&geolite, &ipinfo)).unwrap();
        let config = config("geoip = \"geo.mmdb\"\n", folder.path());
        let locator = Locator::new(&config).unwrap();
        let headers = HeaderMap::new();
        for (address, region) in [
            ("10.0.0.1", "eu"),
            ("203.0.113.9", "asia"),
            ("::ffff:203.0.113.9", "asia"),
            ("2001:db8::1", "us"),
        ] {
            let found = locator.locate(&headers, false, address.parse().unwrap());
            assert_eq!(found.unwrap().as_str(), region, "{address}");
        }
        // A header goes before it.
        let mut headers = HeaderMap::new();
        headers.insert("cf-ipcountry", "US".parse().unwrap());
        let found = locator.locate(&headers, true, "10.0.0.1".parse().unwrap());
        assert_eq!(found.unwrap().as_str(), "us");
    }

    #[test]
    fn a_geoip_file_that_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("geo.mmdb"), "nothing of the kind").unwrap();
        for name in ["geo.mmdb", "absent.mmdb"] {
            let config = config(&format!("geoip = \"{name}\"\n"), folder.path());
            let error = Locator::new(&config).err().unwrap();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
