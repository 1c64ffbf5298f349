//! Types of `networking/v1alpha3/virtual_service.proto`.

use std::collections::BTreeMap;

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::{Duration, PortSelector, is_unset};

/// `istio.networking.v1alpha3.VirtualService`: routes for the requests and connections of a host.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message, CustomResource)]
#[kube(group = "networking.istio.io", version = "v1", kind = "VirtualService", plural = "virtualservices")]
#[kube(namespaced, schema = "disabled", derive = "PartialEq")]
#[serde(default, rename_all = "camelCase")]
pub struct VirtualServiceSpec {
    /// Hosts to which the routes apply.
    #[prost(string, repeated, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub hosts: Vec<String>,
    /// Gateways that apply the routes, as `<namespace>/<name>`. Empty means the sidecars.
    #[prost(string, repeated, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub gateways: Vec<String>,
    /// Routes for HTTP; the first that matches applies.
    #[prost(message, repeated, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub http: Vec<HttpRoute>,
    /// Routes for TLS that is not terminated; the first that matches applies.
    #[prost(message, repeated, tag = "5")]
    #[serde(skip_serializing_if = "is_unset")]
    pub tls: Vec<TlsRoute>,
    /// Routes for all other connections; the first that matches applies.
    #[prost(message, repeated, tag = "4")]
    #[serde(skip_serializing_if = "is_unset")]
    pub tcp: Vec<TcpRoute>,
    /// Namespaces that see the routes; `.` is its own namespace.
    #[prost(string, repeated, tag = "6")]
    #[serde(skip_serializing_if = "is_unset")]
    pub export_to: Vec<String>,
}

/// `istio.networking.v1alpha3.HTTPRoute`: a route for HTTP requests.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRoute {
    /// Name of the route, for debugging.
    #[prost(string, tag = "17")]
    #[serde(skip_serializing_if = "is_unset")]
    pub name: String,
    /// Any of these must match. Empty matches every request.
    #[prost(message, repeated, tag = "1")]
    #[serde(rename = "match", skip_serializing_if = "is_unset")]
    pub matches: Vec<HttpMatch>,
    /// Destinations of the requests, by weight.
    #[prost(message, repeated, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub route: Vec<HttpRouteDestination>,
    /// Changes to the request's URI or authority.
    #[prost(message, optional, tag = "4")]
    #[serde(skip_serializing_if = "is_unset")]
    pub rewrite: Option<HttpRewrite>,
    /// Timeout for the whole request, retries included.
    #[prost(message, optional, tag = "6")]
    #[serde(skip_serializing_if = "is_unset")]
    pub timeout: Option<Duration>,
    /// Retries; `None` means Istio's default of 2 attempts.
    #[prost(message, optional, tag = "7")]
    #[serde(skip_serializing_if = "is_unset")]
    pub retries: Option<HttpRetry>,
    /// Changes to headers, for all destinations.
    #[prost(message, optional, tag = "16")]
    #[serde(skip_serializing_if = "is_unset")]
    pub headers: Option<Headers>,
}

/// `istio.networking.v1alpha3.HTTPMatchRequest`: conditions on an HTTP request.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpMatch {
    /// Port of the host.
    #[prost(uint32, tag = "6")]
    #[serde(skip_serializing_if = "is_unset")]
    pub port: u32,
    /// Overrides the `VirtualService`'s gateways.
    #[prost(string, repeated, tag = "8")]
    #[serde(skip_serializing_if = "is_unset")]
    pub gateways: Vec<String>,
}

/// `istio.networking.v1alpha3.HTTPRouteDestination`: a weighted destination with header changes.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRouteDestination {
    /// Host, subset and port.
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub destination: Option<Destination>,
    /// Weight among the route's destinations.
    #[prost(int32, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub weight: i32,
    /// Changes to headers for this destination.
    #[prost(message, optional, tag = "7")]
    #[serde(skip_serializing_if = "is_unset")]
    pub headers: Option<Headers>,
}

/// `istio.networking.v1alpha3.HTTPRewrite`: changes to the request's URI or authority.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRewrite {
    /// New path, or new prefix if a prefix matched.
    #[prost(string, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub uri: String,
    /// New value of the `Host` header.
    #[prost(string, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub authority: String,
}

/// `istio.networking.v1alpha3.HTTPRetry`: retry settings of a route.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRetry {
    /// Number of retries. Always written, because `attempts: 0` disables Istio's default retries.
    #[prost(int32, tag = "1")]
    pub attempts: i32,
    /// Timeout for each attempt.
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub per_try_timeout: Option<Duration>,
    /// Envoy's retry conditions, separated by commas.
    #[prost(string, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub retry_on: String,
}

/// `istio.networking.v1alpha3.Headers`: header changes for requests and responses.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct Headers {
    /// Changes before the request is forwarded.
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub request: Option<HeaderOperations>,
    /// Changes before the response is returned.
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub response: Option<HeaderOperations>,
}

/// `istio.networking.v1alpha3.Headers.HeaderOperations`: changes to a set of headers.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct HeaderOperations {
    /// Headers to set, overwriting earlier values.
    #[prost(btree_map = "string, string", tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub set: BTreeMap<String, String>,
    /// Values to append to headers.
    #[prost(btree_map = "string, string", tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub add: BTreeMap<String, String>,
    /// Names of headers to remove.
    #[prost(string, repeated, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub remove: Vec<String>,
}

/// `istio.networking.v1alpha3.TLSRoute`: a route for TLS that is not terminated.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct TlsRoute {
    /// Any of these must match.
    #[prost(message, repeated, tag = "1")]
    #[serde(rename = "match", skip_serializing_if = "is_unset")]
    pub matches: Vec<TlsMatch>,
    /// Destinations of the connections, by weight.
    #[prost(message, repeated, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub route: Vec<RouteDestination>,
}

/// `istio.networking.v1alpha3.TLSMatchAttributes`: conditions on a TLS connection.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct TlsMatch {
    /// Server names (SNI) that the client may request, among the `VirtualService`'s hosts.
    #[prost(string, repeated, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub sni_hosts: Vec<String>,
    /// Port of the host.
    #[prost(uint32, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub port: u32,
    /// Overrides the `VirtualService`'s gateways.
    #[prost(string, repeated, tag = "6")]
    #[serde(skip_serializing_if = "is_unset")]
    pub gateways: Vec<String>,
}

/// `istio.networking.v1alpha3.TCPRoute`: a route for other connections.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct TcpRoute {
    /// Any of these must match. Empty matches every connection.
    #[prost(message, repeated, tag = "1")]
    #[serde(rename = "match", skip_serializing_if = "is_unset")]
    pub matches: Vec<L4Match>,
    /// Destinations of the connections, by weight.
    #[prost(message, repeated, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub route: Vec<RouteDestination>,
}

/// `istio.networking.v1alpha3.L4MatchAttributes`: conditions on a TCP connection.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct L4Match {
    /// Port of the host.
    #[prost(uint32, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub port: u32,
    /// Overrides the `VirtualService`'s gateways.
    #[prost(string, repeated, tag = "5")]
    #[serde(skip_serializing_if = "is_unset")]
    pub gateways: Vec<String>,
}

/// `istio.networking.v1alpha3.RouteDestination`: a weighted destination.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct RouteDestination {
    /// Host, subset and port.
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub destination: Option<Destination>,
    /// Weight among the route's destinations.
    #[prost(int32, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub weight: i32,
}

/// `istio.networking.v1alpha3.Destination`: where a route sends traffic.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct Destination {
    /// Host in Istio's registry.
    #[prost(string, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub host: String,
    /// Subset of the host that its `DestinationRule` defines.
    #[prost(string, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub subset: String,
    /// Port of the host. May be absent if the host has only one port.
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
