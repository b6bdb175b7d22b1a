//! The HTTP client of the command line: finds the server and the key, sends JSON, and turns every
//! refusal into a sentence, a hint and an exit code.
//!
//! It knows two error shapes: RunPod's flat body under `/v2` and problem JSON (RFC 9457) under
//! `/api/v1`. The key is never sent on to another host: redirects are refused.

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::config::env::{OVERSPILL_API_KEY, OVERSPILL_URL};
use crate::config::{Config, ConfigError, Flags, Strictness, Url, load, locate};

use super::Context;
use super::error::{CommandError, ErrorKind};
use super::output::{inert, note};

/// File in the data folder that holds the first key of an installation; only its owner reads it.
pub const BOOTSTRAP_KEY_FILE: &str = "bootstrap.key";

/// Longest wait for an answer; no route that the command line asks holds longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(100);
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A server and the key it is asked with.
#[derive(Debug)]
pub struct ServerClient {
    http: reqwest::Client,
    base: Url,
    key: Option<SecretString>,
}

impl ServerClient {
    /// The server that the arguments, the environment or the configuration name, and the key from
    /// the environment or the installation's own file.
    ///
    /// # Errors
    /// When the address cannot be read, or the key file exists and cannot be.
    pub fn find(context: &Context) -> Result<Self, CommandError> {
        let config = local_config(context);
        let base = match &context.global.server {
            Some(text) => Url::parse(text).map_err(|message| {
                CommandError::new(
                    ErrorKind::Usage,
                    format!("--server or {OVERSPILL_URL}: {message}"),
                )
            })?,
            None => local_url(&config),
        };
        let key = match context.environment.secret(OVERSPILL_API_KEY) {
            Ok(Some(key)) => Some(key),
            // The installation's own key is for this machine only.
            Ok(None) if is_loopback(&base) => bootstrap_key(&config.data_dir)?,
            Ok(None) => None,
            Err(message) => return Err(CommandError::new(ErrorKind::Io, message)),
        };
        Self::new(base, key)
    }

    /// The server's address.
    #[must_use]
    pub fn address(&self) -> String {
        self.base.to_string()
    }

    /// A client of the server at `base`.
    ///
    /// # Errors
    /// When the TLS set-up fails.
    pub fn new(base: Url, key: Option<SecretString>) -> Result<Self, CommandError> {
        let builder = reqwest::Client::builder()
            .user_agent(concat!("overspill-cli/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT);
        // A proxy of the environment is not meant for this machine.
        let builder = if is_loopback(&base) {
            builder.no_proxy()
        } else {
            builder
        };
        let http = builder.build().map_err(|error| {
            CommandError::new(ErrorKind::Failed, "cannot set up the HTTP client").because(error)
        })?;
        Ok(Self { http, base, key })
    }

    /// The address of the server.
    #[must_use]
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// GETs `path`.
    ///
    /// # Errors
    /// When the server is out of reach, refuses, or answers something that is not JSON.
    pub async fn get(&self, path: &str) -> Result<Json, CommandError> {
        self.send(Method::GET, path, None).await
    }

    /// POSTs `body` to `path`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post(&self, path: &str, body: &Json) -> Result<Json, CommandError> {
        self.send(Method::POST, path, Some(body)).await
    }

    /// Sends a request and reads the JSON answer; an empty one is null.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Json>,
    ) -> Result<Json, CommandError> {
        let url = format!("{}{path}", self.base);
        let mut request = self.http.request(method, &url);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose_secret());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request
            .send()
            .await
            .map_err(|error| self.unreachable(error))?;
        let status = answer.status().as_u16();
        let bytes = answer
            .bytes()
            .await
            .map_err(|error| self.unreachable(error))?;
        if !(200..300).contains(&status) {
            return Err(self.refused(status, &bytes));
        }
        if bytes.is_empty() {
            return Ok(Json::Null);
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            let message = format!("{} answered something that is not JSON", self.base);
            CommandError::new(ErrorKind::Unavailable, message)
                .because(error)
                .hint("is this the address of an Overspill server? set it with --server")
        })
    }

    fn unreachable(&self, error: reqwest::Error) -> CommandError {
        let what = if error.is_timeout() {
            "did not answer in time"
        } else {
            "cannot be reached"
        };
        // The URL stands in the sentence already.
        CommandError::new(
            ErrorKind::Unavailable,
            format!("the server at {} {what}", self.base),
        )
        .because(error.without_url())
        .hint(format!(
            "start it with `overspill serve`, or name another with --server or {OVERSPILL_URL}"
        ))
    }

    fn refused(&self, status: u16, body: &[u8]) -> CommandError {
        let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
        let code = refusal.code.as_deref().unwrap_or("");
        let kind = match status {
            401 | 403 => ErrorKind::Auth,
            404 => ErrorKind::NotFound,
            402 => ErrorKind::Budget,
            409 if code.contains("budget") || code.contains("quota") => ErrorKind::Budget,
            400 | 413 | 415 | 422 => ErrorKind::Usage,
            408 | 429 | 500..=599 => ErrorKind::Unavailable,
            _ => ErrorKind::Failed,
        };
        let sentence = refusal
            .detail
            .or(refusal.error)
            .or(refusal.title)
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| format!("the server at {} answered {status}", self.base));
        let code = if code.is_empty() {
            String::new()
        } else {
            format!(" [{code}]")
        };
        let mut error = CommandError::new(kind, format!("{}{code}", inert(&sentence)));
        let has_hint = refusal.hint.is_some();
        if let Some(hint) = refusal.hint {
            error = error.hint(inert(&hint));
        }
        if status == 401 && self.key.is_none() && !has_hint {
            error = error.hint(format!(
                "set {OVERSPILL_API_KEY}, or run this where the server runs, as its user"
            ));
        }
        if (300..400).contains(&status) {
            error = error.hint("redirects are not followed; give the final address with --server");
        }
        if status >= 500
            && let Some(id) = refusal.request_id
        {
            error = error.hint(format!(
                "the server's log has more under request id {}",
                inert(&id)
            ));
        }
        error
    }
}

/// Both error shapes at once; what is absent stays so.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refusal {
    #[serde(deserialize_with = "lenient")]
    error: Option<String>,
    #[serde(deserialize_with = "lenient")]
    title: Option<String>,
    #[serde(deserialize_with = "lenient")]
    detail: Option<String>,
    #[serde(deserialize_with = "lenient")]
    code: Option<String>,
    #[serde(deserialize_with = "lenient")]
    hint: Option<String>,
    #[serde(deserialize_with = "lenient")]
    request_id: Option<String>,
}

/// Text as it is, anything else as JSON: what is in front of the server may answer oddly.
fn lenient<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Json::deserialize(deserializer)? {
        Json::Null => None,
        Json::String(text) => Some(text),
        other => Some(other.to_string()),
    })
}

/// A path segment with everything but plain characters percent-encoded.
#[must_use]
pub fn segment(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}

/// The configuration of this machine, or the defaults where none is found or it is refused: the
/// client needs its address and folder only, and `check` is the place for its faults.
pub(super) fn local_config(context: &Context) -> Config {
    let Ok(path) = locate(context.global.config.as_deref(), &context.environment) else {
        return Config::default();
    };
    match load(
        &path,
        &context.environment,
        &Flags::default(),
        Strictness::Check,
    ) {
        Ok(loaded) => loaded.config,
        Err(error) => {
            // With an address of its own the command does not need the file.
            if context.global.server.is_none() {
                let file = path.display();
                note(&format!(
                    "warning: {file} cannot be used, so the default address is asked; \
                     `overspill check` says more"
                ));
                if let ConfigError::Read { source, .. } = error {
                    note(&format!("  caused by: {source}"));
                }
            }
            Config::default()
        }
    }
}

/// The address at which a server with this configuration is reached from its own machine.
fn local_url(config: &Config) -> Url {
    let mut address = config.listen;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    Url::parse(&format!("http://{address}")).expect("a socket address makes a URL")
}

fn is_loopback(url: &Url) -> bool {
    let authority = url.authority();
    let host = authority
        .rsplit_once(':')
        .map_or(authority.as_str(), |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// The key that `serve` wrote into its data folder, when this user may read it.
fn bootstrap_key(data_dir: &Path) -> Result<Option<SecretString>, CommandError> {
    let path = data_dir.join(BOOTSTRAP_KEY_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => Ok(Some(SecretString::from(text.trim()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CommandError::new(
            ErrorKind::Auth,
            format!("cannot read the key file \"{}\"", path.display()),
        )
        .because(error)
        .hint(format!(
            "run this as the server's user, or set {OVERSPILL_API_KEY}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_cannot_leave_their_place() {
        assert_eq!(segment("../a b/ü?x#"), "..%2Fa%20b%2F%C3%BC%3Fx%23");
        assert_eq!(segment("0198-u1"), "0198-u1");
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (url, expected) in [
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080", true),
            ("http://localhost", true),
            ("https://gpu.example.com", false),
            ("http://127.0.0.1.example.com", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn the_local_address_of_an_open_listener_is_loopback() {
        for (listen, url) in [
            ("0.0.0.0:81", "http://127.0.0.1:81"),
            ("[::]:81", "http://[::1]:81"),
        ] {
            let config = Config {
                listen: listen.parse().unwrap(),
                ..Config::default()
            };
            assert_eq!(local_url(&config).as_str(), url);
        }
    }
}
