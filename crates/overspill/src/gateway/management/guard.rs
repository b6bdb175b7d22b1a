//! `/api/v1/guard`: a guard asks whether the server lives, and what there is to lower if it did not.
//!
//! The answer comes after a commit of the engine. A key that may do more than ask is told so, and is
//! not counted as a guard: what watches over the bill must not be able to raise it.

use std::sync::Arc;

use overspill_core::effect::Answer;
use overspill_core::event::Event;
use serde::Deserialize;
use serde_json::json;

use super::read;
use crate::auth::scope::Scope;
use crate::gateway::Gateway;
use crate::gateway::body::{self, Reply};
use crate::gateway::call::Call;
use crate::gateway::error::ApiError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {}

/// POST: `{}`.
pub(crate) async fn asks(gateway: &Arc<Gateway>, mut call: Call) -> Result<Reply, ApiError> {
    let Question {} = read(gateway, &mut call).await?;
    let scopes = call.caller.as_ref().map(|caller| caller.scopes);
    let more: Vec<&str> = scopes.map_or_else(Vec::new, |scopes| {
        let beyond = scopes.iter().filter(|scope| *scope != Scope::Guard);
        beyond.map(Scope::word).collect()
    });
    let installation = gateway.options().installation.clone();
    if !more.is_empty() {
        return Ok(body::json_of(&json!({
            "installation": installation, "guard_after_ms": 0, "endpoints": [], "key_may_more": more,
        })));
    }
    let ask = |request| Event::GuardSeen { request };
    match gateway.engine().ask(Vec::new(), Box::new(ask)).await {
        Answer::Guarded { after, endpoints } => Ok(body::json_of(&json!({
            "installation": installation, "guard_after_ms": after.as_millis(),
            "endpoints": endpoints, "key_may_more": more,
        }))),
        _ => Err(ApiError::unavailable()),
    }
}
