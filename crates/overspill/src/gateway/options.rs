//! What is set once for all requests.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;
use overspill_wire::management::endpoint::Scaling;

pub use crate::config::RateLimits;

use super::host::HostRules;
use crate::auth::seal::Sealer;
use crate::region::SharedLocator;

/// How long requests are held, and how slowly errors are answered.
#[derive(Debug, Clone)]
pub struct Holds {
    /// A worker's job-take and job-stop, before 204. The SDK gives up after 90 s.
    pub worker_poll: Duration,
    /// An error to a worker: a fast one makes it ask hundreds of times a second.
    pub worker_error: Duration,
    /// A poll of a worker that gets no more jobs, before 204.
    pub worker_stopping: Duration,
    /// A result while the store does not confirm. The SDK gives up after 600 s.
    pub result: Duration,
    /// A request of the OpenAI kind, until its first chunk.
    pub openai: Duration,
    /// A request's headers, from their first byte to their last.
    pub headers: Duration,
    /// A client's large body, for memory.
    pub memory: Duration,
    /// A pause within a client's body.
    pub body: Duration,
    /// A pause within a worker's body.
    pub worker_body: Duration,
    /// An answer of which the other side reads nothing.
    pub write: Duration,
    /// A connection without a request.
    pub idle: Duration,
    /// Open requests at a drain, once their holds were released.
    pub drain: Duration,
}

impl Default for Holds {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            worker_poll: seconds(50),
            worker_error: seconds(2),
            worker_stopping: seconds(1),
            result: seconds(600),
            openai: seconds(600),
            headers: seconds(10),
            memory: seconds(10),
            body: seconds(30),
            worker_body: seconds(120),
            write: seconds(30),
            idle: seconds(120),
            drain: seconds(10),
        }
    }
}

/// Options of the gateway.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// Whether calls need a key.
    pub auth_required: bool,
    /// Which host names are answered.
    pub hosts: HostRules,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Says where callers are.
    pub locator: SharedLocator,
    /// This installation's id, by which a submission of our own is recognised.
    pub installation: String,
    /// Receivers of webhooks on private addresses that are allowed all the same.
    pub webhooks_allowed: Vec<String>,
    /// The most bytes of a body of `/run`.
    pub run_bytes_max: u64,
    /// The most bytes of a body of `/runsync`.
    pub runsync_bytes_max: u64,
    /// The most bytes of a result.
    pub output_bytes_max: u64,
    /// `NaN` and `Infinity` in results become `null` instead of failing the job.
    pub nan_as_null: bool,
    /// Bytes of large bodies at once, of requests and answers together.
    pub memory_bytes_max: u64,
    /// The most connections at once.
    pub connections_max: usize,
    /// The most connections at once from one address that is not this machine's.
    pub connections_per_address_max: usize,
    /// What RunPod's management API shows of endpoints beside their limits, by name.
    pub shown: BTreeMap<String, ShownEndpoint>,
    /// Whose calls RunPod's rate limits hold for.
    pub rate_limits: RateLimits,
    /// Seals what jobs bring for their workers.
    pub sealer: Sealer,
    /// How long things take.
    pub holds: Holds,
}

/// What RunPod's management API shows of an endpoint, in its words.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownEndpoint {
    /// Execution time-out of a job, in milliseconds.
    pub timeout_ms: u64,
    /// The scaler; a policy that RunPod does not have is shown as its queue delay.
    pub scaling: Scaling,
    /// Seconds a cloud worker may idle, 1 to 3600.
    pub idle_timeout_s: u32,
}

impl Default for ShownEndpoint {
    fn default() -> Self {
        Self {
            timeout_ms: 600_000,
            scaling: Scaling::QueueDelay { queue_delay: 4.0 },
            idle_timeout_s: 10,
        }
    }
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            auth_required: true,
            hosts: HostRules::new([]),
            trusted_proxies: Vec::new(),
            locator: SharedLocator::default(),
            installation: String::new(),
            webhooks_allowed: Vec::new(),
            run_bytes_max: 10_000_000,
            runsync_bytes_max: 20_000_000,
            output_bytes_max: 64_000_000,
            memory_bytes_max: 1 << 30,
            nan_as_null: false,
            connections_max: 65_536,
            connections_per_address_max: 4_096,
            shown: BTreeMap::new(),
            rate_limits: RateLimits::Remote,
            sealer: Sealer::fresh(),
            holds: Holds::default(),
        }
    }
}

/// The header by which a submission of our own is recognised.
pub const INSTALLATION_HEADER: &str = "x-overspill-installation";
