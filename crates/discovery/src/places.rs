//! A bounded number of places, where a newcomer displaces an older one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Places to take. To refuse the newest instead would let a few who hold on keep everybody out.
///
/// Each place belongs to a group, such as the address of a client. The group that has most loses a place, so that one
/// client's flood displaces that client's own connections: the place that waits and was used least recently, or, where all
/// of them work, the least recently used of these.
#[derive(Debug)]
pub struct Places<G = ()> {
    most: usize,
    taken: Arc<Mutex<Taken<G>>>,
}

#[derive(Debug)]
struct Taken<G> {
    next: u64,
    holders: BTreeMap<u64, Holder<G>>,
    /// How many places each group has.
    groups: BTreeMap<G, usize>,
}

#[derive(Debug)]
struct Holder<G> {
    group: G,
    works: bool,
    /// Grows with each use.
    used: u64,
    /// Tells the holder when it is dropped.
    _lost: oneshot::Sender<()>,
}

/// A place, until it is dropped or [`lost`](Self::lost).
#[derive(Debug)]
pub struct Place<G: Ord + Clone = ()> {
    ticket: Ticket<G>,
    lost: oneshot::Receiver<()>,
}

/// Says of a place how it is used.
#[derive(Clone, Debug)]
pub struct Ticket<G = ()> {
    number: u64,
    taken: Arc<Mutex<Taken<G>>>,
}

/// While this is held, its place counts as one that works.
#[derive(Debug)]
pub struct Working<G: Ord + Clone = ()>(Ticket<G>);

/// What counts as one client: an IPv4 address, or the network of an IPv6 one, of which each host has 2^64.
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
    /// So many places, at least one.
    pub fn new(most: usize) -> Self {
        let taken = Taken { next: 0, holders: BTreeMap::new(), groups: BTreeMap::new() };
        Self { most: most.max(1), taken: Arc::new(Mutex::new(taken)) }
    }

    /// Takes a place for a member of this group.
    pub fn take(&self, group: G) -> Place<G> {
        let (holder, lost) = oneshot::channel();
        let mut taken = lock(&self.taken);
        while taken.holders.len() >= self.most {
            taken.displace();
        }
        let number = taken.tick();
        taken.join(&group);
        taken.holders.insert(number, Holder { group, works: false, used: number, _lost: holder });
        drop(taken);
        Place { ticket: Ticket { number, taken: Arc::clone(&self.taken) }, lost }
    }

    /// How many are taken.
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

    fn displace(&mut self) {
        let most = self.groups.values().max();
        let candidates = self.holders.iter().filter(|(_, holder)| self.groups.get(&holder.group) == most);
        let displaced = candidates.min_by_key(|(_, holder)| (holder.works, holder.used));
        if let Some(number) = displaced.map(|(number, _)| *number) {
            self.remove(number);
        }
    }
}

impl<G: Ord + Clone> Place<G> {
    /// Waits until a newcomer has displaced this one.
    pub async fn lost(&mut self) {
        let _dropped = (&mut self.lost).await;
    }

    /// By which others say how it is used.
    pub fn ticket(&self) -> Ticket<G> {
        self.ticket.clone()
    }
}

impl<G: Ord + Clone> Drop for Place<G> {
    fn drop(&mut self) {
        lock(&self.ticket.taken).remove(self.ticket.number);
    }
}

impl<G: Ord + Clone> Ticket<G> {
    /// No other place of the same [`Places`] has this number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The place belongs to this group from now on.
    pub fn regroup(&self, group: &G) {
        let mut taken = lock(&self.taken);
        let Some(holder) = taken.holders.get_mut(&self.number) else { return };
        let before = std::mem::replace(&mut holder.group, group.clone());
        taken.join(group);
        taken.leave(&before);
    }

    /// The place works until what is returned is dropped, and has just been used then.
    pub fn work(&self) -> Working<G> {
        self.set(true);
        Working(self.clone())
    }

    fn set(&self, works: bool) {
        let mut taken = lock(&self.taken);
        let now = taken.tick();
        if let Some(holder) = taken.holders.get_mut(&self.number) {
            (holder.works, holder.used) = (works, now);
        }
    }
}

impl<G: Ord + Clone> Drop for Working<G> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

fn lock<G>(taken: &Mutex<Taken<G>>) -> MutexGuard<'_, Taken<G>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn is_lost<G: Ord + Clone>(place: &mut Place<G>) -> bool {
        place.lost().now_or_never().is_some()
    }

    #[test]
    fn the_newest_displaces_the_oldest_that_is_still_there() {
        let places = Places::new(2);
        let (first, mut second) = (places.take(()), places.take(()));
        drop(first);
        let mut third = places.take(());
        assert!(!is_lost(&mut second));
        let _fourth = places.take(());
        assert!(is_lost(&mut second) && !is_lost(&mut third));
        assert_eq!(places.taken(), 2);
        drop(second);
        assert_eq!(places.taken(), 2);
    }

    #[test]
    fn one_that_works_or_was_just_used_stays_longer() {
        let places = Places::new(3);
        let (mut works, mut used, mut idle) = (places.take(()), places.take(()), places.take(()));
        let working = works.ticket().work();
        drop(used.ticket().work());
        let mut fourth = places.take(());
        assert!(is_lost(&mut idle) && !is_lost(&mut used));
        let (_fifth, _sixth) = (places.take(()), places.take(()));
        assert!(is_lost(&mut used) && is_lost(&mut fourth) && !is_lost(&mut works));
        drop(working);
        let _more = [places.take(()), places.take(()), places.take(())];
        assert!(is_lost(&mut works));
    }

    #[test]
    fn a_flood_of_one_group_displaces_its_own() {
        let places = Places::new(4);
        let mut honest = places.take("honest");
        let flood: Vec<_> = (0..100).map(|_| places.take("flood")).collect();
        assert!(!is_lost(&mut honest));
        drop(flood);
        let mut moved = places.take("flood");
        moved.ticket().regroup(&"moved");
        let _flood: Vec<_> = (0..100).map(|_| places.take("flood")).collect();
        assert!(!is_lost(&mut honest) && !is_lost(&mut moved));
        assert_eq!(places.taken(), 4);
    }

    #[test]
    fn of_groups_that_have_as_many_the_oldest_place_goes() {
        let places = Places::new(3);
        let mut held = [places.take(1), places.take(2), places.take(3)];
        let _fourth = places.take(4);
        assert_eq!(held.each_mut().map(is_lost), [true, false, false]);
    }

    #[test]
    fn where_all_work_the_oldest_goes() {
        let places = Places::new(1);
        let mut first = places.take(());
        let _working = first.ticket().work();
        let _second = places.take(());
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
