//! What must be true of a run, seen from outside the core: from what clients were told, what workers
//! and the cloud really did, and what the store holds.

use std::collections::{BTreeMap, BTreeSet};

use overspill_core::change::FinalState;
use overspill_core::id::{AttemptId, JobId};
use overspill_core::time::Timestamp;
use overspill_core::worker::SAME_WORKER_PAUSE;

use crate::store::Store;

/// The witnesses.
#[derive(Default)]
pub(crate) struct Oracle {
    /// Jobs that a client was told are accepted, with the generation.
    acked: BTreeSet<(JobId, u32)>,
    /// Runs by their number: of which attempt.
    begun: BTreeMap<u64, AttemptId>,
    done: BTreeSet<u64>,
    /// Jobs whose result could not be sent at least once.
    unsendable: BTreeSet<JobId>,
    /// How often a job went to a worker that never got it, and nobody knew.
    undelivered: BTreeMap<JobId, u32>,
    /// Results that a worker was told are recorded.
    recorded: BTreeMap<(JobId, u32), u64>,
    /// Submissions that RunPod accepted.
    accepted: BTreeMap<AttemptId, String>,
    /// Of them, those whose answer was lost.
    ambiguous: BTreeSet<AttemptId>,
    pub(crate) violations: Vec<String>,
}

impl Oracle {
    pub(crate) fn acked(&mut self, job: JobId, generation: u32) {
        self.acked.insert((job, generation));
    }

    pub(crate) fn jobs(&self) -> usize {
        self.acked.len()
    }

    /// A worker, here or at RunPod, begins to run.
    pub(crate) fn begins(&mut self, attempt: AttemptId, handle: u64) {
        self.begun.insert(handle, attempt);
    }

    pub(crate) fn ends(&mut self, handle: u64) {
        self.done.insert(handle);
    }

    /// A run of this attempt came to an end at RunPod.
    pub(crate) fn ran(&mut self, attempt: AttemptId) {
        let handles = self.begun.iter().filter(|(_, begun)| **begun == attempt);
        self.done.extend(handles.map(|(&handle, _)| handle));
    }

    pub(crate) fn runs(&self) -> usize {
        self.begun.len()
    }

    pub(crate) fn unsendable(&mut self, job: JobId) {
        self.unsendable.insert(job);
    }

    pub(crate) fn undelivered(&mut self, job: JobId) {
        *self.undelivered.entry(job).or_default() += 1;
    }

    /// A worker was told that its result is recorded.
    pub(crate) fn recorded(&mut self, now: Timestamp, handle: u64, store: &Store) {
        let Some(attempt) = self.begun.get(&handle) else {
            return;
        };
        let key = (attempt.job, attempt.generation);
        if let Some(first) = self.recorded.insert(key, handle)
            && first != handle
        {
            self.violations.push(format!(
                "{now}: two results of job {} were recorded: {first} and {handle}",
                attempt.job
            ));
        }
        if !store.ended.contains_key(&key) {
            self.violations.push(format!(
                "{now}: job {} was called recorded, and the store has no end of it",
                attempt.job
            ));
        }
    }

    /// RunPod accepts a submission. `is_over` says whether another one of it has ended there.
    pub(crate) fn accepted(
        &mut self,
        now: Timestamp,
        attempt: AttemptId,
        cloud_job: String,
        mut is_over: impl FnMut(&str) -> bool,
    ) {
        let first = AttemptId {
            generation: 0,
            number: 0,
            ..attempt
        };
        let of_job = self.accepted.range(first..);
        let of_job = of_job.take_while(|(other, _)| other.job == attempt.job);
        for (other, cloud_job) in of_job {
            if other.generation != attempt.generation
                || self.ambiguous.contains(other)
                || is_over(cloud_job)
            {
                continue;
            }
            self.violations.push(format!(
                "{now}: {attempt} was submitted while RunPod still had {other}"
            ));
        }
        if self.accepted.insert(attempt, cloud_job).is_some() {
            self.violations
                .push(format!("{now}: {attempt} was submitted twice"));
        }
    }

    /// The answer to a submission never came, or came too late.
    pub(crate) fn ambiguous(&mut self, attempt: AttemptId) {
        self.ambiguous.insert(attempt);
    }

    /// At the end: what was promised stands in the store.
    /// `given_up` says when a worker of ours was rid of a run.
    pub(crate) fn judge(
        &mut self,
        store: &Store,
        given_up: &BTreeMap<u64, Timestamp>,
        times_out: impl Fn(JobId, u32) -> bool,
    ) {
        for &(job, generation) in &self.acked {
            let is_live = store
                .live
                .jobs
                .get(&job)
                .is_some_and(|job| job.generation >= generation);
            let end = store.ended.get(&(job, generation));
            match end {
                None if !is_live => self.violations.push(format!(
                    "job {job} was accepted in generation {generation}, and is lost"
                )),
                None => self
                    .violations
                    .push(format!("job {job} never ended in generation {generation}")),
                Some(end) => {
                    let handle = end.output.handle;
                    let is_ours = self.begun.get(&handle).is_some_and(|attempt| {
                        (attempt.job, attempt.generation) == (job, generation)
                    });
                    // A worker's posts name it and the job, not the generation. A job may go back to
                    // it some seconds after its last one; what comes later is taken for the new run's.
                    let is_before = self.begun.get(&handle).is_some_and(|attempt| {
                        (attempt.job, attempt.generation + 1) == (job, generation)
                            && given_up
                                .get(&handle)
                                .is_some_and(|&at| end.ended_at.since(at) > SAME_WORKER_PAUSE)
                    });
                    let was_run = (is_ours || is_before) && self.done.contains(&handle);
                    if end.state == FinalState::Completed && handle != 0 && !was_run {
                        self.violations.push(format!(
                            "job {job} completed with an output that no run of it made: {handle}"
                        ));
                    }
                    let ran = self.begun.values().any(|attempt| attempt.job == job);
                    if end.state == FinalState::Completed && !ran {
                        self.violations
                            .push(format!("job {job} completed, and never ran"));
                    }
                    if end.state == FinalState::TimedOut && !times_out(job, generation) {
                        self.violations
                            .push(format!("job {job} waited until its time to live was over"));
                    }
                    if end.error_code.as_deref() == Some("no_result")
                        && !self.unsendable.contains(&job)
                        && !ran
                        // Four times unseen on its way looks like an output that cannot be sent.
                        && self.undelivered.get(&job).is_none_or(|&count| count < 4)
                    {
                        self.violations.push(format!(
                            "job {job} failed for want of a result, and never ran"
                        ));
                    }
                }
            }
        }
    }
}
