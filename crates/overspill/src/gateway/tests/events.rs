//! A page of the user's own follows one job, by a token for it.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::rig::{Answered, Rig};
use crate::auth::job_token::JobToken;
use crate::auth::scope::{Scope, Scopes};
use crate::engine::api::Engine as _;
use crate::gateway::host::HostRules;
use overspill_core::time::Timestamp;

const APP: &str = "https://app.example";

async fn rig() -> Rig {
    Rig::with(|options| {
        options.hosts = HostRules::new([]).with_origins([APP.to_owned()]);
    })
    .await
}

async fn token(rig: &Rig, job: &str) -> String {
    let answer = rig.post(&format!("/api/v1/jobs/{job}/token"), "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let token = answer.field("token");
    let events = format!("/api/v1/jobs/{job}/events?token={token}");
    assert_eq!(answer.field("events"), events);
    token
}

/// A page: no key, an origin of its own.
async fn page(rig: &Rig, method: &str, path: &str, origin: &str) -> Answered {
    let headers = [("Origin", origin), ("Sec-Fetch-Site", "cross-site")];
    rig.send(method, path, &headers, b"").await
}

/// A stream of events that is read as it comes.
struct Events {
    stream: TcpStream,
    text: String,
}

impl Events {
    async fn open(rig: &Rig, path: &str) -> Self {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        let request = rig.request("GET", path, &[("Origin", APP)], b"");
        stream.write_all(&request).await.unwrap();
        Self {
            stream,
            text: String::new(),
        }
    }

    /// Reads until it has said `words`.
    async fn until(&mut self, words: &str) {
        while !self.text.contains(words) {
            let mut piece = vec![0; 8_192];
            let read = self.stream.read(&mut piece).await.unwrap();
            assert!(
                read > 0,
                "the stream ended without `{words}`:\n{}",
                self.text
            );
            self.text.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
    }
}

#[tokio::test]
async fn a_page_follows_a_job_from_the_queue_to_its_output() {
    let rig = rig().await;
    let job = rig.submit("{}").await;
    let token = token(&rig, &job).await;
    let mut events = Events::open(&rig, &format!("/api/v1/jobs/{job}/events?token={token}")).await;
    events.until("\"status\":\"queued\"").await;
    let head = events.text.to_lowercase();
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    assert!(
        head.contains("access-control-allow-origin: https://app.example"),
        "{head}"
    );
    let worker = rig.worker();
    assert_eq!(worker.take().await.status, 200);
    events.until("\"status\":\"running\"").await;
    let progress = "{\"status\": \"IN_PROGRESS\", \"output\": {\n\"percent\": 40}}";
    assert_eq!(worker.done(&job, progress).await.status, 200);
    events
        .until("event: progress\ndata: {\"progress\":{ \"percent\": 40}}\n\n")
        .await;
    assert_eq!(
        worker.done(&job, "{\"output\": {\"n\": 1}}").await.status,
        200
    );
    events.until("event: end\n").await;
    events.until("\"status\":\"completed\"").await;
    events
        .until(&format!("\"url\":\"/api/v1/jobs/{job}/output\""))
        .await;
    // The page reads the output by the same token, and nothing else of the job.
    let output = page(
        &rig,
        "GET",
        &format!("/api/v1/jobs/{job}/output?token={token}"),
        APP,
    )
    .await;
    assert_eq!((output.status, output.text()), (200, "{\"n\": 1}".into()));
    let input = page(
        &rig,
        "GET",
        &format!("/api/v1/jobs/{job}/input?token={token}"),
        APP,
    )
    .await;
    assert_eq!(
        (input.status, input.field("code")),
        (403, "token_limited".into())
    );
    // A browser that comes back after the end is told to stay away.
    let last = events.text.rsplit("id: ").next().unwrap();
    let last = last.lines().next().unwrap().to_owned();
    let path = format!("/api/v1/jobs/{job}/events?token={token}");
    let again = rig
        .send("GET", &path, &[("Last-Event-ID", &last)], b"")
        .await;
    assert_eq!(again.status, 204);
    // One that has not heard it hears it now.
    let late = rig.send("GET", &path, &[("Last-Event-ID", "0")], b"").await;
    assert!(late.text().contains("event: end\n"), "{}", late.text());
}

#[tokio::test]
async fn a_token_opens_its_job_and_nothing_else() {
    let rig = rig().await;
    let (job, other) = (rig.submit("{}").await, rig.submit("{}").await);
    let token = token(&rig, &job).await;
    let path = format!("/api/v1/jobs/{other}/events?token={token}");
    let foreign = rig.send("GET", &path, &[], b"").await;
    assert_eq!(
        (foreign.status, foreign.field("code")),
        (403, "token_limited".into())
    );
    for path in [
        format!("/v2/tts/status/{job}?token={token}"),
        format!("/api/v1/jobs/{job}?token={token}"),
        format!("/api/v1/jobs?token={token}"),
    ] {
        let answer = rig.send("GET", &path, &[], b"").await;
        assert_eq!(
            (answer.status, answer.field("code")),
            (400, "key_in_query".into()),
            "{path}"
        );
    }
    let bearer = format!("Bearer {token}");
    let path = format!("/v2/tts/status/{job}");
    let answer = rig
        .send("GET", &path, &[("Authorization", &bearer)], b"")
        .await;
    assert_eq!(answer.status, 401, "a token is no key");
    let forged = token.replace(&job, &other);
    let path = format!("/api/v1/jobs/{other}/events?token={forged}");
    let answer = rig.send("GET", &path, &[], b"").await;
    assert_eq!(
        (answer.status, answer.field("code")),
        (401, "token_invalid".into())
    );
    let secret = rig.fake.server_secret();
    let over = JobToken {
        job: job.parse().unwrap(),
        ends_at: Timestamp::from_millis(1),
        ..JobToken::read(&token, secret, rig.fake.now()).unwrap()
    };
    let path = format!("/api/v1/jobs/{job}/events?token={}", over.text(secret));
    let answer = rig.send("GET", &path, &[], b"").await;
    assert_eq!(
        (answer.status, answer.field("code")),
        (401, "token_expired".into())
    );
}

#[tokio::test]
async fn a_token_ends_with_the_key_that_made_it() {
    let rig = rig().await;
    let job = rig.submit("{}").await;
    let reader = rig.mint_scope(Scope::JobsRead).await;
    let bearer = format!("Bearer {reader}");
    let path = format!("/api/v1/jobs/{job}/token");
    let made = rig
        .send("POST", &path, &[("Authorization", &bearer)], b"")
        .await;
    let events = made.field("events");
    let mut open = Events::open(&rig, &events).await;
    open.until("event: status").await;
    let id = JobToken::read(
        &made.field("token"),
        rig.fake.server_secret(),
        rig.fake.now(),
    );
    assert!(rig.fake.revoke_key(id.unwrap().key_id).await.unwrap());
    let answer = rig.send("GET", &events, &[], b"").await;
    assert_eq!(
        (answer.status, answer.field("code")),
        (401, "token_invalid".into())
    );
    // A stream that is open already ends at the next change.
    rig.post(&format!("/v2/tts/cancel/{job}"), "").await;
    open.until("event: token_invalid").await;
    assert!(!open.text.contains("cancelled"), "{}", open.text);
}

#[tokio::test]
async fn who_may_not_see_the_endpoint_gets_no_token() {
    let rig = rig().await;
    let job = rig.submit("{}").await;
    let limited = rig.mint(Scopes::ADMIN, Some(vec!["other".into()])).await;
    let bearer = format!("Bearer {limited}");
    let path = format!("/api/v1/jobs/{job}/token");
    let answer = rig
        .send("POST", &path, &[("Authorization", &bearer)], b"")
        .await;
    assert_eq!(
        (answer.status, answer.field("code")),
        (404, "job_not_found".into())
    );
    for (body, code) in [
        ("{\"expires_in_seconds\": 0}", "expiry_invalid"),
        ("{\"expires_in_seconds\": 86401}", "expiry_invalid"),
        ("{\"ttl\": 1}", "body_invalid"),
    ] {
        let answer = rig.post(&path, body).await;
        assert_eq!(
            (answer.status, answer.field("code")),
            (400, code.into()),
            "{body}"
        );
    }
    let answer = rig.post(&path, "{\"expires_in_seconds\": 60}").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn only_pages_of_allowed_origins_follow() {
    let rig = rig().await;
    let job = rig.submit("{}").await;
    let token = token(&rig, &job).await;
    let path = format!("/api/v1/jobs/{job}/events?token={token}");
    let other = page(&rig, "GET", &path, "https://evil.example").await;
    assert_eq!(
        (other.status, other.field("code")),
        (403, "origin_not_allowed".into())
    );
    assert_eq!(other.header("access-control-allow-origin"), None);
    // An allowed page has no more than the token: not without it, and no other way.
    let without = page(&rig, "GET", &format!("/api/v1/jobs/{job}/events"), APP).await;
    assert_eq!(without.status, 403);
    let submit = page(&rig, "POST", &format!("/v2/tts/run?token={token}"), APP).await;
    assert_eq!(submit.status, 403);
    let asked = page(&rig, "OPTIONS", &path, APP).await;
    assert_eq!(asked.status, 204);
    assert_eq!(asked.header("access-control-allow-origin"), Some(APP));
    assert_eq!(
        asked.header("access-control-allow-methods"),
        Some("GET, HEAD")
    );
    let refused = page(&rig, "GET", &format!("{path}x"), APP).await;
    assert_eq!(
        refused.header("access-control-allow-origin"),
        Some(APP),
        "it may read why"
    );
    assert_eq!(refused.status, 401);
}
