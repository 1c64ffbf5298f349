//! `ServiceBinding`: uses a service that another mesh exposes.

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

/// Makes a service of another mesh callable in this namespace by a plain name.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "mm.ibm.istio.io",
    version = "v1",
    kind = "ServiceBinding",
    plural = "servicebindings",
    shortname = "sb",
    category = "emcee",
    namespaced,
    status = "ServiceBindingStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "Makes a service of another mesh callable in this namespace by a plain name.",
    printcolumn(name = "Service", type_ = "string", json_path = ".spec.name"),
    printcolumn(name = "Host", type_ = "string", json_path = ".status.host"),
    printcolumn(name = "Source", type_ = "string", json_path = ".status.source"),
    printcolumn(name = "Ready", type_ = "boolean", json_path = ".status.ready"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("has(self.mesh_fed_config_selector) && size(self.mesh_fed_config_selector) > 0")
        .message("requires mesh_fed_config_selector")
)]
pub struct ServiceBindingSpec {
    /// Name under which the other mesh exposes the service.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,

    /// Namespace of the service in the other mesh. Default: the namespace of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: Option<String>,

    /// Labels of the one MeshFedConfig through which the service is reached. A MeshFedConfig without a label
    /// `fed-config` counts as labelled `fed-config: <its name>`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub mesh_fed_config_selector: BTreeMap<String, String>,

    /// Name of the Service through which applications here call the remote one. Default: `name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub alias: Option<String>,

    /// Port of that Service. Default: the announced one, else 5000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i64>,

    /// Addresses of the remote ingress gateway (FLAT: of the pods), as `host:port`. Default: from discovery.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 270), regex(pattern = r"^.+:[0-9]{1,5}$")))]
    pub endpoints: Vec<String>,

    /// Makes the remote service this subset of a local Service of the same name. Emcee then creates no
    /// Service, and your own VirtualService sends traffic to `status.host`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub subset: Option<String>,

    /// Protocol of the port: http, http2, grpc, tcp or tls. Default: the announced one, else http.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(
        validation = Rule::new("self.lowerAscii() in ['http', 'http2', 'grpc', 'tcp', 'tls']")
            .message("unknown protocol (http, http2, grpc, tcp or tls)")
    )]
    pub protocol: Option<String>,

    /// Name of the peer that provides the service. Required if several peers announce it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub peer: Option<String>,

    /// Server name (SNI) of the remote service, if it differs from the one computed from name, namespace and
    /// relationship. Below `emcee.internal` it must be the name of a service of the relationship. Any other
    /// name must be listed in the MeshFedConfig's `allowed_server_names`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(
        validation = Rule::new(
            "!(self == 'emcee.internal' || self.endsWith('.emcee.internal')) \
             || self.matches('^([-a-z0-9]{1,63}[.]){3}emcee[.]internal$')"
        )
        .message("is a name of Emcee's own (below emcee.internal only <name>.<namespace>.<relationship>.emcee.internal)")
    )]
    pub server_name: Option<String>,

    /// Identities (SPIFFE ids) that the remote service may have, in the styles in which TLS is end to end.
    /// Default: the announced ones. If none are known, any identity of the root of trust is accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 2048)))]
    pub subject_alt_names: Vec<String>,

    /// Who in this mesh may see the service: `["."]` (this namespace) or `["*"]` (all, the default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1), inner(length(max = 63)))]
    #[x_kube(
        validation = Rule::new("self == ['.'] || self == ['*']")
            .message("is neither [\".\"] (this namespace) nor [\"*\"] (the whole mesh, the default)")
    )]
    pub export_to: Option<Vec<String>>,
}

/// Observed state of the binding.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct ServiceBindingStatus {
    /// Generation of the spec that this status describes.
    #[serde(rename = "observedGeneration", default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Accepted, Programmed, Ready, and warnings by their reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,

    /// Whether applications can call the service.
    #[serde(default)]
    pub ready: bool,

    /// Host of the remote service, for use in a VirtualService (subset `emcee`; in BOUNDARY with the header
    /// `Host` set to it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,

    /// Server name (SNI) under which the other mesh serves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,

    /// Endpoints in use, as `host:port`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<String>,

    /// Source of the endpoints: `spec`, or the name of a peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,

    /// Since when the announcing peer is unreachable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_since: Option<Time>,

    /// Accepted announcement, which Emcee reads back after a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announcement: Option<AnnouncementStatus>,
}

/// Service as a peer announced it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct AnnouncementStatus {
    /// Name of the peer.
    pub peer: String,
    /// Protocol of the port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Port of the remote Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i64>,
    /// Endpoints of the service, as `host:port`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<String>,
    /// Identities of the service's workloads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<String>,
    /// Version of the announcement: a hash of its content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Style of the relationship at the time of the announcement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Trust domain of the mesh that announced it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_domain: Option<String>,
    /// Hash of the root certificates of that mesh's workloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_hash: Option<String>,
    /// Whether the peer withdrew the announcement. The other fields then describe the last announcement.
    #[serde(default, skip_serializing_if = "is_false")]
    pub withdrawn: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}
