use overspill_core::budget::Caps;
use overspill_core::calendar::Calendar;
use overspill_core::event::{Idempotency, NewJob, PayloadRef};
use overspill_core::id::EndpointId;
use overspill_core::time::DurationMs;
use overspill_core::topology::{EndpointSpec, Limits, ScalerSpec};
use overspill_store::memory::MemoryStore;

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
            caps: Caps::default(),
            limits: Limits { min: 0, max },
            schedule: Vec::new(),
            scaler: ScalerSpec::CostAware,
            pools: Vec::new(),
        }],
        devices: Vec::new(),
        account_workers_max: None,
        cancel_grace: hour,
        caps: Caps::default(),
        calendar: Calendar::default(),
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

/// A submission under the key `once`, and where its answer comes.
fn submission(endpoint: EndpointId, id: JobId) -> (Message, oneshot::Receiver<Answer>) {
    let (reply, answer) = oneshot::channel();
    let input = PayloadRef {
        handle: 1,
        bytes: 2,
    };
    let job = NewJob {
        id,
        endpoint,
        input,
        execution_timeout: None,
        ttl: None,
        low_priority: false,
        webhook: None,
        class: 0,
        extras: None,
        idempotency: Some(Idempotency {
            key: "once".into(),
            body_sha256: "0".repeat(64),
        }),
        trace: None,
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

/// Found by a storm (seed 762): the second of two retries of one generation came in one batch with the
/// purge that ended the first, and the store did not know of that end yet.
#[test]
fn a_second_retry_is_too_late_even_when_its_batch_ends_the_first() {
    let (mut engine, inbox, endpoint) = engine(1);
    let id = JobId::new(1, false);
    let retry = || {
        let job = NewJob {
            id,
            endpoint,
            input: PayloadRef::default(),
            execution_timeout: None,
            ttl: None,
            low_priority: false,
            webhook: None,
            class: 0,
            extras: None,
            idempotency: None,
            trace: None,
        };
        asked(move |request| Event::RetryAsked {
            request,
            job,
            generation: 0,
        })
    };
    inbox.send(submission(endpoint, id).0).unwrap();
    let pending = engine.gather().expect("a submission");
    engine.batch(pending);
    let mut out = Out::default();
    let later = engine.clock.now() + DurationMs::from_secs(7_200);
    engine.core.handle(later, Event::TimePassed, &mut out);
    engine.commit(&out.changes, &BTreeMap::new()).unwrap();
    let mut batch = |messages: Vec<Message>| {
        for message in messages {
            inbox.send(message).unwrap();
        }
        let pending = engine.gather().expect("there are messages");
        engine.batch(pending);
    };
    let (first, mut first_answer) = retry();
    batch(vec![first]);
    assert_eq!(
        first_answer.try_recv().unwrap(),
        Answer::Submitted { job: id }
    );
    let (purge, _) = asked(move |request| Event::PurgeAsked { request, endpoint });
    let (second, mut second_answer) = retry();
    batch(vec![purge, second]);
    let refused = Answer::SubmitRefused(SubmitRefusal::DuplicateId);
    assert_eq!(second_answer.try_recv().unwrap(), refused);
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
