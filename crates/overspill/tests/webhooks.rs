//! Webhooks out of an assembled server, to a real receiver.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use overspill_core::id::JobId;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::serving::Rig;

/// What a receiver got.
struct Got {
    head: String,
    body: String,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| *key == name).unwrap().1
    }

    fn verifies(&self, secret: &str) -> bool {
        let key = STANDARD.decode(&secret["whsec_".len()..]).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        let (id, at) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        mac.update(format!("{id}.{at}.{}", self.body).as_bytes());
        let wanted = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        self.header("webhook-signature")
            .split(' ')
            .any(|one| one == wanted)
    }
}

/// A receiver that gives these answers in turn, the last one for ever.
async fn receiver(answers: Vec<&'static str>) -> (u16, mpsc::UnboundedReceiver<Got>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, got) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut n = 0;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            let (head, body) = loop {
                let mut buffer = [0; 4_096];
                let read = stream.read(&mut buffer).await.unwrap();
                bytes.extend_from_slice(&buffer[..read]);
                let text = String::from_utf8_lossy(&bytes).into_owned();
                if let Some((head, body)) = text.split_once("\r\n\r\n") {
                    let length = head
                        .lines()
                        .find_map(|l| l.strip_prefix("content-length: "));
                    if body.len() == length.unwrap().parse::<usize>().unwrap() {
                        break (head.to_owned(), body.to_owned());
                    }
                }
                assert_ne!(read, 0, "cut off");
            };
            let answer = answers[n.min(answers.len() - 1)];
            n += 1;
            let text = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(text.as_bytes()).await.unwrap();
            let _ = sender.send(Got { head, body });
        }
    });
    (port, got)
}

async fn rig(port: u16) -> Rig {
    let allow = format!("[webhooks]\nallow = [\"127.0.0.1:{port}\"]\n");
    Rig::start(&format!("{allow}[[endpoint]]\nname = \"tts\"\n")).await
}

/// Submits a job that nobody runs, and cancels it.
async fn ends(rig: &Rig, webhook: &str) -> JobId {
    let (status, answer) = post(
        rig,
        "/v2/tts/run",
        &json!({ "input": {"a": 1}, "webhook": webhook }),
    )
    .await;
    assert_eq!(status, 200, "{answer}");
    let id = answer["id"].as_str().unwrap().to_owned();
    let (status, _) = post(rig, &format!("/v2/tts/cancel/{id}"), &json!({})).await;
    assert_eq!(status, 200);
    id.parse().unwrap()
}

async fn post(rig: &Rig, path: &str, body: &Value) -> (u16, Value) {
    let url = format!("http://{}{path}", rig.server.address());
    let request = rig.http.post(url).bearer_auth("a-key-of-the-users-own");
    let answer = request.json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn get(rig: &Rig, path: &str) -> Value {
    let url = format!("http://{}{path}", rig.server.address());
    let request = rig.http.get(url).bearer_auth("a-key-of-the-users-own");
    request.send().await.unwrap().json().await.unwrap()
}

async fn next(got: &mut mpsc::UnboundedReceiver<Got>) -> Got {
    let wait = Duration::from_secs(20);
    tokio::time::timeout(wait, got.recv())
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn f32_an_end_is_reported_signed_and_again_under_the_same_id() {
    let (port, mut got) = receiver(vec!["500 No", "204 Yes"]).await;
    let rig = rig(port).await;
    let url = format!("http://127.0.0.1:{port}/hook?a=b");
    let job = ends(&rig, &url).await;
    let first = next(&mut got).await;
    let second = next(&mut got).await;
    assert!(
        first.head.starts_with("POST /hook?a=b HTTP/1.1\r\n"),
        "{}",
        first.head
    );
    let body: Value = serde_json::from_str(&first.body).unwrap();
    let id = job.to_string();
    let expected = json!({ "id": id, "input": {"a": 1}, "status": "CANCELLED", "webhook": url });
    assert_eq!(body, expected);
    assert_eq!(first.body, second.body);
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    let secrets = get(&rig, "/api/v1/webhook-secrets/tts").await;
    let secret = secrets["secrets"][0].as_str().unwrap();
    assert!(first.verifies(secret) && second.verifies(secret));

    let (status, rotated) = post(&rig, "/api/v1/webhook-secrets/tts/rotate", &json!({})).await;
    assert_eq!((status, &rotated["secrets"][1]), (200, &json!(secret)));
    // Once what became of it is written, it can be sent again.
    let path = format!("/api/v1/webhooks/{id}/replay");
    let replay = async {
        while post(&rig, &path, &json!({})).await.0 == 409 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), replay)
        .await
        .unwrap();
    let third = next(&mut got).await;
    assert_eq!(first.header("webhook-id"), third.header("webhook-id"));
    assert!(third.verifies(secret), "the old secret signs too");
    assert!(third.verifies(rotated["secrets"][0].as_str().unwrap()));
    let shown = get(&rig, &format!("/api/v1/webhooks/{id}")).await;
    assert_eq!(shown["id"], third.header("webhook-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn f30_a_redirect_is_a_failure_and_410_the_end() {
    let (decoy, mut seen) = receiver(vec!["200 OK"]).await;
    let (port, mut got) = receiver(vec!["410 Gone"]).await;
    let rig = rig(port).await;
    let job = ends(&rig, &format!("http://127.0.0.1:{port}/")).await;
    next(&mut got).await;
    let dead = async {
        loop {
            let shown = get(&rig, &format!("/api/v1/webhooks/{job}")).await;
            if shown["state"] == "dead" {
                return shown;
            }
        }
    };
    let dead = tokio::time::timeout(Duration::from_secs(20), dead)
        .await
        .unwrap();
    assert_eq!(dead["status"], 410);
    let list = get(&rig, "/api/v1/webhooks?state=dead&endpoint=tts").await;
    assert_eq!(list["webhooks"].as_array().unwrap().len(), 1);

    // F31: a door that is shut, and says what opens it.
    for host in [
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "localhost",
    ] {
        let webhook = format!("http://{host}:{decoy}/");
        let body = json!({ "input": {}, "webhook": webhook });
        let (status, answer) = post(&rig, "/v2/tts/run", &body).await;
        assert_eq!(
            (status, &answer["code"]),
            (400, &json!("webhook_forbidden_address")),
            "{host}"
        );
        let hint = answer["hint"].as_str().unwrap();
        assert!(hint.contains("[webhooks] allow = ["), "{hint}");
    }
    assert!(seen.try_recv().is_err(), "nothing came to the decoy");
}
