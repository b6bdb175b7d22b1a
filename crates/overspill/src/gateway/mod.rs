//! HTTP at the edge: clients, workers and management speak to the engine through here.
//!
//! The gateway translates RunPod's words into the core's and back; it decides nothing about jobs
//! and holds no state that must survive. Payloads pass through as the bytes they came in. Waiting
//! clients are held here, and woken by committed changes.
//!
//! **Map.** [`server`]: connections, time-outs, drain. [`route`]: the table of all routes.
//! [`call`]: one request with its caller. [`clients`], [`workers`], [`management`]: what routes do.

pub mod body;
pub mod call;
pub mod clients;
pub mod delivery;
pub mod error;
mod hook;
pub mod host;
mod ids;
pub mod limits;
pub mod management;
mod memory;
pub mod options;
mod page;
pub mod query;
pub mod route;
pub mod server;
pub mod session;
pub mod webhook_url;
pub mod workers;

use std::sync::Arc;

use http::{HeaderValue, Method, Request, header};
use hyper::body::Incoming;
use overspill_core::time::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::auth::failures::Failures;
use crate::auth::keyring::Keyring;
use crate::dashboard;
use crate::engine::api::Engine;
use crate::view::board::Board;

use body::{Body, Reply};
use call::Call;
use error::{ApiError, ErrorForm};
use memory::{Memory, Room};
pub use options::{GatewayOptions, Holds, ShownEndpoint};
use route::{Access, Found, Operation, Route};
use server::Peer;

/// Everything that requests share.
pub struct Gateway {
    /// What the gateway speaks for.
    engine: Arc<dyn Engine>,
    options: GatewayOptions,
    keyring: Keyring,
    failures: Failures,
    ended_sessions: crate::auth::session::Ended,
    /// What the dashboard shows; a gateway without one has no such pages.
    board: Option<Arc<Board>>,
    /// Caps are changed one after the other.
    budget_turn: tokio::sync::Mutex<()>,
    ids: ids::Ids,
    limits: limits::Limits,
    windows: management::windows::Windows,
    readers: clients::stream::Readers,
    submissions: clients::idempotency::InFlight,
    strangers: workers::Strangers,
    memory: Memory,
    /// When it began to serve.
    started_at: Timestamp,
    /// Cancelled when the server is about to stop: held requests are answered at once.
    drain: CancellationToken,
}

impl Gateway {
    /// A gateway before this engine.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>, options: GatewayOptions) -> Arc<Self> {
        Self::with_board(engine, options, None)
    }

    /// The same, with what the dashboard shows.
    #[must_use]
    pub fn with_board(
        engine: Arc<dyn Engine>,
        options: GatewayOptions,
        board: Option<Arc<Board>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            board,
            budget_turn: tokio::sync::Mutex::default(),
            ended_sessions: crate::auth::session::Ended::default(),
            started_at: engine.now(),
            memory: Memory::new(options.memory_bytes_max),
            engine,
            options,
            keyring: Keyring::default(),
            failures: Failures::default(),
            ids: ids::Ids::default(),
            limits: limits::Limits::default(),
            windows: management::windows::Windows::default(),
            readers: clients::stream::Readers::default(),
            submissions: clients::idempotency::InFlight::default(),
            strangers: workers::Strangers::default(),
            drain: CancellationToken::new(),
        })
    }

    /// Answers one request.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Reply {
        let request_id = self.ids.request_id();
        let path = request.uri().path();
        let is_serverless = path == "/v2/serverless" || path.starts_with("/v2/serverless/");
        let form = if is_serverless || path.starts_with("/api/") {
            ErrorForm::Problem
        } else {
            ErrorForm::Flat
        };
        let is_head = request.method() == Method::HEAD;
        let mut marks = Marks::default();
        let result = self.routed(request, peer, &request_id, &mut marks).await;
        let fits = |reply: Reply| {
            let length = http_body::Body::size_hint(reply.body()).exact();
            let room = match self.memory.for_answer(length.unwrap_or(0)) {
                Ok(room) => room,
                Err(error) if marks.can_repeat => return Err(error),
                // What it says is said once: a job that was handed out, chunks that were drained, the result of a
                // job that would run again.
                Err(_) => Room::default(),
            };
            Ok(reply.map(|body| body.lasting(room)))
        };
        let result = result.and_then(fits);
        let mut reply = result.unwrap_or_else(|error| error.reply(form, &request_id));
        let headers = reply.headers_mut();
        if is_serverless {
            marks.windows.unwrap_or_default().state_in(headers);
        }
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        headers
            .entry(header::CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
        if let Some(origin) = marks.origin {
            page::allow(headers, origin);
        }
        if marks.closes_connection {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if is_head {
            reply = reply.map(|_| Body::default());
        }
        reply
    }

    async fn routed(
        self: &Arc<Self>,
        request: Request<Incoming>,
        peer: Peer,
        request_id: &str,
        marks: &mut Marks,
    ) -> Result<Reply, ApiError> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let is_page = page::has_token(path, parts.uri.query());
        marks.origin = self
            .options
            .hosts
            .check(&parts.headers, peer.local.ip(), is_page)?;
        if is_page && parts.method == Method::OPTIONS && marks.origin.is_some() {
            return Ok(page::preflight());
        }
        let mut segments = Vec::with_capacity(6);
        if path.len() <= PATH_LENGTH_MAX {
            for segment in path.split('/').skip(1) {
                segments.push(query::decoded_segment(segment).ok_or_else(no_route)?);
            }
        }
        let path_key = take_path_key(&mut segments);
        let (route, params): (&'static Route, _) = match route::find(&parts.method, &segments) {
            Found::Route { route, params } => (route, params),
            Found::OtherMethods(allowed) => return Err(wrong_method(&parts.method, &allowed)),
            Found::Nothing if parts.method == Method::TRACE => {
                return Err(wrong_method(&parts.method, &[&Method::GET]));
            }
            Found::Nothing => return Err(no_route()),
        };
        let is_worker = route.access == Access::Worker;
        marks.can_repeat = match route.operation {
            Operation::Status | Operation::StatusSync => true,
            Operation::Stream | Operation::OpenAi => false,
            _ => parts.method == Method::GET && !is_worker,
        };
        if is_worker && workers::is_runpod_sdk(&parts.headers) {
            marks.closes_connection = true;
        }
        let mut call = Call {
            query: query::Query::parse(parts.uri.query().unwrap_or_default()),
            method: parts.method,
            headers: parts.headers,
            params,
            body: Some(body),
            caller: None,
            path_key,
            peer,
            closes: marks.closes_connection,
            request_id: request_id.to_owned(),
        };
        call.caller = match route.access {
            Access::Key(scope) => Some(self.authorise(&call, scope)?),
            Access::KeyOrJobToken(scope) => Some(self.authorise_job(&call, scope)?),
            Access::Open | Access::Worker | Access::Token => None,
        };
        if let Some(caller) = &call.caller
            && route.path.starts_with("/v2/serverless")
        {
            let state = self.windows.count(&caller.key_id, self.engine.now());
            let state = marks.windows.insert(state);
            if limits::applies_to(self, &call) {
                state.check()?;
            }
        }
        let open = limits::admit(self, &call, route.operation).await?;
        let reply = self.operate(route.operation, call).await?;
        Ok(match open {
            Some(open) => reply.map(|body| body.lasting(open)),
            None => reply,
        })
    }

    async fn operate(
        self: &Arc<Self>,
        operation: Operation,
        call: Call,
    ) -> Result<Reply, ApiError> {
        // Each future is boxed, so that one connection's task is not as large as the largest.
        macro_rules! of {
            ($handler:expr) => {
                Box::pin($handler).await
            };
        }
        match operation {
            Operation::CloudHook => of!(hook::from_runpod(self, call)),
            Operation::Run => of!(clients::submit::run(self, call)),
            Operation::RunSync => of!(clients::submit::run_sync(self, call)),
            Operation::Status => of!(clients::status::status(self, call)),
            Operation::StatusSync => of!(clients::status::status_sync(self, call)),
            Operation::Stream => of!(clients::stream::stream(self, call)),
            Operation::Cancel => of!(clients::control::cancel(self, call)),
            Operation::Retry => of!(clients::control::retry(self, call)),
            Operation::PurgeQueue => of!(clients::control::purge_queue(self, call)),
            Operation::Health => of!(clients::health::health(self, call)),
            Operation::Requests => of!(clients::health::requests(self, call)),
            Operation::EndpointMetrics => of!(clients::health::metrics(self, call)),
            Operation::OpenAi => of!(clients::openai::openai(self, call)),
            Operation::TakeOne => of!(workers::take::take_one(self, call)),
            Operation::TakeBatch => of!(workers::take::take_batch(self, call)),
            Operation::StopSignals => of!(workers::stop::stop_signals(self, call)),
            Operation::JobDone => of!(workers::post::job_done(self, call)),
            Operation::JobStream => of!(workers::post::job_stream(self, call)),
            Operation::Ping => of!(workers::ping::ping(self, call)),
            Operation::ServerlessList => of!(management::serverless::list(self, call)),
            Operation::ServerlessShow => of!(management::serverless::show(self, call)),
            Operation::ServerlessPatch => of!(management::serverless::patch(self, call)),
            Operation::ServerlessWorkers => of!(management::serverless::workers(self, call)),
            Operation::ServerlessReleases => of!(management::serverless::releases(self, call)),
            Operation::EndpointList => of!(management::endpoints::list(self, call)),
            Operation::EndpointShow => of!(management::endpoints::show(self, call)),
            Operation::EndpointPatch => of!(management::endpoints::patch(self, call)),
            Operation::JobList => of!(management::jobs::list(self, call)),
            Operation::JobShow => of!(management::jobs::show(self, call)),
            Operation::JobEvents => of!(management::events::events(self, call)),
            Operation::JobToken => of!(management::events::token(self, call)),
            Operation::KeyCreate => of!(management::keys::create(self, call)),
            Operation::KeyList => of!(management::keys::list(self, call)),
            Operation::KeyRevoke => of!(management::keys::revoke(self, call)),
            Operation::GuardAsks => of!(management::guard::asks(self, call)),
            Operation::WebhookList => of!(management::webhooks::list(self, call)),
            Operation::WebhookShow => of!(management::webhooks::show(self, call)),
            Operation::WebhookReplay => of!(management::webhooks::replay(self, call)),
            Operation::WebhookSecret => of!(management::webhooks::secret(self, call)),
            Operation::WebhookRotate => of!(management::webhooks::rotate(self, call)),
            Operation::SessionShow => of!(session::show(self, call)),
            Operation::SessionBegin => of!(session::begin(self, call)),
            Operation::SessionEnd => of!(session::end(self, call)),
            Operation::Overview => of!(management::board::overview(self, call)),
            Operation::Live => of!(management::board::live(self, call)),
            Operation::Series => of!(management::board::series(self, call)),
            Operation::Pools => of!(management::board::pools(self, call)),
            Operation::Gpus => of!(management::board::gpus(self, call)),
            Operation::DeviceReturn => of!(management::devices::give_back(self, call)),
            Operation::WhyJob => of!(management::why::job(self, call)),
            Operation::WhyScale => of!(management::why::scale(self, call)),
            Operation::Doctor => of!(management::board::doctor(self, call)),
            Operation::TimeLine => of!(management::board::time_line(self, call)),
            Operation::BudgetShow => of!(management::budget::show(self, call)),
            Operation::BudgetPatch => of!(management::budget::patch(self, call)),
            Operation::Cost => of!(management::cost::show(self, call)),
            Operation::Spending => of!(management::board::spending(self, call)),
            Operation::Settings => of!(management::board::settings(self, call)),
            Operation::Metrics => of!(management::board::metrics(self, call)),
            Operation::JobPayload => of!(management::payloads::show(self, call)),
            Operation::DashboardPage => {
                dashboard::file("index.html", &call.headers).ok_or_else(no_route)
            }
            Operation::DashboardAsset => {
                let name = format!("assets/{}", call.params[0]);
                dashboard::file(&name, &call.headers).ok_or_else(no_route)
            }
            Operation::Livez => Ok(body::json("{\"status\":\"ok\"}")),
            Operation::Readyz => self.readyz(),
        }
    }

    fn readyz(&self) -> Result<Reply, ApiError> {
        if self.drain.is_cancelled() {
            return Err(ApiError::draining());
        }
        match self.engine.is_ready() {
            Ok(()) => Ok(body::json("{\"status\":\"ready\"}")),
            Err(reason) => {
                Err(
                    ApiError::new(http::StatusCode::SERVICE_UNAVAILABLE, "not_ready", reason)
                        .retry_after(1),
                )
            }
        }
    }

    /// The engine that requests are put to.
    pub(crate) fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// What is set once for all requests.
    #[must_use]
    pub fn options(&self) -> &GatewayOptions {
        &self.options
    }
}

/// What an answer must carry whatever becomes of its request.
#[derive(Default)]
struct Marks {
    /// It closes its connection: its worker would lose a result on a stale one.
    closes_connection: bool,
    /// Whoever asks can ask again, and is told the same.
    can_repeat: bool,
    /// A page of this other origin may read the answer.
    origin: Option<HeaderValue>,
    /// What remains of the caller's calls of RunPod's management API.
    windows: Option<management::windows::State>,
}

/// Longer paths lead nowhere.
const PATH_LENGTH_MAX: usize = 4_096;

/// Cuts `/w/{key}` off the front: a worker's key, where its header cannot be relied on.
fn take_path_key(segments: &mut Vec<String>) -> Option<String> {
    if segments.len() > 2 && segments[0] == "w" {
        return segments.drain(..2).nth(1);
    }
    None
}

fn no_route() -> ApiError {
    ApiError::not_found("route_not_found", "there is nothing at this path")
        .hint("jobs are sent to /v2/{endpoint}/run; management is under /api/v1/")
}

fn wrong_method(method: &Method, allowed: &[&Method]) -> ApiError {
    let mut names: Vec<&str> = allowed.iter().map(|method| method.as_str()).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    let list = names.join(", ");
    let message = format!(
        "{} is not possible at this path",
        error::shown(method.as_str())
    );
    let error = ApiError::new(
        http::StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    )
    .hint(format!("use {list}"));
    match HeaderValue::from_str(&list) {
        Ok(value) => error.header(header::ALLOW, value),
        Err(_) => error,
    }
}

#[cfg(test)]
pub(crate) use ids::seed_ids;

#[cfg(test)]
mod tests;
