//! The driver against a small cloud that does what a test says.

mod left;

use super::super::clock::{FastClock, SystemClock};
use super::super::limits::Limiter;
use super::super::management::Management;
use super::super::testing::{FakeCloud, Seen, timeouts};
use super::*;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use overspill_core::event::{CloudJobState, CloudRefusal, Outcome};
use overspill_core::id::JobId;
use overspill_core::time::DurationMs;
use std::sync::Mutex;

const POOL: PoolId = PoolId(7);
const HEALTH: &str = r#"{"jobs":{"inQueue":0},"workers":{"idle":0,"running":1}}"#;

struct Sink(mpsc::UnboundedSender<(Event, Option<Bytes>)>);

impl CloudEvents for Sink {
    fn send(&self, event: Event, payload: Option<Bytes>) {
        let _test_is_over = self.0.send((event, payload));
    }
}

/// A configured pool whose limits are ours.
fn pool(cloud: &FakeCloud, clock: Arc<dyn Clock>, id: PoolId, endpoint: &str) -> CloudPool {
    let limiter = Arc::new(Limiter::new(Arc::new(SystemClock::start())));
    let management = Management::new(&cloud.account(), timeouts(), limiter).unwrap();
    CloudPool {
        id,
        endpoint_id: endpoint.to_owned(),
        data_plane: cloud.data_plane_on(clock),
        management: Some(management),
        managed: Managed::Limits,
        idle_timeout_s: 5,
        price: None,
        limits_check_ms: 300_000,
        streams: false,
        is_left: false,
        is_counted: true,
    }
}

struct Rig {
    cloud: FakeCloud,
    driver: Driver,
    facts: mpsc::UnboundedReceiver<(Event, Option<Bytes>)>,
}

impl Rig {
    /// A driver with one pool; `answer` is asked for everything but health.
    async fn start(answer: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> Self {
        Self::start_on(Arc::new(SystemClock::start()), answer).await
    }

    async fn start_on(
        clock: Arc<dyn Clock>,
        answer: impl Fn(&Seen) -> Response + Send + Sync + 'static,
    ) -> Self {
        let answer = Arc::new(answer);
        let cloud = FakeCloud::start(move |seen: Seen| {
            let answer = Arc::clone(&answer);
            async move {
                if seen.path.ends_with("/health") {
                    HEALTH.into_response()
                } else {
                    answer(&seen)
                }
            }
        })
        .await;
        let (sink, facts) = mpsc::unbounded_channel();
        let (driver, _task) = Driver::start(Arc::clone(&clock), Arc::new(Sink(sink)));
        driver.configure(vec![pool(&cloud, clock, POOL, "ep1")]);
        let mut rig = Self {
            cloud,
            driver,
            facts,
        };
        // A later success of the first health poll would close what a test means to open.
        let first = rig.facts.recv().await;
        assert!(
            matches!(first, Some((Event::CloudHealth { .. }, None))),
            "{first:?}"
        );
        rig
    }

    /// The next fact that is not about health.
    async fn fact(&mut self) -> (Event, Option<Bytes>) {
        loop {
            let fact = self.facts.recv().await.expect("the driver runs");
            let is_count = matches!(
                fact.0,
                Event::CloudHealth { .. } | Event::CloudJobsCounted { .. }
            );
            if !is_count {
                return fact;
            }
        }
    }

    fn asked(&self, part: &str) -> usize {
        self.cloud
            .seen()
            .iter()
            .filter(|seen| seen.path.contains(part))
            .count()
    }
}

fn attempt(n: u128) -> AttemptId {
    AttemptId {
        job: JobId::new(n, false),
        generation: 0,
        number: 1,
    }
}

fn submission() -> Submission {
    Submission {
        input: Bytes::from_static(b"{\"a\":1}"),
        ..Submission::default()
    }
}

/// Answers one after the other, the last one for ever.
fn in_turn(answers: &'static [&'static str]) -> impl Fn() -> Response {
    let next = Mutex::new(0);
    move || {
        let mut next = next.lock().unwrap();
        let answer = answers[(*next).min(answers.len() - 1)];
        *next += 1;
        answer.into_response()
    }
}

#[tokio::test]
async fn a_job_is_submitted_watched_and_its_output_handed_over() {
    let status = in_turn(&[
        r#"{"id":"c1","status":"IN_QUEUE"}"#,
        r#"{"id":"c1","status":"IN_PROGRESS","workerId":"w","output":{"step":1}}"#,
        r#"{"id":"c1","status":"COMPLETED","workerId":"w","executionTime":9,"output":{"r":1}}"#,
    ]);
    let mut rig = Rig::start(move |seen| match seen.path.as_str() {
        "/v2/ep1/run" => r#"{"id":"c1","status":"IN_QUEUE"}"#.into_response(),
        _ => status(),
    })
    .await;
    rig.driver.submit(attempt(1), POOL, submission());
    let (event, _) = rig.fact().await;
    assert_eq!(
        event,
        Event::CloudSubmitted {
            attempt: attempt(1),
            cloud_job: "c1".to_owned()
        }
    );
    rig.driver.watch(attempt(1), POOL, "c1");
    let (queued, _) = rig.fact().await;
    assert_eq!(
        queued,
        Event::CloudStatus {
            attempt: attempt(1),
            state: CloudJobState::Queued
        }
    );
    let (running, _) = rig.fact().await;
    assert!(
        matches!(
            running,
            Event::CloudStatus {
                state: CloudJobState::Running { .. },
                ..
            }
        ),
        "{running:?}"
    );
    let (progress, bytes) = rig.fact().await;
    assert!(
        matches!(progress, Event::CloudProgress { .. }),
        "{progress:?}"
    );
    assert_eq!(bytes.as_deref(), Some(br#"{"step":1}"#.as_slice()));
    let (ended, bytes) = rig.fact().await;
    assert!(
        matches!(
            &ended,
            Event::CloudStatus { state: CloudJobState::Ended { outcome: Outcome::Completed { output }, .. }, .. }
                if output.bytes == 7
        ),
        "{ended:?}"
    );
    assert_eq!(bytes.as_deref(), Some(br#"{"r":1}"#.as_slice()));
}

#[tokio::test]
async fn a_lost_answer_is_told_as_unknown_and_never_sent_again() {
    let mut rig = Rig::start(|_seen| StatusCode::BAD_GATEWAY.into_response()).await;
    rig.driver.submit(attempt(1), POOL, submission());
    let (event, _) = rig.fact().await;
    assert!(
        matches!(event, Event::CloudSubmitUnknown { .. }),
        "{event:?}"
    );
    assert_eq!(rig.asked("/run"), 1);
}

#[tokio::test]
async fn a_hint_is_believed_only_if_the_cloud_knows_the_job() {
    let mut rig = Rig::start(|seen| match seen.path.as_str() {
        "/v2/ep1/status/c9" => r#"{"id":"c9","status":"COMPLETED"}"#.into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    })
    .await;
    rig.driver.hint(attempt(1), POOL, Some("forged"));
    rig.driver.hint(attempt(1), POOL, None);
    rig.driver.hint(attempt(2), POOL, Some("c9"));
    let (event, _) = rig.fact().await;
    assert_eq!(
        event,
        Event::CloudSubmitted {
            attempt: attempt(2),
            cloud_job: "c9".to_owned()
        }
    );
}

#[tokio::test]
async fn a_take_back_cancels_what_waits_and_spares_what_runs() {
    let mut rig = Rig::start(|seen| match seen.path.as_str() {
        "/v2/ep1/status/waits" => r#"{"id":"waits","status":"IN_QUEUE"}"#.into_response(),
        "/v2/ep1/status/runs" => {
            r#"{"id":"runs","status":"IN_PROGRESS","workerId":"w"}"#.into_response()
        }
        "/v2/ep1/cancel/waits" => r#"{"id":"waits","status":"CANCELLED"}"#.into_response(),
        other => panic!("asked {other}"),
    })
    .await;
    rig.driver.watch(attempt(2), POOL, "runs");
    let (running, _) = rig.fact().await;
    assert!(
        matches!(
            running,
            Event::CloudStatus {
                state: CloudJobState::Running { .. },
                ..
            }
        ),
        "{running:?}"
    );
    rig.driver.cancel(attempt(1), POOL, "waits", true);
    let (cancelled, _) = rig.fact().await;
    assert_eq!(
        cancelled,
        Event::CloudStatus {
            attempt: attempt(1),
            state: CloudJobState::Cancelled
        }
    );
    rig.driver.cancel(attempt(2), POOL, "runs", true);
    let (spared, _) = rig.fact().await;
    assert!(
        matches!(
            spared,
            Event::CloudStatus {
                state: CloudJobState::Running { .. },
                ..
            }
        ),
        "told again, so that the core stops waiting: {spared:?}"
    );
    assert_eq!(rig.asked("/cancel/runs"), 0);
}

#[tokio::test]
async fn a_cancel_goes_on_until_it_is_answered() {
    let answers = Mutex::new(0);
    let mut rig = Rig::start(move |seen| {
        assert!(seen.path.ends_with("/cancel/c1"), "{}", seen.path);
        let mut tries = answers.lock().unwrap();
        *tries += 1;
        match *tries {
            1 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            _ => r#"{"id":"c1","status":"CANCELLED"}"#.into_response(),
        }
    })
    .await;
    rig.driver.cancel(attempt(1), POOL, "c1", false);
    let (cancelled, _) = rig.fact().await;
    assert_eq!(
        cancelled,
        Event::CloudStatus {
            attempt: attempt(1),
            state: CloudJobState::Cancelled
        }
    );
    assert_eq!(rig.asked("/cancel/c1"), 2);
}

#[tokio::test]
async fn an_expired_result_is_told_after_two_404s() {
    let mut rig = Rig::start(|_seen| StatusCode::NOT_FOUND.into_response()).await;
    rig.driver.watch(attempt(1), POOL, "c1");
    let (gone, _) = rig.fact().await;
    assert_eq!(
        gone,
        Event::CloudGone {
            attempt: attempt(1)
        }
    );
    assert!(rig.asked("/status/c1") >= 2);
}

#[tokio::test]
async fn a_stream_brings_its_chunks_before_its_end() {
    let stream = in_turn(&[
        r#"{"status":"IN_PROGRESS","stream":[{"output":"a"}]}"#,
        r#"{"status":"COMPLETED","stream":[{"output":"b"},{"output":"c"}]}"#,
        r#"{"status":"COMPLETED","stream":[]}"#,
    ]);
    let mut rig = Rig::start(move |seen| match seen.path.contains("/stream/") {
        true => stream(),
        false if seen.path.contains("/status/") => {
            r#"{"id":"c1","status":"COMPLETED","output":["a","b","c"]}"#.into_response()
        }
        false => StatusCode::NOT_FOUND.into_response(),
    })
    .await;
    rig.driver.watch(attempt(1), POOL, "c1");
    rig.driver.stream(attempt(1));
    let mut seen = Vec::new();
    loop {
        let (event, bytes) = rig.fact().await;
        match event {
            Event::CloudChunk { .. } => seen.push(bytes.unwrap()),
            Event::CloudStatus {
                attempt: of,
                state: CloudJobState::Ended { .. },
            } if of == attempt(1) => break,
            _ => {}
        }
    }
    assert_eq!(seen, ["\"a\"", "\"b\"", "\"c\""]);
}

#[tokio::test]
async fn chunks_of_a_generator_that_nobody_read_are_fetched_at_its_end() {
    for output in ["[]", "[1,2]"] {
        chunks_are_fetched_with(output).await;
    }
}

async fn chunks_are_fetched_with(output: &str) {
    let status = format!(r#"{{"id":"c1","status":"COMPLETED","output":{output}}}"#);
    let stream = in_turn(&[
        r#"{"status":"COMPLETED","stream":[{"output":1},{"output":2}]}"#,
        r#"{"status":"COMPLETED","stream":[]}"#,
    ]);
    let mut rig = Rig::start(move |seen| match seen.path.contains("/stream/") {
        true => stream(),
        false => status.clone().into_response(),
    })
    .await;
    rig.driver.watch(attempt(1), POOL, "c1");
    for chunk in ["1", "2"] {
        let (event, bytes) = rig.fact().await;
        assert!(matches!(event, Event::CloudChunk { .. }), "{event:?}");
        assert_eq!(bytes.unwrap(), chunk);
    }
    let (ended, _) = rig.fact().await;
    assert!(
        matches!(
            ended,
            Event::CloudStatus {
                state: CloudJobState::Ended { .. },
                ..
            }
        ),
        "{ended:?}"
    );
}

#[tokio::test]
async fn limits_are_set_at_once_and_confirmed() {
    let endpoint = |max: u32| {
        format!(
            r#"{{"id":"ep1","name":"n","type":"QUEUE","workers":{{"min":0,"max":{max},"standby":1}},
               "scaling":{{"type":"QUEUE_DELAY","queueDelay":4}},"timeout":1,"createdAt":"2026-01-01T00:00:00Z"}}"#
        )
    };
    let mut rig = Rig::start(move |_seen| endpoint(3).into_response()).await;
    rig.driver.scale(POOL, 0, 3);
    let (scaled, _) = rig.fact().await;
    assert_eq!(
        scaled,
        Event::CloudScaled {
            pool: POOL,
            min: 0,
            max: 3
        }
    );
    let patches: Vec<_> = rig
        .cloud
        .seen()
        .into_iter()
        .filter(|seen| seen.method == "PATCH")
        .collect();
    assert_eq!(patches.len(), 1);
    assert_eq!(
        patches[0].body.as_ref(),
        br#"{"workers":{"min":0,"max":3}}"#,
        "nothing else is ours to change"
    );
}

#[tokio::test]
async fn a_refused_key_stops_submissions_and_is_told_once() {
    let mut rig = Rig::start(|_seen| StatusCode::UNAUTHORIZED.into_response()).await;
    rig.driver.submit(attempt(1), POOL, submission());
    let (refused, _) = rig.fact().await;
    assert!(
        matches!(
            refused,
            Event::CloudRefused {
                refusal: CloudRefusal::Unauthorized,
                ..
            }
        ),
        "{refused:?}"
    );
    let (failed, _) = rig.fact().await;
    assert!(
        matches!(
            failed,
            Event::CloudFailed {
                refusal: CloudRefusal::Unauthorized,
                ..
            }
        ),
        "{failed:?}"
    );
    rig.driver.submit(attempt(2), POOL, submission());
    let (refused, _) = rig.fact().await;
    let Event::CloudRefused {
        refusal: CloudRefusal::Unauthorized,
        retry_after: Some(after),
        ..
    } = refused
    else {
        panic!("{refused:?}")
    };
    assert!(after > DurationMs::from_secs(50), "{after}");
    assert_eq!(rig.asked("/run"), 1, "the second was not sent");
}

#[tokio::test]
async fn a_paused_endpoint_gets_its_limits_again() {
    let endpoint = r#"{"id":"ep1","name":"n","workers":{"min":0,"max":2},"scaling":{"type":"QUEUE_DELAY","queueDelay":4},"timeout":1,"createdAt":"x"}"#;
    let mut rig = Rig::start(move |seen| match seen.method.as_str() {
        "PATCH" => endpoint.into_response(),
        _ => (
            StatusCode::CONFLICT,
            r#"{"code":"ENDPOINT_PAUSED","detail":"Endpoint is paused"}"#,
        )
            .into_response(),
    })
    .await;
    rig.driver.scale(POOL, 0, 2);
    assert!(matches!(rig.fact().await.0, Event::CloudScaled { .. }));
    rig.driver.submit(attempt(1), POOL, submission());
    let (refused, _) = rig.fact().await;
    assert!(
        matches!(
            refused,
            Event::CloudRefused {
                refusal: CloudRefusal::Paused,
                ..
            }
        ),
        "{refused:?}"
    );
    let (scaled, _) = rig.fact().await;
    assert_eq!(
        scaled,
        Event::CloudScaled {
            pool: POOL,
            min: 0,
            max: 2
        },
        "what was confirmed was sent again"
    );
}

#[tokio::test]
async fn a_dead_cloud_opens_the_breaker() {
    let mut rig = Rig::start(|_seen| StatusCode::BAD_GATEWAY.into_response()).await;
    for n in 1..=5 {
        rig.driver.submit(attempt(n), POOL, submission());
    }
    let mut unknown = 0;
    loop {
        match rig.fact().await.0 {
            Event::CloudSubmitUnknown { .. } => unknown += 1,
            Event::CloudFailed { refusal, .. } => {
                assert_eq!(refusal, CloudRefusal::Unreachable);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(unknown, 5);
    rig.driver.submit(attempt(6), POOL, submission());
    let (refused, _) = rig.fact().await;
    assert!(
        matches!(
            refused,
            Event::CloudRefused {
                refusal: CloudRefusal::Unreachable,
                ..
            }
        ),
        "{refused:?}"
    );
    assert_eq!(rig.asked("/run"), 5);
}

#[tokio::test]
async fn an_unknown_pool_is_refused_at_once() {
    let mut rig = Rig::start(|_seen| StatusCode::OK.into_response()).await;
    rig.driver.submit(attempt(1), PoolId(99), submission());
    let (refused, _) = rig.fact().await;
    assert!(
        matches!(
            refused,
            Event::CloudRefused {
                refusal: CloudRefusal::EndpointGone,
                ..
            }
        ),
        "{refused:?}"
    );
}

/// An hour in which half of all questions are refused: every end is told, and the cloud is not hammered.
#[tokio::test]
async fn a_storm_of_429_loses_nothing() {
    const JOBS: u128 = 60;
    let answers = Mutex::new((0_u32, std::collections::BTreeMap::<String, u32>::new()));
    let mut rig = Rig::start_on(FastClock::times(200), move |seen| {
        let mut answers = answers.lock().unwrap();
        answers.0 += 1;
        if answers.0.is_multiple_of(2) {
            return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "3")], "{}").into_response();
        }
        let id = seen.path.rsplit('/').next().unwrap().to_owned();
        let asked = answers.1.entry(id.clone()).or_default();
        *asked += 1;
        let word = if *asked < 3 {
            "IN_PROGRESS"
        } else {
            "COMPLETED"
        };
        format!(r#"{{"id":"{id}","status":"{word}","output":1}}"#).into_response()
    })
    .await;
    for n in 0..JOBS {
        rig.driver.watch(attempt(n), POOL, &format!("c{n}"));
    }
    let mut ended = std::collections::BTreeSet::new();
    while ended.len() < usize::try_from(JOBS).unwrap() {
        if let (
            Event::CloudStatus {
                attempt,
                state: CloudJobState::Ended { .. },
            },
            _,
        ) = rig.fact().await
        {
            assert!(ended.insert(attempt), "told once");
        }
    }
    let calls = rig.asked("/status/");
    assert!(
        calls < 12 * 60,
        "{calls} calls for 180 answers that counted"
    );
}

#[tokio::test]
async fn while_no_pool_is_known_no_bill_is_due() {
    let cloud = FakeCloud::start(|_seen: Seen| async { "{}".into_response() }).await;
    let clock = Arc::new(SystemClock::start());
    let limiter = Arc::new(Limiter::new(Arc::<SystemClock>::clone(&clock)));
    let (sink, _facts) = mpsc::unbounded_channel();
    let mut runner = run::Runner::new(Arc::<SystemClock>::clone(&clock), Arc::new(Sink(sink)));
    let access = BillAccess {
        management: Management::new(&cloud.account(), timeouts(), limiter).unwrap(),
        period_ms: 1,
    };
    let now_ms = clock.now_ms();
    runner.bills.set(access, now_ms - 1_000);
    runner.start_due();
    assert!(
        runner.next_wakeup_ms() > now_ms,
        "it does not turn in circles"
    );
}

#[tokio::test]
async fn billing_records_of_the_account_are_read_and_told_by_pool() {
    const RECORDS: &str = r#"{"records":[
        {"startTime":"2026-06-01T09:00:00Z","endTime":"2026-06-01T10:00:00Z","serverlessId":"ep1",
         "totalAmount":1.75,"gpuAmount":1.5,"cpuAmount":0,"diskAmount":0.25,"feeAmount":0},
        {"startTime":"2026-06-01T09:00:00Z","endTime":"2026-06-01T10:00:00Z","serverlessId":"other",
         "totalAmount":9,"gpuAmount":9,"cpuAmount":0,"diskAmount":0,"feeAmount":0}],"metadata":{}}"#;
    const ENDPOINTS: &str = r#"{"endpoints":[{"id":"ep1","name":"burst","type":"QUEUE","image":"me/w:3",
        "gpu":{"pools":["ADA_24","AMPERE_24"],"count":2},"workers":{"min":0,"max":4,"idleTimeout":5},
        "scaling":{"type":"QUEUE_DELAY","queueDelay":0.5},"timeout":600000,"flashboot":"OFF",
        "createdAt":"2026-06-01T12:00:00Z"}]}"#;
    let gpu = |id, pool, price| {
        format!(
            r#"{{"id":"{id}","name":"{id}","pool":"{pool}","manufacturer":"NVIDIA","memory":24,"secure":true,
            "community":true,"price":{{"secure":1,"community":1,"serverless":{price}}},
            "maxCount":{{"secure":8,"community":8}}}}"#
        )
    };
    let catalog = format!(
        r#"{{"gpus":[{},{},{}]}}"#,
        gpu("a", "ADA_24", 1.116),
        gpu("b", "AMPERE_24", 0.684),
        gpu("c", "ADA_80_PRO", 4.176)
    );
    let refusals = Mutex::new(1);
    let mut rig = Rig::start_on(FastClock::times(600), move |seen| {
        if seen.path.starts_with("/v2/billing/serverless?") {
            let mut refusals = refusals.lock().unwrap();
            if *refusals > 0 {
                *refusals -= 1;
                return (StatusCode::FORBIDDEN, "{}").into_response();
            }
            assert!(seen.path.ends_with("bucketSize=hour"), "{}", seen.path);
            return RECORDS.into_response();
        }
        match seen.path.as_str() {
            "/v2/serverless" => ENDPOINTS.into_response(),
            path if path.starts_with("/v2/catalog/gpus") => catalog.clone().into_response(),
            path => panic!("{path} is asked for"),
        }
    })
    .await;
    let limiter = Arc::new(Limiter::new(Arc::new(SystemClock::start())));
    let management = Management::new(&rig.cloud.account(), timeouts(), limiter).unwrap();
    rig.driver.read_bills(BillAccess {
        management,
        period_ms: 10_000,
    });
    for _ in 0..2 {
        let (Event::CloudBilled { pool, bill }, None) = rig.fact().await else {
            panic!("no bill")
        };
        assert_eq!(pool, POOL);
        let [record] = bill.records.as_slice() else {
            panic!("{bill:?}")
        };
        assert_eq!(record.compute.to_usd(2), "1.50");
        assert_eq!(record.other.to_usd(2), "0.25");
        // Two of the dearest card that a worker may get.
        let list = bill.list_price.expect("it is in the catalog");
        assert_eq!(list.per_hour().to_usd(3), "2.232");
    }
    assert_eq!(rig.asked("/catalog/"), 1, "once an hour");
}
