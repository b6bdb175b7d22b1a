//! A small cloud that misbehaves, for tests: one handler, port 0, and a record of what it was asked.

use super::client::{Account, DataPlane, Timeouts};
use super::clock::{Clock, SystemClock};
use super::limits::Limiter;
use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: http::HeaderMap,
    pub(super) body: bytes::Bytes,
}

/// A server on loopback; ends with the test's runtime.
#[derive(Debug)]
pub(super) struct FakeCloud {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl FakeCloud {
    /// Answers every request by `answer`.
    pub(super) async fn start<A, F, R>(answer: A) -> Self
    where
        A: Fn(Seen) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = R> + Send,
        R: IntoResponse,
    {
        super::tls::install_provider();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&seen);
        let handler = move |request: Request| {
            let (answer, record) = (answer.clone(), Arc::clone(&record));
            async move {
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                let one = Seen {
                    method: parts.method.to_string(),
                    path: parts.uri.path_and_query().unwrap().to_string(),
                    headers: parts.headers,
                    body,
                };
                record.lock().unwrap().push(one.clone());
                let response: Response = answer(one).await.into_response();
                response
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await });
        Self { address, seen }
    }

    /// Everything asked so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn data_plane(&self) -> DataPlane {
        data_plane(self.address)
    }

    /// The same on a clock of the test's own.
    pub(super) fn data_plane_on(&self, clock: Arc<dyn Clock>) -> DataPlane {
        DataPlane::new(
            &account(self.address),
            timeouts(),
            Arc::new(Limiter::new(clock)),
        )
        .unwrap()
    }

    /// One that waits no longer than this for anything.
    pub(super) fn impatient_data_plane(&self, limit: Duration) -> DataPlane {
        let timeouts = Timeouts {
            submit: limit,
            call: limit,
            ..timeouts()
        };
        let limiter = Arc::new(Limiter::new(Arc::new(SystemClock::start())));
        DataPlane::new(&self.account(), timeouts, limiter).unwrap()
    }

    pub(super) fn account(&self) -> Account {
        account(self.address)
    }
}

pub(super) fn account(address: SocketAddr) -> Account {
    Account {
        base_url: format!("http://{address}/v2"),
        api_key: "test-key-0123456789".into(),
        installation: "inst-test".to_owned(),
    }
}

pub(super) fn timeouts() -> Timeouts {
    Timeouts {
        connect: Duration::from_secs(5),
        submit: Duration::from_secs(20),
        call: Duration::from_secs(20),
    }
}

pub(super) fn data_plane(address: SocketAddr) -> DataPlane {
    super::tls::install_provider();
    let limiter = Arc::new(Limiter::new(Arc::new(SystemClock::start())));
    DataPlane::new(&account(address), timeouts(), limiter).unwrap()
}
