//! `ping`: which jobs a worker says it holds.

use std::sync::Arc;

use overspill_core::event::Event;

use super::living;
use crate::gateway::Gateway;
use crate::gateway::body::{self, Reply};
use crate::gateway::call::Call;
use crate::gateway::error::{ApiError, shown};

/// Longest version of the SDK that is noted, in bytes.
const VERSION_MAX: usize = 40;

/// GET `ping/{worker}`. The SDK reads nothing of the answer.
pub(crate) async fn ping(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let (worker, _) = living(gateway, &call).await?;
    if call.query.get("status") == Some("unhealthy") {
        // A failed start-up check: the process ends by itself, which the process host sees.
        tracing::warn!(
            %worker,
            check = %shown(call.query.get("check").unwrap_or("?")),
            reason = %shown(call.query.get("reason").unwrap_or("?")),
            "a worker failed its own start-up check"
        );
        return Ok(body::json("{}"));
    }
    let version = call.query.get("runpod_version");
    if let Some(version) = version.filter(|version| version.len() <= VERSION_MAX) {
        gateway.engine().note_sdk(worker, version);
    }
    let jobs = call
        .query
        .get("job_id")
        .unwrap_or_default()
        .split(',')
        .filter_map(|id| id.trim().parse().ok())
        .collect();
    gateway
        .engine()
        .tell(Event::Pinged { worker, jobs }, Vec::new());
    Ok(body::json("{}"))
}
