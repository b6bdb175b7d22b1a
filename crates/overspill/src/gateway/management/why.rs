//! `/api/v1/why/…`: causes of a job's or an endpoint's state, with what one changed setting would do.

use std::sync::Arc;

use crate::engine::api::Unavailable;
use crate::gateway::Gateway;
use crate::gateway::body::{self, Reply};
use crate::gateway::call::{Call, job_not_found};
use crate::gateway::error::{ApiError, shown};
use crate::view::board::Board;

/// GET `job/{job}`.
pub(crate) async fn job(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let id = call.job_id(0)?;
    let why = board(gateway)?.why_job(id).await;
    let why = why
        .map_err(|Unavailable| ApiError::unavailable())?
        .filter(|why| sees(&call, &why.endpoint))
        .ok_or_else(job_not_found)?;
    Ok(body::json_of(&why))
}

/// GET `scale/{endpoint}`.
pub(crate) async fn scale(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let name = &call.params[0];
    let not_found = || {
        let message = format!("there is no endpoint `{}`", shown(name));
        ApiError::not_found("endpoint_not_found", message)
    };
    let directory = gateway.engine().endpoints();
    let entry = directory
        .find(name)
        .filter(|entry| sees(&call, &entry.name))
        .ok_or_else(not_found)?;
    let why = board(gateway)?.why_scale(entry.id).await;
    let why = why
        .map_err(|Unavailable| ApiError::unavailable())?
        .ok_or_else(not_found)?;
    Ok(body::json_of(&why))
}

fn sees(call: &Call, endpoint: &str) -> bool {
    call.caller.as_ref().is_none_or(|c| c.sees(endpoint))
}

fn board(gateway: &Gateway) -> Result<&Arc<Board>, ApiError> {
    gateway.board.as_ref().ok_or_else(ApiError::unavailable)
}
