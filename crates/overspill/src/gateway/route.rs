//! The table of all routes: each with its methods, its path, and who may use it.
//!
//! A route cannot be written down without its [`Access`]; what is not in the table is a 404, and
//! what a scope does not allow is denied.

use http::Method;

use crate::auth::scope::Scope;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everyone, without a key.
    Open,
    /// Who has a key with this scope.
    Key(Scope),
    /// Who has a key with this scope, or a token of the path's job.
    KeyOrJobToken(Scope),
    /// A worker of ours, with its own key.
    Worker,
    /// RunPod, by a token in the path that we gave it.
    Token,
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the table below says it with paths")]
pub enum Operation {
    Run,
    RunSync,
    Status,
    StatusSync,
    Stream,
    Cancel,
    Retry,
    PurgeQueue,
    Health,
    Requests,
    EndpointMetrics,
    OpenAi,
    TakeOne,
    TakeBatch,
    StopSignals,
    JobDone,
    JobStream,
    Ping,
    ServerlessList,
    ServerlessShow,
    ServerlessPatch,
    ServerlessWorkers,
    ServerlessReleases,
    EndpointList,
    EndpointShow,
    EndpointPatch,
    JobList,
    JobShow,
    JobEvents,
    JobToken,
    KeyCreate,
    KeyList,
    KeyRevoke,
    GuardAsks,
    WebhookList,
    WebhookShow,
    WebhookReplay,
    WebhookSecret,
    WebhookRotate,
    SessionShow,
    SessionBegin,
    SessionEnd,
    Overview,
    Live,
    Series,
    Pools,
    Gpus,
    DeviceReturn,
    TimeLine,
    WhyJob,
    WhyScale,
    Doctor,
    Spending,
    Cost,
    BudgetShow,
    BudgetPatch,
    Settings,
    Metrics,
    CloudHook,
    JobPayload,
    DashboardPage,
    DashboardAsset,
    Livez,
    Readyz,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// HEAD is answered wherever GET is.
    pub methods: &'static [Method],
    /// `{name}` takes one segment, `{*name}` all that are left (one at least).
    pub path: &'static str,
    /// What it does.
    pub operation: Operation,
    /// Who may use it.
    pub access: Access,
}

const GET: &[Method] = &[Method::GET];
const POST: &[Method] = &[Method::POST];
/// Users of the SDK's development server poll with POST.
const GET_OR_POST: &[Method] = &[Method::GET, Method::POST];
const PATCH: &[Method] = &[Method::PATCH];
const DELETE: &[Method] = &[Method::DELETE];

const fn route(
    methods: &'static [Method],
    path: &'static str,
    operation: Operation,
    access: Access,
) -> Route {
    Route {
        methods,
        path,
        operation,
        access,
    }
}

/// All routes.
#[rustfmt::skip]
pub const ROUTES: &[Route] = {
    use Access::{Key, KeyOrJobToken, Open, Token, Worker};
    use Operation as Op;
    use Scope as S;
    &[
        route(GET, "/v2/serverless", Op::ServerlessList, Key(S::JobsRead)),
        route(GET, "/v2/serverless/{endpoint}", Op::ServerlessShow, Key(S::JobsRead)),
        route(PATCH, "/v2/serverless/{endpoint}", Op::ServerlessPatch, Key(S::EndpointsWrite)),
        route(GET, "/v2/serverless/{endpoint}/workers", Op::ServerlessWorkers, Key(S::Workers)),
        route(GET, "/v2/serverless/{endpoint}/releases", Op::ServerlessReleases, Key(S::JobsRead)),
        route(POST, "/v2/{endpoint}/run", Op::Run, Key(S::JobsSubmit)),
        route(POST, "/v2/{endpoint}/runsync", Op::RunSync, Key(S::JobsSubmit)),
        route(GET_OR_POST, "/v2/{endpoint}/status/{job}", Op::Status, Key(S::JobsRead)),
        route(GET_OR_POST, "/v2/{endpoint}/status-sync/{job}", Op::StatusSync, Key(S::JobsRead)),
        route(GET_OR_POST, "/v2/{endpoint}/stream/{job}", Op::Stream, Key(S::JobsRead)),
        route(POST, "/v2/{endpoint}/cancel/{job}", Op::Cancel, Key(S::JobsCancel)),
        route(POST, "/v2/{endpoint}/retry/{job}", Op::Retry, Key(S::JobsSubmit)),
        route(POST, "/v2/{endpoint}/purge-queue", Op::PurgeQueue, Key(S::QueuePurge)),
        route(GET, "/v2/{endpoint}/health", Op::Health, Key(S::JobsRead)),
        route(GET, "/v2/{endpoint}/requests", Op::Requests, Key(S::JobsRead)),
        route(GET, "/v2/{endpoint}/metrics", Op::EndpointMetrics, Key(S::JobsRead)),
        route(GET_OR_POST, "/v2/{endpoint}/openai/{*route}", Op::OpenAi, Key(S::JobsSubmit)),
        route(GET, "/v2/{endpoint}/job-take/{worker}", Op::TakeOne, Worker),
        route(GET, "/v2/{endpoint}/job-take-batch/{worker}", Op::TakeBatch, Worker),
        route(GET, "/v2/{endpoint}/job-stop/{worker}", Op::StopSignals, Worker),
        route(POST, "/v2/{endpoint}/job-done/{worker}/{job}", Op::JobDone, Worker),
        route(POST, "/v2/{endpoint}/job-stream/{worker}/{job}", Op::JobStream, Worker),
        route(GET, "/v2/{endpoint}/ping/{worker}", Op::Ping, Worker),
        route(GET, "/api/v1/endpoints", Op::EndpointList, Key(S::JobsRead)),
        route(GET, "/api/v1/endpoints/{endpoint}", Op::EndpointShow, Key(S::JobsRead)),
        route(PATCH, "/api/v1/endpoints/{endpoint}", Op::EndpointPatch, Key(S::EndpointsWrite)),
        route(GET, "/api/v1/jobs", Op::JobList, Key(S::JobsRead)),
        route(GET, "/api/v1/jobs/{job}", Op::JobShow, Key(S::JobsRead)),
        route(GET, "/api/v1/jobs/{job}/events", Op::JobEvents, KeyOrJobToken(S::JobsRead)),
        route(POST, "/api/v1/jobs/{job}/token", Op::JobToken, Key(S::JobsRead)),
        route(GET, "/api/v1/jobs/{job}/{payload}", Op::JobPayload, KeyOrJobToken(S::JobsRead)),
        route(POST, "/api/v1/keys", Op::KeyCreate, Key(S::Keys)),
        route(GET, "/api/v1/keys", Op::KeyList, Key(S::Keys)),
        route(DELETE, "/api/v1/keys/{key}", Op::KeyRevoke, Key(S::Keys)),
        route(POST, "/api/v1/guard", Op::GuardAsks, Key(S::Guard)),
        route(GET, "/api/v1/webhooks", Op::WebhookList, Key(S::JobsRead)),
        route(GET, "/api/v1/webhooks/{webhook}", Op::WebhookShow, Key(S::JobsRead)),
        route(POST, "/api/v1/webhooks/{webhook}/replay", Op::WebhookReplay, Key(S::JobsSubmit)),
        route(GET, "/api/v1/webhook-secrets/{endpoint}", Op::WebhookSecret, Key(S::Keys)),
        route(POST, "/api/v1/webhook-secrets/{endpoint}/rotate", Op::WebhookRotate, Key(S::Keys)),
        route(GET, "/api/v1/overview", Op::Overview, Key(S::JobsRead)),
        route(GET, "/api/v1/live", Op::Live, Key(S::JobsRead)),
        route(GET, "/api/v1/series", Op::Series, Key(S::JobsRead)),
        route(GET, "/api/v1/pools", Op::Pools, Key(S::Workers)),
        route(GET, "/api/v1/gpus", Op::Gpus, Key(S::JobsRead)),
        route(POST, "/api/v1/devices/{device}/return", Op::DeviceReturn, Key(S::Workers)),
        route(GET, "/api/v1/decisions", Op::TimeLine, Key(S::JobsRead)),
        route(GET, "/api/v1/why/job/{job}", Op::WhyJob, Key(S::JobsRead)),
        route(GET, "/api/v1/why/scale/{endpoint}", Op::WhyScale, Key(S::JobsRead)),
        route(GET, "/api/v1/doctor", Op::Doctor, Key(S::JobsRead)),
        route(GET, "/api/v1/spending", Op::Spending, Key(S::JobsRead)),
        route(GET, "/api/v1/cost", Op::Cost, Key(S::JobsRead)),
        route(GET, "/api/v1/budget", Op::BudgetShow, Key(S::JobsRead)),
        route(PATCH, "/api/v1/budget", Op::BudgetPatch, Key(S::BudgetWrite)),
        route(GET, "/api/v1/settings", Op::Settings, Key(S::Admin)),
        route(GET, "/api/v1/session", Op::SessionShow, Open),
        route(POST, "/api/v1/session", Op::SessionBegin, Key(S::JobsRead)),
        route(DELETE, "/api/v1/session", Op::SessionEnd, Key(S::JobsRead)),
        route(POST, "/hooks/runpod/{token}", Op::CloudHook, Token),
        route(GET, "/metrics", Op::Metrics, Key(S::JobsRead)),
        route(GET, "/", Op::DashboardPage, Open),
        route(GET, "/assets/{file}", Op::DashboardAsset, Open),
        route(GET, "/livez", Op::Livez, Open),
        route(GET, "/readyz", Op::Readyz, Open),
    ]
};

/// What a method and a path lead to.
#[derive(Debug)]
pub enum Found {
    /// A route, with what its placeholders took.
    Route {
        /// The line of the table.
        route: &'static Route,
        /// In the order of the path.
        params: Vec<String>,
    },
    /// The path exists for these methods only.
    OtherMethods(Vec<&'static Method>),
    /// There is no such path.
    Nothing,
}

/// Looks a path up; `segments` are decoded.
#[must_use]
pub fn find(method: &Method, segments: &[String]) -> Found {
    let mut others: Vec<&'static Method> = Vec::new();
    for route in ROUTES {
        let Some(params) = matched(route.path, segments) else {
            continue;
        };
        let is_head = method == Method::HEAD && route.methods.contains(&Method::GET);
        if is_head || route.methods.contains(method) {
            return Found::Route { route, params };
        }
        for method in route.methods {
            if !others.contains(&method) {
                others.push(method);
            }
        }
    }
    if others.is_empty() {
        Found::Nothing
    } else {
        Found::OtherMethods(others)
    }
}

fn matched(path: &str, segments: &[String]) -> Option<Vec<String>> {
    let mut params = Vec::new();
    let mut given = segments.iter();
    for wanted in path.split('/').skip(1) {
        if wanted.starts_with("{*") {
            let rest: Vec<&str> = given.by_ref().map(String::as_str).collect();
            if rest.is_empty() {
                return None;
            }
            params.push(rest.join("/"));
            return Some(params);
        }
        let segment = given.next()?;
        if wanted.starts_with('{') {
            if segment.is_empty() {
                return None;
            }
            params.push(segment.clone());
        } else if wanted != segment {
            return None;
        }
    }
    given.next().is_none().then_some(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(path: &str) -> Vec<String> {
        path.split('/').skip(1).map(str::to_owned).collect()
    }

    #[test]
    fn every_route_is_found_and_names_its_access() {
        for route in ROUTES {
            let path = route.path.replace(['{', '}', '*'], "x");
            for method in route.methods {
                let Found::Route { route: found, .. } = find(method, &segments(&path)) else {
                    panic!("{method} {path} is not found");
                };
                assert_eq!(found.operation, route.operation, "{path}");
            }
            let is_public = matches!(
                route.operation,
                Operation::Livez
                    | Operation::Readyz
                    | Operation::SessionShow
                    | Operation::DashboardPage
                    | Operation::DashboardAsset
            );
            assert_eq!(route.access == Access::Open, is_public, "{path}");
            let is_worker = route.path.contains("{worker}");
            assert_eq!(route.access == Access::Worker, is_worker, "{path}");
            let is_token = route.path.contains("{token}");
            assert_eq!(route.access == Access::Token, is_token, "{path}");
        }
    }

    #[test]
    fn the_reference_lists_every_route() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/api.md");
        let page = std::fs::read_to_string(path).unwrap();
        for route in ROUTES {
            let methods: Vec<&str> = route.methods.iter().map(Method::as_str).collect();
            let needs = match route.access {
                Access::Open => "nothing".to_owned(),
                Access::Key(scope) => format!("`{scope}`"),
                Access::KeyOrJobToken(scope) => format!("`{scope}`, or a token of the job"),
                Access::Worker => "a worker's own key".to_owned(),
                Access::Token => "the token in its path".to_owned(),
            };
            let line = format!("| {} | `{}` | {needs} |", methods.join(", "), route.path);
            assert!(page.contains(&line), "docs/reference/api.md lacks: {line}");
        }
    }

    #[test]
    fn wrong_methods_are_told_apart_from_wrong_paths() {
        let Found::OtherMethods(methods) = find(&Method::DELETE, &segments("/v2/e/status/j"))
        else {
            panic!("the path exists");
        };
        assert_eq!(methods, [&Method::GET, &Method::POST]);
        assert!(matches!(
            find(&Method::GET, &segments("/v2/e/nothing")),
            Found::Nothing
        ));
        assert!(matches!(
            find(&Method::GET, &segments("/v2/e/status/")),
            Found::Nothing
        ));
        let Found::Route { params, .. } =
            find(&Method::POST, &segments("/v2/e/openai/v1/chat/completions"))
        else {
            panic!("the route exists");
        };
        assert_eq!(params, ["e", "v1/chat/completions"]);
    }
}
