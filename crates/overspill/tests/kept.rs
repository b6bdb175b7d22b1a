//! Endpoints kept at RunPod, against the emulated cloud over HTTP: made, changed, removed, and found again
//! after a crash at any point.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use overspill::config::{Config, Environment, Flags, Strictness, parse};
use overspill::kept::carry_out::{Account, Applied, Extent, carry_out, purposes, survey};
use overspill::kept::name::{Mark, nonce};
use overspill::kept::orphans::{Fate, reap, sort};
use overspill::kept::plan::Plan;
use overspill::kept::record::{Ledger, Record};
use overspill::pool::runpod::account::Connection;
use overspill::pool::runpod::clock::SystemClock;
use overspill_emulator::{Emulator, Options};
use overspill_sim::cloud::FaultSpec;
use overspill_wire::management::endpoint::{Endpoint, UpdateEndpoint, WorkerLimits};
use serde_json::json;
use tokio::net::TcpListener;

const OURS: &str = "ovs-00112233445566aa";
const TWO: &str = "[runpod]\n[[endpoint]]\nname = \"sdxl\"\n[[endpoint.cloud]]\n\
    provider = \"runpod\"\nimage = \"registry.example/sdxl:1\"\ngpu = [\"RTX 4090\", \"A40\"]\n";

struct Rig {
    emulator: Emulator,
    account: Account,
    folder: tempfile::TempDir,
}

impl Rig {
    async fn start() -> Self {
        let emulator = Emulator::new(Options::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v2", listener.local_addr().unwrap());
        let serving = emulator.clone();
        tokio::spawn(async move { serving.serve(listener, std::future::pending()).await });
        let key = "rpa_0123456789abcdef".into();
        let clock = Arc::new(SystemClock::start());
        let connection = Connection::new(&key, Some(&url), Some(&url), OURS, clock).unwrap();
        Self {
            emulator,
            account: Account {
                management: connection.management,
                data_plane: connection.data_plane,
                installation: OURS.into(),
            },
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn ledger(&self) -> Ledger {
        Ledger::open(self.folder.path()).unwrap()
    }

    async fn plan(&self, text: &str) -> Plan {
        let ledger = self.ledger();
        let survey = survey(&self.account, &config(text), &ledger).await.unwrap();
        assert!(survey.catalog_is_live);
        survey.plan
    }

    async fn apply(&self, text: &str, extent: Extent) -> Applied {
        let plan = self.plan(text).await;
        let mut ledger = self.ledger();
        carry_out(&self.account, &plan, &mut ledger, extent).await
    }

    async fn all(&self, text: &str) -> Applied {
        let applied = self.apply(text, Extent::All { force: false }).await;
        assert!(applied.failures.is_empty(), "{:?}", applied.failures);
        applied
    }

    async fn seen(&self) -> Vec<Endpoint> {
        self.account.management.list().await.unwrap()
    }
}

fn config(text: &str) -> Config {
    let environment = Environment::from_pairs([("RUNPOD_API_KEY", "rpa_0123456789abcdef")]);
    let flags = Flags::default();
    let folder = Path::new("/");
    let loaded = parse(text, "f", folder, &environment, &flags, Strictness::Serve);
    loaded.unwrap().config
}

#[tokio::test]
async fn one_endpoint_for_each_type_is_made_once_and_costs_nothing() {
    let rig = Rig::start().await;
    let applied = rig.all(TWO).await;
    assert_eq!(applied.created.len(), 2);
    let seen = rig.seen().await;
    let marks: Vec<Mark> = seen.iter().filter_map(|e| Mark::find(&e.name)).collect();
    assert!(marks.iter().all(|mark| mark.installation == OURS));
    assert_eq!(marks.len(), 2);
    for endpoint in &seen {
        assert_eq!(endpoint.workers.max, Some(0), "{endpoint:?}");
    }
    let excluded: Vec<_> = seen.iter().map(|e| e.gpu.clone().unwrap()).collect();
    assert_eq!(excluded[0].pools, ["ADA_24"]);
    assert_eq!(excluded[1].excluded_types, ["NVIDIA RTX A6000"]);
    let record = Record::read(rig.folder.path()).unwrap();
    for (wanted, id) in &applied.created {
        assert_eq!(record.id_of(&wanted.purpose), Some(id.as_str()));
    }
    assert!(rig.plan(TWO).await.is_empty());
    rig.emulator.advance(std::time::Duration::from_secs(3_600));
    assert_eq!(rig.emulator.bill().total_usd, "0.000000");
}

#[tokio::test]
async fn a_change_is_a_release_and_an_old_one_goes() {
    let rig = Rig::start().await;
    rig.all(TWO).await;
    let after = TWO
        .replace(
            "sdxl:1",
            "sdxl:2\"\nenv = { A = \"1\" }\ndisk = \"40GB\"\nargs = \"--fast",
        )
        .replace(", \"A40\"", "");
    let missing_only = rig.apply(&after, Extent::Missing).await;
    assert!(missing_only.changed.is_empty() && missing_only.removed.is_empty());
    let applied = rig.all(&after).await;
    assert_eq!((applied.changed.len(), applied.removed.len()), (1, 1));
    let seen = rig.seen().await;
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].image.as_deref(), Some("registry.example/sdxl:2"));
    assert_eq!((seen[0].disk, seen[0].env["A"].as_str()), (Some(40), "1"));
    assert!(rig.plan(&after).await.is_empty());
}

#[tokio::test]
async fn a_crash_between_making_and_remembering_makes_none_twice() {
    let rig = Rig::start().await;
    let plan = rig.plan(TWO).await;
    let wanted = &plan.create[0];
    // Killed right after RunPod made it.
    let mark = Mark {
        installation: OURS.into(),
        nonce: rig.ledger().begin(&wanted.purpose, &nonce(7)).unwrap(),
        purpose: wanted.purpose.clone(),
    };
    let body = wanted.settings.create(mark.name(&wanted.label()));
    let made = rig.account.management.create(&body).await.unwrap();
    let applied = rig.all(TWO).await;
    assert_eq!(applied.created.len(), 1, "only the other one");
    let record = Record::read(rig.folder.path()).unwrap();
    assert_eq!(record.id_of(&wanted.purpose), Some(made.id.as_str()));
    // Killed before it was sent: it goes on under the same name.
    let rig = Rig::start().await;
    let plan = rig.plan(TWO).await;
    let wanted = &plan.create[0];
    rig.ledger().begin(&wanted.purpose, "aaaaaaaa").unwrap();
    rig.all(TWO).await;
    let names = rig.seen().await;
    assert_eq!(names.len(), 2);
    assert!(names[0].name.contains("-aaaaaaaa-"), "{}", names[0].name);
}

#[tokio::test]
async fn a_lost_data_folder_finds_its_endpoints_by_their_names() {
    let rig = Rig::start().await;
    rig.all(TWO).await;
    for file in std::fs::read_dir(rig.folder.path()).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    let applied = rig.all(TWO).await;
    assert!(applied.created.is_empty(), "{:?}", applied.created);
    let record = Record::read(rig.folder.path()).unwrap();
    let known = purposes(&config(TWO));
    assert!(known.iter().all(|purpose| record.id_of(purpose).is_some()));
}

#[tokio::test]
async fn a_lost_answer_is_looked_for_before_it_is_tried_again() {
    let rig = Rig::start().await;
    let plan = rig.plan(TWO).await;
    let spec: FaultSpec = serde_json::from_value(json!({
        "fault": "http_status", "operation": "management", "status": 502, "count": 1,
    }))
    .unwrap();
    rig.emulator
        .with_model(|model, now_ms| model.inject(now_ms, spec))
        .unwrap();
    let mut ledger = rig.ledger();
    let applied = carry_out(&rig.account, &plan, &mut ledger, Extent::Missing).await;
    drop(ledger);
    // The first was refused by a 502: whether it was made is open, and it was not.
    assert_eq!((applied.created.len(), applied.failures.len()), (1, 1));
    let failure = format!("{} {}", applied.failures[0], applied.failures[0].cause);
    assert!(failure.contains("the answer was lost"), "{failure}");
    let applied = rig.all(TWO).await;
    assert_eq!(applied.created.len(), 1);
    assert_eq!(rig.seen().await.len(), 2);
}

#[tokio::test]
async fn an_endpoint_with_jobs_is_paused_and_left() {
    let rig = Rig::start().await;
    rig.all(TWO).await;
    let id = rig.seen().await[1].id.clone();
    let up = UpdateEndpoint::of_workers(WorkerLimits {
        max: Some(1),
        ..WorkerLimits::default()
    });
    rig.account.management.update(&id, &up).await.unwrap();
    let job = br#"{"input":{"seconds":60}}"#.as_slice().into();
    rig.account.data_plane.submit(&id, job, None).await.unwrap();
    let less = TWO.replace(", \"A40\"", "");
    let applied = rig.all(&less).await;
    assert_eq!(applied.left, [(id.clone(), 1)]);
    assert_eq!(rig.seen().await[1].workers.max, Some(0), "paused");
    let applied = rig.apply(&less, Extent::All { force: true }).await;
    assert_eq!(applied.removed, [id]);
}

#[tokio::test]
async fn one_that_somebody_removed_is_made_again() {
    let rig = Rig::start().await;
    rig.all(TWO).await;
    let gone = rig.seen().await[0].id.clone();
    rig.account.management.delete(&gone).await.unwrap();
    let applied = rig.apply(TWO, Extent::Missing).await;
    assert_eq!(applied.created.len(), 1);
    let record = Record::read(rig.folder.path()).unwrap();
    let wanted = &applied.created[0].0.purpose;
    assert_eq!(record.id_of(wanted), Some(applied.created[0].1.as_str()));
}

#[tokio::test]
async fn f38_orphans_of_a_lost_installation_go_and_nothing_of_others() {
    let rig = Rig::start().await;
    rig.all(TWO).await;
    // The data folder is gone: a new id, and no memory.
    let now = Account {
        installation: "ovs-ffffffffffffffff".into(),
        ..rig.account.clone()
    };
    let stranger = json!({
        "name": "my own", "type": "QUEUE", "image": "i",
        "gpu": {"pools": ["ADA_24"], "count": 1},
        "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4},
    });
    let stranger = serde_json::from_value(stranger).unwrap();
    let stranger = now.management.create(&stranger).await.unwrap();
    let made = |lost: &[&str]| {
        let lost: BTreeSet<String> = lost.iter().map(|&id| id.to_owned()).collect();
        let (now, purposes) = (now.clone(), purposes(&config(TWO)));
        async move {
            let seen = now.management.list().await.unwrap();
            sort(&now.installation, &lost, &purposes, &seen)
        }
    };
    let listed = made(&[]).await;
    assert!(listed.iter().all(|made| made.fate == Fate::Others));
    assert_eq!(listed.len(), 2);
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(folder.path()).unwrap();
    let reaped = reap(&now, &made(&[]).await, &mut ledger, false).await;
    assert!(reaped.removed.is_empty());
    let reaped = reap(&now, &made(&[OURS]).await, &mut ledger, false).await;
    assert_eq!(reaped.removed.len(), 2);
    let left: Vec<String> = rig.seen().await.into_iter().map(|e| e.id).collect();
    assert_eq!(left, [stranger.id]);
}
