//! Types of `networking/v1alpha3/destination_rule.proto`.

use std::collections::BTreeMap;

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::{Duration, PortSelector, ProtoName, WorkloadSelector, enumeration::proto_enum, is_unset};

/// `istio.networking.v1alpha3.DestinationRule`: how clients connect to a host.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message, CustomResource)]
#[kube(group = "networking.istio.io", version = "v1", kind = "DestinationRule", plural = "destinationrules")]
#[kube(namespaced, schema = "disabled", derive = "PartialEq")]
#[serde(default, rename_all = "camelCase")]
pub struct DestinationRuleSpec {
    /// Host to which the rule applies; may start with `*.`.
    #[prost(string, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub host: String,
    /// Traffic policy for the whole host.
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub traffic_policy: Option<TrafficPolicy>,
    /// Named parts of the host, to which routes refer.
    #[prost(message, repeated, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub subsets: Vec<Subset>,
    /// Namespaces that see the rule; `.` is its own namespace.
    #[prost(string, repeated, tag = "4")]
    #[serde(skip_serializing_if = "is_unset")]
    pub export_to: Vec<String>,
    /// Clients in the rule's own namespace that follow it.
    #[prost(message, optional, tag = "5")]
    #[serde(skip_serializing_if = "is_unset")]
    pub workload_selector: Option<WorkloadSelector>,
}

/// `istio.networking.v1alpha3.TrafficPolicy`: connection settings for a host or a subset.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct TrafficPolicy {
    /// Limits and protocol of connections.
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub connection_pool: Option<ConnectionPool>,
    /// When an endpoint is temporarily ejected.
    #[prost(message, optional, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS settings of the client.
    #[prost(message, optional, tag = "4")]
    #[serde(skip_serializing_if = "is_unset")]
    pub tls: Option<ClientTls>,
    /// Overrides the fields above for single ports of the host. Emcee only reads it.
    #[prost(message, repeated, tag = "5")]
    #[serde(skip_serializing_if = "is_unset")]
    pub port_level_settings: Vec<PortTrafficPolicy>,
}

/// `istio.networking.v1alpha3.TrafficPolicy.PortTrafficPolicy`: connection settings for one port.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct PortTrafficPolicy {
    /// Port to which the settings apply.
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub port: Option<PortSelector>,
    /// TLS settings of the client.
    #[prost(message, optional, tag = "5")]
    #[serde(skip_serializing_if = "is_unset")]
    pub tls: Option<ClientTls>,
}

/// `istio.networking.v1alpha3.Subset`: a named part of a host.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct Subset {
    /// Name by which routes refer to the subset.
    #[prost(string, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub name: String,
    /// Labels of the subset's endpoints.
    #[prost(btree_map = "string, string", tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub labels: BTreeMap<String, String>,
    /// Overrides the host's traffic policy.
    #[prost(message, optional, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub traffic_policy: Option<TrafficPolicy>,
}

/// `istio.networking.v1alpha3.ConnectionPoolSettings`: limits for connections to a host.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct ConnectionPool {
    /// Settings for all protocols.
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub tcp: Option<TcpSettings>,
    /// Settings for HTTP only.
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub http: Option<HttpSettings>,
}

/// `istio.networking.v1alpha3.ConnectionPoolSettings.TCPSettings`: settings for all connections.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct TcpSettings {
    /// Timeout for establishing a connection. `None` means the mesh's own timeout, which is 10 s by default.
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub connect_timeout: Option<Duration>,
}

/// `istio.networking.v1alpha3.ConnectionPoolSettings.HTTPSettings`: settings for HTTP connections.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpSettings {
    /// Uses the HTTP version of the caller.
    #[prost(bool, tag = "7")]
    #[serde(skip_serializing_if = "is_unset")]
    pub use_client_protocol: bool,
}

/// `istio.networking.v1alpha3.OutlierDetection`: when an endpoint is temporarily ejected.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct OutlierDetection {
    /// Consecutive errors before an endpoint is ejected. `None` means 5, and 0 means never (`UInt32Value`).
    #[prost(message, optional, tag = "7")]
    #[serde(rename = "consecutive5xxErrors", skip_serializing_if = "is_unset")]
    pub consecutive_5xx_errors: Option<u32>,
    /// Time between two checks of the errors.
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub interval: Option<Duration>,
    /// Shortest ejection; it grows with each ejection.
    #[prost(message, optional, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub base_ejection_time: Option<Duration>,
    /// Largest share of the endpoints that may be ejected, in percent; 0 means Istio's default of 10.
    #[prost(int32, tag = "4")]
    #[serde(skip_serializing_if = "is_unset")]
    pub max_ejection_percent: i32,
    /// Share of healthy endpoints, in percent, below which all endpoints are used again: Envoy's panic
    /// threshold. Where it is absent, Istio sets the threshold to 0, which means never.
    #[prost(int32, tag = "5")]
    #[serde(skip_serializing_if = "is_unset")]
    pub min_health_percent: i32,
}

/// `istio.networking.v1alpha3.ClientTLSSettings`: TLS settings of a client.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct ClientTls {
    /// Whether the client uses TLS, and with which certificate.
    #[prost(enumeration = "ClientTlsMode", tag = "1")]
    #[serde(with = "ProtoName::<ClientTlsMode>")]
    #[serde(skip_serializing_if = "ProtoName::<ClientTlsMode>::is_nameless")]
    pub mode: i32,
    /// Secret in the proxy's namespace with the key, the certificate and the CAs of servers.
    #[prost(string, tag = "7")]
    #[serde(skip_serializing_if = "is_unset")]
    pub credential_name: String,
    /// Allowed names of the server's certificate; it must have one of them.
    #[prost(string, repeated, tag = "5")]
    #[serde(skip_serializing_if = "is_unset")]
    pub subject_alt_names: Vec<String>,
    /// Server name (SNI) that the client requests in the handshake.
    #[prost(string, tag = "6")]
    #[serde(skip_serializing_if = "is_unset")]
    pub sni: String,
}

impl ClientTls {
    /// Returns settings with that mode and no other field.
    pub fn new(mode: ClientTlsMode) -> Self {
        Self { mode: mode.into(), ..Self::default() }
    }
}

proto_enum! {
    /// `istio.networking.v1alpha3.ClientTLSSettings.TLSmode`.
    ClientTlsMode {
        /// The client does not use TLS.
        Disable = 0 => "DISABLE",
        /// The client has no certificate.
        Simple = 1 => "SIMPLE",
        /// The client uses a certificate from a Secret.
        Mutual = 2 => "MUTUAL",
        /// The client uses the certificate that Istio issued.
        IstioMutual = 3 => "ISTIO_MUTUAL",
    }
}
