//! Index of the owners of the cluster's IP addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::HashMap;
use ipnet::IpNet;

use super::Topic;
use crate::key::ObjectKey;
use crate::policy::canonical_address;
use crate::small_set::SmallSet;

/// The owner of an IP address of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressOwner {
    /// A running Pod. A Pod in the host network has the addresses of its node.
    Pod(ObjectKey),
    /// A node, by its name.
    Node(Arc<str>),
    /// The pods of a node, by the node's name: the address lies in the node's `podCIDRs`.
    PodRange(Arc<str>),
    /// A Service: the address is one of its ClusterIPs, or was assigned by a load balancer.
    Service(ObjectKey),
    /// A `WorkloadEntry` with this address.
    WorkloadEntry(ObjectKey),
}

/// The owners, indexed by address and by range.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddressIndex {
    owners: HashMap<IpAddr, SmallSet<AddressOwner>>,
    ranges: HashMap<IpNet, SmallSet<AddressOwner>>,
    /// Number of ranges for each address family (`true` is IPv6) and prefix length.
    prefix_lengths: BTreeMap<(bool, u8), usize>,
}

impl AddressIndex {
    /// Returns the owners of an address: first those that have exactly this address, then the nodes in whose ranges
    /// it lies.
    pub(crate) fn owners_of(&self, address: IpAddr) -> impl Iterator<Item = &AddressOwner> {
        let ranges = self.ranges_of(address).filter_map(|range| self.ranges.get(&range));
        self.owners.get(&address).into_iter().chain(ranges).flat_map(SmallSet::iter)
    }

    /// Returns the ranges in which an address may lie: one for each prefix length in use.
    pub(crate) fn ranges_of(&self, address: IpAddr) -> impl Iterator<Item = IpNet> {
        let own = self.prefix_lengths.keys().filter(move |(v6, _)| *v6 == address.is_ipv6());
        own.filter_map(move |(_, length)| Some(IpNet::new(address, *length).ok()?.trunc()))
    }

    /// Returns the pod ranges in which an address lies.
    pub(crate) fn pod_ranges_of(&self, address: IpAddr) -> impl Iterator<Item = IpNet> {
        self.ranges_of(address).filter(|range| self.ranges.contains_key(range))
    }

    /// Replaces the addresses of an owner. Returns the topics that this changes.
    pub(super) fn update_addresses(
        &mut self,
        owner: &AddressOwner,
        old: &[IpAddr],
        new: &[IpAddr],
    ) -> Vec<Topic> {
        let (old, new): (Vec<_>, Vec<_>) = (canonical_addresses(old), canonical_addresses(new));
        let (gone, come) = (items_not_in(&old, &new), items_not_in(&new, &old));
        for address in &gone {
            super::store::remove_from_index(&mut self.owners, address, owner);
        }
        for address in &come {
            super::store::add_to_index(&mut self.owners, *address, owner);
        }
        gone.into_iter().chain(come).map(Topic::address_owner).collect()
    }

    /// Replaces the ranges of an owner. Returns the topics that this changes.
    pub(super) fn update_ranges(&mut self, owner: &AddressOwner, old: &[IpNet], new: &[IpNet]) -> Vec<Topic> {
        let (gone, come) = (items_not_in(old, new), items_not_in(new, old));
        let lengths: Vec<_> = self.prefix_lengths.keys().copied().collect();
        for range in &gone {
            super::store::remove_from_index(&mut self.ranges, range, owner);
            self.count_prefix_length(range, false);
        }
        for range in &come {
            super::store::add_to_index(&mut self.ranges, *range, owner);
            self.count_prefix_length(range, true);
        }
        // A lookup probes one range for each length in use. A new or unused length changes what every lookup has to
        // probe, so all readers must be notified.
        let other_lengths = !self.prefix_lengths.keys().eq(lengths.iter());
        let ranges = gone.into_iter().chain(come).map(Topic::pod_range);
        ranges.chain(other_lengths.then(Topic::pod_range_lengths)).collect()
    }

    fn count_prefix_length(&mut self, range: &IpNet, one_more: bool) {
        let length = (matches!(range, IpNet::V6(_)), range.prefix_len());
        let count = self.prefix_lengths.entry(length).or_default();
        *count = if one_more { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.prefix_lengths.remove(&length);
        }
    }
}

/// Returns each address once, with IPv4-mapped IPv6 addresses as IPv4.
fn canonical_addresses(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut addresses: Vec<_> = addresses.iter().copied().map(canonical_address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

fn items_not_in<T: Copy + PartialEq>(these: &[T], others: &[T]) -> Vec<T> {
    these.iter().copied().filter(|one| !others.contains(one)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn pod(name: &str) -> AddressOwner {
        AddressOwner::Pod(ObjectKey::new("shop", name))
    }

    fn node(name: &str) -> AddressOwner {
        AddressOwner::Node(name.into())
    }

    fn range(name: &str) -> AddressOwner {
        AddressOwner::PodRange(name.into())
    }

    fn owners(addresses: &AddressIndex, of: &str) -> Vec<AddressOwner> {
        addresses.owners_of(ip(of)).cloned().collect()
    }

    #[test]
    fn pods_in_the_network_of_their_node_share_its_address() {
        let mut addresses = AddressIndex::default();
        for owner in [node("a"), pod("p"), pod("q")] {
            addresses.update_addresses(&owner, &[], &[ip("192.0.2.1")]);
        }
        assert_eq!(owners(&addresses, "192.0.2.1"), [pod("p"), pod("q"), node("a")]);
        addresses.update_addresses(&pod("p"), &[ip("192.0.2.1")], &[]);
        assert_eq!(owners(&addresses, "192.0.2.1"), [pod("q"), node("a")]);
        addresses.update_addresses(&pod("q"), &[ip("192.0.2.1")], &[]);
        addresses.update_addresses(&node("a"), &[ip("192.0.2.1")], &[]);
        assert!(addresses.owners.is_empty());
    }

    #[test]
    fn only_changed_addresses_are_reported() {
        let mut addresses = AddressIndex::default();
        let both = [ip("10.0.0.1"), ip("fd00::1")];
        let two = [Topic::address_owner(ip("10.0.0.1")), Topic::address_owner(ip("fd00::1"))];
        assert_eq!(addresses.update_addresses(&pod("p"), &[], &both), two);
        assert_eq!(addresses.update_addresses(&pod("p"), &both, &both), []);
        let next = [ip("10.0.0.2"), ip("fd00::1")];
        let touched = [Topic::address_owner(ip("10.0.0.1")), Topic::address_owner(ip("10.0.0.2"))];
        assert_eq!(addresses.update_addresses(&pod("p"), &both, &next), touched);
        assert_eq!(owners(&addresses, "10.0.0.1"), []);
        assert_eq!(owners(&addresses, "fd00::1"), [pod("p")]);
    }

    #[test]
    fn ipv4_mapped_addresses_are_stored_as_ipv4() {
        let mut addresses = AddressIndex::default();
        addresses.update_addresses(
            &pod("p"),
            &[],
            &[ip("::ffff:10.0.0.1"), ip("10.0.0.1"), ip("64:ff9b::a00:1")],
        );
        assert_eq!(owners(&addresses, "10.0.0.1"), [pod("p")]);
        assert_eq!(addresses.owners.len(), 1);
    }

    #[test]
    fn an_address_lies_in_the_ranges_of_its_family() {
        let mut addresses = AddressIndex::default();
        addresses.update_ranges(&range("a"), &[], &[net("10.244.1.0/24"), net("fd00:1::/64")]);
        addresses.update_ranges(&range("b"), &[], &[net("10.244.2.0/24"), net("10.0.0.0/8")]);
        assert_eq!(owners(&addresses, "10.244.1.7"), [range("b"), range("a")]);
        assert_eq!(owners(&addresses, "10.244.3.7"), [range("b")]);
        assert_eq!(owners(&addresses, "fd00:1::7"), [range("a")]);
        assert_eq!(owners(&addresses, "11.0.0.1"), []);
    }

    #[test]
    fn new_prefix_lengths_are_reported_once() {
        let mut addresses = AddressIndex::default();
        let (one, other) = (net("10.244.1.0/24"), net("10.244.2.0/24"));
        let first = [Topic::pod_range(one), Topic::pod_range_lengths()];
        assert_eq!(addresses.update_ranges(&range("a"), &[], &[one]), first);
        assert_eq!(addresses.update_ranges(&range("b"), &[], &[other]), [Topic::pod_range(other)]);
        assert_eq!(addresses.update_ranges(&range("a"), &[one], &[]), [Topic::pod_range(one)]);
        let last = [Topic::pod_range(other), Topic::pod_range_lengths()];
        assert_eq!(addresses.update_ranges(&range("b"), &[other], &[]), last);
        assert!(addresses.ranges.is_empty() && addresses.prefix_lengths.is_empty());
    }
}
