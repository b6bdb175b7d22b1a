//! Who may do what: keys, scopes, hosts, origins.

use super::rig::Rig;
use crate::auth::scope::Scope;
use crate::gateway::route::{Access, ROUTES};

#[tokio::test]
async fn input_38_missing_wrong_and_weak_keys() {
    let rig = Rig::start().await;
    let missing = rig.send("GET", "/v2/tts/health", &[], b"").await;
    let wrong = rig
        .send(
            "GET",
            "/v2/tts/health",
            &[("Authorization", "Bearer nobodys-key-123")],
            b"",
        )
        .await;
    assert_eq!(
        (missing.status, missing.field("code")),
        (401, "auth_missing".into())
    );
    assert_eq!(
        (wrong.status, wrong.field("code")),
        (401, "auth_invalid".into())
    );
    assert_eq!(missing.body.len(), wrong.body.len());
    let reader = rig.mint_scope(Scope::JobsRead).await;
    let weak = rig
        .send(
            "POST",
            "/v2/tts/run",
            &[("Authorization", &reader)],
            b"{\"input\":1}",
        )
        .await;
    assert_eq!(
        (weak.status, weak.field("code")),
        (403, "scope_missing".into())
    );
    assert!(
        weak.field("error").contains("jobs:submit"),
        "{}",
        weak.text()
    );
    let purge = rig
        .send(
            "POST",
            "/v2/tts/purge-queue",
            &[("Authorization", &reader)],
            b"",
        )
        .await;
    assert_eq!(purge.status, 403);
}

#[tokio::test]
async fn inputs_39_and_40_forms_of_the_header() {
    let rig = Rig::start().await;
    let status = |headers: Vec<(&'static str, String)>| {
        let rig = &rig;
        async move {
            let headers: Vec<(&str, &str)> = headers
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            rig.send("GET", "/v2/tts/health", &headers, b"")
                .await
                .status
        }
    };
    let key = &rig.key;
    let one = |value: String| vec![("Authorization", value)];
    assert_eq!(status(one(format!("Bearer {key}"))).await, 200);
    assert_eq!(status(one(key.clone())).await, 200);
    assert_eq!(
        status(vec![("authorization", format!("bearer {key}"))]).await,
        200
    );
    assert_eq!(status(one(format!("bearer  {key}"))).await, 401);
    let twice = vec![
        ("Authorization", key.clone()),
        ("Authorization", key.clone()),
    ];
    assert_eq!(status(twice).await, 400);
    for value in ["' OR '1'='1", "schlüssel", ""] {
        assert_eq!(status(one(value.into())).await, 401, "{value}");
    }
    assert_eq!(status(one("a".repeat(1_000_000))).await, 401);
    let answer = rig
        .send("GET", &format!("/v2/tts/health?api_key={key}"), &[], b"")
        .await;
    assert_eq!(
        (answer.status, answer.field("code")),
        (400, "key_in_query".into())
    );
}

#[tokio::test]
async fn input_41_hosts_and_origins_on_every_method() {
    let rig = Rig::start().await;
    for method in ["GET", "POST", "DELETE", "PATCH", "OPTIONS", "PUT"] {
        let request = |host: &str, more: &str| {
            format!(
                "{method} /api/v1/keys HTTP/1.1\r\n{host}Authorization: {}\r\n{more}Content-Length: 0\r\n\r\n",
                rig.key
            )
        };
        let evil = rig
            .raw(request("Host: evil.example\r\n", "").as_bytes())
            .await;
        assert_eq!(
            (evil.status, evil.field("code")),
            (421, "host_not_allowed".into()),
            "{method}"
        );
        let foreign = rig
            .raw(request("Host: localhost\r\n", "Origin: https://evil.example\r\n").as_bytes())
            .await;
        assert_eq!(foreign.status, 403, "{method}");
        let cross = rig
            .raw(request("Host: localhost\r\n", "Sec-Fetch-Site: cross-site\r\n").as_bytes())
            .await;
        assert_eq!(cross.status, 403, "{method}");
    }
    let request = format!("GET /livez HTTP/1.0\r\nAuthorization: {}\r\n\r\n", rig.key);
    assert_eq!(rig.raw(request.as_bytes()).await.status, 421);
}

#[tokio::test]
async fn every_route_but_the_probes_asks_for_a_key() {
    let rig = Rig::start().await;
    for route in ROUTES {
        let path = route
            .path
            .replace("{endpoint}", "tts")
            .replace(['{', '}', '*'], "");
        for method in route.methods {
            let answer = rig.send(method.as_str(), &path, &[], b"").await;
            let expected = match route.access {
                // A file of this name is not there.
                Access::Open if path == "/assets/file" => 404,
                Access::Open => 200,
                // Nobody is told what it is that they do not know.
                Access::Token => 404,
                _ => 401,
            };
            assert_eq!(answer.status, expected, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn every_scope_opens_its_own_routes_only() {
    let rig = Rig::start().await;
    for scope in Scope::ALL {
        let key = rig.mint_scope(scope).await;
        for route in ROUTES {
            let Access::Key(needed) = route.access else {
                continue;
            };
            let path = route
                .path
                .replace("{endpoint}", "nothing")
                .replace(['{', '}', '*'], "");
            let method = route.methods[0].as_str();
            let answer = rig
                .send(method, &path, &[("Authorization", &key)], b"{}")
                .await;
            let may = scope == needed || scope == Scope::Admin;
            assert_eq!(answer.status != 403, may, "{scope}: {method} {path}");
        }
    }
}

#[tokio::test]
async fn a_key_of_one_endpoint_knows_of_no_other() {
    let rig = Rig::start().await;
    let scopes = [Scope::JobsSubmit, Scope::JobsRead, Scope::JobsCancel];
    let key = rig
        .mint(scopes.into_iter().collect(), Some(vec!["sdxl".into()]))
        .await;
    let id = rig.submit("1").await;
    let headers = [("Authorization", key.as_str())];
    for (method, path) in [
        ("POST", "/v2/tts/run".to_owned()),
        ("GET", format!("/v2/tts/status/{id}")),
        ("GET", format!("/v2/tts/stream/{id}")),
        ("POST", format!("/v2/tts/cancel/{id}")),
        ("GET", format!("/v2/sdxl/status/{id}")),
        ("GET", format!("/api/v1/jobs/{id}")),
        ("GET", "/api/v1/endpoints/tts".to_owned()),
    ] {
        let answer = rig.send(method, &path, &headers, b"").await;
        assert_eq!(answer.status, 404, "{method} {path}");
        assert!(!answer.text().contains("did you mean"), "{}", answer.text());
    }
    let list = rig
        .send("GET", "/api/v1/endpoints", &headers, b"")
        .await
        .json();
    assert_eq!(list["endpoints"].as_array().unwrap().len(), 1);
    let jobs = rig.send("GET", "/api/v1/jobs", &headers, b"").await.json();
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn without_auth_everyone_may_but_hosts_are_checked() {
    let rig = Rig::with(|options| options.auth_required = false).await;
    assert_eq!(
        rig.send("GET", "/v2/tts/health", &[], b"").await.status,
        200
    );
    let evil = "GET /v2/tts/health HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    assert_eq!(rig.raw(evil.as_bytes()).await.status, 421);
}

#[tokio::test]
async fn a_submission_of_our_own_is_a_loop() {
    let rig = Rig::start().await;
    let headers = |installation: &'static str| {
        [
            ("Authorization", rig.key.clone()),
            ("X-Overspill-Installation", installation.to_owned()),
        ]
    };
    for (installation, status) in [("this-one", 400), ("another", 200)] {
        let headers = headers(installation);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let answer = rig
            .send("POST", "/v2/tts/run", &headers, b"{\"input\":1}")
            .await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
}
