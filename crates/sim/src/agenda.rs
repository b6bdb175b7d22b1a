//! Virtual time: what happens when, in a stable order.
//!
//! Two things of the same moment happen in the order in which they were planned, so that a run
//! depends on nothing but its seed.

use std::collections::BTreeMap;

use overspill_core::time::Timestamp;

/// Everything that is planned.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    planned: BTreeMap<(Timestamp, u64), T>,
    next: u64,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self {
            planned: BTreeMap::new(),
            next: 0,
        }
    }
}

impl<T> Agenda<T> {
    /// Plans something.
    pub(crate) fn at(&mut self, at: Timestamp, what: T) {
        self.planned.insert((at, self.next), what);
        self.next += 1;
    }

    /// The moment of the next thing.
    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        self.planned.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next thing with its moment, taken out.
    pub(crate) fn pop(&mut self) -> Option<(Timestamp, T)> {
        let ((at, _), what) = self.planned.pop_first()?;
        Some((at, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_of_one_moment_keep_their_order() {
        let mut agenda = Agenda::default();
        for (at, what) in [(5, 'c'), (1, 'a'), (5, 'd'), (1, 'b')] {
            agenda.at(Timestamp::from_millis(at), what);
        }
        assert_eq!(agenda.next_at(), Some(Timestamp::from_millis(1)));
        let order: String = std::iter::from_fn(|| agenda.pop())
            .map(|(_, what)| what)
            .collect();
        assert_eq!(order, "abcd");
        assert_eq!(agenda.next_at(), None);
    }
}
