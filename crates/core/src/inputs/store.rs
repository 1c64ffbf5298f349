//! The store of all inputs, and the topics that each change affects.

use std::collections::{BTreeMap, BTreeSet, HashMap as StdHashMap};
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::HashMap;

use super::announcements::Announcements;
use super::topic::{Topic, TopicMap};
use super::{
    AddressOwner, Addresses, Credential, EndpointSlice, Node, PeerAuthentication, Service, Settings, Subsets,
    Workload, WorkloadEntry, WorkloadKind,
};
use crate::catalogue::{Offer, PeerState, Source};
use crate::key::Key;
use crate::labels::Labels;
use crate::members::Members;
use crate::parse::{Binding, Exposition, FedConfig};
use crate::problem::Problem;

/// A parsed resource: the model, or everything that is wrong with it.
pub type Parsed<T> = Result<Arc<T>, Vec<Problem>>;

/// One change to the inputs. `None` removes the object.
#[derive(Clone, Debug)]
pub enum Change {
    /// A MeshFedConfig.
    FedConfig(Key, Option<Parsed<FedConfig>>),
    /// A ServiceExposition.
    Exposition(Key, Option<Parsed<Exposition>>),
    /// A ServiceBinding.
    Binding(Key, Option<Parsed<Binding>>),
    /// A Service.
    Service(Key, Option<Service>),
    /// An EndpointSlice.
    EndpointSlice(Key, Option<EndpointSlice>),
    /// A Pod or a Deployment.
    Workload(WorkloadKind, Key, Option<Workload>),
    /// A `WorkloadEntry`.
    WorkloadEntry(Key, Option<WorkloadEntry>),
    /// A Secret of type `kubernetes.io/tls`.
    Credential(Key, Option<Credential>),
    /// Whether a Secret, of any type, exists whose name [may replace](super::is_ca_secret_name) the CA of a
    /// credential.
    CaSecret(Key, bool),
    /// A PeerAuthentication.
    PeerAuthentication(Key, Option<PeerAuthentication>),
    /// A user's DestinationRule.
    Subsets(Key, Option<Subsets>),
    /// A node, by its name.
    Node(Arc<str>, Option<Node>),
    /// Whether a namespace exists and is not being deleted.
    Namespace(Arc<str>, bool),
    /// A peer's announcement of a service. The key is the service's namespace in the peer's mesh and the name under
    /// which it is exposed. Only announcements that the relationship's policy accepts get here. `None`: the peer has
    /// withdrawn it. Losing the connection is not a withdrawal.
    Announcement(Source, Key, Option<Offer>),
    /// The state of a peer. `None`: nothing is known, as before the first connection attempt.
    Peer(Source, Option<PeerState>),
}

type WorkloadId = (WorkloadKind, Key);

/// Everything that a translation may read. It reads through the `InputView` of `resolve`, which records what was read.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    pub(crate) settings: Settings,
    pub(crate) fed_configs: BTreeMap<Key, Parsed<FedConfig>>,
    pub(crate) expositions: BTreeMap<Key, Parsed<Exposition>>,
    pub(crate) bindings: BTreeMap<Key, Parsed<Binding>>,
    pub(crate) services: BTreeMap<Key, Box<Service>>,
    pub(crate) slices: BTreeMap<Key, Box<EndpointSlice>>,
    pub(crate) slices_of: HashMap<Key, Members<Key>>,
    pub(crate) workloads: BTreeMap<WorkloadId, Box<Workload>>,
    pub(crate) workloads_labelled: TopicMap<Members<WorkloadId>>,
    pub(crate) entries: BTreeMap<Key, Box<WorkloadEntry>>,
    pub(crate) entries_labelled: TopicMap<Members<Key>>,
    pub(crate) addresses: Addresses,
    pub(crate) credentials: BTreeMap<Key, Arc<Credential>>,
    pub(crate) ca_secrets: BTreeSet<Key>,
    pub(crate) peer_authentications: BTreeMap<Key, PeerAuthentication>,
    pub(crate) nodes: BTreeMap<Arc<str>, Node>,
    pub(crate) subsets: BTreeMap<Key, Subsets>,
    pub(crate) subsets_of: HashMap<String, Members<Key>>,
    /// DestinationRules for wildcard hosts, by their namespace.
    pub(crate) wildcards_in: HashMap<Arc<str>, Members<Key>>,
    pub(crate) namespaces: BTreeSet<Arc<str>>,
    pub(crate) announcements: Announcements,
    pub(crate) peers: BTreeMap<Source, PeerState>,
    /// The valid bindings that want a facade, by the facade.
    pub(crate) bindings_of_facade: HashMap<Key, Members<Key>>,
    /// The valid bindings that were created from announcements, by the owner in their labels.
    pub(crate) imports_of: HashMap<(String, String), Members<Key>>,
}

impl Inputs {
    /// Creates inputs without objects.
    pub fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Settings of this mesh.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Replaces the settings. Returns the topics that this changes, or `None` if everything may change.
    pub(crate) fn set_settings(&mut self, settings: Settings) -> Option<Vec<Topic>> {
        // Only the time is a topic of its own, as it changes all the time. Any other setting may be read anywhere.
        let only_time = Settings { now: self.settings.now, ..settings.clone() } == self.settings;
        self.settings = settings;
        only_time.then(|| vec![Topic::now()])
    }

    /// Applies one change. Returns the topics that it changes: none if the object is the same as before.
    pub(crate) fn apply(&mut self, change: Change) -> Vec<Topic> {
        match change {
            Change::FedConfig(key, new) => {
                set(&mut self.fed_configs, &key, new, || vec![Topic::fed_configs()])
            }
            Change::Exposition(key, new) => {
                set(&mut self.expositions, &key, new, || vec![Topic::exposition(&key)])
            }
            Change::Binding(key, new) => self.apply_binding(&key, new),
            Change::Service(key, new) => self.apply_service(&key, new),
            Change::EndpointSlice(key, new) => self.apply_slice(&key, new),
            Change::Workload(kind, key, new) => self.apply_workload(&(kind, key), new),
            Change::WorkloadEntry(key, new) => self.apply_entry(&key, new),
            Change::Credential(key, new) => set(&mut self.credentials, &key, new.map(Arc::new), || {
                vec![Topic::credentials_in(&key.namespace)]
            }),
            Change::CaSecret(key, there) => self.apply_ca_secret(key, there),
            Change::PeerAuthentication(key, new) => set(&mut self.peer_authentications, &key, new, || {
                vec![Topic::peer_authentications_in(&key.namespace)]
            }),
            Change::Subsets(key, new) => self.apply_subsets(&key, new),
            Change::Node(name, new) => self.apply_node(&name, new),
            Change::Namespace(name, there) => self.apply_namespace(name, there),
            Change::Announcement(source, service, new) => self.apply_announcement(&source, &service, new),
            Change::Peer(source, new) => self.apply_peer(&source, new),
        }
    }

    fn apply_binding(&mut self, key: &Key, new: Option<Parsed<Binding>>) -> Vec<Topic> {
        // Take the old keys for the indexes before `set_or_remove` replaces the object.
        let facades = [self.bindings.get(key), new.as_ref()].map(|parsed| parsed.and_then(facade_of));
        let owners = [self.bindings.get(key), new.as_ref()]
            .map(|parsed| parsed.and_then(|parsed| parsed.as_ref().ok()?.import_of.clone()));
        let topics = || {
            let imports = owners.iter().flatten().map(Topic::imports_of);
            facades.iter().flatten().map(Topic::facade).chain(imports).chain([Topic::binding(key)]).collect()
        };
        let topics = set(&mut self.bindings, key, new, topics);
        reindex(&mut self.bindings_of_facade, facades, key);
        reindex(&mut self.imports_of, owners, key);
        topics
    }

    fn apply_ca_secret(&mut self, key: Key, there: bool) -> Vec<Topic> {
        let topic = Topic::credentials_in(&key.namespace);
        let changed = if there { self.ca_secrets.insert(key) } else { self.ca_secrets.remove(&key) };
        changed.then_some(topic).into_iter().collect()
    }

    fn apply_namespace(&mut self, name: Arc<str>, there: bool) -> Vec<Topic> {
        let topic = Topic::namespace(&name);
        let changed = if there { self.namespaces.insert(name) } else { self.namespaces.remove(&name) };
        changed.then_some(topic).into_iter().collect()
    }

    fn apply_announcement(&mut self, source: &Source, service: &Key, new: Option<Offer>) -> Vec<Topic> {
        let fed_config = &source.fed_config;
        if !self.announcements.set(source, service, new) {
            return Vec::new();
        }
        vec![Topic::announcement(fed_config, service), Topic::announcements(fed_config)]
    }

    /// Refused announcements, and the reason of a lost connection, are only shown. No unit depends on them, so they
    /// are no topic.
    fn apply_peer(&mut self, source: &Source, new: Option<PeerState>) -> Vec<Topic> {
        let standing = |state: Option<&PeerState>| {
            state.map(|state| (state.is_connected(), state.lost_since(), state.has_answered))
        };
        let old = self.peers.get(source);
        // Only the parts that decide whether announcements are stale. Addresses are a topic of their own, with other
        // readers.
        let stands = (standing(old) != standing(new.as_ref())).then(|| Topic::peer(source));
        let addresses = |state: Option<&PeerState>| state.map(|state| state.addresses.clone());
        let moved = addresses(old).unwrap_or_default() != addresses(new.as_ref()).unwrap_or_default();
        let moved = moved.then(|| Topic::peer_addresses(source));
        set(&mut self.peers, source, new, || stands.into_iter().chain(moved).collect())
    }

    fn apply_slice(&mut self, key: &Key, new: Option<EndpointSlice>) -> Vec<Topic> {
        let services = [self.slices.get(key).map(|slice| &**slice), new.as_ref()]
            .map(|slice| slice.map(|slice| slice.service.clone()));
        let topics = || services.iter().flatten().map(Topic::slices_of).collect();
        let topics = set(&mut self.slices, key, new.map(Box::new), topics);
        reindex(&mut self.slices_of, services, key);
        topics
    }

    fn apply_workload(&mut self, id: &WorkloadId, new: Option<Workload>) -> Vec<Topic> {
        let [old, now] = [self.workloads.get(id).map(|workload| &**workload), new.as_ref()]
            .map(|workload| workload.map(topics_of).unwrap_or_default());
        let [was_at, is_at] = [self.workloads.get(id).map(|workload| &**workload), new.as_ref()]
            .map(|workload| workload.map(|workload| workload.addresses.clone()).unwrap_or_default());
        // Readers of the old labels and of the new ones: a workload may leave one selector and join another.
        let mut touched = set(&mut self.workloads, id, new.map(Box::new), || {
            old.iter().chain(&now).copied().chain([Topic::pod(&id.1)]).collect()
        });
        for topic in &old {
            remove_from_index(&mut self.workloads_labelled, topic, id);
        }
        for topic in now {
            add_to_index(&mut self.workloads_labelled, topic, id);
        }
        touched.extend(self.addresses.moved(&AddressOwner::Pod(id.1.clone()), &was_at, &is_at));
        touched
    }

    fn apply_service(&mut self, key: &Key, new: Option<Service>) -> Vec<Topic> {
        let ips = |service: Option<&Service>| service.map(|service| service.ips.clone()).unwrap_or_default();
        // The index of addresses needs the old addresses, which the next line discards.
        let (old, now) = (ips(self.services.get(key).map(|service| &**service)), ips(new.as_ref()));
        let mut touched = set(&mut self.services, key, new.map(Box::new), || {
            vec![Topic::service(key), Topic::services_in(&key.namespace)]
        });
        touched.extend(self.addresses.moved(&AddressOwner::Service(key.clone()), &old, &now));
        touched
    }

    fn apply_node(&mut self, name: &Arc<str>, new: Option<Node>) -> Vec<Topic> {
        let facts = |node: Option<&Node>| {
            node.map(|node| (node.addresses.clone(), node.pod_ranges.clone())).unwrap_or_default()
        };
        let (old, now) = (facts(self.nodes.get(name)), facts(new.as_ref()));
        let mut touched = set(&mut self.nodes, name, new, || vec![Topic::nodes()]);
        let (node, pods) = (AddressOwner::Node(Arc::clone(name)), AddressOwner::PodRange(Arc::clone(name)));
        touched.extend(self.addresses.moved(&node, &old.0, &now.0));
        touched.extend(self.addresses.ranges_moved(&pods, &old.1, &now.1));
        touched
    }

    fn apply_entry(&mut self, key: &Key, new: Option<WorkloadEntry>) -> Vec<Topic> {
        let both = [self.entries.get(key).map(|entry| &**entry), new.as_ref()];
        let [old, now] = both.map(|entry| entry.map(topics_of_entry).unwrap_or_default());
        let [was_at, is_at] = both.map(|entry| Vec::from_iter(entry.and_then(WorkloadEntry::address)));
        let mut touched = set(&mut self.entries, key, new.map(Box::new), || [&*old, &*now].concat());
        for topic in &old {
            remove_from_index(&mut self.entries_labelled, topic, key);
        }
        for topic in now {
            add_to_index(&mut self.entries_labelled, topic, key);
        }
        touched.extend(self.addresses.moved(&AddressOwner::WorkloadEntry(key.clone()), &was_at, &is_at));
        touched
    }

    fn apply_subsets(&mut self, key: &Key, new: Option<Subsets>) -> Vec<Topic> {
        let both = [self.subsets.get(key), new.as_ref()];
        // A rule is indexed either by its exact host or, for a wildcard, by its namespace.
        let is_wide = |rule: &&Subsets| rule.host.starts_with('*');
        let hosts = both.map(|rule| rule.filter(|rule| !is_wide(rule)).map(|rule| rule.host.clone()));
        let wildcards = both.map(|rule| rule.filter(is_wide).map(|_| Arc::clone(&key.namespace)));
        let topics = || {
            let wide = wildcards.iter().flatten().map(|namespace| Topic::wildcard_rules_in(namespace));
            hosts.iter().flatten().map(|host| Topic::subsets_of(host)).chain(wide).collect()
        };
        let topics = set(&mut self.subsets, key, new, topics);
        reindex(&mut self.subsets_of, hosts, key);
        reindex(&mut self.wildcards_in, wildcards, key);
        topics
    }

    /// Returns the state of a peer, if anything is known about it.
    pub fn peer(&self, source: &Source) -> Option<&PeerState> {
        self.peers.get(source)
    }

    /// Returns all accepted announcements of a peer, in order of the service.
    pub fn announced(&self, source: &Source) -> impl Iterator<Item = (&Key, &Arc<Offer>)> {
        self.announcements.of(source)
    }

    /// Returns all expositions, valid or not, in order of their keys.
    pub fn expositions(&self) -> impl Iterator<Item = (&Key, &Parsed<Exposition>)> {
        self.expositions.iter()
    }

    /// Returns all bindings, valid or not, in order of their keys.
    pub fn bindings(&self) -> impl Iterator<Item = (&Key, &Parsed<Binding>)> {
        self.bindings.iter()
    }

    /// Returns all MeshFedConfigs, valid or not, in order of their keys.
    pub fn fed_configs(&self) -> impl Iterator<Item = (&Key, &Parsed<FedConfig>)> {
        self.fed_configs.iter()
    }

    /// Returns the Service with this key.
    pub fn service(&self, key: &Key) -> Option<&Service> {
        self.services.get(key).map(|service| &**service)
    }

    /// Returns the `WorkloadEntries` that a selector selects. `topic` is that of one of its labels, which narrows the
    /// search.
    pub(crate) fn entries_selected(
        &self,
        topic: Topic,
        selector: &Labels,
    ) -> impl Iterator<Item = &WorkloadEntry> {
        let keys = self.entries_labelled.get(&topic).into_iter().flat_map(Members::iter);
        keys.filter_map(|key| self.entries.get(key).map(|entry| &**entry))
            .filter(|entry| entry.labels.has_all(selector))
    }

    /// Returns the workloads that a selector selects. `topic` is that of one of its labels, which narrows the search.
    pub(crate) fn candidates(&self, topic: Topic, selector: &Labels) -> impl Iterator<Item = &Workload> {
        let ids = self.workloads_labelled.get(&topic).into_iter().flat_map(Members::iter);
        ids.filter_map(|id| self.workloads.get(id).map(|workload| &**workload))
            .filter(|workload| workload.is_selected_by(selector))
    }
}

/// Returns the facade that a valid binding wants.
fn facade_of(parsed: &Parsed<Binding>) -> Option<Key> {
    parsed.as_ref().ok()?.facade_key()
}

/// Returns the topics by which a workload is found: one for each of its labels, in its namespace and in any
/// namespace.
fn topics_of(workload: &Workload) -> Vec<Topic> {
    let of = |(label, value): (&str, &str)| {
        [Topic::workloads_in(&workload.key.namespace, label, value), Topic::workloads(label, value)]
    };
    workload.labels.iter().flat_map(of).collect()
}

/// Returns the topics by which a `WorkloadEntry` is found: one for each of its labels, in its namespace.
fn topics_of_entry(entry: &WorkloadEntry) -> Vec<Topic> {
    let of = |(label, value)| Topic::workload_entries_in(&entry.key.namespace, label, value);
    entry.labels.iter().map(of).collect()
}

/// Sets or removes an object. Returns the topics that this changes: none if it was the same before.
fn set<K: Clone + Ord, V: PartialEq>(
    map: &mut BTreeMap<K, V>,
    key: &K,
    new: Option<V>,
    touched: impl FnOnce() -> Vec<Topic>,
) -> Vec<Topic> {
    if map.get(key) == new.as_ref() {
        return Vec::new();
    }
    match new {
        Some(new) => map.insert(key.clone(), new),
        None => map.remove(key),
    };
    touched()
}

/// Moves a member of an index from its old group to its new one.
fn reindex<K: Eq + Hash, V: Ord + Clone>(
    index: &mut HashMap<K, Members<V>>,
    [old, new]: [Option<K>; 2],
    member: &V,
) {
    if let Some(old) = old {
        remove_from_index(index, &old, member);
    }
    if let Some(new) = new {
        add_to_index(index, new, member);
    }
}

pub(super) fn add_to_index<K: Eq + Hash, V: Ord + Clone, S: BuildHasher>(
    index: &mut StdHashMap<K, Members<V>, S>,
    key: K,
    member: &V,
) {
    index
        .entry(key)
        .and_modify(|members| members.add(member.clone()))
        .or_insert_with(|| Members::One(member.clone()));
}

pub(super) fn remove_from_index<K: Eq + Hash, V: Ord + Clone, S: BuildHasher>(
    index: &mut StdHashMap<K, Members<V>, S>,
    key: &K,
    member: &V,
) {
    if index.get_mut(key).is_some_and(|members| members.remove(member)) {
        index.remove(key);
    }
}
