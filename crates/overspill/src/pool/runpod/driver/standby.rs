//! Workers that nothing asks for, and limits that `RunPod` changed by itself.
//!
//! `/health` counts stopped workers that could be resumed as idle too; only the list of workers tells which are on. It
//! costs a management call, so it is asked for when idle workers outlive their idle time-out with nothing to do.

use super::super::client::CloudError;
use super::run::{Done, Runner};
use super::scale::WorkerRange;
use overspill_core::event::{CloudWorkerCounts, Event};
use overspill_core::id::PoolId;
use overspill_wire::management::worker::{WorkerList, WorkerStatus};

/// `RunPod` ends an idle worker this much later than its idle time-out, at the latest, in milliseconds.
const SLACK_MS: i64 = 30_000;
/// Time between two looks at the list while workers are on that nothing asks for, in milliseconds.
const AGAIN_MS: i64 = 30_000;
/// The same where there were none: those that idle can only be resumed.
const AGAIN_NONE_MS: i64 = 600_000;
/// Jobs wait there for so long with fewer workers than allowed before the limits are read, in milliseconds.
const SHORT_MS: i64 = 5_000;
/// And are read no more often than so, in milliseconds.
const SHORT_AGAIN_MS: i64 = 30_000;

/// What is watched of one pool.
#[derive(Debug, Clone, Default)]
pub(super) struct StandbyWatch {
    idle_since_ms: Option<i64>,
    list_due_ms: i64,
    is_listing: bool,
    /// Workers that were listed as on, as last told.
    told: u32,
    short_since_ms: Option<i64>,
    short_read_ms: Option<i64>,
}

impl StandbyWatch {
    /// Takes in counts; says whether the list is to be read now.
    fn on_counts(
        &mut self,
        now_ms: i64,
        counts: CloudWorkerCounts,
        is_idle: bool,
        idle_timeout_s: u32,
    ) -> bool {
        if !is_idle || counts.idle == 0 || counts.running + counts.initializing > 0 {
            self.idle_since_ms = None;
            self.list_due_ms = i64::MIN;
            return false;
        }
        let since_ms = *self.idle_since_ms.get_or_insert(now_ms);
        let patience_ms = i64::from(idle_timeout_s) * 1_000 + SLACK_MS;
        let is_due = now_ms - since_ms >= patience_ms && now_ms >= self.list_due_ms;
        is_due && !self.is_listing
    }

    /// Takes in whether jobs wait there with fewer workers than there may be; says whether to read the limits now.
    fn on_short(&mut self, now_ms: i64, is_short: bool) -> bool {
        if !is_short {
            self.short_since_ms = None;
            return false;
        }
        let since_ms = *self.short_since_ms.get_or_insert(now_ms);
        let was_read = self
            .short_read_ms
            .is_some_and(|at_ms| now_ms - at_ms < SHORT_AGAIN_MS);
        let is_due = now_ms - since_ms >= SHORT_MS && !was_read;
        if is_due {
            self.short_read_ms = Some(now_ms);
        }
        is_due
    }
}

impl Runner {
    /// Looks at counts for what nobody asked for.
    pub(super) fn watch_standby(
        &mut self,
        pool: PoolId,
        counts: CloudWorkerCounts,
        queued: u32,
        now_ms: i64,
    ) {
        let watched = self.schedule.watched(pool);
        let management = self.bills.management();
        let Some(state) = self.pools.get_mut(&pool) else {
            return;
        };
        let wanted = state
            .lane
            .wanted()
            .unwrap_or(WorkerRange { min: 0, max: 0 });
        let is_idle =
            watched == 0 && state.submits_in_flight == 0 && queued == 0 && wanted.min == 0;
        let idle_timeout_s = state.access.idle_timeout_s;
        let lists = state
            .standby
            .on_counts(now_ms, counts, is_idle, idle_timeout_s);
        let gone =
            state.standby.idle_since_ms.is_none() && std::mem::take(&mut state.standby.told) > 0;
        let there = counts.idle
            + counts.running
            + counts.initializing
            + counts.throttled
            + counts.unhealthy;
        let is_short = there < wanted.max.min(queued) && state.lane.is_settled();
        if state.standby.on_short(now_ms, is_short) {
            state.read_due_ms = now_ms;
        }
        if gone {
            self.tell(Event::CloudStandby { pool, workers: 0 });
        }
        let (true, Some(management)) = (lists, management) else {
            return;
        };
        let Some(state) = self.pools.get_mut(&pool) else {
            return;
        };
        state.standby.is_listing = true;
        let endpoint_id = state.access.endpoint_id.clone();
        self.calls.spawn(async move {
            let outcome = management.workers(&endpoint_id).await;
            Done::Listed { pool, outcome }
        });
    }

    pub(super) fn on_listed(
        &mut self,
        pool: PoolId,
        outcome: Result<WorkerList, CloudError>,
        now_ms: i64,
    ) {
        let Some(state) = self.pools.get_mut(&pool) else {
            return;
        };
        let watch = &mut state.standby;
        watch.is_listing = false;
        watch.list_due_ms = now_ms + AGAIN_MS;
        let list = match outcome {
            Ok(list) => list,
            Err(error) => {
                tracing::warn!(%pool, %error, "a pool's workers cannot be listed");
                return;
            }
        };
        if watch.idle_since_ms.is_none() {
            return;
        }
        let is_on =
            |status: WorkerStatus| matches!(status, WorkerStatus::Running | WorkerStatus::Idle);
        let on = list
            .workers
            .iter()
            .filter(|worker| is_on(worker.status))
            .count();
        let on = u32::try_from(on).unwrap_or(u32::MAX);
        if on == 0 {
            watch.list_due_ms = now_ms + AGAIN_NONE_MS;
        }
        if on == 0 && watch.told == 0 {
            return;
        }
        watch.told = on;
        if on > 0 && state.can_manage() {
            // A second write of the same limits is what ends a standby worker.
            state.lane.doubt();
        }
        self.tell(Event::CloudStandby { pool, workers: on });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle(idle: u32) -> CloudWorkerCounts {
        CloudWorkerCounts {
            idle,
            ..CloudWorkerCounts::default()
        }
    }

    #[test]
    fn the_list_is_read_once_idle_workers_should_have_been_gone() {
        let mut watch = StandbyWatch::default();
        assert!(!watch.on_counts(0, idle(1), true, 5));
        assert!(!watch.on_counts(34_999, idle(1), true, 5));
        assert!(watch.on_counts(35_000, idle(1), true, 5));
        watch.list_due_ms = 65_000;
        assert!(!watch.on_counts(64_999, idle(1), true, 5));
        assert!(watch.on_counts(65_000, idle(1), true, 5));
        assert!(!watch.on_counts(66_000, idle(1), false, 5), "there is work");
        assert!(
            !watch.on_counts(90_000, idle(1), true, 5),
            "the time counts anew"
        );
        assert!(!watch.on_counts(200_000, idle(0), true, 5));
    }

    #[test]
    fn limits_are_read_when_jobs_wait_with_too_few_workers() {
        let mut watch = StandbyWatch::default();
        assert!(!watch.on_short(0, true));
        assert!(!watch.on_short(4_999, true));
        assert!(watch.on_short(5_000, true));
        assert!(!watch.on_short(34_999, true));
        assert!(watch.on_short(35_000, true));
        assert!(!watch.on_short(36_000, false));
        assert!(!watch.on_short(70_000, true));
    }
}
