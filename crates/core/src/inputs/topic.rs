//! Topics: the parts of the inputs that can be read and can change. Dependencies are recorded as topics.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hash, Hasher};
use std::net::IpAddr;
use std::sync::LazyLock;

use foldhash::quality::RandomState;
use ipnet::IpNet;

use crate::catalogue::PeerKey;
use crate::key::ObjectKey;

/// An object, or a group of objects, that a unit can read and that can change.
///
/// A topic is a hash of what it identifies. If two topics collide, a unit runs more often than necessary, but never
/// too rarely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Topic(u64);

/// A map by topic. A topic is a hash already, so it is not hashed again.
pub(crate) type TopicMap<V> = HashMap<Topic, V, BuildHasherDefault<IdentityHasher>>;

#[derive(Debug, Default)]
pub(crate) struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
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
    fn hash_of(what: &str, parts: impl Hash) -> Self {
        // The seed differs in each process, so that no user can choose names that collide.
        static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::default);
        Self(SEED.hash_one((what, parts)))
    }

    /// The current time of the settings.
    pub(crate) fn current_time() -> Self {
        Self::hash_of("now", ())
    }

    /// All MeshFedConfigs, as users wrote them.
    pub(crate) fn fed_configs() -> Self {
        Self::hash_of("fed configs", ())
    }

    /// The set of relationships that have this label.
    pub(crate) fn relationships_labelled(label: &str, value: &str) -> Self {
        Self::hash_of("relationships", (label, value))
    }

    /// One relationship, as resolved.
    pub(crate) fn relationship(fed_config: &ObjectKey) -> Self {
        Self::hash_of("relationship", fed_config)
    }

    /// One exposition, as the user wrote it.
    pub(crate) fn exposition(key: &ObjectKey) -> Self {
        Self::hash_of("exposition", key)
    }

    /// One binding, as the user wrote it.
    pub(crate) fn binding(key: &ObjectKey) -> Self {
        Self::hash_of("binding", key)
    }

    /// One Service of the cluster.
    pub(crate) fn service(key: &ObjectKey) -> Self {
        Self::hash_of("service", key)
    }

    /// All Services of a namespace.
    pub(crate) fn services_in(namespace: &str) -> Self {
        Self::hash_of("services", namespace)
    }

    /// The EndpointSlices of a Service.
    pub(crate) fn slices_of_service(service: &ObjectKey) -> Self {
        Self::hash_of("slices", service)
    }

    /// The workloads of a namespace that have this label.
    pub(crate) fn workloads_in(namespace: &str, label: &str, value: &str) -> Self {
        Self::hash_of("workloads", (namespace, label, value))
    }

    /// The workloads of all namespaces that have this label.
    pub(crate) fn workloads_anywhere(label: &str, value: &str) -> Self {
        Self::hash_of("workloads anywhere", (label, value))
    }

    /// One Pod, by its name.
    pub(crate) fn pod(key: &ObjectKey) -> Self {
        Self::hash_of("pod", key)
    }

    /// The credentials of a namespace.
    pub(crate) fn credentials_in(namespace: &str) -> Self {
        Self::hash_of("credentials", namespace)
    }

    /// The PeerAuthentications of a namespace.
    pub(crate) fn peer_authentications_in(namespace: &str) -> Self {
        Self::hash_of("peer authentications", namespace)
    }

    /// The owners of an IP address.
    pub(crate) fn address_owner(address: IpAddr) -> Self {
        Self::hash_of("address", address)
    }

    /// The nodes whose pods have addresses of this range.
    pub(crate) fn pod_range(range: IpNet) -> Self {
        Self::hash_of("pod range", range)
    }

    /// The prefix lengths of all pod ranges.
    pub(crate) fn pod_range_lengths() -> Self {
        Self::hash_of("pod range lengths", ())
    }

    /// The `WorkloadEntries` of a namespace that have this label.
    pub(crate) fn workload_entries_in(namespace: &str, label: &str, value: &str) -> Self {
        Self::hash_of("workload entries", (namespace, label, value))
    }

    /// All nodes of the cluster.
    pub(crate) fn nodes() -> Self {
        Self::hash_of("nodes", ())
    }

    /// The DestinationRules of a namespace for wildcard hosts.
    pub(crate) fn wildcard_rules_in(namespace: &str) -> Self {
        Self::hash_of("wildcard rules", namespace)
    }

    /// The DestinationRules of users for this very host.
    pub(crate) fn rules_for_host(host: &str) -> Self {
        Self::hash_of("subsets", host)
    }

    /// Whether a namespace exists.
    pub(crate) fn namespace(name: &str) -> Self {
        Self::hash_of("namespace", name)
    }

    /// The peers that announce one service of a relationship, and their announcements.
    pub(crate) fn announcers_of(fed_config: &ObjectKey, service: &ObjectKey) -> Self {
        Self::hash_of("announcement", (fed_config, service))
    }

    /// All announcements of a relationship.
    pub(crate) fn announcements_in(fed_config: &ObjectKey) -> Self {
        Self::hash_of("announcements", fed_config)
    }

    /// Whether a peer is connected, since when it is not, and whether it has answered.
    pub(crate) fn peer_connection(source: &PeerKey) -> Self {
        Self::hash_of("peer", source)
    }

    /// The addresses that a peer's discovery server announces for itself.
    pub(crate) fn peer_addresses(source: &PeerKey) -> Self {
        Self::hash_of("peer addresses", source)
    }

    /// The bindings that were created from announcements of a relationship, by the owner in their labels.
    pub(crate) fn imports_of(owner: &(String, String)) -> Self {
        Self::hash_of("imports", owner)
    }

    /// The bindings that want a facade.
    pub(crate) fn bindings_of_facade(facade: &ObjectKey) -> Self {
        Self::hash_of("facade", facade)
    }
}
