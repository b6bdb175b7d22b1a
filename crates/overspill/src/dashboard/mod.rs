//! The dashboard's files, as they were built into the binary.
//!
//! They hold no secrets, so they need no key: the page asks for one, and everything it shows comes
//! from `/api/v1/…` with it. No address outside this server is ever loaded.

use std::collections::HashMap;
use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use sha2::{Digest as _, Sha256};

use crate::gateway::body::{Body, Reply};

/// What the browser may do with the page: load its own files and nothing else, and be in no frame.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; \
    style-src 'self'; img-src 'self' data:; media-src 'self'; connect-src 'self'; \
    frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

/// A file of the dashboard.
struct File {
    /// Its path below the dashboard's folder.
    name: &'static str,
    plain: &'static [u8],
    gzip: Option<&'static [u8]>,
}

/// What `build.rs` found.
const FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/dashboard_files.rs"));

/// Shown at `/` by a binary that was built without the dashboard.
const NOT_BUILT: &str = include_str!("not-built.html");

/// Their entity tags.
static TAGS: LazyLock<HashMap<&'static str, HeaderValue>> = LazyLock::new(|| {
    let tag = |file: &File| {
        let digest = Sha256::digest(file.plain);
        let hex: String = digest[..12].iter().map(|b| format!("{b:02x}")).collect();
        let quoted = HeaderValue::try_from(format!("\"{hex}\""));
        (file.name, quoted.expect("hexadecimal digits make a header"))
    };
    FILES.iter().map(tag).collect()
});

/// Whether this binary has a dashboard.
#[must_use]
pub const fn is_built() -> bool {
    !FILES.is_empty()
}

/// The file of this name; the page itself is `index.html`. `None` when there is none.
#[must_use]
pub fn file(name: &str, asked: &HeaderMap) -> Option<Reply> {
    let Some(file) = FILES.iter().find(|file| file.name == name) else {
        let is_page = name == "index.html" && !is_built();
        return is_page.then(|| page(Body::from(NOT_BUILT), "no-store"));
    };
    let tag = TAGS.get(file.name)?;
    // Names of assets hold a hash of what is in them; the page's own name does not.
    let lasts = if name.starts_with("assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let known = asked.get_all(header::IF_NONE_MATCH).iter();
    if known.into_iter().any(|known| known == tag) {
        let mut reply = page(Body::default(), lasts);
        *reply.status_mut() = StatusCode::NOT_MODIFIED;
        reply.headers_mut().insert(header::ETAG, tag.clone());
        return Some(reply);
    }
    let gzip = file.gzip.filter(|_| takes_gzip(asked));
    let bytes = Bytes::from_static(gzip.unwrap_or(file.plain));
    let mut reply = page(Body::from(bytes), lasts);
    let headers = reply.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(media_type(name)),
    );
    headers.insert(header::ETAG, tag.clone());
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if gzip.is_some() {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Some(reply)
}

fn page(body: Body, lasts: &'static str) -> Reply {
    let mut reply = Response::new(body);
    let headers = reply.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, lasts),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    reply
}

fn takes_gzip(asked: &HeaderMap) -> bool {
    let values = asked.get_all(header::ACCEPT_ENCODING).iter();
    let mut words = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    words.any(|word| {
        let (name, quality) = word.split_once(';').unwrap_or((word, ""));
        name.trim() == "gzip" && !matches!(quality.trim(), "q=0" | "q=0.0")
    })
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, end)| end) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "json" => "application/json",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_always_there_and_strict() {
        let reply = file("index.html", &HeaderMap::new()).unwrap();
        assert_eq!(reply.status(), StatusCode::OK);
        let policy = reply.headers()[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        assert!(!policy.contains("unsafe") && policy.contains("default-src 'none'"));
        assert!(file("nothing.js", &HeaderMap::new()).is_none());
        assert!(!NOT_BUILT.contains("<script") && !NOT_BUILT.contains("style="));
    }

    #[test]
    fn a_file_that_is_known_is_not_sent_again() {
        for known in FILES {
            let mut asked = HeaderMap::new();
            let first = file(known.name, &asked).unwrap();
            asked.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
            let again = file(known.name, &asked).unwrap();
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{}", known.name);
        }
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        let takes = |text: &'static str| {
            let mut asked = HeaderMap::new();
            asked.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(text));
            takes_gzip(&asked)
        };
        assert!(takes("gzip, deflate, br") && takes("br;q=1.0, gzip;q=0.8"));
        assert!(!takes("br") && !takes("gzip;q=0") && !takes_gzip(&HeaderMap::new()));
    }
}
