//! Inputs as seen by a translation. Every read is recorded, so that a change reaches all units that depend on
//! it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::ResolvedRelationship;
use crate::catalogue::{Announcement, MAX_ENDPOINTS, PeerKey, PeerSyncState};
use crate::endpoint::Endpoint;
use crate::inputs::{
    AddressOwner, ClusterNode, Credential, EndpointSlice, InputCoverage, Inputs, ParsedResource,
    PeerAuthentication, Service, Topic, TranslationSettings, UserDestinationRule, Workload, WorkloadEntry,
    WorkloadKind, ca_secret_name,
};
use crate::key::ObjectKey;
use crate::labels::Labels;
use crate::parse::{Binding, Exposition, FedConfig, import_owner_labels};
use crate::policy::canonical_address;
use crate::small_set::SmallSet;

/// How many addresses of a Service are read, at least. It is twice the limit, because an address may be in
/// several slices.
const MAX_SLICE_ADDRESSES: usize = 2 * MAX_ENDPOINTS;

/// Resolved relationships, by their MeshFedConfig.
pub(crate) type ResolvedRelationships = BTreeMap<ObjectKey, Arc<ResolvedRelationship>>;

pub(crate) struct InputView<'a> {
    inputs: &'a Inputs,
    relationships: &'a ResolvedRelationships,
    reads: RefCell<Vec<Topic>>,
}

impl<'a> InputView<'a> {
    pub(crate) fn new(inputs: &'a Inputs, relationships: &'a ResolvedRelationships) -> Self {
        Self { inputs, relationships, reads: RefCell::default() }
    }

    /// Returns the topics that were read, sorted, without duplicates.
    pub(crate) fn into_reads(self) -> Vec<Topic> {
        let mut reads = self.reads.into_inner();
        reads.sort_unstable();
        reads.dedup();
        reads
    }

    fn record_read(&self, topic: Topic) {
        self.reads.borrow_mut().push(topic);
    }

    /// Returns the settings, except the time. They are not recorded, because a change of them runs every unit
    /// again.
    pub(crate) fn settings(&self) -> &'a TranslationSettings {
        &self.inputs.settings
    }

    pub(crate) fn now(&self) -> jiff::Timestamp {
        self.record_read(Topic::current_time());
        self.inputs.settings.now
    }

    pub(crate) fn fed_configs(&self) -> impl Iterator<Item = &'a Arc<FedConfig>> + use<'a> {
        self.record_read(Topic::fed_configs());
        self.inputs.fed_configs.values().filter_map(|parsed| parsed.as_ref().ok())
    }

    /// Returns namespaces and names of all MeshFedConfigs, valid or not.
    pub(crate) fn fed_config_keys(&self) -> impl Iterator<Item = &'a ObjectKey> + use<'a> {
        self.record_read(Topic::fed_configs());
        self.inputs.fed_configs.keys()
    }

    pub(crate) fn fed_config(&self, key: &ObjectKey) -> Option<&'a ParsedResource<FedConfig>> {
        self.record_read(Topic::fed_configs());
        self.inputs.fed_configs.get(key)
    }

    pub(crate) fn exposition(&self, key: &ObjectKey) -> Option<&'a ParsedResource<Exposition>> {
        self.record_read(Topic::exposition(key));
        self.inputs.expositions.get(key)
    }

    pub(crate) fn binding(&self, key: &ObjectKey) -> Option<&'a ParsedResource<Binding>> {
        self.record_read(Topic::binding(key));
        self.inputs.bindings.get(key)
    }

    /// Returns the relationships whose MeshFedConfig has all of these labels. An empty selector selects none.
    pub(crate) fn select_relationships(&self, selector: &Labels) -> Vec<&'a Arc<ResolvedRelationship>> {
        // A relationship that starts or stops matching gains or loses each of these pairs, so recording one
        // pair is enough.
        let Some((label, value)) = selector.iter().next() else { return Vec::new() };
        self.record_read(Topic::relationships_labelled(label, value));
        let matching: Vec<_> =
            self.relationships.values().filter(|r| r.config.has_labels(selector)).collect();
        for relationship in &matching {
            self.record_read(Topic::relationship(&relationship.config.identity.key));
        }
        matching
    }

    pub(crate) fn service(&self, key: &ObjectKey) -> Option<&'a Service> {
        self.record_read(Topic::service(key));
        self.inputs.find_service(key)
    }

    /// Returns the Services of the namespace, in order.
    pub(crate) fn services_in(&self, namespace: &str) -> impl Iterator<Item = &'a Service> + use<'a> {
        self.record_read(Topic::services_in(namespace));
        in_namespace(&self.inputs.services, namespace).map(|service| &**service)
    }

    /// Returns the first EndpointSlices of a Service, in order, until they have twice as many addresses as an
    /// object can use.
    pub(crate) fn slices_of(&self, service: &ObjectKey) -> impl Iterator<Item = &'a EndpointSlice> + use<'a> {
        // Include the slice that crosses the limit. Later slices are not used.
        let mut seen = 0;
        self.all_slices_of(service).take_while(move |slice| {
            let is_first_enough = seen < MAX_SLICE_ADDRESSES;
            seen += slice.addresses.len();
            is_first_enough
        })
    }

    /// Returns the number of ready addresses of a Service.
    pub(crate) fn ready_address_count(&self, service: &ObjectKey) -> usize {
        self.all_slices_of(service).map(|slice| slice.addresses.len()).sum()
    }

    /// Returns all EndpointSlices of a Service, in order.
    pub(crate) fn all_slices_of(
        &self,
        service: &ObjectKey,
    ) -> impl Iterator<Item = &'a EndpointSlice> + use<'a> {
        self.record_read(Topic::slices_of_service(service));
        let inputs = self.inputs;
        let keys = inputs.slices_by_service.get(service).into_iter().flat_map(SmallSet::iter);
        keys.filter_map(|key| inputs.endpoint_slices.get(key).map(|slice| &**slice))
    }

    /// Returns the workloads of a namespace that a selector selects.
    pub(crate) fn workloads_in(&self, namespace: &str, selector: &Labels) -> Vec<&'a Workload> {
        // An empty selector selects no workloads, as for a Kubernetes Service.
        let Some((label, value)) = selector.iter().next() else { return Vec::new() };
        let topic = Topic::workloads_in(namespace, label, value);
        self.record_read(topic);
        self.inputs.select_workloads(topic, selector).collect()
    }

    /// Returns the workloads of all namespaces that a selector selects.
    pub(crate) fn select_workloads(&self, selector: &Labels) -> Vec<&'a Workload> {
        let Some((label, value)) = selector.iter().next() else { return Vec::new() };
        let topic = Topic::workloads_anywhere(label, value);
        self.record_read(topic);
        self.inputs.select_workloads(topic, selector).collect()
    }

    pub(crate) fn credentials_in(
        &self,
        namespace: &str,
    ) -> impl Iterator<Item = &'a Arc<Credential>> + use<'a> {
        self.record_read(Topic::credentials_in(namespace));
        in_namespace(&self.inputs.credentials, namespace)
    }

    /// Returns the Secret whose CA Istio uses instead of that of the credential `name`, if there is one.
    pub(crate) fn shadowing_secret(&self, namespace: &str, name: &str) -> Option<&'a ObjectKey> {
        self.record_read(Topic::credentials_in(namespace));
        self.inputs.ca_secrets.get(&ObjectKey::new(namespace, &ca_secret_name(name)))
    }

    pub(crate) fn peer_authentications_in(
        &self,
        namespace: &str,
    ) -> impl Iterator<Item = &'a PeerAuthentication> + use<'a> {
        self.record_read(Topic::peer_authentications_in(namespace));
        in_namespace(&self.inputs.peer_authentications, namespace)
    }

    /// Whether a namespace exists. If only files are known, all namespaces are assumed to exist.
    pub(crate) fn has_namespace(&self, name: &str) -> bool {
        self.record_read(Topic::namespace(name));
        self.inputs.settings.coverage == InputCoverage::Partial || self.inputs.namespaces.contains(name)
    }

    /// Returns the peers of a relationship that announce a service, with their announcements.
    pub(crate) fn announcers(
        &self,
        fed_config: &ObjectKey,
        service: &ObjectKey,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<Announcement>)> + use<'a> {
        self.record_read(Topic::announcers_of(fed_config, service));
        self.inputs.announcements.announcers_of(fed_config, service)
    }

    /// Returns all announcements of a peer, in order.
    pub(crate) fn announcements_of(
        &self,
        peer: &PeerKey,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a Arc<Announcement>)> + use<'a> {
        self.record_read(Topic::announcements_in(&peer.fed_config));
        self.inputs.announcements.announced_by(peer)
    }

    /// Returns the addresses that a peer announces for its own Emcee.
    pub(crate) fn peer_addresses(&self, peer: &PeerKey) -> &'a [Endpoint] {
        self.record_read(Topic::peer_addresses(peer));
        self.inputs.peers.get(peer).map_or(&[], |state| &state.addresses)
    }

    /// Returns the state of discovery with a peer, or `None` if nothing is known of it.
    pub(crate) fn peer_state(&self, peer: &PeerKey) -> Option<&'a PeerSyncState> {
        self.record_read(Topic::peer_connection(peer));
        self.inputs.peers.get(peer)
    }

    /// Whether services that a peer does not announce count as withdrawn.
    pub(crate) fn is_synced(&self, peer: &PeerKey) -> bool {
        self.peer_state(peer).is_some_and(|state| state.is_synced)
    }

    /// Returns the bindings that were created for announcements in a relationship, in order.
    pub(crate) fn imports_of(
        &self,
        fed_config: &ObjectKey,
    ) -> impl Iterator<Item = &'a Arc<Binding>> + use<'a> {
        let owner = import_owner_labels(fed_config);
        self.record_read(Topic::imports_of(&owner));
        let inputs = self.inputs;
        let keys = inputs.imports_by_owner.get(&owner).into_iter().flat_map(SmallSet::iter);
        keys.filter_map(|key| inputs.bindings.get(key)?.as_ref().ok())
    }

    /// Returns a resolved relationship by its MeshFedConfig.
    pub(crate) fn relationship(&self, fed_config: &ObjectKey) -> Option<&'a Arc<ResolvedRelationship>> {
        self.record_read(Topic::relationship(fed_config));
        self.relationships.get(fed_config)
    }

    /// Returns the valid bindings that claim a facade, in order.
    pub(crate) fn bindings_of_facade(
        &self,
        facade: &ObjectKey,
    ) -> impl Iterator<Item = &'a Arc<Binding>> + use<'a> {
        self.record_read(Topic::bindings_of_facade(facade));
        let inputs = self.inputs;
        let keys = inputs.bindings_by_facade.get(facade).into_iter().flat_map(SmallSet::iter);
        keys.filter_map(|key| inputs.bindings.get(key)?.as_ref().ok())
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &'a ClusterNode> + use<'a> {
        self.record_read(Topic::nodes());
        self.inputs.nodes.values()
    }

    /// Returns a Pod by namespace and name.
    pub(crate) fn pod(&self, key: &ObjectKey) -> Option<&'a Workload> {
        self.record_read(Topic::pod(key));
        self.inputs.workloads.get(&(WorkloadKind::Pod, key.clone())).map(|pod| &**pod)
    }

    /// Returns the `WorkloadEntries` of a namespace that a selector selects.
    pub(crate) fn workload_entries_in(&self, namespace: &str, selector: &Labels) -> Vec<&'a WorkloadEntry> {
        let Some((label, value)) = selector.iter().next() else { return Vec::new() };
        let topic = Topic::workload_entries_in(namespace, label, value);
        self.record_read(topic);
        self.inputs.select_workload_entries(topic, selector).collect()
    }

    /// Returns the known owners of an IP address. Pods in the host network share the addresses of their node.
    pub(crate) fn address_owners(&self, address: IpAddr) -> Vec<&'a AddressOwner> {
        let address = canonical_address(address);
        let addresses = &self.inputs.addresses;
        self.record_read(Topic::address_owner(address));
        // A range of a new length could contain the address, so the set of lengths is recorded too.
        self.record_read(Topic::pod_range_lengths());
        for range in addresses.ranges_of(address) {
            self.record_read(Topic::pod_range(range));
        }
        addresses.owners_of(address).collect()
    }

    /// Returns the ranges of pods (`podCIDRs`) that contain an address. [`InputView::address_owners`] returns
    /// the owners.
    pub(crate) fn pod_ranges_of(&self, address: IpAddr) -> impl Iterator<Item = IpNet> {
        let address = canonical_address(address);
        self.record_read(Topic::pod_range_lengths());
        for range in self.inputs.addresses.ranges_of(address) {
            self.record_read(Topic::pod_range(range));
        }
        self.inputs.addresses.pod_ranges_of(address)
    }

    /// Returns users' rules of a namespace for a host, in Istio's order: rules for the exact host first, then
    /// wildcards, the most specific first.
    pub(crate) fn destination_rules_for(&self, host: &str, namespace: &str) -> Vec<&'a UserDestinationRule> {
        self.record_read(Topic::rules_for_host(host));
        self.record_read(Topic::wildcard_rules_in(namespace));
        let inputs = self.inputs;
        let rule = |key| inputs.destination_rules.get(key);
        let exact = inputs.rules_by_host.get(host).into_iter().flat_map(SmallSet::iter);
        let exact = exact.filter(|key| *key.namespace == *namespace).filter_map(rule);
        let wide = inputs
            .wildcard_rules_by_namespace
            .get(namespace)
            .into_iter()
            .flat_map(SmallSet::iter)
            .filter_map(rule);
        // Remove the `*` of the rule's host, and compare the rest, which begins with a dot unless the host is
        // `*` alone.
        let mut wide: Vec<_> = wide.filter(|rule| host.ends_with(&rule.host[1..])).collect();
        wide.sort_by_key(|rule| std::cmp::Reverse(rule.host.len()));
        exact.chain(wide).collect()
    }
}

/// Returns the values of one namespace. Keys are ordered by namespace first, so a namespace is a range.
fn in_namespace<'a, V>(
    map: &'a BTreeMap<ObjectKey, V>,
    namespace: &str,
) -> impl Iterator<Item = &'a V> + use<'a, V> {
    let first = ObjectKey::new(namespace, "");
    let namespace = first.namespace.clone();
    map.range(first..).take_while(move |(key, _)| key.namespace == namespace).map(|(_, value)| value)
}
