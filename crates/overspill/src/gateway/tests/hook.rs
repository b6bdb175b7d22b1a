//! F20: RunPod calls when a job of ours ends there; a hint to look, for who knows the token.

use overspill_core::id::{AttemptId, JobId, PoolId};

use super::rig::Rig;
use crate::engine::api::Engine as _;
use crate::pool::runpod::driver::token;

const ATTEMPT: AttemptId = AttemptId {
    job: JobId::new(9, false),
    generation: 1,
    number: 2,
};

#[tokio::test]
async fn f20_a_call_with_the_token_is_a_hint_and_one_without_is_nothing() {
    let rig = Rig::start().await;
    let ours = token::write(rig.fake.server_secret(), ATTEMPT, PoolId(4));
    let theirs = token::write(b"of another installation", ATTEMPT, PoolId(4));
    let result = br#"{"id":"c9-u1","status":"COMPLETED","output":"not to be believed"}"#;
    for (token, status) in [(&ours, 200), (&theirs, 404), (&"junk".to_owned(), 404)] {
        let path = format!("/hooks/runpod/{token}");
        // RunPod sends no key, and one changes nothing.
        let answer = rig.send("POST", &path, &[("Authorization", "none")], result);
        let answer = answer.await;
        assert_eq!(answer.status, status, "{token}: {}", answer.text());
    }
    let hints = std::mem::take(&mut *rig.fake.hints.lock().unwrap());
    assert_eq!(hints, [(ATTEMPT, PoolId(4), Some("c9-u1".to_owned()))]);
}

#[tokio::test]
async fn f20_whatever_the_body_is_it_is_a_hint() {
    let rig = Rig::start().await;
    let ours = token::write(rig.fake.server_secret(), ATTEMPT, PoolId(4));
    let path = format!("/hooks/runpod/{ours}");
    let none: &[u8] = b"";
    for body in [
        none,
        b"{}",
        b"[1]",
        br#"{"id":7}"#,
        br#"{"id":"x","output":NaN}"#,
    ] {
        let answer = rig.send("POST", &path, &[], body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let hints = std::mem::take(&mut *rig.fake.hints.lock().unwrap());
    assert_eq!(hints.len(), 5);
    assert!(hints.iter().all(|hint| hint.2.is_none()), "{hints:?}");
}
