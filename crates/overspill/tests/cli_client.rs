//! The commands that talk to a server, against one that says what the test wants.

use serde_json::json;

use super::support::{Answer, FakeServer, Machine};

const KEY: &str = "ovs_user_test_key_0123456789";

fn ok(value: &serde_json::Value) -> Answer {
    Answer(200, value.to_string())
}

/// A server that answers every request alike.
async fn always(status: u16, body: serde_json::Value) -> FakeServer {
    FakeServer::start(move |_, _| Answer(status, body.to_string())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_submitted_and_followed_to_its_end() {
    let server = FakeServer::start(|seen, before| match (seen.line.as_str(), before) {
        ("POST /v2/tts/run", _) => ok(&json!({ "id": "j1", "status": "IN_QUEUE" })),
        (_, 1) => ok(&json!({ "id": "j1", "status": "IN_QUEUE" })),
        (_, 2) => ok(&json!({ "id": "j1", "status": "IN_PROGRESS", "output": "50 %" })),
        _ => ok(&json!({
            "id": "j1", "status": "COMPLETED", "output": { "text": "hi" }, "delayTime": 1200,
            "executionTime": 340, "workerId": "w1",
        })),
    })
    .await;
    let machine = Machine::new().with("OVERSPILL_API_KEY", KEY);
    let ran = machine
        .run_beside(&server, &["run", "tts", "--input", "{\"a\": 1}"])
        .await;
    insta::assert_snapshot!(ran, @r#"
    exit 0
    --- stdout
    {
      "text": "hi"
    }
    --- stderr
    tts j1: IN_QUEUE
    tts j1: IN_PROGRESS
    completed, waited 1.2 s, ran 340 ms on w1
    "#);
    let seen = server.seen();
    assert_eq!(seen[0].body, "{\"input\":{\"a\":1}}");
    assert_eq!(
        seen[0].key.as_deref(),
        Some(format!("Bearer {KEY}").as_str())
    );
    assert_eq!(seen[3].line, "GET /v2/tts/status/j1");
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_stream_are_printed_as_they_come() {
    let server = FakeServer::start(|seen, before| match (seen.line.as_str(), before) {
        ("POST /v2/tts/run", _) => ok(&json!({ "id": "j1", "status": "IN_QUEUE" })),
        ("GET /v2/tts/stream/j1", 1) => ok(
            &json!({ "status": "IN_PROGRESS", "stream": [{ "output": "one" }, { "output": [2] }] }),
        ),
        ("GET /v2/tts/stream/j1", _) => ok(&json!({ "status": "COMPLETED", "stream": [] })),
        _ => ok(&json!({ "id": "j1", "status": "COMPLETED", "output": ["one", [2]] })),
    })
    .await;
    let machine = Machine::new();
    let ran = machine
        .run_beside(&server, &["run", "tts", "--input", "1", "--stream"])
        .await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "one\n[2]\n"), "{ran}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_fails_the_command() {
    let server = FakeServer::start(|seen, _| match seen.line.as_str() {
        "POST /v2/tts/run" => ok(&json!({ "id": "j1", "status": "IN_QUEUE" })),
        _ => ok(&json!({ "id": "j1", "status": "FAILED", "error": "no\u{1b}[2J voice" })),
    })
    .await;
    let ran = Machine::new()
        .run_beside(&server, &["run", "tts", "--input", "1"])
        .await;
    insta::assert_snapshot!(ran, @r"
    exit 1
    --- stdout
    --- stderr
    error: job j1 ended as FAILED
      caused by: no\u{1b}[2J voice
      hint: `overspill status j1` shows its attempts
    ");
    let ran = Machine::new()
        .run_beside(&server, &["run", "tts", "--input", "1", "--json"])
        .await;
    assert_eq!(ran.code, 1);
    let printed: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(printed["status"], "FAILED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_runs_out_leaves_the_job() {
    let server = always(200, json!({ "id": "j1", "status": "IN_QUEUE" })).await;
    let machine = Machine::new();
    let ran = machine
        .run_beside(&server, &["run", "tts", "--input", "1", "--wait", "300ms"])
        .await;
    assert_eq!(ran.code, 124, "{ran}");
    assert!(
        ran.stderr.contains("job j1 has not ended within 300ms"),
        "{ran}"
    );
    assert!(!server.lines().iter().any(|line| line.contains("cancel")));
    let ran = machine
        .run_beside(&server, &["run", "tts", "--input", "1", "--detach"])
        .await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "j1\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_come_from_files_and_nonsense_is_usage() {
    let server = always(
        200,
        json!({ "id": "j1", "status": "COMPLETED", "output": 5 }),
    )
    .await;
    let machine = Machine::new();
    machine.write("in.json", "{\"text\": \"ü\"}");
    let ran = machine
        .run_beside(&server, &["run", "a/../b", "--input", "@in.json"])
        .await;
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(server.seen()[0].line, "POST /v2/a%2F..%2Fb/run");
    assert_eq!(server.seen()[0].body, "{\"input\":{\"text\":\"ü\"}}");
    let ran = machine
        .run_beside(&server, &["run", "tts", "--input", "{a: 1}"])
        .await;
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("--input is not JSON"), "{ran}");
    let ran = machine
        .run_beside(&server, &["run", "tts", "--input", "@no.json"])
        .await;
    assert_eq!(ran.code, 74);
    let ran = machine
        .run_beside(&server, &["run", "tts", "--input", "1", "--wait", "5"])
        .await;
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("5 what? use 5s, 5m"), "{ran}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_keep_their_sentence_and_set_the_exit_code() {
    let flat = |error: &str| json!({ "error": error, "code": "auth_missing", "status": 401 });
    let problem = json!({
        "title": "Over budget", "detail": "the day's cap of $20.00 is reached",
        "code": "budget_exhausted", "hint": "raise per_day under [budget]", "request_id": "r1",
    });
    for (status, body, code, part) in [
        (
            401,
            flat("no key"),
            4,
            "error: no key [auth_missing]\n  hint: set OVERSPILL_API_KEY",
        ),
        (403, flat("no right"), 4, "no right"),
        (
            404,
            json!({ "error": "no endpoint `tss`" }),
            3,
            "no endpoint `tss`",
        ),
        (
            402,
            problem.clone(),
            5,
            "the day's cap of $20.00 is reached [budget_exhausted]",
        ),
        (409, problem.clone(), 5, "hint: raise per_day"),
        (
            409,
            json!({ "error": "paused", "code": "endpoint_paused" }),
            1,
            "paused",
        ),
        (400, json!({ "error": "min above max" }), 2, "min above max"),
        (503, problem, 69, "under request id r1"),
        (500, json!("<html>"), 69, "answered 500"),
        (200, json!("text"), 69, "is not understood"),
    ] {
        let server = always(status, body).await;
        let ran = Machine::new().run_beside(&server, &["status"]).await;
        assert_eq!(ran.code, code, "{status}: {ran}");
        assert!(ran.stderr.contains(part), "{status}: {ran}");
        assert!(ran.stdout.is_empty(), "{status}: {ran}");
    }
    let server = FakeServer::start(|_, _| Answer(200, "<html>login</html>".to_owned())).await;
    let ran = Machine::new().run_beside(&server, &["status"]).await;
    assert_eq!(ran.code, 69);
    assert!(
        ran.stderr.contains("answered something that is not JSON"),
        "{ran}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_does_not_follow_a_redirect() {
    let thief = always(200, json!({})).await;
    let target = thief.url();
    let server = FakeServer::start(move |_, _| Answer(302, target.clone())).await;
    let machine = Machine::new().with("OVERSPILL_API_KEY", KEY);
    let ran = machine.run_beside(&server, &["status"]).await;
    assert_eq!(ran.code, 1, "{ran}");
    assert!(thief.seen().is_empty());
}

#[test]
fn a_server_that_is_not_there_is_unavailable() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let machine = Machine::new();
    let ran = machine.run(&["jobs", "--server", &format!("http://{free}")]);
    assert_eq!(ran.code, 69, "{ran}");
    assert!(ran.stderr.contains("cannot be reached") && ran.stderr.contains("overspill serve"));
    assert_eq!(machine.run(&["jobs", "--server", "ftp://x"]).code, 2);
    machine.write("overspill.toml", "listen = 5\n");
    let ran = machine.run(&["jobs"]);
    assert!(
        ran.stderr.contains("overspill.toml cannot be used"),
        "{ran}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn address_and_key_come_from_the_configuration() {
    let server = always(200, json!({ "endpoints": [] })).await;
    let address = server.url().replace("http://", "");
    let machine = Machine::new();
    machine.write(
        "overspill.toml",
        &format!("listen = \"{address}\"\ndata_dir = \"d\"\n"),
    );
    machine.write("d/bootstrap.key", &format!("{KEY}\n"));
    let mut command = machine.command(&["status"]);
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        server.seen()[0].key.as_deref(),
        Some(format!("Bearer {KEY}").as_str())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_tables_for_people() {
    let job = json!({
        "id": "0198a", "endpoint": "tts", "status": "COMPLETED", "submitted_at_ms": 1_795_000_000_000_i64,
        "started_at_ms": 1_795_000_001_200_i64, "ended_at_ms": 1_795_000_061_200_i64, "pool": "local-1",
        "worker": "gpu0", "attempt": 1, "delay_ms": 1_200, "execution_ms": 60_000,
    });
    let waiting = json!({ "id": "0198b", "endpoint": "a\u{1b}]0;x", "status": "QUEUED" });
    let mut story = job.clone();
    story["error"] = json!(null);
    story["attempts"] =
        json!([{ "number": 1, "pool": "local-1", "started_at_ms": 1_795_000_001_200_i64 }]);
    let list = json!({ "jobs": [job, waiting], "next": "c2" });
    let endpoints = json!({ "endpoints": [{
        "name": "tts", "workers": { "min": 0, "max": 3 }, "jobs": { "queued": 12, "running": 4 },
        "cloud": { "wanted": 2, "ready": 1, "starting": 1, "running": 1 },
        "local": { "workers": 2, "slots": 2, "busy": 2 },
    }] });
    let keys = json!({ "keys": [{ "id": "k1", "name": "ci", "kind": "user",
        "scopes": ["jobs:submit"], "endpoints": null, "created_at_ms": 1_795_000_000_000_i64 }] });
    let server = FakeServer::start(move |seen, _| match seen.line.as_str() {
        line if line.starts_with("GET /api/v1/jobs?") => ok(&list),
        line if line.starts_with("GET /api/v1/jobs/") => ok(&story),
        "GET /api/v1/endpoints" => ok(&endpoints),
        "GET /api/v1/keys" => ok(&keys),
        line => Answer(404, json!({ "error": line }).to_string()),
    })
    .await;
    let machine = Machine::new();
    let mut text = String::new();
    for arguments in [
        &[
            "jobs",
            "--endpoint",
            "t&s",
            "--status",
            "queued",
            "--limit",
            "2",
        ][..],
        &["status"],
        &["status", "0198a"],
        &["keys", "list"],
    ] {
        let ran = machine.run_beside(&server, arguments).await;
        text.push_str(&format!("$ {}\n{ran}\n", arguments.join(" ")));
        let mut with_json = arguments.to_vec();
        with_json.push("--json");
        let ran = machine.run_beside(&server, &with_json).await;
        serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap();
    }
    assert_eq!(
        server.lines()[0],
        "GET /api/v1/jobs?limit=2&endpoint=t%26s&status=queued"
    );
    insta::assert_snapshot!(text);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_send_what_was_asked() {
    let server = FakeServer::start(|seen, _| match seen.line.as_str() {
        "PATCH /api/v1/endpoints/tts" => {
            ok(&json!({ "name": "tts", "workers": { "min": 0, "max": 1 } }))
        }
        "PATCH /api/v1/endpoints/live" => ok(&json!({
            "name": "live", "workers": { "min": 1, "max": 3 }, "min_held": 1, "max_wait": "20s",
            "scaler": { "policy": "queue_delay", "queue_delay": "8s" },
            "limits_changed": { "by": "ann", "at_ms": 0 },
            "max_wait_changed": { "by": "ann", "at_ms": 0 },
            "scaler_changed": null,
        })),
        "GET /api/v1/jobs/j1" => ok(&json!({ "id": "j1", "endpoint": "tts", "status": "QUEUED" })),
        "POST /v2/tts/cancel/j1" => ok(&json!({ "id": "j1", "status": "CANCELLED" })),
        "POST /v2/tts/retry/j1" => ok(&json!({ "id": "j1", "status": "IN_QUEUE" })),
        "POST /v2/tts/purge-queue" => ok(&json!({ "removed": 7, "status": "completed" })),
        "POST /api/v1/keys" => ok(&json!({ "id": "k1", "key": "ovs_user_k1_secret" })),
        "DELETE /api/v1/keys/k1" => Answer(204, String::new()),
        line => Answer(404, json!({ "error": line }).to_string()),
    })
    .await;
    let machine = Machine::new();
    for (arguments, stdout) in [
        (&["cancel", "j1"][..], "j1: CANCELLED\n"),
        (&["retry", "j1", "--endpoint", "tts"], "j1: IN_QUEUE\n"),
        (&["purge", "tts", "--yes"], "tts: 7 waiting jobs removed\n"),
        (
            &[
                "keys",
                "create",
                "--name",
                "ci",
                "--scope",
                "jobs:read",
                "--endpoint",
                "tts",
            ],
            "ovs_user_k1_secret\n",
        ),
        (&["keys", "revoke", "k1"], "key k1 is revoked\n"),
    ] {
        let ran = machine.run_beside(&server, arguments).await;
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (0, stdout),
            "{arguments:?} {ran}"
        );
    }
    let ran = machine
        .run_beside(&server, &["scale", "tts", "--max", "1"])
        .await;
    assert_eq!(ran.code, 0, "{ran}");
    let body = |line: &str| {
        server
            .seen()
            .into_iter()
            .find(|seen| seen.line == line)
            .unwrap()
            .body
    };
    assert_eq!(
        body("PATCH /api/v1/endpoints/tts"),
        "{\"workers\":{\"max\":1}}"
    );
    let asked = |server: &FakeServer| server.seen().last().unwrap().body.clone();
    let rule = [
        "scale",
        "tts",
        "--policy",
        "queue_delay",
        "--queue-delay",
        "8s",
    ];
    assert_eq!(machine.run_beside(&server, &rule).await.code, 0);
    assert_eq!(
        asked(&server),
        "{\"scaler\":{\"policy\":\"queue_delay\",\"queue_delay\":\"8s\"}}"
    );
    let promise = ["scale", "tts", "--max-wait", "20s"];
    assert_eq!(machine.run_beside(&server, &promise).await.code, 0);
    assert_eq!(asked(&server), "{\"max_wait\":\"20s\"}");
    let of_file = ["scale", "tts", "--max-wait-of-file"];
    assert_eq!(machine.run_beside(&server, &of_file).await.code, 0);
    assert_eq!(asked(&server), "{\"max_wait\":null}");
    // The answer says what is in force, and whose word it is.
    let kept = ["scale", "live", "--min", "1"];
    let ran = machine.run_beside(&server, &kept).await;
    let (_, told) = ran.stdout.split_once("\nlimits: ").expect("the limits");
    assert_eq!(
        told,
        "set by ann at 1970-01-01 00:00:00Z, until the file's change\n\
         promise: starts within 20s, set by ann at 1970-01-01 00:00:00Z; back: overspill scale live --max-wait-of-file\n\
         rule: queue_delay, queue_delay 8s, as the configuration file has it\n\
         min 1 is held at 0: no guard watches this server. Run `overspill guard`, or set unguarded_min = true under \
         [runpod]\n"
    );
    let both = ["scale", "tts", "--min", "1", "--policy-of-file"];
    assert_eq!(machine.run_beside(&server, &both).await.code, 0);
    assert_eq!(asked(&server), "{\"scaler\":null,\"workers\":{\"min\":1}}");
    assert_eq!(
        body("POST /api/v1/keys"),
        "{\"endpoints\":[\"tts\"],\"kind\":\"user\",\"name\":\"ci\",\"scopes\":[\"jobs:read\"]}"
    );

    let before = server.seen().len();
    for arguments in [
        &["purge", "tts"][..],
        &["scale", "tts"],
        &["scale", "tts", "--min", "3", "--max", "1"],
        &["scale", "tts", "--policy", "tarot"],
        &["scale", "tts", "--policy", "ladder", "--policy-of-file"],
    ] {
        assert_eq!(
            machine.run_beside(&server, arguments).await.code,
            2,
            "{arguments:?}"
        );
    }
    assert_eq!(server.seen().len(), before);
}
