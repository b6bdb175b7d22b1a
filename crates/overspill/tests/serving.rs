//! The assembled server in this process: its gateway, engine and store, without workers.

use std::path::Path;

use overspill::config::{Environment, Flags, Strictness, parse};
use overspill::engine::api::{Engine as _, JobState, JobVersion, RetryAnswer};
use overspill::keeper::{DirectHost, ProcessHost};
use overspill::serving::{Server, ServerOptions};
use overspill_core::effect::Answer;
use overspill_core::event::Event;
use overspill_core::id::JobId;
use overspill_core::time::DurationMs;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpListener;

pub(crate) const KEY: &str = "a-key-of-the-users-own";

/// A server that ends with the test.
pub(crate) struct Rig {
    pub(crate) server: Server,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) http: reqwest::Client,
}

/// One endpoint without workers: what is submitted waits.
const WAITS: &str = r#"
[[endpoint]]
name = "tts"
"#;

impl Rig {
    pub(crate) async fn start(endpoints: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::start_on(listener, endpoints).await
    }

    /// The same, where the configuration must name the address.
    pub(crate) async fn start_on(listener: TcpListener, endpoints: &str) -> Self {
        overspill::pool::runpod::tls::install_provider();
        let folder = tempfile::tempdir().unwrap();
        let text = format!("listen = \"127.0.0.1:0\"\ndata_dir = \"data\"\n{endpoints}");
        let environment = Environment::from_pairs([("OVERSPILL_API_KEY", KEY)]);
        let loaded = parse(
            &text,
            "test",
            folder.path(),
            &environment,
            &Flags::default(),
            Strictness::Serve,
        )
        .unwrap();
        std::fs::create_dir_all(folder.path().join("data")).unwrap();
        let (host, notices) = DirectHost::new("test", None);
        let options = ServerOptions {
            loaded,
            environment,
            listener,
            host: ProcessHost::Direct(host),
            notices,
            installation: "test".into(),
        };
        Self {
            server: Server::start(options).await.unwrap(),
            folder,
            http: reqwest::Client::new(),
        }
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> reqwest::Response {
        let url = format!("http://{}{path}", self.server.address());
        let mut request = self
            .http
            .request(method.parse().unwrap(), url)
            .bearer_auth(KEY);
        if let Some(body) = body {
            request = request.json(body);
        }
        request.send().await.unwrap()
    }

    pub(crate) async fn submit(&self, body: Value) -> JobId {
        let answer = self.send("POST", "/v2/tts/run", Some(&body)).await;
        assert_eq!(answer.status(), 200);
        let answer: Value = answer.json().await.unwrap();
        answer["id"].as_str().unwrap().parse().unwrap()
    }

    /// Lets a waiting job's time to live end now, and waits for its end.
    pub(crate) async fn expire(&self, job: JobId) {
        let handle = self.server.handle();
        let ttl = DurationMs::from_millis(1);
        let ask = move |request| Event::TtlSet { request, job, ttl };
        assert_eq!(handle.ask(Vec::new(), Box::new(ask)).await, Answer::Noted);
        let mut known = JobVersion::default();
        loop {
            let hold = Duration::from_secs(10);
            let view = handle.wait_job(job, known, hold).await.unwrap().unwrap();
            if view.state == JobState::TimedOut {
                return;
            }
            known = view.version;
        }
    }
}

fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            found.push((path.display().to_string(), bytes));
        }
    }
}

#[tokio::test]
async fn two_retries_of_one_end_do_not_both_win() {
    let rig = Rig::start(WAITS).await;
    let policy = json!({"executionTimeout": 7_000, "lowPriority": true});
    let job = rig.submit(json!({"input": {}, "policy": policy})).await;
    rig.expire(job).await;
    let handle = rig.server.handle();
    for round in 1..=3 {
        let (first, second) =
            tokio::join!(handle.retry(job, None, None), handle.retry(job, None, None));
        let answers = [first.unwrap(), second.unwrap()];
        let won = answers
            .iter()
            .filter(|answer| matches!(answer, RetryAnswer::Queued))
            .count();
        assert_eq!(won, 1, "{answers:?}");
        let live = handle.query(move |core| core.job(job).cloned()).await;
        let live = live.unwrap().unwrap();
        assert_eq!(live.generation, round);
        // It is submitted as it was at first.
        assert_eq!(live.execution_timeout, DurationMs::from_millis(7_000));
        assert!(live.low_priority);
        rig.expire(job).await;
    }
    let late = rig
        .send("POST", &format!("/v2/tts/retry/{job}"), None)
        .await;
    assert_eq!(late.status(), 200, "its last end is its own to retry");
    let again = rig
        .send("POST", &format!("/v2/tts/retry/{job}"), None)
        .await;
    assert_eq!(again.status(), 409);
}

#[tokio::test]
async fn the_secrets_of_a_job_stand_nowhere_in_clear() {
    const CANARY: &str = "canary-4d1f0b6a";
    let rig = Rig::start(WAITS).await;
    let s3 = json!({"accessId": format!("{CANARY}-id"), "accessSecret": format!("{CANARY}-secret"),
        "bucketName": format!("{CANARY}-bucket"), "endpointUrl": "https://s3.example.org"});
    let job = rig
        .submit(json!({"input": {"text": "hello"}, "s3Config": s3}))
        .await;
    let reads = |job: JobId| {
        vec![
            format!("/v2/tts/status/{job}"),
            format!("/api/v1/jobs/{job}"),
            "/api/v1/jobs".to_owned(),
            "/v2/tts/requests".to_owned(),
            "/v2/serverless/tts".to_owned(),
        ]
    };
    let check = async |when: &str| {
        for path in reads(job) {
            let answer = rig.send("GET", &path, None).await;
            assert_eq!(answer.status(), 200, "{path}");
            let text = answer.text().await.unwrap();
            assert!(!text.contains(CANARY), "{path} {when}: {text}");
        }
        let mut found = Vec::new();
        files(rig.folder.path(), &mut found);
        let holds = |bytes: &[u8]| bytes.windows(CANARY.len()).any(|w| w == CANARY.as_bytes());
        for (path, bytes) in found {
            assert!(!holds(&bytes), "{path} {when}");
        }
    };
    check("while it waits").await;
    let sealed = |rig: &Rig| {
        let handle = rig.server.handle().clone();
        async move {
            let extras = handle
                .query(move |core| core.job(job)?.extras.as_ref()?.worker.clone())
                .await;
            extras.unwrap().unwrap()
        }
    };
    let before = sealed(&rig).await;
    rig.expire(job).await;
    check("when it has ended").await;
    rig.send("POST", &format!("/v2/tts/retry/{job}"), None)
        .await
        .error_for_status()
        .unwrap();
    // A retry has them again, still sealed.
    assert_eq!(sealed(&rig).await, before);
    check("when it is tried again").await;
}

#[tokio::test]
async fn a_time_to_live_of_a_status_call_ends_the_job() {
    let rig = Rig::start(WAITS).await;
    let job = rig.submit(json!({"input": 1})).await;
    let path = format!("/v2/tts/status/{job}?ttl=10000");
    let answer = rig.send("GET", &path, None).await;
    assert_eq!(answer.status(), 200);
    let live = rig
        .server
        .handle()
        .query(move |core| core.job(job).cloned());
    let live = live.await.unwrap().unwrap();
    let left = live.expires_at.since(rig.server.handle().now());
    assert!(left <= DurationMs::from_secs(10), "{left}");
    rig.expire(job).await;
    let answer = rig.send("GET", &path, None).await;
    let body: Value = answer.json().await.unwrap();
    assert_eq!(
        body["status"], "TIMED_OUT",
        "its retention is a clock of its own"
    );
}

#[tokio::test]
async fn a_paused_endpoint_answers_409_and_goes_on_when_it_is_raised() {
    let rig = Rig::start(WAITS).await;
    let waits = rig.submit(json!({"input": 1})).await;
    let limits = |max: u32| json!({"workers": {"min": 0, "max": max}});
    let path = "/v2/serverless/tts";
    let answer = rig.send("PATCH", path, Some(&limits(0))).await;
    assert_eq!(answer.status(), 200);
    let answer = rig
        .send("POST", "/v2/tts/run", Some(&json!({"input": 1})))
        .await;
    assert_eq!(answer.status(), 409);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["code"], "ENDPOINT_PAUSED");
    let detail = "Endpoint is paused (max_workers=0). Set max_workers > 0 to accept work.";
    assert_eq!(body["detail"], detail);
    let answer = rig
        .send("GET", &format!("/v2/tts/status/{waits}"), None)
        .await;
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["status"], "IN_QUEUE", "what is queued stays");
    rig.send("PATCH", path, Some(&limits(1))).await;
    rig.submit(json!({"input": 1})).await;
}
