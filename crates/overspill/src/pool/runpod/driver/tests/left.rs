//! Pools that are no longer configured, and those in their place.

use super::*;

/// The pool in the place of [`POOL`].
const NEXT: PoolId = PoolId(POOL.0 + 1);

fn pool(rig: &Rig, id: PoolId, endpoint: &str) -> CloudPool {
    super::pool(&rig.cloud, Arc::new(SystemClock::start()), id, endpoint)
}

fn left(pool: CloudPool) -> CloudPool {
    CloudPool {
        is_left: true,
        ..pool
    }
}

#[tokio::test]
async fn a_pool_that_is_left_behind_is_set_to_zero_beside_the_one_in_its_place() {
    let endpoint = r#"{"id":"ep1","workers":{"min":0,"max":2}}"#;
    let mut rig = Rig::start(move |_seen| endpoint.into_response()).await;
    rig.driver.scale(POOL, 0, 2);
    assert!(matches!(rig.fact().await.0, Event::CloudScaled { .. }));
    let next = pool(&rig, NEXT, "ep2");
    let left = left(pool(&rig, POOL, "ep1"));
    rig.driver.configure(vec![next.clone(), left]);
    rig.driver.scale(next.id, 0, 1);
    rig.driver.scale(POOL, 0, 0);
    let none = br#"{"workers":{"min":0,"max":0}}"#;
    let is_left = |seen: &Seen| seen.path.ends_with("/ep1") && seen.body.as_ref() == none;
    while !rig.cloud.seen().iter().any(is_left) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_pool_that_left_while_nobody_ran_is_lowered_and_its_jobs_end() {
    let mut rig = Rig::start(|seen| match seen.method.as_str() {
        "PATCH" => r#"{"id":"ep2","workers":{"min":0,"max":0}}"#.into_response(),
        _ => r#"{"id":"c1","status":"COMPLETED","output":"done"}"#.into_response(),
    })
    .await;
    let access = left(pool(&rig, NEXT, "ep2"));
    let left = NEXT;
    rig.driver.configure(vec![access.clone()]);
    rig.driver.scale(left, 0, 0);
    let scaled = Event::CloudScaled {
        pool: left,
        min: 0,
        max: 0,
    };
    assert_eq!(rig.fact().await.0, scaled);
    // A reload before its job was asked about.
    rig.driver.configure(vec![access]);
    rig.driver.watch(attempt(1), left, "c1");
    let (ended, output) = rig.fact().await;
    assert!(matches!(ended, Event::CloudStatus { .. }), "{ended:?}");
    assert_eq!(output.as_deref(), Some(b"\"done\"".as_slice()));
    rig.driver.submit(attempt(2), left, submission());
    let (refused, _) = rig.fact().await;
    assert!(matches!(refused, Event::CloudRefused { .. }), "{refused:?}");
    assert_eq!(rig.asked("/run"), 0);
    // Its workers cost until they have ended.
    while rig.asked("/ep2/health") == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn limits_that_another_pool_took_over_are_left_to_it() {
    let mut rig =
        Rig::start(|_seen| r#"{"id":"ep1","workers":{"min":0,"max":2}}"#.into_response()).await;
    rig.driver.scale(POOL, 0, 2);
    assert!(matches!(rig.fact().await.0, Event::CloudScaled { .. }));
    let heir = pool(&rig, NEXT, "ep1");
    let left = CloudPool {
        management: None,
        managed: Managed::Nothing,
        ..left(pool(&rig, POOL, "ep1"))
    };
    rig.driver.configure(vec![heir.clone(), left]);
    rig.driver.scale(heir.id, 0, 1);
    let (scaled, _) = rig.fact().await;
    assert!(
        matches!(scaled, Event::CloudScaled { pool, .. } if pool == heir.id),
        "{scaled:?}"
    );
    let none = br#"{"workers":{"min":0,"max":0}}"#;
    assert!(
        !rig.cloud
            .seen()
            .iter()
            .any(|seen| seen.body.as_ref() == none)
    );
}

#[tokio::test]
async fn a_pool_that_another_took_the_place_of_still_hears_of_its_jobs() {
    let polls = Mutex::new(0);
    let mut rig = Rig::start(move |seen| {
        assert_eq!(seen.path, "/v2/ep1/status/c1");
        let mut polls = polls.lock().unwrap();
        *polls += 1;
        let word = if *polls < 3 { "IN_QUEUE" } else { "COMPLETED" };
        format!(r#"{{"id":"c1","status":"{word}","output":1}}"#).into_response()
    })
    .await;
    rig.driver.watch(attempt(1), POOL, "c1");
    assert!(matches!(
        rig.fact().await.0,
        Event::CloudStatus {
            state: CloudJobState::Queued,
            ..
        }
    ));
    let next = pool(&rig, NEXT, "ep2");
    let left = left(pool(&rig, POOL, "ep1"));
    rig.driver.configure(vec![next, left]);
    assert!(matches!(
        rig.fact().await.0,
        Event::CloudStatus {
            state: CloudJobState::Ended { .. },
            ..
        }
    ));
}

#[tokio::test]
async fn what_the_user_sets_at_an_endpoint_that_was_left_and_lowered_stays() {
    let limits = Arc::new(Mutex::new((0, 2)));
    let held = Arc::clone(&limits);
    let mut rig = Rig::start(move |seen| {
        let mut held = held.lock().unwrap();
        if seen.method == "PATCH" {
            let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
            let of = |name: &str| body["workers"][name].as_u64().unwrap();
            *held = (of("min"), of("max"));
        }
        let (min, max) = *held;
        format!(r#"{{"id":"ep1","workers":{{"min":{min},"max":{max}}}}}"#).into_response()
    })
    .await;
    let often = |access: CloudPool| CloudPool {
        limits_check_ms: 20,
        ..access
    };
    let lowered = often(left(pool(&rig, POOL, "ep1")));
    rig.driver.configure(vec![often(pool(&rig, POOL, "ep1"))]);
    rig.driver.scale(POOL, 0, 2);
    assert!(matches!(rig.fact().await.0, Event::CloudScaled { .. }));
    rig.driver.configure(vec![lowered.clone()]);
    rig.driver.scale(POOL, 0, 0);
    assert!(matches!(
        rig.fact().await.0,
        Event::CloudScaled { max: 0, .. }
    ));
    rig.driver.configure(vec![CloudPool {
        management: None,
        managed: Managed::Nothing,
        is_counted: false,
        ..lowered
    }]);
    // A job is asked about later than that, whatever the driver does besides.
    rig.driver.watch(attempt(1), POOL, "c1");
    *limits.lock().unwrap() = (1, 3);
    let read = |rig: &Rig| {
        let seen = rig.cloud.seen();
        seen.iter()
            .filter(|seen| seen.path.contains("/status/"))
            .count()
    };
    while read(&rig) < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*limits.lock().unwrap(), (1, 3));
}

#[tokio::test]
async fn limits_that_are_asked_for_again_are_sent_again() {
    let mut rig =
        Rig::start(|_seen| r#"{"id":"ep1","workers":{"min":0,"max":2}}"#.into_response()).await;
    for _ in 0..2 {
        rig.driver.scale(POOL, 0, 2);
        assert!(matches!(
            rig.fact().await.0,
            Event::CloudScaled { max: 2, .. }
        ));
    }
}
