//! The bad inputs of the contract, by their numbers.

use std::sync::atomic::Ordering;

use super::rig::Rig;

async fn run_refused(rig: &Rig, body: &[u8]) -> (u16, String) {
    let answer = rig.post_bytes("/v2/tts/run", body).await;
    let json = answer.json();
    assert_eq!(json["status"], answer.status, "{json}");
    for field in ["error", "code", "title", "detail", "request_id"] {
        assert!(json[field].is_string(), "{field} in {json}");
    }
    (answer.status, answer.field("code"))
}

#[tokio::test]
async fn inputs_1_to_12_bodies() {
    let rig = Rig::start().await;
    let deep = format!("{{\"input\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    let brackets = "[".repeat(1_000_000);
    let digits = format!("{{\"input\":{}}}", "9".repeat(100_000));
    let cases: [(&[u8], &str); 15] = [
        (b"", "body_empty"),
        (b"hello", "json_invalid"),
        (b"{\"input\":1", "json_invalid"),
        (b"[1]", "json_not_object"),
        (b"\"x\"", "json_not_object"),
        (b"null", "json_not_object"),
        (b"{\"prompt\":\"x\"}", "input_missing"),
        (b"{\"input\":null}", "input_missing"),
        (deep.as_bytes(), "json_too_deep"),
        (brackets.as_bytes(), "json_too_deep"),
        (b"{\"input\":{\"v\":NaN}}", "json_non_finite"),
        (b"{\"input\":[-Infinity]}", "json_non_finite"),
        (b"{\"input\":1e999}", "number_out_of_range"),
        (digits.as_bytes(), "number_out_of_range"),
        (b"{\"input\":\"\xff\xfe\"}", "json_bad_utf8"),
    ];
    for (body, code) in cases {
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        assert_eq!(run_refused(&rig, body).await, (400, code.into()), "{shown}");
    }
    let position = rig.post("/v2/tts/run", "{\n \"input\": ]").await;
    assert!(
        position.field("error").contains("line 2 column 11"),
        "{}",
        position.text()
    );
}

#[tokio::test]
async fn inputs_5_9_11_12_what_is_kept_byte_for_byte() {
    let rig = Rig::start().await;
    for input in [
        "{}",
        "9007199254740993",
        "{\"a\": [1.10, 1e2],  \"b\":\"\\u0000 \\ud800\"}",
        "false",
        "\"text\"",
    ] {
        let body = format!("\u{feff}{{\"input\": {input} }}");
        let answer = rig.post("/v2/tts/run", &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let taken = rig.worker().take().await.text();
        assert!(taken.contains(&format!("\"input\":{input}}}")), "{taken}");
        let id = answer.field("id");
        assert_eq!(rig.worker().done(&id, "{\"output\":1}").await.status, 200);
    }
}

#[tokio::test]
async fn inputs_13_and_19_too_large_is_refused_before_it_is_read() {
    let rig = Rig::start().await;
    for (path, length) in [("/v2/tts/run", 10_000_001), ("/v2/tts/runsync", 20_000_001)] {
        // Nothing of the body is sent: the announced length is enough.
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n\
             Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n",
            rig.key
        );
        let answer = rig.raw(request.as_bytes()).await;
        assert_eq!(
            (answer.status, answer.field("code")),
            (413, "body_too_large".into())
        );
        assert!(answer.field("error").contains("0000"), "{}", answer.text());
    }
    let chunks = format!(
        "POST /v2/tts/run HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
        rig.key
    );
    let mut request = chunks.into_bytes();
    for _ in 0..11 {
        request.extend_from_slice(b"F4240\r\n");
        request.resize(request.len() + 1_000_000, b' ');
        request.extend_from_slice(b"\r\n");
    }
    assert_eq!(rig.raw(&request).await.status, 413);
}

#[tokio::test]
async fn inputs_14_16_17_framing_and_encoding() {
    let rig = Rig::start().await;
    let head = |more: &str| {
        format!(
            "POST /v2/tts/run HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n{more}\r\n",
            rig.key
        )
    };
    let short = rig.raw(head("Content-Length: 50\r\n").as_bytes()).await;
    assert_eq!(
        (short.status, short.field("code")),
        (408, "body_timeout".into())
    );
    assert_eq!(short.header("connection"), Some("close"));
    let broken = format!("{}zz\r\nx", head("Transfer-Encoding: chunked\r\n"));
    assert_eq!(rig.raw(broken.as_bytes()).await.status, 400);
    for encoding in ["gzip", "br", "zip"] {
        let more = format!("Content-Encoding: {encoding}\r\nContent-Length: 3\r\n");
        let answer = rig.raw(format!("{}abc", head(&more)).as_bytes()).await;
        assert_eq!(answer.status, 415, "{encoding}");
    }
}

#[tokio::test]
async fn inputs_21_to_24_paths() {
    let rig = Rig::start().await;
    let answer = rig.post("/v2/ttss/run", "{\"input\":1}").await;
    assert_eq!(answer.field("code"), "endpoint_not_found");
    assert!(answer.field("hint").contains("`tts`"), "{}", answer.text());
    let unknown = "/v2/tts/status/01928a4b-1111-7222-8333-0123456789ab-u1";
    let missing = rig.get(unknown).await;
    assert_eq!(
        (missing.status, missing.field("error")),
        (404, "job not found".into())
    );
    let long = format!("/v2/tts/status/{}", "a".repeat(3_000));
    for path in [
        long.as_str(),
        "/v2/tts/status/%CE%B1",
        "/v2/tts/status/x'--",
    ] {
        let answer = rig.get(path).await;
        assert_eq!(
            (answer.status, answer.field("code")),
            (404, "job_not_found".into())
        );
    }
    for path in [
        "/v2/tts/status/..%2f..%2fx",
        "/v2/tts/status/%00",
        "/v2/tts/nothing",
        "/nowhere",
    ] {
        assert_eq!(rig.get(path).await.status, 404, "{path}");
    }
    // A job of another endpoint is no job of this one.
    let id = rig.submit("1").await;
    assert_eq!(rig.get(&format!("/v2/sdxl/status/{id}")).await.status, 404);
    assert_eq!(
        rig.get(&format!("/v2/abc123def456/status/{id}"))
            .await
            .status,
        200
    );
    let answer = rig.send("DELETE", "/v2/tts/run", &[], b"").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    let answer = rig.send("TRACE", "/v2/tts/health", &[], b"").await;
    assert_eq!(answer.status, 405);
}

#[tokio::test]
async fn inputs_26_to_32_fields() {
    let rig = Rig::start().await;
    for (rest, code, field) in [
        ("\"webhook\":5", "type_mismatch", "webhook"),
        ("\"webhook\":\"ftp://x.org\"", "webhook_invalid", "webhook"),
        (
            "\"webhook\":\"http://127.0.0.1/\"",
            "webhook_forbidden_address",
            "webhook",
        ),
        ("\"policy\":[]", "type_mismatch", "policy"),
        (
            "\"policy\":{\"executionTimeout\":4999}",
            "out_of_range",
            "policy.executionTimeout",
        ),
        (
            "\"policy\":{\"executionTimeout\":604800001}",
            "out_of_range",
            "policy.executionTimeout",
        ),
        (
            "\"policy\":{\"executionTimeout\":6000.5}",
            "out_of_range",
            "policy.executionTimeout",
        ),
        (
            "\"policy\":{\"executionTimeout\":\"6000\"}",
            "out_of_range",
            "policy.executionTimeout",
        ),
        (
            "\"policy\":{\"executionTimeout\":-1}",
            "out_of_range",
            "policy.executionTimeout",
        ),
        ("\"policy\":{\"ttl\":9999}", "out_of_range", "policy.ttl"),
        (
            "\"policy\":{\"ttl\":604800001}",
            "out_of_range",
            "policy.ttl",
        ),
        (
            "\"policy\":{\"lowPriority\":\"yes\"}",
            "type_mismatch",
            "policy.lowPriority",
        ),
        ("\"s3Config\":\"x\"", "type_mismatch", "s3Config"),
    ] {
        let body = format!("{{\"input\":{{}},{rest}}}");
        let answer = rig.post("/v2/tts/run", &body).await;
        let seen = (answer.status, answer.field("code"), answer.field("field"));
        assert_eq!(seen, (400, code.into(), field.into()), "{rest}");
    }
    let warned = "{\"input\":1,\"policy\":{\"ttl\":10000,\"executionTimeout\":20000},\"other\":1}";
    let answer = rig.post("/v2/tts/run", warned).await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.field("warning").contains("policy.ttl"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn input_33_idempotency() {
    let rig = Rig::start().await;
    let send = |key: String, body: &'static str| {
        let rig = &rig;
        async move {
            let headers = [
                ("Authorization", rig.key.as_str()),
                ("Idempotency-Key", &key),
            ];
            rig.send("POST", "/v2/tts/run", &headers, body.as_bytes())
                .await
        }
    };
    let first = send("order 1".into(), "{\"input\":{\"a\":1}}").await;
    assert_eq!(
        (first.status, first.header("idempotent-replayed")),
        (200, None)
    );
    let again = send("order 1".into(), " {\"input\" : {\"a\": 1} }").await;
    assert_eq!(again.field("id"), first.field("id"));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let other = send("order 1".into(), "{\"input\":{\"a\":2}}").await;
    assert_eq!(
        (other.status, other.field("code")),
        (409, "idempotency_conflict".into())
    );
    for key in [String::new(), "a".repeat(256), "a\tb".into()] {
        let answer = send(key.clone(), "{\"input\":1}").await;
        assert_eq!(answer.status, 400, "{key:?}");
    }
    // At once: one job, however many ask for it.
    let (a, b) = tokio::join!(
        send("order 2".into(), "{\"input\":1}"),
        send("order 2".into(), "{\"input\":1}")
    );
    assert_eq!(a.field("id"), b.field("id"));
}

#[tokio::test]
async fn inputs_34_to_37_looking_cancelling_purging() {
    let rig = Rig::start().await;
    let id = rig.submit("1").await;
    for query in ["?ttl=abc", "?wait=-1", "?wait=99999999", "?wait=x"] {
        let answer = rig.get(&format!("/v2/tts/status/{id}{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
    }
    let answer = rig.post("/v2/tts/runsync?wait=999", "{\"input\":1}").await;
    assert_eq!(
        answer.field("error"),
        "wait is invalid; must be between 1000 and 300000"
    );
    let other = rig.submit("2").await;
    let purged = rig.post("/v2/tts/purge-queue", "{}").await;
    assert_eq!(purged.text(), "{\"removed\":2,\"status\":\"completed\"}");
    for _ in 0..2 {
        let path = format!("/v2/tts/cancel/{other}");
        let answer = rig.post(&path, "").await;
        assert_eq!(
            (answer.status, answer.field("status")),
            (200, "CANCELLED".into())
        );
    }
    assert_eq!(rig.post("/v2/tts/purge-queue", "").await.status, 200);
    let third = rig.post("/v2/tts/purge-queue", "").await;
    assert_eq!(third.status, 429);
    assert!(third.header("retry-after").is_some());
}

#[tokio::test]
async fn a_full_disk_and_a_failed_commit_are_told_apart() {
    let rig = Rig::start().await;
    rig.fake.full.store(true, Ordering::SeqCst);
    let answer = rig.post("/v2/tts/run", "{\"input\":1}").await;
    assert_eq!(
        (answer.status, answer.field("code")),
        (507, "storage_full".into())
    );
    rig.fake.full.store(false, Ordering::SeqCst);
    rig.fake.failing.store(1, Ordering::SeqCst);
    let answer = rig.post("/v2/tts/run", "{\"input\":1}").await;
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
}
