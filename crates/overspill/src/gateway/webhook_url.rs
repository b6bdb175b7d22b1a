//! Which webhooks may be asked for: the form of the URL, and the addresses it may name.
//!
//! This looks at the text only. Names are resolved, and their addresses checked by the same
//! [`is_forbidden`], each time that something is delivered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

use super::error::{ApiError, shown};

/// The longest URL that is taken.
const LENGTH_MAX: usize = 2_048;

/// Where a webhook goes, once its URL was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// TLS.
    pub is_https: bool,
    /// The name or address, without brackets.
    pub host: String,
    /// The port, the scheme's own where none is given.
    pub port: u16,
    /// The value of `Host`.
    pub authority: String,
    /// Path and query.
    pub path: String,
    /// It stands in `[webhooks] allow`.
    is_listed: bool,
    /// With its port there.
    is_listed_with_port: bool,
}

impl Receiver {
    fn line(&self) -> String {
        let host = bracketed(&self.host);
        line_to_add(&format!("{host}:{}", self.port))
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// What allows a receiver, as it stands in the configuration.
fn line_to_add(receiver: &str) -> String {
    format!("[webhooks] allow = [\"{receiver}\"]")
}

/// Checks the `webhook` of a submission; `allowed` is `[webhooks] allow`: `host` or `host:port`.
///
/// # Errors
/// 400 for what is no URL to post to, and for addresses inside this machine or network.
pub fn check(text: &str, allowed: &[String]) -> Result<Receiver, ApiError> {
    let invalid = |why: &str| {
        ApiError::bad_request(
            "webhook_invalid",
            format!("`webhook` {why}: `{}`", shown(&redacted(text))),
        )
        .field("webhook")
        .hint("give an https:// URL without user name and fragment")
    };
    if text.len() > LENGTH_MAX {
        return Err(invalid("is longer than 2,048 characters"));
    }
    if text.chars().any(char::is_control) {
        return Err(invalid("has a control character"));
    }
    let Ok(url) = Url::parse(text) else {
        return Err(invalid("is not a URL"));
    };
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("must begin with https:// or http://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("must not have a user name or password in it"));
    }
    if url.fragment().is_some() {
        return Err(invalid("must not have a fragment"));
    }
    let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
        return Err(invalid("names no host"));
    };
    let port = url.port_or_known_default().unwrap_or(443);
    let with_port = format!("{host}:{port}");
    let is_listed_as = |name: &str| {
        allowed
            .iter()
            .any(|listed| listed.eq_ignore_ascii_case(name))
    };
    let is_listed_with_port = is_listed_as(&with_port);
    let receiver = Receiver {
        is_https: url.scheme() == "https",
        host: host.trim_matches(['[', ']']).to_owned(),
        port,
        authority: url
            .port()
            .map_or_else(|| host.to_owned(), |_| with_port.clone()),
        path: match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        },
        is_listed: is_listed_with_port || is_listed_as(host),
        is_listed_with_port,
    };
    if receiver.is_listed {
        return Ok(receiver);
    }
    let forbidden = |why: String| {
        ApiError::bad_request("webhook_forbidden_address", format!("`webhook` {why}"))
            .field("webhook")
            .hint(format!(
                "if the receiver is yours, add to the configuration, and start Overspill again: {}",
                line_to_add(&with_port)
            ))
    };
    if is_forbidden_host(host) {
        return Err(forbidden(format!(
            "names an address inside this machine or network: {with_port}"
        )));
    }
    if !matches!(port, 80 | 443) {
        return Err(forbidden(format!(
            "names a port other than 443 and 80: {with_port}"
        )));
    }
    if !receiver.is_https {
        return Err(invalid("must begin with https://").hint(format!(
            "give an https:// URL; to allow http:// to this receiver, add to the configuration, and start Overspill again: {}",
            line_to_add(&with_port)
        )));
    }
    Ok(receiver)
}

/// Checks an address that a receiver's name stands for now, before anything is connected to it; `own`
/// is where this server listens.
///
/// # Errors
/// In words, for an address that nothing may be sent to, with what allows it.
pub fn check_address(
    receiver: &Receiver,
    address: std::net::SocketAddr,
    own: &[std::net::SocketAddr],
) -> Result<(), String> {
    if own.contains(&address) && !receiver.is_listed_with_port {
        return Err(format!("{address} is this server itself"));
    }
    if is_forbidden(address.ip()) && !receiver.is_listed {
        return Err(format!(
            "{} stands for {}, inside this machine or network; if the receiver is yours, add to the \
             configuration: {}",
            receiver.host,
            address.ip(),
            receiver.line()
        ));
    }
    Ok(())
}

/// Whether a URL's host, before it is resolved, is one that nothing may be sent to.
#[must_use]
pub fn is_forbidden_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return is_forbidden(address);
    }
    let name = bare.trim_end_matches('.').to_ascii_lowercase();
    let is_inside = |suffix: &str| {
        name == suffix
            || name
                .strip_suffix(suffix)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    ["localhost", "internal", "local", "localdomain", "home.arpa"]
        .into_iter()
        .any(is_inside)
        || !name.contains('.')
}

/// Whether an address is inside: this machine, a private network, or none that is routed.
#[must_use]
pub fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_forbidden_v4(v4),
        IpAddr::V6(v6) => is_forbidden_v6(v6),
    }
}

fn is_forbidden_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        // Carrier-grade NAT, protocol assignments, 6to4 relays, benchmarks.
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99)
        || (a == 198 && (b == 18 || b == 19))
}

fn is_forbidden_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_forbidden_v4(Ipv4Addr::new(a, b, c, d))
    };
    if let Some(v4) = address.to_ipv4_mapped() {
        return is_forbidden_v4(v4);
    }
    address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        // Unique local, link-local, site-local.
        || (segments[0] & 0xfe00) == 0xfc00
        || (segments[0] & 0xffc0) == 0xfe80
        || (segments[0] & 0xffc0) == 0xfec0
        // Documentation, Teredo, discard.
        || (segments[0] == 0x2001 && segments[1] == 0x0db8)
        || (segments[0] == 0x2001 && segments[1] == 0)
        || (segments[0] == 0x0100 && segments[1..4] == [0, 0, 0])
        // IPv4-compatible, NAT64 (both prefixes), 6to4.
        || (segments[..6] == [0; 6])
        || (segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] && embedded(segments[6], segments[7]))
        || (segments[..3] == [0x64, 0xff9b, 1])
        || (segments[0] == 0x2002 && embedded(segments[1], segments[2]))
}

/// A URL without what may be a secret in it.
fn redacted(text: &str) -> String {
    let end = text.find(['?', '#']).unwrap_or(text.len());
    let text = &text[..end];
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}://…{}", &text[..scheme], &text[at..])
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> &'static str {
        check(text, &["10.0.0.5:8080".into()]).map_or_else(|error| error.code(), |_| "ok")
    }

    #[test]
    fn bad_input_26_urls_that_cannot_be_posted_to() {
        for url in [
            "nonsense",
            "ftp://e.org/",
            "file:///etc/passwd",
            "gopher://e.org/",
            "https://user:pw@e.org/",
            "https://e.org/#part",
            &format!("https://e.org/{}", "a".repeat(2_048)),
        ] {
            assert_eq!(code(url), "webhook_invalid", "{url}");
        }
        assert_eq!(code("https://example.org/hook?a=b"), "ok");
    }

    #[test]
    fn bad_input_27_addresses_inside() {
        for host in [
            "127.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",
            "2130706433",
            "0x7f.1",
            "169.254.169.254",
            "[fd00::8]",
            "[64:ff9b::7f00:1]",
            "localhost",
            "a.localhost",
            "metadata.google.internal",
            "10.0.0.5",
            "100.64.0.1",
            "[2002:7f00:1::]",
        ] {
            let url = format!("http://{host}/hook");
            assert_eq!(code(&url), "webhook_forbidden_address", "{url}");
        }
        assert_eq!(code("http://10.0.0.5:8080/hook"), "ok");
        assert_eq!(code("https://8.8.8.8/hook"), "ok");
        assert_eq!(code("http://8.8.8.8/hook"), "webhook_invalid");
        assert_eq!(code("https://e.org:8443/"), "webhook_forbidden_address");
    }

    #[test]
    fn f31_every_address_is_checked_where_it_is_connected_to() {
        let at = |text: &str| text.parse::<std::net::SocketAddr>().unwrap();
        let receiver = check("https://e.org/", &[]).unwrap();
        assert_eq!(check_address(&receiver, at("8.8.8.8:443"), &[]), Ok(()));
        for inside in ["127.0.0.1:443", "[::ffff:10.0.0.1]:443", "[fd00::1]:443"] {
            let why = check_address(&receiver, at(inside), &[]).unwrap_err();
            assert!(why.contains("[webhooks] allow = [\"e.org:443\"]"), "{why}");
        }
        let own = [at("8.8.8.8:443")];
        assert!(check_address(&receiver, own[0], &own).is_err());
        let listed = check("https://e.org/", &["e.org".into()]).unwrap();
        assert_eq!(check_address(&listed, at("10.0.0.1:443"), &[]), Ok(()));
        assert!(check_address(&listed, own[0], &own).is_err());
    }
}
