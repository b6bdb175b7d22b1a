//! Requests on their way to the server, and answers on their way back.
//!
//! Each request has a connection of its own, as workers of RunPod's SDK have. While nobody serves, it waits in the
//! keeper's socket, and is heard even if whoever sent it has gone since.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::oneshot;

use super::faults::Fault;
use super::scene::{Scene, pause};
use crate::gateway::delivery::Owed;
use crate::gateway::server::{self, Peer};

/// Bytes on their way in one direction at most.
const BUFFER: usize = 64 << 10;
/// Where the server thinks it is.
const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 80);

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// A field of the body that is text.
    pub(super) fn text(&self, field: &str) -> Option<String> {
        self.json().get(field)?.as_str().map(str::to_owned)
    }
}

/// No answer came: nobody knows what became of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoAnswer;

/// Who asks, and with which key.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) name: String,
    pub(super) headers: String,
    /// Waits for an answer this long.
    pub(super) patience: Duration,
}

impl Caller {
    /// One request and its answer.
    pub(super) async fn ask(
        &self,
        scene: &Arc<Scene>,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<Answer, NoAnswer> {
        self.ask_with(scene, method, path, "", body).await
    }

    /// The same, with further headers.
    pub(super) async fn ask_with(
        &self,
        scene: &Arc<Scene>,
        method: &str,
        path: &str,
        more: &str,
        body: &str,
    ) -> Result<Answer, NoAnswer> {
        let length = body.len();
        let headers = &self.headers;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}{more}\
             Content-Length: {length}\r\n\r\n{body}"
        );
        let (told, answer) = oneshot::channel();
        tokio::spawn(travel(Arc::clone(scene), request.into_bytes(), told));
        let answer = tokio::time::timeout(self.patience, answer).await;
        let answer = answer.ok().and_then(Result::ok).ok_or(NoAnswer);
        let word = answer.as_ref().map_or(0, |answer| answer.status);
        scene.note(&format!("{} {method} {path}: {word}", self.name));
        answer
    }
}

/// A request's way, and its answer's.
async fn travel(scene: Arc<Scene>, request: Vec<u8>, mut told: oneshot::Sender<Answer>) {
    let mut rng = scene.rng();
    pause(&mut rng, 0, 5).await;
    if scene.strikes(Fault::RequestSlow) {
        pause(&mut rng, 500, 20_000).await;
    }
    if scene.strikes(Fault::RequestLost) {
        // Its sender waits for nothing.
        told.closed().await;
        return;
    }
    let doubled = scene
        .strikes(Fault::RequestDoubled)
        .then(|| request.clone());
    let cut = scene.strikes(Fault::RequestCut);
    let mut stream = connect(&scene).await;
    if cut {
        let length = rng.random_range(1..request.len());
        let _ = stream.write_all(&request[..length]).await;
        pause(&mut rng, 0, 50).await;
        return;
    }
    if stream.write_all(&request).await.is_err() {
        return;
    }
    if let Some(request) = doubled {
        let scene = Arc::clone(&scene);
        tokio::spawn(async move {
            pause(&mut rng, 0, 3_000).await;
            let mut stream = connect(&scene).await;
            if stream.write_all(&request).await.is_ok() {
                let mut unread = Vec::new();
                let _ = stream.read_to_end(&mut unread).await;
            }
        });
    } else if scene.strikes(Fault::ConnectionReset) {
        pause(&mut rng, 0, 200).await;
        return;
    }
    let mut bytes = Vec::new();
    tokio::select! {
        biased;
        read = stream.read_to_end(&mut bytes) => if read.is_err() { return },
        // Its sender is gone, and the connection with it.
        () = told.closed() => return,
    }
    if scene.strikes(Fault::AnswerLost) || scene.strikes(Fault::AnswerCut) {
        return;
    }
    if let Some(answer) = parse(&bytes) {
        let _ = told.send(answer);
    }
}

impl server::Abort for DuplexStream {
    fn abort(&self) {
        // Both ends forget what is left when one of them is dropped.
    }
}

/// A connection to whoever serves, as soon as somebody does.
async fn connect(scene: &Arc<Scene>) -> DuplexStream {
    loop {
        let is_up = scene.is_up.notified();
        tokio::pin!(is_up);
        is_up.as_mut().enable();
        if let Some(serving) = scene.serving().as_mut() {
            let (ours, theirs) = tokio::io::duplex(BUFFER);
            let peer = Peer {
                local: SERVER,
                remote: SERVER,
                owed: Arc::new(Owed::default()),
            };
            let gateway = Arc::clone(&serving.gateway);
            let served = server::serve_stream(gateway, theirs, peer);
            serving.connections.spawn(served);
            while serving.connections.try_join_next().is_some() {}
            return ours;
        }
        is_up.await;
    }
}

/// A whole answer; none of one that broke off.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let rest = &bytes[end..];
    let body = if header("transfer-encoding").is_some() {
        unchunked(rest)?
    } else {
        let length = header("content-length").map_or(Some(0), |text| text.parse().ok())?;
        rest.get(..length)?.to_vec()
    };
    Some(Answer { status, body })
}

fn unchunked(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[..end]).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(bytes.get(end + 2..end + 2 + size)?);
        bytes = bytes.get(end + 4 + size..)?;
    }
}

#[test]
fn an_answer_is_whole_or_none() {
    let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(parse(plain).unwrap().body, b"{}");
    assert!(parse(&plain[..plain.len() - 1]).is_none());
    let chunked = b"HTTP/1.1 409 Conflict\r\ntransfer-encoding: chunked\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n";
    let answer = parse(chunked).unwrap();
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (409, &b"[1,2]"[..])
    );
    assert!(parse(&chunked[..chunked.len() - 8]).is_none());
}
