use overspill_core::budget::Caps;
use overspill_core::calendar::Calendar;
use overspill_core::event::{Idempotency, NewJob, PayloadRef};
use overspill_core::id::EndpointId;
use overspill_core::time::DurationMs;
use std::sync::Mutex;

use overspill_core::event::Outcome;
use overspill_core::id::DeviceId;
use overspill_core::topology::{DeviceSpec, EndpointSpec, Limits, PoolKind, PoolSpec, ScalerSpec};
use overspill_store::memory::{Failure, MemoryStore, Saboteur};

use super::*;

struct Nobody;

impl World for Nobody {
    fn carry_out(&mut self, _effect: Effect, _input: Option<Bytes>) {}
}

/// One endpoint without workers; with `max` 0 it takes no jobs.
pub(in crate::engine) fn topology(max: u32) -> Topology {
    let hour = DurationMs::from_secs(3_600);
    Topology {
        endpoints: vec![EndpointSpec {
            name: "tts".into(),
            execution_timeout: hour,
            ttl: hour,
            retention: hour,
            max_attempts: 3,
            max_wait: hour,
            expected_execution: hour,
            expected_start: overspill_core::scaler::START_MEAN,
            caps: Caps::default(),
            limits: Limits { min: 0, max },
            schedule: Vec::new(),
            scaler: ScalerSpec::default(),
            residency: Default::default(),
            pools: Vec::new(),
        }],
        devices: Vec::new(),
        account_workers_max: None,
        cancel_grace: hour,
        caps: Caps::default(),
        calendar: Calendar::default(),
        guard: overspill_core::guard::GuardSpec::default(),
        electricity: None,
        alert: None,
        card_returns_after: overspill_core::quarantine::RETURNS_AFTER,
    }
}

fn parts(max: u32) -> Parts {
    Parts {
        store: Box::new(MemoryStore::new()),
        world: Box::new(Nobody),
        live: Arc::new(Live::default()),
        clock: ServerClock::start(),
        topology: topology(max),
        alive: Vec::new(),
        activity: Arc::new(Activity::default()),
        journal: None,
    }
}

fn engine(max: u32) -> (Engine, Sender<Message>, EndpointId) {
    let (inbox, messages) = std::sync::mpsc::channel();
    let engine = Engine::restore(parts(max), messages).unwrap();
    let (endpoint, _) = engine.core.endpoint_names().next().expect("one endpoint");
    (engine, inbox, endpoint)
}

/// A job that asks for nothing in particular.
fn plain(endpoint: EndpointId, id: JobId) -> NewJob {
    NewJob {
        id,
        endpoint,
        input: PayloadRef::default(),
        execution_timeout: None,
        ttl: None,
        low_priority: false,
        webhook: None,
        class: 0,
        region: None,
        extras: None,
        idempotency: None,
        trace: None,
        key: None,
    }
}

/// A submission under the key `once`, and where its answer comes.
fn submission(endpoint: EndpointId, id: JobId) -> (Message, oneshot::Receiver<Answer>) {
    let (reply, answer) = oneshot::channel();
    let input = PayloadRef {
        handle: 1,
        bytes: 2,
    };
    let job = NewJob {
        input,
        idempotency: Some(Idempotency {
            key: "once".into(),
            body_sha256: "0".repeat(64),
        }),
        ..plain(endpoint, id)
    };
    let message = Message::Ask {
        make: Box::new(move |request| Event::Submitted { request, job }),
        payloads: vec![Payload {
            reference: input,
            bytes: Bytes::from_static(b"{}"),
        }],
        reply,
    };
    (message, answer)
}

#[test]
fn a_repeated_submission_is_answered_after_the_commit_that_it_rests_on() {
    let (mut engine, inbox, endpoint) = engine(1);
    let (first, mut first_answer) = submission(endpoint, JobId::new(1, false));
    let (second, mut second_answer) = submission(endpoint, JobId::new(2, false));
    inbox.send(first).unwrap();
    inbox.send(second).unwrap();
    let pending = engine.gather().expect("two messages");
    assert_eq!(pending.events.len(), 1, "one job");
    assert!(second_answer.try_recv().is_err(), "nothing is stored yet");
    engine.batch(pending);
    let submitted = Answer::Submitted {
        job: JobId::new(1, false),
    };
    assert_eq!(first_answer.try_recv().unwrap(), submitted);
    assert_eq!(second_answer.try_recv().unwrap(), submitted);
}

#[test]
fn a_repeated_submission_is_unknown_when_the_commit_fails() {
    let (mut engine, inbox, endpoint) = engine(1);
    let (first, mut first_answer) = submission(endpoint, JobId::new(1, false));
    let (second, mut second_answer) = submission(endpoint, JobId::new(2, false));
    inbox.send(first).unwrap();
    inbox.send(second).unwrap();
    let pending = engine.gather().expect("two messages");
    engine.recover(
        pending,
        &StoreError::Io {
            doing: "write".into(),
            source: std::io::Error::other("no room"),
        },
    );
    assert_eq!(first_answer.try_recv().unwrap(), Answer::Unavailable);
    assert_eq!(second_answer.try_recv().unwrap(), Answer::Unavailable);
    let job = engine.core.live_job(JobId::new(1, false));
    assert!(job.is_none(), "what failed is in neither place");
}

#[test]
fn a_repeated_submission_is_refused_with_the_first_one() {
    let (mut engine, inbox, endpoint) = engine(0);
    let (first, mut first_answer) = submission(endpoint, JobId::new(1, false));
    let (second, mut second_answer) = submission(endpoint, JobId::new(2, false));
    inbox.send(first).unwrap();
    inbox.send(second).unwrap();
    let pending = engine.gather().expect("two messages");
    engine.batch(pending);
    let refused = Answer::SubmitRefused(SubmitRefusal::Paused);
    assert_eq!(first_answer.try_recv().unwrap(), refused);
    assert_eq!(second_answer.try_recv().unwrap(), refused);
}

/// Writes down what it is asked to do.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<Effect>>>);

impl World for Notes {
    fn carry_out(&mut self, effect: Effect, _input: Option<Bytes>) {
        self.0.lock().unwrap().push(effect);
    }
}

/// An engine with one card, and who lets its commits fail.
struct Carded {
    engine: Engine,
    inbox: Sender<Message>,
    endpoint: EndpointId,
    saboteur: Saboteur,
    notes: Notes,
}

impl Carded {
    fn new() -> Self {
        let mut topology = topology(0);
        topology.devices.push(DeviceSpec {
            id: DeviceId(0),
            name: "nominal".into(),
            memory_bytes: 0,
            watts: None,
            uuid: None,
        });
        topology.endpoints[0].pools.push(PoolSpec {
            key: "local".into(),
            slots: 1,
            kind: PoolKind::Command {
                devices: vec![DeviceId(0)],
                vram_bytes: None,
            },
        });
        let (inbox, messages) = std::sync::mpsc::channel();
        let store = MemoryStore::new();
        let (saboteur, notes) = (store.saboteur(), Notes::default());
        let parts = Parts {
            store: Box::new(store),
            world: Box::new(notes.clone()),
            live: Arc::new(Live::default()),
            clock: ServerClock::start(),
            topology,
            alive: Vec::new(),
            activity: Arc::new(Activity::default()),
            journal: None,
        };
        let engine = Engine::restore(parts, messages).unwrap();
        let (endpoint, _) = engine.core.endpoint_names().next().expect("one endpoint");
        Self {
            engine,
            inbox,
            endpoint,
            saboteur,
            notes,
        }
    }

    /// Handles all that was sent as one batch.
    fn work(&mut self) {
        let pending = self.engine.gather().expect("somebody sent something");
        self.engine.batch(pending);
    }

    fn tell(&mut self, event: Event) {
        let payloads = Vec::new();
        self.inbox.send(Message::Tell { event, payloads }).unwrap();
        self.work();
    }

    fn minted(&self) -> Event {
        let notes = self.notes.0.lock().unwrap();
        let mut orders = notes.iter().filter_map(|effect| match effect {
            Effect::MintWorker { pool, device } => Some((*pool, *device)),
            _ => None,
        });
        let (pool, device) = orders.next_back().expect("a worker is wanted");
        Event::WorkerMinted {
            worker: WorkerId::new(7),
            pool,
            device,
        }
    }
}

/// Found by a whole storm (seed 91): its record was committed, the order to start it was lost, and it was
/// taken for alive, so its card waited for ever.
#[test]
fn a_worker_that_nobody_started_is_none_after_a_commit_of_unknown_outcome() {
    let mut rig = Carded::new();
    rig.saboteur.fail(1, Failure::UnknownStored);
    let minted = rig.minted();
    rig.notes.0.lock().unwrap().clear();
    rig.tell(minted);
    let notes = rig.notes.0.lock().unwrap();
    let starts = |effect: &Effect| matches!(effect, Effect::SpawnWorker { .. });
    assert!(notes.iter().any(starts), "one is started: {notes:?}");
}

#[test]
fn a_worker_that_was_started_lives_after_a_failed_commit() {
    let mut rig = Carded::new();
    let minted = rig.minted();
    rig.tell(minted);
    rig.saboteur.fail(1, Failure::NotStored);
    rig.inbox
        .send(submission(rig.endpoint, JobId::new(1, false)).0)
        .unwrap();
    rig.work();
    assert_eq!(rig.engine.core.workers().count(), 1);
}

#[test]
fn nothing_is_answered_before_its_commit() {
    let mut rig = Carded::new();
    let (message, mut answer) = submission(rig.endpoint, JobId::new(1, false));
    rig.saboteur.fail(1, Failure::NotStored);
    rig.inbox.send(message).unwrap();
    rig.work();
    assert_eq!(answer.try_recv().unwrap(), Answer::Unavailable);
}

#[test]
fn one_key_at_two_endpoints_is_two_jobs_even_in_one_batch() {
    let (mut engine, inbox, endpoint) = engine(1);
    let other = EndpointId(endpoint.0 + 1);
    inbox
        .send(submission(endpoint, JobId::new(1, false)).0)
        .unwrap();
    let (second, mut answer) = submission(other, JobId::new(2, false));
    inbox.send(second).unwrap();
    let pending = engine.gather().expect("two messages");
    engine.batch(pending);
    let refused = Answer::SubmitRefused(SubmitRefusal::UnknownEndpoint);
    assert_eq!(
        answer.try_recv().unwrap(),
        refused,
        "not the other one's job"
    );
}

#[test]
fn a_result_whose_commit_fails_is_fed_in_again_and_recorded() {
    let mut rig = Carded::new();
    let minted = rig.minted();
    rig.tell(minted);
    let worker = WorkerId::new(7);
    rig.tell(Event::WorkerSpawned { worker, pid: 1 });
    let job = JobId::new(1, false);
    rig.inbox.send(submission(rig.endpoint, job).0).unwrap();
    let (reply, mut jobs) = oneshot::channel();
    let deadline = Timestamp::NEVER;
    rig.inbox
        .send(Message::Take {
            poll: PollId(1),
            worker,
            room: 1,
            is_idle: true,
            deadline,
            reply,
        })
        .unwrap();
    rig.work();
    assert_eq!(jobs.try_recv().expect("a delivery").len(), 1);
    rig.saboteur.fail(1, Failure::NotStored);
    let (message, mut answer) = asked(move |request| Event::Finished {
        request,
        worker,
        job,
        outcome: Outcome::Completed {
            output: PayloadRef::default(),
        },
        stops: false,
        body_sha256: "0".repeat(64),
    });
    rig.inbox.send(message).unwrap();
    rig.work();
    assert_eq!(answer.try_recv().expect("it is answered"), Answer::Recorded);
    assert!(rig.engine.reader.ended(job).unwrap().is_some());
}

fn asked(
    make: impl FnOnce(RequestId) -> Event + Send + 'static,
) -> (Message, oneshot::Receiver<Answer>) {
    let (reply, answer) = oneshot::channel();
    let message = Message::Ask {
        make: Box::new(make),
        payloads: Vec::new(),
        reply,
    };
    (message, answer)
}

/// A retry of the job's first generation.
fn retry(endpoint: EndpointId, id: JobId) -> (Message, oneshot::Receiver<Answer>) {
    let job = plain(endpoint, id);
    asked(move |request| Event::RetryAsked {
        request,
        job,
        generation: 0,
    })
}

/// An engine that holds a job whose time to live is over, ready to be retried.
fn engine_of_an_expired_job() -> (Engine, Sender<Message>, EndpointId, JobId) {
    let (mut engine, inbox, endpoint) = engine(1);
    let id = JobId::new(1, false);
    batch(&mut engine, &inbox, vec![submission(endpoint, id).0]);
    let mut out = Out::default();
    let later = engine.clock.now() + DurationMs::from_secs(7_200);
    engine.core.handle(later, Event::TimePassed, &mut out);
    engine.commit(&out.changes, &BTreeMap::new()).unwrap();
    (engine, inbox, endpoint, id)
}

/// Has the engine take these messages as one batch.
fn batch(engine: &mut Engine, inbox: &Sender<Message>, messages: Vec<Message>) {
    for message in messages {
        inbox.send(message).unwrap();
    }
    let pending = engine.gather().expect("there are messages");
    engine.batch(pending);
}

const OVERTAKEN: Answer = Answer::SubmitRefused(SubmitRefusal::DuplicateId);

/// Found by a storm (seed 762): the second of two retries of one generation came in one batch with the
/// purge that ended the first, and the store did not know of that end yet.
#[test]
fn a_second_retry_is_too_late_even_when_its_batch_ends_the_first() {
    let (mut engine, inbox, endpoint, id) = engine_of_an_expired_job();
    let (first, mut first_answer) = retry(endpoint, id);
    batch(&mut engine, &inbox, vec![first]);
    assert_eq!(
        first_answer.try_recv().unwrap(),
        Answer::Submitted { job: id }
    );
    let (purge, _) = asked(move |request| Event::PurgeAsked { request, endpoint });
    let (second, mut second_answer) = retry(endpoint, id);
    batch(&mut engine, &inbox, vec![purge, second]);
    assert_eq!(second_answer.try_recv().unwrap(), OVERTAKEN);
}

/// The same with all three in one batch: neither the core nor the store has heard of the first.
#[test]
fn of_two_retries_in_one_batch_the_second_is_too_late_though_the_first_has_ended() {
    let (mut engine, inbox, endpoint, id) = engine_of_an_expired_job();
    let (first, mut first_answer) = retry(endpoint, id);
    let (purge, _) = asked(move |request| Event::PurgeAsked { request, endpoint });
    let (second, mut second_answer) = retry(endpoint, id);
    batch(&mut engine, &inbox, vec![first, purge, second]);
    assert_eq!(
        first_answer.try_recv().unwrap(),
        Answer::Submitted { job: id }
    );
    assert_eq!(second_answer.try_recv().unwrap(), OVERTAKEN);
}

#[test]
fn a_journal_has_what_counted_and_begins_anew_after_a_failed_commit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.ovj");
    let journal = Journal::start(crate::engine::journal::Options {
        path: path.clone(),
        bytes_max: 1 << 30,
        installation: "ovs-test".into(),
    });
    let (inbox, messages) = std::sync::mpsc::channel();
    let parts = Parts {
        journal: Some(journal.unwrap()),
        ..parts(1)
    };
    let mut engine = Engine::restore(parts, messages).unwrap();
    let (endpoint, _) = engine.core.endpoint_names().next().expect("one endpoint");
    inbox
        .send(submission(endpoint, JobId::new(1, false)).0)
        .unwrap();
    let pending = engine.gather().expect("a submission");
    engine.batch(pending);
    // Nothing is due, and nothing is written of it.
    engine.batch(Pending::default());
    let (other, _) = asked(move |request| Event::PurgeAsked { request, endpoint });
    inbox.send(other).unwrap();
    let pending = engine.gather().expect("a purge");
    let cause = StoreError::Io {
        doing: "write".into(),
        source: std::io::Error::other("no room"),
    };
    engine.recover(pending, &cause);
    drop(engine);
    let bytes = std::fs::read(&path).unwrap();
    let report =
        overspill_sim::journal::verify(overspill_sim::journal::Reader::new(bytes), &mut ());
    assert!(report.holds() && report.is_complete(), "{report:?}");
    // Twice the configuration, who lives and the resume; the submission; the purge, fed in again.
    assert_eq!((report.segments, report.facts), (2, 8), "{report:?}");
}
