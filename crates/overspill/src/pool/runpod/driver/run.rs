//! The driver's task: takes orders, starts what is due ([`super::start`]), takes in what came of it
//! ([`super::jobs`], [`super::workers`]).

use super::super::answer::{CloudHealth, CloudJobId};
use super::super::breaker::{self, BreakerState};
use super::super::client::{CloudError, SubmitError};
use super::super::clock::Clock;
use super::super::management::LimitsRead;
use super::bills::{AccountRead, Bills};
use super::poll::Polled;
use super::pool_state::PoolState;
use super::scale::{ScaleLane, WorkerRange};
use super::schedule::{Schedule, Wish};
use super::start::POLLS_MAX;
use super::workers::{HEALTH_BUSY_MS, HEALTH_QUIET_MS};
use super::{CloudEvents, CloudPool, Managed, Order};
use overspill_core::event::{CloudRefusal, Event};
use overspill_core::id::{AttemptId, PoolId};
use overspill_wire::management::worker::WorkerList;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;

/// How a call ended.
pub(super) enum Done {
    Submitted {
        attempt: AttemptId,
        pool: PoolId,
        outcome: Result<CloudJobId, SubmitError>,
    },
    Polled {
        attempt: AttemptId,
        pool: PoolId,
        wish: Wish,
        outcome: Result<Polled, CloudError>,
    },
    Health {
        pool: PoolId,
        outcome: Result<CloudHealth, CloudError>,
    },
    Scaled {
        pool: PoolId,
        sent: WorkerRange,
        outcome: Result<LimitsRead, CloudError>,
    },
    Read {
        pool: PoolId,
        outcome: Result<LimitsRead, CloudError>,
    },
    Found {
        attempt: AttemptId,
        cloud_job: CloudJobId,
        is_known: bool,
    },
    TtlSet,
    Listed {
        pool: PoolId,
        outcome: Result<WorkerList, CloudError>,
    },
    Bills {
        outcome: Result<AccountRead, CloudError>,
    },
}

/// Everything that the task owns.
pub(super) struct Runner {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) events: Arc<dyn CloudEvents>,
    pub(super) pools: BTreeMap<PoolId, PoolState>,
    pub(super) schedule: Schedule,
    pub(super) calls: JoinSet<Done>,
    pub(super) submits_in_flight: usize,
    pub(super) streams: usize,
    pub(super) bills: Bills,
}

impl Runner {
    pub(super) fn new(clock: Arc<dyn Clock>, events: Arc<dyn CloudEvents>) -> Self {
        Self {
            clock,
            events,
            pools: BTreeMap::new(),
            schedule: Schedule::default(),
            calls: JoinSet::new(),
            submits_in_flight: 0,
            streams: 0,
            bills: Bills::default(),
        }
    }

    pub(super) async fn run(mut self, mut inbox: UnboundedReceiver<Order>) {
        let clock = Arc::clone(&self.clock);
        loop {
            self.start_due();
            let wake_ms = self.next_wakeup_ms();
            tokio::select! {
                order = inbox.recv() => match order {
                    Some(order) => self.on_order(order),
                    None => break,
                },
                Some(done) = self.calls.join_next(), if !self.calls.is_empty() => {
                    self.on_done(done.expect("a call to the cloud neither panics nor is aborted"));
                }
                () = clock.sleep_until(wake_ms) => {}
            }
        }
        // Whether a submission was accepted must be known if it can be; everything else is asked again at the next
        // start.
        while self.submits_in_flight > 0 {
            let Some(Ok(done)) = self.calls.join_next().await else {
                break;
            };
            if matches!(done, Done::Submitted { .. }) {
                self.on_done(done);
            }
        }
    }

    fn on_order(&mut self, order: Order) {
        let now_ms = self.clock.now_ms();
        match order {
            Order::Configure(pools) => self.configure(pools, now_ms),
            Order::Bill(access) => self.bills.set(access, now_ms),
            Order::Submit {
                attempt,
                pool,
                submission,
            } => self.submit(attempt, pool, &submission, now_ms),
            Order::Watch {
                attempt,
                pool,
                cloud_job,
            } => {
                let Some(state) = self.pools.get_mut(&pool) else {
                    tracing::error!(%attempt, %pool, %cloud_job, "a job runs in a cloud pool that is not configured");
                    return;
                };
                let wish = if state.access.streams {
                    Wish::Stream
                } else {
                    Wish::Watch
                };
                state.health_due_ms = state.health_due_ms.min(now_ms + HEALTH_BUSY_MS);
                self.schedule.watch(attempt, pool, cloud_job, wish, now_ms);
            }
            Order::Stream { attempt } => self.schedule.wish(attempt, Wish::Stream, now_ms),
            Order::Cancel {
                attempt,
                pool,
                cloud_job,
                only_if_queued,
            } => {
                let wish = Wish::Cancel { only_if_queued };
                self.schedule.watch(attempt, pool, cloud_job, wish, now_ms);
                self.schedule.wish(attempt, wish, now_ms);
            }
            Order::Ttl {
                pool,
                cloud_job,
                ttl,
            } => self.start_ttl(pool, cloud_job, ttl),
            Order::Scale { pool, min, max } => {
                if let Some(state) = self.pools.get_mut(&pool) {
                    let range = WorkerRange { min, max };
                    if state.lane.wanted() == Some(range) {
                        // Asked for again: what was confirmed may no longer hold.
                        state.lane.doubt();
                    }
                    state.lane.want(range);
                    state.health_due_ms = state.health_due_ms.min(now_ms + HEALTH_BUSY_MS);
                }
            }
            Order::Idle { pool, idle } => {
                if let Some(state) = self.pools.get_mut(&pool) {
                    state.want_idle(idle);
                }
            }
            Order::Hint {
                attempt,
                pool,
                cloud_job,
            } => self.on_hint(attempt, pool, cloud_job, now_ms),
        }
    }

    fn on_hint(
        &mut self,
        attempt: AttemptId,
        pool: PoolId,
        cloud_job: Option<CloudJobId>,
        now_ms: i64,
    ) {
        if let Some(watch) = self.schedule.get_mut(attempt) {
            if cloud_job.is_none_or(|named| named == watch.cloud_job) {
                self.schedule.hint(attempt, now_ms);
            } else {
                tracing::warn!(%attempt, watched = %watch.cloud_job, "a webhook named another job than the attempt has");
            }
            return;
        }
        let Some(cloud_job) = cloud_job else { return };
        if let Some(owner) = self.schedule.owner(&cloud_job) {
            tracing::warn!(%attempt, %owner, %cloud_job, "a webhook named the job of another attempt");
            return;
        }
        self.look_up(attempt, pool, cloud_job);
    }

    fn configure(&mut self, pools: Vec<CloudPool>, now_ms: i64) {
        let mut stays = BTreeSet::new();
        for state in self.pools.values_mut() {
            state.access.is_left = true;
        }
        for access in pools {
            if access.is_left {
                stays.insert(access.id);
                let known = self.pools.get_mut(&access.id);
                if let Some(state) =
                    known.filter(|state| state.access.endpoint_id == access.endpoint_id)
                {
                    // One that was configured until now goes on with what it had.
                    state.access.management = access.management;
                    state.access.managed = access.managed;
                    state.access.is_counted = access.is_counted;
                    if access.managed == Managed::Nothing {
                        // Confirmed, or another's: what holds there from now on is not ours.
                        state.lane = ScaleLane::default();
                    }
                } else {
                    let (pool, endpoint) = (access.id, &access.endpoint_id);
                    if access.is_counted {
                        tracing::warn!(%pool, endpoint, "a cloud pool left the configuration while the server was stopped: its jobs are watched to their end, and limits that were set there are lowered");
                    }
                    self.pools.insert(pool, PoolState::new(access, now_ms));
                }
                continue;
            }
            match self.pools.get_mut(&access.id) {
                Some(state) if state.access.endpoint_id == access.endpoint_id => {
                    state.access = access;
                }
                _ => {
                    self.pools.insert(access.id, PoolState::new(access, now_ms));
                }
            }
        }
        let schedule = &self.schedule;
        self.pools.retain(|id, state| {
            !state.access.is_left || stays.contains(id) || schedule.watched(*id) > 0
        });
    }

    pub(super) fn next_wakeup_ms(&self) -> i64 {
        let polls = self.schedule.next_due_ms().unwrap_or(i64::MAX);
        let held_back = self.pools.iter().filter(|(id, state)| {
            state.polls_in_flight < POLLS_MAX && self.schedule.has_ready(**id)
        });
        let held_back = held_back
            .map(|(_, state)| state.polls_not_before_ms)
            .min()
            .unwrap_or(i64::MAX);
        let pools = self
            .pools
            .values()
            .map(PoolState::next_ms)
            .min()
            .unwrap_or(i64::MAX);
        polls
            .min(held_back)
            .min(pools)
            .min(self.bills_next_ms())
            .min(self.clock.now_ms() + HEALTH_QUIET_MS)
    }

    fn on_done(&mut self, done: Done) {
        let now_ms = self.clock.now_ms();
        match done {
            Done::Submitted {
                attempt,
                pool,
                outcome,
            } => self.on_submitted(attempt, pool, outcome, now_ms),
            Done::Polled {
                attempt,
                pool,
                wish,
                outcome,
            } => {
                self.streams -= usize::from(wish == Wish::Stream);
                if let Some(state) = self.pools.get_mut(&pool) {
                    state.polls_in_flight = state.polls_in_flight.saturating_sub(1);
                }
                match outcome {
                    Ok(polled) => self.on_polled(attempt, pool, wish, polled, now_ms),
                    Err(error) => self.on_poll_failed(attempt, pool, &error, now_ms),
                }
            }
            Done::Health { pool, outcome } => self.on_health(pool, outcome, now_ms),
            Done::Scaled {
                pool,
                sent,
                outcome,
            } => self.on_scaled(pool, sent, outcome, now_ms),
            Done::TtlSet => {}
            Done::Listed { pool, outcome } => self.on_listed(pool, outcome, now_ms),
            Done::Bills { outcome } => self.on_bills(outcome, now_ms),
            Done::Read { pool, outcome } => self.on_read(pool, outcome, now_ms),
            Done::Found {
                attempt,
                cloud_job,
                is_known,
            } => {
                if is_known {
                    self.tell(Event::CloudSubmitted {
                        attempt,
                        cloud_job: cloud_job.to_string(),
                    });
                } else {
                    tracing::warn!(%attempt, %cloud_job, "a webhook named a job that the cloud does not know");
                }
            }
        }
    }

    /// Takes in what a call said about the cloud; tells the core when the breaker opens.
    pub(super) fn record(&mut self, pool: PoolId, outcome: breaker::Outcome, now_ms: i64) {
        let Some(state) = self.pools.get_mut(&pool) else {
            return;
        };
        let jitter = rand::random_range(0..=1000);
        let Some(changed) = state.breaker.record(now_ms, outcome, jitter) else {
            return;
        };
        match changed {
            BreakerState::Closed => {
                tracing::info!(%pool, "the cloud answers again");
                state.health_due_ms = now_ms;
                state.polls_not_before_ms = now_ms;
            }
            BreakerState::Open { until_ms } => {
                state.health_due_ms = until_ms;
                self.fail(
                    pool,
                    CloudRefusal::Unreachable,
                    "the cloud does not answer; its breaker is open".to_owned(),
                );
            }
            BreakerState::Latched { until_ms } => {
                state.health_due_ms = until_ms;
                self.fail(
                    pool,
                    CloudRefusal::Unauthorized,
                    "the cloud refuses the API key; nothing is submitted until it is accepted again".to_owned(),
                );
            }
            BreakerState::HalfOpen => {}
        }
    }

    pub(super) fn fail(&self, pool: PoolId, refusal: CloudRefusal, detail: String) {
        tracing::warn!(%pool, ?refusal, detail, "a cloud pool cannot be used");
        self.tell(Event::CloudFailed {
            pool,
            refusal,
            detail,
        });
    }

    pub(super) fn tell(&self, event: Event) {
        self.events.send(event, None);
    }
}
