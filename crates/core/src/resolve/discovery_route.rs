//! Routes of discovery: from peers to this mesh's Emcee, and from it to its peers.

use std::collections::BTreeSet;
use std::sync::Arc;

use emcee_api::Reason;

use super::InputView;
use super::gateway::{self, ResolvedGateway};
use super::ownership::ClusterOwnership;
use super::upstream::{self, Upstream};
use crate::catalogue::{PeerKey, PeerPolicy};
use crate::endpoint::Endpoint;
use crate::inputs::{Service, ServicePort, TargetPort, Workload};
use crate::names;
use crate::parse::FedConfig;
use crate::policy::EndpointAuthor;
use crate::problem::ResourceProblem;

/// Largest number of addresses of a peer's Emcee to which an egress gateway forwards. The peer's own
/// announcement adds to them, so they must be bounded.
const MAX_EGRESS_TARGETS: usize = 16;

/// Discovery port of Emcee's own Service, as the destination of an ingress gateway.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DiscoveryService {
    pub(crate) namespace: Arc<str>,
    pub(crate) port: u16,
    pub(crate) upstream: Upstream,
}

/// Gateways of a relationship that can be used.
#[derive(Clone, Copy)]
pub(super) struct UsableGateways<'a> {
    pub(super) egress: Option<&'a ResolvedGateway>,
    pub(super) ingress: Option<&'a ResolvedGateway>,
}

/// Sets in the policy where peers reach this mesh's Emcee, and through which gateway it reaches them. Returns
/// the destination of an ingress gateway's route, or `None` if there is no discovery Service.
pub(super) fn resolve(
    view: &InputView<'_>,
    config: &FedConfig,
    policy: &mut PeerPolicy,
    gateways: UsableGateways<'_>,
    own: &ClusterOwnership<'_, '_>,
    warnings: &mut Vec<ResourceProblem>,
) -> Option<DiscoveryService> {
    if let Some(egress) = gateways.egress {
        resolve_outbound(view, config, policy, (egress, gateways.ingress), own, warnings);
    }
    // Outbound does not need this mesh's own Service: a mesh without one can still receive announcements.
    let service = view.service(&view.settings().discovery_service)?;
    let port = service.ports.first()?;
    policy.own_addresses = match gateways.ingress {
        Some(ingress) => ingress.addresses.clone(),
        None => direct_addresses(view, service, port),
    };
    Some(DiscoveryService {
        namespace: Arc::clone(&service.key.namespace),
        port: port.number,
        upstream: discovery_upstream(view, service, port),
    })
}

/// Returns the Service's external addresses, or those of its pods if there are none.
fn direct_addresses(view: &InputView<'_>, service: &Service, port: &ServicePort) -> Vec<Endpoint> {
    let external = gateway::external_addresses(view, service, port.number);
    if external.is_empty() {
        upstream::ready_endpoints(view, service, port, |_| true).collect()
    } else {
        external
    }
}

fn discovery_upstream(view: &InputView<'_>, service: &Service, port: &ServicePort) -> Upstream {
    match port.target {
        TargetPort::Number(target_port) if !service.selector.is_empty() => {
            Upstream::Workloads { labels: service.selector.clone(), target_port }
        }
        // A named port may have different numbers in the pods, so it is resolved to addresses.
        _ => Upstream::Endpoints(upstream::ready_endpoints(view, service, port, |_| true).collect()),
    }
}

fn resolve_outbound(
    view: &InputView<'_>,
    config: &FedConfig,
    policy: &mut PeerPolicy,
    (egress, ingress): (&ResolvedGateway, Option<&ResolvedGateway>),
    own: &ClusterOwnership<'_, '_>,
    warnings: &mut Vec<ResourceProblem>,
) {
    let mut called = policy.peers.iter().filter(|peer| !peer.discovery.is_empty());
    // Discovery uses TLS with the relationship's certificate, so without one there is nothing to forward.
    let first = called.next().filter(|_| !config.discovery.direct && config.tls_context.is_some());
    let Some(peer) = first else { return };
    if let Some(why) = bypass_reason(view, called.next().is_some(), egress, ingress) {
        let name = names::discovery_server_name(&config.relationship);
        let message = format!(
            "Emcee connects to its peers directly, bypassing the egress gateway: there {name} {why}, or set spec.discovery.direct: true to silence this)"
        );
        warnings.push(ResourceProblem::at_field(Reason::DiscoveryDirect, "spec.peers", message));
        return;
    }
    // The peer chose the further addresses itself, so they are checked like the endpoints that it announces.
    let peer_key = PeerKey::new(config.identity.key.clone(), &peer.name);
    let may_be_there = |address: &&Endpoint| {
        own.first_refused(EndpointAuthor::Peer, config, Some(&peer.name), [*address]).is_none()
    };
    let further = view.peer_addresses(&peer_key).iter().filter(|address| !peer.discovery.contains(address));
    let further = further.filter(may_be_there);
    policy.egress_targets = peer.discovery.iter().chain(further).take(MAX_EGRESS_TARGETS).cloned().collect();
    policy.egress_pods = Some(egress_pods(view, egress));
}

/// Returns why discovery bypasses the egress gateway. On one gateway, the server name of discovery can have
/// only one destination.
fn bypass_reason(
    view: &InputView<'_>,
    several: bool,
    egress: &ResolvedGateway,
    ingress: Option<&ResolvedGateway>,
) -> Option<&'static str> {
    if several {
        return Some("leads to one peer, and there are several (have a MeshFedConfig for each peer");
    }
    let one = ingress.is_some_and(|ingress| egress.is_same_port(view, ingress));
    one.then_some(
        "leads to this mesh, as the ingress gateway is the same (give the two different pods or ports",
    )
}

/// Returns the gateway's ready pods. The Service is not used, because Emcee must reach the gateway even where
/// it cannot use the cluster's DNS.
fn egress_pods(view: &InputView<'_>, egress: &ResolvedGateway) -> Vec<Endpoint> {
    let pods = view.workloads_in(&egress.namespace, &egress.labels);
    let in_front =
        |service: &&Service| pods.iter().any(|pod: &&Workload| pod.is_selected_by(&service.selector));
    let services = view.services_in(&egress.namespace).filter(in_front);
    let open = services.filter_map(|service| Some((service, service.find_port(egress.port)?)));
    let found: BTreeSet<_> =
        open.flat_map(|(service, port)| upstream::ready_endpoints(view, service, port, |_| true)).collect();
    found.into_iter().collect()
}
