//! The ways of discovery through a relationship's gateways.

use emcee_api::Reason;

use super::View;
use super::gateway::Gateway;
use super::upstream;
use crate::catalogue::Terms;
use crate::endpoint::Endpoint;
use crate::names;
use crate::parse::FedConfig;
use crate::problem::Problem;

/// Says in the terms where peers reach this mesh's Emcee, and through which gateway they are reached.
pub(super) fn resolve(
    view: &View<'_>,
    config: &FedConfig,
    terms: &mut Terms,
    (egress, ingress): (Option<&Gateway>, Option<&Gateway>),
    warnings: &mut Vec<Problem>,
) {
    terms.reached_at = ingress.map(|ingress| ingress.addresses.clone()).unwrap_or_default();
    let Some(egress) = egress.filter(|_| !config.discovery.direct && config.tls_context.is_some()) else { return };
    let mut called = terms.peers.iter().filter(|peer| !peer.discovery.is_empty());
    let Some(peer) = called.next() else { return };
    if let Some(why) = straight(called.next().is_some(), egress, ingress) {
        let name = names::discovery_server_name(&config.relationship);
        let message = format!(
            "Emcee calls its peers straight, not through the egress gateway: there {name} {why}, or set spec.discovery.direct: true if that is meant)"
        );
        warnings.push(Problem::at(Reason::DiscoveryDirect, "spec.peers", message));
        return;
    }
    terms.relayed_to = peer.discovery.clone();
    terms.via = Some(pods(view, egress));
}

/// On one gateway the server name of discovery can lead to one place only.
fn straight(several: bool, egress: &Gateway, ingress: Option<&Gateway>) -> Option<&'static str> {
    if several {
        return Some("leads to one peer, and there are several (have a MeshFedConfig for each peer");
    }
    let one = ingress.is_some_and(|ingress| ingress.identity() == egress.identity());
    one.then_some("leads to this mesh, as the ingress gateway is the same (give the two different pods or ports")
}

/// The gateway's ready pods. Not its Service: Emcee has to reach them also where no DNS of the cluster serves it.
fn pods(view: &View<'_>, egress: &Gateway) -> Vec<Endpoint> {
    let pods = view.workloads_in(&egress.namespace, &egress.labels);
    let services = view.services_in(&egress.namespace);
    let in_front = services.filter(|service| pods.iter().any(|pod| pod.is_selected_by(&service.selector)));
    let open = in_front.filter_map(|service| Some((service, service.port(egress.port)?)));
    let mut found: Vec<_> =
        open.flat_map(|(service, port)| upstream::addresses(view, service, port, |_| true)).collect();
    found.sort_unstable();
    found.dedup();
    found
}
