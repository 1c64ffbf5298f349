//! `MeshFedConfig`: a relationship with one or more other meshes.

#![expect(
    unreachable_pub,
    reason = "KubeSchema repeats each struct inside a function, where it is out of reach"
)]
#![expect(clippy::duplicated_attributes, reason = "several columns are of the same type")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Defines a relationship: its data plane style, the certificate and CA that secure it, its gateways and its
/// peers. Restrict the right to create one to administrators.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "mm.ibm.istio.io",
    version = "v1",
    kind = "MeshFedConfig",
    plural = "meshfedconfigs",
    shortname = "mfc",
    category = "emcee",
    namespaced,
    status = "MeshFedConfigStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "A relationship with one or more other meshes: its data plane style, its trust and its gateways.",
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Relationship", type_ = "string", json_path = ".status.relationship"),
    printcolumn(name = "Peers", type_ = "string", json_path = ".status.peer_summary"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new(
        "!has(self.egress_gateway_selector) || size(self.egress_gateway_selector) == 0 \
         || (has(self.use_egress_gateway) && self.use_egress_gateway)"
    )
    .message("does not specify egress, but selects one (set use_egress_gateway: true, or leave the selector out)"),
    validation = Rule::new(
        "!has(self.ingress_gateway_selector) || size(self.ingress_gateway_selector) == 0 \
         || (has(self.use_ingress_gateway) && self.use_ingress_gateway)"
    )
    .message("does not specify ingress, but selects one (set use_ingress_gateway: true, or leave the selector out)"),
    validation = Rule::new(
        "!(self.mode.lowerAscii() in ['flat', 'passthrough']) \
         || !has(self.use_egress_gateway) || !self.use_egress_gateway"
    )
    .message("this style has no egress gateway (leave use_egress_gateway out)"),
    validation = Rule::new(
        "self.mode.lowerAscii() != 'flat' || !has(self.use_ingress_gateway) || !self.use_ingress_gateway"
    )
    .message("FLAT has no ingress gateway (leave use_ingress_gateway out)"),
    validation = Rule::new(
        "!(self.mode.lowerAscii() in ['boundary', 'wharf']) \
         || (has(self.use_egress_gateway) && self.use_egress_gateway) \
         || (has(self.use_ingress_gateway) && self.use_ingress_gateway)"
    )
    .message("this style needs the gateway of the side it plays (use_egress_gateway: true to consume, use_ingress_gateway: true to expose)"),
    validation = Rule::new(
        "self.mode.lowerAscii() != 'boundary' \
         || (has(self.tls_context_selector) && size(self.tls_context_selector) > 0)"
    )
    .message("BOUNDARY needs tls_context_selector (labels of the relationship's kubernetes.io/tls Secret)")
)]
pub struct MeshFedConfigSpec {
    /// Data plane style, in any letter case. BOUNDARY: both gateways terminate TLS, no common root of trust is
    /// needed. PASSTHROUGH: TLS passes through the exposing side's gateway. WHARF: TLS passes through both
    /// gateways. FLAT: no gateways.
    #[x_kube(
        validation = Rule::new("self.lowerAscii() in ['boundary', 'passthrough', 'wharf', 'flat']")
            .message(Message::Expression(
                "'Unknown Mode \"' + self + '\" (BOUNDARY, PASSTHROUGH, WHARF or FLAT)'".into()
            ))
    )]
    #[schemars(length(max = 64))]
    pub mode: String,

    /// Labels of the `kubernetes.io/tls` Secret in this namespace that holds the relationship's certificate
    /// (`tls.crt`, `tls.key`) and its CA (`ca.crt`, or exactly one other `*.crt` key). Exactly one Secret
    /// must match. Required for BOUNDARY and for discovery.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub tls_context_selector: BTreeMap<String, String>,

    /// Whether this mesh reaches services of other meshes through an egress gateway (BOUNDARY and WHARF).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_egress_gateway: Option<bool>,

    /// Whether other meshes reach services of this mesh through an ingress gateway (all styles but FLAT).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_ingress_gateway: Option<bool>,

    /// Labels of existing egress gateway pods. If it is empty, or no such pods exist, Emcee creates a gateway
    /// in this namespace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub egress_gateway_selector: BTreeMap<String, String>,

    /// Labels of existing ingress gateway pods. If it is empty, or no such pods exist, Emcee creates a
    /// gateway in this namespace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub ingress_gateway_selector: BTreeMap<String, String>,

    /// Port of the egress gateway's Service. Default 15443.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub egress_gateway_port: Option<i64>,

    /// Port of the ingress gateway's Service. Default 15443.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub ingress_gateway_port: Option<i64>,

    /// Name that the meshes of this relationship share. Default: this object's name. `binding` is reserved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self != 'binding'").message("`binding` is a reserved relationship name"))]
    pub relationship: Option<String>,

    /// Namespaces whose ServiceExpositions and ServiceBindings may use this relationship. `["*"]` allows
    /// all. Default: all, with a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000), inner(length(max = 63)))]
    pub allowed_namespaces: Option<Vec<String>>,

    /// Server names outside of `emcee.internal` that ServiceBindings may request: exact names, or `*.` and a
    /// domain for all names below it. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 100),
        inner(length(max = 247), regex(pattern = r"^([*][.])?[a-z0-9][-a-z0-9.]*[a-z0-9]$"))
    )]
    pub allowed_server_names: Vec<String>,

    /// Networks (CIDR) in which exposed Services may have addresses that are not pods of their own
    /// namespaces, even if Emcee knows that these belong to other workloads or to this cluster itself.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(max = 64)))]
    pub allowed_backend_networks: Vec<String>,

    /// DNS domains in which exposed Services may have host names as addresses. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(max = 253)))]
    pub allowed_backend_domains: Vec<String>,

    /// The other meshes. If it is empty, the gateways accept every certificate of the relationship's CA, and
    /// discovery is off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub peers: Vec<Peer>,

    /// Which services are announced to peers, and how announcements of peers are handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery: Option<Discovery>,

    /// Replicas of a gateway that Emcee creates. Default 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub gateway_replicas: Option<i64>,

    /// Type of the Service of an ingress gateway that Emcee creates. Default LoadBalancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress_gateway_service_type: Option<ServiceType>,
}

/// Another mesh of the relationship.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("has(self.subject_alt_names) && size(self.subject_alt_names) > 0")
        .message("requires subject_alt_names (the names in this peer's certificate)")
)]
pub struct Peer {
    /// Name of the peer, unique in this MeshFedConfig.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,

    /// Names in this peer's relationship certificate: DNS names or `spiffe://` URIs, compared exactly. No two
    /// peers may share one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 2048)))]
    pub subject_alt_names: Vec<String>,

    /// Where this peer's Emcee listens, as `host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 300))]
    pub discovery: Option<String>,

    /// The only networks (CIDR) in which this peer's endpoints may be, announced or given in a binding.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(max = 64)))]
    pub networks: Vec<String>,

    /// DNS domains in which this peer's host names may be, announced or given in a binding. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(max = 253)))]
    pub domains: Vec<String>,

    /// The only trust domains in which the workload identities that this peer announces may be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(max = 253)))]
    pub trust_domains: Vec<String>,
}

/// Settings for announcements to peers and from peers.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Discovery {
    /// Whether exposed services are announced to peers. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announce: Option<bool>,

    /// Manual (default): announced services are listed, and you create the bindings. Automatic: Emcee creates
    /// a ServiceBinding for each, in the namespaces listed below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<ImportMode>,

    /// Namespaces in which services may be imported automatically. They must exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(max = 63)))]
    pub namespaces: Vec<String>,

    /// Largest number of services that are imported automatically. Default 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub max_imports: Option<i64>,

    /// Who in this mesh may see automatic imports: `["."]` (the import's namespace, the default) or `["*"]`
    /// (all).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1), inner(length(max = 63)))]
    #[x_kube(
        validation = Rule::new("self == ['.'] || self == ['*']")
            .message("is neither [\".\"] (the import's namespace, the default) nor [\"*\"] (the whole mesh)")
    )]
    pub export_to: Option<Vec<String>>,

    /// Hold (default): when a peer is unreachable, its last announcements stay. Expire: they are removed
    /// after `expire_after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_peer_loss: Option<OnPeerLoss>,

    /// How long the announcements of an unreachable peer stay with Expire, such as `10m` (the default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub expire_after: Option<String>,

    /// Connect to peers directly, bypassing the egress gateway. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct: Option<bool>,
}

/// How announced services are imported.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportMode {
    /// Announced services are listed for a user to bind.
    Manual,
    /// Emcee creates a ServiceBinding for each announced service.
    Automatic,
}

/// What happens to the announcements of an unreachable peer.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnPeerLoss {
    /// The announcements stay until the peer withdraws them.
    Hold,
    /// The announcements are removed after a timeout.
    Expire,
}

/// Type of a gateway's Service.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceType {
    /// Peers use the address of the load balancer.
    LoadBalancer,
    /// Peers use a port of each node.
    NodePort,
    /// Peers use an address within the cluster, or the Service's external IPs.
    ClusterIP,
}

/// Observed state of the relationship.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct MeshFedConfigStatus {
    /// Generation of the spec that this status describes.
    #[serde(rename = "observedGeneration", default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Accepted, Programmed, Ready, CertificateValid, and warnings by their reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,

    /// Name of the relationship that is in effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relationship: Option<String>,

    /// Names of the peers, for `kubectl get`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_summary: Option<String>,

    /// State of each peer, as observed by discovery.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<PeerStatus>,
}

/// State of a peer, as observed by discovery.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct PeerStatus {
    /// Name of the peer.
    pub name: String,
    /// Whether this mesh receives the peer's announcements.
    pub connected: bool,
    /// When the connection was last established or lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,
    /// Number of services that the peer announces to this mesh.
    #[serde(default)]
    pub announced: i64,
    /// Number of announced services that are bound.
    #[serde(default)]
    pub imported: i64,
    /// Why the peer is not connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
