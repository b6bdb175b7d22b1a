//! RunPod's management API over our own endpoints: every exchange against its published OpenAPI document.

use overspill::gateway::route::ROUTES;
use serde_json::{Value, json};

use crate::document::{Exchange, document, matches, validate};
use crate::serving::Rig;

/// Two endpoints: one with a card of ours whose process never asks for work, one without.
const ENDPOINTS: &str = r#"
[[endpoint]]
name = "tts"

  [[endpoint.local]]
  command = ["sleep", "600"]
  devices = 1

[[endpoint]]
name   = "sdxl"
scaler = { policy = "request_count", request_count = 2 }
"#;

async fn exchange(rig: &Rig, method: &str, path: &str, sent: Option<Value>) -> Exchange {
    let answer = rig.send(method, path, sent.as_ref()).await;
    Exchange {
        method: method.to_owned(),
        path: path.to_owned(),
        sent,
        status: answer.status().as_u16(),
        headers: answer.headers().clone(),
        text: answer.text().await.unwrap(),
    }
}

/// Exchanges on every served route, good and bad.
async fn exchanges(rig: &Rig) -> Vec<Exchange> {
    let mut seen = Vec::new();
    let workers = loop {
        // The card's worker is minted and started a moment after the server.
        let workers = exchange(rig, "GET", "/v2/serverless/tts/workers", None).await;
        if workers.json()["summary"]["total"] == 1 {
            break workers;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(workers.json()["workers"][0]["status"], "INITIALIZING");
    seen.push(workers);
    for path in [
        "",
        "/tts",
        "/sdxl",
        "/sdxl/workers",
        "/tts/releases",
        "/sdxl/releases",
        "/none",
        "/none/workers",
        "/none/releases",
    ] {
        let path = format!("/v2/serverless{path}");
        seen.push(exchange(rig, "GET", &path, None).await);
    }
    for (path, body) in [
        ("/tts", json!({"workers": {"min": 1, "max": 4}})),
        ("/tts", json!({"workers": {"max": 0, "min": 0}})),
        ("/tts", json!({"workers": {"min": 5}})),
        ("/sdxl", json!({"workers": {"max": 7}})),
        ("/sdxl", json!({"image": "me/worker:v4"})),
        ("/sdxl", json!({"workers": {"max": "many"}})),
        ("/sdxl", json!({"unknown": 1})),
        ("/sdxl", json!([])),
        ("/none", json!({"workers": {"max": 7}})),
    ] {
        let path = format!("/v2/serverless{path}");
        seen.push(exchange(rig, "PATCH", &path, Some(body)).await);
    }
    seen.push(exchange(rig, "PUT", "/v2/serverless/tts", None).await);
    seen.push(exchange(rig, "DELETE", "/v2/serverless/tts", None).await);
    let body = json!({"name": "new", "type": "QUEUE", "image": "i", "gpu": {"pools": ["ADA_24"]},
        "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4}});
    seen.push(exchange(rig, "POST", "/v2/serverless", Some(body)).await);
    let url = format!("http://{}/v2/serverless", rig.server.address());
    let keyless = rig.http.get(url).send().await.unwrap();
    seen.push(Exchange {
        method: "GET".into(),
        path: "/v2/serverless".into(),
        sent: None,
        status: keyless.status().as_u16(),
        headers: keyless.headers().clone(),
        text: keyless.text().await.unwrap(),
    });
    seen
}

#[tokio::test]
async fn every_served_route_answers_as_the_document_says() {
    let rig = Rig::start(ENDPOINTS).await;
    let seen = exchanges(&rig).await;
    let served = ROUTES
        .iter()
        .filter(|route| route.path.starts_with("/v2/serverless"));
    for route in served {
        for method in route.methods {
            let is_met = |exchange: &&Exchange| {
                exchange.method == method.as_str()
                    && matches(route.path, &exchange.path)
                    && exchange.status < 300
            };
            let path = route.path;
            assert!(
                seen.iter().any(|e| is_met(&e)),
                "no exchange on {method} {path}"
            );
        }
    }
    let statuses: Vec<u16> = seen
        .iter()
        .filter(|exchange| exchange.method == "PATCH")
        .map(|exchange| exchange.status)
        .collect();
    assert_eq!(statuses, [200, 200, 400, 200, 422, 422, 422, 422, 404]);
    if let Some(document) = document() {
        for exchange in &seen {
            validate(&document, exchange);
        }
    }
}
