//! `/api/v1/session`: how a browser signs in.
//!
//! A person gives an API key once; the browser keeps a cookie that scripts cannot read and that other
//! sites' pages cannot send. The cookie stands for the key on every route that takes one, and whatever
//! is not GET needs a header, too, whose value only this server's own page can know.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};

use super::Gateway;
use super::body::{self, Reply};
use super::call::{Call, Credential};
use super::error::ApiError;
use crate::auth::keyring::Caller;
use crate::auth::scope::Scope;
use crate::auth::session::{LENGTH, Session};

/// What a page sends with everything that changes something.
pub const CSRF_HEADER: HeaderName = HeaderName::from_static("x-overspill-csrf");

/// GET: who is signed in, for everyone.
pub(super) async fn show(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let answer = match gateway.session(&call)? {
        _ if !gateway.options().auth_required => json!({
            "auth_required": false,
            "signed_in": true,
            "csrf": null,
            "scopes": ["admin"],
        }),
        Some((session, caller)) => signed_in(gateway, &session, &caller),
        None => json!({ "auth_required": true, "signed_in": false }),
    };
    Ok(body::json_of(&answer))
}

/// POST, with a key in the header: begins a session.
pub(super) async fn begin(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    let caller = call.caller.as_ref().ok_or_else(ApiError::unavailable)?;
    if matches!(call.credential()?, Credential::Missing) && gateway.options().auth_required {
        return Err(ApiError::bad_request(
            "key_missing",
            "a session is begun with a key, and none was sent",
        )
        .hint("send `Authorization: Bearer KEY`"));
    }
    let session = Session::new(&caller.key_id, gateway.engine().now());
    let mut reply = body::json_of(&signed_in(gateway, &session, caller));
    let cookie = session.cookie(gateway.engine().server_secret());
    let lasts = LENGTH.as_millis() / 1_000;
    set_cookie(gateway, &call, &mut reply, &cookie, lasts);
    Ok(reply)
}

/// DELETE: ends the session.
pub(super) async fn end(gateway: &Arc<Gateway>, call: Call) -> Result<Reply, ApiError> {
    if let Some((session, _)) = gateway.session(&call)? {
        gateway.ended_sessions.end(session, gateway.engine().now());
    }
    let mut reply = body::no_content();
    set_cookie(gateway, &call, &mut reply, "", 0);
    Ok(reply)
}

fn signed_in(gateway: &Gateway, session: &Session, caller: &Caller) -> Value {
    let keys = gateway.engine().keys();
    let name = keys.iter().find(|key| key.id == *caller.key_id);
    json!({
        "auth_required": gateway.options().auth_required,
        "signed_in": true,
        "csrf": session.csrf(gateway.engine().server_secret()),
        "key": caller.key_id.as_ref(),
        "name": name.map(|key| key.name.as_str()),
        "scopes": caller.scopes.words(),
        "endpoints": caller.endpoints.as_deref(),
        "ends_at_ms": session.ends_at.as_millis(),
    })
}

impl Gateway {
    /// The session of a request's cookie, with what it may do now; `None` without one that holds.
    pub(super) fn session(&self, call: &Call) -> Result<Option<(Session, Caller)>, ApiError> {
        let engine = self.engine();
        let now = engine.now();
        let name = cookie_name(call, self.is_secure(call));
        let mut cookies = cookies(&call.headers).filter(|(known, _)| *known == name);
        let session =
            cookies.find_map(|(_, value)| Session::read(value, engine.server_secret(), now));
        let Some(session) = session.filter(|session| !self.ended_sessions.has(session)) else {
            return Ok(None);
        };
        let caller = self.keyring.by_id(&engine.keys(), &session.key_id, now);
        Ok(caller.map(|caller| (session, caller)))
    }

    /// Who calls by a session's cookie.
    ///
    /// # Errors
    /// 403 when something is to be changed, and the page did not prove to be ours.
    pub(super) fn session_caller(&self, call: &Call) -> Result<Option<Caller>, ApiError> {
        let Some((session, caller)) = self.session(call)? else {
            return Ok(None);
        };
        let only_reads = matches!(call.method, Method::GET | Method::HEAD);
        let sent = call.headers.get(CSRF_HEADER);
        let sent = sent.map(HeaderValue::as_bytes).unwrap_or_default();
        if !only_reads && !session.has_sent(self.engine().server_secret(), sent) {
            return Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "csrf_missing",
                "a session may change things only from the dashboard's own page",
            )
            .hint("scripts send `Authorization: Bearer KEY` instead of a cookie"));
        }
        Ok(Some(caller))
    }

    /// Whether who began this call may still read: its key holds, and so does its session, if it came
    /// by one. For answers that last.
    pub(super) fn may_still_read(&self, call: &Call) -> bool {
        if !self.options.auth_required {
            return true;
        }
        if matches!(call.credential(), Ok(Credential::Missing)) {
            return matches!(self.session(call), Ok(Some((_, caller))) if caller.may(Scope::JobsRead));
        }
        let engine = self.engine();
        let known = call.caller.as_ref().and_then(|caller| {
            self.keyring
                .by_id(&engine.keys(), &caller.key_id, engine.now())
        });
        known.is_some_and(|caller| caller.may(Scope::JobsRead))
    }

    /// Whether the browser speaks TLS with a proxy that is believed.
    fn is_secure(&self, call: &Call) -> bool {
        let remote = call.peer.remote.ip();
        let mut proxies = self.options.trusted_proxies.iter();
        let scheme = call.headers.get("x-forwarded-proto");
        proxies.any(|network| network.contains(&remote))
            && scheme.is_some_and(|scheme| scheme.as_bytes().eq_ignore_ascii_case(b"https"))
    }
}

fn set_cookie(gateway: &Gateway, call: &Call, reply: &mut Reply, value: &str, lasts: u64) {
    let is_secure = gateway.is_secure(call);
    let name = cookie_name(call, is_secure);
    let secure = if is_secure { "; Secure" } else { "" };
    let text =
        format!("{name}={value}; Path=/; Max-Age={lasts}; HttpOnly; SameSite=Strict{secure}");
    if let Ok(value) = HeaderValue::try_from(text) {
        reply.headers_mut().insert(header::SET_COOKIE, value);
    }
}

/// Browsers keep cookies by host without its port, so that two servers on one host would take turns in
/// signing each other out: the port is part of the name. `__Host-` binds the cookie to this very host,
/// which browsers grant with TLS only.
fn cookie_name(call: &Call, is_secure: bool) -> String {
    let host = call.headers.get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    let port = host.rsplit_once(':').map_or("", |(_, port)| port);
    let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let port = if is_port { port } else { "0" };
    let prefix = if is_secure { "__Host-" } else { "" };
    format!("{prefix}overspill_{port}")
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
}
