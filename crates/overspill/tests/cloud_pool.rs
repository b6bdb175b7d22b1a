//! The cloud driver against the emulated cloud over HTTP: what it tells when all goes well, and when it does not.
//!
//! Cloud time runs sixty times as fast as the clock; nothing here waits but for facts.

use axum::extract::State;
use bytes::Bytes;
use overspill::pool::runpod::client::{Account, DataPlane, Timeouts};
use overspill::pool::runpod::clock::SystemClock;
use overspill::pool::runpod::driver::{CloudEvents, CloudPool, Driver, Managed, token};
use overspill::pool::runpod::limits::Limiter;
use overspill::pool::runpod::management::Management;
use overspill::pool::runpod::submission::Submission;
use overspill::pool::runpod::tls;
use overspill_core::event::{CloudJobState, CloudRefusal, Event, Outcome};
use overspill_core::id::{AttemptId, JobId, PoolId};
use overspill_core::money::{NanoUsd, RatePerHour};
use overspill_core::time::DurationMs;
use overspill_emulator::{Emulator, Options};
use overspill_sim::cloud::{CloudOptions, FaultKind, FaultSpec, MsRange};
use overspill_wire::management::endpoint::{
    CreateEndpoint, EndpointType, GpuRequest, Scaling, WorkerLimits,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const POOL: PoolId = PoolId(3);
const SECRET: &[u8] = b"a secret of this installation";

struct Sink(mpsc::UnboundedSender<(Event, Option<Bytes>)>);

impl CloudEvents for Sink {
    fn send(&self, event: Event, payload: Option<Bytes>) {
        let _test_is_over = self.0.send((event, payload));
    }
}

struct Rig {
    emulator: Emulator,
    management: Management,
    endpoint_id: String,
    driver: Driver,
    facts: mpsc::UnboundedReceiver<(Event, Option<Bytes>)>,
}

impl Rig {
    /// A cloud with one endpoint of at most `max` workers that start in `cold_ms` of cloud time, and a driver on it.
    async fn start(max: u32, cold_ms: u64) -> Self {
        tls::install_provider();
        let cloud = CloudOptions {
            cold_start: MsRange::new(cold_ms, cold_ms),
            ..CloudOptions::default()
        };
        let emulator = Emulator::new(Options {
            cloud,
            time_scale: 60.0,
            ..Options::default()
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = emulator.clone();
        tokio::spawn(async move { serving.serve(listener, std::future::pending()).await });
        let account = Account {
            base_url: format!("http://{address}/v2"),
            api_key: "rpa_0123456789abcdef".into(),
            installation: "test".to_owned(),
        };
        let timeouts = Timeouts {
            submit: Duration::from_millis(300),
            ..Timeouts::default()
        };
        let limiter = Arc::new(Limiter::new(Arc::new(SystemClock::start())));
        let management = Management::new(&account, timeouts, Arc::clone(&limiter)).unwrap();
        let endpoint = management.create(&endpoint(max)).await.unwrap();
        let (sink, facts) = mpsc::unbounded_channel();
        let (driver, _task) = Driver::start(Arc::new(SystemClock::start()), Arc::new(Sink(sink)));
        driver.configure(vec![CloudPool {
            id: POOL,
            endpoint_id: endpoint.id.clone(),
            data_plane: DataPlane::new(&account, timeouts, limiter).unwrap(),
            management: Some(management.clone()),
            managed: Managed::Everything,
            idle_timeout_s: 5,
            price: Some(RatePerHour::new(NanoUsd::from_nanos(440_000_000))),
            limits_check_ms: 300_000,
            streams: false,
            is_left: false,
            is_counted: true,
        }]);
        Self {
            emulator,
            management,
            endpoint_id: endpoint.id,
            driver,
            facts,
        }
    }

    /// The next fact about a job or the pool's limits.
    async fn fact(&mut self) -> (Event, Option<Bytes>) {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(30), self.facts.recv());
            let fact = next
                .await
                .expect("a fact comes within 30 s")
                .expect("the driver runs");
            let is_count = matches!(
                fact.0,
                Event::CloudHealth { .. } | Event::CloudJobsCounted { .. }
            );
            if !is_count {
                return fact;
            }
        }
    }

    /// Submits and gives back the cloud's id of the job.
    async fn submitted(&mut self, attempt: AttemptId, input: &'static str) -> String {
        self.driver.submit(attempt, POOL, submission(input));
        match self.fact().await.0 {
            Event::CloudSubmitted {
                attempt: of,
                cloud_job,
            } if of == attempt => cloud_job,
            other => panic!("{other:?}"),
        }
    }

    /// Facts until the attempt is over; the last one and its payload.
    async fn end_of(&mut self, attempt: AttemptId) -> (CloudJobState, Option<Bytes>) {
        loop {
            if let (Event::CloudStatus { attempt: of, state }, payload) = self.fact().await {
                let is_over =
                    !matches!(state, CloudJobState::Queued | CloudJobState::Running { .. });
                if of == attempt && is_over {
                    return (state, payload);
                }
            }
        }
    }

    async fn runs(&mut self, attempt: AttemptId) {
        loop {
            if let (
                Event::CloudStatus {
                    attempt: of,
                    state: CloudJobState::Running { .. },
                },
                _,
            ) = self.fact().await
                && of == attempt
            {
                return;
            }
        }
    }

    fn inject(&self, kind: FaultKind, count: Option<u64>) {
        let spec = FaultSpec {
            kind,
            endpoint: None,
            count,
            probability: None,
            for_ms: None,
        };
        self.emulator
            .with_model(|model, now_ms| model.inject(now_ms, spec))
            .unwrap();
    }
}

fn endpoint(max: u32) -> CreateEndpoint {
    CreateEndpoint {
        name: "burst".to_owned(),
        endpoint_type: EndpointType::Queue,
        scaling: Scaling::QueueDelay { queue_delay: 0.5 },
        image: Some("registry.example/worker:1".to_owned()),
        template_id: None,
        gpu: Some(GpuRequest {
            pools: Some(vec!["ADA_24".to_owned()]),
            count: Some(1),
            ..GpuRequest::default()
        }),
        cpu: None,
        workers: Some(WorkerLimits {
            min: Some(0),
            max: Some(max),
            idle_timeout: Some(5),
        }),
        timeout: Some(600_000),
        flashboot: None,
        disk: Some(20),
        args: None,
        env: None,
        ports: None,
        registry: None,
        data_center_ids: None,
        network_volumes: None,
    }
}

fn attempt(n: u128) -> AttemptId {
    AttemptId {
        job: JobId::new(n, false),
        generation: 0,
        number: 1,
    }
}

fn submission(input: &'static str) -> Submission {
    Submission {
        input: Bytes::from_static(input.as_bytes()),
        execution_timeout_ms: Some(600_000),
        ttl_ms: Some(3_600_000),
        ..Submission::default()
    }
}

#[tokio::test]
async fn a_paused_endpoint_is_raised_and_the_job_runs_to_its_end() {
    let mut rig = Rig::start(0, 5_000).await;
    rig.driver.submit(
        attempt(1),
        POOL,
        submission(r#"{"seconds":2,"output":{"image":"x"}}"#),
    );
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

    rig.driver.scale(POOL, 0, 2);
    assert_eq!(
        rig.fact().await.0,
        Event::CloudScaled {
            pool: POOL,
            min: 0,
            max: 2
        }
    );
    assert_eq!(
        rig.management.limits(&rig.endpoint_id).await.unwrap().max,
        Some(2)
    );

    let cloud_job = rig
        .submitted(attempt(2), r#"{"seconds":2,"output":{"image":"x"}}"#)
        .await;
    rig.driver.watch(attempt(2), POOL, &cloud_job);
    let (state, output) = rig.end_of(attempt(2)).await;
    let CloudJobState::Ended {
        outcome: Outcome::Completed { output: reference },
        worker,
        execution,
        ..
    } = state
    else {
        panic!("{state:?}")
    };
    let output = output.unwrap();
    assert_eq!(output.as_ref(), br#"{"image":"x"}"#);
    assert_eq!(reference.bytes, output.len() as u64);
    assert!(worker.is_some());
    assert!(
        execution.unwrap() >= DurationMs::from_secs(2),
        "{execution:?}"
    );
}

#[tokio::test]
async fn a_failed_handler_is_told_with_its_error() {
    let mut rig = Rig::start(1, 1_000).await;
    let cloud_job = rig
        .submitted(attempt(1), r#"{"error":"no such voice"}"#)
        .await;
    rig.driver.watch(attempt(1), POOL, &cloud_job);
    let (state, _) = rig.end_of(attempt(1)).await;
    let CloudJobState::Ended {
        outcome: Outcome::Failed { error, .. },
        ..
    } = state
    else {
        panic!("{state:?}")
    };
    assert!(error.contains("no such voice"), "{error}");
}

#[tokio::test]
async fn a_queued_job_is_taken_back_before_it_ever_runs() {
    let mut rig = Rig::start(1, 3_600_000).await;
    let cloud_job = rig.submitted(attempt(1), r#"{"seconds":1}"#).await;
    rig.driver.watch(attempt(1), POOL, &cloud_job);
    rig.driver.cancel(attempt(1), POOL, &cloud_job, true);
    assert_eq!(
        rig.end_of(attempt(1)).await,
        (CloudJobState::Cancelled, None)
    );
    assert!(rig.emulator.executions().is_empty());
}

#[tokio::test]
async fn a_running_job_is_left_alone_by_a_take_back_and_ended_by_a_cancel() {
    let mut rig = Rig::start(1, 1_000).await;
    let cloud_job = rig.submitted(attempt(1), r#"{"seconds":500}"#).await;
    rig.driver.watch(attempt(1), POOL, &cloud_job);
    rig.runs(attempt(1)).await;
    rig.driver.cancel(attempt(1), POOL, &cloud_job, true);
    rig.runs(attempt(1)).await;
    rig.driver.cancel(attempt(1), POOL, &cloud_job, false);
    assert_eq!(rig.end_of(attempt(1)).await.0, CloudJobState::Cancelled);
}

#[tokio::test]
async fn a_lost_answer_is_found_by_the_webhooks_token() {
    let mut rig = Rig::start(1, 1_000).await;
    let (hooks, mut called) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let receive = async |State(hooks): State<mpsc::UnboundedSender<(String, Bytes)>>,
                         axum::extract::Path(token): axum::extract::Path<String>,
                         body: Bytes| {
        let _test_is_over = hooks.send((token, body));
    };
    let router = axum::Router::new()
        .route("/hook/{token}", axum::routing::post(receive))
        .with_state(hooks);
    tokio::spawn(async move { axum::serve(listener, router).await });

    rig.inject(FaultKind::AcceptThenHang, Some(1));
    let webhook = Some(format!(
        "http://{address}/hook/{}",
        token::write(SECRET, attempt(1), POOL)
    ));
    let input = Bytes::from_static(br#"{"seconds":1,"output":7}"#);
    rig.driver.submit(
        attempt(1),
        POOL,
        Submission {
            input,
            webhook,
            ..Submission::default()
        },
    );
    let (unknown, _) = rig.fact().await;
    assert!(
        matches!(unknown, Event::CloudSubmitUnknown { .. }),
        "{unknown:?}"
    );

    let (token, body) = called.recv().await.unwrap();
    let named: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let (found, pool) = token::read(SECRET, &token).expect("the token is ours");
    rig.driver.hint(found, pool, named["id"].as_str());
    let (submitted, _) = rig.fact().await;
    let Event::CloudSubmitted {
        attempt: of,
        cloud_job,
    } = submitted
    else {
        panic!("{submitted:?}")
    };
    assert_eq!(of, attempt(1));
    rig.driver.watch(attempt(1), POOL, &cloud_job);
    let (_, output) = rig.end_of(attempt(1)).await;
    assert_eq!(output.unwrap().as_ref(), b"7");
    assert_eq!(
        rig.emulator.executions().len(),
        1,
        "it ran once and was paid once"
    );
}

#[tokio::test]
async fn a_streams_chunks_come_in_order_and_before_its_end() {
    let mut rig = Rig::start(1, 1_000).await;
    let cloud_job = rig
        .submitted(attempt(1), r#"{"seconds":20,"stream":5}"#)
        .await;
    rig.driver.watch(attempt(1), POOL, &cloud_job);
    rig.driver.stream(attempt(1));
    let mut chunks = Vec::new();
    loop {
        match rig.fact().await {
            (Event::CloudChunk { .. }, Some(chunk)) => chunks.push(chunk),
            (
                Event::CloudStatus {
                    state: CloudJobState::Ended { .. },
                    ..
                },
                _,
            ) => break,
            _ => {}
        }
    }
    assert_eq!(chunks.len(), 5, "{chunks:?}");
}

#[tokio::test]
async fn a_job_that_is_not_visible_at_once_and_failing_polls_lose_nothing() {
    let mut rig = Rig::start(1, 1_000).await;
    rig.inject(FaultKind::LateId { delay_ms: 60_000 }, Some(1));
    let cloud_job = rig
        .submitted(attempt(1), r#"{"seconds":1,"output":1}"#)
        .await;
    rig.inject(
        FaultKind::Http5xx {
            status: 502,
            operation: Some("status".to_owned()),
        },
        Some(3),
    );
    rig.driver.watch(attempt(1), POOL, &cloud_job);
    let (state, output) = rig.end_of(attempt(1)).await;
    assert!(
        matches!(
            state,
            CloudJobState::Ended {
                outcome: Outcome::Completed { .. },
                ..
            }
        ),
        "{state:?}"
    );
    assert_eq!(output.unwrap().as_ref(), b"1");
}

#[tokio::test]
async fn a_rate_limit_is_told_with_its_wait() {
    let mut rig = Rig::start(1, 1_000).await;
    rig.inject(
        FaultKind::Http429 {
            retry_after_s: 7,
            operation: Some("run".to_owned()),
        },
        Some(1),
    );
    rig.driver.submit(attempt(1), POOL, submission("{}"));
    let (refused, _) = rig.fact().await;
    let Event::CloudRefused {
        refusal: CloudRefusal::RateLimited,
        retry_after,
        ..
    } = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!(retry_after, Some(DurationMs::from_secs(7)));
}

#[tokio::test]
async fn an_expired_result_is_told_as_gone() {
    let mut rig = Rig::start(1, 1_000).await;
    let cloud_job = rig.submitted(attempt(1), r#"{"seconds":1}"#).await;
    rig.emulator.advance(Duration::from_secs(2 * 3_600));
    rig.driver.watch(attempt(1), POOL, &cloud_job);
    assert_eq!(
        rig.fact().await.0,
        Event::CloudGone {
            attempt: attempt(1)
        }
    );
}

#[tokio::test]
async fn an_empty_input_runs_although_the_cloud_drops_empty_ones() {
    let mut rig = Rig::start(1, 1_000).await;
    rig.inject(FaultKind::EmptyInputDropped, None);
    let cloud_job = rig.submitted(attempt(1), "{}").await;
    rig.driver.watch(attempt(1), POOL, &cloud_job);
    let (state, _) = rig.end_of(attempt(1)).await;
    assert!(
        matches!(
            state,
            CloudJobState::Ended {
                outcome: Outcome::Completed { .. },
                ..
            }
        ),
        "{state:?}"
    );
}

#[tokio::test]
async fn workers_follow_the_limits_and_are_counted_while_they_cost() {
    let mut rig = Rig::start(1, 1_000).await;
    rig.driver.scale(POOL, 1, 1);
    let mut has_worker = false;
    let mut counts = 0;
    while counts < 3 || !has_worker {
        if let Event::CloudHealth { workers, .. } = rig.facts.recv().await.unwrap().0 {
            has_worker |= workers.idle + workers.running + workers.initializing == 1;
            counts += u32::from(has_worker);
        }
    }
    rig.driver.scale(POOL, 0, 0);
    while has_worker {
        if let Event::CloudHealth { workers, .. } = rig.facts.recv().await.unwrap().0 {
            has_worker = workers.idle + workers.running + workers.initializing > 0;
        }
    }
}
