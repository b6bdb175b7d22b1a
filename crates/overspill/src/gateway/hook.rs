//! `POST /hooks/runpod/{token}`: RunPod says that a job that it has of ours came to its end.
//!
//! A hint to look, and never the result: what is in the body is not believed, and only the id that it names is read,
//! since the answer to the submission may have been lost. The path holds the attempt's token, which nobody can guess;
//! whoever does not know it gets the same answer as for a path that is not there, after the brake on guessed keys.

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;

use super::Gateway;
use super::body::{self, Read, ReadRules, Reply};
use super::call::Call;
use super::error::ApiError;
use crate::pool::runpod::driver::token;

/// Input and output of the job, which the body repeats, are together at most this long; a longer body is read to its
/// end and forgotten, and the hint counts all the same.
const BODY_BYTES_MAX: u64 = 32 << 20;

/// The part of the body that is read.
#[derive(Deserialize)]
struct Called {
    id: Option<String>,
}

pub(super) async fn from_runpod(gateway: &Arc<Gateway>, mut call: Call) -> Result<Reply, ApiError> {
    let now = gateway.engine.now();
    let address = call.client_address(gateway);
    if gateway.failures.is_braked(address, now) {
        return Err(ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "auth_rate_limited",
            "too many wrong tokens came from this address",
        )
        .retry_after(1));
    }
    let text = call.params.first().map_or("", String::as_str);
    let Some((attempt, pool)) = token::read(gateway.engine.server_secret(), text) else {
        gateway.failures.note(address, now);
        return Err(super::no_route());
    };
    let rules = ReadRules {
        memory: Some((&gateway.memory, gateway.options.holds.memory)),
        bytes_max: BODY_BYTES_MAX,
        idle_max: gateway.options.holds.body,
        drains: true,
    };
    let named = match call.body.take() {
        None => None,
        Some(incoming) => match body::read(&call.headers, incoming, rules).await? {
            Read::Whole(bytes, _room) => serde_json::from_slice::<Called>(&bytes).ok(),
            Read::TooLong(_) => None,
        },
    };
    let cloud_job = named.and_then(|called| called.id);
    gateway
        .engine
        .cloud_hint(attempt, pool, cloud_job.as_deref());
    Ok(body::json_of(&serde_json::json!({})))
}
