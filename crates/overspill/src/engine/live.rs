//! What the engine publishes after each commit, for many readers: who lives, which endpoints there
//! are, which jobs changed; and the stop channels of workers.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use overspill_core::explain::Reason;
use overspill_core::id::{EndpointId, JobId, PoolId, WorkerId};
use overspill_core::pool::LeftPool;
use overspill_core::time::Timestamp;
use overspill_core::topology::RunPodSpec;
use overspill_core::webhook::WebhookId;
use tokio::sync::Notify;

use super::api::{EndpointDirectory, EndpointEntry, WorkerFacts};
use super::trouble::Troubles;
use crate::auth::keys::KeyRecord;
use crate::otel::Tracer;
use crate::view::tally::Tally;
use crate::webhook::sign::Rotations;

/// Decisions that are remembered for the time line.
const DECISIONS_MAX: usize = 1_000;

/// A decision with its reason.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Which; they are counted from 1 since the start.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// Whose.
    pub endpoint: EndpointId,
    /// Why.
    pub reason: Reason,
}

/// Cloud pools as the core has them, whatever configuration is being put in force.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CloudPools {
    /// Those that are configured.
    pub configured: Vec<(PoolId, RunPodSpec)>,
    /// Those that are no longer configured.
    pub left: Vec<LeftPool>,
}

/// Committed facts that need no question to the engine.
#[derive(Debug, Default)]
pub struct Live {
    pub(super) directory: RwLock<Arc<EndpointDirectory>>,
    pub(super) pools: RwLock<HashMap<PoolId, (EndpointId, String)>>,
    cloud: RwLock<Arc<CloudPools>>,
    pub(super) workers: RwLock<HashMap<WorkerId, WorkerFacts>>,
    aliases: RwLock<HashMap<String, Vec<String>>>,
    classes: RwLock<HashMap<String, Vec<String>>>,
    pub(super) keys: RwLock<Arc<Vec<KeyRecord>>>,
    pub(super) unready: RwLock<Option<String>>,
    sdk: RwLock<BTreeMap<WorkerId, String>>,
    watchers: Mutex<HashMap<JobId, Arc<Notify>>>,
    webhook_due: Notify,
    sending: Mutex<BTreeSet<WebhookId>>,
    rotations: RwLock<Arc<Rotations>>,
    stops: Mutex<HashMap<WorkerId, StopBox>>,
    decisions: Mutex<VecDeque<Decision>>,
    decided: Mutex<BTreeMap<(EndpointId, &'static str), u64>>,
    has_no_room: AtomicBool,
    /// Where spans go.
    pub tracer: Tracer,
    /// What is wrong now.
    pub troubles: Troubles,
    /// What became of jobs lately.
    pub tally: Tally,
}

#[derive(Debug, Default)]
struct StopBox {
    jobs: Vec<JobId>,
    is_released: bool,
    notify: Arc<Notify>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    /// Nothing yet, with where spans go.
    #[must_use]
    pub fn traced(tracer: Tracer) -> Self {
        Self {
            tracer,
            ..Self::default()
        }
    }

    /// The endpoints by all their names.
    #[must_use]
    pub fn directory(&self) -> Arc<EndpointDirectory> {
        let directory = self
            .directory
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&directory)
    }

    /// A pool's key.
    #[must_use]
    pub fn pool(&self, id: PoolId) -> Option<String> {
        let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
        pools.get(&id).map(|(_, key)| key.clone())
    }

    /// A living incarnation.
    #[must_use]
    pub fn worker(&self, id: WorkerId) -> Option<WorkerFacts> {
        let workers = self.workers.read().unwrap_or_else(PoisonError::into_inner);
        workers.get(&id).copied()
    }

    /// Wakes when the job changes; made before its state is read, so that no change is missed.
    pub(super) fn watch(&self, job: JobId) -> Arc<Notify> {
        Arc::clone(lock(&self.watchers).entry(job).or_default())
    }

    /// Forgets a watch that nobody else holds.
    pub(super) fn unwatch(&self, job: JobId, watch: Arc<Notify>) {
        let mut watchers = lock(&self.watchers);
        drop(watch);
        if watchers
            .get(&job)
            .is_some_and(|watch| Arc::strong_count(watch) == 1)
        {
            watchers.remove(&job);
        }
    }

    pub(super) fn changed(&self, jobs: impl Iterator<Item = JobId>) {
        let watchers = lock(&self.watchers);
        if watchers.is_empty() {
            return;
        }
        for job in jobs {
            if let Some(watch) = watchers.get(&job) {
                watch.notify_waiters();
            }
        }
    }

    /// Puts a job on its worker's stop channel.
    pub(super) fn stop_job(&self, worker: WorkerId, job: JobId) {
        let mut stops = lock(&self.stops);
        let stop = stops.entry(worker).or_default();
        stop.jobs.push(job);
        stop.notify.notify_waiters();
    }

    /// Lets the worker's held stop channel go: it is about to end.
    pub(super) fn release_stop(&self, worker: WorkerId) {
        let mut stops = lock(&self.stops);
        let stop = stops.entry(worker).or_default();
        stop.is_released = true;
        stop.notify.notify_waiters();
    }

    pub(super) fn forget_stop(&self, worker: WorkerId) {
        if let Some(stop) = lock(&self.stops).remove(&worker) {
            stop.notify.notify_waiters();
        }
    }

    /// The jobs on a worker's stop channel, taken off it; else what to wait for. `Err(None)`: the
    /// channel is not held any more.
    pub(super) fn take_stops(&self, worker: WorkerId) -> Result<Vec<JobId>, Option<Arc<Notify>>> {
        let mut stops = lock(&self.stops);
        let stop = stops.entry(worker).or_default();
        if !stop.jobs.is_empty() {
            return Ok(std::mem::take(&mut stop.jobs));
        }
        Err((!stop.is_released).then(|| Arc::clone(&stop.notify)))
    }

    pub(super) fn decided(&self, at: Timestamp, endpoint: EndpointId, reason: Reason) {
        *lock(&self.decided)
            .entry((endpoint, reason.code()))
            .or_default() += 1;
        let mut decisions = lock(&self.decisions);
        let number = decisions.back().map_or(1, |last| last.number + 1);
        if decisions.len() == DECISIONS_MAX {
            decisions.pop_front();
        }
        decisions.push_back(Decision {
            number,
            at,
            endpoint,
            reason,
        });
    }

    /// How often was decided what since the start, by endpoint and reason's code.
    #[must_use]
    pub fn decided_counts(&self) -> BTreeMap<(EndpointId, &'static str), u64> {
        lock(&self.decided).clone()
    }

    /// The number of the newest decision; 0 before the first.
    #[must_use]
    pub fn last_decision(&self) -> u64 {
        lock(&self.decisions).back().map_or(0, |last| last.number)
    }

    /// The last decisions, oldest first.
    #[must_use]
    pub fn decisions(&self) -> Vec<Decision> {
        lock(&self.decisions).iter().cloned().collect()
    }
}

impl Live {
    pub(super) fn set_workers(&self, workers: HashMap<WorkerId, WorkerFacts>) {
        *self.workers.write().unwrap_or_else(PoisonError::into_inner) = workers;
    }

    pub(super) fn put_worker(&self, id: WorkerId, facts: WorkerFacts) {
        let mut workers = self.workers.write().unwrap_or_else(PoisonError::into_inner);
        workers.insert(id, facts);
    }

    /// Notes the version of RunPod's package that a worker reports.
    pub(super) fn note_sdk(&self, id: WorkerId, version: &str) {
        let mut sdk = self.sdk.write().unwrap_or_else(PoisonError::into_inner);
        if sdk.get(&id).is_none_or(|known| known != version) {
            sdk.insert(id, version.to_owned());
        }
    }

    /// The versions of RunPod's package that living workers report.
    #[must_use]
    pub fn sdk_versions(&self) -> BTreeMap<WorkerId, String> {
        let sdk = self.sdk.read().unwrap_or_else(PoisonError::into_inner);
        sdk.clone()
    }

    pub(super) fn remove_worker(&self, id: WorkerId) {
        let mut sdk = self.sdk.write().unwrap_or_else(PoisonError::into_inner);
        sdk.remove(&id);
        drop(sdk);
        let mut workers = self.workers.write().unwrap_or_else(PoisonError::into_inner);
        workers.remove(&id);
    }

    pub(super) fn set_cloud_pools(&self, pools: CloudPools) {
        let mut cloud = self.cloud.write().unwrap_or_else(PoisonError::into_inner);
        if **cloud != pools {
            *cloud = Arc::new(pools);
        }
    }

    /// All cloud pools; the same allocation as long as nothing changes.
    #[must_use]
    pub fn cloud_pools(&self) -> Arc<CloudPools> {
        let cloud = self.cloud.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&cloud)
    }

    pub(super) fn set_pools(&self, pools: HashMap<PoolId, (EndpointId, String)>) {
        *self.pools.write().unwrap_or_else(PoisonError::into_inner) = pools;
    }

    /// Publishes the endpoints, with their configured aliases and the ids of their cloud pools.
    pub(super) fn set_endpoints<'a>(
        &self,
        names: impl Iterator<Item = (EndpointId, &'a str)>,
        cloud_ids: impl Fn(EndpointId) -> Vec<String>,
    ) {
        let aliases = self.aliases.read().unwrap_or_else(PoisonError::into_inner);
        let classes = self.classes.read().unwrap_or_else(PoisonError::into_inner);
        let entries = names.map(|(id, name)| {
            let mut other = aliases.get(name).cloned().unwrap_or_default();
            other.extend(cloud_ids(id));
            EndpointEntry {
                id,
                name: name.to_owned(),
                aliases: other,
                class_by: classes.get(name).cloned().unwrap_or_default(),
            }
        });
        let directory = EndpointDirectory::new(entries.collect());
        *self
            .directory
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(directory);
    }

    /// Sets the aliases of endpoints by name, as configured.
    pub fn set_aliases(&self, aliases: HashMap<String, Vec<String>>) {
        *self.aliases.write().unwrap_or_else(PoisonError::into_inner) = aliases;
    }

    /// Sets by which fields of an input durations are learned, by the endpoint's name, as configured.
    pub fn set_classes(&self, classes: HashMap<String, Vec<String>>) {
        *self.classes.write().unwrap_or_else(PoisonError::into_inner) = classes;
    }

    /// Publishes the API keys.
    pub fn set_keys(&self, keys: Vec<KeyRecord>) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    /// Says whether the disk has room for submissions.
    pub(super) fn set_room(&self, has_room: bool) {
        self.has_no_room.store(!has_room, Ordering::Relaxed);
    }

    /// Whether the disk has room for submissions, as of the last look.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.has_no_room.load(Ordering::Relaxed)
    }

    /// Says why no jobs can be taken now; `None` when they can.
    pub fn set_unready(&self, reason: Option<String>) {
        *self.unready.write().unwrap_or_else(PoisonError::into_inner) = reason;
    }
}

impl Live {
    /// All pools with the names of their endpoints and their keys.
    #[must_use]
    pub fn pools(&self) -> Vec<(PoolId, String, String)> {
        let directory = self.directory();
        let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
        let named = pools.iter().filter_map(|(&id, (endpoint, key))| {
            let endpoint = directory.get(*endpoint)?;
            Some((id, endpoint.name.clone(), key.clone()))
        });
        named.collect()
    }
}

impl Live {
    /// Wakes after a webhook became due, or changed.
    pub async fn webhook_due(&self) {
        self.webhook_due.notified().await;
    }

    pub(super) fn webhook_changed(&self) {
        self.webhook_due.notify_one();
    }

    /// Claims a webhook, so that only one attempt or replay of it is under way; `false` when it is
    /// claimed already.
    pub fn sending(&self, webhook: WebhookId) -> bool {
        lock(&self.sending).insert(webhook)
    }

    /// Lets a claimed webhook go; who passed it over meanwhile looks again.
    pub fn sent(&self, webhook: WebhookId) {
        lock(&self.sending).remove(&webhook);
        self.webhook_due.notify_one();
    }

    /// The rotations of the endpoints' webhook secrets.
    #[must_use]
    pub fn rotations(&self) -> Arc<Rotations> {
        let rotations = self.rotations.read();
        Arc::clone(&rotations.unwrap_or_else(PoisonError::into_inner))
    }

    /// Publishes the rotations of the endpoints' webhook secrets.
    pub fn set_rotations(&self, rotations: Rotations) {
        *self
            .rotations
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(rotations);
    }
}
