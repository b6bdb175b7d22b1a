//! One `RunPod` account: where its two APIs are, and the clients of both.

use super::client::{Account, AccountError, DataPlane, Timeouts};
use super::clock::Clock;
use super::limits::Limiter;
use super::management::Management;
use secrecy::SecretString;
use std::sync::Arc;

/// `RunPod`'s serverless API.
pub const BASE_URL: &str = "https://api.runpod.ai/v2";

/// `RunPod`'s management API.
pub const MANAGEMENT_URL: &str = "https://api.runpod.io/v2";

/// The clients of one account; both count their calls in one limiter.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Jobs.
    pub data_plane: DataPlane,
    /// Endpoints and workers.
    pub management: Management,
}

impl Connection {
    /// Connects to nothing yet; addresses left out are `RunPod`'s own. Installs the TLS provider.
    ///
    /// # Errors
    /// [`AccountError`] when an address or the key cannot be used.
    pub fn new(
        api_key: &SecretString,
        base_url: Option<&str>,
        management_url: Option<&str>,
        installation: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AccountError> {
        super::tls::install_provider();
        let limiter = Arc::new(Limiter::new(clock));
        let account = |url: &str| Account {
            base_url: url.to_owned(),
            api_key: api_key.clone(),
            installation: installation.to_owned(),
        };
        let jobs = account(base_url.unwrap_or(BASE_URL));
        let endpoints = account(management_url.unwrap_or(MANAGEMENT_URL));
        Ok(Self {
            data_plane: DataPlane::new(&jobs, Timeouts::default(), Arc::clone(&limiter))?,
            management: Management::new(&endpoints, Timeouts::default(), limiter)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::SystemClock;
    use super::*;

    fn connect(key: &str, url: Option<&str>) -> Result<Connection, AccountError> {
        Connection::new(
            &key.into(),
            url,
            None,
            "inst",
            Arc::new(SystemClock::start()),
        )
    }

    #[test]
    fn addresses_are_runpods_own_unless_given() {
        assert!(connect("key", None).is_ok());
        assert!(connect("key", Some("http://127.0.0.1:9/v2/")).is_ok());
    }

    #[test]
    fn what_cannot_be_used_is_named_and_the_key_never_shown() {
        let bad = connect("key", Some("api.runpod.ai"))
            .unwrap_err()
            .to_string();
        assert!(bad.contains("`api.runpod.ai`"), "{bad}");
        let bad = connect("secret\nkey", None).unwrap_err();
        assert!(!format!("{bad} {bad:?}").contains("secret"), "{bad:?}");
        let shown = format!("{:?}", connect("secret-key", None).unwrap());
        assert!(!shown.contains("secret-key"), "{shown}");
    }
}
