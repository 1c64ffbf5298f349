//! In which order things are written.
//!
//! What one change asks for is a round. A round is written phase by phase: what is referred to before what refers
//! to it, the new before the old is removed, and of the old what is referred to last. Rounds do not wait for each
//! other, so one change is not held up by ten thousand.

use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Several rounds, each at its own phase.
#[derive(Debug)]
pub(super) struct Rounds<T> {
    open: BTreeMap<u64, Round<T>>,
    next: u64,
    /// The round that had the last turn.
    turn: u64,
    /// Items that have not been begun.
    waiting: usize,
}

#[derive(Debug)]
struct Round<T> {
    /// Those that have not been begun, with their phases, the next at the end: in one piece, as thousands of rounds may wait.
    items: Vec<(u8, T)>,
    /// The phase of those that are under way.
    phase: u8,
    /// Items that are under way.
    busy: usize,
}

/// The round that an item belongs to; to be given back when the item is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn(u64);

impl<T> Default for Rounds<T> {
    fn default() -> Self {
        Self { open: BTreeMap::new(), next: 0, turn: 0, waiting: 0 }
    }
}

impl<T> Rounds<T> {
    /// A new round.
    pub(super) fn push(&mut self, items: impl IntoIterator<Item = (u8, T)>) {
        let mut items: Vec<_> = items.into_iter().collect();
        if items.is_empty() {
            return;
        }
        items.sort_by_key(|(phase, _)| Reverse(*phase));
        items.shrink_to_fit();
        self.waiting += items.len();
        self.open.insert(self.next, Round { items, phase: 0, busy: 0 });
        self.next += 1;
    }

    /// An item that may be begun now. The rounds take turns.
    pub(super) fn take(&mut self) -> Option<(Turn, T)> {
        let after = self.open.range(self.turn + 1..).chain(self.open.range(..=self.turn));
        let number = after.filter(|(_, round)| round.has_item()).map(|(number, _)| *number).next()?;
        self.turn = number;
        let item = self.open.get_mut(&number)?.take()?;
        self.waiting -= 1;
        Some((Turn(number), item))
    }

    /// An item is done, well or badly.
    pub(super) fn finish(&mut self, turn: Turn) {
        let Some(round) = self.open.get_mut(&turn.0) else { return };
        round.busy -= 1;
        if round.busy == 0 && round.items.is_empty() {
            self.open.remove(&turn.0);
        }
    }

    /// Items that have not been begun.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }
}

impl<T> Round<T> {
    /// A phase begins when nothing of the one before is under way.
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
        let mut rounds = Rounds::default();
        rounds.push([(2, 'c'), (1, 'a'), (1, 'b')]);
        let (first, b) = rounds.take().expect("b");
        let (second, a) = rounds.take().expect("a");
        assert_eq!((a, b), ('a', 'b'));
        assert!(rounds.take().is_none(), "a and b are not done");
        rounds.finish(first);
        assert!(rounds.take().is_none(), "a is not done");
        rounds.finish(second);
        let (third, c) = rounds.take().expect("c");
        assert_eq!(c, 'c');
        rounds.finish(third);
        assert!(rounds.take().is_none() && rounds.open.is_empty());
    }

    #[test]
    fn a_small_round_does_not_wait_for_a_big_one() {
        let mut rounds = Rounds::default();
        rounds.push((0..1000).map(|number| (1, number)));
        rounds.take();
        rounds.push([(1, -1)]);
        assert!([rounds.take(), rounds.take()].iter().flatten().any(|(_, item)| *item == -1));
        assert_eq!(rounds.waiting(), 998);
    }
}
