//! Clients: they submit, ask, cancel, retry and purge, and write down what they were told.

use std::sync::Arc;
use std::time::Duration;

use overspill_core::id::JobId;
use rand::RngExt as _;
use rand_chacha::ChaCha12Rng;

use super::network::{Answer, Caller, NoAnswer};
use super::scene::{Scene, pause};

/// A submission under a name of the client's own is repeated so often until it is answered.
const TRIES: u32 = 8;
/// Where ends are reported.
const RECEIVER: &str = "https://receiver.example/hook";

/// See the module.
pub(super) struct Client {
    scene: Arc<Scene>,
    caller: Caller,
    endpoints: Vec<String>,
    rng: ChaCha12Rng,
    /// Names its submissions; clients share names, each at an endpoint of its own.
    next_key: u32,
    shares_keys: bool,
}

impl Client {
    pub(super) fn new(
        scene: &Arc<Scene>,
        number: usize,
        key: &str,
        endpoints: Vec<String>,
        shares_keys: bool,
    ) -> Self {
        Self {
            scene: Arc::clone(scene),
            caller: Caller {
                name: format!("client {number}"),
                headers: format!(
                    "Authorization: Bearer {key}\r\nContent-Type: application/json\r\n"
                ),
                patience: Duration::from_secs(30),
            },
            endpoints,
            rng: scene.rng(),
            next_key: 0,
            shares_keys,
        }
    }

    /// Asks for things until its time is over.
    pub(super) async fn run(mut self, jobs: u32, until_ms: u64) {
        let mut left = jobs;
        while self.scene.now_ms() < until_ms {
            let drawn: f64 = self.rng.random();
            if drawn < 0.55 && left > 0 {
                left -= 1;
                self.submit().await;
            } else if drawn < 0.8 {
                self.about("status", "GET").await;
            } else if drawn < 0.88 {
                self.about("cancel", "POST").await;
            } else if drawn < 0.95 {
                self.retry().await;
            } else if drawn < 0.97 {
                let endpoint = self.endpoint();
                let path = format!("/v2/{endpoint}/purge-queue");
                let _ = self.caller.ask(&self.scene, "POST", &path, "{}").await;
            } else {
                self.about("status-sync", "GET").await;
            }
            // Now and then several at once, so that batches have more than one event.
            let longest = if self.rng.random::<f64>() < 0.3 {
                5
            } else {
                2_000
            };
            pause(&mut self.rng, 0, longest).await;
        }
    }

    fn endpoint(&mut self) -> String {
        let index = self.rng.random_range(0..self.endpoints.len());
        self.endpoints[index].clone()
    }

    async fn submit(&mut self) {
        let endpoint = self.endpoint();
        self.next_key += 1;
        // The same name is the same body.
        let has_webhook = self.next_key.is_multiple_of(2);
        let is_named = self.rng.random::<f64>() < 0.8;
        let is_sync = self.rng.random::<f64>() < 0.2;
        let key = if self.shares_keys {
            format!("key-{}", self.next_key)
        } else {
            format!("{}-{}", self.caller.name.replace(' ', "-"), self.next_key)
        };
        let webhook = if has_webhook {
            format!(",\"webhook\":\"{RECEIVER}\"")
        } else {
            String::new()
        };
        let body = format!("{{\"input\":{{\"key\":\"{key}\"}}{webhook}}}");
        let more = if is_named {
            format!("Idempotency-Key: {key}\r\n")
        } else {
            String::new()
        };
        let route = if is_sync { "runsync?wait=2000" } else { "run" };
        let path = format!("/v2/{endpoint}/{route}");
        for _ in 0..TRIES {
            let asked_ms = self.scene.now_ms();
            let scene = Arc::clone(&self.scene);
            let answer = self
                .caller
                .ask_with(&scene, "POST", &path, &more, &body)
                .await;
            match answer {
                Ok(answer) if answer.status == 200 => {
                    let Some(job) = answer.text("id").and_then(|id| id.parse().ok()) else {
                        return scene.violated(format!("a submission was answered {answer:?}"));
                    };
                    let key = is_named.then_some(key.as_str());
                    let mut oracle = scene.oracle();
                    oracle.acked(&endpoint, job, key, has_webhook);
                    if is_sync && let Some(state) = answer.text("status") {
                        oracle.saw(asked_ms, scene.now_ms(), job, &state);
                    }
                    return;
                }
                Ok(answer) if answer.status < 500 => {
                    return scene.violated(format!("{path} was answered {answer:?}"));
                }
                // Unknown: safe to repeat with a name, and not without.
                Ok(_) | Err(NoAnswer) if is_named => {
                    pause(&mut self.rng, 50, 2_000).await;
                }
                Ok(_) | Err(NoAnswer) => return,
            }
        }
    }

    /// Asks for a job that failed to be run again.
    async fn retry(&mut self) {
        let scene = Arc::clone(&self.scene);
        let failed = scene.oracle().failed();
        if failed.is_empty() {
            return;
        }
        let job = failed[self.rng.random_range(0..failed.len())];
        scene.oracle().retries(job);
        for endpoint in self.endpoints.clone() {
            let path = format!("/v2/{endpoint}/retry/{job}");
            let _ = self.caller.ask(&scene, "POST", &path, "{}").await;
        }
    }

    /// Asks about some job that was accepted.
    async fn about(&mut self, verb: &str, method: &str) {
        let jobs = self.scene.oracle().accepted();
        if jobs.is_empty() {
            return;
        }
        // The newest are the ones where something happens.
        let back = self.rng.random_range(0..jobs.len().min(12));
        let job: JobId = jobs[jobs.len() - 1 - back];
        let endpoint = self.endpoint();
        let scene = Arc::clone(&self.scene);
        let asked_ms = scene.now_ms();
        let query = if verb == "status-sync" {
            "?wait=3000"
        } else {
            ""
        };
        let path = format!("/v2/{endpoint}/{verb}/{job}{query}");
        let Ok(answer) = self.caller.ask(&scene, method, &path, "").await else {
            return;
        };
        self.told(asked_ms, job, &answer);
    }

    fn told(&self, asked_ms: u64, job: JobId, answer: &Answer) {
        let scene = &self.scene;
        match answer.status {
            200 => {
                if let Some(state) = answer.text("status") {
                    scene.oracle().saw(asked_ms, scene.now_ms(), job, &state);
                }
            }
            // Of the other endpoint, or not in a state to be retried; or a store that is read anew.
            404 | 409 | 503 => {}
            _ => scene.violated(format!("job {job}: {answer:?}")),
        }
    }
}
