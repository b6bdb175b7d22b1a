//! `/stream`: the chunks since the last call, which drains them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use overspill_core::id::JobId;
use overspill_core::time::{DurationMs, Timestamp};
use overspill_wire::job::STREAM_WAIT_DEFAULT_MS;
use overspill_wire::json;
use tokio::time::Instant;

use super::status::word_of;
use crate::engine::api::{ChunkCursor, JobState, JobView, Unavailable};
use crate::gateway::Gateway;
use crate::gateway::body::{self, Body, Reply};
use crate::gateway::call::{Call, job_not_found};
use crate::gateway::error::ApiError;

/// Streams remembered at once; beyond that, those not read for an hour are forgotten.
const READERS_MAX: usize = 50_000;
const FORGOTTEN_AFTER: DurationMs = DurationMs::from_secs(3_600);

/// How far each job's stream was read. Readers of one job share one place: two of them steal from
/// each other, as they do at RunPod.
#[derive(Default)]
pub(crate) struct Readers {
    places: Mutex<HashMap<JobId, Place>>,
}

#[derive(Clone, Copy)]
struct Place {
    cursor: ChunkCursor,
    read_at: Timestamp,
}

impl Readers {
    fn place(&self, job: JobId) -> ChunkCursor {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places
            .get(&job)
            .map_or_else(ChunkCursor::default, |p| p.cursor)
    }

    /// Moves on, unless someone else did since.
    fn advance(&self, job: JobId, from: ChunkCursor, to: ChunkCursor, now: Timestamp) -> bool {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let current = places
            .get(&job)
            .map_or_else(ChunkCursor::default, |p| p.cursor);
        if current != from {
            return false;
        }
        if places.len() >= READERS_MAX && !places.contains_key(&job) {
            places.retain(|_, place| now.since(place.read_at) < FORGOTTEN_AFTER);
        }
        let place = Place {
            cursor: to,
            read_at: now,
        };
        places.insert(job, place);
        true
    }
}

/// GET `/stream/{id}`: held while there is nothing, by default for 9 s. A final state is told
/// only together with all chunks that are left: the JavaScript SDK stops at the first one.
pub(crate) async fn stream(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let endpoint = call.endpoint(gateway)?;
    let hold = call
        .wait(1_000)?
        .unwrap_or(Duration::from_millis(STREAM_WAIT_DEFAULT_MS));
    let mut job = call.job(gateway, &endpoint).await?;
    let end = Instant::now() + hold;
    loop {
        // The state first: once it is final, no chunk comes after those that are read next.
        let chunks = drain(gateway, job.id)
            .await
            .map_err(|Unavailable| ApiError::unavailable())?;
        let left = end.saturating_duration_since(Instant::now());
        let is_over = left.is_zero() || gateway.drain.is_cancelled();
        if !chunks.is_empty() || job.state.is_final() || is_over {
            return Ok(reply(&job, chunks));
        }
        let seen = tokio::select! {
            biased;
            seen = gateway.engine().wait_job(job.id, job.version, left) => seen,
            () = gateway.drain.cancelled() => continue,
        };
        job = match seen {
            Ok(Some(job)) => job,
            Ok(None) => return Err(job_not_found()),
            Err(Unavailable) => return Err(ApiError::unavailable()),
        };
    }
}

/// All chunks that nobody has read.
async fn drain(gateway: &Gateway, job: JobId) -> Result<Vec<Bytes>, Unavailable> {
    let mut drained = Vec::new();
    loop {
        let from = gateway.readers.place(job);
        let chunks = gateway.engine().chunks(job, from).await?;
        if chunks.items.is_empty() {
            return Ok(drained);
        }
        let now = gateway.engine().now();
        if gateway.readers.advance(job, from, chunks.cursor, now) {
            drained.extend(chunks.items);
        }
    }
}

fn reply(job: &JobView, chunks: Vec<Bytes>) -> Reply {
    // Python's client knows no CANCELLED here, and would poll for ever.
    let state = match job.state {
        JobState::Cancelled => JobState::Failed,
        other => other,
    };
    let mut head = String::from("{");
    if let (JobState::Failed, Some(error)) = (state, &job.error) {
        head.push_str(&format!("\"error\":{},", json::quote(error)));
    }
    head.push_str(&format!(
        "\"id\":\"{}\",\"status\":\"{}\",\"stream\":[",
        job.id,
        word_of(state).word()
    ));
    let mut pieces = vec![Bytes::from(head)];
    for (i, chunk) in chunks.into_iter().enumerate() {
        let opening: &[u8] = if i == 0 {
            b"{\"output\":"
        } else {
            b"},{\"output\":"
        };
        pieces.push(Bytes::from_static(opening));
        pieces.push(chunk);
    }
    let closing: &[u8] = if pieces.len() > 1 { b"}]}" } else { b"]}" };
    pieces.push(Bytes::from_static(closing));
    body::json(Body::pieces(pieces))
}
