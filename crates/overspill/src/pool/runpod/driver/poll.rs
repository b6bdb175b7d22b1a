//! One question to the cloud about one job, as its wish says.

use super::super::answer::{CloudJobId, CloudState, CloudStatus};
use super::super::client::CloudError;
use super::CloudPool;
use super::schedule::{Watch, Wish};
use bytes::Bytes;
use std::time::Duration;

/// How long an empty poll of a stream is held by the cloud.
const STREAM_WAIT: Duration = Duration::from_secs(2);

/// The same for a job that has ended, whose stream has no reason to be held.
const DRAIN_WAIT: Duration = Duration::from_secs(1);

/// Answers that the stream of a job that has ended is taken from at most.
const DRAINS_MAX: usize = 200;

/// What a poll gave: chunks, a state, or both.
pub(super) struct Polled {
    pub(super) chunks: Vec<Bytes>,
    /// The state that a stream named; a final one is always followed by a status.
    pub(super) streaming: Option<CloudState>,
    pub(super) status: Option<CloudStatus>,
}

/// Asks about one job as its wish says.
pub(super) async fn poll(access: &CloudPool, watch: &Watch) -> Result<Polled, CloudError> {
    let (cloud, endpoint, job) = (
        &access.data_plane,
        access.endpoint_id.as_str(),
        &watch.cloud_job,
    );
    let only = |status| Polled {
        chunks: Vec::new(),
        streaming: None,
        status: Some(status),
    };
    match watch.wish {
        Wish::Watch => {
            let status = cloud.status(endpoint, job).await?;
            let mut chunks = Vec::new();
            if status.state == CloudState::Completed && may_be_streamed(status.output.as_ref()) {
                // Nobody else will fetch them, and `/stream` gives them out after the end too.
                drain(access, job, &mut chunks).await;
            }
            Ok(Polled {
                chunks,
                streaming: None,
                status: Some(status),
            })
        }
        Wish::Stream => {
            let part = cloud.stream(endpoint, job, STREAM_WAIT).await?;
            let mut chunks = part.chunks;
            // Chunks in hand must not be lost with a call that fails: then the next poll goes on from here.
            let is_drained = part.state.is_final() && drain(access, job, &mut chunks).await;
            let status = if is_drained {
                cloud.status(endpoint, job).await.ok()
            } else {
                None
            };
            Ok(Polled {
                chunks,
                streaming: Some(part.state),
                status,
            })
        }
        Wish::Cancel { only_if_queued } => {
            if only_if_queued {
                let status = cloud.status(endpoint, job).await?;
                if status.state != CloudState::Queued {
                    return Ok(only(status));
                }
            }
            let cancelled = cloud.cancel(endpoint, job).await?;
            if cancelled.state == CloudState::Cancelled {
                if only_if_queued && cancelled.has_started() {
                    tracing::warn!(%job, "a job began to run while it was taken back; it is cancelled all the same");
                }
                return Ok(only(cancelled));
            }
            cloud.status(endpoint, job).await.map(only)
        }
    }
}

/// Takes what is left in the stream of a job that ended; says whether its end was reached.
async fn drain(access: &CloudPool, job: &CloudJobId, chunks: &mut Vec<Bytes>) -> bool {
    for _ in 0..DRAINS_MAX {
        match access
            .data_plane
            .stream(&access.endpoint_id, job, DRAIN_WAIT)
            .await
        {
            Ok(part) if part.chunks.is_empty() => return true,
            Ok(part) => chunks.extend(part.chunks),
            // Expired, or without a stream at all: nothing is left to take.
            Err(CloudError::Gone { .. } | CloudError::Rejected { .. }) => return true,
            Err(_passing) => return false,
        }
    }
    true
}

/// Whether an output may be a generator's: absent or an empty value where its chunks stand in the stream only, an
/// array where they stand in both.
fn may_be_streamed(output: Option<&Bytes>) -> bool {
    let Some(output) = output else { return true };
    let output = output.trim_ascii();
    output.starts_with(b"[") || matches!(output, b"" | b"null" | b"{}" | b"\"\"")
}
