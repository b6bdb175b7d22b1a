//! What a drill plays with: one endpoint, its pools by region, and the server's configuration for them.

use std::fmt::Write as _;

use overspill_core::time::DurationMs;
use serde_json::Value as Json;

use crate::cli::{CommandError, ErrorKind};
use crate::config::units::{format_duration, format_rate};
use crate::config::{CloudPool, Config, Endpoint, Provider, known};

/// The header by which a drill's callers say where they are.
pub const REGION_HEADER: &str = "X-Overspill-Drill-Region";
/// The key of the drill's server; it listens on loopback for as long as the drill runs.
pub const API_KEY: &str = "overspill-drill-key";

/// One data center for each region.
const DATA_CENTERS: [&str; 8] = [
    "EU-RO-1", "US-KS-2", "AP-JP-1", "OC-AU-1", "CA-MTL-1", "EU-SE-1", "US-TX-3", "EUR-NO-1",
];

/// A pool of the drill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenePool {
    /// Its name.
    pub name: String,
    /// Its region; empty for one without.
    pub region: String,
    /// Where its workers start; a region has one of its own.
    pub data_center: &'static str,
    /// Its keys in the configuration, beside the id.
    settings: String,
    /// Price of a worker in USD an hour.
    pub price_usd_per_h: String,
}

/// The endpoint of the drill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scene {
    /// Its name.
    pub endpoint: String,
    /// Its pools, as listed.
    pub pools: Vec<ScenePool>,
    /// Its keys in the configuration.
    settings: String,
    /// Cards of its own.
    local: u32,
    /// Longest time that a cloud worker idles, in whole seconds.
    pub idle_s: u64,
}

impl Scene {
    /// Two regions with a pool each, for who has no configuration yet.
    #[must_use]
    pub fn built_in(region: &str) -> Self {
        let other = if region == "us" { "eu" } else { "us" };
        let pools = [(region, 0), (other, 1)].map(|(region, place)| ScenePool {
            name: format!("cloud-{region}"),
            region: region.to_owned(),
            data_center: DATA_CENTERS[place],
            settings: "gpu = \"RTX 3090\"\nprice = \"$0.684/h\"\n".to_owned(),
            price_usd_per_h: "0.684".to_owned(),
        });
        Self {
            endpoint: "drill".to_owned(),
            pools: pools.into(),
            settings: "max_wait = \"60s\"\nexpected_execution = \"2s\"\n\
                       workers = { min = 0, max = 6, idle_timeout = \"5s\" }\n\
                       scaler = { policy = \"queue_delay\", queue_delay = \"500ms\" }\n"
                .to_owned(),
            local: 0,
            idle_s: 5,
        }
    }

    /// The shape of an endpoint of a configuration.
    ///
    /// # Errors
    /// When there is no such endpoint, or none with a pool in the region.
    pub fn of(config: &Config, region: &str, name: Option<&str>) -> Result<Self, CommandError> {
        let is_there = |endpoint: &&Endpoint| {
            let mut pools = endpoint.cloud.iter();
            pools.any(|pool| pool.region.as_deref() == Some(region))
        };
        let endpoint = match name {
            Some(name) => {
                let endpoint = config.endpoint_called(name).ok_or_else(|| {
                    let message = format!("there is no endpoint `{name}` in the configuration");
                    CommandError::new(ErrorKind::NotFound, message)
                })?;
                Some(endpoint).filter(is_there)
            }
            None => config.endpoint.iter().find(is_there),
        };
        let endpoint = endpoint.ok_or_else(|| {
            let pools = config.endpoint.iter().flat_map(|endpoint| &endpoint.cloud);
            let mut known: Vec<&str> = pools.filter_map(|pool| pool.region.as_deref()).collect();
            known.sort_unstable();
            known.dedup();
            let message = format!("no endpoint has a cloud pool in the region `{region}`");
            let error = CommandError::new(ErrorKind::NotFound, message);
            if known.is_empty() {
                error.hint("give the pools a `region`, or leave --config out for a built-in scene")
            } else {
                error.hint(format!("regions of the pools: {}", known.join(", ")))
            }
        })?;
        Self::shaped(config, endpoint)
    }

    fn shaped(config: &Config, endpoint: &Endpoint) -> Result<Self, CommandError> {
        let mut regions: Vec<&str> = Vec::new();
        let mut pools = Vec::new();
        for pool in &endpoint.cloud {
            if pool.provider != Provider::Runpod {
                continue;
            }
            let region = pool.region.as_deref().unwrap_or("");
            if !regions.contains(&region) {
                regions.push(region);
            }
            let place = regions.iter().position(|known| *known == region);
            pools.push(scene_pool(
                pool,
                region,
                DATA_CENTERS[place.unwrap_or(0) % DATA_CENTERS.len()],
            )?);
        }
        let idle = endpoint.workers.idle_timeout;
        let mut settings = format!(
            "max_wait = \"{}\"\nexpected_execution = \"2s\"\n\
             workers = {{ min = {}, max = {}, idle_timeout = \"{}\" }}\n\
             scaler = {{ policy = \"{}\" }}\n",
            format_duration(endpoint.max_wait),
            endpoint.workers.min,
            endpoint.workers.max,
            format_duration(idle),
            endpoint.scaler.policy.as_str(),
        );
        let general = config.regions.as_ref().map(|regions| &regions.residency);
        let residency = endpoint.residency.as_ref().or(general);
        let stays: Vec<&String> = residency
            .into_iter()
            .flat_map(|names| &names.0)
            .filter(|name| regions.contains(&name.as_str()))
            .collect();
        if !stays.is_empty() {
            let names: Vec<Json> = stays
                .into_iter()
                .map(|name| Json::from(name.as_str()))
                .collect();
            writeln!(settings, "residency = {}", Json::from(names))
                .expect("a String takes all text");
        }
        Ok(Self {
            endpoint: endpoint.name.clone(),
            pools,
            settings,
            local: u32::from(!endpoint.local.is_empty()),
            idle_s: (idle.as_millis() / 1_000).clamp(1, 3_600),
        })
    }

    /// The regions of its pools, each once, as listed.
    #[must_use]
    pub fn regions(&self) -> Vec<&str> {
        let mut regions: Vec<&str> = Vec::new();
        for pool in &self.pools {
            if !pool.region.is_empty() && !regions.contains(&pool.region.as_str()) {
                regions.push(&pool.region);
            }
        }
        regions
    }

    /// The server's configuration: `ids` are the pools' endpoints in the emulated cloud, `program` this binary.
    #[must_use]
    pub fn config(&self, cloud_url: &str, ids: &[String], program: &str) -> String {
        let mut text = format!(
            "listen = \"127.0.0.1:0\"\ndata_dir = \"data\"\ntrusted_proxies = [\"127.0.0.1/32\"]\n\
             [runpod]\napi_key = \"{API_KEY}\"\nbase_url = \"{cloud_url}/v2\"\n\
             management_url = \"{cloud_url}/v2\"\n\
             [regions]\nheader = \"{REGION_HEADER}\"\n\
             [[endpoint]]\nname = {}\n{}",
            Json::from(self.endpoint.as_str()),
            self.settings
        );
        if self.local > 0 {
            write!(
                text,
                "[[endpoint.local]]\ncommand = [{}, \"sample-worker\"]\ndevices = {}\n",
                Json::from(program),
                self.local
            )
            .expect("a String takes all text");
        }
        for (pool, id) in self.pools.iter().zip(ids) {
            write!(
                text,
                "[[endpoint.cloud]]\nname = {}\nprovider = \"runpod\"\nid = \"{id}\"\n{}",
                Json::from(pool.name.as_str()),
                pool.settings
            )
            .expect("a String takes all text");
            if !pool.region.is_empty() {
                writeln!(text, "region = \"{}\"", pool.region).expect("a String takes all text");
            }
        }
        text
    }
}

fn scene_pool(
    pool: &CloudPool,
    region: &str,
    data_center: &'static str,
) -> Result<ScenePool, CommandError> {
    let of_types = || {
        let prices = pool.gpu.0.iter().map(|name| known::gpu(name)?.price());
        prices.collect::<Option<Vec<_>>>()?.into_iter().max()
    };
    let price = pool.price.or_else(of_types).ok_or_else(|| {
        let message = format!("the price of the pool `{}` is not known", pool.name);
        CommandError::new(ErrorKind::Config, message).hint("give it a `price`")
    })?;
    let mut settings = format!(
        "slots = {}\nprice = \"{}\"\n",
        pool.slots.initial(),
        format_rate(price)
    );
    if let Some(max) = pool.max {
        writeln!(settings, "max = {max}").expect("a String takes all text");
    }
    Ok(ScenePool {
        name: pool.name.clone(),
        region: region.to_owned(),
        data_center,
        settings,
        price_usd_per_h: price.per_hour().to_usd(9),
    })
}

/// How long a job of the drill runs.
pub const JOB: DurationMs = DurationMs::from_secs(2);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Environment, Flags, Strictness, parse};

    fn loads(text: &str) -> Config {
        let (environment, flags) = (Environment::default(), Flags::default());
        let path = Path::new("/");
        let loaded = parse(text, "f", path, &environment, &flags, Strictness::Check);
        loaded.unwrap().config
    }

    #[test]
    fn the_built_in_scene_has_another_region_and_loads() {
        for (region, other) in [("eu", "us"), ("us", "eu"), ("mars", "us")] {
            let scene = Scene::built_in(region);
            assert_eq!(scene.regions(), [region, other]);
            let ids = ["a1".to_owned(), "b2".to_owned()];
            let config = loads(&scene.config("http://127.0.0.1:9", &ids, "overspill"));
            assert_eq!(config.endpoint[0].cloud[1].region.as_deref(), Some(other));
        }
    }

    #[test]
    fn a_configuration_gives_its_shape() {
        let config = loads(include_str!("../../../../overspill.example.toml"));
        let scene = Scene::of(&config, "us", None).unwrap();
        assert_eq!((scene.endpoint.as_str(), scene.local), ("tts", 1));
        assert_eq!(scene.regions(), ["eu", "us"]);
        assert_ne!(scene.pools[0].data_center, scene.pools[1].data_center);
        let ids = ["a1".to_owned(), "b2".to_owned()];
        let again = loads(&scene.config("http://127.0.0.1:9", &ids, "overspill"));
        let (mine, theirs) = (&again.endpoint[0], &config.endpoint[0]);
        assert_eq!(mine.workers.max, theirs.workers.max);
        assert_eq!(mine.max_wait, theirs.max_wait);
        assert_eq!(mine.cloud[0].slots, theirs.cloud[0].slots);
        assert_eq!(scene.pools[0].price_usd_per_h, "0.440000000");
        let error = Scene::of(&config, "asia", None).unwrap_err();
        assert!(format!("{error:?}").contains("eu, us"), "{error:?}");
        assert!(Scene::of(&config, "eu", Some("chat")).is_err());
    }
}
