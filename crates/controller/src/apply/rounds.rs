//! Queue of writes, in batches and phases.
//!
//! A batch holds what one change asks for. It is written phase by phase: objects before those that refer to
//! them, new objects before old ones are removed, and among the old ones those that others refer to last.
//! Batches do not wait for each other, so one change is not delayed by ten thousand others.

use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Several batches, each at its own phase. They take turns.
#[derive(Debug)]
pub(super) struct Rounds<T> {
    open: BTreeMap<u64, Round<T>>,
    next: u64,
    /// Batch that was served last.
    turn: u64,
    /// Number of items that have not started.
    waiting: usize,
}

#[derive(Debug)]
struct Round<T> {
    /// Items that have not started, with their phases, the next one at the end. In one allocation, because
    /// thousands of batches may wait.
    items: Vec<(u8, T)>,
    /// Phase of the items in flight.
    phase: u8,
    /// Number of items in flight.
    busy: usize,
}

/// Batch that an item belongs to. Return it to [`ApplyQueue::finish_item`] when the item is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn(u64);

impl<T> Default for Rounds<T> {
    fn default() -> Self {
        Self { open: BTreeMap::new(), next: 0, turn: 0, waiting: 0 }
    }
}

impl<T> Rounds<T> {
    /// Adds a batch of items with their phases.
    pub(super) fn push(&mut self, items: impl IntoIterator<Item = (u8, T)>) {
        let mut items: Vec<_> = items.into_iter().collect();
        if items.is_empty() {
            return;
        }
        // Descending, so that `pop` returns the lowest phase.
        items.sort_by_key(|(phase, _)| Reverse(*phase));
        items.shrink_to_fit();
        self.waiting += items.len();
        self.open.insert(self.next, Round { items, phase: 0, busy: 0 });
        self.next += 1;
    }

    /// Returns an item that may start now. Batches take turns.
    pub(super) fn take(&mut self) -> Option<(Turn, T)> {
        // Round robin: start after the batch that was served last.
        let after = self.open.range(self.turn + 1..).chain(self.open.range(..=self.turn));
        let number = after.filter(|(_, round)| round.has_item()).map(|(number, _)| *number).next()?;
        self.turn = number;
        let item = self.open.get_mut(&number)?.take()?;
        self.waiting -= 1;
        Some((Turn(number), item))
    }

    /// Records that an item is done, successfully or not.
    pub(super) fn finish(&mut self, turn: Turn) {
        let Some(round) = self.open.get_mut(&turn.0) else { return };
        round.busy -= 1;
        // A failed item counts as done, too: a batch is not blocked by one object.
        if round.busy == 0 && round.items.is_empty() {
            self.open.remove(&turn.0);
        }
    }

    /// Returns the number of items that have not started.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }
}

impl<T> Round<T> {
    /// Reports whether an item may start. A phase begins when nothing of the previous one is in flight.
    fn has_item(&self) -> bool {
        self.items.last().is_some_and(|(phase, _)| self.busy == 0 || *phase == self.phase)
    }

    fn take(&mut self) -> Option<T> {
        let (phase, item) = self.items.pop()?;
        self.phase = phase;
        self.busy += 1;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_waits_for_the_one_before() {
        let mut queue = Rounds::default();
        queue.push([(2, 'c'), (1, 'a'), (1, 'b')]);
        let (first, b) = queue.take().expect("b");
        let (second, a) = queue.take().expect("a");
        assert_eq!((a, b), ('a', 'b'));
        assert!(queue.take().is_none(), "a and b are not done");
        queue.finish(first);
        assert!(queue.take().is_none(), "a is not done");
        queue.finish(second);
        let (third, c) = queue.take().expect("c");
        assert_eq!(c, 'c');
        queue.finish(third);
        assert!(queue.take().is_none() && queue.open.is_empty());
    }

    #[test]
    fn a_small_round_does_not_wait_for_a_big_one() {
        let mut queue = Rounds::default();
        queue.push((0..1000).map(|number| (1, number)));
        queue.take();
        queue.push([(1, -1)]);
        assert!([queue.take(), queue.take()].iter().flatten().any(|(_, item)| *item == -1));
        assert_eq!(queue.waiting(), 998);
    }
}
