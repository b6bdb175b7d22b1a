//! Takes in what `RunPod` says of a pool's workers and their limits.

use super::super::answer::CloudHealth;
use super::super::breaker;
use super::super::client::CloudError;
use super::super::limits::backoff_ms;
use super::super::management::LimitsRead;
use super::run::Runner;
use super::scale::WorkerRange;
use super::translate;
use overspill_core::event::{CloudRefusal, Event};
use overspill_core::id::PoolId;
use overspill_core::time::DurationMs;

/// Time between health polls while jobs or workers are there, in milliseconds.
pub(super) const HEALTH_BUSY_MS: i64 = 1_000;

/// Time between health polls of a quiet pool, in milliseconds.
pub(super) const HEALTH_QUIET_MS: i64 = 30_000;

/// The longest wait between tries to set limits, in milliseconds: a scale-down must get through.
const SCALE_BACKOFF_MS_MAX: i64 = 30_000;

/// Wait after a change that was refused for what it asks, in milliseconds.
const SCALE_REFUSED_WAIT_MS: i64 = 60_000;

/// A day, for the cost of a leak.
const DAY: DurationMs = DurationMs::from_secs(86_400);

impl Runner {
    pub(super) fn on_health(
        &mut self,
        pool: PoolId,
        outcome: Result<CloudHealth, CloudError>,
        now_ms: i64,
    ) {
        let watched = self.schedule.watched(pool);
        let Some(state) = self.pools.get_mut(&pool) else {
            return;
        };
        state.is_health_asked = false;
        let error = match outcome {
            Ok(health) => {
                state.health_failures = 0;
                let counts = translate::counts(&health);
                let is_busy = watched > 0
                    || state.submits_in_flight > 0
                    || health.workers() > 0
                    || health.jobs_queued + health.jobs_running > 0;
                state.health_due_ms = now_ms
                    + if is_busy {
                        HEALTH_BUSY_MS
                    } else {
                        HEALTH_QUIET_MS
                    };
                // Workers cost by the second: each count of them says how long.
                let is_news = state.counts != Some(counts)
                    || health.workers() > 0
                    || now_ms - state.counts_told_ms >= HEALTH_QUIET_MS;
                state.counts = Some(counts);
                let wanted = state.lane.wanted();
                let live = counts.running + counts.initializing + counts.idle;
                if state.can_manage() && state.surplus.on_counts(now_ms, wanted, live) {
                    let per_day = state.access.price.map(|price| price.over(DAY).times(live));
                    tracing::error!(
                        %pool, live, cost_per_day = per_day.map(tracing::field::display),
                        "workers stay although none are wanted; the limits are set again. \
                         If this repeats, delete them in RunPod's console"
                    );
                    state.lane.doubt();
                }
                if is_news {
                    state.counts_told_ms = now_ms;
                    self.tell(Event::CloudHealth {
                        pool,
                        workers: counts,
                    });
                    self.tell(Event::CloudJobsCounted {
                        pool,
                        live: health.jobs_queued.saturating_add(health.jobs_running),
                    });
                }
                self.watch_standby(pool, counts, health.jobs_queued, now_ms);
                self.record(pool, breaker::Outcome::Alive, now_ms);
                return;
            }
            Err(error) => error,
        };
        state.health_failures = state.health_failures.saturating_add(1);
        let floor_ms = match &error {
            CloudError::RateLimited { retry_after_ms } => Some(*retry_after_ms),
            _ => Some(HEALTH_BUSY_MS),
        };
        let wait_ms = backoff_ms(
            state.health_failures,
            1_000,
            HEALTH_QUIET_MS,
            floor_ms,
            rand::random(),
        );
        state.health_due_ms = now_ms + wait_ms;
        let is_first = state.health_failures == 1;
        match error {
            CloudError::Gone { detail } => {
                if is_first {
                    self.fail(pool, CloudRefusal::EndpointGone, detail);
                }
                self.record(pool, breaker::Outcome::Alive, now_ms);
            }
            CloudError::Unauthorized { .. } => {
                self.record(pool, breaker::Outcome::Unauthorized, now_ms);
            }
            CloudError::RateLimited { .. }
            | CloudError::Conflict { .. }
            | CloudError::Rejected { .. } => {
                self.record(pool, breaker::Outcome::Alive, now_ms);
            }
            CloudError::Protocol(_) | CloudError::Unavailable { .. } | CloudError::Transport(_) => {
                if is_first {
                    tracing::warn!(%pool, %error, "a pool's health cannot be read");
                }
                self.record(pool, breaker::Outcome::Failed, now_ms);
            }
        }
    }

    pub(super) fn on_scaled(
        &mut self,
        pool: PoolId,
        sent: WorkerRange,
        outcome: Result<LimitsRead, CloudError>,
        now_ms: i64,
    ) {
        let Some(state) = self.pools.get_mut(&pool) else {
            return;
        };
        state.read_due_ms = now_ms + state.access.limits_check_ms;
        state.health_due_ms = state.health_due_ms.min(now_ms);
        match outcome {
            Ok(limits) => {
                state.lane.on_confirmed(sent);
                state.look_at_idle();
                let max = limits.max.unwrap_or(sent.max);
                if max != sent.max {
                    tracing::warn!(%pool, asked = sent.max, max, "the cloud set another number of workers than asked");
                }
                let min = limits.min.unwrap_or(sent.min);
                self.tell(Event::CloudScaled { pool, min, max });
            }
            Err(error) => {
                let wait_ms = match &error {
                    CloudError::RateLimited { retry_after_ms } => {
                        backoff_ms(0, 500, 1_000, Some(*retry_after_ms), rand::random())
                    }
                    error if translate::pool_failed(error).is_some() => SCALE_REFUSED_WAIT_MS,
                    _ => backoff_ms(
                        state.lane.failures() + 1,
                        1_000,
                        SCALE_BACKOFF_MS_MAX,
                        None,
                        rand::random(),
                    ),
                };
                let is_first = state.lane.on_failed(now_ms, wait_ms);
                tracing::warn!(%pool, ?sent, %error, wait_ms, "the limits of a cloud pool could not be set");
                let passing = match error {
                    CloudError::RateLimited { .. } => CloudRefusal::RateLimited,
                    _ => CloudRefusal::Unreachable,
                };
                let refusal = translate::pool_failed(&error).unwrap_or(passing);
                // A quota is found by what is refused: each refusal counts.
                if is_first || refusal == CloudRefusal::Quota {
                    self.fail(pool, refusal, error.to_string());
                }
            }
        }
    }

    pub(super) fn on_read(
        &mut self,
        pool: PoolId,
        outcome: Result<LimitsRead, CloudError>,
        now_ms: i64,
    ) {
        let Some(state) = self.pools.get_mut(&pool) else {
            return;
        };
        state.is_read_asked = false;
        state.read_due_ms = now_ms + state.access.limits_check_ms;
        match outcome {
            Ok(limits) => {
                let wanted = state
                    .lane
                    .wanted()
                    .unwrap_or(WorkerRange { min: 0, max: 0 });
                let seen = WorkerRange {
                    min: limits.min.unwrap_or(wanted.min),
                    max: limits.max.unwrap_or(wanted.max),
                };
                if seen != wanted && state.lane.is_settled() {
                    tracing::warn!(%pool, ?seen, ?wanted, "the cloud changed a pool's limits by itself; set again");
                }
                if state.lane.on_read(seen) {
                    self.tell(Event::CloudLimitsChanged {
                        pool,
                        asked: (wanted.min, wanted.max),
                        seen: (seen.min, seen.max),
                    });
                }
            }
            Err(error) => tracing::warn!(%pool, %error, "a pool's limits cannot be read"),
        }
    }
}
