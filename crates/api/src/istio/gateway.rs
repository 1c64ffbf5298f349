//! Types of `networking/v1alpha3/gateway.proto`.

use std::collections::BTreeMap;

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::{ProtoName, enumeration::proto_enum, is_unset};

/// `istio.networking.v1alpha3.Gateway`: the ports and hosts that gateway pods serve.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message, CustomResource)]
#[kube(group = "networking.istio.io", version = "v1", kind = "Gateway", plural = "gateways")]
#[kube(namespaced, schema = "disabled", derive = "PartialEq")]
#[serde(default, rename_all = "camelCase")]
pub struct GatewaySpec {
    /// One server for each port and set of hosts.
    #[prost(message, repeated, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub servers: Vec<Server>,
    /// Labels of the gateway pods.
    #[prost(btree_map = "string, string", tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub selector: BTreeMap<String, String>,
}

/// `istio.networking.v1alpha3.Server`: one port of a gateway.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct Server {
    /// Port of the gateway's Service.
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub port: Option<Port>,
    /// Hosts, as `<namespace of the VirtualService>/<host>`.
    #[prost(string, repeated, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub hosts: Vec<String>,
    /// TLS termination settings; `None` for a port without TLS.
    #[prost(message, optional, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub tls: Option<ServerTls>,
    /// Name that is unique among all servers of the pods.
    #[prost(string, tag = "6")]
    #[serde(skip_serializing_if = "is_unset")]
    pub name: String,
}

/// `istio.networking.v1alpha3.Port`: number and protocol of a port.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct Port {
    /// Port number of the gateway's Service. Istio translates it to the port of the pods.
    #[prost(uint32, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub number: u32,
    /// Protocol, such as `TLS` or `HTTPS`.
    #[prost(string, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub protocol: String,
    /// Label of the port.
    #[prost(string, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub name: String,
}

/// `istio.networking.v1alpha3.ServerTLSSettings`: TLS settings of a server.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct ServerTls {
    /// Whether the gateway terminates TLS, and which certificates it uses.
    #[prost(enumeration = "ServerTlsMode", tag = "2")]
    #[serde(with = "ProtoName::<ServerTlsMode>")]
    #[serde(skip_serializing_if = "ProtoName::<ServerTlsMode>::is_nameless")]
    pub mode: i32,
    /// Allowed names of a client's certificate; it must have one of them.
    #[prost(string, repeated, tag = "6")]
    #[serde(skip_serializing_if = "is_unset")]
    pub subject_alt_names: Vec<String>,
    /// Lowest TLS version that the server accepts.
    #[prost(enumeration = "TlsVersion", tag = "7")]
    #[serde(with = "ProtoName::<TlsVersion>")]
    #[serde(skip_serializing_if = "ProtoName::<TlsVersion>::is_unset")]
    pub min_protocol_version: i32,
    /// Secret in the pods' namespace with the key, the certificate and the CAs of clients.
    #[prost(string, tag = "10")]
    #[serde(skip_serializing_if = "is_unset")]
    pub credential_name: String,
}

impl ServerTls {
    /// Returns settings with that mode and no other field.
    pub fn new(mode: ServerTlsMode) -> Self {
        Self { mode: mode.into(), ..Self::default() }
    }
}

proto_enum! {
    /// `istio.networking.v1alpha3.ServerTLSSettings.TLSmode`.
    ServerTlsMode {
        /// The gateway does not terminate TLS. The server name that the client requests selects the route.
        Passthrough = 0 => "PASSTHROUGH",
        /// The gateway has a certificate.
        Simple = 1 => "SIMPLE",
        /// Both sides have certificates, from a Secret.
        Mutual = 2 => "MUTUAL",
        /// Like `PASSTHROUGH`, to the service that the server name encodes.
        AutoPassthrough = 3 => "AUTO_PASSTHROUGH",
        /// Both sides have certificates that Istio issued.
        IstioMutual = 4 => "ISTIO_MUTUAL",
        /// Like `MUTUAL`, but the client certificate is optional.
        OptionalMutual = 5 => "OPTIONAL_MUTUAL",
    }
}

proto_enum! {
    /// `istio.networking.v1alpha3.ServerTLSSettings.TLSProtocol`.
    TlsVersion {
        /// Istio chooses the version.
        Auto = 0 => "TLS_AUTO",
        /// TLS 1.0
        V1_0 = 1 => "TLSV1_0",
        /// TLS 1.1
        V1_1 = 2 => "TLSV1_1",
        /// TLS 1.2
        V1_2 = 3 => "TLSV1_2",
        /// TLS 1.3
        V1_3 = 4 => "TLSV1_3",
    }
}
