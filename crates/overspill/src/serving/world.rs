//! Carries out what the engine asks of the world: processes and the cloud.

use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use overspill_core::effect::Effect;
use overspill_core::event::{CloudRefusal, Event};
use overspill_core::id::{AttemptId, DeviceId, PoolId, WorkerId};
use rand::Rng as _;
use tracing::{error, warn};

use super::cloud::Cloud;
use crate::auth::seal::Sealer;
use crate::auth::worker_key;
use crate::config::Url;
use crate::engine::live::{CloudPools, Live};
use crate::engine::message::Message;
use crate::engine::world::World;
use crate::keeper::ProcessHost;
use crate::keeper::protocol::{SpawnOrder, WorkerSignal};
use crate::otel::span;
use crate::pool::local::job_list::{self, Found};
use crate::pool::local::process::{WorkerIdentity, worker_environment};
use crate::pool::runpod::driver::token;
use crate::pool::runpod::submission::Submission;
use crate::topology::{CommandPool, Installation};

/// How often a local worker says that it lives, in ms: fast, so that what it drops is soon noticed.
const PING_INTERVAL_MS: u64 = 2_000;

/// What the world is made of.
pub struct Drivers {
    pub(super) inbox: Sender<Message>,
    pub(super) live: Arc<Live>,
    pub(super) host: Arc<ProcessHost>,
    pub(super) installation: Arc<RwLock<Installation>>,
    pub(super) cloud: Option<Cloud>,
    /// What the cloud's driver was told of cloud pools, from the first call on.
    pub(super) cloud_told: Option<Arc<CloudPools>>,
    /// The server as local workers reach it.
    pub(super) server: String,
    pub(super) secret: [u8; 32],
    /// Opens what jobs bring for their workers.
    pub(super) sealer: Sealer,
    pub(super) logs: PathBuf,
    /// Variables that hold our secrets.
    pub(super) secret_variables: Vec<String>,
    /// How RunPod reaches this server, if it can: submissions then name where to call when they end.
    pub(super) public_url: Option<Url>,
}

impl World for Drivers {
    fn carry_out(&mut self, effect: Effect, input: Option<Bytes>) {
        match effect {
            Effect::MintWorker { pool, device } => {
                let mut bits = [0; 16];
                rand::rng().fill_bytes(&mut bits);
                let worker = WorkerId::new(u128::from_le_bytes(bits));
                self.tell(Event::WorkerMinted {
                    worker,
                    pool,
                    device,
                });
            }
            Effect::SpawnWorker {
                worker,
                pool,
                device,
            } => self.spawn(worker, pool, device),
            Effect::StopWorker { worker } => self.signal(worker, WorkerSignal::Term),
            Effect::KillWorker { worker } => self.signal(worker, WorkerSignal::Kill),
            Effect::CloudSubmit { attempt, .. } if input.is_none() => {
                // Nothing was sent: the core may give the job to someone else.
                self.tell(Event::CloudRefused {
                    attempt,
                    refusal: CloudRefusal::BadJob,
                    retry_after: None,
                    detail: "the job's input cannot be read".to_owned(),
                });
            }
            Effect::CloudSubmit { pool, .. }
            | Effect::CloudWatch { pool, .. }
            | Effect::CloudCancel { pool, .. }
            | Effect::CloudTtl { pool, .. }
            | Effect::CloudIdle { pool, .. }
            | Effect::CloudScale { pool, .. } => {
                let effect = self.opened(effect);
                let (webhook, traceparent) = match &effect {
                    Effect::CloudSubmit {
                        attempt,
                        pool,
                        trace,
                        ..
                    } => {
                        let step = span::of_cloud_submission(*attempt);
                        let context = self.live.tracer.passed_on(trace.as_deref(), step);
                        let parent = context.map(|context| context.traceparent());
                        (self.hook(*attempt, *pool), parent)
                    }
                    _ => (None, None),
                };
                let Some(cloud) = self.cloud() else {
                    return;
                };
                let submission = |_| Submission {
                    input: input.unwrap_or_default(),
                    webhook,
                    traceparent,
                    ..Submission::default()
                };
                if cloud.driver.carry_out(effect, submission).is_err() {
                    error!(%pool, "this is no effect of the cloud");
                }
            }
            Effect::BudgetAlert(_)
            | Effect::Answer { .. }
            | Effect::Deliver { .. }
            | Effect::TakeEmpty { .. }
            | Effect::StopJob { .. }
            | Effect::ReleasePolls { .. }
            | Effect::Decided { .. } => {}
        }
    }

    fn published(&mut self) {
        // Before the first call to the cloud there is nobody to be told.
        if self.cloud_told.is_some() {
            self.cloud();
        }
    }
}

impl Drivers {
    /// A submission with what the worker must see, opened; any other effect as it is.
    fn opened(&self, mut effect: Effect) -> Effect {
        if let Effect::CloudSubmit {
            attempt, extras, ..
        } = &mut effect
        {
            *extras = self.sealer.open_for_worker(attempt.job, extras.as_deref());
        }
        effect
    }

    /// Where RunPod is to call when the attempt's job ends: an address that nobody can guess.
    fn hook(&self, attempt: AttemptId, pool: PoolId) -> Option<String> {
        let public = self.public_url.as_ref()?;
        let token = token::write(&self.secret, attempt, pool);
        let base = public.as_str().trim_end_matches('/');
        Some(format!("{base}{}/{token}", token::PATH))
    }

    fn tell(&self, event: Event) {
        // A stopped engine needs no facts.
        let _ = self.inbox.send(Message::Tell {
            event,
            payloads: Vec::new(),
        });
    }

    /// The cloud's driver, told of all pools that there are.
    fn cloud(&mut self) -> Option<&Cloud> {
        let cloud = self.cloud.as_ref()?;
        let pools = self.live.cloud_pools();
        let told = self.cloud_told.as_ref();
        if told.is_none_or(|told| !Arc::ptr_eq(&pools, told)) {
            cloud.configure(&pools);
            self.cloud_told = Some(pools);
        }
        Some(cloud)
    }

    fn spawn(&self, worker: WorkerId, pool: PoolId, device: DeviceId) {
        let order = self.order(worker, pool, device);
        let result = order.and_then(|order| {
            let host = self.host.spawn(order);
            host.map_err(|_| "the keeper is gone".to_owned())
        });
        if let Err(reason) = result {
            let pools = self.live.pools();
            let named = pools.iter().find(|(id, ..)| *id == pool);
            let (endpoint, pool) = named.map_or(("", ""), |(_, endpoint, key)| (endpoint, key));
            error!(%worker, endpoint, pool, reason, "a worker cannot be started");
            self.tell(Event::WorkerExited {
                worker,
                code: Some(-1),
                reason: Some(reason),
            });
        }
    }

    fn order(
        &self,
        worker: WorkerId,
        pool: PoolId,
        device: DeviceId,
    ) -> Result<SpawnOrder, String> {
        let pools = self.live.pools();
        let (_, endpoint, key) = pools
            .into_iter()
            .find(|(id, ..)| *id == pool)
            .ok_or("its pool is unknown")?;
        let installation = read(&self.installation);
        let local = installation
            .commands
            .iter()
            .find(|command| command.endpoint == endpoint && command.pool == key)
            .ok_or("its pool is no longer configured")?;
        let card = installation
            .devices
            .get(&device)
            .ok_or("its card is unknown")?;
        let in_folder = |pool: &&CommandPool| pool.dir == local.dir;
        let devices = |pool: &CommandPool| pool.devices.len();
        let workers: usize = installation
            .commands
            .iter()
            .filter(in_folder)
            .map(devices)
            .sum();
        clear_job_list(&local.dir, workers == 1);
        let worker_key = worker_key::of(&self.secret, worker);
        let name = worker.to_string();
        let identity = WorkerIdentity {
            server: &worker_key::base_url(&self.server, &worker_key),
            endpoint: &local.endpoint,
            worker: &name,
            key: &worker_key,
            gpu: &card.name,
            cuda_device: card.visible(),
            host: "localhost",
            ping_interval_ms: PING_INTERVAL_MS,
        };
        let inherited = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let secrets: Vec<&str> = self.secret_variables.iter().map(String::as_str).collect();
        let env = worker_environment(&identity, inherited, &secrets, &local.env)
            .map_err(|error| error.to_string())?;
        let log = format!("{endpoint}-{key}-{device}.log");
        Ok(SpawnOrder {
            worker: name,
            command: local.command.clone(),
            dir: local.dir.clone(),
            env,
            log: self.logs.join(log),
        })
    }

    fn signal(&self, worker: WorkerId, signal: WorkerSignal) {
        if self.host.signal(&worker.to_string(), signal).is_err() {
            warn!(%worker, "the keeper is gone");
        }
    }
}

/// See [`job_list`]: a worker of an SDK that keeps such a list must not find a dead one's.
fn clear_job_list(dir: &Path, is_alone: bool) {
    match job_list::clear(dir, is_alone) {
        Ok(Found::Nothing | Found::Removed) => {}
        Ok(Found::Shared) => warn!(
            dir = %dir.display(),
            "workers share the job list .runpod_jobs.pkl that RunPod's SDK 1.7.11 to 1.10.0 keeps in \
             its folder, and may wait for each other's jobs for ever: use 1.10.1 or later and delete \
             the file, or give each worker a pool with a `dir` of its own"
        ),
        Err(error) => warn!(
            dir = %dir.display(),
            %error,
            "the job list .runpod_jobs.pkl of an earlier worker cannot be removed"
        ),
    }
}

fn read(installation: &RwLock<Installation>) -> RwLockReadGuard<'_, Installation> {
    installation.read().unwrap_or_else(PoisonError::into_inner)
}
