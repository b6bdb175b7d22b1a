//! Starts the calls whose time has come.

use super::super::answer::CloudJobId;
use super::super::breaker::BreakerState;
use super::super::client::CloudError;
use super::poll::poll;
use super::run::{Done, Runner};
use super::schedule::Wish;
use super::workers::HEALTH_BUSY_MS;
use super::{Managed, Submission};
use overspill_core::event::{CloudRefusal, Event};
use overspill_core::id::{AttemptId, PoolId};
use overspill_core::time::DurationMs;
use overspill_wire::management::endpoint::{Scaling, UpdateEndpoint, WorkerLimits};
use std::sync::Arc;

/// Polls of one pool in flight at once; below the documented 400.
pub(super) const POLLS_MAX: usize = 300;

impl Runner {
    pub(super) fn submit(
        &mut self,
        attempt: AttemptId,
        pool: PoolId,
        submission: &Submission,
        now_ms: i64,
    ) {
        let refused = |refusal, retry_after_ms: Option<i64>, detail: &str| Event::CloudRefused {
            attempt,
            refusal,
            retry_after: retry_after_ms
                .and_then(|ms| u64::try_from(ms).ok())
                .map(DurationMs::from_millis),
            detail: detail.to_owned(),
        };
        let Some(state) = self
            .pools
            .get_mut(&pool)
            .filter(|state| !state.access.is_left)
        else {
            self.tell(refused(
                CloudRefusal::EndpointGone,
                None,
                "the pool is no longer configured",
            ));
            return;
        };
        let closed_for = match state.breaker.state() {
            BreakerState::Closed => None,
            BreakerState::HalfOpen => Some((CloudRefusal::Unreachable, HEALTH_BUSY_MS)),
            BreakerState::Open { until_ms } => Some((CloudRefusal::Unreachable, until_ms - now_ms)),
            BreakerState::Latched { until_ms } => {
                Some((CloudRefusal::Unauthorized, until_ms - now_ms))
            }
        };
        if let Some((refusal, wait_ms)) = closed_for {
            let wait_ms = Some(wait_ms.max(HEALTH_BUSY_MS));
            self.tell(refused(
                refusal,
                wait_ms,
                "the pool's breaker is open; nothing was sent",
            ));
            return;
        }
        let data_plane = state.access.data_plane.clone();
        let endpoint_id = state.access.endpoint_id.clone();
        let body = submission.body();
        let traceparent = submission.traceparent.clone();
        state.submits_in_flight += 1;
        self.submits_in_flight += 1;
        self.calls.spawn(async move {
            let outcome = data_plane
                .submit(&endpoint_id, body, traceparent.as_deref())
                .await;
            Done::Submitted {
                attempt,
                pool,
                outcome,
            }
        });
    }

    pub(super) fn look_up(&mut self, attempt: AttemptId, pool: PoolId, cloud_job: CloudJobId) {
        let Some(state) = self.pools.get(&pool) else {
            return;
        };
        let access = state.access.clone();
        let clock = Arc::clone(&self.clock);
        self.calls.spawn(async move {
            let mut is_known = false;
            for tries in 0..3 {
                match access
                    .data_plane
                    .status(&access.endpoint_id, &cloud_job)
                    .await
                {
                    Ok(_status) => is_known = true,
                    Err(
                        CloudError::Transport(_)
                        | CloudError::Unavailable { .. }
                        | CloudError::RateLimited { .. },
                    ) => {
                        clock.sleep_until(clock.now_ms() + (1_000 << tries)).await;
                        continue;
                    }
                    Err(_no_such_job) => {}
                }
                break;
            }
            Done::Found {
                attempt,
                cloud_job,
                is_known,
            }
        });
    }

    /// Sets a job's time to live there, with a few tries.
    pub(super) fn start_ttl(&mut self, pool: PoolId, cloud_job: CloudJobId, ttl: DurationMs) {
        let Some(state) = self.pools.get(&pool) else {
            return;
        };
        let access = state.access.clone();
        let clock = Arc::clone(&self.clock);
        self.calls.spawn(async move {
            for tries in 0..3 {
                let answer = access
                    .data_plane
                    .set_ttl(&access.endpoint_id, &cloud_job, ttl.as_millis())
                    .await;
                match answer {
                    Ok(_status) => break,
                    Err(error) => {
                        tracing::warn!(%cloud_job, %error, "a time to live could not be set at the cloud");
                    }
                }
                clock.sleep_until(clock.now_ms() + (1_000 << tries)).await;
            }
            Done::TtlSet
        });
    }

    /// Starts every call whose time has come.
    pub(super) fn start_due(&mut self) {
        let now_ms = self.clock.now_ms();
        self.start_bills(now_ms);
        let ids: Vec<PoolId> = self.pools.keys().copied().collect();
        for id in ids {
            self.start_scale(id, now_ms);
            self.start_read(id, now_ms);
            self.start_health(id, now_ms);
            self.start_polls(id, now_ms);
        }
    }

    pub(super) fn start_scale(&mut self, pool: PoolId, now_ms: i64) {
        let Some(state) = self.pools.get_mut(&pool).filter(|state| state.can_manage()) else {
            return;
        };
        let Some(management) = state.access.management.clone() else {
            return;
        };
        let Some(sent) = state.lane.take(now_ms) else {
            return;
        };
        let endpoint_id = state.access.endpoint_id.clone();
        let is_ours = state.access.managed == Managed::Everything;
        let idle_s = state.take_idle_s();
        let change = UpdateEndpoint {
            workers: Some(WorkerLimits {
                min: Some(sent.min),
                max: Some(sent.max),
                idle_timeout: is_ours.then_some(idle_s),
            }),
            // The fastest rule there is: how many workers there may be is decided here, by `max`.
            scaling: is_ours.then_some(Scaling::QueueDelay { queue_delay: 0.5 }),
            ..UpdateEndpoint::default()
        };
        self.calls.spawn(async move {
            let outcome = management.update(&endpoint_id, &change).await;
            Done::Scaled {
                pool,
                sent,
                outcome,
            }
        });
    }

    pub(super) fn start_read(&mut self, pool: PoolId, now_ms: i64) {
        let Some(state) = self.pools.get_mut(&pool).filter(|state| state.can_manage()) else {
            return;
        };
        let is_due =
            now_ms >= state.read_due_ms && !state.is_read_asked && state.lane.wanted().is_some();
        let Some(management) = state.access.management.clone().filter(|_| is_due) else {
            return;
        };
        state.is_read_asked = true;
        let endpoint_id = state.access.endpoint_id.clone();
        self.calls.spawn(async move {
            let outcome = management.limits(&endpoint_id).await;
            Done::Read { pool, outcome }
        });
    }

    pub(super) fn start_health(&mut self, pool: PoolId, now_ms: i64) {
        let Some(state) = self.pools.get_mut(&pool) else {
            return;
        };
        if state.is_health_asked || !state.access.is_counted || now_ms < state.health_due_ms {
            return;
        }
        // The health poll is the breaker's probe: it costs nothing and its outcome is never in doubt.
        if !state.breaker.admits(now_ms) {
            state.health_due_ms = match state.breaker.state() {
                BreakerState::Open { until_ms } | BreakerState::Latched { until_ms } => until_ms,
                BreakerState::Closed | BreakerState::HalfOpen => now_ms + HEALTH_BUSY_MS,
            };
            return;
        }
        state.is_health_asked = true;
        let data_plane = state.access.data_plane.clone();
        let endpoint_id = state.access.endpoint_id.clone();
        self.calls.spawn(async move {
            let outcome = data_plane.health(&endpoint_id).await;
            Done::Health { pool, outcome }
        });
    }

    pub(super) fn start_polls(&mut self, pool: PoolId, now_ms: i64) {
        let Some(state) = self.pools.get_mut(&pool) else {
            return;
        };
        while state.polls_in_flight < POLLS_MAX && now_ms >= state.polls_not_before_ms {
            let Some((attempt, watch)) = self.schedule.take(pool, now_ms) else {
                return;
            };
            state.polls_in_flight += 1;
            self.streams += usize::from(watch.wish == Wish::Stream);
            let access = state.access.clone();
            self.calls.spawn(async move {
                let wish = watch.wish;
                let outcome = poll(&access, &watch).await;
                Done::Polled {
                    attempt,
                    pool,
                    wish,
                    outcome,
                }
            });
        }
    }
}
