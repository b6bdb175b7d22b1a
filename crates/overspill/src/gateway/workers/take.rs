//! `job-take` and `job-take-batch`: held until there is a job.

use std::sync::Arc;

use bytes::Bytes;
use overspill_core::id::JobId;
use overspill_wire::worker::{Trace, job_object};

use super::{living, pause};
use crate::auth::seal::Sealer;
use crate::engine::api::TakenJob;
use crate::gateway::Gateway;
use crate::gateway::body::{self, Body, Reply};
use crate::gateway::call::Call;
use crate::gateway::delivery::Delivery;
use crate::gateway::error::ApiError;
use crate::otel::{Tracer, span};

/// Jobs that one take may ask for.
const BATCH_MAX: u32 = 100;

/// GET `job-take/{worker}`: one job object, or 204.
pub(crate) async fn take_one(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    take(gateway, call, 1, false).await
}

/// GET `job-take-batch/{worker}`: an array of at most `batch_size` job objects, or 204.
pub(crate) async fn take_batch(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let room = clamped(call.query.get("batch_size"));
    take(gateway, call, room, true).await
}

/// Any number, however odd, as one that makes sense: an error would make the worker spin.
fn clamped(text: Option<&str>) -> u32 {
    let Some(text) = text else {
        return 1;
    };
    match text.parse::<f64>() {
        Ok(number) if number >= f64::from(BATCH_MAX) => BATCH_MAX,
        Ok(number) if number >= 1.0 => text.parse().unwrap_or(1),
        _ => 1,
    }
}

async fn take(
    gateway: &Arc<Gateway>,
    call: Call,
    room: u32,
    is_batch: bool,
) -> Result<Reply, ApiError> {
    let (worker, facts) = living(gateway, &call).await?;
    let holds = &gateway.options().holds;
    if !facts.takes_jobs {
        pause(gateway, holds.worker_stopping).await;
        return Ok(body::no_content());
    }
    // Only a clear word that it holds nothing: jobs that we think it holds are given up for it.
    let is_idle = call.query.get("job_in_progress") == Some("0");
    let jobs = tokio::select! {
        biased;
        () = gateway.drain.cancelled() => Vec::new(),
        jobs = gateway.engine().take(worker, room, is_idle, holds.worker_poll) => jobs,
    };
    if jobs.is_empty() {
        return Ok(body::no_content());
    }
    let ids: Vec<JobId> = jobs.iter().map(|job| job.attempt.job).collect();
    let owed = call.closes.then(|| Arc::clone(&call.peer.owed));
    let delivery = Delivery::new(Arc::clone(gateway.engine()), worker, ids, owed);
    Ok(body::json(
        Body::pieces(objects(
            jobs,
            is_batch,
            &gateway.options().sealer,
            &gateway.engine().tracer(),
        ))
        .delivering(delivery),
    ))
}

/// Job objects around the bytes of their inputs.
fn objects(jobs: Vec<TakenJob>, is_batch: bool, sealer: &Sealer, tracer: &Tracer) -> Vec<Bytes> {
    let mut pieces = Vec::with_capacity(jobs.len() * 3 + 1);
    for (i, job) in jobs.into_iter().enumerate() {
        let id = job.attempt.job;
        let context = tracer.passed_on(job.trace.as_deref(), span::of_attempt(job.attempt));
        let trace = context.map(|context| Trace {
            parent: context.traceparent(),
            state: context.state,
        });
        let (head, tail) = job_object(
            &id.to_string(),
            sealer.open_for_worker(id, job.extras.as_deref()).as_deref(),
            job.webhook.as_deref(),
            trace.as_ref(),
        );
        let opening = match (is_batch, i) {
            (false, _) => "",
            (true, 0) => "[",
            (true, _) => ",",
        };
        pieces.push(Bytes::from(format!("{opening}{head}")));
        pieces.push(if job.input.is_empty() {
            Bytes::from_static(b"null")
        } else {
            job.input
        });
        pieces.push(Bytes::from(tail));
    }
    if is_batch {
        pieces.push(Bytes::from_static(b"]"));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_input_58_any_batch_size_is_clamped() {
        for (text, room) in [
            ("0", 1),
            ("-1", 1),
            ("1e6", BATCH_MAX),
            ("1000000", BATCH_MAX),
            ("abc", 1),
            ("nan", 1),
            ("", 1),
            ("7", 7),
        ] {
            assert_eq!(clamped(Some(text)), room, "{text}");
        }
        assert_eq!(clamped(None), 1);
    }
}
