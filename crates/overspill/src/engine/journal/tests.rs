use overspill_core::effect::Out;
use overspill_core::event::{Event, NewJob, PayloadRef};
use overspill_core::id::{EndpointId, JobId, RequestId};
use overspill_core::time::DurationMs;
use overspill_sim::journal::{Report, verify};

use super::*;

/// A core whose facts are handed to a journal, as the engine does.
struct Scene {
    core: Core,
    now: Timestamp,
    number: u128,
}

fn options(folder: &Path, bytes_max: u64) -> Options {
    Options {
        path: folder.join("journal.ovj"),
        bytes_max,
        installation: "ovs-test".into(),
    }
}

impl Scene {
    fn start(journal: &mut Journal) -> Self {
        let now = Timestamp::from_millis(1_000);
        journal.restored(now, true, Snapshot::default());
        let mut scene = Self {
            core: Core::restore(Snapshot::default(), now),
            now,
            number: 0,
        };
        let topology = Box::new(crate::engine::run::tests::topology(1));
        scene.feed(journal, Event::Configured { topology });
        scene
    }

    fn feed(&mut self, journal: &mut Journal, event: Event) {
        journal.offer(&self.core);
        let (mut out, mut steps) = (Out::default(), Steps::default());
        self.core.handle(self.now, event.clone(), &mut out);
        steps.note(Some(event), &out.changes, &out.effects);
        journal.note(self.now, steps, out.changes, out.effects);
    }

    fn submit(&mut self, journal: &mut Journal) {
        self.number += 1;
        self.now += DurationMs::from_millis(7);
        let job = NewJob {
            id: JobId::new(self.number, false),
            endpoint: EndpointId(0),
            input: PayloadRef {
                handle: 1,
                bytes: 2,
            },
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
        };
        let request = RequestId(1);
        self.feed(journal, Event::Submitted { request, job });
    }
}

fn replayed(path: &Path) -> Report {
    let read = |path: PathBuf| Reader::new(std::fs::read(path).unwrap());
    verify(files(path).into_iter().flat_map(read), &mut ())
}

#[test]
fn files_turn_within_their_bound_and_each_begins_with_a_state() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path(), 40_000);
    let path = options.path.clone();
    let mut journal = Journal::start(options).unwrap();
    let mut scene = Scene::start(&mut journal);
    while replayed_files(&path) < 4 || scene.number < 2_000 {
        for _ in 0..50 {
            scene.submit(&mut journal);
        }
        journal.sync();
        assert!(scene.number < 100_000, "no file turns");
    }
    drop(journal);
    let report = replayed(&path);
    assert!(report.holds() && report.is_complete(), "{report:?}");
    assert!(report.segments >= 4, "{report:?}");
    assert!(!numbered(&path, FILES).exists());
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "only its owner may read it");
}

fn replayed_files(path: &Path) -> usize {
    files(path).len()
}

#[test]
fn what_the_thread_cannot_take_in_is_a_gap_and_the_state_follows() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path(), 1 << 30);
    let path = options.path.clone();
    let mut journal = Journal::start(options).unwrap();
    let mut scene = Scene::start(&mut journal);
    scene.submit(&mut journal);
    journal.sync();
    journal.shared.waiting.store(WAITING_MAX, Ordering::Relaxed);
    for _ in 0..3 {
        scene.submit(&mut journal);
    }
    journal.shared.waiting.store(0, Ordering::Relaxed);
    scene.submit(&mut journal);
    drop(journal);
    let report = replayed(&path);
    assert!(report.holds(), "{report:?}");
    assert_eq!(report.gaps.len(), 1, "{report:?}");
    assert_eq!((report.gaps[0].facts, report.segments), (3, 2));
    assert_eq!((report.facts, report.skipped), (3, 0), "{report:?}");
}

#[test]
fn a_full_disk_is_a_gap_and_ends_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path(), 1 << 30);
    let path = options.path.clone();
    let shared = Shared::default();
    let mut out = Output::new(options);
    out.open().unwrap();
    let begin = |cause| Entry::Begin {
        at: Timestamp::ZERO,
        cause,
        state: Box::new(State::Running(Box::new(Core::new()))),
    };
    let batch = || {
        let mut steps = Steps::default();
        steps.note(Some(Event::TimePassed), &[], &[]);
        Entry::Batch(Batch {
            at: Timestamp::from_millis(5),
            steps: steps.0,
            ..Batch::default()
        })
    };
    shared.waiting.store(9, Ordering::Relaxed);
    out.take(begin(Cause::Start), &shared);
    out.take(batch(), &shared);
    out.flush(&shared);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    out.file = Some(full);
    out.take(batch(), &shared);
    out.flush(&shared);
    assert!(out.file.is_none(), "the write failed");
    out.take(batch(), &shared);
    assert!(!shared.wants_state.load(Ordering::Relaxed));
    out.retry_at = Instant::now();
    out.take(batch(), &shared);
    assert!(shared.wants_state.load(Ordering::Relaxed), "there is room");
    out.take(begin(Cause::Rotation), &shared);
    out.take(batch(), &shared);
    out.flush(&shared);
    drop(out);
    let report = replayed(&path);
    assert!(report.holds(), "{report:?}");
    assert_eq!(report.gaps.len(), 1, "{report:?}");
    assert_eq!((report.gaps[0].facts, report.facts), (3, 2), "{report:?}");
    assert_eq!(shared.waiting.load(Ordering::Relaxed), 4);
}

#[test]
fn a_file_that_is_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path(), 1 << 30);
    std::fs::write(&options.path, "dear diary\n").unwrap();
    let error = Journal::start(options.clone()).unwrap_err();
    assert!(error.to_string().contains("no journal"), "{error}");
    assert_eq!(std::fs::read(&options.path).unwrap(), b"dear diary\n");
}
