//! What a page of the user's own may do: follow one job with a token, from an origin that is allowed.
//!
//! The browser's page has no key. Its server made a token for the one job (`POST /api/v1/jobs/{job}/token`), which
//! stands in the URL; and the origin of the page stands in `allowed_origins`.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use overspill_core::id::JobId;

use super::Gateway;
use super::body::{self, Reply};
use super::call::Call;
use super::error::ApiError;
use crate::auth::job_token::{JobToken, NoToken};
use crate::auth::keyring::Caller;
use crate::auth::scope::Scope;

/// The query's key for a token.
const TOKEN: &str = "token";
/// What a page may read with a token, beside events.
const PAYLOAD: &str = "output";
/// How long a browser may remember that a page is allowed, in seconds.
const PREFLIGHT_S: u32 = 600;

/// Whether a request brings a job's token: only then may it come from another site's page.
pub(super) fn has_token(path: &str, query: Option<&str>) -> bool {
    path.starts_with("/api/v1/jobs/")
        && query.is_some_and(|query| query.split('&').any(|pair| pair.starts_with("token=")))
}

/// The answer to a browser that asks before it sends a page's request.
pub(super) fn preflight() -> Reply {
    let mut reply = body::no_content();
    let headers = reply.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, HEAD"),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("last-event-id, cache-control"),
    );
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from(PREFLIGHT_S),
    );
    reply
}

/// Lets a page of this origin read the answer.
pub(super) fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}

impl Gateway {
    /// Who calls: by the token of the path's job, else as everywhere.
    pub(super) fn authorise_job(&self, call: &Call, scope: Scope) -> Result<Caller, ApiError> {
        let Some(text) = call.query.get(TOKEN) else {
            return self.authorise(call, scope);
        };
        if !matches!(call.method, Method::GET | Method::HEAD) {
            return Err(limited("it only reads"));
        }
        let now = self.engine().now();
        let address = call.client_address(self);
        let token = JobToken::read(text, self.engine().server_secret(), now).map_err(|no| {
            if no == NoToken::Invalid {
                self.failures.note(address, now);
            }
            refused(no)
        })?;
        if call.job_id(0).ok() != Some(token.job) {
            return Err(limited("it is another job's"));
        }
        if call.params.get(1).is_some_and(|payload| payload != PAYLOAD) {
            return Err(limited("of payloads it reads the output only"));
        }
        self.by_token(&token)
            .ok_or_else(|| refused(NoToken::Invalid))
    }

    /// What the key that made a token may see now, reduced to reading; `None` when it is no more.
    fn by_token(&self, token: &JobToken) -> Option<Caller> {
        if !self.options.auth_required {
            return Some(Caller::anyone());
        }
        let engine = self.engine();
        let caller = self
            .keyring
            .by_id(&engine.keys(), &token.key_id, engine.now())?;
        caller.may(Scope::JobsRead).then(|| Caller {
            scopes: [Scope::JobsRead].into_iter().collect(),
            ..caller
        })
    }

    /// How long a call's token still holds; `None` where it has none that does.
    pub(super) fn token_left(&self, call: &Call) -> Option<Duration> {
        let engine = self.engine();
        let text = call.query.get(TOKEN)?;
        let token = JobToken::read(text, engine.server_secret(), engine.now()).ok()?;
        let left = token.ends_at.since(engine.now()).as_millis();
        Some(Duration::from_millis(left.max(1)))
    }

    /// Whether a job's follower may go on: its token holds still, or its key.
    pub(super) fn may_still_follow(&self, call: &Call, job: JobId) -> Result<(), NoToken> {
        let Some(text) = call.query.get(TOKEN) else {
            return self
                .may_still_read(call)
                .then_some(())
                .ok_or(NoToken::Invalid);
        };
        let engine = self.engine();
        let token = JobToken::read(text, engine.server_secret(), engine.now())?;
        let holds = token.job == job && self.by_token(&token).is_some();
        holds.then_some(()).ok_or(NoToken::Invalid)
    }
}

fn refused(no: NoToken) -> ApiError {
    let code = match no {
        NoToken::Invalid => "token_invalid",
        NoToken::Expired => "token_expired",
    };
    ApiError::new(StatusCode::UNAUTHORIZED, code, no.to_string())
        .hint("have your server make a new one with POST /api/v1/jobs/{job}/token")
}

fn limited(why: &str) -> ApiError {
    let message = format!("this token may not do that: {why}");
    ApiError::new(StatusCode::FORBIDDEN, "token_limited", message)
        .hint("a token follows the job it was made for, and reads its output")
}
