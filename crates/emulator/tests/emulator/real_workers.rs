//! `--worker-cmd`: processes that speak the worker protocol, here a few lines of shell.

use std::time::Duration;

use overspill_sim::cloud::MsRange;
use serde_json::json;

use crate::rig::{Rig, options};

/// A worker as small as can be: it takes one job after another by curl and echoes the input back.
const WORKER: &str = r#"
    echo started >> "$LOG"
    while true; do
        job=$(curl -s -H "Authorization: $RUNPOD_AI_API_KEY" "$RUNPOD_WEBHOOK_GET_JOB&job_in_progress=0") || exit 1
        [ -n "$job" ] || continue
        id=$(printf %s "$job" | sed 's/.*"id":"\([^"]*\)".*/\1/')
        input=$(printf %s "$job" | sed 's/.*"input"://; s/}$//')
        chunk=$(printf %s "$RUNPOD_WEBHOOK_POST_STREAM" | sed "s/\$ID/$id/")
        done=$(printf %s "$RUNPOD_WEBHOOK_POST_OUTPUT" | sed "s/\$ID/$id/")
        curl -s -d '{"output":"half"}' "$chunk&isStream=false" > /dev/null
        curl -s -d "{\"output\":$input}" "$done&isStream=false" > /dev/null
    done
"#;

async fn rig(command: &str, log: &std::path::Path) -> (Rig, String) {
    let mut options = options();
    options.time_scale = 1.0;
    options.cloud.cold_start = MsRange::new(0, 0);
    options.worker_cmd = Some(format!("LOG={}\n{command}", log.display()));
    let rig = Rig::with(options).await;
    let endpoint = rig
        .endpoint(json!({"min": 0, "max": 1, "idleTimeout": 1}))
        .await;
    let path = format!("/v2/serverless/{endpoint}");
    let body = json!({"scaling": {"type": "QUEUE_DELAY", "queueDelay": 0.5}});
    rig.send("PATCH", &path, Some(body)).await;
    (rig, endpoint)
}

fn has_curl() -> bool {
    let found = std::process::Command::new("curl")
        .arg("--version")
        .output()
        .is_ok();
    if !found {
        println!("skipped: there is no curl on this machine");
    }
    found
}

#[tokio::test]
async fn a_process_takes_jobs_and_posts_chunks_and_results() {
    if !has_curl() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (rig, endpoint) = rig(WORKER, &folder.path().join("log")).await;
    for number in 0..3 {
        let path = format!("/v2/{endpoint}/runsync");
        let answer = rig
            .post(&path, json!({"input": {"n": number}}))
            .await
            .json();
        assert_eq!(
            (&answer["status"], &answer["output"]),
            (&json!("COMPLETED"), &json!({"n": number}))
        );
        let path = format!("/v2/{endpoint}/stream/{}", answer["id"].as_str().unwrap());
        let stream = rig.get(&path).await.json();
        assert_eq!(stream["stream"], json!([{"output": "half"}]));
    }
    // It idles for a second and is stopped; its process goes with it.
    let gone = async {
        while rig
            .get(&format!("/v2/serverless/{endpoint}/workers"))
            .await
            .json()["summary"]["total"]
            != 0
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone)
        .await
        .unwrap();
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert_eq!(log, "started\n");
}

#[tokio::test]
async fn a_command_that_fails_is_an_unhealthy_worker() {
    let folder = tempfile::tempdir().unwrap();
    let (rig, endpoint) = rig("exit 1", &folder.path().join("log")).await;
    rig.post(&format!("/v2/{endpoint}/run"), json!({"input": {}}))
        .await;
    let crashed = async {
        while rig.get(&format!("/v2/{endpoint}/health")).await.json()["workers"]["unhealthy"] != 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), crashed)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_unknown_worker_is_not_answered_quickly() {
    let rig = Rig::start().await;
    let endpoint = rig.warm_endpoint().await;
    let before = std::time::Instant::now();
    let answer = rig
        .get(&format!("/v2/{endpoint}/job-take/stranger?gpu=x"))
        .await;
    assert_eq!(answer.status, 204);
    assert!(before.elapsed() >= Duration::from_secs(1));
}
