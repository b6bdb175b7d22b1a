//! The emulated cloud against the table of `contract.rs`.

use serde_json::{Value, json};

use crate::contract::{self, Scene, Service};
use crate::document::Exchange;
use crate::rig::Rig;

struct Emulated {
    rig: Rig,
    endpoint: String,
}

impl Emulated {
    async fn submit(&self, body: Value) -> String {
        let path = format!("/v2/{}/run", self.endpoint);
        let answer = self.rig.post(&path, body).await;
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Gives the one worker something to do for long.
    async fn occupy(&self) {
        self.submit(json!({"input": {"seconds": 500}})).await;
        self.rig.skip(1);
    }
}

impl Service for Emulated {
    async fn start() -> Self {
        let rig = Rig::start().await;
        let endpoint = rig.endpoint(json!({"min": 1, "max": 1})).await;
        rig.skip(10_000);
        Self { rig, endpoint }
    }

    fn endpoint(&self) -> &str {
        &self.endpoint
    }

    async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Exchange {
        self.rig.send(method, path, body).await
    }

    async fn health_keyless(&self) -> Exchange {
        let path = format!("/v2/{}/health", self.endpoint);
        let url = format!("{}{path}", self.rig.base);
        let answer = self.rig.http.get(url).send().await.unwrap();
        Exchange {
            method: "GET".to_owned(),
            path,
            sent: None,
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            text: answer.text().await.unwrap(),
        }
    }

    async fn bring(&self, scene: Scene) -> String {
        if matches!(
            scene,
            Scene::InQueue | Scene::CancelledInQueue | Scene::ExpiredInQueue
        ) {
            self.occupy().await;
        }
        let body = match scene {
            Scene::InQueue | Scene::CancelledInQueue => json!({"input": {}}),
            Scene::InProgress | Scene::CancelledRunning => json!({"input": {"seconds": 60}}),
            Scene::Progress => json!({"input": {"seconds": 9, "progress": 2}}),
            Scene::Completed => json!({"input": {"seconds": 1}}),
            Scene::Failed => json!({"input": {"seconds": 1, "error": "went wrong"}}),
            Scene::ExecutionTimeout => {
                json!({"input": {"seconds": 100}, "policy": {"executionTimeout": 5_000}})
            }
            Scene::ExpiredInQueue => json!({"input": {}, "policy": {"ttl": 10_000}}),
        };
        let job = self.submit(body).await;
        self.rig.skip(match scene {
            Scene::InQueue | Scene::CancelledInQueue => 1,
            Scene::Progress => 4_000,
            Scene::ExecutionTimeout => 20_000,
            Scene::ExpiredInQueue => 10_001,
            _ => 1_000,
        });
        if matches!(scene, Scene::CancelledInQueue | Scene::CancelledRunning) {
            let path = format!("/v2/{}/cancel/{job}", self.endpoint);
            self.rig.post(&path, json!({})).await;
        }
        job
    }

    async fn run_sync(&self) -> Exchange {
        let path = format!("/v2/{}/runsync?wait=300000", self.endpoint);
        let held = self.rig.post(&path, json!({"input": {"seconds": 1}}));
        let moved = async {
            while self.rig.emulator.executions().is_empty() {
                tokio::task::yield_now().await;
            }
            self.rig.skip(1_000);
        };
        tokio::join!(held, moved).0
    }

    async fn run_paused(&self) -> Exchange {
        let path = format!("/v2/serverless/{}", self.endpoint);
        let limits = json!({"workers": {"min": 0, "max": 0}});
        let paused = self.rig.send("PATCH", &path, Some(limits)).await;
        assert_eq!(paused.status, 200, "{paused:?}");
        let path = format!("/v2/{}/run", self.endpoint);
        self.rig.post(&path, json!({"input": {}})).await
    }
}

#[tokio::test]
async fn every_state_has_exactly_its_fields() {
    contract::states::<Emulated>().await;
}

#[tokio::test]
async fn submissions_answer_as_the_cloud_does() {
    contract::submissions::<Emulated>().await;
}

#[tokio::test]
async fn streams_always_have_their_array() {
    contract::streams::<Emulated>().await;
}

#[tokio::test]
async fn counts_have_their_names() {
    contract::counts::<Emulated>().await;
}

#[tokio::test]
async fn errors_have_both_styles() {
    contract::errors::<Emulated>().await;
}
