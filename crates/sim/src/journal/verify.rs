//! Feeds a journal to the core again, and compares what it decides.

use overspill_core::change::Change;
use overspill_core::effect::{Effect, Out};
use overspill_core::event::Event;
use overspill_core::machine::Core;
use overspill_core::time::Timestamp;

use super::frame::Piece;
use super::record::{Begin, Cause, FORMAT, Gap, Handled, Record, State, is_decision};
use super::scrub::{self, Digest};
use super::write::digest;

/// The first decision that came out otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// In which segment, from 1.
    pub segment: u64,
    /// After which fact of it, from 1.
    pub fact: u64,
    /// When, by the core's time.
    pub at: Timestamp,
    /// The fact, as the journal has it.
    pub event: String,
    /// The decisions that the journal has, as JSON.
    pub journaled: Vec<String>,
    /// The decisions of the replay.
    pub replayed: Vec<String>,
    /// What differs, in words.
    pub what: String,
}

/// What came of a replay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Segments that began.
    pub segments: u64,
    /// Facts that were fed to the core.
    pub facts: u64,
    /// Decisions that were compared.
    pub decisions: u64,
    /// Facts that could not be, for what came before them is missing.
    pub skipped: u64,
    /// When the first and the last fact were, by the core's time.
    pub span: Option<(Timestamp, Timestamp)>,
    /// What the writer could not take in.
    pub gaps: Vec<Gap>,
    /// What cannot be read, in words.
    pub damage: Vec<String>,
    /// Ends that were not written out.
    pub torn: u64,
    /// The versions that wrote it, each once.
    pub versions: Vec<String>,
    /// The first decision that differs; the replay ends there.
    pub difference: Option<Difference>,
}

impl Report {
    /// Whether everything that is in the journal was compared and came out as it was.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.difference.is_none() && self.damage.is_empty()
    }

    /// Whether nothing is missing from it either.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.gaps.is_empty() && self.skipped == 0
    }
}

/// Looks on while a journal is replayed.
pub trait Watch {
    /// A segment begins with this core.
    fn begins(&mut self, _core: &Core, _cause: Cause, _at: Timestamp) {}
    /// The core took in a fact, and this followed.
    fn handled(
        &mut self,
        _core: &Core,
        _at: Timestamp,
        _event: Option<&Event>,
        _changes: &[Change],
        _effects: &[Effect],
    ) {
    }
}

impl Watch for () {}

/// Replays what readers give, oldest first.
pub fn verify(pieces: impl IntoIterator<Item = Piece>, watch: &mut dyn Watch) -> Report {
    let mut replay = Replay {
        core: None,
        fact: 0,
        report: Report::default(),
        watch,
    };
    for piece in pieces {
        match piece {
            Piece::Records(records) => {
                for record in records {
                    replay.take(record);
                    if replay.report.difference.is_some() {
                        return replay.report;
                    }
                }
            }
            Piece::Torn { .. } => {
                replay.report.torn += 1;
                replay.core = None;
            }
            Piece::Damage { at, bytes } => {
                replay.broken(format!("{bytes} bytes from byte {at} on are damaged"));
            }
            Piece::Unknown { at, reason } => {
                replay.broken(format!(
                    "the frame at byte {at} is not understood: {reason}"
                ));
            }
        }
    }
    replay.report
}

struct Replay<'a> {
    /// None while what came before is missing.
    core: Option<Core>,
    /// Facts of this segment.
    fact: u64,
    report: Report,
    watch: &'a mut dyn Watch,
}

impl Replay<'_> {
    fn broken(&mut self, what: String) {
        self.report.damage.push(what);
        self.core = None;
    }

    fn take(&mut self, record: Record) {
        match record {
            Record::Begin(begin) => self.begin(*begin),
            Record::Handled(handled) => self.handled(*handled),
            Record::Gap(gap) => {
                self.report.gaps.push(gap);
                self.core = None;
            }
        }
    }

    fn begin(&mut self, begin: Begin) {
        if begin.format != FORMAT {
            let found = begin.format;
            return self.broken(format!(
                "a segment is of form {found}; this version reads form {FORMAT}"
            ));
        }
        if !self.report.versions.contains(&begin.version) {
            self.report.versions.push(begin.version);
        }
        let core = match begin.state {
            State::Stored(snapshot) => Core::restore(snapshot, begin.at),
            State::Running(core) => {
                // The core went on, so the replayed one must have come to the very same state.
                if let Some(replayed) = self.core.take()
                    && begin.cause == Cause::Rotation
                    && fingerprint(&replayed) != fingerprint(&core)
                {
                    self.report.difference = Some(Difference {
                        segment: self.report.segments,
                        fact: self.fact,
                        at: begin.at,
                        event: "the next file begins".to_owned(),
                        journaled: Vec::new(),
                        replayed: Vec::new(),
                        what: "the state of the replayed core differs from the one in the journal"
                            .to_owned(),
                    });
                    return;
                }
                *core
            }
        };
        self.report.segments += 1;
        self.fact = 0;
        self.watch.begins(&core, begin.cause, begin.at);
        self.core = Some(core);
    }

    fn handled(&mut self, handled: Handled) {
        let Some(core) = self.core.as_mut() else {
            self.report.skipped += 1;
            return;
        };
        let Handled {
            at,
            event,
            decisions,
            digest: journaled,
        } = handled;
        self.fact += 1;
        self.report.facts += 1;
        let (first, _) = self.report.span.unwrap_or((at, at));
        self.report.span = Some((first, at));
        let mut out = Out::default();
        match event.clone() {
            Some(event) => core.handle(at, event, &mut out),
            None => core.resume(&mut out),
        }
        let (changes, effects) = (&out.changes, &out.effects);
        self.watch
            .handled(core, at, event.as_ref(), changes, effects);
        self.report.decisions += decisions.len() as u64;
        if digest(changes, effects) == journaled {
            return;
        }
        let texts = |decisions: &[&Effect]| decisions.iter().map(|d| scrub::text(*d)).collect();
        let journaled: Vec<String> = texts(&decisions.iter().collect::<Vec<_>>());
        let replayed: Vec<String> = texts(
            &effects
                .iter()
                .filter(|e| is_decision(e))
                .collect::<Vec<_>>(),
        );
        let what = if journaled == replayed {
            "the decisions are the same, but not the durable changes or answers beside them"
        } else {
            "the decisions differ"
        };
        self.report.difference = Some(Difference {
            segment: self.report.segments,
            fact: self.fact,
            at,
            event: event.map_or_else(|| "\"resume\"".to_owned(), |event| scrub::text(&event)),
            journaled,
            replayed,
            what: what.to_owned(),
        });
    }
}

fn fingerprint(core: &Core) -> String {
    let mut digest = Digest::new();
    digest.add(core);
    digest.finish()
}
