//! The model in virtual time: life of workers and jobs, limits, bill.

use overspill_core::money::{NanoUsd, RatePerHour};

use super::script::raw;
use super::*;

/// Start-ups of exactly ten seconds.
fn options() -> CloudOptions {
    CloudOptions {
        cold_start: MsRange::new(10_000, 10_000),
        timeout_lateness: MsRange::new(5_000, 5_000),
        ..CloudOptions::default()
    }
}

fn settings(min: u32, max: u32) -> EndpointSettings {
    EndpointSettings {
        name: "test".into(),
        workers_min: min,
        workers_max: max,
        idle_timeout_ms: 5_000,
        scaling: ScalingRule::QueueDelayMs(500),
        ..EndpointSettings::default()
    }
}

fn cloud(min: u32, max: u32) -> (CloudModel, EndpointId) {
    let mut model = CloudModel::new(options(), 0);
    let endpoint = model.create_endpoint(0, settings(min, max)).unwrap();
    (model, endpoint)
}

fn submit(model: &mut CloudModel, now_ms: i64, endpoint: &EndpointId, run_ms: u64) -> JobId {
    model
        .submit(now_ms, endpoint, Submission::running_for(run_ms))
        .unwrap()
        .id
}

#[test]
fn a_job_starts_a_worker_runs_and_the_worker_stops_when_idle() {
    let (mut model, endpoint) = cloud(0, 3);
    let job = submit(&mut model, 0, &endpoint, 3_000);
    assert_eq!(
        model.status(0, &endpoint, &job).unwrap().status,
        JobStatus::InQueue
    );
    // 0.5 s in the queue, 10 s start-up, 3 s run, 5 s idle.
    assert_eq!(
        model.health(600, &endpoint).unwrap().workers.initializing,
        1
    );
    let view = model.status(10_500, &endpoint, &job).unwrap();
    assert_eq!(
        (view.status, view.delay_time),
        (JobStatus::InProgress, Some(10_500))
    );
    assert!(view.worker_id.is_some() && view.execution_time.is_none());
    let view = model.status(13_500, &endpoint, &job).unwrap();
    assert_eq!(
        (view.status, view.execution_time),
        (JobStatus::Completed, Some(3_000))
    );
    assert_eq!(model.health(18_499, &endpoint).unwrap().workers.idle, 1);
    assert_eq!(model.workers(18_500, &endpoint).unwrap().0.len(), 0);
    let bill = model.bill(100_000)[&endpoint];
    assert_eq!(bill.worker_ms, 18_000);
    assert_eq!(bill.usd.as_nanos(), 18 * 310_000);
}

#[test]
fn billed_time_is_start_up_and_work_and_idle_time() {
    let (mut model, endpoint) = cloud(0, 2);
    for at in [0, 200, 900, 30_000] {
        submit(&mut model, at, &endpoint, 1_700);
    }
    model.advance(120_000);
    let lines = model.bill_lines(120_000);
    for line in &lines {
        let life = u64::try_from(line.to_ms - line.from_ms).unwrap();
        assert_eq!(line.billed_ms, life.div_ceil(1_000) * 1_000);
    }
    let busy: i64 = model
        .executions(120_000)
        .iter()
        .map(|e| e.ended_ms.unwrap() - e.started_ms)
        .sum();
    assert_eq!(busy, 4 * 1_700);
}

#[test]
fn slots_let_a_worker_run_several_jobs() {
    let (mut model, endpoint) = cloud(1, 1);
    let knobs = Knobs {
        slots: Some(6),
        ..Knobs::default()
    };
    model.set_knobs(0, &endpoint, knobs).unwrap();
    for _ in 0..7 {
        submit(&mut model, 10_000, &endpoint, 4_000);
    }
    let jobs = model.health(10_000, &endpoint).unwrap().jobs;
    assert_eq!((jobs.in_progress, jobs.in_queue), (6, 1));
}

#[test]
fn the_environment_entry_sets_the_slots() {
    let mut model = CloudModel::new(options(), 0);
    let mut settings = settings(1, 1);
    settings.env.insert(SLOTS_VARIABLE.into(), "3".into());
    let endpoint = model.create_endpoint(0, settings).unwrap();
    for _ in 0..4 {
        submit(&mut model, 10_000, &endpoint, 4_000);
    }
    assert_eq!(model.health(10_000, &endpoint).unwrap().jobs.in_progress, 3);
}

#[test]
fn a_lowered_maximum_ends_starting_and_idle_workers_at_once_and_busy_ones_after_their_job() {
    let (mut model, endpoint) = cloud(2, 4);
    let job = submit(&mut model, 10_000, &endpoint, 20_000);
    let mut new = settings(0, 4);
    new.workers_min = 4;
    model.update_endpoint(11_000, &endpoint, new).unwrap();
    let workers = model.health(11_000, &endpoint).unwrap().workers;
    assert_eq!(
        (workers.running, workers.idle, workers.initializing),
        (1, 1, 2)
    );
    model
        .update_endpoint(12_000, &endpoint, settings(0, 0))
        .unwrap();
    let workers = model.health(12_000, &endpoint).unwrap().workers;
    assert_eq!(
        (workers.running, workers.idle, workers.initializing),
        (1, 0, 0)
    );
    let view = model.status(30_000, &endpoint, &job).unwrap();
    assert_eq!(view.status, JobStatus::Completed);
    assert_eq!(model.workers(30_000, &endpoint).unwrap().0.len(), 0);
    let refused = model.submit(30_000, &endpoint, Submission::running_for(1));
    assert_eq!(refused.unwrap_err(), Refusal::Paused);
}

#[test]
fn a_raised_minimum_starts_workers_that_stay() {
    let (mut model, endpoint) = cloud(0, 3);
    model.update_endpoint(0, &endpoint, settings(2, 3)).unwrap();
    assert_eq!(model.health(0, &endpoint).unwrap().workers.initializing, 2);
    assert_eq!(model.health(3_600_000, &endpoint).unwrap().workers.idle, 2);
    model
        .update_endpoint(3_600_000, &endpoint, settings(0, 3))
        .unwrap();
    assert_eq!(model.workers(3_600_000, &endpoint).unwrap().0.len(), 0);
}

#[test]
fn request_count_follows_the_jobs_up_and_down() {
    let mut model = CloudModel::new(options(), 0);
    let mut settings = settings(0, 5);
    settings.scaling = ScalingRule::RequestCount(2);
    let endpoint = model.create_endpoint(0, settings).unwrap();
    for _ in 0..5 {
        submit(&mut model, 0, &endpoint, 4_000);
    }
    assert_eq!(model.health(0, &endpoint).unwrap().workers.initializing, 3);
    // Two rounds on three workers; then nothing is left and all stop without idling.
    assert_eq!(model.workers(18_000, &endpoint).unwrap().0.len(), 0);
    assert_eq!(model.health(18_000, &endpoint).unwrap().jobs.completed, 5);
}

#[test]
fn low_priority_starts_nothing() {
    let (mut model, endpoint) = cloud(0, 3);
    let mut order = Submission::running_for(1_000);
    order.policy.is_low_priority = true;
    let job = model.submit(0, &endpoint, order).unwrap().id;
    assert_eq!(
        model.status(60_000, &endpoint, &job).unwrap().status,
        JobStatus::InQueue
    );
    assert_eq!(model.bill(60_000)[&endpoint].worker_ms, 0);
    let other = submit(&mut model, 60_000, &endpoint, 1_000);
    assert_eq!(
        model.status(80_000, &endpoint, &other).unwrap().status,
        JobStatus::Completed
    );
    assert_eq!(
        model.status(80_000, &endpoint, &job).unwrap().status,
        JobStatus::Completed
    );
}

#[test]
fn an_execution_timeout_fails_the_job_late_and_stops_the_worker() {
    let mut model = CloudModel::new(options(), 0);
    let mut settings = settings(1, 1);
    settings.execution_timeout_ms = 20_000;
    let endpoint = model.create_endpoint(0, settings).unwrap();
    let job = submit(&mut model, 10_000, &endpoint, 100_000);
    assert_eq!(
        model.status(34_999, &endpoint, &job).unwrap().status,
        JobStatus::InProgress
    );
    let view = model.status(35_000, &endpoint, &job).unwrap();
    assert_eq!(view.status, JobStatus::Failed);
    assert_eq!(view.error.unwrap().get(), "\"executionTimeout exceeded\"");
    assert_eq!(view.execution_time, Some(25_000));
    // The minimum asks for another one at once.
    assert_eq!(
        model
            .health(35_000, &endpoint)
            .unwrap()
            .workers
            .initializing,
        1
    );
    assert_eq!(model.executions(35_000)[0].outcome, Outcome::TimedOut);
}

#[test]
fn a_job_expires_in_the_queue_and_then_is_unknown() {
    let (mut model, endpoint) = cloud(0, 1);
    let mut order = Submission::running_for(1_000);
    order.policy.is_low_priority = true;
    order.policy.ttl_ms = Some(10_000);
    let job = model.submit(0, &endpoint, order).unwrap().id;
    assert_eq!(
        model.status(10_000, &endpoint, &job).unwrap().status,
        JobStatus::TimedOut
    );
    assert!(model.status(70_000, &endpoint, &job).is_err());
}

#[test]
fn a_job_that_expires_while_it_runs_is_deleted_and_its_worker_runs_on() {
    let (mut model, endpoint) = cloud(1, 1);
    let mut order = Submission::running_for(30_000);
    order.policy.ttl_ms = Some(10_000);
    let job = model.submit(10_000, &endpoint, order).unwrap().id;
    assert!(model.status(20_000, &endpoint, &job).is_err());
    assert_eq!(model.health(39_999, &endpoint).unwrap().workers.running, 1);
    assert_eq!(model.health(40_000, &endpoint).unwrap().workers.idle, 1);
    assert_eq!(model.executions(40_000)[0].outcome, Outcome::Unwanted);
}

#[test]
fn results_are_kept_for_half_an_hour_or_a_minute() {
    let (mut model, endpoint) = cloud(1, 1);
    let run = submit(&mut model, 10_000, &endpoint, 1_000);
    let mut order = Submission::running_for(1_000);
    order.is_sync = true;
    let sync = model.submit(10_000, &endpoint, order).unwrap().id;
    assert!(sync.as_str().starts_with("sync-"));
    assert!(model.status(71_999, &endpoint, &sync).is_ok());
    assert!(model.status(72_000, &endpoint, &sync).is_err());
    assert!(model.status(1_810_999, &endpoint, &run).is_ok());
    assert!(model.status(1_811_000, &endpoint, &run).is_err());
}

#[test]
fn a_failed_job_can_be_retried_and_a_completed_one_cannot() {
    let (mut model, endpoint) = cloud(1, 1);
    let order = Submission::of(raw(r#"{"error":"no luck"}"#));
    let job = model.submit(10_000, &endpoint, order).unwrap().id;
    let view = model.status(11_000, &endpoint, &job).unwrap();
    assert_eq!(view.error.unwrap().get(), "\"no luck\"");
    let view = model.retry(11_000, &endpoint, &job).unwrap();
    assert!(view.error.is_none() && view.output.is_none());
    assert_eq!(
        model.status(12_000, &endpoint, &job).unwrap().status,
        JobStatus::Failed
    );
    let fine = submit(&mut model, 12_000, &endpoint, 1_000);
    model.advance(13_000);
    assert!(matches!(
        model.retry(13_000, &endpoint, &fine),
        Err(Refusal::NotRetriable { .. })
    ));
}

#[test]
fn cancel_ends_a_waiting_and_a_running_job_and_frees_the_worker() {
    let (mut model, endpoint) = cloud(1, 1);
    let first = submit(&mut model, 10_000, &endpoint, 60_000);
    let second = submit(&mut model, 10_000, &endpoint, 1_000);
    let third = submit(&mut model, 10_000, &endpoint, 1_000);
    assert_eq!(
        model.cancel(11_000, &endpoint, &third).unwrap().status,
        JobStatus::Cancelled
    );
    assert_eq!(
        model.cancel(12_000, &endpoint, &first).unwrap().status,
        JobStatus::Cancelled
    );
    assert_eq!(
        model.status(13_000, &endpoint, &second).unwrap().status,
        JobStatus::Completed
    );
    assert_eq!(
        model.cancel(13_000, &endpoint, &second).unwrap().status,
        JobStatus::Completed
    );
}

#[test]
fn purging_touches_waiting_jobs_only() {
    let (mut model, endpoint) = cloud(1, 1);
    let running = submit(&mut model, 10_000, &endpoint, 5_000);
    for _ in 0..2 {
        submit(&mut model, 10_000, &endpoint, 5_000);
    }
    assert_eq!(model.purge_queue(11_000, &endpoint).unwrap(), 2);
    assert_eq!(
        model.status(15_000, &endpoint, &running).unwrap().status,
        JobStatus::Completed
    );
}

#[test]
fn chunks_are_given_out_once_and_the_last_come_with_the_end() {
    let (mut model, endpoint) = cloud(1, 1);
    let order = Submission::of(raw(r#"{"seconds":4,"stream":3}"#));
    let job = model.submit(10_000, &endpoint, order).unwrap().id;
    let view = model.stream(12_000, &endpoint, &job).unwrap();
    assert_eq!(
        (view.chunks.len(), view.job.status),
        (2, JobStatus::InProgress)
    );
    let view = model.stream(14_000, &endpoint, &job).unwrap();
    assert_eq!(
        (view.chunks.len(), view.job.status),
        (1, JobStatus::Completed)
    );
    assert!(
        model
            .stream(14_000, &endpoint, &job)
            .unwrap()
            .chunks
            .is_empty()
    );
}

#[test]
fn progress_is_shown_as_output_while_the_job_runs() {
    let (mut model, endpoint) = cloud(1, 1);
    let order = Submission::of(raw(r#"{"seconds":4,"progress":1}"#));
    let job = model.submit(10_000, &endpoint, order).unwrap().id;
    let view = model.status(12_000, &endpoint, &job).unwrap();
    assert_eq!(view.output.unwrap().get(), r#"{"of":1,"step":1}"#);
    assert_eq!(view.execution_time, Some(2_000));
}

#[test]
fn a_result_over_the_limit_is_lost() {
    let mut options = options();
    options.max_run_bytes = 100;
    let mut model = CloudModel::new(options, 0);
    let endpoint = model.create_endpoint(0, settings(1, 1)).unwrap();
    let order = Submission::of(raw(r#"{"output_bytes":101}"#));
    let job = model.submit(10_000, &endpoint, order).unwrap().id;
    let view = model.status(11_000, &endpoint, &job).unwrap();
    assert_eq!(view.status, JobStatus::Completed);
    assert!(view.output.is_none());
}

#[test]
fn flashboot_resumes_a_stopped_worker_quickly() {
    let mut model = CloudModel::new(options(), 0);
    let mut settings = settings(0, 1);
    settings.flash = Flash::On;
    let endpoint = model.create_endpoint(0, settings).unwrap();
    submit(&mut model, 0, &endpoint, 1_000);
    let health = model.health(20_000, &endpoint).unwrap();
    // Stopped and not billed, but shown as ready to take a job.
    assert_eq!((health.workers.idle, health.workers.ready), (1, 1));
    assert_eq!(model.workers(20_000, &endpoint).unwrap().0.len(), 0);
    let job = submit(&mut model, 20_000, &endpoint, 1_000);
    let view = model.status(30_000, &endpoint, &job).unwrap();
    assert!(
        view.delay_time.unwrap() <= 500 + 3_000,
        "{:?}",
        view.delay_time
    );
}

#[test]
fn an_unused_endpoint_loses_its_maximum_after_three_and_seven_days() {
    const DAY_MS: i64 = 86_400_000;
    let (mut model, endpoint) = cloud(0, 5);
    let max = |model: &mut CloudModel, at| {
        model
            .endpoint_settings(at, &endpoint)
            .unwrap()
            .0
            .workers_max
    };
    assert_eq!(max(&mut model, 3 * DAY_MS - 1), 5);
    assert_eq!(max(&mut model, 3 * DAY_MS), 2);
    assert_eq!(max(&mut model, 7 * DAY_MS), 0);
    model
        .update_endpoint(8 * DAY_MS, &endpoint, settings(0, 5))
        .unwrap();
    assert_eq!(max(&mut model, 10 * DAY_MS), 5);
    assert_eq!(max(&mut model, 11 * DAY_MS), 2);
}

#[test]
fn the_quota_holds_over_all_endpoints() {
    let mut options = options();
    options.quota = Some(5);
    let mut model = CloudModel::new(options, 0);
    let first = model.create_endpoint(0, settings(0, 3)).unwrap();
    let refused = model.create_endpoint(0, settings(0, 3));
    assert_eq!(
        refused.unwrap_err(),
        Refusal::OverQuota {
            quota: 5,
            wanted: 6
        }
    );
    model.create_endpoint(0, settings(0, 2)).unwrap();
    assert!(model.update_endpoint(0, &first, settings(0, 4)).is_err());
    model.update_endpoint(0, &first, settings(0, 1)).unwrap();
}

#[test]
fn a_release_replaces_idle_workers_at_once_and_busy_ones_after_their_job() {
    let (mut model, endpoint) = cloud(2, 2);
    submit(&mut model, 10_000, &endpoint, 20_000);
    let mut new = settings(2, 2);
    new.image = "me/worker:v2".into();
    model.update_endpoint(11_000, &endpoint, new).unwrap();
    let (workers, version) = model.workers(11_000, &endpoint).unwrap();
    assert_eq!(version, 2);
    let stale: Vec<&str> = workers
        .iter()
        .filter(|w| w.is_stale)
        .map(|w| w.status)
        .collect();
    assert_eq!(stale, ["RUNNING"]);
    let (workers, _) = model.workers(45_000, &endpoint).unwrap();
    assert_eq!(workers.len(), 2);
    assert!(workers.iter().all(|worker| !worker.is_stale));
    let releases = model.releases(45_000, &endpoint).unwrap();
    assert_eq!(releases[0].0.diff[0].0, "template.imageName");
    assert_eq!((releases[0].1, releases[1].1), (2, 0));
}

#[test]
fn deleting_an_endpoint_keeps_its_cost_on_the_bill() {
    let (mut model, endpoint) = cloud(1, 1);
    let job = submit(&mut model, 10_000, &endpoint, 60_000);
    model.delete_endpoint(20_000, &endpoint).unwrap();
    assert!(model.status(20_000, &endpoint, &job).is_err());
    assert_eq!(model.bill(90_000)[&endpoint].worker_ms, 20_000);
}

#[test]
fn active_workers_have_their_own_price_where_that_is_switched_on() {
    let mut options = options();
    options.has_active_prices = true;
    let mut model = CloudModel::new(options, 0);
    let endpoint = model.create_endpoint(0, settings(1, 1)).unwrap();
    assert_eq!(model.bill(10_000)[&endpoint].usd.as_nanos(), 10 * 210_000);
}

#[test]
fn a_price_set_by_the_emulator_counts() {
    let (mut model, endpoint) = cloud(0, 1);
    let knobs = Knobs {
        price: NanoUsd::parse_usd("0.44").map(RatePerHour::new),
        ..Knobs::default()
    };
    model.set_knobs(0, &endpoint, knobs).unwrap();
    submit(&mut model, 0, &endpoint, 1_000);
    model.advance(60_000);
    // 10 s start-up, 1 s run, 5 s idle at $0.44/h.
    assert_eq!(model.bill(60_000)[&endpoint].usd.to_usd(6), "0.001956");
}

#[test]
fn webhooks_carry_the_envelope_and_are_tried_three_times() {
    let (mut model, endpoint) = cloud(1, 1);
    let mut order = Submission::of(raw(r#"{"seconds":1,"output":7}"#));
    order.webhook = Some("https://example.org/hook".into());
    model.submit(10_000, &endpoint, order).unwrap();
    model.take_effects();
    let mut tries = Vec::new();
    for at in (10_000..60_000).step_by(500) {
        model.advance(at);
        for effect in model.take_effects() {
            if let Effect::Webhook { delivery, body, .. } = effect {
                let body: serde_json::Value = serde_json::from_str(&body).unwrap();
                assert_eq!(body["output"], 7);
                assert_eq!(body["status"], "COMPLETED");
                assert_eq!(body["input"]["seconds"], 1);
                assert_eq!(body["webhook"], "https://example.org/hook");
                tries.push(at);
                model.webhook_answered(at, delivery, Some(500));
            }
        }
    }
    assert_eq!(tries, [11_000, 21_000, 31_000]);
}

#[test]
fn the_same_seed_and_calls_give_the_same_bill() {
    let run = |seed: u64| {
        let mut model = CloudModel::new(
            CloudOptions {
                seed,
                ..CloudOptions::default()
            },
            0,
        );
        let endpoint = model.create_endpoint(0, settings(0, 8)).unwrap();
        for number in 0..200_i64 {
            submit(
                &mut model,
                number * 777,
                &endpoint,
                1_000 + (number as u64 * 131) % 9_000,
            );
        }
        let at_ms = 1_000_000;
        (
            model.bill(at_ms)[&endpoint],
            model.executions(at_ms).to_vec().len(),
        )
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

mod faults;
mod real_workers;
