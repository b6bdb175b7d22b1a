//! What falls due: TTLs, execution time-outs, and the grace of fenced attempts.

use crate::attempt::{CloudPhase, Fence, Place};
use crate::change::{Change, FinalState};
use crate::effect::{Answer, Effect, Out};
use crate::id::{AttemptId, JobId, RequestId};
use crate::job::JobState;
use crate::jobs::Slot;
use crate::machine::Core;
use crate::on::cloud::CANCEL_MARGIN;
use crate::on::finish::Ending;
use crate::time::DurationMs;

impl Core {
    /// Sets what is left of a live job's time to live; where RunPod has it, there too.
    pub(crate) fn on_ttl_set(
        &mut self,
        request: RequestId,
        id: JobId,
        ttl: DurationMs,
        out: &mut Out,
    ) {
        let now = self.now;
        let (Some(slot), Some(job)) = (self.jobs.slot(id), self.jobs.get_mut(id)) else {
            return out.answer(request, Answer::NotLive);
        };
        job.expires_at = now + ttl;
        out.change(Change::JobPut {
            job: job.clone(),
            input: None,
            idempotency: None,
        });
        self.timers.set_ttl(now + ttl, slot);
        out.answer(request, Answer::Noted);
        let (JobState::Attempted { number }, generation) = (job.state, job.generation) else {
            return;
        };
        let attempt_id = AttemptId {
            job: id,
            generation,
            number,
        };
        let Some(attempt) = self.attempts.get(&attempt_id) else {
            return;
        };
        if let Some(cloud_job) = attempt.cloud_job().map(str::to_owned) {
            // Never for longer than any of our submissions may stay there.
            let most = self.cloud_ttl(attempt_id);
            out.effect(Effect::CloudTtl {
                attempt: attempt_id,
                pool: attempt.pool,
                cloud_job,
                ttl: (ttl + CANCEL_MARGIN).min(most),
            });
        }
    }

    pub(crate) fn on_ttl_due(&mut self, slot: Slot, out: &mut Out) {
        let Some(job) = self.jobs.at(slot) else {
            return;
        };
        if job.expires_at > self.now {
            return;
        }
        let error = Some("the job's time to live ended".to_owned());
        let ending = Ending::ours(FinalState::TimedOut, "ttl_expired", error);
        self.end_early(job.id, Fence::Expired, ending, out);
    }

    /// An attempt's deadline has come: it ran too long, or its grace is over.
    pub(crate) fn on_attempt_due(&mut self, id: AttemptId, out: &mut Out) {
        let Some(attempt) = self.attempts.get(&id) else {
            return;
        };
        if attempt.deadline > self.now {
            return;
        }
        let is_fenced = attempt.fenced.is_some();
        match (&attempt.place, is_fenced) {
            (Place::Local { worker }, true) => {
                let worker = *worker;
                self.stop_worker(worker, out);
            }
            // A twin that RunPod may have accepted is past its own TTL there.
            (Place::Cloud(_), true) => self.end_attempt(id, "fenced", out),
            (Place::Cloud(CloudPhase::Submitting | CloudPhase::Unknown { .. }), false) => {
                self.give_up_submission(id, out);
            }
            _ => self.time_out(id, out),
        }
    }

    fn time_out(&mut self, id: AttemptId, out: &mut Out) {
        if !self.counts(id) {
            return;
        }
        let error = Some("executionTimeout exceeded".to_owned());
        let ending = Ending::ours(FinalState::Failed, "execution_timeout", error);
        self.end_early(id.job, Fence::TimedOut, ending, out);
    }

    /// A submission of unknown fate is given up: its job is tried again, and the twin that RunPod
    /// may have keeps its reservation until its TTL there is over.
    fn give_up_submission(&mut self, id: AttemptId, out: &mut Out) {
        let ttl = self.cloud_ttl(id);
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        attempt.fenced = Some(Fence::Superseded);
        attempt.deadline = attempt.leased_at + ttl;
        let deadline = attempt.deadline;
        out.change(Change::AttemptPut(attempt.clone()));
        self.timers
            .set(deadline.max(self.now), crate::timers::Timer::Attempt(id));
        self.requeue(id, out);
    }
}
