//! Workers that crash: not billed while they are down, tried again with growing pauses, and at last fewer of them.

use super::CloudModel;
use super::agenda::Timer;
use super::call::Effect;
use super::id::{EndpointId, WorkerId};
use super::worker::WorkerState;

/// First pause before a crashed worker is tried again; it doubles with each crash.
const FIRST_PAUSE_MS: i64 = 10_000;
const LONGEST_PAUSE_MS: i64 = 300_000;

impl CloudModel {
    /// A worker goes down: its jobs are lost, its meter stops, and it will be tried again. Every so many crashes in
    /// a row the platform halves the endpoint's maximum.
    pub(super) fn crash_worker(&mut self, endpoint_id: &EndpointId, worker_id: &WorkerId) {
        let now_ms = self.now_ms;
        let crash_loop_after = self.options.crash_loop_after.max(1);
        let Some(endpoint) = self.endpoints.get_mut(endpoint_id) else {
            return;
        };
        let Some(worker) = endpoint.worker_mut(worker_id) else {
            return;
        };
        let rate = worker.rate;
        let stretch = worker.meter.stop(now_ms, rate);
        worker.state = WorkerState::Unhealthy;
        worker.crashes += 1;
        worker.idle_since_ms = None;
        worker.idle_epoch += 1;
        let pause_ms =
            (FIRST_PAUSE_MS << worker.crashes.saturating_sub(1).min(10)).min(LONGEST_PAUSE_MS);
        let lost = std::mem::take(&mut worker.jobs).into_iter().collect();
        let old = worker.timer.take();
        let had_process = std::mem::take(&mut worker.has_process);
        let snapshot = worker.clone();
        endpoint.crashes += 1;
        if endpoint.crashes.is_multiple_of(crash_loop_after) {
            endpoint.settings.workers_max /= 2;
            endpoint.settings.workers_min = endpoint
                .settings
                .workers_min
                .min(endpoint.settings.workers_max);
        }
        self.agenda.cancel(old);
        if had_process {
            self.effects.push(Effect::WorkerChanged(worker_id.clone()));
            self.effects.push(Effect::StopProcess {
                worker: worker_id.clone(),
                is_hard: true,
            });
        }
        self.write_line(endpoint_id, &snapshot, stretch);
        self.lose_jobs(endpoint_id, lost);
        let timer = self.agenda.set(
            now_ms + pause_ms,
            Timer::Recover(endpoint_id.clone(), worker_id.clone()),
        );
        self.with_worker(endpoint_id, worker_id, |worker| worker.timer = Some(timer));
        self.rescale(endpoint_id);
    }

    pub(super) fn on_recover(&mut self, endpoint_id: &EndpointId, worker_id: &WorkerId) {
        let Some(endpoint) = self.endpoints.get(endpoint_id) else {
            return;
        };
        let is_wanted = !endpoint.queue.is_empty() || endpoint.staying() <= endpoint.least();
        if !endpoint
            .worker(worker_id)
            .is_some_and(|w| w.state == WorkerState::Unhealthy)
        {
            return;
        }
        if is_wanted {
            self.begin_start(endpoint_id, worker_id);
        } else {
            self.stop_worker(
                endpoint_id,
                worker_id,
                super::placement::StopReason::Ordered,
            );
        }
    }
}
