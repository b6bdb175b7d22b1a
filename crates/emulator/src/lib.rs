//! The emulated RunPod cloud: an HTTP face on the simulator's model of it.
//!
//! [`Emulator`] serves RunPod's data plane (`/v2/{endpoint}/…`), its worker protocol, and its management API
//! (`/v2/serverless…`, `/v2/catalog/…`, `/v2/billing/…`, the retired v1 under `/v1`, and the GraphQL calls that official tools still
//! make) on one listener, and its own control calls under `/emulator/`. Everything that happens happens in
//! [`overspill_sim::cloud`]; here are only HTTP, keys, held requests, the clock and processes.
//!
//! ```no_run
//! # async fn run() -> std::io::Result<()> {
//! use overspill_emulator::{Emulator, Options};
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let emulator = Emulator::new(Options::default());
//! let handle = emulator.clone();
//! tokio::spawn(async move { emulator.serve(listener, std::future::pending()).await });
//! println!("{}", handle.bill().total_usd);
//! # Ok(())
//! # }
//! ```

mod answer;
mod clock;
mod control;
mod data_plane;
mod legacy;
mod management;
mod openai;
mod options;
mod processes;
mod state;
mod templates;
mod waiters;
mod webhooks;
mod worker_protocol;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use overspill_sim::cloud::{CloudModel, Execution};
use tokio::net::TcpListener;

use answer::CallError;
use state::Shared;

pub use control::{Bill, EndpointBill};
pub use options::Options;

/// How long worker processes have to go when the emulator ends.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// An emulated cloud. Clones are handles on the same cloud.
#[derive(Debug, Clone)]
pub struct Emulator {
    shared: Arc<Shared>,
}

impl Emulator {
    /// A cloud without endpoints.
    #[must_use]
    pub fn new(options: Options) -> Self {
        // Webhooks may go to https; a provider that is installed already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let start_ms = options
            .start_ms
            .unwrap_or_else(|| jiff::Timestamp::now().as_millisecond());
        Self {
            shared: Arc::new(Shared::new(options, start_ms, reqwest::Client::new())),
        }
    }

    /// Serves the cloud until `shutdown` resolves; then open requests are cut and worker processes killed.
    ///
    /// # Errors
    /// The listener fails.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> io::Result<()> {
        let address = listener.local_addr()?;
        let url = self.shared.options.public_url.clone();
        self.shared.set_base_url(url.map_or_else(
            || format!("http://{address}"),
            |url| url.trim_end_matches('/').to_owned(),
        ));
        let router = self.router();
        tokio::select! {
            served = async { axum::serve(listener, router).await } => served?,
            () = Arc::clone(&self.shared).drive() => {}
            () = shutdown => {}
        }
        self.shared.processes.stop_all();
        let gone = async {
            while !self.shared.processes.is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // What is left after that is killed with this process's runtime.
        let _ = tokio::time::timeout(LAST_WAIT, gone).await;
        Ok(())
    }

    /// All routes, without a listener; time moves only while [`Self::serve`] runs or calls come in.
    pub fn router(&self) -> Router {
        let counted = Arc::clone(&self.shared);
        let count = move |request: Request, next: Next| {
            let route = request
                .extensions()
                .get::<MatchedPath>()
                .map_or("unmatched", MatchedPath::as_str);
            counted.count(format!("{} {route}", request.method()));
            next.run(request)
        };
        Router::new()
            .merge(data_plane::routes())
            .merge(worker_protocol::routes())
            .merge(management::routes(&self.shared))
            .merge(legacy::routes())
            .merge(control::routes())
            .fallback(not_found)
            .layer(axum::extract::DefaultBodyLimit::max(100_000_000))
            .layer(axum::middleware::from_fn(count))
            .with_state(Arc::clone(&self.shared))
    }

    /// What an invoice would say now.
    #[must_use]
    pub fn bill(&self) -> Bill {
        control::read_bill(&self.shared)
    }

    /// Every attempt so far, in order of start.
    #[must_use]
    pub fn executions(&self) -> Vec<Execution> {
        self.with_model(|model, now_ms| model.executions(now_ms).to_vec())
    }

    /// Requests so far by method and route template (`POST /v2/{endpoint}/run`).
    #[must_use]
    pub fn requests(&self) -> BTreeMap<String, u64> {
        self.shared.requests()
    }

    /// Routes of the management API that are served, as method and path template.
    #[must_use]
    pub fn management_routes() -> Vec<(&'static str, &'static str)> {
        let table = management::table();
        table
            .iter()
            .map(|(method, path, _)| (*method, *path))
            .collect()
    }

    /// Cloud time in milliseconds since the epoch.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.shared.clock.now_ms()
    }

    /// Skips cloud time; everything due in between happens.
    pub fn advance(&self, by: Duration) {
        self.shared
            .skip(u64::try_from(by.as_millis()).unwrap_or(u64::MAX));
    }

    /// A direct call of the model, for what has no route: endpoints under a chosen id, faults, counts.
    pub fn with_model<T>(&self, act: impl FnOnce(&mut CloudModel, i64) -> T) -> T {
        self.shared.call(act)
    }
}

async fn not_found(request: Request) -> Response {
    let text = format!(
        "{} {} is not served",
        request.method(),
        request.uri().path()
    );
    CallError::new(StatusCode::NOT_FOUND, text).into_response()
}
