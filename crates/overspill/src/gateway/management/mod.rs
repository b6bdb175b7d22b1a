//! `/api/v1/…`: endpoints, jobs, keys and what the dashboard shows, for the CLI, the dashboard and scripts. Errors have the
//! problem form.

pub(super) mod board;
pub(super) mod budget;
pub(super) mod cost;
pub(super) mod devices;
pub(super) mod endpoints;
pub(super) mod events;
pub(super) mod guard;
pub(super) mod jobs;
pub(super) mod keys;
pub(super) mod payloads;
pub(super) mod serverless;
pub(super) mod webhooks;
pub(super) mod why;
pub(super) mod windows;

use serde::de::DeserializeOwned;

use super::Gateway;
use super::call::Call;
use super::clients::submit::refused_json;
use super::error::{ApiError, shown};

/// The largest body that is taken here, in bytes.
const BODY_BYTES_MAX: u64 = 1_000_000;

/// Reads a body of this type; fields that it does not have are refused.
async fn read<T: DeserializeOwned>(gateway: &Gateway, call: &mut Call) -> Result<T, ApiError> {
    let (body, _room) = call
        .read_body(gateway, BODY_BYTES_MAX, "the management API")
        .await?;
    overspill_wire::json::scan(&body, overspill_wire::json::Rules::CLIENT).map_err(refused_json)?;
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&body);
    serde_json::from_slice(body).map_err(|error| misshapen(&error))
}

fn misshapen(error: &serde_json::Error) -> ApiError {
    ApiError::bad_request("body_invalid", shown_error(error))
        .hint("see the shape in docs/reference/api.md")
}

fn shown_error(error: &serde_json::Error) -> String {
    let text: String = error.to_string().chars().take(300).collect();
    format!("the body does not have the right shape: {text}")
}

/// `?limit=`.
fn limit(call: &Call, default: u32, most: u32) -> Result<u32, ApiError> {
    let Some(text) = call.query.get("limit") else {
        return Ok(default);
    };
    text.parse()
        .ok()
        .filter(|limit| (1..=most).contains(limit))
        .ok_or_else(|| {
            ApiError::bad_request(
                "limit_invalid",
                format!("limit must be from 1 to {most}, this is `{}`", shown(text)),
            )
            .field("limit")
        })
}
