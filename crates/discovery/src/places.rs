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
pub struct Places<G = ()> {
    most: usize,
    taken: Arc<Mutex<Taken<G>>>,
}

/// Holders of the slots, under one lock.
#[derive(Debug)]
struct Taken<G> {
    /// Counter for the numbers of slots and for the order of their use.
    next: u64,
    holders: BTreeMap<u64, Holder<G>>,
    /// Number of slots of each group.
    groups: BTreeMap<G, usize>,
}

/// Holder of one slot.
#[derive(Debug)]
struct Holder<G> {
    group: G,
    works: bool,
    /// Value of the counter at the last use.
    used: u64,
    /// Notifies the holder of its eviction when it is dropped.
    _lost: oneshot::Sender<()>,
}

/// A slot. It is released on drop, and may be [`evicted`](Self::evicted) before.
#[derive(Debug)]
pub struct Place<G: Ord + Clone = ()> {
    ticket: Ticket<G>,
    lost: oneshot::Receiver<()>,
}

/// Handle to a slot that reports how it is used. It neither holds the slot nor releases it.
#[derive(Clone, Debug)]
pub struct Ticket<G = ()> {
    number: u64,
    taken: Arc<Mutex<Taken<G>>>,
}

/// Marks the slot as busy until it is dropped.
#[derive(Debug)]
pub struct Working<G: Ord + Clone = ()>(Ticket<G>);

/// The address under which a client is counted: an IPv4 address, or the /64 network of an IPv6 address, as each host
/// has 2^64 of those.
pub fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl<G> Clone for Places<G> {
    fn clone(&self) -> Self {
        Self { most: self.most, taken: Arc::clone(&self.taken) }
    }
}

impl<G: Ord + Clone> Places<G> {
    /// Creates `most` slots, at least one.
    pub fn new(most: usize) -> Self {
        let table = Taken { next: 0, holders: BTreeMap::new(), groups: BTreeMap::new() };
        Self { most: most.max(1), taken: Arc::new(Mutex::new(table)) }
    }

    /// Acquires a slot for a member of this group. Evicts another holder if all slots are in use.
    pub fn take(&self, group: G) -> Place<G> {
        let (holder, eviction) = oneshot::channel();
        let mut table = lock(&self.taken);
        // One eviction is enough. The loop also holds if the bound is ever exceeded.
        while table.holders.len() >= self.most {
            table.displace();
        }
        let number = table.tick();
        table.join(&group);
        table.holders.insert(number, Holder { group, works: false, used: number, _lost: holder });
        drop(table);
        Place { ticket: Ticket { number, taken: Arc::clone(&self.taken) }, lost: eviction }
    }

    /// Number of slots in use.
    pub fn taken(&self) -> usize {
        lock(&self.taken).holders.len()
    }
}

impl<G: Ord + Clone> Taken<G> {
    fn tick(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn join(&mut self, group: &G) {
        *self.groups.entry(group.clone()).or_default() += 1;
    }

    fn leave(&mut self, group: &G) {
        if let Some(count) = self.groups.get_mut(group) {
            *count -= 1;
            if *count == 0 {
                self.groups.remove(group);
            }
        }
    }

    fn remove(&mut self, number: u64) {
        if let Some(holder) = self.holders.remove(&number) {
            self.leave(&holder.group);
        }
    }

    /// Evicts one holder: of a group with most slots, the idle one that was used least recently.
    fn displace(&mut self) {
        let most = self.groups.values().max();
        // Several groups may have equally many. Their holders compete by use alone.
        let candidates = self.holders.iter().filter(|(_, holder)| self.groups.get(&holder.group) == most);
        let displaced = candidates.min_by_key(|(_, holder)| (holder.works, holder.used));
        // Dropping the holder drops its sender, which completes `evicted` on the other side.
        if let Some(number) = displaced.map(|(number, _)| *number) {
            self.remove(number);
        }
    }
}

impl<G: Ord + Clone> Place<G> {
    /// Completes when a newcomer has evicted this slot. Never completes otherwise.
    pub async fn lost(&mut self) {
        let _dropped = (&mut self.lost).await;
    }

    /// Returns a handle through which other tasks report how the slot is used.
    pub fn ticket(&self) -> Ticket<G> {
        self.ticket.clone()
    }
}

impl<G: Ord + Clone> Drop for Place<G> {
    fn drop(&mut self) {
        // Does nothing if the slot was evicted before: numbers are never reused.
        lock(&self.ticket.taken).remove(self.ticket.number);
    }
}

impl<G: Ord + Clone> Ticket<G> {
    /// Number of the slot, unique within its [`EvictingSlots`].
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Moves the slot to another group. Does nothing if it was evicted.
    pub fn regroup(&self, group: &G) {
        let mut table = lock(&self.taken);
        let Some(holder) = table.holders.get_mut(&self.number) else { return };
        let before = std::mem::replace(&mut holder.group, group.clone());
        // Added before it is removed, so that a move within one group never drops its count to zero.
        table.join(group);
        table.leave(&before);
    }

    /// Marks the slot as busy until the guard is dropped. Both ends count as a use.
    pub fn work(&self) -> Working<G> {
        self.set(true);
        Working(self.clone())
    }

    fn set(&self, works: bool) {
        let mut table = lock(&self.taken);
        let now = table.tick();
        if let Some(holder) = table.holders.get_mut(&self.number) {
            (holder.works, holder.used) = (works, now);
        }
    }
}

impl<G: Ord + Clone> Drop for Working<G> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

fn lock<G>(table: &Mutex<Taken<G>>) -> MutexGuard<'_, Taken<G>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn is_lost<G: Ord + Clone>(slot: &mut Place<G>) -> bool {
        slot.lost().now_or_never().is_some()
    }

    #[test]
    fn the_newest_displaces_the_oldest_that_is_still_there() {
        let slots = Places::new(2);
        let (first, mut second) = (slots.take(()), slots.take(()));
        drop(first);
        let mut third = slots.take(());
        assert!(!is_lost(&mut second));
        let _fourth = slots.take(());
        assert!(is_lost(&mut second) && !is_lost(&mut third));
        assert_eq!(slots.taken(), 2);
        drop(second);
        assert_eq!(slots.taken(), 2);
    }

    #[test]
    fn one_that_works_or_was_just_used_stays_longer() {
        let slots = Places::new(3);
        let (mut works, mut used, mut idle) = (slots.take(()), slots.take(()), slots.take(()));
        let working = works.ticket().work();
        drop(used.ticket().work());
        let mut fourth = slots.take(());
        assert!(is_lost(&mut idle) && !is_lost(&mut used));
        let (_fifth, _sixth) = (slots.take(()), slots.take(()));
        assert!(is_lost(&mut used) && is_lost(&mut fourth) && !is_lost(&mut works));
        drop(working);
        let _more = [slots.take(()), slots.take(()), slots.take(())];
        assert!(is_lost(&mut works));
    }

    #[test]
    fn a_flood_of_one_group_displaces_its_own() {
        let slots = Places::new(4);
        let mut honest = slots.take("honest");
        let flood: Vec<_> = (0..100).map(|_| slots.take("flood")).collect();
        assert!(!is_lost(&mut honest));
        drop(flood);
        let mut moved = slots.take("flood");
        moved.ticket().regroup(&"moved");
        let _flood: Vec<_> = (0..100).map(|_| slots.take("flood")).collect();
        assert!(!is_lost(&mut honest) && !is_lost(&mut moved));
        assert_eq!(slots.taken(), 4);
    }

    #[test]
    fn of_groups_that_have_as_many_the_oldest_place_goes() {
        let slots = Places::new(3);
        let mut held = [slots.take(1), slots.take(2), slots.take(3)];
        let _fourth = slots.take(4);
        assert_eq!(held.each_mut().map(is_lost), [true, false, false]);
    }

    #[test]
    fn where_all_work_the_oldest_goes() {
        let slots = Places::new(1);
        let mut first = slots.take(());
        let _working = first.ticket().work();
        let _second = slots.take(());
        assert!(is_lost(&mut first));
    }

    #[test]
    fn hosts_of_one_network_are_one_client() {
        let client = |text: &str| client_of(text.parse().unwrap());
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:1"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
    }
}
