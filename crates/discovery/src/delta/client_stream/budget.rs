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
pub struct AnnouncementBudget(Arc<BudgetState>);

/// State that all shares have in common.
#[derive(Debug)]
struct BudgetState {
    max_bytes: usize,
    usage: Mutex<BudgetUsage>,
}

/// Bytes in use.
#[derive(Debug, Default)]
struct BudgetUsage {
    /// ID of the next share.
    next_id: u64,
    /// Bytes in use by each share.
    bytes_by_share: BTreeMap<u64, usize>,
}

/// The share of one peer. Dropping it frees its bytes.
#[derive(Debug)]
pub struct BudgetShare {
    budget: AnnouncementBudget,
    id: u64,
}

impl AnnouncementBudget {
    /// Creates a budget of `most` bytes.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(BudgetState { max_bytes: most, usage: Mutex::default() }))
    }

    /// Returns the limit in bytes.
    pub fn max_bytes(&self) -> usize {
        self.0.max_bytes
    }

    /// Adds a share for one more peer, with no bytes in use. The parts of the other peers shrink.
    pub fn add_share(&self) -> BudgetShare {
        let mut held = self.lock_usage();
        let number = held.next_id;
        held.next_id += 1;
        held.bytes_by_share.insert(number, 0);
        drop(held);
        BudgetShare { budget: self.clone(), id: number }
    }

    fn lock_usage(&self) -> MutexGuard<'_, BudgetUsage> {
        self.0.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BudgetShare {
    /// Returns the budget of this share.
    pub fn budget(&self) -> &AnnouncementBudget {
        &self.budget
    }

    /// Whether the peer may use `bytes` in place of the bytes it uses now.
    pub(super) fn allows_bytes(&self, bytes: usize) -> bool {
        let held = self.budget.lock_usage();
        let common = self.budget.max_bytes() / 2;
        let part = (self.budget.max_bytes() - common) / held.bytes_by_share.len().max(1);
        // Only what exceeds the own part is taken from the common half, for the others as for this peer.
        let others = held.bytes_by_share.iter().filter(|(number, _)| **number != self.id);
        let taken: usize = others.map(|(_, bytes)| bytes.saturating_sub(part)).sum();
        let needed = bytes.saturating_sub(part);
        needed == 0 || taken + needed <= common
    }

    /// Records that the peer uses `bytes` now. Does not check the limit.
    pub(super) fn set_used_bytes(&self, bytes: usize) {
        self.budget.lock_usage().bytes_by_share.insert(self.id, bytes);
    }
}

impl Drop for BudgetShare {
    fn drop(&mut self) {
        self.budget.lock_usage().bytes_by_share.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_peer_may_use_the_whole_budget() {
        let share = AnnouncementBudget::new(1000).add_share();
        assert!(share.allows_bytes(1000) && !share.allows_bytes(1001));
    }

    #[test]
    fn a_greedy_peer_cannot_use_the_parts_of_others() {
        let budget = AnnouncementBudget::new(1000);
        let [greedy, second, third, fourth] = [(); 4].map(|()| budget.add_share());
        assert!(greedy.allows_bytes(625) && !greedy.allows_bytes(626), "500 in common, and 125 of its own");
        greedy.set_used_bytes(625);
        for share in [&second, &third, &fourth] {
            assert!(share.allows_bytes(125) && !share.allows_bytes(126));
            share.set_used_bytes(125);
        }
        drop(greedy);
        assert!(second.allows_bytes(666), "the bytes are free again");
    }

    #[test]
    fn a_late_peer_still_gets_its_part() {
        let budget = AnnouncementBudget::new(1000);
        let first = budget.add_share();
        first.set_used_bytes(1000);
        let late = budget.add_share();
        assert!(late.allows_bytes(250) && !late.allows_bytes(251));
        assert!(!first.allows_bytes(1001) && first.allows_bytes(750));
    }
}
