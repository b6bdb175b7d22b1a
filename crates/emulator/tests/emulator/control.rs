//! The emulator's own calls.

use serde_json::json;

use crate::rig::{Rig, options};

/// A day of one endpoint in a script; the bill.
async fn script(seed: u64) -> String {
    let mut options = options();
    options.cloud.seed = seed;
    options.cloud.cold_start = overspill_sim::cloud::MsRange::new(30_000, 60_000);
    let rig = Rig::with(options).await;
    let endpoint = rig.endpoint(json!({"max": 5})).await;
    for wave in 0..5 {
        for _ in 0..8 {
            let path = format!("/v2/{endpoint}/run");
            rig.post(&path, json!({"input": {"seconds": 7 + wave}}))
                .await;
        }
        rig.post("/emulator/clock", json!({"advance": "10m"})).await;
    }
    rig.get("/emulator/bill").await.text
}

#[tokio::test]
async fn one_seed_and_script_give_one_bill() {
    let bill = script(1).await;
    assert_eq!(bill, script(1).await);
    assert_ne!(bill, script(2).await);
}

#[tokio::test]
async fn the_bill_and_the_executions_have_their_fields() {
    let rig = Rig::start().await;
    let endpoint = rig.endpoint(json!({"max": 1, "idleTimeout": 5})).await;
    let path = format!("/emulator/endpoints/{endpoint}");
    let body = json!({"slots": 6, "price_usd_per_h": "0.44", "cold_start_ms": [20_000, 20_000]});
    let answer = rig.post(&path, body).await;
    assert_eq!(
        answer.json(),
        json!({"slots": 6, "price_usd_per_h": "0.440000", "cold_start_ms": [20_000, 20_000]})
    );
    for _ in 0..6 {
        rig.post(
            &format!("/v2/{endpoint}/run"),
            json!({"input": {"seconds": 3}}),
        )
        .await;
    }
    rig.skip(120_000);
    // 20 s start-up, 3 s of six jobs at once, 5 s idle.
    let bill = rig.get("/emulator/bill").await.json();
    assert_eq!(
        bill["endpoints"][&endpoint],
        json!({"usd": "0.003422", "worker_seconds": 28.0})
    );
    assert_eq!(bill["total_usd"], "0.003422");
    let executions = rig.get("/emulator/executions").await.json();
    assert_eq!(executions.as_array().unwrap().len(), 6);
    let first = &executions[0];
    assert_eq!(first["outcome"], "completed");
    let length = first["ended_ms"].as_i64().unwrap() - first["started_ms"].as_i64().unwrap();
    assert_eq!(length, 3_000);
    assert!(first["job"].is_string() && first["worker"].is_string());
}

#[tokio::test]
async fn requests_are_counted_by_method_and_route() {
    let rig = Rig::start().await;
    let endpoint = rig.warm_endpoint().await;
    rig.get(&format!("/v2/{endpoint}/health")).await;
    rig.get(&format!("/v2/{endpoint}/health")).await;
    let requests = rig.get("/emulator/requests").await.json();
    assert_eq!(requests["GET /v2/{endpoint}/health"], 2);
    assert_eq!(requests["POST /v2/serverless"], 1);
    assert!(requests.get("POST /v2/{endpoint}/run").is_none());
}

#[tokio::test]
async fn bad_values_are_named() {
    let rig = Rig::start().await;
    let endpoint = rig.warm_endpoint().await;
    let knobs = format!("/emulator/endpoints/{endpoint}");
    for (path, body, word) in [
        (knobs.as_str(), json!({"slots": 0}), "slots"),
        (&knobs, json!({"price_usd_per_h": "cheap"}), "cheap"),
        (&knobs, json!({"slot": 1}), "slot"),
        ("/emulator/clock", json!({"advance": "1 hour"}), "1 hour"),
        ("/emulator/faults", json!({"fault": "rain"}), "rain"),
        (
            "/emulator/faults",
            json!({"fault": "http_status", "status": 204}),
            "204",
        ),
        (
            "/emulator/faults",
            json!({"fault": "price_change", "price_usd_per_h": "x"}),
            "x",
        ),
    ] {
        let answer = rig.post(path, body).await;
        assert_eq!(answer.status, 400, "{path}");
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(word), "{error}");
    }
}

#[tokio::test]
async fn the_clock_runs_at_its_scale() {
    let mut options = options();
    options.time_scale = 100.0;
    let rig = Rig::with(options).await;
    let endpoint = rig.endpoint(json!({"max": 1})).await;
    let path = format!("/v2/{endpoint}/runsync?wait=300000");
    // A cold start of ten seconds and more, in a tenth of a second.
    let answer = rig.post(&path, json!({"input": {"seconds": 2}})).await;
    assert_eq!(answer.json()["status"], "COMPLETED");
}

#[tokio::test]
async fn two_patches_at_once_do_not_undo_each_other() {
    let rig = Rig::start().await;
    let endpoint = rig.endpoint(json!({"max": 3})).await;
    let path = format!("/v2/serverless/{endpoint}");
    let (first, second) = tokio::join!(
        rig.send("PATCH", &path, Some(json!({"workers": {"max": 7}}))),
        rig.send("PATCH", &path, Some(json!({"name": "other"})))
    );
    assert_eq!((first.status, second.status), (200, 200));
    let body = rig.get(&path).await.json();
    assert_eq!(
        (&body["workers"]["max"], &body["name"]),
        (&json!(7), &json!("other"))
    );
}

#[tokio::test]
async fn exchanges_on_management_routes_are_kept_whole() {
    let rig = Rig::start().await;
    let endpoint = rig.warm_endpoint().await;
    let change = json!({"workers": {"max": 2}});
    let path = format!("/v2/serverless/{endpoint}");
    let answer = rig.send("PATCH", &path, Some(change.clone())).await;
    rig.get(&format!("{path}/workers?x=1")).await;
    rig.get(&format!("/v2/{endpoint}/health")).await;
    let kept = rig.get("/emulator/exchanges").await.json();
    let kept = kept.as_array().unwrap();
    let seen: Vec<(&str, &str)> = kept
        .iter()
        .map(|exchange| {
            let text = |name: &str| exchange[name].as_str().unwrap();
            (text("method"), text("path"))
        })
        .collect();
    let workers = format!("{path}/workers?x=1");
    assert_eq!(
        seen,
        [
            ("POST", "/v2/serverless"),
            ("PATCH", path.as_str()),
            ("GET", workers.as_str())
        ]
    );
    assert_eq!(kept[1]["sent"], change.to_string());
    assert_eq!(kept[1]["received"], answer.text);
    assert_eq!(kept[1]["headers"]["content-type"], "application/json");
}
