//! The exchanges on management routes, kept so that whoever ran against the emulator can hold them against RunPod's
//! OpenAPI document.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header;
use serde::Serialize;

use crate::state::Shared;

/// Exchanges that are kept, the newest.
const KEPT: usize = 2_000;
/// The most bytes that are read of a request's body, as the listener's limit has it.
const BODY_BYTES_MAX: usize = 100_000_000;

/// A request and its answer.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Exchange {
    method: String,
    /// With its query.
    path: String,
    /// The request's body as text; empty without one.
    sent: String,
    status: u16,
    /// Lower-case names.
    headers: BTreeMap<String, String>,
    /// The answer's body as text; empty for a stream.
    received: String,
}

/// The newest exchanges, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Exchanges(Mutex<VecDeque<Exchange>>);

impl Exchanges {
    pub(crate) fn all(&self) -> Vec<Exchange> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().cloned().collect()
    }

    fn keep(&self, exchange: Exchange) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(exchange);
    }
}

/// Keeps what goes through.
pub(super) async fn keep(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let (method, path) = (parts.method.to_string(), parts.uri.to_string());
    // A body that breaks off is met by the route as one that is empty, and refused there.
    let sent = to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
    let request = Request::from_parts(parts, Body::from(sent.clone()));
    let response = next.run(request).await;
    let (parts, body) = response.into_parts();
    let kind = parts.headers.get(header::CONTENT_TYPE);
    let is_stream = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let (received, body) = if is_stream {
        (String::new(), body)
    } else {
        let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (text, Body::from(bytes))
    };
    shared.exchanges.keep(Exchange {
        method,
        path,
        sent: String::from_utf8_lossy(&sent).into_owned(),
        status: parts.status.as_u16(),
        headers: parts
            .headers
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            })
            .collect(),
        received,
    });
    Response::from_parts(parts, body)
}
