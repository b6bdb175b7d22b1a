//! The standard `OTEL_*` variables, as far as traces need them.
//!
//! Source: OpenTelemetry specification 1.x, "Environment Variable Specification" and "OTLP Exporter
//! Configuration". Nothing is sent unless an endpoint is named.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::Url;

use crate::config::Environment;

/// Where the collector is; `/v1/traces` is added.
pub const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// Where traces go, as it stands.
pub const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

/// How spans are sent, and which traces are recorded.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where spans are posted.
    pub url: Url,
    /// Headers of each post, such as the collector's key.
    pub headers: HeaderMap,
    /// One batch is given up after so long, tries included.
    pub timeout: Duration,
    /// What the spans come from.
    pub resource: Vec<(String, String)>,
    /// Which traces are recorded.
    pub sampler: Sampler,
    /// Spans that wait at most; more are lost.
    pub queue_max: usize,
    /// Spans in one post at most.
    pub batch_max: usize,
    /// A span waits at most so long for others.
    pub delay: Duration,
}

/// Which traces are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampler {
    /// What the caller decided holds; the rest is for traces that begin here.
    pub follows_parent: bool,
    /// Trace ids whose last 63 bits are below this are recorded; `1 << 63` is all.
    pub below: u64,
}

/// All of the numbers that [`Sampler::below`] is compared with.
const ALL: u64 = 1 << 63;

impl Sampler {
    /// The caller's decision, else every trace.
    pub const PARENT_OR_ALL: Self = Self {
        follows_parent: true,
        below: ALL,
    };

    /// Whether a trace is recorded, whose caller recorded it or not.
    #[must_use]
    pub fn records(self, caller: Option<bool>, trace_id: [u8; 16]) -> bool {
        if let Some(recorded) = caller.filter(|_| self.follows_parent) {
            return recorded;
        }
        let mut last = [0; 8];
        last.copy_from_slice(&trace_id[8..]);
        u64::from_be_bytes(last) & (ALL - 1) < self.below
    }
}

impl Settings {
    /// What the variables say; `None` where they name no collector, or turn traces off.
    ///
    /// # Errors
    /// In words, when a value cannot be used.
    pub fn of(environment: &Environment, installation: &str) -> Result<Option<Self>, String> {
        let text = |name: &str| environment.text(name).map(str::trim);
        let is = |name: &str, value: &str| {
            text(name).is_some_and(|text| text.eq_ignore_ascii_case(value))
        };
        if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
            return Ok(None);
        }
        let (name, address) = match (text(TRACES_ENDPOINT), text(ENDPOINT)) {
            (Some(whole), _) => (TRACES_ENDPOINT, whole.to_owned()),
            (None, Some(base)) => (
                ENDPOINT,
                format!("{}/v1/traces", base.trim_end_matches('/')),
            ),
            (None, None) => return Ok(None),
        };
        let url = Url::parse(&address)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| format!("{name} is no http:// or https:// address: `{address}`"))?;
        if let Some(exporter) = text("OTEL_TRACES_EXPORTER").filter(|text| *text != "otlp") {
            return Err(format!(
                "OTEL_TRACES_EXPORTER={exporter} is not supported: use otlp or none"
            ));
        }
        for name in [
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        ] {
            match text(name) {
                None => {}
                Some("http/protobuf") => break,
                Some(other) => {
                    return Err(format!(
                        "{name}={other} is not supported: use http/protobuf (a collector's port 4318)"
                    ));
                }
            }
        }
        let of_traces = |name: &str| {
            text(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"))
                .or_else(|| text(&format!("OTEL_EXPORTER_OTLP_{name}")))
        };
        let millis = |name: &str, text: Option<&str>, default: u64| match text {
            None => Ok(default),
            Some(text) => text
                .parse::<u64>()
                .ok()
                .filter(|number| *number > 0)
                .ok_or_else(|| format!("{name} is no whole number above 0: `{text}`")),
        };
        let count = |name: &str, default: u64| -> Result<usize, String> {
            let number = millis(name, text(name), default)?;
            Ok(usize::try_from(number).unwrap_or(usize::MAX).min(1 << 16))
        };
        let queue_max = count("OTEL_BSP_MAX_QUEUE_SIZE", 2_048)?;
        let delay = "OTEL_BSP_SCHEDULE_DELAY";
        Ok(Some(Self {
            headers: headers(of_traces("HEADERS").unwrap_or_default())?,
            timeout: Duration::from_millis(millis(
                "OTEL_EXPORTER_OTLP_TIMEOUT",
                of_traces("TIMEOUT"),
                10_000,
            )?),
            resource: resource(environment, installation),
            sampler: sampler(text("OTEL_TRACES_SAMPLER"), text("OTEL_TRACES_SAMPLER_ARG"))?,
            queue_max,
            batch_max: count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)?.min(queue_max),
            delay: Duration::from_millis(millis(delay, text(delay), 5_000)?),
            url,
        }))
    }
}

/// `key=value` pairs between commas, percent-encoded where they must be.
fn pairs(text: &str) -> impl Iterator<Item = (String, String)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.trim().to_owned(), decoded(value.trim())))
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let escaped = text.get(i + 1..i + 3).filter(|_| bytes[i] == b'%');
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                i += 3;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn headers(text: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs(text) {
        // The value may be a key: it is not shown.
        let cannot =
            |_| format!("OTEL_EXPORTER_OTLP_HEADERS: `{name}` is no header that can be sent");
        let header = HeaderName::try_from(name.as_str()).map_err(|_| cannot(()))?;
        let mut value = HeaderValue::try_from(value).map_err(|_| cannot(()))?;
        value.set_sensitive(true);
        headers.append(header, value);
    }
    Ok(headers)
}

fn resource(environment: &Environment, installation: &str) -> Vec<(String, String)> {
    let given = environment.text("OTEL_RESOURCE_ATTRIBUTES");
    let mut attributes: Vec<(String, String)> = pairs(given.unwrap_or_default()).collect();
    if let Some(name) = environment.text("OTEL_SERVICE_NAME") {
        attributes.retain(|(key, _)| key != "service.name");
        attributes.push(("service.name".into(), name.into()));
    }
    for (key, value) in [
        ("service.name", "overspill"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", installation),
    ] {
        if !value.is_empty() && attributes.iter().all(|(known, _)| known != key) {
            attributes.push((key.into(), value.into()));
        }
    }
    attributes
}

fn sampler(name: Option<&str>, argument: Option<&str>) -> Result<Sampler, String> {
    let Some(name) = name else {
        return Ok(Sampler::PARENT_OR_ALL);
    };
    let (follows_parent, rule) = match name.strip_prefix("parentbased_") {
        Some(rule) => (true, rule),
        None => (false, name),
    };
    let below = match rule {
        "always_on" => ALL,
        "always_off" => 0,
        "traceidratio" => {
            let text = argument.unwrap_or("1");
            let ratio = text
                .parse::<f64>()
                .ok()
                .filter(|ratio| (0.0..=1.0).contains(ratio))
                .ok_or_else(|| {
                    format!("OTEL_TRACES_SAMPLER_ARG is no number from 0 to 1: `{text}`")
                })?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a share of 2^63, which need not be exact"
            )]
            let below = (ratio * ALL as f64) as u64;
            below
        }
        _ => {
            return Err(format!(
                "OTEL_TRACES_SAMPLER={name} is not known: use always_on, always_off or traceidratio, \
                 or one of them after `parentbased_`"
            ));
        }
    };
    Ok(Sampler {
        follows_parent,
        below,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        Settings::of(&Environment::from_pairs(pairs.iter().copied()), "ovs-1")
    }

    #[test]
    fn nothing_is_sent_unless_a_collector_is_named() {
        assert!(of(&[]).unwrap().is_none());
        let base = (ENDPOINT, "http://127.0.0.1:4318/");
        assert!(
            of(&[base, ("OTEL_SDK_DISABLED", "true")])
                .unwrap()
                .is_none()
        );
        assert!(
            of(&[base, ("OTEL_TRACES_EXPORTER", "none")])
                .unwrap()
                .is_none()
        );
        let settings = of(&[base]).unwrap().unwrap();
        assert_eq!(settings.url.as_str(), "http://127.0.0.1:4318/v1/traces");
        let own = (TRACES_ENDPOINT, "https://collector.example/otlp");
        let settings = of(&[base, own]).unwrap().unwrap();
        assert_eq!(settings.url.as_str(), "https://collector.example/otlp");
        assert_eq!(settings.sampler, Sampler::PARENT_OR_ALL);
    }

    #[test]
    fn headers_and_resource_are_read_as_lists() {
        let settings = of(&[
            (ENDPOINT, "http://c"),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "authorization=Bearer%20k, x-a=b",
            ),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "service.name=x,deployment.environment=test",
            ),
            ("OTEL_SERVICE_NAME", "shop"),
        ]);
        let settings = settings.unwrap().unwrap();
        assert_eq!(settings.headers["authorization"], "Bearer k");
        assert_eq!(settings.headers["x-a"], "b");
        assert!(
            !format!("{settings:?}").contains("Bearer"),
            "no key in logs"
        );
        let value = |key: &str| {
            let mut found = settings.resource.iter().filter(|(known, _)| known == key);
            (found.next().map(|(_, value)| value.as_str()), found.next())
        };
        assert_eq!(value("service.name"), (Some("shop"), None));
        assert_eq!(value("deployment.environment"), (Some("test"), None));
        assert_eq!(value("service.instance.id"), (Some("ovs-1"), None));
    }

    #[test]
    fn bad_input_values_that_cannot_be_used_are_named() {
        let base = (ENDPOINT, "http://c");
        for pair in [
            (ENDPOINT, "collector:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=c"),
        ] {
            let error = of(&[base, pair]).unwrap_err();
            assert!(error.contains(pair.0), "{error}");
        }
        let ratio = [
            base,
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ];
        assert!(of(&ratio).unwrap_err().contains("0 to 1"));
    }

    #[test]
    fn a_sampler_follows_its_caller_or_takes_a_share() {
        let sampler = |name| sampler(Some(name), Some("0.5")).unwrap();
        let (low, high) = ([0; 16], [0xff; 16]);
        let parent = sampler("parentbased_traceidratio");
        assert!(parent.records(Some(true), high));
        assert!(!parent.records(Some(false), low));
        assert!(parent.records(None, low) && !parent.records(None, high));
        let share = sampler("traceidratio");
        assert!(share.records(Some(false), low) && !share.records(Some(true), high));
        assert!(!sampler("always_off").records(Some(true), low));
        assert!(sampler("always_on").records(None, high));
    }
}
