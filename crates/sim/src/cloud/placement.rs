//! Workers come and go: where one is placed, how long it takes to start, when it is ready, how it stops.

use super::CloudModel;
use super::agenda::Timer;
use super::billing::Meter;
use super::call::Effect;
use super::endpoint::{Endpoint, Parked};
use super::gpu::{DATA_CENTERS, DataCenter, GPUS};
use super::id::{EndpointId, WorkerId};
use super::settings::Hardware;
use super::worker::{Worker, WorkerState};

/// Why a worker stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// It idled for too long, or is not wanted any more.
    Idle,
    /// By an order: limits, a release, a deletion.
    Ordered,
    /// At once and with what it does: a time-out.
    Killed,
    /// Its host is gone; nobody was told.
    Lost,
}

/// How often a throttled worker looks for room.
const PLACE_AGAIN_MS: i64 = 5_000;

impl CloudModel {
    /// Starts one more worker of the endpoint.
    pub(super) fn start_worker(&mut self, endpoint_id: &EndpointId) {
        let id = WorkerId::from(self.dice.short_id());
        let number = self.number();
        let Some(endpoint) = self.endpoints.get_mut(endpoint_id) else {
            return;
        };
        let worker = Worker {
            id: id.clone(),
            number,
            state: WorkerState::Throttled,
            meter: Meter::default(),
            rate: overspill_core::money::RatePerHour::default(),
            gpu: None,
            pool: None,
            data_center: None,
            version: endpoint.version(),
            started_ms: None,
            ready_ms: None,
            idle_since_ms: None,
            idle_epoch: 0,
            is_draining: false,
            jobs: std::collections::BTreeMap::new(),
            timer: None,
            crashes: 0,
            has_process: false,
            to_stop: Vec::new(),
        };
        endpoint.worker_numbers.insert(id.clone(), number);
        endpoint.workers.insert(number, worker);
        self.on_place(endpoint_id, &id);
    }

    /// Finds room for a worker, or lets it wait.
    pub(super) fn on_place(&mut self, endpoint_id: &EndpointId, worker_id: &WorkerId) {
        let now_ms = self.now_ms;
        let Some(endpoint) = self.endpoints.get(endpoint_id) else {
            return;
        };
        if !endpoint
            .worker(worker_id)
            .is_some_and(|w| w.state == WorkerState::Throttled)
        {
            return;
        }
        let centers: Vec<&'static DataCenter> = DATA_CENTERS
            .iter()
            .filter(|center| {
                let allowed = &endpoint.settings.data_centers;
                (allowed.is_empty() || allowed.iter().any(|id| id == center.id))
                    && !self.faults.has_outage(center.id, now_ms)
            })
            .collect();
        let machines = machines_of(endpoint);
        let is_cpu = matches!(endpoint.settings.hardware, Hardware::Cpu(_));
        let is_throttled = self.faults.is_throttled(endpoint_id, now_ms);
        if is_throttled || centers.is_empty() || (machines.is_empty() && !is_cpu) {
            let timer = self.agenda.set(
                now_ms + PLACE_AGAIN_MS,
                Timer::Place(endpoint_id.clone(), worker_id.clone()),
            );
            self.with_worker(endpoint_id, worker_id, |worker| worker.timer = Some(timer));
            return;
        }
        let center = centers[self.dice.place(centers.len())];
        let machine = (!is_cpu).then(|| machines[self.dice.place(machines.len())]);
        self.with_worker(endpoint_id, worker_id, |worker| {
            worker.data_center = Some(center.id);
            worker.gpu = machine.map(|(_, gpu)| gpu);
            worker.pool = machine.map(|(pool, _)| pool);
        });
        self.begin_start(endpoint_id, worker_id);
    }

    /// The container starts: from here it is billed.
    pub(super) fn begin_start(&mut self, endpoint_id: &EndpointId, worker_id: &WorkerId) {
        let now_ms = self.now_ms;
        let Some(endpoint) = self.endpoints.get_mut(endpoint_id) else {
            return;
        };
        endpoint.prune_parked(now_ms);
        let range = if endpoint.parked.pop_front().is_some() {
            self.options.flash_start
        } else {
            endpoint.knobs.cold_start.unwrap_or(self.options.cold_start)
        };
        let takes_ms = self.dice.start_ms(range);
        let is_active =
            self.options.has_active_prices && endpoint.staying() <= endpoint.settings.workers_min;
        endpoint.counters.cold_starts += 1;
        let pool = endpoint.worker(worker_id).and_then(|worker| worker.pool);
        let rate = endpoint.rate(pool, is_active);
        let timer = self.agenda.set(
            now_ms.saturating_add_unsigned(takes_ms),
            Timer::Started(endpoint_id.clone(), worker_id.clone()),
        );
        self.with_worker(endpoint_id, worker_id, |worker| {
            worker.state = WorkerState::Initializing;
            worker.started_ms = Some(now_ms);
            worker.rate = rate;
            worker.meter.start(now_ms);
            worker.timer = Some(timer);
        });
    }

    pub(super) fn on_started(&mut self, endpoint_id: &EndpointId, worker_id: &WorkerId) {
        let now_ms = self.now_ms;
        let Some(endpoint) = self.endpoints.get(endpoint_id) else {
            return;
        };
        let Some(worker) = endpoint.worker(worker_id) else {
            return;
        };
        if self.faults.crashes_start(endpoint_id, now_ms) {
            self.crash_worker(endpoint_id, worker_id);
            return;
        }
        if !self.options.real_workers {
            self.worker_ready(endpoint_id, worker_id);
            return;
        }
        self.effects.push(Effect::StartProcess {
            endpoint: endpoint_id.clone(),
            worker: worker_id.clone(),
            gpu: worker.gpu,
            data_center: worker.data_center,
        });
        let timer = self.agenda.set(
            now_ms + self.options.init_timeout_ms,
            Timer::InitTimeout(endpoint_id.clone(), worker_id.clone()),
        );
        self.with_worker(endpoint_id, worker_id, |worker| {
            worker.has_process = true;
            worker.timer = Some(timer);
        });
    }

    pub(super) fn on_init_timeout(&mut self, endpoint_id: &EndpointId, worker_id: &WorkerId) {
        let worker = self
            .endpoints
            .get(endpoint_id)
            .and_then(|e| e.worker(worker_id));
        if worker.is_some_and(|worker| worker.state == WorkerState::Initializing) {
            self.crash_worker(endpoint_id, worker_id);
        }
    }

    /// The worker can take jobs.
    pub(super) fn worker_ready(&mut self, endpoint_id: &EndpointId, worker_id: &WorkerId) {
        let now_ms = self.now_ms;
        let old = self.with_worker(endpoint_id, worker_id, |worker| {
            worker.state = WorkerState::Ready;
            worker.ready_ms = Some(now_ms);
            worker.crashes = 0;
            worker.timer.take()
        });
        self.agenda.cancel(old.flatten());
        if let Some(endpoint) = self.endpoints.get_mut(endpoint_id) {
            endpoint.crashes = 0;
        }
        self.dispatch(endpoint_id);
        let worker = self
            .endpoints
            .get(endpoint_id)
            .and_then(|e| e.worker(worker_id));
        if worker.is_some_and(Worker::is_idle) {
            self.mark_idle(endpoint_id, worker_id);
        }
        self.rescale(endpoint_id);
    }

    /// The worker is ready and without a job: its idle time begins.
    pub(super) fn mark_idle(&mut self, endpoint_id: &EndpointId, worker_id: &WorkerId) {
        let now_ms = self.now_ms;
        let Some(endpoint) = self.endpoints.get_mut(endpoint_id) else {
            return;
        };
        let idle_ms = endpoint.settings.idle_timeout_ms;
        let Some(worker) = endpoint.worker_mut(worker_id) else {
            return;
        };
        if worker.is_draining {
            // It got well, or ready, after it was told to go.
            self.stop_worker(endpoint_id, worker_id, StopReason::Ordered);
            return;
        }
        let since_ms = *worker.idle_since_ms.get_or_insert(now_ms);
        worker.idle_epoch += 1;
        let epoch = worker.idle_epoch;
        self.agenda.set(
            since_ms.saturating_add_unsigned(idle_ms).max(now_ms),
            Timer::Idle(endpoint_id.clone(), worker_id.clone(), epoch),
        );
    }

    /// Ends a worker; its jobs, if it has some, are lost with it.
    pub(super) fn stop_worker(
        &mut self,
        endpoint_id: &EndpointId,
        worker_id: &WorkerId,
        reason: StopReason,
    ) {
        let now_ms = self.now_ms;
        let keep_ms = self.options.flash_keep_ms;
        let Some(endpoint) = self.endpoints.get_mut(endpoint_id) else {
            return;
        };
        let Some(number) = endpoint.worker_numbers.remove(worker_id) else {
            return;
        };
        let Some(mut worker) = endpoint.workers.remove(&number) else {
            return;
        };
        if reason == StopReason::Idle && endpoint.has_flash() {
            endpoint.parked.push_back(Parked {
                until_ms: now_ms + keep_ms,
                version: worker.version,
            });
        }
        self.agenda.cancel(worker.timer.take());
        let rate = worker.rate;
        let stretch = worker.meter.stop(now_ms, rate);
        let was_ready = worker.ready_ms.is_some();
        self.write_line(endpoint_id, &worker, stretch);
        if was_ready {
            let seen_ms = stretch.map_or(0, |(_, _, billed_ms, _)| billed_ms);
            self.write_hidden_idle(endpoint_id, &worker, seen_ms);
        }
        if worker.has_process {
            let is_hard = matches!(reason, StopReason::Killed | StopReason::Lost);
            self.effects.push(Effect::WorkerChanged(worker_id.clone()));
            self.effects.push(Effect::StopProcess {
                worker: worker_id.clone(),
                is_hard,
            });
        }
        let lost = std::mem::take(&mut worker.jobs).into_iter().collect();
        self.lose_jobs(endpoint_id, lost);
    }

    pub(super) fn with_worker<T>(
        &mut self,
        endpoint: &EndpointId,
        worker: &WorkerId,
        change: impl FnOnce(&mut Worker) -> T,
    ) -> Option<T> {
        self.endpoints
            .get_mut(endpoint)?
            .worker_mut(worker)
            .map(change)
    }
}

/// Pools and GPU types that a worker of the endpoint may get.
fn machines_of(endpoint: &Endpoint) -> Vec<(&'static str, &'static str)> {
    let Hardware::Gpu {
        pools, excluded, ..
    } = &endpoint.settings.hardware
    else {
        return Vec::new();
    };
    pools
        .iter()
        .filter_map(|id| {
            GPUS.iter()
                .find(|gpu| gpu.pool == Some(id) && !excluded.iter().any(|x| x == gpu.id))
                .and_then(|gpu| Some((gpu.pool?, gpu.id)))
        })
        .collect()
}
