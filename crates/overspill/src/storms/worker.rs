//! A worker as RunPod's SDK is one: takes jobs, says that it lives, hears what to stop, posts results.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use overspill_core::id::{JobId, WorkerId};
use rand::RngExt as _;
use rand_chacha::ChaCha12Rng;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::faults::Fault;
use super::network::Caller;
use super::scene::{SECRET, Scene, pause};
use crate::auth::worker_key;

/// Between two heartbeats.
const PING: Duration = Duration::from_secs(2);
/// What the SDK waits before it posts a result again that was answered with 5xx.
const AGAIN_MS: [u64; 3] = [0, 2_000, 5_000];

/// What its tasks share.
struct Worker {
    scene: Arc<Scene>,
    path: String,
    id: WorkerId,
    polls: Caller,
    posts: Caller,
    /// Jobs that it holds, and what stops them.
    running: Mutex<BTreeMap<JobId, Arc<Notify>>>,
    /// A job has ended, or the process is asked to.
    changed: Notify,
}

/// How the process goes on after a job.
enum After {
    GoesOn,
    Exits,
}

impl Worker {
    fn running(&self) -> std::sync::MutexGuard<'_, BTreeMap<JobId, Arc<Notify>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn url(&self, verb: &str, rest: &str) -> String {
        format!("{}/{verb}/{}{rest}", self.path, self.id)
    }
}

/// The life of a process, from its start to its exit code.
pub(super) async fn run(
    scene: &Arc<Scene>,
    id: WorkerId,
    endpoint: &str,
    slots: usize,
    term: &Notify,
) -> i32 {
    let mut rng = scene.rng();
    pause(&mut rng, 100, 2_500).await;
    let headers = format!(
        "Authorization: {}\r\nUser-Agent: RunPod-Python-SDK/1.12.0\r\n",
        worker_key::of(&SECRET, id)
    );
    let caller = |seconds| Caller {
        name: format!("worker {id}"),
        headers: headers.clone(),
        patience: Duration::from_secs(seconds),
    };
    let worker = Arc::new(Worker {
        scene: Arc::clone(scene),
        path: format!("/v2/{endpoint}"),
        id,
        polls: caller(90),
        posts: caller(600),
        running: Mutex::new(BTreeMap::new()),
        changed: Notify::new(),
    });
    let mut beside = JoinSet::new();
    beside.spawn(heartbeat(Arc::clone(&worker)));
    beside.spawn(stops(Arc::clone(&worker)));
    let mut jobs = JoinSet::new();
    let mut is_asked_to_end = false;
    loop {
        let held = worker.running().len();
        if is_asked_to_end && held == 0 {
            return 0;
        }
        let room = if is_asked_to_end {
            0
        } else {
            slots.saturating_sub(held)
        };
        let taking = take(&worker, room, held);
        tokio::select! {
            biased;
            () = term.notified() => is_asked_to_end = true,
            Some(after) = jobs.join_next() => if matches!(after, Ok(After::Exits)) {
                return 1;
            },
            taken = taking, if room > 0 => {
                for job in taken {
                    let stop = Arc::new(Notify::new());
                    worker.running().insert(job, Arc::clone(&stop));
                    jobs.spawn(handle(Arc::clone(&worker), job, stop));
                }
            }
            () = worker.changed.notified() => {}
        }
    }
}

/// Asks for jobs once.
async fn take(worker: &Arc<Worker>, room: usize, held: usize) -> Vec<JobId> {
    if room == 0 {
        return std::future::pending().await;
    }
    let busy = u8::from(held > 0);
    let path = if room == 1 {
        worker.url("job-take", &format!("?job_in_progress={busy}"))
    } else {
        let query = format!("?batch_size={room}&job_in_progress={busy}");
        worker.url("job-take-batch", &query)
    };
    let answer = worker.polls.ask(&worker.scene, "GET", &path, "").await;
    let Ok(answer) = answer else {
        // The real one asks at once; so many requests would only make runs long.
        tokio::time::sleep(Duration::from_millis(200)).await;
        return Vec::new();
    };
    if answer.status != 200 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        return Vec::new();
    }
    let jobs = match answer.json() {
        Value::Array(jobs) => jobs,
        job => vec![job],
    };
    let ids = jobs.iter().map(|job| {
        let id = job
            .get("id")
            .and_then(Value::as_str)
            .and_then(|id| id.parse().ok());
        if id.is_none() {
            let scene = &worker.scene;
            scene.violated(format!("{} took what is no job: {job}", worker.id));
        }
        id
    });
    ids.flatten().collect()
}

async fn heartbeat(worker: Arc<Worker>) {
    loop {
        tokio::time::sleep(PING).await;
        let ids: Vec<String> = worker.running().keys().map(ToString::to_string).collect();
        let query = if ids.is_empty() {
            String::new()
        } else {
            format!("?job_id={}", ids.join(","))
        };
        let path = worker.url("ping", &query);
        let _ = worker.polls.ask(&worker.scene, "GET", &path, "").await;
    }
}

/// The stop channel.
async fn stops(worker: Arc<Worker>) {
    loop {
        let path = worker.url("job-stop", "");
        let answer = worker.polls.ask(&worker.scene, "GET", &path, "").await;
        let Some(answer) = answer.ok().filter(|answer| answer.status == 200) else {
            tokio::time::sleep(Duration::from_millis(300)).await;
            continue;
        };
        let json = answer.json();
        let jobs = json.get("jobsToStop").and_then(Value::as_array);
        for job in jobs.into_iter().flatten().filter_map(Value::as_str) {
            let running = worker.running();
            let stop = job
                .parse()
                .ok()
                .and_then(|job: JobId| running.get(&job).cloned());
            drop(running);
            if let Some(stop) = stop
                && !worker.scene.strikes(Fault::StopIgnored)
            {
                stop.notify_one();
            }
        }
    }
}

/// Runs one job.
async fn handle(worker: Arc<Worker>, job: JobId, stop: Arc<Notify>) -> After {
    let mut rng = worker.scene.rng();
    let after = tokio::select! {
        biased;
        () = stop.notified() => After::GoesOn,
        after = work(&worker, job, &mut rng) => after,
    };
    worker.running().remove(&job);
    worker.changed.notify_one();
    after
}

async fn work(worker: &Worker, job: JobId, rng: &mut ChaCha12Rng) -> After {
    let scene = &worker.scene;
    let run = scene.oracle().begins(job);
    scene.note(&format!("run {run} of {job} begins on {}", worker.id));
    if scene.strikes(Fault::HandlerHangs) {
        return std::future::pending().await;
    }
    let long = rng.random::<f64>() < 0.1;
    pause(rng, 20, if long { 12_000 } else { 1_500 }).await;
    if scene.strikes(Fault::WorkerExits) {
        return After::Exits;
    }
    if scene.strikes(Fault::ResultUnsendable) {
        return After::GoesOn;
    }
    let body = if scene.strikes(Fault::HandlerFails) {
        format!("{{\"error\":\"run {run} raised\"}}")
    } else {
        format!("{{\"output\":{{\"run\":{run}}}}}")
    };
    let path = worker.url("job-done", &format!("/{job}?isStream=false"));
    let posted_ms = scene.now_ms();
    for wait in AGAIN_MS {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let answer = worker.posts.ask(scene, "POST", &path, &body).await;
        let Ok(answer) = answer else {
            // A connection that breaks: the SDK drops the result.
            return After::GoesOn;
        };
        scene.oracle().posted(job, run, posted_ms, answer.status);
        if answer.status < 500 {
            break;
        }
    }
    After::GoesOn
}
