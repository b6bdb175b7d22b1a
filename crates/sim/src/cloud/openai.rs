//! What a modelled worker answers to a call of the OpenAI API, in the way vLLM's worker does: one parsed
//! object, or the server-sent events as raw text.

use serde_json::{Value, json};

use super::job::Payload;
use super::script::payload;

/// The yields of a worker for `route` (`/v1/chat/completions`) and the caller's body.
pub(crate) fn chunks(route: &str, body: &Value) -> Vec<Payload> {
    let model = body
        .get("model")
        .and_then(Value::as_str)
        .unwrap_or("modelled");
    match route {
        "/v1/models" => vec![payload(&json!({
            "object": "list",
            "data": [{"id": "modelled", "object": "model", "created": 0, "owned_by": "overspill"}],
        }))],
        "/v1/chat/completions" => answer(model, body, true),
        "/v1/completions" => answer(model, body, false),
        _ => vec![payload(&json!({"error": {
            "message": format!("route {route} is not served by this worker"),
            "type": "worker_error",
            "code": null,
        }}))],
    }
}

fn answer(model: &str, body: &Value, is_chat: bool) -> Vec<Payload> {
    const WORDS: [&str; 3] = ["This ", "is ", "modelled."];
    let usage = json!({"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4});
    let wants_stream = body.get("stream").and_then(Value::as_bool).unwrap_or(false);
    if !wants_stream {
        let choice = if is_chat {
            json!({"index": 0, "finish_reason": "stop",
                "message": {"role": "assistant", "content": WORDS.concat()}})
        } else {
            json!({"index": 0, "finish_reason": "stop", "text": WORDS.concat()})
        };
        return vec![payload(&json!({
            "id": "cmpl-modelled", "created": 0, "model": model,
            "object": if is_chat { "chat.completion" } else { "text_completion" },
            "choices": [choice], "usage": usage,
        }))];
    }
    let object = if is_chat {
        "chat.completion.chunk"
    } else {
        "text_completion"
    };
    let event = |choices: Value, usage: Option<&Value>| {
        let mut chunk = json!({"id": "cmpl-modelled", "created": 0, "model": model,
            "object": object, "choices": choices});
        if let Some(usage) = usage {
            chunk["usage"] = usage.clone();
        }
        payload(&json!(format!("data: {chunk}\n\n")))
    };
    let mut yields: Vec<Payload> = WORDS
        .iter()
        .enumerate()
        .map(|(i, word)| {
            let reason = (i + 1 == WORDS.len()).then_some("stop");
            let choice = if is_chat {
                json!({"index": 0, "delta": {"content": word}, "finish_reason": reason})
            } else {
                json!({"index": 0, "text": word, "finish_reason": reason})
            };
            event(json!([choice]), None)
        })
        .collect();
    let wants_usage = body
        .pointer("/stream_options/include_usage")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    if wants_usage {
        yields.push(event(json!([]), Some(&usage)));
    }
    yields.push(payload(&json!("data: [DONE]\n\n")));
    yields
}
