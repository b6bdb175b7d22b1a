//! The question to the server, and what its answer means.
//!
//! The engine answers after a commit: an answer proves that decisions are made, not only that a socket is
//! open. A refused key is an answer too, for somebody lives who refuses; no guard is counted there then.

use std::time::Duration;

use reqwest::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::config::Url;

/// Where the server is asked.
pub const PATH: &str = "/api/v1/guard";

/// What a server that lives says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Beat {
    /// Whose server it is.
    pub installation: String,
    /// Silence after which the guard acts, in milliseconds.
    pub guard_after_ms: u64,
    /// RunPod endpoints whose limits are the server's to set, by id.
    pub endpoints: Vec<String>,
    /// What the key may do beyond asking; a guard's key has none of it.
    pub key_may_more: Vec<String>,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// It lives.
    Beat(Beat),
    /// Somebody lives there, and refuses: a reason in words.
    Refused(String),
    /// Nobody answers, or nobody who decides: a reason in words.
    Silent(String),
}

/// Asks one server.
#[derive(Debug)]
pub struct Question {
    http: reqwest::Client,
    url: String,
    key: Option<SecretString>,
}

impl Question {
    /// Asks the server at `base`.
    ///
    /// # Errors
    /// When the TLS set-up fails.
    pub fn new(base: &Url, key: Option<SecretString>) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("overspill-guard/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            // A kept connection would tell of an old process.
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Self {
            http,
            url: format!("{base}{PATH}"),
            key,
        })
    }

    /// Asks, and waits for `patience` at most.
    pub async fn ask(&self, patience: Duration) -> Answered {
        let mut request = self
            .http
            .post(&self.url)
            .timeout(patience)
            .header("content-type", "application/json")
            .body("{}");
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose_secret());
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_timeout() => {
                return Answered::Silent("it does not answer in time".into());
            }
            Err(error) => return Answered::Silent(chain(&error.without_url())),
        };
        let status = answer.status();
        match answer.bytes().await {
            Ok(body) => read(status, &body),
            Err(error) => Answered::Silent(chain(&error.without_url())),
        }
    }
}

/// What a status and a body mean.
fn read(status: StatusCode, body: &[u8]) -> Answered {
    if status.is_success() {
        return match serde_json::from_slice(body) {
            Ok(beat) => Answered::Beat(beat),
            // A portal or a proxy answers for somebody who may be dead.
            Err(error) => Answered::Silent(format!("something else answers there: {error}")),
        };
    }
    let text = String::from_utf8_lossy(body);
    let short: String = text.chars().take(200).collect();
    if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
        Answered::Refused(format!("it refuses the guard ({status}): {short}"))
    } else {
        Answered::Silent(format!("it answers {status}: {short}"))
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_server_itself_counts_as_alive() {
        let beat = br#"{"installation":"i","guard_after_ms":60000,"endpoints":["a"],"key_may_more":[],"new":1}"#;
        let Answered::Beat(beat) = read(StatusCode::OK, beat) else {
            panic!("a beat");
        };
        assert_eq!(beat.endpoints, ["a"]);
        let portal = read(StatusCode::OK, b"<html>");
        assert!(matches!(portal, Answered::Silent(_)), "{portal:?}");
        for (status, refuses) in [
            (401, true),
            (403, true),
            (404, true),
            (429, false),
            (503, false),
            (502, false),
        ] {
            let answered = read(StatusCode::from_u16(status).unwrap(), b"{}");
            assert_eq!(
                matches!(answered, Answered::Refused(_)),
                refuses,
                "{status}"
            );
        }
    }
}
