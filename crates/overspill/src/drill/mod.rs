//! `overspill drill`: the outage of a region, practised against the emulated cloud.
//!
//! The server is the real one, started in this process with a configuration of the drill's own; the cloud is
//! the emulator with a data center for each region. Callers of every region submit by RunPod's client API. Then
//! the region's data center is gone with all that runs there, and comes back later. Nothing here decides where
//! a job runs; the report reads what the server stored and what the emulated cloud billed.

pub mod report;
pub mod scene;

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use overspill_core::id::JobId;
use overspill_core::time::Timestamp;
use overspill_emulator::{Emulator, Options};
use overspill_sim::cloud::{CloudOptions, EndpointId, FaultKind, FaultSpec, MsRange};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::cli::drill::DrillArgs;
use crate::cli::output::note;
use crate::cli::{CommandError, Context, ErrorKind};
use crate::config::{Flags, Strictness};
use crate::engine::api::{Engine as _, JobStory};
use crate::engine::handle::Handle;
use crate::rehearsal::{self, spinner};
use crate::serving::Server;

use report::{Moments, Report};
use scene::{API_KEY, REGION_HEADER, Scene};

/// Jobs come in for so long before the outage, and again after it.
const BEFORE: Duration = Duration::from_secs(20);
/// The same after it.
const AFTER: Duration = Duration::from_secs(30);
/// Between two jobs of the region that goes down, and of each other region.
const EVERY: [Duration; 2] = [Duration::from_millis(1_500), Duration::from_millis(3_000)];
/// After the last job, so long may it take until all are done.
const PATIENCE: Duration = Duration::from_secs(240);
/// How often is looked.
const PERIOD: Duration = Duration::from_millis(250);

/// Runs the drill to its end.
///
/// # Errors
/// When it cannot start, or a job was lost.
pub fn run(args: &DrillArgs, context: &Context) -> Result<(), CommandError> {
    if let Err(error) = args.region.parse::<overspill_core::region::Region>() {
        let message = format!("`{}` is no name of a region; {error}", args.region);
        return Err(CommandError::new(ErrorKind::Usage, message));
    }
    let scene = match &context.global.config {
        None if args.endpoint.is_some() => {
            let message = "--endpoint without --config: the built-in scene has one endpoint only";
            return Err(CommandError::new(ErrorKind::Usage, message));
        }
        None => Scene::built_in(&args.region),
        Some(_) => {
            let (_, loaded) = context.load_config(&Flags::default(), Strictness::Check)?;
            Scene::of(&loaded.config, &args.region, args.endpoint.as_deref())?
        }
    };
    crate::telemetry::start("overspill=error");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| {
            CommandError::new(ErrorKind::Io, "cannot start the runtime").because(error)
        })?;
    runtime.block_on(drill(args, &scene, context))
}

async fn drill(args: &DrillArgs, scene: &Scene, context: &Context) -> Result<(), CommandError> {
    let failed = |what: &str| CommandError::new(ErrorKind::Failed, what.to_owned());
    let folder =
        tempfile::tempdir().map_err(|error| failed("no folder for the drill").because(error))?;
    let stop = CancellationToken::new();
    let (emulator, cloud_url, cloud_task) = start_cloud(args.seed, scene, stop.clone())
        .await
        .map_err(|error| failed("the emulated cloud cannot start").because(error))?;
    let http = reqwest::Client::new();
    let mut ids = Vec::new();
    for pool in &scene.pools {
        let id = create_endpoint(&http, &cloud_url, scene, pool)
            .await
            .map_err(|error| failed("the emulated cloud makes no endpoint").because(error))?;
        let price = FaultKind::PriceChange {
            price_usd_per_h: pool.price_usd_per_h.clone(),
        };
        inject(&emulator, price, Some(&id))?;
        ids.push(id);
    }
    let server = start_server(folder.path(), scene, &cloud_url, &ids).await?;
    let address = server.address();
    let handle = server.handle().clone();
    note(&format!(
        "dashboard at http://{address}/#key={API_KEY}; emulated cloud at {cloud_url}, cold start 3–6 s"
    ));
    let serving = tokio::spawn(server.run(stop.clone().cancelled_owned(), || None));

    let outage = Duration::from_secs(args.seconds);
    let submitting = Submitting {
        http,
        url: format!("http://{address}/v2/{}/run", scene.endpoint),
        until: Instant::now() + BEFORE + outage + AFTER,
    };
    let callers: Vec<_> = scene
        .regions()
        .into_iter()
        .map(|region| {
            let every = EVERY[usize::from(region != args.region)];
            tokio::spawn(submitting.clone().run(region.to_owned(), every))
        })
        .collect();
    let played = play(args, scene, &handle, &emulator, &ids, outage);
    let interrupted = crate::cli::emulate::interrupted();
    let moments = tokio::select! {
        moments = played => moments?,
        () = interrupted => {
            return Err(CommandError::new(ErrorKind::Interrupted, "interrupted"));
        }
    };
    let mut accepted = BTreeSet::new();
    for caller in callers {
        accepted.extend(caller.await.unwrap_or_default());
    }
    settle(&handle, &accepted).await;
    let stories = stories(&handle, &accepted).await?;
    let ledger = crate::view::spending::sums(handle.reader().as_ref(), Timestamp::ZERO)
        .map_err(|error| failed("the ledger cannot be read").because(error))?;
    let report = Report::new(
        &args.region,
        scene,
        &stories,
        accepted.len(),
        &moments,
        &emulator.bill(),
        ledger.total_nano_usd,
    );
    report.print(&context.output)?;
    stop.cancel();
    let _ = serving.await;
    let _ = cloud_task.await;
    drop(handle);
    report.verdict()
}

/// The drill's course: a while as usual, the outage, and the way back.
async fn play(
    args: &DrillArgs,
    scene: &Scene,
    handle: &Handle,
    emulator: &Emulator,
    ids: &[String],
    outage: Duration,
) -> Result<Moments, CommandError> {
    let region = args.region.as_str();
    let bar = std::io::stderr().is_terminal().then(spinner);
    let follow = |what: &'static str, length: Duration| {
        let bar = bar.clone();
        async move {
            let end = Instant::now() + length;
            while Instant::now() < end {
                tokio::time::sleep(PERIOD).await;
                if let Some(bar) = &bar {
                    let left = end.saturating_duration_since(Instant::now()).as_secs();
                    bar.set_message(format!(
                        "{what}, {left} s more; bill ${}",
                        emulator.bill().total_usd
                    ));
                }
            }
        }
    };
    follow("as usual", BEFORE).await;
    let before = emulator.bill();
    let down_at = handle.now();
    let centers: BTreeSet<&str> = scene
        .pools
        .iter()
        .filter(|pool| pool.region == region)
        .map(|pool| pool.data_center)
        .collect();
    for center in &centers {
        let outage = FaultKind::RegionOutage {
            data_center: (*center).to_owned(),
        };
        inject(emulator, outage, None)?;
    }
    note(&format!(
        "region {region} is down, with all that runs there"
    ));
    follow("the region is down", outage).await;
    let during = emulator.bill();
    let up_at = handle.now();
    emulator.with_model(|model, now_ms| model.clear_faults(now_ms, None));
    note(&format!("region {region} is back"));
    follow("the region is back", AFTER).await;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let usd = |bill: &overspill_emulator::Bill| {
        overspill_core::money::NanoUsd::parse_usd(&bill.total_usd).unwrap_or_default()
    };
    debug_assert_eq!(ids.len(), scene.pools.len(), "an endpoint for each pool");
    Ok(Moments {
        down_at,
        up_at,
        bill_down: usd(&before),
        bill_up: usd(&during),
    })
}

fn inject(
    emulator: &Emulator,
    kind: FaultKind,
    endpoint: Option<&str>,
) -> Result<(), CommandError> {
    let spec = FaultSpec {
        kind,
        endpoint: endpoint.map(EndpointId::from),
        count: None,
        probability: None,
        for_ms: None,
    };
    let injected = emulator.with_model(|model, now_ms| model.inject(now_ms, spec));
    injected.map(|_| ()).map_err(|refusal| {
        let message = format!("the emulated cloud takes no such fault: {refusal:?}");
        CommandError::new(ErrorKind::Failed, message)
    })
}

/// A caller's submissions.
#[derive(Clone)]
struct Submitting {
    http: reqwest::Client,
    url: String,
    until: Instant,
}

impl Submitting {
    /// Submits as a caller of a region; returns the jobs that were accepted.
    async fn run(self, region: String, every: Duration) -> Vec<JobId> {
        let mut accepted = Vec::new();
        let mut at = Instant::now();
        while at < self.until {
            tokio::time::sleep_until(at).await;
            at += every;
            let seconds = scene::JOB.as_secs_f64();
            let body = json!({ "input": { "seconds": seconds, "number": accepted.len() } });
            let answer = self
                .http
                .post(&self.url)
                .bearer_auth(API_KEY)
                .header(REGION_HEADER, &region)
                .json(&body)
                .send()
                .await;
            let answer = match answer.and_then(reqwest::Response::error_for_status) {
                Ok(answer) => answer.json::<serde_json::Value>().await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(job) => {
                    let id = job["id"].as_str().and_then(|id| id.parse::<JobId>().ok());
                    accepted.extend(id);
                }
                Err(error) => warn!(%error, "a job was not accepted"),
            }
        }
        accepted
    }
}

/// Waits until every job is over, at most as long as patience lasts.
async fn settle(handle: &Handle, accepted: &BTreeSet<JobId>) {
    let end = Instant::now() + PATIENCE;
    let mut live: Vec<JobId> = accepted.iter().copied().collect();
    while !live.is_empty() && Instant::now() < end {
        tokio::time::sleep(PERIOD).await;
        let asked = live.clone();
        let left = handle.query(move |core| {
            let mut left = asked;
            left.retain(|id| core.job(*id).is_some());
            left
        });
        if let Ok(left) = left.await {
            live = left;
        }
    }
}

async fn stories(
    handle: &Handle,
    accepted: &BTreeSet<JobId>,
) -> Result<Vec<JobStory>, CommandError> {
    let mut stories = Vec::new();
    for &id in accepted {
        let story = handle.story(id).await;
        let story =
            story.map_err(|_| CommandError::new(ErrorKind::Failed, "the jobs cannot be read"))?;
        stories.extend(story);
    }
    Ok(stories)
}

async fn start_cloud(
    seed: u64,
    scene: &Scene,
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
        idle_timeout_s: u32::try_from(scene.idle_s).ok(),
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

/// Makes a pool's endpoint as a user would: by the management API, in its region's data center.
async fn create_endpoint(
    http: &reqwest::Client,
    url: &str,
    scene: &Scene,
    pool: &scene::ScenePool,
) -> Result<String, reqwest::Error> {
    let body = json!({
        "name": format!("drill-{}", pool.name),
        "type": "QUEUE",
        "image": "registry.example/sample-worker:1",
        "gpu": { "pools": ["AMPERE_24"], "count": 1 },
        "workers": { "min": 0, "max": 0, "idleTimeout": scene.idle_s },
        "scaling": { "type": "QUEUE_DELAY", "queueDelay": 0.5 },
        "timeout": 600_000,
        "flashboot": "OFF",
        "dataCenterIds": [pool.data_center],
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
    scene: &Scene,
    cloud_url: &str,
    ids: &[String],
) -> Result<Server, CommandError> {
    let program =
        std::env::current_exe().map_err(|error| rehearsal::start_failed("drill", &error))?;
    let text = scene.config(cloud_url, ids, &program.to_string_lossy());
    rehearsal::start_server("drill", &text, folder, API_KEY, program).await
}
