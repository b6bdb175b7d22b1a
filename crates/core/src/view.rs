//! What can be read of the core: facts for `/status`, `/health`, lists and the dashboard.

use serde::{Deserialize, Serialize};

use crate::attempt::{Attempt, CloudPhase, Place};
use crate::change::Site;
use crate::endpoint::{Endpoint, SetBy};
use crate::event::CloudWorkerCounts;
use crate::id::{AttemptId, EndpointId, JobId, PoolId};
use crate::job::{Job, JobState};
use crate::machine::Core;
use crate::placement::pool_order::Because;
use crate::region::Region;
use crate::time::{DurationMs, Timestamp};
use crate::topology::{Limits, ScalerSpec};

/// Where the keys of jobs of low priority begin in a queue ([`Job::queue_key`]).
const LOW_PRIORITY: u64 = 1 << 63;

/// A live job, as people and clients see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveJob {
    /// Which.
    pub id: JobId,
    /// Where it was sent.
    pub endpoint: EndpointId,
    /// How often it was retried by hand.
    pub generation: u32,
    /// When it came in.
    pub submitted_at: Timestamp,
    /// When the current attempt began to run; a job that waits at RunPod has not begun.
    pub started_at: Option<Timestamp>,
    /// The current attempt.
    pub attempt: Option<AttemptId>,
    /// Attempts made.
    pub attempts: u32,
    /// Attempts that vanished.
    pub lost: u32,
    /// Where it runs.
    pub pool: Option<PoolId>,
    /// On whom.
    pub worker: Option<String>,
    /// Where its end is reported.
    pub webhook: Option<String>,
    /// RunPod has it.
    pub is_cloud: bool,
    /// Where it stands in its caller's trace.
    #[serde(default)]
    pub trace: Option<String>,
    /// Where its caller is, where known.
    pub region: Option<Region>,
    /// Why its cloud pool was chosen; `None` after a restart.
    pub because: Option<Because>,
}

/// Who set what of an endpoint while the server ran.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveSettings {
    /// Its limits.
    pub limits: Option<SetBy>,
    /// Its scaling rule.
    pub scaler: Option<SetBy>,
    /// Its promise.
    pub max_wait: Option<SetBy>,
}

/// An endpoint's counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointCounts {
    /// Its name.
    pub name: String,
    /// Limits in force.
    pub limits: Option<Limits>,
    /// The scaling rule in force.
    pub scaler: ScalerSpec,
    /// The promise in force: submit to start.
    pub max_wait: DurationMs,
    /// Who set the limits, the rule and the promise while the server ran; `None` while the file's hold.
    pub set: LiveSettings,
    /// The min that is asked for and held at 0, for nobody could end its workers.
    pub min_held: u32,
    /// Jobs that wait here, or at RunPod.
    pub queued: u64,
    /// Jobs that run.
    pub running: u64,
    /// Local workers, ready or not.
    pub local_workers: u32,
    /// Local workers that have asked for a job.
    pub local_ready: u32,
    /// Slots of local workers.
    pub local_slots: u32,
    /// Of them, in use.
    pub local_busy: u32,
    /// Cloud workers wanted.
    pub cloud_wanted: u32,
    /// Cloud workers by state, as last counted.
    pub cloud: CloudWorkerCounts,
    /// Jobs that RunPod has.
    pub cloud_jobs: u32,
}

impl Core {
    /// A live job.
    #[must_use]
    pub fn live_job(&self, id: JobId) -> Option<LiveJob> {
        self.jobs.get(id).map(|job| self.view(job))
    }

    /// Live jobs of an endpoint (or of all), oldest id first, after an id.
    #[must_use]
    pub fn live_jobs(&self, endpoint: Option<EndpointId>, limit: usize) -> Vec<LiveJob> {
        let mut jobs: Vec<&Job> = self
            .jobs
            .iter()
            .filter(|job| endpoint.is_none_or(|id| job.endpoint == id))
            .collect();
        jobs.sort_unstable_by_key(|job| job.id);
        jobs.into_iter()
            .take(limit)
            .map(|job| self.view(job))
            .collect()
    }

    /// An endpoint's jobs that run in the cloud, with their attempts and pools.
    pub fn cloud_runs(
        &self,
        endpoint: EndpointId,
    ) -> impl Iterator<Item = (&crate::pool::Pool, &Attempt, &Job)> {
        let pools = self.pools.values();
        let its = pools.filter(move |pool| pool.record.endpoint == endpoint);
        its.flat_map(|pool| pool.outstanding.iter().map(move |id| (pool, id)))
            .filter_map(|(pool, id)| {
                let attempt = self.attempts.get(id)?;
                let runs = matches!(attempt.place, Place::Cloud(CloudPhase::Running { .. }));
                runs.then_some((pool, attempt, self.jobs.get(id.job)?))
            })
    }

    fn view(&self, job: &Job) -> LiveJob {
        let attempt = match job.state {
            JobState::Queued => None,
            JobState::Attempted { number } => {
                let id = AttemptId {
                    job: job.id,
                    generation: job.generation,
                    number,
                };
                self.attempts.get(&id)
            }
        };
        LiveJob {
            id: job.id,
            endpoint: job.endpoint,
            generation: job.generation,
            submitted_at: job.submitted_at,
            started_at: attempt.and_then(|attempt| attempt.started_at),
            attempt: attempt.map(|attempt| attempt.id),
            attempts: job.attempts,
            lost: u32::from(job.lost),
            pool: attempt.map(|attempt| attempt.pool),
            worker: attempt.and_then(worker_of),
            webhook: job.webhook().map(Into::into),
            is_cloud: attempt.is_some_and(Attempt::is_cloud),
            trace: job.trace().map(Into::into),
            region: job.region,
            because: attempt.and_then(|attempt| {
                let pool = self.pools.get(&attempt.pool)?;
                pool.cloud.chosen.get(&attempt.id).copied()
            }),
        }
    }

    /// An endpoint's counts; `None` for an endpoint that is not configured.
    #[must_use]
    pub fn counts_of(&self, id: EndpointId) -> Option<EndpointCounts> {
        let endpoint: &Endpoint = self.endpoints.get(&id)?;
        let spec = endpoint.spec.as_ref()?;
        let mut counts = EndpointCounts {
            name: endpoint.record.name.clone(),
            limits: Some(endpoint.limits()),
            scaler: endpoint.scaler().cloned().unwrap_or_default(),
            max_wait: spec.max_wait,
            set: LiveSettings {
                limits: endpoint.record.limits_set(),
                scaler: endpoint.record.scaler_set(),
                max_wait: endpoint.record.max_wait_set(),
            },
            min_held: if self.cloud_pools(id).is_empty() {
                0
            } else {
                endpoint.held(self.now)
            },
            queued: endpoint.queue.len() as u64,
            ..EndpointCounts::default()
        };
        for worker in self
            .workers
            .values()
            .filter(|worker| worker.record.endpoint == id)
        {
            let slots = self
                .pools
                .get(&worker.record.pool)
                .map_or(1, |pool| pool.slots());
            counts.local_workers += 1;
            counts.local_ready += u32::from(worker.ready_at.is_some());
            counts.local_slots += slots;
            counts.local_busy += u32::try_from(worker.held.len()).unwrap_or(u32::MAX);
        }
        counts.running += u64::from(counts.local_busy);
        for pool in self
            .cloud_pools(id)
            .iter()
            .filter_map(|id| self.pools.get(id))
        {
            counts.cloud_wanted += pool.record.wanted;
            let seen = pool.cloud.workers.unwrap_or_default();
            counts.cloud.initializing += seen.initializing;
            counts.cloud.idle += seen.idle;
            counts.cloud.running += seen.running;
            counts.cloud.throttled += seen.throttled;
            counts.cloud.unhealthy += seen.unhealthy;
            for attempt in pool
                .outstanding
                .iter()
                .filter_map(|id| self.attempts.get(id))
            {
                counts.cloud_jobs += 1;
                let runs = matches!(attempt.place, Place::Cloud(CloudPhase::Running { .. }));
                if attempt.fenced.is_none() {
                    counts.running += u64::from(runs);
                    counts.queued += u64::from(!runs);
                }
            }
        }
        Some(counts)
    }

    /// Ids and names of the configured endpoints.
    pub fn endpoint_names(&self) -> impl Iterator<Item = (EndpointId, &str)> {
        let configured = self
            .endpoints
            .iter()
            .filter(|(_, endpoint)| endpoint.spec.is_some());
        configured.map(|(&id, endpoint)| (id, endpoint.record.name.as_str()))
    }

    /// A pool's key, and the endpoint it belongs to.
    #[must_use]
    pub fn pool_key(&self, id: PoolId) -> Option<(EndpointId, &str)> {
        self.pools
            .get(&id)
            .map(|pool| (pool.record.endpoint, pool.record.key.as_str()))
    }

    /// Whose jobs an incarnation takes, if it lives.
    #[must_use]
    pub fn worker_endpoint(&self, id: crate::id::WorkerId) -> Option<EndpointId> {
        self.workers.get(&id).map(|worker| worker.record.endpoint)
    }

    /// Local workers of an endpoint that could take a job now.
    #[must_use]
    pub fn ready_workers(&self, id: EndpointId) -> Vec<crate::id::WorkerId> {
        let is_ready = |worker: &&crate::worker::Worker| {
            worker.record.endpoint == id && worker.ready_at.is_some() && worker.held.is_empty()
        };
        let ready = self.workers.values().filter(is_ready);
        ready.map(|worker| worker.record.id).collect()
    }

    /// An endpoint's live incarnations: the record, whether it has asked for a job yet, and how
    /// many attempts it holds.
    #[must_use]
    pub fn workers_of(&self, id: EndpointId) -> Vec<(crate::worker::WorkerRecord, bool, usize)> {
        let workers = self.workers.values().filter(|w| w.record.endpoint == id);
        workers
            .map(|w| (w.record.clone(), w.ready_at.is_some(), w.held.len()))
            .collect()
    }

    /// All live incarnations.
    pub fn workers(&self) -> impl Iterator<Item = &crate::worker::WorkerRecord> {
        self.workers.values().map(|worker| &worker.record)
    }

    /// The configured endpoints.
    pub fn configured(&self) -> impl Iterator<Item = &Endpoint> {
        let endpoints = self.endpoints.values();
        endpoints.filter(|endpoint| endpoint.spec.is_some())
    }

    /// When the job that waits longest in this endpoint's queue came in; `None` when none waits.
    #[must_use]
    pub fn oldest_waiting(&self, endpoint: &Endpoint) -> Option<Timestamp> {
        // Within each priority the queue is in the order of arrival.
        let first = endpoint.queue.values().next();
        let first_low = endpoint.queue.range(LOW_PRIORITY..).next();
        let slots = first.into_iter().chain(first_low.map(|(_, slot)| slot));
        let jobs = slots.filter_map(|&slot| self.jobs.at(slot));
        jobs.map(|job| job.submitted_at).min()
    }

    /// All live incarnations, with what they hold.
    pub fn live_workers(&self) -> impl Iterator<Item = &crate::worker::Worker> {
        self.workers.values()
    }

    /// A live attempt.
    #[must_use]
    pub fn attempt(&self, id: AttemptId) -> Option<&Attempt> {
        self.attempts.get(&id)
    }

    /// Where a live attempt at RunPod runs, and why there; `None` for one on a card of ours.
    #[must_use]
    pub fn site_of(&self, id: AttemptId) -> Option<Site> {
        let attempt = self
            .attempts
            .get(&id)
            .filter(|attempt| attempt.is_cloud())?;
        let pool = self.pools.get(&attempt.pool)?;
        let spec = pool.runpod();
        let site = Site {
            gpu: spec.and_then(|spec| spec.gpu.clone()),
            region: spec.and_then(|spec| spec.region),
            because: pool.cloud.chosen.get(&id).copied(),
        };
        (site != Site::default()).then_some(site)
    }

    /// The cards of this host, as configured.
    pub fn devices(&self) -> impl Iterator<Item = &crate::topology::DeviceSpec> {
        self.devices.values().map(|device| &device.spec)
    }

    /// The same, as they are now.
    pub fn cards(&self) -> impl Iterator<Item = &crate::device::Device> {
        self.devices.values()
    }

    /// All pools as configured: id, endpoint and specification.
    pub fn pools(&self) -> impl Iterator<Item = &crate::pool::Pool> {
        self.pools.values()
    }
}

/// Who runs an attempt, where that is known.
#[must_use]
pub fn worker_of(attempt: &Attempt) -> Option<String> {
    match &attempt.place {
        Place::Local { worker } => Some(worker.to_string()),
        Place::Cloud(CloudPhase::Running { worker, .. }) => worker.clone(),
        Place::Cloud(_) => None,
    }
}

/// How long a job waited before its attempt began, and how long that has run.
#[must_use]
pub fn times(job: &LiveJob, now: Timestamp) -> (Option<DurationMs>, Option<DurationMs>) {
    let delay = job.started_at.map(|at| at.since(job.submitted_at));
    (delay, job.started_at.map(|at| now.since(at)))
}
