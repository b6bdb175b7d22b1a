//! Held job-takes: a worker waits for jobs.

use crate::attempt::Fence;
use crate::effect::{Effect, Out};
use crate::id::{JobId, PollId, WorkerId};
use crate::machine::{Core, Poll};
use crate::time::Timestamp;
use crate::timers::Timer;

/// A job whose attempts without a result weigh this much fails: see [`Core::on_no_result`].
const NO_RESULT_MAX: u16 = 4;
/// What an attempt weighs that a heartbeat listed; others weigh 1.
const WEIGHT_LISTED: u16 = 2;

impl Core {
    pub(crate) fn on_take_waiting(
        &mut self,
        poll: PollId,
        worker_id: WorkerId,
        room: u32,
        deadline: Timestamp,
        is_idle: bool,
        out: &mut Out,
    ) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(&worker_id) else {
            return out.effect(Effect::TakeEmpty { poll });
        };
        worker.ready_at.get_or_insert(now);
        let (previous, takes_jobs) = (worker.poll.take(), worker.record.takes_jobs());
        let endpoint = worker.record.endpoint;
        let held: Vec<_> = worker.held.keys().copied().collect();
        if let Some(previous) = previous {
            self.forget_poll(previous);
            out.effect(Effect::TakeEmpty { poll: previous });
        }
        // The worker says it holds nothing: what we think it holds ended without a result.
        if is_idle {
            for attempt in held {
                self.on_no_result(attempt, out);
            }
        }
        if self.is_draining || !takes_jobs {
            return out.effect(Effect::TakeEmpty { poll });
        }
        if let Some(worker) = self.workers.get_mut(&worker_id) {
            worker.poll = Some(poll);
        }
        if let Some(endpoint) = self.endpoints.get_mut(&endpoint) {
            endpoint.polls.insert(poll);
        }
        self.polls.insert(
            poll,
            Poll {
                worker: worker_id,
                room: room.max(1),
                deadline,
            },
        );
        self.timers.set(deadline, Timer::Poll(poll));
        self.dirty.insert(endpoint);
    }

    /// Takes a held job-take out of the books, without answering it.
    pub(crate) fn forget_poll(&mut self, id: PollId) {
        let Some(poll) = self.polls.remove(&id) else {
            return;
        };
        let Some(worker) = self.workers.get_mut(&poll.worker) else {
            return;
        };
        if worker.poll == Some(id) {
            worker.poll = None;
        }
        worker.heard_at = self.now;
        if let Some(endpoint) = self.endpoints.get_mut(&worker.record.endpoint) {
            endpoint.polls.remove(&id);
        }
    }

    pub(crate) fn on_poll_due(&mut self, id: PollId, out: &mut Out) {
        if self
            .polls
            .get(&id)
            .is_some_and(|poll| poll.deadline <= self.now)
        {
            self.forget_poll(id);
            out.effect(Effect::TakeEmpty { poll: id });
        }
    }

    /// The answer could not be written: the worker has never seen these jobs.
    pub(crate) fn on_deliver_failed(&mut self, worker: WorkerId, jobs: &[JobId], out: &mut Out) {
        for &job in jobs {
            let held = self
                .workers
                .get(&worker)
                .and_then(|worker| worker.attempt_of(job));
            if let Some(attempt) = held {
                self.end_attempt(attempt, "not_delivered", out);
                self.requeue(attempt, out);
            }
        }
    }

    pub(crate) fn on_drain_asked(&mut self, out: &mut Out) {
        self.is_draining = true;
        let polls: Vec<PollId> = self.polls.keys().copied().collect();
        for poll in polls {
            self.forget_poll(poll);
            out.effect(Effect::TakeEmpty { poll });
        }
    }

    /// A worker is rid of an attempt and has posted nothing. Where a heartbeat listed the job, the
    /// worker had it: twice means that the output cannot be sent. Where none did, the job may never
    /// have got there, or have ended between two heartbeats: that weighs half.
    pub(crate) fn on_no_result(&mut self, id: crate::id::AttemptId, out: &mut Out) {
        let Some(attempt) = self.attempts.get(&id) else {
            return;
        };
        let is_fenced = attempt.fenced.is_some();
        // Nobody knows that it got there: that is no word on the job.
        let (mut may_be_undelivered, mut was_listed) = (false, false);
        if let Some(worker) = attempt.local_worker()
            && let Some(worker) = self.workers.get_mut(&worker)
        {
            let held = worker.held.get(&id);
            // What was given to it this very moment is not on its way yet: the word is an older one,
            // read late with others of the same worker.
            may_be_undelivered = attempt.leased_at == self.now
                || held.is_some_and(|held| held.is_doubtful && !held.was_listed);
            was_listed = worker.held.get(&id).is_some_and(|held| held.was_listed);
            worker.drop_job(id.job, self.now);
        }
        if is_fenced {
            return self.end_attempt(id, "stopped", out);
        }
        if may_be_undelivered {
            self.end_attempt(id, "not_delivered", out);
            return self.requeue(id, out);
        }
        let no_result = self.jobs.get_mut(id.job).map_or(0, |job| {
            job.no_result += if was_listed { WEIGHT_LISTED } else { 1 };
            job.no_result
        });
        self.end_attempt(id, "no_result", out);
        if no_result >= NO_RESULT_MAX {
            let error = "worker finished without sending a result; its output is probably not \
                         JSON (bytes?)";
            self.fail_job(id, error.into(), "no_result", out);
        } else {
            self.requeue(id, out);
        }
    }

    /// Fences a live attempt: its result no longer counts.
    pub(crate) fn fence(&mut self, id: crate::id::AttemptId, fence: Fence, out: &mut Out) {
        if let Some(attempt) = self.attempts.get_mut(&id) {
            attempt.fenced.get_or_insert(fence);
            out.change(crate::change::Change::AttemptPut(attempt.clone()));
        }
    }
}
