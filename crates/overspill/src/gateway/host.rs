//! Keeps browsers of other sites away: `Host`, `Origin` and `Sec-Fetch-Site`, on every method.
//!
//! Loopback is no authentication. A page of any site can make its visitor's browser call this
//! server, and by rebinding its name even read the answers; the browser says so in these headers.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::error::{ApiError, shown};

/// Which values of `Host` are answered.
#[derive(Debug, Clone, Default)]
pub struct HostRules {
    /// Host names and addresses without ports, in lower case.
    allowed: Vec<String>,
    /// Origins whose pages may follow a job with its token.
    origins: Vec<String>,
}

impl HostRules {
    /// `localhost`, the connection's own address, and these names (with or without a port).
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let mut allowed = vec!["localhost".to_owned()];
        allowed.extend(names.into_iter().map(|name| host_of(&name).to_lowercase()));
        Self {
            allowed,
            origins: Vec::new(),
        }
    }

    /// The same, with origins (`https://app.example`) whose pages may follow a job with its token.
    #[must_use]
    pub fn with_origins(mut self, origins: impl IntoIterator<Item = String>) -> Self {
        self.origins = origins
            .into_iter()
            .map(|origin| origin.trim_end_matches('/').to_lowercase())
            .collect();
        self
    }

    /// Checks where a request says it goes and where it comes from. With `is_page`, the request brings a job's token
    /// and may come from an allowed origin, which is given back: its page may read the answer.
    ///
    /// # Errors
    /// 421 for a foreign or missing `Host`, 403 for a request that a page of another site made.
    pub fn check(
        &self,
        headers: &HeaderMap,
        local: IpAddr,
        is_page: bool,
    ) -> Result<Option<HeaderValue>, ApiError> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().unwrap_or_default(),
            _ => "",
        };
        if !self.allows(host_of(host), local) {
            let message = format!(
                "this server does not answer to the host name `{}`",
                shown(host)
            );
            return Err(ApiError::new(
                StatusCode::MISDIRECTED_REQUEST,
                "host_not_allowed",
                message,
            )
            .hint("if the name is yours, add it to `allowed_hosts` in the configuration")
            .closing());
        }
        if let Some(sent) = headers.get(header::ORIGIN) {
            let origin = sent.to_str().unwrap_or_default();
            let is_allowed = |allowed: &String| allowed.eq_ignore_ascii_case(origin);
            if is_page && self.origins.iter().any(is_allowed) {
                return Ok(Some(sent.clone()));
            }
            let authority = origin.split_once("://").map_or("", |(_, rest)| rest);
            let is_same = !authority.is_empty() && authority.eq_ignore_ascii_case(host);
            if !is_same {
                let message = format!("a page of `{}` may not call this server", shown(origin));
                return Err(if is_page {
                    foreign(&message)
                        .hint("name its origin in `allowed_origins` of the configuration")
                } else {
                    foreign(&message)
                });
            }
        }
        match headers.get("sec-fetch-site").map(|v| v.as_bytes()) {
            None | Some(b"same-origin" | b"none") => Ok(None),
            // A picture in a page: the browser shows it, and the page cannot read it. The token was given to it.
            Some(_) if is_page && !self.origins.is_empty() => Ok(None),
            Some(_) => Err(foreign("a page of another site may not call this server")),
        }
    }

    fn allows(&self, host: &str, local: IpAddr) -> bool {
        if host.is_empty() {
            return false;
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>()
            && (address == local || address.is_loopback())
        {
            // An address cannot be rebound: the browser's page would have to be this server's own.
            return true;
        }
        self.allowed
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(host))
    }
}

fn foreign(message: &str) -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "origin_not_allowed",
        message.to_owned(),
    )
    .hint("call the API from a server or a script, not from another site's page")
    .closing()
}

/// `host`, `host:port` or `[v6]:port` without its port.
fn host_of(text: &str) -> &str {
    if text.starts_with('[') {
        return text.find(']').map_or(text, |end| &text[..=end]);
    }
    match text.rsplit_once(':') {
        Some((host, _)) if !host.contains(':') => host,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&'static str, &'static str)]) -> Result<(), u16> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let rules = HostRules::new(["gpu.example.com:443".to_owned()]);
        rules
            .check(&headers, "192.0.2.7".parse().unwrap(), false)
            .map(|origin| assert_eq!(origin, None))
            .map_err(|error| error.status().as_u16())
    }

    #[test]
    fn a_page_with_a_token_comes_from_an_allowed_origin() {
        let rules = HostRules::new([]).with_origins(["https://App.example/".to_owned()]);
        let check = |pairs: &[(&'static str, &'static str)], is_page| {
            let mut headers = HeaderMap::new();
            headers.append("host", HeaderValue::from_static("localhost"));
            for (name, value) in pairs {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let local = "127.0.0.1".parse().unwrap();
            let checked = rules.check(&headers, local, is_page);
            checked.map_err(|error| error.status().as_u16())
        };
        let app = [
            ("origin", "https://app.example"),
            ("sec-fetch-site", "cross-site"),
        ];
        assert_eq!(check(&app, true).unwrap().unwrap(), "https://app.example");
        assert_eq!(check(&app, false), Err(403));
        let other = [("origin", "https://app.example.evil")];
        assert_eq!(check(&other, true), Err(403));
        assert_eq!(check(&[("sec-fetch-site", "cross-site")], true), Ok(None));
        assert_eq!(check(&[("sec-fetch-site", "cross-site")], false), Err(403));
    }

    #[test]
    fn hosts_are_ours_or_refused() {
        for host in [
            "localhost:8080",
            "127.0.0.1",
            "[::1]:1",
            "192.0.2.7:80",
            "GPU.example.com",
        ] {
            assert_eq!(check(&[("host", host)]), Ok(()), "{host}");
        }
        for host in ["evil.example", "", "192.0.2.8", "localhost.evil.example"] {
            assert_eq!(check(&[("host", host)]), Err(421), "{host}");
        }
        assert_eq!(check(&[]), Err(421));
        assert_eq!(check(&[("host", "localhost"), ("host", "evil")]), Err(421));
    }

    #[test]
    fn other_sites_pages_are_refused() {
        let with = |name, value| check(&[("host", "localhost:8080"), (name, value)]);
        assert_eq!(with("origin", "http://localhost:8080"), Ok(()));
        assert_eq!(with("origin", "https://evil.example"), Err(403));
        assert_eq!(with("origin", "http://localhost:3000"), Err(403));
        assert_eq!(with("origin", "null"), Err(403));
        assert_eq!(with("sec-fetch-site", "cross-site"), Err(403));
        assert_eq!(with("sec-fetch-site", "same-site"), Err(403));
        assert_eq!(with("sec-fetch-site", "none"), Ok(()));
    }
}
