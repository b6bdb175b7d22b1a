//! `/api/v1/keys`: make, list and revoke.

use std::sync::Arc;

use http::StatusCode;
use overspill_core::budget::{CapScope, Caps};
use overspill_core::id::KeyId;
use overspill_core::time::DurationMs;
use serde::Deserialize;
use serde_json::{Value, json};

use super::budget::{self, CapsPatch, check_cappable};
use super::read;
use crate::auth::key_text::KeyKind;
use crate::auth::keyring::Caller;
use crate::auth::keys::{self, KeyRecord, NewKey};
use crate::auth::scope::{Scope, Scopes};
use crate::engine::api::Unavailable;
use crate::gateway::Gateway;
use crate::gateway::body::{self, Reply};
use crate::gateway::call::Call;
use crate::gateway::error::{ApiError, shown};

/// Characters of a key's name at most.
const NAME_LENGTH_MAX: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    endpoints: Option<Vec<String>>,
    /// How long it is valid; for ever without it.
    #[serde(default)]
    expires_in_seconds: Option<u64>,
    /// Caps on what its jobs may spend in the cloud; none without it.
    #[serde(default)]
    budget: CapsPatch,
}

/// POST: a key, whose text is in this answer and nowhere else.
pub(crate) async fn create(gateway: &Arc<Gateway>, mut call: Call) -> Result<Reply, ApiError> {
    let wish: Create = read(gateway, &mut call).await?;
    let caller = call.caller.clone().unwrap_or_else(Caller::anyone);
    let caps = wish.budget.apply(Caps::default())?;
    let new = checked(gateway, &caller, wish)?;
    if !caps.is_empty() {
        check_cappable(new.scopes)?;
    }
    let engine = gateway.engine();
    let (record, text) = keys::mint(engine.server_secret(), new, engine.now());
    let id = record.id.clone();
    // First, so that there is no moment in which the key has none.
    if let Some(key) = KeyId::of(&id).filter(|_| !caps.is_empty()) {
        budget::set(gateway, &call, CapScope::Key(key), caps).await?;
    }
    engine
        .put_key(record)
        .await
        .map_err(|Unavailable| ApiError::unavailable())?;
    Ok(body::json_of(&json!({ "id": id, "key": text })))
}

/// What is asked for, if the caller may give it: a key mints only a part of itself.
fn checked(gateway: &Gateway, caller: &Caller, wish: Create) -> Result<NewKey, ApiError> {
    let name = wish.name.trim();
    let is_named = !name.is_empty()
        && name.chars().count() <= NAME_LENGTH_MAX
        && !name.chars().any(char::is_control);
    if !is_named {
        return Err(ApiError::bad_request(
            "name_invalid",
            format!("a key's name has 1 to {NAME_LENGTH_MAX} characters, none of them control characters"),
        )
        .field("name"));
    }
    let kind = match wish.kind.as_deref() {
        None | Some("user") => KeyKind::User,
        Some("guard") => KeyKind::Guard,
        Some(other) => {
            return Err(ApiError::bad_request(
                "kind_invalid",
                format!("keys of the kind `{}` are not made here", shown(other)),
            )
            .field("kind")
            .hint("use user or guard"));
        }
    };
    let mut scopes = Scopes::default();
    for word in &wish.scopes {
        let scope: Scope = word.parse().map_err(|_| {
            let known: Vec<&str> = Scope::ALL.iter().map(|scope| scope.word()).collect();
            ApiError::bad_request("scope_unknown", format!("`{}` is no scope", shown(word)))
                .field("scopes")
                .hint(format!("scopes are {}", known.join(", ")))
        })?;
        scopes.insert(scope);
    }
    if kind == KeyKind::Guard {
        let only: Scopes = [Scope::Guard].into_iter().collect();
        if !only.cover(scopes) || wish.endpoints.is_some() {
            return Err(ApiError::bad_request(
                "guard_key_may_only_ask",
                "a guard's key may ask whether the server lives and nothing else; leave `scopes` and \
                 `endpoints` out",
            )
            .field("scopes"));
        }
        scopes = only;
    } else if wish.scopes.is_empty() {
        // What an app needs.
        scopes = [Scope::JobsSubmit, Scope::JobsRead, Scope::JobsCancel]
            .into_iter()
            .collect();
    }
    if !caller.scopes.cover(scopes) {
        let beyond: Vec<&str> = scopes
            .iter()
            .filter(|scope| !caller.may(*scope))
            .map(Scope::word)
            .collect();
        return Err(escalation(format!(
            "this key cannot give what it does not have: {}",
            beyond.join(", ")
        )));
    }
    let endpoints = endpoints_of(gateway, caller, wish.endpoints)?;
    let expires_at = wish
        .expires_in_seconds
        .map(|seconds| gateway.engine().now() + DurationMs::from_secs(seconds));
    Ok(NewKey {
        name: name.to_owned(),
        kind,
        scopes,
        endpoints,
        expires_at,
    })
}

/// The endpoints of a new key, by their names.
fn endpoints_of(
    gateway: &Gateway,
    caller: &Caller,
    wish: Option<Vec<String>>,
) -> Result<Option<Vec<String>>, ApiError> {
    let Some(wish) = wish else {
        return match &caller.endpoints {
            None => Ok(None),
            Some(own) => Err(escalation(format!(
                "this key is for {} only, and cannot make one for all endpoints",
                own.join(", ")
            ))),
        };
    };
    let directory = gateway.engine().endpoints();
    let mut names = Vec::new();
    for name in wish {
        let entry = directory
            .find(&name)
            .filter(|entry| caller.sees(&entry.name))
            .ok_or_else(|| {
                ApiError::bad_request(
                    "endpoint_not_found",
                    format!("there is no endpoint `{}`", shown(&name)),
                )
                .field("endpoints")
            })?;
        if !names.contains(&entry.name) {
            names.push(entry.name.clone());
        }
    }
    Ok(Some(names))
}

fn escalation(message: String) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "scope_escalation", message)
        .hint("ask for less, or use a key that has more")
}

/// GET: all keys but revoked ones, without their texts.
pub(crate) async fn list(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let caller = call.caller.unwrap_or_else(Caller::anyone);
    let keys: Vec<Value> = gateway
        .engine()
        .keys()
        .iter()
        .filter(|key| key.revoked_at.is_none() && covers(&caller, key))
        .map(|key| {
            json!({
                "id": key.id,
                "name": key.name,
                "kind": key.kind,
                "scopes": key.scopes,
                "endpoints": key.endpoints,
                "created_at_ms": key.created_at.as_millis(),
                "expires_at_ms": key.expires_at.map(|at| at.as_millis()),
                "last_used_at_ms": key.last_used_at.map(|at| at.as_millis()),
            })
        })
        .collect();
    Ok(body::json_of(&json!({ "keys": keys })))
}

/// DELETE `{key}`: invalid from now on.
pub(crate) async fn revoke(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let id = call.params.first().map_or("", String::as_str);
    let caller = call.caller.clone().unwrap_or_else(Caller::anyone);
    let unknown = || {
        ApiError::not_found("key_not_found", format!("there is no key `{}`", shown(id)))
            .hint("list them with `overspill keys list`")
    };
    let keys = gateway.engine().keys();
    let is_known = keys.iter().any(|key| key.id == id && covers(&caller, key));
    if !is_known {
        return Err(unknown());
    }
    match gateway.engine().revoke_key(id.to_owned()).await {
        Ok(true) => Ok(body::json_of(&json!({ "id": id, "revoked": true }))),
        Ok(false) => Err(unknown()),
        Err(Unavailable) => Err(ApiError::unavailable()),
    }
}

/// Whether a key is a part of the caller's: others are none of its business.
pub(super) fn covers(caller: &Caller, key: &KeyRecord) -> bool {
    let scopes: Scopes = key
        .scopes
        .iter()
        .filter_map(|word| word.parse().ok())
        .collect();
    let has_endpoints = match (&caller.endpoints, &key.endpoints) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(own), Some(its)) => its.iter().all(|name| own.contains(name)),
    };
    caller.scopes.cover(scopes) && has_endpoints
}
