//! The keeper over real processes: what lives and dies with what, and what is told of it.

mod rig;

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use overspill::keeper::protocol::{Notice, WorkerSignal};
use overspill::keeper::{DirectHost, ProcessHost};
use overspill::pool::local::process::{WorkerIdentity, worker_environment};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use rig::{Hub, Keeper, PROGRAM, Serving, group_lives, soon};

async fn started() -> (Hub, Keeper, Serving) {
    let mut hub = Hub::new().await;
    let keeper = Keeper::start(&hub);
    let mut serving = Serving::next(&mut hub).await;
    assert_eq!(serving.greeting().await, [""; 0]);
    (hub, keeper, serving)
}

#[tokio::test]
async fn a_killed_workers_heartbeat_dies_with_it() {
    let (mut hub, _keeper, mut serving) = started().await;
    let pid = serving.spawn(hub.worker("w", "group")).await;
    let main = hub.process("main-w").await;
    let mut child = hub.process("child-w").await;
    assert_eq!(main.pid(), pid);
    let killed = Instant::now();
    main.signal(Signal::SIGKILL);
    let notice = serving.notice().await;
    let worker = "w".to_owned();
    let expected = Notice::Exited {
        worker,
        pid,
        code: None,
        signal: Some(9),
        stuck: Vec::new(),
    };
    assert_eq!(notice, expected);
    assert!(!group_lives(pid), "told before the group was gone");
    child.death().await;
    assert!(
        killed.elapsed() < Duration::from_secs(2),
        "took {:?}",
        killed.elapsed()
    );
}

#[tokio::test]
async fn a_process_that_left_its_group_dies_with_the_worker_too() {
    let (mut hub, _keeper, mut serving) = started().await;
    serving.spawn(hub.worker("w", "stray")).await;
    let main = hub.process("main-w").await;
    let mut child = hub.process("child-w").await;
    main.signal(Signal::SIGKILL);
    assert!(matches!(serving.notice().await, Notice::Exited { .. }));
    child.death().await;
}

#[tokio::test]
async fn term_is_for_the_main_process_and_kill_for_all() {
    let (mut hub, _keeper, mut serving) = started().await;
    serving.spawn(hub.worker("w", "group")).await;
    hub.process("main-w").await;
    hub.process("child-w").await;
    serving.client.signal("w", WorkerSignal::Term).unwrap();
    assert!(matches!(
        serving.notice().await,
        Notice::Exited {
            signal: Some(15),
            ..
        }
    ));
    serving.spawn(hub.worker("x", "group")).await;
    serving.client.signal("x", WorkerSignal::Kill).unwrap();
    assert!(matches!(
        serving.notice().await,
        Notice::Exited {
            signal: Some(9),
            ..
        }
    ));
    serving.client.signal("nobody", WorkerSignal::Kill).unwrap();
    assert_eq!(serving.client.alive().await.unwrap(), []);
}

#[tokio::test]
async fn all_that_the_keeper_started_dies_with_it() {
    let (mut hub, keeper, mut serving) = started().await;
    serving.spawn(hub.worker("w", "group")).await;
    let mut main = hub.process("main-w").await;
    let mut child = hub.process("child-w").await;
    keeper.signal(Signal::SIGKILL);
    main.death().await;
    child.death().await;
    serving.puppet.death().await;
    assert_eq!(serving.notice().await, Notice::KeeperDied);
    soon("the lock to be free", async {
        drop(keeper);
        let keeper = Keeper::start(&hub);
        Serving::next(&mut hub).await.greeting().await;
        drop(keeper);
    })
    .await;
}

#[tokio::test]
async fn a_new_keeper_removes_what_an_old_one_left() {
    let (mut hub, keeper, mut serving) = started().await;
    serving.spawn(hub.worker("w", "group")).await;
    let mut main = hub.process("main-w").await;
    let mut child = hub.process("child-w").await;
    // A serving process that hangs does not see that its keeper is gone.
    serving.puppet.signal(Signal::SIGSTOP);
    keeper.signal(Signal::SIGKILL);
    main.death().await;
    let group = main.pid();
    assert!(
        group_lives(group),
        "the child should have outlived its parent"
    );
    drop(keeper);
    let _keeper = Keeper::start(&hub);
    child.death().await;
    serving.puppet.death().await;
    assert_eq!(Serving::next(&mut hub).await.greeting().await, [""; 0]);
}

#[tokio::test]
async fn workers_and_connections_outlive_the_serving_process() {
    let (mut hub, _keeper, mut serving) = started().await;
    let pid = serving.spawn(hub.worker("w", "group")).await;
    let main = hub.process("main-w").await;
    serving.client.ready().unwrap();
    assert_eq!(serving.client.alive().await.unwrap().len(), 1);
    let old = serving.puppet.pid();
    let port = serving.die().await;
    // Nobody accepts now: the next serving process waits until it is told to.
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    client.write_all(b"result").await.unwrap();

    let mut next = Serving::next(&mut hub).await;
    assert_eq!(next.port, port);
    assert_ne!(next.puppet.pid(), old);
    assert_eq!(next.greeting().await, ["w"]);
    next.tell("answer").await;
    let mut answer = String::new();
    soon("an answer", client.read_to_string(&mut answer))
        .await
        .unwrap();
    assert_eq!(answer, "got result");

    main.signal(Signal::SIGTERM);
    assert!(matches!(next.notice().await, Notice::Exited { pid: ended, .. } if ended == pid));
}

#[tokio::test]
async fn an_exit_that_nobody_heard_of_is_told_to_the_next() {
    let (mut hub, _keeper, mut serving) = started().await;
    serving
        .spawn(hub.command("w", &["sh", "-c", "read line <&3; exit 7"]))
        .await;
    // `sh` fails at once for want of descriptor 3, and this serving process never says `Ready`.
    assert!(matches!(serving.notice().await, Notice::Exited { .. }));
    serving.die().await;
    let mut next = Serving::next(&mut hub).await;
    assert_eq!(next.greeting().await, [""; 0]);
    assert!(matches!(next.notice().await, Notice::Exited { worker, .. } if worker == "w"));
    // Once it has said that it is ready, the keeper keeps nothing for it.
    next.client.ready().unwrap();
    assert_eq!(next.client.alive().await.unwrap(), []);
    next.die().await;
    let mut third = Serving::next(&mut hub).await;
    assert_eq!(third.greeting().await, [""; 0]);
    assert_eq!(third.client.alive().await.unwrap(), []);
    assert!(third.notices.try_recv().is_err());
}

#[tokio::test]
async fn a_code_that_means_stop_ends_the_keeper_and_its_workers() {
    for code in [0, 78] {
        let (mut hub, keeper, mut serving) = started().await;
        serving.spawn(hub.worker("w", "group")).await;
        let mut main = hub.process("main-w").await;
        let mut child = hub.process("child-w").await;
        serving.tell(&format!("exit {code}")).await;
        main.death().await;
        child.death().await;
        assert_eq!(keeper.end().await.0, Some(code));
    }
}

#[tokio::test]
async fn other_codes_bring_another_serving_process_later_each_time() {
    let (mut hub, _keeper, mut serving) = started().await;
    let mut pauses = Vec::new();
    for _ in 0..4 {
        serving.tell("exit 101").await;
        serving.puppet.death().await;
        let died = Instant::now();
        serving = Serving::next(&mut hub).await;
        pauses.push(died.elapsed());
    }
    // 50, 100, 200, 400 ms; starting the process comes on top.
    assert!(pauses[3] >= Duration::from_millis(400), "{pauses:?}");
}

#[tokio::test]
async fn storage_failures_are_passed_on_after_three_restarts() {
    let (mut hub, keeper, mut serving) = started().await;
    for _ in 0..3 {
        serving.tell("exit 74").await;
        serving = Serving::next(&mut hub).await;
    }
    serving.tell("exit 74").await;
    assert_eq!(keeper.end().await.0, Some(74));
}

#[tokio::test]
async fn signals_are_passed_on_as_words() {
    let (_hub, keeper, mut serving) = started().await;
    keeper.signal(Signal::SIGHUP);
    assert_eq!(serving.notice().await, Notice::Reload);
    keeper.signal(Signal::SIGUSR2);
    assert_eq!(serving.notice().await, Notice::Restart);
    keeper.signal(Signal::SIGTERM);
    assert_eq!(serving.notice().await, Notice::Stop);
    // A serving process that fails while it stops is not started again.
    serving.tell("exit 3").await;
    assert_eq!(keeper.end().await.0, Some(3));
}

#[tokio::test]
async fn a_second_interrupt_ends_everything_at_once() {
    let (mut hub, keeper, mut serving) = started().await;
    serving.spawn(hub.worker("w", "group")).await;
    let mut child = hub.process("child-w").await;
    keeper.signal(Signal::SIGINT);
    assert_eq!(serving.notice().await, Notice::Stop);
    keeper.signal(Signal::SIGINT);
    child.death().await;
    assert_eq!(keeper.end().await.0, Some(130));
}

#[tokio::test]
async fn a_second_keeper_on_the_same_data_is_told_of_the_first() {
    let (hub, keeper, _serving) = started().await;
    let (code, text) = Keeper::start(&hub).end().await;
    assert_eq!(code, Some(69));
    assert!(
        text.contains(&format!("process {} on host ", keeper.child.id())),
        "{text}"
    );
    assert!(
        text.contains(hub.folder.join("data").to_str().unwrap()),
        "{text}"
    );
}

#[tokio::test]
async fn a_busy_address_is_refused_before_anything_starts() {
    let hub = Hub::new().await;
    let mut options = Keeper::options(&hub);
    options.listen.set_port(hub.port);
    let (code, text) = Keeper::run(&mut options.command()).end().await;
    assert_eq!(code, Some(69));
    assert!(
        text.contains(&format!("process {} (", std::process::id())),
        "{text}"
    );
}

#[tokio::test]
async fn a_worker_gets_its_environment_and_nothing_else() {
    let (mut hub, _keeper, mut serving) = started().await;
    let mut order = hub.worker("w", "group");
    order.env.insert("MARK".into(), "a b".into());
    let pid = serving.spawn(order).await;
    hub.process("main-w").await;
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let mut names: Vec<_> = environment
        .split(|byte| *byte == 0)
        .filter(|variable| !variable.is_empty())
        .map(|variable| String::from_utf8_lossy(variable.split(|b| *b == b'=').next().unwrap()))
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["MARK", "OVERSPILL_INSTALLATION", "OVERSPILL_WORKER", "PATH"]
    );
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    assert!(status.contains("SigBlk:\t0000000000000000"), "{status}");
    // The only socket is its own connection to the test: none of the keeper's leaked.
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let sockets = descriptors
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("socket:"));
    assert_eq!(sockets.count(), 1);
    serving.client.signal("w", WorkerSignal::Kill).unwrap();
    assert!(matches!(serving.notice().await, Notice::Exited { .. }));
    let log = fs::read_to_string(hub.folder.join("logs/w.log")).unwrap();
    assert!(log.contains("hello from w"), "{log}");
}

#[tokio::test]
async fn what_cannot_be_spawned_is_explained() {
    let (hub, _keeper, mut serving) = started().await;
    serving
        .client
        .spawn(hub.command("w", &["no-such-program"]))
        .unwrap();
    let notice = serving.notice().await;
    let Notice::SpawnFailed { worker, reason } = notice else {
        panic!("{notice:?}")
    };
    assert_eq!(worker, "w");
    assert!(reason.contains("no-such-program"), "{reason}");
    serving.spawn(hub.command("x", &["sleep", "1000"])).await;
    serving
        .client
        .spawn(hub.command("x", &["sleep", "1000"]))
        .unwrap();
    assert!(matches!(serving.notice().await, Notice::SpawnFailed { .. }));
}

#[tokio::test]
async fn the_keeper_is_small() {
    let (_hub, keeper, _serving) = started().await;
    let status = fs::read_to_string(format!("/proc/{}/status", keeper.child.id())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_ascii_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    assert_eq!(field("Threads:"), 1);
    // Kilobytes of memory of its own; the program's text is shared with the serving process.
    assert!(field("RssAnon:") < 4_000, "{status}");
}

#[tokio::test]
async fn without_a_keeper_groups_die_the_same_way() {
    let mut hub = Hub::new().await;
    let (direct, mut notices) = DirectHost::new("test-direct", Some(PROGRAM.into()));
    let host = ProcessHost::Direct(direct);
    host.spawn(hub.worker("w", "group")).unwrap();
    let notice = soon("the start", notices.recv()).await.unwrap();
    let Notice::Spawned { pid, .. } = notice else {
        panic!("{notice:?}")
    };
    let mut child = hub.process("child-w").await;
    hub.process("main-w").await;
    assert_eq!(host.alive().await.unwrap().len(), 1);
    host.signal("w", WorkerSignal::Term).unwrap();
    let notice = soon("the end", notices.recv()).await.unwrap();
    assert!(
        matches!(
            notice,
            Notice::Exited {
                signal: Some(15),
                ..
            }
        ),
        "{notice:?}"
    );
    assert!(!group_lives(pid));
    child.death().await;
    assert_eq!(host.alive().await.unwrap(), []);

    host.spawn(hub.worker("x", "group")).unwrap();
    let mut main = hub.process("main-x").await;
    let mut child = hub.process("child-x").await;
    drop(host);
    main.death().await;
    child.death().await;
}

/// With the real RunPod SDK: a job that finishes while no serving process accepts is not lost.
#[tokio::test]
async fn a_result_posted_while_nobody_serves_is_delivered_once() {
    let Ok(python) = std::env::var("OVERSPILL_E2E_PYTHON") else {
        eprintln!("skipped: set OVERSPILL_E2E_PYTHON to a Python that has the package `runpod`");
        return;
    };
    let (mut hub, _keeper, mut serving) = started().await;
    let taken = hub.folder.join("taken").to_str().unwrap().to_owned();
    serving.tell(&format!("serve {taken}")).await;
    let identity = WorkerIdentity {
        server: &format!("http://127.0.0.1:{}", serving.port),
        endpoint: "tts",
        worker: "w",
        key: "key",
        gpu: "none",
        cuda_device: None,
        host: "box",
        ping_interval_ms: 1000,
    };
    let mut order = hub.command("w", &[&python, &rig::script("sdk_worker.py")]);
    let added = BTreeMap::from([("TEST_PORT".to_owned(), hub.port.to_string())]);
    order.env = worker_environment(&identity, std::env::vars(), &[], &added).unwrap();
    let pid = serving.spawn(order).await;
    let mut handler = hub.process("handler").await;
    assert_eq!(handler.pid(), pid);

    serving.die().await;
    let mut next = Serving::next(&mut hub).await;
    assert_eq!(next.greeting().await, ["w"]);
    handler.connection.get_mut().write_all(b"!").await.unwrap();
    hub.process("posted").await;
    next.tell(&format!("serve {taken}")).await;
    let mut result = String::new();
    soon("the result", next.puppet.connection.read_line(&mut result))
        .await
        .unwrap();
    assert!(
        result.starts_with("/v2/tts/job-done/w/job?gpu=none&isStream=false "),
        "{result}"
    );
    assert!(
        result.trim_end().ends_with(r#"{"output": {"n": 2}}"#),
        "{result}"
    );
}
