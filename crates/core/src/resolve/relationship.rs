//! A MeshFedConfig among all others: what can be used of it.

use std::sync::Arc;

use emcee_api::Reason;

use super::certificate::{self, Certificate};
use super::gateway::{self, Gateway};
use super::own::OwnObjects;
use super::ways::{self, DiscoveryService};
use super::{terms, trust_domain};
use crate::catalogue::Terms;
use crate::endpoint::Endpoint;
use crate::inputs::Knowledge;
use crate::key::Key;
use crate::mode::{Mode, Side};
use crate::parse::{FedConfig, PeerModel};
use crate::plan::{Owner, OwnerKind};
use crate::problem::Problem;
use crate::resolve::View;

/// A relationship, as far as it can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Relationship {
    /// As the user wants it.
    pub config: Arc<FedConfig>,
    /// Owner of its gateways and credentials.
    pub(crate) owner: Arc<Owner>,
    /// Why nothing of it is generated.
    pub refused: Option<Problem>,
    /// The egress gateway, if it is used, or why it cannot be.
    pub egress: Option<Result<Gateway, Problem>>,
    /// The ingress gateway, if it is used, or why it cannot be.
    pub ingress: Option<Result<Gateway, Problem>>,
    /// The relationship's certificate.
    pub(crate) certificate: Certificate,
    /// What discovery has to know of it.
    pub terms: Arc<Terms>,
    /// Where its ingress gateway leads peers who look for this mesh's Emcee.
    pub(crate) discovery: Option<DiscoveryService>,
    /// What is worth knowing.
    pub warnings: Vec<Problem>,
}

impl Relationship {
    /// Name of the Secret for gateway pods in a namespace.
    pub(crate) fn credential_name(&self, namespace: &str) -> String {
        certificate::name_for(&self.certificate, &self.owner, namespace)
    }

    /// Name of a copy of the Secret, in whichever namespace.
    pub(crate) fn copied_credential(&self) -> String {
        certificate::copied_name(&self.owner, self.certificate.credential().map(|it| &**it))
    }

    /// The gateway of one side, or why it cannot be used.
    pub(crate) fn gateway(&self, side: Side) -> Result<&Gateway, Problem> {
        let gateway = match side {
            Side::Egress => &self.egress,
            Side::Ingress => &self.ingress,
        };
        match gateway {
            Some(Ok(gateway)) => Ok(gateway),
            Some(Err(problem)) => Err(self.not_ready(problem)),
            None => Err(Problem::at(
                Reason::GatewayNotUsed,
                "spec.mesh_fed_config_selector",
                format!(
                    "MeshFedConfig {} does not use an {side} gateway (set its use_{side}_gateway: true)",
                    self.key()
                ),
            )),
        }
    }

    /// Why nothing can be generated through this relationship, if so.
    pub(crate) fn usable(&self) -> Result<(), Problem> {
        if let Some(problem) = &self.refused {
            return Err(self.not_ready(problem));
        }
        match &self.certificate {
            Certificate::Unusable(problem) if self.config.mode.terminates() => Err(self.not_ready(problem)),
            _ => Ok(()),
        }
    }

    fn not_ready(&self, problem: &Problem) -> Problem {
        Problem::new(Reason::RelationshipNotReady, format!("MeshFedConfig {}: {problem}", self.key()))
    }

    /// Whether peers are served discovery.
    pub(crate) fn is_served(&self) -> bool {
        let config = &self.config;
        config.discovery.announce && !config.peers.is_empty() && self.certificate.is_there()
    }

    /// The egress gateway through which this mesh's Emcee calls its peer, and where that leads; none if it goes straight to
    /// its peers.
    pub(crate) fn way_to_peer(&self) -> Option<(&Gateway, &[Endpoint])> {
        let egress = self.egress.as_ref()?.as_ref().ok()?;
        let open = self.terms.via.is_some() && self.certificate.is_there();
        open.then_some((egress, &*self.terms.relayed_to))
    }

    /// Its MeshFedConfig.
    pub(crate) fn key(&self) -> &Key {
        &self.config.identity.key
    }

    /// The peer of that name.
    pub(crate) fn peer(&self, name: &str) -> Result<&PeerModel, String> {
        self.config.peers.iter().find(|peer| peer.name == name).ok_or_else(|| {
            let known: Vec<_> = self.config.peers.iter().map(|peer| peer.name.as_str()).collect();
            let known = if known.is_empty() { "it lists none".to_owned() } else { known.join(", ") };
            format!("{name:?} is not a peer of MeshFedConfig {} ({known})", self.key())
        })
    }
}

pub(crate) fn resolve(view: &View<'_>, config: &Arc<FedConfig>) -> Relationship {
    let owner =
        Owner::new(OwnerKind::MeshFedConfig, config.identity.key.clone(), Some(config.identity.key.clone()));
    let mut warnings = Vec::new();
    let mut gateway = |side, settings: &Option<_>| {
        settings
            .as_ref()
            .map(|settings| gateway::resolve(view, config, &owner, side, settings, &mut warnings))
    };
    let (egress, ingress) = (gateway(Side::Egress, &config.egress), gateway(Side::Ingress, &config.ingress));
    let egress = egress.map(|egress| egress.and_then(|egress| apart(view, config, egress, ingress.as_ref())));
    let certificate = certificate::resolve(view, config, &owner, &mut warnings);
    let certificate = not_shadowed(view, config, &owner, certificate, [&egress, &ingress]);
    warnings.extend(
        [&egress, &ingress].into_iter().flatten().flatten().filter_map(|it| shared_gateway(config, it)),
    );
    trust(config, &certificate, &mut warnings);
    let in_use = |gateway| Option::as_ref(gateway).and_then(|gateway| Result::as_ref(gateway).ok());
    let gateways = ways::Gateways { egress: in_use(&egress), ingress: in_use(&ingress) };
    let own = OwnObjects::new(view, config, [gateways.egress, gateways.ingress].into_iter().flatten());
    let mut terms = terms::resolve(view, config, &certificate, &own, &mut warnings);
    let discovery = ways::resolve(view, config, &mut terms, gateways, &own, &mut warnings);
    warnings.extend(own_networks_unknown(view, config));
    let refused = among_others(view, config, &mut warnings);
    Relationship {
        config: Arc::clone(config),
        owner,
        refused,
        egress,
        ingress,
        certificate,
        terms: Arc::new(terms),
        discovery,
        warnings,
    }
}

/// The certificate; unusable where a gateway that would hold it takes the CA of another Secret. It is not enough to say
/// so, as a gateway that trusts a CA which nobody chose lets its holders in.
fn not_shadowed(
    view: &View<'_>,
    config: &FedConfig,
    owner: &Owner,
    certificate: Certificate,
    gateways: [&Option<Result<Gateway, Problem>>; 2],
) -> Certificate {
    if !config.mode.terminates() || !certificate.is_there() {
        return certificate;
    }
    let gateways = gateways.into_iter().flatten().flatten();
    let mut problems = gateways.filter_map(|gateway| {
        let name = certificate::name_for(&certificate, owner, &gateway.namespace);
        certificate::shadowed(view, &gateway.namespace, &name)
    });
    problems.next().map_or(certificate.clone(), Certificate::Unusable)
}

/// Where both gateways pass TLS on by its server name, one port of one gateway cannot be both: a service that both
/// meshes have under one name would be sent in circles.
fn apart(
    view: &View<'_>,
    config: &FedConfig,
    egress: Gateway,
    ingress: Option<&Result<Gateway, Problem>>,
) -> Result<Gateway, Problem> {
    let same = |ingress: &Gateway| egress.is_same_port(view, ingress);
    if config.mode.passes_through_egress() && ingress.is_some_and(|ingress| ingress.as_ref().is_ok_and(same))
    {
        let message = format!(
            "in {} the egress and the ingress cannot be the same port of the same pods (give them different ports, or pods)",
            config.mode
        );
        return Err(Problem::at(Reason::Invalid, "spec.egress_gateway_port", message));
    }
    Ok(egress)
}

fn trust(config: &FedConfig, certificate: &Certificate, warnings: &mut Vec<Problem>) {
    let roots = certificate.credential().map_or(0, |credential| credential.roots);
    if roots > 1 && config.peers.len() > 1 {
        warnings.push(Problem::new(
            Reason::SharedTrust,
            format!("ca.crt has {roots} roots, and each of them can issue every peer's name (have a MeshFedConfig for each peer)"),
        ));
    }
    if config.mode.terminates() && config.peers.is_empty() {
        warnings.push(Problem::at(
            Reason::AnyPeer,
            "spec.peers",
            "none are listed: every certificate of the relationship's CA is accepted, and discovery is off (list the peers with their subject_alt_names)",
        ));
    }
    if config.mode == Mode::Flat {
        warnings.push(Problem::new(
            Reason::NotConfined,
            "FLAT limits what is announced, not who can call: whoever reaches a pod's address reaches it (limit callers by AuthorizationPolicy)",
        ));
    }
}

/// Where nodes are seen, Emcee follows all namespaces, and so sees all pods and Services too.
fn own_networks_unknown(view: &View<'_>, config: &FedConfig) -> Option<Problem> {
    let settings = view.settings();
    if config.peers.is_empty() || settings.knowledge == Knowledge::Partial {
        return None;
    }
    (settings.cluster_networks.is_empty() && view.nodes().next().is_none()).then(|| {
        Problem::new(
            Reason::OwnNetworksUnknown,
            "neither --cluster-networks is set nor are nodes seen: an address of this cluster's own pods and Services could pass for a peer's (set --cluster-networks to the Pod and Service ranges, or list peers[].networks)",
        )
    })
}

/// A gateway that others use takes keys by their rules too.
fn shared_gateway(config: &FedConfig, gateway: &Gateway) -> Option<Problem> {
    (config.mode.terminates() && !gateway.created).then(|| {
        let side = gateway.side;
        let message = format!(
            "the {side} gateway in {} is not Emcee's own, and is handed the relationship's key: anybody who may write a Gateway or a DestinationRule that it follows, in any namespace, can have it use that key (leave the selector out, and Emcee creates a gateway)",
            gateway.namespace
        );
        Problem::at(Reason::SharedGateway, format!("spec.{side}_gateway_selector"), message)
    })
}

fn among_others(view: &View<'_>, config: &Arc<FedConfig>, warnings: &mut Vec<Problem>) -> Option<Problem> {
    let mut refused = None;
    let own = &config.identity;
    for other in view.fed_configs().filter(|other| other.identity.key != own.key) {
        let key = &other.identity.key;
        if other.relationship == config.relationship && other.identity.age < own.age {
            refused = Some(Problem::at(
                Reason::RelationshipConflict,
                "spec.relationship",
                format!(
                    "{:?} is the relationship of the older MeshFedConfig {key} too (give one of them another spec.relationship)",
                    config.relationship
                ),
            ));
        }
        if key.namespace == own.key.namespace {
            warnings.push(Problem::new(
                Reason::SharedNamespace,
                format!("MeshFedConfig {key} is in this namespace too: a gateway of one may read the other's Secret (give each relationship a namespace)"),
            ));
        }
        if config.egress.is_some() && config.mode.terminates() && other.mode.is_end_to_end() {
            warnings.extend(trust_domain::shared(view.settings(), other));
        }
    }
    warnings.sort();
    refused
}
