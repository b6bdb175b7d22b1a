//! What the dashboard is told, by the assembled server.

use std::time::Duration;

use serde_json::{Value, json};

use crate::serving::{KEY, Rig};

const ENDPOINTS: &str = r#"
[[endpoint]]
name     = "tts"
max_wait = "20s"

  [[endpoint.local]]
  command = ["sleep", "600"]
  devices = 1

[[endpoint]]
name = "sdxl"
"#;

async fn get(rig: &Rig, path: &str) -> Value {
    let answer = rig.send("GET", path, None).await;
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().await.unwrap()
}

#[tokio::test]
async fn the_overview_counts_what_is_there() {
    let rig = Rig::start(ENDPOINTS).await;
    let first = get(&rig, "/api/v1/overview").await;
    assert_eq!(first["endpoints"].as_array().unwrap().len(), 2);
    assert_eq!(first["endpoints"][1]["name"], "tts");
    assert_eq!(first["endpoints"][1]["max_wait_ms"], 20_000);
    assert_eq!(first["devices"].as_array().unwrap().len(), 1);
    assert_eq!(first["devices"][0]["is_nominal"], true);
    let job = json!({ "input": { "text": "hello" } });
    for _ in 0..3 {
        let answer = rig.send("POST", "/v2/sdxl/run", Some(&job)).await;
        assert_eq!(answer.status(), 200);
    }
    let mut live = Live::open(&rig).await;
    let seen = loop {
        let event = live.next().await;
        if event["overview"]["queued"] == 3 {
            break event["overview"].clone();
        }
    };
    assert_eq!(seen["endpoints"][0]["queued"], 3);
    assert!(seen["oldest_wait_ms"].is_u64());
    assert!(seen["number"].as_u64() > first["number"].as_u64());
    let series = get(&rig, "/api/v1/series?minutes=5").await;
    let samples = series["samples"].as_array().unwrap();
    let sum = |name: &str| -> u64 { samples.iter().filter_map(|s| s[name].as_u64()).sum() };
    assert_eq!(sum("submitted"), 3);
    assert_eq!(samples.last().unwrap()["queued"], 3);
}

#[tokio::test]
async fn pools_settings_and_money_are_told() {
    let rig = Rig::start(ENDPOINTS).await;
    let pools = get(&rig, "/api/v1/pools").await;
    let pools = pools["pools"].as_array().unwrap();
    assert_eq!(pools.len(), 1);
    assert_eq!(
        (pools[0]["endpoint"].as_str(), pools[0]["kind"].as_str()),
        (Some("tts"), Some("local"))
    );
    let settings = get(&rig, "/api/v1/settings").await;
    assert!(
        settings["config"]
            .as_str()
            .unwrap()
            .contains("name = \"tts\"")
    );
    assert_eq!(settings["time_zone"], "UTC");
    let spending = get(&rig, "/api/v1/spending").await;
    assert_eq!(spending["lines"], json!([]));
    assert!(spending["since_ms"].as_i64().unwrap() % 86_400_000 == 0);
    assert_eq!(
        get(&rig, "/api/v1/spending?since=always").await["since_ms"],
        Value::Null
    );
    let decisions = get(&rig, "/api/v1/decisions").await;
    assert!(decisions["decisions"].is_array());
    for (path, code) in [
        ("/api/v1/series?minutes=0", "minutes_invalid"),
        ("/api/v1/series?minutes=x", "minutes_invalid"),
        ("/api/v1/decisions?before=x", "cursor_invalid"),
        ("/api/v1/decisions?limit=0", "limit_invalid"),
        ("/api/v1/spending?since=never", "since_invalid"),
    ] {
        let answer = rig.send("GET", path, None).await;
        assert_eq!(answer.status(), 400, "{path}");
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], code);
    }
}

#[tokio::test]
async fn metrics_come_in_the_format_that_is_asked_for() {
    let rig = Rig::start(ENDPOINTS).await;
    let plain = rig.send("GET", "/metrics", None).await;
    let media_type = &plain.headers()["content-type"];
    assert_eq!(media_type, "text/plain; version=0.0.4; charset=utf-8");
    let text = plain.text().await.unwrap();
    assert!(
        text.contains("overspill_max_wait_seconds{endpoint=\"tts\"} 20\n"),
        "{text}"
    );
    assert!(
        text.contains("overspill_device_jobs{device=\"0\",name=\"nominal 0\"} 0\n"),
        "{text}"
    );
    let url = format!("http://{}/metrics", rig.server.address());
    let open = rig.http.get(url).bearer_auth(KEY);
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    let open = open.header("accept", accept).send().await.unwrap();
    let media_type = &open.headers()["content-type"];
    assert_eq!(
        media_type,
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(open.text().await.unwrap().ends_with("# EOF\n"));
    let nobody = rig
        .http
        .get(format!("http://{}/metrics", rig.server.address()));
    assert_eq!(nobody.send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn live_events_begin_with_a_snapshot_and_go_on() {
    let rig = Rig::start(ENDPOINTS).await;
    let mut live = Live::open(&rig).await;
    let (first, second) = (live.next().await, live.next().await);
    assert!(first["decisions"].is_array());
    let number = |event: &Value| event["overview"]["number"].as_u64().unwrap();
    assert!(number(&first) < number(&second), "{first} {second}");
}

#[tokio::test]
async fn live_events_end_with_the_key() {
    let rig = Rig::start(ENDPOINTS).await;
    let wish = json!({ "name": "reader", "scopes": ["jobs:read"] });
    let made = rig.send("POST", "/api/v1/keys", Some(&wish)).await;
    let made: Value = made.json().await.unwrap();
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    let origin = format!("http://{}", rig.server.address());
    let begun = rig.http.post(format!("{origin}/api/v1/session"));
    let begun = begun.bearer_auth(key).send().await.unwrap();
    let cookie = begun.headers()["set-cookie"].to_str().unwrap().to_owned();
    let live = rig.http.get(format!("{origin}/api/v1/live"));
    let by_key = live.try_clone().unwrap().bearer_auth(key);
    let by_cookie = live.header("cookie", cookie.split(';').next().unwrap());
    let mut streams = Vec::new();
    for request in [by_key, by_cookie] {
        let mut live = Live {
            answer: request.send().await.unwrap(),
            text: String::new(),
        };
        live.next().await;
        streams.push(live);
    }
    let path = format!("/api/v1/keys/{id}");
    assert_eq!(rig.send("DELETE", &path, None).await.status(), 200);
    for live in &mut streams {
        let end = async { while live.answer.chunk().await.unwrap().is_some() {} };
        let end = tokio::time::timeout(Duration::from_secs(30), end);
        end.await.expect("the stream ends");
    }
}

/// The stream of events.
struct Live {
    answer: reqwest::Response,
    text: String,
}

impl Live {
    async fn open(rig: &Rig) -> Self {
        let answer = rig.send("GET", "/api/v1/live", None).await;
        let media_type = &answer.headers()["content-type"];
        assert_eq!(media_type, "text/event-stream; charset=utf-8");
        Self {
            answer,
            text: String::new(),
        }
    }

    /// The data of the next event.
    async fn next(&mut self) -> Value {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                assert!(event.starts_with("id: "), "{event}");
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                let data = serde_json::from_str(data.unwrap()).unwrap();
                self.text = rest.to_owned();
                return data;
            }
            let chunk = tokio::time::timeout(Duration::from_secs(30), self.answer.chunk());
            let chunk = chunk.await.unwrap().unwrap().expect("the stream goes on");
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}
