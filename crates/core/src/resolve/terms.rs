//! Policy of a relationship for discovery.

use emcee_api::{OnPeerLoss, Reason, labels};

use super::View;
use super::certificate::Certificate;
use super::own::OwnObjects;
use crate::catalogue::{Locality, PeerTerms, Terms};
use crate::endpoint::Endpoint;
use crate::inputs::Service;
use crate::parse::{FedConfig, PeerModel};
use crate::policy::Author;
use crate::problem::Problem;

pub(super) fn resolve(
    view: &View<'_>,
    config: &FedConfig,
    certificate: &Certificate,
    own: &OwnObjects<'_, '_>,
    warnings: &mut Vec<Problem>,
) -> Terms {
    let (settings, discovery) = (view.settings(), &config.discovery);
    Terms {
        fed_config: config.identity.key.clone(),
        relationship: config.relationship.clone(),
        mode: config.mode,
        announce: discovery.announce,
        certificate: certificate.credential().cloned(),
        peers: peers(view, config, own, warnings),
        // `discovery_route` sets these three fields, because they need the gateways.
        via: None,
        relayed_to: Vec::new(),
        reached_at: Vec::new(),
        expire_after: (discovery.on_peer_loss == OnPeerLoss::Expire).then_some(discovery.expire_after),
        import: discovery.import,
        quota: settings.quota,
        locality: Locality {
            trust_domain: settings.trust_domain.clone(),
            shared_trust_domain: settings.shared_trust_domain,
            networks: settings.cluster_networks.clone(),
            cluster_domain: settings.cluster_domain.clone(),
        },
    }
}

fn peers(
    view: &View<'_>,
    config: &FedConfig,
    own: &OwnObjects<'_, '_>,
    warnings: &mut Vec<Problem>,
) -> Vec<PeerTerms> {
    let mut peers: Vec<_> = config.peers.iter().map(peer).collect();
    let namespace = &config.identity.key.namespace;
    for service in view.services_in(namespace).filter(|service| service.discovery.is_some()) {
        let Some((peer, endpoints)) = addresses(service, &mut peers) else {
            warnings.push(of_nobody(service));
            continue;
        };
        // A user of the fed namespace wrote the Service, so its addresses must be allowed for the peer.
        match own.refused(Author::User, config, Some(&peer.name), endpoints) {
            None => peer.discovery.extend(endpoints.iter().cloned()),
            Some((_, words)) => {
                let message =
                    format!("Service {} does not lead to the Emcee of {}: {words}", service.key, peer.name);
                warnings.push(Problem::new(Reason::DiscoveryIgnored, message));
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

fn peer(model: &PeerModel) -> PeerTerms {
    PeerTerms {
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
fn addresses<'p, 's>(
    service: &'s Service,
    peers: &'p mut [PeerTerms],
) -> Option<(&'p mut PeerTerms, &'s [Endpoint])> {
    let server = service.discovery.as_deref()?;
    let peer = match (&server.peer, peers) {
        (Some(name), peers) => peers.iter_mut().find(|peer| *peer.name == **name)?,
        (None, [only]) => only,
        (None, _) => return None,
    };
    Some((peer, &server.endpoints))
}

fn of_nobody(service: &Service) -> Problem {
    let said = service.discovery.as_deref().and_then(|server| server.peer.as_deref());
    let message = match said {
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
    Problem::new(Reason::DiscoveryIgnored, message)
}
