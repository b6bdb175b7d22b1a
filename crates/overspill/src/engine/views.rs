//! What the engine answers to readers, made of what the core and the store say.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use overspill_core::change::{EndedJob, FinalState};
use overspill_core::id::{AttemptId, EndpointId};
use overspill_core::time::DurationMs;
use overspill_core::view::{EndpointCounts, LiveJob};
use overspill_store::{JobRow, RowState};

use super::api::{
    CloudCounts, EndpointView, JobState, JobVersion, JobView, LocalCounts, WorkerCounts,
};
use super::handle::Handle;
use super::run::JobActivity;

impl Handle {
    pub(super) fn live_view(
        &self,
        live: &LiveJob,
        progress: Option<Bytes>,
        activity: JobActivity,
    ) -> JobView {
        let now = self.shared.clock.now();
        let state = match live.started_at {
            Some(_) => JobState::Running,
            None => JobState::Queued,
        };
        JobView {
            id: live.id,
            endpoint: live.endpoint,
            state,
            submitted_at: live.submitted_at,
            started_at: live.started_at,
            ended_at: None,
            delay_ms: live
                .started_at
                .map(|at| at.since(live.submitted_at).as_millis()),
            execution_ms: live.started_at.map(|at| now.since(at).as_millis()),
            worker: live.worker.clone(),
            pool: live.pool.and_then(|pool| self.pool_key(pool)),
            attempt: live.attempts,
            retries: live.lost,
            output: None,
            progress,
            error: None,
            error_code: None,
            webhook: live.webhook.clone(),
            trace: live.trace.clone(),
            region: live.region,
            is_stream: activity.chunks > 0,
            result_sha256: None,
            version: version(state, live.generation, live.attempts, activity.notes),
        }
    }

    pub(super) fn ended_view(
        &self,
        ended: EndedJob,
        output: Option<Bytes>,
        is_stream: bool,
    ) -> JobView {
        let state = final_state(ended.state);
        JobView {
            id: ended.id,
            endpoint: ended.endpoint,
            state,
            submitted_at: ended.submitted_at,
            started_at: ended.delay.map(|delay| ended.submitted_at + delay),
            ended_at: Some(ended.ended_at),
            delay_ms: ended.delay.map(DurationMs::as_millis),
            execution_ms: ended.execution.map(DurationMs::as_millis),
            worker: ended.worker,
            pool: ended.pool.and_then(|pool| self.pool_key(pool)),
            attempt: ended.attempts,
            retries: ended.attempts.saturating_sub(1),
            output,
            progress: None,
            error: ended.error,
            error_code: ended.error_code,
            webhook: ended.webhook,
            trace: ended.trace,
            region: ended.region,
            is_stream,
            result_sha256: ended.body_sha256,
            version: version(state, ended.generation, ended.attempts, 0),
        }
    }

    pub(super) fn row_view(&self, row: JobRow) -> JobView {
        let state = match row.state {
            RowState::Queued => JobState::Queued,
            RowState::Running => JobState::Running,
            RowState::Ended(state) => final_state(state),
        };
        let delayed = row.delay.map(|delay| row.submitted_at + delay);
        let started_at = delayed.or(row.leased_at);
        JobView {
            id: row.id,
            endpoint: row.endpoint,
            state,
            submitted_at: row.submitted_at,
            started_at,
            ended_at: row.ended_at,
            delay_ms: started_at.map(|at| at.since(row.submitted_at).as_millis()),
            execution_ms: row.execution.map(DurationMs::as_millis),
            worker: row.worker,
            pool: row.pool.and_then(|pool| self.pool_key(pool)),
            attempt: row.attempts,
            retries: row.attempts.saturating_sub(1),
            output: None,
            progress: None,
            error: row.error,
            error_code: row.error_code,
            webhook: None,
            trace: None,
            region: row.region,
            is_stream: false,
            result_sha256: None,
            version: version(state, row.generation, row.attempts, 0),
        }
    }
}

/// The attempt that ended a job.
pub(super) fn last_attempt(ended: &EndedJob) -> AttemptId {
    AttemptId {
        job: ended.id,
        generation: ended.generation,
        number: ended.attempts,
    }
}

const fn final_state(state: FinalState) -> JobState {
    match state {
        FinalState::Completed => JobState::Completed,
        FinalState::Failed => JobState::Failed,
        FinalState::Cancelled => JobState::Cancelled,
        FinalState::TimedOut => JobState::TimedOut,
    }
}

/// Differs whenever a client could see a difference.
fn version(state: JobState, generation: u32, attempts: u32, notes: u64) -> JobVersion {
    let mut hasher = DefaultHasher::new();
    (state, generation, attempts, notes).hash(&mut hasher);
    JobVersion(hasher.finish())
}

/// An endpoint's counts, without how its jobs ended.
pub(super) fn endpoint_view(id: EndpointId, counts: EndpointCounts) -> EndpointView {
    let idle = counts.local_ready.saturating_sub(counts.local_busy);
    let starting = counts.local_workers.saturating_sub(counts.local_ready);
    EndpointView {
        id,
        name: counts.name,
        limits: counts
            .limits
            .unwrap_or(overspill_core::topology::Limits { min: 0, max: 0 }),
        max_wait: counts.max_wait,
        scaler: counts.scaler,
        set: counts.set,
        min_held: counts.min_held,
        queued: counts.queued,
        running: counts.running,
        completed: 0,
        failed: 0,
        retried: 0,
        workers: WorkerCounts {
            initializing: starting + counts.cloud.initializing,
            idle: idle + counts.cloud.idle,
            running: counts.local_ready - idle + counts.cloud.running,
            throttled: counts.cloud.throttled,
            unhealthy: counts.cloud.unhealthy,
        },
        ready_workers: Vec::new(),
        local_workers: Vec::new(),
        cloud: CloudCounts {
            wanted: counts.cloud_wanted,
            ready: counts.cloud.idle,
            starting: counts.cloud.initializing,
            running: counts.cloud.running,
        },
        local: LocalCounts {
            workers: counts.local_workers,
            slots: counts.local_slots,
            busy: counts.local_busy,
        },
    }
}
