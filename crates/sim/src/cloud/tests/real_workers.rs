//! Workers that are real processes, as the model sees them: by effects out and calls in.

use super::*;

fn cloud() -> (CloudModel, EndpointId, WorkerId) {
    let mut options = options();
    options.real_workers = true;
    let mut model = CloudModel::new(options, 0);
    let endpoint = model.create_endpoint(0, settings(1, 1)).unwrap();
    model.advance(10_000);
    let worker = model
        .take_effects()
        .into_iter()
        .find_map(|effect| match effect {
            Effect::StartProcess { worker, .. } => Some(worker),
            _ => None,
        })
        .unwrap();
    assert!(
        model
            .take_jobs(10_000, &endpoint, &worker, 1)
            .unwrap()
            .is_empty()
    );
    (model, endpoint, worker)
}

#[test]
fn pings_keep_a_job_and_its_result_counts_once() {
    let (mut model, endpoint, worker) = cloud();
    let job = submit(&mut model, 10_000, &endpoint, 0);
    let taken = model.take_jobs(10_000, &endpoint, &worker, 1).unwrap();
    assert_eq!(taken[0].id, job);
    for at in [30_000, 60_000, 90_000] {
        model
            .ping(at, &endpoint, &worker, std::slice::from_ref(&job))
            .unwrap();
    }
    assert_eq!(
        model.status(120_000, &endpoint, &job).unwrap().retries,
        None
    );
    for text in ["1", "2"] {
        model
            .post_result(120_000, &endpoint, &worker, &job, Ok(raw(text)))
            .unwrap();
    }
    let view = model.status(120_000, &endpoint, &job).unwrap();
    assert_eq!(view.output.unwrap().get(), "1");
    model
        .post_progress(120_001, &endpoint, &job, raw("3"))
        .unwrap();
    assert_eq!(
        model.status(120_001, &endpoint, &job).unwrap().status,
        JobStatus::Completed
    );
}

#[test]
fn a_job_that_no_ping_names_is_given_out_again() {
    let (mut model, endpoint, worker) = cloud();
    let job = submit(&mut model, 10_000, &endpoint, 0);
    model.take_jobs(10_000, &endpoint, &worker, 1).unwrap();
    model.ping(40_000, &endpoint, &worker, &[]).unwrap();
    assert_eq!(
        model.status(50_000, &endpoint, &job).unwrap().status,
        JobStatus::InQueue
    );
    let again = model.take_jobs(51_000, &endpoint, &worker, 1).unwrap();
    assert_eq!(again[0].id, job);
}

#[test]
fn cancel_reaches_the_worker_by_its_stop_channel() {
    let (mut model, endpoint, worker) = cloud();
    let job = submit(&mut model, 10_000, &endpoint, 0);
    model.take_jobs(10_000, &endpoint, &worker, 1).unwrap();
    model.cancel(11_000, &endpoint, &job).unwrap();
    assert_eq!(
        model.jobs_to_stop(11_000, &endpoint, &worker).unwrap(),
        std::slice::from_ref(&job)
    );
    assert!(
        model
            .jobs_to_stop(11_000, &endpoint, &worker)
            .unwrap()
            .is_empty()
    );
    // It stopped: the next ping does not name it, and the worker is free.
    model.ping(12_000, &endpoint, &worker, &[]).unwrap();
    assert_eq!(model.health(12_000, &endpoint).unwrap().workers.idle, 1);
}

#[test]
fn a_worker_that_does_not_stop_a_job_is_killed() {
    let (mut model, endpoint, worker) = cloud();
    let job = submit(&mut model, 10_000, &endpoint, 0);
    model.take_jobs(10_000, &endpoint, &worker, 1).unwrap();
    model.cancel(11_000, &endpoint, &job).unwrap();
    model.take_effects();
    model
        .ping(60_000, &endpoint, &worker, std::slice::from_ref(&job))
        .unwrap();
    let killed = model.take_effects().into_iter().any(
        |effect| matches!(effect, Effect::StopProcess { worker: id, is_hard: true } if id == worker),
    );
    assert!(killed);
}

#[test]
fn a_clean_exit_is_replaced_and_a_crash_is_tried_again() {
    let (mut model, endpoint, worker) = cloud();
    model.process_exited(20_000, &endpoint, &worker, Some(0));
    let (workers, _) = model.workers(20_000, &endpoint).unwrap();
    assert_eq!((workers.len(), workers[0].status), (1, "INITIALIZING"));
    assert_ne!(workers[0].id, worker);
    model.advance(30_000);
    let second = workers[0].id.clone();
    model.process_exited(31_000, &endpoint, &second, Some(1));
    assert_eq!(
        model.health(31_000, &endpoint).unwrap().workers.unhealthy,
        1
    );
    assert!(model.take_jobs(31_000, &endpoint, &second, 1).is_err());
}

#[test]
fn a_worker_that_never_asks_for_a_job_is_unhealthy_after_seven_minutes() {
    let mut options = options();
    options.real_workers = true;
    let mut model = CloudModel::new(options, 0);
    let endpoint = model.create_endpoint(0, settings(1, 1)).unwrap();
    assert_eq!(
        model
            .health(429_999, &endpoint)
            .unwrap()
            .workers
            .initializing,
        1
    );
    assert_eq!(
        model.health(430_000, &endpoint).unwrap().workers.unhealthy,
        1
    );
}

#[test]
fn a_draining_worker_gets_no_more_jobs() {
    let (mut model, endpoint, worker) = cloud();
    submit(&mut model, 10_000, &endpoint, 0);
    let job = model.take_jobs(10_000, &endpoint, &worker, 1).unwrap()[0]
        .id
        .clone();
    submit(&mut model, 11_000, &endpoint, 0);
    model
        .update_endpoint(12_000, &endpoint, settings(0, 0))
        .unwrap();
    assert!(!model.is_taking(12_000, &endpoint, &worker));
    assert!(
        model
            .take_jobs(12_000, &endpoint, &worker, 1)
            .unwrap()
            .is_empty()
    );
    model
        .post_result(13_000, &endpoint, &worker, &job, Ok(raw("1")))
        .unwrap();
    assert!(model.take_jobs(13_000, &endpoint, &worker, 1).is_err());
}
