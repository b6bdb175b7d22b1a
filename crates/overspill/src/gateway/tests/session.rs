//! A browser's session: what its cookie stands for, and what it does not.

use super::rig::{Answered, Rig};
use crate::auth::scope::{Scope, Scopes};

struct Browser {
    cookie: String,
    csrf: String,
}

async fn sign_in(rig: &Rig, key: &str) -> (Answered, Browser) {
    let bearer = format!("Bearer {key}");
    let headers = [("Authorization", bearer.as_str())];
    let answer = rig.send("POST", "/api/v1/session", &headers, b"").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let set = answer.header("set-cookie").unwrap().to_owned();
    let browser = Browser {
        cookie: set.split(';').next().unwrap().to_owned(),
        csrf: answer.field("csrf"),
    };
    (answer, browser)
}

impl Browser {
    async fn send(&self, rig: &Rig, method: &str, path: &str, csrf: &str) -> Answered {
        let headers = [("Cookie", self.cookie.as_str()), ("X-Overspill-CSRF", csrf)];
        rig.send(method, path, &headers, b"").await
    }
}

#[tokio::test]
async fn a_session_stands_for_its_key() {
    let rig = Rig::start().await;
    let (answer, browser) = sign_in(&rig, &rig.key).await;
    let set = answer.header("set-cookie").unwrap();
    assert!(
        set.contains("HttpOnly") && set.contains("SameSite=Strict"),
        "{set}"
    );
    assert!(!set.contains(&rig.key) && !answer.text().contains(&rig.key));
    let read = browser.send(&rig, "GET", "/api/v1/jobs", "").await;
    assert_eq!(read.status, 200);
    let who = browser
        .send(&rig, "GET", "/api/v1/session", "")
        .await
        .json();
    assert_eq!(
        (who["signed_in"].as_bool(), who["name"].as_str()),
        (Some(true), Some("test"))
    );
    assert_eq!(who["csrf"], browser.csrf);
    let nobody = rig.send("GET", "/api/v1/session", &[], b"").await.json();
    assert_eq!(nobody["signed_in"], false);
}

#[tokio::test]
async fn a_cookie_alone_changes_nothing() {
    let rig = Rig::start().await;
    let (_, browser) = sign_in(&rig, &rig.key).await;
    let (_, other) = sign_in(&rig, &rig.key).await;
    for wrong in ["", "guess", other.csrf.as_str()] {
        for (method, path) in [
            ("POST", "/v2/tts/purge-queue"),
            ("DELETE", "/api/v1/keys/x"),
            ("DELETE", "/api/v1/session"),
        ] {
            let answer = browser.send(&rig, method, path, wrong).await;
            assert_eq!(
                (answer.status, answer.field("code")),
                (403, "csrf_missing".into()),
                "{path}"
            );
        }
    }
    let answer = browser
        .send(&rig, "POST", "/v2/tts/purge-queue", &browser.csrf)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn a_session_has_its_keys_scopes_and_no_more() {
    let rig = Rig::start().await;
    let reader = rig.mint_scope(Scope::JobsRead).await;
    let (_, browser) = sign_in(&rig, &reader).await;
    let purge = browser
        .send(&rig, "POST", "/v2/tts/purge-queue", &browser.csrf)
        .await;
    assert_eq!(
        (purge.status, purge.field("code")),
        (403, "scope_missing".into())
    );
    let submitter = rig.mint_scope(Scope::JobsSubmit).await;
    let bearer = format!("Bearer {submitter}");
    let headers = [("Authorization", bearer.as_str())];
    let refused = rig.send("POST", "/api/v1/session", &headers, b"").await;
    assert_eq!(refused.status, 403);
    let limited = rig.mint(Scopes::ADMIN, Some(vec!["tts".into()])).await;
    let (_, browser) = sign_in(&rig, &limited).await;
    for path in [
        "overview",
        "live",
        "series",
        "pools",
        "decisions",
        "spending",
        "settings",
    ] {
        let answer = browser
            .send(&rig, "GET", &format!("/api/v1/{path}"), "")
            .await;
        assert_eq!(
            (answer.status, answer.field("code")),
            (403, "key_limited".into()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_session_ends_with_its_key_or_by_hand() {
    let rig = Rig::start().await;
    let reader = rig.mint_scope(Scope::JobsRead).await;
    let (_, browser) = sign_in(&rig, &reader).await;
    let listed = rig.get("/api/v1/keys").await.json();
    let keys = listed["keys"].as_array().unwrap();
    let id = |key: &serde_json::Value| key["id"].as_str().unwrap().to_owned();
    let is_reader = |key: &&serde_json::Value| key["scopes"][0] == "jobs:read";
    let id = keys.iter().find(is_reader).map(id).unwrap();
    let bearer = format!("Bearer {}", rig.key);
    let headers = [("Authorization", bearer.as_str())];
    let path = format!("/api/v1/keys/{id}");
    assert_eq!(rig.send("DELETE", &path, &headers, b"").await.status, 200);
    assert_eq!(
        browser.send(&rig, "GET", "/api/v1/jobs", "").await.status,
        401
    );

    let (_, browser) = sign_in(&rig, &rig.key).await;
    let end = browser
        .send(&rig, "DELETE", "/api/v1/session", &browser.csrf)
        .await;
    assert_eq!(end.status, 204);
    assert!(end.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(
        browser.send(&rig, "GET", "/api/v1/jobs", "").await.status,
        401
    );
}

#[tokio::test]
async fn forged_cookies_are_nobody() {
    let rig = Rig::start().await;
    let (_, browser) = sign_in(&rig, &rig.key).await;
    let forged = browser.cookie.replacen("=1", "=2", 1);
    let longer = format!("{}x", browser.cookie);
    for cookie in [forged, longer, "overspill_0=".into(), "=".into()] {
        let answer = rig
            .send("GET", "/api/v1/jobs", &[("Cookie", &cookie)], b"")
            .await;
        assert_eq!(
            (answer.status, answer.field("code")),
            (401, "auth_missing".into()),
            "{cookie}"
        );
    }
}

#[tokio::test]
async fn tls_before_a_trusted_proxy_binds_the_cookie_to_the_host() {
    let rig = Rig::with(|options| {
        options.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let bearer = format!("Bearer {}", rig.key);
    let headers = [
        ("Authorization", bearer.as_str()),
        ("X-Forwarded-Proto", "https"),
    ];
    let answer = rig.send("POST", "/api/v1/session", &headers, b"").await;
    let set = answer.header("set-cookie").unwrap();
    assert!(
        set.starts_with("__Host-") && set.ends_with("; Secure"),
        "{set}"
    );
}

#[tokio::test]
async fn the_page_is_strict_and_needs_no_key() {
    let rig = Rig::start().await;
    let page = rig.send("GET", "/", &[], b"").await;
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.contains("default-src 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(
        rig.send("GET", "/assets/none.js", &[], b"").await.status,
        404
    );
    assert_eq!(
        rig.send("GET", "/assets/..%2findex.html", &[], b"")
            .await
            .status,
        404
    );
    let foreign = [("Origin", "https://evil.example")];
    assert_eq!(rig.send("GET", "/", &foreign, b"").await.status, 403);
}

#[tokio::test]
async fn payloads_are_shown_cut_or_as_files() {
    let rig = Rig::start().await;
    let input = "{\"text\":\"<script>alert(1)</script>\",\"url\":\"https://x.example/a\"}";
    let job = rig.submit(input).await;
    let whole = rig.get(&format!("/api/v1/jobs/{job}/input")).await;
    assert_eq!((whole.status, whole.text().as_str()), (200, input));
    assert_eq!(whole.header("content-type"), Some("application/json"));
    assert!(
        whole
            .header("content-disposition")
            .unwrap()
            .starts_with("attachment")
    );
    let preview = rig
        .get(&format!("/api/v1/jobs/{job}/input?preview=1"))
        .await
        .json();
    assert_eq!(preview["links"][0], "https://x.example/a");
    assert_eq!(preview["is_cut"], false);
    let none = rig.get(&format!("/api/v1/jobs/{job}/output")).await;
    assert_eq!(
        (none.status, none.field("code")),
        (404, "payload_missing".into())
    );
    let other = rig.get(&format!("/api/v1/jobs/{job}/secrets")).await;
    assert_eq!(
        (other.status, other.field("code")),
        (404, "payload_not_found".into())
    );
    let medium = rig
        .get(&format!("/api/v1/jobs/{job}/input?media=/text"))
        .await;
    assert_eq!(
        (medium.status, medium.field("code")),
        (404, "medium_not_found".into())
    );
}
