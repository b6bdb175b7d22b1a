//! The top of the configuration tree and the tables that hold for the whole installation.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use overspill_core::calendar::Calendar;
use overspill_core::guard::{AFTER_MAX, AFTER_MIN};
use overspill_core::money::NanoUsd;
use overspill_core::quarantine::RETURNS_AFTER;
use overspill_core::time::{DurationMs, Timestamp};
use secrecy::SecretString;

use super::decode::{Check, Decoder, choice, defaults, from_text, section};
use super::endpoint::Endpoint;
use super::env::{self, Environment};
use super::node::Node;
use super::problem::quoted;
use super::regions::Regions;
use super::units::{EnergyPrice, MemorySize};

/// A journal has four files of at least a million bytes.
const JOURNAL_BYTES_MIN: u64 = 4_000_000;

section! {
    /// The whole configuration, every default filled in and every rule checked.
    pub struct Config in "the configuration" {
        /// Address and port that the one HTTP server listens on. Any other than a loopback
        /// address needs `auth.required = true` and `trusted_proxies`.
        pub listen: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
        /// Folder of the embedded database, the results and the logs.
        pub data_dir: PathBuf = PathBuf::from("overspill-data"),
        /// PostgreSQL address that several replicas share instead of the embedded database.
        pub database: Option<SecretString> = None,
        /// Address that callers and remote workers reach this server under, when a tunnel or a
        /// proxy stands in front. With it, RunPod is asked to call here when a job ends
        /// (`/hooks/runpod/…`): a hint to look at once, and how a job is found whose answer was lost.
        pub public_url: Option<Url> = None,
        /// Further values of the `Host` header that are answered, beside the listening address,
        /// `localhost` and the host of `public_url`.
        pub allowed_hosts: Vec<String> = Vec::new(),
        /// Origins, such as `https://app.example`, whose pages may follow a job with that job's token
        /// (`POST /api/v1/jobs/{job}/token`). No other request is answered to a page of another site.
        pub allowed_origins: Vec<String> = Vec::new(),
        /// Networks whose `X-Forwarded-*` and region headers are believed.
        pub trusted_proxies: Vec<IpNet> = Vec::new(),
        /// Who may call.
        pub auth: Auth = defaults(),
        /// Whose calls RunPod's rate limits hold for.
        pub rate_limits: RateLimits = RateLimits::Remote,
        /// The RunPod account. Left out: local workers only.
        pub runpod: Option<Runpod> = None,
        /// Caps on cloud spending for everything together.
        pub budget: Budget = defaults(),
        /// Where callers come from, and which cloud pools are near them.
        pub regions: Option<Regions> = None,
        /// Where results may be sent.
        pub webhooks: Webhooks = defaults(),
        /// What holds for the cards of this machine.
        pub devices: DeviceRules = defaults(),
        /// Where facts and decisions are written down, to be replayed.
        pub journal: Journal = defaults(),
        /// The endpoints, each a named place that jobs are sent to.
        pub endpoint: Vec<Endpoint> = Vec::new(),
    }
}

section! {
    /// Who may call.
    pub struct Auth in "[auth]" {
        /// Whether every call needs a key, loopback included.
        pub required: bool = true,
    }
}

choice! {
    /// Whose calls RunPod's rate limits (requests in 10 s, and at once, per key, endpoint and
    /// operation) hold for. `/purge-queue` is limited for all.
    pub enum RateLimits {
        /// Callers from other machines; programs on this one are not limited.
        Remote = "remote",
        /// Every caller, as at RunPod.
        All = "all",
        /// Nobody.
        Off = "off",
    }
}

section! {
    /// The RunPod account and where its two APIs are.
    pub struct Runpod in "[runpod]" {
        /// Key of the account. Left out: the variable `RUNPOD_API_KEY`.
        pub api_key: Option<SecretString> = None,
        /// Base address of the job API. Left out: the variable `RUNPOD_ENDPOINT_BASE_URL`, else
        /// RunPod's own.
        pub base_url: Option<Url> = None,
        /// Base address of the management API. Left out: the variable `RUNPOD_REST_V2_API_URL`,
        /// else RunPod's own.
        pub management_url: Option<Url> = None,
        /// The account's worker quota over all endpoints. Left out: learned from refusals.
        pub max_workers: Option<u32> = None,
        /// How often RunPod's billing records are compared with the ledger, 10 s to 24 h. They are by
        /// the hour, so a shorter time is for tests.
        pub billing_check: DurationMs = DurationMs::from_secs(3_600),
        /// How often the limits of workers that RunPod really has are read, 10 s to 1 h: it lowers them
        /// by itself after days without a job and where workers crash.
        pub limits_check: DurationMs = DurationMs::from_secs(300),
        /// Silence of the server after which `overspill guard` sets all limits of workers to 0, 10 s
        /// to 1 h. A guard that the server has not heard of for as long counts as gone.
        pub guard_after: DurationMs = DurationMs::from_secs(60),
        /// Your word that workers may be kept on (`min` above 0) without a guard: if every process
        /// of Overspill dies, they then cost money until somebody notices. Without it, and without a
        /// guard, `min` is held at 0.
        pub unguarded_min: bool = false,
    }
}

section! {
    /// Caps on cloud spending for everything together; nothing set means no cap. And what goes with
    /// them.
    pub struct Budget in "[budget]" {
        /// Most that may be spent in a clock hour.
        pub per_hour: Option<NanoUsd> = None,
        /// Most that may be spent in a calendar day.
        pub per_day: Option<NanoUsd> = None,
        /// Most that may be spent in a calendar month.
        pub per_month: Option<NanoUsd> = None,
        /// Time zone whose hours, days and months count, as an IANA name.
        pub time_zone: TimeZone = TimeZone("UTC".to_owned()),
        /// Receiver of a signed webhook when 50, 80 and 100 % of a cap are spent, once for each period.
        pub alert: Option<Url> = None,
        /// Price of electricity for the cards here, for what they save beyond it.
        pub electricity: Option<EnergyPrice> = None,
    }
}

section! {
    /// What holds for the cards of this machine, all of them.
    pub struct DeviceRules in "[devices]" {
        /// How long a quarantined card must be seen well before it takes jobs again, 1 s to 1 d. One
        /// with memory errors that could not be corrected is well when it was reset.
        pub returns_after: DurationMs = RETURNS_AFTER,
    }
}

section! {
    /// Where results may be sent.
    pub struct Webhooks in "[webhooks]" {
        /// Receivers on private addresses that are allowed all the same, as `host` or
        /// `host:port`.
        pub allow: Vec<String> = Vec::new(),
    }
}

section! {
    /// Where facts and decisions are written down, to be replayed by `overspill simulate --journal`.
    pub struct Journal in "[journal]" {
        /// The file; the ones before it are named with `.1` to `.3`. Left out: no journal.
        pub file: Option<PathBuf> = None,
        /// The size of all its files together; the oldest goes when it is reached.
        pub max_size: MemorySize = MemorySize::from_bytes(256_000_000),
    }
}

impl Default for Runpod {
    /// What the environment alone says.
    fn default() -> Self {
        defaults()
    }
}

impl Default for Config {
    /// Every default, no endpoints; relative paths start from the current folder.
    fn default() -> Self {
        defaults()
    }
}

impl Config {
    /// Whether any endpoint has a cloud pool.
    #[must_use]
    pub fn uses_cloud(&self) -> bool {
        let mut endpoints = self.endpoint.iter();
        endpoints.any(|endpoint| !endpoint.cloud.is_empty())
    }

    /// The endpoint that `name` means: its name, an alias, or the RunPod id of one of its pools.
    #[must_use]
    pub fn endpoint_called(&self, name: &str) -> Option<&Endpoint> {
        self.endpoint
            .iter()
            .find(|endpoint| endpoint.name == name)
            .or_else(|| {
                self.endpoint.iter().find(|endpoint| {
                    endpoint.aliases.iter().any(|alias| alias == name)
                        || endpoint
                            .cloud
                            .iter()
                            .any(|pool| pool.id.as_deref() == Some(name))
                })
            })
    }
}

/// How the RunPod account is reached, variables and defaults filled in.
#[derive(Debug, Clone)]
pub struct RunpodAccess {
    /// Key of the account; none when neither the file nor the environment has one.
    pub api_key: Option<SecretString>,
    /// Base address of the job API, without a trailing slash.
    pub base_url: Url,
    /// Base address of the management API, without a trailing slash.
    pub management_url: Url,
    /// How often billing records are read.
    pub billing_check: DurationMs,
    /// How often the limits of workers are read.
    pub limits_check: DurationMs,
}

impl Runpod {
    /// RunPod's own job API.
    pub const BASE_URL: &str = "https://api.runpod.ai/v2";
    /// RunPod's own management API.
    pub const MANAGEMENT_URL: &str = "https://api.runpod.io/v2";

    /// Fills in what the file leaves to the environment.
    ///
    /// # Errors
    /// A sentence that names the variable, when one holds no address or an unreadable secret.
    pub fn access(&self, environment: &Environment) -> Result<RunpodAccess, String> {
        let url = |own: &Option<Url>, variable: &str, default: &str| match own {
            Some(url) => Ok(url.clone()),
            None => Url::parse(environment.text(variable).unwrap_or(default))
                .map_err(|message| format!("variable {variable}: {message}")),
        };
        let api_key = match &self.api_key {
            Some(key) => Some(key.clone()),
            None => environment.secret(env::RUNPOD_API_KEY)?,
        };
        Ok(RunpodAccess {
            api_key,
            base_url: url(
                &self.base_url,
                env::RUNPOD_ENDPOINT_BASE_URL,
                Self::BASE_URL,
            )?,
            management_url: url(
                &self.management_url,
                env::RUNPOD_REST_V2_API_URL,
                Self::MANAGEMENT_URL,
            )?,
            billing_check: self.billing_check,
            limits_check: self.limits_check,
        })
    }
}

impl Check for Config {
    fn check(&mut self, node: &Node, cx: &mut Decoder<'_, '_>) {
        super::check::whole(self, node, cx);
    }
}

impl Check for Auth {}

impl Check for Runpod {
    fn check(&mut self, node: &Node, cx: &mut Decoder<'_, '_>) {
        if self.max_workers == Some(0) {
            cx.error(
                node.place_of("max_workers"),
                "max_workers = 0 would start nothing; leave [runpod] out to use local GPUs only",
            );
        }
        super::endpoint::within(
            cx,
            node.place_of("billing_check"),
            self.billing_check,
            DurationMs::from_secs(10),
            DurationMs::from_secs(86_400),
        );
        super::endpoint::within(
            cx,
            node.place_of("limits_check"),
            self.limits_check,
            DurationMs::from_secs(10),
            DurationMs::from_secs(3_600),
        );
        if !(AFTER_MIN..=AFTER_MAX).contains(&self.guard_after) {
            let message = format!(
                "guard_after = \"{}\"; expected 10s to 1h: a restart must not count as a death, nor a \
                 death go unnoticed",
                super::units::format_duration(self.guard_after)
            );
            cx.error(node.place_of("guard_after"), message);
        }
    }
}

impl Budget {
    /// Whether any cap is set.
    #[must_use]
    pub const fn is_capped(&self) -> bool {
        self.per_hour.is_some() || self.per_day.is_some() || self.per_month.is_some()
    }
}

impl Check for Budget {
    fn check(&mut self, node: &Node, cx: &mut Decoder<'_, '_>) {
        super::check::caps(node, self.per_hour, self.per_day, self.per_month, cx);
    }
}

impl Check for DeviceRules {
    fn check(&mut self, node: &Node, cx: &mut Decoder<'_, '_>) {
        super::endpoint::within(
            cx,
            node.place_of("returns_after"),
            self.returns_after,
            DurationMs::from_secs(1),
            DurationMs::from_secs(86_400),
        );
    }
}

impl Check for Journal {
    fn check(&mut self, node: &Node, cx: &mut Decoder<'_, '_>) {
        if self.max_size.as_bytes() < JOURNAL_BYTES_MIN {
            cx.error(
                node.place_of("max_size"),
                "a journal of less than 4MB holds too little; expected a size such as \"256MB\"",
            );
        }
    }
}

impl Check for Webhooks {
    fn check(&mut self, node: &Node, cx: &mut Decoder<'_, '_>) {
        for (index, receiver) in self.allow.iter().enumerate() {
            let place = node.get("allow").and_then(|allow| allow.items().get(index));
            if receiver.is_empty() || receiver.contains('/') || receiver.contains(' ') {
                let message = format!(
                    "{} is no receiver; expected a host or host:port such as \"127.0.0.1:3000\"",
                    quoted(receiver)
                );
                cx.error(place.map_or(&node.place, |node| &node.place), message);
            }
        }
    }
}

/// An absolute `http` or `https` address without a trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url(String);

impl Url {
    /// The address, without a trailing slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Host and port in `host:port` form, the port by the scheme where none is given.
    #[must_use]
    pub fn authority(&self) -> String {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("http", &self.0));
        let host = rest.split(['/', '?']).next().unwrap_or(rest);
        let has_port = host
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
        match (has_port, scheme) {
            (true, _) => host.to_owned(),
            (false, "https") => format!("{host}:443"),
            (false, _) => format!("{host}:80"),
        }
    }

    /// Reads an address.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = "expected an address such as \"https://gpu.example.com\"";
        let parsed = reqwest::Url::parse(text)
            .map_err(|error| format!("{} is no address: {error}; {expected}", quoted(text)))?;
        if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
            return Err(format!("{} is not http or https; {expected}", quoted(text)));
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            // The value is not shown: it holds a password.
            return Err(format!(
                "an address with a name or password in it; {expected}"
            ));
        }
        if parsed.fragment().is_some() || parsed.query().is_some() {
            return Err(format!(
                "{} has a `?` or `#` part; {expected}",
                quoted(text)
            ));
        }
        Ok(Self(parsed.as_str().trim_end_matches('/').to_owned()))
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The IANA name of a time zone that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeZone(String);

impl TimeZone {
    /// The IANA name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Its hours, days and months: how far its clocks are ahead of UTC, from 2020 to 2060.
    #[must_use]
    pub fn calendar(&self) -> Calendar {
        let Ok(zone) = jiff::tz::TimeZone::get(&self.0) else {
            return Calendar::default();
        };
        let first = jiff::Timestamp::constant(1_577_836_800, 0);
        let last = jiff::Timestamp::constant(2_840_140_800, 0);
        let start = (first, zone.to_offset(first));
        let changes = zone
            .following(first)
            .map(|change| (change.timestamp(), change.offset()));
        let changes = changes.take_while(|(at, _)| *at < last);
        let at = |at: jiff::Timestamp| Timestamp::from_millis(at.as_millisecond());
        let offsets = std::iter::once(start).chain(changes);
        Calendar::new(
            offsets
                .map(|(from, offset)| (at(from), offset.seconds()))
                .collect(),
        )
    }

    /// Finds a time zone by its name.
    ///
    /// # Errors
    /// A sentence when there is none of this name.
    pub fn parse(text: &str) -> Result<Self, String> {
        match jiff::tz::TimeZone::get(text) {
            Ok(zone) => Ok(Self(zone.iana_name().unwrap_or(text).to_owned())),
            Err(_) => Err(format!(
                "unknown time zone {}; expected an IANA name such as \"Europe/Berlin\" or \"UTC\"",
                quoted(text)
            )),
        }
    }
}

/// Reads a listening address; `localhost` means the IPv4 loopback.
///
/// # Errors
/// A sentence that says what is wrong and what is expected.
pub(crate) fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let numeric = text
        .strip_prefix("localhost:")
        .map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    numeric.parse().map_err(|_| {
        let expected = "expected an IP address and a port such as \"127.0.0.1:8080\"";
        if text.parse::<IpAddr>().is_ok() {
            format!("{} has no port; {expected}", quoted(text))
        } else if let Some(port) = text.strip_prefix(':') {
            format!(
                "{} has no address; expected \"127.0.0.1:{port}\" for this machine only",
                quoted(text)
            )
        } else {
            format!("{} is no listening address; {expected}", quoted(text))
        }
    })
}

fn parse_network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    text.parse().map_err(|_| {
        format!(
            "{} is no network; expected one such as \"10.0.0.0/8\"",
            quoted(text)
        )
    })
}

from_text!(
    SocketAddr,
    "an IP address and a port such as `\"127.0.0.1:8080\"`",
    parse_listen,
    ToString::to_string
);
from_text!(
    Url,
    "an `http` or `https` address",
    Url::parse,
    ToString::to_string
);
from_text!(
    IpNet,
    "a network such as `\"10.0.0.0/8\"`",
    parse_network,
    ToString::to_string
);
from_text!(
    TimeZone,
    "an IANA time zone",
    TimeZone::parse,
    |zone: &TimeZone| zone.0.clone()
);
