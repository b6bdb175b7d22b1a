//! The built-in sample worker: RunPod's worker protocol in a page, for machines without Python.
//!
//! Takes a job, waits as long as its `input.seconds` says, posts the result; reports its job ids in
//! pings. It reads the same variables that RunPod's SDK reads, and nothing else.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

/// The hidden subcommand.
pub const SUBCOMMAND: &str = "sample-worker";

struct Urls {
    take: String,
    done: String,
    ping: String,
    key: String,
    ping_interval: Duration,
}

impl Urls {
    fn from_environment() -> Option<Self> {
        let variable = |name: &str| std::env::var(name).ok();
        let worker = variable("RUNPOD_POD_ID")?;
        let fill = |url: String| url.replace("$RUNPOD_POD_ID", &worker);
        let millis = variable("RUNPOD_PING_INTERVAL").and_then(|text| text.parse().ok());
        Some(Self {
            take: fill(variable("RUNPOD_WEBHOOK_GET_JOB")?.replace("$ID", &worker)),
            done: fill(variable("RUNPOD_WEBHOOK_POST_OUTPUT")?),
            ping: fill(variable("RUNPOD_WEBHOOK_PING")?),
            key: variable("RUNPOD_AI_API_KEY")?,
            ping_interval: Duration::from_millis(millis.unwrap_or(10_000)),
        })
    }
}

/// Runs until it is ended; the exit code.
#[must_use]
pub fn run() -> i32 {
    let Some(urls) = Urls::from_environment() else {
        eprintln!("overspill sample-worker: RUNPOD_WEBHOOK_GET_JOB and its kin are not set");
        return 2;
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(work(urls)),
        Err(error) => {
            eprintln!("overspill sample-worker: {error}");
            74
        }
    }
}

async fn work(urls: Urls) -> i32 {
    let http = reqwest::Client::new();
    let urls = Arc::new(urls);
    let held: Arc<Mutex<Option<String>>> = Arc::default();
    tokio::spawn(ping(http.clone(), Arc::clone(&urls), Arc::clone(&held)));
    loop {
        let Some(job) = take(&http, &urls).await else {
            continue;
        };
        let id = job["id"].as_str().unwrap_or_default().to_owned();
        *held.lock().unwrap_or_else(PoisonError::into_inner) = Some(id.clone());
        let seconds = job["input"]["seconds"].as_f64().unwrap_or(1.0);
        tokio::time::sleep(Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0))).await;
        let output = json!({ "output": { "seconds": seconds, "input": job["input"] } });
        done(&http, &urls, &id, &output).await;
        *held.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// One job, or nothing: then after a while again.
async fn take(http: &reqwest::Client, urls: &Urls) -> Option<Value> {
    let answer = http
        .get(format!("{}&job_in_progress=0", urls.take))
        .header("authorization", &urls.key)
        .timeout(Duration::from_secs(90))
        .send()
        .await;
    match answer {
        Ok(answer) if answer.status() == 200 => answer.json().await.ok(),
        Ok(answer) if answer.status() == 204 => None,
        _ => {
            tokio::time::sleep(Duration::from_secs(1)).await;
            None
        }
    }
}

async fn done(http: &reqwest::Client, urls: &Urls, id: &str, output: &Value) {
    let url = format!("{}&isStream=false", urls.done.replace("$ID", id));
    for pause in [0, 2, 5] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        let answer = http
            .post(&url)
            .header("authorization", &urls.key)
            .body(output.to_string())
            .send()
            .await;
        if answer.is_ok_and(|answer| !answer.status().is_server_error()) {
            return;
        }
    }
}

async fn ping(http: reqwest::Client, urls: Arc<Urls>, held: Arc<Mutex<Option<String>>>) {
    loop {
        tokio::time::sleep(urls.ping_interval).await;
        let job = held.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let url = match job {
            Some(job) => format!("{}&job_id={job}", urls.ping),
            None => urls.ping.clone(),
        };
        let _ = http
            .get(url)
            .header("authorization", &urls.key)
            .timeout(urls.ping_interval * 2)
            .send()
            .await;
    }
}
