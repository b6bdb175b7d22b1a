//! The trace of a run: every event, change and effect goes into one hash; the last ones are kept.

use std::collections::VecDeque;
use std::io;

use overspill_core::time::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// The trace of a run.
pub(crate) struct Trace {
    hasher: Sha256,
    last: VecDeque<String>,
    keep: usize,
    count: u64,
}

/// Bytes into a hash.
pub(crate) struct Into<'a>(pub(crate) &'a mut Sha256);

impl io::Write for Into<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Trace {
    /// Keeps the last `keep` lines.
    pub(crate) fn new(keep: usize) -> Self {
        Self {
            hasher: Sha256::new(),
            last: VecDeque::new(),
            keep,
            count: 0,
        }
    }

    /// One more thing.
    pub(crate) fn note(&mut self, at: Timestamp, kind: &str, what: &impl Serialize) {
        self.count += 1;
        self.hasher.update(at.as_millis().to_le_bytes());
        self.hasher.update(kind.as_bytes());
        serde_json::to_writer(Into(&mut self.hasher), what)
            .expect("the core's words are JSON, and a hash takes every byte");
        if self.keep == 0 {
            return;
        }
        if self.last.len() == self.keep {
            self.last.pop_front();
        }
        let text = serde_json::to_string(what).expect("it was written as JSON above");
        self.last.push_back(format!("{at:>12} {kind:<6} {text}"));
    }

    /// How many things there were.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// The hash as hexadecimal, and the last lines.
    pub(crate) fn finish(self) -> (String, Vec<String>) {
        let hash = self.hasher.finalize();
        let text = hash.iter().fold(String::new(), |mut text, byte| {
            use std::fmt::Write as _;
            let _ = write!(text, "{byte:02x}");
            text
        });
        (text, self.last.into())
    }
}
