//! REST v1 and GraphQL as official tools call them.

use serde_json::{Value, json};

use crate::rig::Rig;

#[tokio::test]
async fn v1_makes_changes_and_removes_templates_and_endpoints() {
    let rig = Rig::start().await;
    let body =
        json!({"name": "t", "imageName": "me/worker", "env": {"A": "1"}, "isServerless": true});
    let template = rig.post("/v1/templates", body).await.json();
    let id = template["id"].as_str().unwrap();
    assert_eq!(
        (&template["containerDiskInGb"], &template["env"]["A"]),
        (&json!(50), &json!("1"))
    );
    let body = json!({"templateId": id, "name": "e", "gpuTypeIds": ["NVIDIA GeForce RTX 4090"],
        "workersMax": 2, "scalerType": "REQUEST_COUNT", "scalerValue": 3});
    let made = rig.post("/v1/endpoints", body).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let endpoint = made.json();
    let path = format!("/v1/endpoints/{}", endpoint["id"].as_str().unwrap());
    assert_eq!(endpoint["gpuTypeIds"], json!(["NVIDIA GeForce RTX 4090"]));
    assert_eq!(
        (
            &endpoint["scalerType"],
            &endpoint["scalerValue"],
            &endpoint["idleTimeout"]
        ),
        (&json!("REQUEST_COUNT"), &json!(3), &json!(5))
    );
    let body = rig
        .send("PATCH", &path, Some(json!({"workersMax": 4})))
        .await
        .json();
    assert_eq!(
        (&body["workersMax"], &body["version"]),
        (&json!(4), &json!(1))
    );
    let body = rig
        .post(
            &format!("{path}/update"),
            json!({"gpuTypeIds": ["NVIDIA L4"]}),
        )
        .await
        .json();
    assert_eq!(
        (&body["gpuIds"].as_str().unwrap()[..10], &body["version"]),
        ("AMPERE_24,", &json!(2))
    );
    assert_eq!(
        rig.get("/v1/endpoints")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        rig.get("/v1/billing/endpoints").await.json()[0]["amount"],
        0.0
    );
    assert_eq!(rig.send("DELETE", &path, None).await.status, 204);
    let gone = rig.get(&path).await;
    assert_eq!(gone.status, 404);
    assert!(gone.json()["message"].is_string());
    assert_eq!(
        rig.send("DELETE", &format!("/v1/templates/{id}"), None)
            .await
            .status,
        204
    );
    assert_eq!(rig.get("/v1/pods").await.json(), json!([]));
}

async fn graphql(rig: &Rig, query: &str) -> Value {
    let answer = rig.post("/graphql", json!({"query": query})).await;
    assert_eq!(answer.status, 200);
    answer.json()
}

#[tokio::test]
async fn graphql_saves_lists_and_deletes() {
    let rig = Rig::start().await;
    // As the Python SDK writes it: all values inlined.
    let saved = graphql(
        &rig,
        r#"mutation { saveTemplate(input: { name: "t", imageName: "me/worker", dockerArgs: "",
            containerDiskInGb: 10, volumeInGb: 0, ports: "", env: [{ key: "A", value: "1" }],
            isServerless: true }) { id name } }"#,
    )
    .await;
    let template = saved["data"]["saveTemplate"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let query = format!(
        r#"mutation {{ saveEndpoint( input: {{ name: "e", templateId: "{template}", gpuIds: "AMPERE_16,-NVIDIA RTX A4000",
            networkVolumeId: "", locations: "", idleTimeout: 5, scalerType: "QUEUE_DELAY", scalerValue: 4,
            workersMin: 0, workersMax: 3 }} ) {{ id name }} }}"#
    );
    let saved = graphql(&rig, &query).await;
    let id = saved["data"]["saveEndpoint"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        saved["data"]["saveEndpoint"]["gpuIds"],
        "AMPERE_16,-NVIDIA RTX A4000"
    );
    let all = graphql(
        &rig,
        "query Query { myself { endpoints { aiKey gpuIds id workersMax } } }",
    )
    .await;
    assert_eq!(all["data"]["myself"]["endpoints"][0]["workersMax"], 3);
    // With an id it is a full replacement: what is left out goes back to its default.
    let body = json!({
        "query": "mutation S($input: EndpointInput!) { saveEndpoint(input: $input) { id } }",
        "variables": {"input": {"id": id, "name": "e", "templateId": template, "workersMax": 1}},
    });
    let saved = rig.post("/graphql", body).await.json();
    assert_eq!(
        (
            &saved["data"]["saveEndpoint"]["workersMax"],
            &saved["data"]["saveEndpoint"]["gpuIds"]
        ),
        (&json!(1), &json!("AMPERE_16"))
    );
    let gone = graphql(
        &rig,
        &format!("mutation {{ deleteEndpoint(id: \"{id}\") }}"),
    )
    .await;
    assert_eq!(gone["data"]["deleteEndpoint"], Value::Null);
    let error = graphql(
        &rig,
        &format!("mutation {{ deleteEndpoint(id: \"{id}\") }}"),
    )
    .await;
    assert!(
        error["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains(&id)
    );
    let types = graphql(
        &rig,
        "query GpuTypes { gpuTypes { id displayName memoryInGb } }",
    )
    .await;
    assert_eq!(types["data"]["gpuTypes"][0]["memoryInGb"], 16);
}
