//! `/run`, `/runsync` and `/retry`: a job comes in.

use crate::change::Change;
use crate::effect::{Answer, Out, SubmitRefusal};
use crate::event::NewJob;
use crate::id::{EndpointId, RequestId};
use crate::job::{Job, JobExtras, JobState};
use crate::machine::Core;
use crate::topology::{CLOUD_INPUT_BYTES_MAX, PoolKind};

impl Core {
    pub(crate) fn on_submitted(&mut self, request: RequestId, job: NewJob, out: &mut Out) {
        let input = Some(job.input);
        self.take_in(request, job, 0, input, out);
    }

    pub(crate) fn on_retry_asked(
        &mut self,
        request: RequestId,
        job: NewJob,
        generation: u32,
        out: &mut Out,
    ) {
        self.take_in(request, job, generation + 1, None, out);
    }

    fn take_in(
        &mut self,
        request: RequestId,
        new: NewJob,
        generation: u32,
        input: Option<crate::event::PayloadRef>,
        out: &mut Out,
    ) {
        let endpoint = self.endpoints.get(&new.endpoint);
        let spec = match self.refuse(&new) {
            Some(refusal) => return out.answer(request, Answer::SubmitRefused(refusal)),
            None => endpoint
                .and_then(|e| e.spec.as_ref())
                .expect("refused when not configured"),
        };
        let ttl = new.ttl.unwrap_or(spec.ttl);
        let extras = JobExtras {
            webhook: new.webhook,
            worker: new.extras,
            trace: new.trace,
        };
        let job = Job {
            id: new.id,
            seq: self.next_seq,
            submitted_at: self.now,
            expires_at: self.now + ttl,
            input_bytes: new.input.bytes,
            execution_timeout: new.execution_timeout.unwrap_or(spec.execution_timeout),
            extras: (extras != JobExtras::default()).then(|| Box::new(extras)),
            endpoint: new.endpoint,
            class: new.class,
            generation,
            attempts: 0,
            lost: 0,
            no_result: 0,
            low_priority: new.low_priority,
            local_only: new.input.bytes > CLOUD_INPUT_BYTES_MAX,
            region: new.region,
            key: new.key,
            state: JobState::Queued,
        };
        self.next_seq += 1;
        out.change(Change::JobPut {
            job: job.clone(),
            input,
            idempotency: new.idempotency,
        });
        out.answer(request, Answer::Submitted { job: new.id });
        self.dirty.insert(new.endpoint);
        if let Some(endpoint) = self.endpoints.get_mut(&new.endpoint) {
            endpoint.history.arrived(self.now);
        }
        self.admit(job);
    }

    fn refuse(&self, new: &NewJob) -> Option<SubmitRefusal> {
        let Some(endpoint) = self.endpoints.get(&new.endpoint) else {
            return Some(SubmitRefusal::UnknownEndpoint);
        };
        if endpoint.spec.is_none() {
            return Some(SubmitRefusal::UnknownEndpoint);
        }
        if self.jobs.get(new.id).is_some() {
            return Some(SubmitRefusal::DuplicateId);
        }
        if self.is_draining {
            return Some(SubmitRefusal::Draining);
        }
        if self.is_paused(new.endpoint) {
            return Some(SubmitRefusal::Paused);
        }
        self.refuse_homeless(new)
    }

    /// A job that must not leave its caller's region, where nothing of ours is: it could never run.
    fn refuse_homeless(&self, new: &NewJob) -> Option<SubmitRefusal> {
        let region = new.region?;
        let endpoint = self.endpoints.get(&new.endpoint)?;
        let spec = endpoint.spec.as_ref()?;
        if !spec.residency.contains(&region) || self.has_local(new.endpoint) {
            return None;
        }
        let mut pools = self.cloud_pools(new.endpoint).into_iter();
        let is_there = pools.any(|id| {
            let spec = self.pools.get(&id).and_then(|pool| pool.runpod());
            spec.is_some_and(|spec| spec.region == Some(region))
        });
        (!is_there).then_some(SubmitRefusal::Homeless { region })
    }

    /// Whether an endpoint can run nothing: no card of ours serves it, and its maximum of cloud
    /// workers is 0. What is queued there waits, and goes on when the maximum is raised.
    pub(crate) fn is_paused(&self, id: EndpointId) -> bool {
        let Some(endpoint) = self.endpoints.get(&id) else {
            return false;
        };
        endpoint.limits().max == 0 && !self.has_local(id)
    }

    /// Whether an endpoint has a card of ours.
    fn has_local(&self, id: EndpointId) -> bool {
        let pools = self.endpoints.get(&id).map(|endpoint| &endpoint.pools);
        let mut pools = pools
            .into_iter()
            .flatten()
            .filter_map(|id| self.pools.get(id));
        pools.any(|pool| match pool.spec.as_ref().map(|spec| &spec.kind) {
            Some(PoolKind::RunPod(_)) | None => false,
            Some(PoolKind::Command { devices, .. }) => !devices.is_empty(),
        })
    }
}
