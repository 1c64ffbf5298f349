//! The ways of discovery: to this mesh's Emcee, and from it to its peers.

use std::collections::BTreeSet;
use std::sync::Arc;

use emcee_api::Reason;

use super::View;
use super::gateway::{self, Gateway};
use super::own::OwnObjects;
use super::upstream::{self, Upstream};
use crate::catalogue::{Source, Terms};
use crate::endpoint::Endpoint;
use crate::inputs::{Service, ServicePort, TargetPort, Workload};
use crate::names;
use crate::parse::FedConfig;
use crate::policy::Author;
use crate::problem::Problem;

/// To how many addresses of a peer's Emcee an egress gateway leads: its own word is among them.
const MOST_ADDRESSES: usize = 16;

/// Emcee's own port of discovery, as an ingress gateway leads to it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DiscoveryService {
    pub(crate) namespace: Arc<str>,
    pub(crate) port: u16,
    pub(crate) upstream: Upstream,
}

/// The gateways of a relationship, as far as they can be used.
#[derive(Clone, Copy)]
pub(super) struct Gateways<'a> {
    pub(super) egress: Option<&'a Gateway>,
    pub(super) ingress: Option<&'a Gateway>,
}

/// Says in the terms where peers reach this mesh's Emcee, and through which gateway it reaches them. Gives what an ingress
/// gateway leads to.
pub(super) fn resolve(
    view: &View<'_>,
    config: &FedConfig,
    terms: &mut Terms,
    gateways: Gateways<'_>,
    own: &OwnObjects<'_, '_>,
    warnings: &mut Vec<Problem>,
) -> Option<DiscoveryService> {
    if let Some(egress) = gateways.egress {
        outbound(view, config, terms, (egress, gateways.ingress), own, warnings);
    }
    let service = view.service(&view.settings().discovery)?;
    let port = service.ports.first()?;
    terms.reached_at = match gateways.ingress {
        Some(ingress) => ingress.addresses.clone(),
        None => straight_to(view, service, port),
    };
    Some(DiscoveryService {
        namespace: Arc::clone(&service.key.namespace),
        port: port.number,
        upstream: upstream_of(view, service, port),
    })
}

/// At the Service's external addresses, else at the pods.
fn straight_to(view: &View<'_>, service: &Service, port: &ServicePort) -> Vec<Endpoint> {
    let external = gateway::addresses(view, service, port.number);
    if external.is_empty() { upstream::addresses(view, service, port, |_| true).collect() } else { external }
}

fn upstream_of(view: &View<'_>, service: &Service, port: &ServicePort) -> Upstream {
    match port.target {
        TargetPort::Number(target_port) if !service.selector.is_empty() => {
            Upstream::Workloads { labels: service.selector.clone(), target_port }
        }
        _ => Upstream::Endpoints(upstream::addresses(view, service, port, |_| true).collect()),
    }
}

fn outbound(
    view: &View<'_>,
    config: &FedConfig,
    terms: &mut Terms,
    (egress, ingress): (&Gateway, Option<&Gateway>),
    own: &OwnObjects<'_, '_>,
    warnings: &mut Vec<Problem>,
) {
    let mut called = terms.peers.iter().filter(|peer| !peer.discovery.is_empty());
    let first = called.next().filter(|_| !config.discovery.direct && config.tls_context.is_some());
    let Some(peer) = first else { return };
    if let Some(why) = not_through(view, called.next().is_some(), egress, ingress) {
        let name = names::discovery_server_name(&config.relationship);
        let message = format!(
            "Emcee calls its peers straight, not through the egress gateway: there {name} {why}, or set spec.discovery.direct: true if that is meant)"
        );
        warnings.push(Problem::at(Reason::DiscoveryDirect, "spec.peers", message));
        return;
    }
    let source = Source::new(config.identity.key.clone(), &peer.name);
    let may_be_there =
        |address: &&Endpoint| own.refused(Author::Peer, config, Some(&peer.name), [*address]).is_none();
    let further = view.peer_addresses(&source).iter().filter(|address| !peer.discovery.contains(address));
    let further = further.filter(may_be_there);
    terms.relayed_to = peer.discovery.iter().chain(further).take(MOST_ADDRESSES).cloned().collect();
    terms.via = Some(pods(view, egress));
}

/// On one gateway the server name of discovery can lead to one place only.
fn not_through(
    view: &View<'_>,
    several: bool,
    egress: &Gateway,
    ingress: Option<&Gateway>,
) -> Option<&'static str> {
    if several {
        return Some("leads to one peer, and there are several (have a MeshFedConfig for each peer");
    }
    let one = ingress.is_some_and(|ingress| egress.is_same_port(view, ingress));
    one.then_some(
        "leads to this mesh, as the ingress gateway is the same (give the two different pods or ports",
    )
}

/// The gateway's ready pods. Not its Service: Emcee has to reach them also where no DNS of the cluster serves it.
fn pods(view: &View<'_>, egress: &Gateway) -> Vec<Endpoint> {
    let pods = view.workloads_in(&egress.namespace, &egress.labels);
    let in_front =
        |service: &&Service| pods.iter().any(|pod: &&Workload| pod.is_selected_by(&service.selector));
    let services = view.services_in(&egress.namespace).filter(in_front);
    let open = services.filter_map(|service| Some((service, service.port(egress.port)?)));
    let found: BTreeSet<_> =
        open.flat_map(|(service, port)| upstream::addresses(view, service, port, |_| true)).collect();
    found.into_iter().collect()
}
