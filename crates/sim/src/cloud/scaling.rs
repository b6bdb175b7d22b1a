//! How many workers an endpoint has: its limits, which act at once, and the platform's two rules.
//!
//! `QUEUE_DELAY` looks when a waiting job crosses the delay, and each second while one is over it; every
//! job over the delay that no starting worker answers to adds a worker, for the platform does not know how many
//! jobs a worker runs at once. `REQUEST_COUNT` wants `ceil((waiting + running) / count)` workers and also shrinks by it. Both
//! stay within the limits. RunPod publishes neither period nor step; these are our assumptions.

use super::CloudModel;
use super::agenda::Timer;
use super::endpoint::Endpoint;
use super::id::{EndpointId, WorkerId};
use super::placement::StopReason;
use super::settings::ScalingRule;
use super::worker::WorkerState;

/// How often the platform looks again while jobs wait for too long.
const LOOK_AGAIN_MS: i64 = 1_000;
const DAY_MS: i64 = 86_400_000;

impl CloudModel {
    /// Brings the workers of an endpoint to what limits and rule say now.
    pub(super) fn rescale(&mut self, endpoint_id: &EndpointId) {
        self.enforce_max(endpoint_id);
        self.stop_idle(endpoint_id);
        let Some(endpoint) = self.endpoints.get(endpoint_id) else {
            return;
        };
        let room = endpoint.most().saturating_sub(endpoint.alive());
        let missing = endpoint.least().saturating_sub(endpoint.staying());
        let (wanted, look_at_ms) = demand(endpoint, self.now_ms);
        for _ in 0..wanted.max(missing).min(room) {
            self.start_worker(endpoint_id);
        }
        let old = self
            .endpoints
            .get_mut(endpoint_id)
            .and_then(|endpoint| endpoint.scale_timer.take());
        self.agenda.cancel(old);
        if let Some(at_ms) = look_at_ms {
            let timer = self.agenda.set(at_ms, Timer::Scale(endpoint_id.clone()));
            if let Some(endpoint) = self.endpoints.get_mut(endpoint_id) {
                endpoint.scale_timer = Some(timer);
            }
        }
    }

    pub(super) fn on_scale_timer(&mut self, endpoint_id: &EndpointId) {
        if let Some(endpoint) = self.endpoints.get_mut(endpoint_id) {
            endpoint.scale_timer = None;
            self.rescale(endpoint_id);
        }
    }

    /// A lowered maximum acts at once: what does not work yet or no more ends, the rest after its jobs.
    fn enforce_max(&mut self, endpoint_id: &EndpointId) {
        let Some(endpoint) = self.endpoints.get(endpoint_id) else {
            return;
        };
        let excess = endpoint.staying().saturating_sub(endpoint.most());
        if excess == 0 {
            return;
        }
        let mut order: Vec<(u8, std::cmp::Reverse<u64>, WorkerId, bool)> = endpoint
            .workers
            .values()
            .filter(|worker| !worker.is_draining)
            .map(|worker| {
                let class = match worker.state {
                    WorkerState::Throttled => 0,
                    WorkerState::Unhealthy => 1,
                    WorkerState::Initializing => 2,
                    WorkerState::Ready if worker.jobs.is_empty() => 3,
                    WorkerState::Ready => 4,
                };
                (
                    class,
                    std::cmp::Reverse(worker.number),
                    worker.id.clone(),
                    worker.jobs.is_empty(),
                )
            })
            .collect();
        order.sort();
        for (_, _, worker, is_free) in order.into_iter().take(excess as usize) {
            if is_free {
                self.stop_worker(endpoint_id, &worker, StopReason::Ordered);
            } else {
                self.with_worker(endpoint_id, &worker, |worker| worker.is_draining = true);
                self.effects
                    .push(super::call::Effect::WorkerChanged(worker));
            }
        }
    }

    /// Stops workers that idled for too long, or that a request count no longer asks for, down to the minimum.
    fn stop_idle(&mut self, endpoint_id: &EndpointId) {
        let now_ms = self.now_ms;
        let Some(endpoint) = self.endpoints.get(endpoint_id) else {
            return;
        };
        let keep = match endpoint.settings.scaling {
            ScalingRule::QueueDelayMs(_) => endpoint.least(),
            ScalingRule::RequestCount(count) => by_count(endpoint, count),
        };
        let follows_count = matches!(endpoint.settings.scaling, ScalingRule::RequestCount(_));
        let idle_ms = endpoint.settings.idle_timeout_ms;
        let spare = endpoint.staying().saturating_sub(keep) as usize;
        if spare == 0 || !endpoint.queue.is_empty() {
            return;
        }
        let over: Vec<WorkerId> = endpoint
            .workers
            .values()
            .rev()
            .filter(|worker| {
                let is_over = worker
                    .idle_since_ms
                    .is_some_and(|since| since.saturating_add_unsigned(idle_ms) <= now_ms);
                worker.is_idle() && !worker.is_draining && (is_over || follows_count)
            })
            .take(spare)
            .map(|worker| worker.id.clone())
            .collect();
        for worker in over {
            self.stop_worker(endpoint_id, &worker, StopReason::Idle);
        }
    }

    pub(super) fn on_idle(&mut self, endpoint_id: &EndpointId, worker_id: &WorkerId, epoch: u64) {
        let worker = self
            .endpoints
            .get(endpoint_id)
            .and_then(|e| e.worker(worker_id));
        if worker.is_some_and(|worker| worker.is_idle() && worker.idle_epoch == epoch) {
            self.rescale(endpoint_id);
        }
    }

    /// Three days without a request lower the maximum to 2, seven to 0; only the owner raises it again.
    pub(super) fn on_unused(&mut self, endpoint_id: &EndpointId) {
        let now_ms = self.now_ms;
        let Some(endpoint) = self.endpoints.get_mut(endpoint_id) else {
            return;
        };
        let unused_ms = now_ms - endpoint.last_request_ms;
        let most = match unused_ms / DAY_MS {
            0..=2 => u32::MAX,
            3..=6 => 2,
            _ => 0,
        };
        let settings = &mut endpoint.settings;
        settings.workers_max = settings.workers_max.min(most);
        settings.workers_min = settings.workers_min.min(settings.workers_max);
        let next_ms = match unused_ms / DAY_MS {
            0..=2 => endpoint.last_request_ms + 3 * DAY_MS,
            3..=6 => endpoint.last_request_ms + 7 * DAY_MS,
            // Down to 0 already: a request needs a raise first, so looking once a day is enough.
            _ => now_ms + DAY_MS,
        };
        self.agenda.set(next_ms, Timer::Unused(endpoint_id.clone()));
        self.rescale(endpoint_id);
    }
}

/// Workers wanted by request count, within the limits.
fn by_count(endpoint: &Endpoint, count: u32) -> u32 {
    let waiting = endpoint
        .queue
        .values()
        .filter(|id| !is_low_priority(endpoint, id))
        .count() as u64;
    let wanted = (waiting + endpoint.in_progress).div_ceil(u64::from(count.max(1)));
    let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
    wanted
        .max(endpoint.least())
        .min(endpoint.settings.workers_max)
}

fn is_low_priority(endpoint: &Endpoint, id: &super::id::JobId) -> bool {
    endpoint
        .jobs
        .get(id)
        .is_some_and(|job| job.order.policy.is_low_priority)
}

/// How many workers to start now, and when to look again.
fn demand(endpoint: &Endpoint, now_ms: i64) -> (u32, Option<i64>) {
    match endpoint.settings.scaling {
        ScalingRule::RequestCount(count) => (
            by_count(endpoint, count).saturating_sub(endpoint.staying()),
            None,
        ),
        ScalingRule::QueueDelayMs(delay_ms) => {
            let starting = endpoint.workers.values().filter(|w| w.is_coming()).count();
            let most = endpoint.settings.workers_max as usize + 1;
            let mut over = 0_usize;
            let mut next_ms = None;
            for id in endpoint.queue.values() {
                let Some(job) = endpoint.jobs.get(id) else {
                    continue;
                };
                if job.order.policy.is_low_priority {
                    continue;
                }
                let due_ms = job.waiting_since_ms.saturating_add_unsigned(delay_ms);
                if due_ms <= now_ms {
                    over += 1;
                } else {
                    next_ms = Some(next_ms.map_or(due_ms, |at: i64| at.min(due_ms)));
                }
                // Beyond this many the answer does not change; the queue is in order of submission.
                if over > most || (next_ms.is_some() && over == 0) {
                    break;
                }
            }
            let wanted = u32::try_from(over.saturating_sub(starting)).unwrap_or(u32::MAX);
            let has_room = endpoint.alive() < endpoint.settings.workers_max;
            let again = (over > 0).then_some(now_ms + LOOK_AGAIN_MS);
            let look_at_ms = [again, next_ms]
                .into_iter()
                .flatten()
                .min()
                .filter(|_| has_room);
            (wanted, look_at_ms)
        }
    }
}
