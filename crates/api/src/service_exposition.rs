//! `ServiceExposition`: exposes a service to the meshes of a relationship.

#![expect(
    unreachable_pub,
    reason = "KubeSchema repeats each struct inside a function, where it is out of reach"
)]
#![expect(clippy::duplicated_attributes, reason = "several columns are of the same type")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Exposes one port of a Service of the same namespace to the peers of every selected relationship.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "mm.ibm.istio.io",
    version = "v1",
    kind = "ServiceExposition",
    plural = "serviceexpositions",
    shortname = "sx",
    category = "emcee",
    namespaced,
    status = "ServiceExpositionStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "Exposes one port of a Service to the peers of the selected relationships.",
    printcolumn(name = "Service", type_ = "string", json_path = ".spec.name"),
    printcolumn(name = "Port", type_ = "integer", json_path = ".spec.port"),
    printcolumn(name = "Server name", type_ = "string", json_path = ".status.server_name"),
    printcolumn(name = "Ready", type_ = "boolean", json_path = ".status.ready"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("has(self.mesh_fed_config_selector) && size(self.mesh_fed_config_selector) > 0")
        .message("requires mesh_fed_config_selector")
)]
pub struct ServiceExpositionSpec {
    /// Name of a Service in this namespace.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,

    /// Port of that Service.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i64,

    /// Labels of the MeshFedConfigs through which the service is exposed: every match exposes it. A
    /// MeshFedConfig without a label `fed-config` counts as labelled `fed-config: <its name>`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub mesh_fed_config_selector: BTreeMap<String, String>,

    /// Name under which peers know the service. Default: the Service's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub alias: Option<String>,

    /// Expose only this subset, as a DestinationRule for the Service defines it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub subset: Option<String>,

    /// Whether the service is announced to peers. `false`: peers can reach it, but it is not announced.
    /// Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<bool>,

    /// Protocol of the port: http, http2, grpc, tcp or tls. Default: the protocol of the Service's port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(
        validation = Rule::new("self.lowerAscii() in ['http', 'http2', 'grpc', 'tcp', 'tls']")
            .message("unknown protocol (http, http2, grpc, tcp or tls)")
    )]
    pub protocol: Option<String>,

    /// Names of the peers that may see and call the service. Default: all. Only BOUNDARY enforces this at the
    /// gateway; in the other styles it only limits the announcement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), inner(length(max = 63)))]
    pub peers: Option<Vec<String>>,

    /// Identities of the service's workloads (SPIFFE ids). Default: those of its pods' ServiceAccounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 2048)))]
    pub subject_alt_names: Vec<String>,

    /// Ignored: written by the first prototype.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub endpoints: Vec<String>,

    /// Ignored: written by the first prototype.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub clusters: Vec<String>,
}

/// Observed state of the exposition.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct ServiceExpositionStatus {
    /// Generation of the spec that this status describes.
    #[serde(rename = "observedGeneration", default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Accepted, Programmed, Ready, and warnings by their reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,

    /// Whether peers can reach the service.
    #[serde(default)]
    pub ready: bool,

    /// Server name (SNI) by which peers reach the service; names of several relationships are separated by
    /// commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,

    /// Addresses at which peers reach the service, as `host:port`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<String>,

    /// Peers to which the service is announced, as `<relationship>/<peer>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub announced_to: Vec<String>,
}
