//! The management API: what calls do, what they refuse, and the limits they state.

use serde_json::json;

use crate::rig::{Rig, creation, options};

#[tokio::test]
async fn an_endpoint_is_made_with_the_documented_defaults() {
    let rig = Rig::start().await;
    let body = json!({"name": "a", "type": "QUEUE", "image": "i", "gpu": {"pools": ["ADA_24"]},
        "scaling": {"type": "QUEUE_DELAY", "queueDelay": 0.5}});
    let made = rig.post("/v2/serverless", body).await;
    assert_eq!(made.status, 201);
    let body = made.json();
    assert_eq!(
        body["workers"],
        json!({"min": 0, "max": 3, "idleTimeout": 10})
    );
    assert_eq!(
        (&body["timeout"], &body["flashboot"]),
        (&json!(300_000), &json!("OFF"))
    );
    let id = body["id"].as_str().unwrap();
    assert_eq!(
        body["requestUrls"]["runSync"],
        format!("{}/v2/{id}/runsync", rig.base)
    );
    assert_eq!(body["createdAt"], "2026-09-21T14:13:20Z");
}

#[tokio::test]
async fn a_patch_changes_only_what_it_names() {
    let rig = Rig::start().await;
    let id = rig
        .endpoint(json!({"min": 0, "max": 3, "idleTimeout": 5}))
        .await;
    let path = format!("/v2/serverless/{id}");
    let body = json!({"workers": {"min": 1, "max": 10}});
    let body = rig.send("PATCH", &path, Some(body)).await.json();
    assert_eq!(
        body["workers"],
        json!({"min": 1, "max": 10, "idleTimeout": 5})
    );
    assert_eq!(body["scaling"]["queueDelay"], 4.0);
    let body = json!({"env": {"NEW": "1"}});
    let body = rig.send("PATCH", &path, Some(body)).await.json();
    assert_eq!(body["env"], json!({"NEW": "1"}));
    assert_eq!(rig.send("DELETE", &path, None).await.status, 204);
    assert_eq!(rig.get(&path).await.status, 404);
}

#[tokio::test]
async fn wrong_bodies_are_refused_by_their_kind() {
    let rig = Rig::start().await;
    let with = |change: serde_json::Value| {
        let mut body = creation(&json!({"max": 1}));
        for (key, value) in change.as_object().unwrap() {
            body[key] = value.clone();
        }
        body
    };
    for (body, status) in [
        (with(json!({"gpuIds": "ADA_24"})), 422),
        (with(json!({"name": ""})), 422),
        (with(json!({"workers": {"idleTimeout": 0}})), 422),
        (with(json!({"workers": {"max": "three"}})), 422),
        (
            with(json!({"scaling": {"type": "QUEUE_DELAY", "queueDelay": 0.1}})),
            422,
        ),
        (with(json!({"type": "LOAD_BALANCER"})), 422),
        (with(json!({"cpu": [{"id": "cpu3c", "vcpuCount": 2}]})), 400),
        (
            with(
                json!({"gpu": {"pools": ["ADA_24"], "allowedCudaVersions": ["12.8"], "minCudaVersion": "12.6"}}),
            ),
            400,
        ),
        (with(json!({"gpu": {"pools": ["NO_SUCH_POOL"]}})), 400),
        (with(json!({"workers": {"max": 61}})), 400),
        (
            with(
                json!({"workers": {"idleTimeout": 5}, "scaling": {"type": "REQUEST_COUNT", "requestCount": 1}}),
            ),
            400,
        ),
        (with(json!({"templateId": "nothing"})), 404),
    ] {
        let answer = rig.post("/v2/serverless", body.clone()).await;
        assert_eq!(answer.status, status, "{body} {}", answer.text);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.json()["status"], status);
    }
}

#[tokio::test]
async fn the_key_must_be_a_bearer_token() {
    let rig = Rig::start().await;
    let url = format!("{}/v2/serverless", rig.base);
    let answer = rig
        .http
        .get(&url)
        .header("Authorization", "bare")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 401);
    let body: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(body["detail"], "missing bearer token");
}

#[tokio::test]
async fn the_sixty_first_call_of_a_minute_waits() {
    let rig = Rig::start().await;
    for call in 1..=60_u64 {
        let answer = rig.get("/v2/serverless").await;
        assert_eq!(answer.status, 200);
        let left = format!("\"minute\";r={};t=60", 60 - call);
        assert!(
            answer.header("ratelimit").starts_with(&left),
            "{}",
            answer.header("ratelimit")
        );
    }
    rig.skip(20_000);
    let answer = rig.get("/v2/serverless").await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "40"));
    assert_eq!(
        answer.json()["detail"],
        "rate limit exceeded for the minute window"
    );
    assert_eq!(
        answer.header("ratelimit-policy"),
        "\"minute\";q=60;w=60, \"hour\";q=3000;w=3600, \"day\";q=50000;w=86400"
    );
    rig.skip(40_000);
    assert_eq!(rig.get("/v2/serverless").await.status, 200);
}

#[tokio::test]
async fn quota_follows_the_balance() {
    let mut options = options();
    options.cloud.balance = overspill_core::money::NanoUsd::from_nanos(0);
    let rig = Rig::with(options).await;
    let first = rig.endpoint(json!({"max": 5})).await;
    let answer = rig
        .post("/v2/serverless", creation(&json!({"max": 1})))
        .await;
    assert_eq!(answer.status, 400);
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains("cannot go beyond the maximum limit of (5)"),
        "{detail}"
    );
    let path = format!("/v2/serverless/{first}");
    let lowered = rig
        .send("PATCH", &path, Some(json!({"workers": {"max": 4}})))
        .await;
    assert_eq!(lowered.status, 200);
}

#[tokio::test]
async fn billing_says_what_the_emulators_bill_says() {
    let rig = Rig::start().await;
    let id = rig.endpoint(json!({"min": 1, "max": 1})).await;
    // Over midnight, so that two buckets share it.
    rig.skip(12 * 3_600_000);
    let records = rig
        .get("/v2/billing/serverless?bucketSize=day&lastN=2")
        .await
        .json();
    assert_eq!(records["metadata"]["recordCount"], 2);
    assert_eq!(records["records"][0]["serverlessId"], json!(id));
    let total = records["metadata"]["totals"]["totalAmount"]
        .as_f64()
        .unwrap();
    let bill = rig.get("/emulator/bill").await.json();
    let expected: f64 = bill["total_usd"].as_str().unwrap().parse().unwrap();
    assert!((total - expected).abs() < 1e-6, "{total} {expected}");
    let account = rig.get("/v2/billing?bucketSize=month").await.json();
    let of_account = account["metadata"]["totals"]["serverlessGpuAmount"]
        .as_f64()
        .unwrap();
    assert!((of_account - expected).abs() < 1e-6);
}
