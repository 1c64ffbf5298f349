//! MeshFedConfig: style, trust, gateways and peers of a relationship.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use emcee_api::{
    Discovery, ImportMode, MeshFedConfig, MeshFedConfigSpec, OnPeerLoss, Peer, ServiceType, labels,
};
use ipnet::IpNet;

use super::Identity;
use super::binding::Visibility;
use super::checker::{Checker, plain};
use crate::endpoint::Endpoint;
use crate::labels::Labels;
use crate::mode::{Mode, Side};
use crate::names;
use crate::policy;
use crate::text::quote;

const DEFAULT_GATEWAY_PORT: u16 = 15443;
const DEFAULT_REPLICAS: i32 = 2;
const DEFAULT_MAX_IMPORTS: usize = 500;
const DEFAULT_EXPIRE_AFTER: Duration = Duration::from_mins(10);

/// A valid MeshFedConfig.
#[derive(Clone, Debug, PartialEq)]
pub struct FedConfig {
    /// Who it is. Its namespace is the fed namespace.
    pub identity: Identity,
    /// Its labels, `fed-config` included.
    pub labels: Labels,
    /// Data plane style.
    pub mode: Mode,
    /// Name that the meshes share.
    pub relationship: String,
    /// Labels of the Secret.
    pub tls_context: Option<Labels>,
    /// The egress gateway, if this mesh uses one.
    pub egress: Option<GatewaySettings>,
    /// The ingress gateway, if this mesh uses one.
    pub ingress: Option<GatewaySettings>,
    /// The only namespaces that may use this relationship.
    pub allowed_namespaces: Option<BTreeSet<String>>,
    /// Server names outside of `emcee.internal` that bindings may ask for: exact ones, and `*.` with a domain.
    pub allowed_server_names: Vec<String>,
    /// Networks in which exposed Services may have addresses that are no pods of theirs.
    pub allowed_backend_networks: Vec<IpNet>,
    /// Domains in which they may have names for addresses.
    pub allowed_backend_domains: Vec<String>,
    /// The other meshes.
    pub peers: Vec<PeerModel>,
    /// What is announced and imported.
    pub discovery: DiscoverySettings,
    /// Replicas of a created gateway.
    pub replicas: i32,
    /// Service type of a created ingress gateway.
    pub ingress_service_type: ServiceType,
}

/// How a user wants a gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewaySettings {
    /// Labels of existing pods; none: Emcee's own gateway.
    pub selector: Option<Labels>,
    /// Port of the gateway's Service.
    pub port: u16,
}

/// Another mesh.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerModel {
    /// Its name.
    pub name: String,
    /// Names in its certificate, at least one.
    pub subject_alt_names: Vec<String>,
    /// Where its Emcee listens.
    pub discovery: Option<Endpoint>,
    /// The only networks of its endpoints, when any are given.
    pub networks: Vec<IpNet>,
    /// Domains of its host names.
    pub domains: Vec<String>,
    /// The only trust domains of its identities, when any are given.
    pub trust_domains: Vec<String>,
}

/// What is announced and imported.
#[derive(Clone, Debug, PartialEq)]
pub struct DiscoverySettings {
    /// Whether exposed services are announced.
    pub announce: bool,
    /// What is done with announced services.
    pub import: ImportMode,
    /// Namespaces for automatic import.
    pub namespaces: BTreeSet<String>,
    /// Limit of automatic imports.
    pub max_imports: usize,
    /// Who may see automatic imports.
    pub export_to: Visibility,
    /// What happens when a peer is lost.
    pub on_peer_loss: OnPeerLoss,
    /// How long a lost peer's announcements stay.
    pub expire_after: Duration,
    /// Whether the client goes past the egress gateway.
    pub direct: bool,
}

impl FedConfig {
    /// Whether a selector of an exposition or a binding selects this MeshFedConfig.
    pub fn matches(&self, selector: &Labels) -> bool {
        self.labels.has_all(selector)
    }

    /// Whether resources of `namespace` may use this relationship.
    pub fn allows(&self, namespace: &str) -> bool {
        self.allowed_namespaces.as_ref().is_none_or(|allowed| allowed.contains(namespace))
    }
}

pub(super) fn parse(checker: &mut Checker, identity: Identity, object: &MeshFedConfig) -> FedConfig {
    let spec = &object.spec;
    let mode = mode(checker, &spec.mode);
    checker.selector("spec.tls_context_selector", &spec.tls_context_selector);
    tls_needed(checker, mode, spec);
    let discovery = discovery(checker, spec.discovery.as_ref());
    FedConfig {
        labels: effective_labels(object, &identity.key.name),
        mode: mode.unwrap_or(Mode::Flat),
        relationship: relationship(checker, spec.relationship.as_deref(), &identity.key.name),
        identity,
        tls_context: labels_of(&spec.tls_context_selector),
        egress: gateway(checker, mode, Side::Egress, spec),
        ingress: gateway(checker, mode, Side::Ingress, spec),
        allowed_namespaces: allowed_namespaces(checker, spec.allowed_namespaces.as_deref()),
        allowed_server_names: allowed_server_names(checker, &spec.allowed_server_names),
        allowed_backend_networks: networks(
            checker,
            "spec.allowed_backend_networks",
            &spec.allowed_backend_networks,
        ),
        allowed_backend_domains: domains(
            checker,
            "spec.allowed_backend_domains",
            &spec.allowed_backend_domains,
        ),
        peers: peers(checker, &spec.peers),
        discovery,
        replicas: replicas(checker, spec.gateway_replicas),
        ingress_service_type: spec.ingress_gateway_service_type.unwrap_or(ServiceType::LoadBalancer),
    }
}

fn mode(checker: &mut Checker, word: &str) -> Option<Mode> {
    let mode = word.parse().ok();
    if mode.is_none() {
        checker.refuse("spec.mode", format!("Unknown Mode {} ({})", quote(word), Mode::ALLOWED));
    }
    mode
}

fn effective_labels(object: &MeshFedConfig, name: &str) -> Labels {
    let mut labels = object.metadata.labels.clone().unwrap_or_default();
    labels.entry(labels::FED_CONFIG.to_owned()).or_insert_with(|| name.to_owned());
    (&labels).into()
}

/// None where no labels are given.
fn labels_of(selector: &BTreeMap<String, String>) -> Option<Labels> {
    (!selector.is_empty()).then(|| selector.into())
}

fn relationship(checker: &mut Checker, given: Option<&str>, own_name: &str) -> String {
    let name = given.unwrap_or(own_name);
    if given.is_some() {
        checker.label("spec.relationship", name);
    } else if !names::is_dns_label(name) {
        checker.refuse(
            "metadata.name",
            format!(
                "{} cannot be the relationship's name (set spec.relationship to a DNS label)",
                quote(name)
            ),
        );
    }
    if name == names::RESERVED_RELATIONSHIP {
        checker.refuse(
            "spec.relationship",
            "`binding` is reserved (set spec.relationship to another name, alike in all meshes)",
        );
    }
    name.to_owned()
}

fn tls_needed(checker: &mut Checker, mode: Option<Mode>, spec: &MeshFedConfigSpec) {
    if !spec.tls_context_selector.is_empty() {
        return;
    }
    if mode == Some(Mode::Boundary) {
        checker.refuse(
            "spec.tls_context_selector",
            "BOUNDARY needs the relationship's certificate (labels of its kubernetes.io/tls Secret)",
        );
    } else if spec.peers.iter().any(|peer| peer.discovery.is_some()) {
        checker.refuse(
            "spec.tls_context_selector",
            "discovery needs the relationship's certificate (labels of its kubernetes.io/tls Secret)",
        );
    }
}

fn gateway(
    checker: &mut Checker,
    mode: Option<Mode>,
    side: Side,
    spec: &MeshFedConfigSpec,
) -> Option<GatewaySettings> {
    let (used, selector, port) = match side {
        Side::Egress => (spec.use_egress_gateway, &spec.egress_gateway_selector, spec.egress_gateway_port),
        Side::Ingress => {
            (spec.use_ingress_gateway, &spec.ingress_gateway_selector, spec.ingress_gateway_port)
        }
    };
    let used = used.unwrap_or(false);
    checker.selector(&format!("spec.{side}_gateway_selector"), selector);
    if !used && !selector.is_empty() {
        checker.refuse(
            format!("spec.{side}_gateway_selector"),
            format!("does not specify {side}, but selects one (set use_{side}_gateway: true, or leave the selector out)"),
        );
    }
    let port =
        port.map_or(DEFAULT_GATEWAY_PORT, |port| checker.port(&format!("spec.{side}_gateway_port"), port));
    if let Some(mode) = mode {
        gateway_fits(checker, mode, side, used, spec);
    }
    used.then(|| GatewaySettings { selector: labels_of(selector), port })
}

fn gateway_fits(checker: &mut Checker, mode: Mode, side: Side, used: bool, spec: &MeshFedConfigSpec) {
    let field = format!("spec.use_{side}_gateway");
    if used && !mode.has_gateway(side) {
        checker.refuse(field, format!("{mode} has no {side} gateway (leave it out)"));
    } else if side == Side::Egress
        && mode.has_gateway(Side::Egress)
        && !used
        && !spec.use_ingress_gateway.unwrap_or(false)
    {
        checker.refuse(field, format!("{mode} needs the gateway of the side it plays (use_egress_gateway: true to consume, use_ingress_gateway: true to expose)"));
    }
}

fn allowed_namespaces(checker: &mut Checker, names: Option<&[String]>) -> Option<BTreeSet<String>> {
    let names = names?;
    if names.is_empty() {
        checker.refuse(
            "spec.allowed_namespaces",
            "is empty (leave it out to allow all namespaces, or name some)",
        );
    }
    for (index, name) in names.iter().enumerate() {
        checker.label(&format!("spec.allowed_namespaces[{index}]"), name);
    }
    Some(names.iter().cloned().collect())
}

fn allowed_server_names(checker: &mut Checker, patterns: &[String]) -> Vec<String> {
    for (index, pattern) in patterns.iter().enumerate() {
        if let Some(words) = policy::server_name::misformed_pattern(pattern) {
            checker.refuse(format!("spec.allowed_server_names[{index}]"), words);
        }
    }
    patterns.to_vec()
}

fn replicas(checker: &mut Checker, given: Option<i64>) -> i32 {
    let given = given.unwrap_or_else(|| DEFAULT_REPLICAS.into());
    i32::try_from(given).ok().filter(|replicas| (1..=100).contains(replicas)).unwrap_or_else(|| {
        checker.refuse("spec.gateway_replicas", format!("{given} is not a number of replicas (1 to 100)"));
        DEFAULT_REPLICAS
    })
}

fn peers(checker: &mut Checker, peers: &[Peer]) -> Vec<PeerModel> {
    let mut names = BTreeMap::new();
    let mut subject_alt_names = BTreeMap::new();
    for (index, peer) in peers.iter().enumerate() {
        if let Some(first) = names.insert(&peer.name, index) {
            checker.refuse(
                format!("spec.peers[{index}].name"),
                format!("{} is the name of spec.peers[{first}] too (names are unique)", quote(&peer.name)),
            );
        }
        for (at, name) in peer.subject_alt_names.iter().enumerate() {
            let field = format!("spec.peers[{index}].subject_alt_names[{at}]");
            match subject_alt_names.insert(name, &peer.name) {
                Some(other) if *other == peer.name => {
                    checker.refuse(field, format!("{} is listed twice", quote(name)));
                }
                Some(other) => checker.refuse(
                    field,
                    format!(
                        "{} is a name of peer {} too (a certificate's name tells one peer from another)",
                        quote(name),
                        plain(other)
                    ),
                ),
                None => {}
            }
        }
    }
    peers.iter().enumerate().map(|(index, each)| peer(checker, index, each)).collect()
}

fn peer(checker: &mut Checker, index: usize, peer: &Peer) -> PeerModel {
    let at = |field: &str| format!("spec.peers[{index}].{field}");
    checker.label(&at("name"), &peer.name);
    if peer.subject_alt_names.is_empty() {
        checker.refuse(at("subject_alt_names"), "is missing (the names in this peer's certificate; without them it could not be told from others)");
    }
    checker.subject_alt_names(&at("subject_alt_names"), &peer.subject_alt_names);
    PeerModel {
        name: peer.name.clone(),
        subject_alt_names: peer.subject_alt_names.clone(),
        discovery: peer.discovery.as_ref().and_then(|text| {
            text.parse()
                .map_err(|error: crate::endpoint::EndpointError| {
                    checker.refuse(at("discovery"), error.to_string());
                })
                .ok()
        }),
        networks: networks(checker, &at("networks"), &peer.networks),
        domains: domains(checker, &at("domains"), &peer.domains),
        trust_domains: domains(checker, &at("trust_domains"), &peer.trust_domains),
    }
}

fn domains(checker: &mut Checker, field: &str, values: &[String]) -> Vec<String> {
    for (index, value) in values.iter().enumerate().filter(|(_, value)| !names::is_dns_name(value)) {
        let message = format!("{} is not a DNS name in lower case", quote(value));
        checker.refuse(format!("{field}[{index}]"), message);
    }
    values.to_vec()
}

fn networks(checker: &mut Checker, field: &str, values: &[String]) -> Vec<IpNet> {
    let mut networks = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        match value.parse() {
            Ok(network) => networks.push(network),
            Err(_) => checker.refuse(
                format!("{field}[{index}]"),
                format!("{} is not a network (such as 203.0.113.0/24)", quote(value)),
            ),
        }
    }
    networks
}

fn discovery(checker: &mut Checker, given: Option<&Discovery>) -> DiscoverySettings {
    let given = given.cloned().unwrap_or_default();
    for (index, namespace) in given.namespaces.iter().enumerate() {
        checker.label(&format!("spec.discovery.namespaces[{index}]"), namespace);
    }
    let max_imports = given.max_imports.map_or(Ok(DEFAULT_MAX_IMPORTS), usize::try_from);
    if max_imports.is_err() {
        checker.refuse("spec.discovery.max_imports", "is negative (0 or more)");
    }
    DiscoverySettings {
        announce: given.announce.unwrap_or(true),
        import: given.import.unwrap_or(ImportMode::Manual),
        namespaces: given.namespaces.into_iter().collect(),
        max_imports: max_imports.unwrap_or(DEFAULT_MAX_IMPORTS),
        export_to: export_to(checker, given.export_to.as_deref()),
        on_peer_loss: given.on_peer_loss.unwrap_or(OnPeerLoss::Hold),
        expire_after: expire_after(checker, given.expire_after.as_deref()),
        direct: given.direct.unwrap_or(false),
    }
}

/// A peer chooses names, ports and protocols of imports: only the namespaces that were listed for them see them.
fn export_to(checker: &mut Checker, given: Option<&[String]>) -> Visibility {
    let Some(given) = given else { return Visibility::Namespace };
    Visibility::of(given).unwrap_or_else(|| {
        checker.refuse(
            "spec.discovery.export_to",
            r#"is neither ["."] (the import's namespace, the default) nor ["*"] (the whole mesh)"#,
        );
        Visibility::Namespace
    })
}

fn expire_after(checker: &mut Checker, given: Option<&str>) -> Duration {
    let Some(text) = given else { return DEFAULT_EXPIRE_AFTER };
    let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok());
    parsed.filter(|duration| !duration.is_zero()).unwrap_or_else(|| {
        checker.refuse(
            "spec.discovery.expire_after",
            format!("{} is not a duration (such as 90s, 10m or 1h)", quote(text)),
        );
        DEFAULT_EXPIRE_AFTER
    })
}
