//! `/cancel` and `/purge-queue`: fence first, signal second, kill after a grace.

use crate::attempt::{Attempt, Fence, Place};
use crate::change::{Change, FinalState};
use crate::effect::{Answer, Effect, Out};
use crate::id::{AttemptId, EndpointId, JobId, RequestId};
use crate::job::JobState;
use crate::machine::Core;
use crate::on::finish::Ending;
use crate::timers::Timer;

impl Core {
    pub(crate) fn on_cancel_asked(&mut self, request: RequestId, id: JobId, out: &mut Out) {
        if self.jobs.get(id).is_none() {
            return out.answer(request, Answer::NotLive);
        }
        let ending = Ending::ours(FinalState::Cancelled, "cancelled", None);
        self.end_early(id, Fence::Cancelled, ending, out);
        out.answer(
            request,
            Answer::Cancelled {
                job: id,
                state: FinalState::Cancelled,
            },
        );
    }

    pub(crate) fn on_purge_asked(&mut self, request: RequestId, id: EndpointId, out: &mut Out) {
        let Some(endpoint) = self.endpoints.get(&id) else {
            return out.answer(request, Answer::NotFound);
        };
        let slots = endpoint.queue.values();
        let mut queued: Vec<JobId> = slots
            .filter_map(|&s| self.jobs.at(s))
            .map(|j| j.id)
            .collect();
        // What waits at RunPod waits, as far as its client can see.
        let waits = |attempt: &&Attempt| {
            attempt.endpoint == id && attempt.is_cloud() && attempt.started_at.is_none()
        };
        let there = self.attempts.values().filter(waits);
        queued.extend(
            there
                .filter(|attempt| self.counts(attempt.id))
                .map(|attempt| attempt.id.job),
        );
        for &job in &queued {
            let ending = Ending::ours(FinalState::Cancelled, "purged", None);
            self.end_early(job, Fence::Cancelled, ending, out);
        }
        out.answer(
            request,
            Answer::Purged {
                removed: queued.len() as u64,
            },
        );
    }

    /// Ends a job whatever it is doing, and gets its attempt out of the way.
    pub(crate) fn end_early(&mut self, id: JobId, fence: Fence, ending: Ending, out: &mut Out) {
        let Some(job) = self.jobs.get(id) else { return };
        let JobState::Attempted { number } = job.state else {
            return self.record_end(id, None, ending, out);
        };
        let attempt_id = AttemptId {
            job: id,
            generation: job.generation,
            number,
        };
        self.fence(attempt_id, fence, out);
        let attempt = self.attempts.get(&attempt_id).cloned();
        let ran = attempt
            .as_ref()
            .map(|attempt| (attempt, attempt.started_at.map(|at| self.now.since(at))));
        self.record_end(id, ran, ending, out);
        self.clear_away(attempt_id, out);
    }

    /// Asks whoever runs a fenced attempt to stop it.
    pub(crate) fn clear_away(&mut self, id: AttemptId, out: &mut Out) {
        let Some(attempt) = self.attempts.get(&id) else {
            return;
        };
        match attempt.place {
            Place::Local { worker } => {
                out.effect(Effect::StopJob {
                    worker,
                    job: id.job,
                });
                let grace_ends = self.now + self.cancel_grace;
                if let Some(attempt) = self.attempts.get_mut(&id) {
                    attempt.deadline = grace_ends;
                    out.change(Change::AttemptPut(attempt.clone()));
                }
                self.timers.set(grace_ends, Timer::Attempt(id));
            }
            Place::Cloud(_) => self.cancel_in_cloud(id, false, out),
        }
    }
}
