//! MeshFedConfig: style, trust, gateways and peers of a relationship.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use emcee_api::{
    Discovery, ImportMode, MeshFedConfig, MeshFedConfigSpec, OnPeerLoss, Peer, ServiceType, labels,
};
use ipnet::IpNet;

use super::ResourceIdentity;
use super::binding::ExportScope;
use super::field_checker::FieldChecker;
use crate::endpoint::Endpoint;
use crate::labels::Labels;
use crate::mode::{GatewaySide, Mode};
use crate::names;
use crate::policy;
use crate::ports::INTER_MESH_PORT;
use crate::text::{MAX_TEXT_CHARS, escape_text, quote_value};

/// Entry of `spec.allowed_namespaces` that allows all namespaces.
const ALL_NAMESPACES: &str = "*";
const DEFAULT_REPLICAS: i32 = 2;
const DEFAULT_MAX_IMPORTS: usize = 500;
const DEFAULT_EXPIRE_AFTER: Duration = Duration::from_mins(10);

/// MeshFedConfig with valid values.
#[derive(Clone, Debug, PartialEq)]
pub struct FedConfig {
    /// Namespace, name, precedence and generation. The namespace is the fed namespace.
    pub identity: ResourceIdentity,
    /// Labels of the object, with `fed-config` added if it is missing.
    pub labels: Labels,
    /// Data plane style (`spec.mode`).
    pub mode: Mode,
    /// Name of the relationship, which all meshes share.
    pub relationship: String,
    /// Labels of the Secret with the relationship's certificate; `None` if not given.
    pub tls_context: Option<Labels>,
    /// Settings of the egress gateway; `None` if this mesh does not use one.
    pub egress: Option<GatewaySettings>,
    /// Settings of the ingress gateway; `None` if this mesh does not use one.
    pub ingress: Option<GatewaySettings>,
    /// The namespaces that may use this relationship.
    pub allowed_namespaces: AllowedNamespaces,
    /// Server names outside of `emcee.internal` that bindings may request: exact names, and `*.` with a
    /// domain.
    pub allowed_server_names: Vec<String>,
    /// Networks in which exposed Services may have addresses that are not their own pods.
    pub allowed_backend_networks: Vec<IpNet>,
    /// Domains in which exposed Services may have host names as addresses.
    pub allowed_backend_domains: Vec<String>,
    /// The other meshes of the relationship.
    pub peers: Vec<PeerSettings>,
    /// Settings for announcements and imports.
    pub discovery: DiscoverySettings,
    /// Number of replicas of a created gateway.
    pub replicas: i32,
    /// Service type of a created ingress gateway.
    pub ingress_service_type: ServiceType,
}

/// Namespaces whose resources may use a relationship (`spec.allowed_namespaces`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedNamespaces {
    /// Not given: all namespaces, with a warning.
    Unset,
    /// All namespaces, as the user states with `*`.
    All,
    /// The listed namespaces only.
    Listed(BTreeSet<String>),
}

/// Settings of one gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewaySettings {
    /// Labels of existing gateway pods; `None` for a gateway that Emcee creates.
    pub selector: Option<Labels>,
    /// Port of the gateway's Service.
    pub port: u16,
}

/// Settings of one peer.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerSettings {
    /// Name of the peer.
    pub name: String,
    /// Names in the peer's certificate, at least one.
    pub subject_alt_names: Vec<String>,
    /// Address of the peer's Emcee; `None` if only the peer connects to this mesh.
    pub discovery: Option<Endpoint>,
    /// Networks that contain all of the peer's endpoints; empty if not given.
    pub networks: Vec<IpNet>,
    /// Domains that contain all of the peer's host names.
    pub domains: Vec<String>,
    /// Trust domains that contain all of the peer's identities; empty if not given.
    pub trust_domains: Vec<String>,
}

/// Settings for announcements and imports.
#[derive(Clone, Debug, PartialEq)]
pub struct DiscoverySettings {
    /// Whether exposed services are announced.
    pub announce: bool,
    /// How announced services are imported.
    pub import: ImportMode,
    /// Namespaces in which services are imported automatically.
    pub namespaces: BTreeSet<String>,
    /// Largest number of automatic imports.
    pub max_imports: usize,
    /// Namespaces that may see automatic imports.
    pub export_to: ExportScope,
    /// What happens to the announcements of an unreachable peer.
    pub on_peer_loss: OnPeerLoss,
    /// How long the announcements of an unreachable peer stay, if they expire.
    pub expire_after: Duration,
    /// Whether Emcee connects to peers directly, bypassing the egress gateway.
    pub direct: bool,
}

impl FedConfig {
    /// Whether the selector of an exposition or a binding selects this MeshFedConfig.
    pub fn has_labels(&self, selector: &Labels) -> bool {
        self.labels.has_all(selector)
    }

    /// Whether resources of `namespace` may use this relationship.
    pub fn allows_namespace(&self, namespace: &str) -> bool {
        match &self.allowed_namespaces {
            AllowedNamespaces::Unset | AllowedNamespaces::All => true,
            AllowedNamespaces::Listed(allowed) => allowed.contains(namespace),
        }
    }
}

pub(super) fn parse(
    checker: &mut FieldChecker,
    identity: ResourceIdentity,
    object: &MeshFedConfig,
) -> FedConfig {
    let spec = &object.spec;
    let mode = parse_mode(checker, &spec.mode);
    checker.check_selector("spec.tls_context_selector", &spec.tls_context_selector);
    check_tls_context(checker, mode, spec);
    let discovery = parse_discovery(checker, spec.discovery.as_ref());
    FedConfig {
        labels: effective_labels(object, &identity.key.name),
        // An invalid mode was refused above, so this value is never used: the object has problems and no
        // model is returned.
        mode: mode.unwrap_or(Mode::Flat),
        relationship: relationship_name(checker, spec.relationship.as_deref(), &identity.key.name),
        identity,
        tls_context: optional_labels(&spec.tls_context_selector),
        egress: parse_gateway(checker, mode, GatewaySide::Egress, spec),
        ingress: parse_gateway(checker, mode, GatewaySide::Ingress, spec),
        allowed_namespaces: parse_allowed_namespaces(checker, spec.allowed_namespaces.as_deref()),
        allowed_server_names: parse_allowed_server_names(checker, &spec.allowed_server_names),
        allowed_backend_networks: parse_networks(
            checker,
            "spec.allowed_backend_networks",
            &spec.allowed_backend_networks,
        ),
        allowed_backend_domains: parse_domains(
            checker,
            "spec.allowed_backend_domains",
            &spec.allowed_backend_domains,
        ),
        peers: parse_peers(checker, &spec.peers),
        discovery,
        replicas: parse_replicas(checker, spec.gateway_replicas),
        ingress_service_type: spec.ingress_gateway_service_type.unwrap_or(ServiceType::LoadBalancer),
    }
}

fn parse_mode(checker: &mut FieldChecker, word: &str) -> Option<Mode> {
    let mode = word.parse().ok();
    if mode.is_none() {
        checker.refuse("spec.mode", format!("Unknown Mode {} ({})", quote_value(word), Mode::ALLOWED));
    }
    mode
}

fn effective_labels(object: &MeshFedConfig, name: &str) -> Labels {
    let mut labels = object.metadata.labels.clone().unwrap_or_default();
    labels.entry(labels::FED_CONFIG.to_owned()).or_insert_with(|| name.to_owned());
    (&labels).into()
}

/// Returns `None` if there are no labels.
fn optional_labels(selector: &BTreeMap<String, String>) -> Option<Labels> {
    (!selector.is_empty()).then(|| selector.into())
}

fn relationship_name(checker: &mut FieldChecker, given: Option<&str>, own_name: &str) -> String {
    let name = given.unwrap_or(own_name);
    if given.is_some() {
        checker.check_label("spec.relationship", name);
    } else if !names::is_dns_label(name) {
        checker.refuse(
            "metadata.name",
            format!(
                "{} cannot be the relationship's name (set spec.relationship to a DNS label)",
                quote_value(name)
            ),
        );
    }
    // The names of binding hosts are below `binding.emcee.internal`.
    if name == names::RESERVED_RELATIONSHIP {
        checker.refuse(
            "spec.relationship",
            "`binding` is reserved (set spec.relationship to another name, alike in all meshes)",
        );
    }
    name.to_owned()
}

fn check_tls_context(checker: &mut FieldChecker, mode: Option<Mode>, spec: &MeshFedConfigSpec) {
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

fn parse_gateway(
    checker: &mut FieldChecker,
    mode: Option<Mode>,
    side: GatewaySide,
    spec: &MeshFedConfigSpec,
) -> Option<GatewaySettings> {
    let (used, selector, port) = match side {
        GatewaySide::Egress => {
            (spec.use_egress_gateway, &spec.egress_gateway_selector, spec.egress_gateway_port)
        }
        GatewaySide::Ingress => {
            (spec.use_ingress_gateway, &spec.ingress_gateway_selector, spec.ingress_gateway_port)
        }
    };
    let used = used.unwrap_or(false);
    checker.check_selector(&format!("spec.{side}_gateway_selector"), selector);
    if !used && !selector.is_empty() {
        checker.refuse(
            format!("spec.{side}_gateway_selector"),
            format!("does not specify {side}, but selects one (set use_{side}_gateway: true, or leave the selector out)"),
        );
    }
    let port =
        port.map_or(INTER_MESH_PORT, |port| checker.parse_port(&format!("spec.{side}_gateway_port"), port));
    // With an invalid mode it is unknown which gateways are needed. Its own problem is enough.
    if let Some(mode) = mode {
        check_gateway_use(checker, mode, side, used, spec);
    }
    used.then(|| GatewaySettings { selector: optional_labels(selector), port })
}

fn check_gateway_use(
    checker: &mut FieldChecker,
    mode: Mode,
    side: GatewaySide,
    used: bool,
    spec: &MeshFedConfigSpec,
) {
    let field = format!("spec.use_{side}_gateway");
    if used && !mode.has_gateway(side) {
        checker.refuse(field, format!("{mode} has no {side} gateway (leave it out)"));
    } else if side == GatewaySide::Egress
        && mode.has_gateway(GatewaySide::Egress)
        && !used
        && !spec.use_ingress_gateway.unwrap_or(false)
    {
        checker.refuse(field, format!("{mode} needs the gateway of the side it plays (use_egress_gateway: true to consume, use_ingress_gateway: true to expose)"));
    }
}

fn parse_allowed_namespaces(checker: &mut FieldChecker, names: Option<&[String]>) -> AllowedNamespaces {
    let Some(names) = names else { return AllowedNamespaces::Unset };
    if names.is_empty() {
        checker.refuse(
            "spec.allowed_namespaces",
            "is empty (name some namespaces, or set [\"*\"] to allow all)",
        );
    }
    if names == [ALL_NAMESPACES] {
        return AllowedNamespaces::All;
    }
    for (index, name) in names.iter().enumerate() {
        let field = format!("spec.allowed_namespaces[{index}]");
        if name == ALL_NAMESPACES {
            checker.refuse(field, "\"*\" allows all namespaces (leave out the others, or \"*\")");
        } else {
            checker.check_label(&field, name);
        }
    }
    AllowedNamespaces::Listed(names.iter().cloned().collect())
}

fn parse_allowed_server_names(checker: &mut FieldChecker, patterns: &[String]) -> Vec<String> {
    for (index, pattern) in patterns.iter().enumerate() {
        if let Some(words) = policy::server_name::why_malformed_pattern(pattern) {
            checker.refuse(format!("spec.allowed_server_names[{index}]"), words);
        }
    }
    patterns.to_vec()
}

fn parse_replicas(checker: &mut FieldChecker, given: Option<i64>) -> i32 {
    let given = given.unwrap_or_else(|| DEFAULT_REPLICAS.into());
    i32::try_from(given).ok().filter(|replicas| (1..=100).contains(replicas)).unwrap_or_else(|| {
        checker.refuse("spec.gateway_replicas", format!("{given} is not a number of replicas (1 to 100)"));
        DEFAULT_REPLICAS
    })
}

fn parse_peers(checker: &mut FieldChecker, peers: &[Peer]) -> Vec<PeerSettings> {
    let mut names = BTreeMap::new();
    // A certificate identifies its peer by these names, so no two peers may share one.
    let mut subject_alt_names = BTreeMap::new();
    for (index, peer) in peers.iter().enumerate() {
        if let Some(first) = names.insert(&peer.name, index) {
            checker.refuse(
                format!("spec.peers[{index}].name"),
                format!(
                    "{} is the name of spec.peers[{first}] too (names are unique)",
                    quote_value(&peer.name)
                ),
            );
        }
        for (at, name) in peer.subject_alt_names.iter().enumerate() {
            let field = format!("spec.peers[{index}].subject_alt_names[{at}]");
            match subject_alt_names.insert(name, &peer.name) {
                Some(other) if *other == peer.name => {
                    checker.refuse(field, format!("{} is listed twice", quote_value(name)));
                }
                Some(other) => checker.refuse(
                    field,
                    format!(
                        "{} is a name of peer {} too (a certificate's name tells one peer from another)",
                        quote_value(name),
                        escape_text(other, MAX_TEXT_CHARS)
                    ),
                ),
                None => {}
            }
        }
    }
    peers.iter().enumerate().map(|(index, each)| parse_peer(checker, index, each)).collect()
}

fn parse_peer(checker: &mut FieldChecker, index: usize, peer: &Peer) -> PeerSettings {
    let at = |field: &str| format!("spec.peers[{index}].{field}");
    checker.check_label(&at("name"), &peer.name);
    if peer.subject_alt_names.is_empty() {
        checker.refuse(at("subject_alt_names"), "is missing (the names in this peer's certificate; without them it could not be told from others)");
    }
    checker.check_subject_alt_names(&at("subject_alt_names"), &peer.subject_alt_names);
    PeerSettings {
        name: peer.name.clone(),
        subject_alt_names: peer.subject_alt_names.clone(),
        discovery: peer.discovery.as_ref().and_then(|text| {
            text.parse()
                .map_err(|error: crate::endpoint::EndpointError| {
                    checker.refuse(at("discovery"), error.to_string());
                })
                .ok()
        }),
        networks: parse_networks(checker, &at("networks"), &peer.networks),
        domains: parse_domains(checker, &at("domains"), &peer.domains),
        trust_domains: parse_domains(checker, &at("trust_domains"), &peer.trust_domains),
    }
}

fn parse_domains(checker: &mut FieldChecker, field: &str, values: &[String]) -> Vec<String> {
    for (index, value) in values.iter().enumerate().filter(|(_, value)| !names::is_dns_name(value)) {
        let message = format!("{} is not a DNS name in lower case", quote_value(value));
        checker.refuse(format!("{field}[{index}]"), message);
    }
    values.to_vec()
}

fn parse_networks(checker: &mut FieldChecker, field: &str, values: &[String]) -> Vec<IpNet> {
    let mut networks = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        match value.parse() {
            Ok(network) => networks.push(network),
            Err(_) => checker.refuse(
                format!("{field}[{index}]"),
                format!("{} is not a network (such as 203.0.113.0/24)", quote_value(value)),
            ),
        }
    }
    networks
}

fn parse_discovery(checker: &mut FieldChecker, given: Option<&Discovery>) -> DiscoverySettings {
    let given = given.cloned().unwrap_or_default();
    for (index, namespace) in given.namespaces.iter().enumerate() {
        checker.check_label(&format!("spec.discovery.namespaces[{index}]"), namespace);
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
        export_to: parse_export_to(checker, given.export_to.as_deref()),
        on_peer_loss: given.on_peer_loss.unwrap_or(OnPeerLoss::Hold),
        expire_after: parse_expire_after(checker, given.expire_after.as_deref()),
        direct: given.direct.unwrap_or(false),
    }
}

/// Reads the export scope of imports. A peer chooses the names, ports and protocols of imports, so by default
/// only the namespaces that are listed for them see them.
fn parse_export_to(checker: &mut FieldChecker, given: Option<&[String]>) -> ExportScope {
    let Some(given) = given else { return ExportScope::Namespace };
    ExportScope::from_export_to(given).unwrap_or_else(|| {
        checker.refuse(
            "spec.discovery.export_to",
            r#"is neither ["."] (the import's namespace, the default) nor ["*"] (the whole mesh)"#,
        );
        ExportScope::Namespace
    })
}

fn parse_expire_after(checker: &mut FieldChecker, given: Option<&str>) -> Duration {
    let Some(text) = given else { return DEFAULT_EXPIRE_AFTER };
    // A negative duration fails the conversion. Zero would remove announcements at every interruption.
    let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok());
    parsed.filter(|duration| !duration.is_zero()).unwrap_or_else(|| {
        checker.refuse(
            "spec.discovery.expire_after",
            format!("{} is not a duration (such as 90s, 10m or 1h)", quote_value(text)),
        );
        DEFAULT_EXPIRE_AFTER
    })
}
