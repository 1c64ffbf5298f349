//! Queue of writes, in batches and phases.
//!
//! A batch holds what one change asks for. It is written phase by phase: objects before those that refer to
//! them, new objects before old ones are removed, and among the old ones those that others refer to last.
//! Batches do not wait for each other, so one change is not delayed by ten thousand others.

use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Several batches of items `T`, each at its own phase `P`. They take turns.
#[derive(Debug)]
pub(super) struct BatchQueue<P, T> {
    batches: BTreeMap<u64, Batch<P, T>>,
    next_id: u64,
    /// Batch that was served last.
    last_served: u64,
    /// Number of items that have not started.
    waiting: usize,
}

#[derive(Debug)]
struct Batch<P, T> {
    /// Items that have not started, with their phases, the next one at the end. In one allocation, because
    /// thousands of batches may wait.
    items: Vec<(P, T)>,
    /// Phase of the items in flight; `None` before the first one.
    phase: Option<P>,
    /// Number of items in flight.
    in_flight: usize,
}

/// Batch that an item belongs to. Return it to [`BatchQueue::finish_item`] when the item is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchId(u64);

impl<P, T> Default for BatchQueue<P, T> {
    fn default() -> Self {
        Self { batches: BTreeMap::new(), next_id: 0, last_served: 0, waiting: 0 }
    }
}

impl<P: Copy + Ord, T> BatchQueue<P, T> {
    /// Adds a batch of items with their phases.
    pub(super) fn push_batch(&mut self, items: impl IntoIterator<Item = (P, T)>) {
        let mut items: Vec<_> = items.into_iter().collect();
        if items.is_empty() {
            return;
        }
        // Descending, so that `pop` returns the lowest phase.
        items.sort_by_key(|(phase, _)| Reverse(*phase));
        items.shrink_to_fit();
        self.waiting += items.len();
        self.batches.insert(self.next_id, Batch { items, phase: None, in_flight: 0 });
        self.next_id += 1;
    }

    /// Returns an item that may start now. Batches take turns.
    pub(super) fn next_item(&mut self) -> Option<(BatchId, T)> {
        // Round robin: start after the batch that was served last.
        let after = self.batches.range(self.last_served + 1..).chain(self.batches.range(..=self.last_served));
        let number = after.filter(|(_, round)| round.has_ready_item()).map(|(number, _)| *number).next()?;
        self.last_served = number;
        let item = self.batches.get_mut(&number)?.start_item()?;
        self.waiting -= 1;
        Some((BatchId(number), item))
    }

    /// Records that an item is done, successfully or not.
    pub(super) fn finish_item(&mut self, batch_id: BatchId) {
        let Some(round) = self.batches.get_mut(&batch_id.0) else { return };
        round.in_flight -= 1;
        // A failed item counts as done, too: a batch is not blocked by one object.
        if round.in_flight == 0 && round.items.is_empty() {
            self.batches.remove(&batch_id.0);
        }
    }

    /// Returns the number of items that have not started.
    pub(super) fn waiting_items(&self) -> usize {
        self.waiting
    }
}

impl<P: Copy + Ord, T> Batch<P, T> {
    /// Reports whether an item may start. A phase begins when nothing of the previous one is in flight.
    fn has_ready_item(&self) -> bool {
        self.items.last().is_some_and(|(phase, _)| self.in_flight == 0 || Some(*phase) == self.phase)
    }

    fn start_item(&mut self) -> Option<T> {
        let (phase, item) = self.items.pop()?;
        self.phase = Some(phase);
        self.in_flight += 1;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_waits_for_the_one_before() {
        let mut queue = BatchQueue::default();
        queue.push_batch([(2, 'c'), (1, 'a'), (1, 'b')]);
        let (first, b) = queue.next_item().expect("b");
        let (second, a) = queue.next_item().expect("a");
        assert_eq!((a, b), ('a', 'b'));
        assert!(queue.next_item().is_none(), "a and b are not done");
        queue.finish_item(first);
        assert!(queue.next_item().is_none(), "a is not done");
        queue.finish_item(second);
        let (third, c) = queue.next_item().expect("c");
        assert_eq!(c, 'c');
        queue.finish_item(third);
        assert!(queue.next_item().is_none() && queue.batches.is_empty());
    }

    #[test]
    fn a_small_batch_does_not_wait_for_a_big_one() {
        let mut queue = BatchQueue::default();
        queue.push_batch((0..1000).map(|number| (1, number)));
        queue.next_item();
        queue.push_batch([(1, -1)]);
        assert!([queue.next_item(), queue.next_item()].iter().flatten().any(|(_, item)| *item == -1));
        assert_eq!(queue.waiting_items(), 998);
    }

    #[test]
    fn a_batch_without_items_is_not_kept() {
        let mut queue: BatchQueue<u8, char> = BatchQueue::default();
        queue.push_batch([]);
        assert!(queue.batches.is_empty() && queue.next_item().is_none());
    }

    #[test]
    fn a_later_phase_of_one_batch_does_not_delay_another_batch() {
        let mut queue = BatchQueue::default();
        queue.push_batch([(1, 'a'), (2, 'b')]);
        let (first, a) = queue.next_item().expect("a");
        queue.push_batch([(9, 'z')]);
        let (other, z) = queue.next_item().expect("z");
        assert_eq!((a, z, queue.waiting_items()), ('a', 'z', 1));
        assert_ne!(first, other);
        assert!(queue.next_item().is_none(), "a is not done");
        // Done twice is done once.
        queue.finish_item(other);
        queue.finish_item(other);
        queue.finish_item(first);
        assert_eq!(queue.next_item(), Some((first, 'b')));
    }
}
