//! The live side: the built `overspill emulate` and `overspill serve`, fed with a trace in real time.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use overspill_sim::simulate::Trace;
use serde_json::{Value, json};

use super::http::Client;
use super::{AgreeArgs, Life, Outcome};

/// The server's key, and the emulator's, which takes any.
const KEY: &str = "agree-key-of-this-run-only";
/// A process has this long to say where it listens.
const START: Duration = Duration::from_secs(60);
/// After the last arrival, all must be over within this.
const PATIENCE: Duration = Duration::from_secs(1_200);
/// The cloud's workers are looked at this often.
const LOOK: Duration = Duration::from_millis(500);

/// Server and cloud of one run; both end with it.
pub(super) struct Live {
    cloud: Client,
    server: Client,
    endpoint: String,
    children: Vec<Child>,
    folder: PathBuf,
}

impl Drop for Live {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            // Asked first, so that the server's workers end with it.
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Live {
    pub(super) fn start(binary: &Path, args: &AgreeArgs) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("overspill-agree-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let mut live = Self {
            cloud: client(String::new()),
            server: client(String::new()),
            endpoint: String::new(),
            children: Vec::new(),
            folder,
        };
        let cold_start = format!("{0}s..{0}s", args.cold_start);
        let mut emulate = Command::new(binary);
        emulate
            .args(["emulate", "--listen", "127.0.0.1:0", "--no-rate-limits"])
            .args(["--cold-start", &cold_start]);
        live.cloud = client(live.spawn(emulate)?);
        let made = live.cloud.post(
            "/v2/serverless",
            &json!({
                "name": "agree",
                "type": "QUEUE",
                "image": "registry.example/worker:1",
                "gpu": { "pools": ["AMPERE_24"], "count": 1 },
                "workers": { "min": 0, "max": 0, "idleTimeout": 60 },
                "scaling": { "type": "QUEUE_DELAY", "queueDelay": 0.5 },
                "timeout": 600_000,
                "flashboot": "OFF",
            }),
        )?;
        let endpoint = made["id"].as_str().context("the cloud names no endpoint")?;
        endpoint.clone_into(&mut live.endpoint);
        let slots = json!({ "slots": args.slots });
        live.cloud
            .post(&format!("/emulator/endpoints/{endpoint}"), &slots)?;
        // RunPod's hints come to a known address.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let configuration = live.folder.join("overspill.toml");
        std::fs::write(
            &configuration,
            config(args, &live.cloud.address, endpoint, port, binary),
        )?;
        let mut serve = Command::new(binary);
        serve
            .arg("serve")
            .arg("--config")
            .arg(&configuration)
            .arg("--data-dir")
            .arg(live.folder.join("data"))
            .env("OVERSPILL_API_KEY", KEY)
            .env("HOME", &live.folder);
        live.server = client(live.spawn(serve)?);
        live.wait_ready(args.local_workers)?;
        Ok(live)
    }

    /// Starts a child and waits until it says where it listens.
    fn spawn(&mut self, mut command: Command) -> Result<String> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting overspill")?;
        let stderr = child.stderr.take().expect("it is piped above");
        self.children.push(child);
        listening(stderr)
    }

    fn wait_ready(&self, workers: u32) -> Result<()> {
        let begin = Instant::now();
        loop {
            let ready = self.server.get("/v2/agree/health");
            let idle = ready
                .as_ref()
                .ok()
                .and_then(|body| body["workers"]["idle"].as_u64());
            if idle.is_some_and(|idle| idle >= u64::from(workers)) {
                return Ok(());
            }
            ensure!(
                begin.elapsed() < START,
                "local workers are not ready: {ready:?}"
            );
            pause(LOOK);
        }
    }

    /// Feeds the trace in real time and follows it to its end.
    pub(super) fn replay(&self, trace: &Trace) -> Result<Outcome> {
        let begin = Instant::now();
        let mut ids: Vec<String> = Vec::with_capacity(trace.jobs.len());
        let mut lives: BTreeMap<String, Life> = BTreeMap::new();
        let mut said = 0;
        let mut last = begin;
        while ids.len() < trace.jobs.len() {
            let job = &trace.jobs[ids.len()];
            let at = Duration::from_millis(job.arrival.as_millis().unsigned_abs());
            let now = begin.elapsed();
            if now < at {
                pause((at - now).min(LOOK));
            } else {
                let seconds = job.duration.as_secs_f64();
                let input = json!({ "input": { "seconds": seconds } });
                let answer = self.server.post("/v2/agree/run", &input)?;
                let id = answer["id"].as_str().context("a job has no id")?;
                ids.push(id.to_owned());
                last = Instant::now();
            }
            self.look(begin, &mut lives)?;
            let minute = begin.elapsed().as_secs() / 60;
            if minute > said {
                said = minute;
                println!(
                    "minute {minute}: {} of {} jobs in",
                    ids.len(),
                    trace.jobs.len()
                );
            }
        }
        println!("all {} jobs are in; waiting until all is over", ids.len());
        loop {
            let alive = self.look(begin, &mut lives)?;
            let health = self.server.get("/v2/agree/health")?;
            let left = health["jobs"]["inQueue"].as_u64().unwrap_or(1)
                + health["jobs"]["inProgress"].as_u64().unwrap_or(1);
            if alive == 0 && left == 0 {
                break;
            }
            ensure!(
                last.elapsed() < PATIENCE,
                "{left} jobs and {alive} workers are left"
            );
            pause(LOOK);
        }
        self.outcome(&ids, lives)
    }

    /// Looks which workers live at the cloud; how many.
    fn look(&self, begin: Instant, lives: &mut BTreeMap<String, Life>) -> Result<usize> {
        let now = begin.elapsed().as_secs_f64();
        let path = format!("/v2/serverless/{}/workers", self.endpoint);
        let answer = self.cloud.get(&path)?;
        let workers = answer["workers"].as_array().map_or(&[][..], Vec::as_slice);
        for worker in workers {
            let Some(id) = worker["id"].as_str() else {
                continue;
            };
            let life = lives.entry(id.to_owned());
            life.or_insert(Life { from: now, to: now }).to = now;
        }
        Ok(workers.len())
    }

    fn outcome(&self, ids: &[String], lives: BTreeMap<String, Life>) -> Result<Outcome> {
        let bill = self.cloud.get("/emulator/bill")?;
        let billed = &bill["endpoints"][&self.endpoint]["worker_seconds"];
        let (mut waits, mut local) = (Vec::new(), 0);
        for id in ids {
            let status = self.server.get(&format!("/v2/agree/status/{id}"))?;
            ensure!(
                status["status"] == "COMPLETED",
                "job {id} did not end well: {status}"
            );
            let delay = status["delayTime"].as_f64();
            waits.push(delay.context("a job without delayTime")? / 1_000.0);
            let worker = status["workerId"].as_str().unwrap_or_default();
            local += usize::from(!lives.contains_key(worker));
        }
        let mut lives: Vec<Life> = lives.into_values().collect();
        lives.sort_by(|a, b| a.from.total_cmp(&b.from));
        Ok(Outcome {
            worker_seconds: billed.as_f64().unwrap_or(0.0),
            lives,
            waits,
            local,
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the replay is in real time, and both sides are other processes"
)]
fn pause(length: Duration) {
    std::thread::sleep(length);
}

fn client(address: String) -> Client {
    Client {
        address,
        key: KEY.to_owned(),
    }
}

/// The address that a process prints; what it prints later is read too, so that no pipe fills.
fn listening(stderr: impl Read + Send + 'static) -> Result<String> {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut tell = Some(tell);
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if let Some((_, rest)) = line.split_once("listening on http://")
                && let Some(tell) = tell.take()
            {
                let address = rest.split(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
                let _ = tell.send(address.take(1).collect::<String>());
            }
            if line.contains("ERROR") || line.contains("error:") {
                eprintln!("{line}");
            }
        }
    });
    match told.recv_timeout(START) {
        Ok(address) => Ok(address),
        Err(_) => bail!("a process did not say where it listens within {START:?}"),
    }
}

fn config(args: &AgreeArgs, cloud: &str, endpoint: &str, port: u16, binary: &Path) -> String {
    let program = Value::from(binary.to_string_lossy().into_owned());
    let local = if args.local_workers == 0 {
        String::new()
    } else {
        format!(
            "[[endpoint.local]]\ncommand = [{program}, \"sample-worker\"]\ndevices = {}\n",
            args.local_workers
        )
    };
    let constant = match &args.live_constant {
        Some((key, value)) => format!(", {key} = {value:?}"),
        None if args.policy == "request_count" => format!(", request_count = {}", args.slots),
        None => String::new(),
    };
    format!(
        r#"
listen     = "127.0.0.1:{port}"
public_url = "http://127.0.0.1:{port}"

[runpod]
api_key        = "rpa_agree_0123456789abcdef"
base_url       = "http://{cloud}/v2"
management_url = "http://{cloud}/v2"

[[endpoint]]
name               = "agree"
max_wait           = "{max_wait}s"
expected_execution = "30s"
workers            = {{ min = 0, max = {max}, idle_timeout = "60s" }}
scaler             = {{ policy = "{policy}"{constant} }}

{local}
[[endpoint.cloud]]
provider = "runpod"
id       = "{endpoint}"
slots    = {slots}
price    = "$0.44/h"
"#,
        max_wait = args.max_wait,
        max = args.max,
        policy = args.policy,
        slots = args.slots,
    )
}
