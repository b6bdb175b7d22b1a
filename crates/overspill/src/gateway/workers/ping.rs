//! `ping`: which jobs a worker says it holds.

use std::sync::Arc;

use overspill_core::event::Event;

use super::living;
use crate::gateway::Gateway;
use crate::gateway::body::{self, Reply};
use crate::gateway::call::Call;
use crate::gateway::error::{ApiError, shown};

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
