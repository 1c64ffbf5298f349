//! Bounded number of slots in which a newcomer evicts an older holder.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Bounded set of slots. Acquiring one always succeeds; if all are in use, it evicts another holder. Rejecting
/// newcomers instead would let a few idle clients lock everyone out.
///
/// Each slot belongs to a group, such as the address of a client. The group with most slots loses one, so a flood from
/// one client evicts that client's own slots. Within the group the least recently used idle slot is evicted, or, if
/// all are busy, the least recently used of those.
#[derive(Debug)]
pub struct EvictingSlots<G = ()> {
    capacity: usize,
    table: Arc<Mutex<SlotTable<G>>>,
}

/// Holders of the slots, under one lock.
#[derive(Debug)]
struct SlotTable<G> {
    /// Counter for the numbers of slots and for the order of their use.
    last_number: u64,
    holders: BTreeMap<u64, SlotHolder<G>>,
    /// Number of slots of each group.
    groups: BTreeMap<G, usize>,
}

/// Holder of one slot.
#[derive(Debug)]
struct SlotHolder<G> {
    group: G,
    is_busy: bool,
    /// Value of the counter at the last use.
    last_used: u64,
    /// Notifies the holder of its eviction when it is dropped.
    _eviction: oneshot::Sender<()>,
}

/// A slot. It is released on drop, and may be [`evicted`](Self::evicted) before.
#[derive(Debug)]
pub struct EvictableSlot<G: Ord + Clone = ()> {
    ticket: SlotTicket<G>,
    eviction: oneshot::Receiver<()>,
}

/// Handle to a slot that reports how it is used. It neither holds the slot nor releases it.
#[derive(Clone, Debug)]
pub struct SlotTicket<G = ()> {
    number: u64,
    table: Arc<Mutex<SlotTable<G>>>,
}

/// Marks the slot as busy until it is dropped.
#[derive(Debug)]
pub struct BusyGuard<G: Ord + Clone = ()>(SlotTicket<G>);

/// The address under which a client is counted: an IPv4 address, or the /64 network of an IPv6 address, as each host
/// has 2^64 of those.
pub fn client_group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl<G> Clone for EvictingSlots<G> {
    fn clone(&self) -> Self {
        Self { capacity: self.capacity, table: Arc::clone(&self.table) }
    }
}

impl<G: Ord + Clone> EvictingSlots<G> {
    /// Creates `most` slots, at least one.
    pub fn new(most: usize) -> Self {
        let table = SlotTable { last_number: 0, holders: BTreeMap::new(), groups: BTreeMap::new() };
        Self { capacity: most.max(1), table: Arc::new(Mutex::new(table)) }
    }

    /// Acquires a slot for a member of this group. Evicts another holder if all slots are in use.
    pub fn acquire(&self, group: G) -> EvictableSlot<G> {
        let (holder, eviction) = oneshot::channel();
        let mut table = lock_table(&self.table);
        // One eviction is enough. The loop also holds if the bound is ever exceeded.
        while table.holders.len() >= self.capacity {
            table.evict_one();
        }
        let number = table.next_number();
        table.add_to_group(&group);
        table
            .holders
            .insert(number, SlotHolder { group, is_busy: false, last_used: number, _eviction: holder });
        drop(table);
        EvictableSlot { ticket: SlotTicket { number, table: Arc::clone(&self.table) }, eviction }
    }

    /// Number of slots in use.
    pub fn in_use(&self) -> usize {
        lock_table(&self.table).holders.len()
    }
}

impl<G: Ord + Clone> SlotTable<G> {
    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn add_to_group(&mut self, group: &G) {
        *self.groups.entry(group.clone()).or_default() += 1;
    }

    fn remove_from_group(&mut self, group: &G) {
        if let Some(count) = self.groups.get_mut(group) {
            *count -= 1;
            if *count == 0 {
                self.groups.remove(group);
            }
        }
    }

    fn release(&mut self, number: u64) {
        if let Some(holder) = self.holders.remove(&number) {
            self.remove_from_group(&holder.group);
        }
    }

    /// Evicts one holder: of a group with most slots, the idle one that was used least recently.
    fn evict_one(&mut self) {
        let most = self.groups.values().max();
        // Several groups may have equally many. Their holders compete by use alone.
        let candidates = self.holders.iter().filter(|(_, holder)| self.groups.get(&holder.group) == most);
        let displaced = candidates.min_by_key(|(_, holder)| (holder.is_busy, holder.last_used));
        // Dropping the holder drops its sender, which completes `evicted` on the other side.
        if let Some(number) = displaced.map(|(number, _)| *number) {
            self.release(number);
        }
    }
}

impl<G: Ord + Clone> EvictableSlot<G> {
    /// Completes when a newcomer has evicted this slot. Never completes otherwise.
    pub async fn evicted(&mut self) {
        let _dropped = (&mut self.eviction).await;
    }

    /// Returns a handle through which other tasks report how the slot is used.
    pub fn ticket(&self) -> SlotTicket<G> {
        self.ticket.clone()
    }
}

impl<G: Ord + Clone> Drop for EvictableSlot<G> {
    fn drop(&mut self) {
        // Does nothing if the slot was evicted before: numbers are never reused.
        lock_table(&self.ticket.table).release(self.ticket.number);
    }
}

impl<G: Ord + Clone> SlotTicket<G> {
    /// Number of the slot, unique within its [`EvictingSlots`].
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Moves the slot to another group. Does nothing if it was evicted.
    pub fn move_to_group(&self, group: &G) {
        let mut table = lock_table(&self.table);
        let Some(holder) = table.holders.get_mut(&self.number) else { return };
        let before = std::mem::replace(&mut holder.group, group.clone());
        // Added before it is removed, so that a move within one group never drops its count to zero.
        table.add_to_group(group);
        table.remove_from_group(&before);
    }

    /// Marks the slot as busy until the guard is dropped. Both ends count as a use.
    pub fn mark_busy(&self) -> BusyGuard<G> {
        self.set_busy(true);
        BusyGuard(self.clone())
    }

    fn set_busy(&self, works: bool) {
        let mut table = lock_table(&self.table);
        let now = table.next_number();
        if let Some(holder) = table.holders.get_mut(&self.number) {
            (holder.is_busy, holder.last_used) = (works, now);
        }
    }
}

impl<G: Ord + Clone> Drop for BusyGuard<G> {
    fn drop(&mut self) {
        self.0.set_busy(false);
    }
}

fn lock_table<G>(table: &Mutex<SlotTable<G>>) -> MutexGuard<'_, SlotTable<G>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn was_evicted<G: Ord + Clone>(slot: &mut EvictableSlot<G>) -> bool {
        slot.evicted().now_or_never().is_some()
    }

    #[test]
    fn the_newest_evicts_the_oldest_holder() {
        let slots = EvictingSlots::new(2);
        let (first, mut second) = (slots.acquire(()), slots.acquire(()));
        drop(first);
        let mut third = slots.acquire(());
        assert!(!was_evicted(&mut second));
        let _fourth = slots.acquire(());
        assert!(was_evicted(&mut second) && !was_evicted(&mut third));
        assert_eq!(slots.in_use(), 2);
        drop(second);
        assert_eq!(slots.in_use(), 2);
    }

    #[test]
    fn busy_and_recently_used_slots_are_evicted_last() {
        let slots = EvictingSlots::new(3);
        let (mut works, mut used, mut idle) = (slots.acquire(()), slots.acquire(()), slots.acquire(()));
        let working = works.ticket().mark_busy();
        drop(used.ticket().mark_busy());
        let mut fourth = slots.acquire(());
        assert!(was_evicted(&mut idle) && !was_evicted(&mut used));
        let (_fifth, _sixth) = (slots.acquire(()), slots.acquire(()));
        assert!(was_evicted(&mut used) && was_evicted(&mut fourth) && !was_evicted(&mut works));
        drop(working);
        let _more = [slots.acquire(()), slots.acquire(()), slots.acquire(())];
        assert!(was_evicted(&mut works));
    }

    #[test]
    fn a_flood_evicts_slots_of_its_own_group() {
        let slots = EvictingSlots::new(4);
        let mut honest = slots.acquire("honest");
        let flood: Vec<_> = (0..100).map(|_| slots.acquire("flood")).collect();
        assert!(!was_evicted(&mut honest));
        drop(flood);
        let mut moved = slots.acquire("flood");
        moved.ticket().move_to_group(&"moved");
        let _flood: Vec<_> = (0..100).map(|_| slots.acquire("flood")).collect();
        assert!(!was_evicted(&mut honest) && !was_evicted(&mut moved));
        assert_eq!(slots.in_use(), 4);
    }

    #[test]
    fn among_groups_of_equal_size_the_oldest_slot_is_evicted() {
        let slots = EvictingSlots::new(3);
        let mut held = [slots.acquire(1), slots.acquire(2), slots.acquire(3)];
        let _fourth = slots.acquire(4);
        assert_eq!(held.each_mut().map(was_evicted), [true, false, false]);
    }

    #[test]
    fn when_all_are_busy_the_oldest_is_evicted() {
        let slots = EvictingSlots::new(1);
        let mut first = slots.acquire(());
        let _working = first.ticket().mark_busy();
        let _second = slots.acquire(());
        assert!(was_evicted(&mut first));
    }

    #[test]
    fn hosts_of_one_ipv6_network_count_as_one_client() {
        let client = |text: &str| client_group(text.parse().unwrap());
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:1"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
    }
}
