//! RunPod's cloud as a pure model: endpoints, jobs, workers, scaling, faults and the bill, in virtual time.
//!
//! [`CloudModel`] has one method per call of the cloud; each takes the time of the call, first lets everything happen
//! that was due by then, and answers at once. Between calls the driver moves time with [`CloudModel::advance`], at
//! the latest at [`CloudModel::next_event_at`]. What the model wants done outside (wake a waiting caller, start a
//! process, deliver a webhook) is drained with [`CloudModel::take_effects`].
//!
//! It knows no clock, socket or process, and has no chance of its own but a seed: the same seed and the same
//! calls at the same times give the same bill. Holding a request open, HTTP statuses and keys are the driver's.

mod agenda;
mod billing;
mod call;
mod client;
mod control;
mod crash_loop;
mod dice;
mod dispatch;
mod endpoint;
mod faults;
pub mod gpu;
mod id;
mod job;
mod limits;
mod management;
mod openai;
mod options;
mod placement;
mod retention;
mod scaling;
mod script;
mod settings;
#[cfg(test)]
mod tests;
mod webhook;
mod worker;
mod worker_calls;

use std::collections::BTreeMap;

use agenda::{Agenda, Timer};
use dice::Dice;
use endpoint::Endpoint;

pub use billing::{BillLine, EndpointBill, HourAmounts};
pub use call::{Effect, Execution, JobOrder, Outcome, Refusal, StreamView, WorkerView};
pub use dice::MsRange;
pub use endpoint::{Health, JobCounts, Release, WorkerCounts};
pub use faults::{Fault, FaultKind, FaultSpec, HttpFault};
pub use id::{EndpointId, JobId, WorkerId};
pub use job::{JobPolicy, JobStatus, JobView, Payload, Submission};
pub use limits::{Exceeded, Operation, WindowState};
pub use options::CloudOptions;
pub use settings::{EndpointSettings, Flash, Hardware, Knobs, SLOTS_VARIABLE, ScalingRule};
pub use worker::WorkerState;

/// The modelled cloud.
#[derive(Debug, Clone)]
pub struct CloudModel {
    options: CloudOptions,
    now_ms: i64,
    agenda: Agenda,
    dice: Dice,
    endpoints: BTreeMap<EndpointId, Endpoint>,
    /// Endpoint of each job that is still kept.
    lines: Vec<BillLine>,
    executions: Vec<Execution>,
    effects: Vec<Effect>,
    faults: faults::Faults,
    limits: limits::Limits,
    webhooks: webhook::Webhooks,
    /// Endpoints, workers and jobs made so far.
    made: u64,
}

impl CloudModel {
    /// A cloud without endpoints, at time `now_ms`.
    #[must_use]
    pub fn new(options: CloudOptions, now_ms: i64) -> Self {
        Self {
            dice: Dice::new(options.seed),
            options,
            now_ms,
            agenda: Agenda::default(),
            endpoints: BTreeMap::new(),
            lines: Vec::new(),
            executions: Vec::new(),
            effects: Vec::new(),
            faults: faults::Faults::default(),
            limits: limits::Limits::default(),
            webhooks: webhook::Webhooks::default(),
            made: 0,
        }
    }

    /// The settings of the cloud.
    #[must_use]
    pub fn options(&self) -> &CloudOptions {
        &self.options
    }

    /// The time up to which everything has happened.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// When something happens next without being asked.
    #[must_use]
    pub fn next_event_at(&self) -> Option<i64> {
        self.agenda.next_at()
    }

    /// Lets everything happen that is due by `now_ms`, each thing at its own time. Time never goes back: an
    /// earlier `now_ms` counts as the present.
    pub fn advance(&mut self, now_ms: i64) {
        let now_ms = now_ms.max(self.now_ms);
        while let Some((at_ms, timer)) = self.agenda.pop_due(now_ms) {
            self.now_ms = self.now_ms.max(at_ms);
            self.on_timer(timer);
        }
        self.now_ms = now_ms;
    }

    /// What the driver has to do, in order; each is given out once.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Scale(endpoint) => self.on_scale_timer(&endpoint),
            Timer::Started(endpoint, worker) => self.on_started(&endpoint, &worker),
            Timer::InitTimeout(endpoint, worker) => self.on_init_timeout(&endpoint, &worker),
            Timer::Idle(endpoint, worker, epoch) => self.on_idle(&endpoint, &worker, epoch),
            Timer::Recover(endpoint, worker) => self.on_recover(&endpoint, &worker),
            Timer::Place(endpoint, worker) => self.on_place(&endpoint, &worker),
            Timer::Step(endpoint, worker, job, attempt, index) => {
                self.on_step(&endpoint, &worker, &job, attempt, index);
            }
            Timer::ExecutionTimeout(endpoint, job, attempt) => {
                self.on_execution_timeout(&endpoint, &job, attempt);
            }
            Timer::Lease(endpoint, job, attempt) => self.on_lease(&endpoint, &job, attempt),
            Timer::Expire(endpoint, job) => self.on_expire(&endpoint, &job),
            Timer::Forget(endpoint, job) => self.on_forget(&endpoint, &job),
            Timer::Unused(endpoint) => self.on_unused(&endpoint),
            Timer::Webhook(delivery) => self.on_webhook(delivery),
        }
    }

    fn number(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    fn endpoint(&self, id: &EndpointId) -> Result<&Endpoint, Refusal> {
        self.endpoints
            .get(id)
            .ok_or_else(|| Refusal::NoEndpoint(id.clone()))
    }

    fn endpoint_mut(&mut self, id: &EndpointId) -> Result<&mut Endpoint, Refusal> {
        self.endpoints
            .get_mut(id)
            .ok_or_else(|| Refusal::NoEndpoint(id.clone()))
    }
}
