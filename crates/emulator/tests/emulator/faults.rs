//! Ordered faults as a client meets them; what they do inside is tested with the model.

use serde_json::{Value, json};

use crate::rig::Rig;

async fn order(rig: &Rig, fault: Value) {
    let answer = rig.post("/emulator/faults", fault).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn too_many_requests() {
    let rig = Rig::start().await;
    let endpoint = rig.warm_endpoint().await;
    order(
        &rig,
        json!({"fault": "http_429", "operation": "run", "retry_after_s": 4, "count": 1}),
    )
    .await;
    let path = format!("/v2/{endpoint}/run");
    let answer = rig.post(&path, json!({"input": {}})).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "4"));
    assert_eq!(rig.post(&path, json!({"input": {}})).await.status, 200);
}

#[tokio::test]
async fn server_errors_on_the_management_api() {
    let rig = Rig::start().await;
    order(
        &rig,
        json!({"fault": "http_5xx", "status": 502, "operation": "management", "count": 1}),
    )
    .await;
    assert_eq!(rig.get("/v2/serverless").await.status, 502);
    assert_eq!(rig.get("/v2/serverless").await.status, 200);
}

#[tokio::test]
async fn a_submission_is_accepted_and_never_answered() {
    let rig = Rig::start().await;
    let endpoint = rig.warm_endpoint().await;
    order(&rig, json!({"fault": "accept_then_hang", "count": 1})).await;
    let path = format!("/v2/{endpoint}/run");
    let accepted = async {
        while rig.emulator.executions().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = rig.post(&path, json!({"input": {}})) => panic!("answered {}", answer.text),
        () = accepted => {}
    }
    assert_eq!(rig.post(&path, json!({"input": {}})).await.status, 200);
}

#[tokio::test]
async fn lengths_of_time_and_lists() {
    let rig = Rig::start().await;
    order(&rig, json!({"fault": "throttled", "for": "10m"})).await;
    let list = rig.get("/emulator/faults").await.json();
    assert_eq!(list[0]["fault"], "throttled");
    assert_eq!(list[0]["for_ms"], 600_000);
    rig.skip(600_000);
    assert_eq!(rig.get("/emulator/faults").await.json(), json!([]));
    order(&rig, json!({"fault": "crash_loop"})).await;
    let answer = rig.send("DELETE", "/emulator/faults", None).await;
    assert_eq!(answer.json(), json!({"removed": 1}));
}

#[tokio::test]
async fn a_region_outage_empties_the_catalog_there() {
    let rig = Rig::start().await;
    order(
        &rig,
        json!({"fault": "region_outage", "data_center": "EU-RO-1"}),
    )
    .await;
    let path = "/v2/catalog/datacenters/EU-RO-1?include=GPU_AVAILABILITY";
    let body = rig.get(path).await.json();
    let levels = body["gpuAvailability"].as_array().unwrap();
    assert!(levels.iter().all(|level| level["availability"] == "NONE"));
}

#[tokio::test]
async fn every_kind_of_fault_can_be_ordered() {
    let rig = Rig::start().await;
    rig.warm_endpoint().await;
    for fault in [
        json!({"fault": "http_429"}),
        json!({"fault": "http_5xx"}),
        json!({"fault": "accept_then_hang"}),
        json!({"fault": "lost_worker"}),
        json!({"fault": "empty_input_dropped"}),
        json!({"fault": "result_lost"}),
        json!({"fault": "early_expiry"}),
        json!({"fault": "late_id"}),
        json!({"fault": "throttled"}),
        json!({"fault": "unhealthy"}),
        json!({"fault": "crash_loop"}),
        json!({"fault": "max_lowered"}),
        json!({"fault": "standby_worker"}),
        json!({"fault": "price_change", "price_usd_per_h": "9.99"}),
        json!({"fault": "hidden_idle"}),
        json!({"fault": "hidden_idle", "percent": 10}),
        json!({"fault": "wrong_price"}),
        json!({"fault": "billed_twice"}),
        json!({"fault": "late_records"}),
        json!({"fault": "missing_records"}),
        json!({"fault": "hung_worker"}),
        json!({"fault": "region_outage", "data_center": "US-TX-3"}),
        json!({"fault": "webhook_lost"}),
        json!({"fault": "webhook_doubled"}),
    ] {
        order(&rig, fault).await;
    }
}
