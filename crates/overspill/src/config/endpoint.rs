//! `[[endpoint]]`: a named place that jobs are sent to, with its limits, its scaler and its pools.

use overspill_core::money::NanoUsd;
use overspill_core::scaler::START_MEAN;
use overspill_core::time::DurationMs;
use overspill_core::topology::Tuning;

use super::cloud::CloudPool;
use super::decode::{Check, Decoder, choice, defaults, section};
use super::local::LocalPool;
use super::node::Node;
use super::problem::{Place, quoted};
use super::regions::RegionNames;
use super::schedule::Schedule;

/// Longest execution timeout and TTL that the compatible API knows: seven days.
const WEEK: DurationMs = DurationMs::from_secs(7 * 24 * 3_600);

/// Path segments that RunPod's management API uses below `/v2`, which an endpoint's name would hide.
pub(crate) const RESERVED_NAMES: &[&str] = &[
    "account",
    "billing",
    "catalog",
    "clusters",
    "container-registries",
    "endpoints",
    "gpus",
    "network-volumes",
    "openai",
    "openapi.json",
    "pods",
    "registries",
    "serverless",
    "templates",
    "volumes",
    "workers",
];

/// Fields in `class_by`, at most.
const CLASS_FIELDS_MAX: usize = 8;

section! {
    /// A named place that jobs are sent to.
    pub struct Endpoint in "[[endpoint]]" {
        /// Name in the address, as in `/v2/NAME/run`: letters, digits, `-`, `_` and `.`.
        pub name: String,
        /// Other names that reach this endpoint, such as the RunPod id that an app already uses.
        pub aliases: Vec<String> = Vec::new(),
        /// How long one attempt may run, 5 s to 7 d. A job's own `policy.executionTimeout` wins.
        pub execution_timeout: DurationMs = DurationMs::from_secs(600),
        /// How long a job may exist from submit to its end, 10 s to 7 d. A job's own
        /// `policy.ttl` wins.
        pub ttl: DurationMs = DurationMs::from_secs(24 * 3_600),
        /// How often a job is tried when its worker is lost, the first time included.
        pub max_attempts: u32 = 3,
        /// Promise from submit to first start; the cloud is used where local cards are projected
        /// to be later.
        pub max_wait: DurationMs = DurationMs::from_secs(90),
        /// What a job is taken to run until three have been measured.
        pub expected_execution: DurationMs = DurationMs::from_secs(30),
        /// Fields of `input` that tell short jobs from long ones, such as `["model", "settings/steps"]`:
        /// durations are learned for each combination of their values. A name, or a path with `/`; at most 8.
        pub class_by: Vec<String> = Vec::new(),
        /// What a cloud worker is taken to need from the order until it takes jobs, on average, until
        /// four starts have been measured. Write a few seconds where FlashBoot or a small image make
        /// starts short.
        pub expected_start: DurationMs = START_MEAN,
        /// How long results stay after a job has ended.
        pub retention: DurationMs = DurationMs::from_secs(24 * 3_600),
        /// Limits of cloud workers over all cloud pools.
        pub workers: Workers = defaults(),
        /// More workers kept on at certain hours, ordered ahead so that they are ready.
        pub schedule: Vec<Schedule> = Vec::new(),
        /// How many cloud workers are wanted at a moment.
        pub scaler: Scaler = defaults(),
        /// Caps on cloud spending of this endpoint, beside those for everything.
        pub budget: EndpointBudget = defaults(),
        /// Regions whose callers' jobs run in cloud pools of that region only, or on own GPUs. Left out:
        /// those of `[regions]`.
        pub residency: Option<RegionNames> = None,
        /// Own GPUs, in the order that they are preferred.
        pub local: Vec<LocalPool> = Vec::new(),
        /// Rented GPUs, taken when the own ones would be late.
        pub cloud: Vec<CloudPool> = Vec::new(),
    }
}

section! {
    /// Limits of cloud workers over all cloud pools of an endpoint.
    pub struct Workers in "workers" {
        /// Workers that are kept on; they cost money while idle.
        pub min: u32 = 0,
        /// Most workers at once; jobs beyond them wait.
        pub max: u32 = 3,
        /// Longest time that a worker above `min` idles before it is stopped.
        pub idle_timeout: DurationMs = DurationMs::from_secs(10),
    }
}

choice! {
    /// The rule by which the number of cloud workers is decided.
    pub enum Policy {
        /// Cheapest number that keeps `max_wait`, by projection.
        CostAware = "cost_aware",
        /// RunPod's rule: one more worker for each job that waits longer than a delay.
        QueueDelay = "queue_delay",
        /// RunPod's rule: a worker for so many requests queued or running.
        RequestCount = "request_count",
        /// The classic ladder: n workers while n run and more than n wait.
        Ladder = "ladder",
    }
}

section! {
    /// The scaler of an endpoint and its constants; a constant belongs to one policy.
    pub struct Scaler in "scaler" {
        /// The rule that is followed.
        pub policy: Policy = Policy::CostAware,
        /// For `queue_delay`: how long a job may wait before one more worker is wanted.
        /// Default 4 s.
        pub queue_delay: Option<DurationMs> = None,
        /// For `request_count`: requests per worker. Default 4.
        pub request_count: Option<u32> = None,
        /// For `cost_aware`: share of `max_wait` that projections may use, 0.5 to 1. Default 1.
        pub wait_share: Option<f64> = None,
        /// For `cost_aware`: price of lateness in cold starts, 1 to 100. Default 2.
        pub lateness_price: Option<f64> = None,
        /// For `cost_aware`: shortest time that a worker idles before it is stopped, at most
        /// `workers.idle_timeout`. Default 0 s: it stops as soon as no waiting job may go to it.
        pub min_idle: Option<DurationMs> = None,
    }
}

section! {
    /// Caps on cloud spending of one endpoint; nothing set means no cap of its own.
    pub struct EndpointBudget in "budget" {
        /// Most that may be spent in a clock hour.
        pub per_hour: Option<NanoUsd> = None,
        /// Most that may be spent in a calendar day.
        pub per_day: Option<NanoUsd> = None,
        /// Most that may be spent in a calendar month.
        pub per_month: Option<NanoUsd> = None,
    }
}

impl Scaler {
    /// The delay of `queue_delay` where none is given.
    pub const QUEUE_DELAY: DurationMs = DurationMs::from_secs(4);
    /// The requests per worker of `request_count` where none are given.
    pub const REQUEST_COUNT: u32 = 4;

    /// The delay of `queue_delay`, its default filled in.
    #[must_use]
    pub fn queue_delay(&self) -> DurationMs {
        self.queue_delay.unwrap_or(Self::QUEUE_DELAY)
    }

    /// The requests per worker of `request_count`, its default filled in.
    #[must_use]
    pub fn request_count(&self) -> u32 {
        self.request_count.unwrap_or(Self::REQUEST_COUNT)
    }

    /// The constants of `cost_aware`, defaults filled in.
    #[must_use]
    pub fn tuning(&self) -> Tuning {
        let default = Tuning::default();
        Tuning {
            wait_share_milli: self.wait_share.map_or(default.wait_share_milli, milli),
            lateness_price_milli: self
                .lateness_price
                .map_or(default.lateness_price_milli, milli),
            min_idle: self.min_idle.unwrap_or(default.min_idle),
        }
    }
}

/// In thousandths; what is far out of range comes out as the nearest there is.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from a float saturates"
)]
pub(crate) fn milli(value: f64) -> u32 {
    (value * 1_000.0).round() as u32
}

impl Check for Endpoint {
    fn check(&mut self, node: &Node, cx: &mut Decoder<'_, '_>) {
        let of = |key| node.place_of(key);
        let seconds = DurationMs::from_secs;
        within(
            cx,
            of("execution_timeout"),
            self.execution_timeout,
            seconds(5),
            WEEK,
        );
        within(cx, of("ttl"), self.ttl, seconds(10), WEEK);
        within(
            cx,
            of("max_wait"),
            self.max_wait,
            DurationMs::from_millis(1),
            WEEK,
        );
        within(
            cx,
            of("expected_execution"),
            self.expected_execution,
            DurationMs::from_millis(1),
            WEEK,
        );
        within(
            cx,
            of("expected_start"),
            self.expected_start,
            DurationMs::from_millis(1),
            seconds(3_600),
        );
        within(
            cx,
            of("retention"),
            self.retention,
            seconds(60),
            seconds(10 * 365 * 24 * 3_600),
        );
        if let Some(min_idle) = self
            .scaler
            .min_idle
            .filter(|min| *min > self.workers.idle_timeout)
        {
            let place = node
                .get("scaler")
                .map_or(&node.place, |scaler| scaler.place_of("min_idle"));
            let message = format!(
                "min_idle {} is longer than workers.idle_timeout {}; lower the one or raise the other",
                super::units::format_duration(min_idle),
                super::units::format_duration(self.workers.idle_timeout),
            );
            cx.error(place, message);
        }
        if self.class_by.len() > CLASS_FIELDS_MAX {
            let message = format!(
                "class_by has {} fields; expected at most {CLASS_FIELDS_MAX}",
                self.class_by.len()
            );
            cx.error(of("class_by"), message);
        }
        let is_no_path = |path: &&String| path.split('/').any(str::is_empty);
        if let Some(path) = self.class_by.iter().find(is_no_path) {
            let message = format!(
                "class_by names {}; expected a field of `input`, such as \"model\", or a path such as \
                 \"settings/steps\"",
                quoted(path)
            );
            cx.error(of("class_by"), message);
        }
        if !(1..=100).contains(&self.max_attempts) {
            let message = format!("max_attempts = {}; expected 1 to 100", self.max_attempts);
            cx.error(of("max_attempts"), message);
        }
        if self.ttl < self.execution_timeout {
            let place = if node.get("ttl").is_some() {
                "ttl"
            } else {
                "execution_timeout"
            };
            let message = format!(
                "ttl {} is shorter than execution_timeout {}: a job may expire while it runs",
                super::units::format_duration(self.ttl),
                super::units::format_duration(self.execution_timeout),
            );
            cx.problems.warning(of(place), message);
        }
        for (index, pool) in self.cloud.iter().enumerate() {
            let place = node.get("cloud").and_then(|cloud| cloud.items().get(index));
            let place = place.map_or(&node.place, |pool| pool.place_of("max"));
            if let Some(max) = pool.max.filter(|max| *max > self.workers.max) {
                let message = format!(
                    "max = {max} of this pool is above workers.max = {} of endpoint {}; \
                     lower the one or raise the other",
                    self.workers.max,
                    quoted(&self.name)
                );
                cx.error(place, message);
            }
        }
        for (index, schedule) in self.schedule.iter().enumerate() {
            let place = node
                .get("schedule")
                .and_then(|list| list.items().get(index));
            let place = place.map_or(&node.place, |schedule| schedule.place_of("min"));
            if schedule.min > self.workers.max {
                let message = format!(
                    "min = {} of this schedule is above workers.max = {} of endpoint {}; lower the one or \
                     raise the other",
                    schedule.min,
                    self.workers.max,
                    quoted(&self.name)
                );
                cx.error(place, message);
            }
        }
        self.name_pools(node, cx);
    }
}

impl Endpoint {
    /// Gives pools without a name one by their place, and refuses one name for two.
    fn name_pools(&mut self, node: &Node, cx: &mut Decoder<'_, '_>) {
        for (index, pool) in self.local.iter_mut().enumerate() {
            if pool.name.is_empty() {
                pool.name = format!("local-{}", index + 1);
            }
        }
        for (index, pool) in self.cloud.iter_mut().enumerate() {
            if pool.name.is_empty() {
                pool.name = format!("cloud-{}", index + 1);
            }
        }
        let places = ["local", "cloud"]
            .into_iter()
            .flat_map(|key| node.get(key).map_or(&[][..], Node::items))
            .map(|pool| pool.place_of("name").clone());
        let names = self
            .local
            .iter()
            .map(|pool| &pool.name)
            .chain(self.cloud.iter().map(|p| &p.name));
        let mut seen: Vec<(&String, Place)> = Vec::new();
        for (name, place) in names.zip(places) {
            if let Some((_, first)) = seen.iter().find(|(other, _)| *other == name) {
                let line = cx.problems.line_of(first);
                let message = format!(
                    "two pools are called {}; the other is on {line}",
                    quoted(name)
                );
                cx.error(&place, message);
            }
            seen.push((name, place));
        }
    }
}

impl Check for Workers {
    fn check(&mut self, node: &Node, cx: &mut Decoder<'_, '_>) {
        if self.min > self.max {
            let max = if node.get("max").is_some() {
                ""
            } else {
                " (the default)"
            };
            let message = format!(
                "min = {} is above max = {}{max}; lower min or raise max",
                self.min, self.max
            );
            cx.error(node.place_of("min"), message);
        }
        within(
            cx,
            node.place_of("idle_timeout"),
            self.idle_timeout,
            DurationMs::from_secs(1),
            DurationMs::from_secs(3_600),
        );
    }
}

impl Check for Scaler {
    fn check(&mut self, node: &Node, cx: &mut Decoder<'_, '_>) {
        for (key, policy) in [
            ("queue_delay", Policy::QueueDelay),
            ("request_count", Policy::RequestCount),
            ("wait_share", Policy::CostAware),
            ("lateness_price", Policy::CostAware),
            ("min_idle", Policy::CostAware),
        ] {
            if node.get(key).is_some() && policy != self.policy {
                let message = format!(
                    "`{key}` belongs to the policy {}, but the policy here is {}; \
                     remove it or set policy = \"{}\"",
                    policy.as_str(),
                    self.policy.as_str(),
                    policy.as_str()
                );
                cx.error(node.place_of(key), message);
            }
        }
        if self.request_count == Some(0) {
            cx.error(
                node.place_of("request_count"),
                "request_count = 0; expected 1 or more",
            );
        }
        for (key, value, least, most) in [
            ("wait_share", self.wait_share, 0.5, 1.0),
            ("lateness_price", self.lateness_price, 1.0, 100.0),
        ] {
            if let Some(value) = value.filter(|value| !(least..=most).contains(value)) {
                cx.error(
                    node.place_of(key),
                    format!("{key} = {value}; expected {least} to {most}"),
                );
            }
        }
    }
}

impl Check for EndpointBudget {
    fn check(&mut self, node: &Node, cx: &mut Decoder<'_, '_>) {
        super::check::caps(node, self.per_hour, self.per_day, self.per_month, cx);
    }
}

/// Refuses a duration outside of its bounds.
pub(crate) fn within(
    cx: &mut Decoder<'_, '_>,
    place: &Place,
    value: DurationMs,
    least: DurationMs,
    most: DurationMs,
) {
    if value < least || value > most {
        use super::units::format_duration as shown;
        let message = format!(
            "{} is out of range; expected {} to {}",
            shown(value),
            shown(least),
            shown(most)
        );
        cx.error(place, message);
    }
}
