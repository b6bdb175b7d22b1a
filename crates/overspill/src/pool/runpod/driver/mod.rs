//! Carries out the core's cloud effects and tells the core what came of them.
//!
//! One task owns everything: the watch list, the worker limits wanted, the health of each pool. Orders come in
//! through [`Driver`], calls run beside it, facts go out through [`CloudEvents`]. There is no task per job: one
//! schedule says which of the outstanding jobs is asked about next.
//!
//! **A lost answer to a submission (F20).** `RunPod` takes no idempotency key and has no call that lists jobs, and
//! `input` must reach the handler unchanged. So a submission whose answer was lost is reported as
//! [`Event::CloudSubmitUnknown`] and never repeated here. What bounds it:
//! - each submission carries `policy.ttl` and `policy.executionTimeout`, so a twin that nobody knows about ends by
//!   itself and costs at most one reservation;
//! - where a public address is configured, the submission's `webhook` holds an unguessable token of the attempt
//!   ([`token`]); when `RunPod` calls it, the id in its body is a *hint*: [`Driver::hint`] asks `RunPod` about that
//!   id, and only a job that `RunPod` knows becomes [`Event::CloudSubmitted`]. A twin of an attempt that was given up
//!   meanwhile is thereby found and cancelled. A hint about a job that is watched anyway has it asked about at once;
//! - else the core waits its `ambiguous_wait` and gives the attempt up.
//!
//! Outputs are not stored here: they leave as bytes beside the event, whose `PayloadRef` has their length and
//! handle 0; whoever implements [`CloudEvents`] puts in the handle.

mod bills;
mod jobs;
mod poll;
mod pool_state;
mod run;
pub mod scale;
pub mod schedule;
mod standby;
mod start;
pub mod token;
pub mod translate;
mod workers;

pub use bills::BillAccess;

use super::answer::CloudJobId;
use super::client::DataPlane;
use super::clock::Clock;
use super::management::Management;
use super::submission::Submission;
use bytes::Bytes;
use overspill_core::effect::Effect;
use overspill_core::event::Event;
use overspill_core::id::{AttemptId, PoolId};
use overspill_core::money::RatePerHour;
use overspill_core::time::DurationMs;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Takes the driver's facts to the core.
pub trait CloudEvents: Send + Sync + 'static {
    /// Hands over a fact, with the bytes of its payload if it has one. Must not block.
    fn send(&self, event: Event, payload: Option<Bytes>);
}

/// What may be changed at `RunPod`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Managed {
    /// Nothing: submissions alone steer.
    Nothing,
    /// Workers min and max.
    Limits,
    /// Everything: idle time-out and scaling rule too.
    Everything,
}

/// One cloud pool as the driver needs it.
#[derive(Debug, Clone)]
pub struct CloudPool {
    /// The core's id.
    pub id: PoolId,
    /// `RunPod`'s endpoint id.
    pub endpoint_id: String,
    /// Submits, watches, cancels.
    pub data_plane: DataPlane,
    /// Changes the limits of workers; without it nothing is changed.
    pub management: Option<Management>,
    /// What may be changed.
    pub managed: Managed,
    /// The longest idle time-out to set where everything is managed, in seconds (1 to 3600).
    pub idle_timeout_s: u32,
    /// Price of one worker, to say what workers cost that nobody wants.
    pub price: Option<RatePerHour>,
    /// How often the limits that `RunPod` really has are read, in milliseconds.
    pub limits_check_ms: i64,
    /// Whether every job of the pool is read by `/stream` from its start.
    pub streams: bool,
    /// No longer configured: its jobs are watched to their end, and its limits lowered.
    pub is_left: bool,
    /// Its workers are counted: always where it is configured, else as long as some may be there.
    pub is_counted: bool,
}

/// Something to do.
#[derive(Debug)]
enum Order {
    Configure(Vec<CloudPool>),
    Bill(BillAccess),
    Submit {
        attempt: AttemptId,
        pool: PoolId,
        submission: Submission,
    },
    Watch {
        attempt: AttemptId,
        pool: PoolId,
        cloud_job: CloudJobId,
    },
    Stream {
        attempt: AttemptId,
    },
    Cancel {
        attempt: AttemptId,
        pool: PoolId,
        cloud_job: CloudJobId,
        only_if_queued: bool,
    },
    Ttl {
        pool: PoolId,
        cloud_job: CloudJobId,
        ttl: DurationMs,
    },
    Scale {
        pool: PoolId,
        min: u32,
        max: u32,
    },
    Idle {
        pool: PoolId,
        idle: DurationMs,
    },
    Hint {
        attempt: AttemptId,
        pool: PoolId,
        cloud_job: Option<CloudJobId>,
    },
}

/// Handle of the running driver; cheap to clone. The driver stops when the last handle is gone.
///
/// The queue behind it has no bound of its own: it holds at most a few orders per job that the core has in the
/// cloud, which the core bounds by workers × slots.
#[derive(Debug, Clone)]
pub struct Driver {
    orders: mpsc::UnboundedSender<Order>,
}

impl Driver {
    /// Starts the driver with no pools. The task ends, after submissions in flight have ended, once every handle is
    /// dropped.
    #[must_use]
    pub fn start(clock: Arc<dyn Clock>, events: Arc<dyn CloudEvents>) -> (Self, JoinHandle<()>) {
        let (orders, inbox) = mpsc::unbounded_channel();
        let task = tokio::spawn(run::Runner::new(clock, events).run(inbox));
        (Self { orders }, task)
    }

    /// Sets the pools, at start and after a reload. Watches of pools that are no longer there go on with what they
    /// had, so that their results still come in.
    pub fn configure(&self, pools: Vec<CloudPool>) {
        self.order(Order::Configure(pools));
    }

    /// Reads the account's billing records from now on.
    pub fn read_bills(&self, access: BillAccess) {
        self.order(Order::Bill(access));
    }

    /// Carries out a cloud effect of the core; `submission` is asked for the input, the webhook and nothing else when
    /// the effect is a submission. An effect that is not of the cloud is given back.
    ///
    /// # Errors
    /// The effect, if it is not one of `CloudSubmit`, `CloudWatch`, `CloudCancel`, `CloudTtl`, `CloudIdle` and `CloudScale`.
    pub fn carry_out(
        &self,
        effect: Effect,
        submission: impl FnOnce(AttemptId) -> Submission,
    ) -> Result<(), Box<Effect>> {
        match effect {
            Effect::CloudSubmit {
                attempt,
                pool,
                execution_timeout,
                ttl,
                extras,
                low_priority,
                // The caller puts it into the submission, as its driver's own step of the trace.
                trace: _,
            } => {
                let millis = |length: DurationMs| i64::try_from(length.as_millis()).ok();
                let submission = Submission {
                    execution_timeout_ms: millis(execution_timeout),
                    ttl_ms: millis(ttl),
                    extras,
                    is_low_priority: low_priority,
                    ..submission(attempt)
                };
                self.submit(attempt, pool, submission);
            }
            Effect::CloudWatch {
                attempt,
                pool,
                cloud_job,
            } => self.watch(attempt, pool, &cloud_job),
            Effect::CloudCancel {
                attempt,
                pool,
                cloud_job,
                only_if_queued,
            } => {
                self.cancel(attempt, pool, &cloud_job, only_if_queued);
            }
            Effect::CloudTtl {
                attempt: _,
                pool,
                cloud_job,
                ttl,
            } => self.set_ttl(pool, &cloud_job, ttl),
            Effect::CloudScale { pool, min, max } => self.scale(pool, min, max),
            Effect::CloudIdle { pool, idle } => self.set_idle(pool, idle),
            other => return Err(Box::new(other)),
        }
        Ok(())
    }

    /// Submits a job; ends in `CloudSubmitted`, `CloudRefused` or `CloudSubmitUnknown`.
    pub fn submit(&self, attempt: AttemptId, pool: PoolId, submission: Submission) {
        self.order(Order::Submit {
            attempt,
            pool,
            submission,
        });
    }

    /// Watches a job until it ends. Watching one twice is watching it once.
    pub fn watch(&self, attempt: AttemptId, pool: PoolId, cloud_job: &str) {
        if let Some(cloud_job) = CloudJobId::parse(cloud_job) {
            self.order(Order::Watch {
                attempt,
                pool,
                cloud_job,
            });
        }
    }

    /// From now on reads the job's stream: someone wants its chunks as they come.
    pub fn stream(&self, attempt: AttemptId) {
        self.order(Order::Stream { attempt });
    }

    /// Cancels a job and goes on until `RunPod` says what became of it. With `only_if_queued` one that has begun is
    /// left alone, and its state is told again.
    pub fn cancel(&self, attempt: AttemptId, pool: PoolId, cloud_job: &str, only_if_queued: bool) {
        if let Some(cloud_job) = CloudJobId::parse(cloud_job) {
            self.order(Order::Cancel {
                attempt,
                pool,
                cloud_job,
                only_if_queued,
            });
        }
    }

    /// Sets what is left of a job's time to live at `RunPod`. A call that fails is tried again a few times; beyond that
    /// the job may end there sooner, and is then run again.
    pub fn set_ttl(&self, pool: PoolId, cloud_job: &str, ttl: DurationMs) {
        if let Some(cloud_job) = CloudJobId::parse(cloud_job) {
            self.order(Order::Ttl {
                pool,
                cloud_job,
                ttl,
            });
        }
    }

    /// Sets the limits of a pool's workers; the last wish wins.
    pub fn scale(&self, pool: PoolId, min: u32, max: u32) {
        self.order(Order::Scale { pool, min, max });
    }

    /// Sets how long `RunPod` keeps an idle worker of a pool of which everything is managed; it goes with the next
    /// change of its limits, and is one where there is none. Never more than is configured.
    pub fn set_idle(&self, pool: PoolId, idle: DurationMs) {
        self.order(Order::Idle { pool, idle });
    }

    /// A webhook that carried the attempt's token was called: something happened to its job, which may have this id.
    ///
    /// Nothing of it is believed. A job that is watched is asked about at once; of one that is not, its submission's
    /// answer being lost, `RunPod` is asked whether it knows it.
    pub fn hint(&self, attempt: AttemptId, pool: PoolId, cloud_job: Option<&str>) {
        self.order(Order::Hint {
            attempt,
            pool,
            cloud_job: cloud_job.and_then(CloudJobId::parse),
        });
    }

    fn order(&self, order: Order) {
        // The driver ends only after every handle, so a failed send means that the process is stopping.
        let _is_stopping = self.orders.send(order);
    }
}

#[cfg(test)]
mod tests;
