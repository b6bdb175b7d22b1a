//! What all routes share: the model behind its lock, the clock, who waits, and what was asked.
//!
//! The lock is held for one call of the model and never across an await. What the model wants done is
//! carried out after the lock is released.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use overspill_sim::cloud::{CloudModel, Effect, EndpointId, JobId, Operation, WorkerId};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::management::Exchanges;
use crate::options::Options;
use crate::processes::Processes;
use crate::templates::Templates;
use crate::waiters::Waiters;

/// The state of an emulator.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) clock: Clock,
    model: Mutex<CloudModel>,
    /// Wakes the driver: something may happen earlier than it thinks.
    changed: Notify,
    /// Wakes all who sleep in cloud time: it was moved.
    moved: Notify,
    pub(crate) jobs: Waiters<JobId>,
    pub(crate) work: Waiters<EndpointId>,
    pub(crate) workers: Waiters<WorkerId>,
    requests: Mutex<BTreeMap<String, u64>>,
    pub(crate) exchanges: Exchanges,
    open: Mutex<HashMap<(EndpointId, Operation), u64>>,
    pub(crate) templates: Mutex<Templates>,
    pub(crate) processes: Processes,
    pub(crate) http: reqwest::Client,
    base_url: OnceLock<String>,
}

impl Shared {
    pub(crate) fn new(options: Options, start_ms: i64, http: reqwest::Client) -> Self {
        let mut cloud = options.cloud.clone();
        cloud.real_workers = options.worker_cmd.is_some();
        Self {
            clock: Clock::new(start_ms, options.time_scale),
            model: Mutex::new(CloudModel::new(cloud, start_ms)),
            changed: Notify::new(),
            moved: Notify::new(),
            jobs: Waiters::default(),
            work: Waiters::default(),
            workers: Waiters::default(),
            requests: Mutex::default(),
            exchanges: Exchanges::default(),
            open: Mutex::default(),
            templates: Mutex::default(),
            processes: Processes::default(),
            http,
            base_url: OnceLock::new(),
            options,
        }
    }

    /// Where the emulator is reached, without a slash at the end.
    pub(crate) fn base_url(&self) -> &str {
        self.base_url
            .get()
            .map_or("http://127.0.0.1", String::as_str)
    }

    pub(crate) fn set_base_url(&self, url: String) {
        // A second listener of the same emulator keeps the first one's address.
        let _ = self.base_url.set(url);
    }

    /// One call of the model at the present time, and what follows from it.
    pub(crate) fn call<T>(self: &Arc<Self>, act: impl FnOnce(&mut CloudModel, i64) -> T) -> T {
        let (answer, effects) = {
            let mut model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
            let answer = act(&mut model, self.clock.now_ms());
            (answer, model.take_effects())
        };
        self.changed.notify_one();
        for effect in effects {
            self.carry_out(effect);
        }
        answer
    }

    fn carry_out(self: &Arc<Self>, effect: Effect) {
        match effect {
            Effect::JobChanged(job) => self.jobs.wake(&job),
            Effect::WorkOffered(endpoint) => self.work.wake(&endpoint),
            Effect::WorkerChanged(worker) => self.workers.wake(&worker),
            Effect::StartProcess {
                endpoint,
                worker,
                gpu,
                data_center,
            } => crate::processes::start(self, endpoint, worker, gpu, data_center),
            Effect::StopProcess { worker, is_hard } => self.processes.stop(&worker, is_hard),
            Effect::Webhook {
                delivery,
                url,
                body,
            } => crate::webhooks::send(self, delivery, url, body),
        }
    }

    /// Moves the model along with the clock for as long as it is polled.
    pub(crate) async fn drive(self: Arc<Self>) {
        loop {
            let next = {
                let mut model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
                model.advance(self.clock.now_ms());
                let effects = model.take_effects();
                let next = model.next_event_at();
                drop(model);
                for effect in effects {
                    self.carry_out(effect);
                }
                next
            };
            let sleep = next.and_then(|at_ms| self.clock.real_until(at_ms));
            tokio::select! {
                () = tokio::time::sleep(sleep.unwrap_or(Duration::MAX)) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// Skips cloud time.
    pub(crate) fn skip(self: &Arc<Self>, by_ms: u64) -> i64 {
        let now_ms = self.clock.advance(by_ms);
        self.call(|model, now_ms| model.advance(now_ms));
        self.moved.notify_waiters();
        now_ms
    }

    /// Sleeps until `cloud_ms`, also when time is skipped.
    pub(crate) async fn sleep_until(&self, cloud_ms: i64) {
        loop {
            let moved = self.moved.notified();
            let Some(length) = self.clock.real_until(cloud_ms) else {
                moved.await;
                continue;
            };
            if length.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(length) => {}
                () = moved => {}
            }
        }
    }

    /// Counts a request under its method and route.
    pub(crate) fn count(&self, route: String) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry(route).or_default() += 1;
    }

    pub(crate) fn requests(&self) -> BTreeMap<String, u64> {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Counts a call as open; `None` when too many are.
    pub(crate) fn enter(
        self: &Arc<Self>,
        endpoint: &EndpointId,
        operation: Operation,
    ) -> Option<OpenCall> {
        let most = operation
            .limits()
            .1
            .filter(|_| self.options.cloud.has_rate_limits);
        let key = (endpoint.clone(), operation);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(key.clone()).or_default();
        if most.is_some_and(|most| *count >= most) {
            return None;
        }
        *count += 1;
        Some(OpenCall {
            shared: Arc::clone(self),
            key,
        })
    }
}

/// A call that is open; closed on drop.
#[derive(Debug)]
pub(crate) struct OpenCall {
    shared: Arc<Shared>,
    key: (EndpointId, Operation),
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let mut open = self
            .shared
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.key);
            }
        }
    }
}
