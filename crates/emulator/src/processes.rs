//! Real workers: one process per worker, in its own process group, with the variables of RunPod's platform.
//!
//! A worker that is to go gets SIGTERM and some time, then SIGKILL; the group gets SIGKILL in any case
//! once the process has ended, for the SDK's ping process outlives it otherwise.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use overspill_sim::cloud::{EndpointId, WorkerId};
use tokio::process::Command;
use tokio::sync::mpsc;

use crate::state::Shared;

/// How long a worker has to end by itself.
const GRACE: Duration = Duration::from_secs(10);

/// The processes that run.
#[derive(Debug, Default)]
pub(crate) struct Processes(Mutex<HashMap<WorkerId, mpsc::UnboundedSender<bool>>>);

impl Processes {
    /// Tells a worker's process to end; `is_hard` at once.
    pub(crate) fn stop(&self, worker: &WorkerId, is_hard: bool) {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(orders) = table.get(worker) {
            // A process that has ended does not listen any more.
            let _ = orders.send(is_hard);
        }
    }

    /// Ends all processes at once.
    pub(crate) fn stop_all(&self) {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for orders in table.values() {
            let _ = orders.send(true);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }
}

/// Starts the process of a worker and looks after it until it has ended.
pub(crate) fn start(
    shared: &Arc<Shared>,
    endpoint: EndpointId,
    worker: WorkerId,
    gpu: Option<&'static str>,
    data_center: Option<&'static str>,
) {
    let Some(command) = shared.options.worker_cmd.clone() else {
        return;
    };
    let (orders, mut inbox) = mpsc::unbounded_channel();
    shared
        .processes
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(worker.clone(), orders);
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let code = run(
            &shared,
            &command,
            &endpoint,
            &worker,
            gpu,
            data_center,
            &mut inbox,
        )
        .await;
        shared
            .processes
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&worker);
        shared.call(|model, now_ms| model.process_exited(now_ms, &endpoint, &worker, code));
    });
}

async fn run(
    shared: &Arc<Shared>,
    command: &str,
    endpoint: &EndpointId,
    worker: &WorkerId,
    gpu: Option<&str>,
    data_center: Option<&str>,
    inbox: &mut mpsc::UnboundedReceiver<bool>,
) -> Option<i32> {
    let settings = shared
        .call(|model, now_ms| model.endpoint_settings(now_ms, endpoint))
        .ok()?
        .0;
    let gpu = gpu.unwrap_or("CPU");
    let mut process = Command::new("sh");
    process
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        // What workers print is no answer of the emulator's own.
        .stdout(std::io::stderr())
        .process_group(0)
        .kill_on_drop(true)
        .env_remove("RUNPOD_API_KEY")
        .envs(&settings.env)
        .envs(variables(shared.base_url(), endpoint, worker, gpu))
        .env("RUNPOD_DC_ID", data_center.unwrap_or_default());
    let mut child = match process.spawn() {
        Ok(child) => child,
        Err(error) => {
            tracing::error!(%command, %error, "the worker command could not be started");
            return Some(127);
        }
    };
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .map(Pid::from_raw);
    let mut deadline = None;
    let status = loop {
        let timer = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            status = child.wait() => break status.ok(),
            order = inbox.recv(), if deadline.is_none() => match order {
                Some(false) => {
                    signal(group, Signal::SIGTERM);
                    deadline = Some(tokio::time::Instant::now() + GRACE);
                }
                Some(true) | None => {
                    signal(group, Signal::SIGKILL);
                    deadline = Some(tokio::time::Instant::now() + GRACE);
                }
            },
            () = timer => {
                signal(group, Signal::SIGKILL);
                deadline = Some(tokio::time::Instant::now() + GRACE);
            }
        }
    };
    signal(group, Signal::SIGKILL);
    status.and_then(|status| status.code())
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // The group may be gone already.
        let _ = killpg(group, signal);
    }
}

/// What RunPod's platform sets for a worker.
fn variables(
    base_url: &str,
    endpoint: &EndpointId,
    worker: &WorkerId,
    gpu: &str,
) -> Vec<(&'static str, String)> {
    let gpu = gpu.replace(' ', "+");
    let url = |rest: &str| format!("{base_url}/v2/{endpoint}/{rest}?gpu={gpu}");
    vec![
        ("RUNPOD_WEBHOOK_GET_JOB", url(&format!("job-take/{worker}"))),
        (
            "RUNPOD_WEBHOOK_POST_OUTPUT",
            url(&format!("job-done/{worker}/$ID")),
        ),
        (
            "RUNPOD_WEBHOOK_POST_STREAM",
            url(&format!("job-stream/{worker}/$ID")),
        ),
        ("RUNPOD_WEBHOOK_PING", url(&format!("ping/{worker}"))),
        ("RUNPOD_PING_INTERVAL", "10000".into()),
        ("RUNPOD_POD_ID", worker.to_string()),
        ("RUNPOD_POD_HOSTNAME", format!("{worker}-emulated")),
        ("RUNPOD_ENDPOINT_ID", endpoint.to_string()),
        ("RUNPOD_AI_API_KEY", format!("emulated-{worker}")),
        ("RUNPOD_GPU_COUNT", "1".into()),
        ("RUNPOD_CPU_COUNT", "4".into()),
        ("RUNPOD_LOG_LEVEL", "INFO".into()),
        ("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "true".into()),
        ("RUNPOD_SKIP_GPU_CHECK", "true".into()),
    ]
}
