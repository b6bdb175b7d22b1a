//! The loop guard: Overspill must not submit to itself.
//!
//! People export `RUNPOD_ENDPOINT_BASE_URL` for their *app*, so that the app calls Overspill; if Overspill took it
//! for the address of the cloud, each job would come back as a new job, for ever. Two fences: `serve` refuses to
//! start when the cloud's address is one of its own listeners ([`refuses_self`]), and every submission carries the
//! header [`INSTALLATION_HEADER`], by which the gateway recognises a job that came round by a longer way
//! ([`is_own`]).

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _, UdpSocket};

/// The header that names the installation a submission comes from. The cloud ignores it.
pub const INSTALLATION_HEADER: &str = "x-overspill-installation";

/// The cloud's address is no address, or it is our own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// It cannot be read as an HTTP address.
    #[error(
        "`{url}` is not an address of the cloud: expected http:// or https:// with a host, for example \
         https://api.runpod.ai/v2"
    )]
    NotAnAddress {
        /// The value as configured.
        url: String,
    },
    /// It is one of our own listeners.
    #[error(
        "the cloud's address `{url}` is this server's own listener {listener}: every job would come back to it. \
         `RUNPOD_ENDPOINT_BASE_URL` is meant for the app that calls Overspill; unset it for `overspill serve`, or \
         set `[runpod] base_url` to the cloud (https://api.runpod.ai/v2) or to an emulator on another port"
    )]
    OwnListener {
        /// The value as configured.
        url: String,
        /// The listener that it leads to.
        listener: SocketAddr,
    },
}

/// Refuses a cloud address that leads to one of `listeners`. Resolves the host's name (blocking; for start-up).
///
/// A name that does not resolve passes: the network may be down, and the header still breaks the loop.
///
/// # Errors
/// [`GuardError::NotAnAddress`] for anything but an HTTP URL, [`GuardError::OwnListener`] for a loop.
pub fn refuses_self(url: &str, listeners: &[SocketAddr]) -> Result<(), GuardError> {
    let parsed = reqwest::Url::parse(url)
        .ok()
        .filter(|parsed| matches!(parsed.scheme(), "http" | "https") && parsed.has_host())
        .ok_or_else(|| GuardError::NotAnAddress { url: shorten(url) })?;
    let host = parsed
        .host_str()
        .unwrap_or_default()
        .trim_matches(['[', ']']);
    let port = parsed.port_or_known_default().unwrap_or(443);
    let targets = (host, port)
        .to_socket_addrs()
        .map(Vec::from_iter)
        .unwrap_or_default();
    for target in targets {
        if let Some(listener) = listeners
            .iter()
            .find(|listener| leads_to(target, **listener))
        {
            return Err(GuardError::OwnListener {
                url: shorten(url),
                listener: *listener,
            });
        }
    }
    Ok(())
}

/// Whether a request was sent by the installation `own` itself.
#[must_use]
pub fn is_own(headers: &http::HeaderMap, own: &str) -> bool {
    headers
        .get_all(INSTALLATION_HEADER)
        .iter()
        .any(|value| value.as_bytes() == own.as_bytes())
}

fn leads_to(target: SocketAddr, listener: SocketAddr) -> bool {
    if target.port() != listener.port() {
        return false;
    }
    let (target, listener) = (target.ip().to_canonical(), listener.ip().to_canonical());
    let is_everywhere = listener.is_unspecified();
    target == listener
        || target.is_unspecified() && (is_everywhere || listener.is_loopback())
        || is_everywhere && is_of_this_host(target)
}

/// Whether this host has the address: only then can a socket be bound to it. Sends nothing.
fn is_of_this_host(address: IpAddr) -> bool {
    address.is_loopback() || UdpSocket::bind((address, 0)).is_ok()
}

fn shorten(url: &str) -> String {
    url.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn refuses_its_own_listener_in_every_spelling() {
        let listeners = [address("127.0.0.1:8080")];
        for url in [
            "http://127.0.0.1:8080/v2",
            "http://localhost:8080/v2",
            "http://[::ffff:127.0.0.1]:8080/v2",
            "http://2130706433:8080/",
            "http://0.0.0.0:8080/v2",
        ] {
            let refused = refuses_self(url, &listeners);
            assert!(
                matches!(refused, Err(GuardError::OwnListener { .. })),
                "{url}: {refused:?}"
            );
        }
    }

    #[test]
    fn a_listener_on_every_address_covers_loopback_of_both_families() {
        for listener in ["0.0.0.0:8080", "[::]:8080"] {
            assert!(
                refuses_self("http://127.0.0.1:8080/v2", &[address(listener)]).is_err(),
                "{listener}"
            );
        }
    }

    #[test]
    fn another_port_or_host_is_not_itself() {
        let listeners = [address("127.0.0.1:8080")];
        assert_eq!(refuses_self("http://127.0.0.1:8081/v2", &listeners), Ok(()));
        assert_eq!(
            refuses_self("https://192.0.2.7:8080/v2", &listeners),
            Ok(())
        );
    }

    #[test]
    fn what_is_no_address_is_named() {
        for url in ["api.runpod.ai", "ftp://api.runpod.ai", "http://", ""] {
            let refused = refuses_self(url, &[]);
            assert!(
                matches!(refused, Err(GuardError::NotAnAddress { .. })),
                "{url}: {refused:?}"
            );
        }
    }

    #[test]
    fn recognises_its_own_submission() {
        let mut headers = http::HeaderMap::new();
        assert!(!is_own(&headers, "inst-1"));
        headers.insert(INSTALLATION_HEADER, "inst-2".parse().unwrap());
        assert!(!is_own(&headers, "inst-1"));
        headers.append(INSTALLATION_HEADER, "inst-1".parse().unwrap());
        assert!(is_own(&headers, "inst-1"));
    }
}
