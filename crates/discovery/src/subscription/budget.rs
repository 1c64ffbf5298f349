//! Memory limit for the announcements of all peers together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Limit for the encoded bytes of announcements that a process stores.
///
/// One half is divided equally among the peers: each peer can always use its part. The other half is shared; it goes to
/// the peers that need it first. So a peer with many announcements cannot use the part of another. A peer that is added
/// while all bytes are in use still gets its part, so up to one and a half times the limit may be in use until other
/// peers use less.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Shared>);

/// State that all shares have in common.
#[derive(Debug)]
struct Shared {
    most: usize,
    held: Mutex<Held>,
}

/// Bytes in use.
#[derive(Debug, Default)]
struct Held {
    /// ID of the next share.
    next: u64,
    /// Bytes in use by each share.
    bytes: BTreeMap<u64, usize>,
}

/// The share of one peer. Dropping it frees its bytes.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    number: u64,
}

impl Budget {
    /// Creates a budget of `most` bytes.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Shared { most, held: Mutex::default() }))
    }

    /// Returns the limit in bytes.
    pub fn most(&self) -> usize {
        self.0.most
    }

    /// Adds a share for one more peer, with no bytes in use. The parts of the other peers shrink.
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
    /// Returns the budget of this share.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Whether the peer may use `bytes` in place of the bytes it uses now.
    pub(super) fn allows(&self, bytes: usize) -> bool {
        let held = self.budget.lock();
        let common = self.budget.most() / 2;
        let part = (self.budget.most() - common) / held.bytes.len().max(1);
        // Only what exceeds the own part is taken from the common half, for the others as for this peer.
        let others = held.bytes.iter().filter(|(number, _)| **number != self.number);
        let taken: usize = others.map(|(_, bytes)| bytes.saturating_sub(part)).sum();
        let needed = bytes.saturating_sub(part);
        needed == 0 || taken + needed <= common
    }

    /// Records that the peer uses `bytes` now. Does not check the limit.
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
        assert!(second.allows(666), "the bytes are free again");
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
