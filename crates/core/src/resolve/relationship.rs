//! Resolution of a MeshFedConfig among all others.

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

/// Relationship with what is usable of it: gateways, certificate and policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Relationship {
    /// MeshFedConfig of the relationship.
    pub config: Arc<FedConfig>,
    /// Owner of its gateways and copied credentials.
    pub(crate) owner: Arc<Owner>,
    /// Why no objects are generated for it; `None` if they are.
    pub refused: Option<Problem>,
    /// Egress gateway, or why it cannot be used. `None` if the MeshFedConfig does not use one.
    pub egress: Option<Result<Gateway, Problem>>,
    /// Ingress gateway, or why it cannot be used. `None` if the MeshFedConfig does not use one.
    pub ingress: Option<Result<Gateway, Problem>>,
    /// Certificate of the relationship.
    pub(crate) certificate: Certificate,
    /// Policy of the relationship for discovery.
    pub terms: Arc<Terms>,
    /// Service to which the ingress gateway routes peers that connect to this mesh's Emcee.
    pub(crate) discovery: Option<DiscoveryService>,
    /// Warnings for the status, sorted.
    pub warnings: Vec<Problem>,
}

impl Relationship {
    /// Returns the name of the Secret for gateway pods in a namespace.
    pub(crate) fn credential_name(&self, namespace: &str) -> String {
        certificate::name_for(&self.certificate, &self.owner, namespace)
    }

    /// Returns the name of a copy of the Secret, in any namespace.
    pub(crate) fn copied_credential(&self) -> String {
        certificate::copied_name(&self.owner, self.certificate.credential().map(|it| &**it))
    }

    /// Returns the gateway of one side, or why it cannot be used.
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

    /// Returns why no objects can be generated through this relationship, if so.
    pub(crate) fn usable(&self) -> Result<(), Problem> {
        if let Some(problem) = &self.refused {
            return Err(self.not_ready(problem));
        }
        match &self.certificate {
            // Only BOUNDARY needs the certificate for traffic. In the other styles only discovery needs it.
            Certificate::Unusable(problem) if self.config.mode.terminates() => Err(self.not_ready(problem)),
            _ => Ok(()),
        }
    }

    fn not_ready(&self, problem: &Problem) -> Problem {
        Problem::new(Reason::RelationshipNotReady, format!("MeshFedConfig {}: {problem}", self.key()))
    }

    /// Whether this mesh serves discovery to the peers.
    pub(crate) fn is_served(&self) -> bool {
        let config = &self.config;
        config.discovery.announce && !config.peers.is_empty() && self.certificate.is_there()
    }

    /// Returns the egress gateway through which this mesh's Emcee connects to its peer, and the addresses to
    /// which it forwards. `None` if Emcee connects to its peers directly.
    pub(crate) fn way_to_peer(&self) -> Option<(&Gateway, &[Endpoint])> {
        let egress = self.egress.as_ref()?.as_ref().ok()?;
        let open = self.terms.via.is_some() && self.certificate.is_there();
        open.then_some((egress, &*self.terms.relayed_to))
    }

    /// Returns namespace and name of the MeshFedConfig.
    pub(crate) fn key(&self) -> &Key {
        &self.config.identity.key
    }

    /// Returns the peer of that name. The error lists the known peers.
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
    // The order of the following steps matters: the certificate check needs both gateways, and the policy
    // needs the result of that check.
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
    // The relationship is not complete yet, so ownership gets its gateways directly.
    let own = OwnObjects::new(view, config, [gateways.egress, gateways.ingress].into_iter().flatten());
    let mut policy = terms::resolve(view, config, &certificate, &own, &mut warnings);
    let discovery = ways::resolve(view, config, &mut policy, gateways, &own, &mut warnings);
    warnings.extend(own_networks_unknown(view, config));
    let refused = among_others(view, config, &mut warnings);
    Relationship {
        config: Arc::clone(config),
        owner,
        refused,
        egress,
        ingress,
        certificate,
        terms: Arc::new(policy),
        discovery,
        warnings,
    }
}

/// Returns the certificate, or makes it unusable if a gateway that would hold it uses the CA of another
/// Secret. A warning is not enough: the gateway would admit holders of certificates of a CA that the
/// administrator did not choose.
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

/// Refuses the egress gateway if it uses the same port of the same pods as the ingress gateway, where both
/// forward TLS by its server name. Traffic for a service that both meshes have under one name would loop.
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
            "FLAT limits what is announced, not who can call: any client that can reach a pod's address can call it (limit callers by AuthorizationPolicy)",
        ));
    }
}

/// Warns if this cluster's own networks are unknown. If nodes are visible, Emcee watches all namespaces, so
/// it also knows all pods and Services.
fn own_networks_unknown(view: &View<'_>, config: &FedConfig) -> Option<Problem> {
    let settings = view.settings();
    if config.peers.is_empty() || settings.knowledge == Knowledge::Partial {
        return None;
    }
    (settings.cluster_networks.is_empty() && view.nodes().next().is_none()).then(|| {
        Problem::new(
            Reason::OwnNetworksUnknown,
            "--cluster-networks is not set and no nodes are visible: an address of this cluster's own pods and Services could pass for a peer's (set --cluster-networks to the Pod and Service ranges, or list peers[].networks)",
        )
    })
}

/// Warns about a gateway that Emcee did not create. Such a gateway also uses keys as the rules of other users
/// say.
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
        // The older MeshFedConfig keeps the name, and continues to work.
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
    // The order of the other MeshFedConfigs must not change the status.
    warnings.sort();
    refused
}
