//! Makes records of what a driver hands over, and frames of the records.

use overspill_core::effect::Effect;
use overspill_core::time::Timestamp;
use serde::Serialize;

use super::frame::seal;
use super::record::{Batch, Begin, Cause, FORMAT, Gap, Record, State, is_decision};
use super::scrub::{self, Digest};

/// A frame is due at so many bytes of lines.
const LINES_BYTES: usize = 256 << 10;

/// Writes a journal into memory; whoever has a file takes the frames.
#[derive(Debug)]
pub struct Writer {
    version: String,
    installation: String,
    lines: Vec<u8>,
}

/// [`super::Handled`], borrowed.
#[derive(Serialize)]
struct HandledRef<'a> {
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a overspill_core::event::Event>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    decisions: Vec<&'a Effect>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum RecordRef<'a> {
    Handled(HandledRef<'a>),
}

impl Writer {
    /// For an installation, by this version.
    #[must_use]
    pub const fn new(version: String, installation: String) -> Self {
        Self {
            version,
            installation,
            lines: Vec::new(),
        }
    }

    /// A segment begins.
    pub fn begin(&mut self, at: Timestamp, cause: Cause, state: State) {
        let begin = Begin {
            format: FORMAT,
            version: self.version.clone(),
            installation: self.installation.clone(),
            at,
            cause,
            state,
        };
        self.line(&Record::Begin(Box::new(begin)));
    }

    /// The core handled these facts.
    pub fn batch(&mut self, batch: &Batch) {
        for (event, changes, effects) in batch.steps() {
            let handled = HandledRef {
                at: batch.at,
                event,
                decisions: effects.iter().filter(|e| is_decision(e)).collect(),
                digest: digest(changes, effects),
            };
            self.line(&RecordRef::Handled(handled));
        }
    }

    /// Something is missing.
    pub fn gap(&mut self, gap: Gap) {
        self.line(&Record::Gap(gap));
    }

    /// Whether enough is there for a frame.
    #[must_use]
    pub const fn is_due(&self) -> bool {
        self.lines.len() >= LINES_BYTES
    }

    /// What is there, as a frame; nothing where nothing is.
    #[must_use]
    pub fn take(&mut self) -> Option<Vec<u8>> {
        if self.lines.is_empty() {
            return None;
        }
        let frame = seal(&self.lines);
        self.lines.clear();
        // The state of a large core is not kept room for.
        self.lines.shrink_to(2 * LINES_BYTES);
        Some(frame)
    }

    fn line(&mut self, record: &impl Serialize) {
        scrub::write(&mut self.lines, record)
            .expect("the core's words are JSON, and memory takes every byte");
        self.lines.push(b'\n');
    }
}

/// The digest of what followed a fact.
pub(super) fn digest<C: Serialize>(changes: &[C], effects: &[Effect]) -> Option<String> {
    if changes.is_empty() && effects.is_empty() {
        return None;
    }
    let mut digest = Digest::new();
    for change in changes {
        digest.add(change);
    }
    for effect in effects {
        digest.add(effect);
    }
    Some(digest.finish())
}
