//! The state as metrics, in the text formats of Prometheus and OpenMetrics.
//!
//! All of it comes from what the board sees, the tally and the ledger, so that metrics, lists and
//! charts agree. Base units (seconds, bytes, dollars); nothing that grows without end (a job, a
//! worker, a key) is a label. `docs/reference/metrics.md` lists every one.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::budget::{Budget, CapLine};
use super::overview::{Overview, ScalerInputs};
use super::pools::WorkerStates;
use super::spending::SpentLine;
use super::tally::{BOUNDS_MS, Histogram};
use crate::otel::export::SpanCounts;

/// The text formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus 0.0.4, for whoever does not ask for the other.
    Prometheus,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The media type of an answer.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gauge,
    Counter,
    Histogram,
}

/// What the metrics are made of.
pub struct Sources<'a> {
    /// As of the last second.
    pub overview: &'a Overview,
    /// Waits and runs by endpoint's name, since the start of the serving process.
    pub histograms: &'a BTreeMap<String, (Histogram, Histogram)>,
    /// Decisions by endpoint's name and code, likewise.
    pub decisions: &'a BTreeMap<(String, &'static str), u64>,
    /// Jobs that failed by endpoint's name and kind, likewise.
    pub failures: &'a BTreeMap<(String, String), u64>,
    /// Sums of the ledger, for ever.
    pub spent: &'a [SpentLine],
    /// What became of spans, where they are made.
    pub spans: Option<SpanCounts>,
    /// Caps in force.
    pub budget: &'a Budget,
}

/// All metrics as text.
#[must_use]
pub fn write(sources: &Sources<'_>, format: Format) -> String {
    let mut page = Page {
        text: String::with_capacity(8_192),
        format,
        name: "",
    };
    about_jobs(&mut page, sources);
    about_workers(&mut page, sources.overview);
    about_decisions(&mut page, sources);
    about_scaler(&mut page, sources.overview);
    about_money(&mut page, sources);
    about_caps(&mut page, sources);
    about_devices(&mut page, sources.overview);
    page.family(
        "trouble",
        Kind::Gauge,
        "What is wrong now with disk, clock or process; 1 while it is.",
    );
    for trouble in &sources.overview.troubles {
        page.value("", &[("code", trouble.code)], 1.0);
    }
    if let Some(spans) = sources.spans {
        page.family(
            "trace_spans",
            Kind::Counter,
            "Spans since the start, by what became of them.",
        );
        for (result, count) in [
            ("sent", spans.sent),
            ("lost", spans.lost),
            ("refused", spans.refused),
        ] {
            page.value("_total", &[("result", result)], number(count));
        }
    }
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    page.family("build_info", Kind::Gauge, "What is running; always 1.");
    page.value("", &version, 1.0);
    page.family(
        "seen_timestamp_seconds",
        Kind::Gauge,
        "When the state was looked at; it is looked at once a second.",
    );
    page.value("", &[], seconds(sources.overview.at_ms));
    if format == Format::OpenMetrics {
        page.text.push_str("# EOF\n");
    }
    page.text
}

fn about_jobs(page: &mut Page, sources: &Sources<'_>) {
    let endpoints = &sources.overview.endpoints;
    page.family("jobs", Kind::Gauge, "Jobs that are not over, by state.");
    for line in endpoints {
        for (state, count) in [("queued", line.queued), ("running", line.running)] {
            page.value(
                "",
                &[("endpoint", &line.name), ("state", state)],
                number(count),
            );
        }
    }
    page.family("jobs_ended", Kind::Counter, "Jobs that ended, by how.");
    for line in endpoints {
        for (status, count) in [
            ("completed", line.ended.completed),
            ("failed", line.ended.failed),
            ("cancelled", line.ended.cancelled),
            ("timed_out", line.ended.timed_out),
        ] {
            page.value(
                "_total",
                &[("endpoint", &line.name), ("status", status)],
                number(count),
            );
        }
    }
    page.family(
        "job_failures",
        Kind::Counter,
        "Jobs that failed since the start, by the kind of their error.",
    );
    for ((endpoint, kind), count) in sources.failures {
        page.value(
            "_total",
            &[("endpoint", endpoint), ("kind", kind)],
            number(*count),
        );
    }
    page.family(
        "oldest_wait_seconds",
        Kind::Gauge,
        "Since the job that waits longest came in; 0 when none waits.",
    );
    for line in endpoints {
        let wait = line.oldest_wait_ms.unwrap_or(0);
        page.value("", &[("endpoint", &line.name)], number(wait) / 1_000.0);
    }
    page.family(
        "max_wait_seconds",
        Kind::Gauge,
        "The promise: from submission to the first start.",
    );
    for line in endpoints {
        page.value(
            "",
            &[("endpoint", &line.name)],
            number(line.max_wait_ms) / 1_000.0,
        );
    }
    page.family(
        "job_wait_seconds",
        Kind::Histogram,
        "From submission to the start of the last attempt, of jobs that ended.",
    );
    for (endpoint, (wait, _)) in sources.histograms {
        page.histogram(endpoint, wait);
    }
    page.family(
        "job_run_seconds",
        Kind::Histogram,
        "Time inside the last attempt, of jobs that were completed.",
    );
    for (endpoint, (_, run)) in sources.histograms {
        page.histogram(endpoint, run);
    }
}

fn about_workers(page: &mut Page, overview: &Overview) {
    let pools = || {
        overview.endpoints.iter().flat_map(|line| {
            let name = line.name.as_str();
            line.pools.iter().map(move |pool| (name, pool))
        })
    };
    page.family("workers", Kind::Gauge, "Workers by pool and state.");
    for (endpoint, pool) in pools() {
        for (state, count) in states(&pool.workers) {
            let labels = [
                ("endpoint", endpoint),
                ("pool", &pool.name),
                ("kind", pool.kind),
                ("state", state),
            ];
            page.value("", &labels, f64::from(count));
        }
    }
    page.family(
        "pool_jobs",
        Kind::Gauge,
        "Jobs that a pool runs, and those handed to it that it has not begun.",
    );
    for (endpoint, pool) in pools() {
        for (state, count) in [("running", pool.running), ("waiting", pool.waiting)] {
            let labels = [
                ("endpoint", endpoint),
                ("pool", &pool.name),
                ("kind", pool.kind),
                ("state", state),
            ];
            page.value("", &labels, f64::from(count));
        }
    }
    page.family(
        "workers_min",
        Kind::Gauge,
        "Cloud workers that are always on.",
    );
    for line in &overview.endpoints {
        page.value("", &[("endpoint", &line.name)], f64::from(line.min));
    }
    page.family("workers_max", Kind::Gauge, "Cloud workers at most.");
    for line in &overview.endpoints {
        page.value("", &[("endpoint", &line.name)], f64::from(line.max));
    }
    page.family(
        "workers_wanted",
        Kind::Gauge,
        "Cloud workers as the scaler wants them.",
    );
    for (endpoint, pool) in pools() {
        if let Some(cloud) = &pool.cloud {
            let labels = [("endpoint", endpoint), ("pool", pool.name.as_str())];
            page.value("", &labels, f64::from(cloud.wanted));
        }
    }
    page.family(
        "pool_info",
        Kind::Gauge,
        "Where a cloud pool stands and what it runs on, as labels; the value is 1. Joins money and jobs by pool to \
         regions and GPU types.",
    );
    for (endpoint, pool) in pools() {
        if let Some(cloud) = &pool.cloud {
            let region = cloud.region.as_ref().map_or("", |region| region.as_str());
            let labels = [
                ("endpoint", endpoint),
                ("pool", pool.name.as_str()),
                ("region", region),
                ("gpu", cloud.gpu.as_deref().unwrap_or("")),
            ];
            page.value("", &labels, 1.0);
        }
    }
    page.family(
        "pool_failures",
        Kind::Gauge,
        "Refusals and failures of a cloud pool in a row; above 0 it is left alone for a while.",
    );
    for (endpoint, pool) in pools() {
        if let Some(cloud) = &pool.cloud {
            let labels = [("endpoint", endpoint), ("pool", pool.name.as_str())];
            page.value("", &labels, f64::from(cloud.failures));
        }
    }
}

fn about_decisions(page: &mut Page, sources: &Sources<'_>) {
    page.family(
        "decisions",
        Kind::Counter,
        "Decisions about placement and scaling, by their reason's code.",
    );
    for ((endpoint, reason), count) in sources.decisions {
        page.value(
            "_total",
            &[("endpoint", endpoint), ("reason", reason)],
            number(*count),
        );
    }
}

/// What the scaler reckons with, beside what waits; what it wants is told with the workers.
fn about_scaler(page: &mut Page, overview: &Overview) {
    type Input = fn(&ScalerInputs) -> u64;
    let inputs: [(&'static str, &str, Input); 3] = [
        (
            "scaler_arrivals_per_second",
            "Jobs that come in a second, averaged over about a minute.",
            |inputs| inputs.arrivals_per_1000_s,
        ),
        (
            "scaler_run_seconds",
            "How long a job of which nothing is known is taken to run.",
            |inputs| inputs.run_ms,
        ),
        (
            "scaler_start_seconds",
            "How long a cloud worker is taken to start.",
            |inputs| inputs.start_ms,
        ),
    ];
    for (name, help, input) in inputs {
        page.family(name, Kind::Gauge, help);
        for line in &overview.endpoints {
            let value = number(input(&line.inputs)) / 1_000.0;
            page.value("", &[("endpoint", &line.name)], value);
        }
    }
}

fn about_money(page: &mut Page, sources: &Sources<'_>) {
    let money = &sources.overview.money;
    page.family(
        "cloud_dollars_per_hour",
        Kind::Gauge,
        "What the cloud workers that are up cost an hour.",
    );
    page.value("", &[], dollars(money.nano_usd_per_hour));
    page.family(
        "reserved_dollars",
        Kind::Gauge,
        "Set aside for cloud workers that may come of what was submitted.",
    );
    page.value("", &[], dollars(money.reserved_nano_usd));
    // Pools that were removed have no names any more: they are one.
    let mut spent: BTreeMap<(&str, &str), [i64; 5]> = BTreeMap::new();
    let mut drift: BTreeMap<(&str, &str, &str), i64> = BTreeMap::new();
    for line in sources.spent {
        let sums = spent.entry((&line.endpoint, &line.pool)).or_default();
        sums[4] += line.unsettled_nano_usd;
        for (cause, amount) in &line.drift_by_cause {
            let sum = drift.entry((&line.endpoint, &line.pool, cause));
            *sum.or_default() += amount;
        }
        sums[0] += line.cold_start_nano_usd;
        sums[1] += line.run_nano_usd;
        sums[2] += line.idle_nano_usd;
        sums[3] += line.saved_nano_usd;
    }
    page.family(
        "spent_dollars",
        Kind::Counter,
        "Spent on cloud workers, by what they did.",
    );
    for (&(endpoint, pool), sums) in &spent {
        for (what, amount) in ["cold_start", "run", "idle"].into_iter().zip(sums) {
            let labels = [("endpoint", endpoint), ("pool", pool), ("for", what)];
            page.value("_total", &labels, dollars(*amount));
        }
    }
    page.family(
        "unsettled_dollars",
        Kind::Gauge,
        "What cloud workers may have cost while nobody could count them.",
    );
    for (&(endpoint, pool), sums) in &spent {
        let labels = [("endpoint", endpoint), ("pool", pool)];
        page.value("", &labels, dollars(sums[4]));
    }
    page.family(
        "drift_dollars",
        Kind::Gauge,
        "What RunPod's records say beyond what was counted, or short of it, by cause.",
    );
    for (&(endpoint, pool, cause), &amount) in &drift {
        let labels = [("endpoint", endpoint), ("pool", pool), ("cause", cause)];
        page.value("", &labels, dollars(amount));
    }
    page.family(
        "saved_dollars",
        Kind::Counter,
        "What the cloud would have cost for jobs of local cards.",
    );
    for (&(endpoint, pool), sums) in &spent {
        let labels = [("endpoint", endpoint), ("pool", pool)];
        page.value("_total", &labels, dollars(sums[3]));
    }
}

/// Caps of keys are left out: nothing that grows without end is a label.
fn about_caps(page: &mut Page, sources: &Sources<'_>) {
    type Amount = fn(&CapLine) -> i64;
    let families: [(&'static str, &str, Amount); 3] = [
        (
            "cap_dollars",
            "The most that may be spent in a period.",
            |cap| cap.cap_nano_usd,
        ),
        (
            "cap_spent_dollars",
            "Spent of a cap since its period began.",
            |cap| cap.spent_nano_usd,
        ),
        (
            "cap_reserved_dollars",
            "Set aside of a cap for cloud workers that there are or may be.",
            |cap| cap.reserved_nano_usd,
        ),
    ];
    for (name, help, amount) in families {
        page.family(name, Kind::Gauge, help);
        let caps = sources.budget.caps.iter();
        for cap in caps.filter(|cap| cap.whose.key.is_none()) {
            let endpoint = cap.whose.endpoint.as_deref().unwrap_or("");
            let labels = [("endpoint", endpoint), ("period", cap.period.as_str())];
            page.value("", &labels, dollars(amount(cap)));
        }
    }
    page.family(
        "electricity_dollars",
        Kind::Counter,
        "What cards here took from the socket for jobs, at the configured price.",
    );
    let electricity = sources.overview.money.electricity_total_nano_usd;
    page.value("_total", &[], dollars(electricity));
}

fn about_devices(page: &mut Page, overview: &Overview) {
    type Reading = fn(&super::overview::DeviceLine) -> Option<f64>;
    let readings: [(&'static str, &str, Reading); 7] = [
        ("device_jobs", "Jobs that run on a card.", |device| {
            Some(f64::from(device.jobs))
        }),
        (
            "device_busy_ratio",
            "Share of the last moment in which a card computed.",
            |device| Some(f64::from(device.busy_percent?) / 100.0),
        ),
        ("device_memory_bytes", "Memory of a card.", |device| {
            Some(number(device.memory_bytes?))
        }),
        (
            "device_memory_used_bytes",
            "Memory of a card in use by anybody.",
            |device| Some(number(device.memory_used_bytes?)),
        ),
        (
            "device_temperature_celsius",
            "Temperature of a card's die.",
            |device| Some(f64::from(device.temperature_c?)),
        ),
        (
            "device_quarantined",
            "1 while a card must not be used, else 0.",
            |device| Some(f64::from(u8::from(device.quarantine.is_some()))),
        ),
        ("device_power_watts", "Power that a card draws.", |device| {
            Some(f64::from(device.power_mw?) / 1_000.0)
        }),
    ];
    for (name, help, reading) in readings {
        page.family(name, Kind::Gauge, help);
        for device in &overview.devices {
            if let Some(value) = reading(device) {
                let id = device.id.to_string();
                page.value("", &[("device", &id), ("name", &device.name)], value);
            }
        }
    }
}

const fn states(workers: &WorkerStates) -> [(&'static str, u32); 6] {
    [
        ("initializing", workers.initializing),
        ("idle", workers.idle),
        ("running", workers.running),
        ("throttled", workers.throttled),
        ("unhealthy", workers.unhealthy),
        ("stopping", workers.stopping),
    ]
}

/// Counts beyond 2^53 would lose their last digits; none gets there.
#[expect(clippy::cast_precision_loss, reason = "see above")]
const fn number(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "nobody's bill has 16 digits")]
fn dollars(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a time of this age has 13 digits"
)]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1_000.0
}

struct Page {
    text: String,
    format: Format,
    /// Of the family that is being written.
    name: &'static str,
}

impl Page {
    fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        self.name = name;
        let word = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        };
        // Prometheus' own format names a counter as its samples are named.
        let is_named_so = kind == Kind::Counter && self.format == Format::Prometheus;
        let end = if is_named_so { "_total" } else { "" };
        let text = &mut self.text;
        let _ = writeln!(text, "# HELP overspill_{name}{end} {help}");
        let _ = writeln!(text, "# TYPE overspill_{name}{end} {word}");
    }

    fn value(&mut self, end: &str, labels: &[(&str, &str)], value: f64) {
        let _ = write!(self.text, "overspill_{}{end}", self.name);
        for (i, (label, of)) in labels.iter().enumerate() {
            self.text.push(if i == 0 { '{' } else { ',' });
            let _ = write!(self.text, "{label}=\"{}\"", escaped(of));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{close} {value}");
    }

    fn histogram(&mut self, endpoint: &str, histogram: &Histogram) {
        let mut below = 0;
        for (bound, count) in BOUNDS_MS.iter().zip(histogram.counts) {
            below += count;
            let bound = (number(*bound) / 1_000.0).to_string();
            self.value(
                "_bucket",
                &[("endpoint", endpoint), ("le", &bound)],
                number(below),
            );
        }
        let all = number(histogram.count());
        self.value("_bucket", &[("endpoint", endpoint), ("le", "+Inf")], all);
        self.value(
            "_sum",
            &[("endpoint", endpoint)],
            number(histogram.sum_ms) / 1_000.0,
        );
        self.value("_count", &[("endpoint", endpoint)], all);
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::overview::{Ended, EndpointLine};
    use crate::view::tally::Recent;

    fn page(format: Format) -> String {
        let mut histogram = Histogram::default();
        for millis in [3, 5, 700, 9_000_000] {
            histogram.add(millis);
        }
        let line = EndpointLine {
            id: overspill_core::id::EndpointId(1),
            name: "a\"b\\c".into(),
            min: 0,
            max: 3,
            limits_changed: None,
            scaler_changed: None,
            max_wait_changed: None,
            schedule: None,
            policy: "ladder",
            max_wait_ms: 90_000,
            queued: 3,
            running: 0,
            oldest_wait_ms: Some(1_500),
            workers: WorkerStates::default(),
            pools: Vec::new(),
            recent: Recent::default(),
            ended: Ended::default(),
            inputs: ScalerInputs {
                arrivals_per_1000_s: 250,
                run_ms: 30_000,
                start_ms: 45_000,
            },
        };
        // Of endpoints that were removed, nothing but the sum is known.
        let removed = SpentLine {
            endpoint: String::new(),
            pool: String::new(),
            cold_start_nano_usd: 0,
            run_nano_usd: 1_500_000_000,
            idle_nano_usd: 0,
            unsettled_nano_usd: 0,
            drift_nano_usd: -250_000_000,
            drift_by_cause: BTreeMap::from([("billed_less", -250_000_000)]),
            saved_nano_usd: 0,
            run_ms: 0,
        };
        let overview = Overview {
            at_ms: 1_500,
            endpoints: vec![line],
            ..Overview::default()
        };
        let sources = Sources {
            overview: &overview,
            histograms: &[("tts".to_owned(), (histogram, Histogram::default()))].into(),
            decisions: &[(("tts".to_owned(), "scaled_up"), 2)].into(),
            failures: &[(("tts".to_owned(), "worker_lost".to_owned()), 4)].into(),
            spent: &[removed.clone(), removed],
            spans: Some(SpanCounts {
                sent: 7,
                lost: 1,
                refused: 0,
            }),
            budget: &Budget::default(),
        };
        write(&sources, format)
    }

    #[test]
    fn values_are_in_base_units_and_labels_are_escaped() {
        let text = page(Format::OpenMetrics);
        for line in [
            "overspill_jobs{endpoint=\"a\\\"b\\\\c\",state=\"queued\"} 3",
            "overspill_oldest_wait_seconds{endpoint=\"a\\\"b\\\\c\"} 1.5",
            "overspill_job_wait_seconds_bucket{endpoint=\"tts\",le=\"0.005\"} 2",
            "overspill_job_wait_seconds_bucket{endpoint=\"tts\",le=\"1\"} 3",
            "overspill_job_wait_seconds_bucket{endpoint=\"tts\",le=\"3600\"} 3",
            "overspill_job_wait_seconds_bucket{endpoint=\"tts\",le=\"+Inf\"} 4",
            "overspill_job_wait_seconds_sum{endpoint=\"tts\"} 9000.708",
            "overspill_job_wait_seconds_count{endpoint=\"tts\"} 4",
            "# TYPE overspill_decisions counter",
            "overspill_decisions_total{endpoint=\"tts\",reason=\"scaled_up\"} 2",
            "overspill_job_failures_total{endpoint=\"tts\",kind=\"worker_lost\"} 4",
            "overspill_scaler_arrivals_per_second{endpoint=\"a\\\"b\\\\c\"} 0.25",
            "overspill_scaler_start_seconds{endpoint=\"a\\\"b\\\\c\"} 45",
            "overspill_seen_timestamp_seconds 1.5",
            "overspill_spent_dollars_total{endpoint=\"\",pool=\"\",for=\"run\"} 3",
            "overspill_drift_dollars{endpoint=\"\",pool=\"\",cause=\"billed_less\"} -0.5",
        ] {
            assert!(
                text.lines().any(|seen| seen == line),
                "{line} is not in:\n{text}"
            );
        }
        assert!(text.ends_with("# EOF\n"));
        let text = page(Format::Prometheus);
        assert!(text.contains("# TYPE overspill_decisions_total counter\n"));
        assert!(!text.contains("# EOF"));
    }

    #[test]
    fn the_reference_lists_every_metric() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docs/reference/metrics.md"
        );
        let reference = std::fs::read_to_string(path).unwrap();
        let text = page(Format::Prometheus);
        let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let mut count = 0;
        for family in families {
            let (name, kind) = family.split_once(' ').unwrap();
            let line = format!("| `{name}` | {kind} |");
            assert!(
                reference.contains(&line),
                "docs/reference/metrics.md lacks: {line}"
            );
            count += 1;
        }
        assert_eq!(
            reference.matches("| `overspill_").count(),
            count,
            "metrics that are not there"
        );
    }
}
