//! What may be held here of all peers together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of announcements that a process holds.
///
/// One half is divided among the peers that are followed: each always has its part. The other half is whose who needs it
/// first. So a peer that announces much takes nothing from another's part. Where peers come while all is taken, they have
/// their parts still, and up to one and a half times the bytes are held until others hold less.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    /// Of each peer.
    bytes: BTreeMap<u64, usize>,
}

/// A peer's share, until it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    number: u64,
}

impl Budget {
    /// So many bytes.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Shared { most, held: Mutex::default() }))
    }

    /// How many bytes there are.
    pub fn most(&self) -> usize {
        self.0.most
    }

    /// One more peer's share, of which nothing is used yet.
    pub fn share(&self) -> Share {
        let mut held = self.lock();
        let number = held.next;
        held.next += 1;
        held.bytes.insert(number, 0);
        drop(held);
        Share { budget: self.clone(), number }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// The budget that it is a share of.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Whether the peer may hold so many bytes in place of those that it holds.
    pub(super) fn allows(&self, bytes: usize) -> bool {
        let held = self.budget.lock();
        let common = self.budget.most() / 2;
        let part = (self.budget.most() - common) / held.bytes.len().max(1);
        let others = held.bytes.iter().filter(|(number, _)| **number != self.number);
        let taken: usize = others.map(|(_, bytes)| bytes.saturating_sub(part)).sum();
        let needed = bytes.saturating_sub(part);
        needed == 0 || taken + needed <= common
    }

    /// The peer holds so many.
    pub(super) fn set(&self, bytes: usize) {
        self.budget.lock().bytes.insert(self.number, bytes);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.lock().bytes.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_alone_may_hold_all() {
        let share = Budget::new(1000).share();
        assert!(share.allows(1000) && !share.allows(1001));
    }

    #[test]
    fn a_greedy_peer_leaves_the_others_their_parts() {
        let budget = Budget::new(1000);
        let [greedy, second, third, fourth] = [(); 4].map(|()| budget.share());
        assert!(greedy.allows(625) && !greedy.allows(626), "500 in common, and 125 of its own");
        greedy.set(625);
        for share in [&second, &third, &fourth] {
            assert!(share.allows(125) && !share.allows(126));
            share.set(125);
        }
        drop(greedy);
        assert!(second.allows(666), "it is given back");
    }

    #[test]
    fn who_comes_late_has_a_part_still() {
        let budget = Budget::new(1000);
        let first = budget.share();
        first.set(1000);
        let late = budget.share();
        assert!(late.allows(250) && !late.allows(251));
        assert!(!first.allows(1001) && first.allows(750));
    }
}
