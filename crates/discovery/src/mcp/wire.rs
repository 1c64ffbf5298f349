//! Protobuf messages of state-of-the-world xDS and of Istio's MCP, with the fields that are used here.
//!
//! Written by hand with the field numbers of `envoy/service/discovery/v3/discovery.proto` and of
//! `mcp/v1alpha1/*.proto` in
//! `istio.io/api`. `golden/` contains each message as encoded by the Go code of those projects.

use std::collections::BTreeMap;

use prost::bytes::Bytes;

use crate::wire::{Any, RpcStatus, XdsNode};

/// Path of the only gRPC method.
pub const STREAM_METHOD: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/// Type URL of each resource in a response.
pub const RESOURCE_TYPE_URL: &str = "type.googleapis.com/istio.mcp.v1alpha1.Resource";

/// `envoy.service.discovery.v3.DiscoveryRequest`: a subscription to a type, or an ACK or NACK.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DiscoveryRequest {
    /// Version of the set that the client has accepted.
    #[prost(string, tag = "1")]
    pub version_info: String,
    /// Identity of the client.
    #[prost(message, optional, tag = "2")]
    pub node: Option<XdsNode>,
    /// Requested type, as `group/version/Kind`.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// Nonce of the response that is answered. istiod's first request for a type has a nonce too, which answers
    /// nothing.
    #[prost(string, tag = "5")]
    pub response_nonce: String,
    /// Why the response is refused (NACK). `None` if it is accepted (ACK).
    #[prost(message, optional, tag = "6")]
    pub error_detail: Option<RpcStatus>,
}

/// `envoy.service.discovery.v3.DiscoveryResponse`: all resources of a type.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DiscoveryResponse {
    /// Version of the set: a hash of its resources.
    #[prost(string, tag = "1")]
    pub version_info: String,
    /// Each an encoded `Any` of [`RESOURCE_TYPE_URL`]. The field type is `bytes` instead of `Any`, which is the same
    /// on the wire, so that each resource is encoded once for all streams.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub resources: Vec<Bytes>,
    /// The type as `group/version/Kind`, as in the request.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// Nonce that the client repeats in its ACK or NACK.
    #[prost(string, tag = "5")]
    pub nonce: String,
}

impl DiscoveryResponse {
    /// Splits the response into parts of about this many bytes. Their encodings, one after the other, are an encoding
    /// of the response.
    pub(super) fn into_parts(self, part_bytes: usize) -> Vec<Self> {
        let Self { version_info, resources, type_url, nonce } = self;
        let mut parts = vec![Self { version_info, type_url, nonce, resources: Vec::new() }];
        let mut length = 0;
        for resource in resources {
            if length >= part_bytes {
                parts.push(Self::default());
                length = 0;
            }
            length += resource.len();
            if let Some(part) = parts.last_mut() {
                part.resources.push(resource);
            }
        }
        parts
    }
}

/// One object, as `istio.mcp.v1alpha1.Resource`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct McpResource {
    /// Metadata of the object.
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<McpMetadata>,
    /// Spec of the object.
    #[prost(message, optional, tag = "2")]
    pub body: Option<Any>,
}

/// Metadata of an object, as `istio.mcp.v1alpha1.Metadata`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct McpMetadata {
    /// Name of the object, as `namespace/name`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Creation time. Of two conflicting objects, Istio prefers the older one.
    #[prost(message, optional, tag = "2")]
    pub create_time: Option<ProtoTimestamp>,
    /// Hash of the content. istiod ignores a resource whose version it has already.
    #[prost(string, tag = "3")]
    pub version: String,
    /// Labels of the object.
    #[prost(btree_map = "string, string", tag = "4")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the object.
    #[prost(btree_map = "string, string", tag = "5")]
    pub annotations: BTreeMap<String, String>,
}

/// A point in time, as `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ProtoTimestamp {
    /// Whole seconds since 1970-01-01T00:00:00Z.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds after `seconds`, from 0 to 999,999,999.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

#[cfg(test)]
mod tests;
