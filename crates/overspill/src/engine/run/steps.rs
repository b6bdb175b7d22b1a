//! The engine step by step, for tests that have no thread for it.

use std::time::Duration;

use super::house::WAIT_MAX;
use super::{BATCH_MAX, Engine, Pending};

/// What the process ends with where it would exit: see [`super::die`].
pub(crate) struct Stopped(pub(crate) String);

/// What was in the inbox.
pub(crate) struct Gathered(Pending);

impl Engine {
    /// How long until it must look into its inbox, whether anything came or not.
    pub(crate) fn wait(&mut self) -> Duration {
        self.begin_gathering()
    }

    /// Takes all there is; `None` when that is nothing, and it is not due either.
    pub(crate) fn look(&mut self, is_due: bool) -> Option<Gathered> {
        self.has_gathered(WAIT_MAX);
        let mut pending = Pending::default();
        let mut is_any = false;
        while pending.events.len() < BATCH_MAX {
            let Ok(message) = self.inbox.try_recv() else {
                break;
            };
            is_any = true;
            self.accept(message, &mut pending);
        }
        (is_any || is_due).then_some(Gathered(pending))
    }

    /// Handles it as one batch.
    pub(crate) fn step(&mut self, gathered: Gathered) {
        let is_idle = gathered.0.events.is_empty();
        self.batch(gathered.0);
        self.keep_house(is_idle);
    }

    /// Which of the core's invariants do not hold.
    pub(crate) fn violations(&self) -> Vec<String> {
        let broken = overspill_core::invariants::check(&self.core);
        let words = |broken: &overspill_core::invariants::Violation| {
            format!("{}: {}", broken.name, broken.detail)
        };
        broken.iter().map(words).collect()
    }
}
