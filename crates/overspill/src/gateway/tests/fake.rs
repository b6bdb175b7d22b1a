//! An engine in memory, around the real core: no store, no processes, commits at once.

use std::collections::{BTreeSet, HashMap};
use std::future::Future as _;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use overspill_core::budget::Caps;
use overspill_core::calendar::Calendar;
use overspill_core::change::{Change, EndedJob, FinalState};
use overspill_core::effect::{Answer, Effect, Out};
use overspill_core::event::{Event, PayloadRef};
use overspill_core::id::{
    AttemptId, DeviceId, EndpointId, JobId, KeyId, PollId, PoolId, RequestId, WorkerId,
};
use overspill_core::machine::Core;
use overspill_core::time::{DurationMs, Timestamp};
use overspill_core::topology::{
    DeviceSpec, EndpointSpec, Limits, PoolKind, PoolSpec, ScalerSpec, Topology,
};
use overspill_core::webhook::{Webhook, WebhookId};
use tokio::sync::{oneshot, watch};

use crate::auth::keys::KeyRecord;
use crate::engine::api::{
    AttemptView, ChunkCursor, Chunks, CloudCounts, EndpointDirectory, EndpointEntry, EndpointView,
    Engine, IdempotencyRecord, JobFilter, JobPage, JobState, JobStory, JobVersion, JobView,
    LocalCounts, MakeEvent, Payload, ReplayAnswer, RetryAnswer, TakenJob, Unavailable,
    WorkerCounts, WorkerFacts,
};

#[derive(Default)]
struct State {
    core: Core,
    next_id: u64,
    payloads: HashMap<u64, Bytes>,
    inputs: HashMap<JobId, Bytes>,
    ended: HashMap<JobId, (EndedJob, Bytes)>,
    progress: HashMap<JobId, Bytes>,
    chunks: HashMap<AttemptId, Vec<Bytes>>,
    idempotency: HashMap<(EndpointId, String), IdempotencyRecord>,
    answers: HashMap<RequestId, Answer>,
    polls: HashMap<PollId, oneshot::Sender<Vec<TakenJob>>>,
    stops: HashMap<WorkerId, Vec<JobId>>,
    released: HashMap<WorkerId, bool>,
}

/// See the module.
pub(super) struct Fake {
    state: Mutex<State>,
    keys: Mutex<Arc<Vec<KeyRecord>>>,
    /// The outbox.
    pub(super) webhooks: Mutex<Vec<Webhook>>,
    directory: Arc<EndpointDirectory>,
    version: watch::Sender<u64>,
    secret: [u8; 32],
    /// So many commits fail from now on.
    pub(super) failing: AtomicU32,
    /// Whether the disk is full.
    pub(super) full: AtomicBool,
    /// Jobs that were said not to be delivered.
    pub(super) undelivered: watch::Sender<Vec<JobId>>,
    /// Jobs that heartbeats listed.
    pub(super) pinged: watch::Sender<Vec<JobId>>,
    /// What was said about jobs in the cloud.
    pub(super) hints: Mutex<Vec<(AttemptId, PoolId, Option<String>)>>,
    /// How many polls of workers are held.
    pub(super) held: watch::Sender<usize>,
}

impl Fake {
    /// Endpoints `tts` (two workers, two slots each; alias `abc123def456`) and `sdxl` (one worker).
    pub(super) fn new() -> Arc<Self> {
        let secs = DurationMs::from_secs;
        let endpoint = |name: &str, devices: Vec<DeviceId>| EndpointSpec {
            name: name.into(),
            execution_timeout: secs(600),
            ttl: secs(86_400),
            retention: secs(1_800),
            max_attempts: 3,
            max_wait: secs(90),
            expected_execution: secs(30),
            expected_start: overspill_core::scaler::START_MEAN,
            caps: Caps::default(),
            limits: Limits { min: 0, max: 3 },
            schedule: Vec::new(),
            scaler: ScalerSpec::default(),
            residency: BTreeSet::new(),
            pools: vec![PoolSpec {
                key: "local-0".into(),
                slots: 2,
                kind: PoolKind::Command {
                    devices,
                    vram_bytes: Some(1),
                },
            }],
        };
        let topology = Topology {
            endpoints: vec![
                endpoint("tts", vec![DeviceId(0), DeviceId(1)]),
                endpoint("sdxl", vec![DeviceId(2)]),
            ],
            devices: (0..3)
                .map(|i| DeviceSpec {
                    id: DeviceId(i),
                    name: format!("nominal {i}"),
                    memory_bytes: 1_000,
                    watts: None,
                    uuid: None,
                })
                .collect(),
            account_workers_max: None,
            cancel_grace: secs(5),
            caps: Caps::default(),
            calendar: Calendar::default(),
            guard: overspill_core::guard::GuardSpec::default(),
            electricity: None,
            alert: None,
            card_returns_after: overspill_core::quarantine::RETURNS_AFTER,
        };
        let mut state = State::default();
        let event = Event::Configured {
            topology: Box::new(topology),
        };
        let fake_now = now();
        let nobody = Event::WorkersAlive {
            workers: Vec::new(),
        };
        for event in [event, nobody] {
            let mut out = Out::default();
            state.core.handle(fake_now, event, &mut out);
            state.carry_out(out);
        }
        let entries = state
            .core
            .endpoint_names()
            .map(|(id, name)| EndpointEntry {
                class_by: vec!["model".to_owned()],
                id,
                name: name.into(),
                aliases: if name == "tts" {
                    vec!["abc123def456".into()]
                } else {
                    Vec::new()
                },
            })
            .collect();
        Arc::new(Self {
            state: Mutex::new(state),
            webhooks: Mutex::default(),
            keys: Mutex::default(),
            directory: Arc::new(EndpointDirectory::new(entries)),
            version: watch::Sender::new(1),
            secret: [42; 32],
            failing: AtomicU32::new(0),
            full: AtomicBool::new(false),
            undelivered: watch::Sender::default(),
            pinged: watch::Sender::default(),
            hints: Mutex::default(),
            held: watch::Sender::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The living workers of an endpoint.
    pub(super) fn workers(&self, endpoint: &str) -> Vec<WorkerId> {
        let id = self.directory.find(endpoint).unwrap().id;
        self.state()
            .core
            .workers()
            .filter(|worker| worker.endpoint == id)
            .map(|worker| worker.id)
            .collect()
    }

    /// The class of a live job.
    pub(super) fn class_of(&self, id: &str) -> u32 {
        let id = id.parse().unwrap();
        self.state().core.job(id).unwrap().class
    }

    /// Handles an event, as one batch.
    pub(super) fn handle(&self, event: Event) {
        let mut state = self.state();
        let mut out = Out::default();
        state.core.handle(now(), event, &mut out);
        state.carry_out(out);
        drop(state);
        self.version.send_modify(|version| *version += 1);
    }

    fn request(&self, event: MakeEvent) -> Answer {
        let request = {
            let mut state = self.state();
            state.next_id += 1;
            RequestId(state.next_id)
        };
        self.handle(event(request));
        self.state().answers.remove(&request).unwrap()
    }
}

impl State {
    fn bytes(&self, payload: PayloadRef) -> Bytes {
        self.payloads
            .get(&payload.handle)
            .cloned()
            .unwrap_or_default()
    }

    fn carry_out(&mut self, out: Out) {
        let mut next = vec![out];
        while let Some(out) = next.pop() {
            for change in out.changes {
                self.store(change);
            }
            for effect in out.effects {
                let event = match effect {
                    Effect::MintWorker { pool, device } => {
                        self.next_id += 1;
                        Event::WorkerMinted {
                            worker: WorkerId::new(0xfeed_0000 + u128::from(self.next_id)),
                            pool,
                            device,
                        }
                    }
                    Effect::SpawnWorker { worker, .. } => {
                        Event::WorkerSpawned { worker, pid: 4_242 }
                    }
                    other => {
                        self.perform(other);
                        continue;
                    }
                };
                let mut out = Out::default();
                self.core.handle(now(), event, &mut out);
                next.push(out);
            }
        }
    }

    fn store(&mut self, change: Change) {
        match change {
            Change::JobPut {
                job,
                input,
                idempotency,
            } => {
                self.ended.remove(&job.id);
                if let Some(input) = input {
                    let bytes = self.bytes(input);
                    self.inputs.insert(job.id, bytes);
                }
                if let Some(named) = idempotency {
                    let record = IdempotencyRecord {
                        job: job.id,
                        body_sha256: named.body_sha256,
                    };
                    self.idempotency.insert((job.endpoint, named.key), record);
                }
            }
            Change::JobEnded(ended) => {
                let output = self.bytes(ended.output);
                self.ended.insert(ended.id, (ended, output));
            }
            Change::ChunkAdded { attempt, chunk, .. } => {
                let bytes = self.bytes(chunk);
                self.chunks.entry(attempt).or_default().push(bytes);
            }
            Change::ProgressPut { attempt, progress } => {
                let bytes = self.bytes(progress);
                self.progress.insert(attempt.job, bytes);
            }
            _ => {}
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Answer { request, answer } => {
                self.answers.insert(request, answer);
            }
            Effect::Deliver { poll, jobs, .. } => {
                let taken = jobs
                    .into_iter()
                    .map(|delivery| TakenJob {
                        attempt: delivery.attempt,
                        input: self.inputs[&delivery.attempt.job].clone(),
                        extras: delivery.extras,
                        webhook: delivery.webhook,
                        trace: delivery.trace,
                    })
                    .collect();
                if let Some(poll) = self.polls.remove(&poll) {
                    let _ = poll.send(taken);
                }
            }
            Effect::TakeEmpty { poll } => {
                if let Some(poll) = self.polls.remove(&poll) {
                    let _ = poll.send(Vec::new());
                }
            }
            Effect::StopJob { worker, job } => {
                self.stops.entry(worker).or_default().push(job);
            }
            Effect::ReleasePolls { worker } => {
                self.released.insert(worker, true);
            }
            _ => {}
        }
    }

    fn view(&self, id: JobId, version: u64) -> Option<JobView> {
        let chunk_count: usize = self
            .chunks
            .iter()
            .filter(|(attempt, _)| attempt.job == id)
            .map(|(_, chunks)| chunks.len())
            .sum();
        let common = |endpoint, state, submitted_at| JobView {
            id,
            endpoint,
            state,
            submitted_at,
            started_at: None,
            ended_at: None,
            delay_ms: None,
            execution_ms: None,
            worker: None,
            pool: None,
            attempt: 0,
            retries: 0,
            output: None,
            progress: None,
            error: None,
            error_code: None,
            webhook: None,
            trace: None,
            region: None,
            is_stream: chunk_count > 0,
            result_sha256: None,
            version: JobVersion(version),
        };
        if let Some(job) = self.core.live_job(id) {
            let state = if job.started_at.is_some() {
                JobState::Running
            } else {
                JobState::Queued
            };
            return Some(JobView {
                started_at: job.started_at,
                region: job.region,
                delay_ms: job
                    .started_at
                    .map(|at| at.since(job.submitted_at).as_millis()),
                worker: job.worker,
                attempt: job.attempts,
                retries: job.lost,
                progress: self.progress.get(&id).cloned(),
                ..common(job.endpoint, state, job.submitted_at)
            });
        }
        let (job, output) = self.ended.get(&id)?;
        let state = match job.state {
            FinalState::Completed => JobState::Completed,
            FinalState::Failed => JobState::Failed,
            FinalState::Cancelled => JobState::Cancelled,
            FinalState::TimedOut => JobState::TimedOut,
        };
        Some(JobView {
            ended_at: Some(job.ended_at),
            region: job.region,
            delay_ms: job.delay.map(DurationMs::as_millis),
            execution_ms: job.execution.map(DurationMs::as_millis),
            worker: job.worker.clone(),
            attempt: job.attempts,
            output: Some(output.clone()).filter(|bytes| !bytes.is_empty()),
            error: job.error.clone(),
            error_code: job.error_code.clone(),
            result_sha256: job.body_sha256.clone(),
            ..common(job.endpoint, state, job.submitted_at)
        })
    }
}

fn now() -> Timestamp {
    use std::time::SystemTime;
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

/// Says that a poll is gone when its request is.
struct Gone<'a> {
    fake: &'a Fake,
    poll: PollId,
}

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.fake.held.send_modify(|held| *held -= 1);
        self.fake.state().polls.remove(&self.poll);
        self.fake.handle(Event::TakeGone { poll: self.poll });
    }
}

impl Engine for Fake {
    fn keep(&self, bytes: Bytes) -> Payload {
        let mut state = self.state();
        state.next_id += 1;
        let handle = state.next_id;
        state.payloads.insert(handle, bytes.clone());
        Payload {
            reference: PayloadRef {
                handle,
                bytes: bytes.len() as u64,
            },
            bytes,
        }
    }

    fn ask(&self, _payloads: Vec<Payload>, event: MakeEvent) -> BoxFuture<'_, Answer> {
        async move {
            let fails = self
                .failing
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
            if fails.is_ok() {
                return Answer::Unavailable;
            }
            self.request(event)
        }
        .boxed()
    }

    fn tell(&self, event: Event, _payloads: Vec<Payload>) {
        if let Event::Pinged { jobs, .. } = &event {
            self.pinged.send_replace(jobs.clone());
        }
        self.handle(event);
    }

    fn take(
        &self,
        worker: WorkerId,
        room: u32,
        is_idle: bool,
        hold: Duration,
    ) -> BoxFuture<'_, Vec<TakenJob>> {
        async move {
            let (sender, receiver) = oneshot::channel();
            let poll = {
                let mut state = self.state();
                state.next_id += 1;
                let poll = PollId(state.next_id);
                state.polls.insert(poll, sender);
                poll
            };
            self.held.send_modify(|held| *held += 1);
            let _gone = Gone { fake: self, poll };
            self.handle(Event::TakeWaiting {
                poll,
                worker,
                room,
                deadline: now() + DurationMs::from_secs(3_600),
                is_idle,
            });
            match tokio::time::timeout(hold, receiver).await {
                Ok(Ok(jobs)) => jobs,
                _ => Vec::new(),
            }
        }
        .boxed()
    }

    fn delivery_failed(&self, worker: WorkerId, jobs: Vec<JobId>) {
        self.handle(Event::DeliverFailed {
            worker,
            jobs: jobs.clone(),
        });
        self.undelivered.send_replace(jobs);
    }

    fn stop_signals(&self, worker: WorkerId, hold: Duration) -> BoxFuture<'_, Vec<JobId>> {
        async move {
            let mut version = self.version.subscribe();
            let end = tokio::time::Instant::now() + hold;
            loop {
                let jobs = self.state().stops.remove(&worker).unwrap_or_default();
                if !jobs.is_empty() {
                    return jobs;
                }
                if tokio::time::timeout_at(end, version.changed())
                    .await
                    .is_err()
                {
                    return Vec::new();
                }
            }
        }
        .boxed()
    }

    fn job(&self, id: JobId) -> BoxFuture<'_, Result<Option<JobView>, Unavailable>> {
        async move { Ok(self.state().view(id, *self.version.borrow())) }.boxed()
    }

    fn input(&self, id: JobId) -> BoxFuture<'_, Result<Option<Bytes>, Unavailable>> {
        async move { Ok(self.state().inputs.get(&id).cloned()) }.boxed()
    }

    fn wait_job(
        &self,
        id: JobId,
        known: JobVersion,
        hold: Duration,
    ) -> BoxFuture<'_, Result<Option<JobView>, Unavailable>> {
        async move {
            let mut version = self.version.subscribe();
            let changed = version.wait_for(|version| *version != known.0);
            let mut changed = pin!(tokio::time::timeout(hold, changed));
            let _: () = std::future::poll_fn(|context| match changed.as_mut().poll(context) {
                Poll::Ready(_) => Poll::Ready(()),
                Poll::Pending => Poll::Pending,
            })
            .await;
            self.job(id).await
        }
        .boxed()
    }

    fn chunks(&self, id: JobId, cursor: ChunkCursor) -> BoxFuture<'_, Result<Chunks, Unavailable>> {
        let state = self.state();
        let newest = state
            .chunks
            .iter()
            .filter(|(attempt, _)| attempt.job == id)
            .max_by_key(|(attempt, _)| (attempt.generation, attempt.number));
        let chunks = match newest {
            None => Chunks {
                cursor,
                ..Chunks::default()
            },
            Some((attempt, all)) => {
                let is_same =
                    (cursor.generation, cursor.attempt) == (attempt.generation, attempt.number);
                let from = if is_same { cursor.next as usize } else { 0 };
                Chunks {
                    items: all[from..].to_vec(),
                    cursor: ChunkCursor {
                        generation: attempt.generation,
                        attempt: attempt.number,
                        next: u32::try_from(all.len()).unwrap(),
                    },
                    attempt: attempt.number,
                }
            }
        };
        async move { Ok(chunks) }.boxed()
    }

    fn jobs(&self, filter: JobFilter) -> BoxFuture<'_, Result<JobPage, Unavailable>> {
        let state = self.state();
        let mut ids: Vec<JobId> = state.inputs.keys().copied().collect();
        ids.sort_by(|a, b| b.cmp(a));
        let mut jobs: Vec<JobView> = ids
            .into_iter()
            .filter(|id| filter.after.is_none_or(|after| *id < after))
            .filter_map(|id| state.view(id, 0))
            .filter(|job| filter.endpoint.is_none_or(|id| id == job.endpoint))
            .filter(|job| filter.state.is_none_or(|state| state == job.state))
            .collect();
        let next = (jobs.len() > filter.limit as usize).then(|| jobs[filter.limit as usize - 1].id);
        jobs.truncate(filter.limit as usize);
        async move { Ok(JobPage { jobs, next }) }.boxed()
    }

    fn story(&self, id: JobId) -> BoxFuture<'_, Result<Option<JobStory>, Unavailable>> {
        let story = self.state().view(id, 0).map(|job| JobStory {
            attempts: vec![AttemptView {
                id: AttemptId {
                    job: id,
                    generation: 0,
                    number: 1,
                },
                pool: "local-0".into(),
                worker: job.worker.clone(),
                leased_at: job.submitted_at,
                started_at: job.started_at,
                ended_at: job.ended_at,
                outcome: "running".into(),
                site: None,
            }],
            cost: crate::view::cost::Sums::default(),
            job,
        });
        async move { Ok(story) }.boxed()
    }

    fn retry(
        &self,
        id: JobId,
        trace: Option<String>,
        key: Option<KeyId>,
    ) -> BoxFuture<'_, Result<RetryAnswer, Unavailable>> {
        let (job, input) = {
            let state = self.state();
            let Some((job, _)) = state.ended.get(&id).cloned() else {
                return async { Ok(RetryAnswer::NotFound) }.boxed();
            };
            (job, state.inputs[&id].len() as u64)
        };
        let answer = self.request(Box::new(move |request| Event::RetryAsked {
            request,
            job: overspill_core::event::NewJob {
                id,
                endpoint: job.endpoint,
                input: PayloadRef {
                    handle: 0,
                    bytes: input,
                },
                execution_timeout: None,
                ttl: None,
                low_priority: false,
                webhook: job.webhook,
                class: 0,
                region: job.region,
                extras: None,
                idempotency: None,
                trace,
                key,
            },
            generation: job.generation,
        }));
        let answer = match answer {
            Answer::Submitted { .. } => RetryAnswer::Queued,
            Answer::SubmitRefused(refusal) => RetryAnswer::Refused(refusal),
            other => panic!("{other:?}"),
        };
        async move { Ok(answer) }.boxed()
    }

    fn idempotency(
        &self,
        endpoint: EndpointId,
        key: String,
    ) -> BoxFuture<'_, Result<Option<IdempotencyRecord>, Unavailable>> {
        let record = self.state().idempotency.get(&(endpoint, key)).cloned();
        async move { Ok(record) }.boxed()
    }

    fn endpoints(&self) -> Arc<EndpointDirectory> {
        Arc::clone(&self.directory)
    }

    fn endpoint(&self, id: EndpointId) -> BoxFuture<'_, Option<EndpointView>> {
        let state = self.state();
        let ended = |wanted: FinalState| {
            let jobs = state.ended.values();
            jobs.filter(|(job, _)| job.endpoint == id && job.state == wanted)
                .count() as u64
        };
        let view = state.core.counts_of(id).map(|counts| EndpointView {
            id,
            name: counts.name,
            limits: counts.limits.unwrap_or(Limits { min: 0, max: 0 }),
            max_wait: counts.max_wait,
            scaler: counts.scaler,
            set: counts.set,
            min_held: counts.min_held,
            queued: counts.queued,
            running: counts.running,
            completed: ended(FinalState::Completed),
            failed: ended(FinalState::Failed),
            retried: 0,
            workers: WorkerCounts {
                idle: counts.local_ready,
                initializing: counts.local_workers - counts.local_ready,
                ..WorkerCounts::default()
            },
            ready_workers: Vec::new(),
            local_workers: state
                .core
                .workers_of(id)
                .into_iter()
                .map(Into::into)
                .collect(),
            cloud: CloudCounts::default(),
            local: LocalCounts {
                workers: counts.local_workers,
                slots: counts.local_slots,
                busy: counts.local_busy,
            },
        });
        async move { view }.boxed()
    }

    fn worker(&self, id: WorkerId) -> Option<WorkerFacts> {
        self.state()
            .core
            .workers()
            .find(|worker| worker.id == id)
            .map(|worker| WorkerFacts {
                endpoint: worker.endpoint,
                takes_jobs: worker.takes_jobs(),
            })
    }

    fn server_secret(&self) -> &[u8; 32] {
        &self.secret
    }

    fn cloud_hint(&self, attempt: AttemptId, pool: PoolId, cloud_job: Option<&str>) {
        let hint = (attempt, pool, cloud_job.map(str::to_owned));
        self.hints.lock().unwrap().push(hint);
    }

    fn now(&self) -> Timestamp {
        now()
    }

    fn is_ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn has_room(&self) -> bool {
        !self.full.load(Ordering::SeqCst)
    }

    fn webhooks(
        &self,
        filter: overspill_store::WebhookFilter,
        _after: Option<WebhookId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Webhook>, Unavailable>> {
        let all = self.webhooks.lock().unwrap();
        let listed = all.iter().filter(|webhook| filter.matches(webhook));
        let listed = listed.take(limit).cloned().collect();
        std::future::ready(Ok(listed)).boxed()
    }

    fn replay_webhook(
        &self,
        id: WebhookId,
        _by: String,
    ) -> BoxFuture<'_, Result<ReplayAnswer, Unavailable>> {
        let all = self.webhooks.lock().unwrap();
        let is_there = all.iter().any(|webhook| webhook.id == id);
        let answer = if is_there {
            ReplayAnswer::Due
        } else {
            ReplayAnswer::NotFound
        };
        std::future::ready(Ok(answer)).boxed()
    }

    fn webhook_secrets(&self, _endpoint: EndpointId) -> Vec<String> {
        vec!["whsec_AAAA".to_owned()]
    }

    fn rotate_webhook_secret(
        &self,
        _endpoint: EndpointId,
    ) -> BoxFuture<'_, Result<(), Unavailable>> {
        std::future::ready(Ok(())).boxed()
    }

    fn keys(&self) -> Arc<Vec<KeyRecord>> {
        Arc::clone(&self.keys.lock().unwrap())
    }

    fn put_key(&self, key: KeyRecord) -> BoxFuture<'_, Result<(), Unavailable>> {
        let mut keys = self.keys.lock().unwrap();
        let mut all: Vec<KeyRecord> = keys.iter().filter(|k| k.id != key.id).cloned().collect();
        all.push(key);
        *keys = Arc::new(all);
        async { Ok(()) }.boxed()
    }

    fn revoke_key(&self, id: String) -> BoxFuture<'_, Result<bool, Unavailable>> {
        let mut keys = self.keys.lock().unwrap();
        let mut all = (**keys).clone();
        let found = all.iter_mut().find(|key| key.id == id);
        let is_found = found.is_some();
        if let Some(key) = found {
            key.revoked_at = Some(now());
        }
        *keys = Arc::new(all);
        async move { Ok(is_found) }.boxed()
    }
}
