//! Resolution of a MeshFedConfig among all others.

use std::sync::Arc;

use emcee_api::{ImportMode, Reason};

use super::certificate::{self, RelationshipCertificate};
use super::discovery_route::{self, DiscoveryService};
use super::gateway::{self, ResolvedGateway};
use super::ownership::ClusterOwnership;
use super::{peer_policy, trust_domain};
use crate::catalogue::PeerPolicy;
use crate::endpoint::Endpoint;
use crate::inputs::InputCoverage;
use crate::key::ObjectKey;
use crate::mode::{GatewaySide, Mode};
use crate::parse::{AllowedNamespaces, FedConfig, PeerSettings};
use crate::plan::{ObjectOwner, OwnerKind};
use crate::problem::ResourceProblem;
use crate::resolve::InputView;

/// Relationship with what is usable of it: gateways, certificate and policy.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedRelationship {
    /// MeshFedConfig of the relationship.
    pub config: Arc<FedConfig>,
    /// Owner of its gateways and copied credentials.
    pub(crate) owner: Arc<ObjectOwner>,
    /// Why no objects are generated for it; `None` if they are.
    pub refused: Option<ResourceProblem>,
    /// Egress gateway, or why it cannot be used. `None` if the MeshFedConfig does not use one.
    pub egress: Option<Result<ResolvedGateway, ResourceProblem>>,
    /// Ingress gateway, or why it cannot be used. `None` if the MeshFedConfig does not use one.
    pub ingress: Option<Result<ResolvedGateway, ResourceProblem>>,
    /// Certificate of the relationship.
    pub(crate) certificate: RelationshipCertificate,
    /// Policy of the relationship for discovery.
    pub peer_policy: Arc<PeerPolicy>,
    /// Service to which the ingress gateway routes peers that connect to this mesh's Emcee.
    pub(crate) discovery_service: Option<DiscoveryService>,
    /// Warnings for the status, sorted.
    pub warnings: Vec<ResourceProblem>,
}

impl ResolvedRelationship {
    /// Returns the name of the Secret for gateway pods in a namespace.
    pub(crate) fn credential_name(&self, namespace: &str) -> String {
        certificate::secret_name_for(&self.certificate, &self.owner, namespace)
    }

    /// Returns the name of a copy of the Secret, in any namespace.
    pub(crate) fn copied_credential_name(&self) -> String {
        certificate::copied_secret_name(&self.owner, self.certificate.credential().map(|it| &**it))
    }

    /// Returns the gateway of one side, or why it cannot be used.
    pub(crate) fn gateway(&self, side: GatewaySide) -> Result<&ResolvedGateway, ResourceProblem> {
        let gateway = match side {
            GatewaySide::Egress => &self.egress,
            GatewaySide::Ingress => &self.ingress,
        };
        match gateway {
            Some(Ok(gateway)) => Ok(gateway),
            Some(Err(problem)) => Err(self.not_ready(problem)),
            None => Err(ResourceProblem::at_field(
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
    pub(crate) fn check_usable(&self) -> Result<(), ResourceProblem> {
        if let Some(problem) = &self.refused {
            return Err(self.not_ready(problem));
        }
        match &self.certificate {
            // Only BOUNDARY needs the certificate for traffic. In the other styles only discovery needs it.
            RelationshipCertificate::Unusable(problem) if self.config.mode.terminates_tls() => {
                Err(self.not_ready(problem))
            }
            _ => Ok(()),
        }
    }

    fn not_ready(&self, problem: &ResourceProblem) -> ResourceProblem {
        ResourceProblem::new(Reason::RelationshipNotReady, format!("MeshFedConfig {}: {problem}", self.key()))
    }

    /// Whether this mesh serves discovery to the peers.
    pub(crate) fn serves_discovery(&self) -> bool {
        let config = &self.config;
        config.discovery.announce && !config.peers.is_empty() && self.certificate.is_present()
    }

    /// Returns the egress gateway through which this mesh's Emcee connects to its peer, and the addresses to
    /// which it forwards. `None` if Emcee connects to its peers directly.
    pub(crate) fn discovery_egress(&self) -> Option<(&ResolvedGateway, &[Endpoint])> {
        let egress = self.egress.as_ref()?.as_ref().ok()?;
        let open = self.peer_policy.egress_pods.is_some() && self.certificate.is_present();
        open.then_some((egress, &*self.peer_policy.egress_targets))
    }

    /// Returns namespace and name of the MeshFedConfig.
    pub(crate) fn key(&self) -> &ObjectKey {
        &self.config.identity.key
    }

    /// Returns the peer of that name. The error lists the known peers.
    pub(crate) fn find_peer(&self, name: &str) -> Result<&PeerSettings, String> {
        self.config.peers.iter().find(|peer| peer.name == name).ok_or_else(|| {
            let known: Vec<_> = self.config.peers.iter().map(|peer| peer.name.as_str()).collect();
            let known = if known.is_empty() { "it lists none".to_owned() } else { known.join(", ") };
            format!("{name:?} is not a peer of MeshFedConfig {} ({known})", self.key())
        })
    }
}

pub(crate) fn resolve(view: &InputView<'_>, config: &Arc<FedConfig>) -> ResolvedRelationship {
    let owner = ObjectOwner::new(
        OwnerKind::MeshFedConfig,
        config.identity.key.clone(),
        Some(config.identity.key.clone()),
    );
    let mut warnings = Vec::new();
    let mut gateway = |side, settings: &Option<_>| {
        settings
            .as_ref()
            .map(|settings| gateway::resolve(view, config, &owner, side, settings, &mut warnings))
    };
    // The order of the following steps matters: the certificate check needs both gateways, and the policy
    // needs the result of that check.
    let (egress, ingress) =
        (gateway(GatewaySide::Egress, &config.egress), gateway(GatewaySide::Ingress, &config.ingress));
    let egress = egress.map(|egress| {
        egress.and_then(|egress| check_gateways_differ(view, config, egress, ingress.as_ref()))
    });
    let certificate = certificate::resolve(view, config);
    warnings.extend(certificate::certificate_warnings(view, config, &owner, &certificate));
    let certificate = reject_shadowed(view, config, &owner, certificate, [&egress, &ingress]);
    warnings.extend(
        [&egress, &ingress]
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|it| shared_gateway_warning(config, it)),
    );
    warnings.extend(trust_warnings(config, &certificate));
    let in_use = |gateway| Option::as_ref(gateway).and_then(|gateway| Result::as_ref(gateway).ok());
    let gateways = discovery_route::UsableGateways { egress: in_use(&egress), ingress: in_use(&ingress) };
    // The relationship is not complete yet, so ownership gets its gateways directly.
    let own = ClusterOwnership::new(view, config, [gateways.egress, gateways.ingress].into_iter().flatten());
    let mut policy = peer_policy::resolve(view, config, &certificate, &own, &mut warnings);
    let discovery = discovery_route::resolve(view, config, &mut policy, gateways, &own, &mut warnings);
    warnings.extend(own_networks_warning(view, config));
    let refused = compare_with_others(view, config, &mut warnings);
    ResolvedRelationship {
        config: Arc::clone(config),
        owner,
        refused,
        egress,
        ingress,
        certificate,
        peer_policy: Arc::new(policy),
        discovery_service: discovery,
        warnings,
    }
}

/// Returns the certificate, or makes it unusable if a gateway that would hold it uses the CA of another
/// Secret. A warning is not enough: the gateway would admit holders of certificates of a CA that the
/// administrator did not choose.
fn reject_shadowed(
    view: &InputView<'_>,
    config: &FedConfig,
    owner: &ObjectOwner,
    certificate: RelationshipCertificate,
    gateways: [&Option<Result<ResolvedGateway, ResourceProblem>>; 2],
) -> RelationshipCertificate {
    if !config.mode.terminates_tls() || !certificate.is_present() {
        return certificate;
    }
    let gateways = gateways.into_iter().flatten().flatten();
    let mut problems = gateways.filter_map(|gateway| {
        let name = certificate::secret_name_for(&certificate, owner, &gateway.namespace);
        certificate::shadow_problem(view, &gateway.namespace, &name)
    });
    problems.next().map_or(certificate.clone(), RelationshipCertificate::Unusable)
}

/// Refuses the egress gateway if it uses the same port of the same pods as the ingress gateway, where both
/// forward TLS by its server name. Traffic for a service that both meshes have under one name would loop.
fn check_gateways_differ(
    view: &InputView<'_>,
    config: &FedConfig,
    egress: ResolvedGateway,
    ingress: Option<&Result<ResolvedGateway, ResourceProblem>>,
) -> Result<ResolvedGateway, ResourceProblem> {
    let same = |ingress: &ResolvedGateway| egress.is_same_port(view, ingress);
    if config.mode.passes_through_egress() && ingress.is_some_and(|ingress| ingress.as_ref().is_ok_and(same))
    {
        let message = format!(
            "in {} the egress and the ingress cannot be the same port of the same pods (give them different ports, or pods)",
            config.mode
        );
        return Err(ResourceProblem::at_field(Reason::Invalid, "spec.egress_gateway_port", message));
    }
    Ok(egress)
}

/// Returns warnings about whom the certificate and the style admit.
fn trust_warnings(config: &FedConfig, certificate: &RelationshipCertificate) -> Vec<ResourceProblem> {
    let mut warnings = Vec::new();
    let roots = certificate.credential().map_or(0, |credential| credential.root_count);
    if roots > 1 && config.peers.len() > 1 {
        warnings.push(ResourceProblem::new(
            Reason::SharedTrust,
            format!("ca.crt has {roots} roots, and each of them can issue every peer's name (have a MeshFedConfig for each peer)"),
        ));
    }
    if config.mode.terminates_tls() && config.peers.is_empty() {
        warnings.push(ResourceProblem::at_field(
            Reason::AnyPeer,
            "spec.peers",
            "none are listed: every certificate of the relationship's CA is accepted, and discovery is off (list the peers with their subject_alt_names)",
        ));
    }
    warnings.extend(any_namespace_warning(config));
    warnings.extend(network_warnings(config));
    if config.discovery.import == ImportMode::Automatic && config.discovery.namespaces.is_empty() {
        warnings.push(ResourceProblem::at_field(
            Reason::NoImportNamespace,
            "spec.discovery.namespaces",
            "is empty, so import: Automatic imports nothing (list the namespaces to import services into)",
        ));
    }
    if config.mode == Mode::Flat {
        warnings.push(ResourceProblem::new(
            Reason::NotConfined,
            "FLAT limits what is announced, not who can call: any client that can reach a pod's address can call it (limit callers by AuthorizationPolicy)",
        ));
    }
    warnings
}

/// Warns about networks of peers that limit nothing, and about bits that are ignored.
fn network_warnings(config: &FedConfig) -> Vec<ResourceProblem> {
    let mut warnings = Vec::new();
    for (index, peer) in config.peers.iter().enumerate() {
        for (at, network) in peer.networks.iter().enumerate() {
            let field = format!("spec.peers[{index}].networks[{at}]");
            if network.prefix_len() == 0 {
                let message = format!(
                    "{network} contains every address, also those of this cluster (list the networks of the peer)"
                );
                warnings.push(ResourceProblem::at_field(Reason::AnyNetwork, field, message));
            } else if network.addr() != network.network() {
                let message =
                    format!("{network} means {}: the bits behind the prefix are ignored", network.trunc());
                warnings.push(ResourceProblem::at_field(Reason::FieldIgnored, field, message));
            }
        }
    }
    warnings
}

/// Warns if users of every namespace may use the relationship, and the MeshFedConfig does not say so.
fn any_namespace_warning(config: &FedConfig) -> Option<ResourceProblem> {
    (config.allowed_namespaces == AllowedNamespaces::Unset).then(|| {
        ResourceProblem::at_field(
            Reason::AnyNamespace,
            "spec.allowed_namespaces",
            "is not set: users of every namespace may expose services to the peers, and bind theirs (list the namespaces, or set [\"*\"] if this is intended)",
        )
    })
}

/// Warns if this cluster's own networks are unknown. If nodes are visible, Emcee watches all namespaces, so
/// it also knows all pods and Services.
fn own_networks_warning(view: &InputView<'_>, config: &FedConfig) -> Option<ResourceProblem> {
    let settings = view.settings();
    if config.peers.is_empty() || settings.coverage == InputCoverage::Partial {
        return None;
    }
    (settings.cluster_networks.is_empty() && view.nodes().next().is_none()).then(|| {
        ResourceProblem::new(
            Reason::OwnNetworksUnknown,
            "--cluster-networks is not set and no nodes are visible: an address of this cluster's own pods and Services could pass for a peer's (set --cluster-networks to the Pod and Service ranges, or list peers[].networks)",
        )
    })
}

/// Warns about a gateway that Emcee did not create. Such a gateway also uses keys as the rules of other users
/// say.
fn shared_gateway_warning(config: &FedConfig, gateway: &ResolvedGateway) -> Option<ResourceProblem> {
    (config.mode.terminates_tls() && !gateway.created).then(|| {
        let side = gateway.side;
        let message = format!(
            "the {side} gateway in {} is not Emcee's own, and is handed the relationship's key: anybody who may write a Gateway or a DestinationRule that it follows, in any namespace, can have it use that key (leave the selector out, and Emcee creates a gateway)",
            gateway.namespace
        );
        ResourceProblem::at_field(Reason::SharedGateway, format!("spec.{side}_gateway_selector"), message)
    })
}

fn compare_with_others(
    view: &InputView<'_>,
    config: &Arc<FedConfig>,
    warnings: &mut Vec<ResourceProblem>,
) -> Option<ResourceProblem> {
    let mut refused = None;
    let own = &config.identity;
    for other in view.fed_configs().filter(|other| other.identity.key != own.key) {
        let key = &other.identity.key;
        // The older MeshFedConfig keeps the name, and continues to work.
        if other.relationship == config.relationship && other.identity.precedence < own.precedence {
            refused = Some(ResourceProblem::at_field(
                Reason::RelationshipConflict,
                "spec.relationship",
                format!(
                    "{:?} is the relationship of the older MeshFedConfig {key} too (give one of them another spec.relationship)",
                    config.relationship
                ),
            ));
        }
        if key.namespace == own.key.namespace {
            warnings.push(ResourceProblem::new(
                Reason::SharedNamespace,
                format!("MeshFedConfig {key} is in this namespace too: a gateway of one may read the other's Secret (give each relationship a namespace)"),
            ));
        }
        if config.egress.is_some() && config.mode.terminates_tls() && other.mode.is_end_to_end() {
            warnings.extend(trust_domain::shared_trust_domain_warning(view.settings(), other));
        }
    }
    // The order of the other MeshFedConfigs must not change the status.
    warnings.sort();
    refused
}
