//! A server writes a journal, through a restart and with an emulated cloud; `simulate --journal` has its
//! decisions again, and its work under other settings.

use std::path::{Path, PathBuf};
use std::time::Duration;

use overspill::config::{Environment, Flags, Strictness, parse};
use overspill::engine::api::{Engine as _, JobVersion};
use overspill::keeper::{DirectHost, ProcessHost};
use overspill::pool::runpod::tls;
use overspill::serving::{Server, ServerOptions};
use overspill_core::id::JobId;
use overspill_emulator::{Emulator, Options};
use overspill_sim::cloud::{CloudOptions, MsRange};
use overspill_sim::journal::Reader;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::serving::KEY;
use crate::support::Machine;

const CANARY: &str = "canary-77aa1c02";

/// A cloud with one endpoint, twenty times as fast as the clock; its address and the endpoint's id.
async fn cloud() -> (Emulator, String, String) {
    tls::install_provider();
    let options = CloudOptions {
        cold_start: MsRange::new(8_000, 8_000),
        ..CloudOptions::default()
    };
    let emulator = Emulator::new(Options {
        cloud: options,
        time_scale: 20.0,
        ..Options::default()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let serving = emulator.clone();
    tokio::spawn(async move { serving.serve(listener, std::future::pending()).await });
    let body = json!({
        "name": "tts", "type": "QUEUE", "image": "registry.example/worker:1",
        "gpu": {"pools": ["AMPERE_24"], "count": 1},
        // Three seconds here: the job of low priority causes no worker, and has to meet one.
        "workers": {"min": 0, "max": 3, "idleTimeout": 60},
        "scaling": {"type": "QUEUE_DELAY", "queueDelay": 1}, "timeout": 600_000,
    });
    let made = reqwest::Client::new()
        .post(format!("http://{at}/v2/serverless"))
        .bearer_auth("rpa_0123456789abcdef")
        .json(&body)
        .send()
        .await
        .unwrap();
    let made: Value = made.json().await.unwrap();
    (emulator, at, made["id"].as_str().expect("an id").to_owned())
}

struct Serving {
    handle: overspill::engine::handle::Handle,
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    running: tokio::task::JoinHandle<overspill::serving::End>,
}

/// A server on the machine's folder that writes `journal.ovj` there.
async fn serve(machine: &Machine, at: &str, endpoint: &str) -> Serving {
    let folder = machine.path("");
    let text = format!(
        r#"
listen = "127.0.0.1:0"
data_dir = "data"
[journal]
file = "journal.ovj"
[runpod]
api_key = "rpa_0123456789abcdef"
base_url = "http://{at}/v2"
management_url = "http://{at}/v2"
[[endpoint]]
name = "tts"
max_wait = "1s"
workers = {{ min = 0, max = 2, idle_timeout = "5s" }}
[[endpoint.cloud]]
provider = "runpod"
id = "{endpoint}"
price = "$0.44/h"
"#
    );
    let environment = Environment::from_pairs([("OVERSPILL_API_KEY", KEY)]);
    let flags = Flags::default();
    let loaded = parse(
        &text,
        "test",
        &folder,
        &environment,
        &flags,
        Strictness::Serve,
    )
    .unwrap();
    std::fs::create_dir_all(folder.join("data")).unwrap();
    let (host, notices) = DirectHost::new("test", None);
    let server = Server::start(ServerOptions {
        loaded,
        environment,
        listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        host: ProcessHost::Direct(host),
        notices,
        installation: "ovs-test".into(),
    });
    let server = server.await.unwrap();
    let (handle, address) = (server.handle().clone(), server.address());
    let (stop, stopped) = oneshot::channel();
    let stopped = async move {
        let _ = stopped.await;
    };
    let running = tokio::spawn(server.run(stopped, || None));
    Serving {
        handle,
        address,
        stop,
        running,
    }
}

impl Serving {
    /// Submits jobs and waits until all are over.
    async fn work(&self, jobs: usize) {
        let http = reqwest::Client::new();
        let mut ids = Vec::new();
        for number in 0..jobs {
            let body = json!({
                "input": {"seconds": 2, "output": number, "text": CANARY},
                "policy": {"lowPriority": number == 2},
                "s3Config": {"accessId": CANARY, "accessSecret": CANARY, "bucketName": CANARY,
                    "endpointUrl": "https://s3.example.org"},
            });
            let answer = http
                .post(format!("http://{}/v2/tts/run", self.address))
                .bearer_auth(KEY)
                .json(&body)
                .send()
                .await
                .unwrap();
            let answer: Value = answer.json().await.unwrap();
            ids.push(answer["id"].as_str().unwrap().parse::<JobId>().unwrap());
        }
        for id in ids {
            let mut known = JobVersion::default();
            loop {
                let hold = Duration::from_secs(60);
                let view = self
                    .handle
                    .wait_job(id, known, hold)
                    .await
                    .unwrap()
                    .unwrap();
                assert!(known != view.version, "nothing happened to {id} for 60 s");
                if view.state.is_final() {
                    break;
                }
                known = view.version;
            }
        }
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        self.running.await.unwrap();
    }
}

fn simulate(machine: &Machine, arguments: &[&str]) -> Value {
    let all = [
        &["simulate", "--journal", "journal.ovj", "--json"][..],
        arguments,
    ]
    .concat();
    let ran = machine.run(&all);
    assert_eq!(ran.code, 0, "{ran}");
    serde_json::from_str(&ran.stdout).unwrap()
}

fn altered(machine: &Machine, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let mut bytes = std::fs::read(machine.path("journal.ovj")).unwrap();
    change(&mut bytes);
    let path = machine.path(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn holds_no_secret(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    for piece in Reader::new(bytes) {
        assert!(!format!("{piece:?}").contains(CANARY), "a secret is in it");
    }
}

#[tokio::test]
async fn a_servers_decisions_come_out_as_they_were_through_a_restart() {
    let (_emulator, at, endpoint) = cloud().await;
    let machine = Machine::new();
    let server = serve(&machine, &at, &endpoint).await;
    server.work(4).await;
    server.stop().await;
    let server = serve(&machine, &at, &endpoint).await;
    server.work(2).await;
    server.stop().await;
    holds_no_secret(&machine.path("journal.ovj"));

    let report = simulate(&machine, &["--verify"]);
    assert_eq!(report["holds"], true, "{report}");
    assert_eq!(report["complete"], true, "{report}");
    assert_eq!(report["segments"], 2, "{report}");
    // Six submissions, and what was ordered for them.
    assert!(report["decisions"].as_u64().unwrap() >= 8, "{report}");
    let ran = machine.run(&["simulate", "--journal", "journal.ovj", "--verify"]);
    assert!(ran.stdout.contains("every decision is as it was"), "{ran}");

    let report = simulate(&machine, &["--set", "max=1", "--set", "policy=queue_delay"]);
    let endpoint = &report["endpoints"][0];
    assert_eq!(endpoint["endpoint"], "tts");
    assert_eq!(endpoint["measured"]["jobs"], 6, "{endpoint}");
    for run in ["measured", "unchanged", "changed"] {
        for key in [
            "cost_usd",
            "wait_p50_s",
            "wait_p95_s",
            "wait_p99_s",
            "on_time_share",
        ] {
            assert!(endpoint[run][key].is_number(), "{run}.{key}: {endpoint}");
        }
    }
    assert_eq!(endpoint["unchanged"]["policy"], "cost_aware");
    assert_eq!(endpoint["changed"]["policy"], "queue_delay");
    assert_eq!(endpoint["settings"]["max"], 2);
    assert_eq!(endpoint["changed_settings"]["max"], 1);
    let table = machine.run(&["simulate", "--journal", "journal.ovj", "--set", "max=1"]);
    assert!(table.stdout.contains("the change costs $"), "{table}");

    // Cut off as by a kill: torn, and all before it holds.
    altered(&machine, "torn.ovj", |bytes| {
        bytes.truncate(bytes.len() - 5);
    });
    let ran = machine.run(&["simulate", "--journal", "torn.ovj", "--verify"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stderr.contains("were being written when"), "{ran}");
    // Damaged: said, and not taken for a decision that differs.
    altered(&machine, "rot.ovj", |bytes| bytes[60] ^= 1);
    let ran = machine.run(&["simulate", "--journal", "rot.ovj", "--verify"]);
    assert_eq!(ran.code, 1, "{ran}");
    assert!(ran.stderr.contains("is damaged"), "{ran}");
}

#[test]
fn what_is_no_journal_is_refused() {
    let machine = Machine::new();
    machine.write("t.csv", "arrival_s,duration_s,class\n0,1,a\n");
    let ran = machine.run(&["simulate", "--journal", "t.csv"]);
    assert_eq!(ran.code, 2, "{ran}");
    assert!(ran.stderr.contains("is no journal"), "{ran}");
    let ran = machine.run(&["simulate", "--journal", "gone.ovj"]);
    assert_eq!(ran.code, 74, "{ran}");
    assert!(ran.stderr.contains("serve --journal"), "{ran}");
    let ran = machine.run(&["simulate", "--verify"]);
    assert_eq!(ran.code, 2, "{ran}");
    let ran = machine.run(&["simulate", "--journal", "t.csv", "--max", "3"]);
    assert_eq!(ran.code, 2, "{ran}");
}
