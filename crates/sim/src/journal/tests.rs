use overspill_core::budget::Caps;
use overspill_core::calendar::Calendar;
use overspill_core::change::Snapshot;
use overspill_core::effect::Effect;
use overspill_core::effect::Out;
use overspill_core::event::{
    CloudJobState, CloudWorkerCounts, Event, Idempotency, NewJob, Outcome, PayloadRef,
};
use overspill_core::guard::GuardSpec;
use overspill_core::id::{EndpointId, JobId, PoolId, RequestId};
use overspill_core::machine::Core;
use overspill_core::money::{NanoUsd, RatePerHour};
use overspill_core::time::{DurationMs, Timestamp};
use overspill_core::topology::{
    EndpointSpec, Limits, PoolKind, PoolSpec, RunPodSpec, ScalerSpec, Topology,
};

use super::record::{Batch, Cause, Gap, Handled, Record, State, Step};
use super::verify::{Report, verify};
use super::{Observer, Piece, Reader, Writer, frame};

const POOL: PoolId = PoolId(0);
const CANARY: &str = "canary-4d1f0b6a";

fn secs(n: u64) -> DurationMs {
    DurationMs::from_secs(n)
}

/// One endpoint with a cloud pool and no cards of one's own.
fn topology(max_wait: u64) -> Topology {
    let pool = RunPodSpec {
        endpoint: "abc".into(),
        price: Some(RatePerHour::new(NanoUsd::from_nanos(440_000_000))),
        max: None,
        manage: true,
        idle_timeout: secs(5),
        init_timeout: secs(420),
        region: None,
        gpu: None,
        gpu_label: None,
        list: 0,
    };
    Topology {
        endpoints: vec![EndpointSpec {
            name: "tts".into(),
            execution_timeout: secs(600),
            ttl: secs(3_600),
            retention: secs(3_600),
            max_attempts: 3,
            max_wait: secs(max_wait),
            expected_execution: secs(30),
            expected_start: overspill_core::scaler::START_MEAN,
            caps: Caps::default(),
            limits: Limits { min: 0, max: 3 },
            schedule: Vec::new(),
            scaler: ScalerSpec::default(),
            residency: Default::default(),
            pools: vec![PoolSpec {
                key: "runpod".into(),
                slots: 1,
                kind: PoolKind::RunPod(pool),
            }],
        }],
        devices: Vec::new(),
        account_workers_max: None,
        cancel_grace: secs(5),
        caps: Caps::default(),
        calendar: Calendar::default(),
        guard: GuardSpec::default(),
        electricity: None,
        alert: None,
        card_returns_after: overspill_core::quarantine::RETURNS_AFTER,
    }
}

/// A core whose journal is written as the engine does it.
struct Scene {
    core: Core,
    now: Timestamp,
    writer: Writer,
    file: Vec<u8>,
    /// Attempts that were submitted and have not ended.
    outstanding: Vec<overspill_core::id::AttemptId>,
}

impl Scene {
    fn new() -> Self {
        let now = Timestamp::from_millis(1_000_000);
        let mut scene = Self {
            core: Core::restore(Snapshot::default(), now),
            now,
            writer: Writer::new("1.0.0".into(), "ovs-test".into()),
            file: Vec::new(),
            outstanding: Vec::new(),
        };
        let stored = scene.core.durable();
        scene
            .writer
            .begin(scene.now, Cause::Start, State::Stored(stored));
        let topology = Box::new(topology(1));
        scene.feed(vec![
            Event::Configured { topology },
            Event::WorkersAlive {
                workers: Vec::new(),
            },
        ]);
        scene
    }

    fn feed(&mut self, events: Vec<Event>) {
        let (mut out, mut steps) = (Out::default(), Vec::new());
        for event in events {
            self.core.handle(self.now, event.clone(), &mut out);
            steps.push(Step {
                event: Some(event),
                changes: out.changes.len(),
                effects: out.effects.len(),
            });
        }
        for effect in &out.effects {
            if let Effect::CloudSubmit { attempt, .. } = effect {
                self.outstanding.push(*attempt);
            }
        }
        self.writer.batch(&Batch {
            at: self.now,
            steps,
            changes: out.changes,
            effects: out.effects,
        });
    }

    fn pass(&mut self, length: DurationMs) {
        let end = self.now + length;
        while let Some(at) = self.core.next_wakeup().filter(|&at| at <= end) {
            self.now = at.max(self.now);
            self.feed(vec![Event::TimePassed]);
        }
        self.now = end;
    }

    fn submit(&mut self, number: u128) {
        let job = NewJob {
            id: JobId::new(number, false),
            endpoint: EndpointId(0),
            input: PayloadRef {
                handle: 1,
                bytes: 10,
            },
            execution_timeout: None,
            ttl: None,
            low_priority: false,
            webhook: Some(format!("https://hooks.example/{CANARY}")),
            class: 7,
            region: Some("eu".parse().unwrap()),
            extras: Some(format!("{{\"s3Config\":\"{CANARY}\"}}")),
            idempotency: Some(Idempotency {
                key: CANARY.into(),
                body_sha256: "0".repeat(64),
            }),
            trace: None,
            key: None,
        };
        let request = RequestId(1);
        self.feed(vec![Event::Submitted { request, job }]);
    }

    fn count(&mut self, workers: CloudWorkerCounts) {
        self.feed(vec![Event::CloudHealth {
            pool: POOL,
            workers,
        }]);
    }

    /// Every job that RunPod has runs there for so long, and fails with a text of its own.
    fn run_all(&mut self, length: DurationMs) {
        for attempt in std::mem::take(&mut self.outstanding) {
            self.feed(vec![Event::CloudSubmitted {
                attempt,
                cloud_job: format!("{}", attempt.number),
            }]);
            let worker = Some("w1".to_owned());
            let state = CloudJobState::Running {
                worker: worker.clone(),
                delay: None,
            };
            self.feed(vec![Event::CloudStatus { attempt, state }]);
            let (mut working, mut idle) =
                (CloudWorkerCounts::default(), CloudWorkerCounts::default());
            (working.running, idle.idle) = (1, 1);
            self.count(working);
            self.pass(length);
            self.count(idle);
            let state = CloudJobState::Ended {
                outcome: Outcome::Failed {
                    error: format!("Traceback: {CANARY}"),
                    output: PayloadRef::default(),
                },
                worker,
                delay: None,
                execution: Some(length),
            };
            self.feed(vec![Event::CloudStatus { attempt, state }]);
        }
    }

    /// The lines so far become a frame of their own.
    fn flush(&mut self) {
        self.file.extend(self.writer.take().unwrap_or_default());
    }

    /// Three jobs, one after the other, on a worker that took 40 s to start.
    fn work(&mut self) {
        for number in 1..=3 {
            self.submit(number);
            self.pass(secs(2));
            if number == 1 {
                self.count(CloudWorkerCounts {
                    initializing: 1,
                    ..CloudWorkerCounts::default()
                });
                self.pass(secs(38));
            }
            self.count(CloudWorkerCounts {
                idle: 1,
                ..CloudWorkerCounts::default()
            });
            self.run_all(secs(20));
            self.flush();
        }
        self.pass(secs(60));
        self.count(CloudWorkerCounts::default());
        self.flush();
    }
}

fn replayed(file: &[u8]) -> Report {
    verify(Reader::new(file), &mut ())
}

#[test]
fn a_run_comes_out_as_it_was() {
    let mut scene = Scene::new();
    scene.work();
    let report = replayed(&scene.file);
    assert!(report.holds() && report.is_complete(), "{report:?}");
    assert_eq!((report.segments, report.torn), (1, 0), "{report:?}");
    assert!(report.decisions >= 6, "{report:?}");
    assert_eq!(report.versions, ["1.0.0"]);
}

#[test]
fn that_a_guard_was_heard_of_and_what_it_allowed_comes_out_as_it_was() {
    let mut scene = Scene::new();
    let mut guarded = topology(1);
    guarded.endpoints[0].limits.min = 2;
    let topology = Box::new(guarded);
    scene.feed(vec![Event::Configured { topology }]);
    let kept_on = |scene: &Scene| scene.core.bound_now().workers_kept_on;
    scene.pass(secs(5));
    assert_eq!(kept_on(&scene), 0, "nobody could end them");
    let request = RequestId(2);
    scene.feed(vec![Event::GuardSeen { request }]);
    scene.pass(secs(5));
    assert_eq!(kept_on(&scene), 2);
    // A checkpoint under a guard; later none is heard of any more.
    let state = State::Running(Box::new(scene.core.clone()));
    scene.writer.begin(scene.now, Cause::Rotation, state);
    scene.pass(secs(120));
    assert!(!scene.core.is_guarded());
    scene.flush();
    let report = replayed(&scene.file);
    assert!(report.holds() && report.is_complete(), "{report:?}");
    assert!(report.decisions >= 4, "{report:?}");
}

#[test]
fn no_text_of_a_user_is_in_it() {
    let mut scene = Scene::new();
    scene.work();
    scene.submit(9);
    // A checkpoint of a core that holds a job with such texts.
    let state = State::Running(Box::new(scene.core.clone()));
    scene.writer.begin(scene.now, Cause::Rotation, state);
    scene.flush();
    let lines: usize = Reader::new(&scene.file)
        .map(|piece| {
            let text = format!("{piece:?}");
            assert!(!text.contains(CANARY), "{text}");
            text.len()
        })
        .sum();
    assert!(lines > 10_000, "{lines}");
    assert!(replayed(&scene.file).holds());
}

#[test]
fn the_state_at_a_turn_of_the_file_is_compared_too() {
    let mut scene = Scene::new();
    scene.submit(1);
    scene.pass(secs(2));
    let mut other = scene.core.clone();
    let turn = |scene: &mut Scene, core: Core| {
        let state = State::Running(Box::new(core));
        scene.writer.begin(scene.now, Cause::Rotation, state);
    };
    let same = scene.core.clone();
    turn(&mut scene, same);
    scene.work();
    assert_eq!(replayed(&scene.file).segments, 2);
    assert!(replayed(&scene.file).holds());
    let mut out = Out::default();
    other.handle(scene.now, Event::DrainAsked, &mut out);
    turn(&mut scene, other);
    scene.flush();
    let first = replayed(&scene.file).difference.expect("another state");
    assert_eq!(first.event, "the next file begins");
}

#[test]
fn the_first_decision_that_differs_is_named() {
    let mut scene = Scene::new();
    scene.work();
    // The same facts, but one job was never submitted: as if the core had not heard of it.
    let mut records = Vec::new();
    for piece in Reader::new(&scene.file) {
        let Piece::Records(some) = piece else {
            panic!("{piece:?}");
        };
        records.extend(some);
    }
    let second = records
        .iter()
        .enumerate()
        .filter(|(_, record)| {
            matches!(record, Record::Handled(h) if matches!(h.event, Some(Event::Submitted { .. })))
        })
        .map(|(at, _)| at)
        .nth(1)
        .expect("three jobs");
    records.remove(second);
    let report = verify([Piece::Records(records)], &mut ());
    let first = report.difference.clone().expect("a decision is missing");
    assert!(!report.holds());
    assert!(first.fact as usize >= second - 1, "{first:?}");
    assert_ne!(first.journaled, first.replayed, "{first:?}");
    assert!(
        first
            .journaled
            .iter()
            .any(|text| text.contains("cloud_submit")),
        "{first:?}"
    );
}

#[test]
fn changes_without_a_decision_are_compared_too() {
    let mut scene = Scene::new();
    scene.submit(1);
    scene.flush();
    let Some(Piece::Records(mut records)) = Reader::new(&scene.file).next() else {
        panic!("one frame");
    };
    for record in &mut records {
        if let Record::Handled(handled) = record
            && let Handled {
                event: Some(Event::Submitted { job, .. }),
                ..
            } = handled.as_mut()
        {
            job.input.bytes += 1;
        }
    }
    let first = verify([Piece::Records(records)], &mut ()).difference;
    let first = first.expect("another job was stored");
    assert!(first.what.contains("durable changes"), "{first:?}");
    assert_eq!(first.journaled, first.replayed);
}

#[test]
fn an_end_that_was_cut_off_is_torn_and_harmless() {
    let mut scene = Scene::new();
    scene.work();
    let whole = replayed(&scene.file);
    for cut in [1, 10, 30] {
        let report = replayed(&scene.file[..scene.file.len() - cut]);
        assert!(report.holds(), "{report:?}");
        assert_eq!((report.torn, report.skipped), (1, 0), "{report:?}");
        assert!(report.facts < whole.facts);
    }
    // A later start goes on behind the torn end.
    let mut file = scene.file[..scene.file.len() - 10].to_vec();
    let mut next = Scene::new();
    next.work();
    file.extend(&next.file);
    let report = replayed(&file);
    assert!(report.holds() && report.is_complete(), "{report:?}");
    assert_eq!((report.segments, report.torn), (2, 1), "{report:?}");
}

#[test]
fn damage_is_told_and_the_rest_up_to_the_next_segment_is_not_believed() {
    let mut scene = Scene::new();
    scene.work();
    let frames = scene.file.len();
    let mut next = Scene::new();
    next.work();
    scene.file.extend(&next.file);
    // In the first frame, whatever the byte: its head, its length, its checksum, its body.
    for at in [0, 3, 9, 14, 40, 200] {
        let mut file = scene.file.clone();
        file[at] ^= 0x41;
        let report = replayed(&file);
        assert!(
            !report.damage.is_empty() || report.torn > 0,
            "{at}: {report:?}"
        );
        assert!(report.difference.is_none(), "{at}: {report:?}");
        assert!(report.skipped > 0, "{at}: {report:?}");
        assert_eq!(report.segments, 1, "{at}: {report:?}");
    }
    // And anywhere: told, and never a wrong comparison.
    for at in (0..frames).step_by(97) {
        let mut file = scene.file.clone();
        file[at] = file[at].wrapping_add(1);
        let report = replayed(&file);
        assert!(report.difference.is_none(), "{at}: {report:?}");
        assert!(
            !report.damage.is_empty() || report.torn > 0,
            "byte {at} went unnoticed: {report:?}"
        );
    }
}

#[test]
fn a_gap_is_told_and_what_follows_is_compared_from_the_next_state_on() {
    let mut scene = Scene::new();
    scene.submit(1);
    let gap = Gap {
        facts: 2,
        from: scene.now,
        to: scene.now,
    };
    let (mut lost, mut out) = (scene.core.clone(), Out::default());
    lost.handle(scene.now, Event::TimePassed, &mut out);
    scene.writer.gap(gap);
    let state = State::Running(Box::new(scene.core.clone()));
    scene.writer.begin(scene.now, Cause::Gap, state);
    scene.work();
    let report = replayed(&scene.file);
    assert!(report.holds() && !report.is_complete(), "{report:?}");
    assert_eq!((report.gaps, report.skipped), (vec![gap], 0));
    assert_eq!(report.segments, 2);
}

#[test]
fn another_form_is_refused_by_name() {
    let lines = br#"{"begin":{"format":99,"version":"9","installation":"x","at":0,"cause":"start","state":{"stored":{"endpoints":{},"pools":{},"jobs":[],"attempts":[],"workers":[]}}}}"#;
    let report = replayed(&frame::seal(lines));
    assert!(report.damage[0].contains("form 99"), "{report:?}");
    let report = replayed(&frame::seal(b"{\"later\":1}\n"));
    assert!(report.damage[0].contains("not understood"), "{report:?}");
    assert!(!Reader::new(b"hello".as_slice()).is_journal());
}

#[test]
fn what_happened_is_seen_again() {
    let mut scene = Scene::new();
    scene.work();
    let mut observer = Observer::default();
    let report = verify(Reader::new(&scene.file), &mut observer);
    assert!(report.holds(), "{report:?}");
    let lanes: Vec<_> = observer.lanes().collect();
    let [lane] = lanes.as_slice() else {
        panic!("one endpoint");
    };
    assert_eq!(lane.name, "tts");
    let (trace, left_out) = lane.trace();
    assert_eq!((trace.jobs.len(), left_out), (3, 0));
    assert_eq!(trace.classes, ["7"]);
    assert!(trace.jobs.iter().all(|job| job.duration == secs(20)));
    assert_eq!(trace.jobs[0].arrival, Timestamp::ZERO);
    assert_eq!(trace.jobs[1].arrival, Timestamp::ZERO + secs(60));
    let settings = lane.settings();
    assert_eq!(
        (settings.local_workers, settings.max, settings.slots),
        (0, 3, 1)
    );
    assert_eq!(settings.max_wait, secs(1));
    assert_eq!(lane.policy(), ("cost_aware", Vec::new()));
    assert!(lane.starts_seen() >= 1);
    let measured = lane.measured();
    assert_eq!(measured.jobs, 3);
    assert!((measured.wait_p99_s - 40.0).abs() < 1.0, "{measured:?}");
    assert!(
        measured.cost_usd > 0.0 && measured.busy_s > 0.0,
        "{measured:?}"
    );
    assert!(measured.local_share < f64::EPSILON);
}
