//! Policy of a relationship for discovery.

use emcee_api::{OnPeerLoss, Reason, labels};

use super::InputView;
use super::certificate::RelationshipCertificate;
use super::ownership::ClusterOwnership;
use crate::catalogue::{LocalMesh, PeerPolicy, PolicyPeer};
use crate::endpoint::Endpoint;
use crate::inputs::Service;
use crate::parse::{FedConfig, PeerSettings};
use crate::policy::EndpointAuthor;
use crate::problem::ResourceProblem;

pub(super) fn resolve(
    view: &InputView<'_>,
    config: &FedConfig,
    certificate: &RelationshipCertificate,
    own: &ClusterOwnership<'_, '_>,
    warnings: &mut Vec<ResourceProblem>,
) -> PeerPolicy {
    let (settings, discovery) = (view.settings(), &config.discovery);
    PeerPolicy {
        fed_config: config.identity.key.clone(),
        relationship: config.relationship.clone(),
        mode: config.mode,
        announce: discovery.announce,
        certificate: certificate.credential().cloned(),
        peers: policy_peers(view, config, own, warnings),
        // `discovery_route` sets these three fields, because they need the gateways.
        egress_pods: None,
        egress_targets: Vec::new(),
        own_addresses: Vec::new(),
        expire_after: (discovery.on_peer_loss == OnPeerLoss::Expire).then_some(discovery.expire_after),
        import: discovery.import,
        quota: settings.quota,
        local_mesh: LocalMesh {
            trust_domain: settings.trust_domain.clone(),
            shared_trust_domain: settings.shared_trust_domain,
            networks: settings.cluster_networks.clone(),
            cluster_domain: settings.cluster_domain.clone(),
        },
    }
}

fn policy_peers(
    view: &InputView<'_>,
    config: &FedConfig,
    own: &ClusterOwnership<'_, '_>,
    warnings: &mut Vec<ResourceProblem>,
) -> Vec<PolicyPeer> {
    let mut peers: Vec<_> = config.peers.iter().map(policy_peer).collect();
    let namespace = &config.identity.key.namespace;
    for service in view.services_in(namespace).filter(|service| service.discovery_server.is_some()) {
        let Some((peer, endpoints)) = discovery_endpoints(service, &mut peers) else {
            warnings.push(unassigned_service_warning(service));
            continue;
        };
        // A user of the fed namespace wrote the Service, so its addresses must be allowed for the peer.
        match own.first_refused(EndpointAuthor::User, config, Some(&peer.name), endpoints) {
            None => peer.discovery.extend(endpoints.iter().cloned()),
            Some((_, words)) => {
                let message =
                    format!("Service {} does not lead to the Emcee of {}: {words}", service.key, peer.name);
                warnings.push(ResourceProblem::new(Reason::DiscoveryIgnored, message));
            }
        }
    }
    for peer in &mut peers {
        // Remove duplicates, but keep the order: the configured address comes first. There are few addresses.
        let mut seen = Vec::new();
        peer.discovery.retain(|endpoint| {
            let new = !seen.contains(endpoint);
            seen.push(endpoint.clone());
            new
        });
    }
    peers
}

fn policy_peer(model: &PeerSettings) -> PolicyPeer {
    PolicyPeer {
        name: model.name.as_str().into(),
        subject_alt_names: model.subject_alt_names.clone(),
        discovery: model.discovery.iter().cloned().collect(),
        networks: model.networks.clone(),
        domains: model.domains.clone(),
        trust_domains: model.trust_domains.clone(),
    }
}

/// Returns the peer to which a discovery Service belongs, with the Service's endpoints: the named peer, or
/// the only peer.
fn discovery_endpoints<'p, 's>(
    service: &'s Service,
    peers: &'p mut [PolicyPeer],
) -> Option<(&'p mut PolicyPeer, &'s [Endpoint])> {
    let server = service.discovery_server.as_deref()?;
    let peer = match (&server.peer, peers) {
        (Some(name), peers) => peers.iter_mut().find(|peer| *peer.name == **name)?,
        (None, [only]) => only,
        (None, _) => return None,
    };
    Some((peer, &server.endpoints))
}

fn unassigned_service_warning(service: &Service) -> ResourceProblem {
    let named_peer = service.discovery_server.as_deref().and_then(|server| server.peer.as_deref());
    let message = match named_peer {
        Some(peer) => {
            format!(
                "Service {} leads to the Emcee of {peer:?}, which is not a peer of this MeshFedConfig",
                service.key
            )
        }
        None => format!(
            "Service {} leads to the Emcee of a peer and does not say which (set the label {} to its name)",
            service.key,
            labels::PEER
        ),
    };
    ResourceProblem::new(Reason::DiscoveryIgnored, message)
}
