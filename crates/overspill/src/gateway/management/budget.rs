//! `/api/v1/budget`: caps on spending, with what stands against them; changed while the server runs.

use std::sync::Arc;

use http::StatusCode;
use overspill_core::budget::{CapScope, Caps};
use overspill_core::effect::Answer;
use overspill_core::event::Event;
use overspill_core::id::KeyId;
use overspill_core::money::NanoUsd;
use serde::{Deserialize, Deserializer};

use super::keys::covers;
use super::read;
use crate::auth::keyring::Caller;
use crate::auth::scope::{Scope, Scopes};
use crate::config::units::parse_money;
use crate::engine::api::Unavailable;
use crate::gateway::Gateway;
use crate::gateway::body::{self, Reply};
use crate::gateway::call::Call;
use crate::gateway::error::{ApiError, shown};
use crate::view::board::Board;
use crate::view::budget::Budget;

/// Scopes by which a key could lift its own cap, or spend what no job of it bears.
const UNCAPPABLE: [Scope; 4] = [
    Scope::Keys,
    Scope::BudgetWrite,
    Scope::EndpointsWrite,
    Scope::Admin,
];

/// Caps as a body gives them: what is absent stays, `null` takes a cap away.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CapsPatch {
    #[serde(default, deserialize_with = "given")]
    per_hour: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    per_day: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    per_month: Option<Option<String>>,
}

/// Tells `null` from what is absent.
#[expect(
    clippy::option_option,
    reason = "absent, null and a text are three things"
)]
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl CapsPatch {
    const fn is_empty(&self) -> bool {
        self.per_hour.is_none() && self.per_day.is_none() && self.per_month.is_none()
    }

    /// These caps, changed as the body says.
    pub(super) fn apply(&self, before: Caps) -> Result<Caps, ApiError> {
        let mut caps = before;
        let given = [
            ("per_hour", &self.per_hour, &mut caps.per_hour),
            ("per_day", &self.per_day, &mut caps.per_day),
            ("per_month", &self.per_month, &mut caps.per_month),
        ];
        for (field, text, cap) in given {
            if let Some(text) = text {
                *cap = text.as_deref().map(|text| money(text, field)).transpose()?;
            }
        }
        Ok(caps)
    }
}

fn money(text: &str, field: &'static str) -> Result<NanoUsd, ApiError> {
    parse_money(text).map_err(|said| {
        ApiError::bad_request("money_invalid", shown(&said))
            .field(field)
            .hint("write dollars as \"$5\" or \"$0.50\"; null takes the cap away")
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    #[serde(default)]
    endpoint: Option<String>,
    #[serde(default)]
    key: Option<String>,
    /// Back to what the file says.
    #[serde(default)]
    reset: bool,
    #[serde(default, deserialize_with = "given")]
    per_hour: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    per_day: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    per_month: Option<Option<String>>,
}

/// GET: every cap that the caller may see.
pub(crate) async fn show(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    Ok(body::json_of(&told(gateway, &call).await?))
}

/// PATCH: caps of everything, of an endpoint or of a key, in force at once.
pub(crate) async fn patch(gateway: &Arc<Gateway>, mut call: Call) -> Result<Reply, ApiError> {
    let wish: Patch = read(gateway, &mut call).await?;
    let scope = scope(gateway, &call, &wish)?;
    let caps = CapsPatch {
        per_hour: wish.per_hour,
        per_day: wish.per_day,
        per_month: wish.per_month,
    };
    if caps.is_empty() != wish.reset {
        let message = if wish.reset {
            "reset goes without caps"
        } else {
            "no cap is given"
        };
        let hint = "send {\"per_day\":\"$5\"}, null to take a cap away, or {\"reset\":true}";
        return Err(ApiError::bad_request("caps_missing", message).hint(hint));
    }
    // One after the other: what is not given stays as the one before left it.
    let _turn = gateway.budget_turn.lock().await;
    let board = board(gateway)?;
    let in_force = board.caps(scope).await;
    let (before, file) = in_force.map_err(|Unavailable| ApiError::unavailable())?;
    let wanted = if wish.reset {
        file
    } else {
        caps.apply(before)?
    };
    set(gateway, &call, scope, wanted).await?;
    Ok(body::json_of(&told(gateway, &call).await?))
}

/// Puts caps in force.
pub(super) async fn set(
    gateway: &Gateway,
    call: &Call,
    scope: CapScope,
    caps: Caps,
) -> Result<(), ApiError> {
    let by = call.by();
    let ask = move |request| Event::CapsSet {
        request,
        scope,
        caps,
        by,
    };
    match gateway.engine().ask(Vec::new(), Box::new(ask)).await {
        Answer::CapsSet { .. } => Ok(()),
        Answer::CapsRefused { reason, .. } => Err(ApiError::bad_request("caps_invalid", reason)
            .hint("a cap of a shorter time is at most that of a longer one")),
        Answer::NotFound => Err(ApiError::not_found(
            "endpoint_not_found",
            "the endpoint was removed",
        )),
        _ => Err(ApiError::unavailable()),
    }
}

/// Whether a key with these scopes can have caps of its own.
pub(super) fn check_cappable(scopes: Scopes) -> Result<(), ApiError> {
    let beyond: Vec<&str> = UNCAPPABLE
        .into_iter()
        .filter(|scope| scopes.allow(*scope))
        .map(Scope::word)
        .collect();
    if beyond.is_empty() {
        return Ok(());
    }
    let message = format!(
        "a key that may do {} could get around a cap of its own, so it cannot have one",
        beyond.join(", ")
    );
    Err(ApiError::bad_request("key_not_cappable", message)
        .hint("give the app a key of its own with jobs:submit, jobs:read and jobs:cancel"))
}

/// Whose caps are to be changed, if the caller may.
fn scope(gateway: &Gateway, call: &Call, wish: &Patch) -> Result<CapScope, ApiError> {
    let caller = call.caller.clone().unwrap_or_else(Caller::anyone);
    let is_limited = caller.endpoints.is_some();
    match (&wish.endpoint, &wish.key) {
        (Some(_), Some(_)) => Err(ApiError::bad_request(
            "scope_invalid",
            "endpoint and key are given; a cap is on one of them, or on everything",
        )
        .field("key")),
        (Some(name), None) => {
            let directory = gateway.engine().endpoints();
            let entry = directory
                .find(name)
                .filter(|entry| caller.sees(&entry.name));
            let entry = entry.ok_or_else(|| {
                let message = format!("there is no endpoint `{}`", shown(name));
                ApiError::not_found("endpoint_not_found", message).field("endpoint")
            })?;
            Ok(CapScope::Endpoint(entry.id))
        }
        (None, Some(id)) => {
            let keys = gateway.engine().keys();
            let is_live = |key: &&crate::auth::keys::KeyRecord| {
                key.id == *id && key.revoked_at.is_none() && covers(&caller, key)
            };
            let key = keys.iter().find(is_live);
            let (key, number) = key.zip(KeyId::of(id)).ok_or_else(|| {
                let message = format!("there is no key `{}`", shown(id));
                ApiError::not_found("key_not_found", message)
                    .field("key")
                    .hint("list them with `overspill keys list`")
            })?;
            let words = key.scopes.iter();
            check_cappable(words.filter_map(|word| word.parse().ok()).collect())?;
            Ok(CapScope::Key(number))
        }
        (None, None) if is_limited => Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "key_limited",
            "these caps are on everything, and the key is for some endpoints only",
        )
        .hint("name one of its endpoints")),
        (None, None) => Ok(CapScope::Everything),
    }
}

/// What the caller may see of all caps: those of its endpoints, its own, and with the right to list
/// keys, those of keys.
async fn told(gateway: &Gateway, call: &Call) -> Result<Budget, ApiError> {
    let caller = call.caller.clone().unwrap_or_else(Caller::anyone);
    let board = board(gateway)?;
    let look = board.budget().await;
    let look = look.map_err(|Unavailable| ApiError::unavailable())?;
    let directory = gateway.engine().endpoints();
    let keys = gateway.engine().keys();
    let key_of = |id: KeyId| {
        let id = id.to_string();
        keys.iter().find(|key| key.id == id)
    };
    let name_of = |id| Some(directory.get(id)?.name.clone());
    let sees = |scope| match scope {
        CapScope::Everything => caller.endpoints.is_none(),
        CapScope::Endpoint(id) => name_of(id).is_some_and(|name| caller.sees(&name)),
        CapScope::Key(id) => {
            call.key() == Some(id)
                || (caller.may(Scope::Keys) && key_of(id).is_none_or(|key| covers(&caller, key)))
        }
    };
    let zone = board.settings().time_zone.clone();
    Ok(look.told(&zone, sees, name_of, |id| Some(key_of(id)?.name.clone())))
}

fn board(gateway: &Gateway) -> Result<&Arc<Board>, ApiError> {
    gateway.board.as_ref().ok_or_else(ApiError::unavailable)
}
