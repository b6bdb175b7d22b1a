//! Hands waiting jobs to workers of ours that ask for them, in order; takes back from the cloud what
//! still waits there when a card is free and nothing waits here.

use crate::attempt::{Attempt, CloudPhase, Place};
use crate::change::Change;
use crate::effect::{Delivery, Effect, Out};
use crate::explain::Reason;
use crate::id::{AttemptId, EndpointId, JobId, PollId, WorkerId};
use crate::job::{Job, JobState};
use crate::jobs::Slot;
use crate::machine::Core;
use crate::time::Timestamp;
use crate::timers::Timer;
use crate::topology::PoolKind;
use crate::worker::{Held, Worker};

impl Core {
    pub(crate) fn place_local(&mut self, id: EndpointId, out: &mut Out) {
        if self.is_draining {
            return;
        }
        let Some(endpoint) = self.endpoints.get(&id) else {
            return;
        };
        let polls: Vec<PollId> = endpoint.polls.iter().copied().collect();
        let mut idle_slots = 0;
        for poll in polls {
            let Some((worker, room)) = self.room(poll) else {
                continue;
            };
            let jobs = self.pick(id, worker, room);
            if jobs.is_empty() {
                let queue = self.endpoints.get(&id).map_or(0, |e| e.queue.len());
                idle_slots += if queue == 0 { room as usize } else { 0 };
                continue;
            }
            self.forget_poll(poll);
            let jobs = jobs
                .into_iter()
                .filter_map(|slot| self.lease(slot, worker, out))
                .collect();
            out.effect(Effect::Deliver { poll, worker, jobs });
        }
        if idle_slots > 0 {
            self.take_back(id, idle_slots, out);
        }
    }

    /// Whose poll it is, and how many jobs may start there now.
    fn room(&self, poll: PollId) -> Option<(WorkerId, u32)> {
        let poll = self.polls.get(&poll)?;
        let worker = self.workers.get(&poll.worker)?;
        let pool = self.pools.get(&worker.record.pool)?;
        let device = self.devices.get(&worker.record.device)?;
        if !device.takes_work() || !device.has_room(poll.worker, self.vram_of(worker.record.id)) {
            return None;
        }
        let held = u32::try_from(worker.held.len()).unwrap_or(u32::MAX);
        let room = poll.room.min(pool.slots().saturating_sub(held));
        (room > 0).then_some((poll.worker, room))
    }

    pub(crate) fn vram_of(&self, worker: WorkerId) -> Option<u64> {
        let pool = self.pools.get(&self.workers.get(&worker)?.record.pool)?;
        match pool.spec.as_ref()?.kind {
            PoolKind::Command { vram_bytes, .. } => vram_bytes,
            PoolKind::RunPod(_) => None,
        }
    }

    /// The first waiting jobs that may go to `worker`.
    fn pick(&mut self, id: EndpointId, worker: WorkerId, room: u32) -> Vec<Slot> {
        let (Some(endpoint), Some(worker)) = (self.endpoints.get(&id), self.workers.get(&worker))
        else {
            return Vec::new();
        };
        let now = self.now;
        let mut again: Option<Timestamp> = None;
        let mut picked = Vec::new();
        let is_alone = self
            .pools
            .get(&worker.record.pool)
            .is_none_or(|pool| pool.slots() == 1);
        if !is_alone && self.holds_suspect(worker) {
            return Vec::new();
        }
        for &slot in endpoint.queue.values() {
            if picked.len() == room as usize {
                break;
            }
            let Some(job) = self.jobs.at(slot) else {
                continue;
            };
            if let Some(until) = worker.paused_for(job.id, now) {
                again = Some(again.map_or(until, |at| at.min(until)));
            } else if is_alone || !job.is_suspect() {
                picked.push(slot);
            } else {
                // It runs alone; nobody overtakes it here until the worker has nothing else.
                if picked.is_empty() && worker.held.is_empty() {
                    picked.push(slot);
                }
                break;
            }
        }
        if let Some(at) = again {
            self.timers.set(at, Timer::Endpoint(id));
        }
        picked
    }

    /// Whether a worker runs a job that must run alone.
    pub(crate) fn holds_suspect(&self, worker: &Worker) -> bool {
        worker.held.keys().any(|&attempt| {
            let is_suspect = self.jobs.get(attempt.job).is_some_and(Job::is_suspect);
            is_suspect && self.counts(attempt)
        })
    }

    /// Gives the job in `slot` to `worker`.
    fn lease(&mut self, slot: Slot, worker_id: WorkerId, out: &mut Out) -> Option<Delivery> {
        let pool = self.workers.get(&worker_id)?.record.pool;
        let attempt = self.begin_attempt(slot, pool, Place::Local { worker: worker_id }, out)?;
        let vram = self.vram_of(worker_id);
        let worker = self.workers.get_mut(&worker_id)?;
        worker.held.insert(attempt, Held::default());
        if let Some(device) = self.devices.get_mut(&worker.record.device) {
            device.enter(worker_id, vram);
        }
        self.note_began(attempt, self.now);
        let extras = self.jobs.get(attempt.job)?.extras.as_deref();
        Some(Delivery {
            attempt,
            extras: extras.and_then(|extras| extras.worker.clone()),
            webhook: extras.and_then(|extras| extras.webhook.clone()),
            trace: extras.and_then(|extras| extras.trace.clone()),
        })
    }

    /// Takes the job in `slot` out of its queue and makes its next attempt.
    pub(crate) fn begin_attempt(
        &mut self,
        slot: Slot,
        pool: crate::id::PoolId,
        place: Place,
        out: &mut Out,
    ) -> Option<AttemptId> {
        let job_id: JobId = self.jobs.at(slot)?.id;
        let job = self.jobs.get_mut(job_id)?;
        job.attempts += 1;
        job.state = JobState::Attempted {
            number: job.attempts,
        };
        let id = AttemptId {
            job: job_id,
            generation: job.generation,
            number: job.attempts,
        };
        let is_local = matches!(place, Place::Local { .. });
        let attempt = Attempt {
            id,
            endpoint: job.endpoint,
            pool,
            place,
            leased_at: self.now,
            started_at: is_local.then_some(self.now),
            deadline: if is_local {
                self.now + job.execution_timeout
            } else {
                Timestamp::NEVER
            },
            fenced: None,
            key: job.key,
        };
        out.change(Change::JobPut {
            job: job.clone(),
            input: None,
            idempotency: None,
        });
        out.change(Change::AttemptPut(attempt.clone()));
        let (endpoint, key) = (job.endpoint, job.queue_key());
        self.timers.set(attempt.deadline, Timer::Attempt(id));
        self.attempts.insert(id, attempt);
        if let Some(endpoint) = self.endpoints.get_mut(&endpoint) {
            endpoint.queue.remove(&key);
        }
        Some(id)
    }

    /// Asks RunPod to give up jobs that it has not begun: a card of ours is free first. They go to
    /// the card only after RunPod confirms.
    fn take_back(&mut self, id: EndpointId, slots: usize, out: &mut Out) {
        let Some(endpoint) = self.endpoints.get(&id) else {
            return;
        };
        let mut queued: Vec<(u64, AttemptId)> = Vec::new();
        let mut asked = 0;
        for pool in endpoint.pools.iter().filter_map(|id| self.pools.get(id)) {
            for &attempt_id in &pool.outstanding {
                let Some(attempt) = self.attempts.get(&attempt_id) else {
                    continue;
                };
                let is_queued = matches!(attempt.place, Place::Cloud(CloudPhase::Queued { .. }));
                if !is_queued || attempt.fenced.is_some() {
                    continue;
                }
                if pool.cloud.cancelling.contains(&attempt_id) {
                    asked += 1;
                } else if let Some(job) = self.jobs.get(attempt_id.job) {
                    queued.push((job.queue_key(), attempt_id));
                }
            }
        }
        queued.sort_unstable();
        for (_, attempt) in queued.into_iter().take(slots.saturating_sub(asked)) {
            self.cancel_in_cloud(attempt, true, out);
            let reason = Reason::TakenBack { job: attempt.job };
            out.effect(Effect::Decided {
                endpoint: id,
                reason,
            });
        }
    }
}
