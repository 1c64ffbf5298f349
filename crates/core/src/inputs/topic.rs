//! What can be looked at, as a number: the unit in which dependencies are remembered.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hash, Hasher};
use std::net::IpAddr;
use std::sync::LazyLock;

use foldhash::quality::RandomState;
use ipnet::IpNet;

use crate::catalogue::Source;
use crate::key::Key;

/// One thing, or group of things, that can be looked at and can change.
///
/// A hash of what it stands for: two topics that collide make a translation run once too often, never too seldom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Topic(u64);

/// By topic, which is a hash already.
pub(crate) type TopicMap<V> = HashMap<Topic, V, BuildHasherDefault<AsItIs>>;

#[derive(Debug, Default)]
pub(crate) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Topic {
    fn of(what: &str, parts: impl Hash) -> Self {
        // Seeded anew in each process, so that nobody can make up names that collide.
        static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::default);
        Self(SEED.hash_one((what, parts)))
    }

    /// The time.
    pub(crate) fn now() -> Self {
        Self::of("now", ())
    }

    /// All MeshFedConfigs, as they were given.
    pub(crate) fn fed_configs() -> Self {
        Self::of("fed configs", ())
    }

    /// Which relationships have this label.
    pub(crate) fn relationships(label: &str, value: &str) -> Self {
        Self::of("relationships", (label, value))
    }

    /// One relationship, as resolved.
    pub(crate) fn relationship(fed_config: &Key) -> Self {
        Self::of("relationship", fed_config)
    }

    /// One exposition, as given.
    pub(crate) fn exposition(key: &Key) -> Self {
        Self::of("exposition", key)
    }

    /// One binding, as given.
    pub(crate) fn binding(key: &Key) -> Self {
        Self::of("binding", key)
    }

    /// One Service.
    pub(crate) fn service(key: &Key) -> Self {
        Self::of("service", key)
    }

    /// All Services of a namespace.
    pub(crate) fn services_in(namespace: &str) -> Self {
        Self::of("services", namespace)
    }

    /// The EndpointSlices of a Service.
    pub(crate) fn slices_of(service: &Key) -> Self {
        Self::of("slices", service)
    }

    /// The workloads of a namespace that have this label.
    pub(crate) fn workloads_in(namespace: &str, label: &str, value: &str) -> Self {
        Self::of("workloads", (namespace, label, value))
    }

    /// The workloads of all namespaces that have this label.
    pub(crate) fn workloads(label: &str, value: &str) -> Self {
        Self::of("workloads anywhere", (label, value))
    }

    /// One Pod.
    pub(crate) fn pod(key: &Key) -> Self {
        Self::of("pod", key)
    }

    /// The credentials of a namespace.
    pub(crate) fn credentials_in(namespace: &str) -> Self {
        Self::of("credentials", namespace)
    }

    /// The PeerAuthentications of a namespace.
    pub(crate) fn peer_authentications_in(namespace: &str) -> Self {
        Self::of("peer authentications", namespace)
    }

    /// Whose an IP address is.
    pub(crate) fn address(address: IpAddr) -> Self {
        Self::of("address", address)
    }

    /// Whose pods have the addresses of a range.
    pub(crate) fn pod_range(range: IpNet) -> Self {
        Self::of("pod range", range)
    }

    /// How long the ranges of pods are.
    pub(crate) fn pod_range_lengths() -> Self {
        Self::of("pod range lengths", ())
    }

    /// The `WorkloadEntries` of a namespace that have this label.
    pub(crate) fn workload_entries_in(namespace: &str, label: &str, value: &str) -> Self {
        Self::of("workload entries", (namespace, label, value))
    }

    /// All nodes.
    pub(crate) fn nodes() -> Self {
        Self::of("nodes", ())
    }

    /// The rules of a namespace for wildcards.
    pub(crate) fn wildcard_rules_in(namespace: &str) -> Self {
        Self::of("wildcard rules", namespace)
    }

    /// The rules that users have for a host.
    pub(crate) fn subsets_of(host: &str) -> Self {
        Self::of("subsets", host)
    }

    /// Whether a namespace is there.
    pub(crate) fn namespace(name: &str) -> Self {
        Self::of("namespace", name)
    }

    /// Who announces one service of a relationship, and what.
    pub(crate) fn announcement(fed_config: &Key, service: &Key) -> Self {
        Self::of("announcement", (fed_config, service))
    }

    /// All that is announced in a relationship.
    pub(crate) fn announcements(fed_config: &Key) -> Self {
        Self::of("announcements", fed_config)
    }

    /// Whether a peer can be heard.
    pub(crate) fn peer(source: &Source) -> Self {
        Self::of("peer", source)
    }

    /// Where a peer's Emcee says to be.
    pub(crate) fn peer_addresses(source: &Source) -> Self {
        Self::of("peer addresses", source)
    }

    /// The bindings that were made for what is announced in a relationship, by their labels.
    pub(crate) fn imports_of(owner: &(String, String)) -> Self {
        Self::of("imports", owner)
    }

    /// The bindings that want a facade.
    pub(crate) fn facade(facade: &Key) -> Self {
        Self::of("facade", facade)
    }
}
