//! Each ordered fault, and what is seen of it.

use super::*;

fn order(model: &mut CloudModel, now_ms: i64, text: &str) -> u64 {
    let spec: FaultSpec = serde_json::from_str(text).unwrap();
    model.inject(now_ms, spec).unwrap()
}

#[test]
fn too_many_and_server_errors_hit_the_calls_they_are_meant_for() {
    let (mut model, endpoint) = cloud(0, 1);
    order(
        &mut model,
        0,
        r#"{"fault":"http_429","operation":"run","count":1,"retry_after_s":3}"#,
    );
    order(
        &mut model,
        0,
        r#"{"fault":"http_5xx","status":503,"for_ms":1000}"#,
    );
    assert_eq!(
        model.http_fault(0, Some(&endpoint), "run"),
        Some(HttpFault::TooMany(3))
    );
    assert_eq!(
        model.http_fault(0, Some(&endpoint), "run"),
        Some(HttpFault::Status(503))
    );
    assert_eq!(model.http_fault(1_000, Some(&endpoint), "run"), None);
}

#[test]
fn probability_is_seeded() {
    let (mut model, endpoint) = cloud(0, 1);
    order(&mut model, 0, r#"{"fault":"http_429","probability":0.5}"#);
    let hits = (0..1_000)
        .filter(|_| model.http_fault(0, Some(&endpoint), "status").is_some())
        .count();
    assert!((400..600).contains(&hits), "{hits}");
}

#[test]
fn accept_then_hang_is_used_up() {
    let (mut model, endpoint) = cloud(0, 1);
    order(&mut model, 0, r#"{"fault":"accept_then_hang","count":1}"#);
    assert!(model.hangs_after_accept(0, &endpoint));
    assert!(!model.hangs_after_accept(0, &endpoint));
}

#[test]
fn a_lost_worker_costs_forty_seconds_and_the_second_loss_the_job() {
    let (mut model, endpoint) = cloud(2, 2);
    let job = submit(&mut model, 10_000, &endpoint, 300_000);
    order(&mut model, 20_000, r#"{"fault":"lost_worker"}"#);
    let view = model.status(59_999, &endpoint, &job).unwrap();
    assert_eq!((view.status, view.retries), (JobStatus::InProgress, None));
    let view = model.status(60_000, &endpoint, &job).unwrap();
    assert_eq!(
        (view.status, view.retries),
        (JobStatus::InProgress, Some(1))
    );
    assert_eq!(view.delay_time, Some(50_000));
    order(&mut model, 70_000, r#"{"fault":"lost_worker"}"#);
    let view = model.status(110_000, &endpoint, &job).unwrap();
    assert_eq!(view.status, JobStatus::Failed);
    assert_eq!(
        view.error.unwrap().get(),
        "\"job timed out after 1 retries\""
    );
    let health = model.health(110_000, &endpoint).unwrap();
    assert_eq!((health.jobs.retried, health.jobs.failed), (1, 1));
    assert!(
        model
            .executions(110_000)
            .iter()
            .all(|e| e.outcome == Outcome::Lost)
    );
}

#[test]
fn a_dropped_empty_input_fails_after_two_silences() {
    let (mut model, endpoint) = cloud(1, 1);
    order(&mut model, 0, r#"{"fault":"empty_input_dropped"}"#);
    let job = model
        .submit(10_000, &endpoint, Submission::of(raw("{}")))
        .unwrap()
        .id;
    let view = model.status(89_999, &endpoint, &job).unwrap();
    assert_eq!(
        (view.status, view.retries),
        (JobStatus::InProgress, Some(1))
    );
    let view = model.status(90_000, &endpoint, &job).unwrap();
    assert_eq!(view.status, JobStatus::Failed);
    assert!(model.executions(90_000).is_empty());
}

#[test]
fn an_empty_input_is_delivered_without_the_fault() {
    let (mut model, endpoint) = cloud(1, 1);
    let job = model
        .submit(10_000, &endpoint, Submission::of(raw("{}")))
        .unwrap()
        .id;
    assert_eq!(
        model.status(11_000, &endpoint, &job).unwrap().status,
        JobStatus::Completed
    );
}

#[test]
fn a_lost_result_is_completed_without_output() {
    let (mut model, endpoint) = cloud(1, 1);
    order(&mut model, 0, r#"{"fault":"result_lost","count":1}"#);
    let first = submit(&mut model, 10_000, &endpoint, 1_000);
    let second = submit(&mut model, 10_000, &endpoint, 1_000);
    assert!(
        model
            .status(12_000, &endpoint, &first)
            .unwrap()
            .output
            .is_none()
    );
    assert!(
        model
            .status(12_000, &endpoint, &second)
            .unwrap()
            .output
            .is_some()
    );
}

#[test]
fn results_expire_early() {
    let (mut model, endpoint) = cloud(1, 1);
    order(&mut model, 0, r#"{"fault":"early_expiry","after_ms":2000}"#);
    let job = submit(&mut model, 10_000, &endpoint, 1_000);
    assert!(model.status(12_999, &endpoint, &job).is_ok());
    assert!(model.status(13_000, &endpoint, &job).is_err());
}

#[test]
fn an_id_is_visible_late() {
    let (mut model, endpoint) = cloud(1, 1);
    order(&mut model, 0, r#"{"fault":"late_id","delay_ms":1500}"#);
    let job = submit(&mut model, 10_000, &endpoint, 1_000);
    assert!(model.status(11_499, &endpoint, &job).is_err());
    assert_eq!(
        model.status(11_500, &endpoint, &job).unwrap().status,
        JobStatus::Completed
    );
}

#[test]
fn throttled_workers_wait_unbilled_until_there_is_room() {
    let (mut model, endpoint) = cloud(0, 2);
    order(&mut model, 0, r#"{"fault":"throttled","for_ms":60000}"#);
    let job = submit(&mut model, 0, &endpoint, 1_000);
    assert_eq!(
        model.health(50_000, &endpoint).unwrap().workers.throttled,
        1
    );
    assert_eq!(model.bill(50_000)[&endpoint].worker_ms, 0);
    assert_eq!(
        model.status(80_000, &endpoint, &job).unwrap().status,
        JobStatus::Completed
    );
}

#[test]
fn unhealthy_workers_are_unbilled_and_come_back() {
    let (mut model, endpoint) = cloud(1, 1);
    order(&mut model, 20_000, r#"{"fault":"unhealthy"}"#);
    assert_eq!(
        model.health(20_000, &endpoint).unwrap().workers.unhealthy,
        1
    );
    assert_eq!(model.bill(29_000)[&endpoint].worker_ms, 20_000);
    assert_eq!(
        model
            .health(30_000, &endpoint)
            .unwrap()
            .workers
            .initializing,
        1
    );
    assert_eq!(model.health(40_000, &endpoint).unwrap().workers.idle, 1);
}

#[test]
fn a_crash_loop_lowers_the_maximum_step_by_step() {
    let (mut model, endpoint) = cloud(0, 4);
    order(&mut model, 0, r#"{"fault":"crash_loop"}"#);
    submit(&mut model, 0, &endpoint, 1_000);
    let mut seen = vec![4];
    for at in (0..36_000_000).step_by(60_000) {
        let max = model
            .endpoint_settings(at, &endpoint)
            .unwrap()
            .0
            .workers_max;
        if seen.last() != Some(&max) {
            seen.push(max);
        }
    }
    assert_eq!(seen, [4, 2, 1, 0]);
}

#[test]
fn the_platform_lowers_the_maximum() {
    let (mut model, endpoint) = cloud(2, 5);
    order(&mut model, 20_000, r#"{"fault":"max_lowered","max":1}"#);
    assert_eq!(
        model
            .endpoint_settings(20_000, &endpoint)
            .unwrap()
            .0
            .workers_max,
        1
    );
    assert_eq!(model.workers(20_000, &endpoint).unwrap().0.len(), 1);
}

#[test]
fn a_standby_worker_stays_warm_until_the_owner_says_otherwise() {
    let (mut model, endpoint) = cloud(0, 3);
    order(&mut model, 0, r#"{"fault":"standby_worker"}"#);
    assert_eq!(model.health(3_600_000, &endpoint).unwrap().workers.idle, 1);
    model
        .update_endpoint(3_600_000, &endpoint, settings(0, 3))
        .unwrap();
    assert_eq!(model.workers(3_600_000, &endpoint).unwrap().0.len(), 0);
}

#[test]
fn a_price_change_counts_from_its_moment_on() {
    let (mut model, endpoint) = cloud(1, 1);
    order(
        &mut model,
        100_000,
        r#"{"fault":"price_change","price_usd_per_h":"36"}"#,
    );
    // A hundred seconds at the table's price, ten at a cent a second.
    assert_eq!(
        model.bill(110_000)[&endpoint].usd.as_nanos(),
        100 * 310_000 + 10 * 10_000_000
    );
}

#[test]
fn hidden_idle_is_on_the_bill_only() {
    let (mut model, endpoint) = cloud(0, 1);
    order(&mut model, 0, r#"{"fault":"hidden_idle","extra_ms":30000}"#);
    submit(&mut model, 0, &endpoint, 1_000);
    assert_eq!(model.workers(17_000, &endpoint).unwrap().0.len(), 0);
    assert_eq!(model.bill(60_000)[&endpoint].worker_ms, 16_000 + 30_000);
}

#[test]
fn a_bill_can_lie_by_a_share_by_its_price_and_by_half() {
    // Ten seconds of start, one of work, five of idling, at $1.116 an hour.
    let billed = |fault: &str| {
        let (mut model, endpoint) = cloud(0, 1);
        order(&mut model, 0, fault);
        submit(&mut model, 0, &endpoint, 1_000);
        let bill = model.bill(60_000)[&endpoint];
        let records: NanoUsd = model.billing(60_000).values().map(|hour| hour.gpu).sum();
        assert_eq!(records, bill.usd, "records say what the invoice says");
        (bill.worker_ms, bill.usd.as_nanos())
    };
    let honest = 16 * 310_000;
    assert_eq!(
        billed(r#"{"fault":"hidden_idle","percent":10}"#),
        (16_000 + 1_600, honest + honest / 10)
    );
    assert_eq!(billed(r#"{"fault":"billed_twice"}"#), (32_000, 2 * honest));
    assert_eq!(
        billed(r#"{"fault":"wrong_price","percent":150}"#),
        (16_000, honest / 2 * 3)
    );
}

#[test]
fn records_come_late_or_never() {
    const HOUR: i64 = 3_600_000;
    let (mut model, endpoint) = cloud(0, 1);
    submit(&mut model, 0, &endpoint, 1_000);
    order(
        &mut model,
        60_000,
        r#"{"fault":"late_records","delay_ms":7200000}"#,
    );
    assert!(model.billing(3 * HOUR - 1).is_empty());
    let record = model.billing(3 * HOUR)[&(endpoint.clone(), 0)];
    assert_eq!(record.gpu, model.bill(3 * HOUR)[&endpoint].usd);
    order(&mut model, 3 * HOUR, r#"{"fault":"missing_records"}"#);
    assert!(model.billing(90 * HOUR).is_empty());
}

#[test]
fn a_hung_worker_is_ended_by_a_cancel_alone() {
    let (mut model, endpoint) = cloud(0, 1);
    order(&mut model, 0, r#"{"fault":"hung_worker","count":1}"#);
    let job = submit(&mut model, 0, &endpoint, 1_000);
    let late = 4 * 3_600_000;
    assert_eq!(model.health(late, &endpoint).unwrap().workers.running, 1);
    model.cancel(late, &endpoint, &job).unwrap();
    assert_eq!(model.health(late, &endpoint).unwrap().workers.running, 0);
    let billed = model.bill(late + 1_000)[&endpoint].worker_ms;
    assert_eq!(model.bill(late + 9_000_000)[&endpoint].worker_ms, billed);
    // The next one is well.
    submit(&mut model, late + 1_000, &endpoint, 1_000);
    assert_eq!(model.workers(late + 60_000, &endpoint).unwrap().0.len(), 0);
}

#[test]
fn a_standby_worker_beyond_the_maximum_goes_with_the_next_write() {
    let (mut model, endpoint) = cloud(0, 0);
    order(
        &mut model,
        0,
        r#"{"fault":"standby_worker","beyond_max":true}"#,
    );
    assert_eq!(model.workers(3_600_000, &endpoint).unwrap().0.len(), 1);
    let (settings, _) = model.endpoint_settings(3_600_000, &endpoint).unwrap();
    model
        .update_endpoint(3_600_000, &endpoint, settings)
        .unwrap();
    assert_eq!(model.workers(3_601_000, &endpoint).unwrap().0.len(), 0);
}

#[test]
fn a_region_outage_takes_its_workers_and_new_ones_go_elsewhere() {
    let mut model = CloudModel::new(options(), 0);
    let mut here = settings(1, 1);
    here.data_centers = vec!["EU-RO-1".into()];
    let here = model.create_endpoint(0, here).unwrap();
    let anywhere = model.create_endpoint(0, settings(3, 3)).unwrap();
    order(
        &mut model,
        20_000,
        r#"{"fault":"region_outage","data_center":"EU-RO-1","for_ms":60000}"#,
    );
    assert_eq!(model.health(20_000, &here).unwrap().workers.throttled, 1);
    let (workers, _) = model.workers(20_000, &anywhere).unwrap();
    assert_eq!(workers.len(), 3);
    assert!(
        workers
            .iter()
            .all(|worker| worker.data_center != Some("EU-RO-1"))
    );
    assert_eq!(model.health(100_000, &here).unwrap().workers.idle, 1);
}

#[test]
fn webhooks_are_lost_and_doubled() {
    let (mut model, endpoint) = cloud(1, 1);
    order(&mut model, 0, r#"{"fault":"webhook_lost","count":1}"#);
    order(&mut model, 0, r#"{"fault":"webhook_doubled","count":1}"#);
    let mut sent = Vec::new();
    for _ in 0..3 {
        let mut job = Submission::running_for(1_000);
        job.webhook = Some("https://example.org/".into());
        let now_ms = model.now_ms().max(10_000);
        model.submit(now_ms, &endpoint, job).unwrap();
        model.take_effects();
        model.advance(now_ms + 1_000);
        let effects = model.take_effects();
        let hooks = effects
            .iter()
            .filter(|e| matches!(e, Effect::Webhook { .. }));
        sent.push(hooks.count());
    }
    assert_eq!(sent, [0, 2, 1]);
}

#[test]
fn faults_are_listed_end_by_time_and_can_be_cleared() {
    let (mut model, endpoint) = cloud(0, 1);
    order(&mut model, 0, r#"{"fault":"throttled","for_ms":1000}"#);
    let id = order(&mut model, 0, r#"{"fault":"result_lost"}"#);
    assert_eq!(model.faults(0).len(), 2);
    assert_eq!(model.faults(1_000).len(), 1);
    assert_eq!(model.clear_faults(1_000, Some(id)), 1);
    assert!(model.faults(1_000).is_empty());
    let wrong = FaultSpec {
        endpoint: Some("nowhere".into()),
        ..serde_json::from_str(r#"{"fault":"throttled"}"#).unwrap()
    };
    assert_eq!(
        model.inject(0, wrong).unwrap_err(),
        Refusal::NoEndpoint("nowhere".into())
    );
    assert!(model.health(1_000, &endpoint).is_ok());
}
