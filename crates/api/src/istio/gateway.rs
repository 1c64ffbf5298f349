//! `networking/v1alpha3/gateway.proto`

use std::collections::BTreeMap;

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::{ProtoName, enumeration::proto_enum, is_unset};

/// `istio.networking.v1alpha3.Gateway`: what gateway pods listen for.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message, CustomResource)]
#[kube(group = "networking.istio.io", version = "v1", kind = "Gateway", plural = "gateways")]
#[kube(namespaced, schema = "disabled", derive = "PartialEq")]
#[serde(default, rename_all = "camelCase")]
pub struct GatewaySpec {
    /// One for each port and set of hosts.
    #[prost(message, repeated, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub servers: Vec<Server>,
    /// Labels of the gateway pods.
    #[prost(btree_map = "string, string", tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub selector: BTreeMap<String, String>,
}

/// `istio.networking.v1alpha3.Server`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct Server {
    /// The port of the gateway's Service.
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub port: Option<Port>,
    /// Hosts, as `<namespace of the VirtualService>/<host>`.
    #[prost(string, repeated, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub hosts: Vec<String>,
    /// How connections are terminated, if at all.
    #[prost(message, optional, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub tls: Option<ServerTls>,
    /// A name that must be unique among all servers of the pods.
    #[prost(string, tag = "6")]
    #[serde(skip_serializing_if = "is_unset")]
    pub name: String,
}

/// `istio.networking.v1alpha3.Port`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct Port {
    /// The number at the gateway's Service, which Istio translates to the pods' port.
    #[prost(uint32, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub number: u32,
    /// `TLS`, `HTTPS`, …
    #[prost(string, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub protocol: String,
    /// A label for the port.
    #[prost(string, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub name: String,
}

/// `istio.networking.v1alpha3.ServerTLSSettings`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct ServerTls {
    /// Whether and with which certificates the gateway terminates TLS.
    #[prost(enumeration = "ServerTlsMode", tag = "2")]
    #[serde(with = "ProtoName::<ServerTlsMode>")]
    #[serde(skip_serializing_if = "ProtoName::<ServerTlsMode>::is_nameless")]
    pub mode: i32,
    /// Names that a client's certificate may have.
    #[prost(string, repeated, tag = "6")]
    #[serde(skip_serializing_if = "is_unset")]
    pub subject_alt_names: Vec<String>,
    /// The lowest TLS version that is accepted.
    #[prost(enumeration = "TlsVersion", tag = "7")]
    #[serde(with = "ProtoName::<TlsVersion>")]
    #[serde(skip_serializing_if = "ProtoName::<TlsVersion>::is_unset")]
    pub min_protocol_version: i32,
    /// The Secret with key, certificate and the authorities of clients, in the pods' namespace.
    #[prost(string, tag = "10")]
    #[serde(skip_serializing_if = "is_unset")]
    pub credential_name: String,
}

impl ServerTls {
    /// Settings of that mode and nothing else.
    pub fn new(mode: ServerTlsMode) -> Self {
        Self { mode: mode.into(), ..Self::default() }
    }
}

proto_enum! {
    /// `istio.networking.v1alpha3.ServerTLSSettings.TLSmode`.
    ServerTlsMode {
        /// Not terminated; the name that the client asks for selects the route.
        Passthrough = 0 => "PASSTHROUGH",
        /// The server has a certificate.
        Simple = 1 => "SIMPLE",
        /// Both sides have certificates, from a Secret.
        Mutual = 2 => "MUTUAL",
        /// As `PASSTHROUGH`, to the service that the name itself encodes.
        AutoPassthrough = 3 => "AUTO_PASSTHROUGH",
        /// Both sides have certificates, which Istio issued.
        IstioMutual = 4 => "ISTIO_MUTUAL",
        /// As `MUTUAL`, but clients may come without.
        OptionalMutual = 5 => "OPTIONAL_MUTUAL",
    }
}

proto_enum! {
    /// `istio.networking.v1alpha3.ServerTLSSettings.TLSProtocol`.
    TlsVersion {
        /// Istio's choice.
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
