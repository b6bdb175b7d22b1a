//! The engine's contract in virtual time: a batch of events, their changes in one transaction, their
//! effects only after it; a crash at any point; a failed or unknown commit.
//!
//! It decides nothing: it owns the core as the server's engine does, and restores it the same way.

use overspill_core::change::Change;
use overspill_core::effect::{Effect, Out};
use overspill_core::event::Event;
use overspill_core::id::WorkerId;
use overspill_core::invariants;
use overspill_core::machine::Core;
use overspill_core::time::Timestamp;
use overspill_core::topology::Topology;

use crate::faults::Fault;
use crate::journal::{Batch, Cause, Reader, State, Step, Writer, verify};
use crate::scene::{Action, Scene};
use crate::store::Store;

/// Events in one batch at most.
const BATCH_MAX: usize = 64;
/// A journal goes on in another file after so many batches.
const TURNED_AFTER: u32 = 256;

/// What stands between a batch and its effects.
struct Pending {
    events: Vec<Event>,
    steps: Vec<Step>,
    changes: Vec<Change>,
    effects: Vec<Effect>,
    is_boot: bool,
}

/// What became of a commit.
pub(crate) enum Committed {
    /// Written: these effects are to be carried out.
    Yes(Vec<Effect>),
    /// It failed, or is unknown: the core is to be restored, and these events fed in again.
    No(Vec<Event>),
    /// The process was killed.
    Crash,
}

/// The engine.
pub(crate) struct Driver {
    pub(crate) core: Core,
    pub(crate) store: Store,
    pub(crate) topology: Topology,
    pending: Option<Pending>,
    /// Broken invariants, in words.
    pub(crate) violations: Vec<String>,
    /// What a server with a journal would have written, if this one has one.
    journal: Option<Journal>,
}

/// A journal in memory.
struct Journal {
    writer: Writer,
    file: Vec<u8>,
    /// Batches since the file was turned last.
    batches: u32,
}

impl Driver {
    pub(crate) fn new(topology: Topology) -> Self {
        Self {
            core: Core::new(),
            store: Store::default(),
            topology,
            pending: None,
            violations: Vec::new(),
            journal: None,
        }
    }

    /// Writes a journal from here on, which must come out as the run did at the end.
    pub(crate) fn keep_journal(&mut self) {
        self.journal = Some(Journal {
            writer: Writer::new("storm".to_owned(), "storm".to_owned()),
            file: Vec::new(),
            batches: 0,
        });
    }

    /// Replays the journal, if there is one; what differs is a violation.
    pub(crate) fn replay(&mut self) {
        let Some(mut journal) = self.journal.take() else {
            return;
        };
        journal
            .file
            .extend(journal.writer.take().unwrap_or_default());
        let report = verify(Reader::new(&journal.file), &mut ());
        if let Some(first) = &report.difference {
            self.violations
                .push(format!("the journal comes out otherwise: {first:?}"));
        }
        if !report.holds() || !report.is_complete() || report.torn > 0 {
            let damage = &report.damage;
            self.violations
                .push(format!("the journal is not whole: {damage:?}"));
        }
    }

    fn begin_segment(&mut self, at: Timestamp, cause: Cause, state: impl FnOnce(&Core) -> State) {
        if let Some(journal) = &mut self.journal {
            journal.writer.begin(at, cause, state(&self.core));
            journal.batches = 0;
        }
    }

    /// Takes what is in the inbox, handles it, and waits for the disk.
    pub(crate) fn batch(&mut self, scene: &mut Scene) {
        if !scene.is_up || self.pending.is_some() {
            return;
        }
        let mut events: Vec<Event> = Vec::new();
        while events.len() < BATCH_MAX
            && let Some(event) = scene.inbox.pop_front()
        {
            if let Event::RetryAsked {
                job, generation, ..
            } = &event
            {
                // As the engine does: what lives, or ended since, was retried by somebody else; what
                // this batch retries waits for the next one.
                let is_over = self.store.ended.contains_key(&(job.id, generation + 1));
                if is_over || self.core.job(job.id).is_some() {
                    continue;
                }
                if events
                    .iter()
                    .any(|other| matches!(other, Event::RetryAsked { .. }))
                {
                    scene.inbox.push_front(event);
                    break;
                }
            }
            events.push(event);
        }
        if events.is_empty() {
            events.push(Event::TimePassed);
        }
        if self
            .journal
            .as_ref()
            .is_some_and(|j| j.batches >= TURNED_AFTER)
        {
            let running = |core: &Core| State::Running(Box::new(core.clone()));
            self.begin_segment(self.core.now(), Cause::Rotation, running);
        }
        self.handle(scene, events, Out::default(), false);
    }

    fn handle(&mut self, scene: &mut Scene, events: Vec<Event>, mut out: Out, is_boot: bool) {
        let mut steps = Vec::new();
        for event in &events {
            scene.trace.note(scene.now, "event", event);
            self.core.handle(scene.now, event.clone(), &mut out);
            self.check(scene);
            steps.push(Step {
                event: Some(event.clone()),
                changes: out.changes.len(),
                effects: out.effects.len(),
            });
            if let Event::Configured { topology } = event {
                self.topology = (**topology).clone();
            }
        }
        if is_boot {
            self.core.resume(&mut out);
            self.check(scene);
            steps.push(Step {
                event: None,
                changes: out.changes.len(),
                effects: out.effects.len(),
            });
        }
        for change in &out.changes {
            scene.trace.note(scene.now, "change", change);
        }
        let wait = if out.changes.is_empty() {
            scene.ms(0, 0)
        } else {
            scene.ms(1, 12)
        };
        self.pending = Some(Pending {
            events,
            steps,
            changes: out.changes,
            effects: out.effects,
            is_boot,
        });
        let process = scene.process;
        scene.after(wait, Action::Commit(process));
    }

    fn check(&mut self, scene: &Scene) {
        for violation in invariants::check(&self.core) {
            let now = scene.now;
            self.violations
                .push(format!("{now}: {}: {}", violation.name, violation.detail));
        }
    }

    /// The disk is done.
    pub(crate) fn commit(&mut self, scene: &mut Scene) -> Option<Committed> {
        let pending = self.pending.take()?;
        let writes = !pending.changes.is_empty();
        if pending.is_boot && scene.strikes(Fault::CrashAtBoot) {
            if scene.chance(0.5) {
                self.write(scene, &pending.changes);
            }
            return Some(Committed::Crash);
        }
        if writes && scene.strikes(Fault::CrashBeforeCommit) {
            return Some(Committed::Crash);
        }
        if writes && !pending.is_boot {
            let is_unknown = scene.strikes(Fault::CommitUnknown);
            if is_unknown || scene.strikes(Fault::CommitFailed) {
                if is_unknown {
                    self.write(scene, &pending.changes);
                }
                return Some(Committed::No(pending.events));
            }
        }
        self.write(scene, &pending.changes);
        if self.core.durable() != self.store.live {
            let now = scene.now;
            self.violations.push(format!(
                "{now}: the core and the store differ after a commit"
            ));
        }
        if writes && scene.strikes(Fault::CrashAfterCommit) {
            return Some(Committed::Crash);
        }
        if let Some(journal) = &mut self.journal {
            journal.writer.batch(&Batch {
                at: self.core.now(),
                steps: pending.steps,
                changes: pending.changes,
                effects: pending.effects.clone(),
            });
            journal.batches += 1;
            if journal.writer.is_due() {
                journal
                    .file
                    .extend(journal.writer.take().unwrap_or_default());
            }
        }
        Some(Committed::Yes(pending.effects))
    }

    fn write(&mut self, scene: &mut Scene, changes: &[Change]) {
        self.store.commit(changes);
        let now = scene.now;
        let wrong = self.store.contradictions.drain(..);
        self.violations
            .extend(wrong.map(|text| format!("{now}: {text}")));
    }

    /// The process is gone: what was on its way to the disk may be written, or not.
    pub(crate) fn crash(&mut self, scene: &mut Scene) {
        if let Some(pending) = self.pending.take()
            && scene.chance(0.5)
        {
            self.write(scene, &pending.changes);
        }
        self.core = Core::new();
    }

    /// The core as the store has it: at start, and after a failed commit. `again` is fed in after.
    pub(crate) fn restore(&mut self, scene: &mut Scene, alive: Vec<WorkerId>, again: Vec<Event>) {
        let stored = self.store.live.clone();
        self.begin_segment(scene.now, Cause::Restore, |_| State::Stored(stored));
        self.core = Core::restore(self.store.live.clone(), scene.now);
        if self.core.durable() != self.store.live {
            let now = scene.now;
            self.violations
                .push(format!("{now}: a restored core differs from its store"));
        }
        for event in again.into_iter().rev() {
            scene.inbox.push_front(event);
        }
        let boot = vec![
            Event::Configured {
                topology: Box::new(self.topology.clone()),
            },
            Event::WorkersAlive { workers: alive },
        ];
        self.handle(scene, boot, Out::default(), true);
    }

    /// Plans the next look into the inbox.
    pub(crate) fn plan(&self, scene: &mut Scene) {
        if !scene.is_up || self.pending.is_some() {
            return;
        }
        if !scene.inbox.is_empty() {
            scene.wake(scene.now);
        } else if let Some(at) = self.core.next_wakeup() {
            scene.wake(at);
        }
    }
}
