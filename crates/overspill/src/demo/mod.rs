//! `overspill demo`: everything at once on this machine, with no account, no GPU and no Python.
//!
//! The server, the emulated cloud and built-in sample workers, each as they are in earnest: jobs go
//! in by RunPod's client API, sample workers speak RunPod's worker protocol, and the overspill goes
//! to the emulated cloud over HTTP. Nothing here decides where a job runs.

pub mod load;
pub mod report;
pub mod sample_worker;
pub mod watch;

use std::path::Path;
use std::time::Duration;

use overspill_emulator::{Emulator, Options};
use overspill_sim::cloud::{CloudOptions, MsRange};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cli::demo::{DemoArgs, DemoLoad};
use crate::cli::output::note;
use crate::cli::{CommandError, Context, ErrorKind};
use crate::rehearsal;
use crate::serving::Server;

/// The one endpoint.
const ENDPOINT: &str = "demo";
/// The key of the demo's server; it listens on loopback for as long as the demo runs.
const API_KEY: &str = "overspill-demo-key";
/// Cards that the demo pretends to have.
const LOCAL_WORKERS: u32 = 2;
/// Cloud workers at most.
const CLOUD_WORKERS_MAX: u32 = 4;
/// After the load, so long may it take until every job is done and the cloud is at zero.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the demo to its end.
///
/// # Errors
/// When it cannot start, a job did not finish, or the cloud did not get back to zero.
pub fn run(args: &DemoArgs, context: &Context) -> Result<(), CommandError> {
    crate::telemetry::start("overspill=error");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| {
            CommandError::new(ErrorKind::Io, "cannot start the runtime").because(error)
        })?;
    runtime.block_on(demo(args, context))
}

async fn demo(args: &DemoArgs, context: &Context) -> Result<(), CommandError> {
    let failed = |what: &str| CommandError::new(ErrorKind::Failed, what.to_owned());
    let folder =
        tempfile::tempdir().map_err(|error| failed("no folder for the demo").because(error))?;
    let stop = CancellationToken::new();
    let (emulator, cloud_url, cloud_task) = start_cloud(args.seed, stop.clone())
        .await
        .map_err(|error| failed("the emulated cloud cannot start").because(error))?;
    let http = reqwest::Client::new();
    let cloud_endpoint = create_endpoint(&http, &cloud_url)
        .await
        .map_err(|error| failed("the emulated cloud makes no endpoint").because(error))?;
    note(&format!(
        "emulated cloud at {cloud_url}: cold start 3–6 s, idle time-out 3 s, at most \
         {CLOUD_WORKERS_MAX} workers (a real cold start takes 30–60 s)"
    ));
    let server = start_server(folder.path(), &cloud_url, &cloud_endpoint).await?;
    let address = server.address();
    let handle = server.handle().clone();
    note(&format!(
        "server at http://{address}, {LOCAL_WORKERS} local sample workers; jobs take 1 s"
    ));
    note(&format!("dashboard at http://{address}/#key={API_KEY}"));
    let serving = tokio::spawn(server.run(stop.clone().cancelled_owned(), || None));

    let watch = watch::Watch::new(handle.clone(), emulator.clone(), cloud_endpoint);
    watch
        .local_ready(LOCAL_WORKERS, Duration::from_secs(30))
        .await
        .map_err(|seen| {
            failed(&format!(
                "only {seen} of {LOCAL_WORKERS} sample workers came up"
            ))
        })?;
    let base = format!("http://{address}/v2/{ENDPOINT}");
    let plan = load::plan(args.load, Duration::from_secs(args.seconds), args.seed);
    let submitting = tokio::spawn(load::submit(http, base, plan));
    let progress = watch.follow(submitting, PATIENCE);
    let interrupted = crate::cli::emulate::interrupted();
    let watched = tokio::select! {
        watched = progress => watched,
        () = interrupted => {
            return Err(CommandError::new(ErrorKind::Interrupted, "interrupted"));
        }
    };
    let jobs = watch
        .jobs()
        .await
        .map_err(|_| failed("the jobs cannot be listed"))?;
    let saved = report::saved(&handle).await;
    let report = report::Report::new(&jobs, &watched, &emulator, saved, LOCAL_WORKERS);
    report.print(&context.output)?;
    if args.keep {
        note("everything stays up: interrupt (Ctrl-C) to end");
        crate::cli::emulate::interrupted().await;
    }
    stop.cancel();
    let _ = serving.await;
    let _ = cloud_task.await;
    drop(handle);
    report.verdict(args.load == DemoLoad::Low)
}

async fn start_cloud(
    seed: u64,
    stop: CancellationToken,
) -> std::io::Result<(Emulator, String, tokio::task::JoinHandle<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let emulator = Emulator::new(Options {
        cloud: CloudOptions {
            seed,
            cold_start: MsRange::new(3_000, 6_000),
            ..CloudOptions::default()
        },
        idle_timeout_s: Some(3),
        ..Options::default()
    });
    let serving = emulator.clone();
    let task = tokio::spawn(async move {
        if let Err(error) = serving.serve(listener, stop.cancelled_owned()).await {
            tracing::error!(%error, "the emulated cloud failed");
        }
    });
    Ok((emulator, url, task))
}

/// Makes the cloud's endpoint as a user would: by the management API.
async fn create_endpoint(http: &reqwest::Client, url: &str) -> Result<String, reqwest::Error> {
    let body = json!({
        "name": "overspill-demo",
        "type": "QUEUE",
        "image": "registry.example/sample-worker:1",
        "gpu": { "pools": ["AMPERE_24"], "count": 1 },
        "workers": { "min": 0, "max": 0, "idleTimeout": 3 },
        "scaling": { "type": "QUEUE_DELAY", "queueDelay": 0.5 },
        "timeout": 600_000,
        "flashboot": "OFF",
    });
    let answer = http
        .post(format!("{url}/v2/serverless"))
        .bearer_auth(API_KEY)
        .json(&body)
        .send()
        .await?
        .error_for_status()?;
    let endpoint: serde_json::Value = answer.json().await?;
    Ok(endpoint["id"].as_str().unwrap_or_default().to_owned())
}

async fn start_server(
    folder: &Path,
    cloud_url: &str,
    cloud_endpoint: &str,
) -> Result<Server, CommandError> {
    let program =
        std::env::current_exe().map_err(|error| rehearsal::start_failed("demo", &error))?;
    let text = format!(
        r#"
listen   = "127.0.0.1:0"
data_dir = "data"

[runpod]
api_key        = "{API_KEY}"
base_url       = "{cloud_url}/v2"
management_url = "{cloud_url}/v2"

# To try webhooks with a receiver on this machine.
[webhooks]
allow = ["127.0.0.1", "localhost"]

[[endpoint]]
name               = "{ENDPOINT}"
max_wait           = "15s"
expected_execution = "1s"
expected_start     = "5s"
workers            = {{ min = 0, max = {CLOUD_WORKERS_MAX}, idle_timeout = "3s" }}
scaler             = {{ policy = "queue_delay", queue_delay = "500ms" }}

  [[endpoint.local]]
  command = [{program}, "sample-worker"]
  devices = {LOCAL_WORKERS}

  [[endpoint.cloud]]
  provider = "runpod"
  id       = "{cloud_endpoint}"
  gpu      = "RTX 3090"
"#,
        program = serde_json::Value::from(program.to_string_lossy().into_owned()),
    );
    rehearsal::start_server("demo", &text, folder, API_KEY, program).await
}
