//! `Idempotency-Key`: a submission that may be repeated.
//!
//! Submissions under one key go one after the other, so that the second one finds what the first
//! one stored. The store's own uniqueness is the last resort, not the rule.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use overspill_core::event::Idempotency;
use overspill_core::id::EndpointId;
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedMutexGuard;

use crate::gateway::call::Call;
use crate::gateway::error::ApiError;

type Name = (EndpointId, String);

/// Submissions with a key that are on their way.
#[derive(Default)]
pub(crate) struct InFlight {
    by_name: Arc<Mutex<HashMap<Name, Arc<tokio::sync::Mutex<()>>>>>,
}

/// The turn of one submission under its key.
pub(crate) struct Turn {
    by_name: Arc<Mutex<HashMap<Name, Arc<tokio::sync::Mutex<()>>>>>,
    name: Name,
    guard: Option<OwnedMutexGuard<()>>,
}

impl InFlight {
    /// Waits until no other submission under this key is on its way.
    pub(crate) async fn turn(&self, endpoint: EndpointId, key: &str) -> Turn {
        let name = (endpoint, key.to_owned());
        let lock = {
            let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(by_name.entry(name.clone()).or_default())
        };
        // Made before waiting: a request that goes away while it waits cleans up, too.
        let mut turn = Turn {
            by_name: Arc::clone(&self.by_name),
            name,
            guard: None,
        };
        turn.guard = Some(lock.lock_owned().await);
        turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.guard = None;
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if by_name
            .get(&self.name)
            .is_some_and(|lock| Arc::strong_count(lock) == 1)
        {
            by_name.remove(&self.name);
        }
    }
}

/// The key in a request's headers.
///
/// # Errors
/// 400 when it is empty, too long, not printable ASCII, or there are two.
pub(crate) fn key_of(call: &Call) -> Result<Option<String>, ApiError> {
    let mut values = call.headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    let is_valid = (1..=255).contains(&text.len())
        && text.bytes().all(|b| (0x20..0x7f).contains(&b))
        && values.next().is_none();
    if !is_valid {
        return Err(ApiError::bad_request(
            "idempotency_key_invalid",
            "Idempotency-Key must be one header of 1 to 255 printable ASCII characters",
        )
        .field("Idempotency-Key")
        .hint("a UUID is a good key"));
    }
    Ok(Some(text.to_owned()))
}

/// A key with the hash of its request.
#[must_use]
pub(crate) fn named(key: String, canonical: &[u8]) -> Idempotency {
    Idempotency {
        key,
        body_sha256: sha256_hex(canonical),
    }
}

/// SHA-256, hexadecimal.
#[must_use]
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::digest(bytes);
    digest
        .iter()
        .fold(String::with_capacity(64), |mut text, b| {
            let _ = write!(text, "{b:02x}");
            text
        })
}

/// 409: the key was used for something else.
#[must_use]
pub(crate) fn conflict(key: &str) -> ApiError {
    ApiError::new(
        http::StatusCode::CONFLICT,
        "idempotency_conflict",
        format!(
            "the Idempotency-Key `{}` was used with another body before",
            crate::gateway::error::shown(key)
        ),
    )
    .field("Idempotency-Key")
    .hint("use a fresh key for another request")
}
