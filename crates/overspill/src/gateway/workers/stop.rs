//! `job-stop`: the stop channel, held until a job is to be stopped.

use std::sync::Arc;

use overspill_wire::worker::stop_list;

use super::{living, pause};
use crate::gateway::Gateway;
use crate::gateway::body::{self, Reply};
use crate::gateway::call::Call;
use crate::gateway::error::ApiError;

/// GET `job-stop/{worker}`: `{"jobsToStop":[…]}`, or 204.
pub(crate) async fn stop_signals(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let (worker, facts) = living(gateway, &call).await?;
    let holds = &gateway.options().holds;
    if !facts.takes_jobs {
        pause(gateway, holds.worker_stopping).await;
        return Ok(body::no_content());
    }
    let jobs = tokio::select! {
        biased;
        () = gateway.drain.cancelled() => Vec::new(),
        jobs = gateway.engine().stop_signals(worker, holds.worker_poll) => jobs,
    };
    if jobs.is_empty() {
        return Ok(body::no_content());
    }
    let ids: Vec<String> = jobs.iter().map(ToString::to_string).collect();
    Ok(body::json(stop_list(&ids)))
}
