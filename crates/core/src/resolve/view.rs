//! Inputs as seen by a translation. Every read is recorded, so that a change reaches all units that depend on
//! it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::Relationship;
use crate::catalogue::{MAX_ENDPOINTS, Offer, PeerState, Source};
use crate::endpoint::Endpoint;
use crate::inputs::{
    AddressOwner, Credential, EndpointSlice, Inputs, Knowledge, Node, Parsed, PeerAuthentication, Service,
    Settings, Subsets, Topic, Workload, WorkloadEntry, WorkloadKind, shadow_of,
};
use crate::key::Key;
use crate::labels::Labels;
use crate::members::Members;
use crate::parse::{Binding, Exposition, FedConfig, import_labels};
use crate::policy::canonical;

/// How many addresses of a Service are read, at least. It is twice the limit, because an address may be in
/// several slices.
const LOOKED_AT: usize = 2 * MAX_ENDPOINTS;

/// Resolved relationships, by their MeshFedConfig.
pub(crate) type Relationships = BTreeMap<Key, Arc<Relationship>>;

pub(crate) struct View<'a> {
    inputs: &'a Inputs,
    relationships: &'a Relationships,
    reads: RefCell<Vec<Topic>>,
}

impl<'a> View<'a> {
    pub(crate) fn new(inputs: &'a Inputs, relationships: &'a Relationships) -> Self {
        Self { inputs, relationships, reads: RefCell::default() }
    }

    /// Returns the topics that were read, sorted, without duplicates.
    pub(crate) fn into_reads(self) -> Vec<Topic> {
        let mut reads = self.reads.into_inner();
        reads.sort_unstable();
        reads.dedup();
        reads
    }

    fn read(&self, topic: Topic) {
        self.reads.borrow_mut().push(topic);
    }

    /// Returns the settings, except the time. They are not recorded, because a change of them runs every unit
    /// again.
    pub(crate) fn settings(&self) -> &'a Settings {
        &self.inputs.settings
    }

    pub(crate) fn now(&self) -> jiff::Timestamp {
        self.read(Topic::now());
        self.inputs.settings.now
    }

    pub(crate) fn fed_configs(&self) -> impl Iterator<Item = &'a Arc<FedConfig>> + use<'a> {
        self.read(Topic::fed_configs());
        self.inputs.fed_configs.values().filter_map(|parsed| parsed.as_ref().ok())
    }

    /// Returns namespaces and names of all MeshFedConfigs, valid or not.
    pub(crate) fn fed_config_keys(&self) -> impl Iterator<Item = &'a Key> + use<'a> {
        self.read(Topic::fed_configs());
        self.inputs.fed_configs.keys()
    }

    pub(crate) fn fed_config(&self, key: &Key) -> Option<&'a Parsed<FedConfig>> {
        self.read(Topic::fed_configs());
        self.inputs.fed_configs.get(key)
    }

    pub(crate) fn exposition(&self, key: &Key) -> Option<&'a Parsed<Exposition>> {
        self.read(Topic::exposition(key));
        self.inputs.expositions.get(key)
    }

    pub(crate) fn binding(&self, key: &Key) -> Option<&'a Parsed<Binding>> {
        self.read(Topic::binding(key));
        self.inputs.bindings.get(key)
    }

    /// Returns the relationships whose MeshFedConfig has all of these labels. An empty selector selects none.
    pub(crate) fn relationships(&self, selector: &Labels) -> Vec<&'a Arc<Relationship>> {
        // A relationship that starts or stops matching gains or loses each of these pairs, so recording one
        // pair is enough.
        let Some((label, value)) = selector.iter().next() else { return Vec::new() };
        self.read(Topic::relationships(label, value));
        let matching: Vec<_> = self.relationships.values().filter(|r| r.config.matches(selector)).collect();
        for relationship in &matching {
            self.read(Topic::relationship(&relationship.config.identity.key));
        }
        matching
    }

    pub(crate) fn service(&self, key: &Key) -> Option<&'a Service> {
        self.read(Topic::service(key));
        self.inputs.service(key)
    }

    /// Returns the Services of the namespace, in order.
    pub(crate) fn services_in(&self, namespace: &str) -> impl Iterator<Item = &'a Service> + use<'a> {
        self.read(Topic::services_in(namespace));
        in_namespace(&self.inputs.services, namespace).map(|service| &**service)
    }

    /// Returns the first EndpointSlices of a Service, in order, until they have twice as many addresses as an
    /// object can use.
    pub(crate) fn slices_of(&self, service: &Key) -> impl Iterator<Item = &'a EndpointSlice> + use<'a> {
        // Include the slice that crosses the limit. Later slices are not used.
        let mut seen = 0;
        self.all_slices_of(service).take_while(move |slice| {
            let is_first_enough = seen < LOOKED_AT;
            seen += slice.addresses.len();
            is_first_enough
        })
    }

    /// Returns the number of ready addresses of a Service.
    pub(crate) fn addresses_of(&self, service: &Key) -> usize {
        self.all_slices_of(service).map(|slice| slice.addresses.len()).sum()
    }

    /// Returns all EndpointSlices of a Service, in order.
    pub(crate) fn all_slices_of(&self, service: &Key) -> impl Iterator<Item = &'a EndpointSlice> + use<'a> {
        self.read(Topic::slices_of(service));
        let inputs = self.inputs;
        let keys = inputs.slices_of.get(service).into_iter().flat_map(Members::iter);
        keys.filter_map(|key| inputs.slices.get(key).map(|slice| &**slice))
    }

    /// Returns the workloads of a namespace that a selector selects.
    pub(crate) fn workloads_in(&self, namespace: &str, selector: &Labels) -> Vec<&'a Workload> {
        // An empty selector selects no workloads, as for a Kubernetes Service.
        let Some((label, value)) = selector.iter().next() else { return Vec::new() };
        let topic = Topic::workloads_in(namespace, label, value);
        self.read(topic);
        self.inputs.candidates(topic, selector).collect()
    }

    /// Returns the workloads of all namespaces that a selector selects.
    pub(crate) fn workloads(&self, selector: &Labels) -> Vec<&'a Workload> {
        let Some((label, value)) = selector.iter().next() else { return Vec::new() };
        let topic = Topic::workloads(label, value);
        self.read(topic);
        self.inputs.candidates(topic, selector).collect()
    }

    pub(crate) fn credentials_in(
        &self,
        namespace: &str,
    ) -> impl Iterator<Item = &'a Arc<Credential>> + use<'a> {
        self.read(Topic::credentials_in(namespace));
        in_namespace(&self.inputs.credentials, namespace)
    }

    /// Returns the Secret whose CA Istio uses instead of that of the credential `name`, if there is one.
    pub(crate) fn shadow_of(&self, namespace: &str, name: &str) -> Option<&'a Key> {
        self.read(Topic::credentials_in(namespace));
        self.inputs.ca_secrets.get(&Key::new(namespace, &shadow_of(name)))
    }

    pub(crate) fn peer_authentications_in(
        &self,
        namespace: &str,
    ) -> impl Iterator<Item = &'a PeerAuthentication> + use<'a> {
        self.read(Topic::peer_authentications_in(namespace));
        in_namespace(&self.inputs.peer_authentications, namespace)
    }

    /// Whether a namespace exists. If only files are known, all namespaces are assumed to exist.
    pub(crate) fn has_namespace(&self, name: &str) -> bool {
        self.read(Topic::namespace(name));
        self.inputs.settings.knowledge == Knowledge::Partial || self.inputs.namespaces.contains(name)
    }

    /// Returns the peers of a relationship that announce a service, with their announcements.
    pub(crate) fn announcers(
        &self,
        fed_config: &Key,
        service: &Key,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<Offer>)> + use<'a> {
        self.read(Topic::announcement(fed_config, service));
        self.inputs.announcements.announcers(fed_config, service)
    }

    /// Returns all announcements of a peer, in order.
    pub(crate) fn announced(
        &self,
        peer: &Source,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Offer>)> + use<'a> {
        self.read(Topic::announcements(&peer.fed_config));
        self.inputs.announcements.of(peer)
    }

    /// Returns the addresses that a peer announces for its own Emcee.
    pub(crate) fn peer_addresses(&self, peer: &Source) -> &'a [Endpoint] {
        self.read(Topic::peer_addresses(peer));
        self.inputs.peers.get(peer).map_or(&[], |state| &state.addresses)
    }

    /// Returns the state of discovery with a peer, or `None` if nothing is known of it.
    pub(crate) fn peer(&self, peer: &Source) -> Option<&'a PeerState> {
        self.read(Topic::peer(peer));
        self.inputs.peers.get(peer)
    }

    /// Whether services that a peer does not announce count as withdrawn.
    pub(crate) fn has_answered(&self, peer: &Source) -> bool {
        self.peer(peer).is_some_and(|state| state.has_answered)
    }

    /// Returns the bindings that were created for announcements in a relationship, in order.
    pub(crate) fn imports_of(&self, fed_config: &Key) -> impl Iterator<Item = &'a Arc<Binding>> + use<'a> {
        let owner = import_labels(fed_config);
        self.read(Topic::imports_of(&owner));
        let inputs = self.inputs;
        let keys = inputs.imports_of.get(&owner).into_iter().flat_map(Members::iter);
        keys.filter_map(|key| inputs.bindings.get(key)?.as_ref().ok())
    }

    /// Returns a resolved relationship by its MeshFedConfig.
    pub(crate) fn relationship(&self, fed_config: &Key) -> Option<&'a Arc<Relationship>> {
        self.read(Topic::relationship(fed_config));
        self.relationships.get(fed_config)
    }

    /// Returns the valid bindings that claim a facade, in order.
    pub(crate) fn bindings_of_facade(
        &self,
        facade: &Key,
    ) -> impl Iterator<Item = &'a Arc<Binding>> + use<'a> {
        self.read(Topic::facade(facade));
        let inputs = self.inputs;
        let keys = inputs.bindings_of_facade.get(facade).into_iter().flat_map(Members::iter);
        keys.filter_map(|key| inputs.bindings.get(key)?.as_ref().ok())
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &'a Node> + use<'a> {
        self.read(Topic::nodes());
        self.inputs.nodes.values()
    }

    /// Returns a Pod by namespace and name.
    pub(crate) fn pod(&self, key: &Key) -> Option<&'a Workload> {
        self.read(Topic::pod(key));
        self.inputs.workloads.get(&(WorkloadKind::Pod, key.clone())).map(|pod| &**pod)
    }

    /// Returns the `WorkloadEntries` of a namespace that a selector selects.
    pub(crate) fn workload_entries_in(&self, namespace: &str, selector: &Labels) -> Vec<&'a WorkloadEntry> {
        let Some((label, value)) = selector.iter().next() else { return Vec::new() };
        let topic = Topic::workload_entries_in(namespace, label, value);
        self.read(topic);
        self.inputs.entries_selected(topic, selector).collect()
    }

    /// Returns the known owners of an IP address. Pods in the host network share the addresses of their node.
    pub(crate) fn address_owners(&self, address: IpAddr) -> Vec<&'a AddressOwner> {
        let address = canonical(address);
        let addresses = &self.inputs.addresses;
        self.read(Topic::address(address));
        // A range of a new length could contain the address, so the set of lengths is recorded too.
        self.read(Topic::pod_range_lengths());
        for range in addresses.ranges_of(address) {
            self.read(Topic::pod_range(range));
        }
        addresses.owners_of(address).collect()
    }

    /// Returns the ranges of pods (`podCIDRs`) that contain an address. [`InputView::address_owners`] returns
    /// the owners.
    pub(crate) fn pod_ranges_of(&self, address: IpAddr) -> impl Iterator<Item = IpNet> {
        let address = canonical(address);
        self.read(Topic::pod_range_lengths());
        for range in self.inputs.addresses.ranges_of(address) {
            self.read(Topic::pod_range(range));
        }
        self.inputs.addresses.pod_ranges_of(address)
    }

    /// Returns users' rules of a namespace for a host, in Istio's order: rules for the exact host first, then
    /// wildcards, the most specific first.
    pub(crate) fn rules_for(&self, host: &str, namespace: &str) -> Vec<&'a Subsets> {
        self.read(Topic::subsets_of(host));
        self.read(Topic::wildcard_rules_in(namespace));
        let inputs = self.inputs;
        let rule = |key| inputs.subsets.get(key);
        let exact = inputs.subsets_of.get(host).into_iter().flat_map(Members::iter);
        let exact = exact.filter(|key| *key.namespace == *namespace).filter_map(rule);
        let wide = inputs.wildcards_in.get(namespace).into_iter().flat_map(Members::iter).filter_map(rule);
        // Remove the `*` of the rule's host, and compare the rest, which begins with a dot unless the host is
        // `*` alone.
        let mut wide: Vec<_> = wide.filter(|rule| host.ends_with(&rule.host[1..])).collect();
        wide.sort_by_key(|rule| std::cmp::Reverse(rule.host.len()));
        exact.chain(wide).collect()
    }
}

/// Returns the values of one namespace. Keys are ordered by namespace first, so a namespace is a range.
fn in_namespace<'a, V>(
    map: &'a BTreeMap<Key, V>,
    namespace: &str,
) -> impl Iterator<Item = &'a V> + use<'a, V> {
    let first = Key::new(namespace, "");
    let namespace = first.namespace.clone();
    map.range(first..).take_while(move |(key, _)| key.namespace == namespace).map(|(_, value)| value)
}
