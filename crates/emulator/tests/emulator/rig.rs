//! An emulator with a frozen clock, and a client.

use std::time::Duration;

use overspill_emulator::{Emulator, Options};
use overspill_sim::cloud::{CloudOptions, MsRange};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// What was answered, with what was asked.
pub(crate) use crate::document::Exchange as Answer;

/// An emulator that serves until the rig is dropped.
pub(crate) struct Rig {
    pub(crate) base: String,
    pub(crate) emulator: Emulator,
    pub(crate) http: reqwest::Client,
    _shutdown: oneshot::Sender<()>,
}

/// Start-ups of ten seconds, a clock that stands still.
pub(crate) fn options() -> Options {
    Options {
        cloud: CloudOptions {
            cold_start: MsRange::new(10_000, 10_000),
            ..CloudOptions::default()
        },
        time_scale: 0.0,
        start_ms: Some(1_790_000_000_000),
        ..Options::default()
    }
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(options()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let emulator = Emulator::new(options);
        let (shutdown, over) = oneshot::channel::<()>();
        let server = emulator.clone();
        tokio::spawn(async move {
            server
                .serve(listener, async {
                    // Dropping the sender is the signal.
                    let _ = over.await;
                })
                .await
                .unwrap();
        });
        Self {
            base,
            emulator,
            http: reqwest::Client::new(),
            _shutdown: shutdown,
        }
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let url = format!("{}{path}", self.base);
        let mut request = self
            .http
            .request(method.parse().unwrap(), url)
            .header("Authorization", "Bearer test-key");
        if let Some(body) = &body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        Answer {
            method: method.to_owned(),
            path: path.to_owned(),
            sent: body,
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            text: answer.text().await.unwrap(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, Some(body)).await
    }

    pub(crate) fn skip(&self, ms: u64) {
        self.emulator.advance(Duration::from_millis(ms));
    }

    /// An endpoint with one worker that is ready, made over the management API.
    pub(crate) async fn warm_endpoint(&self) -> String {
        let id = self
            .endpoint(json!({"min": 1, "max": 3, "idleTimeout": 5}))
            .await;
        self.skip(10_000);
        id
    }

    pub(crate) async fn endpoint(&self, workers: Value) -> String {
        let answer = self.post("/v2/serverless", creation(&workers)).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()["id"].as_str().unwrap().to_owned()
    }
}

/// A body that makes a queue endpoint.
pub(crate) fn creation(workers: &Value) -> Value {
    json!({
        "name": "burst", "type": "QUEUE", "image": "me/worker:v3",
        "gpu": {"pools": ["ADA_24"], "count": 1}, "workers": workers,
        "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4},
        "timeout": 600_000, "flashboot": "OFF", "disk": 20, "env": {"K": "v"},
        "dataCenterIds": [], "networkVolumes": [],
    })
}

/// The names of an object's fields, in order of the text.
pub(crate) fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}
