//! One request, with its caller and what its path named.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use hyper::body::Incoming;
use overspill_core::id::{JobId, KeyId};
use overspill_core::region::Region;
use overspill_wire::job::WAIT_MS;

use super::body::{self, Read, ReadRules};
use super::error::{ApiError, shown};
use super::memory::Room;
use super::query::Query;
use super::server::Peer;
use super::{Gateway, options};
use crate::auth::keyring::Caller;
use crate::auth::scope::Scope;
use crate::engine::api::{EndpointEntry, JobView, Unavailable};

/// One request.
pub struct Call {
    /// Its method.
    pub method: Method,
    /// Its headers.
    pub headers: HeaderMap,
    /// What the placeholders of its path took.
    pub params: Vec<String>,
    /// Its query.
    pub query: Query,
    /// Its body, until it is read.
    pub body: Option<Incoming>,
    /// Who calls; absent on routes without a key.
    pub caller: Option<Caller>,
    /// A worker's key, where its path has one.
    pub path_key: Option<String>,
    /// The connection.
    pub peer: Peer,
    /// Its answer closes the connection.
    pub closes: bool,
    /// Its name in logs.
    pub request_id: String,
}

/// What a header says about who calls.
pub(super) enum Credential<'a> {
    Missing,
    Text(&'a str),
    /// There is one, and it is no key of any form.
    Unreadable,
}

impl Call {
    /// The key in the `Authorization` header, bare or after `Bearer`.
    ///
    /// # Errors
    /// 400 when there are two headers.
    pub(super) fn credential(&self) -> Result<Credential<'_>, ApiError> {
        let mut values = self.headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Ok(Credential::Missing);
        };
        if values.next().is_some() {
            return Err(ApiError::bad_request(
                "auth_ambiguous",
                "the request has more than one Authorization header",
            )
            .hint("send exactly one"));
        }
        let Ok(text) = value.to_str() else {
            return Ok(Credential::Unreadable);
        };
        let key = match text.split_once(' ') {
            Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key,
            _ => text,
        };
        if key.is_empty() {
            return Ok(Credential::Missing);
        }
        Ok(Credential::Text(key))
    }

    /// Where whoever called is, as far as that is known.
    pub(super) fn region(&self, gateway: &Gateway) -> Option<Region> {
        let is_trusted = is_trusted(gateway, self.peer.remote.ip());
        let locator = gateway.options.locator.get();
        locator.locate(&self.headers, is_trusted, self.client_address(gateway))
    }

    /// The address of whoever called, through the proxies that are believed.
    pub(super) fn client_address(&self, gateway: &Gateway) -> IpAddr {
        let mut address = self.peer.remote.ip();
        let forwarded: Vec<&str> = self
            .headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        for hop in forwarded.into_iter().rev() {
            if !is_trusted(gateway, address) {
                break;
            }
            let Ok(before) = hop.trim().parse() else {
                break;
            };
            address = before;
        }
        address
    }

    /// The endpoint that the path's first placeholder names.
    ///
    /// # Errors
    /// 404, the same for one that does not exist and one that the caller may not know of.
    pub(super) fn endpoint(&self, gateway: &Gateway) -> Result<EndpointEntry, ApiError> {
        let name = self.params.first().map_or("", String::as_str);
        let directory = gateway.engine.endpoints();
        let sees = |name: &str| self.caller.as_ref().is_none_or(|caller| caller.sees(name));
        if let Some(entry) = directory.find(name)
            && sees(&entry.name)
        {
            return Ok(entry.clone());
        }
        let visible: Vec<&str> = directory
            .entries()
            .iter()
            .map(|entry| entry.name.as_str())
            .filter(|name| sees(name))
            .collect();
        let error = ApiError::not_found(
            "endpoint_not_found",
            format!("there is no endpoint `{}`", shown(name)),
        );
        let nearest = visible
            .iter()
            .map(|known| (strsim::jaro_winkler(known, name), *known))
            .filter(|(similarity, _)| *similarity > 0.7)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        Err(match nearest {
            Some((_, known)) => error.hint(format!("did you mean `{known}`?")),
            None if visible.is_empty() => error.hint("no endpoint is configured for this key"),
            None => error.hint(format!(
                "known endpoints: {}",
                visible[..visible.len().min(10)].join(", ")
            )),
        })
    }

    /// The job that the path's second placeholder names, as committed.
    ///
    /// # Errors
    /// 404 for anything that is no job of this endpoint, 503 when the store does not answer.
    pub(super) async fn job(
        &self,
        gateway: &Gateway,
        endpoint: &EndpointEntry,
    ) -> Result<JobView, ApiError> {
        let id = self.job_id(1)?;
        match gateway.engine.job(id).await {
            Ok(Some(job)) if job.endpoint == endpoint.id => Ok(job),
            Ok(_) => Err(job_not_found()),
            Err(Unavailable) => Err(ApiError::unavailable()),
        }
    }

    /// The job id in a placeholder.
    ///
    /// # Errors
    /// 404 when it is none; no such text ever reaches the store.
    pub(super) fn job_id(&self, param: usize) -> Result<JobId, ApiError> {
        self.params
            .get(param)
            .and_then(|text| text.parse().ok())
            .ok_or_else(job_not_found)
    }

    /// `?wait=` in milliseconds.
    ///
    /// # Errors
    /// 400 outside of `least` to 300,000, in RunPod's words.
    pub(super) fn wait(&self, least: u64) -> Result<Option<Duration>, ApiError> {
        let Some(text) = self.query.get("wait") else {
            return Ok(None);
        };
        match text.parse::<u64>() {
            Ok(millis) if (least..=*WAIT_MS.end()).contains(&millis) => {
                Ok(Some(Duration::from_millis(millis)))
            }
            _ => Err(ApiError::bad_request(
                "wait_invalid",
                format!(
                    "wait is invalid; must be between {} and {}",
                    WAIT_MS.start(),
                    WAIT_MS.end()
                ),
            )
            .field("wait")
            .hint("wait is in milliseconds")),
        }
    }

    /// Reads the body of a client. The memory that it has is for as long as the call works on it: what is kept of
    /// it then has caps of its own.
    ///
    /// # Errors
    /// 413 when it is longer than allowed, without reading on.
    pub(super) async fn read_body(
        &mut self,
        gateway: &Gateway,
        bytes_max: u64,
        route: &str,
    ) -> Result<(Bytes, Room), ApiError> {
        let Some(incoming) = self.body.take() else {
            return Ok((Bytes::new(), Room::default()));
        };
        let rules = ReadRules {
            memory: Some((&gateway.memory, gateway.options.holds.memory)),
            bytes_max,
            idle_max: gateway.options.holds.body,
            drains: false,
        };
        match body::read(&self.headers, incoming, rules).await? {
            Read::Whole(bytes, room) => Ok((bytes, room)),
            Read::TooLong(seen) => Err(body::too_large(bytes_max, seen, route)),
        }
    }

    /// The key that bears what this causes.
    pub(super) fn key(&self) -> Option<KeyId> {
        // Where no key is required, nobody bears it.
        let caller = self.caller.as_ref().filter(|c| **c != Caller::anyone())?;
        KeyId::of(&caller.key_id)
    }

    /// Who changed something, for the audit trail.
    pub(super) fn by(&self) -> String {
        self.caller
            .as_ref()
            .map_or_else(|| "none".into(), |caller| format!("key {}", caller.key_id))
    }
}

/// 404, the same for malformed, unknown, expired and other people's jobs.
pub(super) fn job_not_found() -> ApiError {
    ApiError::not_found("job_not_found", "job not found")
        .hint("the id may be wrong, of another endpoint, or the job may have expired")
}

/// Names under which people put keys into URLs.
const KEY_PARAMETERS: &[&str] = &[
    "api_key",
    "apikey",
    "api-key",
    "access_token",
    "token",
    "authorization",
    "key",
];

impl Gateway {
    /// Finds out who calls, and whether they may.
    pub(super) fn authorise(&self, call: &Call, scope: Scope) -> Result<Caller, ApiError> {
        let mut names = call.query.keys();
        if names.any(|name| KEY_PARAMETERS.contains(&name.to_ascii_lowercase().as_str())) {
            return Err(ApiError::bad_request(
                "key_in_query",
                "keys in URLs leak into logs and histories",
            )
            .hint("send it as `Authorization: Bearer KEY`"));
        }
        let credential = call.credential()?;
        if !self.options.auth_required {
            return Ok(Caller::anyone());
        }
        if matches!(credential, Credential::Missing)
            && let Some(caller) = self.session_caller(call)?
        {
            require(&caller, scope)?;
            return Ok(caller);
        }
        let now = self.engine.now();
        let address = call.client_address(self);
        if self.failures.is_braked(address, now) {
            return Err(ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "auth_rate_limited",
                "too many wrong keys came from this address",
            )
            .retry_after(1));
        }
        // The same work is done for a missing, an unreadable and a wrong key.
        let (text, is_missing) = match credential {
            Credential::Missing => ("", true),
            Credential::Unreadable => ("", false),
            Credential::Text(text) => (text, false),
        };
        let caller = self
            .keyring
            .authenticate(self.engine.server_secret(), &self.engine.keys(), text, now)
            .ok_or_else(|| {
                self.failures.note(address, now);
                unauthenticated(is_missing)
            })?;
        require(&caller, scope)?;
        Ok(caller)
    }
}

/// 403 where a caller lacks a scope.
pub(super) fn require(caller: &Caller, scope: Scope) -> Result<(), ApiError> {
    if caller.may(scope) {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        "scope_missing",
        format!("this key may not do that: it lacks the scope `{scope}`"),
    )
    .hint("use a key that has it, or make one with `overspill keys create`"))
}

/// 401; the two have equally long bodies, so that they tell nothing apart but what was asked.
fn unauthenticated(is_missing: bool) -> ApiError {
    let (code, message) = if is_missing {
        ("auth_missing", "an API key is needed, and none was sent")
    } else {
        ("auth_invalid", "the API key that was sent is not valid.")
    };
    ApiError::new(StatusCode::UNAUTHORIZED, code, message)
        .hint("send `Authorization: Bearer KEY`; the first key is in bootstrap.key of the data folder, or OVERSPILL_API_KEY")
        .header(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"overspill\""),
        )
}

/// Refuses what this very installation sent: its RunPod address points back at itself.
pub(super) fn refuse_loop(gateway: &Gateway, headers: &HeaderMap) -> Result<(), ApiError> {
    let ours = gateway.options.installation.as_bytes();
    let sender = headers.get(options::INSTALLATION_HEADER);
    if ours.is_empty() || sender.is_none_or(|sender| sender.as_bytes() != ours) {
        return Ok(());
    }
    Err(ApiError::bad_request(
        "submission_loop",
        "this submission was sent by this very server: its RunPod address leads back to itself",
    )
    .hint(
        "set `[runpod] base_url` (or RUNPOD_ENDPOINT_BASE_URL) of the server to RunPod or to the emulator",
    ))
}

/// Whether an address is one of a proxy that is believed.
fn is_trusted(gateway: &Gateway, address: IpAddr) -> bool {
    let mut proxies = gateway.options.trusted_proxies.iter();
    proxies.any(|network| network.contains(&address.to_canonical()) || network.contains(&address))
}
