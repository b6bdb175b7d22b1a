//! `/openai/…`: plain and streamed answers, the list of models, errors.

use serde_json::json;

use crate::rig::{Answer, Rig, options};

async fn call(method: &str, route: &str, body: Option<serde_json::Value>) -> Answer {
    let mut options = options();
    options.time_scale = 100.0;
    let rig = Rig::with(options).await;
    let endpoint = rig.endpoint(json!({"min": 1, "max": 1})).await;
    rig.send(method, &format!("/v2/{endpoint}/openai{route}"), body)
        .await
}

#[tokio::test]
async fn a_plain_call_is_answered_with_the_object() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]});
    let answer = call("POST", "/v1/chat/completions", Some(body)).await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert_eq!(
        body["choices"][0]["message"]["content"],
        "This is modelled."
    );
    assert_eq!(body["model"], "m");
}

#[tokio::test]
async fn a_streamed_call_is_answered_with_the_events_unchanged() {
    let body = json!({"model": "m", "stream": true, "stream_options": {"include_usage": true}});
    let answer = call("POST", "/v1/chat/completions", Some(body)).await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    let events: Vec<&str> = answer
        .text
        .split("\n\n")
        .filter(|event| !event.is_empty())
        .collect();
    assert_eq!((events.len(), events[4]), (5, "data: [DONE]"));
    let usage: serde_json::Value =
        serde_json::from_str(events[3].strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(
        (&usage["choices"], &usage["usage"]["total_tokens"]),
        (&json!([]), &json!(4))
    );
}

#[tokio::test]
async fn models_are_listed() {
    let answer = call("GET", "/v1/models", None).await;
    assert_eq!(answer.json()["data"][0]["object"], "model");
}

#[tokio::test]
async fn an_error_inside_the_answer_comes_with_200_as_on_the_cloud() {
    let answer = call("POST", "/v1/nothing", Some(json!({}))).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["error"]["type"], "worker_error");
}
