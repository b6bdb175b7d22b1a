//! The data plane, field by field: shapes of answers, states, holds, errors, limits.

use serde_json::{Value, json};

use crate::rig::{Rig, keys};

async fn run(rig: &Rig, endpoint: &str, body: Value) -> String {
    let answer = rig.post(&format!("/v2/{endpoint}/run"), body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["id"].as_str().unwrap().to_owned()
}

async fn status(rig: &Rig, endpoint: &str, job: &str) -> Value {
    let answer = rig.get(&format!("/v2/{endpoint}/status/{job}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

#[tokio::test]
async fn run_answers_id_and_state_only() {
    let rig = Rig::start().await;
    let endpoint = rig.warm_endpoint().await;
    let answer = rig
        .post(
            &format!("/v2/{endpoint}/run"),
            json!({"input": {"seconds": 1}}),
        )
        .await;
    let body = answer.json();
    assert_eq!((answer.status, keys(&body)), (200, vec!["id", "status"]));
    assert_eq!(body["status"], "IN_QUEUE");
    let id = body["id"].as_str().unwrap();
    assert!(id.ends_with("-u1") && id.len() == 39, "{id}");
}

#[tokio::test]
async fn status_has_the_fields_of_each_state() {
    let rig = Rig::start().await;
    let endpoint = rig.warm_endpoint().await;
    let first = run(&rig, &endpoint, json!({"input": {"seconds": 3}})).await;
    let second = run(&rig, &endpoint, json!({"input": {"error": "no luck"}})).await;
    let third = run(&rig, &endpoint, json!({"input": {"seconds": 1}})).await;
    assert_eq!(
        keys(&status(&rig, &endpoint, &second).await),
        ["id", "status"]
    );
    let running = status(&rig, &endpoint, &first).await;
    assert_eq!(keys(&running), ["delayTime", "id", "status", "workerId"]);
    rig.skip(4_000);
    let done = status(&rig, &endpoint, &first).await;
    assert_eq!(
        keys(&done),
        [
            "delayTime",
            "executionTime",
            "id",
            "output",
            "status",
            "workerId"
        ]
    );
    assert_eq!(
        (&done["executionTime"], &done["status"]),
        (&json!(3_000), &json!("COMPLETED"))
    );
    assert_eq!(done["output"]["echo"], json!({"seconds": 3}));
    let failed = status(&rig, &endpoint, &second).await;
    assert_eq!(
        keys(&failed),
        [
            "delayTime",
            "error",
            "executionTime",
            "id",
            "status",
            "workerId"
        ]
    );
    assert_eq!(failed["error"], "no luck");
    let answer = rig
        .post(&format!("/v2/{endpoint}/cancel/{third}"), json!({}))
        .await;
    assert_eq!(answer.json()["status"], "CANCELLED");
    assert_eq!(status(&rig, &endpoint, &third).await["status"], "CANCELLED");
}

#[tokio::test]
async fn both_forms_of_the_key_are_taken_and_none_is_refused() {
    let rig = Rig::start().await;
    let endpoint = rig.warm_endpoint().await;
    let url = format!("{}/v2/{endpoint}/health", rig.base);
    for (key, expected) in [
        (Some("Bearer abc"), 200),
        (Some("abc"), 200),
        (Some("Bearer "), 401),
        (None, 401),
    ] {
        let mut request = rig.http.get(&url);
        if let Some(key) = key {
            request = request.header("authorization", key);
        }
        assert_eq!(
            request.send().await.unwrap().status().as_u16(),
            expected,
            "{key:?}"
        );
    }
}

#[tokio::test]
async fn runsync_holds_until_the_end_and_gives_up_with_the_state() {
    let rig = Rig::start().await;
    let endpoint = rig.warm_endpoint().await;
    let path = format!("/v2/{endpoint}/runsync");
    let held = rig.post(&path, json!({"input": {"seconds": 2}}));
    let moved = async {
        // The job is there once the model knows it; then time may pass.
        while rig.emulator.executions().is_empty() {
            tokio::task::yield_now().await;
        }
        rig.skip(2_000);
    };
    let (answer, ()) = tokio::join!(held, moved);
    let body = answer.json();
    assert_eq!(body["status"], "COMPLETED");
    assert!(body["id"].as_str().unwrap().starts_with("sync-"));
    let path = format!("/v2/{endpoint}/runsync?wait=1000");
    let held = rig.post(&path, json!({"input": {"seconds": 60}}));
    let moved = async {
        while rig.emulator.executions().len() < 2 {
            tokio::task::yield_now().await;
        }
        rig.skip(1_000);
    };
    let (answer, ()) = tokio::join!(held, moved);
    assert_eq!(
        (answer.status, &answer.json()["status"]),
        (200, &json!("IN_PROGRESS"))
    );
    assert_eq!(
        keys(&answer.json()),
        ["delayTime", "id", "status", "workerId"]
    );
}

#[tokio::test]
async fn wait_has_bounds() {
    let rig = Rig::start().await;
    let endpoint = rig.warm_endpoint().await;
    for wait in ["999", "300001", "x", "-1"] {
        let path = format!("/v2/{endpoint}/runsync?wait={wait}");
        let answer = rig.post(&path, json!({"input": {}})).await;
        assert_eq!(answer.status, 400);
        assert_eq!(
            answer.json()["error"],
            "wait is invalid; must be between 1000 and 300000"
        );
    }
    assert!(rig.emulator.executions().is_empty());
}

#[tokio::test]
async fn stream_drains_holds_and_ends() {
    let rig = Rig::start().await;
    let endpoint = rig.warm_endpoint().await;
    let job = run(
        &rig,
        &endpoint,
        json!({"input": {"seconds": 4, "stream": 3}}),
    )
    .await;
    let path = format!("/v2/{endpoint}/stream/{job}");
    rig.skip(2_000);
    let body = rig.get(&path).await.json();
    assert_eq!(body["status"], "IN_PROGRESS");
    assert_eq!(
        body["stream"],
        json!([{"output": "chunk 1 of 3"}, {"output": "chunk 2 of 3"}])
    );
    let waiting = format!("{path}?wait=1000");
    let held = rig.get(&waiting);
    let moved = async {
        let asked = |rig: &Rig| {
            rig.emulator
                .requests()
                .get("GET /v2/{endpoint}/stream/{job}")
                .copied()
        };
        while asked(&rig) < Some(2) {
            tokio::task::yield_now().await;
        }
        rig.skip(2_000);
    };
    let (answer, ()) = tokio::join!(held, moved);
    let body = answer.json();
    assert_eq!(
        (&body["status"], &body["stream"]),
        (&json!("COMPLETED"), &json!([{"output": "chunk 3 of 3"}]))
    );
    let body = rig.get(&path).await.json();
    assert_eq!(
        (&body["status"], &body["stream"]),
        (&json!("COMPLETED"), &json!([]))
    );
}

#[tokio::test]
async fn retry_purge_and_health() {
    let rig = Rig::start().await;
    let endpoint = rig.warm_endpoint().await;
    let job = run(&rig, &endpoint, json!({"input": {"error": "x"}})).await;
    rig.skip(1_000);
    let answer = rig
        .post(&format!("/v2/{endpoint}/retry/{job}"), json!({}))
        .await;
    assert_eq!(answer.json(), json!({"id": job, "status": "IN_QUEUE"}));
    for _ in 0..2 {
        run(&rig, &endpoint, json!({"input": {}})).await;
    }
    let answer = rig
        .send("POST", &format!("/v2/{endpoint}/purge-queue"), None)
        .await;
    assert_eq!(answer.json(), json!({"removed": 2, "status": "completed"}));
    let health = rig.get(&format!("/v2/{endpoint}/health")).await.json();
    assert_eq!(
        health,
        json!({
            "jobs": {"completed": 0, "failed": 1, "inProgress": 1, "inQueue": 0, "retried": 0},
            "workers": {"idle": 0, "initializing": 0, "ready": 0, "running": 1, "throttled": 0,
                "unhealthy": 0},
        })
    );
    let answer = rig
        .post(&format!("/v2/{endpoint}/retry/{job}"), json!({}))
        .await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn errors_carry_both_styles() {
    let rig = Rig::start().await;
    let endpoint = rig.warm_endpoint().await;
    let answer = rig.get(&format!("/v2/{endpoint}/status/nothing-u1")).await;
    let body = answer.json();
    assert_eq!(answer.status, 404);
    assert_eq!(body["error"], body["detail"]);
    assert_eq!(
        (&body["status"], &body["title"]),
        (&json!(404), &json!("Not Found"))
    );
    assert_eq!(
        rig.post("/v2/nowhere/run", json!({"input": {}}))
            .await
            .status,
        404
    );
    for (body, word) in [
        (json!({"prompt": 1}), "input"),
        (json!({"input": {}, "policy": {"ttl": 9_999}}), "policy.ttl"),
        (
            json!({"input": {}, "policy": {"executionTimeout": 4_999}}),
            "policy.executionTimeout",
        ),
    ] {
        let answer = rig.post(&format!("/v2/{endpoint}/run"), body).await;
        assert_eq!(answer.status, 400);
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(word), "{error}");
    }
    let answer = rig.get("/v2/x/nothing-here").await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn a_paused_endpoint_says_so() {
    let rig = Rig::start().await;
    let endpoint = rig.endpoint(json!({"max": 0})).await;
    let answer = rig
        .post(&format!("/v2/{endpoint}/run"), json!({"input": {}}))
        .await;
    let body = answer.json();
    assert_eq!(
        (answer.status, &body["code"]),
        (409, &json!("ENDPOINT_PAUSED"))
    );
    assert_eq!(
        body["detail"],
        "Endpoint is paused (max_workers=0). Set max_workers > 0 to accept work."
    );
    assert_eq!(body["title"], "Conflict");
}

#[tokio::test]
async fn too_large_an_input_is_refused_in_the_clouds_words() {
    let rig = Rig::start().await;
    let endpoint = rig.warm_endpoint().await;
    let body = json!({"input": {"text": "x".repeat(10_000_000)}});
    let answer = rig.post(&format!("/v2/{endpoint}/run"), body.clone()).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"], "json is invalid; max size is 10 MB");
    let path = format!("/v2/{endpoint}/runsync?wait=1000");
    let answer = tokio::select! {
        answer = rig.post(&path, body) => Some(answer),
        () = async { while rig.emulator.executions().is_empty() { tokio::task::yield_now().await; } } => None,
    };
    // Twice as much is taken by runsync: it holds instead of refusing.
    assert!(answer.is_none());
}

#[tokio::test]
async fn one_call_too_many_is_429_with_retry_after() {
    let rig = Rig::start().await;
    let endpoint = rig.warm_endpoint().await;
    let path = format!("/v2/{endpoint}/purge-queue");
    assert_eq!(rig.post(&path, json!({})).await.status, 200);
    rig.skip(3_000);
    assert_eq!(rig.post(&path, json!({})).await.status, 200);
    let answer = rig.post(&path, json!({})).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "7"));
    rig.skip(7_000);
    assert_eq!(rig.post(&path, json!({})).await.status, 200);
}

#[tokio::test]
async fn results_are_gone_after_their_retention() {
    let rig = Rig::start().await;
    let endpoint = rig.warm_endpoint().await;
    let job = run(&rig, &endpoint, json!({"input": {}})).await;
    rig.skip(1_000 + 1_799_999);
    status(&rig, &endpoint, &job).await;
    rig.skip(1);
    assert_eq!(
        rig.get(&format!("/v2/{endpoint}/status/{job}"))
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn requests_and_metrics_are_served() {
    let rig = Rig::start().await;
    let endpoint = rig.warm_endpoint().await;
    let job = run(&rig, &endpoint, json!({"input": {}})).await;
    let body = rig.get(&format!("/v2/{endpoint}/requests")).await.json();
    assert_eq!(body["requests"][0]["id"], json!(job));
    let body = rig.get(&format!("/v2/{endpoint}/metrics")).await.json();
    let worker = body["readyWorkers"][0].as_str().unwrap();
    assert_eq!(body["workers"][worker], "RUNNING");
}

#[tokio::test]
async fn a_ttl_of_a_status_call_counts_from_then() {
    let rig = Rig::start().await;
    let endpoint = rig.warm_endpoint().await;
    let job = run(&rig, &endpoint, json!({"input": {"seconds": 100}})).await;
    assert_eq!(
        rig.get(&format!("/v2/{endpoint}/status/{job}?ttl=10000"))
            .await
            .status,
        200
    );
    rig.skip(10_000);
    assert_eq!(
        rig.get(&format!("/v2/{endpoint}/status/{job}"))
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn a_webhook_carries_the_envelope() {
    let rig = Rig::start().await;
    let endpoint = rig.warm_endpoint().await;
    let (sender, mut bodies) = tokio::sync::mpsc::unbounded_channel::<Value>();
    let hook = axum::Router::new().route(
        "/hook",
        axum::routing::post(move |axum::Json(body): axum::Json<Value>| async move {
            sender.send(body).unwrap();
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, hook).await.unwrap() });
    let job = run(
        &rig,
        &endpoint,
        json!({"input": {"seconds": 1}, "webhook": url}),
    )
    .await;
    rig.skip(1_000);
    let body = bodies.recv().await.unwrap();
    assert_eq!(
        (&body["id"], &body["status"], &body["webhook"]),
        (&json!(job), &json!("COMPLETED"), &json!(url))
    );
    assert_eq!(body["input"], json!({"seconds": 1}));
}
