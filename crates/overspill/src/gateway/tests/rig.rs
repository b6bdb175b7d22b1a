//! A gateway on a port of its own before the fake engine, and a client that shows every byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use overspill_core::id::WorkerId;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::fake::Fake;
use crate::auth::key_text::KeyKind;
use crate::auth::keys::{self, NewKey};
use crate::auth::scope::{Scope, Scopes};
use crate::auth::worker_key;
use crate::engine::api::Engine;
use crate::gateway::{Gateway, GatewayOptions, Holds, server};

/// See the module.
pub(super) struct Rig {
    pub(super) fake: Arc<Fake>,
    pub(super) address: SocketAddr,
    pub(super) key: String,
    pub(super) stop: CancellationToken,
    pub(super) server: Option<JoinHandle<std::io::Result<()>>>,
}

/// One answer.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answered {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// A field of the body, as text.
    pub(super) fn field(&self, name: &str) -> String {
        match &self.json()[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

impl Rig {
    pub(super) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut GatewayOptions)) -> Self {
        let fake = Fake::new();
        let millis = Duration::from_millis;
        let mut options = GatewayOptions {
            installation: "this-one".into(),
            holds: Holds {
                worker_error: millis(300),
                worker_stopping: millis(100),
                body: millis(300),
                headers: millis(300),
                drain: millis(2_000),
                ..Holds::default()
            },
            ..GatewayOptions::default()
        };
        change(&mut options);
        let engine: Arc<dyn Engine> = fake.clone();
        let gateway = Gateway::new(engine, options);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = tokio::spawn(server::serve(gateway, listener, stop.clone()));
        let mut rig = Self {
            fake,
            address,
            key: String::new(),
            stop,
            server: Some(server),
        };
        rig.key = rig.mint(Scopes::ADMIN, None).await;
        rig
    }

    /// A key with these scopes.
    pub(super) async fn mint(&self, scopes: Scopes, endpoints: Option<Vec<String>>) -> String {
        let new = NewKey {
            name: "test".into(),
            kind: KeyKind::User,
            scopes,
            endpoints,
            expires_at: None,
        };
        let fake = &self.fake;
        let (record, text) = keys::mint(fake.server_secret(), new, fake.now());
        fake.put_key(record).await.unwrap();
        text
    }

    pub(super) async fn mint_scope(&self, scope: Scope) -> String {
        self.mint([scope].into_iter().collect(), None).await
    }

    /// Sends bytes, and reads one answer.
    pub(super) async fn raw(&self, request: &[u8]) -> Answered {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(request).await;
        read_answer(&mut stream).await.expect("an answer")
    }

    /// A request with these headers beside `Host`.
    pub(super) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answered {
        self.raw(&self.request(method, path, headers, body)).await
    }

    pub(super) fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Vec<u8> {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.key)
    }

    pub(super) async fn get(&self, path: &str) -> Answered {
        self.send("GET", path, &[("Authorization", &self.bearer())], b"")
            .await
    }

    pub(super) async fn post(&self, path: &str, body: &str) -> Answered {
        self.post_bytes(path, body.as_bytes()).await
    }

    pub(super) async fn post_bytes(&self, path: &str, body: &[u8]) -> Answered {
        self.send("POST", path, &[("Authorization", &self.bearer())], body)
            .await
    }

    /// Submits a job to `tts` and gives its id.
    pub(super) async fn submit(&self, input: &str) -> String {
        let answer = self
            .post("/v2/tts/run", &format!("{{\"input\":{input}}}"))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.field("id")
    }

    /// The first worker of `tts`.
    pub(super) fn worker(&self) -> Worker<'_> {
        self.worker_of("tts", 0)
    }

    pub(super) fn worker_of(&self, endpoint: &str, index: usize) -> Worker<'_> {
        let id = self.fake.workers(endpoint)[index];
        Worker {
            rig: self,
            endpoint: endpoint.into(),
            id,
            key: worker_key::of(self.fake.server_secret(), id),
        }
    }
}

/// A worker as RunPod's SDK is one.
pub(super) struct Worker<'a> {
    pub(super) rig: &'a Rig,
    pub(super) endpoint: String,
    pub(super) id: WorkerId,
    pub(super) key: String,
}

/// As the SDK names itself.
pub(super) const SDK_AGENT: &str =
    "RunPod-Python-SDK/1.12.0 (Linux 6; x86_64) Language/Python 3.11";

impl Worker<'_> {
    pub(super) fn path(&self, verb: &str, rest: &str) -> String {
        format!("/v2/{}/{verb}/{}{rest}", self.endpoint, self.id)
    }

    pub(super) async fn get(&self, path: &str) -> Answered {
        let headers = [
            ("Authorization", self.key.as_str()),
            ("User-Agent", SDK_AGENT),
        ];
        self.rig.send("GET", path, &headers, b"").await
    }

    /// Takes one job.
    pub(super) async fn take(&self) -> Answered {
        self.get(&self.path("job-take", "?gpu=NVIDIA+L4&job_in_progress=0"))
            .await
    }

    /// Posts as the SDK does: raw JSON under a form's content type.
    pub(super) async fn post(&self, verb: &str, job: &str, body: &[u8]) -> Answered {
        let path = self.path(verb, &format!("/{job}?gpu=NVIDIA+L4&isStream=false"));
        let headers = [
            ("Authorization", self.key.as_str()),
            ("User-Agent", SDK_AGENT),
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("charset", "utf-8"),
            ("X-Request-ID", "some-earlier-job"),
        ];
        self.rig.send("POST", &path, &headers, body).await
    }

    pub(super) async fn done(&self, job: &str, body: &str) -> Answered {
        self.post("job-done", job, body.as_bytes()).await
    }
}

/// Reads one answer; `None` when the connection ends before its first byte.
pub(super) async fn read_answer(stream: &mut TcpStream) -> Option<Answered> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = find(&bytes, b"\r\n\r\n") {
            break end + 4;
        }
        let mut piece = vec![0; 8_192];
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend_from_slice(&piece[..n]),
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let mut answer = Answered {
        status,
        headers,
        body: Vec::new(),
    };
    let length = answer
        .header("content-length")
        .map(|length| length.parse::<usize>().unwrap());
    let mut rest = bytes[head_end..].to_vec();
    let is_chunked = answer.header("transfer-encoding").is_some();
    loop {
        let is_whole = match length {
            Some(length) => rest.len() >= length,
            None if is_chunked => rest.ends_with(b"0\r\n\r\n"),
            None => true,
        };
        if is_whole {
            break;
        }
        let mut piece = vec![0; 65_536];
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => break,
            Ok(n) => rest.extend_from_slice(&piece[..n]),
        }
    }
    answer.body = if is_chunked { unchunked(&rest) } else { rest };
    Some(answer)
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = find(bytes, b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        out.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 4 + size..];
    }
    out
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
