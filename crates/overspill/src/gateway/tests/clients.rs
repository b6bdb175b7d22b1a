//! What clients see of a job's life.

use std::time::Duration;

use serde_json::json;

use super::rig::Rig;
use crate::auth::scope::Scope;
use crate::gateway::options::RateLimits;

#[tokio::test]
async fn a_job_from_run_to_status() {
    let rig = Rig::start().await;
    let answer = rig
        .post("/v2/tts/run", "{\"input\":{\"text\":\"hi\"}}")
        .await;
    let id = answer.field("id");
    assert_eq!(
        answer.text(),
        format!("{{\"id\":\"{id}\",\"status\":\"IN_QUEUE\"}}")
    );
    let status = format!("/v2/tts/status/{id}");
    assert_eq!(
        rig.get(&status).await.text(),
        format!("{{\"id\":\"{id}\",\"status\":\"IN_QUEUE\"}}")
    );
    let worker = rig.worker();
    worker.take().await;
    let running = rig.get(&status).await.json();
    assert_eq!(running["status"], "IN_PROGRESS");
    assert!(running["delayTime"].is_u64(), "{running}");
    assert_eq!(running["workerId"], worker.id.to_string());
    let output = "{\"a\": 1.10,  \"b\":[9007199254740993]}";
    worker.done(&id, &format!("{{\"output\": {output}}}")).await;
    let done = rig
        .send("POST", &status, &[("Authorization", &rig.key)], b"{}")
        .await;
    assert!(
        done.text()
            .contains(&format!("\"output\":{output},\"status\":\"COMPLETED\"")),
        "{}",
        done.text()
    );
    assert!(done.json()["executionTime"].is_u64());
}

#[tokio::test]
async fn a_job_has_the_class_that_its_input_says() {
    let rig = Rig::start().await;
    let class = async |input: &str| rig.fake.class_of(&rig.submit(input).await);
    let (one, two) = (
        class(r#"{"model":"xl","prompt":"a cat"}"#).await,
        class(r#"{"prompt":"a dog","model":"xl"}"#).await,
    );
    assert_eq!(one, two);
    assert_ne!(one, class(r#"{"model":"turbo"}"#).await);
    assert_eq!(class(r#"{"prompt":"a cat"}"#).await, 0);
}

#[tokio::test]
async fn runsync_is_woken_by_the_result() {
    let rig = Rig::start().await;
    let worker = rig.worker();
    let client = rig.post("/v2/tts/runsync", "{\"input\":1}");
    let work = async {
        let job = worker.take().await.json()["id"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(job.starts_with("sync-"), "{job}");
        worker.done(&job, "{\"output\":\"x\"}").await;
    };
    let (answer, ()) = tokio::join!(client, work);
    assert_eq!(
        (answer.status, answer.field("status")),
        (200, "COMPLETED".into())
    );
    assert_eq!(answer.field("output"), "x");
}

#[tokio::test]
async fn runsync_gives_up_with_the_state_of_the_job() {
    let rig = Rig::start().await;
    let started = tokio::time::Instant::now();
    let answer = rig.post("/v2/tts/runsync?wait=1000", "{\"input\":1}").await;
    assert_eq!(
        (answer.status, answer.field("status")),
        (200, "IN_QUEUE".into())
    );
    assert!(started.elapsed() >= Duration::from_secs(1));
    // The JavaScript SDK goes on like this, with what is left of its time.
    let path = format!("/v2/tts/status-sync/{}?wait=200", answer.field("id"));
    let started = tokio::time::Instant::now();
    assert_eq!(rig.get(&path).await.field("status"), "IN_QUEUE");
    assert!(started.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_failed_job_is_200_and_may_be_retried() {
    let rig = Rig::start().await;
    let worker = rig.worker();
    let id = rig.submit("{\"n\":1}").await;
    worker.take().await;
    worker
        .done(&id, "{\"error\":{\"message\":\"no\"},\"output\":{\"x\":1}}")
        .await;
    let status = rig.get(&format!("/v2/tts/status/{id}")).await;
    assert_eq!(
        (status.status, status.field("status")),
        (200, "FAILED".into())
    );
    assert_eq!(status.field("error"), "{\"message\":\"no\"}");
    assert_eq!(status.json()["output"], json!({"x": 1}));
    let again = rig.post(&format!("/v2/tts/retry/{id}"), "").await;
    assert_eq!(
        again.text(),
        format!("{{\"id\":\"{id}\",\"status\":\"IN_QUEUE\"}}")
    );
    let second = rig.worker_of("tts", 1);
    assert_eq!(second.take().await.field("input"), "{\"n\":1}");
    second.done(&id, "{\"output\":2}").await;
    let answer = rig.post(&format!("/v2/tts/retry/{id}"), "").await;
    assert_eq!(
        (answer.status, answer.field("code")),
        (409, "job_not_retryable".into())
    );
}

#[tokio::test]
async fn a_stream_is_drained_and_ends_with_all_that_is_left() {
    let rig = Rig::start().await;
    let worker = rig.worker();
    let id = rig.submit("1").await;
    worker.take().await;
    let stream = format!("/v2/tts/stream/{id}");
    for chunk in ["{\"output\":\"tok\"}", "{\"output\":{\"k\":1}}", "not json"] {
        assert_eq!(
            worker
                .post("job-stream", &id, chunk.as_bytes())
                .await
                .status,
            200
        );
    }
    let first = rig.get(&stream).await.json();
    assert_eq!(first["status"], "IN_PROGRESS");
    assert_eq!(
        first["stream"],
        json!([{"output": "tok"}, {"output": {"k": 1}}, {"output": "not json"}])
    );
    // An empty poll is held, and answered when the next chunk comes.
    let (second, _) = tokio::join!(
        rig.get(&stream),
        worker.post("job-stream", &id, b"{\"output\":4}")
    );
    assert_eq!(second.json()["stream"], json!([{"output": 4}]));
    worker.post("job-stream", &id, b"{\"output\":5}").await;
    worker.post("job-done", &id, b"{\"output\":[]}").await;
    let last = rig.post(&stream, "").await.json();
    assert_eq!(
        (&last["status"], &last["stream"]),
        (&json!("COMPLETED"), &json!([{"output": 5}]))
    );
    let empty = rig.get(&stream).await.json();
    assert_eq!(
        (&empty["status"], &empty["stream"]),
        (&json!("COMPLETED"), &json!([]))
    );
    assert_eq!(
        worker
            .post("job-stream", &id, b"{\"output\":6}")
            .await
            .status,
        409
    );
}

#[tokio::test]
async fn the_stream_of_a_cancelled_job_ends_pythons_loop() {
    let rig = Rig::start().await;
    let id = rig.submit("1").await;
    let cancel = rig.post(&format!("/v2/tts/cancel/{id}"), "").await;
    assert_eq!(
        cancel.text(),
        format!("{{\"id\":\"{id}\",\"status\":\"CANCELLED\"}}")
    );
    let stream = rig.get(&format!("/v2/tts/stream/{id}")).await.json();
    assert_eq!(
        (&stream["status"], &stream["stream"]),
        (&json!("FAILED"), &json!([]))
    );
    let status = rig.get(&format!("/v2/tts/status/{id}")).await;
    assert_eq!(status.field("status"), "CANCELLED");
}

#[tokio::test]
async fn health_has_every_key() {
    let rig = Rig::start().await;
    rig.submit("1").await;
    let health = rig.get("/v2/tts/health").await.json();
    assert_eq!(
        health["jobs"],
        json!({"completed":0,"failed":0,"inProgress":0,"inQueue":1,"retried":0})
    );
    for key in [
        "idle",
        "initializing",
        "ready",
        "running",
        "throttled",
        "unhealthy",
    ] {
        assert!(health["workers"][key].is_u64(), "{key}");
    }
    assert!(rig.get("/v2/tts/metrics").await.json()["readyWorkers"].is_array());
    let requests = rig.get("/v2/tts/requests").await.json();
    assert_eq!(requests["requests"][0]["status"], "IN_QUEUE");
}

#[tokio::test]
async fn openai_plain_models_and_errors() {
    let rig = Rig::start().await;
    let worker = rig.worker();
    let chat = "/v2/tts/openai/v1/chat/completions";
    let body = "{\"model\":\"m\",\"messages\":[]}";
    let work = |posts: Vec<(&'static str, &'static str)>| {
        let worker = &worker;
        async move {
            let job = worker.take().await.json();
            let id = job["id"].as_str().unwrap().to_owned();
            for (verb, body) in posts {
                worker.post(verb, &id, body.as_bytes()).await;
            }
            job["input"].clone()
        }
    };
    let (answer, input) = tokio::join!(
        rig.post(chat, body),
        work(vec![
            ("job-stream", "{\"output\":{\"id\":\"c\",\"choices\":[1]}}"),
            ("job-done", "{\"output\":[]}"),
        ])
    );
    assert_eq!(input["openai_route"], "/v1/chat/completions");
    assert_eq!(input["openai_input"]["model"], "m");
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "{\"id\":\"c\",\"choices\":[1]}")
    );
    let (answer, input) = tokio::join!(
        rig.get("/v2/tts/openai/v1/models"),
        work(vec![("job-done", "{\"output\":[{\"object\":\"list\"}]}")])
    );
    assert_eq!(input, json!({"openai_route": "/v1/models"}));
    assert_eq!(answer.text(), "{\"object\":\"list\"}");
    let failed = "{\"error\":\"{'message': 'no such model', 'code': 404}\"}";
    let (answer, _) = tokio::join!(rig.post(chat, body), work(vec![("job-done", failed)]));
    assert_eq!(answer.status, 404, "{}", answer.text());
    assert!(
        answer.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("no such model")
    );
    assert_eq!(rig.post(chat, "[]").await.field("code"), "json_not_object");
}

#[tokio::test]
async fn openai_streams_raw_events_and_frames_objects() {
    let rig = Rig::start().await;
    let worker = rig.worker();
    let chat = "/v2/tts/openai/v1/chat/completions";
    for (chunks, expected) in [
        (
            [
                "{\"output\":\"data: {\\\"a\\\":\"}",
                "{\"output\":\"1}\\n\\ndata: [DONE]\\n\\n\"}",
            ],
            "data: {\"a\":1}\n\ndata: [DONE]\n\n",
        ),
        (
            [
                "{\"output\":{\"a\":1}}",
                "{\"output\":{\"choices\":[],\"usage\":{}}}",
            ],
            "data: {\"a\":1}\n\ndata: {\"choices\":[],\"usage\":{}}\n\ndata: [DONE]\n\n",
        ),
    ] {
        let work = async {
            let job = worker.take().await.field("id");
            for chunk in chunks {
                worker.post("job-stream", &job, chunk.as_bytes()).await;
            }
            worker.done(&job, "{\"output\":[]}").await;
        };
        let (answer, ()) = tokio::join!(rig.post(chat, "{\"stream\":true}"), work);
        assert_eq!(
            answer.header("content-type"),
            Some("text/event-stream; charset=utf-8")
        );
        assert_eq!(answer.text(), expected);
    }
    // An error before the first chunk gets a status.
    let work = async {
        let job = worker.take().await.field("id");
        worker.done(&job, "{\"error\":\"boom\"}").await;
    };
    let (answer, ()) = tokio::join!(rig.post(chat, "{\"stream\":true}"), work);
    assert_eq!(answer.status, 500);
    assert_eq!(answer.json()["error"]["message"], "boom");
}

#[tokio::test]
async fn a_time_to_live_needs_the_right_to_end_jobs() {
    let rig = Rig::start().await;
    let id = rig.submit("1").await;
    let path = format!("/v2/tts/status/{id}?ttl=60000");
    let reader = rig.mint_scope(Scope::JobsRead).await;
    let answer = rig
        .send("GET", &path, &[("Authorization", &reader)], b"")
        .await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(answer.text().contains("jobs:cancel"), "{}", answer.text());
    assert_eq!(rig.get(&path).await.field("status"), "IN_QUEUE");
}

#[tokio::test]
async fn one_request_too_many_is_429_with_retry_after() {
    let rig = Rig::with(|options| options.rate_limits = RateLimits::All).await;
    for _ in 0..10 {
        assert_eq!(rig.get("/v2/tts/requests").await.status, 200);
    }
    let answer = rig.get("/v2/abc123def456/requests").await;
    assert_eq!(
        (answer.status, answer.field("code")),
        (429, "rate_limited".into())
    );
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=10).contains(&wait), "{wait}");
    // Each endpoint, each operation and each key has its own.
    assert_eq!(rig.get("/v2/sdxl/requests").await.status, 200);
    assert_eq!(rig.get("/v2/tts/health").await.status, 200);
    let other = rig.mint_scope(Scope::JobsRead).await;
    let answer = rig
        .send("GET", "/v2/tts/requests", &[("Authorization", &other)], b"")
        .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn programs_on_this_machine_are_not_limited_but_in_purging() {
    let rig = Rig::start().await;
    for _ in 0..12 {
        assert_eq!(rig.get("/v2/tts/requests").await.status, 200);
    }
    for status in [200, 200, 429] {
        assert_eq!(rig.post("/v2/tts/purge-queue", "").await.status, status);
    }
}
