//! RunPod as the pool's client meets it: the one cloud model, behind the calls that the client makes.
//!
//! What the client must do by itself is done here: poll a job until it is over, ask again after a
//! call without an answer, cancel a queued job only after looking. What its calls cannot tell
//! (whether a submission arrived) comes out as such.

mod bill;
mod looks;
mod testimony;

use std::collections::{BTreeMap, BTreeSet};

use overspill_core::effect::Effect;
use overspill_core::event::{
    CloudJobState, CloudRefusal, CloudWorkerCounts, Event, Outcome, PayloadRef,
};
use overspill_core::id::{AttemptId, PoolId};
use overspill_core::time::{DurationMs, Timestamp};
use overspill_core::topology::PoolKind;
use rand::RngExt;
use serde_json::value::RawValue;

pub(crate) use looks::Looks;

use crate::cloud::{
    CloudModel, CloudOptions, EndpointId, EndpointSettings, FaultKind, FaultSpec, HttpFault, JobId,
    JobPolicy, JobStatus, JobView, Knobs, MsRange, Refusal, ScalingRule, Submission,
};
use crate::faults::Fault;
use crate::oracle::Oracle;
use crate::scene::{Action, Cloud, Scene};
use crate::store::Store;
use crate::workload::Workload;

/// The client gives a submission up after this long.
const SUBMIT_TIMEOUT: DurationMs = DurationMs::from_secs(30);
/// RunPod, and the client's side of what is on its way.
pub(crate) struct CloudWorld {
    model: CloudModel,
    /// RunPod's id of each accepted attempt.
    jobs: BTreeMap<AttemptId, (EndpointId, JobId)>,
    watched: BTreeMap<AttemptId, Watch>,
    scales: BTreeMap<PoolId, (u32, u32)>,
    /// Until when a change of limits is on its way: the client makes one at a time for each pool, so
    /// that no answer overtakes another.
    scaling_until: BTreeMap<PoolId, Timestamp>,
    endpoints: BTreeSet<EndpointId>,
    /// Whether the client reads RunPod's billing records.
    pub(crate) reads_bills: bool,
    pub(crate) looks: Looks,
    /// How the bill lies, in storm and calm.
    lie: Option<FaultKind>,
}

#[derive(Clone)]
struct Watch {
    endpoint: EndpointId,
    job: JobId,
    /// A cancel is asked for; only before it runs.
    cancel: Option<bool>,
}

impl CloudWorld {
    pub(crate) fn new(scene: &mut Scene, seed: u64, load: &Workload) -> Self {
        let longest = scene.rng.random_range(2_000..60_000);
        let options = CloudOptions {
            seed,
            cold_start: MsRange::new(1_000, longest),
            redispatch_after_ms: 40_000,
            ..CloudOptions::default()
        };
        let mut world = Self {
            model: CloudModel::new(options, 0),
            jobs: BTreeMap::new(),
            watched: BTreeMap::new(),
            scales: BTreeMap::new(),
            scaling_until: BTreeMap::new(),
            endpoints: BTreeSet::new(),
            reads_bills: true,
            looks: Looks::default(),
            lie: None,
        };
        for endpoint in load.topology().endpoints {
            for pool in endpoint.pools {
                let PoolKind::RunPod(spec) = pool.kind else {
                    continue;
                };
                let id = EndpointId::from(spec.endpoint);
                let settings = EndpointSettings {
                    workers_max: 0,
                    idle_timeout_ms: spec.idle_timeout.as_millis(),
                    scaling: ScalingRule::QueueDelayMs(1_000),
                    ..EndpointSettings::default()
                };
                world
                    .model
                    .create_endpoint_as(0, &id, settings)
                    .expect("a fresh cloud takes a few endpoints");
                let knobs = Knobs {
                    slots: Some(load.slots),
                    price: spec.price,
                    cold_start: load.cold_start,
                };
                world
                    .model
                    .set_knobs(0, &id, knobs)
                    .expect("it was made above");
                world.endpoints.insert(id);
            }
        }
        world
    }

    /// The process that made the calls is gone.
    pub(crate) fn connections_break(&mut self) {
        self.watched.clear();
        self.scales.clear();
        self.scaling_until.clear();
    }

    /// An order of the core, to the process of now.
    pub(crate) fn carry_out(
        &mut self,
        scene: &mut Scene,
        store: &Store,
        effect: Effect,
    ) -> Option<String> {
        let process = scene.process;
        match effect {
            Effect::CloudSubmit {
                attempt,
                pool,
                execution_timeout,
                ttl,
                ..
            } => {
                let wait = scene.ms(20, 200);
                scene.after(
                    wait,
                    Action::Cloud(Cloud::Submit {
                        process,
                        attempt,
                        pool,
                        execution_timeout,
                        ttl,
                    }),
                );
                if !store.knows(attempt) {
                    return Some(format!(
                        "{attempt} is submitted, and the store does not know it"
                    ));
                }
            }
            Effect::CloudWatch {
                attempt,
                pool,
                cloud_job,
            } => {
                let endpoint = endpoint_of(store, pool)?;
                let watch = Watch {
                    endpoint,
                    job: JobId::from(cloud_job),
                    cancel: None,
                };
                if self.watched.insert(attempt, watch).is_none() {
                    let wait = scene.ms(200, 1_000);
                    scene.after(wait, Action::Cloud(Cloud::Poll { process, attempt }));
                }
            }
            Effect::CloudCancel {
                attempt,
                pool,
                cloud_job,
                only_if_queued,
            } => {
                let endpoint = endpoint_of(store, pool)?;
                let watch = self.watched.entry(attempt).or_insert_with(|| {
                    let wait = scene.ms(200, 1_000);
                    scene.after(wait, Action::Cloud(Cloud::Poll { process, attempt }));
                    Watch {
                        endpoint,
                        job: JobId::from(cloud_job),
                        cancel: None,
                    }
                });
                watch.cancel = Some(only_if_queued && watch.cancel != Some(false));
                let wait = scene.ms(20, 200);
                scene.after(wait, Action::Cloud(Cloud::Cancel { process, attempt }));
            }
            Effect::CloudTtl {
                attempt: _,
                pool,
                cloud_job,
                ttl,
            } => {
                let endpoint = endpoint_of(store, pool)?;
                let now = scene.now.as_millis();
                // A job that is over there has no time left to live; the watch sees that.
                let _ =
                    self.model
                        .set_ttl(now, &endpoint, &JobId::from(cloud_job), ttl.as_millis());
            }
            Effect::CloudScale { pool, min, max } => {
                let waits = self.scales.insert(pool, (min, max)).is_some();
                if !waits {
                    let wait = scene.ms(20, 200);
                    scene.after(wait, Action::Cloud(Cloud::Scale { process, pool }));
                }
            }
            Effect::CloudIdle { pool, idle } => {
                let endpoint = endpoint_of(store, pool)?;
                let now = scene.now.as_millis();
                let Ok((settings, _)) = self.model.endpoint_settings(now, &endpoint) else {
                    return None;
                };
                let settings = EndpointSettings {
                    idle_timeout_ms: idle.as_millis(),
                    ..settings
                };
                // Limits stay as they are, so that no quota can refuse it.
                let _ = self.model.update_endpoint(now, &endpoint, settings);
            }
            _ => {}
        }
        None
    }

    pub(crate) fn act(
        &mut self,
        scene: &mut Scene,
        what: &Cloud,
        store: &Store,
        load: &Workload,
        oracle: &mut Oracle,
    ) {
        let is_gone = |process: u64| process != scene.process || !scene.is_up;
        match *what {
            Cloud::Submit {
                process,
                attempt,
                pool,
                execution_timeout,
                ttl,
            } => {
                let Some(endpoint) = endpoint_of(store, pool) else {
                    return;
                };
                let policy = JobPolicy {
                    execution_timeout_ms: Some(execution_timeout.as_millis()),
                    ttl_ms: Some(ttl.as_millis()),
                    is_low_priority: false,
                };
                if !crate::workload::may_be_at(attempt.job, endpoint.as_str()) {
                    let now = scene.now;
                    let text = format!("{now}: {attempt} left its caller's region for {endpoint}");
                    oracle.violations.push(text);
                }
                self.submit(scene, process, attempt, &endpoint, policy, load, oracle);
            }
            Cloud::Poll { process, attempt } if !is_gone(process) => {
                self.poll(scene, process, attempt, store);
            }
            Cloud::Cancel { process, attempt } if !is_gone(process) => {
                self.cancel(scene, process, attempt, store);
            }
            Cloud::Scale { process, pool } if !is_gone(process) => {
                let until = self.scaling_until.get(&pool).copied();
                if let Some(until) = until.filter(|&until| until >= scene.now) {
                    let at = until + DurationMs::from_millis(1);
                    return scene
                        .agenda
                        .at(at, Action::Cloud(Cloud::Scale { process, pool }));
                }
                let reserved = store
                    .live
                    .pools
                    .get(&pool)
                    .map_or(0, |record| record.reserved_workers);
                if let Some((_, max)) = self.scales.get(&pool).filter(|(_, max)| *max > reserved) {
                    let now = scene.now;
                    let text =
                        format!("{now}: pool {pool} gets max {max}, {reserved} are reserved");
                    oracle.violations.push(text);
                }
                self.scale(scene, process, pool, store);
            }
            Cloud::Health { process, pool } if !is_gone(process) => {
                let is_busy = self.is_busy(scene, pool, store);
                let wait = if is_busy {
                    self.looks.health
                } else {
                    self.looks.health_quiet
                };
                scene.after(wait, Action::Cloud(Cloud::Health { process, pool }));
                self.health(scene, process, pool, store, oracle);
            }
            Cloud::Bill { process } if self.reads_bills && !is_gone(process) => {
                self.read_bills(scene, process, store);
            }
            Cloud::Misfortune => self.misfortune(scene),
            _ => {}
        }
    }

    /// A process begins to look at its pools.
    pub(crate) fn look(scene: &mut Scene, pools: impl Iterator<Item = PoolId>) {
        let process = scene.process;
        for pool in pools {
            let wait = scene.ms(100, 2_000);
            scene.after(wait, Action::Cloud(Cloud::Health { process, pool }));
        }
        let wait = scene.ms(1_000, 60_000);
        scene.after(wait, Action::Cloud(Cloud::Bill { process }));
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the submission's own fields, and the witnesses"
    )]
    fn submit(
        &mut self,
        scene: &mut Scene,
        process: u64,
        attempt: AttemptId,
        endpoint: &EndpointId,
        policy: JobPolicy,
        load: &Workload,
        oracle: &mut Oracle,
    ) {
        let now = scene.now.as_millis();
        let refused = |refusal, retry_after: Option<u64>| Event::CloudRefused {
            attempt,
            refusal,
            retry_after: retry_after.map(DurationMs::from_secs),
            detail: String::new(),
        };
        let back = scene.ms(20, 200);
        if scene.strikes(Fault::SubmitUnreachable) {
            return scene.after(
                back,
                Action::Inner(process, refused(CloudRefusal::Unreachable, None)),
            );
        }
        let unknown = Event::CloudSubmitUnknown {
            attempt,
            detail: "no answer".into(),
        };
        if scene.strikes(Fault::SubmitLost) {
            return scene.after(SUBMIT_TIMEOUT, Action::Inner(process, unknown));
        }
        match self.model.http_fault(now, Some(endpoint), "run") {
            Some(HttpFault::TooMany(after)) => {
                return scene.after(
                    back,
                    Action::Inner(process, refused(CloudRefusal::RateLimited, Some(after))),
                );
            }
            Some(HttpFault::Status(_)) => {
                return scene.after(back, Action::Inner(process, unknown));
            }
            None => {}
        }
        let handle = scene.number();
        let seconds = load.run_time(attempt.job).as_millis();
        let fails = scene.strikes(Fault::HandlerFails);
        let error = if fails {
            r#","error":"ValueError: bad input""#
        } else {
            ""
        };
        let text = format!(
            r#"{{"seconds":{}.{:03},"output":{handle}{error}}}"#,
            seconds / 1_000,
            seconds % 1_000
        );
        let input = RawValue::from_string(text).expect("it is JSON");
        let order = Submission {
            policy,
            ..Submission::of(input.into())
        };
        let view = match self.model.submit(now, endpoint, order) {
            Ok(view) => view,
            Err(Refusal::Paused) => {
                return scene.after(
                    back,
                    Action::Inner(process, refused(CloudRefusal::Paused, None)),
                );
            }
            Err(_) => {
                return scene.after(
                    back,
                    Action::Inner(process, refused(CloudRefusal::EndpointGone, None)),
                );
            }
        };
        oracle.begins(attempt, handle);
        let (model, jobs) = (&mut self.model, &self.jobs);
        oracle.accepted(scene.now, attempt, view.id.as_str().to_owned(), |job| {
            let known = jobs.values().find(|(_, known)| known.as_str() == job);
            known.is_none_or(|(endpoint, job)| {
                let view = model.status(now, endpoint, job);
                view.map_or(true, |view| view.status.is_final())
            })
        });
        self.jobs
            .insert(attempt, (endpoint.clone(), view.id.clone()));
        let answer = Event::CloudSubmitted {
            attempt,
            cloud_job: view.id.as_str().to_owned(),
        };
        let hangs = self.model.hangs_after_accept(now, endpoint);
        let is_late = !hangs && scene.strikes(Fault::SubmitAnswerLate);
        if hangs || is_late || scene.strikes(Fault::SubmitAnswerLost) {
            oracle.ambiguous(attempt);
            let wait = if is_late {
                scene.ms(100, 90_000)
            } else {
                SUBMIT_TIMEOUT
            };
            scene.after(SUBMIT_TIMEOUT, Action::Inner(process, unknown));
            if is_late {
                scene.after(wait, Action::Inner(process, answer));
            }
            return;
        }
        if process != scene.process || !scene.is_up {
            oracle.ambiguous(attempt);
        }
        scene.after(back, Action::Inner(process, answer));
    }

    /// What RunPod says of a job; `None` without an answer.
    fn status(&mut self, scene: &mut Scene, watch: &Watch) -> Option<Result<JobView, Refusal>> {
        let now = scene.now.as_millis();
        if scene.strikes(Fault::StatusLost)
            || self
                .model
                .http_fault(now, Some(&watch.endpoint), "status")
                .is_some()
        {
            return None;
        }
        Some(self.model.status(now, &watch.endpoint, &watch.job))
    }

    fn poll(&mut self, scene: &mut Scene, process: u64, attempt: AttemptId, store: &Store) {
        let Some(watch) = self.watched.get(&attempt).cloned() else {
            return;
        };
        if !store.live.attempts.contains_key(&attempt) {
            self.watched.remove(&attempt);
            return;
        }
        let jitter = scene.ms(0, self.looks.jitter.as_millis());
        scene.after(
            self.looks.poll.saturating_add(jitter),
            Action::Cloud(Cloud::Poll { process, attempt }),
        );
        if let Some(answer) = self.status(scene, &watch) {
            let wait = if scene.strikes(Fault::StatusLate) {
                scene.ms(500, 10_000)
            } else {
                scene.ms(20, 200)
            };
            scene.after(wait, Action::Inner(process, said(attempt, answer)));
        }
    }

    fn cancel(&mut self, scene: &mut Scene, process: u64, attempt: AttemptId, store: &Store) {
        let Some(watch) = self.watched.get(&attempt).cloned() else {
            return;
        };
        let Some(only_if_queued) = watch.cancel else {
            return;
        };
        if !store.live.attempts.contains_key(&attempt) {
            return;
        }
        let again = scene.ms(1_000, 5_000);
        if scene.strikes(Fault::CancelLost) {
            return scene.after(again, Action::Cloud(Cloud::Cancel { process, attempt }));
        }
        let Some(answer) = self.status(scene, &watch) else {
            return scene.after(again, Action::Cloud(Cloud::Cancel { process, attempt }));
        };
        let now = scene.now.as_millis();
        let may = answer
            .as_ref()
            .is_ok_and(|view| !only_if_queued || view.status == JobStatus::InQueue);
        let answer = if may {
            self.model.cancel(now, &watch.endpoint, &watch.job)
        } else {
            answer
        };
        if answer.is_err() {
            // Not known yet, or not any more: the watch finds out.
            return scene.after(again, Action::Cloud(Cloud::Cancel { process, attempt }));
        }
        if let Some(watch) = self.watched.get_mut(&attempt) {
            watch.cancel = None;
        }
        let wait = scene.ms(20, 200);
        scene.after(wait, Action::Inner(process, said(attempt, answer)));
    }

    fn scale(&mut self, scene: &mut Scene, process: u64, pool: PoolId, store: &Store) {
        let Some((min, max)) = self.scales.remove(&pool) else {
            return;
        };
        let Some(endpoint) = endpoint_of(store, pool) else {
            return;
        };
        let now = scene.now.as_millis();
        let back = scene.ms(20, 200);
        self.scaling_until.insert(pool, scene.now + back);
        let failed = |refusal| Event::CloudFailed {
            pool,
            refusal,
            detail: String::new(),
        };
        if scene.strikes(Fault::ScaleFails) {
            return scene.after(
                back,
                Action::Inner(process, failed(CloudRefusal::Unreachable)),
            );
        }
        if self
            .model
            .http_fault(now, Some(&endpoint), "management")
            .is_some()
        {
            return scene.after(
                back,
                Action::Inner(process, failed(CloudRefusal::RateLimited)),
            );
        }
        let Ok((settings, _)) = self.model.endpoint_settings(now, &endpoint) else {
            return scene.after(
                back,
                Action::Inner(process, failed(CloudRefusal::EndpointGone)),
            );
        };
        let settings = EndpointSettings {
            workers_min: min,
            workers_max: max,
            ..settings
        };
        let answer = match self.model.update_endpoint(now, &endpoint, settings) {
            Ok(()) => Event::CloudScaled { pool, min, max },
            Err(_) => failed(CloudRefusal::Quota),
        };
        scene.after(back, Action::Inner(process, answer));
    }

    fn health(
        &mut self,
        scene: &mut Scene,
        process: u64,
        pool: PoolId,
        store: &Store,
        oracle: &mut Oracle,
    ) {
        let Some(endpoint) = endpoint_of(store, pool) else {
            return;
        };
        let settings = self
            .model
            .endpoint_settings(scene.now.as_millis(), &endpoint);
        let max = settings.map_or(0, |(settings, _)| settings.workers_max);
        let reserved = store
            .live
            .pools
            .get(&pool)
            .map_or(0, |record| record.reserved_workers);
        if max > reserved {
            let now = scene.now;
            let text =
                format!("{now}: pool {pool} may start {max} workers, {reserved} are reserved");
            oracle.violations.push(text);
        }
        if scene.strikes(Fault::HealthLost) {
            return;
        }
        let Ok(health) = self.model.health(scene.now.as_millis(), &endpoint) else {
            return;
        };
        let workers = CloudWorkerCounts {
            initializing: health.workers.initializing,
            idle: health.workers.idle,
            running: health.workers.running,
            throttled: health.workers.throttled,
            unhealthy: health.workers.unhealthy,
        };
        let wait = scene.ms(20, 200);
        scene.after(
            wait,
            Action::Inner(process, Event::CloudHealth { pool, workers }),
        );
        let live = health.jobs.in_queue + health.jobs.in_progress;
        let live = u32::try_from(live).unwrap_or(u32::MAX);
        scene.after(
            wait,
            Action::Inner(process, Event::CloudJobsCounted { pool, live }),
        );
    }

    /// Whether a pool has work or workers, as far as the client can see; in a storm always, for it may have
    /// some at any moment.
    fn is_busy(&mut self, scene: &Scene, pool: PoolId, store: &Store) -> bool {
        let has_attempts = store.live.attempts.values().any(|a| a.pool == pool);
        if !scene.faults.is_calm() {
            return true;
        }
        let health = endpoint_of(store, pool)
            .and_then(|endpoint| self.model.health(scene.now.as_millis(), &endpoint).ok());
        has_attempts
            || health.is_some_and(|health| {
                let workers = health.workers;
                workers.initializing + workers.idle + workers.running > 0
            })
    }

    /// Something happens at RunPod.
    fn misfortune(&mut self, scene: &mut Scene) {
        let now = scene.now.as_millis();
        let kinds = [
            (
                Fault::Cloud429,
                FaultKind::Http429 {
                    retry_after_s: 2,
                    operation: None,
                },
            ),
            (
                Fault::Cloud5xx,
                FaultKind::Http5xx {
                    status: 503,
                    operation: None,
                },
            ),
            (Fault::CloudHangs, FaultKind::AcceptThenHang),
            (
                Fault::CloudWorkerLost,
                FaultKind::LostWorker { worker: None },
            ),
            (Fault::CloudResultLost, FaultKind::ResultLost),
            (
                Fault::CloudExpiresEarly,
                FaultKind::EarlyExpiry { after_ms: 1_000 },
            ),
            (Fault::CloudIdLate, FaultKind::LateId { delay_ms: 8_000 }),
            (Fault::CloudThrottled, FaultKind::Throttled),
            (Fault::CloudUnhealthy, FaultKind::Unhealthy),
            (Fault::CloudCrashLoop, FaultKind::CrashLoop),
            (Fault::CloudMaxLowered, FaultKind::MaxLowered { max: 1 }),
            (
                Fault::CloudStandby,
                FaultKind::StandbyWorker {
                    workers: 1,
                    beyond_max: false,
                },
            ),
        ];
        for (fault, kind) in kinds {
            if !scene.strikes(fault) {
                continue;
            }
            let for_ms = scene.rng.random_range(1_000..60_000);
            let endpoint = self
                .endpoints
                .iter()
                .nth(scene.rng.random_range(0..self.endpoints.len()));
            let spec = FaultSpec {
                kind,
                endpoint: endpoint.cloned(),
                count: None,
                probability: Some(scene.rng.random_range(0.1..1.0)),
                for_ms: Some(for_ms),
            };
            // There may be no worker to lose: then nothing happens.
            let _ = self.model.inject(now, spec);
        }
    }

    pub(crate) fn calm_down(&mut self, scene: &Scene) {
        self.model.clear_faults(scene.now.as_millis(), None);
        if let Some(kind) = self.lie.clone() {
            self.lie(scene, kind);
        }
    }
}

/// The id that RunPod knows a pool's endpoint by.
fn endpoint_of(store: &Store, pool: PoolId) -> Option<EndpointId> {
    store
        .live
        .pools
        .get(&pool)
        .filter(|record| record.key.starts_with("cloud"))
        .map(|record| EndpointId::from(record.key.as_str()))
}

/// RunPod's words in the core's.
fn said(attempt: AttemptId, answer: Result<JobView, Refusal>) -> Event {
    let Ok(view) = answer else {
        return Event::CloudGone { attempt };
    };
    let worker = view.worker_id.map(|worker| worker.as_str().to_owned());
    let delay = view.delay_time.map(DurationMs::from_millis);
    let execution = view.execution_time.map(DurationMs::from_millis);
    let error = || {
        let text = view
            .error
            .as_ref()
            .map(|error| error.get().trim_matches('"').to_owned());
        text.unwrap_or_default()
    };
    let state = match view.status {
        JobStatus::InQueue => CloudJobState::Queued,
        JobStatus::InProgress => CloudJobState::Running { worker, delay },
        JobStatus::Completed => {
            let output = view
                .output
                .as_ref()
                .and_then(|output| output.get().parse().ok());
            let output = output.map_or_else(PayloadRef::default, |handle| PayloadRef {
                handle,
                bytes: 8,
            });
            CloudJobState::Ended {
                outcome: Outcome::Completed { output },
                worker,
                delay,
                execution,
            }
        }
        JobStatus::Failed if error().contains("timed out") || error().contains("exceeded") => {
            CloudJobState::TimedOut {
                error: error(),
                worker,
                delay,
                execution,
            }
        }
        JobStatus::Failed => {
            let outcome = Outcome::Failed {
                error: error(),
                output: PayloadRef::default(),
            };
            CloudJobState::Ended {
                outcome,
                worker,
                delay,
                execution,
            }
        }
        JobStatus::Cancelled => CloudJobState::Cancelled,
        JobStatus::TimedOut => CloudJobState::TimedOut {
            error: "the job's TTL at RunPod ended".into(),
            worker,
            delay,
            execution,
        },
    };
    Event::CloudStatus { attempt, state }
}
