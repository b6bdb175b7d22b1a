//! Our own server against the table that the emulated cloud is held against: RunPod's data plane, field by field.

use serde_json::{Value, json};

use crate::contract::{self, Scene, Service};
use crate::document::Exchange;
use crate::serving::Rig;

/// `tts` has one card, whose process never asks for work: the test speaks for it. `closed` is paused.
const OPEN: &str = r#"
[auth]
required = false

[[endpoint]]
name = "tts"

  [[endpoint.local]]
  command = ["sleep", "600"]
  devices = 1

[[endpoint]]
name    = "closed"
workers = { min = 0, max = 0 }
"#;

struct Ours {
    rig: Rig,
    /// The incarnation on the card.
    worker: String,
}

async fn read(
    method: &str,
    path: &str,
    sent: Option<Value>,
    answer: reqwest::Response,
) -> Exchange {
    Exchange {
        method: method.to_owned(),
        path: path.to_owned(),
        sent,
        status: answer.status().as_u16(),
        headers: answer.headers().clone(),
        text: answer.text().await.unwrap(),
    }
}

impl Ours {
    async fn submit(&self, body: Value) -> String {
        let answer = self.send("POST", "/v2/tts/run", Some(body)).await;
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// The worker takes the next job, and says that it has it.
    async fn take(&self) -> String {
        let path = format!("/v2/tts/job-take/{}?gpu=x&job_in_progress=0", self.worker);
        let taken = self.send("GET", &path, None).await;
        assert_eq!(taken.status, 200, "{taken:?}");
        let job = taken.json()["id"].as_str().unwrap().to_owned();
        let path = format!("/v2/tts/ping/{}?gpu=x&job_id={job}", self.worker);
        assert_eq!(self.send("GET", &path, None).await.status, 200);
        job
    }

    /// The worker posts to `job-done`.
    async fn post(&self, job: &str, body: Value) {
        let path = format!(
            "/v2/tts/job-done/{}/{job}?gpu=x&isStream=false",
            self.worker
        );
        let answer = self.send("POST", &path, Some(body)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

impl Service for Ours {
    async fn start() -> Self {
        let rig = Rig::start(OPEN).await;
        let worker = loop {
            // The card's worker is minted a moment after the server.
            let answer = rig.send("GET", "/v2/serverless/tts/workers", None).await;
            let workers: Value = answer.json().await.unwrap();
            if let Some(id) = workers["workers"][0]["id"].as_str() {
                break id.to_owned();
            }
            tokio::task::yield_now().await;
        };
        Self { rig, worker }
    }

    fn endpoint(&self) -> &'static str {
        "tts"
    }

    async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Exchange {
        let answer = self.rig.send(method, path, body.as_ref()).await;
        read(method, path, body, answer).await
    }

    async fn health_keyless(&self) -> Exchange {
        let rig = Rig::start("[[endpoint]]\nname = \"tts\"\n").await;
        let path = "/v2/tts/health";
        let url = format!("http://{}{path}", rig.server.address());
        read("GET", path, None, rig.http.get(url).send().await.unwrap()).await
    }

    async fn bring(&self, scene: Scene) -> String {
        let job = self
            .submit(match scene {
                Scene::ExecutionTimeout => {
                    json!({"input": {}, "policy": {"executionTimeout": 5_000}})
                }
                _ => json!({"input": {}}),
            })
            .await;
        match scene {
            Scene::InQueue => {}
            Scene::CancelledInQueue => {
                let path = format!("/v2/tts/cancel/{job}");
                self.send("POST", &path, None).await;
            }
            Scene::ExpiredInQueue => self.rig.expire(job.parse().unwrap()).await,
            _ => assert_eq!(self.take().await, job),
        }
        match scene {
            Scene::Progress => {
                let update = json!({"status": "IN_PROGRESS", "output": {"percent": 50}});
                self.post(&job, update).await;
            }
            Scene::Completed => self.post(&job, json!({"output": {"k": "v"}})).await,
            Scene::Failed => self.post(&job, json!({"error": "went wrong"})).await,
            Scene::ExecutionTimeout => {
                // Held until it ends: the five seconds are RunPod's least.
                let path = format!("/v2/tts/status-sync/{job}?wait=60000");
                self.send("GET", &path, None).await;
            }
            Scene::CancelledRunning => {
                let path = format!("/v2/tts/cancel/{job}");
                self.send("POST", &path, None).await;
            }
            _ => {}
        }
        job
    }

    async fn run_sync(&self) -> Exchange {
        let path = "/v2/tts/runsync?wait=300000";
        let held = self.send("POST", path, Some(json!({"input": {}})));
        let done = async {
            let job = self.take().await;
            self.post(&job, json!({"output": {"k": "v"}})).await;
        };
        tokio::join!(held, done).0
    }

    async fn run_paused(&self) -> Exchange {
        let body = json!({"input": {}});
        self.send("POST", "/v2/closed/run", Some(body)).await
    }
}

#[tokio::test]
async fn every_state_has_exactly_its_fields() {
    contract::states::<Ours>().await;
}

#[tokio::test]
async fn submissions_answer_as_the_cloud_does() {
    contract::submissions::<Ours>().await;
}

#[tokio::test]
async fn streams_always_have_their_array() {
    contract::streams::<Ours>().await;
}

#[tokio::test]
async fn counts_have_their_names() {
    contract::counts::<Ours>().await;
}

#[tokio::test]
async fn errors_have_both_styles() {
    contract::errors::<Ours>().await;
}
