//! What stands in a journal, and what a driver hands over for it.

use overspill_core::change::{Change, Snapshot};
use overspill_core::effect::Effect;
use overspill_core::event::Event;
use overspill_core::machine::Core;
use overspill_core::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The form of the records; a reader refuses another one.
pub const FORMAT: u32 = 2;

/// One line of a journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// A segment begins.
    Begin(Box<Begin>),
    /// The core took in a fact.
    Handled(Box<Handled>),
    /// Something is missing from here to the next segment.
    Gap(Gap),
}

/// The beginning of a segment.
#[derive(Debug, Serialize, Deserialize)]
pub struct Begin {
    /// [`FORMAT`].
    pub format: u32,
    /// The version of Overspill that wrote it: another one may decide otherwise.
    pub version: String,
    /// Which installation it is of.
    pub installation: String,
    /// When, by the core's time.
    pub at: Timestamp,
    /// Why here.
    pub cause: Cause,
    /// What the core was then.
    pub state: State,
}

/// Why a segment begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The server started.
    Start,
    /// A commit failed: the core was thrown away and restored.
    Restore,
    /// The file was full, and the next one begins.
    Rotation,
    /// Something before is missing.
    Gap,
}

/// What a core begins with.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "one lives at a time, in a box")]
pub enum State {
    /// It was restored from what the store had.
    Stored(Snapshot),
    /// It goes on as it was.
    Running(Box<Core>),
}

/// A fact that the core took in, and what it made of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Handled {
    /// When, by the core's time.
    pub at: Timestamp,
    /// Which; none for [`Core::resume`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Event>,
    /// The decisions that followed; see [`is_decision`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<Effect>,
    /// Over all changes and effects that followed, 16 hexadecimal digits; none where there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// What the writer could not take in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Facts that are missing.
    pub facts: u64,
    /// When the first of them was taken in, by the core's time.
    pub from: Timestamp,
    /// When the last was.
    pub to: Timestamp,
}

/// A fact, and how far the outputs of its batch had come after it.
#[derive(Debug, Clone)]
pub struct Step {
    /// Which; none for [`Core::resume`].
    pub event: Option<Event>,
    /// Changes of the batch so far.
    pub changes: usize,
    /// Effects of the batch so far.
    pub effects: usize,
}

/// Facts that were handled at one time and committed together.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// When, by the core's time.
    pub at: Timestamp,
    /// In their order.
    pub steps: Vec<Step>,
    /// All changes.
    pub changes: Vec<Change>,
    /// All effects.
    pub effects: Vec<Effect>,
}

impl Batch {
    /// The facts with the changes and effects that followed each.
    pub fn steps(&self) -> impl Iterator<Item = (Option<&Event>, &[Change], &[Effect])> {
        let mut from = (0, 0);
        self.steps.iter().map(move |step| {
            let changes = &self.changes[from.0..step.changes];
            let effects = &self.effects[from.1..step.effects];
            from = (step.changes, step.effects);
            (step.event.as_ref(), changes, effects)
        })
    }
}

/// Whether an effect is a decision of its own: who gets a job, how many workers are ordered, what is
/// started, stopped and taken back, and the reasons. The rest are answers and what follows from these.
#[must_use]
pub const fn is_decision(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Decided { .. }
            | Effect::Deliver { .. }
            | Effect::CloudSubmit { .. }
            | Effect::CloudCancel { .. }
            | Effect::CloudScale { .. }
            | Effect::MintWorker { .. }
            | Effect::StopWorker { .. }
            | Effect::KillWorker { .. }
    )
}
