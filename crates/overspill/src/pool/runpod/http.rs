//! One HTTP call to the cloud: what every call has in common.
//!
//! Adds the key and the installation's header, follows no redirect (the key must never reach another host), reads at
//! most so many bytes, ends after so long, and says of a failure whether the request can have left this host.

use super::answer;
use super::guard::INSTALLATION_HEADER;
use bytes::{Bytes, BytesMut};
use http::header::{
    AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER,
};
use secrecy::{ExposeSecret as _, SecretString};
use std::time::Duration;

/// Where an account is reached and as whom.
#[derive(Debug, Clone)]
pub struct Account {
    /// The base address, without a slash at its end.
    pub base_url: String,
    /// The API key.
    pub api_key: SecretString,
    /// The installation's id, sent with every call (loop guard).
    pub installation: String,
}

/// An account that cannot be called.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The base address is not one.
    #[error("`{url}` is not an address of the cloud: expected http:// or https:// with a host")]
    BadAddress {
        /// The value as configured.
        url: String,
    },
    /// The key holds characters that no HTTP header can carry.
    #[error(
        "the RunPod API key holds characters that cannot be sent; copy it again (its value is not shown)"
    )]
    BadKey,
    /// The installation id holds characters that no HTTP header can carry.
    #[error("the installation id cannot be sent as a header")]
    BadInstallation,
    /// The TLS set-up failed.
    #[error("the HTTP client for the cloud could not be made")]
    Client(#[source] reqwest::Error),
}

/// Time limits of calls.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Until the connection stands, TLS included.
    pub connect: Duration,
    /// A submission, from the first byte sent to the last byte read.
    pub submit: Duration,
    /// Any other call.
    pub call: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            submit: Duration::from_secs(20),
            call: Duration::from_secs(30),
        }
    }
}

/// A request to make.
pub(super) struct Call<'a> {
    pub(super) method: http::Method,
    pub(super) path: &'a str,
    pub(super) body: Option<Bytes>,
    /// Where the call stands in a trace, as `traceparent` has it.
    pub(super) traceparent: Option<&'a str>,
    pub(super) timeout: Duration,
    pub(super) answer_bytes_max: usize,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// `Retry-After`, in milliseconds, if it is there and readable.
    pub(super) fn retry_after_ms(&self) -> Option<i64> {
        answer::retry_after_ms(
            text(&self.headers, &RETRY_AFTER)?,
            text(&self.headers, &DATE),
        )
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Why nothing usable came back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The connection never stood, so not a byte of the request was sent.
    #[error("no connection to the cloud: {cause}")]
    NotSent {
        /// The chain of causes.
        cause: String,
    },
    /// The connection stood, the answer did not come in time.
    #[error("the cloud did not answer within {} s", limit.as_secs())]
    TimedOut {
        /// The limit that passed.
        limit: Duration,
    },
    /// The connection broke after the request may have been sent.
    #[error("the connection to the cloud broke: {cause}")]
    Broken {
        /// The chain of causes.
        cause: String,
    },
    /// The answer is longer than any sound one.
    #[error("the cloud's answer is longer than {limit_bytes} bytes; it was not read to its end")]
    TooLarge {
        /// The HTTP status that came with it.
        status: u16,
        /// The limit.
        limit_bytes: usize,
    },
    /// A redirect; none is followed.
    #[error(
        "the cloud answered with a redirect ({status}) to `{location}`, which is not followed: the API key never goes elsewhere"
    )]
    Redirected {
        /// The HTTP status.
        status: u16,
        /// Where it points, cut to 80 characters.
        location: String,
    },
}

/// A connection pool to one account.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: reqwest::Client,
    base_url: String,
    authorization: HeaderValue,
    installation: HeaderValue,
}

impl Http {
    pub(super) fn new(account: &Account, timeouts: Timeouts) -> Result<Self, AccountError> {
        let url = reqwest::Url::parse(&account.base_url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| AccountError::BadAddress {
                url: account.base_url.chars().take(80).collect(),
            })?;
        let mut authorization =
            HeaderValue::try_from(format!("Bearer {}", account.api_key.expose_secret().trim()))
                .map_err(|_invalid| AccountError::BadKey)?;
        authorization.set_sensitive(true);
        let installation = HeaderValue::try_from(account.installation.as_str())
            .map_err(|_invalid| AccountError::BadInstallation)?;
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(timeouts.connect)
            // A connection that the other side closes while a submission is written leaves it open whether the
            // job was accepted; short idle times make that rare.
            .pool_idle_timeout(Duration::from_secs(15))
            .user_agent(concat!("overspill/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&url) {
            builder = builder.no_proxy();
        }
        Ok(Self {
            client: builder.build().map_err(AccountError::Client)?,
            base_url: account.base_url.trim_end_matches('/').to_owned(),
            authorization,
            installation,
        })
    }

    pub(super) async fn call(&self, call: Call<'_>) -> Result<Answer, TransportError> {
        let limit = call.timeout;
        match tokio::time::timeout(limit, self.call_unbounded(call)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(TransportError::TimedOut { limit }),
        }
    }

    async fn call_unbounded(&self, call: Call<'_>) -> Result<Answer, TransportError> {
        let mut request = self
            .client
            .request(call.method, format!("{}{}", self.base_url, call.path))
            .header(AUTHORIZATION, self.authorization.clone())
            .header(INSTALLATION_HEADER, self.installation.clone());
        if let Some(traceparent) = call.traceparent {
            request = request.header("traceparent", traceparent);
        }
        if let Some(body) = call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let mut response = request.send().await.map_err(transport_error)?;
        let status = response.status().as_u16();
        if (300..400).contains(&status) {
            let location = text(response.headers(), &LOCATION).unwrap_or("nowhere");
            let location = location.chars().take(80).collect();
            return Err(TransportError::Redirected { status, location });
        }
        let limit_bytes = call.answer_bytes_max;
        let too_large = TransportError::TooLarge {
            status,
            limit_bytes,
        };
        let declared = response.content_length().unwrap_or(0);
        if declared > limit_bytes as u64 {
            return Err(too_large);
        }
        let mut body = BytesMut::with_capacity(usize::try_from(declared).unwrap_or(0));
        while let Some(chunk) = response.chunk().await.map_err(transport_error)? {
            if body.len() + chunk.len() > limit_bytes {
                return Err(too_large);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status,
            headers: response.headers().clone(),
            body: body.freeze(),
        })
    }
}

fn transport_error(error: reqwest::Error) -> TransportError {
    let is_connect = error.is_connect();
    let cause = chain(&error.without_url());
    if is_connect {
        TransportError::NotSent { cause }
    } else {
        TransportError::Broken { cause }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}

fn is_loopback(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn text<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
