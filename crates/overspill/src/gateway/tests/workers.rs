//! The worker protocol, as the unmodified SDK speaks it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use overspill_core::id::WorkerId;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::rig::{Answered, Rig, SDK_AGENT};
use crate::auth::worker_key;
use crate::engine::api::Engine as _;

#[tokio::test]
async fn a_held_take_gets_the_job_that_comes() {
    let rig = Rig::start().await;
    let worker = rig.worker();
    let mut held = rig.fake.held.subscribe();
    let submit = async {
        held.wait_for(|held| *held == 1).await.unwrap();
        let body =
            "{\"input\":{\"a\": 1},\"s3Config\":{\"bucketName\":\"b\"},\"policy\":{\"ttl\":60000}}";
        rig.post("/v2/tts/run", body).await.field("id")
    };
    let (taken, id) = tokio::join!(worker.take(), submit);
    assert_eq!(taken.status, 200);
    assert_eq!(taken.header("content-type"), Some("application/json"));
    assert_eq!(
        taken.text(),
        format!("{{\"id\":\"{id}\",\"input\":{{\"a\": 1}},\"s3Config\":{{\"bucketName\":\"b\"}}}}")
    );
}

#[tokio::test]
async fn an_empty_take_is_held_and_ends_with_204() {
    let rig = Rig::with(|options| options.holds.worker_poll = Duration::from_millis(200)).await;
    let started = Instant::now();
    let answer = rig.worker().take().await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    assert!(started.elapsed() >= Duration::from_millis(200));
    let stop = rig
        .worker()
        .get(&rig.worker().path("job-stop", "?gpu=x"))
        .await;
    assert_eq!(stop.status, 204);
}

#[tokio::test]
async fn a_batch_is_an_array_of_at_most_its_size() {
    let rig = Rig::start().await;
    for n in 0..5 {
        rig.submit(&n.to_string()).await;
    }
    let worker = rig.worker();
    let path = worker.path("job-take-batch", "?gpu=x&batch_size=2&job_in_progress=0");
    let jobs = worker.get(&path).await.json();
    let jobs = jobs.as_array().unwrap();
    assert_eq!(jobs.len(), 2, "{jobs:?}");
    assert_eq!(
        (&jobs[0]["input"], &jobs[1]["input"]),
        (&json!(0), &json!(1))
    );
}

#[tokio::test]
async fn answers_to_the_sdk_close_their_connection() {
    let rig = Rig::start().await;
    let worker = rig.worker();
    let id = rig.submit("1").await;
    let closes = |answer: &Answered| answer.header("connection") == Some("close");
    assert!(closes(&worker.take().await));
    assert!(closes(
        &worker.post("job-stream", &id, b"{\"output\":1}").await
    ));
    assert!(closes(&worker.done(&id, "{\"output\":1}").await));
    assert!(closes(&worker.done(&id, "{\"output\":2}").await));
    let ping = worker.path("ping", "?gpu=x");
    for (agent, expected) in [
        (SDK_AGENT, true),
        ("python-requests/2.32", true),
        ("curl/8", false),
    ] {
        let headers = [
            ("Authorization", worker.key.as_str()),
            ("User-Agent", agent),
        ];
        let answer = rig.send("GET", &ping, &headers, b"").await;
        assert_eq!((answer.status, closes(&answer)), (200, expected), "{agent}");
    }
    // Clients keep theirs.
    let headers = [
        ("Authorization", rig.key.as_str()),
        ("User-Agent", "python-requests/2.32"),
    ];
    assert!(!closes(
        &rig.send("GET", "/v2/tts/health", &headers, b"").await
    ));
}

#[tokio::test]
async fn the_key_is_taken_from_the_path_where_the_header_is_another() {
    let rig = Rig::start().await;
    let worker = rig.worker();
    let id = rig.submit("1").await;
    let path = format!("/w/{}{}", worker.key, worker.path("job-take", "?gpu=x"));
    let headers = [
        ("Authorization", "rpa_from_config_toml"),
        ("User-Agent", SDK_AGENT),
    ];
    assert_eq!(rig.send("GET", &path, &headers, b"").await.field("id"), id);
    let done = format!(
        "/w/{}{}",
        worker.key,
        worker.path("job-done", &format!("/{id}?gpu=x"))
    );
    assert_eq!(
        rig.send("POST", &done, &headers, b"{\"output\":1}")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn input_59_strangers_are_answered_slowly() {
    let rig = Rig::start().await;
    let worker = rig.worker();
    let other = rig.worker_of("tts", 1);
    let sdxl = rig.worker_of("sdxl", 0);
    let dead = WorkerId::new(7);
    let dead_key = worker_key::of(rig.fake.server_secret(), dead);
    for (path, key) in [
        (worker.path("job-take", "?gpu=x"), "wrong"),
        (worker.path("job-take", "?gpu=x"), other.key.as_str()),
        (worker.path("ping", "?gpu=x"), ""),
        (
            format!("/v2/tts/job-take/{}?gpu=x", sdxl.id),
            sdxl.key.as_str(),
        ),
        (format!("/v2/tts/job-stop/{dead}?gpu=x"), dead_key.as_str()),
        ("/v2/tts/job-take/?gpu=x".to_owned(), ""),
        ("/v2/tts/job-take/nobody?gpu=x".to_owned(), ""),
    ] {
        let started = Instant::now();
        let answer = rig.send("GET", &path, &[("Authorization", key)], b"").await;
        if answer.status == 404 {
            assert!(path.contains("/?"), "{path}");
            continue;
        }
        assert_eq!(
            (answer.status, answer.field("code")),
            (401, "worker_unknown".into()),
            "{path}"
        );
        assert!(started.elapsed() >= Duration::from_millis(300), "{path}");
    }
}

#[tokio::test]
async fn inputs_48_to_51_odd_results_are_recorded() {
    let rig = Rig::with(|options| options.output_bytes_max = 2_000_000).await;
    let worker = rig.worker();
    let large = format!("{{\"output\":\"{}\"}}", "x".repeat(3_000_000));
    let traceback = format!("{{\"error\":\"{}\"}}", "t".repeat(1_500_000));
    for (body, error) in [
        (
            "this is not JSON",
            "worker_output_invalid: the worker's result is not JSON",
        ),
        ("[1,2]", "worker_output_invalid"),
        ("", "worker_output_invalid"),
        ("{\"output\": {\"v\": NaN}}", "NaN at `output.v`"),
        ("{\"error\":{\"message\":\"m\"}}", "{\"message\":\"m\"}"),
        ("{\"error\":\"\"}", "empty error"),
        (traceback.as_str(), "[truncated by Overspill]"),
        (large.as_str(), "output_too_large"),
    ] {
        let id = rig.submit("1").await;
        worker.take().await;
        let shown = &body[..body.len().min(30)];
        assert_eq!(worker.done(&id, body).await.status, 200, "{shown}");
        let status = rig.get(&format!("/v2/tts/status/{id}")).await;
        assert_eq!(status.field("status"), "FAILED", "{shown}");
        let text = status.field("error");
        assert!(
            text.contains(error) && text.len() <= 65_600,
            "{shown}: {}",
            &text[..80.min(text.len())]
        );
    }
    for body in ["{}", "{\"output\":null}", "{\"output\":\"\\ud800\"}"] {
        let id = rig.submit("1").await;
        worker.take().await;
        assert_eq!(worker.done(&id, body).await.status, 200);
        let status = rig.get(&format!("/v2/tts/status/{id}")).await;
        assert!(status.text().contains("\"COMPLETED\""), "{}", status.text());
        assert_eq!(status.text().contains("\"output\""), body != "{}");
    }
}

#[tokio::test]
async fn nan_may_be_null_by_option() {
    let rig = Rig::with(|options| options.nan_as_null = true).await;
    let worker = rig.worker();
    let id = rig.submit("1").await;
    worker.take().await;
    worker
        .done(&id, "{\"output\": {\"v\": [NaN, -Infinity, 1]}}")
        .await;
    let status = rig.get(&format!("/v2/tts/status/{id}")).await.json();
    assert_eq!(status["output"], json!({"v": [null, null, 1]}));
}

#[tokio::test]
async fn input_50_thirty_megabytes_come_back_byte_for_byte() {
    let rig = Rig::start().await;
    let worker = rig.worker();
    let id = rig.submit("1").await;
    worker.take().await;
    let output = format!("\"{}\"", "é0".repeat(10_000_000));
    assert_eq!(
        worker
            .done(&id, &format!("{{\"output\": {output}}}"))
            .await
            .status,
        200
    );
    let status = rig.get(&format!("/v2/tts/status/{id}")).await.text();
    assert!(status.contains(&output));
}

#[tokio::test]
async fn inputs_53_and_54_results_that_do_not_count() {
    let rig = Rig::start().await;
    let (one, two) = (rig.worker(), rig.worker_of("tts", 1));
    let id = rig.submit("1").await;
    one.take().await;
    assert_eq!(two.done(&id, "{\"output\":1}").await.status, 403);
    assert_eq!(one.done(&id, "{\"output\":1}").await.status, 200);
    assert_eq!(one.done(&id, "{\"output\":1}").await.status, 200);
    assert_eq!(one.done(&id, "{\"output\":2}").await.status, 409);
    let unknown = "01928a4b-1111-7222-8333-0123456789ab-u1";
    assert_eq!(one.done(unknown, "{\"output\":1}").await.status, 404);
    let status = rig.get(&format!("/v2/tts/status/{id}")).await;
    assert_eq!(status.field("output"), "1");
    // A cancelled job's result is late, and changes nothing.
    let id = rig.submit("1").await;
    one.take().await;
    rig.post(&format!("/v2/tts/cancel/{id}"), "").await;
    assert_eq!(one.done(&id, "{\"output\":1}").await.status, 409);
    let status = rig.get(&format!("/v2/tts/status/{id}")).await;
    assert_eq!(status.field("status"), "CANCELLED");
}

#[tokio::test]
async fn progress_is_shown_and_never_reopens_a_job() {
    let rig = Rig::start().await;
    let worker = rig.worker();
    let id = rig.submit("1").await;
    worker.take().await;
    let progress = "{\"status\": \"IN_PROGRESS\", \"output\": {\"percent\": 40}}";
    assert_eq!(worker.done(&id, progress).await.status, 200);
    let status = rig.get(&format!("/v2/tts/status/{id}")).await.json();
    assert_eq!(
        (&status["status"], &status["output"]),
        (&json!("IN_PROGRESS"), &json!({"percent": 40}))
    );
    worker.done(&id, "{\"output\":\"end\"}").await;
    assert_eq!(worker.done(&id, progress).await.status, 200);
    let status = rig.get(&format!("/v2/tts/status/{id}")).await;
    assert_eq!(
        (status.field("status"), status.field("output")),
        ("COMPLETED".into(), "end".into())
    );
}

#[tokio::test]
async fn a_result_is_held_until_the_store_confirms_it() {
    let rig = Rig::start().await;
    let worker = rig.worker();
    let id = rig.submit("1").await;
    worker.take().await;
    rig.fake.failing.store(4, Ordering::SeqCst);
    assert_eq!(worker.done(&id, "{\"output\":1}").await.status, 200);
    assert_eq!(
        rig.get(&format!("/v2/tts/status/{id}"))
            .await
            .field("status"),
        "COMPLETED"
    );
}

#[tokio::test]
async fn a_cancel_reaches_the_stop_channel() {
    let rig = Rig::start().await;
    let worker = rig.worker();
    let id = rig.submit("1").await;
    worker.take().await;
    let path = worker.path("job-stop", "?gpu=x");
    let cancel = format!("/v2/tts/cancel/{id}");
    let (stop, _) = tokio::join!(worker.get(&path), rig.post(&cancel, "{}"));
    assert_eq!(stop.text(), format!("{{\"jobsToStop\":[\"{id}\"]}}"));
}

#[tokio::test]
async fn pings_list_jobs() {
    let rig = Rig::start().await;
    let worker = rig.worker();
    let id = rig.submit("1").await;
    worker.take().await;
    let path = worker.path(
        "ping",
        &format!("?gpu=x&job_id={id}%2Cjunk&runpod_version=1.12.0"),
    );
    assert_eq!(worker.get(&path).await.status, 200);
    let listed: Vec<String> = rig
        .fake
        .pinged
        .borrow()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(listed, [id]);
    let unhealthy = worker.path("ping", "?gpu=x&status=unhealthy&check=_memory&reason=x");
    assert_eq!(worker.get(&unhealthy).await.status, 200);
}

#[tokio::test]
async fn input_55_long_text_chunks_are_split() {
    let rig = Rig::start().await;
    let worker = rig.worker();
    let id = rig.submit("1").await;
    worker.take().await;
    let text = "a".repeat(1_200_000);
    worker
        .post(
            "job-stream",
            &id,
            format!("{{\"output\":\"{text}\"}}").as_bytes(),
        )
        .await;
    let stream = rig.get(&format!("/v2/tts/stream/{id}")).await.json();
    let pieces: Vec<&str> = stream["stream"]
        .as_array()
        .unwrap()
        .iter()
        .map(|piece| piece["output"].as_str().unwrap())
        .collect();
    assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.len() <= 1_000_000));
    assert_eq!(pieces.concat(), text);
}

#[tokio::test]
async fn a_closed_connection_takes_its_poll_along() {
    let rig = Rig::start().await;
    let worker = rig.worker();
    let mut held = rig.fake.held.subscribe();
    let path = worker.path("job-take", "?gpu=x&job_in_progress=0");
    let headers = [
        ("Authorization", worker.key.as_str()),
        ("User-Agent", SDK_AGENT),
    ];
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    stream
        .write_all(&rig.request("GET", &path, &headers, b""))
        .await
        .unwrap();
    held.wait_for(|held| *held == 1).await.unwrap();
    drop(stream);
    held.wait_for(|held| *held == 0).await.unwrap();
    // The job goes to whoever asks next, not to the closed connection.
    let id = rig.submit("1").await;
    assert_eq!(worker.take().await.field("id"), id);
}

#[tokio::test]
async fn a_job_whose_answer_could_not_be_written_goes_back() {
    let rig = Rig::start().await;
    let worker = rig.worker();
    // Larger than the sockets' buffers, so that the answer cannot be written unread.
    let input = format!("\"{}\"", "x".repeat(9_500_000));
    let id = rig.submit(&input).await;
    let path = worker.path("job-take", "?gpu=x&job_in_progress=0");
    let headers = [
        ("Authorization", worker.key.as_str()),
        ("User-Agent", SDK_AGENT),
    ];
    let mut undelivered = rig.fake.undelivered.subscribe();
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    stream
        .write_all(&rig.request("GET", &path, &headers, b""))
        .await
        .unwrap();
    stream.readable().await.unwrap();
    drop(stream);
    undelivered.wait_for(|jobs| !jobs.is_empty()).await.unwrap();
    assert_eq!(undelivered.borrow()[0].to_string(), id);
    assert_eq!(rig.worker_of("tts", 1).take().await.field("id"), id);
}
