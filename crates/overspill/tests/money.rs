//! Money at the edge: `overspill cost` and `overspill budget`, caps of keys, and who may see what.

use std::time::Duration;

use overspill::engine::api::JobState;
use overspill_core::id::JobId;
use serde_json::{Value, json};

use crate::cloud_hook::{end_of, start};
use crate::serving::{KEY, Rig};
use crate::support::{Machine, Ran};

const ENDPOINTS: &str = "\n[[endpoint]]\nname = \"tts\"\n[[endpoint]]\nname = \"sdxl\"\n";

async fn call(rig: &Rig, key: &str, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let url = format!("http://{}{path}", rig.server.address());
    let mut request = rig
        .http
        .request(method.parse().unwrap(), url)
        .bearer_auth(key);
    if let Some(body) = &body {
        request = request.json(body);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or(Value::Null))
}

async fn made(rig: &Rig, body: Value) -> (String, String) {
    let (status, answer) = call(rig, KEY, "POST", "/api/v1/keys", Some(body)).await;
    assert_eq!(status, 200, "{answer}");
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

/// Runs the binary against the server of the test.
async fn ran(rig: &Rig, arguments: &[&str]) -> Ran {
    let machine = Machine::new()
        .with("OVERSPILL_URL", &format!("http://{}", rig.server.address()))
        .with("OVERSPILL_API_KEY", KEY);
    let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
    let run = move || machine.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// Asks until the answer is as wanted.
async fn until(rig: &Rig, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    for _ in 0..300 {
        last = call(rig, KEY, "GET", path, None).await.1;
        if is_so(&last) {
            return last;
        }
        // The ledger is written every few seconds; there is nothing to be woken by.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{path} came to {last}");
}

fn line<'a>(costs: &'a Value, field: &str, name: &str) -> Option<&'a Value> {
    let lines = costs["lines"].as_array()?;
    lines.iter().find(|line| line[field] == name)
}

async fn submitted(rig: &Rig, key: &str, seconds: u32) -> JobId {
    let body = json!({"input": {"seconds": seconds, "output": 7}});
    let (status, answer) = call(rig, key, "POST", "/v2/tts/run", Some(body)).await;
    assert_eq!(status, 200, "{answer}");
    answer["id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_a_job_costs_is_told_by_key_pool_and_job() {
    let (_emulator, rig) = start().await;
    let (id, key) = made(&rig, json!({"name": "shop", "budget": {"per_day": "$5"}})).await;
    let job = submitted(&rig, &key, 180).await;
    assert_eq!(end_of(&rig, job).await.state, JobState::Completed);
    let story = until(&rig, &format!("/api/v1/jobs/{job}"), |story| {
        story["cost"]["run_nano_usd"].as_i64() > Some(0)
    })
    .await;
    assert_eq!(story["cost"]["saved_nano_usd"], 0);
    let by_key = until(&rig, "/api/v1/cost?by=key&since=today", |costs| {
        line(costs, "id", &id).is_some_and(|line| line["run_ms"].as_u64() > Some(0))
    })
    .await;
    assert_eq!(line(&by_key, "id", &id).unwrap()["name"], "shop");
    let (_, pools) = call(&rig, KEY, "GET", "/api/v1/cost?by=pool", None).await;
    assert_eq!(pools["lines"][0]["name"], "cloud-1");
    assert_eq!(pools["lines"][0]["endpoint"], "tts");
    assert!(pools["total"]["spent_nano_usd"].as_i64() > Some(0));
    let (_, jobs) = call(&rig, KEY, "GET", "/api/v1/cost?by=job&endpoint=tts", None).await;
    assert_eq!(jobs["lines"][0]["name"], job.to_string());
    // The key sees itself, and its cap.
    let (_, budget) = call(&rig, &key, "GET", "/api/v1/budget", None).await;
    let caps = budget["caps"].as_array().unwrap();
    let own = caps.iter().find(|cap| cap["key"] == id.as_str()).unwrap();
    assert_eq!(own["cap_nano_usd"], 5_000_000_000_i64);
    assert!(own["spent_nano_usd"].as_i64() > Some(0), "{own}");
    let table = ran(&rig, &["cost", "--by", "key"]).await;
    assert!(table.stdout.contains(&format!("shop ({id})")), "{table}");
    let csv = ran(&rig, &["cost", "--csv"]).await;
    assert!(
        csv.stdout.starts_with("endpoint,endpoint,id,spent_usd,"),
        "{csv}"
    );
    assert!(csv.stdout.contains("\ntts,,,0.0"), "{csv}");
    let url = format!(
        "http://{}/api/v1/cost?format=csv&by=day",
        rig.server.address()
    );
    let answer = rig.http.get(url).bearer_auth(KEY).send().await.unwrap();
    let disposition = &answer.headers()["content-disposition"];
    assert_eq!(disposition, "attachment; filename=\"cost-by-day.csv\"");
    assert!(answer.text().await.unwrap().starts_with("day,"));
    let status = ran(&rig, &["status", &job.to_string()]).await;
    assert!(status.stdout.contains("cost:"), "{status}");
}

#[tokio::test]
async fn a_key_at_its_cap_waits_and_says_so_until_the_cap_is_raised() {
    let (_emulator, rig) = start().await;
    let (id, key) = made(
        &rig,
        json!({"name": "shop", "budget": {"per_day": "$0.01"}}),
    )
    .await;
    let job = submitted(&rig, &key, 1).await;
    let why = until(&rig, &format!("/api/v1/why/job/{job}"), |why| {
        let causes = why["causes"].as_array();
        causes.is_some_and(|all| all.iter().any(|cause| cause["code"] == "budget_reached"))
    })
    .await;
    assert!(
        why.to_string().contains(&format!("the cap of key {id}")),
        "{why}"
    );
    let other = submitted(&rig, KEY, 1).await;
    assert_eq!(end_of(&rig, other).await.state, JobState::Completed);
    let table = ran(&rig, &["budget"]).await;
    assert!(table.stdout.contains("jobs wait"), "{table}");
    assert!(
        table.stdout.contains(&format!("key shop ({id})")),
        "{table}"
    );
    let raised = ran(&rig, &["budget", "set", "--key", &id, "--per-day", "$3"]).await;
    assert_eq!(raised.code, 0, "{raised}");
    assert!(raised.stderr.contains("set by key"), "{raised}");
    assert_eq!(end_of(&rig, job).await.state, JobState::Completed);
}

#[tokio::test]
async fn caps_change_live_and_go_back_to_the_files() {
    let rig = Rig::start(&format!("[budget]\nper_day = \"$2\"\n{ENDPOINTS}")).await;
    let patch = async |body: Value| call(&rig, KEY, "PATCH", "/api/v1/budget", Some(body)).await;
    let (status, budget) = patch(json!({"per_hour": "$0.50", "endpoint": "tts"})).await;
    assert_eq!(status, 200, "{budget}");
    let (_, budget) = patch(json!({"per_hour": "$1", "per_day": null})).await;
    let told: Vec<(&Value, &Value, &Value)> = budget["caps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cap| (&cap["scope"], &cap["period"], &cap["cap_nano_usd"]))
        .collect();
    let expected = [
        (&json!("everything"), &json!("hour"), &json!(1_000_000_000)),
        (&json!("endpoint"), &json!("hour"), &json!(500_000_000)),
    ];
    assert_eq!(told, expected);
    let sources = &budget["sources"][0];
    assert_eq!(sources["file"]["per_day"], "$2.00");
    assert!(sources["by"].as_str().unwrap().starts_with("key "));
    let (_, budget) = patch(json!({"reset": true})).await;
    assert_eq!(budget["caps"][0]["period"], "day");
    for (body, code) in [
        (json!({}), "caps_missing"),
        (json!({"reset": true, "per_day": "$1"}), "caps_missing"),
        (json!({"per_day": "5"}), "money_invalid"),
        (json!({"per_day": "$-5"}), "money_invalid"),
        (json!({"per_day": 5}), "body_invalid"),
        (json!({"per_week": "$5"}), "body_invalid"),
        (json!({"per_hour": "$9", "per_day": "$1"}), "caps_invalid"),
        (
            json!({"per_day": "$1", "endpoint": "none"}),
            "endpoint_not_found",
        ),
        (json!({"per_day": "$1", "key": "none"}), "key_not_found"),
        (
            json!({"per_day": "$1", "key": "k", "endpoint": "tts"}),
            "scope_invalid",
        ),
    ] {
        let (status, answer) = patch(body.clone()).await;
        assert_eq!(answer["code"], code, "{body} {answer}");
        assert!((400..500).contains(&status));
    }
}

#[tokio::test]
async fn a_cap_is_for_keys_that_cannot_lift_it_and_seen_by_those_who_may() {
    let rig = Rig::start(ENDPOINTS).await;
    let budget = json!({"per_day": "$5"});
    for scope in ["keys", "budget:write", "endpoints:write", "admin"] {
        let body = json!({"name": "x", "scopes": ["jobs:read", scope], "budget": budget});
        let (status, answer) = call(&rig, KEY, "POST", "/api/v1/keys", Some(body)).await;
        assert_eq!(
            (status, answer["code"].as_str()),
            (400, Some("key_not_cappable"))
        );
    }
    let (id, capped) = made(&rig, json!({"name": "app", "budget": budget})).await;
    let patch = json!({"key": id, "per_day": "$50"});
    let (status, _) = call(
        &rig,
        &capped,
        "PATCH",
        "/api/v1/budget",
        Some(patch.clone()),
    )
    .await;
    assert_eq!(status, 403, "it has no budget:write");
    let (_, of_tts) = made(
        &rig,
        json!({"name": "tts", "endpoints": ["tts"], "scopes": ["jobs:read", "budget:write"]}),
    )
    .await;
    for (body, code) in [
        (json!({"per_day": "$1"}), "key_limited"),
        (
            json!({"per_day": "$1", "endpoint": "sdxl"}),
            "endpoint_not_found",
        ),
        (patch, "key_not_found"),
    ] {
        let (_, answer) = call(&rig, &of_tts, "PATCH", "/api/v1/budget", Some(body)).await;
        assert_eq!(answer["code"], code);
    }
    let body = json!({"per_day": "$1", "endpoint": "tts"});
    let (status, seen) = call(&rig, &of_tts, "PATCH", "/api/v1/budget", Some(body)).await;
    assert_eq!((status, seen["caps"].as_array().unwrap().len()), (200, 1));
    let (_, all) = call(&rig, KEY, "GET", "/api/v1/budget", None).await;
    assert_eq!(all["caps"].as_array().unwrap().len(), 2);
    let (status, answer) = call(&rig, &of_tts, "GET", "/api/v1/cost?endpoint=sdxl", None).await;
    assert_eq!(
        (status, answer["code"].as_str()),
        (404, Some("endpoint_not_found"))
    );
    let (status, costs) = call(&rig, &of_tts, "GET", "/api/v1/cost?by=key", None).await;
    assert_eq!((status, &costs["lines"]), (200, &json!([])));
    for (query, code) in [
        ("by=moon", "by_invalid"),
        ("since=soon", "since_invalid"),
        ("until=soon", "until_invalid"),
        ("since=today&until=9d", "until_invalid"),
        ("limit=0", "limit_invalid"),
        ("format=xml", "format_invalid"),
    ] {
        let (status, answer) = call(&rig, KEY, "GET", &format!("/api/v1/cost?{query}"), None).await;
        assert_eq!(
            (status, answer["code"].as_str()),
            (400, Some(code)),
            "{query}"
        );
    }
}
