//! What travels: the messages of state-of-the-world xDS and of Istio's MCP, as far as they are used here.
//!
//! Typed by hand with the field numbers of `envoy/service/discovery/v3/discovery.proto` and `mcp/v1alpha1/*.proto` of
//! `istio.io/api`; `golden/` holds each as their own Go code writes it.

use std::collections::BTreeMap;

use prost::bytes::Bytes;

use crate::wire::{Any, Node, Status};

/// Path of the one gRPC method.
pub const METHOD: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/// Type URL of everything that a response holds.
pub const RESOURCE: &str = "type.googleapis.com/istio.mcp.v1alpha1.Resource";

/// `envoy.service.discovery.v3.DiscoveryRequest`: a type that is asked for, or the answer to a response.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DiscoveryRequest {
    /// The version that the client has.
    #[prost(string, tag = "1")]
    pub version_info: String,
    /// Who asks.
    #[prost(message, optional, tag = "2")]
    pub node: Option<Node>,
    /// `group/version/Kind`.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// The response that is answered. istiod's first request of a type has one too, which answers nothing.
    #[prost(string, tag = "5")]
    pub response_nonce: String,
    /// Why that response is refused (NACK); none when it is accepted (ACK).
    #[prost(message, optional, tag = "6")]
    pub error_detail: Option<Status>,
}

/// `envoy.service.discovery.v3.DiscoveryResponse`: all that there is of a type.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DiscoveryResponse {
    /// Hash of the set.
    #[prost(string, tag = "1")]
    pub version_info: String,
    /// Each an encoded `Any` of [`RESOURCE`], which is the same on the wire: so each is encoded once for everybody.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub resources: Vec<Bytes>,
    /// `group/version/Kind`, as it was asked for.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// By which the client answers.
    #[prost(string, tag = "5")]
    pub nonce: String,
}

/// `istio.mcp.v1alpha1.Resource`: one object.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Resource {
    /// Its metadata.
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<Metadata>,
    /// Its spec.
    #[prost(message, optional, tag = "2")]
    pub body: Option<Any>,
}

/// `istio.mcp.v1alpha1.Metadata`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Metadata {
    /// `namespace/name`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// When it was created: of two objects that want the same, Istio lets the older have it.
    #[prost(message, optional, tag = "2")]
    pub create_time: Option<Timestamp>,
    /// Hash of the content. The same version is no change for istiod.
    #[prost(string, tag = "3")]
    pub version: String,
    /// Labels.
    #[prost(btree_map = "string, string", tag = "4")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[prost(btree_map = "string, string", tag = "5")]
    pub annotations: BTreeMap<String, String>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Timestamp {
    /// Since 1970-01-01T00:00:00Z.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Of the next second.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

#[cfg(test)]
mod tests;
