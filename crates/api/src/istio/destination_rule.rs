//! `networking/v1alpha3/destination_rule.proto`

use std::collections::BTreeMap;

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::{Duration, PortSelector, ProtoName, WorkloadSelector, enumeration::proto_enum, is_unset};

/// `istio.networking.v1alpha3.DestinationRule`: how clients talk to a host.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message, CustomResource)]
#[kube(group = "networking.istio.io", version = "v1", kind = "DestinationRule", plural = "destinationrules")]
#[kube(namespaced, schema = "disabled", derive = "PartialEq")]
#[serde(default, rename_all = "camelCase")]
pub struct DestinationRuleSpec {
    /// The host; may start with `*.`.
    #[prost(string, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub host: String,
    /// For all of the host.
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub traffic_policy: Option<TrafficPolicy>,
    /// Named parts of the host, which routes refer to.
    #[prost(message, repeated, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub subsets: Vec<Subset>,
    /// Namespaces that see it; `.` is its own.
    #[prost(string, repeated, tag = "4")]
    #[serde(skip_serializing_if = "is_unset")]
    pub export_to: Vec<String>,
    /// Which clients of the rule's own namespace follow it.
    #[prost(message, optional, tag = "5")]
    #[serde(skip_serializing_if = "is_unset")]
    pub workload_selector: Option<WorkloadSelector>,
}

/// `istio.networking.v1alpha3.TrafficPolicy`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct TrafficPolicy {
    /// Volume and protocol of connections.
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub connection_pool: Option<ConnectionPool>,
    /// When an endpoint is left alone for a while.
    #[prost(message, optional, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS of the client.
    #[prost(message, optional, tag = "4")]
    #[serde(skip_serializing_if = "is_unset")]
    pub tls: Option<ClientTls>,
    /// In place of all this, for single ports of the host. Only read.
    #[prost(message, repeated, tag = "5")]
    #[serde(skip_serializing_if = "is_unset")]
    pub port_level_settings: Vec<PortTrafficPolicy>,
}

/// `istio.networking.v1alpha3.TrafficPolicy.PortTrafficPolicy`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct PortTrafficPolicy {
    /// The port.
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub port: Option<PortSelector>,
    /// TLS of the client.
    #[prost(message, optional, tag = "5")]
    #[serde(skip_serializing_if = "is_unset")]
    pub tls: Option<ClientTls>,
}

/// `istio.networking.v1alpha3.Subset`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct Subset {
    /// The name that routes use.
    #[prost(string, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub name: String,
    /// Labels of its endpoints.
    #[prost(btree_map = "string, string", tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub labels: BTreeMap<String, String>,
    /// In place of the host's.
    #[prost(message, optional, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub traffic_policy: Option<TrafficPolicy>,
}

/// `istio.networking.v1alpha3.ConnectionPoolSettings`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct ConnectionPool {
    /// For all protocols.
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub tcp: Option<TcpSettings>,
    /// For HTTP only.
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub http: Option<HttpSettings>,
}

/// `istio.networking.v1alpha3.ConnectionPoolSettings.TCPSettings`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct TcpSettings {
    /// How long a connection may take to be there; absent means the mesh's own, which is 10 s by default.
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub connect_timeout: Option<Duration>,
}

/// `istio.networking.v1alpha3.ConnectionPoolSettings.HTTPSettings`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpSettings {
    /// Speak the HTTP version that the caller spoke.
    #[prost(bool, tag = "7")]
    #[serde(skip_serializing_if = "is_unset")]
    pub use_client_protocol: bool,
}

/// `istio.networking.v1alpha3.OutlierDetection`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct OutlierDetection {
    /// Errors in a row before an endpoint is ejected: absent means 5, and 0 never (`UInt32Value`).
    #[prost(message, optional, tag = "7")]
    #[serde(rename = "consecutive5xxErrors", skip_serializing_if = "is_unset")]
    pub consecutive_5xx_errors: Option<u32>,
    /// Time between two looks at the errors.
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub interval: Option<Duration>,
    /// The shortest ejection; it grows with each.
    #[prost(message, optional, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub base_ejection_time: Option<Duration>,
    /// How many of the endpoints may be ejected; 0 means Istio's default of 10.
    #[prost(int32, tag = "4")]
    #[serde(skip_serializing_if = "is_unset")]
    pub max_ejection_percent: i32,
    /// With fewer endpoints left, all are used again: Envoy's panic threshold, of which Istio makes 0, that is never,
    /// where this is absent.
    #[prost(int32, tag = "5")]
    #[serde(skip_serializing_if = "is_unset")]
    pub min_health_percent: i32,
}

/// `istio.networking.v1alpha3.ClientTLSSettings`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct ClientTls {
    /// Whether and with which certificate.
    #[prost(enumeration = "ClientTlsMode", tag = "1")]
    #[serde(with = "ProtoName::<ClientTlsMode>")]
    #[serde(skip_serializing_if = "ProtoName::<ClientTlsMode>::is_nameless")]
    pub mode: i32,
    /// The Secret with key, certificate and the authorities of servers, in the proxy's namespace.
    #[prost(string, tag = "7")]
    #[serde(skip_serializing_if = "is_unset")]
    pub credential_name: String,
    /// Names that the server's certificate may have.
    #[prost(string, repeated, tag = "5")]
    #[serde(skip_serializing_if = "is_unset")]
    pub subject_alt_names: Vec<String>,
    /// The name to ask for in the handshake.
    #[prost(string, tag = "6")]
    #[serde(skip_serializing_if = "is_unset")]
    pub sni: String,
}

impl ClientTls {
    /// Settings of that mode and nothing else.
    pub fn new(mode: ClientTlsMode) -> Self {
        Self { mode: mode.into(), ..Self::default() }
    }
}

proto_enum! {
    /// `istio.networking.v1alpha3.ClientTLSSettings.TLSmode`.
    ClientTlsMode {
        /// No TLS.
        Disable = 0 => "DISABLE",
        /// Without a certificate of the client.
        Simple = 1 => "SIMPLE",
        /// With a certificate from a Secret.
        Mutual = 2 => "MUTUAL",
        /// With the certificate that Istio issued.
        IstioMutual = 3 => "ISTIO_MUTUAL",
    }
}
