//! Queue of writes, in batches and phases.
//!
//! A batch holds what one change asks for. It is written phase by phase: objects before those that refer to
//! them, new objects before old ones are removed, and among the old ones those that others refer to last.
//! Batches do not wait for each other, so one change is not delayed by ten thousand others.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Phase of an item in its batch. Lower phases come first.
pub(super) trait BatchPhase: Copy + Ord {
    /// Reports whether the phase makes clients use what earlier phases created, instead of what later ones remove.
    fn is_redirect(self) -> bool {
        false
    }

    /// Returns how long the batch pauses before this phase, after `previous`. `redirects`: one of its phases is a
    /// redirect.
    fn pause_after(self, _previous: Self, _redirects: bool) -> Duration {
        Duration::ZERO
    }
}

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
    /// Whether one of the phases is a redirect.
    redirects: bool,
    /// End of the pause before the next phase.
    paused_until: Option<Instant>,
}

/// Batch that an item belongs to. Return it to [`BatchQueue::finish_item`] when the item is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchId(u64);

impl<P, T> Default for BatchQueue<P, T> {
    fn default() -> Self {
        Self { batches: BTreeMap::new(), next_id: 0, last_served: 0, waiting: 0 }
    }
}

impl<P: BatchPhase, T> BatchQueue<P, T> {
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
        let redirects = items.iter().any(|(phase, _)| phase.is_redirect());
        let batch = Batch { items, phase: None, in_flight: 0, redirects, paused_until: None };
        self.batches.insert(self.next_id, batch);
        self.next_id += 1;
    }

    /// Returns an item that may start now. Batches take turns.
    pub(super) fn next_item(&mut self, now: Instant) -> Option<(BatchId, T)> {
        // Round robin: start after the batch that was served last.
        let after = self.batches.range(self.last_served + 1..).chain(self.batches.range(..=self.last_served));
        let number =
            after.filter(|(_, round)| round.has_ready_item(now)).map(|(number, _)| *number).next()?;
        self.last_served = number;
        let item = self.batches.get_mut(&number)?.start_item()?;
        self.waiting -= 1;
        Some((BatchId(number), item))
    }

    /// Returns when the next pause of a batch ends.
    pub(super) fn next_pause_end(&self) -> Option<Instant> {
        let idle = self.batches.values().filter(|round| round.in_flight == 0);
        idle.filter_map(|round| round.paused_until).min()
    }

    /// Records that an item is done, successfully or not.
    pub(super) fn finish_item(&mut self, batch_id: BatchId, now: Instant) {
        let Some(round) = self.batches.get_mut(&batch_id.0) else { return };
        round.in_flight -= 1;
        // A failed item counts as done, too: a batch is not blocked by one object.
        if round.in_flight == 0 && round.items.is_empty() {
            self.batches.remove(&batch_id.0);
        } else if round.in_flight == 0 {
            round.start_pause(now);
        }
    }

    /// Returns the number of items that have not started.
    pub(super) fn waiting_items(&self) -> usize {
        self.waiting
    }
}

impl<P: BatchPhase, T> Batch<P, T> {
    /// Reports whether an item may start. A phase begins when nothing of the previous one is in flight.
    fn has_ready_item(&self, now: Instant) -> bool {
        let is_paused = self.paused_until.is_some_and(|end| now < end);
        let may_start = |phase: &P| Some(*phase) == self.phase || (self.in_flight == 0 && !is_paused);
        self.items.last().is_some_and(|(phase, _)| may_start(phase))
    }

    /// Starts the pause before the next phase, if there is one.
    fn start_pause(&mut self, now: Instant) {
        let (Some((next, _)), Some(previous)) = (self.items.last(), self.phase) else { return };
        let pause = next.pause_after(previous, self.redirects);
        self.paused_until = (*next != previous && !pause.is_zero()).then(|| now + pause);
    }

    fn start_item(&mut self) -> Option<T> {
        let (phase, item) = self.items.pop()?;
        (self.phase, self.paused_until) = (Some(phase), None);
        self.in_flight += 1;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl BatchPhase for u8 {
        fn is_redirect(self) -> bool {
            self == 5
        }

        fn pause_after(self, previous: Self, redirects: bool) -> Duration {
            let pauses = redirects && self > 5 && previous <= 5;
            if pauses { Duration::from_secs(10) } else { Duration::ZERO }
        }
    }

    /// What is removed has to be unused first.
    #[test]
    fn a_batch_that_redirects_pauses_and_no_other_batch_waits() {
        let start = Instant::now();
        let mut queue = BatchQueue::default();
        queue.push_batch([(1, 'a'), (5, 'b'), (9, 'c')]);
        for expected in ['a', 'b'] {
            let (batch, item) = queue.next_item(start).expect("an item");
            assert_eq!((item, queue.next_pause_end()), (expected, None));
            queue.finish_item(batch, start);
        }
        let end = start + Duration::from_secs(10);
        assert!(queue.next_item(start).is_none() && queue.next_pause_end() == Some(end));
        queue.push_batch([(1, 'x'), (9, 'y')]);
        for expected in ['x', 'y'] {
            let (other, item) = queue.next_item(start).expect("another batch");
            assert_eq!(item, expected, "a batch without a redirect does not pause");
            queue.finish_item(other, start);
        }
        assert!(queue.next_item(start + Duration::from_millis(9_999)).is_none());
        let (batch, item) = queue.next_item(end).expect("the last item");
        assert_eq!(item, 'c');
        queue.finish_item(batch, end);
        assert!(queue.batches.is_empty() && queue.next_pause_end().is_none());
    }

    #[test]
    fn a_phase_waits_for_the_one_before() {
        let now = Instant::now();
        let mut queue = BatchQueue::default();
        queue.push_batch([(2, 'c'), (1, 'a'), (1, 'b')]);
        let (first, b) = queue.next_item(now).expect("b");
        let (second, a) = queue.next_item(now).expect("a");
        assert_eq!((a, b), ('a', 'b'));
        assert!(queue.next_item(now).is_none(), "a and b are not done");
        queue.finish_item(first, now);
        assert!(queue.next_item(now).is_none(), "a is not done");
        queue.finish_item(second, now);
        let (third, c) = queue.next_item(now).expect("c");
        assert_eq!(c, 'c');
        queue.finish_item(third, now);
        assert!(queue.next_item(now).is_none() && queue.batches.is_empty());
    }

    #[test]
    fn a_small_batch_does_not_wait_for_a_big_one() {
        let now = Instant::now();
        let mut queue = BatchQueue::default();
        queue.push_batch((0..1000).map(|number| (1, number)));
        queue.next_item(now);
        queue.push_batch([(1, -1)]);
        assert!([queue.next_item(now), queue.next_item(now)].iter().flatten().any(|(_, item)| *item == -1));
        assert_eq!(queue.waiting_items(), 998);
    }

    #[test]
    fn a_batch_without_items_is_not_kept() {
        let mut queue: BatchQueue<u8, char> = BatchQueue::default();
        queue.push_batch([]);
        assert!(queue.batches.is_empty() && queue.next_item(Instant::now()).is_none());
    }

    #[test]
    fn a_later_phase_of_one_batch_does_not_delay_another_batch() {
        let now = Instant::now();
        let mut queue = BatchQueue::default();
        queue.push_batch([(1, 'a'), (2, 'b')]);
        let (first, a) = queue.next_item(now).expect("a");
        queue.push_batch([(9, 'z')]);
        let (other, z) = queue.next_item(now).expect("z");
        assert_eq!((a, z, queue.waiting_items()), ('a', 'z', 1));
        assert_ne!(first, other);
        assert!(queue.next_item(now).is_none(), "a is not done");
        // Done twice is done once.
        queue.finish_item(other, now);
        queue.finish_item(other, now);
        queue.finish_item(first, now);
        assert_eq!(queue.next_item(now), Some((first, 'b')));
    }
}
