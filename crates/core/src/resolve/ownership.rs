//! Ownership of addresses and names according to all objects of this cluster, and the check of peers'
//! endpoints against it.

use std::net::IpAddr;

use super::{InputView, ResolvedGateway, ResolvedRelationship};
use crate::endpoint::{Endpoint, Host};
use crate::inputs::AddressOwner;
use crate::key::ObjectKey;
use crate::parse::{FedConfig, PeerSettings};
use crate::policy::{EndpointAuthor, EndpointPolicy, MeshOwnership, OwnNetwork, PeerLimits};

/// What belongs to this mesh: its networks, pods, nodes and Services, and the gateways of a relationship.
pub(super) struct ClusterOwnership<'v, 'a> {
    view: &'v InputView<'a>,
    fed_namespace: &'v str,
    gateways: Vec<&'v Endpoint>,
}

impl<'v, 'a> ClusterOwnership<'v, 'a> {
    pub(super) fn new(
        view: &'v InputView<'a>,
        config: &'v FedConfig,
        gateways: impl IntoIterator<Item = &'v ResolvedGateway>,
    ) -> Self {
        let gateways = gateways.into_iter().flat_map(|gateway| &gateway.addresses).collect();
        Self { view, fed_namespace: &config.identity.key.namespace, gateways }
    }

    /// Includes the gateways of a resolved relationship.
    pub(super) fn for_relationship(view: &'v InputView<'a>, relationship: &'v ResolvedRelationship) -> Self {
        let gateways = [&relationship.egress, &relationship.ingress].into_iter().flatten();
        Self::new(view, &relationship.config, gateways.filter_map(|gateway| gateway.as_ref().ok()))
    }

    /// Returns the first of the endpoints that may not belong to one of the peers, and why. With `peer`, only
    /// that peer counts.
    pub(super) fn first_refused<'e>(
        &self,
        author: EndpointAuthor,
        config: &FedConfig,
        peer: Option<&str>,
        endpoints: impl IntoIterator<Item = &'e Endpoint>,
    ) -> Option<(usize, String)> {
        let applies = |model: &&PeerSettings| peer.is_none_or(|peer| model.name == peer);
        let policy = EndpointPolicy {
            author,
            peers: config.peers.iter().filter(applies).map(PeerLimits::from).collect(),
            own: self,
            field_suffix: format!(" of MeshFedConfig {}", config.identity.key),
        };
        let judged = endpoints.into_iter().map(|endpoint| policy.refuse_endpoint(endpoint)).enumerate();
        judged.into_iter().find_map(|(index, verdict)| Some((index, verdict.err()?)))
    }
}

impl ClusterOwnership<'_, '_> {
    /// Describes the owner of an address, if that makes the address this mesh's own. Users can write any
    /// address into a `WorkloadEntry`, so it proves nothing. The names of objects are not included: users of
    /// other namespaces see the message.
    fn describe_owner(&self, owner: &AddressOwner) -> Option<&'static str> {
        match owner {
            AddressOwner::Pod(_) => Some("the address of a pod here"),
            AddressOwner::Node(_) => Some("the address of a node here"),
            AddressOwner::Service(key) => {
                (!self.leads_to_peer(key)).then_some("the address of a Service here")
            }
            // `own_networks` adds pod ranges as networks.
            AddressOwner::PodRange(_) | AddressOwner::WorkloadEntry(_) => None,
        }
    }

    /// Whether a Service is the administrator's name for the Emcee of a peer.
    fn leads_to_peer(&self, service: &ObjectKey) -> bool {
        *service.namespace == *self.fed_namespace
            && self.view.service(service).is_some_and(|service| service.discovery_server.is_some())
    }
}

impl MeshOwnership for ClusterOwnership<'_, '_> {
    fn cluster_domain(&self) -> &str {
        &self.view.settings().cluster_domain
    }

    fn own_networks(&self, address: IpAddr) -> Vec<OwnNetwork> {
        let given = self.view.settings().cluster_networks.iter().copied();
        let given = given.filter(|network| network.contains(&address));
        let mut own: Vec<_> = given.map(|network| OwnNetwork { network, what: "this mesh's own" }).collect();
        let ranges = self.view.pod_ranges_of(address);
        own.extend(ranges.map(|network| OwnNetwork { network, what: "the range of a node's pods here" }));
        let owners = self.view.address_owners(address);
        let words = owners.into_iter().filter_map(|owner| self.describe_owner(owner));
        own.extend(words.map(|what| OwnNetwork { network: address.into(), what }));
        // A gateway's own address would send the traffic in a loop.
        let is_gateway = self.gateways.iter().any(|gateway| gateway.host == Host::Ip(address));
        own.extend(
            is_gateway.then(|| OwnNetwork { network: address.into(), what: "a gateway of this mesh" }),
        );
        own
    }

    /// A resolver in a pod completes `service.namespace`, and names that end in it, by the cluster's domain.
    fn is_own_host(&self, name: &str) -> bool {
        let is_gateway =
            |endpoint: &&&Endpoint| matches!(&endpoint.host, Host::Name(host) if **host == *name);
        if self.gateways.iter().any(|endpoint| is_gateway(&endpoint)) {
            return true;
        }
        let mut labels = name.rsplit('.');
        let (Some(namespace), Some(service)) = (labels.next(), labels.next()) else { return false };
        self.view.service(&ObjectKey::new(namespace, service)).is_some()
    }
}
