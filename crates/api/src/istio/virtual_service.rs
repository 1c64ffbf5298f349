//! `networking/v1alpha3/virtual_service.proto`

use std::collections::BTreeMap;

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::{Duration, PortSelector, is_unset};

/// `istio.networking.v1alpha3.VirtualService`: where requests and connections for a host go.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message, CustomResource)]
#[kube(group = "networking.istio.io", version = "v1", kind = "VirtualService", plural = "virtualservices")]
#[kube(namespaced, schema = "disabled", derive = "PartialEq")]
#[serde(default, rename_all = "camelCase")]
pub struct VirtualServiceSpec {
    /// Hosts that clients ask for.
    #[prost(string, repeated, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub hosts: Vec<String>,
    /// `<namespace>/<name>` of Gateways; none means the sidecars.
    #[prost(string, repeated, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub gateways: Vec<String>,
    /// For HTTP, the first that matches.
    #[prost(message, repeated, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub http: Vec<HttpRoute>,
    /// For TLS that is not terminated, the first that matches.
    #[prost(message, repeated, tag = "5")]
    #[serde(skip_serializing_if = "is_unset")]
    pub tls: Vec<TlsRoute>,
    /// For all other connections, the first that matches.
    #[prost(message, repeated, tag = "4")]
    #[serde(skip_serializing_if = "is_unset")]
    pub tcp: Vec<TcpRoute>,
    /// Namespaces that see it; `.` is its own.
    #[prost(string, repeated, tag = "6")]
    #[serde(skip_serializing_if = "is_unset")]
    pub export_to: Vec<String>,
}

/// `istio.networking.v1alpha3.HTTPRoute`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRoute {
    /// A name for debugging.
    #[prost(string, tag = "17")]
    #[serde(skip_serializing_if = "is_unset")]
    pub name: String,
    /// Any of these must match; none means always.
    #[prost(message, repeated, tag = "1")]
    #[serde(rename = "match", skip_serializing_if = "is_unset")]
    pub matches: Vec<HttpMatch>,
    /// Where requests go, by weight.
    #[prost(message, repeated, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub route: Vec<HttpRouteDestination>,
    /// Changes to the request's URI or authority.
    #[prost(message, optional, tag = "4")]
    #[serde(skip_serializing_if = "is_unset")]
    pub rewrite: Option<HttpRewrite>,
    /// For the whole request, retries included.
    #[prost(message, optional, tag = "6")]
    #[serde(skip_serializing_if = "is_unset")]
    pub timeout: Option<Duration>,
    /// Absent means Istio's default of 2 attempts.
    #[prost(message, optional, tag = "7")]
    #[serde(skip_serializing_if = "is_unset")]
    pub retries: Option<HttpRetry>,
    /// Changes to headers, for all destinations.
    #[prost(message, optional, tag = "16")]
    #[serde(skip_serializing_if = "is_unset")]
    pub headers: Option<Headers>,
}

/// `istio.networking.v1alpha3.HTTPMatchRequest`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpMatch {
    /// The port of the host.
    #[prost(uint32, tag = "6")]
    #[serde(skip_serializing_if = "is_unset")]
    pub port: u32,
    /// Overrides the `VirtualService`'s gateways.
    #[prost(string, repeated, tag = "8")]
    #[serde(skip_serializing_if = "is_unset")]
    pub gateways: Vec<String>,
}

/// `istio.networking.v1alpha3.HTTPRouteDestination`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRouteDestination {
    /// Where to.
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub destination: Option<Destination>,
    /// Its share among the route's destinations.
    #[prost(int32, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub weight: i32,
    /// Changes to headers for this destination.
    #[prost(message, optional, tag = "7")]
    #[serde(skip_serializing_if = "is_unset")]
    pub headers: Option<Headers>,
}

/// `istio.networking.v1alpha3.HTTPRewrite`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRewrite {
    /// The new path, or the new prefix where a prefix matched.
    #[prost(string, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub uri: String,
    /// The new `Host`.
    #[prost(string, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub authority: String,
}

/// `istio.networking.v1alpha3.HTTPRetry`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRetry {
    /// Always written, since `attempts: 0` is what switches Istio's default retries off.
    #[prost(int32, tag = "1")]
    pub attempts: i32,
    /// For each attempt.
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub per_try_timeout: Option<Duration>,
    /// Envoy's conditions, separated by commas.
    #[prost(string, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub retry_on: String,
}

/// `istio.networking.v1alpha3.Headers`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct Headers {
    /// Before the request is sent on.
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub request: Option<HeaderOperations>,
    /// Before the response goes back.
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub response: Option<HeaderOperations>,
}

/// `istio.networking.v1alpha3.Headers.HeaderOperations`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct HeaderOperations {
    /// Headers to overwrite.
    #[prost(btree_map = "string, string", tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub set: BTreeMap<String, String>,
    /// Values to append.
    #[prost(btree_map = "string, string", tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub add: BTreeMap<String, String>,
    /// Headers to remove.
    #[prost(string, repeated, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub remove: Vec<String>,
}

/// `istio.networking.v1alpha3.TLSRoute`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct TlsRoute {
    /// Any of these must match.
    #[prost(message, repeated, tag = "1")]
    #[serde(rename = "match", skip_serializing_if = "is_unset")]
    pub matches: Vec<TlsMatch>,
    /// Where connections go, by weight.
    #[prost(message, repeated, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub route: Vec<RouteDestination>,
}

/// `istio.networking.v1alpha3.TLSMatchAttributes`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct TlsMatch {
    /// Names that the client may ask for, among the `VirtualService`'s hosts.
    #[prost(string, repeated, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub sni_hosts: Vec<String>,
    /// The port of the host.
    #[prost(uint32, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub port: u32,
    /// Overrides the `VirtualService`'s gateways.
    #[prost(string, repeated, tag = "6")]
    #[serde(skip_serializing_if = "is_unset")]
    pub gateways: Vec<String>,
}

/// `istio.networking.v1alpha3.TCPRoute`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct TcpRoute {
    /// Any of these must match; none means always.
    #[prost(message, repeated, tag = "1")]
    #[serde(rename = "match", skip_serializing_if = "is_unset")]
    pub matches: Vec<L4Match>,
    /// Where connections go, by weight.
    #[prost(message, repeated, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub route: Vec<RouteDestination>,
}

/// `istio.networking.v1alpha3.L4MatchAttributes`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct L4Match {
    /// The port of the host.
    #[prost(uint32, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub port: u32,
    /// Overrides the `VirtualService`'s gateways.
    #[prost(string, repeated, tag = "5")]
    #[serde(skip_serializing_if = "is_unset")]
    pub gateways: Vec<String>,
}

/// `istio.networking.v1alpha3.RouteDestination`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct RouteDestination {
    /// Where to.
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub destination: Option<Destination>,
    /// Its share among the route's destinations.
    #[prost(int32, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub weight: i32,
}

/// `istio.networking.v1alpha3.Destination`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct Destination {
    /// A host that Istio knows.
    #[prost(string, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub host: String,
    /// A subset that the host's `DestinationRule` names.
    #[prost(string, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub subset: String,
    /// May be absent if the host has only one port.
    #[prost(message, optional, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub port: Option<PortSelector>,
}

impl From<Destination> for RouteDestination {
    fn from(destination: Destination) -> Self {
        Self { destination: Some(destination), weight: 0 }
    }
}

impl From<Destination> for HttpRouteDestination {
    fn from(destination: Destination) -> Self {
        Self { destination: Some(destination), ..Self::default() }
    }
}
