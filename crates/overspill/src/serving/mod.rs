//! The serving process: everything behind the listening socket, put together.
//!
//! The keeper starts it with the socket and a control line; `overspill demo` and tests start the
//! same server in their own process. It knows all rooms and decides nothing.

mod cards;
pub mod cloud;
mod deadline;
mod descriptors;
mod force;
mod memory;
mod prices;
mod private;
pub use crate::auth::bootstrap::GUARD_KEY_FILE;
pub(crate) use private::folder as private_folder;
pub mod process;
pub mod world;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, RwLock, mpsc as std_mpsc};
use std::time::Duration;

use overspill_core::event::Event;
use overspill_core::id::WorkerId;
use overspill_core::pool::PoolRecord;
use overspill_core::quarantine::Quarantine;
use overspill_store::sqlite::SqliteStore;
use overspill_store::{QUARANTINES, Store as _, StoreError};
use rand::Rng as _;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::cards::Cards;
use self::deadline::Deadline;
use self::force::{Force, Order};
use crate::auth::bootstrap::{self, BootstrapError, FirstKey};
use crate::auth::seal::{SealKeyError, Sealer};
use crate::clock::ServerClock;
use crate::config::{Config, Environment, Loaded, RunpodAccess, env};
use crate::engine::api::Engine as _;
use crate::engine::handle::Handle;
use crate::engine::journal::{self, Journal};
use crate::engine::live::Live;
use crate::engine::message::Message;
use crate::engine::run::{Activity, Engine, Parts};
use crate::gateway::host::HostRules;
use crate::gateway::{Gateway, GatewayOptions, ShownEndpoint, server};
use crate::gpu::{GpuMonitor, NvmlGpus};
use crate::keeper::ProcessHost;
use crate::keeper::protocol::Notice;
use crate::kept::keep;
use crate::kept::record::Record;
use crate::otel::settings::Settings;
use crate::otel::{Exporter, Tracer};
use crate::pool::runpod::client::AccountError;
use crate::pool::runpod::guard::{self, GuardError};
use crate::region::{GeoIpError, Locator, SharedLocator};
use crate::topology::{self, Installation};
use crate::view::board::Board;
use crate::webhook::{self, sign};

/// The database's file in the data directory.
pub const DATABASE: &str = "overspill.db";
/// Connections at once, where the limit of open files allows so many.
const CONNECTIONS_MAX: usize = 65_536;
/// How often cards are read.
const GPU_PERIOD: Duration = Duration::from_secs(2);
/// The store's name for what worker keys and the pepper of API keys are made from.
const SECRET: &str = "server_secret";

/// What a server is started with.
pub struct ServerOptions {
    /// The configuration.
    pub loaded: Loaded,
    /// The environment at start.
    pub environment: Environment,
    /// The listening socket.
    pub listener: TcpListener,
    /// Starts processes.
    pub host: ProcessHost,
    /// What the process host says.
    pub notices: mpsc::Receiver<Notice>,
    /// The installation's id.
    pub installation: String,
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store.
    #[error("the database \"{}\" cannot be used", path.display())]
    Store {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The journal's file.
    #[error("the journal \"{}\" cannot be written", path.display())]
    Journal {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The first key.
    #[error(transparent)]
    Key(#[from] BootstrapError),
    /// The key that seals secrets.
    #[error(transparent)]
    Seal(#[from] SealKeyError),
    /// The cloud's address is this server's own.
    #[error(transparent)]
    Loop(#[from] GuardError),
    /// The cloud's account.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The file that says where addresses are.
    #[error(transparent)]
    GeoIp(#[from] GeoIpError),
    /// The environment.
    #[error("{0}")]
    Environment(String),
    /// The system.
    #[error("the server cannot start")]
    System(#[from] std::io::Error),
    /// The keeper died meanwhile.
    #[error("the keeper is gone")]
    KeeperGone,
}

impl StartError {
    /// The exit code of `overspill serve`.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Store { .. }
            | Self::Journal { .. }
            | Self::System(_)
            | Self::Seal(SealKeyError::File { .. }) => 74,
            Self::Seal(SealKeyError::Malformed { .. })
            | Self::Key(_)
            | Self::Loop(_)
            | Self::Account(_)
            | Self::GeoIp(_)
            | Self::Environment(_) => 78,
            Self::KeeperGone => 69,
        }
    }
}

/// Why a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was asked to stop.
    Stopped,
    /// It was asked to make room for a new one.
    Restart,
    /// The keeper died, and with it everything.
    KeeperDied,
}

/// A running server.
pub struct Server {
    handle: Handle,
    address: SocketAddr,
    first_key: FirstKey,
    notices: mpsc::Receiver<Notice>,
    host: Arc<ProcessHost>,
    force: mpsc::UnboundedSender<Order>,
    drain: CancellationToken,
    gateway: tokio::task::JoinHandle<std::io::Result<()>>,
    webhooks: webhook::Service,
    exporter: Option<Exporter>,
    warnings: Vec<String>,
}

impl Server {
    /// Restores the state, starts the engine and answers requests.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(options: ServerOptions) -> Result<Self, StartError> {
        let config = &options.loaded.config;
        let address = options.listener.local_addr()?;
        let locator = SharedLocator::new(Locator::new(config)?);
        let data_dir = options.loaded.folder.join(&config.data_dir);
        let path = data_dir.join(DATABASE);
        let store_error = |source| StartError::Store {
            path: path.clone(),
            source,
        };
        let mut store = SqliteStore::open(&data_dir).map_err(store_error)?;
        let secret = server_secret(&mut store).map_err(store_error)?;
        let keys = store.keys().map_err(store_error)?;
        let left = left_at(&store.pools().map_err(store_error)?);
        let access = cloud_access(config, &options.environment, address, &left)?;
        let rotations = store.meta(sign::META).map_err(store_error)?;
        let own = options
            .environment
            .secret(env::OVERSPILL_SEAL_KEY)
            .map_err(StartError::Environment)?;
        let sealer = Sealer::load(own.as_ref(), &data_dir)?;

        let clock = ServerClock::start();
        let alive = options
            .host
            .alive()
            .await
            .map_err(|_| StartError::KeeperGone)?;
        let monitor = Arc::new(GpuMonitor::start(NvmlGpus::default(), GPU_PERIOD)?);
        let before = cards::Before {
            quarantines: quarantines(&mut store).map_err(store_error)?,
            is_idle: alive.is_empty(),
            now: clock.now(),
        };
        let (cards, looked) =
            Cards::at_start(Arc::clone(&monitor), data_dir.clone(), &before).await;
        let kept = Record::read(&data_dir).unwrap_or_else(|error| {
            warn!(error = &error as &dyn std::error::Error, "kept endpoints");
            Record::default()
        });
        let mut installation = topology::install(&options.loaded, cards.list(), &kept);
        installation.warnings.extend(looked.warnings);
        let warnings = installation.warnings.clone();
        let (tracer, exporter) = traces(&options.environment, &options.installation);
        let live = Arc::new(Live::traced(tracer));
        live.set_keys(keys);
        live.set_rotations(sign::Rotations::read(rotations.as_deref()));
        live.set_aliases(aliases(config));
        live.set_classes(classes(config));
        let (inbox, messages) = std_mpsc::channel();
        let cloud = match &access {
            Some((access, key)) => {
                let facts = Arc::new(cloud::Facts::new(inbox.clone()));
                let cloud = cloud::Cloud::start(access, key, &options.installation, facts)?;
                Some(cloud)
            }
            None => None,
        };
        let alive = alive.iter().filter_map(|w| w.worker.parse().ok()).collect();
        let host = Arc::new(options.host);
        let topology = installation.topology.clone();
        let installation = Arc::new(RwLock::new(installation));
        let logs = data_dir.join("logs");
        private::folder(&logs)?;
        let streams = cloud.as_ref().map(|cloud| cloud.driver.clone());
        let account = cloud
            .as_ref()
            .map(|cloud| cloud.account(&options.installation));
        let management = cloud.as_ref().map(|cloud| cloud.management().clone());
        let drivers = world::Drivers {
            inbox: inbox.clone(),
            live: Arc::clone(&live),
            host: Arc::clone(&host),
            installation: Arc::clone(&installation),
            cloud,
            cloud_told: None,
            server: format!("http://{}", reachable(address)),
            secret,
            sealer: sealer.clone(),
            logs,
            secret_variables: Vec::new(),
            public_url: config.public_url.clone(),
        };
        let activity = Arc::new(Activity::default());
        let reader = store.reader();
        let journal = match &config.journal.file {
            Some(path) => {
                let options = journal::Options {
                    path: path.clone(),
                    bytes_max: config.journal.max_size.as_bytes(),
                    installation: options.installation.clone(),
                };
                let started = Journal::start(options);
                Some(started.map_err(|source| StartError::Journal {
                    path: path.clone(),
                    source,
                })?)
            }
            None => None,
        };
        let parts = Parts {
            store: Box::new(store),
            world: Box::new(drivers),
            live: Arc::clone(&live),
            clock,
            topology,
            alive,
            activity: Arc::clone(&activity),
            journal,
        };
        let engine = Engine::restore(parts, messages).map_err(store_error)?;
        std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || engine.run())?;
        let handle = Handle::new(inbox, reader, live, activity, clock, secret);
        if let Some(driver) = streams {
            let hints = driver.clone();
            handle.stream_cloud(move |attempt| driver.stream(attempt));
            handle.hint_cloud(move |attempt, pool, cloud_job| hints.hint(attempt, pool, cloud_job));
        }

        let as_engine: Arc<dyn crate::engine::api::Engine> = Arc::new(handle.clone());
        let own = options
            .environment
            .secret(env::OVERSPILL_API_KEY)
            .map_err(StartError::Environment)?;
        let own = own
            .as_ref()
            .map(|key| secrecy::ExposeSecret::expose_secret(key).to_owned());
        let first_key = bootstrap::ensure_first_key(&as_engine, own.as_deref(), &data_dir).await?;

        if access.is_some() {
            // A convenience: keys of this kind can be made by hand.
            if let Err(error) = bootstrap::ensure_guard_key(&as_engine, &data_dir).await {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "no key for a guard on this machine"
                );
            }
        }

        let drain = CancellationToken::new();
        let gateway_options = GatewayOptions {
            sealer,
            locator: locator.clone(),
            memory_bytes_max: memory::bodies_max(),
            connections_max: descriptors::connections_max().min(CONNECTIONS_MAX),
            ..gateway_options(config, &options.installation)
        };
        let board = Board::start(
            handle.clone(),
            &options.loaded,
            &read(&installation),
            monitor,
            drain.clone(),
        );
        let (configured, loaded) = watch::channel(Arc::new(options.loaded.clone()));
        let (force, orders) = mpsc::unbounded_channel();
        let forcing = Force {
            handle: handle.clone(),
            board: Arc::clone(&board),
            installation,
            data_dir: data_dir.clone(),
            locator,
            cards,
            is_certain: looked.is_certain,
            has_account: account.is_some(),
            configured,
        };
        tokio::spawn(drain.clone().run_until_cancelled_owned(forcing.run(orders)));
        if let Some(account) = account {
            // Not one that keeps the receiver there: the server alone does.
            let force = force.downgrade();
            let _ends_with_the_sender = keep::start(keep::Options {
                account,
                folder: data_dir.clone(),
                loaded,
                on_ids: Box::new(move || {
                    if let Some(force) = force.upgrade() {
                        let _ends_with_the_server = force.send(Order::Again);
                    }
                }),
            });
        }
        board.set_catalog(Arc::new(prices::at_start(access.as_ref(), &data_dir)));
        if let (Some(management), Some((access, _))) = (management, &access) {
            let told = Arc::clone(&board);
            tokio::spawn(prices::follow(
                management,
                access.management_url.to_string(),
                data_dir.clone(),
                clock,
                move |catalog| told.set_catalog(catalog),
                drain.clone(),
            ));
        }
        let gateway = Gateway::with_board(as_engine, gateway_options, Some(board));
        let serving = server::serve(gateway, options.listener, drain.clone());
        let gateway = tokio::spawn(serving);
        // A convenience: a full disk must not keep the server away.
        if let Err(error) = std::fs::write(data_dir.join("listen"), format!("http://{address}\n")) {
            warn!(%error, "the address could not be written into the data directory");
        }
        let webhooks = webhook::Options::new(config.webhooks.allow.clone(), vec![address]);
        let webhooks = webhook::start(handle.clone(), webhooks);
        host.ready().map_err(|_| StartError::KeeperGone)?;
        Ok(Self {
            handle,
            address,
            first_key,
            notices: options.notices,
            host,
            force,
            drain,
            gateway,
            webhooks,
            exporter,
            warnings,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The first API key, as it was found or made.
    #[must_use]
    pub const fn first_key(&self) -> &FirstKey {
        &self.first_key
    }

    /// The engine.
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// What RunPod could still bill if every process of ours died; `None` where it could bill nothing.
    pub async fn bound_in_words(&self) -> Option<String> {
        force::bound_in_words(&self.handle).await
    }

    /// What people should know.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Takes over a changed configuration, soon; what cannot change while it runs is left.
    pub fn reload(&self, loaded: Loaded) {
        let _ends_with_the_server = self.force.send(Order::Reload(Box::new(loaded)));
    }

    /// Passes on what the process host says, until it is time to end. `reload` reads the
    /// configuration again.
    pub async fn run(
        mut self,
        stop: impl Future<Output = ()>,
        mut reload: impl FnMut() -> Option<Loaded>,
    ) -> End {
        tokio::pin!(stop);
        let end = loop {
            let notice = tokio::select! {
                notice = self.notices.recv() => notice,
                () = &mut stop => break End::Stopped,
            };
            match notice {
                None | Some(Notice::KeeperDied) => break End::KeeperDied,
                Some(Notice::Stop) => break End::Stopped,
                Some(Notice::Restart) => break End::Restart,
                Some(Notice::Reload) => {
                    if let Some(loaded) = reload() {
                        self.reload(loaded);
                    }
                }
                Some(notice) => self.hear(notice),
            }
        };
        self.end(end).await;
        end
    }

    /// A worker's process began or ended.
    fn hear(&self, notice: Notice) {
        let event = match notice {
            Notice::Spawned { worker, pid } => {
                let pid = u32::try_from(pid).unwrap_or(0);
                worker
                    .parse::<WorkerId>()
                    .map(|worker| Event::WorkerSpawned { worker, pid })
            }
            Notice::SpawnFailed { worker, reason } => {
                let endpoint = self.endpoint_of(&worker);
                error!(worker, endpoint, reason, "a worker cannot be started");
                worker
                    .parse::<WorkerId>()
                    .map(|worker| Event::WorkerExited {
                        worker,
                        code: Some(-1),
                        reason: Some(reason),
                    })
            }
            Notice::Exited {
                worker,
                code,
                signal,
                stuck,
                ..
            } => {
                if !stuck.is_empty() {
                    error!(worker, ?stuck, "processes of this worker do not die");
                }
                let endpoint = self.endpoint_of(&worker);
                info!(worker, endpoint, ?code, ?signal, "a worker ended");
                worker
                    .parse::<WorkerId>()
                    .map(|worker| Event::WorkerExited {
                        worker,
                        code,
                        reason: None,
                    })
            }
            _ => return,
        };
        if let Ok(event) = event {
            self.handle.tell(event, Vec::new());
        }
    }

    /// Whose jobs a worker takes, for the log; empty for one that is not known (any more).
    fn endpoint_of(&self, worker: &str) -> String {
        let live = self.handle.live();
        let facts = worker.parse().ok().and_then(|worker| live.worker(worker));
        let directory = live.directory();
        let entry = facts.and_then(|facts| directory.get(facts.endpoint));
        entry.map_or_else(String::new, |entry| entry.name.clone())
    }

    /// Stops taking, lets what is held go, and closes the store.
    async fn end(self, end: End) {
        self.handle
            .live()
            .set_unready(Some("the server is stopping".into()));
        if end != End::KeeperDied {
            let _ = self.host.stopping();
            self.handle.tell(Event::DrainAsked, Vec::new());
        }
        let deadline = self.deadline(end);
        let step = |step| {
            if let Some(deadline) = &deadline {
                deadline.step(step);
            }
        };
        step("open requests end");
        self.drain.cancel();
        match self.gateway.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "the gateway ended badly"),
            Err(error) => warn!(%error, "the gateway ended badly"),
        }
        step("webhooks under way end");
        self.webhooks.stop().await;
        step("the store is closed");
        self.handle.stop().await;
        if let Some(exporter) = self.exporter {
            step("the last spans are sent");
            exporter.stop().await;
        }
        step("the runtime ends");
        // It is over with the process, which a thread of the runtime may still hold up.
        std::mem::forget(deadline);
    }

    /// What ends this process if its end hangs; `None` while somebody watches it.
    fn deadline(&self, end: End) -> Option<Deadline> {
        let is_alone = end == End::KeeperDied && matches!(*self.host, ProcessHost::Keeper(_));
        is_alone.then(|| {
            let exit_code = StartError::KeeperGone.exit_code();
            Deadline::after(deadline::GRACE, move |step| {
                deadline::leave(step, exit_code);
            })
        })
    }
}

fn read(installation: &RwLock<Installation>) -> std::sync::RwLockReadGuard<'_, Installation> {
    let installation = installation.read();
    installation.unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Where spans go, if a collector is named. What is wrong with that keeps no server away.
fn traces(environment: &Environment, installation: &str) -> (Tracer, Option<Exporter>) {
    let settings = match Settings::of(environment, installation) {
        Ok(settings) => settings,
        Err(reason) => {
            warn!(reason, "no traces are sent");
            None
        }
    };
    let Some(settings) = settings else {
        return (Tracer::default(), None);
    };
    let url = settings.url.clone();
    match Tracer::start(settings) {
        Ok((tracer, exporter)) => {
            info!(%url, "traces are sent");
            (tracer, Some(exporter))
        }
        Err(error) => {
            warn!(%error, "no traces are sent");
            (Tracer::default(), None)
        }
    }
}

/// The account in the cloud, if there is one: with a key, or with addresses of its own.
fn cloud_access(
    config: &Config,
    environment: &Environment,
    address: SocketAddr,
    left: &BTreeSet<String>,
) -> Result<Option<(RunpodAccess, SecretString)>, StartError> {
    let uses_cloud = config.uses_cloud();
    if !uses_cloud && left.is_empty() {
        return Ok(None);
    }
    let runpod = config.runpod.clone().unwrap_or_default();
    let access = runpod
        .access(environment)
        .map_err(StartError::Environment)?;
    for url in [&access.base_url, &access.management_url] {
        guard::refuses_self(url.as_str(), &[address])?;
    }
    let Some(key) = access.api_key.clone() else {
        if !uses_cloud {
            let endpoints = left
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(", ");
            warn!(
                endpoints,
                "no cloud pool is configured any more, but jobs or worker limits of Overspill may still be at \
                 these RunPod endpoints, and there is no RunPod API key to see to them: set RUNPOD_API_KEY and \
                 start again, or set their workers to 0 at RunPod"
            );
            return Ok(None);
        }
        return Err(StartError::Environment(
            "a cloud pool is configured, but no RunPod API key: set RUNPOD_API_KEY, or \
             `[runpod] api_key`"
                .into(),
        ));
    };
    Ok(Some((access, key)))
}

/// RunPod endpoints that pools lead to and at which jobs or limits of ours may be.
fn left_at(pools: &[PoolRecord]) -> BTreeSet<String> {
    let there = pools.iter().filter_map(|record| {
        let kept_on = &record.kept_on;
        match &record.leads_to {
            Some(to) if to.has_limits || record.reserved_workers > 0 => Some(to.endpoint.clone()),
            None if kept_on.workers > 0 => Some(kept_on.endpoint.clone()),
            _ => None,
        }
    });
    there.collect()
}

/// By which fields of an input durations are learned, by the endpoint's name.
pub(super) fn classes(config: &Config) -> HashMap<String, Vec<String>> {
    let endpoints = config.endpoint.iter();
    endpoints
        .map(|endpoint| (endpoint.name.clone(), endpoint.class_by.clone()))
        .collect()
}

/// Other names of endpoints, by name.
pub(super) fn aliases(config: &Config) -> HashMap<String, Vec<String>> {
    let endpoints = config.endpoint.iter();
    endpoints
        .map(|endpoint| (endpoint.name.clone(), endpoint.aliases.clone()))
        .collect()
}

/// Cards that the run before left quarantined, by what they are known by; the engine refuses a damaged record.
fn quarantines(store: &mut SqliteStore) -> Result<BTreeMap<String, Quarantine>, StoreError> {
    let bytes = store.meta(QUARANTINES)?;
    let known = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Ok(known.unwrap_or_default())
}

/// The server's secret; made at the first start.
fn server_secret(store: &mut SqliteStore) -> Result<[u8; 32], StoreError> {
    if let Some(bytes) = store.meta(SECRET)?
        && let Ok(secret) = <[u8; 32]>::try_from(bytes.as_slice())
    {
        return Ok(secret);
    }
    let mut secret = [0; 32];
    rand::rng().fill_bytes(&mut secret);
    store.put_meta(SECRET, &secret)?;
    Ok(secret)
}

/// How workers on this machine reach an address that may mean «every interface».
fn reachable(address: SocketAddr) -> SocketAddr {
    let mut reachable = address;
    if address.ip().is_unspecified() {
        reachable.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    reachable
}

/// An endpoint's settings in the words of RunPod's management API.
fn shown(endpoint: &crate::config::Endpoint) -> (String, ShownEndpoint) {
    use overspill_wire::management::endpoint::Scaling;
    let scaling = match endpoint.scaler.policy {
        crate::config::Policy::RequestCount => Scaling::RequestCount {
            request_count: endpoint.scaler.request_count(),
        },
        _ => Scaling::QueueDelay {
            queue_delay: endpoint.scaler.queue_delay().as_secs_f64().max(0.5),
        },
    };
    let idle_s = endpoint.workers.idle_timeout.as_millis() / 1_000;
    let facts = ShownEndpoint {
        timeout_ms: endpoint.execution_timeout.as_millis(),
        scaling,
        idle_timeout_s: u32::try_from(idle_s.clamp(1, 3_600)).unwrap_or(3_600),
    };
    (endpoint.name.clone(), facts)
}

fn gateway_options(config: &Config, installation: &str) -> GatewayOptions {
    let public = config.public_url.as_ref().map(ToString::to_string);
    let public_host = public.and_then(|url| {
        let rest = url.split_once("://").map(|(_, rest)| rest.to_owned())?;
        rest.split('/').next().map(str::to_owned)
    });
    let hosts = config.allowed_hosts.iter().cloned().chain(public_host);
    GatewayOptions {
        auth_required: config.auth.required,
        hosts: HostRules::new(hosts).with_origins(config.allowed_origins.iter().cloned()),
        trusted_proxies: config.trusted_proxies.clone(),
        installation: installation.to_owned(),
        webhooks_allowed: config.webhooks.allow.clone(),
        shown: config.endpoint.iter().map(shown).collect(),
        rate_limits: config.rate_limits,
        ..GatewayOptions::default()
    }
}

/// The inbox's sender, for those who make facts.
pub type Inbox = std_mpsc::Sender<Message>;
