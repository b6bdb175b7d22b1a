//! `/api/v1/…`.

use serde_json::json;

use super::rig::Rig;
use crate::auth::bootstrap::{FirstKey, ensure_first_key};
use crate::auth::scope::Scope;
use crate::engine::api::Engine;

#[tokio::test]
async fn limits_are_read_and_changed() {
    let rig = Rig::start().await;
    let list = rig.get("/api/v1/endpoints").await.json();
    let tts = &list["endpoints"][0];
    assert_eq!(tts["name"], "tts");
    assert_eq!(tts["workers"], json!({"min": 0, "max": 3}));
    assert_eq!(tts["jobs"], json!({"queued": 0, "running": 0}));
    assert_eq!(tts["local"], json!({"workers": 2, "slots": 4, "busy": 0}));
    assert!(tts["cloud"]["wanted"].is_u64());
    let patch = |body: &'static str| {
        let rig = &rig;
        async move {
            let headers = [("Authorization", rig.key.as_str())];
            rig.send("PATCH", "/api/v1/endpoints/tts", &headers, body.as_bytes())
                .await
        }
    };
    let changed = patch("{\"workers\":{\"max\":7}}").await;
    assert_eq!(changed.json()["workers"], json!({"min": 0, "max": 7}));
    assert_eq!(
        rig.get("/api/v1/endpoints/tts").await.json()["workers"]["max"],
        7
    );
    // Bad input 45: both numbers are named.
    let refused = patch("{\"workers\":{\"min\":9}}").await;
    assert_eq!(
        (refused.status, refused.field("code")),
        (400, "limits_invalid".into())
    );
    assert!(refused.text().contains('9') && refused.text().contains('7'));
    assert_eq!(
        refused.header("content-type"),
        Some("application/problem+json")
    );
    for body in [
        "{}",
        "{\"workers\":{}}",
        "{\"workers\":{\"maxx\":1}}",
        "{\"workers\":{\"max\":-1}}",
        "x",
    ] {
        assert_eq!(patch(body).await.status, 400, "{body}");
    }
}

#[tokio::test]
async fn a_scaling_rule_is_read_and_changed() {
    let rig = Rig::start().await;
    let patch = |body: &'static str| {
        let rig = &rig;
        async move {
            let headers = [("Authorization", rig.key.as_str())];
            rig.send("PATCH", "/api/v1/endpoints/tts", &headers, body.as_bytes())
                .await
        }
    };
    let file = json!({
        "policy": "cost_aware", "wait_share": 1.0, "lateness_price": 2.0, "min_idle": "0s",
    });
    let tts = rig.get("/api/v1/endpoints/tts").await.json();
    assert_eq!(tts["scaler"], file);
    let changed = patch("{\"scaler\":{\"lateness_price\":3.5,\"min_idle\":\"5s\"}}").await;
    assert_eq!(changed.json()["scaler"]["lateness_price"], 3.5);
    let changed = patch("{\"scaler\":{\"wait_share\":0.9},\"workers\":{\"max\":5}}").await;
    let changed = changed.json();
    assert_eq!(
        changed["scaler"],
        json!({
            "policy": "cost_aware", "wait_share": 0.9, "lateness_price": 3.5, "min_idle": "5s",
        }),
        "what is left out stays"
    );
    assert_eq!(changed["workers"]["max"], 5);
    let changed = patch("{\"scaler\":{\"policy\":\"queue_delay\",\"queue_delay\":\"2s\"}}").await;
    assert_eq!(
        changed.json()["scaler"],
        json!({ "policy": "queue_delay", "queue_delay": "2s" })
    );
    for (body, named) in [
        (
            "{\"scaler\":{\"wait_share\":0.9}}",
            "belongs to the policy cost_aware",
        ),
        ("{\"scaler\":{\"policy\":\"best\"}}", "`best` is no policy"),
        (
            "{\"scaler\":{\"policy\":\"cost_aware\",\"wait_share\":7}}",
            "wait_share = 7; expected 0.5 to 1",
        ),
        (
            "{\"scaler\":{\"policy\":\"request_count\",\"request_count\":0}}",
            "request_count = 0",
        ),
        (
            "{\"scaler\":{\"policy\":\"queue_delay\",\"queue_delay\":\"soon\"}}",
            "soon",
        ),
    ] {
        let refused = patch(body).await;
        assert_eq!(
            (refused.status, refused.field("code")),
            (400, "scaler_invalid".into())
        );
        assert!(refused.text().contains(named), "{}", refused.text());
    }
    // Only as a whole does null go back to the file's.
    for (body, field) in [
        ("{\"scaler\":{\"min_idle\":null}}", "scaler.min_idle"),
        ("{\"scaler\":{\"policy\":null}}", "scaler.policy"),
        ("{\"workers\":{\"max\":null}}", "workers.max"),
        ("{\"workers\":null,\"max_wait\":\"5s\"}", "workers"),
    ] {
        let refused = patch(body).await;
        assert_eq!(
            (refused.status, refused.field("code")),
            (400, "null_refused".into())
        );
        assert!(
            refused.text().contains(&format!("`{field}`")),
            "{}",
            refused.text()
        );
    }
    let set = rig.get("/api/v1/endpoints/tts").await.json();
    assert_eq!(set["scaler"]["policy"], "queue_delay");
    assert!(set["scaler_changed"]["by"].is_string(), "{set}");
    let changed = patch("{\"scaler\":null}").await;
    assert_eq!(changed.json()["scaler"], file);
    assert!(changed.json()["scaler_changed"].is_null());
}

#[tokio::test]
async fn the_promise_changes_live_and_goes_back() {
    let rig = Rig::start().await;
    let patch = |body: &'static str| {
        let rig = &rig;
        async move {
            let headers = [("Authorization", rig.key.as_str())];
            rig.send("PATCH", "/api/v1/endpoints/tts", &headers, body.as_bytes())
                .await
        }
    };
    let changed = patch("{\"max_wait\":\"20s\",\"workers\":{\"max\":5}}")
        .await
        .json();
    assert_eq!(
        (&changed["max_wait"], &changed["workers"]["max"]),
        (&json!("20s"), &json!(5))
    );
    for (body, named) in [
        ("{\"max_wait\":\"soon\"}", "soon"),
        ("{\"max_wait\":\"0s\"}", "expected 1ms to 7d"),
        ("{\"max_wait\":\"8d\"}", "expected 1ms to 7d"),
    ] {
        let refused = patch(body).await;
        assert_eq!(
            (refused.status, refused.field("code")),
            (400, "max_wait_invalid".into())
        );
        assert!(refused.text().contains(named), "{}", refused.text());
    }
    let shown = rig.get("/api/v1/endpoints/tts").await.json();
    assert_eq!(shown["max_wait"], "20s", "what is refused changes nothing");
    assert!(shown["max_wait_changed"]["at_ms"].is_i64(), "{shown}");
    let changed = patch("{\"max_wait\":null}").await;
    assert_eq!(changed.json()["max_wait"], "90s");
    assert!(changed.json()["max_wait_changed"].is_null());
}

#[tokio::test]
async fn jobs_are_listed_in_pages() {
    let rig = Rig::start().await;
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(rig.submit(&n.to_string()).await);
    }
    ids.sort();
    ids.reverse();
    let page = rig.get("/api/v1/jobs?limit=2").await.json();
    let listed: Vec<&str> = page["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["id"].as_str().unwrap())
        .collect();
    assert_eq!(listed, ids[..2]);
    let next = page["next"].as_str().unwrap();
    let page = rig
        .get(&format!("/api/v1/jobs?limit=2&after={next}"))
        .await
        .json();
    assert_eq!(
        (&page["jobs"][0]["id"], &page["next"]),
        (&json!(ids[2]), &json!(null))
    );
    assert_eq!(page["jobs"][0]["status"], "queued");
    assert_eq!(page["jobs"][0]["endpoint"], "tts");
    let none = rig
        .get("/api/v1/jobs?endpoint=tts&status=completed")
        .await
        .json();
    assert_eq!(none["jobs"], json!([]));
    for query in ["limit=0", "limit=x", "after=x", "status=RUNNING"] {
        assert_eq!(
            rig.get(&format!("/api/v1/jobs?{query}")).await.status,
            400,
            "{query}"
        );
    }
    assert_eq!(rig.get("/api/v1/jobs?endpoint=nothing").await.status, 404);
    let story = rig.get(&format!("/api/v1/jobs/{}", ids[0])).await.json();
    assert!(story["attempts"].is_array() && story["error"].is_null());
    let missing = rig.get("/api/v1/jobs/nothing").await;
    assert_eq!(
        (missing.status, missing.field("code")),
        (404, "job_not_found".into())
    );
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked() {
    let rig = Rig::start().await;
    let body =
        "{\"name\":\"app\",\"kind\":\"user\",\"scopes\":[\"jobs:read\"],\"endpoints\":[\"tts\"]}";
    let made = rig.post("/api/v1/keys", body).await.json();
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert!(key.starts_with(&format!("ovs_user_{id}_")), "{key}");
    let health = |key: String| {
        let rig = &rig;
        async move {
            let headers = [("Authorization", key.as_str())];
            rig.send("GET", "/v2/tts/health", &headers, b"")
                .await
                .status
        }
    };
    assert_eq!(health(key.to_owned()).await, 200);
    let list = rig.get("/api/v1/keys").await;
    assert!(list.text().contains(id) && !list.text().contains(key));
    let headers = [("Authorization", rig.key.as_str())];
    let path = format!("/api/v1/keys/{id}");
    assert_eq!(rig.send("DELETE", &path, &headers, b"").await.status, 200);
    assert_eq!(health(key.to_owned()).await, 401);
    assert_eq!(
        rig.send("DELETE", "/api/v1/keys/nothing", &headers, b"")
            .await
            .status,
        404
    );
    for body in [
        "{\"name\":\"\"}",
        "{\"name\":\"a\\u0000\"}",
        "{\"name\":\"a\",\"kind\":\"root\"}",
        "{\"name\":\"a\",\"scopes\":[\"root\"]}",
        "{\"name\":\"a\",\"role\":\"admin\"}",
        "{\"name\":\"a\",\"endpoints\":[\"nothing\"]}",
    ] {
        assert_eq!(rig.post("/api/v1/keys", body).await.status, 400, "{body}");
    }
}

#[tokio::test]
async fn input_42_a_key_mints_only_a_part_of_itself() {
    let rig = Rig::start().await;
    let scopes = [Scope::Keys, Scope::JobsRead].into_iter().collect();
    let key = rig.mint(scopes, Some(vec!["tts".into()])).await;
    let post = |body: &'static str| {
        let (rig, key) = (&rig, key.clone());
        async move {
            let headers = [("Authorization", key.as_str())];
            rig.send("POST", "/api/v1/keys", &headers, body.as_bytes())
                .await
        }
    };
    for body in [
        "{\"name\":\"a\",\"scopes\":[\"admin\"],\"endpoints\":[\"tts\"]}",
        "{\"name\":\"a\",\"scopes\":[\"jobs:submit\"],\"endpoints\":[\"tts\"]}",
        "{\"name\":\"a\",\"scopes\":[\"jobs:read\"]}",
    ] {
        let answer = post(body).await;
        assert_eq!(
            (answer.status, answer.field("code")),
            (403, "scope_escalation".into()),
            "{body}"
        );
    }
    let other = post("{\"name\":\"a\",\"scopes\":[\"jobs:read\"],\"endpoints\":[\"sdxl\"]}").await;
    assert_eq!(other.status, 400);
    let fine = post("{\"name\":\"a\",\"scopes\":[\"jobs:read\"],\"endpoints\":[\"tts\"]}").await;
    assert_eq!(fine.status, 200, "{}", fine.text());
}

#[tokio::test]
async fn the_first_key_is_the_users_own_or_made_once() {
    use std::os::unix::fs::PermissionsExt as _;
    let rig = Rig::start().await;
    let engine: std::sync::Arc<dyn Engine> = super::fake::Fake::new();
    let folder = tempfile::tempdir().unwrap();
    let made = ensure_first_key(&engine, None, folder.path())
        .await
        .unwrap();
    let FirstKey::Made { key, file } = made else {
        panic!("there was none: {made:?}");
    };
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), key);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = ensure_first_key(&engine, None, folder.path())
        .await
        .unwrap();
    assert_eq!(again, FirstKey::Existing);
    let error = ensure_first_key(&engine, Some("short"), folder.path())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("OVERSPILL_API_KEY"));
    let engine: std::sync::Arc<dyn Engine> = rig.fake.clone();
    let own = "rpa_0123456789ABCDEF";
    assert_eq!(
        ensure_first_key(&engine, Some(own), folder.path())
            .await
            .unwrap(),
        FirstKey::Own
    );
    let headers = [("Authorization", own)];
    assert_eq!(
        rig.send("GET", "/api/v1/keys", &headers, b"").await.status,
        200
    );
}

#[tokio::test]
async fn runpods_management_clients_look_and_change_limits() {
    let rig = Rig::start().await;
    let list = rig.get("/v2/serverless").await.json();
    assert_eq!(list["endpoints"].as_array().unwrap().len(), 2);
    let tts = rig.get("/v2/serverless/abc123def456").await.json();
    assert_eq!((&tts["id"], &tts["type"]), (&json!("tts"), &json!("QUEUE")));
    assert_eq!(
        tts["workers"],
        json!({"min": 0, "max": 3, "idleTimeout": 10})
    );
    let run = tts["requestUrls"]["run"].as_str().unwrap();
    assert!(run.ends_with("/v2/tts/run"), "{run}");
    let patch = |body: &'static str| {
        let rig = &rig;
        async move {
            let headers = [("Authorization", rig.key.as_str())];
            rig.send("PATCH", "/v2/serverless/tts", &headers, body.as_bytes())
                .await
        }
    };
    let changed = patch("{\"workers\":{\"min\":1,\"max\":5}}").await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!(changed.json()["workers"]["max"], 5);
    for body in ["{\"image\":\"x\"}", "{\"workers\":{\"maxx\":1}}", "{}"] {
        let refused = patch(body).await;
        assert_eq!(refused.status, 422, "{body}");
        assert_eq!(
            refused.header("content-type"),
            Some("application/problem+json")
        );
    }
    let id = rig.submit("1").await;
    rig.worker().take().await;
    let workers = rig.get("/v2/serverless/tts/workers").await.json();
    assert_eq!(workers["summary"]["running"], 1);
    assert_eq!(workers["summary"]["total"], 2);
    rig.worker().done(&id, "{\"output\":1}").await;
    let releases = rig.get("/v2/serverless/tts/releases").await.json();
    assert_eq!(releases["rollout"]["percentOnLatest"], 100);
    let missing = rig.get("/v2/serverless/nothing").await;
    assert_eq!(
        (missing.status, missing.json()["title"].clone()),
        (404, json!("Not Found"))
    );
    assert_eq!(
        rig.send("DELETE", "/v2/serverless/tts", &[], b"")
            .await
            .status,
        405
    );
}
