//! What a client, an operator and the bill see of each ordered fault, over HTTP and with a clock that only the test moves.

use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::rig::Rig;

async fn order(rig: &Rig, fault: Value) {
    let answer = rig.post("/emulator/faults", fault).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

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

async fn workers(rig: &Rig, endpoint: &str) -> Value {
    let health = rig.get(&format!("/v2/{endpoint}/health")).await.json();
    health["workers"].clone()
}

async fn max(rig: &Rig, endpoint: &str) -> Value {
    let shown = rig.get(&format!("/v2/serverless/{endpoint}")).await.json();
    shown["workers"]["max"].clone()
}

async fn billed(rig: &Rig, endpoint: &str) -> Value {
    rig.get("/emulator/bill").await.json()["endpoints"][endpoint].clone()
}

#[tokio::test]
async fn a_lost_worker_is_noticed_after_forty_seconds_and_twice_fails_the_job() {
    let rig = Rig::start().await;
    let endpoint = rig.endpoint(json!({"min": 2, "max": 2})).await;
    rig.skip(10_000);
    let job = run(&rig, &endpoint, json!({"input": {"seconds": 300}})).await;
    rig.skip(10_000);
    order(&rig, json!({"fault": "lost_worker"})).await;
    rig.skip(39_999);
    let before = status(&rig, &endpoint, &job).await;
    assert_eq!(
        (&before["status"], before.get("retries")),
        (&json!("IN_PROGRESS"), None)
    );
    rig.skip(1);
    let again = status(&rig, &endpoint, &job).await;
    assert_eq!(
        (&again["status"], &again["retries"]),
        (&json!("IN_PROGRESS"), &json!(1))
    );
    assert_eq!(
        again["delayTime"], 50_000,
        "counted anew at the re-dispatch"
    );
    rig.skip(10_000);
    order(&rig, json!({"fault": "lost_worker"})).await;
    rig.skip(40_000);
    let failed = status(&rig, &endpoint, &job).await;
    assert_eq!(failed["status"], "FAILED");
    assert_eq!(failed["error"], "job timed out after 1 retries");
}

#[tokio::test]
async fn an_empty_input_that_is_dropped_fails_after_two_silences() {
    let rig = Rig::start().await;
    let endpoint = rig.warm_endpoint().await;
    order(&rig, json!({"fault": "empty_input_dropped"})).await;
    let empty = run(&rig, &endpoint, json!({"input": {}})).await;
    rig.skip(79_999);
    assert_eq!(
        status(&rig, &endpoint, &empty).await["status"],
        "IN_PROGRESS"
    );
    rig.skip(1);
    let failed = status(&rig, &endpoint, &empty).await;
    assert_eq!(
        (&failed["status"], &failed["error"]),
        (&json!("FAILED"), &json!("job timed out after 1 retries"))
    );
    let other = run(&rig, &endpoint, json!({"input": {"seconds": 1}})).await;
    rig.skip(1_000);
    assert_eq!(status(&rig, &endpoint, &other).await["status"], "COMPLETED");
}

#[tokio::test]
async fn a_result_is_lost_on_order_and_over_the_cap() {
    let rig = Rig::start().await;
    let endpoint = rig.warm_endpoint().await;
    order(&rig, json!({"fault": "result_lost", "count": 1})).await;
    let lost = run(&rig, &endpoint, json!({"input": {"seconds": 1}})).await;
    let kept = run(&rig, &endpoint, json!({"input": {"seconds": 1}})).await;
    let large = run(
        &rig,
        &endpoint,
        json!({"input": {"seconds": 1, "output_bytes": 10_000_001}}),
    )
    .await;
    rig.skip(3_000);
    for (job, has_output) in [(lost, false), (kept, true), (large, false)] {
        let ended = status(&rig, &endpoint, &job).await;
        assert_eq!(ended["status"], "COMPLETED");
        assert_eq!(ended.get("output").is_some(), has_output);
    }
}

#[tokio::test]
async fn a_result_expires_early_and_an_id_is_visible_late() {
    let rig = Rig::start().await;
    let endpoint = rig.warm_endpoint().await;
    order(&rig, json!({"fault": "early_expiry", "after_ms": 2_000})).await;
    order(&rig, json!({"fault": "late_id", "delay_ms": 1_500})).await;
    let job = run(&rig, &endpoint, json!({"input": {"seconds": 1}})).await;
    let path = format!("/v2/{endpoint}/status/{job}");
    assert_eq!(rig.get(&path).await.status, 404);
    rig.skip(1_500);
    assert_eq!(rig.get(&path).await.json()["status"], "COMPLETED");
    rig.skip(1_500);
    assert_eq!(rig.get(&path).await.status, 404);
}

#[tokio::test]
async fn throttled_workers_wait_and_cost_nothing() {
    let rig = Rig::start().await;
    let endpoint = rig.endpoint(json!({"min": 0, "max": 2})).await;
    order(&rig, json!({"fault": "throttled", "for": "1m"})).await;
    let job = run(&rig, &endpoint, json!({"input": {"seconds": 1}})).await;
    rig.skip(50_000);
    assert_eq!(workers(&rig, &endpoint).await["throttled"], 1);
    let listed = rig
        .get(&format!("/v2/serverless/{endpoint}/workers"))
        .await
        .json();
    assert_eq!(listed["summary"]["throttled"], 1);
    assert_eq!(status(&rig, &endpoint, &job).await["status"], "IN_QUEUE");
    assert_eq!(billed(&rig, &endpoint).await["worker_seconds"], 0.0);
    rig.skip(30_000);
    assert_eq!(status(&rig, &endpoint, &job).await["status"], "COMPLETED");
}

#[tokio::test]
async fn an_unhealthy_worker_is_not_billed_and_comes_back() {
    let rig = Rig::start().await;
    let endpoint = rig.warm_endpoint().await;
    order(&rig, json!({"fault": "unhealthy"})).await;
    assert_eq!(workers(&rig, &endpoint).await["unhealthy"], 1);
    let before = billed(&rig, &endpoint).await;
    rig.skip(9_000);
    assert_eq!(billed(&rig, &endpoint).await, before);
    rig.skip(11_000);
    assert_eq!(workers(&rig, &endpoint).await["idle"], 1);
}

#[tokio::test]
async fn a_crash_loop_halves_the_maximum_until_the_endpoint_is_paused() {
    let rig = Rig::start().await;
    let endpoint = rig.endpoint(json!({"min": 0, "max": 4})).await;
    order(&rig, json!({"fault": "crash_loop"})).await;
    run(&rig, &endpoint, json!({"input": {"seconds": 1}})).await;
    let mut seen = vec![json!(4)];
    for _ in 0..600 {
        rig.skip(60_000);
        // A look a minute stays within the rate limit of the management API.
        let now = max(&rig, &endpoint).await;
        if seen.last() != Some(&now) {
            seen.push(now);
        }
    }
    assert_eq!(seen, [4, 2, 1, 0]);
    let refused = rig
        .post(
            &format!("/v2/{endpoint}/run"),
            json!({"input": {"seconds": 1}}),
        )
        .await;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (409, &json!("ENDPOINT_PAUSED"))
    );
}

#[tokio::test]
async fn the_platform_lowers_the_maximum_and_keeps_a_worker_nobody_asked_for() {
    let rig = Rig::start().await;
    let lowered = rig.endpoint(json!({"min": 2, "max": 3})).await;
    let warm = rig.endpoint(json!({"min": 0, "max": 2})).await;
    rig.skip(10_000);
    order(
        &rig,
        json!({"fault": "max_lowered", "max": 1, "endpoint": lowered}),
    )
    .await;
    assert_eq!(max(&rig, &lowered).await, 1);
    let listed = rig
        .get(&format!("/v2/serverless/{lowered}/workers"))
        .await
        .json();
    assert_eq!(listed["summary"]["total"], 1);
    order(&rig, json!({"fault": "standby_worker", "endpoint": warm})).await;
    rig.skip(3_600_000);
    assert_eq!(workers(&rig, &warm).await["idle"], 1);
    let cost = billed(&rig, &warm).await["worker_seconds"]
        .as_f64()
        .unwrap();
    assert!(cost > 3_500.0, "{cost}");
    let patch = json!({"workers": {"min": 0, "max": 2}});
    rig.send("PATCH", &format!("/v2/serverless/{warm}"), Some(patch))
        .await;
    let listed = rig
        .get(&format!("/v2/serverless/{warm}/workers"))
        .await
        .json();
    assert_eq!(listed["summary"]["total"], 0, "a second write corrects it");
}

#[tokio::test]
async fn the_bill_changes_its_price_and_hides_idle_time() {
    let rig = Rig::start().await;
    let dear = rig.endpoint(json!({"min": 1, "max": 1})).await;
    rig.skip(100_000);
    order(
        &rig,
        json!({"fault": "price_change", "price_usd_per_h": "36", "endpoint": dear}),
    )
    .await;
    let before: f64 = billed(&rig, &dear).await["usd"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    rig.skip(10_000);
    let after: f64 = billed(&rig, &dear).await["usd"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        (after - before - 0.1).abs() < 1e-6,
        "ten seconds at a cent: {before} {after}"
    );
    let hidden = rig
        .endpoint(json!({"min": 0, "max": 1, "idleTimeout": 5}))
        .await;
    order(
        &rig,
        json!({"fault": "hidden_idle", "extra_ms": 30_000, "endpoint": hidden}),
    )
    .await;
    run(&rig, &hidden, json!({"input": {"seconds": 1}})).await;
    rig.skip(60_000);
    let listed = rig
        .get(&format!("/v2/serverless/{hidden}/workers"))
        .await
        .json();
    assert_eq!(listed["summary"]["total"], 0);
    // Ten seconds of start, one of work, five of idling; thirty that nobody saw.
    assert_eq!(billed(&rig, &hidden).await["worker_seconds"], 46.0);
}

#[tokio::test]
async fn a_region_outage_takes_its_workers_until_it_is_over() {
    let rig = Rig::start().await;
    let mut body = crate::rig::creation(&json!({"min": 1, "max": 1}));
    body["dataCenterIds"] = json!(["EU-RO-1"]);
    let endpoint = rig.post("/v2/serverless", body).await.json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    rig.skip(10_000);
    order(
        &rig,
        json!({"fault": "region_outage", "data_center": "EU-RO-1", "for": "1m"}),
    )
    .await;
    assert_eq!(workers(&rig, &endpoint).await["throttled"], 1);
    rig.skip(80_000);
    assert_eq!(workers(&rig, &endpoint).await["idle"], 1);
}

#[tokio::test]
async fn webhooks_are_lost_and_doubled() {
    let rig = Rig::start().await;
    let endpoint = rig.warm_endpoint().await;
    let (sender, mut seen) = mpsc::unbounded_channel::<String>();
    let hook = axum::Router::new().route(
        "/hook",
        axum::routing::post(move |axum::Json(body): axum::Json<Value>| async move {
            sender
                .send(body["id"].as_str().unwrap().to_owned())
                .unwrap();
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, hook).await.unwrap() });
    let body = json!({"input": {"seconds": 1}, "webhook": url});
    order(&rig, json!({"fault": "webhook_lost", "count": 1})).await;
    run(&rig, &endpoint, body.clone()).await;
    rig.skip(1_000);
    order(&rig, json!({"fault": "webhook_doubled", "count": 1})).await;
    let doubled = run(&rig, &endpoint, body.clone()).await;
    rig.skip(1_000);
    let first = seen.recv().await.unwrap();
    let second = seen.recv().await.unwrap();
    assert_eq!(
        (&first, &second),
        (&doubled, &doubled),
        "the lost one never came"
    );
    let last = run(&rig, &endpoint, body).await;
    rig.skip(1_000);
    assert_eq!(seen.recv().await.unwrap(), last, "and it came once");
}

#[tokio::test]
async fn an_unused_endpoint_loses_its_maximum_after_three_and_seven_days() {
    const DAY_MS: u64 = 86_400_000;
    let rig = Rig::start().await;
    let endpoint = rig.endpoint(json!({"min": 0, "max": 5})).await;
    rig.skip(3 * DAY_MS - 1);
    assert_eq!(max(&rig, &endpoint).await, 5);
    rig.skip(1);
    assert_eq!(max(&rig, &endpoint).await, 2);
    rig.skip(4 * DAY_MS);
    assert_eq!(max(&rig, &endpoint).await, 0);
    let path = format!("/v2/{endpoint}/run");
    let refused = rig.post(&path, json!({"input": {"seconds": 1}})).await;
    assert_eq!(refused.status, 409);
    let patch = json!({"workers": {"max": 5}});
    rig.send("PATCH", &format!("/v2/serverless/{endpoint}"), Some(patch))
        .await;
    assert_eq!(
        rig.post(&path, json!({"input": {"seconds": 1}}))
            .await
            .status,
        200
    );
}
