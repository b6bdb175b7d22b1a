//! The data plane field by field, as `runpod-protocol.md` A4 to A9 tell it: one table, which the emulated cloud
//! and the server of ours are both held against (the tests of the server use this file too).
//!
//! A [`Service`] says how a job comes to a state; what is asked and what must be answered stands here.

use serde_json::{Value, json};

use crate::document::Exchange;

/// How far a job has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scene {
    InQueue,
    InProgress,
    Progress,
    Completed,
    Failed,
    ExecutionTimeout,
    CancelledInQueue,
    CancelledRunning,
    ExpiredInQueue,
}

/// A data plane to hold against the table.
pub(crate) trait Service: Sized {
    /// A fresh one, with one endpoint whose one worker is ready.
    async fn start() -> Self;

    /// Name or id of the endpoint.
    fn endpoint(&self) -> &str;

    /// One request, with a key.
    async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Exchange;

    /// `/health` without a key.
    async fn health_keyless(&self) -> Exchange;

    /// Submits a job by `/run` and brings it there; its id.
    async fn bring(&self, scene: Scene) -> String;

    /// Submits by `/runsync?wait=300000` and has it completed meanwhile.
    async fn run_sync(&self) -> Exchange;

    /// `/run` on an endpoint whose max workers are 0.
    async fn run_paused(&self) -> Exchange;
}

/// A4: each state's word and all its fields.
const STATES: &[(Scene, &str, &[&str])] = &[
    (Scene::InQueue, "IN_QUEUE", &["id", "status"]),
    (
        Scene::InProgress,
        "IN_PROGRESS",
        &["delayTime", "id", "status", "workerId"],
    ),
    (
        Scene::Progress,
        "IN_PROGRESS",
        &[
            "delayTime",
            "executionTime",
            "id",
            "output",
            "status",
            "workerId",
        ],
    ),
    (
        Scene::Completed,
        "COMPLETED",
        &[
            "delayTime",
            "executionTime",
            "id",
            "output",
            "status",
            "workerId",
        ],
    ),
    (
        Scene::Failed,
        "FAILED",
        &[
            "delayTime",
            "error",
            "executionTime",
            "id",
            "status",
            "workerId",
        ],
    ),
    (
        Scene::ExecutionTimeout,
        "FAILED",
        &[
            "delayTime",
            "error",
            "executionTime",
            "id",
            "status",
            "workerId",
        ],
    ),
    (Scene::CancelledInQueue, "CANCELLED", &["id", "status"]),
    (
        Scene::CancelledRunning,
        "CANCELLED",
        &["delayTime", "executionTime", "id", "status", "workerId"],
    ),
    (Scene::ExpiredInQueue, "TIMED_OUT", &["id", "status"]),
];

/// A8: the counts and no others.
const HEALTH: [(&str, &[&str]); 2] = [
    (
        "jobs",
        &["completed", "failed", "inProgress", "inQueue", "retried"],
    ),
    (
        "workers",
        &[
            "idle",
            "initializing",
            "ready",
            "running",
            "throttled",
            "unhealthy",
        ],
    ),
];

fn fields(body: &Value) -> Vec<&str> {
    let object = body.as_object().expect("an object");
    let mut fields: Vec<&str> = object.keys().map(String::as_str).collect();
    fields.sort_unstable();
    fields
}

/// A4, A5 and A6: `/status` of each state, and `/cancel` and `/retry` of what has ended.
pub(crate) async fn states<S: Service>() {
    for &(scene, word, expected) in STATES {
        let service = S::start().await;
        let endpoint = service.endpoint();
        let job = service.bring(scene).await;
        assert_is_id(&job);
        let path = format!("/v2/{endpoint}/status/{job}");
        let answer = service.send("GET", &path, None).await;
        let body = answer.json();
        assert_eq!(
            (answer.status, body["status"].as_str()),
            (200, Some(word)),
            "{scene:?}: {body}"
        );
        let mut found = fields(&body);
        if scene == Scene::ExpiredInQueue {
            // RunPod gives no reason; ours does.
            found.retain(|field| *field != "error");
        }
        assert_eq!(found, expected, "{scene:?}: {body}");
        assert_types(&body, &job);
        if scene == Scene::ExecutionTimeout {
            assert_eq!(body["error"], "executionTimeout exceeded");
        }
        let retried = service
            .send("POST", &format!("/v2/{endpoint}/retry/{job}"), None)
            .await;
        if matches!(word, "FAILED" | "TIMED_OUT") {
            assert_eq!(
                (retried.status, retried.json()),
                (200, json!({"id": job, "status": "IN_QUEUE"})),
                "{scene:?}"
            );
        } else {
            assert!(
                (400..500).contains(&retried.status),
                "{scene:?}: {retried:?}"
            );
            assert!(retried.json()["error"].is_string(), "{scene:?}");
        }
        let cancelled = service
            .send("POST", &format!("/v2/{endpoint}/cancel/{job}"), None)
            .await;
        assert_eq!(cancelled.status, 200, "{scene:?}");
        let final_word = match word {
            "COMPLETED" => "COMPLETED",
            // What was queued, ran, or was retried above is cancelled by it.
            _ => "CANCELLED",
        };
        assert_eq!(cancelled.json()["status"], final_word, "{scene:?}");
        assert_eq!(cancelled.json()["id"], job, "{scene:?}");
    }
}

/// A4: types and units of what an answer may hold.
fn assert_types(body: &Value, job: &str) {
    assert_eq!(body["id"], job);
    for field in ["delayTime", "executionTime"] {
        assert!(
            body.get(field).is_none_or(Value::is_u64),
            "{field} in milliseconds: {body}"
        );
    }
    for field in ["workerId", "error"] {
        assert!(body.get(field).is_none_or(Value::is_string), "{body}");
    }
}

/// A5: opaque, and safe within a path.
fn assert_is_id(id: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    assert!(id.chars().all(plain), "{id}");
    let (uuid, suffix) = id
        .strip_prefix("sync-")
        .unwrap_or(id)
        .rsplit_once('-')
        .unwrap();
    assert_eq!((uuid.len(), uuid.matches('-').count()), (36, 4), "{id}");
    let suffix: Vec<char> = suffix.chars().collect();
    assert!(
        matches!(suffix[..], [letter, digit] if letter.is_ascii_lowercase() && digit.is_ascii_digit()),
        "{id}"
    );
}

/// A4: what a submission answers, and the bounds of `wait`.
pub(crate) async fn submissions<S: Service>() {
    let service = S::start().await;
    let endpoint = service.endpoint();
    let answer = service
        .send(
            "POST",
            &format!("/v2/{endpoint}/run"),
            Some(json!({"input": {}})),
        )
        .await;
    let body = answer.json();
    assert_eq!(
        (answer.status, fields(&body)),
        (200, vec!["id", "status"]),
        "{body}"
    );
    assert_eq!(body["status"], "IN_QUEUE");
    assert_is_id(body["id"].as_str().unwrap());
    for wait in ["999", "300001", "-1", "x"] {
        let path = format!("/v2/{endpoint}/runsync?wait={wait}");
        let refused = service
            .send("POST", &path, Some(json!({"input": {}})))
            .await;
        assert_eq!(refused.status, 400, "{wait}");
        assert_eq!(
            refused.json()["error"],
            "wait is invalid; must be between 1000 and 300000"
        );
    }
    let service = S::start().await;
    let answer = service.run_sync().await;
    let body = answer.json();
    let completed = [
        "delayTime",
        "executionTime",
        "id",
        "output",
        "status",
        "workerId",
    ];
    assert_eq!(
        (answer.status, fields(&body)),
        (200, completed.to_vec()),
        "{body}"
    );
    assert_eq!(body["status"], "COMPLETED");
    let id = body["id"].as_str().unwrap();
    assert!(id.starts_with("sync-"), "{id}");
    assert_is_id(id);
}

/// A7: `/stream` always has its array, and a final state comes with all that is left.
pub(crate) async fn streams<S: Service>() {
    for (scene, word) in [
        (Scene::Completed, "COMPLETED"),
        (Scene::Failed, "FAILED"),
        (Scene::InQueue, "IN_QUEUE"),
    ] {
        let service = S::start().await;
        let endpoint = service.endpoint();
        let job = service.bring(scene).await;
        if word == "IN_QUEUE" {
            // An empty poll is held: it ends with the job.
            let path = format!("/v2/{endpoint}/cancel/{job}");
            service.send("POST", &path, None).await;
        }
        let path = format!("/v2/{endpoint}/stream/{job}");
        let answer = service.send("GET", &path, None).await;
        assert!(matches!(answer.status, 200 | 404), "{answer:?}");
        if word != "IN_QUEUE" {
            let body = answer.json();
            assert_eq!(
                (body["status"].as_str(), &body["stream"]),
                (Some(word), &json!([])),
                "{body}"
            );
        }
    }
}

/// A4 and A8: `/purge-queue` and `/health`.
pub(crate) async fn counts<S: Service>() {
    let service = S::start().await;
    let endpoint = service.endpoint();
    service.bring(Scene::InQueue).await;
    let path = format!("/v2/{endpoint}/purge-queue");
    let purged = service.send("POST", &path, None).await;
    assert_eq!(
        (purged.status, purged.json()),
        (200, json!({"removed": 1, "status": "completed"}))
    );
    let health = service
        .send("GET", &format!("/v2/{endpoint}/health"), None)
        .await
        .json();
    assert_eq!(fields(&health), ["jobs", "workers"]);
    for (part, expected) in HEALTH {
        assert_eq!(fields(&health[part]), expected, "{health}");
        for name in expected {
            assert!(health[part][name].is_u64(), "{part}.{name}: {health}");
        }
    }
    assert_eq!(health["workers"]["ready"], health["workers"]["idle"]);
}

/// A9: each error's status, with both styles of body in one.
pub(crate) async fn errors<S: Service>() {
    let service = S::start().await;
    let endpoint = service.endpoint();
    let unknown = "00000000-0000-4000-8000-000000000000-u1";
    let run = format!("/v2/{endpoint}/run");
    for (method, path, body, status) in [
        ("POST", run.clone(), Some(json!({"prompt": 1})), 400),
        ("POST", run.clone(), Some(json!([])), 400),
        (
            "POST",
            run.clone(),
            Some(json!({"input": {}, "policy": {"ttl": 9_999}})),
            400,
        ),
        (
            "POST",
            run.clone(),
            Some(json!({"input": {}, "policy": {"executionTimeout": 4_999}})),
            400,
        ),
        ("GET", format!("/v2/{endpoint}/status/{unknown}"), None, 404),
        ("GET", format!("/v2/{endpoint}/stream/{unknown}"), None, 404),
        (
            "POST",
            format!("/v2/{endpoint}/cancel/{unknown}"),
            None,
            404,
        ),
        (
            "POST",
            "/v2/nowhere/run".to_owned(),
            Some(json!({"input": {}})),
            404,
        ),
    ] {
        assert_error(&service.send(method, &path, body).await, status);
    }
    assert_error(&service.health_keyless().await, 401);
    let answer = service.run_paused().await;
    assert_error(&answer, 409);
    let body = answer.json();
    assert_eq!(body["code"], "ENDPOINT_PAUSED");
    assert_eq!(
        body["detail"],
        "Endpoint is paused (max_workers=0). Set max_workers > 0 to accept work."
    );
}

fn assert_error(answer: &Exchange, status: u16) {
    let body = answer.json();
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(
        body["error"].as_str().is_some_and(|text| !text.is_empty()),
        "{body}"
    );
    assert_eq!(body["status"], status, "{body}");
    assert!(
        body["title"].is_string() && body["detail"].is_string(),
        "{body}"
    );
}
