//! A real keeper over real processes, with the test itself as the serving process: a small
//! Python program joins the inherited control socket to the test by TCP.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use overspill::keeper::protocol::{Notice, SpawnOrder};
use overspill::keeper::{KeeperClient, KeeperOptions};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// Longer than anything here takes, even on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) const PROGRAM: &str = env!("CARGO_BIN_EXE_overspill");

pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(PATIENCE, future).await;
    result.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

/// Where processes under test report to.
pub(super) struct Hub {
    pub(super) port: u16,
    joined: mpsc::Receiver<Process>,
    passed_over: VecDeque<Process>,
    _folder: TempDir,
    pub(super) folder: std::path::PathBuf,
}

/// A process that holds a connection to the test as long as it lives.
pub(super) struct Process {
    pub(super) words: Vec<String>,
    pub(super) connection: BufReader<TcpStream>,
}

impl Process {
    pub(super) fn pid(&self) -> i32 {
        self.words[1].parse().unwrap()
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Waits for the end of the process.
    pub(super) async fn death(&mut self) {
        let what = format!("the death of {}", self.words[0]);
        let mut rest = Vec::new();
        // A killed process with unread data resets its connection; both say that it is gone.
        let _ = soon(&what, self.connection.read_to_end(&mut rest)).await;
    }
}

impl Hub {
    pub(super) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, joined) = mpsc::channel(100);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let mut connection = BufReader::new(stream);
                let mut line = String::new();
                // A process may be killed before it said its name.
                if connection.read_line(&mut line).await.is_ok() && line.ends_with('\n') {
                    let words = line
                        .split_ascii_whitespace()
                        .map(ToOwned::to_owned)
                        .collect();
                    let _ = sender.send(Process { words, connection }).await;
                }
            }
        });
        let folder = TempDir::new().unwrap();
        let path = folder.path().to_owned();
        Self {
            port,
            joined,
            passed_over: VecDeque::new(),
            _folder: folder,
            folder: path,
        }
    }

    /// The next process of this name.
    pub(super) async fn process(&mut self, name: &str) -> Process {
        let found = self
            .passed_over
            .iter()
            .position(|process| process.words[0] == name);
        if let Some(index) = found {
            return self.passed_over.remove(index).unwrap();
        }
        loop {
            let process = soon(name, self.joined.recv()).await.unwrap();
            if process.words[0] == name {
                return process;
            }
            self.passed_over.push_back(process);
        }
    }

    /// An order for `worker.py`.
    pub(super) fn worker(&self, name: &str, kind: &str) -> SpawnOrder {
        let script = script("worker.py");
        self.command(
            name,
            &[python(), &script, &self.port.to_string(), name, kind],
        )
    }

    pub(super) fn command(&self, name: &str, command: &[&str]) -> SpawnOrder {
        SpawnOrder {
            worker: name.to_owned(),
            command: command.iter().map(ToString::to_string).collect(),
            dir: self.folder.clone(),
            env: BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap())]),
            log: self.folder.join(format!("logs/{name}.log")),
        }
    }
}

/// A keeper process.
pub(super) struct Keeper {
    pub(super) child: Child,
}

/// The serving process that the test plays.
pub(super) struct Serving {
    pub(super) client: KeeperClient,
    pub(super) notices: mpsc::Receiver<Notice>,
    pub(super) puppet: Process,
    /// The port of the keeper's listening socket.
    pub(super) port: u16,
}

impl Keeper {
    pub(super) fn options(hub: &Hub) -> KeeperOptions {
        let serving = [
            python().into(),
            script("serving.py").into(),
            hub.port.to_string().into(),
        ];
        KeeperOptions {
            listen: "127.0.0.1:0".parse().unwrap(),
            data_dir: hub.folder.join("data"),
            installation: format!("test-{}-{}", std::process::id(), hub.port),
            program: PROGRAM.into(),
            serving: serving.map(|word: OsString| word).into(),
        }
    }

    pub(super) fn start(hub: &Hub) -> Self {
        Self::run(&mut Self::options(hub).command())
    }

    pub(super) fn run(command: &mut Command) -> Self {
        Self {
            child: command.stderr(Stdio::piped()).spawn().unwrap(),
        }
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Waits for the end; the exit code and what it wrote.
    pub(super) async fn end(self) -> (Option<i32>, String) {
        let wait = tokio::task::spawn_blocking(|| self.into_child().wait_with_output());
        let output = soon("the keeper's end", wait).await.unwrap().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    fn into_child(mut self) -> Child {
        let nothing = Command::new("true").stderr(Stdio::null()).spawn().unwrap();
        std::mem::replace(&mut self.child, nothing)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Serving {
    /// Waits for the next serving process.
    pub(super) async fn next(hub: &mut Hub) -> Self {
        let puppet = hub.process("puppet").await;
        let wire = hub.process("wire").await;
        assert_eq!(puppet.words[1..], wire.words[1..]);
        let port = puppet.words[2].parse().unwrap();
        let (client, notices) = KeeperClient::over(wire.connection);
        Self {
            client,
            notices,
            puppet,
            port,
        }
    }

    pub(super) async fn notice(&mut self) -> Notice {
        soon("a notice", self.notices.recv()).await.unwrap()
    }

    /// The greeting, as the names of the living.
    pub(super) async fn greeting(&mut self) -> Vec<String> {
        match self.notice().await {
            Notice::Alive { workers } => workers.into_iter().map(|alive| alive.worker).collect(),
            other => panic!("the first notice is {other:?}"),
        }
    }

    pub(super) async fn spawn(&mut self, order: SpawnOrder) -> i32 {
        let name = order.worker.clone();
        self.client.spawn(order).unwrap();
        match self.notice().await {
            Notice::Spawned { worker, pid } if worker == name => pid,
            other => panic!("spawning answered {other:?}"),
        }
    }

    /// Kills the serving process; returns the port. The client goes first, as it would with its
    /// process: alive, it would take the closed connection for the keeper's death.
    pub(super) async fn die(mut self) -> u16 {
        drop(self.client);
        while soon("the client's end", self.notices.recv())
            .await
            .is_some()
        {}
        self.puppet.signal(Signal::SIGKILL);
        self.puppet.death().await;
        self.port
    }

    /// Tells the puppet what to do.
    pub(super) async fn tell(&mut self, words: &str) {
        let line = format!("{words}\n");
        self.puppet
            .connection
            .get_mut()
            .write_all(line.as_bytes())
            .await
            .unwrap();
    }
}

/// The real interpreter: a `python3` that is a shell script would add to the environment.
fn python() -> &'static str {
    static PATH: OnceLock<String> = OnceLock::new();
    PATH.get_or_init(|| {
        let print = ["-c", "import sys; print(sys.executable)"];
        let output = Command::new("python3")
            .args(print)
            .output()
            .expect("these tests use python3");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    })
}

pub(super) fn script(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keeper");
    folder.join(name).to_str().unwrap().to_owned()
}

/// True while any process of the group lives.
pub(super) fn group_lives(leader: i32) -> bool {
    nix::sys::signal::killpg(Pid::from_raw(leader), None).is_ok()
}
