//! Fidelity: every exchange on a management route against RunPod's published OpenAPI document.
//!
//! The document is no part of the project. It is looked for in the folder that `OVERSPILL_SHARED` names (default: `shared`
//! beside the workspace); without it this test says so and checks only that every served route answers.

use overspill_emulator::Emulator;
use serde_json::json;

use crate::document::{document, matches, validate};
use crate::rig::{Answer, Rig, creation};

/// One exchange or more on every served route, good and bad.
async fn exchanges(rig: &Rig) -> Vec<Answer> {
    let mut seen = Vec::new();
    let made = rig
        .post("/v2/serverless", creation(&json!({"min": 1, "max": 4})))
        .await;
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/v2/serverless/{id}");
    seen.push(made);
    let cpu = json!({"name": "cpu", "type": "LOAD_BALANCER", "image": "i",
        "cpu": [{"id": "cpu3c", "vcpuCount": 4}], "scaling": {"type": "REQUEST_COUNT", "requestCount": 2}});
    seen.push(rig.post("/v2/serverless", cpu).await);
    let counted = json!({"name": "counted", "type": "QUEUE", "image": "i",
        "gpu": {"pools": ["ADA_24", "AMPERE_48"], "excludedTypes": ["NVIDIA A40"], "minCudaVersion": "12.6"},
        "scaling": {"type": "REQUEST_COUNT", "requestCount": 2}});
    seen.push(rig.post("/v2/serverless", counted).await);
    seen.push(rig.get("/v2/serverless").await);
    seen.push(rig.get(&path).await);
    rig.skip(10_000);
    rig.post(&format!("/v2/{id}/run"), json!({"input": {"seconds": 100}}))
        .await;
    let workers = rig.get(&format!("{path}/workers")).await;
    let worker = workers.json()["workers"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    seen.push(workers);
    seen.push(
        rig.get(&format!("{path}/workers/{worker}/logs?tail=10"))
            .await,
    );
    seen.push(
        rig.get(&format!("{path}/workers/{worker}/logs?tail=9999"))
            .await,
    );
    seen.push(rig.get(&format!("{path}/workers/none/logs")).await);
    let change = json!({"workers": {"min": 2, "max": 4}, "timeout": 60_000});
    seen.push(rig.send("PATCH", &path, Some(change)).await);
    let release = json!({"image": "me/worker:v4", "env": {"A": "1"}, "gpu": {"pools": ["ADA_24"]}});
    seen.push(rig.send("PATCH", &path, Some(release)).await);
    seen.push(rig.get(&format!("{path}/workers")).await);
    seen.push(rig.get(&format!("{path}/releases")).await);
    seen.push(
        rig.send("PATCH", &path, Some(json!({"workers": {"idleTimeout": 0}})))
            .await,
    );
    seen.push(
        rig.send(
            "PATCH",
            &path,
            Some(json!({"cpu": [{"id": "cpu3c", "vcpuCount": 2}]})),
        )
        .await,
    );
    seen.push(rig.get("/v2/serverless/none").await);
    seen.push(rig.send("DELETE", "/v2/serverless/none", None).await);
    seen.push(rig.send("PUT", &path, None).await);
    for catalog in [
        "/v2/catalog/gpus",
        "/v2/catalog/gpus?include=AVAILABILITY&product=SERVERLESS",
        "/v2/catalog/gpus?include=AVAILABILITY",
        "/v2/catalog/gpus?product=TOASTER",
        "/v2/catalog/gpus/NVIDIA%20L4?include=AVAILABILITY&product=POD,SERVERLESS",
        "/v2/catalog/gpus/none",
        "/v2/catalog/cpus?include=AVAILABILITY&product=SERVERLESS",
        "/v2/catalog/cpus/cpu3c",
        "/v2/catalog/cpus/none",
        "/v2/catalog/datacenters?include=GPU_AVAILABILITY,CPU_AVAILABILITY&regions=EUROPE",
        "/v2/catalog/datacenters/EU-RO-1",
        "/v2/catalog/datacenters/none",
        "/v2/billing?bucketSize=week&lastN=3",
        "/v2/billing?lastN=0",
        "/v2/billing/serverless?bucketSize=hour",
        "/v2/billing/serverless?startTime=2026-09-01T00:00:00Z&endTime=2026-10-01T00:00:00Z",
        "/v2/billing/serverless?startTime=2026-09-01T00:00:00Z&lastN=3",
        "/v2/billing/serverless?bucketSize=decade",
    ] {
        seen.push(rig.get(catalog).await);
    }
    seen.push(
        rig.get(&format!(
            "/v2/billing/serverless?serverlessId={id}&bucketSize=year"
        ))
        .await,
    );
    seen.push(rig.send("DELETE", &path, None).await);
    seen
}

#[tokio::test]
async fn every_served_route_answers_as_the_document_says() {
    let rig = Rig::start().await;
    let seen = exchanges(&rig).await;
    for (method, route) in Emulator::management_routes() {
        let is_met = |answer: &&Answer| {
            answer.method == method && matches(route, &answer.path) && answer.status < 300
        };
        assert!(
            seen.iter().any(|a| is_met(&a)),
            "no exchange on {method} {route}"
        );
    }
    let served = Emulator::management_routes();
    let counted = rig.emulator.requests();
    for (method, route) in served {
        let name = format!("{method} {route}");
        assert!(counted.contains_key(&name), "{name} was not counted");
    }
    if let Some(document) = document() {
        for answer in &seen {
            validate(&document, answer);
        }
    }
}
