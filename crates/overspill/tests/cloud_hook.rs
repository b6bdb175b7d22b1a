//! F20 with everything in place: RunPod takes a job and its answer is lost, and the webhook that the
//! submission carried says where the job is.

use std::time::Duration;

use overspill::engine::api::{Engine as _, JobState, JobVersion, JobView};
use overspill::pool::runpod::tls;
use overspill_core::id::JobId;
use overspill_emulator::{Emulator, Options};
use overspill_sim::cloud::{CloudOptions, FaultKind, FaultSpec, MsRange};
use serde_json::json;
use tokio::net::TcpListener;

use crate::serving::Rig;

/// An emulated cloud with one endpoint, sixty times as fast as the clock, and a server in front of it
/// that RunPod can call.
pub(crate) async fn start() -> (Emulator, Rig) {
    tls::install_provider();
    let cloud = CloudOptions {
        cold_start: MsRange::new(1_000, 1_000),
        ..CloudOptions::default()
    };
    let emulator = Emulator::new(Options {
        cloud,
        time_scale: 60.0,
        ..Options::default()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let serving = emulator.clone();
    tokio::spawn(async move { serving.serve(listener, std::future::pending()).await });
    let body = json!({
        "name": "tts", "type": "QUEUE", "image": "registry.example/worker:1",
        "gpu": {"pools": ["AMPERE_24"], "count": 1},
        "workers": {"min": 0, "max": 2, "idleTimeout": 5},
        "scaling": {"type": "QUEUE_DELAY", "queueDelay": 1}, "timeout": 600_000,
    });
    let made = reqwest::Client::new()
        .post(format!("http://{at}/v2/serverless"))
        .bearer_auth("rpa_0123456789abcdef")
        .json(&body)
        .send()
        .await
        .unwrap();
    let made: serde_json::Value = made.json().await.unwrap();
    let id = made["id"].as_str().expect("an id");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap();
    let text = format!(
        r#"
public_url = "http://{own}"
[runpod]
api_key = "rpa_0123456789abcdef"
base_url = "http://{at}/v2"
management_url = "http://{at}/v2"
[budget]
per_day = "$50"
[[endpoint]]
name = "tts"
max_wait = "1s"
[[endpoint.cloud]]
provider = "runpod"
id = "{id}"
price = "$0.44/h"
"#
    );
    (emulator, Rig::start_on(listener, &text).await)
}

pub(crate) async fn end_of(rig: &Rig, job: JobId) -> JobView {
    let handle = rig.server.handle();
    let mut known = JobVersion::default();
    loop {
        let hold = Duration::from_secs(30);
        let view = handle.wait_job(job, known, hold).await.unwrap().unwrap();
        assert!(
            known != view.version,
            "nothing happened to the job for 30 s"
        );
        if view.state.is_final() {
            return view;
        }
        known = view.version;
    }
}

#[tokio::test]
async fn f20_a_lost_answer_is_found_when_runpod_calls() {
    let (emulator, rig) = start().await;
    let lost = FaultSpec {
        kind: FaultKind::AcceptThenHang,
        endpoint: None,
        count: Some(1),
        probability: None,
        for_ms: None,
    };
    emulator
        .with_model(|model, now_ms| model.inject(now_ms, lost))
        .unwrap();
    let job = rig
        .submit(json!({"input": {"seconds": 2, "output": 7}}))
        .await;
    let view = end_of(&rig, job).await;
    assert_eq!(view.state, JobState::Completed, "{view:?}");
    assert_eq!(view.output.as_deref(), Some(&b"7"[..]));
    assert_eq!((view.attempt, view.retries), (1, 0));
    assert_eq!(
        emulator.executions().len(),
        1,
        "it ran once and is paid once"
    );
}
