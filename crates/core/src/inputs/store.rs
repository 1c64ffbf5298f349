//! The store of all inputs, and the topics that each change affects.

use std::collections::{BTreeMap, BTreeSet, HashMap as StdHashMap};
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::HashMap;

use super::announcement_index::AnnouncementIndex;
use super::topic::{Topic, TopicMap};
use super::{
    AddressIndex, AddressOwner, ClusterNode, Credential, EndpointSlice, PeerAuthentication, Service,
    TranslationSettings, UserDestinationRule, Workload, WorkloadEntry, WorkloadKind,
};
use crate::catalogue::{Announcement, PeerKey, PeerSyncState};
use crate::key::ObjectKey;
use crate::labels::Labels;
use crate::parse::{Binding, Exposition, FedConfig};
use crate::problem::ResourceProblem;
use crate::small_set::SmallSet;

/// A parsed resource: the model, or everything that is wrong with it.
pub type ParsedResource<T> = Result<Arc<T>, Vec<ResourceProblem>>;

/// One change to the inputs. `None` removes the object.
#[derive(Clone, Debug)]
pub enum InputChange {
    /// A MeshFedConfig.
    FedConfig(ObjectKey, Option<ParsedResource<FedConfig>>),
    /// A ServiceExposition.
    Exposition(ObjectKey, Option<ParsedResource<Exposition>>),
    /// A ServiceBinding.
    Binding(ObjectKey, Option<ParsedResource<Binding>>),
    /// A Service.
    Service(ObjectKey, Option<Service>),
    /// An EndpointSlice.
    EndpointSlice(ObjectKey, Option<EndpointSlice>),
    /// A Pod or a Deployment.
    Workload(WorkloadKind, ObjectKey, Option<Workload>),
    /// A `WorkloadEntry`.
    WorkloadEntry(ObjectKey, Option<WorkloadEntry>),
    /// A Secret of type `kubernetes.io/tls`.
    Credential(ObjectKey, Option<Credential>),
    /// Whether a Secret, of any type, exists whose name [may replace](super::is_ca_secret_name) the CA of a
    /// credential.
    CaSecret(ObjectKey, bool),
    /// A PeerAuthentication.
    PeerAuthentication(ObjectKey, Option<PeerAuthentication>),
    /// A user's DestinationRule.
    DestinationRule(ObjectKey, Option<UserDestinationRule>),
    /// A node, by its name.
    Node(Arc<str>, Option<ClusterNode>),
    /// Whether a namespace exists and is not being deleted.
    Namespace(Arc<str>, bool),
    /// A peer's announcement of a service. The key is the service's namespace in the peer's mesh and the name under
    /// which it is exposed. Only announcements that the relationship's policy accepts get here. `None`: the peer has
    /// withdrawn it. Losing the connection is not a withdrawal.
    Announcement(PeerKey, ObjectKey, Option<Announcement>),
    /// The state of a peer. `None`: nothing is known, as before the first connection attempt.
    Peer(PeerKey, Option<PeerSyncState>),
}

type WorkloadId = (WorkloadKind, ObjectKey);

/// Everything that a translation may read. It reads through the `InputView` of `resolve`, which records what was read.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    pub(crate) settings: TranslationSettings,
    pub(crate) fed_configs: BTreeMap<ObjectKey, ParsedResource<FedConfig>>,
    pub(crate) expositions: BTreeMap<ObjectKey, ParsedResource<Exposition>>,
    pub(crate) bindings: BTreeMap<ObjectKey, ParsedResource<Binding>>,
    pub(crate) services: BTreeMap<ObjectKey, Box<Service>>,
    pub(crate) endpoint_slices: BTreeMap<ObjectKey, Box<EndpointSlice>>,
    pub(crate) slices_by_service: HashMap<ObjectKey, SmallSet<ObjectKey>>,
    pub(crate) workloads: BTreeMap<WorkloadId, Box<Workload>>,
    pub(crate) workloads_by_label: TopicMap<SmallSet<WorkloadId>>,
    pub(crate) workload_entries: BTreeMap<ObjectKey, Box<WorkloadEntry>>,
    pub(crate) workload_entries_by_label: TopicMap<SmallSet<ObjectKey>>,
    pub(crate) addresses: AddressIndex,
    pub(crate) credentials: BTreeMap<ObjectKey, Arc<Credential>>,
    pub(crate) ca_secrets: BTreeSet<ObjectKey>,
    pub(crate) peer_authentications: BTreeMap<ObjectKey, PeerAuthentication>,
    pub(crate) nodes: BTreeMap<Arc<str>, ClusterNode>,
    pub(crate) destination_rules: BTreeMap<ObjectKey, UserDestinationRule>,
    pub(crate) rules_by_host: HashMap<String, SmallSet<ObjectKey>>,
    /// DestinationRules for wildcard hosts, by their namespace.
    pub(crate) wildcard_rules_by_namespace: HashMap<Arc<str>, SmallSet<ObjectKey>>,
    pub(crate) namespaces: BTreeSet<Arc<str>>,
    pub(crate) announcements: AnnouncementIndex,
    pub(crate) peers: BTreeMap<PeerKey, PeerSyncState>,
    /// The valid bindings that want a facade, by the facade.
    pub(crate) bindings_by_facade: HashMap<ObjectKey, SmallSet<ObjectKey>>,
    /// The valid bindings that were created from announcements, by the owner in their labels.
    pub(crate) imports_by_owner: HashMap<(String, String), SmallSet<ObjectKey>>,
}

impl Inputs {
    /// Creates inputs without objects.
    pub fn new(settings: TranslationSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Settings of this mesh.
    pub fn settings(&self) -> &TranslationSettings {
        &self.settings
    }

    /// Replaces the settings. Returns the topics that this changes, or `None` if everything may change.
    pub(crate) fn set_settings(&mut self, settings: TranslationSettings) -> Option<Vec<Topic>> {
        // Only the time is a topic of its own, as it changes all the time. Any other setting may be read anywhere.
        let only_time = TranslationSettings { now: self.settings.now, ..settings.clone() } == self.settings;
        self.settings = settings;
        only_time.then(|| vec![Topic::current_time()])
    }

    /// Applies one change. Returns the topics that it changes: none if the object is the same as before.
    pub(crate) fn apply(&mut self, change: InputChange) -> Vec<Topic> {
        match change {
            InputChange::FedConfig(key, new) => {
                set_or_remove(&mut self.fed_configs, &key, new, || vec![Topic::fed_configs()])
            }
            InputChange::Exposition(key, new) => {
                set_or_remove(&mut self.expositions, &key, new, || vec![Topic::exposition(&key)])
            }
            InputChange::Binding(key, new) => self.apply_binding(&key, new),
            InputChange::Service(key, new) => self.apply_service(&key, new),
            InputChange::EndpointSlice(key, new) => self.apply_endpoint_slice(&key, new),
            InputChange::Workload(kind, key, new) => self.apply_workload(&(kind, key), new),
            InputChange::WorkloadEntry(key, new) => self.apply_workload_entry(&key, new),
            InputChange::Credential(key, new) => {
                set_or_remove(&mut self.credentials, &key, new.map(Arc::new), || {
                    vec![Topic::credentials_in(&key.namespace)]
                })
            }
            InputChange::CaSecret(key, exists) => self.apply_ca_secret(key, exists),
            InputChange::PeerAuthentication(key, new) => {
                set_or_remove(&mut self.peer_authentications, &key, new, || {
                    vec![Topic::peer_authentications_in(&key.namespace)]
                })
            }
            InputChange::DestinationRule(key, new) => self.apply_destination_rule(&key, new),
            InputChange::Node(name, new) => self.apply_node(&name, new),
            InputChange::Namespace(name, exists) => self.apply_namespace(name, exists),
            InputChange::Announcement(source, service, new) => {
                self.apply_announcement(&source, &service, new)
            }
            InputChange::Peer(source, new) => self.apply_peer(&source, new),
        }
    }

    fn apply_binding(&mut self, key: &ObjectKey, new: Option<ParsedResource<Binding>>) -> Vec<Topic> {
        // Take the old keys for the indexes before `set_or_remove` replaces the object.
        let facades = [self.bindings.get(key), new.as_ref()].map(|parsed| parsed.and_then(wanted_facade));
        let owners = [self.bindings.get(key), new.as_ref()]
            .map(|parsed| parsed.and_then(|parsed| parsed.as_ref().ok()?.import_owner.clone()));
        let topics = || {
            let imports = owners.iter().flatten().map(Topic::imports_of);
            facades
                .iter()
                .flatten()
                .map(Topic::bindings_of_facade)
                .chain(imports)
                .chain([Topic::binding(key)])
                .collect()
        };
        let topics = set_or_remove(&mut self.bindings, key, new, topics);
        move_in_index(&mut self.bindings_by_facade, facades, key);
        move_in_index(&mut self.imports_by_owner, owners, key);
        topics
    }

    fn apply_ca_secret(&mut self, key: ObjectKey, exists: bool) -> Vec<Topic> {
        let topic = Topic::credentials_in(&key.namespace);
        let changed = if exists { self.ca_secrets.insert(key) } else { self.ca_secrets.remove(&key) };
        changed.then_some(topic).into_iter().collect()
    }

    fn apply_namespace(&mut self, name: Arc<str>, exists: bool) -> Vec<Topic> {
        let topic = Topic::namespace(&name);
        let changed = if exists { self.namespaces.insert(name) } else { self.namespaces.remove(&name) };
        changed.then_some(topic).into_iter().collect()
    }

    fn apply_announcement(
        &mut self,
        source: &PeerKey,
        service: &ObjectKey,
        new: Option<Announcement>,
    ) -> Vec<Topic> {
        let fed_config = &source.fed_config;
        if !self.announcements.set(source, service, new) {
            return Vec::new();
        }
        vec![Topic::announcers_of(fed_config, service), Topic::announcements_in(fed_config)]
    }

    /// Refused announcements, and the reason of a lost connection, are only shown. No unit depends on them, so they
    /// are no topic.
    fn apply_peer(&mut self, source: &PeerKey, new: Option<PeerSyncState>) -> Vec<Topic> {
        let connection_state = |state: Option<&PeerSyncState>| {
            state.map(|state| (state.is_connected(), state.unreachable_since(), state.is_synced))
        };
        let old = self.peers.get(source);
        // Only the parts that decide whether announcements are stale. Addresses are a topic of their own, with other
        // readers.
        let changed =
            (connection_state(old) != connection_state(new.as_ref())).then(|| Topic::peer_connection(source));
        let addresses = |state: Option<&PeerSyncState>| state.map(|state| state.addresses.clone());
        let moved = addresses(old).unwrap_or_default() != addresses(new.as_ref()).unwrap_or_default();
        let moved = moved.then(|| Topic::peer_addresses(source));
        set_or_remove(&mut self.peers, source, new, || changed.into_iter().chain(moved).collect())
    }

    fn apply_endpoint_slice(&mut self, key: &ObjectKey, new: Option<EndpointSlice>) -> Vec<Topic> {
        let services = [self.endpoint_slices.get(key).map(|slice| &**slice), new.as_ref()]
            .map(|slice| slice.map(|slice| slice.service.clone()));
        let topics = || services.iter().flatten().map(Topic::slices_of_service).collect();
        let topics = set_or_remove(&mut self.endpoint_slices, key, new.map(Box::new), topics);
        move_in_index(&mut self.slices_by_service, services, key);
        topics
    }

    fn apply_workload(&mut self, id: &WorkloadId, new: Option<Workload>) -> Vec<Topic> {
        let [old, now] = [self.workloads.get(id).map(|workload| &**workload), new.as_ref()]
            .map(|workload| workload.map(workload_topics).unwrap_or_default());
        let [was_at, is_at] = [self.workloads.get(id).map(|workload| &**workload), new.as_ref()]
            .map(|workload| workload.map(|workload| workload.addresses.clone()).unwrap_or_default());
        // Readers of the old labels and of the new ones: a workload may leave one selector and join another.
        let mut touched = set_or_remove(&mut self.workloads, id, new.map(Box::new), || {
            old.iter().chain(&now).copied().chain([Topic::pod(&id.1)]).collect()
        });
        for topic in &old {
            remove_from_index(&mut self.workloads_by_label, topic, id);
        }
        for topic in now {
            add_to_index(&mut self.workloads_by_label, topic, id);
        }
        touched.extend(self.addresses.update_addresses(&AddressOwner::Pod(id.1.clone()), &was_at, &is_at));
        touched
    }

    fn apply_service(&mut self, key: &ObjectKey, new: Option<Service>) -> Vec<Topic> {
        let ips = |service: Option<&Service>| service.map(|service| service.ips.clone()).unwrap_or_default();
        // The index of addresses needs the old addresses, which the next line discards.
        let (old, now) = (ips(self.services.get(key).map(|service| &**service)), ips(new.as_ref()));
        let mut touched = set_or_remove(&mut self.services, key, new.map(Box::new), || {
            vec![Topic::service(key), Topic::services_in(&key.namespace)]
        });
        touched.extend(self.addresses.update_addresses(&AddressOwner::Service(key.clone()), &old, &now));
        touched
    }

    fn apply_node(&mut self, name: &Arc<str>, new: Option<ClusterNode>) -> Vec<Topic> {
        let facts = |node: Option<&ClusterNode>| {
            node.map(|node| (node.addresses.clone(), node.pod_ranges.clone())).unwrap_or_default()
        };
        let (old, now) = (facts(self.nodes.get(name)), facts(new.as_ref()));
        let mut touched = set_or_remove(&mut self.nodes, name, new, || vec![Topic::nodes()]);
        let (node, pods) = (AddressOwner::Node(Arc::clone(name)), AddressOwner::PodRange(Arc::clone(name)));
        touched.extend(self.addresses.update_addresses(&node, &old.0, &now.0));
        touched.extend(self.addresses.update_ranges(&pods, &old.1, &now.1));
        touched
    }

    fn apply_workload_entry(&mut self, key: &ObjectKey, new: Option<WorkloadEntry>) -> Vec<Topic> {
        let both = [self.workload_entries.get(key).map(|entry| &**entry), new.as_ref()];
        let [old, now] = both.map(|entry| entry.map(workload_entry_topics).unwrap_or_default());
        let [was_at, is_at] = both.map(|entry| Vec::from_iter(entry.and_then(WorkloadEntry::ip_address)));
        let mut touched =
            set_or_remove(&mut self.workload_entries, key, new.map(Box::new), || [&*old, &*now].concat());
        for topic in &old {
            remove_from_index(&mut self.workload_entries_by_label, topic, key);
        }
        for topic in now {
            add_to_index(&mut self.workload_entries_by_label, topic, key);
        }
        touched.extend(self.addresses.update_addresses(
            &AddressOwner::WorkloadEntry(key.clone()),
            &was_at,
            &is_at,
        ));
        touched
    }

    fn apply_destination_rule(&mut self, key: &ObjectKey, new: Option<UserDestinationRule>) -> Vec<Topic> {
        let both = [self.destination_rules.get(key), new.as_ref()];
        // A rule is indexed either by its exact host or, for a wildcard, by its namespace.
        let is_wide = |rule: &&UserDestinationRule| rule.host.starts_with('*');
        let hosts = both.map(|rule| rule.filter(|rule| !is_wide(rule)).map(|rule| rule.host.clone()));
        let wildcards = both.map(|rule| rule.filter(is_wide).map(|_| Arc::clone(&key.namespace)));
        let topics = || {
            let wide = wildcards.iter().flatten().map(|namespace| Topic::wildcard_rules_in(namespace));
            hosts.iter().flatten().map(|host| Topic::rules_for_host(host)).chain(wide).collect()
        };
        let topics = set_or_remove(&mut self.destination_rules, key, new, topics);
        move_in_index(&mut self.rules_by_host, hosts, key);
        move_in_index(&mut self.wildcard_rules_by_namespace, wildcards, key);
        topics
    }

    /// Returns the state of a peer, if anything is known about it.
    pub fn peer_state(&self, source: &PeerKey) -> Option<&PeerSyncState> {
        self.peers.get(source)
    }

    /// Returns all accepted announcements of a peer, in order of the service.
    pub fn announced_by(&self, source: &PeerKey) -> impl Iterator<Item = (&ObjectKey, &Arc<Announcement>)> {
        self.announcements.announced_by(source)
    }

    /// Returns all expositions, valid or not, in order of their keys.
    pub fn expositions(&self) -> impl Iterator<Item = (&ObjectKey, &ParsedResource<Exposition>)> {
        self.expositions.iter()
    }

    /// Returns all bindings, valid or not, in order of their keys.
    pub fn bindings(&self) -> impl Iterator<Item = (&ObjectKey, &ParsedResource<Binding>)> {
        self.bindings.iter()
    }

    /// Returns all MeshFedConfigs, valid or not, in order of their keys.
    pub fn fed_configs(&self) -> impl Iterator<Item = (&ObjectKey, &ParsedResource<FedConfig>)> {
        self.fed_configs.iter()
    }

    /// Returns the Service with this key.
    pub fn find_service(&self, key: &ObjectKey) -> Option<&Service> {
        self.services.get(key).map(|service| &**service)
    }

    /// Returns the `WorkloadEntries` that a selector selects. `topic` is that of one of its labels, which narrows the
    /// search.
    pub(crate) fn select_workload_entries(
        &self,
        topic: Topic,
        selector: &Labels,
    ) -> impl Iterator<Item = &WorkloadEntry> {
        let keys = self.workload_entries_by_label.get(&topic).into_iter().flat_map(SmallSet::iter);
        keys.filter_map(|key| self.workload_entries.get(key).map(|entry| &**entry))
            .filter(|entry| entry.labels.has_all(selector))
    }

    /// Returns the workloads that a selector selects. `topic` is that of one of its labels, which narrows the search.
    pub(crate) fn select_workloads(
        &self,
        topic: Topic,
        selector: &Labels,
    ) -> impl Iterator<Item = &Workload> {
        let ids = self.workloads_by_label.get(&topic).into_iter().flat_map(SmallSet::iter);
        ids.filter_map(|id| self.workloads.get(id).map(|workload| &**workload))
            .filter(|workload| workload.is_selected_by(selector))
    }
}

/// Returns the facade that a valid binding wants.
fn wanted_facade(parsed: &ParsedResource<Binding>) -> Option<ObjectKey> {
    parsed.as_ref().ok()?.facade_key()
}

/// Returns the topics by which a workload is found: one for each of its labels, in its namespace and in any
/// namespace.
fn workload_topics(workload: &Workload) -> Vec<Topic> {
    let of = |(label, value): (&str, &str)| {
        [Topic::workloads_in(&workload.key.namespace, label, value), Topic::workloads_anywhere(label, value)]
    };
    workload.labels.iter().flat_map(of).collect()
}

/// Returns the topics by which a `WorkloadEntry` is found: one for each of its labels, in its namespace.
fn workload_entry_topics(entry: &WorkloadEntry) -> Vec<Topic> {
    let of = |(label, value)| Topic::workload_entries_in(&entry.key.namespace, label, value);
    entry.labels.iter().map(of).collect()
}

/// Sets or removes an object. Returns the topics that this changes: none if it was the same before.
fn set_or_remove<K: Clone + Ord, V: PartialEq>(
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
fn move_in_index<K: Eq + Hash, V: Ord + Clone>(
    index: &mut HashMap<K, SmallSet<V>>,
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
    index: &mut StdHashMap<K, SmallSet<V>, S>,
    key: K,
    member: &V,
) {
    index
        .entry(key)
        .and_modify(|members| members.insert(member.clone()))
        .or_insert_with(|| SmallSet::One(member.clone()));
}

pub(super) fn remove_from_index<K: Eq + Hash, V: Ord + Clone, S: BuildHasher>(
    index: &mut StdHashMap<K, SmallSet<V>, S>,
    key: &K,
    member: &V,
) {
    if index.get_mut(key).is_some_and(|members| members.remove_and_check_empty(member)) {
        index.remove(key);
    }
}
